/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A log that goes to syslog says nothing in a namespace (net.netfilter.nf_log_all_netns), and must not fill the host's.
 * Rules that log are replaced, in their place, by the same rules that log to a group; those with a rate limit by the same
 * ones at another tempo. An anonymous set can't be bound to a second rule: the new one gets a copy.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/xt_LOG.h>
#include <linux/netfilter/xt_NFLOG.h>
#include <stdlib.h>
#include <string.h>

#include "compat/snapshot.h"
#include "src/util/cleanup.h"
#include "src/verify/oracle.h"

struct changes {
	struct mnl_socket *netfilter;
	const struct merlon_tempo_change *tempo;
	struct nftnl_rule **rule;	/* owned */
	size_t n, room;
	struct merlon_nft_batch batch;
	uint32_t next_id;
};

/* The prefix of what logs, NULL: it does not. */
static const char *prefix_of(const struct nftnl_expr *e)
{
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME), *target, *prefix;
	const void *info;
	uint32_t bytes = 0;

	if (!strcmp(name, "log")) {
		prefix = nftnl_expr_is_set(e, NFTNL_EXPR_LOG_PREFIX) ? nftnl_expr_get_str(e, NFTNL_EXPR_LOG_PREFIX) : NULL;
		return prefix ? prefix : "";
	}
	if (strcmp(name, "target"))
		return NULL;
	target = nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME);
	info = nftnl_expr_get(e, NFTNL_EXPR_TG_INFO, &bytes);
	if (!strcmp(target, "LOG") && bytes >= sizeof(struct xt_log_info))
		return ((const struct xt_log_info *)info)->prefix;
	if (!strcmp(target, "NFLOG") && bytes >= sizeof(struct xt_nflog_info))
		return ((const struct xt_nflog_info *)info)->prefix;
	return NULL;
}

static bool is_limit(const struct nftnl_expr *e)
{
	return !strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "limit");
}

static bool is_to_change(const struct nftnl_rule *rule)
{
	struct nftnl_expr_iter *iter = nftnl_expr_iter_create(rule);
	struct nftnl_expr *e;
	bool found = false;

	while (iter && !found && (e = nftnl_expr_iter_next(iter)))
		found = prefix_of(e) || is_limit(e);
	if (iter)
		nftnl_expr_iter_destroy(iter);
	return found;
}

static int keep_rule(const struct nlmsghdr *h, void *context)
{
	struct changes *c = context;
	struct nftnl_rule *rule = nftnl_rule_alloc();

	if (!rule || nftnl_rule_nlmsg_parse(h, rule) < 0 || !is_to_change(rule)) {
		if (rule)
			nftnl_rule_free(rule);
		return rule ? MNL_CB_OK : MNL_CB_ERROR;
	}
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		struct nftnl_rule **grown = realloc(c->rule, room * sizeof(struct nftnl_rule *));

		if (!grown) {
			nftnl_rule_free(rule);
			return MNL_CB_ERROR;
		}
		c->rule = grown;
		c->room = room;
	}
	c->rule[c->n++] = rule;
	return MNL_CB_OK;
}

static int dump(struct mnl_socket *socket, struct nlmsghdr *request, mnl_cb_t each, void *context)
{
	static char buffer[1 << 17];
	unsigned portid = mnl_socket_get_portid(socket);
	ssize_t n;
	int r = mnl_socket_sendto(socket, request, request->nlmsg_len) < 0 ? -1 : 1;

	while (r > 0 && (n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer))) > 0)
		r = mnl_cb_run(buffer, n, request->nlmsg_seq, portid, each, context);
	return r < 0 ? (errno ? -errno : -ENOMEM) : 0;
}

