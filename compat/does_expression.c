/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "compat/does.h"
#include "src/util/cleanup.h"
#include "src/util/netlink.h"

#define META_BRI_BROUTE 35	/* NFT_META_BRI_BROUTE of linux/netfilter/nf_tables.h since Linux 6.4 */

static enum merlon_does meta_does(const struct merlon_attributes *a)
{
	if (!a->at[NFTA_META_SREG])
		return MERLON_DOES_NOTHING;
	switch (merlon_attribute_u32(a, NFTA_META_KEY, 0)) {
	case NFT_META_MARK:
		return MERLON_DOES_MARK;
	case NFT_META_PKTTYPE:
	case META_BRI_BROUTE:
		return MERLON_DOES_RECEIVE;
	default:
		return MERLON_DOES_NOTHING;
	}
}

static enum merlon_does ct_does(const struct merlon_attributes *a)
{
	/* Mark, label and event mask are no business of a policy that cannot ask for them. */
	return a->at[NFTA_CT_SREG] && merlon_attribute_u32(a, NFTA_CT_KEY, 0) == NFT_CT_ZONE ? MERLON_DOES_ZONE : MERLON_DOES_NOTHING;
}

/* Bytes [from, to) of the header that belong to addresses or ports. */
static enum merlon_does payload_does(uint8_t family, const struct merlon_attributes *a)
{
	uint32_t from = merlon_attribute_u32(a, NFTA_PAYLOAD_OFFSET, 0), to = from + merlon_attribute_u32(a, NFTA_PAYLOAD_LEN, 0);

	if (!a->at[NFTA_PAYLOAD_SREG])
		return MERLON_DOES_NOTHING;
	switch (merlon_attribute_u32(a, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_LL_HEADER)) {
	case NFT_PAYLOAD_LL_HEADER:
		return MERLON_DOES_ALTER;
	case NFT_PAYLOAD_NETWORK_HEADER:
		/* IPv4: 12 to 20, IPv6: 8 to 40; where either may come, a write to 8 to 12 alone is a TTL. */
		if (from < (family == NFPROTO_IPV4 ? 20 : 40) && to > (family == NFPROTO_IPV6 ? 8 : 12))
			return MERLON_DOES_REWRITE;
		return MERLON_DOES_ALTER;
	case NFT_PAYLOAD_TRANSPORT_HEADER:
		return from < 4 ? MERLON_DOES_REWRITE : MERLON_DOES_ALTER;
	default:
		return MERLON_DOES_ALTER;
	}
}

static enum merlon_does object_does(const struct merlon_attributes *a)
{
	switch (merlon_attribute_u32(a, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_UNSPEC)) {
	case NFT_OBJECT_CT_TIMEOUT:
		return MERLON_DOES_TIMEOUT;
	case NFT_OBJECT_CT_HELPER:
	case NFT_OBJECT_CT_EXPECT:
		return MERLON_DOES_HELPER;
	default:
		return MERLON_DOES_NOTHING;
	}
}

static enum merlon_does target_does(const struct merlon_attributes *a)
{
	const struct nlattr *name = a->at[NFTA_TARGET_NAME], *info = a->at[NFTA_TARGET_INFO];

	if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0)
		return MERLON_DOES_UNKNOWN;
	return merlon_target_does(mnl_attr_get_str(name), merlon_attribute_u32(a, NFTA_TARGET_REV, 0), info ? mnl_attr_get_payload(info) : "",
				  info ? mnl_attr_get_payload_len(info) : 0);
}

static enum merlon_does by_attributes(uint8_t family, const char *name, const struct nlattr *data)
{
	struct merlon_attributes a = { 0 };

	if (data)
		mnl_attr_parse_nested(data, merlon_on_attribute, &a);
	switch (name[0]) {
	case 'm':
		return meta_does(&a);
	case 'c':
		return ct_does(&a);
	case 'p':
		return payload_does(family, &a);
	case 'o':
		return object_does(&a);
	default:
		return target_does(&a);
	}
}

