/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The expressions of nf_tables, one function each. */
#include <errno.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/reader.h"
#include "src/util/cleanup.h"

typedef int (*handler)(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e);

unsigned merlon_register(uint32_t reg)
{
	unsigned i = reg >= NFT_REG32_00 ? reg - NFT_REG32_00 : (reg - NFT_REG_1) * 4;

	return i < MERLON_REGISTERS - 4 ? i : MERLON_REGISTERS - 4;
}

/* A register to be filled: whatever overlaps it is gone. */
static struct merlon_operand *reg_put(struct merlon_eval *eval, uint32_t reg, const struct merlon_operand *operand)
{
	unsigned i, at = merlon_register(reg), end = at + (operand->len + 3) / 4;

	for (i = 0; i < MERLON_REGISTERS; i++)
		if (i < end && i + (eval->reg[i].len + 3) / 4 > at)
			eval->reg[i] = (struct merlon_operand){ 0 };
	eval->reg[at] = *operand;
	return &eval->reg[at];
}

static struct merlon_operand *reg_get(struct merlon_eval *eval, uint32_t reg)
{
	return &eval->reg[merlon_register(reg)];
}

static void unsupported(struct merlon_eval *eval, const char *what)
{
	merlon_build_refuse(eval->rule, "expression `%s`: not supported yet", what);
}

/* A value that the model does not know: it refuses the rule, later users of the register need not. */
static int load_unsupported(struct merlon_eval *eval, uint32_t reg, const char *what)
{
	struct merlon_operand operand = { .from = MERLON_FROM_REFUSED, .len = 16 };

	unsupported(eval, what);
	reg_put(eval, reg, &operand);
	return 0;
}

static int payload(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_operand operand = { .from = MERLON_FROM_PAYLOAD, .big = true };

	(void)reader;
	if (nftnl_expr_is_set(e, NFTNL_EXPR_PAYLOAD_SREG)) {
		unsupported(eval, "payload set");
		return 0;
	}
	operand.key = nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_BASE);
	operand.offset = nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET);
	operand.len = nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_LEN);
	if (operand.len > 16 || operand.len == 0)
		return load_unsupported(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_DREG), "payload of this length");
	reg_put(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_DREG), &operand);
	return 0;
}

static uint32_t meta_len(uint32_t key)
{
	switch (key) {
	case NFT_META_IIFNAME:
	case NFT_META_OIFNAME:
		return IFNAMSIZ;
	case NFT_META_NFPROTO:
	case NFT_META_L4PROTO:
	case NFT_META_PKTTYPE:
		return 1;
	case NFT_META_PROTOCOL:
	case NFT_META_IIFTYPE:
	case NFT_META_OIFTYPE:
		return 2;
	default:
		return 4;
	}
}

static int meta_set(struct merlon_eval *eval, uint32_t key, const struct merlon_operand *operand)
{
	struct merlon_statement *s;
	uint32_t mask = 0, xor = 0;

	if (key != NFT_META_MARK) {
		unsupported(eval, key == NFT_META_NFTRACE ? "meta nftrace set" :
			    key == NFT_META_PRIORITY ? "meta priority set" : "meta set");
		return 0;
	}
	if (operand->from == MERLON_FROM_IMMEDIATE && operand->len == 4 && !operand->big && !operand->masked) {
		xor = (uint32_t)operand->value;
	} else if (operand->from == MERLON_FROM_META && operand->key == NFT_META_MARK && !operand->big &&
		   !operand->shift) {
		mask = operand->masked ? (uint32_t)operand->mask : ~0U;
		xor = operand->masked ? (uint32_t)operand->xor : 0;
	} else {
		unsupported(eval, "meta mark set to something other than a constant or the mark itself");
		return 0;
	}
	s = merlon_build_statement(eval->rule, MERLON_S_MARK);
	if (!s)
		return -ENOMEM;
	s->mark.mask = mask;
	s->mark.xor = xor;
	return 0;
}

static int meta(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_operand operand = { .from = MERLON_FROM_META };

	(void)reader;
	operand.key = nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY);
	if (nftnl_expr_is_set(e, NFTNL_EXPR_META_SREG))
		return meta_set(eval, operand.key, reg_get(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_META_SREG)));
	operand.len = meta_len(operand.key);
	operand.big = operand.key == NFT_META_PROTOCOL;
	reg_put(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_META_DREG), &operand);
	return 0;
}

