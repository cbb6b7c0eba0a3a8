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

/* A script of segments; what comes of each. */
struct line {
	uint8_t direction, flags;
	uint8_t outcome, state;
};

static void play(struct merlon_session *session, const struct line *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct merlon_tcp_segment segment = { .flags = line[i].flags, .direction = line[i].direction };

		assert_int_equal(merlon_tcp_step(session, &segment), line[i].outcome);
		assert_int_equal(session->tcp_state, line[i].state);
		if (line[i].direction == B && line[i].outcome != MERLON_TCP_REFUSED)
			session->flags |= MERLON_S_SEEN_REPLY;
	}
}
#define PLAY(session, ...) \
	do { \
		const struct line lines_[] = { __VA_ARGS__ }; \
		play(session, lines_, sizeof(lines_) / sizeof(lines_[0])); \
	} while (0)

static struct merlon_session begun(uint8_t flags)
{
	struct merlon_session session = { .tcp_state = merlon_tcp_first(flags, 1) };

	session.tcp_last_index = merlon_tcp_kind(flags);
	return session;
}

static struct merlon_session established(void)
{
	struct merlon_session session = begun(S);

	PLAY(&session, { B, S | A, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
	     { O, A, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
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

static void what_begins_a_connection(void **state)
{
	(void)state;
	assert_int_equal(merlon_tcp_first(S, 1), MERLON_TCP_SYN_SENT);
	assert_int_equal(merlon_tcp_first(S, 0), MERLON_TCP_SYN_SENT);
	assert_int_equal(merlon_tcp_first(A, 1), MERLON_TCP_ESTABLISHED);
	assert_int_equal(merlon_tcp_first(A, 0), MERLON_TCP_INVALID);
	assert_int_equal(merlon_tcp_first(S | A, 1), MERLON_TCP_INVALID);
	assert_int_equal(merlon_tcp_first(F | A, 1), MERLON_TCP_INVALID);
	assert_int_equal(merlon_tcp_first(R, 1), MERLON_TCP_INVALID);
	assert_int_equal(merlon_tcp_first(0, 1), MERLON_TCP_INVALID);
}

static void handshake_assures(void **state)
{
	struct merlon_session session = begun(S);

	(void)state;
	PLAY(&session, { B, S | A, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV });
	/* nothing is proved by an answer to an address that may be forged */
	assert_false(session.flags & MERLON_S_ASSURED);
	PLAY(&session, { B, S | A, MERLON_TCP_PASSED, MERLON_TCP_SYN_RECV }, { B, A, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV });
	assert_false(session.flags & MERLON_S_ASSURED);
	PLAY(&session, { O, A, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
	assert_true(session.flags & MERLON_S_ASSURED);
}

static void either_end_closes(void **state)
{
	struct merlon_session session = established();

	(void)state;
	PLAY(&session, { O, F | A, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT }, { B, A, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE_WAIT },
	     { B, A | P, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE_WAIT }, { B, F | A, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
	     { O, A, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT });
	session = established();
	PLAY(&session, { B, F | A, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT }, { O, F | A, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
	     { B, A, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT }, { O, A, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT });
}

static void reopening(void **state)
{
	struct merlon_session session = established();

	(void)state;
	PLAY(&session, { O, F | A, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT }, { B, F | A, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
	     { O, A, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT }, { O, S, MERLON_TCP_REOPENED, MERLON_TCP_TIME_WAIT },
	     { B, S, MERLON_TCP_REOPENED, MERLON_TCP_TIME_WAIT });
	/* reset by the other end, without a FIN: the SYN is let through, the answer decides */
	session = established();
	PLAY(&session, { B, R, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE }, { O, S, MERLON_TCP_PASSED, MERLON_TCP_CLOSE });
	/* given up by the end that now begins anew */
	session = established();
	PLAY(&session, { O, R, MERLON_TCP_STEPPED, MERLON_TCP_CLOSE }, { O, S, MERLON_TCP_REOPENED, MERLON_TCP_CLOSE });
}

static void stray_syn_is_remembered(void **state)
{
	struct merlon_session session = established();
	struct merlon_tcp_segment syn = { .flags = S, .direction = O, .end = 1001 };
	struct merlon_tcp_segment answer = { .flags = S | A, .direction = B, .ack = 1000 };

	(void)state;
	assert_int_equal(merlon_tcp_step(&session, &syn), MERLON_TCP_PASSED);
	assert_int_equal(session.tcp_state, MERLON_TCP_ESTABLISHED);
	assert_int_equal(merlon_tcp_step(&session, &answer), MERLON_TCP_PASSED);
	assert_int_equal(session.tcp_state, MERLON_TCP_ESTABLISHED);
	assert_int_equal(merlon_tcp_step(&session, &syn), MERLON_TCP_PASSED);
	answer.ack = 1001;
	assert_int_equal(merlon_tcp_step(&session, &answer), MERLON_TCP_STEPPED);
	assert_int_equal(session.tcp_state, MERLON_TCP_SYN_RECV);
}

static void challenge_ack(void **state)
{
	struct merlon_session session = established();

	(void)state;
	PLAY(&session, { O, F | A, MERLON_TCP_STEPPED, MERLON_TCP_FIN_WAIT }, { B, F | A, MERLON_TCP_STEPPED, MERLON_TCP_LAST_ACK },
	     { O, S, MERLON_TCP_PASSED, MERLON_TCP_LAST_ACK }, { B, A, MERLON_TCP_PASSED, MERLON_TCP_LAST_ACK },
	     { B, A, MERLON_TCP_STEPPED, MERLON_TCP_TIME_WAIT });
}

static void resets(void **state)
{
	struct merlon_session session = begun(S);

	(void)state;
	PLAY(&session, { B, R | A, MERLON_TCP_KILLED, MERLON_TCP_CLOSE });
	session = begun(S);
	PLAY(&session, { O, S, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT }, { O, R, MERLON_TCP_KILLED, MERLON_TCP_CLOSE });
}

static void simultaneous_open(void **state)
{
	struct merlon_session session = begun(S);

	(void)state;
	PLAY(&session, { B, S, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT2 }, { B, S | A, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV },
	     { O, S | A, MERLON_TCP_STEPPED, MERLON_TCP_SYN_RECV }, { B, A, MERLON_TCP_STEPPED, MERLON_TCP_ESTABLISHED });
}

static void out_of_place(void **state)
{
	struct merlon_session session = begun(S);

	(void)state;
	PLAY(&session, { O, A, MERLON_TCP_REFUSED, MERLON_TCP_SYN_SENT }, { O, F | A, MERLON_TCP_REFUSED, MERLON_TCP_SYN_SENT },
	     { B, A, MERLON_TCP_PASSED, MERLON_TCP_SYN_SENT }, { O, 0, MERLON_TCP_REFUSED, MERLON_TCP_SYN_SENT });
	session = established();
	PLAY(&session, { O, S | A, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED }, { B, S, MERLON_TCP_REFUSED, MERLON_TCP_ESTABLISHED });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flag_combinations), cmocka_unit_test(what_begins_a_connection),
		cmocka_unit_test(handshake_assures), cmocka_unit_test(either_end_closes), cmocka_unit_test(reopening),
		cmocka_unit_test(stray_syn_is_remembered), cmocka_unit_test(challenge_ack), cmocka_unit_test(resets),
		cmocka_unit_test(simultaneous_open), cmocka_unit_test(out_of_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
