/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sequences of packets through the loaded programs: sessions, ct states, cached decisions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bpf/tcp.h"
#include <bpf/bpf.h>

#include "tests/bpf/group.h"
#include "tests/bpf/packet.h"


/* One counter per ct state; everything is accepted. */
static const struct plane_rule by_state[] = {
	{ 0, -1, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(RELATED), 0, 0, { 3 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(INVALID), 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(UNTRACKED), 0, 0, { 5 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};


static const struct flow flows[] = {
	{ "192.0.2.9", "192.0.2.1", 40000, 22 },
	{ "192.0.2.1", "192.0.2.9", 22, 40000 },	/* the other order of ends */
	{ "2001:db8::9", "2001:db8::1", 40000, 22 },
	{ "2001:db8::1", "2001:db8::9", 22, 40000 },
};

static int set_up(void **state)
{
	(void)state;
	plane_forget(&plane);
	plane_timeout(&plane, MERLON_T_TCP + MERLON_TCP_ESTABLISHED, 60000000000ULL);
	plane_timeout(&plane, MERLON_T_UDP, 60000000000ULL);
	return 0;
}

/* Sends a frame in; the state that the rules saw, by the counter that moved. -1: none or several. */
static int state_in(const struct frame *f)
{
	static const int state[] = { 0, MERLON_CT_NEW, MERLON_CT_ESTABLISHED, MERLON_CT_RELATED, MERLON_CT_INVALID,
				     MERLON_CT_UNTRACKED };
	uint64_t before[6];
	int found = -1, n = 0;

	for (unsigned i = 1; i < 6; i++)
		before[i] = plane_counter(&plane, i);
	assert_int_equal(plane_ingress(&plane, plane.veth, f->data, f->bytes), PLANE_PASS);
	for (unsigned i = 1; i < 6; i++)
		if (plane_counter(&plane, i) != before[i]) {
			assert_int_equal(plane_counter(&plane, i), before[i] + 1);
			found = state[i];
			n++;
		}
	return n == 1 ? found : -1;
}

static int tcp_in(const struct flow *flow, uint8_t flags, size_t payload)
{
	struct frame f = frame_tcp(flow, flags, payload);

	return state_in(&f);
}

static int udp_in(const struct flow *flow, size_t payload)
{
	struct frame f = frame_udp(flow, payload);

	return state_in(&f);
}

static int icmp_in(const struct flow *flow, uint8_t type)
{
	struct frame f = frame_icmp(flow, type, 0, 8);

	return state_in(&f);
}

static uint8_t tcp_state(const struct flow *flow)
{
	struct merlon_session session;

	assert_true(plane_session(&plane, strchr(flow->saddr, ':') ? MERLON_IPV6 : MERLON_IPV4, &session));
	return session.state;
}

static void open_tcp(const struct flow *flow)
{
	struct flow back = reversed(flow);

	assert_int_equal(tcp_in(flow, F_SYN, 0), MERLON_CT_NEW);
	assert_int_equal(tcp_state(flow), MERLON_TCP_SYN_SENT);
	assert_int_equal(tcp_in(flow, F_SYN, 0), MERLON_CT_NEW);
	assert_int_equal(tcp_in(&back, F_SYN | F_ACK, 0), MERLON_CT_ESTABLISHED);
	assert_int_equal(tcp_state(flow), MERLON_TCP_SYN_RECV);
	assert_int_equal(tcp_in(flow, F_ACK, 0), MERLON_CT_ESTABLISHED);
	assert_int_equal(tcp_state(flow), MERLON_TCP_ESTABLISHED);
}

static void tcp_lives(void **state)
{
	(void)state;
	RULES(by_state, MERLON_DROP);
	for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
		const struct flow *flow = &flows[i];
		struct flow back = reversed(flow);
		enum merlon_family family = i < 2 ? MERLON_IPV4 : MERLON_IPV6;

		plane_forget(&plane);
		open_tcp(flow);
		assert_int_equal(plane_embryonic(&plane, family), 0);
		assert_int_equal(plane_established(&plane, family), 1);
		assert_int_equal(tcp_in(flow, F_ACK | F_PSH, 100), MERLON_CT_ESTABLISHED);
		assert_int_equal(tcp_in(&back, F_ACK, 1000), MERLON_CT_ESTABLISHED);
		assert_int_equal(tcp_in(flow, F_FIN | F_ACK, 0), MERLON_CT_ESTABLISHED);
		assert_int_equal(tcp_state(flow), MERLON_TCP_FIN_WAIT);
		assert_int_equal(tcp_in(&back, F_ACK, 0), MERLON_CT_ESTABLISHED);
		assert_int_equal(tcp_state(flow), MERLON_TCP_CLOSE_WAIT);
		assert_int_equal(tcp_in(&back, F_FIN | F_ACK, 0), MERLON_CT_ESTABLISHED);
		assert_int_equal(tcp_state(flow), MERLON_TCP_LAST_ACK);
		assert_int_equal(tcp_in(flow, F_ACK, 0), MERLON_CT_ESTABLISHED);
		assert_int_equal(tcp_state(flow), MERLON_TCP_TIME_WAIT);
		/* closed properly: the same ports may be used again */
		assert_int_equal(tcp_in(flow, F_SYN, 0), MERLON_CT_NEW);
		assert_int_equal(tcp_state(flow), MERLON_TCP_SYN_SENT);
	}
}

static void tcp_counts_both_ways(void **state)
{
	const struct flow *flow = &flows[0];
	struct flow back = reversed(flow);
	struct merlon_session session;

	(void)state;
	RULES(by_state, MERLON_DROP);
	open_tcp(flow);
	for (int i = 0; i < 5; i++)
		tcp_in(flow, F_ACK, 60);
	tcp_in(&back, F_ACK, 1000);
	assert_true(plane_session(&plane, MERLON_IPV4, &session));
	assert_int_equal(session.stats[MERLON_ORIGINAL].packets, 3 + 5);
	assert_int_equal(session.stats[MERLON_ORIGINAL].bytes, 8 * 40 + 5 * 60);
	assert_int_equal(session.stats[MERLON_REPLY].packets, 2);
	assert_int_equal(session.stats[MERLON_REPLY].bytes, 2 * 40 + 1000);
}

static void tcp_resets(void **state)
{
	const struct flow *flow = &flows[0];
	struct flow back = reversed(flow);

	(void)state;
	RULES(by_state, MERLON_DROP);
	/* refused: the session goes with the answer */
	assert_int_equal(tcp_in(flow, F_SYN, 0), MERLON_CT_NEW);
	assert_int_equal(tcp_in(&back, F_RST | F_ACK, 0), MERLON_CT_ESTABLISHED);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
	open_tcp(flow);
	assert_int_equal(tcp_in(flow, F_RST, 0), MERLON_CT_ESTABLISHED);
	assert_int_equal(tcp_state(flow), MERLON_TCP_CLOSE);
	assert_int_equal(tcp_in(flow, F_SYN, 0), MERLON_CT_NEW);
}

/* The stack discards them behind the hook: what they say would be answered opens nothing. */
static void senders_that_nobody_is(void **state)
{
	static const struct flow from[] = {
		{ "127.0.0.1", "192.0.2.1", 5000, 53 }, { "224.0.0.1", "192.0.2.1", 5000, 53 },
		{ "255.255.255.255", "192.0.2.1", 5000, 53 }, { "0.0.0.1", "192.0.2.1", 5000, 53 },
		{ "ff02::1", "2001:db8::1", 5000, 53 }, { "::1", "2001:db8::1", 5000, 53 },
	};

	(void)state;
	RULES(by_state, MERLON_DROP);
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		assert_int_equal(udp_in(&from[i], 10), MERLON_CT_NEW);
		assert_int_equal(plane_embryonic(&plane, MERLON_IPV4) + plane_embryonic(&plane, MERLON_IPV6), 0);
	}
}

static void tcp_out_of_place(void **state)
{
	static const uint8_t wrong[] = { 0, F_FIN, F_SYN | F_FIN, F_SYN | F_RST, 0x3f, F_URG, F_SYN | F_ACK, F_FIN | F_ACK,
					 F_RST, F_RST | F_ACK };
	const struct flow *flow = &flows[0];
	struct flow back = reversed(flow);
	struct merlon_trackers trackers;

	(void)state;
	RULES(by_state, MERLON_DROP);
	for (size_t i = 0; i < sizeof(wrong); i++) {
		assert_int_equal(tcp_in(flow, wrong[i], 0), MERLON_CT_INVALID);
		assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
	}
	/* picked up in the middle, unless that is forbidden */
	assert_int_equal(tcp_in(flow, F_ACK, 10), MERLON_CT_NEW);
	assert_int_equal(tcp_in(&back, F_ACK, 10), MERLON_CT_ESTABLISHED);
	assert_int_equal(tcp_in(flow, F_ACK, 10), MERLON_CT_ESTABLISHED);
	plane_forget(&plane);
	trackers = plane_trackers_now(&plane);
	trackers.tcp_loose = 0;
	plane_trackers(&plane, &trackers);
	assert_int_equal(tcp_in(flow, F_ACK, 10), MERLON_CT_INVALID);
	assert_int_equal(tcp_in(flow, F_SYN, 0), MERLON_CT_NEW);
	trackers.tcp_loose = 1;
	plane_trackers(&plane, &trackers);
	plane_forget(&plane);
}

static void tcp_short_headers(void **state)
{
	struct frame f = frame_tcp(&flows[0], F_SYN, 0);

	(void)state;
	RULES(by_state, MERLON_DROP);
	f.data[f.l4 + 12] = 4 << 4;
	assert_int_equal(state_in(&f), MERLON_CT_INVALID);
	f.data[f.l4 + 12] = 6 << 4;
	assert_int_equal(state_in(&f), MERLON_CT_INVALID);
	f.data[f.l4 + 12] = 5 << 4;
	for (size_t cut = 1; cut <= 20; cut++) {
		frame_length(&f, f.l4 + 20 - cut);
		assert_int_equal(state_in(&f), MERLON_CT_INVALID);
	}
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
}

static void udp_lives(void **state)
{
	(void)state;
	RULES(by_state, MERLON_DROP);
	for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
		enum merlon_family family = i < 2 ? MERLON_IPV4 : MERLON_IPV6;
		const struct flow *flow = &flows[i];
		struct flow back = reversed(flow);

		plane_forget(&plane);
		assert_int_equal(udp_in(flow, 0), MERLON_CT_NEW);
		assert_int_equal(udp_in(flow, 100), MERLON_CT_NEW);
		assert_int_equal(udp_in(&back, 5), MERLON_CT_ESTABLISHED);
		assert_int_equal(plane_established(&plane, family), 0);
		assert_int_equal(udp_in(flow, 5), MERLON_CT_ESTABLISHED);
		assert_int_equal(plane_established(&plane, family), 1);
		assert_int_equal(udp_in(flow, 0), MERLON_CT_ESTABLISHED);
		assert_int_equal(udp_in(&back, 500), MERLON_CT_ESTABLISHED);
	}
}

