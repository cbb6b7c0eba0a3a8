/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bpf/session.h"
#include "tests/bpf/packet.h"

static const struct flow flows[] = {
	{ "192.0.2.9", "192.0.2.1", 1000, 53 },
	{ "192.0.2.1", "192.0.2.9", 53, 1000 },
	{ "127.0.0.1", "127.0.0.1", 2, 1 },
	{ "2001:db8::9", "2001:db8::1", 1000, 53 },
	{ "2001:db8:0:1::1", "2001:db8::ffff", 1, 2 },
	{ "::1", "::1", 5, 6 },
};
#define N_FLOWS (sizeof(flows) / sizeof(flows[0]))

static struct merlon_trackers trackers;

static struct merlon_headers headers(const struct frame *f)
{
	struct merlon_buffer buffer = { f->data + ETH, f->bytes - ETH };
	struct merlon_headers h;

	assert_int_equal(merlon_parse(&buffer, f->v6 ? MERLON_IPV6 : MERLON_IPV4, buffer.bytes, &h), 0);
	return h;
}

static void both_directions_have_one_tuple(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_FLOWS; i++) {
		struct flow back = reversed(&flows[i]);
		struct frame there = frame_udp(&flows[i], 0), here = frame_udp(&back, 0);
		struct merlon_headers h = headers(&there), g = headers(&here);
		union merlon_tuple a, b;
		int first, second;

		memset(&a, 0, sizeof(a));
		memset(&b, 0, sizeof(b));
		first = merlon_tuple_make(&a, &h);
		second = merlon_tuple_make(&b, &g);
		assert_memory_equal(&a, &b, sizeof(a));
		assert_int_equal(first + second, 1);
		assert_int_equal(merlon_direction_of(first ? MERLON_S_ORIG_IS_A : 0, first), MERLON_ORIGINAL);
		assert_int_equal(merlon_direction_of(first ? MERLON_S_ORIG_IS_A : 0, second), MERLON_REPLY);
	}
}

/* The lower end is `a`, in the order of the bytes on the wire. */
static void ends_are_in_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_FLOWS; i++) {
		struct frame f = frame_udp(&flows[i], 0);
		struct merlon_headers h = headers(&f);
		union merlon_tuple tuple;
		int order;

		merlon_tuple_make(&tuple, &h);
		if (f.v6) {
			order = memcmp(tuple.v6.a, tuple.v6.b, 16);
			order = order ? order : memcmp(&tuple.v6.a_port, &tuple.v6.b_port, 2);
		} else {
			order = memcmp(&tuple.v4.a, &tuple.v4.b, 4);
			order = order ? order : memcmp(&tuple.v4.a_port, &tuple.v4.b_port, 2);
		}
		assert_true(order < 0);
	}
}

static void flows_differ(void **state)
{
	union merlon_tuple tuples[N_FLOWS];

	(void)state;
	memset(tuples, 0, sizeof(tuples));
	for (size_t i = 0; i < N_FLOWS; i++) {
		struct frame f = frame_udp(&flows[i], 0);
		struct merlon_headers h = headers(&f);

		merlon_tuple_make(&tuples[i], &h);
		for (size_t j = 0; j < i; j++)
			assert_int_equal(!memcmp(&tuples[i], &tuples[j], sizeof(tuples[i])), i == 1 && j == 0);
	}
}

static void echo_and_its_answer(void **state)
{
	struct flow back = reversed(&flows[0]);
	struct frame request, reply;
	struct merlon_headers h, g;
	union merlon_tuple a = { 0 }, b = { 0 };
	struct merlon_session session = { 0 };

	(void)state;
	back.sport = flows[0].sport;
	request = frame_icmp(&flows[0], 8, 0, 0);
	reply = frame_icmp(&back, 0, 0, 0);
	h = headers(&request);
	g = headers(&reply);
	assert_int_equal(merlon_tuple_make(&a, &h) + merlon_tuple_make(&b, &g), 1);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(merlon_session_start(&session, &h, 1, 0, &trackers), 0);
	assert_int_equal(merlon_session_start(&session, &g, 1, 0, &trackers), -1);
	/* another code is another question */
	reply.data[reply.l4 + 1] = 1;
	g = headers(&reply);
	merlon_tuple_make(&b, &g);
	assert_memory_not_equal(&a, &b, sizeof(a));
}

