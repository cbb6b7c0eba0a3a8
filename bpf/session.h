/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions: which one a packet belongs to, what it does to it, and the packet's ct state, as nf_conntrack would say.
 * Pure: tables are the callers' business. A packet changes its session once, however many hooks it meets.
 */
#ifndef MERLON_SESSION_H
#define MERLON_SESSION_H

#include "bpf/abi.h"
#include "bpf/icmp.h"
#include "bpf/parse.h"
#include "bpf/sctp.h"
#include "bpf/tcp.h"

#define MERLON_UDP_STREAM_NS 2000000000ULL	/* UDP is a stream when it still goes both ways after this */

/* How a packet is to be tracked, by its headers alone. */
enum merlon_tracking {
	MERLON_TRACK_SESSION,
	MERLON_TRACK_INNER,	/* ICMP error: belongs to the session of the packet inside */
	MERLON_TRACK_NONE,	/* untracked */
	MERLON_TRACK_INVALID,
};

/* ICMP of the family it belongs to; in the other family's packets no tracker knows it. */
merlon_inline int merlon_is_own_icmp(const struct merlon_headers *h)
{
	return h->ct_proto == (h->family == MERLON_IPV4 ? MERLON_PROTO_ICMP : MERLON_PROTO_ICMPV6);
}

merlon_inline __u8 merlon_icmp_class(const struct merlon_headers *h)
{
	__u8 type = *(const __u8 *)&h->sport;

	return h->family == MERLON_IPV4 ? merlon_icmp4_class(type) : merlon_icmp6_class(type);
}

merlon_inline __u8 merlon_tracking_icmp(const struct merlon_headers *h)
{
	if (!merlon_is_own_icmp(h) || h->ct_bytes < MERLON_ICMP_BYTES)
		return MERLON_TRACK_INVALID;
	switch (merlon_icmp_class(h)) {
	case MERLON_ICMP_REQUEST:
	case MERLON_ICMP_REPLY:
		return MERLON_TRACK_SESSION;
	case MERLON_ICMP_ERROR:
	case MERLON_ICMP_REDIRECT:
		return MERLON_TRACK_INNER;
	case MERLON_ICMP_UNTRACKED:
		return MERLON_TRACK_NONE;
	default:
		return MERLON_TRACK_INVALID;
	}
}

/* Protocols for which this kernel has no tracker of their own have neither ports nor states. */
merlon_inline void merlon_choose_tracker(struct merlon_headers *h, const struct merlon_trackers *t)
{
	if ((h->ct_proto == MERLON_PROTO_SCTP && !t->has_sctp) || (h->ct_proto == MERLON_PROTO_GRE && !t->has_gre) ||
	    (h->ct_proto == MERLON_PROTO_DCCP && !t->has_dccp))
		h->flags |= MERLON_H_GENERIC;
}

merlon_inline int merlon_tuple_has_ports(const struct merlon_headers *h)
{
	return merlon_has_ports(h->ct_proto) && !(h->flags & MERLON_H_GENERIC);
}

