/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The egress program and what hooks have in common. Loaded as for kernel 6.1: a test run's packet has no route, so the
 * programs of later kernels do not judge it; tests/bpf/test_live.c sends real ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bpf/group.h"
#include "tests/bpf/packet.h"


/* A host that may ask anything and answers nothing; port 80 may be forwarded. */
static const struct plane_rule client[] = {
	{ HOOK(OUTPUT), -1, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(OUTPUT), -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(INPUT), -1, -1, STATES(ESTABLISHED), 0, 0, { 3 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(INPUT), -1, -1, STATES(RELATED), 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(FORWARD), 6, 80, STATES(NEW), 0, 0, { 5 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(FORWARD), 6, -1, STATES(ESTABLISHED), 0, 0, { 6 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};

static const struct flow out4 = { "192.0.2.1", "192.0.2.200", 40000, 443 };
static const struct flow out6 = { "2001:db8::1", "2001:db8::200", 40000, 443 };

static int set_up(void **state)
{
	(void)state;
	plane_forget(&plane);
	plane_rules(&plane, client, sizeof(client) / sizeof(client[0]), MERLON_DROP);
	return 0;
}

static int out(const struct frame *f)
{
	return plane_egress(&plane, 0, plane.veth, f->data, f->bytes);
}

static int in(const struct frame *f)
{
	return plane_ingress(&plane, plane.veth, f->data, f->bytes);
}

static int out_tcp(const struct flow *flow, uint8_t flags)
{
	struct frame f = frame_tcp(flow, flags, 0);

	return out(&f);
}

static int in_tcp(const struct flow *flow, uint8_t flags)
{
	struct frame f = frame_tcp(flow, flags, 0);

	return in(&f);
}

static void one_session_for_both_ways(void **state)
{
	static const struct flow *const flows[] = { &out4, &out6 };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct flow back = reversed(flows[i]);
		uint64_t misses;

		assert_int_equal(in_tcp(&back, F_SYN | F_ACK), PLANE_SHOT);
		assert_int_equal(in_tcp(&back, F_SYN), PLANE_SHOT);
		assert_int_equal(out_tcp(flows[i], F_SYN), PLANE_PASS);
		assert_int_equal(in_tcp(&back, F_SYN | F_ACK), PLANE_PASS);
		assert_int_equal(out_tcp(flows[i], F_ACK), PLANE_PASS);
		assert_int_equal(in_tcp(&back, F_ACK), PLANE_PASS);
		misses = plane_stat(&plane, MERLON_STAT_MISSES);
		for (int j = 0; j < 5; j++) {
			assert_int_equal(out_tcp(flows[i], F_ACK | F_PSH), PLANE_PASS);
			assert_int_equal(in_tcp(&back, F_ACK), PLANE_PASS);
		}
		assert_int_equal(plane_stat(&plane, MERLON_STAT_MISSES), misses);
	}
	assert_int_equal(plane_established(&plane, MERLON_IPV4), 1);
	assert_int_equal(plane_established(&plane, MERLON_IPV6), 1);
}

static void denied_packets_go_nowhere(void **state)
{
	struct merlon_event event;

	(void)state;
	plane_rules(&plane, NULL, 0, MERLON_DROP);
	plane_events(&plane, &event);
	assert_int_equal(out_tcp(&out4, F_SYN), PLANE_NOWHERE);
	assert_int_equal(plane_events(&plane, &event), 1);
	assert_int_equal(event.hook, MERLON_OUTPUT);
	assert_int_equal(event.iif, 0);
	assert_int_equal(event.oif, plane.veth);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
}

static void unjudged_packets_go_nowhere(void **state)
{
	uint64_t failed = plane_stat(&plane, MERLON_STAT_FAILED);

	(void)state;
	plane_rules(&plane, NULL, 0, MERLON_ACCEPT);
	assert_int_equal(out_tcp(&out4, F_SYN), PLANE_PASS);
	plane_long_way(&plane, false);
	assert_int_equal(out_tcp(&out4, F_SYN), PLANE_NOWHERE);
	plane_long_way(&plane, true);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_FAILED), failed + 1);
}

static void forward_is_another_hook(void **state)
{
	struct flow web = { "192.0.2.9", "198.51.100.9", 40000, 80 }, ssh = web, back = reversed(&web);
	struct frame syn = frame_tcp(&web, F_SYN, 0), answer = frame_tcp(&back, F_SYN | F_ACK, 0), other;
	uint64_t before = plane_counter(&plane, 5), answers = plane_counter(&plane, 6);

	(void)state;
	ssh.dport = 22;
	other = frame_tcp(&ssh, F_SYN, 0);
	assert_int_equal(plane_egress(&plane, plane.veth, plane.far, syn.data, syn.bytes), PLANE_PASS);
	assert_int_equal(plane_counter(&plane, 5), before + 1);
	assert_int_equal(plane_egress(&plane, plane.veth, plane.far, other.data, other.bytes), PLANE_NOWHERE);
	assert_int_equal(plane_egress(&plane, plane.far, plane.veth, answer.data, answer.bytes), PLANE_PASS);
	assert_int_equal(plane_counter(&plane, 6), answers + 1);
}

/* The same flow and the same decision, but it comes in elsewhere: the rules run again. */
static void interfaces_are_part_of_a_decision(void **state)
{
	struct flow web = { "192.0.2.9", "198.51.100.9", 40000, 80 };
	struct frame syn = frame_tcp(&web, F_SYN, 0);
	uint64_t misses;

	(void)state;
	plane_egress(&plane, plane.veth, plane.far, syn.data, syn.bytes);
	misses = plane_stat(&plane, MERLON_STAT_MISSES);
	plane_egress(&plane, plane.veth, plane.far, syn.data, syn.bytes);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_MISSES), misses);
	plane_egress(&plane, PLANE_LO, plane.far, syn.data, syn.bytes);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_MISSES), misses + 1);
	plane_egress(&plane, PLANE_LO, plane.veth, syn.data, syn.bytes);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_MISSES), misses + 2);
	plane_egress(&plane, 0, plane.veth, syn.data, syn.bytes);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_MISSES), misses + 3);
}

