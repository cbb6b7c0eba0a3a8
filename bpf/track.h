/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ct state of a packet that did not take the short way, what it does to its session, and what is remembered of it.
 * Works on the per-CPU scratch, which holds the packet's headers.
 */
#ifndef MERLON_TRACK_H
#define MERLON_TRACK_H

#include "bpf/debug.h"
#include "bpf/decision.h"
#include "bpf/maps.h"
#include "bpf/ours.h"
#include "bpf/stats.h"
#include "bpf/table.h"

#define MERLON_AF_INET 2
#define MERLON_AF_INET6 10
#define MERLON_REDIRECTED_HEADER 4	/* ND option type, RFC 4861 4.6 */

/*
 * Where an ICMP error quotes the packet that it is about. 0: nf_conntrack does not follow it. A redirect does so in an
 * option behind two addresses (RFC 4861 4.5), of which the first one is looked at; it comes from a neighbour.
 */
merlon_inline __u32 merlon_inner_offset(struct __sk_buff *skb, const struct merlon_headers *h)
{
	const __u32 option = h->ct_offset + MERLON_ICMP_BYTES + 32;
	const __u8 *type = (const __u8 *)&h->sport, *from = (const __u8 *)h->saddr;
	__u8 raw[2];

	if (h->family == MERLON_IPV4 || merlon_icmp_class(h) != MERLON_ICMP_REDIRECT)
		return h->ct_offset + MERLON_ICMP_BYTES;
	if (type[1] || h->ttl != 255 || from[0] != 0xfe || (from[1] & 0xc0) != 0x80 || h->ct_bytes < MERLON_ICMP_BYTES + 34 ||
	    merlon_read(skb, option, raw, sizeof(raw)) || raw[0] != MERLON_REDIRECTED_HEADER || !raw[1])
		return 0;
	return option + 8;
}

/*
 * The stack itself says that it could not deliver or forward a packet (no route, no neighbour, its hop limit) that has
 * no session, since no hook of ours let it pass yet. It is related if that packet would have started one: nf_conntrack
 * attaches such errors to the packet's connection, though it is not entered (nf_ct_attach() in net/ipv4/icmp.c and
 * net/ipv6/icmp.c).
 */
__noinline int merlon_track_early(struct __sk_buff *skb, int sender_is_a)
{
	struct merlon_scratch *s = merlon_only(scratch);

	if (!s || s->side != MERLON_EGRESS || s->context.hook != MERLON_OUTPUT || !merlon_is_stacks_own(skb))
		return 0;
	/* the rest of it is not there */
	s->inner.flags |= MERLON_H_FIRST;
	if (s->inner.ct_proto == MERLON_PROTO_SCTP)
		merlon_read_chunks(skb, s->inner.ct_offset + MERLON_SCTP_BYTES, s->headers.bytes, &s->inner.sctp);
	if (merlon_tracking(&s->inner) != MERLON_TRACK_SESSION || merlon_session_start(&s->session, &s->inner, sender_is_a, s->now, &trackers))
		return 0;
	s->context.ct_state = MERLON_CT_RELATED;
	s->direction = MERLON_REPLY;
	s->has_direction = 1;
	return 0;
}

/*
 * An ICMP error: related, if it goes back to the sender of the packet inside and that one's session is known. There is
 * none: returns 1 + merlon_tuple_make() of the packet inside, else 0.
 */
__noinline int merlon_track_inner(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *session;
	int sender_is_a;
	__u32 offset;
	__u8 family;

	if (!s)
		return 0;
	family = s->headers.family & 1;
	offset = merlon_inner_offset(skb, &s->headers);
	if (!offset || merlon_parse_inner(skb, offset, s->headers.bytes, family, &s->inner))
		return 0;
	merlon_choose_tracker(&s->inner, &trackers);
	for (int i = 0; i < 4; i++)
		if (s->inner.saddr[i] != s->headers.daddr[i])
			return 0;
	sender_is_a = merlon_tuple_make(&s->inner_tuple, &s->inner);
	if (sender_is_a < 0)
		return 0;
	session = merlon_find(family, &s->inner_tuple, merlon_hash(family, &s->inner_tuple), s->now);
	if (!session)
		return 1 + sender_is_a;
	s->context.ct_state = MERLON_CT_RELATED;
	/* it goes the other way than the packet inside; of a flow from an end to itself that is none: merlon_answers_itself() */
	s->direction = merlon_direction_of(session->flags, merlon_answers_itself(&s->inner) || !sender_is_a);
	s->has_direction = 1;
	return 0;
}