merlon_inline __u8 merlon_tracking(const struct merlon_headers *h)
{
	int whole = !(h->flags & MERLON_H_FIRST);

	if (h->flags & MERLON_H_UNTRACKABLE)
		return MERLON_TRACK_INVALID;
	if (h->flags & MERLON_H_GENERIC)
		return MERLON_TRACK_SESSION;
	switch (h->ct_proto) {
	case MERLON_PROTO_TCP:
		if (h->ct_bytes < MERLON_TCP_BYTES || h->tcp_header < MERLON_TCP_BYTES ||
		    (whole && h->ct_bytes < h->tcp_header) || !merlon_tcp_flags_valid(h->tcp_flags))
			return MERLON_TRACK_INVALID;
		return MERLON_TRACK_SESSION;
	case MERLON_PROTO_UDP:
	case MERLON_PROTO_UDPLITE:
		/*
		 * The length covers the header, and in a whole datagram no more than there is. Of UDP-Lite it says how much
		 * the checksum covers, 0 being all; and there has to be one (RFC 3828 3.1).
		 */
		if (h->ct_bytes < MERLON_UDP_BYTES || (h->ct_proto == MERLON_PROTO_UDPLITE && !h->bytes67))
			return MERLON_TRACK_INVALID;
		if (h->ct_proto == MERLON_PROTO_UDPLITE && !h->udp_bytes)
			return MERLON_TRACK_SESSION;
		if (h->udp_bytes < MERLON_UDP_BYTES || (whole && h->udp_bytes > h->ct_bytes))
			return MERLON_TRACK_INVALID;
		return MERLON_TRACK_SESSION;
	case MERLON_PROTO_ICMP:
	case MERLON_PROTO_ICMPV6:
		return merlon_tracking_icmp(h);
	case MERLON_PROTO_SCTP:
		return h->ct_bytes < MERLON_SCTP_BYTES || h->sctp.refused ? MERLON_TRACK_INVALID : MERLON_TRACK_SESSION;
	default:
		return MERLON_TRACK_SESSION;
	}
}

/*
 * GRE: the receiver's "port" is the call of PPTP's enhanced header (RFC 2637 4.1), which carries nothing but PPP; the
 * sender's is known to nf_conntrack's PPTP helper alone. Other GRE has neither. As gre_pkt_to_tuple() of
 * net/netfilter/nf_conntrack_proto_gre.c.
 */
merlon_inline int merlon_call_id(const struct merlon_headers *h, __be16 *dport)
{
	const __u8 version = 7, enhanced = 1;

	if (h->ct_bytes < 8 || (((const __u8 *)&h->sport)[1] & version) != enhanced)
		return 0;
	if (merlon_be16((const __u8 *)&h->dport) != MERLON_GRE_PPP)
		return -1;
	*dport = h->bytes67;
	return 0;
}

/*
 * The ends' ports as tuples have them. -1: no tuple can be made: an ICMP type that nobody answers, too little of a
 * transport header.
 */
merlon_inline int merlon_ports(const struct merlon_headers *h, __be16 *sport, __be16 *dport, __be16 *id)
{
	const __u8 *type = (const __u8 *)&h->sport;
	__u8 asked[2] = { type[0], type[1] }, class;

	*sport = *dport = *id = 0;
	if (h->flags & MERLON_H_GENERIC)
		return 0;
	if (merlon_has_ports(h->ct_proto)) {
		*sport = h->sport;
		*dport = h->dport;
		return h->ct_bytes < 4 ? -1 : 0;
	}
	if (h->ct_proto == MERLON_PROTO_GRE)
		return merlon_call_id(h, dport);
	if (!merlon_is_icmp(h->ct_proto))
		return 0;
	if (!merlon_is_own_icmp(h) || h->ct_bytes < MERLON_ICMP_BYTES)
		return -1;
	*id = h->id;
	class = merlon_icmp_class(h);
	if (class == MERLON_ICMP_REQUEST) {
		__builtin_memcpy(sport, asked, 2);
		return 0;
	}
	if (class != MERLON_ICMP_REPLY)
		return -1;
	asked[0] = merlon_icmp_request_of(h->family, type[0]);
	__builtin_memcpy(dport, asked, 2);
	return 0;
}

/* What a tuple has in its last four bytes. */
merlon_inline __u32 merlon_tuple_tail(__be16 id, __u8 l4proto)
{
	return merlon_pair16(id, merlon_pair8(l4proto, 0));
}

/*
 * Each returns 1 if the sender is end `a`, 0 if it is end `b`. `ports`: merlon_pair16() of the sender's and the
 * receiver's. Words at once: what reads the tuple next need not wait for several stores.
 */
