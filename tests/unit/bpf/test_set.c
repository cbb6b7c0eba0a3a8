/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A set of the table of sessions, natively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bpf/set.h"

static struct merlon_flow_ways flows;
static struct merlon_flow_set head;
static const struct merlon_set_ref set = { &head, &flows };

static union merlon_tuple tuple_of(unsigned n)
{
	union merlon_tuple tuple = { .v4 = { .a = 1, .b = 2, .a_port = n, .l4proto = 17 } };

	return tuple;
}

/* All tuples of these tests have one tag: the tuple itself has to tell them apart. */
static const uint16_t tag = MERLON_TAG_USED | 5;

static int put(uint32_t way, unsigned n, uint32_t used)
{
	struct merlon_session session = { .owner = MERLON_LOCKED, .expires_ns = n + 1000, .created_ns = n }, *entered = NULL;
	union merlon_tuple tuple = tuple_of(n);
	int r = merlon_set_put(&set, way, MERLON_IPV4, &tuple, tag, used, &session, &entered);

	if (r) {
		assert_null(entered);
		return r;
	}
	assert_int_equal(entered->owner, MERLON_LOCKED);
	entered->owner = n << 1;
	return 0;
}

/* As the data path does it, with one set. */
static int enter(unsigned n, uint32_t used)
{
	merlon_offer offer = merlon_set_offer(&set, used);

	return offer ? put(merlon_offered_way(offer), n, used) : -1;
}

static uint32_t way_of(unsigned n)
{
	union merlon_tuple tuple = tuple_of(n);

	return merlon_set_find(&set, MERLON_IPV4, &tuple, tag);
}

static struct merlon_session *find(unsigned n, uint32_t used)
{
	uint32_t way = way_of(n);

	if (way == MERLON_WAYS)
		return NULL;
	merlon_set_use(&head, way, used);
	return &flows.way[way].session;
}

static void what_was_entered_is_found(void **state)
{
	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++) {
		assert_null(find(n, 1));
		assert_int_equal(enter(n, 1), 0);
	}
	for (unsigned n = 0; n < MERLON_WAYS; n++) {
		const struct merlon_session *session = find(n, 1);

		assert_non_null(session);
		assert_int_equal(session->created_ns, n);
		assert_int_equal(session->owner, n << 1);
		head.tag[way_of(n)] = 0;
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
	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(enter(n, 10 + n), 0);
	head.tag[way_of(5)] = 0;
	assert_int_equal(enter(100, 30), 0);
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(!find(n, 30), n == 5);
}

/* Of two sets the emptier one is better; the first way of the first set is better than all, if it is empty. */
static void the_emptier_set_offers_more(void **state)
{
	const uint64_t hash = 3ULL << 61;
	merlon_offer before = merlon_set_offer(&set, 1), now;

	(void)state;
	assert_int_equal(merlon_offered_way(merlon_set_first_offer(&set, hash, 1)), 3);
	assert_true(merlon_set_first_offer(&set, hash, 1) > before);
	for (unsigned n = 0; n < MERLON_WAYS; n++, before = now) {
		/* the first way is taken last */
		assert_int_equal(put((4 + n) % MERLON_WAYS, n, 1), 0);
		now = merlon_set_offer(&set, 1);
		assert_true(now < before);
		assert_true((merlon_set_first_offer(&set, hash, 1) > (merlon_offer)MERLON_WAYS * MERLON_OFFER_EMPTY) == (n < MERLON_WAYS - 1));
	}
	assert_true(now && now < MERLON_OFFER_EMPTY);
	/* of two full ones, that with the older flow */
	assert_true(merlon_set_offer(&set, 4) > now);
}

/* What keeps its place is never offered, and one way is left for others. */
static void established_ones_stay(void **state)
{
	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(enter(n, 10 + n), 0);
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(merlon_set_keep(&set, way_of(n), 1), n < MERLON_WAYS_ESTABLISHED ? 0 : -1);
	for (unsigned n = 0; n < 100; n++)
		assert_int_equal(enter(100 + n, 1000000 + n), 0);
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(!!find(n, 2000000), n < MERLON_WAYS_ESTABLISHED);
	assert_int_equal(merlon_set_keep(&set, way_of(199), 1), -1);
	head.tag[way_of(0)] = 0;
	assert_int_equal(merlon_set_keep(&set, way_of(199), 1), 0);
}

