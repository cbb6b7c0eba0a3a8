/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "compat/masks.h"

/* Whatever the way of undoing: a value is in the result if and only if (value & mask) ^ xor was in the set. */
static void check(struct merlon_intervals *set, merlon_value mask, merlon_value xor, unsigned bits)
{
	struct merlon_intervals before;
	unsigned i;
	int r;

	merlon_intervals_normalise(set);
	merlon_intervals_copy(set, &before);
	r = merlon_mask_undo(set, mask, xor, bits);
	if (r == -ERANGE) {
		assert_true(merlon_intervals_equal(set, &before));
	} else {
		assert_int_equal(r, 0);
		for (i = 0; i < 400; i++) {
			merlon_value v = ((merlon_value)rand() << 31 | rand()) & merlon_value_max(bits);

			/* near the ends, where mistakes are */
			if (before.n && i & 1)
				v = (before.v[i % before.n].lo + i % 5 - 2) & merlon_value_max(bits);
			if (set->n && i & 2)
				v = (set->v[i % set->n].hi + i % 3 - 1) & merlon_value_max(bits);
			assert_int_equal(merlon_intervals_contain(set, v),
					 merlon_intervals_contain(&before, (v & mask) ^ xor));
		}
	}
	merlon_intervals_clear(&before);
	merlon_intervals_clear(set);
}

static void prefixes(void **state)
{
	unsigned round;

	(void)state;
	srand(2);
	for (round = 0; round < 500; round++) {
		struct merlon_intervals set = { 0 };
		merlon_value max = merlon_value_max(32), lo = (unsigned)rand() & max;
		unsigned length = rand() % 33;

		merlon_intervals_add(&set, lo, lo + (max - lo) / (1 + rand() % 1000));
		merlon_intervals_add(&set, rand() % 1000, rand() % 1000 + 1000);
		check(&set, max & ~(max >> length), 0, 32);
	}
}

static void any_mask(void **state)
{
	static const merlon_value masks[] = { 0xffffff00ffULL, 0xf0f0ffff, 0xfffffffe, 0xffff0fff, 0x7fffffff, 0 };
	unsigned round;

	(void)state;
	srand(3);
	for (round = 0; round < 600; round++) {
		struct merlon_intervals set = { 0 };
		merlon_value mask = masks[round % 6] & 0xffffffff;
		unsigned i, n = 1 + rand() % 3;

		for (i = 0; i < n; i++) {
			merlon_value v = (unsigned)rand() & mask;

			merlon_intervals_add(&set, v, v);
		}
		merlon_intervals_normalise(&set);
		if (round & 1)
			merlon_intervals_complement(&set, 0xffffffff);
		check(&set, mask, round & 2 ? 0x00120034 & mask : 0, 32);
	}
}

static void narrow(void **state)
{
	unsigned round;

	(void)state;
	srand(4);
	for (round = 0; round < 100; round++) {
		struct merlon_intervals set = { 0 };
		unsigned lo = rand() & 0xff;

		merlon_intervals_add(&set, lo, lo + rand() % (256 - lo));
		check(&set, rand() & 0xff, rand() & 0xff, 8);
	}
}

static void too_many(void **state)
{
	struct merlon_intervals set = { 0 };

	(void)state;
	merlon_intervals_add(&set, 0, 0);
	assert_int_equal(merlon_mask_undo(&set, 0x55555555, 0, 32), -ERANGE);
	assert_int_equal(set.n, 1);
	merlon_intervals_clear(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes), cmocka_unit_test(any_mask), cmocka_unit_test(narrow), cmocka_unit_test(too_many),
	};

	return cmocka_run_group_tests_name("masks", tests, NULL, NULL);
}