static int ct(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_operand operand = { .from = MERLON_FROM_CT };

	(void)reader;
	if (nftnl_expr_is_set(e, NFTNL_EXPR_CT_SREG)) {
		unsupported(eval, "ct set");
		return 0;
	}
	operand.key = nftnl_expr_get_u32(e, NFTNL_EXPR_CT_KEY);
	operand.len = operand.key == NFT_CT_DIRECTION ? 1 : 4;
	if (operand.key != NFT_CT_STATE && operand.key != NFT_CT_DIRECTION)
		return load_unsupported(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_CT_DREG),
					merlon_eval_describe(eval, &operand));
	reg_put(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_CT_DREG), &operand);
	return 0;
}

/* The kernel shifts 32-bit registers as this machine has them (net/netfilter/nft_bitwise.c, nft_bitwise_eval_rshift). */
static int shift_right(struct merlon_eval *eval, struct merlon_operand *operand, const struct nftnl_expr *e)
{
	uint32_t dreg = nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_DREG), len;
	const uint32_t *by = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_DATA, &len);
	bool whole = nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_LEN) == operand->len && operand->from != MERLON_FROM_NOTHING &&
		     operand->from != MERLON_FROM_IMMEDIATE;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	whole &= operand->len == 1 || (operand->len <= 4 && !operand->big);
#else
	whole &= operand->len == 4;
#endif
	if (!whole || !by || len != sizeof(*by) || operand->shift + *by >= operand->len * 8)
		return load_unsupported(eval, dreg, "bitwise shift");
	if (!operand->masked)
		operand->mask = merlon_value_max(operand->len * 8);
	operand->masked = true;
	operand->shift += *by;
	reg_put(eval, dreg, operand);
	return 0;
}

static int bitwise(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_operand operand = *reg_get(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_SREG));
	uint32_t mask_len, xor_len, len = nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_LEN);
	const uint8_t *mask = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_MASK, &mask_len);
	const uint8_t *xor = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_XOR, &xor_len);
	uint32_t dreg = nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_DREG);
	merlon_value m, x;
	enum merlon_field field;

	(void)reader;
	if (operand.from == MERLON_FROM_REFUSED)
		return 0;
	if (nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_OP) == NFT_BITWISE_RSHIFT)
		return shift_right(eval, &operand, e);
	if (nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_OP) != NFT_BITWISE_BOOL || !mask || !xor)
		return load_unsupported(eval, dreg, "bitwise shift");
	if (len != operand.len || mask_len != len || xor_len != len || operand.from == MERLON_FROM_NOTHING ||
	    operand.from == MERLON_FROM_IMMEDIATE || merlon_eval_is_name(&operand, &field))
		return load_unsupported(eval, dreg, "bitwise of several registers");
	/* what is done behind a shift is done to the bits that it leaves */
	m = merlon_number(mask, len, operand.big) << operand.shift;
	x = merlon_number(xor, len, operand.big) << operand.shift;
	operand.xor = operand.masked ? (operand.xor & m) ^ x : x;
	operand.mask = operand.masked ? operand.mask & m : m;
	operand.masked = true;
	reg_put(eval, dreg, &operand);
	return 0;
}

static int byteorder(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_operand operand = *reg_get(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_BYTEORDER_SREG));
	uint32_t dreg = nftnl_expr_get_u32(e, NFTNL_EXPR_BYTEORDER_DREG);

	(void)reader;
	if (operand.from == MERLON_FROM_REFUSED)
		return 0;
	/* one byte has no order; nft says so with the size of two, and the kernel goes by pairs */
	if (operand.len == 1 && nftnl_expr_get_u32(e, NFTNL_EXPR_BYTEORDER_SREG) == dreg)
		return 0;
	if (nftnl_expr_get_u32(e, NFTNL_EXPR_BYTEORDER_LEN) != operand.len ||
	    nftnl_expr_get_u32(e, NFTNL_EXPR_BYTEORDER_SIZE) != operand.len)
		return load_unsupported(eval, dreg, "byteorder of several values");
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	operand.big = !operand.big;
#endif
	reg_put(eval, dreg, &operand);
	return 0;
}

