/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Matches and targets of x_tables that iptables-nft leaves as they are. The structures are those of linux/netfilter/xt_*.h;
 * what they do is in net/netfilter/xt_*.c of kernel 6.1.
 */
#include <errno.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_LOG.h>
#include <linux/netfilter/xt_NFLOG.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_dscp.h>
#include <linux/netfilter/xt_iprange.h>
#include <linux/netfilter/xt_length.h>
#include <linux/netfilter/xt_limit.h>
#include <linux/netfilter/xt_mac.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_pkttype.h>
#include <linux/netfilter/xt_state.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv4/ipt_REJECT.h>
#include <linux/netfilter_ipv4/ipt_ttl.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/netfilter_ipv6/ip6t_REJECT.h>
#include <linux/netfilter_ipv6/ip6t_hl.h>
#include <linux/netfilter_ipv6/ip6t_rt.h>
#include <string.h>

#include "compat/build.h"
#include "compat/reader.h"
#include "compat/xt.h"
#include "src/util/cleanup.h"

typedef int (*decoder)(const struct merlon_blob *blob);

int merlon_xt_refuse(const struct merlon_blob *blob, const char *what)
{
	merlon_build_refuse(blob->eval->rule, "match `%s`%s%s: not supported yet", blob->name, *what ? " " : "", what);
	return 0;
}

const void *merlon_xt_take(const struct merlon_blob *blob, uint32_t first, uint32_t last, size_t size)
{
	if (blob->revision >= first && blob->revision <= last && blob->info && blob->len >= size)
		return blob->info;
	merlon_build_refuse(blob->eval->rule, "`%s` of revision %u, %u bytes: not known", blob->name, blob->revision,
			    blob->len);
	return NULL;
}

/* Bits of an x_tables state mask to the states that have them. */
static int state(struct merlon_eval *eval, unsigned mask, unsigned untracked, bool invert)
{
	const unsigned bit[MERLON_CT_STATES] = {
		[MERLON_CT_INVALID] = XT_CONNTRACK_STATE_INVALID,
		[MERLON_CT_ESTABLISHED] = XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED),
		[MERLON_CT_RELATED] = XT_CONNTRACK_STATE_BIT(IP_CT_RELATED),
		[MERLON_CT_NEW] = XT_CONNTRACK_STATE_BIT(IP_CT_NEW),
		[MERLON_CT_UNTRACKED] = untracked,
	};
	struct merlon_intervals in = { 0 };
	unsigned i;

	for (i = 0; i < MERLON_CT_STATES; i++)
		if (!(mask & bit[i]) == invert && merlon_intervals_add(&in, i, i) < 0)
			return -ENOMEM;
	merlon_intervals_normalise(&in);
	return merlon_eval_field(eval, MERLON_F_CT_STATE, ~0U, &in, false);
}

