/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of embryonic flows, natively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bpf/embryonic.h"

static struct merlon_embryos set;

static union merlon_tuple tuple_of(unsigned n)
{
	union merlon_tuple tuple = { .v4 = { .a = 1, .b = 2, .a_port = n, .l4proto = 17 } };

	return tuple;
}

/* All tuples of these tests have one tag: the tuple itself has to tell them apart. */
static const uint16_t tag = MERLON_TAG_USED | 5;

static int enter(unsigned n, uint32_t used)
{
	struct merlon_session session = { .owner = MERLON_LOCKED, .created_ns = n }, *entered = NULL;
	union merlon_tuple tuple = tuple_of(n);
	int r = merlon_embryos_enter(&set, MERLON_IPV4, &tuple, tag, used, &session, &entered);

	if (r) {
		assert_null(entered);
		return r;
	}
	assert_int_equal(entered->owner, MERLON_LOCKED);
	entered->owner = n << 1;
	return 0;
}

static struct merlon_session *find(unsigned n, uint32_t used)
{
	union merlon_tuple tuple = tuple_of(n);
	uint32_t way = merlon_embryos_find(&set, MERLON_IPV4, &tuple, tag, used);

	return way < MERLON_WAYS ? &set.way[way].session : NULL;
}

static void what_was_entered_is_found(void **state)
{
	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++) {
		assert_null(find(n, 1));
		assert_int_equal(enter(n, 1), 0);
		assert_int_equal(enter(n, 1), -1);
	}
	for (unsigned n = 0; n < MERLON_WAYS; n++) {
		union merlon_tuple tuple = tuple_of(n);
		const struct merlon_session *session = find(n, 1);

		assert_non_null(session);
		assert_int_equal(session->created_ns, n);
		assert_int_equal(session->owner, n << 1);
		set.tag[merlon_embryos_way(&set, MERLON_IPV4, &tuple, tag)] = 0;
		assert_null(find(n, 1));
	}
}

static void the_one_unused_for_longest_goes(void **state)
{
	/* the clock wraps meanwhile */
	const uint32_t begin = UINT32_MAX - 3;

	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(enter(n, begin + n), 0);
	assert_non_null(find(0, begin + 20));
	assert_int_equal(enter(100, begin + 21), 0);
	assert_null(find(1, begin + 21));
	assert_non_null(find(0, begin + 21));
	assert_int_equal(enter(101, begin + 22), 0);
	assert_null(find(2, begin + 22));
	for (unsigned n = 3; n < MERLON_WAYS; n++)
		assert_non_null(find(n, begin + 22));
}

static void an_empty_way_is_taken_first(void **state)
{
	union merlon_tuple tuple = tuple_of(5);

	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(enter(n, 10 + n), 0);
	set.tag[merlon_embryos_way(&set, MERLON_IPV4, &tuple, tag)] = 0;
	assert_int_equal(enter(100, 30), 0);
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(!find(n, 30), n == 5);
}

static void nobody_takes_what_is_locked(void **state)
{
	struct merlon_session *oldest;

	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(enter(n, 10 + n), 0);
	oldest = &set.way[0].session;
	oldest->owner |= MERLON_LOCKED;
	assert_int_equal(enter(100, 30), MERLON_BUSY);
	assert_ptr_equal(find(0, 10), oldest);
	oldest->owner &= ~MERLON_LOCKED;
	assert_int_equal(enter(100, 30), 0);
	assert_null(find(0, 30));
}

/* Another CPU, whose packet came a tick later, has used one of them. */
static void one_that_was_used_just_now_stays(void **state)
{
	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(enter(n, n == 3 ? 101 : 50), 0);
	assert_int_equal(enter(100, 100), 0);
	assert_non_null(find(3, 101));
}

/* The first 16 bytes of an IPv6 tuple may be those of an IPv4 one. */
static void families_differ(void **state)
{
	union merlon_tuple v4 = tuple_of(1), v6 = { .word = { 0 } }, other;
	struct merlon_session session = { .owner = MERLON_LOCKED }, *entered;
	uint64_t hash = 0x1234567890abcdefULL;
	uint16_t tag4 = merlon_tag_of(MERLON_IPV4, hash), tag6 = merlon_tag_of(MERLON_IPV6, hash);

	(void)state;
	memcpy(&v6, &v4, sizeof(v4.v4));
	v6.v6.l4proto = 17;
	other = v6;
	other.v6.id = 1;
	assert_true(tag4 && tag6 && tag4 != tag6);
	assert_int_equal(merlon_embryos_enter(&set, MERLON_IPV4, &v4, tag4, 1, &session, &entered), 0);
	assert_int_equal(merlon_embryos_enter(&set, MERLON_IPV6, &v6, tag6, 1, &session, &entered), 0);
	assert_int_not_equal(merlon_embryos_way(&set, MERLON_IPV4, &v4, tag4), merlon_embryos_way(&set, MERLON_IPV6, &v6, tag6));
	assert_int_equal(merlon_embryos_way(&set, MERLON_IPV6, &other, tag6), MERLON_WAYS);
}

/* Every part of a tuple and the seed decide, and the sets get alike many. */
static void tuples_spread(void **state)
{
	enum { SETS = 256, FLOWS = SETS * 64 };
	static unsigned n[2][SETS];

	(void)state;
	for (unsigned i = 0; i < FLOWS; i++) {
		union merlon_tuple v4 = tuple_of(i), v6 = { .v6 = { .a = { 1, 2, 3, i }, .l4proto = 6 } };

		n[0][merlon_tuple_hash(7, MERLON_IPV4, &v4) % SETS]++;
		n[1][merlon_tuple_hash(7, MERLON_IPV6, &v6) % SETS]++;
	}
	/* 64 on the average, standard deviation 8 */
	for (unsigned i = 0; i < SETS; i++)
		for (unsigned family = 0; family < 2; family++)
			assert_in_range(n[family][i], 64 - 6 * 8, 64 + 6 * 8);
	for (unsigned byte = 0; byte < sizeof(union merlon_tuple); byte++) {
		union merlon_tuple one = { .word = { 0 } }, two = one;

		((uint8_t *)&two)[byte]++;
		assert_int_not_equal(merlon_tuple_hash(7, MERLON_IPV6, &one), merlon_tuple_hash(7, MERLON_IPV6, &two));
		assert_int_not_equal(merlon_tuple_hash(7, MERLON_IPV6, &two), merlon_tuple_hash(8, MERLON_IPV6, &two));
		if (byte < sizeof(one.v4))
			assert_int_not_equal(merlon_tuple_hash(7, MERLON_IPV4, &one), merlon_tuple_hash(7, MERLON_IPV4, &two));
	}
}

static int set_up(void **state)
{
	(void)state;
	memset(&set, 0, sizeof(set));
	return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_entered_is_found), TEST(the_one_unused_for_longest_goes), TEST(an_empty_way_is_taken_first),
		TEST(nobody_takes_what_is_locked), TEST(one_that_was_used_just_now_stays), TEST(families_differ), TEST(tuples_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
