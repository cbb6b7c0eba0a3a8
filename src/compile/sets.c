/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/compile/sets.h"

#include <errno.h>
#include <stdlib.h>

int merlon_sets_init(struct merlon_sets *sets)
{
	*sets = (struct merlon_sets){ 0 };
	if (merlon_grow(&sets->set, 0, &sets->room, sizeof(*sets->set)) < 0)
		return -ENOMEM;
	sets->set[sets->n++] = (struct merlon_intervals){ 0 };	/* MERLON_ANY */
	return 0;
}

void merlon_sets_clear(struct merlon_sets *sets)
{
	for (uint32_t i = 0; i < sets->n; i++)
		if (sets->set[i].room)
			merlon_intervals_clear(&sets->set[i]);
	free(sets->set);
	merlon_hash_clear(&sets->by_content);
	merlon_hash_clear(&sets->by_pair);
	*sets = (struct merlon_sets){ 0 };
}

static uint64_t hash_of(const struct merlon_intervals *set)
{
	_Static_assert(sizeof(*set->v) == 4 * sizeof(uint64_t), "nothing but its bounds");

	return merlon_hash_words((const void *)set->v, 4 * set->n);
}

/* 1: it was not there, and has the number now. */
static int enter(struct merlon_sets *sets, const struct merlon_intervals *set, uint32_t *ret)
{
	uint64_t hash = hash_of(set), same = 0;

	for (; merlon_hash_get(&sets->by_content, hash, same, ret); same++)
		if (merlon_intervals_equal(&sets->set[*ret], set))
			return 0;
	if (merlon_grow(&sets->set, sets->n, &sets->room, sizeof(*sets->set)) < 0 ||
	    merlon_hash_put(&sets->by_content, hash, same, sets->n) < 0)
		return -ENOMEM;
	*ret = sets->n;
	sets->set[sets->n++] = *set;
	return 1;
}

int merlon_sets_enter(struct merlon_sets *sets, struct merlon_intervals *set, uint32_t *ret)
{
	int r = enter(sets, set, ret);

	if (r != 1)
		merlon_intervals_clear(set);
	*set = (struct merlon_intervals){ 0 };
	return r < 0 ? r : 0;
}

int merlon_sets_lend(struct merlon_sets *sets, const struct merlon_intervals *set, uint32_t *ret)
{
	int r = enter(sets, &(struct merlon_intervals){ .v = set->v, .n = set->n }, ret);

	return r < 0 ? r : 0;
}

int merlon_sets_intersect(struct merlon_sets *sets, uint32_t a, uint32_t b, uint32_t *ret)
{
	struct merlon_intervals both;
	uint32_t id;
	int r;

	if (a == b || b == MERLON_ANY) {
		*ret = a;
		return 0;
	}
	if (a == MERLON_ANY) {
		*ret = b;
		return 0;
	}
	if (merlon_hash_get(&sets->by_pair, a, b, ret))
		return 0;
	r = merlon_intervals_intersect(&sets->set[a], &sets->set[b], &both);
	if (r < 0)
		return r;
	r = merlon_sets_enter(sets, &both, &id);
	if (r < 0)
		return r;
	*ret = id;
	return merlon_hash_put(&sets->by_pair, a, b, id);
}