static int conntrack(const struct merlon_blob *blob)
{
	/* the three revisions differ behind the first fields only */
	const struct xt_conntrack_mtinfo1 *one = merlon_xt_take(blob, 1, 3, blob->revision == 1 ? sizeof(*one) :
						      sizeof(struct xt_conntrack_mtinfo2));
	static const struct {
		unsigned flag;
		const char *name;
	} other[] = {
		{ XT_CONNTRACK_PROTO, "--ctproto" }, { XT_CONNTRACK_ORIGSRC, "--ctorigsrc" },
		{ XT_CONNTRACK_ORIGDST, "--ctorigdst" }, { XT_CONNTRACK_REPLSRC, "--ctreplsrc" },
		{ XT_CONNTRACK_REPLDST, "--ctrepldst" }, { XT_CONNTRACK_STATUS, "--ctstatus" },
		{ XT_CONNTRACK_EXPIRES, "--ctexpire" }, { XT_CONNTRACK_ORIGSRC_PORT, "--ctorigsrcport" },
		{ XT_CONNTRACK_ORIGDST_PORT, "--ctorigdstport" }, { XT_CONNTRACK_REPLSRC_PORT, "--ctreplsrcport" },
		{ XT_CONNTRACK_REPLDST_PORT, "--ctrepldstport" },
	};
	unsigned mask, flags, invert;
	size_t i;
	int r = 0;

	if (!one)
		return 0;
	flags = blob->revision == 1 ? one->match_flags : ((const struct xt_conntrack_mtinfo2 *)blob->info)->match_flags;
	invert = blob->revision == 1 ? one->invert_flags :
		 ((const struct xt_conntrack_mtinfo2 *)blob->info)->invert_flags;
	mask = blob->revision == 1 ? one->state_mask : ((const struct xt_conntrack_mtinfo2 *)blob->info)->state_mask;
	for (i = 0; i < ARRAY_SIZE(other); i++)
		if (flags & other[i].flag)
			return merlon_xt_refuse(blob, other[i].name);
	if (flags & XT_CONNTRACK_STATE && mask & (XT_CONNTRACK_STATE_SNAT | XT_CONNTRACK_STATE_DNAT))
		return merlon_xt_refuse(blob, "--ctstate SNAT or DNAT");
	/* without a connection the direction is not looked at if there is a state */
	if ((flags & XT_CONNTRACK_STATE) && (flags & XT_CONNTRACK_DIRECTION))
		return merlon_xt_refuse(blob, "--ctdir with --ctstate");
	if (flags & XT_CONNTRACK_STATE)
		r = state(blob->eval, mask, XT_CONNTRACK_STATE_UNTRACKED, invert & XT_CONNTRACK_STATE);
	if (r == 0 && flags & XT_CONNTRACK_DIRECTION) {
		unsigned direction = invert & XT_CONNTRACK_DIRECTION ? MERLON_REPLY : MERLON_ORIGINAL;

		r = merlon_eval_range(blob->eval, MERLON_F_CT_DIRECTION, direction, direction, false);
	}
	return r;
}

static int old_state(const struct merlon_blob *blob)
{
	const struct xt_state_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	return info ? state(blob->eval, info->statemask, XT_STATE_UNTRACKED, false) : 0;
}

static int port_set(struct merlon_eval *eval, enum merlon_field field, const struct merlon_intervals *ports, bool invert)
{
	struct merlon_intervals in;

	if (merlon_intervals_copy(ports, &in) < 0)
		return -ENOMEM;
	if (invert && merlon_intervals_complement(&in, 0xffff) < 0) {
		merlon_intervals_clear(&in);
		return -ENOMEM;
	}
	return merlon_eval_field(eval, field, ~0U, &in, invert);
}

static bool comes_first(const struct merlon_rule *rule)
{
	for (size_t i = 0; i < rule->n; i++)
		if (rule->statement[i].kind == MERLON_S_MATCH && rule->statement[i].match.either)
			return false;
	return merlon_eval_is_traceless(rule);
}

static int multiport(const struct merlon_blob *blob)
{
	const struct xt_multiport_v1 *info = merlon_xt_take(blob, 0, 1, blob->revision ? sizeof(*info) : sizeof(struct xt_multiport));
	struct merlon_intervals ports = { 0 };
	bool invert, either;
	unsigned i;
	int r = 0;

	if (!info)
		return 0;
	invert = blob->revision && info->invert;
	if (info->count > XT_MULTI_PORTS)
		return merlon_xt_refuse(blob, "of this form");
	/* (source or destination) is no conjunction, neither of them is; and it may not count twice */
	either = info->flags == XT_MULTIPORT_EITHER && !invert;
	if (either && !comes_first(blob->eval->rule))
		return merlon_xt_refuse(blob, "--ports behind another --ports or a limit");
	for (i = 0; i < info->count && r == 0; i++) {
		bool is_range = blob->revision && info->pflags[i] && i + 1 < info->count;
		uint16_t lo = info->ports[i], hi = info->ports[is_range ? i + 1 : i];

		if (lo <= hi)
			r = merlon_intervals_add(&ports, lo, hi);
		i += is_range;
	}
	merlon_intervals_normalise(&ports);
	if (r == 0 && info->flags != XT_MULTIPORT_DESTINATION)
		r = port_set(blob->eval, MERLON_F_TH0, &ports, invert);
	if (r == 0 && either)
		blob->eval->rule->statement[blob->eval->rule->n - 1].match.either = true;
	if (r == 0 && info->flags != XT_MULTIPORT_SOURCE && !either)
		r = port_set(blob->eval, MERLON_F_TH2, &ports, invert);
	merlon_intervals_clear(&ports);
	return r;
}