/* iifname, oifname: a comparison that is shorter than the name is a wildcard (nftables src/netlink_linearize.c). */
static int cmp_name(struct merlon_eval *eval, enum merlon_field field, const uint8_t *data, uint32_t len,
		    uint32_t op)
{
	struct merlon_comparison how = { .negated = op == NFT_CMP_NEQ };
	struct merlon_ifname *name;

	if ((op != NFT_CMP_EQ && op != NFT_CMP_NEQ) || len == 0 || len > IFNAMSIZ ||
	    (len == IFNAMSIZ && data[len - 1] != '\0') || strnlen((const char *)data, len) == 0) {
		unsupported(eval, field == MERLON_F_IIF ? "iifname of this form" : "oifname of this form");
		return 0;
	}
	name = calloc(1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	memcpy(name->name, data, len < IFNAMSIZ ? len : IFNAMSIZ - 1);
	/* iptables-nft compares a whole name with its final NUL: then it is exact though shorter */
	name->prefix = strnlen((const char *)data, len) == len;
	return merlon_eval_names(eval, field, name, 1, &how);
}

bool merlon_eval_comparable(struct merlon_eval *eval, const struct merlon_operand *operand, uint32_t len, bool ordered)
{
	if (operand->from == MERLON_FROM_REFUSED)
		return false;
	if (operand->from == MERLON_FROM_NOTHING || operand->from == MERLON_FROM_IMMEDIATE) {
		unsupported(eval, "comparison of a register without a source");
		return false;
	}
	if (len != operand->len) {
		unsupported(eval, merlon_eval_describe(eval, operand));
		return false;
	}
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (ordered && !operand->big && len > 1) {
		unsupported(eval, "an ordering comparison in host byte order");
		return false;
	}
#endif
	(void)ordered;
	return true;
}

static int cmp(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	const struct merlon_operand *operand = reg_get(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_SREG));
	uint32_t len, op = nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_OP);
	const uint8_t *data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len);
	struct merlon_comparison c = { .lower = op == NFT_CMP_GTE, .upper = op == NFT_CMP_LTE,
				       .equal = op == NFT_CMP_EQ, .negated = op == NFT_CMP_NEQ };
	merlon_value v, max, lo = 0, hi;
	enum merlon_field field;
	int r = 0;

	(void)reader;
	if (data && merlon_eval_is_name(operand, &field))
		return cmp_name(eval, field, data, len, op);
	if (!data || !merlon_eval_comparable(eval, operand, len, op != NFT_CMP_EQ && op != NFT_CMP_NEQ))
		return 0;
	v = merlon_number(data, len, operand->big);
	hi = max = merlon_value_max(len * 8);
	if (op == NFT_CMP_GT || op == NFT_CMP_GTE)
		lo = v + (op == NFT_CMP_GT);
	else if (op == NFT_CMP_LT || op == NFT_CMP_LTE)
		hi = v - (op == NFT_CMP_LT);
	else
		lo = hi = v;
	if (!(op == NFT_CMP_GT && v == max) && !(op == NFT_CMP_LT && v == 0))
		r = merlon_intervals_add(&c.in, lo, hi);
	if (r == 0 && op == NFT_CMP_NEQ)
		r = merlon_intervals_complement(&c.in, max);
	if (r < 0)
		merlon_intervals_clear(&c.in);
	return r < 0 ? r : merlon_eval_compare(eval, operand, &c);
}

static int range(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	const struct merlon_operand *operand = reg_get(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_RANGE_SREG));
	uint32_t len, len_to;
	const uint8_t *from = nftnl_expr_get(e, NFTNL_EXPR_RANGE_FROM_DATA, &len);
	const uint8_t *to = nftnl_expr_get(e, NFTNL_EXPR_RANGE_TO_DATA, &len_to);
	struct merlon_comparison c = { .negated = nftnl_expr_get_u32(e, NFTNL_EXPR_RANGE_OP) == NFT_RANGE_NEQ };
	merlon_value lo, hi;
	int r = 0;

	(void)reader;
	if (!from || !to || !merlon_eval_comparable(eval, operand, len, true) || !merlon_eval_comparable(eval, operand, len_to, true))
		return 0;
	lo = merlon_number(from, len, operand->big);
	hi = merlon_number(to, len, operand->big);
	if (lo <= hi)
		r = merlon_intervals_add(&c.in, lo, hi);
	if (r == 0 && c.negated)
		r = merlon_intervals_complement(&c.in, merlon_value_max(len * 8));
	if (r < 0)
		merlon_intervals_clear(&c.in);
	return r < 0 ? r : merlon_eval_compare(eval, operand, &c);
}

