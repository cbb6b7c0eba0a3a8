/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes of a verdict: sessions or none, decisions that are remembered, counters, events, answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>

#include "tests/bpf/group.h"
#include "tests/bpf/packet.h"

/* The usual host: what is known passes, new connections to port 22 and pings, too. */
static const struct plane_rule host[] = {
	{ 0, -1, -1, STATES(ESTABLISHED) | STATES(RELATED), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, 6, 22, STATES(NEW), 0, 0, { 2, 3 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, 1, -1, STATES(NEW), 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, 58, -1, STATES(NEW), 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};

static const struct flow flows[] = {
	{ "192.0.2.9", "192.0.2.1", 40000, 22 },
	{ "2001:db8::9", "2001:db8::1", 40000, 22 },
};

static int set_up(void **state)
{
	(void)state;
	plane_forget(&plane);
	return 0;
}

static int host_tcp(const struct flow *flow, uint8_t flags)
{
	struct frame f = frame_tcp(flow, flags, 0);

	return plane_ingress(&plane, plane.veth, f.data, f.bytes);
}

static void denied_makes_no_session(void **state)
{
	struct flow web = flows[0];
	struct merlon_event event;

	(void)state;
	RULES(host, MERLON_DROP);
	plane_events(&plane, &event);
	web.dport = 80;
	assert_int_equal(host_tcp(&web, F_SYN), PLANE_SHOT);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
	assert_int_equal(plane_events(&plane, &event), 1);
	assert_int_equal(event.kind, MERLON_EVENT_VERDICT);
	assert_int_equal(event.verdict, MERLON_DROP);
	assert_int_equal(event.rule, 4);
	assert_int_equal(event.generation, plane.generation);
	assert_int_equal(event.hook, MERLON_INPUT);
	assert_int_equal(event.iif, plane.veth);
	assert_int_equal(event.oif, 0);
	assert_int_equal(ntohs(event.dport), 80);
	assert_int_equal(ntohs(event.sport), 40000);
	assert_int_equal(event.saddr[0], inet_addr("192.0.2.9"));
	assert_int_equal(event.ct_state, MERLON_CT_NEW);
	assert_int_equal(event.tcp_flags, F_SYN);
	assert_int_equal(event.uid, ~0U);
	assert_int_equal(event.audit, 0);
	/* an answer that nobody asked for */
	assert_int_equal(host_tcp(&flows[0], F_SYN | F_ACK), PLANE_SHOT);
	assert_int_equal(host_tcp(&flows[0], F_SYN), PLANE_PASS);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 1);
}

static void audit_lets_pass(void **state)
{
	struct flow web = flows[0];
	struct merlon_event event;

	(void)state;
	RULES(host, MERLON_DROP);
	plane_control(&plane, MERLON_C_AUDIT);
	plane_events(&plane, &event);
	web.dport = 80;
	assert_int_equal(host_tcp(&web, F_SYN), PLANE_PASS);
	assert_int_equal(plane_events(&plane, &event), 1);
	assert_int_equal(event.audit, 1);
	assert_int_equal(event.verdict, MERLON_DROP);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
}

static void no_policy_passes(void **state)
{
	struct plane none = plane;
	struct flow web = flows[0];

	(void)state;
	none.generation = 0;
	plane_control(&none, 0);
	assert_int_equal(host_tcp(&web, F_SYN), PLANE_PASS);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
}

/* Packets of the short way go on, all others are judged by nobody. */
static void nobody_takes_the_long_way(void **state)
{
	const struct flow *flow = &flows[1];
	struct flow back = reversed(flow), web = flows[0];
	uint64_t failed;

	(void)state;
	RULES(host, MERLON_ACCEPT);
	assert_int_equal(host_tcp(flow, F_SYN), PLANE_PASS);
	host_tcp(&back, F_SYN | F_ACK);
	host_tcp(flow, F_ACK);
	host_tcp(flow, F_ACK);
	failed = plane_stat(&plane, MERLON_STAT_FAILED);
	plane_long_way(&plane, false);
	assert_int_equal(host_tcp(flow, F_ACK), PLANE_PASS);
	assert_int_equal(host_tcp(&web, F_SYN), PLANE_SHOT);
	assert_int_equal(host_tcp(flow, F_SYN), PLANE_SHOT);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_FAILED), failed + 2);
	plane_control(&plane, MERLON_C_AUDIT);
	assert_int_equal(host_tcp(&web, F_SYN), PLANE_PASS);
	plane_control(&plane, 0);
	plane_long_way(&plane, true);
	assert_int_equal(host_tcp(&web, F_SYN), PLANE_PASS);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_FAILED), failed + 3);
}

static uint64_t misses(void)
{
	return plane_stat(&plane, MERLON_STAT_MISSES);
}

