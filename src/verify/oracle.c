/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/oracle.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "src/util/cleanup.h"

static int fail(struct merlon_diag *diag, int error, const char *what)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s: %s", what, strerror(-error));
	return error;
}

static int flush(struct mnl_socket *netfilter)
{
	_cleanup_(merlon_nft_clear) struct merlon_nft_batch b;
	int r = merlon_nft_begin(&b, netfilter);
	struct nlmsghdr *h = r < 0 ? NULL : merlon_nft_next(&b, NFT_MSG_DELTABLE, NFPROTO_UNSPEC, 0);

	if (!h)
		return -ENOMEM;
	merlon_nft_put(&b, h);
	return merlon_nft_commit(&b);
}

/* `handle` 0: all rules of the chain. */
static int drop_rule(struct merlon_nft_batch *b, const struct merlon_table *table, const struct merlon_chain *chain,
		     uint64_t handle)
{
	struct nlmsghdr *h = merlon_nft_next(b, NFT_MSG_DELRULE, table->family, 0);
	struct nftnl_rule *rule = nftnl_rule_alloc();

	if (!h || !rule)
		return -ENOMEM;
	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, table->family);
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, table->name);
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain->name);
	if (handle)
		nftnl_rule_set_u64(rule, NFTNL_RULE_HANDLE, handle);
	nftnl_rule_nlmsg_build_payload(h, rule);
	nftnl_rule_free(rule);
	merlon_nft_put(b, h);
	return 0;
}

static int drop_chain(struct merlon_nft_batch *b, const struct merlon_table *table, const struct merlon_chain *chain)
{
	struct nlmsghdr *h = merlon_nft_next(b, NFT_MSG_DELCHAIN, table->family, 0);
	struct nftnl_chain *c = nftnl_chain_alloc();

	if (!h || !c)
		return -ENOMEM;
	nftnl_chain_set_u32(c, NFTNL_CHAIN_FAMILY, table->family);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, table->name);
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain->name);
	nftnl_chain_nlmsg_build_payload(h, c);
	nftnl_chain_free(c);
	merlon_nft_put(b, h);
	return 0;
}

/* A chain's handle is 0 where it was only read from the text of a section that is not loaded. */
static int leave_out(struct merlon_nft_batch *b, const struct merlon_ruleset *rs, const struct merlon_chain *chain)
{
	const struct merlon_table *table = &rs->table[chain->table];
	size_t i;
	int r = 0;

	if (!chain->handle)
		return 0;
	if (chain->kept && chain->base) {
		r = drop_rule(b, table, chain, 0);
		return r ? r : drop_chain(b, table, chain);
	}
	for (i = 0; i < chain->n && !r && !chain->kept; i++)
		if (chain->rule[i].status == MERLON_REFUSED && !chain->rule[i].commented)
			r = drop_rule(b, table, chain, chain->rule[i].handle);
	return r;
}

static bool is_refused(void *context, const struct merlon_rule *rule)
{
	(void)context;
	return rule->status == MERLON_REFUSED;
}

/* What merlon does not enforce, out of nf_tables and out of what was read of it. */
static int leave_out_all(struct mnl_socket *netfilter, struct merlon_ruleset *rs)
{
	_cleanup_(merlon_nft_clear) struct merlon_nft_batch b;
	int r = merlon_nft_begin(&b, netfilter);
	size_t i;

	for (i = 0; i < rs->n_chains && !r; i++)
		r = leave_out(&b, rs, &rs->chain[i]);
	r = r ? r : merlon_nft_commit(&b);
	for (i = 0; i < rs->n_chains && !r; i++)
		r = merlon_chain_leave_out(&rs->chain[i], is_refused, NULL);
	return r;
}

static const struct merlon_chain *find_chain(const struct merlon_ruleset *in, const struct merlon_ruleset *rs,
					     const struct merlon_chain *chain)
{
	const struct merlon_table *table = &rs->table[chain->table];
	size_t i;

	for (i = 0; i < in->n_chains; i++) {
		const struct merlon_table *t = &in->table[in->chain[i].table];

		if (t->family == table->family && !strcmp(in->chain[i].name, chain->name) && !strcmp(t->name, table->name))
			return &in->chain[i];
	}
	return NULL;
}