merlon_inline int merlon_tuple4_set(union merlon_tuple *tuple, __be32 saddr, __be32 daddr, __u32 ports, __u32 tail)
{
	__u64 from = (__u64)merlon_ntoh32(saddr) << 16 | merlon_ntoh32(ports) >> 16;
	__u64 to = (__u64)merlon_ntoh32(daddr) << 16 | (merlon_ntoh32(ports) & 0xffff);
	__u64 is_b = to - from;

	/* no branch, which would be taken every other time */
	merlon_opaque(is_b);
	is_b >>= 63;
	tuple->word[0] = merlon_pair32(saddr, daddr);
	/* their halves change places, or they stay as they are */
	tuple->word[0] = tuple->word[0] << is_b * 32 | tuple->word[0] >> is_b * 32;
	tuple->word[1] = merlon_pair32(ports << is_b * 16 | ports >> is_b * 16, tail);
	return !is_b;
}

merlon_inline int merlon_tuple6_set(union merlon_tuple *tuple, const __be32 *saddr, const __be32 *daddr, __u32 ports, __u32 tail)
{
	__u64 s0 = merlon_pair32(saddr[0], saddr[1]), s1 = merlon_pair32(saddr[2], saddr[3]);
	__u64 d0 = merlon_pair32(daddr[0], daddr[1]), d1 = merlon_pair32(daddr[2], daddr[3]);
	int is_a = merlon_ntoh32(ports) >> 16 <= (merlon_ntoh32(ports) & 0xffff);

	if (s1 != d1)
		is_a = merlon_ntoh64(s1) < merlon_ntoh64(d1);
	if (s0 != d0)
		is_a = merlon_ntoh64(s0) < merlon_ntoh64(d0);
	tuple->word[0] = is_a ? s0 : d0;
	tuple->word[1] = is_a ? s1 : d1;
	tuple->word[2] = is_a ? d0 : s0;
	tuple->word[3] = is_a ? d1 : s1;
	tuple->word[4] = merlon_pair32(is_a ? ports : ports << 16 | ports >> 16, tail);
	return is_a;
}

/* The tuple of a packet that is tracked. 1: its sender is end `a`; 0: end `b`; -1: it has none. */
merlon_inline int merlon_tuple_make(union merlon_tuple *tuple, const struct merlon_headers *h)
{
	__be16 sport, dport, id;

	if (merlon_ports(h, &sport, &dport, &id) < 0)
		return -1;
	if (h->family == MERLON_IPV4)
		return merlon_tuple4_set(tuple, h->saddr[0], h->daddr[0], merlon_pair16(sport, dport),
					 merlon_tuple_tail(id, h->ct_proto));
	return merlon_tuple6_set(tuple, h->saddr, h->daddr, merlon_pair16(sport, dport), merlon_tuple_tail(id, h->ct_proto));
}

merlon_inline __u8 merlon_direction_of(__u8 session_flags, int sender_is_a)
{
	return !!(session_flags & MERLON_S_ORIG_IS_A) == !!sender_is_a ? MERLON_ORIGINAL : MERLON_REPLY;
}

/* ct state of a packet of a session, before the packet itself changes it. */
merlon_inline __u8 merlon_state_of(__u8 session_flags, __u8 direction)
{
	return direction == MERLON_REPLY || session_flags & MERLON_S_SEEN_REPLY ? MERLON_CT_ESTABLISHED : MERLON_CT_NEW;
}

/* Which timeout holds after a packet of this protocol, which has no states. */
merlon_inline __u32 merlon_timeout_of(const struct merlon_session *session, __u8 l4proto, __u64 now)
{
	int replied = session->flags & MERLON_S_SEEN_REPLY;

	switch (l4proto) {
	case MERLON_PROTO_UDP:
		return replied && now - session->created_ns > MERLON_UDP_STREAM_NS ? MERLON_T_UDP_STREAM : MERLON_T_UDP;
	case MERLON_PROTO_UDPLITE:
		return replied ? MERLON_T_UDP_STREAM : MERLON_T_UDP;
	case MERLON_PROTO_GRE:
		return replied ? MERLON_T_GRE_STREAM : MERLON_T_GRE;
	case MERLON_PROTO_ICMP:
		return MERLON_T_ICMP;
	case MERLON_PROTO_ICMPV6:
		return MERLON_T_ICMPV6;
	default:
		return MERLON_T_GENERIC;
	}
}

