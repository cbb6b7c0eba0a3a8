/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/masks.h"

#include <errno.h>
#include <stdbool.h>

/* Narrow values: try each of them. */
static int by_trial(const struct merlon_intervals *set, merlon_value mask, merlon_value xor, unsigned bits,
		    struct merlon_intervals *ret)
{
	merlon_value v, start = 0, max = merlon_value_max(bits);
	bool open = false;

	for (v = 0; v <= max; v++) {
		bool in = merlon_intervals_contain(set, (v & mask) ^ xor);

		if (in && !open)
			start = v;
		if (!in && open && merlon_intervals_add(ret, start, v - 1) < 0)
			return -ENOMEM;
		open = in;
	}
	if (open && merlon_intervals_add(ret, start, max) < 0)
		return -ENOMEM;
	return ret->n > MERLON_MASK_INTERVALS ? -ERANGE : 0;
}

/* A mask of leading ones keeps the order of values. */
static int by_prefix(const struct merlon_intervals *set, merlon_value mask, merlon_value max,
		     struct merlon_intervals *ret)
{
	merlon_value host = max & ~mask;
	size_t i;

	for (i = 0; i < set->n; i++) {
		merlon_value lo = set->v[i].lo, hi = set->v[i].hi > max ? max : set->v[i].hi;

		if (lo & host) {
			/* the first multiple at or above lo, unless there is none */
			if ((lo | host) == max)
				continue;
			lo = (lo | host) + 1;
		}
		hi |= host;
		if (lo <= hi && merlon_intervals_add(ret, lo, hi) < 0)
			return -ENOMEM;
	}
	merlon_intervals_normalise(ret);
	return 0;
}

/* All values that agree with `value` under the mask. */
static int of_one(merlon_value value, merlon_value mask, merlon_value max, struct merlon_intervals *ret)
{
	merlon_value run = 0, free_bits, v = 0;

	if (value & ~mask)
		return 0;
	/* free bits at the low end make one interval, each one above them doubles the number */
	while (!(mask & (run + 1)) && run != max)
		run = run << 1 | 1;
	free_bits = max & ~mask & ~run;
	do {
		if (ret->n >= MERLON_MASK_INTERVALS)
			return -ERANGE;
		if (merlon_intervals_add(ret, value | v, value | v | run) < 0)
			return -ENOMEM;
		v = (v - free_bits) & free_bits;	/* the next subset of free_bits */
	} while (v);
	return 0;
}

static bool all_single(const struct merlon_intervals *set)
{
	size_t i;

	for (i = 0; i < set->n; i++)
		if (set->v[i].lo != set->v[i].hi)
			return false;
	return true;
}

static int by_values(const struct merlon_intervals *set, merlon_value mask, merlon_value xor, merlon_value max,
		     struct merlon_intervals *ret)
{
	struct merlon_intervals others;
	bool negate = !all_single(set);
	size_t i;
	int r;

	if (merlon_intervals_copy(set, &others) < 0)
		return -ENOMEM;
	r = negate ? merlon_intervals_complement(&others, max) : 0;
	if (r == 0 && !all_single(&others))
		r = -ERANGE;
	for (i = 0; r == 0 && i < others.n; i++)
		r = of_one(others.v[i].lo ^ xor, mask, max, ret);
	merlon_intervals_clear(&others);
	merlon_intervals_normalise(ret);
	if (r == 0 && negate)
		r = merlon_intervals_complement(ret, max);
	return r;
}

int merlon_mask_undo(struct merlon_intervals *set, merlon_value mask, merlon_value xor, unsigned bits)
{
	merlon_value max = merlon_value_max(bits), host = max & ~mask;
	struct merlon_intervals raw = { 0 };
	int r;

	if (bits <= 16)
		r = by_trial(set, mask, xor, bits, &raw);
	else if (xor == 0 && (host & (host + 1)) == 0)
		r = by_prefix(set, mask, max, &raw);
	else
		r = by_values(set, mask, xor, max, &raw);
	if (r < 0) {
		merlon_intervals_clear(&raw);
		return r;
	}
	merlon_intervals_clear(set);
	*set = raw;
	return 0;
}
