/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SCTP association tracker: what nf_conntrack makes of one packet, its chunks and its verification tag (checked
 * against net/netfilter/nf_conntrack_proto_sctp.c of Linux 6.1 and 6.18; RFC 9260, sections in comments are its).
 * Pure: it works on a session in memory; transport.h reads the chunks.
 */
#ifndef MERLON_SCTP_H
#define MERLON_SCTP_H

#include "bpf/abi.h"
#include "bpf/env.h"

enum merlon_sctp_state {
	MERLON_SCTP_NONE,
	MERLON_SCTP_CLOSED,
	MERLON_SCTP_COOKIE_WAIT,
	MERLON_SCTP_COOKIE_ECHOED,
	MERLON_SCTP_ESTABLISHED,
	MERLON_SCTP_SHUTDOWN_SENT,
	MERLON_SCTP_SHUTDOWN_RECEIVED,
	MERLON_SCTP_SHUTDOWN_ACK_SENT,
	MERLON_SCTP_HEARTBEAT_SENT,	/* another path of an association whose opening was not seen */
	MERLON_SCTP_STATES,
	MERLON_SCTP_INVALID = 15,
};
_Static_assert((int)MERLON_SCTP_STATES <= MERLON_T_UDP - MERLON_T_SCTP, "a timeout for each state");

/* Types of chunks, 3.2. */
enum merlon_sctp_type {
	MERLON_SCTP_DATA,
	MERLON_SCTP_INIT,
	MERLON_SCTP_INIT_ACK,
	MERLON_SCTP_HEARTBEAT = 4,
	MERLON_SCTP_HEARTBEAT_ACK,
	MERLON_SCTP_ABORT,
	MERLON_SCTP_SHUTDOWN,
	MERLON_SCTP_SHUTDOWN_ACK,
	MERLON_SCTP_ERROR,
	MERLON_SCTP_COOKIE_ECHO,
	MERLON_SCTP_COOKIE_ACK,
	MERLON_SCTP_SHUTDOWN_COMPLETE = 14,
	MERLON_SCTP_OTHER = 31,		/* stands for all from there on */
};

/* merlon_sctp.flags */
#define MERLON_SCTP_DOUBTED 0x01	/* a HEARTBEAT had another tag than the one that is known */

#define MERLON_SCTP_BYTES 12		/* of the common header, 3.1 */
#define MERLON_SCTP_SUM 8		/* the checksum is there */
#define MERLON_SCTP_CHUNK_BYTES 4
#define MERLON_SCTP_INIT_BYTES 20	/* of an INIT or INIT ACK without parameters; its tag is at 4 (3.3.2) */
#define MERLON_SCTP_REFLECTED 0x01	/* the T bit of ABORT and SHUTDOWN COMPLETE: the tag is the other end's (8.5.1) */
/* Even the smallest packet ends before as many chunks are walked. */
#define MERLON_SCTP_MOST_CHUNKS (0xffff / MERLON_SCTP_CHUNK_BYTES)

/* Types that change an association, and those that may not be bundled, or only behind others (6.10). */
#define MERLON_SCTP_TURNING                                                                                         \
	(1U << MERLON_SCTP_INIT | 1U << MERLON_SCTP_INIT_ACK | 1U << MERLON_SCTP_HEARTBEAT |                        \
	 1U << MERLON_SCTP_HEARTBEAT_ACK | 1U << MERLON_SCTP_ABORT | 1U << MERLON_SCTP_SHUTDOWN |                   \
	 1U << MERLON_SCTP_SHUTDOWN_ACK | 1U << MERLON_SCTP_ERROR | 1U << MERLON_SCTP_COOKIE_ECHO |                 \
	 1U << MERLON_SCTP_COOKIE_ACK | 1U << MERLON_SCTP_SHUTDOWN_COMPLETE)
#define MERLON_SCTP_ALONE (1U << MERLON_SCTP_INIT | 1U << MERLON_SCTP_INIT_ACK | 1U << MERLON_SCTP_SHUTDOWN_COMPLETE)
#define MERLON_SCTP_FIRST (1U << MERLON_SCTP_COOKIE_ECHO | 1U << MERLON_SCTP_COOKIE_ACK)

/*
 * The chunks of a packet. Those that change an association are kept in their order; a packet that has more of them
 * than fit is invalid here, though not for nf_conntrack: nobody has a use for so many.
 */