/* xt_limit keeps 10000 * unit / rate, rounded down: the rate in the smallest unit that gives it. */
static void rate_of(uint32_t average, uint64_t *rate, uint64_t *per_s)
{
	static const uint64_t unit[] = { 1, 60, 60 * 60, 24 * 60 * 60 };
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(unit); i++) {
		*per_s = unit[i];
		*rate = XT_LIMIT_SCALE * unit[i] / average;
		if (*rate && XT_LIMIT_SCALE * unit[i] / *rate == average)
			return;
	}
	*rate = XT_LIMIT_SCALE;
	*per_s = average;
}

static int limit(const struct merlon_blob *blob)
{
	const struct xt_rateinfo *info = merlon_xt_take(blob, 0, 0, offsetof(struct xt_rateinfo, prev));
	struct merlon_statement *s;

	if (!info)
		return 0;
	if (!info->avg)
		return merlon_xt_refuse(blob, "without a rate");
	s = merlon_build_statement(blob->eval->rule, MERLON_S_LIMIT);
	if (!s)
		return -ENOMEM;
	rate_of(info->avg, &s->limit.rate, &s->limit.per_s);
	s->limit.burst = info->burst;
	s->limit.xtables = true;
	return 0;
}

/* Type and code as one number: an inverted match means the pair. */
static int icmp_pair(const struct merlon_blob *blob, uint8_t type, const uint8_t code[2], bool invert)
{
	struct merlon_eval *eval = blob->eval;
	int r;

	if (invert)
		return merlon_eval_range(eval, MERLON_F_TH0, type << 8 | code[0], type << 8 | code[1], true);
	r = merlon_eval_range(eval, MERLON_F_ICMP_TYPE, type, type, false);
	if (r == 0 && (code[0] != 0 || code[1] != 0xff))
		r = merlon_eval_range(eval, MERLON_F_ICMP_CODE, code[0], code[1], false);
	return r;
}

static int icmp(const struct merlon_blob *blob)
{
	const struct ipt_icmp *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	if (!info)
		return 0;
	if (blob->eval->proto != IPPROTO_ICMP)
		return merlon_xt_refuse(blob, "without -p icmp");
	/* any type: there must be one */
	if (info->type == 0xff && !(info->invflags & IPT_ICMP_INV))
		return merlon_eval_range(blob->eval, MERLON_F_ICMP_TYPE, 0, 0xff, false);
	if (info->type == 0xff)
		return merlon_xt_refuse(blob, "! any");
	return icmp_pair(blob, info->type, info->code, info->invflags & IPT_ICMP_INV);
}

static int icmp6(const struct merlon_blob *blob)
{
	const struct ip6t_icmp *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	if (!info)
		return 0;
	if (blob->eval->proto != IPPROTO_ICMPV6)
		return merlon_xt_refuse(blob, "without -p ipv6-icmp");
	return icmp_pair(blob, info->type, info->code, info->invflags & IP6T_ICMP_INV);
}

static bool any_port(const __u16 port[2], bool invert)
{
	return port[0] == 0 && port[1] == 0xffff && !invert;
}

