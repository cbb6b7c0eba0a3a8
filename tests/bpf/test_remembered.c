/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a session remembers of the rules' verdict answers a packet only if all agrees that the verdict depended on. For
 * each dependency: a flow whose packets are accepted from memory, and then the packet that differs in it, to which the
 * rules say something else. tests/bpf/test_flows.c has the interface that a packet came in by, the generation, and
 * flags of segments on the short way; tests/bpf/test_once.c has the two hooks of the loopback device.
 * Loaded as for kernel 6.1, so that the egress program judges test runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <time.h>
#include <unistd.h>

#include "tests/bpf/group.h"
#include "tests/bpf/packet.h"


/* TCP to a port of the host, of either family. */
static const struct flow flows[] = { { "192.0.2.9", "192.0.2.1", 40000, 22 }, { "2001:db8::9", "2001:db8::1", 40000, 22 } };

static int set_up(void **state)
{
	const uint64_t full = 0;
	uint32_t slot = 0;

	(void)state;
	plane.mark = 0;
	plane_forget(&plane);
	return bpf_map_update_elem(bpf_map__fd(plane.skel->maps.limits), &slot, &full, 0);
}

static uint64_t misses(void)
{
	return plane_stat(&plane, MERLON_STAT_MISSES);
}

static int in(const struct frame *f)
{
	return plane_ingress(&plane, plane.veth, f->data, f->bytes);
}

static int in_tcp(const struct flow *flow, uint8_t flags)
{
	struct frame f = frame_tcp(flow, flags, 0);

	return in(&f);
}

static void open_tcp(const struct flow *flow)
{
	struct flow back = reversed(flow);

	assert_int_equal(in_tcp(flow, F_SYN), PLANE_PASS);
	assert_int_equal(in_tcp(&back, F_SYN | F_ACK), PLANE_PASS);
	assert_int_equal(in_tcp(flow, F_ACK), PLANE_PASS);
}

/* Three more segments pass: how often the rules ran for them. */
static unsigned asked(const struct flow *flow)
{
	uint64_t before = misses();

	for (int i = 0; i < 3; i++)
		assert_int_equal(in_tcp(flow, F_ACK), PLANE_PASS);
	return misses() - before;
}

/* One rule, with this special op, drops; what it does not match is accepted behind it. */
static void drop_special(uint8_t special)
{
	const struct plane_rule rules[] = {
		{ 0, 6, -1, STATES(ESTABLISHED), 0, 0, { 1 }, 0, MERLON_DROP, 0, 0, special },
		{ 0, 6, -1, 0, 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};

	RULES(rules, MERLON_DROP);
}

/* What the other tests compare with: nothing is asked again where all agrees. */
static void same_packets_are_not_asked_about(void **state)
{
	static const struct plane_rule rules[] = { { 0, 6, -1, 0, 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 } };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		set_up(NULL);
		RULES(rules, MERLON_DROP);
		open_tcp(&flows[i]);
		assert_int_equal(asked(&flows[i]), 0);
	}
}

/* A match on what is no part of a session was tried, and failed: nothing is remembered of what came behind it. */
static void matches_that_failed(void **state)
{
	static const uint8_t special[] = { PLANE_TTL, PLANE_MARK, PLANE_ETHER };
	static const uint8_t ether[] = { PLANE_ETHER_HIGH >> 24, PLANE_ETHER_HIGH >> 16 & 0xff, PLANE_ETHER_HIGH >> 8 & 0xff,
					 PLANE_ETHER_HIGH & 0xff };

	(void)state;
	for (size_t i = 0; i < sizeof(special) * 2; i++) {
		const struct flow *flow = &flows[i & 1];
		struct frame f = frame_tcp(flow, F_ACK, 0);

		set_up(NULL);
		drop_special(special[i / 2]);
		open_tcp(flow);
		assert_int_equal(asked(flow), 3);
		if (special[i / 2] == PLANE_TTL)
			f.data[ETH + (f.v6 ? 7 : 8)] = PLANE_TTL_VALUE;
		else if (special[i / 2] == PLANE_MARK)
			plane.mark = PLANE_MARK_VALUE;
		else
			memcpy(f.data + 6, ether, sizeof(ether));
		frame_checksum(&f);
		assert_int_equal(in(&f), PLANE_SHOT);
		plane.mark = 0;
		assert_int_equal(asked(flow), 3);
	}
}