#define MERLON_SCTP_KEPT 16
#define MERLON_SCTP_KEPT_REFLECTED 0x80
struct merlon_sctp_chunks {
	__be32 tag;			/* verification tag of the packet */
	__be32 init_tag;		/* of an INIT or INIT ACK, with has_init */
	__u32 types;			/* 1 << enum merlon_sctp_type */
	__u32 at;			/* how far they were walked */
	__u8 n;				/* of those kept */
	__u8 has_init;
	__u8 refused;			/* they make no sense */
	__u8 pad;
	__u8 kept[MERLON_SCTP_KEPT];	/* enum merlon_sctp_type, perhaps with MERLON_SCTP_KEPT_REFLECTED */
};

/* What came of a packet: merlon_sctp.outcome. */
enum merlon_sctp_outcome {
	MERLON_SCTP_STEPPED,	/* part of the association, which was brought up to date */
	MERLON_SCTP_PASSED,	/* part of it: no new timeout */
	MERLON_SCTP_REFUSED,	/* ct state invalid; what its first chunks changed stays so */
};

merlon_inline __u32 merlon_sctp_bit(__u8 type)
{
	return 1U << (type < MERLON_SCTP_OTHER ? type : MERLON_SCTP_OTHER);
}

/* Next states by the present one, four bits each, NONE lowest. */
#define MERLON_SCTP_ROW(no, cl, cw, ce, es, ss, sr, sa, hs)                                                         \
	((__u64)(no) | (__u64)(cl) << 4 | (__u64)(cw) << 8 | (__u64)(ce) << 12 | (__u64)(es) << 16 | (__u64)(ss) << 20 | \
	 (__u64)(sr) << 24 | (__u64)(sa) << 28 | (__u64)(hs) << 32)

merlon_inline __u8 merlon_sctp_next(__u8 direction, __u8 type, __u8 state)
{
	enum { CL = MERLON_SCTP_CLOSED, CW = MERLON_SCTP_COOKIE_WAIT, CE = MERLON_SCTP_COOKIE_ECHOED,
	       ES = MERLON_SCTP_ESTABLISHED, SS = MERLON_SCTP_SHUTDOWN_SENT, SR = MERLON_SCTP_SHUTDOWN_RECEIVED,
	       SA = MERLON_SCTP_SHUTDOWN_ACK_SENT, HS = MERLON_SCTP_HEARTBEAT_SENT, IV = MERLON_SCTP_INVALID };
	int original = direction == MERLON_ORIGINAL;
	__u64 row;

	switch (type) {
	case MERLON_SCTP_INIT:
		row = original ? MERLON_SCTP_ROW(CL, CL, CW, CE, ES, CL, CL, SA, CW) :
				 MERLON_SCTP_ROW(IV, CL, CW, CE, ES, SS, SR, SA, IV);
		break;
	case MERLON_SCTP_INIT_ACK:
		row = original ? MERLON_SCTP_ROW(CL, CL, CW, CE, ES, SS, SR, SA, CL) :
				 MERLON_SCTP_ROW(IV, CW, CW, CE, ES, SS, SR, SA, IV);
		break;
	case MERLON_SCTP_ABORT:
		row = original ? MERLON_SCTP_ROW(CL, CL, CL, CL, CL, CL, CL, CL, CL) :
				 MERLON_SCTP_ROW(IV, CL, CL, CL, CL, CL, CL, CL, IV);
		break;
	case MERLON_SCTP_SHUTDOWN:
		row = original ? MERLON_SCTP_ROW(CL, CL, CW, CE, SS, SS, SR, SA, CL) :
				 MERLON_SCTP_ROW(IV, CL, CW, CE, SR, SS, SR, SA, IV);
		break;
	case MERLON_SCTP_SHUTDOWN_ACK:
		row = original ? MERLON_SCTP_ROW(SA, CL, CW, CE, ES, SA, SA, SA, SA) :
				 MERLON_SCTP_ROW(IV, CL, CW, CE, ES, SA, SA, SA, IV);
		break;
	case MERLON_SCTP_ERROR:
		/* from the other end it may be a stale cookie */
		row = original ? MERLON_SCTP_ROW(CL, CL, CW, CE, ES, SS, SR, SA, CL) :
				 MERLON_SCTP_ROW(IV, CL, CW, CL, ES, SS, SR, SA, IV);
		break;
	case MERLON_SCTP_COOKIE_ECHO:
		row = original ? MERLON_SCTP_ROW(CL, CL, CE, CE, ES, SS, SR, SA, CL) :
				 MERLON_SCTP_ROW(IV, CL, CE, CE, ES, SS, SR, SA, IV);
		break;
	case MERLON_SCTP_COOKIE_ACK:
		row = original ? MERLON_SCTP_ROW(CL, CL, CW, ES, ES, SS, SR, SA, CL) :
				 MERLON_SCTP_ROW(IV, CL, CW, ES, ES, SS, SR, SA, IV);
		break;
	case MERLON_SCTP_SHUTDOWN_COMPLETE:
		row = original ? MERLON_SCTP_ROW(CL, CL, CW, CE, ES, SS, SR, CL, CL) :
				 MERLON_SCTP_ROW(IV, CL, CW, CE, ES, SS, SR, CL, IV);
		break;
	case MERLON_SCTP_HEARTBEAT:
		row = MERLON_SCTP_ROW(original ? HS : IV, CL, CW, CE, ES, SS, SR, SA, HS);
		break;
	case MERLON_SCTP_HEARTBEAT_ACK:
		row = original ? MERLON_SCTP_ROW(CL, CL, CW, CE, ES, SS, SR, SA, HS) :
				 MERLON_SCTP_ROW(IV, CL, CW, CE, ES, SS, SR, SA, ES);
		break;
	default:
		return state;
	}
	return state < MERLON_SCTP_STATES ? row >> (state * 4) & 15 : IV;
}

