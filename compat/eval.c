/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/eval.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

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
	default:
		return "a register without a source";
	}
}

static void learn(struct merlon_eval *eval, const struct merlon_statement *s)
{
	const struct merlon_intervals *in = &s->match.in;

	if (s->match.field != MERLON_F_L4PROTO && s->match.field != MERLON_F_NEXTHDR)
		return;
	if (in->n == 1 && in->v[0].lo == in->v[0].hi)
		eval->proto = (int)in->v[0].lo;
}

static int add_match(struct merlon_eval *eval, enum merlon_field field, uint32_t mask,
		     struct merlon_comparison *c)
{
	struct merlon_statement *s, *last = eval->rule->n ? &eval->rule->statement[eval->rule->n - 1] : NULL;
	unsigned family = eval->family < 0 ? MERLON_IPV4 : eval->family;

	/* nft compares a range with its two ends, one after the other */
	if (c->upper && eval->lower_bound == eval->rule->n && last && last->kind == MERLON_S_MATCH &&
	    last->match.field == field && last->match.mask == mask) {
		struct merlon_intervals both;

		if (merlon_intervals_intersect(&last->match.in, &c->in, &both) < 0)
			return -ENOMEM;
		merlon_intervals_clear(&last->match.in);
		last->match.in = both;
		eval->lower_bound = 0;
		learn(eval, last);
		return 0;
	}
	s = merlon_build_statement(eval->rule, MERLON_S_MATCH);
	if (!s)
		return -ENOMEM;
	s->match.field = field;
	if (field == MERLON_F_NEXTHDR)
		family = MERLON_IPV6;
	s->match.family = field == MERLON_F_SADDR || field == MERLON_F_DADDR || field == MERLON_F_NEXTHDR ||
			  field == MERLON_F_TTL || field == MERLON_F_TOS ? family : MERLON_IPV4;
	s->match.mask = mask;
	s->match.in = c->in;
	c->in = (struct merlon_intervals){ 0 };
	s->match.negated = c->negated;
	if (c->set && !(s->match.set = strdup(c->set)))
		return -ENOMEM;
	eval->lower_bound = c->lower ? eval->rule->n : 0;
	learn(eval, s);
	return 0;
}