/*
 * Another packet of a protocol without states, or with 0 of one that has no tracker here. It is assured when it has
 * become a stream; ICMP and what has no tracker never is.
 */
merlon_inline void merlon_prolong(struct merlon_session *session, __u8 l4proto, __u64 now, const struct merlon_trackers *t)
{
	__u32 which = l4proto ? merlon_timeout_of(session, l4proto, now) : MERLON_T_GENERIC;

	merlon_opaque(which);
	session->expires_ns = now + t->ns[which < MERLON_TIMEOUTS ? which : MERLON_T_GENERIC];
	if (which == MERLON_T_UDP_STREAM || which == MERLON_T_GRE_STREAM)
		session->flags |= MERLON_S_ASSURED;
}

/* As merlon_prolong() asks for it. */
merlon_inline __u8 merlon_tracker_of(const struct merlon_headers *h)
{
	return h->flags & MERLON_H_GENERIC ? 0 : h->ct_proto;
}

merlon_inline void merlon_segment_of(const struct merlon_headers *h, __u8 direction, struct merlon_tcp_segment *segment)
{
	__u32 end = h->seq + h->ct_bytes - h->tcp_header;

	segment->direction = direction;
	segment->flags = h->tcp_flags;
	segment->seq = h->seq;
	segment->ack = segment->sack = h->ack;
	segment->end = end + !!(h->tcp_flags & MERLON_TCP_SYN) + !!(h->tcp_flags & MERLON_TCP_FIN);
	segment->window = h->window;
	segment->options = h->options.flags;
	segment->scale = h->options.scale;
	segment->pad = 0;
	merlon_unroll
	for (__u32 i = 0; i < 4; i++)
		if (i < h->options.blocks && merlon_before(segment->sack, h->options.edge[i]))
			segment->sack = h->options.edge[i];
}

/*
 * From an end to itself. nf_conntrack finds the reply's direction of such a connection first (it is entered last,
 * __nf_conntrack_hash_insert() of net/netfilter/nf_conntrack_core.c): all packets but the first are replies.
 */
merlon_inline int merlon_answers_itself(const struct merlon_headers *h)
{
	__be16 sport, dport, id;
	__u32 differ = 0;

	if (merlon_ports(h, &sport, &dport, &id) < 0)
		return 0;
	for (int i = 0; i < 4; i++)
		differ |= h->saddr[i] ^ h->daddr[i];
	return !differ && sport == dport;
}

/*
 * The session that a packet starts, with that packet in it; sender_is_a as merlon_tuple_make() gave it. 0, or -1: the
 * packet is invalid.
 */
merlon_inline int merlon_session_start(struct merlon_session *session, const struct merlon_headers *h, int sender_is_a,
				       __u64 now, const struct merlon_trackers *t)
{
	__builtin_memset(session, 0, sizeof(*session));
	session->flags = sender_is_a && !merlon_answers_itself(h) ? MERLON_S_ORIG_IS_A : 0;
	session->created_ns = now;
	session->stats[MERLON_ORIGINAL].packets = 1;
	session->stats[MERLON_ORIGINAL].bytes = h->bytes;
	if (h->ct_proto == MERLON_PROTO_TCP) {
		struct merlon_tcp_segment segment;

		merlon_segment_of(h, MERLON_ORIGINAL, &segment);
		if (merlon_tcp_first(session, &segment, t->tcp_loose))
			return -1;
		return merlon_tcp_step(session, &segment, now, t) == MERLON_TCP_REFUSED ? -1 : 0;
	}
	if (merlon_tracker_of(h) == MERLON_PROTO_SCTP)
		return merlon_sctp_first(session, &h->sctp) ||
				       merlon_sctp_step(session, &h->sctp, MERLON_ORIGINAL, now, t) == MERLON_SCTP_REFUSED ?
			       -1 : 0;
	if (merlon_is_icmp(h->ct_proto) && merlon_icmp_class(h) != MERLON_ICMP_REQUEST)
		return -1;
	merlon_prolong(session, merlon_tracker_of(h), now, t);
	return 0;
}