/*
 * A path of an association with several addresses is known by its HEARTBEAT alone. A tag that is not the known one may
 * be that of an association which was opened anew over another path: it is believed when the other end answers.
 */
merlon_inline enum merlon_sctp_outcome merlon_sctp_heartbeat(struct merlon_sctp *sctp, const struct merlon_sctp_chunks *packet,
							     __u8 type, __u8 direction)
{
	if (!sctp->vtag[direction & 1]) {
		sctp->vtag[direction & 1] = packet->tag;
		return MERLON_SCTP_STEPPED;
	}
	if (sctp->vtag[direction & 1] == packet->tag) {
		sctp->flags &= ~MERLON_SCTP_DOUBTED;
		return MERLON_SCTP_STEPPED;
	}
	if (packet->types & 1U << MERLON_SCTP_DATA || sctp->outcome == MERLON_SCTP_PASSED)
		return MERLON_SCTP_REFUSED;
	if (type == MERLON_SCTP_HEARTBEAT) {
		sctp->flags |= MERLON_SCTP_DOUBTED;
		sctp->last_direction = direction;
		return MERLON_SCTP_PASSED;
	}
	if (!(sctp->flags & MERLON_SCTP_DOUBTED) || sctp->last_direction == direction)
		return MERLON_SCTP_REFUSED;
	sctp->flags &= ~MERLON_SCTP_DOUBTED;
	sctp->vtag[direction & 1] = packet->tag;
	sctp->vtag[!direction] = 0;
	return MERLON_SCTP_STEPPED;
}

/* Whether a chunk may come with the packet's tag, 8.5.1. PASSED: it may, but changes nothing else. */
merlon_inline enum merlon_sctp_outcome merlon_sctp_tag(struct merlon_sctp *sctp, const struct merlon_sctp_chunks *packet,
						       __u8 chunk, __u8 direction)
{
	__u8 type = chunk & ~MERLON_SCTP_KEPT_REFLECTED, whose = chunk & MERLON_SCTP_KEPT_REFLECTED ? !direction : direction;

	switch (type) {
	case MERLON_SCTP_INIT:
		return packet->tag ? MERLON_SCTP_REFUSED : MERLON_SCTP_STEPPED;
	case MERLON_SCTP_ABORT:
	case MERLON_SCTP_SHUTDOWN_COMPLETE:
	case MERLON_SCTP_COOKIE_ECHO:
		return packet->tag == sctp->vtag[whose & 1] ? MERLON_SCTP_STEPPED : MERLON_SCTP_REFUSED;
	case MERLON_SCTP_COOKIE_ACK:
		sctp->init[0] = sctp->init[1] = 0;
		return MERLON_SCTP_STEPPED;
	case MERLON_SCTP_HEARTBEAT:
	case MERLON_SCTP_HEARTBEAT_ACK:
		return merlon_sctp_heartbeat(sctp, packet, type, direction);
	default:
		return MERLON_SCTP_STEPPED;
	}
}

/*
 * An INIT or INIT ACK says which tag the other end is to use. Both ends may send an INIT at once (5.2.1); an INIT ACK
 * must agree with what is known unless it answers an INIT.
 */
