/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What cannot be seen from outside: the states themselves, their timeouts, and when an association is assured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bpf/session.h"
#include "tests/bpf/packet.h"

enum { O = MERLON_ORIGINAL, B = MERLON_REPLY };
#define SECOND 1000000000ULL
#define TAG_O 0x11111111U	/* what the originator asked for: packets of the reply carry it */
#define TAG_B 0x22222222U

static const struct flow there = { "192.0.2.9", "192.0.2.1", 1000, 2000 };
static struct merlon_trackers trackers;

/* A packet of chunks of 20 bytes each; INIT and INIT ACK ask for the tag of their sender. */
static struct merlon_headers headers(uint8_t direction, uint32_t tag, const uint8_t *types, size_t n)
{
	struct flow flow = direction == O ? there : reversed(&there);
	struct frame f = frame_ip(&flow, MERLON_PROTO_SCTP, 12 + 20 * n);
	struct merlon_buffer buffer = { f.data + ETH, f.bytes - ETH };
	struct merlon_headers h;

	put32(f.data + f.l4 + 4, tag);
	for (size_t i = 0; i < n; i++) {
		uint8_t *chunk = f.data + f.l4 + 12 + 20 * i;

		chunk[0] = types[i] & ~MERLON_SCTP_KEPT_REFLECTED;
		chunk[1] = !!(types[i] & MERLON_SCTP_KEPT_REFLECTED);
		put16(chunk + 2, 20);
		put32(chunk + 4, direction == O ? TAG_O : TAG_B);
	}
	assert_int_equal(merlon_parse(&buffer, MERLON_IPV4, buffer.bytes, &h), 0);
	return h;
}

static struct merlon_headers lone(uint8_t direction, uint32_t tag, uint8_t type)
{
	return headers(direction, tag, &type, 1);
}

struct line {
	uint8_t direction;
	uint32_t tag;
	uint8_t type, step, state;
};

/* Each step at a time of its own; a timeout is its state in seconds. */
static void play(struct merlon_session *session, const struct line *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct merlon_headers h = lone(line[i].direction, line[i].tag, line[i].type);

		assert_int_equal(merlon_session_step(session, &h, line[i].direction, (i + 1) * 100 * SECOND, &trackers), line[i].step);
		assert_int_equal(session->state, line[i].state);
		if (line[i].step == MERLON_STEP_OK)
			assert_int_equal(session->expires_ns / SECOND, (i + 1) * 100 + line[i].state);
	}
}
#define PLAY(session, ...)                                                      \
	do {                                                                    \
		const struct line lines_[] = { __VA_ARGS__ };                   \
		play(session, lines_, sizeof(lines_) / sizeof(lines_[0]));      \
	} while (0)

static int set_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MERLON_SCTP_STATES; i++)
		trackers.ns[MERLON_T_SCTP + i] = i * SECOND;
	return 0;
}

static struct merlon_session begun(void)
{
	struct merlon_headers h = lone(O, 0, MERLON_SCTP_INIT);
	struct merlon_session session;

	assert_int_equal(merlon_session_start(&session, &h, 1, 50 * SECOND, &trackers), 0);
	assert_int_equal(session.state, MERLON_SCTP_CLOSED);
	assert_int_equal(session.expires_ns / SECOND, 50 + MERLON_SCTP_CLOSED);
	return session;
}

static struct merlon_session established(void)
{
	struct merlon_session session = begun();

	PLAY(&session, { B, TAG_O, MERLON_SCTP_INIT_ACK, MERLON_STEP_OK, MERLON_SCTP_COOKIE_WAIT },
	     { O, TAG_B, MERLON_SCTP_COOKIE_ECHO, MERLON_STEP_OK, MERLON_SCTP_COOKIE_ECHOED });
	assert_false(session.flags & MERLON_S_ASSURED);
	PLAY(&session, { B, TAG_O, MERLON_SCTP_COOKIE_ACK, MERLON_STEP_OK, MERLON_SCTP_ESTABLISHED });
	assert_true(session.flags & MERLON_S_ASSURED);
	assert_false(merlon_session_proved(&session, O));
	PLAY(&session, { O, TAG_B, MERLON_SCTP_DATA, MERLON_STEP_OK, MERLON_SCTP_ESTABLISHED });
	assert_true(merlon_session_proved(&session, O));
	return session;
}

static void opens_and_shuts_down(void **state)
{
	struct merlon_session session = established();

	(void)state;
	PLAY(&session, { O, TAG_O, MERLON_SCTP_DATA, MERLON_STEP_INVALID, MERLON_SCTP_ESTABLISHED },
	     { O, TAG_B, MERLON_SCTP_SHUTDOWN, MERLON_STEP_OK, MERLON_SCTP_SHUTDOWN_SENT },
	     { B, TAG_O, MERLON_SCTP_SHUTDOWN_ACK, MERLON_STEP_OK, MERLON_SCTP_SHUTDOWN_ACK_SENT },
	     { O, TAG_O, MERLON_SCTP_SHUTDOWN_COMPLETE, MERLON_STEP_INVALID, MERLON_SCTP_SHUTDOWN_ACK_SENT },
	     { O, TAG_B, MERLON_SCTP_SHUTDOWN_COMPLETE, MERLON_STEP_OK, MERLON_SCTP_CLOSED });
	session = established();
	PLAY(&session, { B, TAG_O, MERLON_SCTP_SHUTDOWN, MERLON_STEP_OK, MERLON_SCTP_SHUTDOWN_RECEIVED },
	     { B, TAG_B, MERLON_SCTP_ABORT, MERLON_STEP_INVALID, MERLON_SCTP_SHUTDOWN_RECEIVED },
	     { B, TAG_B, MERLON_SCTP_ABORT | MERLON_SCTP_KEPT_REFLECTED, MERLON_STEP_OK, MERLON_SCTP_CLOSED });
}