/*
 * What no route is asked for, which a default route would seem to lead away: multicast, the limited broadcast, and what is
 * from nobody to nobody (ip_route_input_slow() of net/ipv4/route.c).
 */
merlon_inline int merlon_is_for_all(const struct merlon_headers *h)
{
	__u8 first = *(const __u8 *)h->daddr;

	if (h->family == MERLON_IPV6)
		return first == 0xff;
	return (first & 0xf0) == 0xe0 || h->daddr[0] == 0xffffffff || !(h->daddr[0] | h->saddr[0]);
}

/*
 * Rules see an authentication header where the tracker sees what is behind, and routing headers, of which it sees
 * nothing: no decision of a session is for packets with and without.
 */
merlon_inline int merlon_is_wrapped(const struct merlon_headers *h)
{
	return h->l4_offset != h->ct_offset || h->has_routing;
}

/* Where a packet that came in is judged. */
enum merlon_way {
	MERLON_WAY_INPUT,	/* here: all that is not forwarded for certain, see ARCHITECTURE.md */
	MERLON_WAY_EGRESS,	/* at the interface where it leaves */
	MERLON_WAY_FORWARD,	/* here, as FORWARD: it leaves by an interface that is not filtered */
};

/*
 * Looks at the route of a packet that came in. A neighbour that is unknown yet and a packet that is too large are the
 * forwarding path's business.
 */
