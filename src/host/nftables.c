/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chains of nf_tables in the caller's namespace, read with as little work a rule as possible. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "src/host/chains.h"
#include "src/util/cleanup.h"

struct table {
	uint8_t family;
	char name[NFT_TABLE_MAXNAMELEN];
};

struct reader {
	struct merlon_chains *chains;
	struct table *dormant;	/* whose chains are on no hook */
	size_t n_dormant;
	size_t *sorted;		/* indexes of chains, by family, table and name */
	size_t last;		/* chain of the last rule: they come chain by chain */
};

static const char *string(const struct merlon_attributes *a, unsigned type)
{
	return a->at[type] && mnl_attr_validate(a->at[type], MNL_TYPE_NUL_STRING) >= 0 ? mnl_attr_get_str(a->at[type]) : "";
}

static uint8_t parse(const struct nlmsghdr *message, struct merlon_attributes *ret)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);

	*ret = (struct merlon_attributes){ 0 };
	mnl_attr_parse(message, sizeof(*header), merlon_on_attribute, ret);
	return header->nfgen_family;
}

static int on_table(const struct nlmsghdr *message, void *data)
{
	struct reader *reader = data;
	struct merlon_attributes a;
	uint8_t family = parse(message, &a);
	struct table *grown;

	if (!(merlon_attribute_u32(&a, NFTA_TABLE_FLAGS, 0) & NFT_TABLE_F_DORMANT))
		return MNL_CB_OK;
	grown = reallocarray(reader->dormant, reader->n_dormant + 1, sizeof(*grown));
	if (!grown) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	reader->dormant = grown;
	grown += reader->n_dormant++;
	grown->family = family;
	snprintf(grown->name, sizeof(grown->name), "%s", string(&a, NFTA_TABLE_NAME));
	return MNL_CB_OK;
}

static bool is_dormant(const struct reader *reader, uint8_t family, const char *table)
{
	size_t i;

	for (i = 0; i < reader->n_dormant; i++)
		if (reader->dormant[i].family == family && !strcmp(reader->dormant[i].name, table))
			return true;
	return false;
}

static uint32_t hook_of(const struct nlattr *nest)
{
	struct merlon_attributes hook = { 0 };

	mnl_attr_parse_nested(nest, merlon_on_attribute, &hook);
	return merlon_attribute_u32(&hook, NFTA_HOOK_HOOKNUM, ~0U);
}

static int on_chain(const struct nlmsghdr *message, void *data)
{
	struct reader *reader = data;
	struct merlon_host_chain *chain;
	struct merlon_attributes a;
	uint8_t family = parse(message, &a);
	const char *table = string(&a, NFTA_CHAIN_TABLE);

	errno = ENOMEM;
	chain = merlon_chains_add(reader->chains, "nf_tables", family, table, string(&a, NFTA_CHAIN_NAME));
	if (!chain)
		return MNL_CB_ERROR;
	if (!a.at[NFTA_CHAIN_HOOK] || is_dormant(reader, family, table))
		return MNL_CB_OK;
	chain->base = true;
	chain->hook = hook_of(a.at[NFTA_CHAIN_HOOK]);
	chain->behind_input = merlon_nfproto_is_behind_input(family, chain->hook);
	if (merlon_attribute_u32(&a, NFTA_CHAIN_POLICY, NF_ACCEPT) == NF_DROP)
		merlon_chain_does(chain, 1U << MERLON_DOES_STOP, 0);
	return MNL_CB_OK;
}

static int compare(const struct merlon_host_chain *chain, uint8_t family, const char *table, const char *name)
{
	int order;

	if (chain->family != family)
		return chain->family < family ? -1 : 1;
	order = strcmp(chain->table, table);
	return order ? order : strcmp(chain->name, name);
}

static int by_name(const void *a, const void *b, void *context)
{
	const struct merlon_host_chain *chain = context, *y = &chain[*(const size_t *)b];

	return compare(&chain[*(const size_t *)a], y->family, y->table, y->name);
}

