/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables of iptables-legacy, asked from the kernel as iptables does: there need not be an iptables-legacy to run. */
#include <net/if.h>	/* before linux/if.h, which gives way to it */
#include <netinet/in.h>

#include <errno.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/host/chains.h"
#include "src/util/cleanup.h"

/* ipt_entry and ip6t_entry differ in what is in front of these. */
#define TAIL_OF_IPV4 offsetof(struct ipt_entry, target_offset)
#define TAIL_OF_IPV6 offsetof(struct ip6t_entry, target_offset)

struct entry {
	size_t at, next;	/* byte offsets */
	size_t target_bytes;	/* with its head */
	const unsigned char *target;	/* struct xt_entry_target; aligned to 8 in the blob, if that is */
	char name[XT_EXTENSION_MAXNAMELEN];
	unsigned revision;
};

/* 1: *ret is the entry at an offset; 0: the end; -EPROTO: no such thing. */
static int read_entry(const struct merlon_xt_table *table, size_t at, struct entry *ret)
{
	size_t tail = table->ipv6 ? TAIL_OF_IPV6 : TAIL_OF_IPV4;
	size_t least = table->ipv6 ? sizeof(struct ip6t_entry) : sizeof(struct ipt_entry);
	const unsigned char *entry = (const unsigned char *)table->entries + at;
	struct xt_entry_target target;
	uint16_t offset[2];	/* of the target, of the next entry */

	if (at == table->bytes)
		return 0;
	if (at > table->bytes || table->bytes - at < least)
		return -EPROTO;
	memcpy(offset, entry + tail, sizeof(offset));
	if (offset[0] < least || offset[1] < offset[0] || offset[1] - offset[0] < (int)sizeof(target) ||
	    offset[1] > table->bytes - at || offset[0] % 4)
		return -EPROTO;
	memcpy(&target, entry + offset[0], sizeof(target));
	*ret = (struct entry){
		.at = at, .next = at + offset[1], .target = entry + offset[0], .target_bytes = offset[1] - offset[0],
		.revision = target.u.user.revision,
	};
	memcpy(ret->name, target.u.user.name, sizeof(ret->name));
	ret->name[sizeof(ret->name) - 1] = '\0';
	return 1;
}

/* Where chains begin, in rising order. */
struct heads {
	struct head {
		size_t at, chain;
	} *head;
	size_t n;
};

static int add_head(struct merlon_chains *chains, struct heads *heads, const struct merlon_xt_table *table,
		    const char *name, size_t at)
{
	struct head *grown = heads->n & (heads->n - 1) ? heads->head :
		reallocarray(heads->head, heads->n ? 2 * heads->n : 1, sizeof(*grown));
	struct merlon_host_chain *chain;

	if (!grown)
		return -ENOMEM;
	heads->head = grown;
	chain = merlon_chains_add(chains, table->ipv6 ? "ip6tables-legacy" : "iptables-legacy",
				  table->ipv6 ? NFPROTO_IPV6 : NFPROTO_IPV4, table->name, name);
	if (!chain)
		return -ENOMEM;
	grown[heads->n++] = (struct head){ at, chains->n - 1 };
	return 0;
}

static int hook_at(const struct merlon_xt_table *table, size_t at)
{
	int hook;

	for (hook = 0; hook < NF_INET_NUMHOOKS; hook++)
		if (table->valid_hooks & 1U << hook && table->hook_entry[hook] == at)
			return hook;
	return -1;
}

/* A chain of the user's begins behind an entry whose target ERROR holds its name. */
static int find_heads(struct merlon_chains *chains, struct heads *heads, const struct merlon_xt_table *table)
{
	static const char *const hook_name[] = { "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING" };
	struct entry e = { 0 };
	int r, more;

	for (more = read_entry(table, 0, &e); more > 0; more = read_entry(table, e.next, &e)) {
		int hook = hook_at(table, e.at);
		char name[XT_FUNCTION_MAXNAMELEN] = "";

		r = 0;
		if (hook >= 0) {
			r = add_head(chains, heads, table, hook_name[hook], e.at);
			if (r == 0) {
				chains->chain[chains->n - 1].base = true;
				chains->chain[chains->n - 1].hook = hook;
				chains->chain[chains->n - 1].behind_input = merlon_nfproto_is_behind_input(NFPROTO_IPV4, hook);
			}
		} else if (!strcmp(e.name, "ERROR") && e.next < table->bytes &&
			   e.target_bytes >= sizeof(struct xt_entry_target) + sizeof(name)) {
			memcpy(name, e.target + sizeof(struct xt_entry_target), sizeof(name) - 1);
			r = add_head(chains, heads, table, name, e.next);
		}
		if (r < 0)
			return r;
	}
	return more;
}