static void udp_timeouts(void **state)
{
	struct frame f = frame_udp(&flows[0], 4);
	struct merlon_headers h = headers(&f);
	struct merlon_session session = { 0 };
	uint64_t second = 1000000000;

	(void)state;
	trackers.ns[MERLON_T_UDP] = 30 * second;
	trackers.ns[MERLON_T_UDP_STREAM] = 120 * second;
	assert_int_equal(merlon_session_start(&session, &h, 1, 100 * second, &trackers), 0);
	assert_true(session.expires_ns == 130 * second);
	assert_int_equal(merlon_state_of(session.flags, MERLON_ORIGINAL), MERLON_CT_NEW);
	merlon_session_step(&session, &h, MERLON_ORIGINAL, 110 * second, &trackers);
	assert_true(session.expires_ns == 140 * second);
	assert_int_equal(merlon_state_of(session.flags, MERLON_REPLY), MERLON_CT_ESTABLISHED);
	merlon_session_step(&session, &h, MERLON_REPLY, 111 * second, &trackers);
	assert_true(session.expires_ns == 141 * second);
	assert_false(session.flags & MERLON_S_ASSURED);
	assert_int_equal(merlon_state_of(session.flags, MERLON_ORIGINAL), MERLON_CT_ESTABLISHED);
	merlon_session_step(&session, &h, MERLON_ORIGINAL, 112 * second, &trackers);
	assert_true(session.expires_ns == 232 * second);
	assert_true(session.flags & MERLON_S_ASSURED);
	assert_int_equal(session.stats[0].packets, 3);
	assert_int_equal(session.stats[1].packets, 1);
}

/* The direction of a flow's second packet that is like the first one. */
static __u8 direction_again(const struct frame *f)
{
	struct merlon_headers h = headers(f);
	struct merlon_session session = { 0 };
	union merlon_tuple tuple;
	int sender_is_a = merlon_tuple_make(&tuple, &h);

	assert_int_equal(merlon_session_start(&session, &h, sender_is_a, 0, &trackers), 0);
	return merlon_direction_of(session.flags, sender_is_a);
}

/* As nf_conntrack of 6.18 has it: protocol 253 and UDP over loopback. */
static void from_an_end_to_itself(void **state)
{
	static const struct flow own[] = { { "127.0.0.1", "127.0.0.1", 9, 9 }, { "::1", "::1", 9, 9 } };
	struct frame f;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		f = frame_udp(&own[i], 4);
		assert_int_equal(direction_again(&f), MERLON_REPLY);
		f = frame_ip(&own[i], 253, 8);
		assert_int_equal(direction_again(&f), MERLON_REPLY);
		/* an echo request is no reply to itself */
		f = frame_icmp(&own[i], i ? 128 : 8, 0, 8);
		assert_int_equal(direction_again(&f), MERLON_ORIGINAL);
	}
	for (size_t i = 0; i < N_FLOWS; i++) {
		f = frame_udp(&flows[i], 4);
		assert_int_equal(direction_again(&f), MERLON_ORIGINAL);
	}
}

/* A segment of flows[0], or of its other direction. */
static struct merlon_headers segment(int back, uint8_t flags, uint32_t seq, uint32_t ack, size_t payload)
{
	struct flow flow = back ? reversed(&flows[0]) : flows[0];
	struct frame f = frame_tcp(&flow, flags, payload);

	put32(f.data + f.l4 + 4, seq);
	put32(f.data + f.l4 + 8, ack);
	return headers(&f);
}