static void udp_lengths(void **state)
{
	struct frame f = frame_udp(&flows[0], 10);

	(void)state;
	RULES(by_state, MERLON_DROP);
	put16(f.data + f.l4 + 4, 7);
	assert_int_equal(state_in(&f), MERLON_CT_INVALID);
	put16(f.data + f.l4 + 4, 19);
	assert_int_equal(state_in(&f), MERLON_CT_INVALID);
	put16(f.data + f.l4 + 4, 17);
	assert_int_equal(state_in(&f), MERLON_CT_NEW);
	put16(f.data + f.l4 + 4, 8);
	frame_length(&f, f.l4 + 7);
	assert_int_equal(state_in(&f), MERLON_CT_INVALID);
}

static void echo(void **state)
{
	static const uint8_t types[][2] = { { 8, 0 }, { 8, 0 }, { 128, 129 }, { 128, 129 } };

	(void)state;
	RULES(by_state, MERLON_DROP);
	for (size_t i = 0; i < 4; i++) {
		enum merlon_family family = i < 2 ? MERLON_IPV4 : MERLON_IPV6;
		struct flow there = flows[i], back = reversed(&there);

		plane_forget(&plane);
		back.sport = there.sport;
		assert_int_equal(icmp_in(&back, types[i][1]), MERLON_CT_INVALID);
		assert_int_equal(icmp_in(&there, types[i][0]), MERLON_CT_NEW);
		assert_int_equal(icmp_in(&there, types[i][1]), MERLON_CT_INVALID);
		assert_int_equal(icmp_in(&there, types[i][0]), MERLON_CT_NEW);
		assert_int_equal(icmp_in(&back, types[i][1]), MERLON_CT_ESTABLISHED);
		assert_int_equal(icmp_in(&there, types[i][0]), MERLON_CT_ESTABLISHED);
		back.sport++;
		assert_int_equal(icmp_in(&back, types[i][1]), MERLON_CT_INVALID);
		/* a request of the other side with the same identifier is another matter */
		back.sport--;
		assert_int_equal(icmp_in(&back, types[i][0]), MERLON_CT_NEW);
		assert_int_equal(plane_established(&plane, family), 0);
	}
}

