/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For how long a connection is known after a segment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/bpf/tcp.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ends_that_do_not_fit), TEST(repeats_are_of_one_end), TEST(timeouts),
		TEST(what_passes_prolongs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