const struct merlon_rule *merlon_oracle_twin(const struct merlon_tempo_change *rules, const struct nftnl_rule *rule)
{
	const char *table = nftnl_rule_get_str(rule, NFTNL_RULE_TABLE), *chain = nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN);
	uint64_t handle = nftnl_rule_get_u64(rule, NFTNL_RULE_HANDLE);
	uint32_t family = nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY);
	const struct merlon_ruleset *rs = rules->loaded;
	const struct merlon_chain *there;
	size_t c, i;

	for (c = 0; c < rs->n_chains; c++) {
		const struct merlon_table *t = &rs->table[rs->chain[c].table];

		if ((uint32_t)t->family != family || strcmp(t->name, table) || strcmp(rs->chain[c].name, chain))
			continue;
		there = find_chain(rules->policy, rs, &rs->chain[c]);
		for (i = 0; there && i < rs->chain[c].n && i < there->n; i++)
			if (rs->chain[c].rule[i].handle == handle)
				return &there->rule[i];
	}
	return NULL;
}

int merlon_oracle_load(const struct merlon_world *w, const struct merlon_oracle_request *request, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *rs = NULL;
	int r;

	r = flush(w->netfilter);
	if (r < 0)
		return fail(diag, r, "cannot empty nf_tables of the scratch host");
	r = merlon_load(w->netns, request->source, request->n_sources, &rs, diag);
	if (r < 0)
		return r;
	r = leave_out_all(w->netfilter, rs);
	if (r < 0)
		return fail(diag, r, "cannot take out of the scratch host what merlon leaves to netfilter");
	r = merlon_oracle_change(w->netfilter, &(struct merlon_tempo_change){ rs, request->policy, request->token_ns });
	return r < 0 ? fail(diag, r, "cannot replace rules of the scratch host that log or have a rate limit") : 0;
}

int merlon_oracle_forget(const struct merlon_world *w)
{
	char buffer[256];
	struct nlmsghdr *h = nftnl_nlmsg_build_hdr(buffer, 0, AF_UNSPEC, 0, 0);

	h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
	return merlon_netlink_ask(w->netfilter, h);
}

/* The same rule of the other reading. Counters come chain by chain: `at` is where the last one was. */
static const struct merlon_rule *twin(const struct merlon_ruleset *in, const struct merlon_ruleset *rs,
				      const struct merlon_rule *rule, size_t *at)
{
	const struct merlon_chain *there;
	size_t i;

	for (i = 0; i < rs->n_chains; i++, *at = (*at + 1) % rs->n_chains) {
		const struct merlon_chain *chain = &rs->chain[*at];

		if (rule < chain->rule || rule >= chain->rule + chain->n)
			continue;
		there = find_chain(in, rs, chain);
		return there && there->n == chain->n ? &there->rule[rule - chain->rule] : NULL;
	}
	return NULL;
}

int merlon_oracle_counters(const struct merlon_world *w, const struct merlon_policy *policy, struct merlon_counter *ret,
			   struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *now = NULL;
	size_t at = 0;
	uint32_t i;
	int r;

	r = merlon_read_netlink(w->netfilter, &now, diag);
	for (i = 0; i < policy->n_counters && !r; i++) {
		const struct merlon_counter_origin *o = &policy->counter[i];
		const struct merlon_rule *rule = twin(now, policy->ruleset, o->rule, &at);

		if (!rule || o->statement >= rule->n || rule->statement[o->statement].kind != MERLON_S_COUNTER)
			return fail(diag, -ESTALE, "nf_tables of the scratch host does not have the rules that were loaded");
		ret[i].packets = rule->statement[o->statement].counter.packets;
		ret[i].bytes = rule->statement[o->statement].counter.bytes;
	}
	return r;
}