static void decisions_are_remembered(void **state)
{
	const struct flow *flow = &flows[0];
	struct flow back = reversed(flow);
	uint64_t counted, before;

	(void)state;
	RULES(host, MERLON_DROP);
	assert_int_equal(host_tcp(flow, F_SYN), PLANE_PASS);
	host_tcp(&back, F_SYN | F_ACK);
	host_tcp(flow, F_ACK);
	host_tcp(&back, F_ACK);
	before = misses();
	counted = plane_counter(&plane, 1);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(host_tcp(flow, F_ACK), PLANE_PASS);
		assert_int_equal(host_tcp(&back, F_ACK | F_PSH), PLANE_PASS);
	}
	assert_int_equal(misses(), before);
	assert_int_equal(plane_counter(&plane, 1), counted + 20);
	/* another interface, other routes, another policy: the rules run again */
	struct frame f = frame_tcp(flow, F_ACK, 0);
	f.data[5] = 2;
	assert_int_equal(plane_ingress(&plane, plane.far, f.data, f.bytes), PLANE_PASS);
	assert_int_equal(misses(), before + 1);
	host_tcp(flow, F_ACK);
	before = misses();
	plane_routes_changed(&plane);
	host_tcp(flow, F_ACK);
	assert_int_equal(misses(), before + 1);
	plane_rules(&plane, NULL, 0, MERLON_DROP);
	assert_int_equal(host_tcp(flow, F_ACK), PLANE_SHOT);
	assert_int_equal(host_tcp(&back, F_ACK), PLANE_SHOT);
	RULES(host, MERLON_DROP);
	assert_int_equal(host_tcp(flow, F_ACK), PLANE_PASS);
}

static void paths_count_every_counter(void **state)
{
	uint64_t before[2] = { plane_counter(&plane, 2), plane_counter(&plane, 3) };
	struct frame f = frame_tcp(&flows[0], F_SYN, 0);

	(void)state;
	RULES(host, MERLON_DROP);
	for (int i = 0; i < 4; i++)
		plane_ingress(&plane, plane.veth, f.data, f.bytes);
	assert_int_equal(plane_counter(&plane, 2), before[0] + 4);
	assert_int_equal(plane_counter(&plane, 3), before[1] + 4);
}