static int read_set(const struct nlmsghdr *h, void *context)
{
	return nftnl_set_nlmsg_parse(h, context) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int read_elements(const struct nlmsghdr *h, void *context)
{
	return nftnl_set_elems_nlmsg_parse(h, context) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

/* Asks for a set of the rule's table, or its elements; the answer goes into `to`. */
static int ask_for_set(struct mnl_socket *socket, const struct nftnl_set *question, uint16_t type, mnl_cb_t read, struct nftnl_set *to)
{
	uint32_t family = nftnl_set_get_u32(question, NFTNL_SET_FAMILY);
	bool all = type == NFT_MSG_GETSETELEM;
	char buffer[1024];
	struct nlmsghdr *h = nftnl_nlmsg_build_hdr(buffer, type, family, all ? NLM_F_DUMP : NLM_F_ACK, 1 + all);

	if (all)
		nftnl_set_elems_nlmsg_build_payload(h, (struct nftnl_set *)question);
	else
		nftnl_set_nlmsg_build_payload(h, (struct nftnl_set *)question);
	return dump(socket, h, read, to);
}

static struct nftnl_set *get_set(struct mnl_socket *socket, const struct nftnl_rule *rule, const char *name)
{
	struct nftnl_set *question = nftnl_set_alloc(), *set = nftnl_set_alloc();
	int r = question && set ? 0 : -ENOMEM;

	if (!r) {
		nftnl_set_set_u32(question, NFTNL_SET_FAMILY, nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY));
		nftnl_set_set_str(question, NFTNL_SET_TABLE, nftnl_rule_get_str(rule, NFTNL_RULE_TABLE));
		nftnl_set_set_str(question, NFTNL_SET_NAME, name);
		r = ask_for_set(socket, question, NFT_MSG_GETSET, read_set, set);
	}
	if (!r)
		r = ask_for_set(socket, question, NFT_MSG_GETSETELEM, read_elements, set);
	if (question)
		nftnl_set_free(question);
	if (r && set)
		nftnl_set_free(set);
	errno = -r;
	return r ? NULL : set;
}

static int put_elements(struct merlon_nft_batch *b, struct nftnl_set *set)
{
	struct nftnl_set_elems_iter *iter = nftnl_set_elems_iter_create(set);
	uint32_t family = nftnl_set_get_u32(set, NFTNL_SET_FAMILY);
	struct nlmsghdr *h;
	int more = 1;

	while (iter && more > 0) {
		h = merlon_nft_next(b, NFT_MSG_NEWSETELEM, family, NLM_F_CREATE | NLM_F_EXCL);
		if (!h)
			more = -ENOMEM;
		else {
			more = nftnl_set_elems_nlmsg_build_payload_iter(h, iter);
			merlon_nft_put(b, h);
		}
	}
	if (!iter)
		return -ENOMEM;
	nftnl_set_elems_iter_destroy(iter);
	return more < 0 ? -ENOMEM : 0;
}

/* A copy of the set, which `lookup` is then made to look into. */
static int copy_set(struct changes *c, const struct nftnl_rule *rule, struct nftnl_expr *lookup)
{
	struct nftnl_set *set = get_set(c->netfilter, rule, nftnl_expr_get_str(lookup, NFTNL_EXPR_LOOKUP_SET));
	struct nlmsghdr *h;
	int r;

	if (!set)
		return -errno;
	if (!(nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & NFT_SET_ANONYMOUS)) {
		nftnl_set_free(set);
		return 0;
	}
	nftnl_set_unset(set, NFTNL_SET_HANDLE);
	nftnl_set_set_str(set, NFTNL_SET_NAME, nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & NFT_SET_MAP ? "__map%d" : "__set%d");
	nftnl_set_set_u32(set, NFTNL_SET_ID, ++c->next_id);
	h = merlon_nft_next(&c->batch, NFT_MSG_NEWSET, nftnl_set_get_u32(set, NFTNL_SET_FAMILY), NLM_F_CREATE);
	r = h ? 0 : -ENOMEM;
	if (h) {
		nftnl_set_nlmsg_build_payload(h, set);
		merlon_nft_put(&c->batch, h);
		r = put_elements(&c->batch, set);
	}
	nftnl_expr_set_str(lookup, NFTNL_EXPR_LOOKUP_SET, nftnl_set_get_str(set, NFTNL_SET_NAME));
	nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SET_ID, c->next_id);
	nftnl_set_free(set);
	return r;
}

static struct nftnl_expr *log_to_group(const char *prefix)
{
	struct nftnl_expr *log = nftnl_expr_alloc("log");

	if (!log)
		return NULL;
	if (*prefix)
		nftnl_expr_set_str(log, NFTNL_EXPR_LOG_PREFIX, prefix);
	nftnl_expr_set_u16(log, NFTNL_EXPR_LOG_GROUP, MERLON_GROUP_LOGGED);
	nftnl_expr_set_u16(log, NFTNL_EXPR_LOG_QTHRESHOLD, 1);
	return log;
}