/*
 * A source that no host has: the stack discards such packets from the network behind the hook (ip_route_input_slow() of
 * net/ipv4/route.c, ip6_rcv_core()), and nf_conntrack forgets the flow that they would begin.
 */
merlon_inline int merlon_is_no_sender(const struct merlon_headers *h)
{
	const __u8 *from = (const __u8 *)h->saddr;

	if (h->family == MERLON_IPV4)
		return from[0] == 127 || (from[0] & 0xf0) == 0xe0 || h->saddr[0] == 0xffffffff ||
		       (!from[0] && h->daddr[0] != 0xffffffff);
	return from[0] == 0xff || (!h->saddr[0] && !h->saddr[1] && !h->saddr[2] && from[12] == 0 && from[13] == 0 &&
				   from[14] == 0 && from[15] == 1);
}

/* One more packet of the originator of this session proves that there is somebody who gets the answers. */
merlon_inline int merlon_is_proof(const struct merlon_session *session, const struct merlon_headers *h)
{
	if (h->ct_proto == MERLON_PROTO_TCP || merlon_tracker_of(h) == MERLON_PROTO_SCTP)
		return session->flags & MERLON_S_ASSURED;
	return session->flags & MERLON_S_SEEN_REPLY && !merlon_is_icmp(h->ct_proto);
}

/* What a packet did to its session. */
enum merlon_step {
	MERLON_STEP_OK,
	MERLON_STEP_INVALID,	/* ct state invalid; the session goes on as if it had not come */
	MERLON_STEP_REOPEN,	/* the session is over; the packet starts another one */
	MERLON_STEP_KILL,	/* the session ends with this packet, which still belongs to it */
};

/*
 * Enters a packet into its session: state, times, counters. Its ct state is merlon_state_of() before, unless the step
 * says otherwise.
 */
merlon_inline int merlon_session_step(struct merlon_session *session, const struct merlon_headers *h, __u8 direction,
				      __u64 now, const struct merlon_trackers *t)
{
	int outcome = MERLON_TCP_STEPPED;

	if (h->ct_proto == MERLON_PROTO_TCP) {
		struct merlon_tcp_segment segment;

		merlon_segment_of(h, direction, &segment);
		outcome = merlon_tcp_step(session, &segment, now, t);
		if (outcome == MERLON_TCP_REFUSED)
			return MERLON_STEP_INVALID;
		if (outcome == MERLON_TCP_REOPENED)
			return MERLON_STEP_REOPEN;
	} else if (merlon_tracker_of(h) == MERLON_PROTO_SCTP) {
		if (merlon_sctp_step(session, &h->sctp, direction, now, t) == MERLON_SCTP_REFUSED)
			return MERLON_STEP_INVALID;
	} else {
		merlon_prolong(session, merlon_tracker_of(h), now, t);
	}
	if (direction == MERLON_ORIGINAL && merlon_is_proof(session, h))
		session->flags |= MERLON_S_PROVED;
	session->stats[direction & 1].packets++;
	session->stats[direction & 1].bytes += h->bytes;
	if (direction == MERLON_REPLY)
		session->flags |= MERLON_S_SEEN_REPLY;
	return outcome == MERLON_TCP_KILLED ? MERLON_STEP_KILL : MERLON_STEP_OK;
}

/* Whether a session has proved itself, by the packet that just was entered: the originator goes on after an answer. */
merlon_inline int merlon_session_proved(const struct merlon_session *session, __u8 direction)
{
	return direction == MERLON_ORIGINAL && session->flags & MERLON_S_PROVED;
}