/* A rule on TCP flags ahead of the accepting one: segments with other flags are judged anew. */
static void flags_are_part_of_a_decision(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, 6, -1, 0, F_PSH | F_URG, F_URG, { 1 }, 0, MERLON_DROP, 0, 0, 0 },
		{ 0, -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
		{ 0, 6, 22, STATES(NEW), 0, 0, { 3 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	const struct flow *flow = &flows[0];
	struct flow back = reversed(flow);
	uint64_t before;

	(void)state;
	RULES(rules, MERLON_DROP);
	host_tcp(flow, F_SYN);
	host_tcp(&back, F_SYN | F_ACK);
	assert_int_equal(host_tcp(flow, F_ACK), PLANE_PASS);
	before = misses();
	assert_int_equal(host_tcp(flow, F_ACK), PLANE_PASS);
	assert_int_equal(misses(), before);
	assert_int_equal(host_tcp(flow, F_ACK | F_URG), PLANE_SHOT);
	assert_int_equal(host_tcp(flow, F_ACK), PLANE_PASS);
	assert_int_equal(host_tcp(flow, F_ACK | F_URG | F_PSH), PLANE_PASS);
	assert_int_equal(host_tcp(flow, F_ACK | F_URG), PLANE_SHOT);
}

static void logged_packets_are_reported(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, 17, -1, 0, 0, 0, { 1 }, 7, MERLON_CONTINUE, 0, 0, 0 },
		{ 0, 17, -1, 0, 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	struct frame f = frame_udp(&flows[1], 10);
	struct merlon_event event;

	(void)state;
	RULES(rules, MERLON_DROP);
	plane_events(&plane, &event);
	for (int i = 0; i < 3; i++)
		assert_int_equal(plane_ingress(&plane, plane.veth, f.data, f.bytes), PLANE_PASS);
	assert_int_equal(plane_events(&plane, &event), 3);
	assert_int_equal(event.kind, MERLON_EVENT_LOG);
	assert_int_equal(event.log, 6);
	assert_int_equal(event.rule, 0);
	assert_int_equal(event.verdict, MERLON_ACCEPT);
	assert_int_equal(event.family, MERLON_IPV6);
}

static const struct plane_rule rejecting[] = {
	{ 0, 6, -1, 0, 0, 0, { 1 }, 0, MERLON_REJECT, MERLON_REJECT_TCP_RST, 0, 0 },
	{ 0, -1, -1, 0, 0, 0, { 2 }, 0, MERLON_REJECT, MERLON_REJECT_ICMP, 3, 0 },
};

static void rejects_are_handed_over(void **state)
{
	struct frame f = frame_tcp(&flows[0], F_SYN, 0), big = frame_udp(&flows[1], 1400);
	struct merlon_reject_event reject;

	(void)state;
	RULES(rejecting, MERLON_DROP);
	frame_transport_sum(&f, 6);
	frame_transport_sum(&big, 17);
	plane_rejects(&plane, &reject);
	assert_int_equal(plane_ingress(&plane, plane.veth, f.data, f.bytes), PLANE_SHOT);
	assert_int_equal(plane_rejects(&plane, &reject), 1);
	assert_int_equal(reject.type, MERLON_REJECT_TCP_RST);
	assert_int_equal(reject.snap_bytes, 40);
	assert_int_equal(reject.bytes, 40);
	assert_int_equal(reject.l4_offset, 20);
	assert_memory_equal(reject.packet, f.data + ETH, 40);
	assert_int_equal(plane_ingress(&plane, plane.veth, big.data, big.bytes), PLANE_SHOT);
	assert_int_equal(plane_rejects(&plane, &reject), 1);
	assert_int_equal(reject.type, MERLON_REJECT_ICMP);
	assert_int_equal(reject.code, 3);
	assert_int_equal(reject.snap_bytes, MERLON_REJECT_SNAP);
	assert_int_equal(reject.bytes, 1448);
	assert_memory_equal(reject.packet, big.data + ETH, MERLON_REJECT_SNAP);
}

static void some_are_never_answered(void **state)
{
	struct frame rst = frame_tcp(&flows[0], F_RST, 0), inner = frame_udp(&flows[0], 0);
	struct flow error = { "192.0.2.9", "192.0.2.1", 0, 0 }, group = { "192.0.2.9", "224.0.0.1", 1, 2 };
	struct frame unreachable = frame_error(&error, 3, &inner, 28), multicast = frame_udp(&group, 10);
	struct frame broadcast = frame_udp(&flows[0], 10);
	const struct frame *all[] = { &rst, &unreachable, &multicast, &broadcast };
	struct merlon_reject_event reject;
	uint64_t before = plane_stat(&plane, MERLON_STAT_REJECTED);

	(void)state;
	memset(broadcast.data, 0xff, 6);
	RULES(rejecting, MERLON_DROP);
	plane_rejects(&plane, &reject);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(plane_ingress(&plane, plane.veth, all[i]->data, all[i]->bytes), PLANE_SHOT);
	assert_int_equal(plane_rejects(&plane, &reject), 0);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_REJECTED), before + 4);
}

/* To an address beyond another interface: the egress hook judges, ingress lets it pass. */
static void forwarded_packets_wait_for_egress(void **state)
{
	struct flow through[] = { { "192.0.2.9", "198.51.100.9", 1000, 2000 },
				  { "2001:db8::9", "2001:db8:1::9", 1000, 2000 } };
	struct flow here = { "192.0.2.9", "198.51.100.1", 1000, 2000 }, nowhere = { "192.0.2.9", "203.0.113.9", 1, 2 };
	struct frame f;

	(void)state;
	plane_rules(&plane, NULL, 0, MERLON_DROP);
	for (size_t i = 0; i < 2; i++) {
		f = frame_udp(&through[i], 10);
		/* nothing filters the other interface: judged here */
		assert_int_equal(plane_ingress(&plane, plane.veth, f.data, f.bytes), PLANE_SHOT);
	}
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(plane.skel->maps.filtered), &plane.far, &(uint8_t){ 1 }, 0), 0);
	for (size_t i = 0; i < 2; i++) {
		f = frame_udp(&through[i], 10);
		assert_int_equal(plane_ingress(&plane, plane.veth, f.data, f.bytes), PLANE_PASS);
	}
	f = frame_udp(&here, 10);
	assert_int_equal(plane_ingress(&plane, plane.veth, f.data, f.bytes), PLANE_SHOT);
	f = frame_udp(&nowhere, 10);
	assert_int_equal(plane_ingress(&plane, plane.veth, f.data, f.bytes), PLANE_SHOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(denied_makes_no_session), TEST(audit_lets_pass),
		TEST(no_policy_passes), TEST(nobody_takes_the_long_way), TEST(decisions_are_remembered),
		TEST(paths_count_every_counter),
		TEST(flags_are_part_of_a_decision), TEST(logged_packets_are_reported), TEST(rejects_are_handed_over),
		TEST(some_are_never_answered), TEST(forwarded_packets_wait_for_egress),
	};

	return RUN_GROUP(tests, open_plane_kern_ctx, close_plane);
}