static const struct head *head_at(const struct heads *heads, size_t at)
{
	size_t low = 0, high = heads->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (heads->head[middle].at == at)
			return &heads->head[middle];
		if (heads->head[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static bool is_policy(const struct merlon_xt_table *table, size_t at)
{
	int hook;

	for (hook = 0; hook < NF_INET_NUMHOOKS; hook++)
		if (table->valid_hooks & 1U << hook && table->underflow[hook] == at)
			return true;
	return false;
}

/* Verdicts are negative, jumps the offset of a chain; the next entry's: no target. */
static int read_standard(struct merlon_chains *chains, const struct heads *heads, size_t from, const struct entry *e,
			 bool policy, bool stray)
{
	const struct head *to;
	uint32_t stop = 1U << MERLON_DOES_STOP;
	int verdict;

	if (e->target_bytes < sizeof(struct xt_standard_target))
		return -EPROTO;
	memcpy(&verdict, e->target + offsetof(struct xt_standard_target, verdict), sizeof(verdict));
	if (verdict == -NF_DROP - 1)
		merlon_chain_does(&chains->chain[from], stray ? merlon_does_to_stray(stop) : stop, policy ? 0 : chains->chain[from].rules);
	if (verdict < 0 || (size_t)verdict == e->next)
		return 0;
	to = head_at(heads, verdict);
	return to ? merlon_chains_jump(chains, from, to->chain) : -EPROTO;
}

/* A match begins with its length, then its name (struct xt_entry_match), as targets do. */
static bool is_stray(const struct merlon_xt_table *table, const struct entry *e)
{
	const unsigned char *p = (const unsigned char *)table->entries + e->at;
	struct xt_entry_match match;

	p += table->ipv6 ? sizeof(struct ip6t_entry) : sizeof(struct ipt_entry);
	while (e->target - p >= (ptrdiff_t)sizeof(match)) {
		memcpy(&match, p, sizeof(match));
		if (match.u.match_size < sizeof(match) || match.u.match_size > e->target - p)
			return false;
		match.u.user.name[sizeof(match.u.user.name) - 1] = '\0';
		if (merlon_match_is_stray(match.u.user.name, p + sizeof(match), match.u.match_size - sizeof(match)))
			return true;
		p += match.u.match_size;
	}
	return false;
}

static int read_rules(struct merlon_chains *chains, const struct heads *heads, const struct merlon_xt_table *table)
{
	size_t at_head = 0;
	struct entry e = { 0 };
	int more, r = 0;

	for (more = read_entry(table, 0, &e); more > 0 && r == 0; more = read_entry(table, e.next, &e)) {
		bool policy = is_policy(table, e.at);
		struct merlon_host_chain *chain;

		while (at_head < heads->n && heads->head[at_head].at <= e.at)
			at_head++;
		/* What has no chain is the end of the table. */
		if (!at_head || (!strcmp(e.name, "ERROR") && hook_at(table, e.at) < 0))
			continue;
		chain = &chains->chain[heads->head[at_head - 1].chain];
		chain->rules += !policy;
		if (!e.name[0])
			r = read_standard(chains, heads, heads->head[at_head - 1].chain, &e, policy, is_stray(table, &e));
		merlon_chain_does(chain, 1U << merlon_target_does(e.name, e.revision, e.target + sizeof(struct xt_entry_target),
								  e.target_bytes - sizeof(struct xt_entry_target)), chain->rules);
	}
	return more < 0 ? more : r;
}

int merlon_chains_of_blob(struct merlon_chains *chains, const struct merlon_xt_table *table)
{
	struct heads heads = { 0 };
	size_t i;
	int r = find_heads(chains, &heads, table);

	if (r == 0)
		r = read_rules(chains, &heads, table);
	/* The user's chains end in a RETURN that nobody wrote. */
	for (i = 0; r == 0 && i < heads.n; i++) {
		struct merlon_host_chain *chain = &chains->chain[heads.head[i].chain];

		chain->rules -= !chain->base && chain->rules;
	}
	free(heads.head);
	return r;
}

/* The two families' structs are the same but for the entries (linux/netfilter_ipv6/ip6_tables.h). */
_Static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo), "one getinfo");
_Static_assert(offsetof(struct ipt_get_entries, entrytable) == offsetof(struct ip6t_get_entries, entrytable), "one head");
_Static_assert(IPT_SO_GET_INFO == IP6T_SO_GET_INFO && IPT_SO_GET_ENTRIES == IP6T_SO_GET_ENTRIES, "one number");

static int read_table(struct merlon_chains *chains, int fd, bool ipv6, const char *name)
{
	const int level = ipv6 ? SOL_IPV6 : SOL_IP;
	_cleanup_free_ struct ipt_get_entries *entries = NULL;
	struct ipt_getinfo info = { 0 };
	struct merlon_xt_table table = { .name = name, .ipv6 = ipv6 };
	socklen_t bytes = sizeof(info);

	snprintf(info.name, sizeof(info.name), "%s", name);
	if (getsockopt(fd, level, IPT_SO_GET_INFO, &info, &bytes) < 0)
		return -errno;
	bytes = sizeof(*entries) + info.size;
	entries = calloc(1, bytes);
	if (!entries)
		return -ENOMEM;
	memcpy(entries->name, info.name, sizeof(entries->name));
	entries->size = info.size;
	if (getsockopt(fd, level, IPT_SO_GET_ENTRIES, entries, &bytes) < 0)
		return errno == EAGAIN ? -EINTR : -errno;
	table.valid_hooks = info.valid_hooks;
	memcpy(table.hook_entry, info.hook_entry, sizeof(table.hook_entry));
	memcpy(table.underflow, info.underflow, sizeof(table.underflow));
	table.entries = entries->entrytable;
	table.bytes = info.size;
	return merlon_chains_of_blob(chains, &table);
}

int merlon_chains_of_xtables(struct merlon_chains *chains, bool ipv6)
{
	/* Only what this file names: to ask for a table makes it. */
	_cleanup_fclose_ FILE *names = fopen(ipv6 ? "/proc/self/net/ip6_tables_names" : "/proc/self/net/ip_tables_names", "re");
	_cleanup_close_ int fd = -1;
	char name[XT_TABLE_MAXNAMELEN];
	int r = 0;

	if (!names)
		return -errno;
	while (r == 0 && fscanf(names, "%31s", name) == 1) {
		if (fd < 0)
			fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		r = fd < 0 ? -errno : read_table(chains, fd, ipv6, name);
	}
	return r;
}
