/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/compile/ways.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define MAX_PAIRS 30000000ULL	/* pairs of elements that are compared before a map is taken for one that overlaps */

static bool is_interface(enum merlon_field field)
{
	return field == MERLON_F_IIF || field == MERLON_F_OIF;
}

static uint32_t *sets_of(const struct merlon_ways *ways, uint32_t way)
{
	return ways->set + (size_t)way * ways->lookup->n_parts;
}

int merlon_ways_presence(struct merlon_compiler *compiler, const struct merlon_part *part, uint32_t *ret)
{
	struct merlon_intervals all = { 0 };

	*ret = MERLON_ANY;
	if (is_interface(part->field) || part->field == MERLON_F_NFPROTO)
		return 0;
	if (merlon_intervals_add(&all, 0, merlon_value_max(merlon_field_bits(part->field, part->family))) < 0)
		return -ENOMEM;
	return merlon_sets_enter(&compiler->sets, &all, ret);
}

/* The set of one part of one element. 1: no packet of this family is in it. */
static int enter_part(struct merlon_compiler *compiler, const struct merlon_ways *ways, const uint32_t *name_set,
		      const struct merlon_part *part, const struct merlon_part_range *range, uint32_t *ret)
{
	struct merlon_intervals in = { 0 };

	*ret = MERLON_ANY;
	if (part->field == MERLON_F_NFPROTO)
		return ways->family < range->lo || ways->family > range->hi;
	if (is_interface(part->field)) {
		*ret = name_set[range->lo];
		return merlon_sets_empty(&compiler->sets, *ret);
	}
	if (merlon_intervals_add(&in, range->lo, range->hi) < 0)
		return -ENOMEM;
	return merlon_sets_enter(&compiler->sets, &in, ret);
}

/* One way for each element but `*`. */
static int enter_elements(struct merlon_compiler *compiler, const uint32_t *name_set, struct merlon_ways *ways)
{
	const struct merlon_lookup *lookup = ways->lookup;
	int r = 0;

	for (size_t i = 0; i < lookup->n && r >= 0; i++) {
		uint32_t *set = sets_of(ways, ways->n);

		r = lookup->element[i].any;
		for (size_t p = 0; p < lookup->n_parts && !r; p++)
			r = enter_part(compiler, ways, name_set, &lookup->part[p], &lookup->range[i * lookup->n_parts + p],
				       &set[p]);
		if (!r)
			ways->element[ways->n++] = i;
	}
	return r < 0 ? r : 0;
}

static int enter_any(struct merlon_compiler *compiler, struct merlon_ways *ways)
{
	const struct merlon_lookup *lookup = ways->lookup;
	int r = 0;

	for (size_t i = 0; i < lookup->n && !r; i++) {
		if (!lookup->element[i].any)
			continue;
		for (size_t p = 0; p < lookup->n_parts && !r; p++)
			r = merlon_ways_presence(compiler, &lookup->part[p], &sets_of(ways, ways->n)[p]);
		ways->element[ways->n++] = i;
	}
	return r;
}

/* Whether two elements of a map lead to the same. */
static bool same_verdict(const struct merlon_lookup *lookup, uint32_t a, uint32_t b)
{
	const struct merlon_lookup_element *x = &lookup->element[a], *y = &lookup->element[b];

	if (!lookup->map)
		return true;
	if (x->verdict != y->verdict)
		return false;
	return (x->verdict != MERLON_V_JUMP && x->verdict != MERLON_V_GOTO) || x->target == y->target;
}

/* All that must be alike for two ways to be one, but for the sets of part `but`, as a hash. */
static uint64_t hash_of(const struct merlon_ways *ways, uint32_t way, size_t but)
{
	const struct merlon_lookup_element *e = &ways->lookup->element[ways->element[way]];
	uint64_t hash = merlon_hash_words(&e->expires_ms, 1);

	if (ways->lookup->map)
		hash = merlon_hash_words((uint64_t[]){ hash, e->verdict, e->target }, 3);
	for (size_t p = 0; p < ways->lookup->n_parts; p++)
		hash = merlon_hash_words((uint64_t[]){ hash, p == but ? 0 : sets_of(ways, way)[p] }, 2);
	return hash;
}

static bool alike(const struct merlon_ways *ways, uint32_t a, uint32_t b, size_t but)
{
	const struct merlon_lookup *lookup = ways->lookup;

	if (lookup->element[ways->element[a]].expires_ms != lookup->element[ways->element[b]].expires_ms ||
	    !same_verdict(lookup, ways->element[a], ways->element[b]))
		return false;
	for (size_t p = 0; p < lookup->n_parts; p++)
		if (p != but && sets_of(ways, a)[p] != sets_of(ways, b)[p])
			return false;
	return true;
}

