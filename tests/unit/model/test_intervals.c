/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "src/model/intervals.h"

static struct merlon_intervals make(size_t n, const merlon_value (*v)[2])
{
	struct merlon_intervals set = { 0 };
	size_t i;

	for (i = 0; i < n; i++)
		assert_int_equal(merlon_intervals_add(&set, v[i][0], v[i][1]), 0);
	merlon_intervals_normalise(&set);
	return set;
}

static void expect(const struct merlon_intervals *set, size_t n, const merlon_value (*v)[2])
{
	size_t i;

	assert_int_equal(set->n, n);
	for (i = 0; i < n; i++)
		assert_true(set->v[i].lo == v[i][0] && set->v[i].hi == v[i][1]);
}

#define MAX128 (~(merlon_value)0)

static void normalise(void **state)
{
	static const merlon_value mixed[][2] = { { 20, 30 }, { 5, 5 }, { 6, 9 }, { 25, 40 }, { 42, 42 }, { 21, 22 } };
	static const merlon_value clean[][2] = { { 5, 9 }, { 20, 40 }, { 42, 42 } };
	static const merlon_value top[][2] = { { 7, MAX128 }, { MAX128, MAX128 }, { 9, 10 }, { 0, 3 } };
	static const merlon_value top_clean[][2] = { { 0, 3 }, { 7, MAX128 } };
	struct merlon_intervals set = make(6, mixed);

	(void)state;
	expect(&set, 3, clean);
	merlon_intervals_clear(&set);
	assert_null(set.v);
	set = make(4, top);
	expect(&set, 2, top_clean);
	merlon_intervals_clear(&set);
	set = make(0, top);
	assert_int_equal(set.n, 0);
}

static void complement(void **state)
{
	static const merlon_value some[][2] = { { 0, 4 }, { 10, 19 }, { 255, 255 } };
	static const merlon_value rest[][2] = { { 5, 9 }, { 20, 254 } };
	static const merlon_value all[][2] = { { 0, MAX128 } };
	static const merlon_value beyond[][2] = { { 3, 5 }, { 300, 400 } };
	static const merlon_value beyond_rest[][2] = { { 0, 2 }, { 6, 255 } };
	struct merlon_intervals set = make(3, some);

	(void)state;
	assert_int_equal(merlon_intervals_complement(&set, 255), 0);
	expect(&set, 2, rest);
	assert_int_equal(merlon_intervals_complement(&set, 255), 0);
	expect(&set, 3, some);
	merlon_intervals_clear(&set);

	assert_int_equal(merlon_intervals_complement(&set, MAX128), 0);
	expect(&set, 1, all);
	assert_int_equal(merlon_intervals_complement(&set, MAX128), 0);
	assert_int_equal(set.n, 0);
	merlon_intervals_clear(&set);

	set = make(2, beyond);
	assert_int_equal(merlon_intervals_complement(&set, 255), 0);
	expect(&set, 2, beyond_rest);
	merlon_intervals_clear(&set);
}

static void intersect(void **state)
{
	static const merlon_value a[][2] = { { 0, 9 }, { 20, 29 }, { 40, 49 } };
	static const merlon_value b[][2] = { { 9, 20 }, { 22, 23 }, { 25, 45 } };
	static const merlon_value both[][2] = { { 9, 9 }, { 20, 20 }, { 22, 23 }, { 25, 29 }, { 40, 45 } };
	struct merlon_intervals x = make(3, a), y = make(3, b), ret, copy;

	(void)state;
	assert_int_equal(merlon_intervals_intersect(&x, &y, &ret), 0);
	expect(&ret, 5, both);
	assert_int_equal(merlon_intervals_copy(&ret, &copy), 0);
	assert_true(merlon_intervals_equal(&ret, &copy));
	copy.v[4].hi++;
	assert_false(merlon_intervals_equal(&ret, &copy));
	assert_false(merlon_intervals_equal(&ret, &x));
	merlon_intervals_clear(&x);
	merlon_intervals_clear(&y);
	merlon_intervals_clear(&ret);
	merlon_intervals_clear(&copy);
}

/* All operations against membership, on many small random sets. */
static void membership(void **state)
{
	unsigned round, i;

	(void)state;
	srand(1);
	for (round = 0; round < 2000; round++) {
		struct merlon_intervals x = { 0 }, y = { 0 }, both, not_x;
		bool in_x[64] = { false }, in_y[64] = { false };

		for (i = 0; i < 6; i++) {
			unsigned lo = rand() % 64, hi = lo + rand() % (64 - lo), v;
			bool first = rand() & 1;

			merlon_intervals_add(first ? &x : &y, lo, hi);
			for (v = lo; v <= hi; v++)
				(first ? in_x : in_y)[v] = true;
		}
		merlon_intervals_normalise(&x);
		merlon_intervals_normalise(&y);
		assert_int_equal(merlon_intervals_intersect(&x, &y, &both), 0);
		assert_int_equal(merlon_intervals_copy(&x, &not_x), 0);
		assert_int_equal(merlon_intervals_complement(&not_x, 63), 0);
		for (i = 0; i < 64; i++) {
			assert_int_equal(merlon_intervals_contain(&x, i), in_x[i]);
			assert_int_equal(merlon_intervals_contain(&both, i), in_x[i] && in_y[i]);
			assert_int_equal(merlon_intervals_contain(&not_x, i), !in_x[i]);
		}
		for (i = 1; i < x.n; i++)
			assert_true(x.v[i].lo > x.v[i - 1].hi + 1);
		merlon_intervals_clear(&x);
		merlon_intervals_clear(&y);
		merlon_intervals_clear(&both);
		merlon_intervals_clear(&not_x);
	}
}

/* Taking in and out, against membership. */
static void changes(void **state)
{
	struct merlon_intervals x = { 0 };
	bool in[64] = { false };
	unsigned round, i, done = 0;

	(void)state;
	srand(2);
	for (round = 0; round < 20000; round++) {
		unsigned lo = rand() % 64, hi = lo + rand() % (64 - lo) % 6, n = 0;
		bool to = rand() & 1;

		for (i = lo; i <= hi; i++)
			n += in[i] == to;
		assert_int_equal(merlon_intervals_change(&x, to, lo, hi), n ? -ERANGE : 0);
		done += !n;
		for (i = lo; i <= hi && !n; i++)
			in[i] = to;
		for (i = 0; i < 64; i++)
			assert_int_equal(merlon_intervals_contain(&x, i), in[i]);
		for (i = 1; i < x.n; i++)
			assert_true(x.v[i].lo > x.v[i - 1].hi + 1);
	}
	assert_true(done > 1000);
	merlon_intervals_clear(&x);
	assert_int_equal(merlon_intervals_change(&x, true, 0, MAX128), 0);
	assert_int_equal(merlon_intervals_change(&x, false, MAX128, MAX128), 0);
	assert_int_equal(merlon_intervals_change(&x, true, MAX128, MAX128), 0);
	assert_int_equal(x.n, 1);
	merlon_intervals_clear(&x);
}

static void widths(void **state)
{
	(void)state;
	assert_true(merlon_value_max(1) == 1);
	assert_true(merlon_value_max(16) == 0xffff);
	assert_true(merlon_value_max(64) == ~(uint64_t)0);
	assert_true(merlon_value_max(127) == MAX128 >> 1);
	assert_true(merlon_value_max(128) == MAX128);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normalise), cmocka_unit_test(complement), cmocka_unit_test(intersect),
		cmocka_unit_test(membership), cmocka_unit_test(changes), cmocka_unit_test(widths),
	};

	return cmocka_run_group_tests_name("intervals", tests, NULL, NULL);
}
