/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TCP connection tracker: what nf_conntrack makes of the flags of one segment (checked against
 * net/netfilter/nf_conntrack_proto_tcp.c of Linux 6.18). Pure: it works on a session in memory. Sequence numbers are
 * not checked against windows; a segment that the state allows is taken as being in the window.
 */
#ifndef MERLON_TCP_H
#define MERLON_TCP_H

#include "bpf/abi.h"

enum merlon_tcp_state {
	MERLON_TCP_NONE,
	MERLON_TCP_SYN_SENT,
	MERLON_TCP_SYN_RECV,
	MERLON_TCP_ESTABLISHED,
	MERLON_TCP_FIN_WAIT,
	MERLON_TCP_CLOSE_WAIT,
	MERLON_TCP_LAST_ACK,
	MERLON_TCP_TIME_WAIT,
	MERLON_TCP_CLOSE,
	MERLON_TCP_SYN_SENT2,	/* simultaneous open */
	MERLON_TCP_STATES,
	/* not states, but what may come of a segment */
	MERLON_TCP_IGNORE = 14,	/* let through as part of the connection, which stays as it is */
	MERLON_TCP_INVALID = 15,
};
_Static_assert((int)MERLON_TCP_STATES <= (int)MERLON_T_TCP_UNACK, "a timeout for each state");

#define MERLON_TCP_FIN 0x01
#define MERLON_TCP_SYN 0x02
#define MERLON_TCP_RST 0x04
#define MERLON_TCP_PSH 0x08
#define MERLON_TCP_ACK 0x10
#define MERLON_TCP_URG 0x20

/* What a segment is to the tracker; merlon_session.tcp_last_index. */
enum merlon_tcp_kind {
	MERLON_TCP_KIND_SYN,
	MERLON_TCP_KIND_SYNACK,
	MERLON_TCP_KIND_FIN,
	MERLON_TCP_KIND_ACK,
	MERLON_TCP_KIND_RST,
	MERLON_TCP_KIND_OTHER,
};

struct merlon_tcp_segment {
	__u32 ack;
	__u32 end;		/* sequence number behind its last byte; SYN and FIN count as one */
	__u8 flags;
	__u8 direction;
};

/* What came of a segment. */
enum merlon_tcp_outcome {
	MERLON_TCP_STEPPED,	/* part of the connection, which was brought up to date */
	MERLON_TCP_PASSED,	/* part of the connection, which stays as it is: no new timeout */
	MERLON_TCP_REFUSED,	/* ct state invalid */
	MERLON_TCP_REOPENED,	/* the connection is over; the segment starts another one with the same tuple */
	MERLON_TCP_KILLED,	/* part of the connection, which ends with it */
};

static inline __attribute__((always_inline)) __u8 merlon_tcp_kind(__u8 flags)
{
	if (flags & MERLON_TCP_RST)
		return MERLON_TCP_KIND_RST;
	if (flags & MERLON_TCP_SYN)
		return flags & MERLON_TCP_ACK ? MERLON_TCP_KIND_SYNACK : MERLON_TCP_KIND_SYN;
	if (flags & MERLON_TCP_FIN)
		return MERLON_TCP_KIND_FIN;
	return flags & MERLON_TCP_ACK ? MERLON_TCP_KIND_ACK : MERLON_TCP_KIND_OTHER;
}

/* Combinations of flags that make sense; PSH, ECE and CWR go with any. One bit for each value of the other five. */
static inline __attribute__((always_inline)) int merlon_tcp_flags_valid(__u8 flags)
{
	const __u8 fin = MERLON_TCP_FIN, syn = MERLON_TCP_SYN, rst = MERLON_TCP_RST, ack = MERLON_TCP_ACK,
		   urg = MERLON_TCP_URG;
	const __u64 valid = 1ULL << syn | 1ULL << (syn | urg) | 1ULL << (syn | ack) | 1ULL << rst | 1ULL << (rst | ack) |
			    1ULL << (fin | ack) | 1ULL << (fin | ack | urg) | 1ULL << ack | 1ULL << (ack | urg);

	return valid >> (flags & (fin | syn | rst | ack | urg)) & 1;
}