enum merlon_does merlon_expression_does(uint8_t family, const char *name, const struct nlattr *data)
{
	static const struct {
		const char *name;
		enum merlon_does does;
	} plain[] = {
		{ "nat", MERLON_DOES_NAT }, { "masq", MERLON_DOES_NAT }, { "redir", MERLON_DOES_NAT },
		{ "tproxy", MERLON_DOES_TPROXY }, { "notrack", MERLON_DOES_UNTRACK }, { "flow_offload", MERLON_DOES_FLOWTABLE },
		{ "queue", MERLON_DOES_QUEUE }, { "fwd", MERLON_DOES_COPY }, { "dup", MERLON_DOES_COPY },
		{ "reject", MERLON_DOES_STOP }, { "synproxy", MERLON_DOES_STOP },
	};
	/* `source`: the attribute without which they only read; 0: there is none */
	static const struct {
		const char *name;
		uint16_t source;
	} telling[] = {
		{ "meta", NFTA_META_SREG }, { "ct", NFTA_CT_SREG }, { "payload", NFTA_PAYLOAD_SREG }, { "objref", 0 }, { "target", 0 },
	};
	size_t i;

	/* Most of any ruleset. */
	if (!strcmp(name, "cmp") || !strcmp(name, "counter") || !strcmp(name, "immediate"))
		return MERLON_DOES_NOTHING;
	for (i = 0; i < ARRAY_SIZE(telling); i++)
		if (!strcmp(name, telling[i].name))
			return telling[i].source && !merlon_nested_attribute(data, telling[i].source) ?
				       MERLON_DOES_NOTHING : by_attributes(family, name, data);
	for (i = 0; i < ARRAY_SIZE(plain); i++)
		if (!strcmp(name, plain[i].name))
			return plain[i].does;
	return MERLON_DOES_NOTHING;
}

/* ~0: there is none. */
static uint32_t number(const struct nlattr *attribute)
{
	return attribute && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0 ? ntohl(mnl_attr_get_u32(attribute)) : ~0U;
}

/* A verdict that is given, or looked up and may be anything. */
static bool stops(const char *name, const struct nlattr *data)
{
	const struct nlattr *verdict;

	if (!strcmp(name, "lookup"))
		return number(merlon_nested_attribute(data, NFTA_LOOKUP_DREG)) == NFT_REG_VERDICT;
	if (strcmp(name, "immediate"))
		return false;
	verdict = merlon_nested_attribute(merlon_nested_attribute(data, NFTA_IMMEDIATE_DATA), NFTA_DATA_VERDICT);
	return number(merlon_nested_attribute(verdict, NFTA_VERDICT_CODE)) == NF_DROP;
}

/*
 * Where a rule is on its way to what begins no connection here either, in its last expression: a packet whose source has no
 * route back, or one that is invalid.
 */
enum stray {
	STRAY_NO,
	STRAY_ROUTE,	/* the route was asked for ... */
	STRAY_STATE,	/* or the ct state ... */
	STRAY_INVALID,	/* of which only one bit is left ... */
	STRAY_MISSING,	/* and that is so */
};

static bool is_stray_match(const struct merlon_attributes *a)
{
	const struct nlattr *name = a->at[NFTA_MATCH_NAME], *info = a->at[NFTA_MATCH_INFO];

	return name && info && mnl_attr_validate(name, MNL_TYPE_NUL_STRING) >= 0 &&
	       merlon_match_is_stray(mnl_attr_get_str(name), mnl_attr_get_payload(info), mnl_attr_get_payload_len(info));
}

static bool is_zero(const struct merlon_attributes *cmp, uint32_t op)
{
	struct merlon_attributes value = { 0 };
	const unsigned char *p;
	size_t i, n;

	if (merlon_attribute_u32(cmp, NFTA_CMP_OP, ~0U) != op || !cmp->at[NFTA_CMP_DATA])
		return false;
	mnl_attr_parse_nested(cmp->at[NFTA_CMP_DATA], merlon_on_attribute, &value);
	if (!value.at[NFTA_DATA_VALUE])
		return false;
	p = mnl_attr_get_payload(value.at[NFTA_DATA_VALUE]);
	n = mnl_attr_get_payload_len(value.at[NFTA_DATA_VALUE]);
	for (i = 0; i < n && !p[i]; i++)
		;
	return i == n;
}