static int add_verdict(struct merlon_eval *eval, enum merlon_rule_verdict verdict, const char *chain)
{
	struct merlon_statement *s = merlon_build_statement(eval->rule, MERLON_S_VERDICT);

	if (!s)
		return -ENOMEM;
	s->verdict.verdict = verdict;
	return chain && !(s->verdict.chain = strdup(chain)) ? -ENOMEM : 0;
}

bool merlon_eval_verdict(int number, const char *chain, enum merlon_rule_verdict *ret)
{
	switch (number) {
	case NF_ACCEPT:
		*ret = MERLON_V_ACCEPT;
		return true;
	case NF_DROP:
		*ret = MERLON_V_DROP;
		return true;
	case NFT_CONTINUE:
		*ret = MERLON_V_CONTINUE;
		return true;
	case NFT_RETURN:
		*ret = MERLON_V_RETURN;
		return true;
	case NFT_JUMP:
		*ret = MERLON_V_JUMP;
		return chain;
	case NFT_GOTO:
		*ret = MERLON_V_GOTO;
		return chain;
	default:
		return false;
	}
}

static int verdict(struct merlon_eval *eval, const struct nftnl_expr *e)
{
	const char *chain = nftnl_expr_get_str(e, NFTNL_EXPR_IMM_CHAIN);
	enum merlon_rule_verdict v;

	if (!merlon_eval_verdict((int)nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT), chain, &v)) {
		unsupported(eval, "queue");
		return 0;
	}
	return add_verdict(eval, v, v == MERLON_V_JUMP || v == MERLON_V_GOTO ? chain : NULL);
}

static int immediate(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_operand operand = { .from = MERLON_FROM_IMMEDIATE };
	const uint8_t *data;

	(void)reader;
	if (nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_DREG) == NFT_REG_VERDICT)
		return verdict(eval, e);
	data = nftnl_expr_get(e, NFTNL_EXPR_IMM_DATA, &operand.len);
	if (!data || operand.len > 16)
		return load_unsupported(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_DREG), "immediate of this form");
	operand.value = merlon_number(data, operand.len, false);
	reg_put(eval, nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_DREG), &operand);
	return 0;
}

static int counter(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_statement *s = merlon_build_statement(eval->rule, MERLON_S_COUNTER);

	(void)reader;
	if (!s)
		return -ENOMEM;
	s->counter.packets = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_PACKETS);
	s->counter.bytes = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_BYTES);
	return 0;
}

static int limit(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_statement *s = merlon_build_statement(eval->rule, MERLON_S_LIMIT);

	(void)reader;
	if (!s)
		return -ENOMEM;
	s->limit.rate = nftnl_expr_get_u64(e, NFTNL_EXPR_LIMIT_RATE);
	s->limit.per_s = nftnl_expr_get_u64(e, NFTNL_EXPR_LIMIT_UNIT);
	s->limit.burst = nftnl_expr_get_u32(e, NFTNL_EXPR_LIMIT_BURST);
	s->limit.bytes = nftnl_expr_get_u32(e, NFTNL_EXPR_LIMIT_TYPE) == NFT_LIMIT_PKT_BYTES;
	s->limit.over = nftnl_expr_get_u32(e, NFTNL_EXPR_LIMIT_FLAGS) & NFT_LIMIT_F_INV;
	return 0;
}

static int log_(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	const char *prefix = nftnl_expr_get_str(e, NFTNL_EXPR_LOG_PREFIX);
	struct merlon_statement *s;

	(void)reader;
	if ((nftnl_expr_is_set(e, NFTNL_EXPR_LOG_SNAPLEN) && nftnl_expr_get_u32(e, NFTNL_EXPR_LOG_SNAPLEN)) ||
	    (nftnl_expr_is_set(e, NFTNL_EXPR_LOG_QTHRESHOLD) && nftnl_expr_get_u16(e, NFTNL_EXPR_LOG_QTHRESHOLD) > 1)) {
		unsupported(eval, "log with snaplen or queue-threshold");
		return 0;
	}
	s = merlon_build_statement(eval->rule, MERLON_S_LOG);
	if (!s)
		return -ENOMEM;
	snprintf(s->log->prefix, sizeof(s->log->prefix), "%s", prefix ? prefix : "");
	s->log->group = nftnl_expr_is_set(e, NFTNL_EXPR_LOG_GROUP) ?
		       nftnl_expr_get_u16(e, NFTNL_EXPR_LOG_GROUP) : -1;
	s->log->level = nftnl_expr_is_set(e, NFTNL_EXPR_LOG_LEVEL) && s->log->group < 0 ?
		       (int)nftnl_expr_get_u32(e, NFTNL_EXPR_LOG_LEVEL) : -1;
	s->log->flags = nftnl_expr_is_set(e, NFTNL_EXPR_LOG_FLAGS) ? nftnl_expr_get_u32(e, NFTNL_EXPR_LOG_FLAGS) : 0;
	if (s->log->level > 7)
		unsupported(eval, "log level audit");
	return 0;
}

