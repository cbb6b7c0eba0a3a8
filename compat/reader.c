/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/reader.h"

#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/gen.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/compat.h"
#include "compat/does.h"
#include "compat/heard.h"
#include "src/util/cleanup.h"

#define RECEIVE_BUFFER (1 << 16)	/* the kernel fills dump messages of up to 32 KiB (net/netlink/af_netlink.c) */
#define MANY 4096			/* heard rules, from which on two threads read them */
#define TRIES 20			/* a ruleset that changes so often while it is read is left alone */

int merlon_netlink_dump(struct mnl_socket *netlink, struct nlmsghdr *request, mnl_cb_t parse, void *context)
{
	_cleanup_free_ char *buffer = malloc(RECEIVE_BUFFER);
	static unsigned sequence;
	int r = MNL_CB_OK;

	if (!buffer)
		return -ENOMEM;
	request->nlmsg_seq = ++sequence;
	if (mnl_socket_sendto(netlink, request, request->nlmsg_len) < 0)
		return -errno;
	while (r > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(netlink, buffer, RECEIVE_BUFFER);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buffer, n, sequence, 0, parse, context);
		if (r < 0 && (errno == EPROTO || errno == ESRCH))
			r = MNL_CB_OK;	/* left over from a dump that was given up */
		if (r < 0)
			return -errno;
		/* an answer that is no dump is one message */
		if (!(request->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP)))
			break;
	}
	return 0;
}

static int parse_generation(const struct nlmsghdr *message, void *context)
{
	struct nftnl_gen *gen = nftnl_gen_alloc();

	if (!gen)
		return MNL_CB_ERROR;
	if (nftnl_gen_nlmsg_parse(message, gen) == 0)
		*(uint32_t *)context = nftnl_gen_get_u32(gen, NFTNL_GEN_ID);
	nftnl_gen_free(gen);
	return MNL_CB_STOP;
}

static int generation(struct mnl_socket *netlink, uint32_t *ret)
{
	char buffer[256];

	return merlon_netlink_dump(netlink, nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETGEN, NFPROTO_UNSPEC, 0, 0),
				   parse_generation, ret);
}

/* nft and iptables-nft keep comments there. */
int merlon_udata_string(const void *data, uint32_t len, uint8_t type, char **ret)
{
	const uint8_t *p = data;
	uint32_t at = 0;

	*ret = NULL;
	while (p && at + 2 <= len && at + 2 + p[at + 1] <= len) {
		if (p[at] == type) {
			*ret = strndup((const char *)p + at + 2, p[at + 1]);
			return *ret ? 0 : -ENOMEM;
		}
		at += 2 + p[at + 1];
	}
	return 0;
}

/* The chains of a dormant table are on no hook. */
static bool is_dormant(struct nftnl_table *t)
{
	return nftnl_table_is_set(t, NFTNL_TABLE_FLAGS) &&
	       nftnl_table_get_u32(t, NFTNL_TABLE_FLAGS) & NFT_TABLE_F_DORMANT;
}

static int parse_table(const struct nlmsghdr *message, void *context)
{
	struct merlon_reader *reader = context;
	struct nftnl_table *t = nftnl_table_alloc();
	struct merlon_table *table = NULL;
	bool *dormant = NULL;
	const void *data;
	uint32_t len = 0;

	if (t && nftnl_table_nlmsg_parse(message, t) == 0)
		table = merlon_build_table(reader->ruleset, nftnl_table_get_u32(t, NFTNL_TABLE_FAMILY),
					   nftnl_table_get_str(t, NFTNL_TABLE_NAME));
	if (table) {
		table->handle = nftnl_table_get_u64(t, NFTNL_TABLE_HANDLE);
		data = nftnl_table_get_data(t, NFTNL_TABLE_USERDATA, &len);
		merlon_udata_string(data, len, NFTNL_UDATA_TABLE_COMMENT, &table->comment);
		dormant = reallocarray(reader->dormant, reader->ruleset->n_tables, sizeof(*dormant));
	}
	if (dormant) {
		reader->dormant = dormant;
		dormant[reader->ruleset->n_tables - 1] = is_dormant(t);
	}
	if (t)
		nftnl_table_free(t);
	errno = ENOMEM;
	return dormant ? MNL_CB_OK : MNL_CB_ERROR;
}