static int step(struct merlon_session *session, struct merlon_headers h)
{
	return merlon_session_step(session, &h, h.sport == htons(flows[0].sport) ? MERLON_ORIGINAL : MERLON_REPLY, 0, &trackers);
}

static struct merlon_session opened(void)
{
	struct merlon_headers syn = segment(0, F_SYN, 999, 0, 0);
	struct merlon_session session;

	assert_int_equal(merlon_session_start(&session, &syn, 1, 0, &trackers), 0);
	assert_int_equal(step(&session, segment(1, F_SYN | F_ACK, 4999, 1000, 0)), MERLON_STEP_OK);
	assert_int_equal(step(&session, segment(0, F_ACK, 1000, 5000, 0)), MERLON_STEP_OK);
	return session;
}

static void picked_up_connections_are_brief(void **state)
{
	struct merlon_headers h = segment(0, F_ACK, 1, 1, 4);
	struct merlon_session session;

	(void)state;
	trackers.ns[MERLON_T_TCP + MERLON_TCP_ESTABLISHED] = 432000;
	trackers.ns[MERLON_T_TCP_UNACK] = 300;
	trackers.ns[MERLON_T_TCP_RETRANS] = 300;
	trackers.tcp_max_retrans = 3;
	trackers.tcp_loose = 0;
	assert_int_equal(merlon_session_start(&session, &h, 1, 0, &trackers), -1);
	trackers.tcp_loose = 1;
	assert_int_equal(merlon_session_start(&session, &h, 1, 0, &trackers), 0);
	assert_int_equal(session.expires_ns, 300);
	assert_int_equal(step(&session, segment(1, F_ACK, 1, 5, 0)), MERLON_STEP_OK);
	assert_int_equal(step(&session, segment(0, F_ACK, 5, 1, 0)), MERLON_STEP_OK);
	assert_int_equal(session.expires_ns, 432000);
	/* no reset and no answer begins anything */
	for (size_t i = 0; i < 3; i++) {
		h = segment(0, (uint8_t[]){ F_RST, F_SYN | F_ACK, F_FIN | F_ACK }[i], 1, 1, 0);
		assert_int_equal(merlon_session_start(&session, &h, 1, 0, &trackers), -1);
	}
}

/* What is invalid, or belongs to the next connection, leaves a session as it is: also its counters. */
static void steps(void **state)
{
	struct merlon_session session = opened(), before = session;

	(void)state;
	assert_int_equal(session.state, MERLON_TCP_ESTABLISHED);
	assert_true(session.flags & MERLON_S_ASSURED && session.flags & MERLON_S_SEEN_REPLY);
	assert_int_equal(step(&session, segment(0, F_ACK, 9000000, 5000, 0)), MERLON_STEP_INVALID);
	assert_memory_equal(&session, &before, sizeof(session));
	/* without a step, it still is one of the session's packets */
	assert_int_equal(step(&session, segment(0, F_SYN, 7, 0, 0)), MERLON_STEP_OK);
	assert_int_equal(session.stats[MERLON_ORIGINAL].packets, before.stats[MERLON_ORIGINAL].packets + 1);
	assert_int_equal(session.expires_ns, before.expires_ns);
	assert_int_equal(step(&session, segment(0, F_FIN | F_ACK, 1000, 5000, 0)), MERLON_STEP_OK);
	assert_int_equal(step(&session, segment(1, F_FIN | F_ACK, 5000, 1001, 0)), MERLON_STEP_OK);
	assert_int_equal(step(&session, segment(0, F_ACK, 1001, 5001, 0)), MERLON_STEP_OK);
	before = session;
	assert_int_equal(step(&session, segment(0, F_SYN, 77, 0, 0)), MERLON_STEP_REOPEN);
	assert_memory_equal(&session, &before, sizeof(session));
}

