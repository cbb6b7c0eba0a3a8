/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

static struct merlon_tcp_segment at(uint8_t direction, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t bytes)
{
	struct merlon_tcp_segment s = { .direction = direction, .flags = flags, .window = WINDOW };

	s.seq = base[direction] + seq;
	s.ack = s.sack = flags & A ? base[!direction] + ack : 0;
	s.end = s.seq + bytes + !!(flags & S) + !!(flags & F);
	return s;
}

/* As merlon_session_step() does it. */
static int enter(struct merlon_session *session, struct merlon_tcp_segment segment)
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

static void play(struct merlon_session *session, const struct line *line, size_t n)
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

static struct merlon_session begun_with(struct merlon_tcp_segment first)
{
	struct merlon_session session = { 0 };

	assert_int_equal(merlon_tcp_first(&session, &first, 1), 0);
	assert_int_equal(enter(&session, first), MERLON_TCP_STEPPED);
	return session;
}

static struct merlon_session begun(uint8_t flags)
{
	return begun_with(at(O, flags, 0, 0, 0));
}

static struct merlon_session established(void)
{
	struct merlon_session session = begun(S);

	PLAY(&session, { B, S | A, 0, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
	     { O, A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
	return session;
}

/* With these options in the SYNs; both offer WINDOW bytes there. */
static struct merlon_session negotiated(uint8_t options, uint8_t scale, uint8_t its_options, uint8_t its_scale)
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

static void flag_combinations(void **state)
{
	static const uint8_t valid[] = { S, S | U, S | A, R, R | A, F | A, F | A | U, A, A | U };

	(void)state;
	for (unsigned flags = 0; flags < 256; flags++) {
		int expected = 0;

		for (size_t i = 0; i < sizeof(valid); i++)
			expected |= (flags & 0x37) == valid[i];
		assert_int_equal(!!merlon_tcp_flags_valid(flags), expected);
	}
}

static void kinds(void **state)
{
	static const struct {
		uint8_t flags, kind;
	} table[] = { { S, MERLON_TCP_KIND_SYN }, { S | A, MERLON_TCP_KIND_SYNACK }, { S | U, MERLON_TCP_KIND_SYN },
		      { F | A, MERLON_TCP_KIND_FIN }, { A | P, MERLON_TCP_KIND_ACK }, { R | A, MERLON_TCP_KIND_RST },
		      { R, MERLON_TCP_KIND_RST }, { P, MERLON_TCP_KIND_OTHER } };

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(merlon_tcp_kind(table[i].flags), table[i].kind);
	/* no state that is out of the table is one */
	for (unsigned s = MERLON_TCP_STATES; s < 256; s++)
		assert_int_equal(merlon_tcp_next(O, MERLON_TCP_KIND_ACK, s), MERLON_TCP_INVALID);
}

static int begins(uint8_t flags, int loose)
{
	struct merlon_tcp_segment segment = at(O, flags, 0, 0, 0);
	struct merlon_session session = { 0 };

	return !merlon_tcp_first(&session, &segment, loose);
}

static void what_begins_a_connection(void **state)
{
	static const uint8_t never[] = { S | A, F | A, R, R | A, 0 };

	(void)state;
	assert_true(begins(S, 1) && begins(S, 0) && begins(S | U, 0));
	assert_true(begins(A, 1) && begins(A | P, 1));
	assert_false(begins(A, 0));
	for (size_t i = 0; i < sizeof(never); i++)
		assert_false(begins(never[i], 1));
}

static void handshake_assures(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = begun(S);

		PLAY(&session, { B, S | A, 0, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV });
		/* nothing is proved by an answer to an address that may be forged */
		assert_false(session.flags & MERLON_S_ASSURED);
		PLAY(&session, { B, S | A, 0, 1, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_RECV },
		     { B, A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV });
		assert_false(session.flags & MERLON_S_ASSURED);
		PLAY(&session, { O, A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		assert_true(session.flags & MERLON_S_ASSURED);
	}
}

static void either_end_closes(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();

		PLAY(&session, { O, F | A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT },
		     { B, A, 1, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE_WAIT },
		     { B, A | P, 1, 2, 10, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE_WAIT },
		     { B, F | A, 11, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
		     { O, A, 2, 12, 0, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT });
		session = established();
		PLAY(&session, { B, F | A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT },
		     { O, F | A, 1, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
		     { B, A, 2, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT },
		     { O, A, 2, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT });
	}
}

static void reopening(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();

		PLAY(&session, { O, F | A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT },
		     { B, F | A, 1, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
		     { O, A, 2, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT },
		     { O, S, 90000, 0, 0, MERLON_TCP_REOPENED, MERLON_TCP_TIME_WAIT },
		     { O, S, -90000U, 0, 0, MERLON_TCP_REOPENED, MERLON_TCP_TIME_WAIT },
		     { B, S, 7, 0, 0, MERLON_TCP_REOPENED, MERLON_TCP_TIME_WAIT });
		/* reset by the other end, without a FIN: the SYN is let through, the answer decides */
		session = established();
		PLAY(&session, { B, R, 1, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE },
		     { O, S, 90000, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_CLOSE },
		     { B, S | A, 70000, 90001, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV });
		/* given up by the end that now begins anew */
		session = established();
		PLAY(&session, { O, R, 1, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE },
		     { O, S, 90000, 0, 0, MERLON_TCP_REOPENED, MERLON_TCP_CLOSE });
	}
}

static void stray_syn_is_remembered(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();

		/* an answer to something else leaves all as it is, and the SYN is forgotten */
		PLAY(&session, { O, S, 90000, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { B, S | A, 70000, 90000, 0, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { B, S | A, 70000, 90001, 0, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { O, A, 1, 1, 10, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		/* both agree: the numbers are the new ones from now on */
		PLAY(&session, { O, S, 90000, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { B, S | A, 70000, 90001, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
		     { O, A, 90001, 70001, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { O, A, 90001, 70001, 10, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { O, A, 11, 11, 10, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED });
	}
}

/* The scale of the SYN that was let through holds if its answer scales, too. */
static void resumed_with_its_options(void **state)
{
	(void)state;
	AT_EVERY_BASE
		for (int answered = 0; answered < 2; answered++) {
			struct merlon_session session = established();
			struct merlon_tcp_segment syn = at(O, S, 90000, 0, 0), answer = at(B, S | A, 70000, 90001, 0);

			syn.options = MERLON_TCP_OPTIONS | MERLON_TCP_SCALES | MERLON_TCP_SACKS;
			syn.scale = 3;
			answer.options = MERLON_TCP_OPTIONS | (answered ? MERLON_TCP_SCALES : 0);
			answer.scale = answered ? 2 : 0;
			assert_int_equal(enter(&session, syn), MERLON_TCP_PASSED);
			assert_int_equal(enter(&session, answer), MERLON_TCP_STEPPED);
			assert_int_equal(session.tcp.seen[O].scale, answered ? 3 : 0);
			assert_int_equal(session.tcp.seen[B].scale, answered ? 2 : 0);
			assert_true(session.tcp.seen[O].flags & MERLON_TCP_SACKS);
			assert_int_equal(enter(&session, at(O, A, 90001, 70001, 0)), MERLON_TCP_STEPPED);
			assert_int_equal(session.tcp.seen[O].maxwin, answered ? 8 * WINDOW : WINDOW);
		}
}

static void challenge_ack(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();

		PLAY(&session, { O, F | A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT },
		     { B, F | A, 1, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
		     { O, S, 9, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_LAST_ACK });
		/* the challenge gives it no more time */
		session.expires_ns = 1;
		PLAY(&session, { B, A, 2, 2, 0, MERLON_TCP_PASSED, MERLON_TCP_LAST_ACK });
		assert_int_equal(session.expires_ns, 1);
		PLAY(&session, { B, A, 2, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT });
		/* in other states a SYN announces none */
		session = established();
		PLAY(&session, { O, S, 9, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { O, F | A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT },
		     { B, F | A, 1, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
		     { O, A, 2, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT });
	}
}

static void resets_of_beginnings(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = begun(S);
		struct merlon_tcp_segment bare = at(B, R | A, 0, 1, 0);

		PLAY(&session, { B, R | A, 0, 1, 0, MERLON_TCP_KILLED, MERLON_TCP_CLOSE });
		/* RFC 793: where there is nothing, a reset has number 0 */
		session = begun(S);
		bare.seq = bare.end = 0;
		assert_int_equal(enter(&session, bare), MERLON_TCP_KILLED);
		/* it acknowledges what was never sent */
		session = begun(S);
		PLAY(&session, { B, R | A, 0, 3, 0, MERLON_TCP_REFUSED, MERLON_TCP_SYN_SENT });
		session = begun(S);
		PLAY(&session, { O, S, 0, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT },
		     { O, R, 1, 0, 0, MERLON_TCP_KILLED, MERLON_TCP_CLOSE });
		/* the other end takes the SYN for an old connection's, the originator does not know that one */
		session = begun(S);
		PLAY(&session, { B, A, 40, 90000, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT },
		     { O, R, 90000, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE });
	}
}

/* RFC 5961 3.2: only the next number is believed at once. */
static void resets_by_number(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();

		PLAY(&session, { B, R, 0, 0, 0, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED },
		     { B, R, 500, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { B, R, 900000, 0, 0, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED },
		     { B, R, 1, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE });
		/* right behind data that is not acknowledged yet */
		session = established();
		PLAY(&session, { B, A, 1, 1, 100, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { B, R, 101, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE });
		session = established();
		PLAY(&session, { B, A, 1, 1, 100, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { O, A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { B, R, 101, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		/* nf_conntrack_tcp_ignore_invalid_rst */
		session = established();
		trackers.tcp_believe_resets = 1;
		PLAY(&session, { B, R, 0, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		trackers.tcp_believe_resets = 0;
		/* once it ends, any */
		PLAY(&session, { O, F | A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT },
		     { B, R, 900000, 0, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE });
	}
}

/* The answer to a SYN that was let through is a reset with the old connection's numbers, or none that is known. */
static void resets_that_answer(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();

		PLAY(&session, { O, S, 90000, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { B, R | A, 5000000, 90002, 0, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED },
		     { O, S, 90000, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { B, R | A, 5000000, 90001, 0, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE });
	}
}

static void simultaneous_open(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = begun(S);

		PLAY(&session, { B, S, 0, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT2 },
		     { B, S | A, 0, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
		     { O, S | A, 0, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
		     { B, A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		assert_true(session.flags & MERLON_S_ASSURED);
	}
}

static void out_of_place(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = begun(S);

		PLAY(&session, { O, A, 1, 0, 0, MERLON_TCP_REFUSED, MERLON_TCP_SYN_SENT },
		     { O, F | A, 1, 0, 0, MERLON_TCP_REFUSED, MERLON_TCP_SYN_SENT },
		     { B, A, 0, 1, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT },
		     { O, 0, 1, 0, 0, MERLON_TCP_REFUSED, MERLON_TCP_SYN_SENT });
		session = established();
		PLAY(&session, { O, S | A, 0, 1, 0, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED },
		     { B, S, 0, 0, 0, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED });
	}
}

static void picked_up(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = begun(A);

		assert_int_equal(session.state, MERLON_TCP_ESTABLISHED);
		assert_false(session.flags & MERLON_S_ASSURED);
		/* its windows are not known, so nothing is outside of them */
		PLAY(&session, { B, A, 4000000, 800000, 10, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { O, A, 700000, 1, 10, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { B, A, 1, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		assert_true(session.flags & MERLON_S_ASSURED);
	}
}

/* Ends whose windows have round numbers, to be moved anywhere. */
static enum merlon_tcp_fit fit(uint32_t by, uint32_t seq, uint32_t end, uint32_t sack, uint32_t sender_maxwin,
			       uint32_t receiver_maxwin)
{
	const struct merlon_tcp_end sender = { .end = 10000 + by, .maxend = 12000 + by, .maxwin = sender_maxwin },
				    receiver = { .end = 20000 + by, .maxend = 24000 + by, .maxwin = receiver_maxwin };
	const struct merlon_tcp_segment segment = { .seq = seq + by, .end = end + by, .ack = sack + by, .sack = sack + by };

	return merlon_tcp_fit(&sender, &receiver, &segment);
}

static void edges_of_the_windows(void **state)
{
	static const struct {
		uint32_t seq, end, sack, sender_maxwin, receiver_maxwin;
		enum merlon_tcp_fit fit;
	} table[] = {
		/* I: it begins where the receiver's window ends, at most */
		{ 12000, 12000, 20000, 4000, 3000, MERLON_TCP_INSIDE },
		{ 12000, 90000, 20000, 4000, 3000, MERLON_TCP_INSIDE },
		{ 12001, 12001, 20000, 4000, 3000, MERLON_TCP_OVERSHOT },
		/* ... or it sends somewhat more than it may */
		{ 12001, 14999, 20000, 4000, 3000, MERLON_TCP_OVERSHOT },
		{ 12001, 15000, 20000, 4000, 3000, MERLON_TCP_OUTSIDE },
		{ 12001, 12001, 20001, 4000, 3000, MERLON_TCP_OUTSIDE },
		{ 12001, 12001, 20000, 4000, 0, MERLON_TCP_OUTSIDE },
		/* II: it ends where the receiver's largest window began, at least */
		{ 6900, 7000, 20000, 4000, 3000, MERLON_TCP_INSIDE },
		{ 6900, 6999, 20000, 4000, 3000, MERLON_TCP_STALE },
		{ 6900, 6999, 20000, 4000, 0, MERLON_TCP_INSIDE },
		/* III: it acknowledges no more than was sent */
		{ 10000, 10000, 20000, 4000, 3000, MERLON_TCP_INSIDE },
		{ 10000, 10000, 20001, 4000, 3000, MERLON_TCP_OUTSIDE },
		/* IV: and nothing that is too old */
		{ 10000, 10000, 20000 - 66000, 4000, 3000, MERLON_TCP_INSIDE },
		{ 10000, 10000, 20000 - 66001, 4000, 3000, MERLON_TCP_STALE },
		{ 10000, 10000, 20000 - 70000, 70000, 3000, MERLON_TCP_INSIDE },
		{ 10000, 10000, 20000 - 70001, 70000, 3000, MERLON_TCP_STALE },
		{ 12001, 12001, 20000 - 66001, 4000, 3000, MERLON_TCP_OUTSIDE },
	};
	static const uint32_t moves[] = { 0, -7000U, -12000U, -12001U, -20000U, -20001U, 0x80000000U, 0x80000000U - 12000 };

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (size_t j = 0; j < sizeof(moves) / sizeof(moves[0]); j++)
			assert_int_equal(fit(moves[j], table[i].seq, table[i].end, table[i].sack, table[i].sender_maxwin,
					     table[i].receiver_maxwin), table[i].fit);
}

static void what_is_outside(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();
		struct merlon_session before = session;

		/* old data: it may be a repetition; nothing is learnt from it */
		PLAY(&session, { O, A, -5000U, 1, 10, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { O, A, 1, 2, 0, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED },
		     { O, A, 90000, 1, 10, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED });
		assert_memory_equal(&session, &before, sizeof(session));
		trackers.tcp_liberal = 1;
		PLAY(&session, { O, A, -5000U, 1, 10, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { O, A, 1, 2, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { O, A, 90000, 1, 10, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		trackers.tcp_liberal = 0;
	}
}

/* More than was offered, from where the window is: the other end may acknowledge it all the same. */
static void overshooting(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();

		PLAY(&session, { O, A, 1002, 1, 100, MERLON_TCP_PASSED, MERLON_TCP_ESTABLISHED },
		     { B, A, 1, 1102, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED },
		     { B, A, 1, 1103, 0, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED });
	}
}

/* Where the window of the originator, who offers WINDOW, ends for the other end's data. */
static uint32_t room(const struct merlon_session *session)
{
	struct merlon_session copy = *session;

	assert_int_equal(enter(&copy, at(O, A, 1, 1, 0)), MERLON_TCP_STEPPED);
	return copy.tcp.seen[B].maxend - base[B] - 1;
}

static void scales(void **state)
{
	const uint8_t both = MERLON_TCP_SCALES;

	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = negotiated(both, 3, both, 0);

		assert_int_equal(room(&session), 8 * WINDOW);
		session = negotiated(both, 14, both, 7);
		assert_int_equal(room(&session), WINDOW << 14);
		assert_int_equal(enter(&session, at(B, A, 1, 1, 0)), MERLON_TCP_STEPPED);
		assert_int_equal(session.tcp.seen[O].maxend - base[O] - 1, WINDOW << 7);
		/* both, or none */
		session = negotiated(both, 3, 0, 0);
		assert_int_equal(room(&session), WINDOW);
		session = negotiated(0, 0, both, 3);
		assert_int_equal(enter(&session, at(B, A, 1, 1, 0)), MERLON_TCP_STEPPED);
		assert_int_equal(session.tcp.seen[O].maxend - base[O] - 1, WINDOW);
		/* the window of a SYN is never scaled */
		assert_int_equal(begun(S).tcp.seen[O].maxwin, WINDOW);
	}
}

/* No window: one byte may be sent to ask for it. */
static void closed_window(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established();
		struct merlon_tcp_segment closed = at(O, A, 1, 1, 0);

		PLAY(&session, { B, A, 1, 1, WINDOW, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		closed.ack = closed.sack = base[B] + 1 + WINDOW;
		closed.window = 0;
		assert_int_equal(enter(&session, closed), MERLON_TCP_STEPPED);
		assert_int_equal(session.tcp.seen[B].maxend, base[B] + 1 + WINDOW + 1);
	}
}

/* What is acknowledged selectively counts only for an end that said that it may be. */
static void selective_acknowledgments(void **state)
{
	(void)state;
	AT_EVERY_BASE
		for (int may = 0; may < 2; may++) {
			struct merlon_session session = negotiated(may ? MERLON_TCP_SACKS : 0, 0, 0, 0);
			struct merlon_tcp_segment segment = at(B, A, 1, 1, 0);

			assert_int_equal(enter(&session, at(O, A, 1, 1, 300)), MERLON_TCP_STEPPED);
			segment.sack = base[O] + 301;
			assert_int_equal(enter(&session, segment), MERLON_TCP_STEPPED);
			assert_int_equal(session.tcp.seen[O].maxend, base[O] + 1 + WINDOW + (may ? 300 : 0));
			assert_int_equal(session.tcp.seen[B].maxwin, WINDOW + (may ? 300 : 0));
			assert_int_equal(session.tcp.seen[B].maxack, base[O] + 1);
			segment.sack++;
			assert_int_equal(enter(&session, segment), may ? MERLON_TCP_REFUSED : MERLON_TCP_STEPPED);
		}
}

/* A SYN again, with other numbers: RFC 793, "The TCP Quiet Time Concept". */
static void syn_with_larger_numbers(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = begun(S);

		PLAY(&session, { O, S, 90000, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT },
		     { B, S | A, 0, 90001, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
		     { O, A, 90001, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
		session = begun(S);
		PLAY(&session, { O, S, -90000U, 0, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT },
		     { B, S | A, 0, -89999U, 0, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT },
		     { B, S | A, 0, 1, 0, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV });
	}
}

/* What both ends end with segments that do not fit is not remembered for long, unless that would be soon anyway. */
static void ends_that_do_not_fit(void **state)
{
	const uint64_t second = 1000000000;
	struct merlon_tcp_segment fin = at(O, F | A, 1 + 100 * WINDOW, 1, 0), its = at(B, F | A, 1 + 100 * WINDOW, 1, 0);

	(void)state;
	trackers.ns[MERLON_T_TCP_UNACK] = 60 * second;
	for (uint64_t left = 119; left <= 121; left++) {
		struct merlon_session session = established();

		assert_int_equal(enter(&session, at(B, A, 1, 1, 0)), MERLON_TCP_STEPPED);
		assert_true(session.flags & MERLON_S_ASSURED);
		session.expires_ns = left * second;
		assert_int_equal(enter(&session, fin), MERLON_TCP_REFUSED);
		assert_int_equal(session.expires_ns, left * second);
		assert_int_equal(enter(&session, its), MERLON_TCP_REFUSED);
		assert_int_equal(session.expires_ns, (left < 120 ? left : 60) * second);
	}
}

/* A segment in pieces: the first one is entered, the last one says where it ends. */
static void pieces(void **state)
{
	(void)state;
	AT_EVERY_BASE {
		struct merlon_session session = established(), whole = session;

		assert_int_equal(enter(&whole, at(O, A, 1, 1, 900)), MERLON_TCP_STEPPED);
		assert_int_equal(enter(&session, at(O, A, 1, 1, 400)), MERLON_TCP_STEPPED);
		merlon_tcp_extend(&session.tcp, O, base[O] + 901);
		assert_memory_equal(&session, &whole, sizeof(session));
		assert_int_equal(enter(&session, at(B, A, 1, 901, 0)), MERLON_TCP_STEPPED);
		/* beyond what the receiver offered */
		session = whole = established();
		assert_int_equal(enter(&whole, at(O, A, 1 + WINDOW - 100, 1, 200)), MERLON_TCP_STEPPED);
		assert_int_equal(enter(&session, at(O, A, 1 + WINDOW - 100, 1, 50)), MERLON_TCP_STEPPED);
		merlon_tcp_extend(&session.tcp, O, base[O] + 1 + WINDOW + 100);
		assert_memory_equal(&session, &whole, sizeof(session));
		/* one that came before in its full length */
		merlon_tcp_extend(&session.tcp, O, base[O] + 500);
		assert_memory_equal(&session, &whole, sizeof(session));
	}
}

/* Both ends may have the same numbers: only the same end repeats itself. */
static void repeats_are_of_one_end(void **state)
{
	static const uint32_t same[] = { 7000, 7000 };
	struct merlon_session session;

	(void)state;
	base = same;
	session = established();
	for (int i = 0; i < 8; i++)
		assert_int_equal(enter(&session, at(i & 1, A, 1, 1, 0)), MERLON_TCP_STEPPED);
	assert_int_equal(session.tcp.repeats, 0);
	assert_int_equal(enter(&session, at(B, A, 1, 1, 0)), MERLON_TCP_STEPPED);
	assert_int_equal(session.tcp.repeats, 1);
	base = bases[0];
}

static void timeouts(void **state)
{
	struct merlon_session session = established();
	struct merlon_tcp_segment again = at(O, A, 1, 1, 0);

	(void)state;
	assert_int_equal(begun(S).expires_ns, trackers.ns[MERLON_TCP_SYN_SENT]);
	assert_int_equal(begun(A).expires_ns, trackers.ns[MERLON_T_TCP_UNACK]);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_TCP_ESTABLISHED]);
	/* data that nobody has acknowledged */
	assert_int_equal(enter(&session, at(O, A, 1, 1, 10)), MERLON_TCP_STEPPED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_T_TCP_UNACK]);
	assert_int_equal(enter(&session, at(B, A, 1, 11, 0)), MERLON_TCP_STEPPED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_TCP_ESTABLISHED]);
	/* the same ACK for the fourth time; another one; a closed window */
	for (int i = 0; i <= 3; i++) {
		assert_int_equal(session.expires_ns, trackers.ns[MERLON_TCP_ESTABLISHED]);
		assert_int_equal(enter(&session, again), MERLON_TCP_STEPPED);
	}
	assert_int_equal(session.tcp.repeats, 3);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_T_TCP_RETRANS]);
	again.window++;
	assert_int_equal(enter(&session, again), MERLON_TCP_STEPPED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_TCP_ESTABLISHED]);
	again.window = 0;
	assert_int_equal(enter(&session, again), MERLON_TCP_STEPPED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_T_TCP_RETRANS]);
	/* a reset that is doubted */
	assert_int_equal(enter(&session, at(B, R, 500, 0, 0)), MERLON_TCP_STEPPED);
	assert_int_equal(session.state, MERLON_TCP_ESTABLISHED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_TCP_CLOSE]);
	/* and one that is believed, where resets have no timeout of their own */
	trackers.tcp_reset_lasts = 1;
	assert_int_equal(enter(&session, at(B, R, 500, 0, 0)), MERLON_TCP_STEPPED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_T_TCP_UNACK]);
	trackers.ns[MERLON_TCP_CLOSE] = trackers.ns[MERLON_T_TCP_RETRANS] + SECOND;
	assert_int_equal(enter(&session, at(B, R, 1, 0, 0)), MERLON_TCP_STEPPED);
	assert_int_equal(session.state, MERLON_TCP_CLOSE);
	/* the one before left a gap that nobody has acknowledged */
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_T_TCP_UNACK]);
}

/* Repeating a SYN does not prolong the wait for the answer. */
static void what_passes_prolongs_nothing(void **state)
{
	struct merlon_tcp_segment syn = at(O, S, 0, 0, 0), old = at(O, A, -5000U, 1, 10);
	struct merlon_session session = begun(S);

	(void)state;
	assert_int_equal(merlon_tcp_step(&session, &syn, 5 * SECOND, &trackers), MERLON_TCP_PASSED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_TCP_SYN_SENT]);
	session = established();
	assert_int_equal(merlon_tcp_step(&session, &old, 5 * SECOND, &trackers), MERLON_TCP_PASSED);
	assert_int_equal(session.expires_ns, trackers.ns[MERLON_TCP_ESTABLISHED]);
}

static int set_up(void **state)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flag_combinations), TEST(kinds), TEST(what_begins_a_connection), TEST(handshake_assures),
		TEST(either_end_closes), TEST(reopening), TEST(stray_syn_is_remembered), TEST(resumed_with_its_options),
		TEST(challenge_ack), TEST(repeats_are_of_one_end), TEST(pieces), TEST(ends_that_do_not_fit), TEST(resets_of_beginnings), TEST(resets_by_number), TEST(resets_that_answer),
		TEST(simultaneous_open), TEST(out_of_place), TEST(picked_up), TEST(edges_of_the_windows), TEST(what_is_outside),
		TEST(overshooting), TEST(scales), TEST(closed_window), TEST(selective_acknowledgments),
		TEST(syn_with_larger_numbers), TEST(timeouts), TEST(what_passes_prolongs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