/* What a cached decision depends on; all of it must agree. */
struct merlon_context {
	__u32 generation, routes;
	__u32 iif, oif;
	__u8 hook;
	__u8 ct_state;
	__u8 tcp_flags;
	__u8 tos;		/* or traffic class */
};

/* `from`: skb->ingress_ifindex, which only what is forwarded has at egress. */
merlon_inline __u8 merlon_hook_of(__u32 side, __u32 from)
{
	__u64 forwarded = -(__u64)from;

	/* no branch: the verifier would follow both all the way */
	merlon_opaque(forwarded);
	return side == MERLON_INGRESS ? MERLON_INPUT : MERLON_OUTPUT - (forwarded >> 63);
}

/* What rules of routing may look at (`ip rule tos`): not the two bits of ECN, which change within a flow. */
#define MERLON_ROUTE_TOS 0xfc

/* Whether what a session remembers is of the policy in force, and of the routes as they are. */
merlon_inline int merlon_session_is_current(const struct merlon_session *session, const struct merlon_context *context)
{
	return session->generation == context->generation && session->routes == context->routes;
}

/* The index of what it remembers for a direction and a side, 0: nothing that counts. The caller holds its lock. */
merlon_inline __u32 merlon_session_remembers(const struct merlon_session *session, const struct merlon_context *context,
					     __u8 direction, __u8 side)
{
	return merlon_session_is_current(session, context) ? session->decision[direction & 1][side & 1] : 0;
}

/* `decision`: one of a current session's. */
merlon_inline int merlon_decision_holds(const struct merlon_decision *decision, const struct merlon_context *context)
{
	return decision->verdict == MERLON_ACCEPT && decision->generation == context->generation &&
	       decision->iif == context->iif && decision->oif == context->oif && decision->hook == context->hook &&
	       decision->ct_state == context->ct_state &&
	       !((decision->tcp_flags ^ context->tcp_flags) & decision->tcp_mask);
}

/* A route that was looked up lately: "forwarded" is trusted for about a second. */
merlon_inline __u16 merlon_route_time(__u64 now)
{
	return now >> 29;
}

/* Likewise; `checked_s`: of the same session and direction. */
merlon_inline int merlon_forward_holds(const struct merlon_decision *decision, __u16 checked_s,
				       const struct merlon_context *context, __u64 now)
{
	return decision->verdict == MERLON_ELSEWHERE && decision->generation == context->generation &&
	       decision->iif == context->iif && decision->tos == (context->tos & MERLON_ROUTE_TOS) &&
	       (__u16)(merlon_route_time(now) - checked_s) <= 1;
}

/* Takes a decision into a session; those that it has of another policy or of other routes are forgotten. */
merlon_inline void merlon_session_remember(struct merlon_session *session, __u32 generation, __u32 routes, __u8 direction,
					   __u8 side, __u32 decision)
{
	if (session->generation != generation || session->routes != routes) {
		__builtin_memset(session->decision, 0, sizeof(session->decision));
		session->generation = generation;
		session->routes = routes;
	}
	session->decision[direction & 1][side & 1] = decision;
}

/* The answers of the data path to "what state" travel in skb->tc_index (16 bits). */
#define MERLON_CARRIED 0xa000
#define MERLON_CARRIED_MASK 0xfff0

merlon_inline __u16 merlon_carry(__u8 ct_state, __u8 direction)
{
	return MERLON_CARRIED | (ct_state & 7) << 1 | (direction & 1);
}

/* From ingress to the egress where a forwarded packet is judged nothing else goes than that its checksum is wrong. */
#define MERLON_CARRY_BAD (MERLON_CARRIED | MERLON_CT_INVALID << 1)

merlon_inline int merlon_is_carried(__u32 tc_index)
{
	return (tc_index & MERLON_CARRIED_MASK) == MERLON_CARRIED;
}

#endif
