/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TCP connection tracker: what nf_conntrack makes of one segment, its flags and its numbers (checked against
 * net/netfilter/nf_conntrack_proto_tcp.c of Linux 6.1 and 6.18; windows after G. van Rooij, "Real Stateful TCP Packet
 * Filtering in IP Filter"). Pure: it works on a session in memory. Sequence numbers are host order and wrap.
 */
#ifndef MERLON_TCP_H
#define MERLON_TCP_H

#include "bpf/abi.h"
#include "bpf/env.h"

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

/* What a segment is to the tracker; merlon_tcp.last_kind. */
enum merlon_tcp_kind {
	MERLON_TCP_KIND_SYN,
	MERLON_TCP_KIND_SYNACK,
	MERLON_TCP_KIND_FIN,
	MERLON_TCP_KIND_ACK,
	MERLON_TCP_KIND_RST,
	MERLON_TCP_KIND_OTHER,
};

/* Options of a segment, and flags of an end: merlon_tcp_end.flags. Those of a SYN that was let through carry over. */
#define MERLON_TCP_SCALES	0x01	/* window scaling, RFC 7323 2.2 */
#define MERLON_TCP_SACKS	0x02	/* selective acknowledgments permitted, RFC 2018 2 */
#define MERLON_TCP_CLOSED	0x04	/* this end has sent its FIN */
#define MERLON_TCP_LIBERAL	0x08	/* picked up: its scale is not known, so nothing is outside of the window */
#define MERLON_TCP_UNACKED	0x10	/* it has sent what was not acknowledged yet */
#define MERLON_TCP_HAS_ACK	0x20	/* merlon_tcp_end.maxack is set */
#define MERLON_TCP_OPTIONS	0x80	/* of a segment: there are options */
/* Only of merlon_tcp.last_flags. */
#define MERLON_TCP_CHALLENGE	0x40	/* a challenge ACK (RFC 5961) may follow */
#define MERLON_TCP_SIMULTANEOUS	0x80	/* both ends sent a SYN */

#define MERLON_TCP_ACK_WINDOW 66000	/* an acknowledgment may be older than the last one by so much, or by a window */

struct merlon_tcp_segment {
	__u32 seq, ack;
	__u32 end;		/* sequence number behind its last byte; SYN and FIN count as one */
	__u32 sack;		/* right edge of what it acknowledges selectively; else as `ack` */
	__u16 window;		/* as in the header */
	__u8 flags;
	__u8 direction;
	__u8 options;		/* MERLON_TCP_SCALES, MERLON_TCP_SACKS */
	__u8 scale;
	__u16 pad;		/* 6.1 passes on no stack that was not written */
};

/* What came of a segment. */
enum merlon_tcp_outcome {
	MERLON_TCP_STEPPED,	/* part of the connection, which was brought up to date */
	MERLON_TCP_PASSED,	/* part of the connection, which stays as it is: no new timeout */
	MERLON_TCP_REFUSED,	/* ct state invalid */
	MERLON_TCP_REOPENED,	/* the connection is over; the segment starts another one with the same tuple */
	MERLON_TCP_KILLED,	/* part of the connection, which ends with it */
};

merlon_inline int merlon_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

merlon_inline __u8 merlon_tcp_kind(__u8 flags)
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
merlon_inline int merlon_tcp_flags_valid(__u8 flags)
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

merlon_inline __u8 merlon_tcp_next(__u8 direction, __u8 kind, __u8 state)
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

/* How a segment lies in the windows. */
enum merlon_tcp_fit {
	MERLON_TCP_INSIDE,
	MERLON_TCP_OVERSHOT,	/* more than the receiver offered, but from where its window is */
	MERLON_TCP_STALE,	/* old data, or an old acknowledgment */
	MERLON_TCP_OUTSIDE,	/* beyond the window, or it acknowledges what was never sent */
};

/* The windows allow: I seq, II end, III and IV what it acknowledges. `segment` is as merlon_tcp_assume() left it. */
merlon_inline enum merlon_tcp_fit merlon_tcp_fit(const struct merlon_tcp_end *sender, const struct merlon_tcp_end *receiver,
						 const struct merlon_tcp_segment *segment)
{
	__u32 back = sender->maxwin > MERLON_TCP_ACK_WINDOW ? sender->maxwin : MERLON_TCP_ACK_WINDOW;
	int known = !merlon_before(receiver->end, segment->sack);
	int recent = merlon_before(receiver->end - back - 1, segment->sack);
	int current = merlon_before(sender->end - receiver->maxwin - 1, segment->end);

	if (!merlon_before(segment->seq, sender->maxend + 1))
		return receiver->maxwin && current && recent && known && segment->end - sender->maxend + 1 <= receiver->maxwin ?
			       MERLON_TCP_OVERSHOT : MERLON_TCP_OUTSIDE;
	if (!known)
		return MERLON_TCP_OUTSIDE;
	return (receiver->maxwin && !current) || !recent ? MERLON_TCP_STALE : MERLON_TCP_INSIDE;
}

/* An end has sent as far as this. */
merlon_inline void merlon_tcp_sent(struct merlon_tcp_end *sender, __u32 end)
{
	if (!merlon_before(sender->end, end))
		return;
	sender->end = end;
	sender->flags |= MERLON_TCP_UNACKED;
}

/* ... and if that is more than the other one offered, it has offered more. */
merlon_inline void merlon_tcp_overran(const struct merlon_tcp_end *sender, struct merlon_tcp_end *receiver, __u32 end)
{
	if (receiver->maxwin && merlon_before(sender->maxend, end))
		receiver->maxwin += end - sender->maxend;
}

/* A segment that lies in the windows moves them. */
merlon_inline void merlon_tcp_slide(struct merlon_tcp *tcp, const struct merlon_tcp_segment *segment)
{
	struct merlon_tcp_end *sender = &tcp->seen[segment->direction & 1], *receiver = &tcp->seen[!segment->direction];
	__u32 window = segment->flags & MERLON_TCP_SYN ? segment->window : (__u32)segment->window << (sender->scale & 15);
	__u32 offered = window + (segment->sack - segment->ack);

	if (sender->maxwin < offered)
		sender->maxwin = offered;
	merlon_tcp_sent(sender, segment->end);
	if (segment->flags & MERLON_TCP_ACK &&
	    (!(sender->flags & MERLON_TCP_HAS_ACK) || merlon_before(sender->maxack, segment->ack))) {
		sender->maxack = segment->ack;
		sender->flags |= MERLON_TCP_HAS_ACK;
	}
	merlon_tcp_overran(sender, receiver, segment->end);
	/* even a window of nothing lets a probe through */
	if (merlon_before(receiver->maxend - 1, segment->sack + window))
		receiver->maxend = segment->sack + window + !window;
	if (segment->ack == receiver->end)
		receiver->flags &= ~MERLON_TCP_UNACKED;
}

/* A segment came in pieces, and ends here: more than its first piece showed. */
merlon_inline void merlon_tcp_extend(struct merlon_tcp *tcp, __u8 direction, __u32 end)
{
	struct merlon_tcp_end *sender = &tcp->seen[direction & 1], *receiver = &tcp->seen[!direction];

	merlon_tcp_sent(sender, end);
	merlon_tcp_overran(sender, receiver, end);
	if (tcp->last_direction == direction && merlon_before(tcp->last_end, end))
		tcp->last_end = end;
}

/* Counts how often the same ACK comes again. */
merlon_inline void merlon_tcp_count_repeats(struct merlon_tcp *tcp, const struct merlon_tcp_segment *segment)
{
	if (tcp->last_direction == segment->direction && tcp->last_seq == segment->seq && tcp->last_ack == segment->ack &&
	    tcp->last_end == segment->end && tcp->last_window == segment->window) {
		tcp->repeats++;
		return;
	}
	tcp->last_direction = segment->direction;
	tcp->last_seq = segment->seq;
	tcp->last_ack = segment->ack;
	tcp->last_end = segment->end;
	tcp->last_window = segment->window;
	tcp->repeats = 0;
}

/* An end as its SYN or SYN-ACK shows it. Both must scale their windows, or neither does. */
merlon_inline void merlon_tcp_open_end(struct merlon_tcp *tcp, const struct merlon_tcp_segment *segment)
{
	struct merlon_tcp_end *sender = &tcp->seen[segment->direction & 1], *receiver = &tcp->seen[!segment->direction];

	sender->end = sender->maxend = segment->end;
	sender->maxwin = segment->window ? segment->window : 1;
	if (segment->options & MERLON_TCP_OPTIONS) {
		sender->scale = segment->scale;
		sender->flags = (sender->flags & MERLON_TCP_LIBERAL) | (segment->options & ~MERLON_TCP_OPTIONS);
	}
	if (segment->direction == MERLON_REPLY && !(sender->flags & receiver->flags & MERLON_TCP_SCALES))
		sender->scale = receiver->scale = 0;
}

/* An end of which no SYN was seen: what its first segment tells must do. */
merlon_inline void merlon_tcp_guess_end(struct merlon_tcp *tcp, const struct merlon_tcp_segment *segment)
{
	struct merlon_tcp_end *sender = &tcp->seen[segment->direction & 1], *receiver = &tcp->seen[!segment->direction];
	__u32 window = (__u32)segment->window << (sender->scale & 15);

	sender->end = segment->end;
	sender->maxwin = window ? window : 1;
	sender->maxend = segment->end + sender->maxwin;
	if (!receiver->maxwin)
		receiver->end = receiver->maxend = segment->sack;
	else if (segment->sack == receiver->end + 1)
		receiver->end++;	/* the answer to a keep-alive */
}

/* What a segment leaves out is taken as right. */
merlon_inline void merlon_tcp_assume(const struct merlon_tcp *tcp, __u8 state, struct merlon_tcp_segment *segment)
{
	const struct merlon_tcp_end *sender = &tcp->seen[segment->direction & 1], *receiver = &tcp->seen[!segment->direction];

	/* some stacks send resets with ACK, and 0 there */
	if (!(segment->flags & MERLON_TCP_ACK) || (segment->flags & MERLON_TCP_RST && !segment->ack))
		segment->ack = segment->sack = receiver->end;
	if (segment->flags & MERLON_TCP_RST && !segment->seq && state == MERLON_TCP_SYN_SENT)
		segment->seq = segment->end = sender->end;
}

/* STEPPED: it is in the window, which moved. */
merlon_inline enum merlon_tcp_outcome merlon_tcp_window(struct merlon_session *session, struct merlon_tcp_segment *segment,
							__u8 kind, int liberal)
{
	struct merlon_tcp *tcp = &session->tcp;
	struct merlon_tcp_end *sender = &tcp->seen[segment->direction & 1], *receiver = &tcp->seen[!segment->direction];
	enum merlon_tcp_fit fit;

	if (!(receiver->flags & MERLON_TCP_SACKS))
		segment->sack = segment->ack;
	if (!sender->maxwin) {
		if (segment->flags & MERLON_TCP_SYN) {
			merlon_tcp_open_end(tcp, segment);
			if (!(segment->flags & MERLON_TCP_ACK))
				return MERLON_TCP_STEPPED;
		} else {
			merlon_tcp_guess_end(tcp, segment);
		}
	} else if (segment->flags & MERLON_TCP_SYN && merlon_before(sender->end, segment->end) &&
		   (session->state == MERLON_TCP_SYN_SENT || session->state == MERLON_TCP_SYN_RECV)) {
		/* RFC 793, "The TCP Quiet Time Concept": opened anew with larger numbers */
		merlon_tcp_open_end(tcp, segment);
		if (segment->direction == MERLON_REPLY && !(segment->flags & MERLON_TCP_ACK))
			return MERLON_TCP_STEPPED;
	}
	merlon_tcp_assume(tcp, session->state, segment);
	fit = merlon_tcp_fit(sender, receiver, segment);
	if (fit == MERLON_TCP_INSIDE) {
		merlon_tcp_slide(tcp, segment);
		if (kind == MERLON_TCP_KIND_ACK)
			merlon_tcp_count_repeats(tcp, segment);
		return MERLON_TCP_STEPPED;
	}
	if (fit == MERLON_TCP_OVERSHOT) {
		/* the receiver may acknowledge it all the same */
		sender->end = segment->end;
		sender->flags |= MERLON_TCP_UNACKED;
	}
	if (liberal || sender->flags & MERLON_TCP_LIBERAL)
		return MERLON_TCP_STEPPED;
	return fit == MERLON_TCP_OUTSIDE ? MERLON_TCP_REFUSED : MERLON_TCP_PASSED;
}

/* The same. What leads here has hundreds of ways, which the verifier would follow through it. */
merlon_apart int merlon_tcp_window_apart(struct merlon_session *session, struct merlon_tcp_segment *segment, __u8 kind,
					 int liberal)
{
	return session && segment ? merlon_tcp_window(session, segment, kind, liberal) : MERLON_TCP_REFUSED;
}

/*
 * A connection begins with this segment: what is known of its first end. The segment is then entered as all others
 * are, merlon_tcp_step(). -1: none does.
 */
merlon_inline int merlon_tcp_first(struct merlon_session *session, const struct merlon_tcp_segment *segment, int loose)
{
	__u8 kind = merlon_tcp_kind(segment->flags), state = merlon_tcp_next(MERLON_ORIGINAL, kind, MERLON_TCP_NONE);
	struct merlon_tcp *tcp = &session->tcp;

	if (state == MERLON_TCP_INVALID || (state != MERLON_TCP_SYN_SENT && !loose))
		return -1;
	tcp->seen[0].end = tcp->seen[0].maxend = segment->end;
	tcp->seen[0].maxwin = segment->window ? segment->window : 1;
	if (state == MERLON_TCP_SYN_SENT) {
		tcp->seen[0].scale = segment->scale;
		tcp->seen[0].flags = segment->options & ~MERLON_TCP_OPTIONS;
	} else {
		tcp->seen[0].maxend += tcp->seen[0].maxwin;
		tcp->seen[0].flags = tcp->seen[1].flags = MERLON_TCP_SACKS | MERLON_TCP_LIBERAL;
	}
	tcp->last_kind = MERLON_TCP_KIND_OTHER;
	return 0;
}

/* A connection that has ended may be opened anew by a SYN if it ended properly, or if the same end gave it up. */
merlon_inline int merlon_tcp_may_reopen(const struct merlon_tcp *tcp, __u8 direction)
{
	return (tcp->seen[0].flags | tcp->seen[1].flags) & MERLON_TCP_CLOSED ||
	       (tcp->last_direction == direction && tcp->last_kind == MERLON_TCP_KIND_RST);
}

/* A segment that the state does not expect, but that may show what the ends know better: it is remembered. */
merlon_inline void merlon_tcp_note(struct merlon_session *session, const struct merlon_tcp_segment *segment, __u8 kind)
{
	struct merlon_tcp *tcp = &session->tcp;

	tcp->last_kind = kind;
	tcp->last_direction = segment->direction;
	tcp->last_seq = segment->seq;
	tcp->last_end = segment->end;
	tcp->last_window = segment->window;
	if (kind == MERLON_TCP_KIND_SYN && segment->direction == MERLON_ORIGINAL) {
		tcp->last_flags = segment->options & (MERLON_TCP_SCALES | MERLON_TCP_SACKS);
		tcp->last_scale = segment->options & MERLON_TCP_SCALES ? segment->scale : 0;
		/* RFC 5961 4.2: the answer to it is an ACK, which must not pass for the one that acknowledges the FIN. */
		if (session->state == MERLON_TCP_LAST_ACK)
			tcp->last_flags |= MERLON_TCP_CHALLENGE;
	}
	if (session->state == MERLON_TCP_SYN_SENT && kind == MERLON_TCP_KIND_ACK && segment->direction == MERLON_REPLY)
		tcp->last_ack = segment->ack;
}

/* The answer to a SYN that was let through without a step: both ends agree on a new connection. */
merlon_inline int merlon_tcp_resumes(const struct merlon_tcp *tcp, const struct merlon_tcp_segment *segment, __u8 kind)
{
	return kind == MERLON_TCP_KIND_SYNACK && tcp->last_kind == MERLON_TCP_KIND_SYN &&
	       tcp->last_direction != segment->direction && segment->ack == tcp->last_end;
}

merlon_inline void merlon_tcp_resume(struct merlon_tcp *tcp, __u8 direction)
{
	struct merlon_tcp_end *opener = &tcp->seen[tcp->last_direction & 1], *other = &tcp->seen[direction & 1];

	tcp->last_flags &= ~MERLON_TCP_CHALLENGE;
	opener->end = opener->maxend = tcp->last_end;
	opener->maxwin = tcp->last_window ? tcp->last_window : 1;
	opener->scale = tcp->last_scale;
	opener->flags = tcp->last_flags;
	other->end = other->maxend = other->maxwin = other->maxack = 0;
	other->scale = 0;
	other->flags &= MERLON_TCP_LIBERAL;
}

merlon_inline int merlon_tcp_challenged(const struct merlon_session *session, const struct merlon_tcp_segment *segment,
					__u8 kind)
{
	return session->state == MERLON_TCP_LAST_ACK && kind == MERLON_TCP_KIND_ACK &&
	       session->tcp.last_direction != segment->direction && session->tcp.last_kind == MERLON_TCP_KIND_SYN &&
	       session->tcp.last_flags & MERLON_TCP_CHALLENGE;
}

/* What a reset is worth. */
enum merlon_tcp_reset {
	MERLON_TCP_RESET_CHECK,		/* its numbers are checked as any other segment's */
	MERLON_TCP_RESET_BELIEVED,	/* they need not be */
	MERLON_TCP_RESET_FORGED,
	MERLON_TCP_RESET_DOUBTED,	/* not where it was expected: the connection goes on, a challenge ACK may follow */
};

merlon_inline int merlon_tcp_is_over(__u8 state)
{
	return state >= MERLON_TCP_FIN_WAIT && state <= MERLON_TCP_CLOSE;
}

/* By the number alone: the highest that the other end has asked for is the right one (RFC 5961 3.2). */
merlon_inline enum merlon_tcp_reset merlon_tcp_judge_number(const struct merlon_session *session,
							    const struct merlon_tcp_segment *segment, int believe)
{
	int established = session->state == MERLON_TCP_ESTABLISHED && session->flags & MERLON_S_ASSURED;
	const struct merlon_tcp *tcp = &session->tcp;
	__u32 expected = tcp->seen[!segment->direction].maxack;

	/* perhaps the answer to a SYN that was let through */
	if (!segment->seq && !established)
		return MERLON_TCP_RESET_CHECK;
	if (merlon_before(segment->seq, expected) && !believe)
		return MERLON_TCP_RESET_FORGED;
	if (!established || segment->seq == expected)
		return MERLON_TCP_RESET_CHECK;
	/* right behind data that it sent */
	return tcp->last_kind == MERLON_TCP_KIND_ACK && tcp->last_direction == segment->direction &&
	       segment->seq == tcp->last_end ? MERLON_TCP_RESET_CHECK : MERLON_TCP_RESET_DOUBTED;
}

/* It answers a SYN or an ACK that was let through without a step, or a challenge ACK. */
merlon_inline int merlon_tcp_reset_answers(const struct merlon_session *session, const struct merlon_tcp_segment *segment)
{
	const struct merlon_tcp *tcp = &session->tcp;
	int to_syn = session->flags & MERLON_S_SEEN_REPLY && tcp->last_kind == MERLON_TCP_KIND_SYN &&
		     tcp->last_direction != segment->direction;
	int to_ack = !(session->flags & MERLON_S_ASSURED) && tcp->last_kind == MERLON_TCP_KIND_ACK;

	if ((to_syn || to_ack) && segment->ack == tcp->last_end)
		return 1;
	return session->state == MERLON_TCP_SYN_SENT && tcp->last_kind == MERLON_TCP_KIND_ACK &&
	       tcp->last_direction == MERLON_REPLY && segment->seq == tcp->last_ack;
}

/* `ret_next`: the state after it. */
merlon_inline enum merlon_tcp_reset merlon_tcp_judge_reset(const struct merlon_session *session,
							   const struct merlon_tcp_segment *segment, int believe,
							   __u8 *ret_next)
{
	enum merlon_tcp_reset judged = MERLON_TCP_RESET_DOUBTED;

	/* the tuple may be in use again: what is known of the numbers may be of the connection before */
	if (merlon_tcp_is_over(session->state))
		return MERLON_TCP_RESET_BELIEVED;
	/* after a SYN that was let through the highest acknowledgment may be an old one */
	if (session->tcp.seen[!segment->direction].flags & MERLON_TCP_HAS_ACK && session->tcp.last_kind != MERLON_TCP_KIND_SYN) {
		judged = merlon_tcp_judge_number(session, segment, believe);
		if (judged != MERLON_TCP_RESET_DOUBTED)
			return judged;
		*ret_next = session->state;
	}
	return merlon_tcp_reset_answers(session, segment) ? MERLON_TCP_RESET_BELIEVED : MERLON_TCP_RESET_CHECK;
}

/* Which of the trackers' timeouts holds after a segment: `ns`, which is the state's, or a shorter one. `answered`: before it. */
merlon_inline __u64 merlon_tcp_shorten(const struct merlon_trackers *t, const struct merlon_tcp *tcp, __u64 ns, int established,
				       int answered, __u8 kind)
{
	__u64 unacked = t->ns[MERLON_T_TCP_UNACK], repeated = t->ns[MERLON_T_TCP_RETRANS];
	int doubted = kind == MERLON_TCP_KIND_RST && established;

	if (tcp->repeats >= t->tcp_max_retrans && ns > repeated)
		ns = repeated;
	else if (kind == MERLON_TCP_KIND_RST && !t->tcp_reset_lasts)
		ns = t->ns[MERLON_T_TCP + MERLON_TCP_CLOSE];
	else if (((tcp->seen[0].flags | tcp->seen[1].flags) & MERLON_TCP_UNACKED || doubted) && ns > unacked)
		ns = unacked;
	else if (!tcp->last_window && ns > repeated)
		ns = repeated;
	/* picked up, and no answer yet: not for the five days of a connection */
	if (!answered && established && ns > unacked)
		ns = unacked;
	return ns;
}

merlon_inline __u64 merlon_tcp_timeout_ns(const struct merlon_trackers *t, const struct merlon_session *session, __u8 kind)
{
	__u32 state = session->state;

	/* or the compiler knows better than the verifier */
	merlon_opaque(state);
	return merlon_tcp_shorten(t, &session->tcp, t->ns[MERLON_T_TCP + (state & 15)], session->state == MERLON_TCP_ESTABLISHED,
				  session->flags & MERLON_S_SEEN_REPLY, kind);
}

/*
 * A FIN or RST that does not fit. When both ends have sent one, the tracker is out of step with them: the connection is
 * not remembered for days any more.
 */
merlon_inline void merlon_tcp_mistrust(struct merlon_session *session, const struct merlon_tcp_segment *segment, __u8 kind,
				       __u64 now, const struct merlon_trackers *t)
{
	const __u64 long_ns = 120000000000ULL;
	struct merlon_tcp *tcp = &session->tcp;
	__u64 left = session->expires_ns - now;

	if (!(session->flags & MERLON_S_ASSURED) || (kind != MERLON_TCP_KIND_RST && kind != MERLON_TCP_KIND_FIN))
		return;
	if (tcp->last_direction == segment->direction ||
	    (tcp->last_kind != MERLON_TCP_KIND_FIN && tcp->last_kind != MERLON_TCP_KIND_RST)) {
		tcp->last_kind = kind;
		tcp->last_direction = segment->direction;
	} else if (left >= long_ns && left > t->ns[MERLON_T_TCP_UNACK]) {
		session->expires_ns = now + t->ns[MERLON_T_TCP_UNACK];
	}
}

/* Enters a segment into a connection that exists, or has just begun. MERLON_S_SEEN_REPLY is as before this segment. */
merlon_inline enum merlon_tcp_outcome merlon_tcp_step(struct merlon_session *session, struct merlon_tcp_segment *segment,
						      __u64 now, const struct merlon_trackers *t)
{
	__u8 kind = merlon_tcp_kind(segment->flags), old = session->state, direction = segment->direction & 1;
	__u8 state = merlon_tcp_next(direction, kind, old);
	enum merlon_tcp_reset reset = MERLON_TCP_RESET_CHECK;
	struct merlon_tcp *tcp = &session->tcp;

	if (state == MERLON_TCP_INVALID)
		return MERLON_TCP_REFUSED;
	if (state == MERLON_TCP_SYN_SENT && old >= MERLON_TCP_TIME_WAIT) {
		if (merlon_tcp_may_reopen(tcp, direction))
			return MERLON_TCP_REOPENED;
		state = MERLON_TCP_IGNORE;
	}
	if (state == MERLON_TCP_IGNORE) {
		if (!merlon_tcp_resumes(tcp, segment, kind)) {
			merlon_tcp_note(session, segment, kind);
			return MERLON_TCP_PASSED;
		}
		merlon_tcp_resume(tcp, direction);
		old = MERLON_TCP_SYN_SENT;
		state = MERLON_TCP_SYN_RECV;
	} else if (state == MERLON_TCP_TIME_WAIT && merlon_tcp_challenged(session, segment, kind)) {
		tcp->last_flags &= ~MERLON_TCP_CHALLENGE;
		return MERLON_TCP_PASSED;
	} else if (state == MERLON_TCP_SYN_SENT2) {
		tcp->last_flags |= MERLON_TCP_SIMULTANEOUS;
	} else if (state == MERLON_TCP_SYN_RECV && direction == MERLON_REPLY && kind == MERLON_TCP_KIND_ACK &&
		   tcp->last_flags & MERLON_TCP_SIMULTANEOUS) {
		state = MERLON_TCP_ESTABLISHED;
	} else if (kind == MERLON_TCP_KIND_RST) {
		reset = merlon_tcp_judge_reset(session, segment, t->tcp_believe_resets, &state);
		if (reset == MERLON_TCP_RESET_FORGED)
			return MERLON_TCP_REFUSED;
	}
	if (reset != MERLON_TCP_RESET_BELIEVED) {
		enum merlon_tcp_outcome r = merlon_tcp_window_apart(session, segment, kind, t->tcp_liberal);

		if (r == MERLON_TCP_REFUSED)
			merlon_tcp_mistrust(session, segment, kind, now, t);
		if (r != MERLON_TCP_STEPPED)
			return r;
	}
	tcp->last_kind = kind;
	tcp->last_direction = direction;
	session->state = state;
	if (old != state && state == MERLON_TCP_FIN_WAIT)
		tcp->seen[direction].flags |= MERLON_TCP_CLOSED;
	if (!(session->flags & MERLON_S_SEEN_REPLY)) {
		/* A connection whose only answer is a RST has never been one. */
		if (kind == MERLON_TCP_KIND_RST)
			return MERLON_TCP_KILLED;
		/* Repeating a SYN does not prolong the wait for the answer. */
		if (kind == MERLON_TCP_KIND_SYN && old == MERLON_TCP_SYN_SENT)
			return MERLON_TCP_PASSED;
	} else if ((old == MERLON_TCP_SYN_RECV || old == MERLON_TCP_ESTABLISHED) && state == MERLON_TCP_ESTABLISHED) {
		/* An end goes on after an answer: it is no forged address. */
		session->flags |= MERLON_S_ASSURED;
	}
	session->expires_ns = now + merlon_tcp_timeout_ns(t, session, kind);
	return MERLON_TCP_STEPPED;
}

/*
 * The same for most segments: an ACK, perhaps with data, of an assured connection that is established. Returns 0, or
 * -1: it is not that simple, and nothing was changed.
 */
merlon_inline int merlon_tcp_flow(struct merlon_session *session, struct merlon_tcp_segment *segment, __u64 now,
				  const struct merlon_trackers *t)
{
	struct merlon_tcp *tcp = &session->tcp;
	const struct merlon_tcp_end *sender = &tcp->seen[segment->direction & 1], *receiver = &tcp->seen[!segment->direction];

	if (!sender->maxwin || merlon_tcp_fit(sender, receiver, segment) != MERLON_TCP_INSIDE)
		return -1;
	merlon_tcp_slide(tcp, segment);
	merlon_tcp_count_repeats(tcp, segment);
	tcp->last_kind = MERLON_TCP_KIND_ACK;
	tcp->last_direction = segment->direction;
	session->expires_ns = now + merlon_tcp_shorten(t, tcp, t->ns[MERLON_T_TCP + MERLON_TCP_ESTABLISHED], 1, 1, MERLON_TCP_KIND_ACK);
	return 0;
}

#endif
