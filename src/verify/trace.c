/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which rules of nf_tables a packet meets: by a table that asks for it, and the messages that then come. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/trace.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "src/util/cleanup.h"
#include "src/util/netns.h"
#include "src/verify/run.h"

#define TABLE "merlon-verify-trace"

static const struct {
	const char *chain;
	uint32_t hook;
} beginning[] = { { "in", NF_INET_PRE_ROUTING }, { "out", NF_INET_LOCAL_OUT } };

/* meta nftrace set 1 */
static int put_rule(struct merlon_nft_batch *b, const char *chain)
{
	struct nlmsghdr *h = merlon_nft_next(b, NFT_MSG_NEWRULE, NFPROTO_INET, NLM_F_CREATE | NLM_F_APPEND);
	struct nftnl_expr *one = nftnl_expr_alloc("immediate"), *set = nftnl_expr_alloc("meta");
	struct nftnl_rule *rule = nftnl_rule_alloc();
	uint8_t value = 1;

	if (!h || !rule || !one || !set)
		return -ENOMEM;
	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, TABLE);
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
	nftnl_expr_set_u32(one, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
	nftnl_expr_set(one, NFTNL_EXPR_IMM_DATA, &value, sizeof(value));
	nftnl_rule_add_expr(rule, one);
	nftnl_expr_set_u32(set, NFTNL_EXPR_META_SREG, NFT_REG_1);
	nftnl_expr_set_u32(set, NFTNL_EXPR_META_KEY, NFT_META_NFTRACE);
	nftnl_rule_add_expr(rule, set);
	nftnl_rule_nlmsg_build_payload(h, rule);
	nftnl_rule_free(rule);
	merlon_nft_put(b, h);
	return 0;
}

static int switch_on(struct mnl_socket *netfilter)
{
	_cleanup_(merlon_nft_clear) struct merlon_nft_batch b;
	int r = merlon_nft_begin(&b, netfilter);
	size_t i;

	if (!r)
		r = merlon_nft_put_table(&b, NFT_MSG_NEWTABLE, TABLE, 0);
	for (i = 0; i < ARRAY_SIZE(beginning) && !r; i++) {
		r = merlon_nft_put_chain(&b, TABLE, beginning[i].chain, beginning[i].hook, INT_MIN);
		if (!r)
			r = put_rule(&b, beginning[i].chain);
	}
	return r ? r : merlon_nft_commit(&b);
}

static int switch_off(struct mnl_socket *netfilter)
{
	_cleanup_(merlon_nft_clear) struct merlon_nft_batch b;
	int r = merlon_nft_begin(&b, netfilter);

	if (!r)
		r = merlon_nft_put_table(&b, NFT_MSG_DELTABLE, TABLE, 0);
	return r ? r : merlon_nft_commit(&b);
}

struct telling {
	const struct merlon_ruleset *rules;	/* as they are in the host now */
	json_t *list;
};

static const char *text_of(const struct merlon_ruleset *rs, const char *table, const char *chain, uint64_t handle)
{
	size_t c, i;

	for (c = 0; c < rs->n_chains; c++) {
		if (strcmp(rs->chain[c].name, chain) || strcmp(rs->table[rs->chain[c].table].name, table))
			continue;
		for (i = 0; i < rs->chain[c].n; i++)
			if (rs->chain[c].rule[i].handle == handle)
				return rs->chain[c].rule[i].text;
	}
	return NULL;
}

static const char *verdict_name(uint32_t verdict)
{
	switch ((int)verdict) {
	case NF_ACCEPT: return "accept";
	case NF_DROP: return "drop";
	case NFT_CONTINUE: return "continue";
	case NFT_BREAK: return "break";
	case NFT_JUMP: return "jump";
	case NFT_GOTO: return "goto";
	case NFT_RETURN: return "return";
	}
	return (verdict & NF_VERDICT_MASK) == NF_STOLEN ? "stolen" : "?";
}

static void tell(const struct telling *telling, const struct nftnl_trace *t)
{
	static const char *const kind[] = { [NFT_TRACETYPE_POLICY] = "policy", [NFT_TRACETYPE_RETURN] = "end of chain",
					    [NFT_TRACETYPE_RULE] = "rule" };
	uint32_t type = nftnl_trace_get_u32(t, NFTNL_TRACE_TYPE);
	const char *table = nftnl_trace_get_str(t, NFTNL_TRACE_TABLE), *chain = nftnl_trace_get_str(t, NFTNL_TRACE_CHAIN);
	uint64_t handle = nftnl_trace_is_set(t, NFTNL_TRACE_RULE_HANDLE) ? nftnl_trace_get_u64(t, NFTNL_TRACE_RULE_HANDLE) : 0;
	uint32_t verdict = type == NFT_TRACETYPE_POLICY && nftnl_trace_is_set(t, NFTNL_TRACE_POLICY) ?
			   nftnl_trace_get_u32(t, NFTNL_TRACE_POLICY) : nftnl_trace_get_u32(t, NFTNL_TRACE_VERDICT);

	if (!table || !chain || !strcmp(table, TABLE) || !strcmp(table, MERLON_OBSERVER_TABLE) || type >= ARRAY_SIZE(kind))
		return;
	json_array_append_new(telling->list, json_pack("{s:s, s:s, s:s?, s:s?, s:s}", "table", table, "chain", chain, "step", kind[type],
						       "rule", handle ? text_of(telling->rules, table, chain, handle) : NULL,
						       "verdict", verdict_name(verdict)));
}

static int on_message(const struct nlmsghdr *h, void *context)
{
	struct nftnl_trace *t = nftnl_trace_alloc();

	if (t && h->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE) && nftnl_trace_nlmsg_parse(h, t) >= 0)
		tell(context, t);
	if (t)
		nftnl_trace_free(t);
	return MNL_CB_OK;
}

static void read_messages(int fd, struct telling *telling)
{
	static char buffer[1 << 16];
	ssize_t n;

	while ((n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
		mnl_cb_run(buffer, n, 0, 0, on_message, telling);
}

json_t *merlon_trace(struct merlon_run *run, int (*play)(void *context), void *context)
{
	const struct merlon_world *w = &run->v->world[MERLON_WHO_KERNEL];
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *rules = NULL;
	_cleanup_close_ int fd = merlon_netns_socket(w->netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	struct telling telling = { .list = json_array() };
	struct merlon_diag ignored = { 0 };
	int group = NFNLGRP_NFTRACE, bytes = 1 << 24;

	if (fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)) && !setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) &&
	    !merlon_read_netlink(w->netfilter, &rules, &ignored) && !switch_on(w->netfilter)) {
		telling.rules = rules;
		if (play(context) >= 0)
			read_messages(fd, &telling);
		switch_off(w->netfilter);
	}
	merlon_diag_clear(&ignored);
	return telling.list;
}