static int tcp(const struct merlon_blob *blob)
{
	const struct xt_tcp *info = merlon_xt_take(blob, 0, 0, sizeof(*info));
	struct merlon_eval *eval = blob->eval;
	struct merlon_intervals in = { 0 };
	bool invert;
	int r = 0;

	if (!info)
		return 0;
	if (info->option)
		return merlon_xt_refuse(blob, "--tcp-option");
	if (eval->proto != IPPROTO_TCP)
		return merlon_xt_refuse(blob, "without -p tcp");
	if (!any_port(info->spts, info->invflags & XT_TCP_INV_SRCPT))
		r = merlon_eval_range(eval, MERLON_F_TH0, info->spts[0], info->spts[1],
				      info->invflags & XT_TCP_INV_SRCPT);
	if (r == 0 && !any_port(info->dpts, info->invflags & XT_TCP_INV_DSTPT))
		r = merlon_eval_range(eval, MERLON_F_TH2, info->dpts[0], info->dpts[1],
				      info->invflags & XT_TCP_INV_DSTPT);
	invert = info->invflags & XT_TCP_INV_FLAGS;
	if (r < 0 || (!info->flg_mask && !info->flg_cmp && !invert))
		return r;
	if (merlon_intervals_add(&in, info->flg_cmp, info->flg_cmp) < 0)
		return -ENOMEM;
	if (invert && merlon_intervals_complement(&in, 0xff) < 0) {
		merlon_intervals_clear(&in);
		return -ENOMEM;
	}
	return merlon_eval_field(eval, MERLON_F_TCP_FLAGS, info->flg_mask == 0xff ? ~0U : info->flg_mask, &in, invert);
}

static int udp(const struct merlon_blob *blob)
{
	const struct xt_udp *info = merlon_xt_take(blob, 0, 0, sizeof(*info));
	struct merlon_eval *eval = blob->eval;
	int r = 0;

	if (!info)
		return 0;
	if (eval->proto != IPPROTO_UDP && eval->proto != IPPROTO_UDPLITE)
		return merlon_xt_refuse(blob, "without -p udp");
	if (!any_port(info->spts, info->invflags & XT_UDP_INV_SRCPT))
		r = merlon_eval_range(eval, MERLON_F_TH0, info->spts[0], info->spts[1],
				      info->invflags & XT_UDP_INV_SRCPT);
	if (r == 0 && !any_port(info->dpts, info->invflags & XT_UDP_INV_DSTPT))
		r = merlon_eval_range(eval, MERLON_F_TH2, info->dpts[0], info->dpts[1],
				      info->invflags & XT_UDP_INV_DSTPT);
	return r;
}

static int comment(const struct merlon_blob *blob)
{
	const struct xt_comment_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	if (!info || blob->eval->rule->comment)
		return 0;
	blob->eval->rule->comment = strndup(info->comment, sizeof(info->comment));
	return blob->eval->rule->comment ? 0 : -ENOMEM;
}

/* (field & mask) == value, or not. */
static int masked(const struct merlon_blob *blob, enum merlon_field field, uint32_t mask, uint32_t value, bool invert)
{
	uint32_t max = (uint32_t)merlon_value_max(merlon_field_bits(field, MERLON_IPV4));
	struct merlon_intervals in = { 0 };

	if (merlon_intervals_add(&in, value, value) < 0)
		return -ENOMEM;
	if (invert && merlon_intervals_complement(&in, max) < 0) {
		merlon_intervals_clear(&in);
		return -ENOMEM;
	}
	return merlon_eval_field(blob->eval, field, (mask & max) == max ? ~0U : mask, &in, invert);
}

static int mark(const struct merlon_blob *blob)
{
	const struct xt_mark_mtinfo1 *info = merlon_xt_take(blob, 1, 1, sizeof(*info));

	return info ? masked(blob, MERLON_F_MARK, info->mask, info->mark, info->invert) : 0;
}

static int tos(const struct merlon_blob *blob)
{
	const struct xt_tos_match_info *info = merlon_xt_take(blob, 1, 1, sizeof(*info));

	return info ? masked(blob, MERLON_F_TOS, info->tos_mask, info->tos_value, info->invert) : 0;
}

static int dscp(const struct merlon_blob *blob)
{
	const struct xt_dscp_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	return info ? masked(blob, MERLON_F_TOS, 0xfc, info->dscp << 2 & 0xff, info->invert) : 0;
}

static int pkttype(const struct merlon_blob *blob)
{
	const struct xt_pkttype_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	return info ? masked(blob, MERLON_F_PKTTYPE, 0xff, info->pkttype & 0xff, info->invert) : 0;
}

static int length(const struct merlon_blob *blob)
{
	const struct xt_length_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	return info ? merlon_eval_range(blob->eval, MERLON_F_LENGTH, info->min, info->max, info->invert) : 0;
}