/* The limit that the other ruleset has in this place; none: the limit stays as it is. */
static void change_tempo(const struct changes *c, const struct nftnl_rule *rule, unsigned number, struct nftnl_expr *limit)
{
	const struct merlon_rule *twin = merlon_oracle_twin(c->tempo, rule);
	size_t i;

	for (i = 0; twin && i < twin->n; i++) {
		const struct merlon_statement *s = &twin->statement[i];
		struct merlon_stretch stretch;

		if (s->kind != MERLON_S_LIMIT || s->limit.xtables || number--)
			continue;
		stretch = merlon_stretch(&s->limit, c->tempo->token_ns);
		nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_UNIT, nftnl_expr_get_u64(limit, NFTNL_EXPR_LIMIT_UNIT) * stretch.times);
		nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_RATE, nftnl_expr_get_u64(limit, NFTNL_EXPR_LIMIT_RATE) * stretch.by);
		return;
	}
}

/* Moves the expressions of `from`, with its log and its limits exchanged. */
static int move_exprs(struct changes *c, struct nftnl_rule *from, struct nftnl_rule *to)
{
	struct nftnl_expr_iter *iter = nftnl_expr_iter_create(from);
	struct nftnl_expr *e;
	int r = iter ? 0 : -ENOMEM;
	unsigned limits = 0;

	while (!r && (e = nftnl_expr_iter_next(iter))) {
		const char *prefix = prefix_of(e);
		struct nftnl_expr *log = prefix ? log_to_group(prefix) : NULL;

		if (prefix && !log)
			r = -ENOMEM;
		if (!strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "lookup"))
			r = copy_set(c, from, e);
		if (is_limit(e))
			change_tempo(c, from, limits++, e);
		nftnl_rule_del_expr(e);
		nftnl_rule_add_expr(to, log ? log : e);
		if (log)
			nftnl_expr_free(e);
	}
	if (iter)
		nftnl_expr_iter_destroy(iter);
	return r;
}

static int replace(struct changes *c, struct nftnl_rule *old)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	const void *userdata;
	struct nlmsghdr *h;
	uint32_t bytes, proto, flags;
	int r;

	if (!rule)
		return -ENOMEM;
	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, nftnl_rule_get_u32(old, NFTNL_RULE_FAMILY));
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, nftnl_rule_get_str(old, NFTNL_RULE_TABLE));
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, nftnl_rule_get_str(old, NFTNL_RULE_CHAIN));
	nftnl_rule_set_u64(rule, NFTNL_RULE_HANDLE, nftnl_rule_get_u64(old, NFTNL_RULE_HANDLE));
	/* the target goes, but matches may ask for it, too */
	if (merlon_snapshot_compat(old, &proto, &flags)) {
		nftnl_rule_set_u32(rule, NFTNL_RULE_COMPAT_PROTO, proto);
		nftnl_rule_set_u32(rule, NFTNL_RULE_COMPAT_FLAGS, flags);
	}
	userdata = nftnl_rule_get_data(old, NFTNL_RULE_USERDATA, &bytes);
	if (userdata)
		nftnl_rule_set_data(rule, NFTNL_RULE_USERDATA, userdata, bytes);
	r = move_exprs(c, old, rule);
	h = r ? NULL : merlon_nft_next(&c->batch, NFT_MSG_NEWRULE, nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY), NLM_F_REPLACE);
	if (h) {
		nftnl_rule_nlmsg_build_payload(h, rule);
		merlon_nft_put(&c->batch, h);
	}
	nftnl_rule_free(rule);
	return r ? r : h ? 0 : -ENOMEM;
}

int merlon_oracle_change(struct mnl_socket *netfilter, const struct merlon_tempo_change *tempo)
{
	struct changes c = { .netfilter = netfilter, .tempo = tempo };
	char buffer[256];
	struct nlmsghdr *h = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETRULE, NFPROTO_UNSPEC, NLM_F_DUMP, 1);
	int r = dump(netfilter, h, keep_rule, &c);
	size_t i;

	if (!r && c.n)
		r = merlon_nft_begin(&c.batch, netfilter);
	for (i = 0; i < c.n; i++) {
		/* the observer's own log is the observer's */
		if (!r && strcmp(nftnl_rule_get_str(c.rule[i], NFTNL_RULE_TABLE), MERLON_OBSERVER_TABLE))
			r = replace(&c, c.rule[i]);
		nftnl_rule_free(c.rule[i]);
	}
	free(c.rule);
	if (!r && c.n)
		r = merlon_nft_commit(&c.batch);
	merlon_nft_clear(&c.batch);
	return r;
}