/* n: there is none. */
static size_t find(const struct reader *reader, uint8_t family, const char *table, const char *name)
{
	const struct merlon_chains *chains = reader->chains;
	size_t low = 0, high = chains->n;

	if (reader->last < chains->n && !compare(&chains->chain[reader->last], family, table, name))
		return reader->last;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare(&chains->chain[reader->sorted[middle]], family, table, name);

		if (!order)
			return reader->sorted[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return chains->n;
}

/* A verdict that is looked up may lead to any chain of the table. */
static int jump_anywhere(struct merlon_chains *chains, size_t from)
{
	size_t to;
	int r = 0;

	if (chains->chain[from].anywhere)
		return 0;
	chains->chain[from].anywhere = true;
	for (to = 0; to < chains->n && r == 0; to++)
		if (chains->chain[to].family == chains->chain[from].family && !chains->chain[to].base &&
		    !strcmp(chains->chain[to].table, chains->chain[from].table))
			r = merlon_chains_jump(chains, from, to);
	return r;
}

static int follow_verdict(struct reader *reader, size_t from, const struct nlattr *data)
{
	struct merlon_host_chain *chain = &reader->chains->chain[from];
	struct merlon_attributes a = { 0 }, verdict = { 0 };
	size_t to;

	mnl_attr_parse_nested(data, merlon_on_attribute, &a);
	if (!a.at[NFTA_DATA_VERDICT])
		return 0;
	mnl_attr_parse_nested(a.at[NFTA_DATA_VERDICT], merlon_on_attribute, &verdict);
	if (!verdict.at[NFTA_VERDICT_CHAIN])
		return 0;
	to = find(reader, chain->family, chain->table, string(&verdict, NFTA_VERDICT_CHAIN));
	return to < reader->chains->n ? merlon_chains_jump(reader->chains, from, to) : -EINTR;
}

static int follow(struct reader *reader, size_t from, const char *name, const struct nlattr *data)
{
	struct merlon_attributes a = { 0 };
	bool lookup = !strcmp(name, "lookup");

	if (!data || (!lookup && strcmp(name, "immediate")))
		return 0;
	mnl_attr_parse_nested(data, merlon_on_attribute, &a);
	if (!lookup)
		return a.at[NFTA_IMMEDIATE_DATA] ? follow_verdict(reader, from, a.at[NFTA_IMMEDIATE_DATA]) : 0;
	if (!a.at[NFTA_LOOKUP_DREG] || merlon_attribute_u32(&a, NFTA_LOOKUP_DREG, ~0U) != NFT_REG_VERDICT)
		return 0;
	return jump_anywhere(reader->chains, from);
}

static int on_rule(const struct nlmsghdr *message, void *data)
{
	struct reader *reader = data;
	struct merlon_attributes a;
	uint8_t family = parse(message, &a);
	size_t at = find(reader, family, string(&a, NFTA_RULE_TABLE), string(&a, NFTA_RULE_CHAIN));
	struct merlon_host_chain *chain = &reader->chains->chain[at];
	const struct nlattr *element;
	uint64_t handle = 0;
	int r = 0;

	/* of a chain that was not there a moment ago: read again */
	errno = EINTR;
	if (at == reader->chains->n)
		return MNL_CB_ERROR;
	reader->last = at;
	chain->rules++;
	if (a.at[NFTA_RULE_HANDLE] && mnl_attr_validate(a.at[NFTA_RULE_HANDLE], MNL_TYPE_U64) >= 0)
		handle = be64toh(mnl_attr_get_u64(a.at[NFTA_RULE_HANDLE]));
	merlon_chain_does(chain, merlon_message_does(message), handle);
	if (!a.at[NFTA_RULE_EXPRESSIONS])
		return MNL_CB_OK;
	mnl_attr_for_each_nested(element, a.at[NFTA_RULE_EXPRESSIONS]) {
		struct merlon_attributes e = { 0 };

		mnl_attr_parse_nested(element, merlon_on_attribute, &e);
		if (r == 0)
			r = follow(reader, at, string(&e, NFTA_EXPR_NAME), e.at[NFTA_EXPR_DATA]);
	}
	errno = -r;
	return r < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int dump(struct reader *reader, uint16_t what, mnl_cb_t on_message)
{
	char buffer[64] __attribute__((aligned(MNL_ALIGNTO)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | what;
	request->nlmsg_flags = NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(request, sizeof(struct nfgenmsg));
	return merlon_netlink_exchange(NETLINK_NETFILTER, request, false, on_message, reader);
}

static int sort(struct reader *reader)
{
	const struct merlon_chains *chains = reader->chains;
	size_t i;

	reader->sorted = calloc(chains->n + 1, sizeof(*reader->sorted));
	if (!reader->sorted)
		return -ENOMEM;
	for (i = 0; i < chains->n; i++)
		reader->sorted[i] = i;
	if (chains->n)
		qsort_r(reader->sorted, chains->n, sizeof(*reader->sorted), by_name, chains->chain);
	return 0;
}

int merlon_chains_of_nftables(struct merlon_chains *chains)
{
	struct reader reader = { .chains = chains };
	int r = dump(&reader, NFT_MSG_GETTABLE, on_table);

	if (r == 0)
		r = dump(&reader, NFT_MSG_GETCHAIN, on_chain);
	if (r == 0)
		r = sort(&reader);
	if (r == 0 && chains->n)
		r = dump(&reader, NFT_MSG_GETRULE, on_rule);
	free(reader.dormant);
	free(reader.sorted);
	return r;
}