static bool find_table(const struct merlon_ruleset *rs, uint8_t family, const char *name, uint32_t *ret)
{
	size_t i;

	for (i = 0; i < rs->n_tables; i++)
		if (rs->table[i].family == family && strcmp(rs->table[i].name, name) == 0) {
			*ret = i;
			return true;
		}
	return false;
}

/*
 * What iptables-nft made for its tables mangle, raw and security is theirs, as in iptables-save files: chains of these names at the
 * priorities of linux/netfilter_ipv4.h (iptables/nft.c, xtables_ipv4).
 */
static bool is_of_xtables(const struct merlon_table *table, const struct merlon_chain *chain, uint32_t hook)
{
	static const char *const name[] = {
		[NF_INET_PRE_ROUTING] = "PREROUTING", [NF_INET_LOCAL_IN] = "INPUT", [NF_INET_FORWARD] = "FORWARD",
		[NF_INET_LOCAL_OUT] = "OUTPUT", [NF_INET_POST_ROUTING] = "POSTROUTING",
	};
	static const struct {
		const char *table;
		int priority;
	} kept[] = { { "mangle", NF_IP_PRI_MANGLE }, { "raw", NF_IP_PRI_RAW }, { "security", NF_IP_PRI_SECURITY } };
	size_t i;

	if ((table->family != NFPROTO_IPV4 && table->family != NFPROTO_IPV6) || hook >= ARRAY_SIZE(name) ||
	    strcmp(chain->name, name[hook]) != 0)
		return false;
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		if (strcmp(table->name, kept[i].table) == 0 && chain->priority == kept[i].priority)
			return true;
	return false;
}

/* Filter chains of input, forward and output are enforced, all other base chains are left to netfilter. */
static void place_base(struct merlon_reader *reader, struct merlon_chain *chain, struct nftnl_chain *c)
{
	const char *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);
	uint8_t family = reader->ruleset->table[chain->table].family;

	chain->base = true;
	chain->behind_input = !reader->dormant[chain->table] && merlon_nfproto_is_behind_input(family, nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM));
	chain->priority = nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO);
	chain->drop = !reader->dormant[chain->table] && nftnl_chain_is_set(c, NFTNL_CHAIN_POLICY) &&
		      nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP;
	chain->nat = type && strcmp(type, "nat") == 0;
	chain->kept = !type || strcmp(type, "filter") != 0 || reader->dormant[chain->table] ||
		      (family != NFPROTO_INET && family != NFPROTO_IPV4 && family != NFPROTO_IPV6);
	switch (nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM)) {
	case NF_INET_LOCAL_IN:
		chain->hook = MERLON_INPUT;
		break;
	case NF_INET_FORWARD:
		chain->hook = MERLON_FORWARD;
		break;
	case NF_INET_LOCAL_OUT:
		chain->hook = MERLON_OUTPUT;
		break;
	default:
		chain->kept = true;
	}
	chain->kept |= is_of_xtables(&reader->ruleset->table[chain->table], chain, nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM));
}

static int parse_chain(const struct nlmsghdr *message, void *context)
{
	struct merlon_reader *reader = context;
	struct nftnl_chain *c = nftnl_chain_alloc();
	struct merlon_chain *chain;
	uint32_t table, len = 0;
	const void *data;
	int r = MNL_CB_ERROR;

	errno = ENOMEM;
	if (!c || nftnl_chain_nlmsg_parse(message, c) < 0)
		goto out;
	/* of a table that was not there a moment ago: read again */
	errno = EINTR;
	if (!find_table(reader->ruleset, nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY),
			nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE), &table))
		goto out;
	errno = ENOMEM;
	chain = merlon_build_chain(reader->ruleset, table, nftnl_chain_get_str(c, NFTNL_CHAIN_NAME));
	if (!chain)
		goto out;
	chain->handle = nftnl_chain_get_u64(c, NFTNL_CHAIN_HANDLE);
	data = nftnl_chain_get_data(c, NFTNL_CHAIN_USERDATA, &len);
	if (merlon_udata_string(data, len, NFTNL_UDATA_CHAIN_COMMENT, &chain->comment) < 0)
		goto out;
	if (nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM))
		place_base(reader, chain, c);
	r = MNL_CB_OK;