/* Each packet gets its mark, not only the one that the rules were asked about. */
static void marks_are_set(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, 6, -1, STATES(ESTABLISHED), 0, 0, { 1 }, 0, MERLON_CONTINUE, 0, 0, PLANE_SET_MARK },
		{ 0, 6, -1, 0, 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		set_up(NULL);
		RULES(rules, MERLON_DROP);
		open_tcp(&flows[i]);
		for (int n = 0; n < 3; n++) {
			plane.ret_mark = 0;
			assert_int_equal(in_tcp(&flows[i], F_ACK), PLANE_PASS);
			assert_int_equal(plane.ret_mark, PLANE_MARK_VALUE);
		}
	}
}

static void limits_run_out(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, 6, -1, STATES(ESTABLISHED), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, PLANE_LIMIT },
		{ 0, 6, -1, STATES(NEW), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		set_up(NULL);
		RULES(rules, MERLON_DROP);
		open_tcp(&flows[i]);
		/* the answer and the segment behind it have taken from the limit */
		for (int n = 2; n < PLANE_LIMIT_PACKETS; n++)
			assert_int_equal(in_tcp(&flows[i], F_ACK), PLANE_PASS);
		assert_int_equal(in_tcp(&flows[i], F_ACK), PLANE_SHOT);
	}
}

/* An element of a set times out: no generation tells of it. */
static void elements_time_out(void **state)
{
	const struct plane_rule rules[] = {
		{ 0, 6, -1, STATES(ESTABLISHED), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, PLANE_UNTIL },
		{ 0, 6, -1, STATES(NEW), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	struct timespec now;

	(void)state;
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	plane_until = now.tv_sec * 1000000000ULL + now.tv_nsec + 1000000000;
	RULES(rules, MERLON_DROP);
	for (size_t i = 0; i < 2; i++) {
		open_tcp(&flows[i]);
		assert_int_equal(asked(&flows[i]), 3);
	}
	usleep(1100000);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(in_tcp(&flows[i], F_ACK), PLANE_SHOT);
}

/* Flags count on the long way, too: segments that end a connection come there. */
static void flags_on_the_long_way(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, 6, -1, STATES(ESTABLISHED), F_FIN, F_FIN, { 1 }, 0, MERLON_DROP, 0, 0, 0 },
		{ 0, 6, -1, 0, 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		RULES(rules, MERLON_DROP);
		open_tcp(&flows[i]);
		assert_int_equal(asked(&flows[i]), 0);
		assert_int_equal(in_tcp(&flows[i], F_ACK | F_FIN), PLANE_SHOT);
	}
}

/* What was accepted as new is not as established, in the same direction. */
static void states(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, 17, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
		{ 0, 17, 40000, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};

	(void)state;
	RULES(rules, MERLON_DROP);
	for (size_t i = 0; i < 2; i++) {
		struct flow back = reversed(&flows[i]);
		struct frame f = frame_udp(&flows[i], 10), answer = frame_udp(&back, 10);
		uint64_t before;

		assert_int_equal(in(&f), PLANE_PASS);
		before = misses();
		assert_int_equal(in(&f), PLANE_PASS);
		assert_int_equal(misses(), before);
		assert_int_equal(in(&answer), PLANE_PASS);
		assert_int_equal(in(&f), PLANE_SHOT);
		assert_int_equal(in(&answer), PLANE_PASS);
	}
}

/* An ICMP error is about a session and not of it; the session's own packets go on. */
static void errors_are_judged_apart(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, -1, -1, STATES(NEW) | STATES(ESTABLISHED), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
		{ 0, -1, -1, STATES(RELATED), 0, 0, { 2 }, 0, MERLON_DROP, 0, 0, 0 },
	};

	(void)state;
	RULES(rules, MERLON_DROP);
	for (size_t i = 0; i < 2; i++) {
		struct flow back = reversed(&flows[i]);
		struct frame inner = frame_tcp(&flows[i], F_ACK, 0), error = frame_error(&back, i ? 1 : 3, &inner, inner.bytes - ETH);
		uint64_t related = plane_counter(&plane, 2);

		frame_transport_sum(&error, i ? 58 : 1);
		open_tcp(&flows[i]);
		assert_int_equal(asked(&flows[i]), 0);
		for (int n = 0; n < 2; n++)
			assert_int_equal(in(&error), PLANE_SHOT);
		assert_int_equal(plane_counter(&plane, 2), related + 2);
		assert_int_equal(asked(&flows[i]), 0);
	}
}

