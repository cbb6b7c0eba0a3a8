/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/intervals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

merlon_value merlon_value_max(unsigned bits)
{
	return bits >= 128 ? ~(merlon_value)0 : ((merlon_value)1 << bits) - 1;
}

static int reserve(struct merlon_intervals *set, size_t n)
{
	struct merlon_interval *grown;
	size_t room = set->room ? set->room : 4;

	if (n <= set->room)
		return 0;
	while (room < n)
		room *= 2;
	grown = reallocarray(set->v, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	set->v = grown;
	set->room = room;
	return 0;
}

int merlon_intervals_add(struct merlon_intervals *set, merlon_value lo, merlon_value hi)
{
	if (reserve(set, set->n + 1) < 0)
		return -ENOMEM;
	set->v[set->n++] = (struct merlon_interval){ lo, hi };
	return 0;
}

static int by_lo(const void *a, const void *b)
{
	const struct merlon_interval *x = a, *y = b;

	return (x->lo > y->lo) - (x->lo < y->lo);
}

void merlon_intervals_normalise(struct merlon_intervals *set)
{
	size_t i, n = 0;

	if (set->n < 2)
		return;
	qsort(set->v, set->n, sizeof(*set->v), by_lo);
	for (i = 1; i < set->n; i++) {
		struct merlon_interval *last = &set->v[n];

		/* the last one reaches the greatest value: nothing can follow, and + 1 would wrap */
		if (last->hi == ~(merlon_value)0)
			break;
		if (set->v[i].lo > last->hi + 1)
			set->v[++n] = set->v[i];
		else if (set->v[i].hi > last->hi)
			last->hi = set->v[i].hi;
	}
	set->n = n + 1;
}

int merlon_intervals_complement(struct merlon_intervals *set, merlon_value max)
{
	struct merlon_intervals gaps = { 0 };
	merlon_value next = 0;
	size_t i;

	if (reserve(&gaps, set->n + 1) < 0)
		return -ENOMEM;
	for (i = 0; i < set->n && set->v[i].lo <= max; i++) {
		if (set->v[i].lo > next)
			gaps.v[gaps.n++] = (struct merlon_interval){ next, set->v[i].lo - 1 };
		if (set->v[i].hi >= max)
			goto full;
		next = set->v[i].hi + 1;
	}
	gaps.v[gaps.n++] = (struct merlon_interval){ next, max };
full:
	merlon_intervals_clear(set);
	*set = gaps;
	return 0;
}

int merlon_intervals_intersect(const struct merlon_intervals *a, const struct merlon_intervals *b,
			       struct merlon_intervals *ret)
{
	size_t i = 0, j = 0;

	*ret = (struct merlon_intervals){ 0 };
	while (i < a->n && j < b->n) {
		merlon_value lo = a->v[i].lo > b->v[j].lo ? a->v[i].lo : b->v[j].lo;
		merlon_value hi = a->v[i].hi < b->v[j].hi ? a->v[i].hi : b->v[j].hi;

		if (lo <= hi && merlon_intervals_add(ret, lo, hi) < 0) {
			merlon_intervals_clear(ret);
			return -ENOMEM;
		}
		if (a->v[i].hi < b->v[j].hi)
			i++;
		else
			j++;
	}
	return 0;
}

int merlon_intervals_copy(const struct merlon_intervals *from, struct merlon_intervals *ret)
{
	*ret = (struct merlon_intervals){ 0 };
	if (!from->n)
		return 0;
	if (reserve(ret, from->n) < 0)
		return -ENOMEM;
	memcpy(ret->v, from->v, from->n * sizeof(*from->v));
	ret->n = from->n;
	return 0;
}

/* The first interval that ends at or behind `value`. */
static size_t find(const struct merlon_intervals *set, merlon_value value)
{
	size_t lo = 0, hi = set->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (set->v[mid].hi < value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int merlon_intervals_may(struct merlon_intervals *set, bool in, merlon_value lo, merlon_value hi)
{
	size_t i = find(set, lo);

	if (lo > hi || (in ? i < set->n && set->v[i].lo <= hi : i == set->n || set->v[i].lo > lo || set->v[i].hi < hi))
		return -ERANGE;
	return reserve(set, set->n + 1);
}

static void move(struct merlon_intervals *set, size_t from, size_t to)
{
	memmove(&set->v[to], &set->v[from], (set->n - from) * sizeof(*set->v));
	set->n += to - from;
}

static void take_in(struct merlon_intervals *set, size_t i, merlon_value lo, merlon_value hi)
{
	bool before = i > 0 && set->v[i - 1].hi + 1 == lo, behind = i < set->n && hi + 1 == set->v[i].lo;

	if (before && behind) {
		set->v[i - 1].hi = set->v[i].hi;
		move(set, i + 1, i);
	} else if (before) {
		set->v[i - 1].hi = hi;
	} else if (behind) {
		set->v[i].lo = lo;
	} else {
		move(set, i, i + 1);
		set->v[i] = (struct merlon_interval){ lo, hi };
	}
}

static void take_out(struct merlon_intervals *set, size_t i, merlon_value lo, merlon_value hi)
{
	struct merlon_interval was = set->v[i];

	if (was.lo == lo && was.hi == hi) {
		move(set, i + 1, i);
	} else if (was.lo == lo) {
		set->v[i].lo = hi + 1;
	} else {
		if (was.hi != hi) {
			move(set, i, i + 1);
			set->v[i + 1].lo = hi + 1;
		}
		set->v[i].hi = lo - 1;
	}
}

int merlon_intervals_change(struct merlon_intervals *set, bool in, merlon_value lo, merlon_value hi)
{
	int r = merlon_intervals_may(set, in, lo, hi);

	if (r < 0)
		return r;
	if (in)
		take_in(set, find(set, lo), lo, hi);
	else
		take_out(set, find(set, lo), lo, hi);
	return 0;
}

bool merlon_intervals_contain(const struct merlon_intervals *set, merlon_value value)
{
	size_t i = find(set, value);

	return i < set->n && set->v[i].lo <= value;
}

bool merlon_intervals_equal(const struct merlon_intervals *a, const struct merlon_intervals *b)
{
	size_t i;

	if (a->n != b->n)
		return false;
	for (i = 0; i < a->n; i++)
		if (a->v[i].lo != b->v[i].lo || a->v[i].hi != b->v[i].hi)
			return false;
	return true;
}

void merlon_intervals_clear(struct merlon_intervals *set)
{
	free(set->v);
	*set = (struct merlon_intervals){ 0 };
}