/* Results of a mask are kept as such where rules are written so, and where an image can say it. */
static bool keeps_mask(enum merlon_field field)
{
	return field == MERLON_F_TCP_FLAGS || field == MERLON_F_TOS || field == MERLON_F_MARK;
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

static int compare_number(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c,
			  enum merlon_field field, unsigned field_bits)
{
	unsigned bits = operand->len * 8;
	uint32_t mask = ~0U;

	/* what matches then is not what the set holds */
	if (operand->masked)
		c->set = NULL;
	if (operand->masked && keeps_mask(field) && operand->xor == 0) {
		if (operand->mask != merlon_value_max(field_bits))
			mask = (uint32_t)operand->mask;
	} else if (operand->masked) {
		int r = merlon_mask_undo(&c->in, operand->mask, operand->xor, bits);

		if (r == -ERANGE)
			merlon_build_refuse(eval->rule, "expression `%s` with a mask of more than %u intervals",
					    merlon_eval_describe(eval, operand), MERLON_MASK_INTERVALS);
		if (r < 0)
			return r == -ERANGE ? 0 : r;
	}
	if (bits < field_bits)
		widen(&c->in, field_bits - bits);
	return add_match(eval, field, mask, c);
}

/* The traffic class of IPv6 lies in bits 4-11 of the first two bytes; others must be masked out. */
static int compare_tclass(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	struct merlon_operand byte = *operand;
	struct merlon_intervals in = { 0 };
	size_t i;

	if (!operand->masked || (operand->mask | operand->xor) & ~(merlon_value)0x0ff0) {
		merlon_build_refuse(eval->rule, "expression `ip6 version`: not supported yet");
		return 0;
	}
	byte.len = 1;
	byte.mask >>= 4;
	byte.xor >>= 4;
	for (i = 0; i < c->in.n; i++) {
		merlon_value lo = (c->in.v[i].lo + 15) >> 4, hi = c->in.v[i].hi >> 4;

		if (hi > 0xff)
			hi = 0xff;
		if (lo <= hi && merlon_intervals_add(&in, lo, hi) < 0)
			return -ENOMEM;
	}
	merlon_intervals_normalise(&in);
	merlon_intervals_clear(&c->in);
	c->in = in;
	return compare_number(eval, &byte, c, MERLON_F_TOS, 8);
}

static int refuse_operand(struct merlon_eval *eval, const struct merlon_operand *operand)
{
	merlon_build_refuse(eval->rule, "expression `%s`: not supported yet", merlon_eval_describe(eval, operand));
	return 0;
}

static int compare_header_field(struct merlon_eval *eval, const struct merlon_operand *operand,
				struct merlon_comparison *c)
{
	const struct merlon_header_field *f = merlon_header_field(eval, operand->key, operand->offset);

	if (!f || f->field == MERLON_NO_FIELD || operand->len > f->len ||
	    (operand->len < f->len && !is_address(f->field)))
		return refuse_operand(eval, operand);
	if (f->field == MERLON_F_TOS && f->len == 2)
		return compare_tclass(eval, operand, c);
	return compare_number(eval, operand, c, f->field,
			      f->field == MERLON_F_LENGTH ? operand->len * 8 : f->len * 8);
}

/* nft merges `==` on neighbouring fields into one load: take it apart again. */
static int compare_neighbours(struct merlon_eval *eval, const struct merlon_operand *operand, merlon_value value)
{
	struct merlon_operand part = *operand;
	uint32_t left = operand->len;
	int r = 0;

	while (left && r == 0 && eval->rule->status != MERLON_REFUSED) {
		const struct merlon_header_field *f = merlon_header_field(eval, operand->key, part.offset);
		struct merlon_comparison c = { .equal = true };
		merlon_value ones;

		part.len = f && f->len < left ? f->len : left;
		left -= part.len;
		ones = merlon_value_max(part.len * 8);
		part.mask = operand->mask >> left * 8 & ones;
		part.xor = operand->xor >> left * 8 & ones;
		if (merlon_intervals_add(&c.in, value >> left * 8 & ones, value >> left * 8 & ones) < 0)
			return -ENOMEM;
		r = compare_header_field(eval, &part, &c);
		merlon_intervals_clear(&c.in);
		part.offset += part.len;
	}
	return r;
}

static int compare_payload(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	const struct merlon_header_field *f = merlon_header_field(eval, operand->key, operand->offset);

	if (f && operand->len > f->len && c->equal && c->in.n == 1)
		return compare_neighbours(eval, operand, c->in.v[0].lo);
	/* type and code of ICMP as one number: what iptables makes of `! --icmp-type` */
	if (f && f->field == MERLON_F_ICMP_TYPE && operand->len == 2)
		return compare_number(eval, operand, c, MERLON_F_TH0, 16);
	return compare_header_field(eval, operand, c);
}

static merlon_value result(const struct merlon_operand *operand, merlon_value raw)
{
	return operand->masked ? (raw & operand->mask) ^ operand->xor : raw;
}

static int compare_ct_state(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	static const uint32_t bit[MERLON_CT_STATES] = {
		[MERLON_CT_INVALID] = NF_CT_STATE_INVALID_BIT,
		[MERLON_CT_ESTABLISHED] = NF_CT_STATE_BIT(IP_CT_ESTABLISHED),
		[MERLON_CT_RELATED] = NF_CT_STATE_BIT(IP_CT_RELATED),
		[MERLON_CT_NEW] = NF_CT_STATE_BIT(IP_CT_NEW),
		[MERLON_CT_UNTRACKED] = NF_CT_STATE_UNTRACKED_BIT,
	};
	struct merlon_intervals in = { 0 };
	unsigned i;

	/* a packet has exactly one of them */
	for (i = 0; i < MERLON_CT_STATES; i++)
		if (merlon_intervals_contain(&c->in, result(operand, bit[i])) && merlon_intervals_add(&in, i, i) < 0)
			return -ENOMEM;
	merlon_intervals_normalise(&in);
	merlon_intervals_clear(&c->in);
	c->in = in;
	c->negated = false;
	return add_match(eval, MERLON_F_CT_STATE, ~0U, c);
}

/* meta nfproto, and meta protocol, which says the same where IP packets are judged. */
static int compare_family(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	bool ether = operand->key == NFT_META_PROTOCOL;
	bool v4 = merlon_intervals_contain(&c->in, result(operand, ether ? ETH_P_IP : NFPROTO_IPV4));
	bool v6 = merlon_intervals_contain(&c->in, result(operand, ether ? ETH_P_IPV6 : NFPROTO_IPV6));
	struct merlon_statement *s;

	if (v4 && v6)
		return 0;
	if (!v4 && !v6) {
		merlon_build_refuse(eval->rule, "`%s` that is neither IPv4 nor IPv6", merlon_meta_name(operand->key));
		return 0;
	}
	s = merlon_build_statement(eval->rule, MERLON_S_FAMILY);
	if (!s)
		return -ENOMEM;
	s->family = v4 ? MERLON_IPV4 : MERLON_IPV6;
	if (eval->family < 0)
		eval->family = s->family;
	return 0;
}

static int compare_index(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	bool negated = c->in.n && c->in.v[c->in.n - 1].hi == 0xffffffff;
	_cleanup_(merlon_freep) struct merlon_ifname *name = NULL;
	size_t i;

	if (negated && merlon_intervals_complement(&c->in, 0xffffffff) < 0)
		return -ENOMEM;
	name = calloc(c->in.n + 1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	for (i = 0; i < c->in.n; i++) {
		if (c->in.v[i].lo != c->in.v[i].hi || c->in.v[i].lo == 0 || operand->masked) {
			merlon_build_refuse(eval->rule, "`%s` with a range of indexes",
					    merlon_meta_name(operand->key));
			return 0;
		}
		name[i].index = (unsigned)c->in.v[i].lo;
		if (!if_indextoname(name[i].index, name[i].name))
			snprintf(name[i].name, sizeof(name[i].name), "%u", name[i].index);
	}
	c->negated = negated;
	return merlon_eval_names(eval, operand->key == NFT_META_IIF ? MERLON_F_IIF : MERLON_F_OIF, TAKE_PTR(name),
				 c->in.n, c);
}

static int compare_meta(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	switch (operand->key) {
	case NFT_META_NFPROTO:
	case NFT_META_PROTOCOL:
		return compare_family(eval, operand, c);
	case NFT_META_L4PROTO:
		return compare_number(eval, operand, c, MERLON_F_L4PROTO, 8);
	case NFT_META_LEN:
		return compare_number(eval, operand, c, MERLON_F_LENGTH, 32);
	case NFT_META_MARK:
		return compare_number(eval, operand, c, MERLON_F_MARK, 32);
	case NFT_META_PKTTYPE:
		return compare_number(eval, operand, c, MERLON_F_PKTTYPE, 8);
	case NFT_META_IIF:
	case NFT_META_OIF:
		return compare_index(eval, operand, c);
	default:
		return refuse_operand(eval, operand);
	}
}

int merlon_eval_compare(struct merlon_eval *eval, const struct merlon_operand *operand,
			struct merlon_comparison *comparison)
{
	int r = 0;

	switch (operand->from) {
	case MERLON_FROM_PAYLOAD:
		r = compare_payload(eval, operand, comparison);
		break;
	case MERLON_FROM_META:
		r = compare_meta(eval, operand, comparison);
		break;
	case MERLON_FROM_CT:
		if (operand->key == NFT_CT_STATE)
			r = compare_ct_state(eval, operand, comparison);
		else if (operand->key == NFT_CT_DIRECTION)
			r = compare_number(eval, operand, comparison, MERLON_F_CT_DIRECTION, 8);
		else
			refuse_operand(eval, operand);
		break;
	default:
		merlon_build_refuse(eval->rule, "comparison of %s", merlon_eval_describe(eval, operand));
	}
	merlon_intervals_clear(&comparison->in);
	return r;
}

int merlon_eval_field(struct merlon_eval *eval, enum merlon_field field, uint32_t mask, struct merlon_intervals *in,
		      bool negated)
{
	struct merlon_comparison c = { .in = *in, .negated = negated };
	int r = add_match(eval, field, mask, &c);

	*in = (struct merlon_intervals){ 0 };
	merlon_intervals_clear(&c.in);
	return r;
}

int merlon_eval_range(struct merlon_eval *eval, enum merlon_field field, merlon_value lo, merlon_value hi,
		      bool negated)
{
	unsigned bits = merlon_field_bits(field, eval->family == MERLON_IPV6 ? MERLON_IPV6 : MERLON_IPV4);
	struct merlon_intervals in = { 0 };

	/* a range that ends before it starts holds nothing */
	if (lo <= hi && merlon_intervals_add(&in, lo, hi) < 0)
		return -ENOMEM;
	if (negated && merlon_intervals_complement(&in, merlon_value_max(bits)) < 0)
		return -ENOMEM;
	return merlon_eval_field(eval, field, ~0U, &in, negated);
}

bool merlon_eval_is_name(const struct merlon_operand *operand, enum merlon_field *ret_field)
{
	if (operand->from != MERLON_FROM_META)
		return false;
	*ret_field = operand->key == NFT_META_IIFNAME ? MERLON_F_IIF : MERLON_F_OIF;
	return operand->key == NFT_META_IIFNAME || operand->key == NFT_META_OIFNAME;
}

int merlon_eval_names(struct merlon_eval *eval, enum merlon_field field, struct merlon_ifname *name, size_t n,
		      const struct merlon_comparison *how)
{
	struct merlon_statement *s = merlon_build_statement(eval->rule, MERLON_S_INTERFACE);

	if (!s) {
		free(name);
		return -ENOMEM;
	}
	s->interface.field = field;
	s->interface.name = name;
	s->interface.n = n;
	s->interface.negated = how->negated;
	if (how->set && !(s->interface.set = strdup(how->set)))
		return -ENOMEM;
	return 0;
}