/* The codes of `reject with icmpx` (linux/netfilter/nf_tables.h, enum nft_reject_inet_code). */
static const uint8_t icmpx[][MERLON_FAMILIES] = {
	[NFT_REJECT_ICMPX_NO_ROUTE] = { ICMP_NET_UNREACH, ICMP6_DST_UNREACH_NOROUTE },
	[NFT_REJECT_ICMPX_PORT_UNREACH] = { ICMP_PORT_UNREACH, ICMP6_DST_UNREACH_NOPORT },
	[NFT_REJECT_ICMPX_HOST_UNREACH] = { ICMP_HOST_UNREACH, ICMP6_DST_UNREACH_ADDR },
	[NFT_REJECT_ICMPX_ADMIN_PROHIBITED] = { ICMP_PKT_FILTERED, ICMP6_DST_UNREACH_ADMIN },
};

static int reject(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	uint32_t type = nftnl_expr_get_u32(e, NFTNL_EXPR_REJECT_TYPE);
	uint8_t code = nftnl_expr_get_u8(e, NFTNL_EXPR_REJECT_CODE);
	struct merlon_reject_with with = { .type = MERLON_REJECT_ICMP,
					   .code = { ICMP_PORT_UNREACH, ICMP6_DST_UNREACH_NOPORT } };
	struct merlon_statement *s;

	(void)reader;
	if (type == NFT_REJECT_TCP_RST) {
		with.type = MERLON_REJECT_TCP_RST;
	} else if (type == NFT_REJECT_ICMPX_UNREACH && code < ARRAY_SIZE(icmpx)) {
		memcpy(with.code, icmpx[code], sizeof(with.code));
	} else if (type == NFT_REJECT_ICMP_UNREACH) {
		if (eval->family != MERLON_IPV6)
			with.code[MERLON_IPV4] = code;
		if (eval->family != MERLON_IPV4)
			with.code[MERLON_IPV6] = code;
	} else {
		unsupported(eval, "reject of this type");
		return 0;
	}
	s = merlon_build_statement(eval->rule, MERLON_S_VERDICT);
	if (!s)
		return -ENOMEM;
	s->verdict.verdict = MERLON_V_REJECT;
	s->verdict.reject = with;
	return 0;
}

static void describe_fib(uint32_t flags, uint32_t wanted, char *text)
{
	static const char *const flag[] = { "saddr", "daddr", "mark", "iif", "oif" };
	static const char *const result[] = { "", "oif", "oifname", "type" };
	unsigned i;

	strcpy(text, "fib ");
	for (i = 0; i < ARRAY_SIZE(flag); i++)
		if (flags & 1U << i) {
			strcat(text, text[4] ? " . " : "");
			strcat(text, flag[i]);
		}
	strcat(text, " ");
	strcat(text, wanted < ARRAY_SIZE(result) ? result[wanted] : "");
}

static int fib(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	uint32_t wanted = nftnl_expr_get_u32(e, NFTNL_EXPR_FIB_RESULT), dreg = nftnl_expr_get_u32(e, NFTNL_EXPR_FIB_DREG);
	struct merlon_operand operand = { .from = MERLON_FROM_FIB, .len = 4 };
	char text[64];

	(void)reader;
	operand.key = nftnl_expr_get_u32(e, NFTNL_EXPR_FIB_FLAGS);
	if (wanted == NFT_FIB_RESULT_ADDRTYPE && (operand.key == NFTA_FIB_F_SADDR || operand.key == NFTA_FIB_F_DADDR)) {
		reg_put(eval, dreg, &operand);
		return 0;
	}
	describe_fib(operand.key, wanted, text);
	return load_unsupported(eval, dreg, text);
}

