/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The expression `lookup`. A set of single values that stay is a match of the model like any other; concatenations, maps of
 * verdicts and sets whose elements expire become a struct merlon_lookup, element by element.
 */
#include <errno.h>
#include <net/if.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/masks.h"
#include "compat/reader.h"
#include "compat/rows.h"
#include "src/util/cleanup.h"

#define OPERANDS (NFT_DATA_VALUE_MAXLEN / 4)

enum kind {
	NUMBER,
	NAME,		/* iifname, oifname */
	INDEX,		/* iif, oif */
	ETHER,		/* two parts of the model */
};

/* One part of the key, as the rule loads it. */
struct key_part {
	struct merlon_operand operand;
	enum kind kind;
	uint32_t offset;	/* in the key */
	enum merlon_field field;	/* NAME, INDEX */
	struct merlon_meaning meaning;	/* NUMBER */
};

struct building {
	struct merlon_eval *eval;
	const struct merlon_named_set *set;
	struct key_part part[OPERANDS];
	size_t n;
	struct merlon_lookup *lookup;	/* of the rule's statement */
};

static void unsupported(struct merlon_eval *eval, const char *what)
{
	merlon_build_refuse(eval->rule, "expression `%s`: not supported yet", what);
}

static bool is_anonymous(const struct merlon_named_set *set)
{
	/* sets whose names begin so are nft's own, for { ... } in a rule */
	return set->flags & NFT_SET_ANONYMOUS || strncmp(set->name, "__", 2) == 0;
}

static bool classify(struct merlon_eval *eval, struct key_part *part)
{
	const struct merlon_operand *operand = &part->operand;

	if (merlon_eval_is_ether_saddr(operand)) {
		part->kind = ETHER;
		return merlon_eval_is_ethernet(eval);
	}
	if (merlon_eval_is_name(operand, &part->field)) {
		part->kind = NAME;
		return true;
	}
	if (operand->from == MERLON_FROM_META && (operand->key == NFT_META_IIF || operand->key == NFT_META_OIF)) {
		part->kind = INDEX;
		part->field = operand->key == NFT_META_IIF ? MERLON_F_IIF : MERLON_F_OIF;
		if (operand->masked)
			unsupported(eval, "iif or oif with a mask");
		return !operand->masked;
	}
	part->kind = NUMBER;
	return merlon_eval_meaning(eval, operand, &part->meaning);
}

/* The registers that the key is in, one after the other, each padded to four bytes. */
static bool find_parts(struct building *b, uint32_t sreg)
{
	const struct merlon_named_set *set = b->set;
	uint32_t at = merlon_register(sreg), offset = 0;

	while (offset < set->key_len && b->n < OPERANDS && at + offset / 4 < MERLON_REGISTERS) {
		const struct merlon_operand *operand = &b->eval->reg[at + offset / 4];

		if (operand->from == MERLON_FROM_REFUSED)
			return false;
		if (!operand->len || operand->from == MERLON_FROM_NOTHING || operand->from == MERLON_FROM_IMMEDIATE ||
		    offset + operand->len > set->key_len)
			break;
		b->part[b->n].operand = *operand;
		b->part[b->n++].offset = offset;
		offset += (operand->len + 3) / 4 * 4;
	}
	if (offset >= set->key_len && b->n)
		return true;
	merlon_build_refuse(b->eval->rule, "lookup of something other than %s `%s` holds", set->map ? "map" : "set",
			    is_anonymous(set) ? "(anonymous)" : set->name);
	return false;
}

static bool find_meanings(struct building *b)
{
	size_t i;

	for (i = 0; i < b->n; i++) {
		const struct merlon_operand *operand = &b->part[i].operand;

		if (!classify(b->eval, &b->part[i]))
			return false;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		if (b->set->flags & NFT_SET_INTERVAL && !operand->big && operand->len > 1 && b->part[i].kind != NAME) {
			unsupported(b->eval, "an ordering comparison in host byte order");
			return false;
		}
#endif
		/* what is found then is not what the set holds */
		if (operand->masked && b->set->timed) {
			unsupported(b->eval, "a mask before a set with timeouts");
			return false;
		}
	}
	if (b->set->timed && !b->set->declared) {
		unsupported(b->eval, "a set with timeouts of this type");
		return false;
	}
	return true;
}

static int add_parts(struct building *b)
{
	size_t i;
	int r = 0;

	for (i = 0; i < b->n && r == 0; i++) {
		const struct key_part *part = &b->part[i];

		if (part->kind == ETHER)
			r = merlon_lookup_ether(b->lookup);
		else if (part->kind == NUMBER)
			r = merlon_lookup_part(b->lookup, part->meaning.field, merlon_eval_family(b->eval, part->meaning.field));
		else
			r = merlon_lookup_part(b->lookup, part->field, MERLON_IPV4);
	}
	return r;
}

