/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/eval.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/fields.h"
#include "src/util/cleanup.h"

static void learn(struct merlon_eval *eval, const struct merlon_statement *s)
{
	const struct merlon_intervals *in = &s->match.in;

	if (s->match.field != MERLON_F_L4PROTO && s->match.field != MERLON_F_NEXTHDR)
		return;
	if (in->n == 1 && in->v[0].lo == in->v[0].hi)
		eval->proto = (int)in->v[0].lo;
}

enum merlon_family merlon_eval_family(const struct merlon_eval *eval, enum merlon_field field)
{
	if (field == MERLON_F_NEXTHDR || field == MERLON_F_RT_TYPE)
		return MERLON_IPV6;
	if (field == MERLON_F_SADDR || field == MERLON_F_DADDR || field == MERLON_F_TTL || field == MERLON_F_TOS)
		return eval->family == MERLON_IPV6 ? MERLON_IPV6 : MERLON_IPV4;
	return MERLON_IPV4;
}

static int add_match(struct merlon_eval *eval, enum merlon_field field, uint32_t mask,
		     struct merlon_comparison *c)
{
	struct merlon_statement *s, *last = eval->rule->n ? &eval->rule->statement[eval->rule->n - 1] : NULL;

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
	s->match.family = merlon_eval_family(eval, field);
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

static int add_family(struct merlon_eval *eval, const struct merlon_meaning *meaning, const struct merlon_intervals *in)
{
	bool v4 = merlon_intervals_contain(in, MERLON_IPV4), v6 = merlon_intervals_contain(in, MERLON_IPV6);
	struct merlon_statement *s;

	if (v4 && v6)
		return 0;
	if (!v4 && !v6) {
		merlon_build_refuse(eval->rule, "`%s` that is neither IPv4 nor IPv6",
				    merlon_eval_describe(eval, &meaning->operand));
		return 0;
	}
	/* asked twice, once of the frame */
	if (meaning->operand.from == MERLON_FROM_PAYLOAD && eval->family == (v4 ? MERLON_IPV4 : MERLON_IPV6))
		return 0;
	s = merlon_build_statement(eval->rule, MERLON_S_FAMILY);
	if (!s)
		return -ENOMEM;
	s->family = v4 ? MERLON_IPV4 : MERLON_IPV6;
	if (eval->family < 0)
		eval->family = s->family;
	return 0;
}

static int compare_number(struct merlon_eval *eval, const struct merlon_meaning *meaning, struct merlon_comparison *c)
{
	const struct merlon_operand *operand = &meaning->operand;
	bool keep = operand->masked && keeps_mask(meaning->field) && operand->xor == 0;
	uint32_t mask = ~0U;
	int r;

	/* what matches then is not what the set holds */
	if (operand->masked)
		c->set = NULL;
	if (meaning->field == MERLON_F_CT_STATE)
		c->negated = false;
	if (keep && operand->mask != merlon_value_max(meaning->bits))
		mask = (uint32_t)operand->mask;
	if (keep)
		r = merlon_eval_masked_values(meaning, &c->in);
	else
		r = merlon_eval_values(eval, meaning, &c->in);
	if (r < 0 || eval->rule->status == MERLON_REFUSED)
		return r;
	if (meaning->field == MERLON_F_NFPROTO)
		return add_family(eval, meaning, &c->in);
	return add_match(eval, meaning->field, mask, c);
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
		struct merlon_meaning meaning;
		merlon_value ones;

		part.len = f && f->len < left ? f->len : left;
		left -= part.len;
		ones = merlon_value_max(part.len * 8);
		part.mask = operand->mask >> left * 8 & ones;
		part.xor = operand->xor >> left * 8 & ones;
		if (merlon_intervals_add(&c.in, value >> left * 8 & ones, value >> left * 8 & ones) < 0)
			return -ENOMEM;
		r = merlon_eval_meaning(eval, &part, &meaning) ? compare_number(eval, &meaning, &c) : 0;
		merlon_intervals_clear(&c.in);
		part.offset += part.len;
	}
	return r;
}

/* ... and does the same to the sender's Ethernet address and the frame's protocol. */
static int compare_frame(struct merlon_eval *eval, const struct merlon_operand *operand, merlon_value value)
{
	struct merlon_operand part = *operand;
	struct merlon_comparison c = { .equal = true };
	int r;

	part.len = MERLON_ETHER_TYPE - operand->offset;
	r = merlon_intervals_add(&c.in, value >> 16, value >> 16);
	if (r == 0)
		r = merlon_eval_compare(eval, &part, &c);
	part.offset = MERLON_ETHER_TYPE;
	part.len = 2;
	if (r == 0)
		r = merlon_intervals_add(&c.in, value & 0xffff, value & 0xffff);
	return r < 0 ? r : merlon_eval_compare(eval, &part, &c);
}