/* A refused connection ends with its refusal, which belongs to it and is counted. */
static void refused_connection(void **state)
{
	struct merlon_headers syn = segment(0, F_SYN, 999, 0, 0);
	struct merlon_session session;

	(void)state;
	assert_int_equal(merlon_session_start(&session, &syn, 1, 0, &trackers), 0);
	assert_int_equal(step(&session, segment(1, F_RST | F_ACK, 0, 1000, 0)), MERLON_STEP_KILL);
	assert_int_equal(session.stats[MERLON_REPLY].packets, 1);
}

static struct merlon_tcp_segment seen(struct merlon_headers h)
{
	struct merlon_tcp_segment s;

	merlon_segment_of(&h, MERLON_REPLY, &s);
	return s;
}

/* SYN and FIN take a number each; the header does not. Of SACK blocks the furthest edge counts. */
static void numbers_of_a_segment(void **state)
{
	struct frame f = frame_tcp(&flows[0], F_ACK, 32);

	(void)state;
	assert_int_equal(seen(segment(0, F_ACK, 100, 7, 0)).end, 100);
	assert_int_equal(seen(segment(0, F_ACK, 100, 7, 30)).end, 130);
	assert_int_equal(seen(segment(0, F_SYN, 100, 7, 0)).end, 101);
	assert_int_equal(seen(segment(0, F_FIN | F_ACK, 0xfffffff0, 7, 20)).end, 5);
	assert_int_equal(seen(segment(0, F_ACK, 100, 7, 0)).sack, 7);
	put32(f.data + f.l4 + 8, 0xffffff00);
	f.data[f.l4 + 12] = 12 << 4;
	memcpy(f.data + f.l4 + 20, "\1\1\5\32", 4);
	put32(f.data + f.l4 + 28, 0xffffff10);
	put32(f.data + f.l4 + 36, 0x20);
	put32(f.data + f.l4 + 44, 0xfffffe00);
	assert_int_equal(seen(headers(&f)).ack, 0xffffff00);
	assert_int_equal(seen(headers(&f)).sack, 0x20);
	assert_int_equal(seen(headers(&f)).end, 4);
}

static void who_has_proved_itself(void **state)
{
	struct merlon_session session = opened();

	(void)state;
	session.flags |= MERLON_S_PROVED;
	assert_true(merlon_session_proved(&session, MERLON_ORIGINAL));
	assert_false(merlon_session_proved(&session, MERLON_REPLY));
	session.flags &= ~MERLON_S_PROVED;
	assert_false(merlon_session_proved(&session, MERLON_ORIGINAL));
}

static void every_dependency_of_a_decision(void **state)
{
	struct merlon_decision d = { .generation = 1, .iif = 3, .oif = 4, .hook = MERLON_INPUT, .ct_state = MERLON_CT_NEW,
				     .verdict = MERLON_ACCEPT, .tcp_mask = 0x0f, .tcp_flags = 0x32 };
	const struct merlon_context same = { .generation = 1, .routes = 2, .iif = 3, .oif = 4, .hook = MERLON_INPUT,
					     .ct_state = MERLON_CT_NEW, .tcp_flags = 0x12 };
	struct merlon_context c;

	(void)state;
	assert_true(merlon_decision_holds(&d, &same));
#define OTHER(member) \
	c = same; \
	c.member++; \
	assert_false(merlon_decision_holds(&d, &c))
	OTHER(generation);
	OTHER(iif);
	OTHER(oif);
	OTHER(hook);
	OTHER(ct_state);
	OTHER(tcp_flags);
	c = same;
	c.tcp_flags = 0xf2;
	assert_true(merlon_decision_holds(&d, &c));
	d.verdict = MERLON_ELSEWHERE;
	assert_false(merlon_decision_holds(&d, &same));
}