__noinline int merlon_way(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct bpf_fib_lookup *fib;
	__u32 oif;
	long r;

	if (!s || merlon_is_for_all(&s->headers))
		return MERLON_WAY_INPUT;
	fib = &s->fib;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = skb->ifindex;
	fib->l4_protocol = s->headers.l4proto;
	fib->sport = s->headers.sport;
	fib->dport = s->headers.dport;
	fib->tot_len = 1;	/* no question of MTU here */
	if (s->headers.family == MERLON_IPV4) {
		fib->family = MERLON_AF_INET;
		fib->tos = s->headers.tos;
		fib->ipv4_src = s->headers.saddr[0];
		fib->ipv4_dst = s->headers.daddr[0];
	} else {
		fib->family = MERLON_AF_INET6;
		/* routes may be chosen by the flow label, too */
		if (bpf_skb_load_bytes(skb, s->network, &fib->flowinfo, sizeof(fib->flowinfo)))
			return MERLON_WAY_INPUT;
		fib->flowinfo &= bpf_htonl(0x0fffffff);
		__builtin_memcpy(fib->ipv6_src, s->headers.saddr, 16);
		__builtin_memcpy(fib->ipv6_dst, s->headers.daddr, 16);
	}
	r = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
	s->discarded = r == BPF_FIB_LKUP_RET_BLACKHOLE || r == BPF_FIB_LKUP_RET_UNREACHABLE || r == BPF_FIB_LKUP_RET_PROHIBIT;
	if (r != BPF_FIB_LKUP_RET_SUCCESS && r != BPF_FIB_LKUP_RET_NO_NEIGH && r != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return MERLON_WAY_INPUT;
	oif = fib->ifindex;
	if (bpf_map_lookup_elem(&filtered, &oif))
		return MERLON_WAY_EGRESS;
	s->context.hook = MERLON_FORWARD;
	s->context.oif = oif;
	return MERLON_WAY_FORWARD;
}

/* What the cold path goes on with. */
enum merlon_track_result {
	MERLON_TRACKED_JUDGE,		/* the rules decide */
	MERLON_TRACKED_ACCEPT,		/* a decision was remembered, and counted */
	MERLON_TRACKED_FORWARD,		/* at ingress: left to the egress hook */
};

/* Remembers for about a second that packets of this session are forwarded. */
merlon_inline void merlon_remember_forward(struct merlon_scratch *s, struct merlon_session *session)
{
	__u32 id;

	__builtin_memset(&s->decision, 0, sizeof(s->decision));
	s->decision.generation = s->context.generation;
	s->decision.iif = s->context.iif;
	s->decision.verdict = MERLON_ELSEWHERE;
	s->decision.tos = s->context.tos & MERLON_ROUTE_TOS;
	id = merlon_decision_id(s);
	if (!id || merlon_lock(session, s->hash))
		return;
	merlon_session_remember(session, s->context.generation, s->context.routes, s->direction, MERLON_INGRESS, id);
	session->checked_s[s->direction & 1] = merlon_route_time(s->now);
	merlon_unlock(session);
}

/* At ingress: whether the egress hook judges the packet. `session` may be NULL. */
merlon_inline int merlon_leaves(struct __sk_buff *skb, struct merlon_scratch *s, struct merlon_session *session)
{
	const struct merlon_decision *d;
	int leaves, stays;

	if (!session || merlon_lock(session, s->hash))
		return merlon_way(skb) == MERLON_WAY_EGRESS;
	s->direction = merlon_direction_of(session->flags, s->sender_is_a);
	d = merlon_remembered(session, &s->context, s->direction, MERLON_INGRESS);
	leaves = d && merlon_forward_holds(d, session->checked_s[s->direction & 1], &s->context, s->now);
	stays = d && d->verdict == MERLON_ACCEPT && d->hook == MERLON_INPUT && d->generation == s->context.generation &&
		d->iif == s->context.iif;
	merlon_unlock(session);
	if (leaves || stays)
		return leaves;
	if (merlon_way(skb) != MERLON_WAY_EGRESS)
		return 0;
	merlon_remember_forward(s, session);
	return 1;
}

/* merlon_session_step() and _start(), verified apart from what leads to them. */
__noinline int merlon_advance(struct merlon_session *session, const struct merlon_headers *h, __u32 direction, __u64 now)
{
	if (!session || !h)
		return MERLON_STEP_INVALID;
	return merlon_session_step(session, h, direction, now, &trackers);
}

__noinline int merlon_begin(struct merlon_scratch *s)
{
	if (!s)
		return -1;
	return merlon_session_start(&s->session, &s->headers, s->sender_is_a, s->now, &trackers);
}

/*
 * Whether the stack discards the packet behind this hook, for its source or by its route: no connection begins with it
 * (ip_route_input_slow(), __fib_validate_source() of net/ipv4/fib_frontend.c).
 */
merlon_inline int merlon_is_discarded(const struct merlon_scratch *s)
{
	__u8 *of_interface;
	__u32 iif;

	if (s->side == MERLON_EGRESS || s->context.iif == MERLON_LOOPBACK)
		return 0;
	if (s->discarded || merlon_is_no_sender(&s->headers))
		return 1;
	if (s->headers.family != MERLON_IPV4 || !(control.martians >> merlon_martian_bit(s->headers.saddr[0]) & 1) ||
	    !bpf_map_lookup_elem(&martian, &s->headers.saddr[0]))
		return 0;
	iif = s->context.iif;
	of_interface = bpf_map_lookup_elem(&filtered, &iif);
	return !of_interface || !(*of_interface & MERLON_ACCEPTS_OWN);
}

/* Whether a session begins with the packet if it is accepted: a question of its own, since what is denied need not ask it. */
merlon_inline int merlon_starts(const struct merlon_scratch *s)
{
	return s->starts_session && !merlon_is_discarded(s);
}

/* A packet of a tuple that has no session. */
merlon_inline void merlon_track_new(struct merlon_scratch *s)
{
	s->has_session = 0;
	s->direction = MERLON_ORIGINAL;
	if (merlon_begin(s))
		return;
	s->context.ct_state = MERLON_CT_NEW;
	s->has_direction = 1;
	s->starts_session = 1;
}

/* A packet of a session: changes it, and gives its lock back. */
merlon_inline void merlon_track_known(struct merlon_scratch *s, struct merlon_session *session)
{
	__u8 state;
	int step;

	s->direction = merlon_direction_of(session->flags, s->sender_is_a);
	state = merlon_state_of(session->flags, s->direction);
	step = merlon_advance(session, &s->headers, s->direction, s->now);
	if (step == MERLON_STEP_REOPEN || step == MERLON_STEP_KILL) {
		merlon_forget(s->headers.family, &s->tuple, s->hash, session);
	} else if (step == MERLON_STEP_OK) {
		s->has_session = 1;
		s->remembered = merlon_session_remembers(session, &s->context, s->direction, s->side);
		if (!(session->flags & MERLON_S_ESTABLISHED) && merlon_session_proved(session, s->direction))
			merlon_establish(s, session);
	}
	merlon_unlock(session);
	if (step == MERLON_STEP_REOPEN) {
		merlon_track_new(s);
	} else if (step != MERLON_STEP_INVALID) {
		s->context.ct_state = state;
		s->has_direction = 1;
	}
}

/*
 * A packet that came in a frame for several hosts is not forwarded (ip_forward(), ip6_forward()), and will not be seen at
 * egress; nf_conntrack has entered it into its connection by then, though none begins with it.
 */
__noinline int merlon_track_discarded(void)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *session = s ? merlon_lock_session(s) : NULL;

	if (!session)
		return 0;
	if (session->expires_ns >= s->now)
		merlon_track_known(s, session);
	else
		merlon_unlock(session);
	return 0;
}