/*
 * Groups the ways that are alike but for one part: the first of each group leads it, `next` chains the others. Returns
 * the number of groups.
 */
static int group(const struct merlon_ways *ways, size_t but, uint32_t *next, uint32_t *last, uint32_t *ret_n)
{
	struct merlon_hash leader = { 0 };
	int r = 0;

	*ret_n = 0;
	for (uint32_t i = 0; i < ways->n && !r; i++) {
		uint64_t hash = hash_of(ways, i, but), same = 0;
		uint32_t first;

		next[i] = NONE;
		last[i] = i;
		for (; merlon_hash_get(&leader, hash, same, &first); same++)
			if (alike(ways, first, i, but))
				break;
		if (merlon_hash_get(&leader, hash, same, &first)) {
			next[last[first]] = i;
			last[first] = i;
			last[i] = NONE;	/* leads nothing */
			continue;
		}
		r = merlon_hash_put(&leader, hash, same, i);
		++*ret_n;
	}
	merlon_hash_clear(&leader);
	return r;
}

/* The union of a group's sets in one part. */
static int unite(struct merlon_compiler *compiler, const struct merlon_ways *ways, size_t part, const uint32_t *next,
		 uint32_t first, uint32_t *ret)
{
	struct merlon_intervals in = { 0 };

	*ret = sets_of(ways, first)[part];
	if (next[first] == NONE)
		return 0;
	for (uint32_t i = first; i != NONE; i = next[i]) {
		const struct merlon_intervals *set = &compiler->sets.set[sets_of(ways, i)[part]];

		/* nothing to ask: nothing to ask of any of them */
		if (sets_of(ways, i)[part] == MERLON_ANY) {
			merlon_intervals_clear(&in);
			*ret = MERLON_ANY;
			return 0;
		}
		for (size_t k = 0; k < set->n; k++) {
			if (merlon_intervals_add(&in, set->v[k].lo, set->v[k].hi) < 0) {
				merlon_intervals_clear(&in);
				return -ENOMEM;
			}
		}
	}
	merlon_intervals_normalise(&in);
	return merlon_sets_enter(&compiler->sets, &in, ret);
}

static int merge(struct merlon_compiler *compiler, struct merlon_ways *ways, size_t part, const uint32_t *next,
		 const uint32_t *last)
{
	size_t n_parts = ways->lookup->n_parts;
	uint32_t n = 0, set;
	int r = 0;

	/* a group's leader comes before its other members: what is overwritten was read */
	for (uint32_t i = 0; i < ways->n && !r; i++) {
		if (last[i] == NONE)
			continue;
		r = unite(compiler, ways, part, next, i, &set);
		memmove(sets_of(ways, n), sets_of(ways, i), n_parts * sizeof(*ways->set));
		sets_of(ways, n)[part] = set;
		ways->element[n++] = ways->element[i];
	}
	ways->n = n;
	return r;
}

/* Merges in the part that makes the fewest of them, as long as that makes fewer. */
static int merge_all(struct merlon_compiler *compiler, struct merlon_ways *ways)
{
	uint32_t *next = calloc(ways->n, 2 * sizeof(*next)), *last, before = ways->n + 1, n;
	int r = next ? 0 : -ENOMEM;

	last = next ? next + ways->n : NULL;
	while (!r && ways->n < before && ways->n > 1) {
		uint32_t least = ways->n;
		size_t best = 0;

		before = ways->n;
		for (size_t p = 0; p < ways->lookup->n_parts && !r; p++) {
			r = group(ways, p, next, last, &n);
			if (n < least) {
				least = n;
				best = p;
			}
		}
		if (!r && least < before)
			r = group(ways, best, next, last, &n);
		if (!r && least < before)
			r = merge(compiler, ways, best, next, last);
	}
	free(next);
	return r;
}

static bool overlap(const struct merlon_intervals *a, const struct merlon_intervals *b)
{
	size_t i = 0, j = 0;

	while (i < a->n && j < b->n) {
		if (a->v[i].hi < b->v[j].lo)
			i++;
		else if (b->v[j].hi < a->v[i].lo)
			j++;
		else
			return true;
	}
	return false;
}

/* One way and the least and greatest value of its set in the part that the ways are sorted by. */
struct span {
	merlon_value lo, hi;
	uint32_t way;
};

static int by_lo(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return (x->lo > y->lo) - (x->lo < y->lo);
}

