/* SPDX-License-Identifier: GPL-2.0-or-later */
/* States of a TCP connection: how it opens, closes and opens anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/bpf/tcp.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flag_combinations), TEST(kinds), TEST(what_begins_a_connection), TEST(handshake_assures),
		TEST(either_end_closes), TEST(reopening), TEST(stray_syn_is_remembered),
		TEST(resumed_with_its_options), TEST(challenge_ack), TEST(simultaneous_open), TEST(out_of_place),
		TEST(picked_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
