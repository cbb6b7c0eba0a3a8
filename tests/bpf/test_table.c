/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of sessions when it fills: who finds a place, who keeps it, who makes room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "bpf/set.h"
#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"

enum { PLACES = 256, SETS = PLACES / MERLON_WAYS, MOST = SETS * MERLON_WAYS_ESTABLISHED, MANY = PLACES * 3 / 8 };

static struct plane plane;

/* Families in turn. */
static struct flow flow_of(unsigned n)
{
	if (n & 1)
		return (struct flow){ "2001:db8::9", "2001:db8::1", 1024 + n, 53 };
	return (struct flow){ "192.0.2.9", "192.0.2.1", 1024 + n, 53 };
}

/* Whether the packet was taken for one of a known connection: the rules drop what is not. */
static bool passes(const struct flow *flow, bool out)
{
	struct flow way = out ? reversed(flow) : *flow;
	struct frame f = frame_udp(&way, 10);

	return (out ? plane_egress(&plane, 0, plane.veth, f.data, f.bytes) : plane_ingress(&plane, plane.veth, f.data, f.bytes)) ==
	       PLANE_PASS;
}

static bool answers(unsigned n)
{
	struct flow flow = flow_of(n);

	return passes(&flow, true);
}

static void begin(unsigned n)
{
	struct flow flow = flow_of(n);

	assert_true(passes(&flow, false));
}

static void establish(unsigned n)
{
	begin(n);
	assert_true(answers(n));
	begin(n);
}

static unsigned established(void)
{
	return plane_established(&plane, MERLON_IPV4) + plane_established(&plane, MERLON_IPV6);
}

/* Three of eight places: each flow finds one, in the first set or in the second, and is found there. */
static void all_find_a_place(void **state)
{
	unsigned elsewhere = 0;

	(void)state;
	for (unsigned n = 0; n < MANY; n++)
		establish(n);
	assert_int_equal(established(), MANY);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_SESSIONS_FULL), 0);
	for (unsigned n = 0; n < MANY; n++)
		assert_true(answers(n));
	for (unsigned i = 0; i < SETS; i++)
		for (unsigned way = 0; way < MERLON_WAYS; way++) {
			const struct merlon_flow *flow = &plane.table.flows[i].way[way];
			uint64_t hash = merlon_tuple_hash(0, plane.table.sets[i].tag[way] & MERLON_TAG_IPV6 ? MERLON_IPV6 : MERLON_IPV4, &flow->tuple);

			elsewhere += plane.table.sets[i].tag[way] && (merlon_first_set(hash) & (SETS - 1)) != i;
		}
	/* otherwise the second choice was not tested */
	assert_in_range(elsewhere, 1, PLACES / 4);
}

/* Many more flows begin than there is room for. */
static void a_flood_takes_no_place_of_theirs(void **state)
{
	(void)state;
	for (unsigned n = 0; n < MANY; n++)
		establish(n);
	for (unsigned n = 0; n < 40 * PLACES; n++)
		begin(10000 + n);
	for (unsigned n = 0; n < MANY; n++)
		assert_true(answers(n));
	assert_int_equal(established(), MANY);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_SESSIONS_FULL), 0);
}

/* The last ones that began are known: they have ways that nobody keeps. */
static void who_comes_finds_room_in_a_full_table(void **state)
{
	unsigned known = 0;

	(void)state;
	for (unsigned n = 0; n < 4 * PLACES; n++)
		establish(n);
	assert_in_range(established(), MOST * 9 / 10, MOST);
	assert_true(plane_stat(&plane, MERLON_STAT_SESSIONS_FULL) > 0);
	begin(10000);
	assert_true(answers(10000));
	for (unsigned n = 0; n < 4 * PLACES; n++)
		known += answers(n);
	assert_in_range(known, MOST * 9 / 10, PLACES);
}

/* Their time has come, and nobody takes them out but those who need the room. */
static void the_expired_make_room(void **state)
{
	unsigned known = 0;

	(void)state;
	for (unsigned n = 0; n < 4 * PLACES; n++)
		establish(n);
	for (unsigned i = 0; i < SETS; i++)
		for (unsigned way = 0; way < MERLON_WAYS; way++) {
			plane.table.sets[i].tag[way] |= MERLON_TAG_ESTABLISHED;
			plane.table.flows[i].way[way].session.expires_ns = 1;
		}
	for (unsigned round = 0; round < 8; round++)
		for (unsigned n = 0; n < MANY; n++)
			establish(10000 + n);
	/* all but some that met in a full set, each of which saw one of the expired at a time */
	for (unsigned n = 0; n < MANY; n++)
		known += answers(10000 + n);
	assert_in_range(known, MANY * 95 / 100, MANY);
	for (unsigned n = 0; n < MANY; n++)
		assert_false(answers(n));
}

/* Not even one that is embryonic: a new flow has no session, and says so. */
static void no_place_at_all(void **state)
{
	uint64_t begun;

	(void)state;
	for (unsigned n = 0; n < 4 * PLACES; n++)
		begin(n);
	for (unsigned i = 0; i < SETS; i++)
		for (unsigned way = 0; way < MERLON_WAYS; way++)
			plane.table.sets[i].tag[way] |= MERLON_TAG_ESTABLISHED;
	begun = plane_stat(&plane, MERLON_STAT_NEW_SESSIONS);
	begin(10000);
	assert_false(answers(10000));
	assert_int_equal(plane_stat(&plane, MERLON_STAT_NEW_SESSIONS), begun);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_SESSIONS_FULL), 1);
}

static int group_set_up(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, -1, -1, STATES(ESTABLISHED), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
		{ HOOK(INPUT), -1, -1, STATES(NEW), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	int r = plane_open_for(&plane, false, PLACES);

	(void)state;
	if (r)
		return r;
	plane_rules(&plane, rules, 2, MERLON_DROP);
	return 0;
}

static int group_tear_down(void **state)
{
	(void)state;
	plane_close(&plane);
	return 0;
}

/* An empty table, and nothing is counted. */
static int set_up(void **state)
{
	struct merlon_stats *none = calloc(libbpf_num_possible_cpus(), sizeof(*none));
	const uint32_t zero = 0;

	(void)state;
	plane_forget(&plane);
	assert_non_null(none);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(plane.skel->maps.stats), &zero, none, 0), 0);
	free(none);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_find_a_place), TEST(a_flood_takes_no_place_of_theirs), TEST(who_comes_finds_room_in_a_full_table),
		TEST(the_expired_make_room), TEST(no_place_at_all),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
