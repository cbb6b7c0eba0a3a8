/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two data planes at once: the one before, whose maps have another layout, and this one. A flow is judged by the one that
 * has its session: by this one as soon as its session is here, so user space moves flow by flow (src/kernel/takeover.c).
 *
 *   MOVING     flows that are not here are the one before's, new ones too, and are noted;
 *   SETTLING   those that were noted still are, all others begin here.
 *
 * So at no moment a flow meets programs that do not know it. What has no flow is judged by the one before.
 */
#ifndef MERLON_TAKEOVER_H
#define MERLON_TAKEOVER_H

#include "bpf/act.h"
#include "bpf/cold.h"
#include "bpf/takeover_stage.h"
#include "bpf/track.h"

/* enum merlon_takeover_stage; written by user space. */
volatile __u32 merlon_takeover_stage = MERLON_TAKEOVER_MOVING;

/* For the names of the states, which another layout may number otherwise (src/kernel/layout.c). */
const volatile enum merlon_tcp_state merlon_tcp_states = MERLON_TCP_NONE;
const volatile enum merlon_sctp_state merlon_sctp_states = MERLON_SCTP_NONE;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MERLON_TAKERS);
	__type(key, __u32);
	__type(value, __u32);
} takers SEC(".maps");

/* By hashes: a few flows pass for noted that are not, which is only later. */
#define MERLON_NOTED_FLOWS (1U << 20)
#define MERLON_NOTED_DATAGRAMS (1U << 12)
struct merlon_noted {
	__u8 flow[MERLON_NOTED_FLOWS];	/* the one before saw it */
	__u8 datagram[MERLON_NOTED_DATAGRAMS];	/* this one judged its first fragment */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct merlon_noted);
} noted SEC(".maps");

/* Of the packet in the scratch, or of the one that an ICMP error is about: whether it has a tuple. */
merlon_inline int merlon_taken_tuple(struct __sk_buff *skb, struct merlon_scratch *s)
{
	__u8 how = merlon_tracking(&s->headers);
	__u32 offset;

	if (how == MERLON_TRACK_SESSION)
		return merlon_tuple_make(&s->tuple, &s->headers) >= 0;
	if (how != MERLON_TRACK_INNER)
		return 0;
	offset = merlon_inner_offset(skb, &s->headers);
	if (!offset || merlon_parse_inner(skb, offset, s->headers.bytes, s->headers.family & 1, &s->inner))
		return 0;
	merlon_choose_tracker(&s->inner, &trackers);
	return merlon_tuple_make(&s->tuple, &s->inner) >= 0;
}

/* Whether the flow with the tuple in the scratch is this data plane's. */
merlon_inline int merlon_flow_is_here(struct merlon_scratch *s, struct merlon_noted *n)
{
	__u8 *noted;

	s->hash = merlon_hash(s->headers.family, &s->tuple);
	if (merlon_place_of(&s->tuple, s->headers.family, s->hash) != MERLON_NO_PLACE)
		return 1;
	noted = &n->flow[s->hash & (MERLON_NOTED_FLOWS - 1)];
	if (merlon_takeover_stage == MERLON_TAKEOVER_SETTLING)
		return !*noted;
	*noted = 1;
	return 0;
}

/* Whether this data plane judges the packet. */
__noinline int merlon_takes(struct __sk_buff *skb, __u32 side)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_noted *n = merlon_only(noted);
	__u32 datagram;
	int here;

	if (!s || !n || (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) || merlon_prepare(skb, side))
		return 0;
	datagram = (s->headers.saddr[0] ^ s->headers.saddr[3] ^ s->headers.daddr[0] ^ s->headers.daddr[3] ^ s->headers.fragment_id) *
			   0x9e3779b1U >> 20;
	/* they follow the first one */
	if (s->headers.flags & MERLON_H_LATER)
		return n->datagram[datagram & (MERLON_NOTED_DATAGRAMS - 1)];
	here = merlon_taken_tuple(skb, s) && merlon_flow_is_here(s, n);
	if (s->headers.flags & MERLON_H_FIRST)
		n->datagram[datagram & (MERLON_NOTED_DATAGRAMS - 1)] = here;
	return here;
}

/* `side` is a constant, so the slots are. */
merlon_inline int merlon_take_over(struct __sk_buff *skb, __u32 side)
{
	if (merlon_takes(skb, side))
		bpf_tail_call_static(skb, &takers, MERLON_TAKER_NEXT + side);
	else
		bpf_tail_call_static(skb, &takers, MERLON_TAKER_BEFORE + side);
	/* an empty slot: there is nobody to ask */
	return merlon_drop(side);
}

#endif
