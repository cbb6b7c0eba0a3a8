/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the data path would say of a packet, without a trace of the question: the same parser, tracker and classifier
 * over the image in force, but private buckets, counters and work areas, and the copy of a session. Natively the same
 * over a policy that need not be in force.
 */
#ifndef MERLON_WHY_H
#define MERLON_WHY_H

#include "bpf/classify.h"
#include "bpf/session.h"

struct merlon_why {
	/* asked */
	struct merlon_session session;	/* if has_session: the one of the packet's tuple; the packet is entered into it */
	struct merlon_decision remembered[MERLON_DIRECTIONS][MERLON_SIDES];	/* what it remembers that is current; else zeroes */
	__u32 iif, oif;		/* interface indexes, 0: none */
	__u32 bytes;		/* length of the IP packet, if it is longer than what is there of it; else 0 */
	__u8 hook;		/* enum merlon_hook */
	__u8 side;		/* enum merlon_side: where the packet is judged */
	__u8 has_session;	/* answered: there still is one, after the packet */
	__u8 given_state;	/* enum merlon_ct_state, MERLON_CT_STATES: as the tracker says */
	__u8 given_direction;	/* enum merlon_direction, with a given state */
	__u8 pad[3];
	/* answered */
	__u64 now_ns;		/* natively also asked, where it is not 0 */
	struct merlon_packet packet;	/* as the rules saw it */
	struct merlon_decision decision;	/* if `cached`: what the session remembers, and answers with */
	__u32 rule;		/* as in struct merlon_walk, likewise all below */
	__u32 generation;
	__u32 mark;
	__u32 steps;
	__u8 verdict, reject, reject_code, failed;
	__u8 n_logs, n_counters;
	__u8 cached;
	__u8 judged;		/* 0: malformed, or nothing is in force; nothing else is answered then */
	__u32 logs_lost;
	__u32 counter[MERLON_PATH_COUNTERS];
	struct {
		__u32 rule, log;
	} logs[MERLON_WALK_LOGS];
};

/* A packet of which only the headers are there is as long as it claims to be. */
merlon_inline void merlon_why_lengthen(struct merlon_headers *h, __u32 bytes)
{
	if (bytes <= h->bytes)
		return;
	h->l4_bytes += bytes - h->bytes;
	h->ct_bytes += bytes - h->bytes;
	h->bytes = bytes;
}

/* A packet of a tuple without a session: as merlon_track_new(). The copy serves as the session that would be made. */
merlon_inline void merlon_why_new(struct merlon_why *why, const struct merlon_headers *h,
				  struct merlon_context *context, int sender_is_a, const struct merlon_trackers *t)
{
	why->has_session = 0;
	why->packet.ct_direction = MERLON_ORIGINAL;
	if (merlon_session_start(&why->session, h, sender_is_a, why->now_ns, t))
		return;
	context->ct_state = MERLON_CT_NEW;
}

/* A packet of a session: as merlon_track_known(). */
merlon_inline void merlon_why_known(struct merlon_why *why, const struct merlon_headers *h,
				    struct merlon_context *context, int sender_is_a, const struct merlon_trackers *t)
{
	__u8 direction = merlon_direction_of(why->session.flags, sender_is_a);
	__u8 state = merlon_state_of(why->session.flags, direction);

	/* a question has no sequence numbers: they are taken as right */
	for (int i = 0; h->ct_proto == MERLON_PROTO_TCP && i < MERLON_DIRECTIONS; i++)
		why->session.tcp.seen[i].flags = (why->session.tcp.seen[i].flags | MERLON_TCP_LIBERAL) & ~MERLON_TCP_HAS_ACK;
	why->packet.ct_direction = direction;
	/* nor has it chunks */
	if (merlon_tracker_of(h) == MERLON_PROTO_SCTP) {
		context->ct_state = state;
		return;
	}
	switch (merlon_session_step(&why->session, h, direction, why->now_ns, t)) {
	case MERLON_STEP_INVALID:
		why->has_session = 0;
		return;
	case MERLON_STEP_REOPEN:
		merlon_why_new(why, h, context, sender_is_a, t);
		return;
	case MERLON_STEP_KILL:
		why->has_session = 0;
		break;
	}
	context->ct_state = state;
}

/* Whether rules can ask for a direction of packets in this state. */
merlon_inline int merlon_why_has_direction(__u8 ct_state)
{
	return ct_state != MERLON_CT_INVALID && ct_state != MERLON_CT_UNTRACKED;
}

/*
 * The packet's ct state into `context`, its direction into why->packet, and whether the session answers. `context` has
 * all else that a decision depends on; why->now_ns is set.
 */
merlon_noinline void merlon_why_track(struct merlon_why *why, const struct merlon_headers *h,
				    struct merlon_context *context, const struct merlon_trackers *t)
{
	__u8 how = merlon_tracking(h);
	union merlon_tuple tuple;
	int sender_is_a = how == MERLON_TRACK_SESSION ? merlon_tuple_make(&tuple, h) : -1;
	const struct merlon_decision *d;

	why->cached = 0;
	why->packet.ct_direction = MERLON_ORIGINAL;
	context->ct_state = how == MERLON_TRACK_NONE ? MERLON_CT_UNTRACKED : MERLON_CT_INVALID;
	if (sender_is_a >= 0 && why->has_session)
		merlon_why_known(why, h, context, sender_is_a, t);
	else if (sender_is_a >= 0)
		merlon_why_new(why, h, context, sender_is_a, t);
	if (why->given_state < MERLON_CT_STATES) {
		context->ct_state = why->given_state;
		why->packet.ct_direction = why->given_direction & 1;
	}
	if (!why->has_session)
		return;
	d = &why->remembered[why->packet.ct_direction & 1][why->side & 1];
	why->cached = merlon_decision_holds(d, context);
	why->decision = *d;
}

/* What the walk came to. */
merlon_inline void merlon_why_take(struct merlon_why *why, const struct merlon_walk *w)
{
	why->packet = w->packet;
	why->rule = w->rule;
	why->generation = w->generation;
	why->mark = w->mark;
	why->steps = w->steps;
	why->verdict = w->verdict;
	why->reject = w->reject;
	why->reject_code = w->reject_code;
	why->failed = w->failed;
	why->n_logs = w->n_logs;
	why->logs_lost = w->logs_lost;
	why->n_counters = w->n_counters;
	__builtin_memcpy(why->counter, w->counter, sizeof(why->counter));
	__builtin_memcpy(why->logs, w->logs, sizeof(why->logs));
	why->judged = 1;
}

#ifdef __bpf__

#include "bpf/cold.h"

/* Written before, and read after each run by user space, which lets nobody else run the program. */
struct merlon_why merlon_asked;

/* Every map but `image`, `control` and `trackers` is private to the question. */
merlon_inline int merlon_why(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_walk *w = merlon_only(walk);
	struct merlon_why *why = &merlon_asked;

	why->judged = 0;
	if (!s || !w || merlon_prepare(skb, why->side) < 0)
		return -1;
	merlon_why_lengthen(&s->headers, why->bytes);
	s->now = why->now_ns = bpf_ktime_get_coarse_ns();
	s->context.hook = why->hook;
	s->context.iif = why->iif;
	s->context.oif = why->oif;
	merlon_why_track(why, &s->headers, &s->context, &trackers);
	s->direction = why->packet.ct_direction;
	s->has_direction = merlon_why_has_direction(s->context.ct_state);
	if (merlon_view(skb) < 0 || merlon_ask() < 0)
		return -1;
	merlon_why_take(why, w);
	return 0;
}

#endif

#endif