static void errors_come_back(void **state)
{
	struct frame there = frame_udp(&out4, 30), inner = there;
	struct flow error = { "192.0.2.254", "192.0.2.1", 0, 0 };
	struct frame unreachable = frame_error(&error, 3, &inner, 28);
	uint64_t before = plane_counter(&plane, 4);

	(void)state;
	assert_int_equal(in(&unreachable), PLANE_SHOT);
	assert_int_equal(out(&there), PLANE_PASS);
	assert_int_equal(in(&unreachable), PLANE_PASS);
	assert_int_equal(plane_counter(&plane, 4), before + 1);
}

static void udp_answers_once_asked(void **state)
{
	struct flow back = reversed(&out6);
	struct frame there = frame_udp(&out6, 3), answer = frame_udp(&back, 200);

	(void)state;
	assert_int_equal(in(&answer), PLANE_SHOT);
	assert_int_equal(out(&there), PLANE_PASS);
	assert_int_equal(in(&answer), PLANE_PASS);
}

/* Packets and bytes of a hook. */
static struct merlon_counter judged(enum merlon_hook hook)
{
	return (struct merlon_counter){ plane_stat(&plane, MERLON_STAT_HOOKS + 2 * hook), plane_stat(&plane, MERLON_STAT_HOOKS + 2 * hook + 1) };
}

static void counts(const struct merlon_counter before[MERLON_HOOKS], enum merlon_hook where, uint64_t packets, uint64_t bytes)
{
	for (enum merlon_hook hook = 0; hook < MERLON_HOOKS; hook++) {
		struct merlon_counter now = judged(hook);

		assert_int_equal(now.packets - before[hook].packets, hook == where ? packets : 0);
		assert_int_equal(now.bytes - before[hook].bytes, hook == where ? bytes : 0);
	}
}

/* What goes the short way, what goes the long one, what is denied and what cannot be read. */
static void hooks_are_counted_apart(void **state)
{
	struct flow web = { "192.0.2.9", "198.51.100.9", 40000, 80 }, back = reversed(&out4);
	struct frame syn = frame_tcp(&web, F_SYN, 0), out_syn = frame_tcp(&out4, F_SYN, 0), answer = frame_tcp(&back, F_SYN | F_ACK, 0);
	struct frame ack = frame_tcp(&out4, F_ACK, 100), broken = ack;
	uint64_t hits = plane_stat(&plane, MERLON_STAT_HITS);
	struct merlon_counter before[MERLON_HOOKS];

	(void)state;
	for (enum merlon_hook hook = 0; hook < MERLON_HOOKS; hook++)
		before[hook] = judged(hook);
	plane_egress(&plane, plane.veth, plane.far, syn.data, syn.bytes);
	counts(before, MERLON_FORWARD, 1, syn.bytes - ETH);
	before[MERLON_FORWARD] = judged(MERLON_FORWARD);
	assert_int_equal(in_tcp(&back, F_SYN), PLANE_SHOT);
	broken.data[ETH] = 0x44;
	assert_int_equal(in(&broken), PLANE_SHOT);
	assert_int_equal(judged(MERLON_INPUT).packets, before[MERLON_INPUT].packets + 2);
	before[MERLON_INPUT] = judged(MERLON_INPUT);
	out(&out_syn);
	counts(before, MERLON_OUTPUT, 1, out_syn.bytes - ETH);
	in(&answer);
	before[MERLON_INPUT] = judged(MERLON_INPUT);
	for (int i = 0; i < 5; i++)
		out(&ack);
	counts(before, MERLON_OUTPUT, 6, out_syn.bytes - ETH + 5 * (ack.bytes - ETH));
	assert_true(plane_stat(&plane, MERLON_STAT_HITS) - hits >= 3);
}

/* What goes the short way is not timed; of the others one in so many is. */
static void the_long_way_is_timed(void **state)
{
	struct frame syn = frame_tcp(&out4, F_SYN, 0);
	uint64_t cold = plane_stat(&plane, MERLON_STAT_COLD), timed = plane_stat(&plane, MERLON_STAT_TIMED),
		 ns = plane_stat(&plane, MERLON_STAT_TIMED_NS), hits;
	const int n = 10 * MERLON_TIMED_EVERY;

	(void)state;
	for (int i = 0; i < n; i++)
		in(&syn);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_COLD), cold + n);
	/* it is counted by CPU, and this test may move to another one */
	assert_in_range(plane_stat(&plane, MERLON_STAT_TIMED) - timed, 8, 12);
	assert_in_range(plane_stat(&plane, MERLON_STAT_TIMED_NS) - ns, 1, UINT32_MAX);
	one_session_for_both_ways(state);
	cold = plane_stat(&plane, MERLON_STAT_COLD);
	hits = plane_stat(&plane, MERLON_STAT_HITS);
	for (int i = 0; i < n; i++)
		out_tcp(&out4, F_ACK);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_HITS), hits + n);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_COLD), cold);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_session_for_both_ways), TEST(denied_packets_go_nowhere), TEST(unjudged_packets_go_nowhere),
		TEST(forward_is_another_hook),
		TEST(interfaces_are_part_of_a_decision), TEST(errors_come_back), TEST(udp_answers_once_asked),
		TEST(hooks_are_counted_apart), TEST(the_long_way_is_timed),
	};

	return RUN_GROUP(tests, open_plane, close_plane);
}