/* ttl and hl have the same structure and the same modes. */
static int ttl(const struct merlon_blob *blob)
{
	const struct ipt_ttl_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));

	_Static_assert((int)IPT_TTL_LT == (int)IP6T_HL_LT && sizeof(struct ip6t_hl_info) == sizeof(*info), "hl");
	if (!info)
		return 0;
	switch (info->mode) {
	case IPT_TTL_EQ:
	case IPT_TTL_NE:
		return merlon_eval_range(blob->eval, MERLON_F_TTL, info->ttl, info->ttl, info->mode == IPT_TTL_NE);
	case IPT_TTL_LT:
		return info->ttl ? merlon_eval_range(blob->eval, MERLON_F_TTL, 0, info->ttl - 1, false) :
		       merlon_eval_range(blob->eval, MERLON_F_TTL, 1, 0, false);
	case IPT_TTL_GT:
		return merlon_eval_range(blob->eval, MERLON_F_TTL, info->ttl + 1, 0xff, false);
	default:
		return merlon_xt_refuse(blob, "of this mode");
	}
}

/* The range of segments left is asked for always (net/ipv6/netfilter/ip6t_rt.c); ip6tables says "any" where none is given. */
static int rt(const struct merlon_blob *blob)
{
	const struct ip6t_rt *info = merlon_xt_take(blob, 0, 0, sizeof(*info));
	static const struct {
		unsigned flag;
		const char *name;
	} other[] = {
		{ IP6T_RT_LEN, "--rt-len" }, { IP6T_RT_RES, "--rt-0-res" }, { IP6T_RT_FST_MASK, "--rt-0-addrs" },
	};

	if (!info)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(other); i++)
		if (info->flags & other[i].flag)
			return merlon_xt_refuse(blob, other[i].name);
	if (info->segsleft[0] || info->segsleft[1] < 0xff || info->invflags & IP6T_RT_INV_SGS)
		return merlon_xt_refuse(blob, "--rt-segsleft");
	if (!(info->flags & IP6T_RT_TYP))
		return merlon_eval_range(blob->eval, MERLON_F_RT_TYPE, 0, 0xff, false);
	/* more than a byte holds is no header's type */
	if (info->rt_type > 0xff)
		return merlon_eval_range(blob->eval, MERLON_F_RT_TYPE, 1, 0, info->invflags & IP6T_RT_INV_TYP);
	return merlon_eval_range(blob->eval, MERLON_F_RT_TYPE, info->rt_type, info->rt_type, info->invflags & IP6T_RT_INV_TYP);
}

static merlon_value address(const struct merlon_blob *blob, const union nf_inet_addr *addr)
{
	return merlon_number((const uint8_t *)addr, blob->eval->family == MERLON_IPV4 ? 4 : 16, true);
}

static int iprange(const struct merlon_blob *blob)
{
	const struct xt_iprange_mtinfo *info = merlon_xt_take(blob, 1, 1, sizeof(*info));
	int r = 0;

	if (!info)
		return 0;
	if (blob->eval->family < 0)
		return merlon_xt_refuse(blob, "of either family");
	if (info->flags & IPRANGE_SRC)
		r = merlon_eval_range(blob->eval, MERLON_F_SADDR, address(blob, &info->src_min),
				      address(blob, &info->src_max), info->flags & IPRANGE_SRC_INV);
	if (r == 0 && info->flags & IPRANGE_DST)
		r = merlon_eval_range(blob->eval, MERLON_F_DADDR, address(blob, &info->dst_min),
				      address(blob, &info->dst_max), info->flags & IPRANGE_DST_INV);
	return r;
}

static int mac(const struct merlon_blob *blob)
{
	const struct xt_mac_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));
	struct merlon_comparison c = { 0 };
	merlon_value address;
	int r;

	if (!info)
		return 0;
	address = merlon_number(info->srcaddr, sizeof(info->srcaddr), true);
	c.negated = info->invert;
	r = merlon_intervals_add(&c.in, address, address);
	if (r == 0 && c.negated)
		r = merlon_intervals_complement(&c.in, merlon_value_max(sizeof(info->srcaddr) * 8));
	/* it asks for the type of the device itself (net/netfilter/xt_mac.c) */
	blob->eval->ether = MERLON_ETHER_ASKED;
	if (r == 0)
		r = merlon_eval_ether_saddr(blob->eval, &c);
	merlon_intervals_clear(&c.in);
	return r;
}