/* What the host sent itself may not be forwarded, by the same interface and between the same ends. */
static void hooks_that_share_a_side(void **state)
{
	static const struct plane_rule rules[] = {
		{ HOOK(OUTPUT), -1, -1, 0, 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
		{ HOOK(FORWARD), -1, -1, 0, 0, 0, { 2 }, 0, MERLON_DROP, 0, 0, 0 },
	};

	(void)state;
	RULES(rules, MERLON_DROP);
	for (size_t i = 0; i < 2; i++) {
		struct frame f = frame_udp(&flows[i], 10);
		uint64_t before;

		assert_int_equal(plane_egress(&plane, 0, plane.far, f.data, f.bytes), PLANE_PASS);
		before = misses();
		assert_int_equal(plane_egress(&plane, 0, plane.far, f.data, f.bytes), PLANE_PASS);
		assert_int_equal(misses(), before);
		assert_int_equal(plane_egress(&plane, plane.veth, plane.far, f.data, f.bytes), PLANE_NOWHERE);
		/* by another interface: the rules are asked, whatever they say */
		assert_int_equal(misses(), before + 1);
		assert_int_equal(plane_egress(&plane, 0, plane.veth, f.data, f.bytes), PLANE_PASS);
		assert_int_equal(misses(), before + 2);
		assert_int_equal(plane_egress(&plane, 0, plane.far, f.data, f.bytes), PLANE_PASS);
		assert_int_equal(misses(), before + 3);
	}
}

/* In by another interface, and out by the same one. */
static void forwarded_from_elsewhere(void **state)
{
	static const struct plane_rule rules[] = { { HOOK(FORWARD), -1, -1, 0, 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 } };

	(void)state;
	RULES(rules, MERLON_DROP);
	for (size_t i = 0; i < 2; i++) {
		struct frame f = frame_udp(&flows[i], 10);
		uint64_t before;

		assert_int_equal(plane_egress(&plane, plane.veth, plane.far, f.data, f.bytes), PLANE_PASS);
		before = misses();
		assert_int_equal(plane_egress(&plane, plane.veth, plane.far, f.data, f.bytes), PLANE_PASS);
		assert_int_equal(misses(), before);
		assert_int_equal(plane_egress(&plane, PLANE_LO, plane.far, f.data, f.bytes), PLANE_PASS);
		assert_int_equal(misses(), before + 1);
	}
}

static void command(const char *format, const char *address, int bits)
{
	char text[256];

	snprintf(text, sizeof(text), format, address, bits);
	assert_int_equal(system(text), 0);
}

/* The host's address becomes another host's, which is forwarded to, and comes back. */
static void address_moves(const struct flow *flow, int bits)
{
	static const struct plane_rule rules[] = { { HOOK(INPUT), -1, -1, 0, 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 } };
	int family = strchr(flow->saddr, ':') ? MERLON_IPV6 : MERLON_IPV4, filtered = bpf_map__fd(plane.skel->maps.filtered);
	struct frame f = frame_udp(flow, 10);
	struct merlon_decision remembered[MERLON_DIRECTIONS][MERLON_SIDES];
	struct merlon_session session;
	uint64_t counted;
	uint8_t yes = 1;

	RULES(rules, MERLON_DROP);
	assert_int_equal(in(&f), PLANE_PASS);
	assert_int_equal(in(&f), PLANE_PASS);
	command("ip addr del %s/%d dev m0", flow->daddr, bits == 32 ? 24 : 64);
	command("ip route add %s/%d dev m1", flow->daddr, bits);
	plane_routes_changed(&plane);
	/* nothing filters where it leaves: FORWARD is judged here */
	assert_int_equal(in(&f), PLANE_SHOT);
	assert_int_equal(bpf_map_update_elem(filtered, &plane.far, &yes, 0), 0);
	assert_int_equal(in(&f), PLANE_PASS);
	assert_true(plane_session(&plane, family, &session));
	plane_remembered(&plane, &session, remembered);
	assert_int_equal(remembered[MERLON_ORIGINAL][MERLON_INGRESS].verdict, MERLON_ELSEWHERE);
	command("ip route del %s/%d dev m1", flow->daddr, bits);
	command(bits == 32 ? "ip addr add %s/%d dev m0" : "ip addr add %s/%d dev m0 nodad", flow->daddr, bits == 32 ? 24 : 64);
	/* the route of an IPv6 address is made by a worker of the kernel (addrconf_dad_work()) */
	command("for i in $(seq 200); do ip route get %s | grep -q ^local && exit %d; sleep 0.01; done; exit 1", flow->daddr, 0);
	/* the routes' number changes again; the generation does not */
	plane_control(&plane, 0);
	counted = plane_counter(&plane, 1);
	assert_int_equal(in(&f), PLANE_PASS);
	assert_int_equal(plane_counter(&plane, 1), counted + 1);
	bpf_map_delete_elem(filtered, &plane.far);
}

static void addresses_change(void **state)
{
	static const struct flow to[] = { { "192.0.2.200", "192.0.2.77", 5000, 53 }, { "2001:db8::200", "2001:db8::77", 5000, 53 } };

	(void)state;
	address_moves(&to[0], 32);
	address_moves(&to[1], 128);
}

/* What leaves by a filtered interface may leave by another one with another TOS (ip rule tos): FORWARD is judged here then. */
static void routes_by_tos(void **state)
{
	static const struct plane_rule rules[] = { { HOOK(INPUT), -1, -1, 0, 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 } };
	static const struct flow flow = { "192.0.2.200", "192.0.2.77", 5000, 53 };
	struct frame f = frame_udp(&flow, 10), low = f;
	uint8_t yes = 1;

	(void)state;
	low.data[ETH + 1] = 0x10;
	frame_checksum(&low);
	RULES(rules, MERLON_DROP);
	assert_int_equal(in(&f), PLANE_PASS);
	command("ip addr del %s/%d dev m0", flow.daddr, 24);
	command("ip route add %s/%d dev m1", flow.daddr, 32);
	command("ip rule add tos 0x10 lookup 100; ip route add %s/%d dev m0p table 100", flow.daddr, 32);
	plane_routes_changed(&plane);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(plane.skel->maps.filtered), &plane.far, &yes, 0), 0);
	assert_int_equal(in(&low), PLANE_SHOT);
	assert_int_equal(in(&f), PLANE_PASS);
	assert_int_equal(in(&low), PLANE_SHOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(same_packets_are_not_asked_about), TEST(matches_that_failed), TEST(marks_are_set), TEST(limits_run_out),
		TEST(elements_time_out), TEST(flags_on_the_long_way), TEST(states), TEST(errors_are_judged_apart),
		TEST(hooks_that_share_a_side), TEST(forwarded_from_elsewhere), TEST(addresses_change), TEST(routes_by_tos),
	};

	return RUN_GROUP(tests, open_plane, close_plane);
}