static int add_name(struct building *b, struct merlon_choices *choices, const struct merlon_ifname *name)
{
	struct merlon_lookup *lookup = b->lookup;
	struct merlon_part_range at = { 0 };
	struct merlon_ifname *grown;
	size_t i;

	for (i = 0; i < lookup->n_names; i++)
		if (lookup->name[i].prefix == name->prefix && lookup->name[i].index == name->index &&
		    strcmp(lookup->name[i].name, name->name) == 0)
			break;
	if (i == lookup->n_names) {
		grown = reallocarray(lookup->name, i + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		lookup->name = grown;
		grown[lookup->n_names++] = *name;
	}
	at.lo = at.hi = i;
	return merlon_choices_add(choices, at, at);
}

static int choose_name(struct building *b, const struct key_part *part, const uint8_t *first, const uint8_t *last,
		       struct merlon_choices *ret)
{
	struct merlon_ifname name = { 0 };
	merlon_value index = merlon_number(first, part->operand.len, part->operand.big);

	if (part->kind == NAME) {
		if (merlon_set_name(first, last, &name))
			return add_name(b, ret, &name);
		unsupported(b->eval, "interface names in a set of this form");
		return 0;
	}
	if (index == 0 || memcmp(first, last, part->operand.len) != 0) {
		merlon_build_refuse(b->eval->rule, "`%s` with a range of indexes",
				    merlon_eval_describe(b->eval, &part->operand));
		return 0;
	}
	name.index = (unsigned)index;
	if (!if_indextoname(name.index, name.name))
		snprintf(name.name, sizeof(name.name), "%u", name.index);
	return add_name(b, ret, &name);
}

static int add_interval(const struct merlon_interval *interval, bool one_by_one, struct merlon_choices *ret)
{
	struct merlon_part_range range = { interval->lo, one_by_one ? interval->lo : interval->hi };
	int r = merlon_choices_add(ret, range, range);

	while (r == 0 && range.hi < interval->hi) {
		range.lo = ++range.hi;
		r = merlon_choices_add(ret, range, range);
	}
	return r;
}

static int choose_number(struct building *b, const struct key_part *part, merlon_value lo, merlon_value hi,
			 struct merlon_choices *ret)
{
	/* kinds that have names and no order */
	bool named = part->meaning.field == MERLON_F_CT_STATE || part->meaning.field == MERLON_F_NFPROTO;
	struct merlon_intervals in = { 0 };
	size_t i;
	int r = merlon_intervals_add(&in, lo, hi);

	if (r == 0)
		r = merlon_eval_values(b->eval, &part->meaning, &in);
	for (i = 0; r == 0 && i < in.n; i++)
		r = add_interval(&in.v[i], named, ret);
	merlon_intervals_clear(&in);
	return r;
}

static int choose(struct building *b, const struct key_part *part, const struct merlon_element *e, struct merlon_choices *ret)
{
	const uint8_t *first = merlon_set_first(b->set, e) + part->offset, *last = merlon_set_last(b->set, e) + part->offset;
	bool big = part->operand.big;
	merlon_value lo = merlon_number(first, part->operand.len, big), hi = merlon_number(last, part->operand.len, big);

	/* an interval that ends before it starts holds nothing */
	if (part->kind == NUMBER)
		return lo <= hi ? choose_number(b, part, lo, hi, ret) : 0;
	if (part->kind == ETHER)
		return lo <= hi ? merlon_choices_ether(ret, lo, hi) : 0;
	return choose_name(b, part, first, last, ret);
}

/* Every choice of one part with every choice of the others. */
static int add_product(struct building *b, const struct merlon_choices *choices, const struct merlon_lookup_element *element)
{
	size_t at[OPERANDS] = { 0 }, i, product = 1;

	for (i = 0; i < b->n; i++)
		product = product > MERLON_MASK_INTERVALS ? product : product * choices[i].n;
	if (product > MERLON_MASK_INTERVALS) {
		merlon_build_refuse(b->eval->rule, "concatenation with masks of more than %u intervals",
				    MERLON_MASK_INTERVALS);
		return 0;
	}
	while (product--) {
		struct merlon_part_range *row = merlon_lookup_row(b->lookup, element);

		if (!row)
			return -ENOMEM;
		for (i = 0; i < b->n; i++) {
			*row++ = choices[i].v[at[i]][0];
			if (b->part[i].kind == ETHER)
				*row++ = choices[i].v[at[i]][1];
		}
		for (i = 0; i < b->n && ++at[i] == choices[i].n; i++)
			at[i] = 0;
	}
	return 0;
}

static int add_element(struct building *b, const struct merlon_element *e)
{
	struct merlon_lookup_element element = {
		.expires_ms = e->expires_ms, .timeout_ms = e->timeout_ms, .left_ms = e->left_ms, .any = e->any, .chain = e->chain,
	};
	struct merlon_choices choices[OPERANDS] = { 0 };
	size_t i;
	int r = 0;

	if (b->set->map && !merlon_eval_verdict(e->verdict, e->chain, &element.verdict)) {
		unsupported(b->eval, "queue");
		return 0;
	}
	if (e->any)
		return merlon_lookup_row(b->lookup, &element) ? 0 : -ENOMEM;
	for (i = 0; i < b->n && r == 0; i++)
		r = choose(b, &b->part[i], e, &choices[i]);
	if (r == 0 && b->eval->rule->status != MERLON_REFUSED)
		r = add_product(b, choices, &element);
	for (i = 0; i < b->n; i++)
		free(choices[i].v);
	return r;
}

static bool same_range(const struct merlon_part_range *range, const struct merlon_interval *interval)
{
	return range->lo == interval->lo && range->hi == interval->hi;
}

static bool in_list(const struct merlon_part_range *range, const struct merlon_intervals *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (same_range(range, &list->v[i]))
			return true;
	return false;
}

/*
 * Either port: how the model's printer writes iptables' `--ports`, which has no form of its own in nft. { P . any, not P . P }
 * for a set of ports P; distinct pairs of as many are all of them.
 */
static int find_either(const struct merlon_lookup *lookup, struct merlon_intervals *in, bool *ret)
{
	struct merlon_intervals out = { 0 };
	size_t i, others = 0;
	int r = 0;

	*ret = false;
	for (i = 0; i < lookup->n && r == 0; i++)
		if (lookup->range[i * 2 + 1].lo == 0 && lookup->range[i * 2 + 1].hi == 0xffff)
			r = merlon_intervals_add(in, lookup->range[i * 2].lo, lookup->range[i * 2].hi);
	merlon_intervals_normalise(in);
	if (r == 0)
		r = merlon_intervals_copy(in, &out);
	if (r == 0)
		r = merlon_intervals_complement(&out, 0xffff);
	for (i = 0; i < lookup->n && r == 0; i++) {
		const struct merlon_part_range *pair = &lookup->range[i * 2];

		if (pair[1].lo == 0 && pair[1].hi == 0xffff)
			continue;
		others += in_list(&pair[0], &out) && in_list(&pair[1], in);
	}
	*ret = r == 0 && in->n && lookup->n == in->n + others && others == in->n * out.n;
	merlon_intervals_clear(&out);
	return r;
}

static int fold_either(struct building *b)
{
	struct merlon_rule *rule = b->eval->rule;
	struct merlon_intervals in = { 0 };
	const struct merlon_lookup *lookup = b->lookup;
	bool is_either;
	size_t i;
	int r;

	if (lookup->map || lookup->negated || lookup->set || lookup->n_parts != 2 || b->set->timed ||
	    lookup->part[0].field != MERLON_F_TH0 || lookup->part[1].field != MERLON_F_TH2 || lookup->element[lookup->n - 1].any)
		return 0;
	/* the lookup itself is the last statement; two of them would count what lies between twice */
	for (i = 0; i + 1 < rule->n; i++)
		if (rule->statement[i].kind == MERLON_S_MATCH && rule->statement[i].match.either)
			return 0;
	if (!merlon_eval_is_traceless(rule))
		return 0;
	r = find_either(lookup, &in, &is_either);
	if (r < 0 || !is_either) {
		merlon_intervals_clear(&in);
		return r;
	}
	merlon_statement_clear(&rule->statement[--rule->n]);
	r = merlon_eval_field(b->eval, MERLON_F_TH0, ~0U, &in, false);
	if (r == 0)
		rule->statement[rule->n - 1].match.either = true;
	return r;
}

static int build(struct building *b, bool negated)
{
	size_t i;
	int r;

	b->lookup = merlon_lookup_new(b->eval->rule);
	if (!b->lookup)
		return -ENOMEM;
	b->lookup->map = b->set->map;
	b->lookup->negated = negated;
	r = add_parts(b);
	for (i = 0; i < b->set->n && r == 0 && b->eval->rule->status != MERLON_REFUSED; i++)
		r = add_element(b, &b->set->element[i]);
	if (r < 0 || b->eval->rule->status == MERLON_REFUSED)
		return r;
	for (i = 0; i < b->n && !b->part[i].operand.masked; i++)
		;
	if (i == b->n && !is_anonymous(b->set) && !(b->lookup->set = strdup(b->set->name)))
		return -ENOMEM;
	return b->lookup->n ? fold_either(b) : 0;
}

/* Single values that stay. */
static bool is_plain(const struct building *b)
{
	enum merlon_field field;

	if (b->set->map || b->n != 1 || b->set->timed)
		return false;
	return !merlon_eval_is_name(&b->part[0].operand, &field) || !b->set->n || !b->set->element[b->set->n - 1].any;
}

static int match_names(struct building *b, enum merlon_field field, const struct merlon_comparison *how)
{
	struct merlon_ifname *name;
	size_t n;
	int r = merlon_set_names(b->set, &name, &n);

	if (r == -ERANGE) {
		unsupported(b->eval, "interface names in a set of this form");
		return 0;
	}
	return r < 0 ? r : merlon_eval_names(b->eval, field, name, n, how);
}

static int match(struct building *b, bool negated)
{
	const struct merlon_operand *operand = &b->part[0].operand;
	struct merlon_comparison c = { .negated = negated, .set = is_anonymous(b->set) ? NULL : b->set->name };
	enum merlon_field field;
	int r;

	if (merlon_eval_is_name(operand, &field))
		return match_names(b, field, &c);
	if (!merlon_eval_comparable(b->eval, operand, b->set->key_len, b->set->flags & NFT_SET_INTERVAL))
		return 0;
	r = merlon_set_numbers(b->set, operand->big, &c.in);
	if (r == 0 && negated)
		r = merlon_intervals_complement(&c.in, merlon_value_max(b->set->key_len * 8));
	if (r < 0)
		merlon_intervals_clear(&c.in);
	return r < 0 ? r : merlon_eval_compare(b->eval, operand, &c);
}

/* Whether the rule's last statement is a match on an address that has the set's elements as they are. */
static bool is_as_it_is(const struct building *b)
{
	const struct merlon_rule *rule = b->eval->rule;
	const struct merlon_operand *operand = &b->part[0].operand;
	const struct merlon_statement *s = rule->n ? &rule->statement[rule->n - 1] : NULL;

	return s && rule->status != MERLON_REFUSED && s->kind == MERLON_S_MATCH && s->match.set && s->match.mask == ~0U &&
	       (s->match.field == MERLON_F_SADDR || s->match.field == MERLON_F_DADDR) && !s->match.either && b->n == 1 &&
	       operand->len == b->set->key_len && operand->big && !operand->masked && !operand->shift &&
	       merlon_field_bits(s->match.field, s->match.family) == b->set->key_len * 8;
}

/* The rule is refused, but where it leads to is reached. */
static int add_targets(struct merlon_eval *eval, const struct merlon_named_set *set)
{
	size_t i;

	for (i = 0; i < set->n; i++) {
		struct merlon_statement *s;

		if (!set->element[i].chain)
			continue;
		s = merlon_build_statement(eval->rule, MERLON_S_VERDICT);
		if (!s)
			return -ENOMEM;
		s->verdict.verdict = MERLON_V_JUMP;
		s->verdict.chain = strdup(set->element[i].chain);
		if (!s->verdict.chain)
			return -ENOMEM;
	}
	return 0;
}

int merlon_lookup_read(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e)
{
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_LOOKUP_SET);
	const char *table = reader->ruleset->table[reader->ruleset->chain[reader->chain].table].name;
	bool negated = nftnl_expr_get_u32(e, NFTNL_EXPR_LOOKUP_FLAGS) & NFT_LOOKUP_F_INV;
	struct building b = { .eval = eval };
	int r = 0;

	b.set = name ? merlon_sets_find(reader, eval->nfproto, table, name) : NULL;
	if (!b.set || b.set->refused)
		merlon_build_refuse(eval->rule, "%s `%s`: not supported yet", b.set ? b.set->refused : "unknown set",
				    !b.set || is_anonymous(b.set) ? "(anonymous)" : name);
	else if (b.set->map != nftnl_expr_is_set(e, NFTNL_EXPR_LOOKUP_DREG) || (b.set->map && negated))
		unsupported(eval, "map");
	else if (find_parts(&b, nftnl_expr_get_u32(e, NFTNL_EXPR_LOOKUP_SREG)))
		r = is_plain(&b) ? match(&b, negated) : find_meanings(&b) ? build(&b, negated) : 0;
	if (b.set && b.set->named) {
		reader->ruleset->set[b.set->index].n_lookups++;
		reader->ruleset->set[b.set->index].n_plain += r == 0 && is_as_it_is(&b);
	}
	if (r == 0 && b.set && eval->rule->status == MERLON_REFUSED)
		r = add_targets(eval, b.set);
	return r;
}
