/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `merlon why` foretells of a packet by a copy of its session is what the data path then does: its ct state, and
 * whether the session answers. Random packets of a few flows, both ways, through the programs. usage: test_foretold
 * [PACKETS [SEED]]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>

#include "src/compile/explain.h"
#include "src/kernel/table.h"
#include "src/util/clock.h"
#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"
#include "tests/prop/random.h"

#define IN(state) { MERLON_BIT(MERLON_INPUT), -1, -1, MERLON_BIT(state), 0, 0, { 1 + (state) }, 0, MERLON_ACCEPT, 0, 0, 0 }
#define OUT(state) { MERLON_BIT(MERLON_OUTPUT), -1, -1, MERLON_BIT(state), 0, 0, { 6 + (state) }, 0, MERLON_ACCEPT, 0, 0, 0 }

static struct plane plane;
static unsigned packets = 1500;
static uint64_t seed = 1;

/* A counter for each hook and state. Decisions depend on RST: some rule looks at it. */
static const struct plane_rule rules[] = {
	{ 0, 6, -1, 0, F_RST, F_RST, { 11 }, 0, MERLON_CONTINUE, 0, 0, 0 },
	IN(MERLON_CT_INVALID), IN(MERLON_CT_ESTABLISHED), IN(MERLON_CT_RELATED), IN(MERLON_CT_NEW), IN(MERLON_CT_UNTRACKED),
	OUT(MERLON_CT_INVALID), OUT(MERLON_CT_ESTABLISHED), OUT(MERLON_CT_RELATED), OUT(MERLON_CT_NEW),
	OUT(MERLON_CT_UNTRACKED),
};

static void make_question(struct random *r, struct merlon_question *q, int *ret_out)
{
	static const uint8_t flags[] = { F_SYN, F_SYN | F_ACK, F_ACK, F_ACK, F_ACK | F_PSH, F_FIN | F_ACK, F_RST,
					 F_RST | F_ACK, F_SYN | F_FIN, 0 };
	static const uint8_t proto[] = { 6, 6, 6, 17, 17, 1 };
	static const uint8_t client[4] = { 192, 0, 2, 9 }, host[4] = { 192, 0, 2, 1 };
	int out = random_percent(r, 50), from_client = !out;
	uint16_t port = 4000 + random_below(r, 3);

	*q = (struct merlon_question){ .proto = proto[random_below(r, sizeof(proto))], .ttl = 64, .icmp_code = 0 };
	memcpy(q->saddr, from_client ? client : host, 4);
	memcpy(q->daddr, from_client ? host : client, 4);
	/* the host opens some of the flows */
	q->sport = from_client == (port != 4000) ? port : 80;
	q->dport = from_client == (port != 4000) ? 80 : port;
	q->flags = flags[random_below(r, sizeof(flags))];
	q->icmp_type = random_percent(r, 50) ? 8 : random_percent(r, 80) ? 0 : 15 - 2 * random_below(r, 4);
	q->echo_id = port;
	q->state = q->direction = MERLON_QUESTION_ANY;
	*ret_out = out;
}

static int find(const union merlon_tuple *tuple, uint64_t hash_seed, struct merlon_session *ret)
{
	struct merlon_session session;

	if (!merlon_table_find(plane_table(&plane), hash_seed, MERLON_IPV4, tuple, &session) ||
	    session.expires_ns < merlon_now_ns())
		return 0;
	*ret = session;
	return 1;
}

/* What is foretold: the packet's state. */
static int foretell(const struct merlon_question *q, int out, struct merlon_why *why)
{
	__u8 bytes[MERLON_QUESTION_BYTES];
	struct merlon_buffer buffer = { bytes, merlon_question_packet(q, bytes) };
	struct merlon_context context = { 0 };
	struct merlon_trackers timeouts;
	struct merlon_control control;
	struct merlon_headers h;
	union merlon_tuple tuple;
	uint32_t zero = 0;

	assert_int_equal(merlon_parse(&buffer, MERLON_IPV4, buffer.bytes, &h), 0);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(plane.skel->maps.data_control), &zero, &control), 0);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(plane.skel->maps.data_trackers), &zero, &timeouts), 0);
	merlon_why_ask(q, out ? MERLON_OUTPUT : MERLON_INPUT, why);
	why->now_ns = merlon_now_ns();
	if (!merlon_why_tuple(q, &tuple))
		why->has_session = find(&tuple, control.seed, &why->session);
	if (why->has_session)
		plane_remembered(&plane, &why->session, why->remembered);
	context.generation = control.generation;
	context.routes = control.routes;
	context.hook = why->hook;
	context.iif = out ? 0 : plane.veth;
	context.oif = out ? plane.veth : 0;
	context.tcp_flags = h.tcp_flags;
	merlon_why_track(why, &h, &context, &timeouts);
	return context.ct_state;
}

static void send_packet(const struct merlon_question *q, int out)
{
	uint8_t frame[ETH_HLEN + MERLON_QUESTION_BYTES] = "\x02\0\0\0\0\x01\x02\0\0\0\0\x09\x08";
	size_t bytes = ETH_HLEN + merlon_question_packet(q, frame + ETH_HLEN);
	int r = out ? plane_egress(&plane, 0, plane.veth, frame, bytes) : plane_ingress(&plane, plane.veth, frame, bytes);

	assert_int_equal(r, PLANE_PASS);
}

static void foretold_is_done(void **state)
{
	struct random r = random_seed(seed);
	unsigned hits = 0, by_state[MERLON_CT_STATES] = { 0 };

	(void)state;
	plane_rules(&plane, rules, sizeof(rules) / sizeof(rules[0]), MERLON_DROP);
	for (unsigned i = 0; i < packets; i++) {
		struct merlon_question q;
		struct merlon_why why;
		uint64_t counted, hit = plane_stat(&plane, MERLON_STAT_HITS);
		int out, ct_state;

		if (random_percent(&r, 1))
			plane_forget(&plane);
		if (random_percent(&r, 1))
			plane_rules(&plane, rules, sizeof(rules) / sizeof(rules[0]), MERLON_DROP);
		make_question(&r, &q, &out);
		ct_state = foretell(&q, out, &why);
		counted = plane_counter(&plane, (out ? 6 : 1) + ct_state);
		send_packet(&q, out);
		hit = plane_stat(&plane, MERLON_STAT_HITS) - hit;
		counted = plane_counter(&plane, (out ? 6 : 1) + ct_state) - counted;
		if (counted != 1 || hit != why.cached)
			fail_msg("packet %u of seed %" PRIu64 ": proto %u flags %x %s: state %d, counted %" PRIu64
				 "; cached %u, hit %" PRIu64, i, seed, q.proto, q.flags, out ? "out" : "in", ct_state, counted,
				 why.cached, hit);
		hits += hit;
		by_state[ct_state]++;
	}
	print_message("# %u packets: %u hits, %u new, %u established, %u invalid\n", packets, hits, by_state[MERLON_CT_NEW],
		      by_state[MERLON_CT_ESTABLISHED], by_state[MERLON_CT_INVALID]);
	assert_true(hits > packets / 100);
}

static int begin(void **state)
{
	(void)state;
	return plane_open(&plane, false);
}

static int finish(void **state)
{
	(void)state;
	plane_close(&plane);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(foretold_is_done) };

	if (argc > 1)
		packets = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, begin, finish);
}
