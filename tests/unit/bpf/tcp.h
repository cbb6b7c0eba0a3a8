/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scripts of segments for tests of bpf/tcp.h. Included after cmocka.h. */
#ifndef TESTS_UNIT_BPF_TCP_H
#define TESTS_UNIT_BPF_TCP_H

#include "bpf/session.h"

enum { F = MERLON_TCP_FIN, S = MERLON_TCP_SYN, R = MERLON_TCP_RST, P = MERLON_TCP_PSH, A = MERLON_TCP_ACK,
       U = MERLON_TCP_URG };
enum { O = MERLON_ORIGINAL, B = MERLON_REPLY };
enum { WINDOW = 1000 };
#define SECOND 1000ULL

/* A second is short here. Each timeout is another one, so that it can be told which one was taken. */
static struct merlon_trackers trackers;

/* The initial sequence numbers of both ends. Tests count from these, and run with each pair. */
static const uint32_t bases[][2] = { { 1000, 500000 }, { 0xfffffff0, 0x7ffffff0 }, { 0x7fffffff, 0xffffffff },
				     { 0x80000000, 0xffff0000 }, { 0xfffe0000, 0xfffffc18 } };
#define N_BASES (sizeof(bases) / sizeof(bases[0]))
static const uint32_t *base = bases[0];
#define AT_EVERY_BASE for (base = bases[0]; base < bases[N_BASES]; base += 2)

static inline struct merlon_tcp_segment at(uint8_t direction, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t bytes)
{
	struct merlon_tcp_segment s = { .direction = direction, .flags = flags, .window = WINDOW };

	s.seq = base[direction] + seq;
	s.ack = s.sack = flags & A ? base[!direction] + ack : 0;
	s.end = s.seq + bytes + !!(flags & S) + !!(flags & F);
	return s;
}

/* As merlon_session_step() does it. */
static inline int enter(struct merlon_session *session, struct merlon_tcp_segment segment)
{
	int outcome = merlon_tcp_step(session, &segment, 0, &trackers);

	if (segment.direction == B && outcome != MERLON_TCP_REFUSED && outcome != MERLON_TCP_REOPENED)
		session->flags |= MERLON_S_SEEN_REPLY;
	return outcome;
}

/* A script of segments; what comes of each. */
struct line {
	uint8_t direction, flags;
	uint32_t seq, ack, bytes;
	uint8_t outcome, state;
};

static inline void play(struct merlon_session *session, const struct line *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(enter(session, at(line[i].direction, line[i].flags, line[i].seq, line[i].ack, line[i].bytes)),
				 line[i].outcome);
		assert_int_equal(session->state, line[i].state);
	}
}
#define PLAY(session, ...) \
	do { \
		const struct line lines_[] = { __VA_ARGS__ }; \
		play(session, lines_, sizeof(lines_) / sizeof(lines_[0])); \
	} while (0)

static inline struct merlon_session begun_with(struct merlon_tcp_segment first)
{
	struct merlon_session session = { 0 };

	assert_int_equal(merlon_tcp_first(&session, &first, 1), 0);
	assert_int_equal(enter(&session, first), MERLON_TCP_STEPPED);
	return session;
}

static inline struct merlon_session begun(uint8_t flags)
{
	return begun_with(at(O, flags, 0, 0, 0));
}

static inline struct merlon_session established(void)
{
	struct merlon_session session = begun(S);

	PLAY(&session, { B, S | A, 0, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
	     { O, A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
	return session;
}

/* With these options in the SYNs; both offer WINDOW bytes there. */
static inline struct merlon_session negotiated(uint8_t options, uint8_t scale, uint8_t its_options, uint8_t its_scale)
{
	struct merlon_tcp_segment syn = at(O, S, 0, 0, 0), answer = at(B, S | A, 0, 1, 0);
	struct merlon_session session;

	syn.options = MERLON_TCP_OPTIONS | options;
	syn.scale = scale;
	answer.options = MERLON_TCP_OPTIONS | its_options;
	answer.scale = its_scale;
	session = begun_with(syn);
	assert_int_equal(enter(&session, answer), MERLON_TCP_STEPPED);
	assert_int_equal(enter(&session, at(O, A, 1, 1, 0)), MERLON_TCP_STEPPED);
	return session;
}

static inline int set_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MERLON_TIMEOUTS; i++)
		trackers.ns[i] = (i + 1) * SECOND;
	trackers.ns[MERLON_TCP_ESTABLISHED] = 1000000 * SECOND;
	trackers.tcp_loose = 1;
	trackers.tcp_max_retrans = 3;
	trackers.tcp_reset_lasts = 0;
	base = bases[0];
	return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

#endif