static int log_(const struct merlon_blob *blob)
{
	const struct xt_log_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));
	struct merlon_statement *s = info ? merlon_build_statement(blob->eval->rule, MERLON_S_LOG) : NULL;

	if (!s)
		return info ? -ENOMEM : 0;
	s->log->level = info->level & 7;
	s->log->flags = info->logflags;
	s->log->group = -1;
	snprintf(s->log->prefix, sizeof(s->log->prefix), "%.*s", (int)sizeof(info->prefix), info->prefix);
	return 0;
}

static int nflog(const struct merlon_blob *blob)
{
	const struct xt_nflog_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));
	struct merlon_statement *s;

	if (!info)
		return 0;
	if (info->flags & XT_NFLOG_F_COPY_LEN || info->threshold > 1) {
		merlon_build_refuse(blob->eval->rule, "target `NFLOG` with a size or threshold: not supported yet");
		return 0;
	}
	s = merlon_build_statement(blob->eval->rule, MERLON_S_LOG);
	if (!s)
		return -ENOMEM;
	s->log->level = -1;
	s->log->group = info->group;
	snprintf(s->log->prefix, sizeof(s->log->prefix), "%.*s", (int)sizeof(info->prefix), info->prefix);
	return 0;
}

/* What REJECT answers with, by its numbers; the rest of them is never sent. */
static bool reject_code(const struct merlon_blob *blob, unsigned with, struct merlon_reject_with *ret)
{
	static const int v4[] = {
		[IPT_ICMP_NET_UNREACHABLE] = ICMP_NET_UNREACH, [IPT_ICMP_HOST_UNREACHABLE] = ICMP_HOST_UNREACH,
		[IPT_ICMP_PROT_UNREACHABLE] = ICMP_PROT_UNREACH, [IPT_ICMP_PORT_UNREACHABLE] = ICMP_PORT_UNREACH,
		[IPT_ICMP_ECHOREPLY] = -1, [IPT_ICMP_NET_PROHIBITED] = ICMP_NET_ANO,
		[IPT_ICMP_HOST_PROHIBITED] = ICMP_HOST_ANO, [IPT_TCP_RESET] = -1,
		[IPT_ICMP_ADMIN_PROHIBITED] = ICMP_PKT_FILTERED,
	};
	/* RFC 4443 3.1: 5 is source address failed policy, 6 reject route */
	static const int v6[] = {
		[IP6T_ICMP6_NO_ROUTE] = ICMP6_DST_UNREACH_NOROUTE, [IP6T_ICMP6_ADM_PROHIBITED] = ICMP6_DST_UNREACH_ADMIN,
		[IP6T_ICMP6_NOT_NEIGHBOUR] = ICMP6_DST_UNREACH_BEYONDSCOPE,
		[IP6T_ICMP6_ADDR_UNREACH] = ICMP6_DST_UNREACH_ADDR, [IP6T_ICMP6_PORT_UNREACH] = ICMP6_DST_UNREACH_NOPORT,
		[IP6T_ICMP6_ECHOREPLY] = -1, [IP6T_TCP_RESET] = -1, [IP6T_ICMP6_POLICY_FAIL] = 5,
		[IP6T_ICMP6_REJECT_ROUTE] = 6,
	};
	bool six = blob->eval->family == MERLON_IPV6;

	*ret = (struct merlon_reject_with){ .code = { ICMP_PORT_UNREACH, ICMP6_DST_UNREACH_NOPORT } };
	if (with == (six ? (unsigned)IP6T_TCP_RESET : (unsigned)IPT_TCP_RESET)) {
		ret->type = MERLON_REJECT_TCP_RST;
		return true;
	}
	if (with >= (six ? ARRAY_SIZE(v6) : ARRAY_SIZE(v4)) || (six ? v6 : v4)[with] < 0)
		return false;
	ret->type = MERLON_REJECT_ICMP;
	ret->code[six ? MERLON_IPV6 : MERLON_IPV4] = (uint8_t)(six ? v6 : v4)[with];
	return true;
}