/* Of a packet or of the reset that answers it, of either family. */
merlon_inline struct merlon_tuple6 *merlon_rejected_key(struct merlon_scratch *s, const struct merlon_headers *h)
{
	union merlon_tuple *key = &s->inner_tuple;

	merlon_tuple6_set(key, h->saddr, h->daddr, merlon_pair16(h->sport, h->dport), merlon_tuple_tail(0, h->ct_proto));
	key->v6.pad = h->family;
	return &key->v6;
}

/*
 * The packet is answered by a reset: its connection is over (nf_conntrack_tcp_set_closing()). One that it would have begun
 * may come to be all the same: merlon_track_rejected_reset().
 */
__noinline int merlon_track_reset(void)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *session;

	if (!s || s->headers.ct_proto != MERLON_PROTO_TCP)
		return 0;
	if (merlon_starts(s))
		return bpf_map_update_elem(&rejected, merlon_rejected_key(s, &s->headers), &s->session, BPF_ANY);
	if (!merlon_reset_closes || !s->has_session)
		return 0;
	session = merlon_lock_session(s);
	if (!session)
		return 0;
	if (session->state != MERLON_TCP_CLOSE)
		session->expires_ns = s->now + trackers.ns[MERLON_T_TCP + MERLON_TCP_CLOSE];
	session->state = MERLON_TCP_CLOSE;
	merlon_unlock(session);
	return 0;
}

/*
 * An ICMP error leaves that says that a reset was rejected which itself answered for the policy. It goes in the first
 * packet's direction again, with which nf_conntrack enters the connection (nf_conntrack_attach() and
 * __nf_conntrack_confirm() of net/netfilter/nf_conntrack_core.c) as that packet left it.
 */
__noinline int merlon_track_rejected_reset(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *session;
	struct merlon_tuple6 *key;

	if (!s || merlon_parse_inner(skb, s->headers.ct_offset + MERLON_ICMP_BYTES, s->headers.bytes, s->headers.family & 1, &s->inner) ||
	    s->inner.ct_proto != MERLON_PROTO_TCP || merlon_tuple_make(&s->tuple, &s->inner) < 0)
		return 0;
	s->hash = merlon_hash(s->headers.family, &s->tuple);
	session = merlon_lock_session(s);
	if (session) {
		merlon_unlock(session);
		return 0;
	}
	key = merlon_rejected_key(s, &s->inner);
	session = bpf_map_lookup_elem(&rejected, key);
	if (!session)
		return 0;
	if (session->expires_ns >= s->now) {
		s->session = *session;
		merlon_enter();
	}
	return bpf_map_delete_elem(&rejected, key);
}

/* Answers as the session remembers, if that is for such packets. */
merlon_inline int merlon_recall(struct merlon_scratch *s)
{
	const struct merlon_decision *d = s->remembered ? bpf_map_lookup_elem(&decisions, &s->remembered) : NULL;

	if (!d || !merlon_decision_holds(d, &s->context))
		return MERLON_TRACKED_JUDGE;
	merlon_count_at(d->path, s->headers.bytes);
	merlon_stat_packet_apart(MERLON_STAT_HITS, s->context.hook, s->headers.bytes);
	return MERLON_TRACKED_ACCEPT;
}

