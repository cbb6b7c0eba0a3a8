/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/rows.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/fields.h"

#define ETHER_BITS 48
#define ETHER_LOW_BITS 16

/* Both arrays grow at powers of two. */
struct merlon_part_range *merlon_lookup_row(struct merlon_lookup *lookup, const struct merlon_lookup_element *element)
{
	size_t room = lookup->n ? lookup->n * 2 : 1;
	struct merlon_part_range *range;
	void *grown;

	if ((lookup->n & (lookup->n - 1)) == 0) {
		grown = reallocarray(lookup->element, room, sizeof(*lookup->element));
		if (!grown)
			return NULL;
		lookup->element = grown;
		grown = reallocarray(lookup->range, room * lookup->n_parts, sizeof(*lookup->range));
		if (!grown)
			return NULL;
		lookup->range = grown;
	}
	lookup->element[lookup->n] = *element;
	if (element->chain && !(lookup->element[lookup->n].chain = strdup(element->chain)))
		return NULL;
	range = lookup->range + lookup->n++ * lookup->n_parts;
	memset(range, 0, lookup->n_parts * sizeof(*range));
	return range;
}

int merlon_lookup_part(struct merlon_lookup *lookup, enum merlon_field field, enum merlon_family family)
{
	struct merlon_part *grown = reallocarray(lookup->part, lookup->n_parts + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	lookup->part = grown;
	grown[lookup->n_parts++] = (struct merlon_part){ .field = field, .family = family };
	return 0;
}

struct merlon_lookup *merlon_lookup_new(struct merlon_rule *rule)
{
	struct merlon_statement *s = merlon_build_statement(rule, MERLON_S_LOOKUP);

	return s ? (s->lookup = calloc(1, sizeof(*s->lookup))) : NULL;
}

int merlon_choices_add(struct merlon_choices *choices, struct merlon_part_range first, struct merlon_part_range second)
{
	void *grown = reallocarray(choices->v, choices->n + 1, sizeof(*choices->v));

	if (!grown)
		return -ENOMEM;
	choices->v = grown;
	choices->v[choices->n][0] = first;
	choices->v[choices->n++][1] = second;
	return 0;
}

int merlon_choices_ether(struct merlon_choices *choices, merlon_value lo, merlon_value hi)
{
	const merlon_value max = merlon_value_max(ETHER_LOW_BITS);
	merlon_value high = lo >> ETHER_LOW_BITS, last = hi >> ETHER_LOW_BITS;
	int r = 0;

	lo &= max;
	hi &= max;
	if (high == last)
		return merlon_choices_add(choices, (struct merlon_part_range){ high, high }, (struct merlon_part_range){ lo, hi });
	if (lo > 0) {
		r = merlon_choices_add(choices, (struct merlon_part_range){ high, high },
				       (struct merlon_part_range){ lo, max });
		high++;
	}
	if (hi < max)
		last--;
	if (r == 0 && high <= last)
		r = merlon_choices_add(choices, (struct merlon_part_range){ high, last },
				       (struct merlon_part_range){ 0, max });
	if (r == 0 && hi < max)
		r = merlon_choices_add(choices, (struct merlon_part_range){ last + 1, last + 1 },
				       (struct merlon_part_range){ 0, hi });
	return r;
}

bool merlon_eval_is_ether_saddr(const struct merlon_operand *operand)
{
	return operand->from == MERLON_FROM_PAYLOAD && operand->key == NFT_PAYLOAD_LL_HEADER && operand->offset == 6 &&
	       operand->len == 6 && !operand->masked;
}

int merlon_eval_not_all(struct merlon_eval *eval, const struct merlon_operand *operand, merlon_value value)
{
	const struct merlon_lookup_element plain = { 0 };
	struct merlon_lookup *lookup = merlon_lookup_new(eval->rule);
	struct merlon_part_range *row, range[sizeof(merlon_value)];
	struct merlon_operand part = *operand;
	uint32_t left = operand->len;

	if (!lookup)
		return -ENOMEM;
	lookup->negated = true;
	while (left) {
		const struct merlon_header_field *f = merlon_header_field(eval, operand->key, part.offset);
		struct merlon_meaning meaning;

		part.len = f && f->len < left ? f->len : left;
		if (!merlon_eval_meaning(eval, &part, &meaning))
			return 0;
		left -= part.len;
		range[lookup->n_parts].lo = range[lookup->n_parts].hi = value >> left * 8 & merlon_value_max(part.len * 8);
		if (merlon_lookup_part(lookup, meaning.field, merlon_eval_family(eval, meaning.field)) < 0)
			return -ENOMEM;
		part.offset += part.len;
	}
	row = merlon_lookup_row(lookup, &plain);
	if (row)
		memcpy(row, range, lookup->n_parts * sizeof(*row));
	return row ? 0 : -ENOMEM;
}

int merlon_lookup_ether(struct merlon_lookup *lookup)
{
	int r = merlon_lookup_part(lookup, MERLON_F_ETHER_SADDR_HIGH, MERLON_IPV4);

	return r < 0 ? r : merlon_lookup_part(lookup, MERLON_F_ETHER_SADDR_LOW, MERLON_IPV4);
}

bool merlon_eval_is_ethernet(struct merlon_eval *eval)
{
	if (eval->ether == MERLON_ETHER_UNKNOWN)
		merlon_build_refuse(eval->rule, "`ether saddr` without `meta iiftype ether`: not supported yet");
	else
		eval->ether = MERLON_ETHER_MATCHED;
	return eval->ether == MERLON_ETHER_MATCHED;
}

/* nft compares a range with its two ends, one after the other: the second takes the first one in. */
static void join_range(struct merlon_eval *eval, struct merlon_comparison *c)
{
	struct merlon_rule *rule = eval->rule;

	if (c->upper && c->in.n == 1 && rule->n && eval->lower_bound == rule->n &&
	    rule->statement[rule->n - 1].kind == MERLON_S_LOOKUP && eval->ether_first <= c->in.v[0].hi) {
		merlon_statement_clear(&rule->statement[--rule->n]);
		c->in.v[0].lo = eval->ether_first;
	}
	if (c->lower && c->in.n == 1)
		eval->ether_first = c->in.v[0].lo;
}

int merlon_eval_ether_saddr(struct merlon_eval *eval, struct merlon_comparison *comparison)
{
	const struct merlon_lookup_element plain = { 0 };
	struct merlon_lookup *lookup;
	struct merlon_choices choices = { 0 };
	size_t i;
	int r = 0;

	if (!merlon_eval_is_ethernet(eval))
		return 0;
	join_range(eval, comparison);
	lookup = merlon_lookup_new(eval->rule);
	eval->lower_bound = comparison->lower ? eval->rule->n : 0;
	if (!lookup || merlon_lookup_ether(lookup) < 0)
		return -ENOMEM;
	lookup->negated = comparison->negated;
	if (comparison->set && !(lookup->set = strdup(comparison->set)))
		return -ENOMEM;
	if (comparison->negated)
		r = merlon_intervals_complement(&comparison->in, merlon_value_max(ETHER_BITS));
	for (i = 0; r == 0 && i < comparison->in.n; i++)
		r = merlon_choices_ether(&choices, comparison->in.v[i].lo, comparison->in.v[i].hi);
	for (i = 0; r == 0 && i < choices.n; i++) {
		struct merlon_part_range *row = merlon_lookup_row(lookup, &plain);

		if (row)
			memcpy(row, choices.v[i], sizeof(choices.v[i]));
		r = row ? 0 : -ENOMEM;
	}
	free(choices.v);
	return r;
}
