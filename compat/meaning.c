/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the number in a register is: a field of the packet, and which values of it make the number what it is compared with. */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>

#include "compat/build.h"
#include "compat/fields.h"
#include "compat/masks.h"
#include "src/util/cleanup.h"

static bool is_address(int field)
{
	return field == MERLON_F_SADDR || field == MERLON_F_DADDR;
}

const char *merlon_eval_describe(const struct merlon_eval *eval, const struct merlon_operand *operand)
{
	static const char *const base[] = { "ll", "nh", "th", "ih" };
	const struct merlon_header_field *f;
	static char raw[64];

	switch (operand->from) {
	case MERLON_FROM_META:
		return merlon_meta_name(operand->key);
	case MERLON_FROM_CT:
		return merlon_ct_name(operand->key);
	case MERLON_FROM_PAYLOAD:
		f = merlon_header_field(eval, operand->key, operand->offset);
		if (f && (operand->len >= f->len || is_address(f->field)))
			return f->name;
		snprintf(raw, sizeof(raw), "raw payload @%s,%u,%u",
			 operand->key < ARRAY_SIZE(base) ? base[operand->key] : "?", operand->offset * 8, operand->len * 8);
		return raw;
	case MERLON_FROM_ROUTING:
		return operand->key & NFT_EXTHDR_F_PRESENT ? "exthdr rt" : "rt type";
	case MERLON_FROM_FIB:
		return operand->key & NFTA_FIB_F_SADDR ? "fib saddr type" : "fib daddr type";
	default:
		return "a register without a source";
	}
}

/* An address of which only the first bytes were loaded: what the rest is does not matter. */
static void widen(struct merlon_intervals *in, unsigned by)
{
	size_t i;

	for (i = 0; i < in->n; i++) {
		in->v[i].lo <<= by;
		in->v[i].hi = in->v[i].hi << by | merlon_value_max(by);
	}
}

/* Bits 4-11 of the first two bytes of IPv6 as one byte. */
static int tclass_values(struct merlon_intervals *raw)
{
	struct merlon_intervals in = { 0 };
	size_t i;

	for (i = 0; i < raw->n; i++) {
		merlon_value lo = (raw->v[i].lo + 15) >> 4, hi = raw->v[i].hi >> 4;

		if (hi > 0xff)
			hi = 0xff;
		if (lo <= hi && merlon_intervals_add(&in, lo, hi) < 0) {
			merlon_intervals_clear(&in);
			return -ENOMEM;
		}
	}
	merlon_intervals_normalise(&in);
	merlon_intervals_clear(raw);
	*raw = in;
	return 0;
}

merlon_value merlon_eval_result(const struct merlon_operand *operand, merlon_value raw)
{
	return (operand->masked ? (raw & operand->mask) ^ operand->xor : raw) >> operand->shift;
}

/* Undoes the shift: any of the bits that it drops will do. */
static void unshift(const struct merlon_operand *operand, struct merlon_intervals *in)
{
	merlon_value max = merlon_value_max(operand->len * 8);
	size_t i, n = 0;

	for (i = 0; operand->shift && i < in->n; i++) {
		if (in->v[i].lo > max >> operand->shift)
			break;
		in->v[n].lo = in->v[i].lo << operand->shift;
		in->v[n].hi = in->v[i].hi >= max >> operand->shift ? max :
			      in->v[i].hi << operand->shift | merlon_value_max(operand->shift);
		n++;
	}
	if (operand->shift)
		in->n = n;
}

/* Those of `value` that the register's value is in `in` for, by their numbers. */
static int chosen(const struct merlon_operand *operand, const uint32_t *value, unsigned n, struct merlon_intervals *in)
{
	struct merlon_intervals out = { 0 };
	unsigned i;

	for (i = 0; i < n; i++)
		if (merlon_intervals_contain(in, merlon_eval_result(operand, value[i])) && merlon_intervals_add(&out, i, i) < 0) {
			merlon_intervals_clear(&out);
			return -ENOMEM;
		}
	merlon_intervals_normalise(&out);
	merlon_intervals_clear(in);
	*in = out;
	return 0;
}

static int state_values(const struct merlon_operand *operand, struct merlon_intervals *in)
{
	/* a packet has exactly one of them */
	static const uint32_t bit[MERLON_CT_STATES] = {
		[MERLON_CT_INVALID] = NF_CT_STATE_INVALID_BIT,
		[MERLON_CT_ESTABLISHED] = NF_CT_STATE_BIT(IP_CT_ESTABLISHED),
		[MERLON_CT_RELATED] = NF_CT_STATE_BIT(IP_CT_RELATED),
		[MERLON_CT_NEW] = NF_CT_STATE_BIT(IP_CT_NEW),
		[MERLON_CT_UNTRACKED] = NF_CT_STATE_UNTRACKED_BIT,
	};

	return chosen(operand, bit, MERLON_CT_STATES, in);
}

/* meta nfproto, and meta protocol, which says the same where IP packets are judged. */
static int family_values(const struct merlon_operand *operand, struct merlon_intervals *in)
{
	static const uint32_t ether[MERLON_FAMILIES] = { ETH_P_IP, ETH_P_IPV6 };
	static const uint32_t nfproto[MERLON_FAMILIES] = { NFPROTO_IPV4, NFPROTO_IPV6 };

	return chosen(operand, operand->from == MERLON_FROM_META && operand->key == NFT_META_NFPROTO ? nfproto : ether,
		      MERLON_FAMILIES, in);
}