/* The ct state, of which a mask leaves the bit of invalid alone. */
static bool leaves_invalid(const struct merlon_attributes *bitwise)
{
	struct merlon_attributes mask = { 0 };
	uint32_t bits = 0;

	if (!bitwise->at[NFTA_BITWISE_MASK])
		return false;
	mnl_attr_parse_nested(bitwise->at[NFTA_BITWISE_MASK], merlon_on_attribute, &mask);
	if (mask.at[NFTA_DATA_VALUE] && mnl_attr_get_payload_len(mask.at[NFTA_DATA_VALUE]) == sizeof(bits))
		memcpy(&bits, mnl_attr_get_payload(mask.at[NFTA_DATA_VALUE]), sizeof(bits));
	return bits == NF_CT_STATE_INVALID_BIT;
}

static enum stray stray_after(enum stray before, const char *name, const struct nlattr *data)
{
	struct merlon_attributes a = { 0 };

	if (before == STRAY_MISSING || !data)
		return before;
	/* nothing else begins it */
	if (before == STRAY_NO && strcmp(name, "match") && strcmp(name, "fib") && strcmp(name, "ct"))
		return STRAY_NO;
	mnl_attr_parse_nested(data, merlon_on_attribute, &a);
	if (!strcmp(name, "match"))
		return is_stray_match(&a) ? STRAY_MISSING : STRAY_NO;
	if (!strcmp(name, "fib"))
		return merlon_attribute_u32(&a, NFTA_FIB_FLAGS, 0) & NFTA_FIB_F_SADDR &&
				       merlon_attribute_u32(&a, NFTA_FIB_RESULT, 0) == NFT_FIB_RESULT_OIF ?
			       STRAY_ROUTE : STRAY_NO;
	if (!strcmp(name, "ct"))
		return a.at[NFTA_CT_DREG] && merlon_attribute_u32(&a, NFTA_CT_KEY, ~0U) == NFT_CT_STATE ? STRAY_STATE : STRAY_NO;
	if (!strcmp(name, "bitwise"))
		return before == STRAY_STATE && leaves_invalid(&a) ? STRAY_INVALID : STRAY_NO;
	if (strcmp(name, "cmp"))
		return STRAY_NO;
	return (before == STRAY_ROUTE && is_zero(&a, NFT_CMP_EQ)) || (before == STRAY_INVALID && is_zero(&a, NFT_CMP_NEQ)) ?
		       STRAY_MISSING : STRAY_NO;
}

uint32_t merlon_does_to_stray(uint32_t does)
{
	const uint32_t stop = 1U << MERLON_DOES_STOP;

	return does & stop ? (does & ~stop) | 1U << MERLON_DOES_STOP_STRAY : does;
}

uint32_t merlon_message_does(const struct nlmsghdr *message)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *element, *expressions = merlon_nfnl_attribute(message, NFTA_RULE_EXPRESSIONS);
	uint32_t does = 0;
	enum stray stray = STRAY_NO;

	if (!expressions)
		return 0;
	mnl_attr_for_each_nested(element, expressions) {
		const struct nlattr *named = merlon_nested_attribute(element, NFTA_EXPR_NAME);
		const struct nlattr *data = merlon_nested_attribute(element, NFTA_EXPR_DATA);
		enum merlon_does one;
		const char *name;

		if (!named || mnl_attr_validate(named, MNL_TYPE_NUL_STRING) < 0)
			continue;
		name = mnl_attr_get_str(named);
		one = merlon_expression_does(header->nfgen_family, name, data);
		does |= one == MERLON_DOES_NOTHING ? 0 : 1U << one;
		does |= stops(name, data) ? 1U << MERLON_DOES_STOP : 0;
		stray = stray_after(stray, name, data);
	}
	return stray == STRAY_MISSING ? merlon_does_to_stray(does) : does;
}