static void what_is_remembered_is_of_one_policy_and_its_routes(void **state)
{
	struct merlon_context c = { .generation = 1, .routes = 2 };
	struct merlon_session session = { 0 };

	(void)state;
	assert_false(merlon_session_is_current(&session, &c));
	merlon_session_remember(&session, 1, 2, MERLON_ORIGINAL, MERLON_INGRESS, 7);
	merlon_session_remember(&session, 1, 2, MERLON_REPLY, MERLON_EGRESS, 8);
	assert_true(merlon_session_is_current(&session, &c));
	assert_int_equal(session.decision[MERLON_ORIGINAL][MERLON_INGRESS], 7);
	assert_int_equal(session.decision[MERLON_REPLY][MERLON_EGRESS], 8);
	c.generation++;
	assert_false(merlon_session_is_current(&session, &c));
	c.generation--;
	c.routes++;
	assert_false(merlon_session_is_current(&session, &c));
	merlon_session_remember(&session, 1, 3, MERLON_REPLY, MERLON_EGRESS, 9);
	assert_true(merlon_session_is_current(&session, &c));
	assert_int_equal(session.decision[MERLON_ORIGINAL][MERLON_INGRESS], 0);
	assert_int_equal(session.decision[MERLON_REPLY][MERLON_EGRESS], 9);
	merlon_session_remember(&session, 2, 3, MERLON_ORIGINAL, MERLON_EGRESS, 4);
	assert_int_equal(session.decision[MERLON_REPLY][MERLON_EGRESS], 0);
	assert_int_equal(session.decision[MERLON_ORIGINAL][MERLON_EGRESS], 4);
}

static void forwarding_is_trusted_for_a_second(void **state)
{
	uint64_t now = 77ULL << 29;
	struct merlon_decision d = { .generation = 1, .iif = 3, .verdict = MERLON_ELSEWHERE };
	struct merlon_context c = { .generation = 1, .iif = 3 };
	uint16_t checked_s = merlon_route_time(now);

	(void)state;
	assert_true(merlon_forward_holds(&d, checked_s, &c, now));
	assert_true(merlon_forward_holds(&d, checked_s, &c, now + 500000000));
	assert_false(merlon_forward_holds(&d, checked_s, &c, now + 1100000000));
	assert_false(merlon_forward_holds(&d, checked_s, &c, now + (1ULL << 44)));
	c.generation++;
	assert_false(merlon_forward_holds(&d, checked_s, &c, now));
	c.generation--;
	c.iif++;
	assert_false(merlon_forward_holds(&d, checked_s, &c, now));
	c.iif--;
	c.tos = 3;
	assert_true(merlon_forward_holds(&d, checked_s, &c, now));
	c.tos = 4;
	assert_false(merlon_forward_holds(&d, checked_s, &c, now));
}

static void state_travels(void **state)
{
	(void)state;
	assert_false(merlon_is_carried(0));
	assert_false(merlon_is_carried(0xffff));
	for (unsigned s = 0; s < MERLON_CT_STATES; s++)
		for (unsigned d = 0; d < MERLON_DIRECTIONS; d++) {
			uint16_t carried = merlon_carry(s, d);

			assert_true(merlon_is_carried(carried));
			assert_int_equal(carried >> 1 & 7, s);
			assert_int_equal(carried & 1, d);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_directions_have_one_tuple), cmocka_unit_test(ends_are_in_order),
		cmocka_unit_test(flows_differ), cmocka_unit_test(echo_and_its_answer), cmocka_unit_test(udp_timeouts),
		cmocka_unit_test(from_an_end_to_itself), cmocka_unit_test(picked_up_connections_are_brief),
		cmocka_unit_test(steps), cmocka_unit_test(refused_connection), cmocka_unit_test(numbers_of_a_segment),
		cmocka_unit_test(who_has_proved_itself), cmocka_unit_test(every_dependency_of_a_decision),
		cmocka_unit_test(what_is_remembered_is_of_one_policy_and_its_routes),
		cmocka_unit_test(forwarding_is_trusted_for_a_second), cmocka_unit_test(state_travels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