int merlon_eval_masked_values(const struct merlon_meaning *meaning, struct merlon_intervals *in)
{
	unshift(&meaning->operand, in);
	return meaning->is_tclass ? tclass_values(in) : 0;
}

int merlon_eval_values(struct merlon_eval *eval, const struct merlon_meaning *meaning, struct merlon_intervals *in)
{
	const struct merlon_operand *operand = &meaning->operand;
	unsigned bits = operand->len * 8;
	int r;

	if (meaning->field == MERLON_F_CT_STATE)
		return state_values(operand, in);
	if (meaning->field == MERLON_F_NFPROTO)
		return family_values(operand, in);
	r = merlon_eval_masked_values(meaning, in);
	if (r == 0 && operand->masked)
		r = merlon_mask_undo(in, operand->mask, operand->xor, bits);
	if (r == -ERANGE) {
		merlon_build_refuse(eval->rule, "expression `%s` with a mask of more than %u intervals",
				    merlon_eval_describe(eval, operand), MERLON_MASK_INTERVALS);
		return 0;
	}
	if (r == 0 && bits < meaning->bits)
		widen(in, meaning->bits - bits);
	return r;
}

bool merlon_eval_refuse(struct merlon_eval *eval, const struct merlon_operand *operand)
{
	merlon_build_refuse(eval->rule, "expression `%s`: not supported yet", merlon_eval_describe(eval, operand));
	return false;
}

/* The traffic class of IPv6 lies in bits 4-11 of the first two bytes; others must be masked out. */
static bool tclass(struct merlon_eval *eval, struct merlon_meaning *ret)
{
	if (!ret->operand.masked || (ret->operand.mask | ret->operand.xor) & ~(merlon_value)0x0ff0) {
		merlon_build_refuse(eval->rule, "expression `ip6 version`: not supported yet");
		return false;
	}
	ret->is_tclass = true;
	ret->bits = 8;
	ret->operand.len = 1;
	ret->operand.mask >>= 4;
	ret->operand.xor >>= 4;
	return true;
}

static bool payload_meaning(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_meaning *ret)
{
	const struct merlon_header_field *f = merlon_header_field(eval, operand->key, operand->offset);

	/* the protocol of a frame, once it is known to be Ethernet's */
	if (eval->ether != MERLON_ETHER_UNKNOWN && operand->key == NFT_PAYLOAD_LL_HEADER &&
	    operand->offset == MERLON_ETHER_TYPE && operand->len == 2) {
		ret->field = MERLON_F_NFPROTO;
		return true;
	}
	/* type and code of ICMP as one number: what iptables makes of `! --icmp-type` */
	if (f && f->field == MERLON_F_ICMP_TYPE && operand->len == 2) {
		ret->field = MERLON_F_TH0;
		ret->bits = 16;
		return true;
	}
	if (!f || f->field == MERLON_NO_FIELD || operand->len > f->len ||
	    (operand->len < f->len && !is_address(f->field)))
		return merlon_eval_refuse(eval, operand);
	ret->field = f->field;
	ret->bits = f->field == MERLON_F_LENGTH ? operand->len * 8 : f->len * 8;
	return f->field == MERLON_F_TOS && f->len == 2 ? tclass(eval, ret) : true;
}

static bool meta_meaning(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_meaning *ret)
{
	static const struct {
		uint32_t key;
		enum merlon_field field;
	} known[] = {
		{ NFT_META_NFPROTO, MERLON_F_NFPROTO }, { NFT_META_PROTOCOL, MERLON_F_NFPROTO },
		{ NFT_META_L4PROTO, MERLON_F_L4PROTO }, { NFT_META_LEN, MERLON_F_LENGTH },
		{ NFT_META_MARK, MERLON_F_MARK }, { NFT_META_PKTTYPE, MERLON_F_PKTTYPE },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].key == operand->key) {
			ret->field = known[i].field;
			ret->bits = operand->len * 8;
			return true;
		}
	return merlon_eval_refuse(eval, operand);
}

bool merlon_eval_meaning(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_meaning *ret)
{
	*ret = (struct merlon_meaning){ .operand = *operand };
	switch (operand->from) {
	case MERLON_FROM_PAYLOAD:
		return payload_meaning(eval, operand, ret);
	case MERLON_FROM_META:
		return meta_meaning(eval, operand, ret);
	case MERLON_FROM_CT:
		ret->field = operand->key == NFT_CT_STATE ? MERLON_F_CT_STATE : MERLON_F_CT_DIRECTION;
		ret->bits = 8;
		return operand->key == NFT_CT_STATE || operand->key == NFT_CT_DIRECTION ? true :
		       merlon_eval_refuse(eval, operand);
	case MERLON_FROM_ROUTING:
		ret->field = MERLON_F_RT_TYPE;
		ret->bits = 8;
		return operand->key & NFT_EXTHDR_F_PRESENT ? merlon_eval_refuse(eval, operand) : true;
	default:
		return merlon_eval_refuse(eval, operand);
	}
}
