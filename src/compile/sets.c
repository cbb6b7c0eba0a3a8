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
		merlon_intervals_clear(&sets->set[i]);
	free(sets->set);
	merlon_hash_clear(&sets->by_content);
	merlon_hash_clear(&sets->by_pair);
	*sets = (struct merlon_sets){ 0 };
}

static uint64_t hash_of(const struct merlon_intervals *set)
{
	uint64_t hash = 0;

	for (size_t i = 0; i < set->n; i++) {
		uint64_t word[5] = { hash, (uint64_t)set->v[i].lo, (uint64_t)(set->v[i].lo >> 64),
				     (uint64_t)set->v[i].hi, (uint64_t)(set->v[i].hi >> 64) };

		hash = merlon_hash_words(word, 5);
	}
	return hash;
}

int merlon_sets_enter(struct merlon_sets *sets, struct merlon_intervals *set, uint32_t *ret)
{
	uint64_t hash = hash_of(set), same = 0;
	uint32_t id;

	for (; merlon_hash_get(&sets->by_content, hash, same, &id); same++) {
		if (merlon_intervals_equal(&sets->set[id], set)) {
			merlon_intervals_clear(set);
			*ret = id;
			return 0;
		}
	}
	if (merlon_grow(&sets->set, sets->n, &sets->room, sizeof(*sets->set)) < 0 ||
	    merlon_hash_put(&sets->by_content, hash, same, sets->n) < 0) {
		merlon_intervals_clear(set);
		return -ENOMEM;
	}
	*ret = sets->n;
	sets->set[sets->n++] = *set;
	*set = (struct merlon_intervals){ 0 };
	return 0;
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
