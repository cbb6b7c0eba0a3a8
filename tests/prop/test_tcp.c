/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random segments through random connections: what the short way of a packet does to a session (bpf/hot.h), where it
 * does anything, is what the long way does. MERLON_SEED chooses others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/session.h"

enum { F = MERLON_TCP_FIN, S = MERLON_TCP_SYN, R = MERLON_TCP_RST, P = MERLON_TCP_PSH, A = MERLON_TCP_ACK,
       U = MERLON_TCP_URG };

/* Each timeout is another one: a wrong one is a difference. */
static struct merlon_trackers trackers = { .tcp_loose = 1, .tcp_max_retrans = 3 };

static unsigned seed;

static unsigned any(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static uint32_t near(uint32_t number)
{
	static const uint32_t far[] = { 0, 0, 0, 1, 10, 1000, 65535, 66000, 1U << 17, 1U << 31 };
	uint32_t by = far[any(sizeof(far) / sizeof(far[0]))] + any(2);

	return any(2) ? number + by : number - by;
}

/* At, or next to, the numbers that count for a session. */
static struct merlon_tcp_segment segment_near(const struct merlon_session *session, uint8_t direction, uint8_t flags)
{
	const struct merlon_tcp_end *sender = &session->tcp.seen[direction], *receiver = &session->tcp.seen[!direction];
	struct merlon_tcp_segment s = { .direction = direction, .flags = flags, .window = any(3) ? 4000 : any(65536) };

	s.seq = any(4) ? sender->end : near(any(2) ? sender->end : sender->maxend);
	s.ack = !(flags & A) ? 0 : any(4) ? receiver->end : near(any(2) ? receiver->end : receiver->end - 66000);
	s.end = s.seq + (any(2) ? any(3000) : 0) + !!(flags & S) + !!(flags & F);
	s.sack = s.ack;
	if (flags & S && any(2)) {
		s.options = MERLON_TCP_OPTIONS | (any(2) ? MERLON_TCP_SCALES : 0) | (any(2) ? MERLON_TCP_SACKS : 0);
		s.scale = s.options & MERLON_TCP_SCALES ? any(15) : 0;
	}
	return s;
}

static struct merlon_tcp_segment some_segment(const struct merlon_session *session)
{
	static const uint8_t likely[] = { A, A, A, A, A, A, A, A, A, A, A, A | P, A | P, A | P, A | U, S, S | A, F | A, R };
	uint8_t direction = any(2), flags = likely[any(sizeof(likely))];

	if (session->state == MERLON_TCP_NONE) {
		direction = MERLON_ORIGINAL;
		flags = any(4) ? S : A;
	} else if (session->state == MERLON_TCP_SYN_SENT && any(4)) {
		direction = MERLON_REPLY;
		flags = S | A;
	}
	return segment_near(session, direction, flags);
}

/* What the short way does to a session, where it does anything, is what the long way does. */
static int ways_agree(const struct merlon_session *session, struct merlon_tcp_segment segment, uint64_t now)
{
	struct merlon_session quick = *session, slow = *session;
	struct merlon_tcp_segment same = segment;

	/* merlon_hot_touch(): without SACK blocks, or where those count for nothing */
	if (!(session->tcp.seen[!segment.direction].flags & MERLON_TCP_SACKS))
		same.sack += any(500);
	if (merlon_tcp_flow(&quick, &segment, now, &trackers)) {
		assert_memory_equal(&quick, session, sizeof(quick));
		return 0;
	}
	assert_int_equal(merlon_tcp_step(&slow, &same, now, &trackers), MERLON_TCP_STEPPED);
	assert_memory_equal(&quick, &slow, sizeof(quick));
	return 1;
}

/* As merlon_session_start() and merlon_session_step() do it. */
static void enter(struct merlon_session *session, struct merlon_tcp_segment segment, uint64_t now)
{
	int outcome;

	if (session->state == MERLON_TCP_NONE) {
		memset(session, 0, sizeof(*session));
		if (merlon_tcp_first(session, &segment, 1))
			return;
	}
	outcome = merlon_tcp_step(session, &segment, now, &trackers);
	if (outcome == MERLON_TCP_REOPENED || outcome == MERLON_TCP_KILLED)
		memset(session, 0, sizeof(*session));
	else if (segment.direction == MERLON_REPLY && outcome != MERLON_TCP_REFUSED)
		session->flags |= MERLON_S_SEEN_REPLY;
}

static int is_hot(const struct merlon_session *session, const struct merlon_tcp_segment *segment)
{
	const uint8_t proved = MERLON_S_SEEN_REPLY | MERLON_S_ASSURED;

	return session->state == MERLON_TCP_ESTABLISHED && (session->flags & proved) == proved &&
	       merlon_tcp_kind(segment->flags) == MERLON_TCP_KIND_ACK;
}

static void short_way_does_the_same(void **state)
{
	int quick = 0, slow = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct merlon_session session = { 0 };

		trackers.tcp_liberal = !any(8);
		session.tcp.seen[0].end = any(3) ? near(0) : (uint32_t)rand_r(&seed) * 2;
		for (int j = 0; j < 60; j++) {
			struct merlon_tcp_segment segment = some_segment(&session);

			if (is_hot(&session, &segment))
				ways_agree(&session, segment, j) ? quick++ : slow++;
			enter(&session, segment, j);
		}
	}
	print_message("# %d short, %d long\n", quick, slow);
	assert_true(quick > 50000 && slow > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(short_way_does_the_same) };

	seed = getenv("MERLON_SEED") ? strtoul(getenv("MERLON_SEED"), NULL, 0) : 1;
	for (unsigned i = 0; i < MERLON_TIMEOUTS; i++)
		trackers.ns[i] = 1000 * (i + 1);
	trackers.ns[MERLON_TCP_ESTABLISHED] = 1000000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