merlon_inline enum merlon_sctp_outcome merlon_sctp_open(struct merlon_session *session, const struct merlon_sctp_chunks *packet,
							__u8 type, __u8 direction, __u8 next)
{
	struct merlon_sctp *sctp = &session->sctp;
	__u8 *mine = &sctp->init[direction & 1], *other = &sctp->init[!direction];
	__be32 *tag = &sctp->vtag[!direction];
	int differs = *tag != packet->init_tag;

	if (!packet->has_init)
		return MERLON_SCTP_REFUSED;
	if (type == MERLON_SCTP_INIT_ACK) {
		if (differs && ((!*other && *tag) || (*mine && *other)))
			return MERLON_SCTP_REFUSED;
		*tag = packet->init_tag;
		return MERLON_SCTP_STEPPED;
	}
	if (session->state == MERLON_SCTP_NONE || differs) {
		if (*mine)
			*other = 0;
		*mine = 1;
	}
	*tag = packet->init_tag;
	/* repeating it does not prolong the wait for the answer */
	return next == MERLON_SCTP_CLOSED && session->state == MERLON_SCTP_CLOSED ? MERLON_SCTP_PASSED : MERLON_SCTP_STEPPED;
}

struct merlon_sctp_walk {
	struct merlon_session *session;	/* what changes is there: the verifier of 6.1 looks at one iteration only */
	const struct merlon_sctp_chunks *packet;
	__u8 direction;
};

/* One of the chunks that were kept. 1: no more are looked at. */
static long merlon_sctp_turn(__u32 i, struct merlon_sctp_walk *w)
{
	struct merlon_session *session = w->session;
	struct merlon_sctp *sctp = &session->sctp;
	enum merlon_sctp_outcome outcome;
	__u8 chunk, type, next;

	if (i >= w->packet->n)
		return 1;
	chunk = w->packet->kept[i & (MERLON_SCTP_KEPT - 1)];
	type = chunk & ~MERLON_SCTP_KEPT_REFLECTED;
	outcome = merlon_sctp_tag(sctp, w->packet, chunk, w->direction);
	if (outcome != MERLON_SCTP_STEPPED) {
		sctp->outcome = outcome;
		return outcome == MERLON_SCTP_REFUSED;
	}
	next = merlon_sctp_next(w->direction, type, session->state);
	if (next == MERLON_SCTP_INVALID) {
		sctp->outcome = MERLON_SCTP_REFUSED;
		return 1;
	}
	if (type == MERLON_SCTP_INIT || type == MERLON_SCTP_INIT_ACK) {
		sctp->outcome = merlon_sctp_open(session, w->packet, type, w->direction, next);
		if (sctp->outcome == MERLON_SCTP_REFUSED)
			return 1;
	}
	if (next == MERLON_SCTP_ESTABLISHED && session->state != next)
		session->flags |= MERLON_S_ASSURED;
	session->state = next;
	return 0;
}

/* Enters a packet into an association that exists, or has just begun. */
merlon_inline enum merlon_sctp_outcome merlon_sctp_step(struct merlon_session *session, const struct merlon_sctp_chunks *packet,
							__u8 direction, __u64 now, const struct merlon_trackers *t)
{
	const __u32 checked = MERLON_SCTP_TURNING & ~(1U << MERLON_SCTP_INIT_ACK | 1U << MERLON_SCTP_SHUTDOWN |
						      1U << MERLON_SCTP_ERROR | 1U << MERLON_SCTP_COOKIE_ACK);
	struct merlon_sctp_walk w = { session, packet, direction };

	/* some chunks have rules of their own for the tag, see merlon_sctp_tag() */
	if (!(packet->types & checked) && packet->tag != session->sctp.vtag[direction & 1])
		return MERLON_SCTP_REFUSED;
	session->sctp.outcome = MERLON_SCTP_STEPPED;
	merlon_loop(MERLON_SCTP_KEPT, merlon_sctp_turn, &w);
	if (session->sctp.outcome == MERLON_SCTP_STEPPED) {
		__u32 state = session->state;

		/* or the compiler knows better than the verifier of 6.1 */
		merlon_opaque(state);
		session->expires_ns = now + t->ns[MERLON_T_SCTP + (state & 15)];
	}
	return session->sctp.outcome;
}

/* An association, or a path of one, begins with this packet, which is then entered as all others are. -1: none does. */
merlon_inline int merlon_sctp_first(struct merlon_session *session, const struct merlon_sctp_chunks *packet)
{
	const __u32 late = 1U << MERLON_SCTP_ABORT | 1U << MERLON_SCTP_SHUTDOWN_COMPLETE | 1U << MERLON_SCTP_COOKIE_ACK;

	if (packet->types & late || packet->types & ~MERLON_SCTP_TURNING)
		return -1;
	if (packet->types & 1U << MERLON_SCTP_HEARTBEAT)
		session->sctp.vtag[MERLON_ORIGINAL] = packet->tag;
	/* it is answered with the same tag, 8.4 */
	if (packet->types & 1U << MERLON_SCTP_SHUTDOWN_ACK)
		session->sctp.vtag[MERLON_REPLY] = packet->tag;
	return 0;
}

#endif