/* Finds out the ct state, changes the session by the packet, and looks for a decision. */
__noinline int merlon_track(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *session = NULL;
	int sender_is_a = -1;
	__u8 how;

	if (!s)
		return MERLON_TRACKED_JUDGE;
	how = s->bad_checksum ? MERLON_TRACK_INVALID : merlon_tracking(&s->headers);
	if (how == MERLON_TRACK_SESSION) {
		sender_is_a = merlon_tuple_make(&s->tuple, &s->headers);
		if (sender_is_a >= 0) {
			s->sender_is_a = sender_is_a;
			s->hash = merlon_hash(s->headers.family, &s->tuple);
			if (s->reason != MERLON_COLD_NO_SESSION)
				session = merlon_find(s->headers.family, &s->tuple, s->hash, s->now);
		}
	}
	/* packets that leave are tracked at egress */
	if (s->side == MERLON_INGRESS && merlon_leaves(skb, s, session)) {
		if (skb->pkt_type != PACKET_HOST && sender_is_a >= 0)
			merlon_track_discarded();
		return MERLON_TRACKED_FORWARD;
	}
	s->context.ct_state = MERLON_CT_INVALID;
	if (s->carried) {
		s->context.ct_state = s->carried >> 1 & 7;
		s->direction = s->carried & 1;
		s->has_direction = s->context.ct_state != MERLON_CT_INVALID &&
				   s->context.ct_state != MERLON_CT_UNTRACKED;
		if (session && s->has_direction && !merlon_lock(session, s->hash)) {
			s->has_session = 1;
			s->remembered = merlon_session_remembers(session, &s->context, s->direction, s->side);
			merlon_unlock(session);
		}
	} else if (how == MERLON_TRACK_NONE) {
		s->context.ct_state = MERLON_CT_UNTRACKED;
	} else if (how == MERLON_TRACK_INNER) {
		int without = merlon_track_inner(skb);

		if (without > 0)
			merlon_track_early(skb, without - 1);
	} else if (sender_is_a >= 0) {
		/* the flow may be another one's now, or a new session of its own */
		if (session && merlon_lock(session, s->hash))
			session = merlon_lock_session(s);
		if (session)
			merlon_track_known(s, session);
		else
			merlon_track_new(s);
	}
	if (!s->has_session || merlon_is_wrapped(&s->headers))
		return MERLON_TRACKED_JUDGE;
	return merlon_recall(s);
}

/*
 * Rules may look at the first bytes of a transport header that are no ports, or at ports of a protocol that this kernel has
 * no tracker for; the tuple does not have those, and a session's next packet may differ in them.
 */
merlon_inline int merlon_tuple_says_all(const struct merlon_scratch *s, const struct merlon_walk *w)
{
	const struct merlon_headers *h = &s->headers;

	return !merlon_is_wrapped(h) && (merlon_tuple_has_ports(h) || (!w->bare_ports && !merlon_has_ports(h->ct_proto)));
}

/* The decision of the walk that just ended: its index, 0: it cannot be remembered. */
merlon_inline __u32 merlon_decide(struct merlon_scratch *s, const struct merlon_walk *w)
{
	long path = w->cacheable && merlon_tuple_says_all(s, w) ? merlon_path_of(s, w) : -1;
	struct merlon_decision *d = &s->decision;

	if (path < 0)
		return 0;
	__builtin_memset(d, 0, sizeof(*d));
	d->generation = w->generation;
	d->iif = s->context.iif;
	d->oif = s->context.oif;
	d->path = path;
	d->hook = s->context.hook;
	d->ct_state = s->context.ct_state;
	d->verdict = MERLON_ACCEPT;
	d->tcp_mask = w->tcp_mask;
	d->tcp_flags = s->context.tcp_flags & w->tcp_mask;
	return merlon_decision_id(s);
}

/* Another CPU has entered the session of this packet, too: it is one of its packets. */
merlon_inline void merlon_join(struct merlon_scratch *s)
{
	struct merlon_session *session = merlon_lock_session(s);

	if (!session)
		return;
	merlon_advance(session, &s->headers, merlon_direction_of(session->flags, s->sender_is_a), s->now);
	merlon_unlock(session);
}

/* An accepted packet: enters its session, or the decision into the one that there is. */
merlon_inline void merlon_remember(struct merlon_scratch *s, const struct merlon_walk *w)
{
	int starts = merlon_starts(s);
	__u32 id = starts || s->has_session ? merlon_decide(s, w) : 0;
	struct merlon_session *session;

	if (starts) {
		s->session.admitted_generation = w->generation;
		s->session.admitted = MERLON_ADMITTED(s->context.hook, w->rule);
		if (id)
			merlon_session_remember(&s->session, w->generation, s->context.routes, s->direction, s->side, id);
		if (merlon_enter() == MERLON_ENTERED_ALREADY)
			merlon_join(s);
		return;
	}
	if (!id)
		return;
	session = merlon_lock_session(s);
	if (!session)
		return;
	merlon_session_remember(session, w->generation, s->context.routes, s->direction, s->side, id);
	if (s->direction == MERLON_ORIGINAL && session->admitted_generation != w->generation) {
		session->admitted_generation = w->generation;
		session->admitted = MERLON_ADMITTED(s->context.hook, w->rule);
	}
	merlon_unlock(session);
}

#endif