static bool may_both_match(const struct merlon_compiler *compiler, const struct merlon_ways *ways, uint32_t a, uint32_t b)
{
	const struct merlon_intervals *set = compiler->sets.set;

	for (size_t p = 0; p < ways->lookup->n_parts; p++) {
		uint32_t x = sets_of(ways, a)[p], y = sets_of(ways, b)[p];

		if (x != y && x != MERLON_ANY && y != MERLON_ANY && !overlap(&set[x], &set[y]))
			return false;
	}
	return true;
}

static bool any_pair_overlaps(const struct merlon_compiler *compiler, const struct merlon_ways *ways,
			      const struct span *span)
{
	uint64_t pairs = 0;

	for (uint32_t i = 0; i < ways->n; i++)
		for (uint32_t j = i + 1; j < ways->n && span[j].lo <= span[i].hi; j++) {
			if (++pairs > MAX_PAIRS)
				return true;
			if (!same_verdict(ways->lookup, ways->element[span[i].way], ways->element[span[j].way]) &&
			    may_both_match(compiler, ways, span[i].way, span[j].way))
				return true;
		}
	return false;
}

/* The part that tells most elements apart: the greatest number of different sets. */
static int sharpest_part(const struct merlon_ways *ways, size_t *ret)
{
	size_t most = 0;
	int r = 0;

	*ret = 0;
	for (size_t p = 0; p < ways->lookup->n_parts && !r; p++) {
		struct merlon_hash seen = { 0 };
		uint32_t unused;

		for (uint32_t i = 0; i < ways->n && !r; i++)
			if (!merlon_hash_get(&seen, sets_of(ways, i)[p], 0, &unused))
				r = merlon_hash_put(&seen, sets_of(ways, i)[p], 0, 0);
		if (seen.n > most) {
			most = seen.n;
			*ret = p;
		}
		merlon_hash_clear(&seen);
	}
	return r;
}

/*
 * Whether elements of a map that lead to different verdicts may be tried in any order. 1: they may, 0: two of them
 * overlap (or there are too many to tell), or -ENOMEM.
 */
static int is_disjoint(const struct merlon_compiler *compiler, const struct merlon_ways *ways)
{
	struct span *span;
	size_t part;
	int r = sharpest_part(ways, &part);

	if (r < 0)
		return r;
	span = calloc(ways->n + 1, sizeof(*span));
	if (!span)
		return -ENOMEM;
	for (uint32_t i = 0; i < ways->n; i++) {
		const struct merlon_intervals *set = &compiler->sets.set[sets_of(ways, i)[part]];

		span[i] = (struct span){ 0, ~(merlon_value)0, i };
		if (set->n) {
			span[i].lo = set->v[0].lo;
			span[i].hi = set->v[set->n - 1].hi;
		}
	}
	qsort(span, ways->n, sizeof(*span), by_lo);
	r = !any_pair_overlaps(compiler, ways, span);
	free(span);
	return r;
}

static int enter_names(struct merlon_compiler *compiler, const struct merlon_lookup *lookup, uint32_t **ret)
{
	uint32_t *set = calloc(lookup->n_names + 1, sizeof(*set));
	int r = set ? 0 : -ENOMEM;

	for (size_t i = 0; i < lookup->n_names && !r; i++)
		r = merlon_condition_name(compiler, &lookup->name[i], &set[i]);
	if (r < 0) {
		free(set);
		return r;
	}
	*ret = set;
	return 0;
}

int merlon_ways_find(struct merlon_compiler *compiler, const struct merlon_lookup *lookup, enum merlon_family family,
		     struct merlon_ways *ret)
{
	struct merlon_ways ways = { .lookup = lookup, .family = family };
	uint32_t *name_set = NULL;
	int r;

	for (size_t p = 0; p < lookup->n_parts; p++)
		ways.never |= lookup->part[p].field <= MERLON_F_DADDR && lookup->part[p].family != family;
	*ret = ways;
	if (ways.never)
		return 0;
	ways.element = calloc(lookup->n + 1, sizeof(*ways.element));
	ways.set = calloc((lookup->n + 1) * lookup->n_parts, sizeof(*ways.set));
	r = ways.element && ways.set ? enter_names(compiler, lookup, &name_set) : -ENOMEM;
	if (!r)
		r = enter_elements(compiler, name_set, &ways);
	if (!r)
		r = lookup->map ? is_disjoint(compiler, &ways) : 1;
	if (r > 0)
		r = merge_all(compiler, &ways);
	if (!r)
		r = enter_any(compiler, &ways);
	free(name_set);
	if (r < 0)
		merlon_ways_clear(&ways);
	*ret = ways;
	return r;
}

void merlon_ways_clear(struct merlon_ways *ways)
{
	free(ways->element);
	free(ways->set);
	*ways = (struct merlon_ways){ 0 };
}