static void icmp_untracked_and_odd(void **state)
{
	(void)state;
	RULES(by_state, MERLON_DROP);
	for (unsigned type = 130; type <= 143; type++) {
		int untracked = type <= 136 || type == 143, query = type == 139;

		assert_int_equal(icmp_in(&flows[2], type),
				 untracked ? MERLON_CT_UNTRACKED : query ? MERLON_CT_NEW : MERLON_CT_INVALID);
	}
	/* multicast router discovery: as the running kernel has it */
	assert_int_equal(icmp_in(&flows[2], 150), MERLON_CT_INVALID);
	for (unsigned type = 151; type <= 152; type++)
		assert_int_equal(icmp_in(&flows[2], type),
				 plane.skel->rodata->merlon_have_mrdisc ? MERLON_CT_UNTRACKED : MERLON_CT_INVALID);
	assert_int_equal(icmp_in(&flows[2], 153), MERLON_CT_INVALID);
	assert_int_equal(icmp_in(&flows[0], 9), MERLON_CT_INVALID);
	assert_int_equal(icmp_in(&flows[0], 13), MERLON_CT_NEW);
	assert_int_equal(icmp_in(&flows[0], 200), MERLON_CT_INVALID);
}

static void icmp_errors(void **state)
{
	(void)state;
	RULES(by_state, MERLON_DROP);
	for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
		const struct flow *flow = &flows[i];
		/* from a router on the way, to the sender */
		struct flow error = { i < 2 ? "192.0.2.200" : "2001:db8::200", flow->saddr, 0, 0 };
		struct flow astray = { error.saddr, i < 2 ? "192.0.2.77" : "2001:db8::77", 0, 0 };
		struct frame inner = frame_udp(flow, 50), e;
		size_t header = i < 2 ? 20 : 40;
		uint8_t type = i < 2 ? 3 : 1;

		plane_forget(&plane);
		e = frame_error(&error, type, &inner, header + 8);
		assert_int_equal(state_in(&e), MERLON_CT_INVALID);
		assert_int_equal(state_in(&inner), MERLON_CT_NEW);
		assert_int_equal(state_in(&e), MERLON_CT_RELATED);
		e = frame_error(&error, type, &inner, header + 4);
		assert_int_equal(state_in(&e), MERLON_CT_RELATED);
		e = frame_error(&error, type, &inner, header + 3);
		assert_int_equal(state_in(&e), MERLON_CT_INVALID);
		e = frame_error(&astray, type, &inner, header + 8);
		assert_int_equal(state_in(&e), MERLON_CT_INVALID);
		/* nobody of this flow sent what is quoted */
		put16(inner.data + inner.l4, flow->sport + 1);
		e = frame_error(&error, type, &inner, header + 8);
		assert_int_equal(state_in(&e), MERLON_CT_INVALID);
	}
}