out:
	if (c)
		nftnl_chain_free(c);
	return r;
}

static struct merlon_chain *chain_of(struct merlon_reader *reader, const struct nftnl_rule *rule)
{
	struct merlon_ruleset *rs = reader->ruleset;
	uint8_t family = nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY);
	const char *table = nftnl_rule_get_str(rule, NFTNL_RULE_TABLE);
	const char *name = nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN);
	size_t i;

	/* rules come in the order of the chains: look from the last one on */
	for (i = 0; i < rs->n_chains; i++) {
		uint32_t at = (reader->chain + i) % rs->n_chains;
		const struct merlon_table *t = &rs->table[rs->chain[at].table];

		if (t->family == family && strcmp(rs->chain[at].name, name) == 0 && strcmp(t->name, table) == 0) {
			reader->chain = at;
			return &rs->chain[at];
		}
	}
	return NULL;
}

static int read_rule(struct merlon_reader *reader, const struct nlmsghdr *message, struct nftnl_rule *from)
{
	struct merlon_chain *chain = chain_of(reader, from);
	struct merlon_rule *rule = chain ? merlon_build_rule(chain) : NULL;
	struct nftnl_expr_iter *iter;
	struct nftnl_expr *e;
	struct merlon_eval eval = { .rule = rule, .family = -1, .proto = -1 };
	const void *comment;
	uint32_t len = 0;
	int r;

	/* a rule of a chain that was not there a moment ago: read again */
	if (!rule)
		return chain ? -ENOMEM : -EINTR;
	rule->handle = nftnl_rule_get_u64(from, NFTNL_RULE_HANDLE);
	rule->does = reader->beside || reader->dormant[chain->table] ? 0 : merlon_message_does(message);
	eval.nfproto = reader->ruleset->table[chain->table].family;
	if (eval.nfproto == NFPROTO_IPV4)
		eval.family = MERLON_IPV4;
	if (eval.nfproto == NFPROTO_IPV6)
		eval.family = MERLON_IPV6;
	comment = nftnl_rule_get_data(from, NFTNL_RULE_USERDATA, &len);
	r = merlon_udata_string(comment, len, NFTNL_UDATA_RULE_COMMENT, &rule->comment);
	iter = nftnl_expr_iter_create(from);
	if (!iter)
		return -ENOMEM;
	/* also after a refusal: where it jumps to counts */
	while (r == 0 && (e = nftnl_expr_iter_next(iter)))
		r = merlon_expr_read(reader, &eval, e);
	nftnl_expr_iter_destroy(iter);
	merlon_eval_finish(&eval);
	return r;
}

static int parse_rule(const struct nlmsghdr *message, void *context)
{
	struct merlon_reader *reader = context;
	const struct merlon_along *along = reader->along;
	struct nftnl_rule *rule = nftnl_rule_alloc();
	int r = -ENOMEM;

	if (rule && along && along->each_rule && !reader->beside && along->each_rule(message, along->context) < 0)
		r = -errno;
	else if (rule && nftnl_rule_nlmsg_parse(message, rule) == 0)
		r = read_rule(reader, message, rule);
	if (rule)
		nftnl_rule_free(rule);
	errno = -r;
	return r < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int dump(struct merlon_reader *reader, uint16_t what, mnl_cb_t parse)
{
	char buffer[256];
	struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, what, NFPROTO_UNSPEC, NLM_F_DUMP, 0);

	return merlon_netlink_dump(reader->netlink, request, parse, reader);
}

/* What takes no memory for each rule, whose allocation two threads would wait for: the half of a reading that they can share. */
struct beside {
	const struct merlon_heard *heard;
	const struct merlon_along *along;
	uint32_t *does;		/* [merlon_heard_count()] */
	size_t n;
	int error;
};

static int note_beside(const struct nlmsghdr *message, void *context)
{
	struct beside *b = context;

	b->does[b->n++] = merlon_message_does(message);
	return b->along->each_rule ? b->along->each_rule(message, b->along->context) : MNL_CB_OK;
}