static int reject(const struct merlon_blob *blob)
{
	const struct ipt_reject_info *info = merlon_xt_take(blob, 0, 0, sizeof(*info));
	struct merlon_reject_with with;
	struct merlon_statement *s;

	_Static_assert(sizeof(struct ip6t_reject_info) == sizeof(*info), "one number");
	if (!info)
		return 0;
	if (!reject_code(blob, info->with, &with)) {
		merlon_build_refuse(blob->eval->rule, "target `REJECT` with %u: not known", info->with);
		return 0;
	}
	s = merlon_build_statement(blob->eval->rule, MERLON_S_VERDICT);
	if (!s)
		return -ENOMEM;
	s->verdict.verdict = MERLON_V_REJECT;
	s->verdict.reject = with;
	return 0;
}

static int set_mark(const struct merlon_blob *blob)
{
	const struct xt_mark_tginfo2 *info = merlon_xt_take(blob, 2, 2, sizeof(*info));
	struct merlon_statement *s = info ? merlon_build_statement(blob->eval->rule, MERLON_S_MARK) : NULL;

	if (!s)
		return info ? -ENOMEM : 0;
	s->mark.mask = ~info->mask;
	s->mark.xor = info->mark;
	return 0;
}

static const struct known {
	const char *name;
	decoder decode;
	uint8_t header_bytes;	/* of a match that drops (`hotdrop`), as in struct merlon_statement */
} matches[] = {
	{ "conntrack", conntrack, 0 }, { "state", old_state, 0 }, { "limit", limit, 0 }, { "comment", comment, 0 },
	{ "multiport", multiport, 4 }, { "icmp", icmp, 8 }, { "icmp6", icmp6, 8 }, { "tcp", tcp, 20 }, { "udp", udp, 8 },
	{ "udplite", udp, 8 }, { "mark", mark, 0 }, { "iprange", iprange, 0 }, { "length", length, 0 }, { "ttl", ttl, 0 },
	{ "hl", ttl, 0 }, { "tos", tos, 0 }, { "dscp", dscp, 0 }, { "pkttype", pkttype, 0 },
	{ "addrtype", merlon_xt_addrtype, 0 }, { "mac", mac, 0 }, { "rt", rt, MERLON_HEADER_CHAIN },
}, targets[] = {
	{ "LOG", log_, 0 }, { "REJECT", reject, 0 }, { "NFLOG", nflog, 0 }, { "MARK", set_mark, 0 },
};

static int decode(const struct known *known, size_t n, const struct merlon_blob *blob, const char *kind)
{
	struct merlon_rule *rule = blob->eval->rule;
	size_t first = rule->n, i;
	int r;

	for (i = 0; i < n && blob->name; i++)
		if (strcmp(known[i].name, blob->name) == 0)
			break;
	if (i == n || !blob->name) {
		merlon_build_refuse(rule, "%s `%s`: not supported yet", kind, blob->name ? blob->name : "?");
		return 0;
	}
	r = known[i].decode(blob);
	if (r < 0 || rule->status == MERLON_REFUSED || !known[i].header_bytes)
		return r;
	/* one that asks for nothing else still drops */
	if (rule->n == first)
		r = merlon_eval_range(blob->eval, MERLON_F_TH0, 0, 0xffff, false);
	if (r == 0)
		rule->statement[first].match.header_bytes = known[i].header_bytes;
	return r;
}

int merlon_xt_match(struct merlon_eval *eval, const char *name, uint32_t revision, const void *info, uint32_t len)
{
	struct merlon_blob blob = { eval, name, revision, info, len };

	return decode(matches, ARRAY_SIZE(matches), &blob, "match");
}

int merlon_xt_target(struct merlon_eval *eval, const char *name, uint32_t revision, const void *info, uint32_t len)
{
	struct merlon_blob blob = { eval, name, revision, info, len };

	return decode(targets, ARRAY_SIZE(targets), &blob, "target");
}