/* Headers behind the IPv6 header, options of TCP and others: of them the type of a routing header (RFC 8200 4.4). */
static int exthdr(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	struct merlon_operand operand = { .from = MERLON_FROM_ROUTING, .len = 1, .big = true };
	static const char *const name[] = { "rt nexthdr", "rt hdrlength", "rt type", "rt seg-left" };
	uint32_t offset = nftnl_expr_get_u32(e, NFTNL_EXPR_EXTHDR_OFFSET), dreg = nftnl_expr_get_u32(e, NFTNL_EXPR_EXTHDR_DREG);
	uint8_t type = nftnl_expr_get_u8(e, NFTNL_EXPR_EXTHDR_TYPE);

	(void)reader;
	operand.key = nftnl_expr_get_u32(e, NFTNL_EXPR_EXTHDR_FLAGS);
	if (nftnl_expr_is_set(e, NFTNL_EXPR_EXTHDR_SREG)) {
		unsupported(eval, "set of an option");
		return 0;
	}
	if (nftnl_expr_get_u32(e, NFTNL_EXPR_EXTHDR_OP) != NFT_EXTHDR_OP_IPV6 || type != IPPROTO_ROUTING ||
	    nftnl_expr_get_u32(e, NFTNL_EXPR_EXTHDR_LEN) != 1 || offset >= ARRAY_SIZE(name))
		return load_unsupported(eval, dreg, "extension header or option");
	if (!(operand.key & NFT_EXTHDR_F_PRESENT) && offset != offsetof(struct ip6_rthdr, ip6r_type))
		return load_unsupported(eval, dreg, name[offset]);
	reg_put(eval, dreg, &operand);
	return 0;
}

static int match(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	uint32_t len = 0;
	const void *info = nftnl_expr_get(e, NFTNL_EXPR_MT_INFO, &len);

	(void)reader;
	return merlon_xt_match(eval, nftnl_expr_get_str(e, NFTNL_EXPR_MT_NAME),
			       nftnl_expr_get_u32(e, NFTNL_EXPR_MT_REV), info, info ? len : 0);
}

static int target(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	uint32_t len = 0;
	const void *info = nftnl_expr_get(e, NFTNL_EXPR_TG_INFO, &len);

	(void)reader;
	return merlon_xt_target(eval, nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME),
				nftnl_expr_get_u32(e, NFTNL_EXPR_TG_REV), info, info ? len : 0);
}

/* What has a name of its own in nft's language that differs from the kernel's. */
static int other(struct merlon_eval *eval, const char *name)
{
	static const char *const names[][2] = {
		{ "connlimit", "ct count" }, { "dynset", "add or update of a set" },
		{ "objref", "named object" }, { "masq", "masquerade" }, { "redir", "redirect" },
		{ "flow_offload", "flow add" }, { "ng", "numgen" }, { "hash", "jhash or symhash" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i][0], name) == 0)
			name = names[i][1];
	unsupported(eval, name);
	return 0;
}

/* A verdict in the middle of a rule: `continue` does nothing there (net/netfilter/nf_tables_core.c, nft_do_chain). */
static void go_on(struct merlon_eval *eval)
{
	struct merlon_rule *rule = eval->rule;
	struct merlon_statement *last = rule->n ? &rule->statement[rule->n - 1] : NULL;

	if (last && last->kind == MERLON_S_VERDICT && last->verdict.verdict == MERLON_V_CONTINUE)
		merlon_statement_clear(&rule->statement[--rule->n]);
	else if (last && last->kind == MERLON_S_LOOKUP && last->lookup && last->lookup->map)
		merlon_build_refuse(rule, "more statements behind a verdict map: not supported yet");
}

int merlon_expr_read(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	static const struct {
		const char *name;
		handler handle;
	} known[] = {
		{ "payload", payload }, { "meta", meta }, { "ct", ct }, { "bitwise", bitwise }, { "byteorder", byteorder },
		{ "cmp", cmp }, { "range", range }, { "lookup", merlon_lookup_read }, { "immediate", immediate },
		{ "counter", counter }, { "limit", limit }, { "log", log_ }, { "reject", reject }, { "fib", fib },
		{ "exthdr", exthdr }, { "match", match }, { "target", target },
	};
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
	size_t i;

	go_on(eval);
	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].handle(reader, eval, e);
	return other(eval, name);
}