/* The one value that `!=` leaves out. */
static bool left_out(const struct merlon_comparison *c, unsigned bits, merlon_value *ret)
{
	merlon_value max = merlon_value_max(bits);
	size_t i;

	if (!c->negated || c->set || !c->in.n)
		return false;
	*ret = c->in.v[0].lo ? 0 : c->in.v[0].hi + 1;
	for (i = 0; i < c->in.n; i++)
		max -= c->in.v[i].hi - c->in.v[i].lo + 1;
	return max == 0;
}

static int compare_payload(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	const struct merlon_header_field *f = merlon_header_field(eval, operand->key, operand->offset);
	struct merlon_meaning meaning;
	merlon_value value;

	if (merlon_eval_is_ether_saddr(operand))
		return merlon_eval_ether_saddr(eval, c);
	if (operand->key == NFT_PAYLOAD_LL_HEADER && operand->offset == MERLON_ETHER_SADDR && operand->len == 8 &&
	    c->equal && !operand->masked)
		return compare_frame(eval, operand, c->in.v[0].lo);
	if (f && operand->len > f->len && c->equal && c->in.n == 1 && !operand->shift)
		return compare_neighbours(eval, operand, c->in.v[0].lo);
	if (f && operand->len > f->len && !operand->masked && left_out(c, operand->len * 8, &value) &&
	    !(f->field == MERLON_F_ICMP_TYPE && operand->len == 2))
		return merlon_eval_not_all(eval, operand, value);
	return merlon_eval_meaning(eval, operand, &meaning) ? compare_number(eval, &meaning, c) : 0;
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

static int compare_other(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	struct merlon_meaning meaning;

	return merlon_eval_meaning(eval, operand, &meaning) ? compare_number(eval, &meaning, c) : 0;
}

/* nft asks for the type of the device before it looks at the Ethernet header: the model's fields imply that. */
static int compare_iiftype(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	if (operand->masked || c->in.n != 1 || c->in.v[0].lo != ARPHRD_ETHER || c->in.v[0].hi != ARPHRD_ETHER)
		merlon_eval_refuse(eval, operand);
	else if (eval->ether == MERLON_ETHER_UNKNOWN)
		eval->ether = MERLON_ETHER_ASKED;
	return 0;
}

static int compare_meta(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	switch (operand->key) {
	case NFT_META_IIF:
	case NFT_META_OIF:
		return compare_index(eval, operand, c);
	case NFT_META_IIFTYPE:
		return compare_iiftype(eval, operand, c);
	default:
		return compare_other(eval, operand, c);
	}
}

static int compare_fib(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	uint32_t types = 0, i;

	for (i = 0; i <= RTN_MAX; i++)
		if (merlon_intervals_contain(&c->in, merlon_eval_result(operand, i)))
			types |= 1U << i;
	return merlon_eval_addrtype(eval, operand->key & NFTA_FIB_F_SADDR ? MERLON_F_SADDR : MERLON_F_DADDR, types,
				    c->negated);
}

/* `exthdr rt exists` is any type of it. A match of the model fails without the field: `missing` is none. */
static int compare_routing(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_comparison *c)
{
	if (!(operand->key & NFT_EXTHDR_F_PRESENT))
		return compare_other(eval, operand, c);
	if (merlon_intervals_contain(&c->in, merlon_eval_result(operand, 1)) && !merlon_intervals_contain(&c->in, merlon_eval_result(operand, 0)))
		return merlon_eval_range(eval, MERLON_F_RT_TYPE, 0, 0xff, false);
	merlon_build_refuse(eval->rule, "expression `exthdr rt missing`: not supported yet");
	return 0;
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
		r = compare_other(eval, operand, comparison);
		break;
	case MERLON_FROM_ROUTING:
		r = compare_routing(eval, operand, comparison);
		break;
	case MERLON_FROM_FIB:
		r = compare_fib(eval, operand, comparison);
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

bool merlon_eval_is_traceless(const struct merlon_rule *rule)
{
	for (size_t i = 0; i < rule->n; i++)
		if (rule->statement[i].kind == MERLON_S_LIMIT || rule->statement[i].kind == MERLON_S_LOG ||
		    rule->statement[i].kind == MERLON_S_COUNTER || rule->statement[i].kind == MERLON_S_MARK)
			return false;
	return true;
}

void merlon_eval_finish(struct merlon_eval *eval)
{
	if (eval->ether == MERLON_ETHER_ASKED)
		merlon_build_refuse(eval->rule, "expression `meta iiftype`: not supported yet");
}