/* Next states by the present one, four bits each, NONE lowest. */
#define MERLON_TCP_ROW(no, ss, sr, es, fw, cw, la, tw, cl, s2) \
	((__u64)(no) | (__u64)(ss) << 4 | (__u64)(sr) << 8 | (__u64)(es) << 12 | (__u64)(fw) << 16 | (__u64)(cw) << 20 | \
	 (__u64)(la) << 24 | (__u64)(tw) << 28 | (__u64)(cl) << 32 | (__u64)(s2) << 36)

static inline __attribute__((always_inline)) __u8 merlon_tcp_next(__u8 direction, __u8 kind, __u8 state)
{
	enum { SS = MERLON_TCP_SYN_SENT, SR = MERLON_TCP_SYN_RECV, ES = MERLON_TCP_ESTABLISHED, FW = MERLON_TCP_FIN_WAIT,
	       CW = MERLON_TCP_CLOSE_WAIT, LA = MERLON_TCP_LAST_ACK, TW = MERLON_TCP_TIME_WAIT, CL = MERLON_TCP_CLOSE,
	       S2 = MERLON_TCP_SYN_SENT2, IG = MERLON_TCP_IGNORE, IV = MERLON_TCP_INVALID };
	int original = direction == MERLON_ORIGINAL;
	__u64 row;

	switch (kind) {
	case MERLON_TCP_KIND_SYN:
		/* From the originator it opens, or asks what became of the connection; from the other end it is a
		 * simultaneous open, or the tuple is used anew the other way round. */
		row = original ? MERLON_TCP_ROW(SS, SS, IG, IG, IG, IG, IG, SS, SS, S2)
			       : MERLON_TCP_ROW(IV, S2, IV, IV, IV, IV, IV, SS, IV, S2);
		break;
	case MERLON_TCP_KIND_SYNACK:
		row = original ? MERLON_TCP_ROW(IV, IV, SR, IV, IV, IV, IV, IV, IV, SR)
			       : MERLON_TCP_ROW(IV, SR, IG, IG, IG, IG, IG, IG, IG, SR);
		break;
	case MERLON_TCP_KIND_FIN:
		row = MERLON_TCP_ROW(IV, IV, FW, FW, LA, LA, LA, TW, CL, IV);
		break;
	case MERLON_TCP_KIND_ACK:
		row = original ? MERLON_TCP_ROW(ES, IV, ES, ES, CW, CW, TW, TW, CL, IV)
			       : MERLON_TCP_ROW(IV, IG, SR, ES, CW, CW, TW, TW, CL, IG);
		break;
	case MERLON_TCP_KIND_RST:
		row = MERLON_TCP_ROW(IV, CL, CL, CL, CL, CL, CL, CL, CL, CL);
		break;
	default:
		return IV;
	}
	return state < MERLON_TCP_STATES ? row >> (state * 4) & 15 : IV;
}

/* The state of a connection that begins with this segment; INVALID: none does. */
static inline __attribute__((always_inline)) __u8 merlon_tcp_first(__u8 flags, int loose)
{
	__u8 state = merlon_tcp_next(MERLON_ORIGINAL, merlon_tcp_kind(flags), MERLON_TCP_NONE);

	return state == MERLON_TCP_SYN_SENT || loose ? state : MERLON_TCP_INVALID;
}

/* A connection that has ended may be opened anew by a SYN if it ended properly, or if the same end gave it up. */
static inline __attribute__((always_inline)) int merlon_tcp_may_reopen(const struct merlon_session *session,
									__u8 direction)
{
	return session->flags & MERLON_S_CLOSE_INIT ||
	       (session->tcp_last_dir == direction && session->tcp_last_index == MERLON_TCP_KIND_RST);
}

/* A segment that the state does not expect, but that may show what the ends know better: it is remembered. */
static inline __attribute__((always_inline)) int merlon_tcp_ignore(struct merlon_session *session,
								   const struct merlon_tcp_segment *segment)
{
	__u8 kind = merlon_tcp_kind(segment->flags);

	session->tcp_last_index = kind;
	session->tcp_last_dir = segment->direction;
	session->tcp_last_end = segment->end;
	/* RFC 5961 4.2: the answer to a stray SYN is an ACK, which must not pass for the one that acknowledges the FIN. */
	if (kind == MERLON_TCP_KIND_SYN && segment->direction == MERLON_ORIGINAL &&
	    session->tcp_state == MERLON_TCP_LAST_ACK)
		session->flags |= MERLON_S_CHALLENGE;
	return MERLON_TCP_PASSED;
}