/* Each as nf_conntrack has it (Linux 6.18): what does not hold is invalid. */
static void redirects(void **state)
{
	static const struct flow flow = { "2001:db8::77", "2001:db8::1", 7777, 99 };
	static const struct {
		const char *from;
		uint8_t hop_limit, code, option, words;
		size_t inner;	/* bytes of the packet that is quoted */
		int state;
	} cases[] = {
		{ "fe80::98", 255, 0, 4, 7, 52, MERLON_CT_RELATED }, { "fe80::98", 255, 0, 4, 7, 44, MERLON_CT_RELATED },
		{ "fe80::98", 255, 0, 4, 7, 43, MERLON_CT_INVALID }, { "fe80::98", 64, 0, 4, 7, 52, MERLON_CT_INVALID },
		{ "2001:db8::98", 255, 0, 4, 7, 52, MERLON_CT_INVALID }, { "fe80::98", 255, 1, 4, 7, 52, MERLON_CT_INVALID },
		{ "fe80::98", 255, 0, 2, 7, 52, MERLON_CT_INVALID }, { "fe80::98", 255, 0, 4, 0, 52, MERLON_CT_INVALID },
	};
	struct frame quoted = frame_udp(&flow, 4);

	(void)state;
	RULES(by_state, MERLON_DROP);
	plane_forget(&plane);
	assert_int_equal(state_in(&quoted), MERLON_CT_NEW);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct flow way = { cases[i].from, flow.saddr, 0, 0 };
		struct frame f = frame_icmp(&way, 137, cases[i].code, 32 + 8 + cases[i].inner);

		f.data[ETH + 7] = cases[i].hop_limit;
		f.data[f.l4 + 40] = cases[i].option;
		f.data[f.l4 + 41] = cases[i].words;
		memcpy(f.data + f.l4 + 48, quoted.data + ETH, cases[i].inner);
		assert_int_equal(state_in(&f), cases[i].state);
		/* before there is an option */
		frame_length(&f, f.l4 + 41);
		assert_int_equal(state_in(&f), MERLON_CT_INVALID);
	}
}