/* Where all keep their places, whose time has come goes. */
static void an_expired_one_makes_room(void **state)
{
	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++) {
		assert_int_equal(enter(n, 10), 0);
		head.tag[way_of(n)] |= MERLON_TAG_ESTABLISHED;
	}
	assert_int_equal(enter(100, 30), -1);
	assert_int_equal(merlon_set_expired(&set, 1000), MERLON_WAYS);
	assert_int_equal(merlon_set_expired(&set, 1001), way_of(0));
	/* also for one that is to be kept; 0's session ends first */
	assert_int_equal(merlon_set_keep(&set, way_of(7), 1000), -1);
	assert_int_equal(merlon_set_keep(&set, way_of(7), 1001), 0);
	assert_null(find(0, 10));
}

/* One way is looked at, by the flow's hash: in time all are. */
static void the_expired_are_gleaned(void **state)
{
	merlon_offer offer, better;

	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++) {
		assert_int_equal(put(n, n, 10), 0);
		head.tag[n] |= n & 1 ? 0 : MERLON_TAG_ESTABLISHED;
	}
	offer = merlon_set_offer(&set, 20);
	for (uint64_t way = 0; way < MERLON_WAYS; way++) {
		better = merlon_set_glean(&set, offer, way << 53, way + 1001);
		assert_int_equal(merlon_set_glean(&set, offer, way << 53, way + 1000), offer);
		assert_int_equal(better, way & 1 ? offer : MERLON_OFFER_EMPTY | (MERLON_WAYS - 1 - way));
	}
	head.tag[1] = 0;
	offer = merlon_set_offer(&set, 20);
	assert_int_equal(merlon_set_glean(&set, offer, 0, 5000), offer);
}

static void nobody_takes_what_is_locked(void **state)
{
	struct merlon_session *oldest;

	(void)state;
	for (unsigned n = 0; n < MERLON_WAYS; n++)
		assert_int_equal(enter(n, 10 + n), 0);
	oldest = &flows.way[0].session;
	oldest->owner |= MERLON_LOCKED;
	assert_ptr_equal(find(0, 10), oldest);
	assert_int_equal(put(0, 100, 30), MERLON_BUSY);
	assert_ptr_equal(find(0, 10), oldest);
	oldest->owner &= ~MERLON_LOCKED;
	assert_int_equal(put(0, 100, 30), 0);
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
	assert_int_equal(merlon_set_put(&set, 0, MERLON_IPV4, &v4, tag4, 1, &session, &entered), 0);
	assert_int_equal(merlon_set_put(&set, 1, MERLON_IPV6, &v6, tag6, 1, &session, &entered), 0);
	assert_int_equal(merlon_set_find(&set, MERLON_IPV4, &v4, tag4), 0);
	assert_int_equal(merlon_set_find(&set, MERLON_IPV6, &v6, tag6), 1);
	assert_int_equal(merlon_set_find(&set, MERLON_IPV6, &other, tag6), MERLON_WAYS);
	assert_int_not_equal(merlon_owner_of(merlon_tuple_hash(1, MERLON_IPV4, &v4)) >> (MERLON_HASH_FAMILY - 32) & 1,
			     merlon_owner_of(merlon_tuple_hash(1, MERLON_IPV6, &v6)) >> (MERLON_HASH_FAMILY - 32) & 1);
}

/* Every part of a tuple and the seed decide, and the sets get alike many. */
static void tuples_spread(void **state)
{
	enum { SETS = 256, FLOWS = SETS * 64 };
	static unsigned n[4][SETS];

	(void)state;
	for (unsigned i = 0; i < FLOWS; i++) {
		union merlon_tuple v4 = tuple_of(i), v6 = { .v6 = { .a = { 1, 2, 3, i }, .l4proto = 6 } };

		n[0][merlon_first_set(merlon_tuple_hash(7, MERLON_IPV4, &v4)) % SETS]++;
		n[1][merlon_first_set(merlon_tuple_hash(7, MERLON_IPV6, &v6)) % SETS]++;
		n[2][merlon_second_set(merlon_tuple_hash(7, MERLON_IPV4, &v4)) % SETS]++;
		n[3][merlon_second_set(merlon_tuple_hash(7, MERLON_IPV6, &v6)) % SETS]++;
	}
	/* 64 on the average, standard deviation 8 */
	for (unsigned i = 0; i < SETS; i++)
		for (unsigned which = 0; which < 4; which++)
			assert_in_range(n[which][i], 64 - 6 * 8, 64 + 6 * 8);
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
	memset(&flows, 0, sizeof(flows));
	memset(&head, 0, sizeof(head));
	return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_entered_is_found), TEST(the_one_unused_for_longest_goes), TEST(an_empty_way_is_taken_first),
		TEST(the_emptier_set_offers_more), TEST(established_ones_stay), TEST(an_expired_one_makes_room), TEST(the_expired_are_gleaned),
		TEST(nobody_takes_what_is_locked), TEST(one_that_was_used_just_now_stays), TEST(families_differ), TEST(tuples_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
