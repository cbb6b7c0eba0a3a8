/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which resets are believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/bpf/tcp.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(resets_of_beginnings), TEST(resets_by_number), TEST(resets_that_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