/* A repeated INIT does not prolong the wait for its answer. */
static void opening_is_not_prolonged(void **state)
{
	struct merlon_headers h = lone(O, 0, MERLON_SCTP_INIT);
	struct merlon_session session = begun();
	uint64_t expires = session.expires_ns;

	(void)state;
	assert_int_equal(merlon_session_step(&session, &h, O, 51 * SECOND, &trackers), MERLON_STEP_OK);
	assert_true(session.expires_ns == expires);
	assert_int_equal(session.stats[O].packets, 2);
}

/* Another path: a heartbeat with a tag of its own is believed when the other end has one, too. */
static void heartbeats_open_a_path(void **state)
{
	struct merlon_headers h = lone(O, TAG_B, MERLON_SCTP_HEARTBEAT);
	struct merlon_session session;

	(void)state;
	assert_int_equal(merlon_session_start(&session, &h, 1, 50 * SECOND, &trackers), 0);
	assert_int_equal(session.state, MERLON_SCTP_HEARTBEAT_SENT);
	PLAY(&session, { B, TAG_O, MERLON_SCTP_HEARTBEAT_ACK, MERLON_STEP_OK, MERLON_SCTP_ESTABLISHED });
	assert_true(session.flags & MERLON_S_ASSURED);
	h = lone(O, 7, MERLON_SCTP_HEARTBEAT);
	assert_int_equal(merlon_session_step(&session, &h, O, 900 * SECOND, &trackers), MERLON_STEP_OK);
	assert_true(session.expires_ns < 900 * SECOND);
	PLAY(&session, { O, 8, MERLON_SCTP_HEARTBEAT_ACK, MERLON_STEP_INVALID, MERLON_SCTP_ESTABLISHED },
	     { B, 9, MERLON_SCTP_HEARTBEAT_ACK, MERLON_STEP_OK, MERLON_SCTP_ESTABLISHED },
	     { O, 7, MERLON_SCTP_DATA, MERLON_STEP_INVALID, MERLON_SCTP_ESTABLISHED },
	     { O, 7, MERLON_SCTP_HEARTBEAT, MERLON_STEP_OK, MERLON_SCTP_ESTABLISHED },
	     { O, 7, MERLON_SCTP_DATA, MERLON_STEP_OK, MERLON_SCTP_ESTABLISHED });
}

/* One more than fits is refused, however many chunks there are that change nothing. */
static void as_many_chunks_as_fit(void **state)
{
	uint8_t types[64];
	struct merlon_headers h;

	(void)state;
	memset(types, MERLON_SCTP_DATA, sizeof(types));
	memset(types, MERLON_SCTP_ERROR, MERLON_SCTP_KEPT);
	h = headers(O, TAG_B, types, sizeof(types));
	assert_int_equal(merlon_tracking(&h), MERLON_TRACK_SESSION);
	types[sizeof(types) - 1] = MERLON_SCTP_ERROR;
	h = headers(O, TAG_B, types, sizeof(types));
	assert_int_equal(merlon_tracking(&h), MERLON_TRACK_INVALID);
}

/* Without a tracker of its own all that counts is the addresses. */
static void generic_where_there_is_none(void **state)
{
	struct merlon_headers h = headers(O, 1, NULL, 0), other;
	union merlon_tuple a = { 0 }, b = { 0 };
	struct merlon_session session;

	(void)state;
	assert_int_equal(merlon_tracking(&h), MERLON_TRACK_INVALID);
	trackers.ns[MERLON_T_GENERIC] = 600 * SECOND;
	merlon_choose_tracker(&h, &trackers);
	assert_int_equal(merlon_tracking(&h), MERLON_TRACK_SESSION);
	merlon_tuple_make(&a, &h);
	other = h;
	other.sport = other.dport = 1;
	merlon_tuple_make(&b, &other);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(merlon_session_start(&session, &h, 1, 0, &trackers), 0);
	assert_true(session.expires_ns == 600 * SECOND);
	trackers.has_sctp = 1;
	h.flags = 0;
	merlon_choose_tracker(&h, &trackers);
	assert_int_equal(merlon_tracking(&h), MERLON_TRACK_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_and_shuts_down), cmocka_unit_test(opening_is_not_prolonged),
		cmocka_unit_test(heartbeats_open_a_path), cmocka_unit_test(as_many_chunks_as_fit),
		cmocka_unit_test(generic_where_there_is_none),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
