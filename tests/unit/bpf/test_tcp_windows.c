/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Windows: what lies inside, and what moves them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/bpf/tcp.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(edges_of_the_windows), TEST(what_is_outside), TEST(overshooting), TEST(scales),
		TEST(closed_window), TEST(selective_acknowledgments), TEST(syn_with_larger_numbers), TEST(pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