/* The answer to a SYN that was let through without a step: both ends agree on a new connection. */
static inline __attribute__((always_inline)) int merlon_tcp_resumes(const struct merlon_session *session,
								    const struct merlon_tcp_segment *segment, __u8 kind)
{
	return kind == MERLON_TCP_KIND_SYNACK && session->tcp_last_index == MERLON_TCP_KIND_SYN &&
	       session->tcp_last_dir != segment->direction && segment->ack == session->tcp_last_end;
}

static inline __attribute__((always_inline)) int merlon_tcp_challenged(const struct merlon_session *session,
								       const struct merlon_tcp_segment *segment,
								       __u8 kind)
{
	return session->tcp_state == MERLON_TCP_LAST_ACK && kind == MERLON_TCP_KIND_ACK &&
	       session->tcp_last_dir != segment->direction && session->tcp_last_index == MERLON_TCP_KIND_SYN &&
	       session->flags & MERLON_S_CHALLENGE;
}

/* Enters a segment into a connection that exists. MERLON_S_SEEN_REPLY is as before this segment. */
static inline __attribute__((always_inline)) int merlon_tcp_step(struct merlon_session *session,
								 const struct merlon_tcp_segment *segment)
{
	__u8 kind = merlon_tcp_kind(segment->flags), old = session->tcp_state, direction = segment->direction;
	__u8 state = merlon_tcp_next(direction, kind, old);

	if (state == MERLON_TCP_INVALID)
		return MERLON_TCP_REFUSED;
	if (state == MERLON_TCP_SYN_SENT && (old == MERLON_TCP_TIME_WAIT || old == MERLON_TCP_CLOSE)) {
		if (merlon_tcp_may_reopen(session, direction))
			return MERLON_TCP_REOPENED;
		state = MERLON_TCP_IGNORE;
	}
	if (state == MERLON_TCP_IGNORE) {
		if (!merlon_tcp_resumes(session, segment, kind))
			return merlon_tcp_ignore(session, segment);
		/* what was known of the old connection goes */
		session->flags &= ~(MERLON_S_CLOSE_INIT | MERLON_S_SIMULTANEOUS | MERLON_S_CHALLENGE);
		old = MERLON_TCP_SYN_SENT;
		state = MERLON_TCP_SYN_RECV;
	}
	if (state == MERLON_TCP_TIME_WAIT && merlon_tcp_challenged(session, segment, kind)) {
		session->flags &= ~MERLON_S_CHALLENGE;
		return MERLON_TCP_PASSED;
	}
	if (state == MERLON_TCP_SYN_SENT2)
		session->flags |= MERLON_S_SIMULTANEOUS;
	if (state == MERLON_TCP_SYN_RECV && direction == MERLON_REPLY && kind == MERLON_TCP_KIND_ACK &&
	    session->flags & MERLON_S_SIMULTANEOUS)
		state = MERLON_TCP_ESTABLISHED;
	if (state == MERLON_TCP_FIN_WAIT && old != state)
		session->flags |= MERLON_S_CLOSE_INIT;
	session->tcp_last_index = kind;
	session->tcp_last_dir = direction;
	session->tcp_state = state;
	if (!(session->flags & MERLON_S_SEEN_REPLY)) {
		/* A connection whose only answer is a RST has never been one. */
		if (kind == MERLON_TCP_KIND_RST)
			return MERLON_TCP_KILLED;
		/* Repeating a SYN does not prolong the wait for the answer. */
		if (kind == MERLON_TCP_KIND_SYN && old == MERLON_TCP_SYN_SENT)
			return MERLON_TCP_PASSED;
	} else if (direction == MERLON_ORIGINAL && state == MERLON_TCP_ESTABLISHED &&
		   (old == MERLON_TCP_SYN_RECV || old == MERLON_TCP_ESTABLISHED)) {
		/* The originator itself goes on after an answer: its address is no forgery. */
		session->flags |= MERLON_S_ASSURED;
	}
	return MERLON_TCP_STEPPED;
}

#endif