static void other_protocols(void **state)
{
	static const uint8_t protocols[] = { 4, 47, 50, 89, 103, 253 };

	(void)state;
	RULES(by_state, MERLON_DROP);
	for (size_t i = 0; i < sizeof(protocols); i++) {
		struct flow back = reversed(&flows[0]);
		struct frame there = frame_ip(&flows[0], protocols[i], 20), answer = frame_ip(&back, protocols[i], 20);

		if (protocols[i] == 136) {
			/* UDP-Lite has to have a checksum */
			assert_int_equal(state_in(&there), MERLON_CT_INVALID);
			frame_transport_sum(&there, 136);
			frame_transport_sum(&answer, 136);
		}
		assert_int_equal(state_in(&there), MERLON_CT_NEW);
		assert_int_equal(state_in(&answer), MERLON_CT_ESTABLISHED);
		assert_int_equal(state_in(&there), MERLON_CT_ESTABLISHED);
	}
}

static void sessions_expire(void **state)
{
	(void)state;
	RULES(by_state, MERLON_DROP);
	plane_timeout(&plane, MERLON_T_UDP, 50000000);
	assert_int_equal(udp_in(&flows[0], 5), MERLON_CT_NEW);
	usleep(120000);
	struct flow back = reversed(&flows[0]);
	assert_int_equal(udp_in(&back, 5), MERLON_CT_NEW);
	plane_timeout(&plane, MERLON_T_TCP + MERLON_TCP_ESTABLISHED, 50000000);
	open_tcp(&flows[2]);
	assert_int_equal(tcp_in(&flows[2], F_ACK, 1), MERLON_CT_ESTABLISHED);
	usleep(120000);
	assert_int_equal(tcp_in(&flows[2], F_ACK, 1), MERLON_CT_NEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tcp_lives), TEST(tcp_counts_both_ways), TEST(tcp_resets), TEST(tcp_out_of_place), TEST(senders_that_nobody_is), TEST(tcp_short_headers),
		TEST(udp_lives), TEST(udp_lengths), TEST(echo), TEST(icmp_untracked_and_odd), TEST(icmp_errors), TEST(redirects),
		TEST(other_protocols), TEST(sessions_expire),
	};

	return RUN_GROUP(tests, open_plane_kern_ctx, close_plane);
}