static void *run_beside(void *context)
{
	struct beside *b = context;

	b->error = merlon_heard_run(b->heard, note_beside, b);
	return NULL;
}

/* The rules have been heard chain by chain. */
static int enter_does(struct merlon_reader *reader, const struct beside *b)
{
	const struct merlon_ruleset *rs = reader->ruleset;
	size_t i, j, n = 0;

	for (i = 0; i < rs->n_chains; i++)
		for (j = 0; j < rs->chain[i].n; j++, n++) {
			if (n == b->n)
				return -EPROTO;
			rs->chain[i].rule[j].does = reader->dormant[rs->chain[i].table] ? 0 : b->does[n];
		}
	return n == b->n ? 0 : -EPROTO;
}

static int read_heard(struct merlon_reader *reader, const struct merlon_heard *heard)
{
	size_t n = merlon_heard_count(heard);
	_cleanup_free_ uint32_t *does = n < MANY ? NULL : calloc(n, sizeof(*does));
	struct beside beside = { .heard = heard, .along = reader->along, .does = does };
	pthread_t thread;
	int r;

	reader->beside = does && !pthread_create(&thread, NULL, run_beside, &beside);
	r = merlon_heard_run(heard, parse_rule, reader);
	if (!reader->beside)
		return r;
	pthread_join(thread, NULL);
	if (r == 0)
		r = beside.error;
	return r ? r : enter_does(reader, &beside);
}

static int read_rules(struct merlon_reader *reader, uint32_t generation)
{
	struct merlon_heard *heard = reader->along ? reader->along->heard : NULL;

	if (heard && merlon_heard_all(heard, generation, reader->ruleset))
		return read_heard(reader, heard);
	return dump(reader, NFT_MSG_GETRULE, parse_rule);
}

/* What the rules of one generation say; -EINTR if it changed meanwhile. */
static int read_once(struct merlon_reader *reader)
{
	uint32_t before = 0, after = 0;
	int r = generation(reader->netlink, &before);

	if (r == 0)
		r = dump(reader, NFT_MSG_GETTABLE, parse_table);
	if (r == 0)
		r = dump(reader, NFT_MSG_GETCHAIN, parse_chain);
	if (r == 0)
		r = merlon_sets_read(reader);
	if (r == 0)
		r = merlon_sets_declare(reader);
	if (r == 0)
		r = read_rules(reader, before);
	if (r == 0)
		r = generation(reader->netlink, &after);
	/* a table or set that vanished between two dumps */
	if (r == -ENOENT)
		r = -EINTR;
	if (r == 0 && before != after)
		r = -EINTR;
	return r;
}

static int explain(int r, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };

	if (r == -EINTR) {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "the ruleset kept changing while it was read, %d times", TRIES);
		return -EAGAIN;
	}
	merlon_diag_add(diag, MERLON_ERROR, nowhere, "cannot read nf_tables: %s", strerror(-r));
	if (r == -EPERM)
		merlon_diag_cure(diag, "run as root, or give CAP_NET_ADMIN");
	if (r == -EINVAL || r == -EOPNOTSUPP)
		merlon_diag_cure(diag, "the kernel needs nf_tables (CONFIG_NF_TABLES)");
	return r;
}

int merlon_read_along(struct mnl_socket *netlink, const struct merlon_along *along, struct merlon_ruleset **ret_ruleset,
		      struct merlon_diag *diag)
{
	int r = -EINTR, tries;

	for (tries = 0; tries < TRIES && r == -EINTR; tries++) {
		_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = merlon_ruleset_new();
		struct merlon_reader reader = { .netlink = netlink, .ruleset = ruleset, .along = along };

		r = ruleset ? read_once(&reader) : -ENOMEM;
		if (r == 0)
			r = merlon_build_settle(ruleset);
		merlon_sets_free(&reader);
		free(reader.dormant);
		if (r == 0)
			*ret_ruleset = TAKE_PTR(ruleset);
	}
	return r < 0 ? explain(r, diag) : 0;
}

int merlon_read_netlink(struct mnl_socket *netlink, struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag)
{
	return merlon_read_along(netlink, NULL, ret_ruleset, diag);
}
