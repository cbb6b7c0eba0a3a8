/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The long way of a packet: all headers, its route, its session, the rules. Each part is a global function, which the
 * verifier looks at once; they share the per-CPU scratch and walk. All of it is a program of its own, so that the verifier
 * does not look at it again for each side.
 */
#ifndef MERLON_COLD_H
#define MERLON_COLD_H

#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>

#include "bpf/act.h"
#include "bpf/checksum.h"
#include "bpf/maps.h"
#include "bpf/ours.h"
#include "bpf/track.h"

#define MERLON_FRAGMENT_NS 30000000000ULL	/* how long the stack waits for the rest: ipfrag_time */

merlon_inline int merlon_not_judged(void)
{
	merlon_stat(MERLON_STAT_UNJUDGED);
	return MERLON_PASS;
}

merlon_inline int merlon_is_mrdisc(const struct merlon_headers *h)
{
	return h->ct_proto == MERLON_PROTO_ICMPV6 && merlon_icmp6_is_mrdisc(*(const __u8 *)&h->sport);
}

/* Headers and surroundings of a packet into the scratch. -1: malformed. */
__noinline int merlon_prepare(struct __sk_buff *skb, __u32 side)
{
	struct merlon_scratch *s = merlon_only(scratch);
	__u8 family = skb->protocol == bpf_htons(ETH_P_IP) ? MERLON_IPV4 : MERLON_IPV6;

	if (!s)
		return -1;
	s->network = merlon_network_offset(skb);
	if (merlon_parse(skb, family, skb->len - s->network, &s->headers))
		return -1;
	/* the stack checks what comes in; what goes out it has made, or the card will */
	if (side == MERLON_INGRESS && s->headers.flags & MERLON_H_CHECKSUM)
		return -1;
	if (!merlon_have_mrdisc && merlon_is_mrdisc(&s->headers))
		s->headers.flags |= MERLON_H_UNTRACKABLE;
	merlon_choose_tracker(&s->headers, &trackers);
	s->side = side;
	s->direction = MERLON_ORIGINAL;
	s->has_direction = 0;
	s->has_session = 0;
	s->remembered = 0;
	s->starts_session = 0;
	s->bad_checksum = 0;
	s->discarded = 0;
	s->context.generation = control.generation;
	s->context.routes = control.routes;
	s->context.tcp_flags = s->headers.tcp_flags;
	s->context.tos = s->headers.tos;
	s->context.hook = merlon_hook_of(side, skb->ingress_ifindex);
	if (side == MERLON_INGRESS) {
		s->context.iif = skb->ifindex;
		s->context.oif = 0;
	} else {
		s->context.iif = skb->ingress_ifindex;
		s->context.oif = skb->ifindex;
	}
	return 0;
}

/* An answer that the daemon gives for the policy belongs to the packet that was rejected. enum merlon_answer_to, -1: none. */
merlon_inline int merlon_own_answer(struct __sk_buff *skb, const struct merlon_scratch *s)
{
	const struct merlon_control *c = &control;
	__u64 cookie;

	if (s->context.hook != MERLON_OUTPUT || !c->reject_cookie[MERLON_ANSWER_REPLY][0] || !skb->sk)
		return -1;
	cookie = bpf_get_socket_cookie(skb);
	for (int i = 0; i < MERLON_ANSWERS * MERLON_REJECT_SOCKETS; i++)
		if (cookie && cookie == c->reject_cookie[i / MERLON_REJECT_SOCKETS][i % MERLON_REJECT_SOCKETS])
			return i / MERLON_REJECT_SOCKETS;
	return -1;
}

/* `meta pkttype` of a packet that is looped back says what it was meant to be (net/netfilter/nft_meta.c). */
merlon_inline __u32 merlon_pkttype(struct __sk_buff *skb, const struct merlon_headers *h)
{
	if (skb->pkt_type != PACKET_LOOPBACK)
		return skb->pkt_type;
	if (h->family == MERLON_IPV4 && (*(const __u8 *)h->daddr & 0xf0) != 0xe0)
		return PACKET_BROADCAST;
	return merlon_is_group(h) ? PACKET_MULTICAST : PACKET_BROADCAST;
}

/* The image in force, NULL: none. */
merlon_inline const __u64 *merlon_image_words(void)
{
	void *outer = merlon_only(image);
	__u32 zero = 0;

	return outer ? bpf_map_lookup_elem(outer, &zero) : NULL;
}

/*
 * The sender's Ethernet address, where the packet came with one. Other devices have none, nor have packets that the
 * host sent itself and that come back: `ether saddr` of nft (which asks for the device's type) and xt_mac don't match.
 */
merlon_inline void merlon_put_ether(struct __sk_buff *skb, const struct merlon_scratch *s, struct merlon_packet *packet)
{
	__u8 address[ETH_ALEN];

	if (s->side != MERLON_INGRESS || s->network != ETH_HLEN || !merlon_is_ethernet(skb) ||
	    bpf_skb_load_bytes(skb, ETH_ALEN, address, sizeof(address)))
		return;
	merlon_put(packet, MERLON_F_ETHER_SADDR_HIGH, merlon_be32(address));
	merlon_put(packet, MERLON_F_ETHER_SADDR_LOW, merlon_be16(address + 4));
}

/* The packet in the scratch as the rules see it, into the walk. */
__noinline int merlon_view(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_walk *w = merlon_only(walk);
	const __u64 *words = merlon_image_words();
	struct merlon_packet *packet;

	if (!s || !w || !words)
		return -1;
	packet = &w->packet;
	merlon_fill_packet(packet, &s->headers);
	packet->hook = s->context.hook;
	packet->ct_state = s->context.ct_state;
	packet->ct_direction = s->direction;
	packet->iif = s->context.iif;
	packet->oif = s->context.oif;
	merlon_put(packet, MERLON_F_IIF, merlon_iface_class(words, s->context.iif));
	merlon_put(packet, MERLON_F_OIF, merlon_iface_class(words, s->context.oif));
	merlon_put(packet, MERLON_F_CT_STATE, s->context.ct_state);
	if (s->has_direction)
		merlon_put(packet, MERLON_F_CT_DIRECTION, s->direction);
	merlon_put(packet, MERLON_F_MARK, skb->mark);
	merlon_put(packet, MERLON_F_PKTTYPE, merlon_pkttype(skb, &s->headers));
	merlon_put_ether(skb, s, packet);
	/* a tick of the coarse clock is more than the whole bucket of a fast limit: the rate would never be reached */
	w->now_ns = ((const __u32 *)words)[__builtin_offsetof(struct merlon_image, n_limits) / 4] ? bpf_ktime_get_ns() : s->now;
	return 0;
}

/* Asks the rules about the packet in the walk. -1: there is no image. */
__noinline int merlon_ask(void)
{
	struct merlon_walk *w = merlon_only(walk);
	const __u64 *words = merlon_image_words();

	if (!w || !words)
		return -1;
	merlon_classify(words, w);
	return 0;
}

merlon_inline void merlon_fragment_key(struct merlon_scratch *s)
{
	struct merlon_fragment_key *key = &s->fragment;

	__builtin_memcpy(key->saddr, s->headers.saddr, 16);
	__builtin_memcpy(key->daddr, s->headers.daddr, 16);
	key->id = s->headers.fragment_id;
	key->ifindex = s->side == MERLON_INGRESS ? s->context.iif : s->context.oif;
	/* of IPv6 it is no part of what tells datagrams apart, and later fragments may not know it (RFC 8200 4.5) */
	key->l4proto = s->headers.family == MERLON_IPV4 ? s->headers.ct_proto : 0;
	key->hook = s->context.hook;
	key->family = s->headers.family;
	key->pad = 0;
}

/* The first fragment carries the ports: its verdict is that of the others. */
__noinline int merlon_fragment_note(__u32 verdict)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_fragment *first;

	if (!s)
		return -1;
	first = &s->first;
	first->time_ns = s->now;
	first->verdict = verdict;
	first->bytes = s->headers.fragment_bytes;
	first->is_tcp = s->headers.ct_proto == MERLON_PROTO_TCP && s->has_direction;
	first->direction = s->direction;
	first->ct_state = s->context.ct_state;
	first->seq = s->headers.seq + s->headers.ct_bytes - s->headers.tcp_header - first->bytes +
		     (s->headers.tcp_flags & MERLON_TCP_FIN) + (s->headers.tcp_flags >> 1 & 1);
	first->tuple = s->tuple;
	first->hash = s->hash;
	merlon_fragment_key(s);
	return bpf_map_update_elem(&fragments, &s->fragment, first, BPF_ANY);
}

/* The last piece of the segment in scratch->first: what acknowledges all of it acknowledges what was sent. */
__noinline int merlon_fragment_extend(void)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *session;

	if (!s)
		return -1;
	s->tuple = s->first.tuple;
	s->hash = s->first.hash;
	session = merlon_lock_session(s);
	if (!session)
		return -1;
	merlon_tcp_extend(&session->tcp, s->first.direction,
			  s->first.seq + s->headers.fragment_offset + s->headers.fragment_bytes);
	merlon_unlock(session);
	return 0;
}

merlon_inline int merlon_image_uses_ct(__u32 family)
{
	const __u64 *words = merlon_image_words();

	return !words || ((const __u32 *)words)[__builtin_offsetof(struct merlon_image, uses_ct) / 4] >> (family & 1) & 1;
}

/*
 * A later fragment. nf_tables sees the whole datagram where connections of its family are tracked, where it was sent, and, of
 * IPv4, where it is delivered (ip_local_deliver(); IPv6 reassembles behind the hook): there the verdict is the first one's,
 * and one whose first fragment is unknown is dropped. What loopback brings back nf_conntrack has seen already, and does not
 * reassemble again (ipv6_defrag()). Returns ACCEPT, DROP or CONTINUE: the rules decide, without ports.
 */
__noinline int merlon_fragment_verdict(void)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_fragment *first;

	if (!s)
		return MERLON_DROP;
	if (s->carried && s->headers.family == MERLON_IPV6)
		return MERLON_CONTINUE;
	if ((s->context.hook == MERLON_FORWARD || (s->context.hook == MERLON_INPUT && s->headers.family == MERLON_IPV6)) &&
	    !merlon_image_uses_ct(s->headers.family))
		return MERLON_CONTINUE;
	merlon_fragment_key(s);
	first = bpf_map_lookup_elem(&fragments, &s->fragment);
	if (!first || s->now - first->time_ns >= MERLON_FRAGMENT_NS)
		return MERLON_DROP;
	/*
	 * It would change what was judged (RFC 3128). Where datagrams are put together, one that has nothing but what came
	 * before is left out (IPFRAG_DUP of net/ipv4/inet_fragment.c); after any other, or an empty one, nothing remains.
	 */
	if (s->headers.fragment_offset < first->bytes) {
		if (!s->headers.fragment_bytes || s->headers.fragment_offset + s->headers.fragment_bytes > first->bytes)
			first->verdict = MERLON_DROP;
		return MERLON_DROP;
	}
	if (first->verdict != MERLON_ACCEPT)
		return MERLON_DROP;
	/* to go with the piece, merlon_send_state() */
	s->context.ct_state = first->ct_state;
	s->direction = first->direction;
	if (first->is_tcp && s->headers.flags & MERLON_H_LAST) {
		s->first = *first;
		merlon_fragment_extend();
	}
	return MERLON_ACCEPT;
}

/* Dropped before the rules were asked. */
merlon_inline int merlon_discard(struct merlon_scratch *s, __u32 side, enum merlon_stat why)
{
	merlon_stat_packet_apart(why, s->context.hook, s->headers.bytes);
	return control.flags & MERLON_C_AUDIT ? MERLON_PASS : merlon_drop(side);
}

/* The rules have spoken: counts, reports, remembers. */
__noinline int merlon_conclude(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_walk *w = merlon_only(walk);

	if (!s || !w)
		return TC_ACT_SHOT;
	merlon_stat_apart(MERLON_STAT_MISSES);
	merlon_count_walk(w);
	/* a later fragment has no state, and no rule here asks for one */
	if (s->context.ct_state == MERLON_CT_INVALID && !(s->headers.flags & MERLON_H_LATER))
		merlon_stat_apart(MERLON_STAT_INVALID);
	if (s->headers.flags & MERLON_H_FIRST)
		merlon_fragment_note(w->verdict);
	if (w->n_logs || w->logs_lost || w->verdict != MERLON_ACCEPT)
		merlon_report(skb);
	if (w->verdict == MERLON_ACCEPT) {
		merlon_stat_packet_apart(MERLON_STAT_ACCEPTED, s->context.hook, s->headers.bytes);
		merlon_remember(s, w);
		if (w->mark != skb->mark)
			skb->mark = w->mark;
		return MERLON_PASS;
	}
	merlon_stat_packet_apart(w->failed ? MERLON_STAT_FAILED : w->verdict == MERLON_REJECT ? MERLON_STAT_REJECTED :
				 MERLON_STAT_DROPPED, s->context.hook, s->headers.bytes);
	if (control.flags & MERLON_C_AUDIT)
		return MERLON_PASS;
	if (w->verdict == MERLON_REJECT && merlon_reject(skb) && w->reject == MERLON_REJECT_TCP_RST)
		merlon_track_reset();
	return merlon_drop(s->side);
}

/* At loopback's egress: the state goes with the packet. */
merlon_inline void merlon_send_state(struct __sk_buff *skb, const struct merlon_scratch *s)
{
	if (s->side == MERLON_EGRESS && skb->ifindex == MERLON_LOOPBACK)
		skb->tc_index = merlon_carry(s->context.ct_state, s->direction);
}

merlon_inline int merlon_later_fragment(struct __sk_buff *skb, struct merlon_scratch *s)
{
	__u32 verdict;

	if (s->side == MERLON_INGRESS && merlon_way(skb) == MERLON_WAY_EGRESS)
		return MERLON_PASS;
	verdict = merlon_fragment_verdict();
	if (verdict == MERLON_DROP)
		return merlon_discard(s, s->side, MERLON_STAT_DROPPED);
	if (verdict == MERLON_ACCEPT) {
		merlon_stat_packet_apart(MERLON_STAT_ACCEPTED, s->context.hook, s->headers.bytes);
		merlon_send_state(skb, s);
		return MERLON_PASS;
	}
	s->context.ct_state = s->carried ? s->carried >> 1 & 7 : MERLON_CT_INVALID;
	s->direction = s->carried & 1;
	s->has_direction = s->carried && s->context.ct_state != MERLON_CT_INVALID && s->context.ct_state != MERLON_CT_UNTRACKED;
	if (merlon_view(skb) < 0 || merlon_ask() < 0)
		return merlon_discard(s, s->side, MERLON_STAT_FAILED);
	return merlon_conclude(skb);
}

/*
 * nf_conntrack looks at checksums where packets come in, and so is it here; what came in where nothing is filtered is
 * looked at where it leaves.
 */
__noinline int merlon_verify(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);

	/* the short way has looked already: merlon_hot_sum() */
	if (!s || s->reason == MERLON_COLD_NO_SESSION)
		return 0;
	if (!trackers.checksum || s->carried || s->context.hook == MERLON_OUTPUT || !merlon_unverified(skb))
		return 0;
	if (s->side == MERLON_EGRESS && merlon_came_filtered(s->context.iif))
		return 0;
	s->bad_checksum = merlon_tracker_finds_wrong(skb, &s->headers);
	return 0;
}

merlon_inline int merlon_long_way(struct __sk_buff *skb, __u32 where, __u32 reason)
{
	struct merlon_scratch *s = merlon_only(scratch);
	__u32 side = where & 1;
	int answer, r;

	if (!s)
		return TC_ACT_SHOT;
	if (merlon_prepare(skb, side) < 0) {
		merlon_debug("malformed packet on %u", skb->ifindex);
		s->context.hook = merlon_hook_of(side, skb->ingress_ifindex);
		return merlon_discard(s, side, MERLON_STAT_MALFORMED);
	}
	s->carried = where >> 1;
	s->reason = reason;
	if (s->headers.flags & MERLON_H_LATER)
		return merlon_later_fragment(skb, s);
	answer = merlon_own_answer(skb, s);
	if (answer >= 0) {
		s->context.ct_state = MERLON_CT_RELATED;
		s->direction = answer == MERLON_ANSWER_REPLY ? MERLON_REPLY : MERLON_ORIGINAL;
		s->has_direction = 1;
	} else {
		merlon_verify(skb);
		r = merlon_track(skb);
		if (r == MERLON_TRACKED_FORWARD) {
			if (s->bad_checksum)
				skb->tc_index = MERLON_CARRY_BAD;
			return MERLON_PASS;
		}
		if (r == MERLON_TRACKED_ACCEPT) {
			if (s->headers.flags & MERLON_H_FIRST)
				merlon_fragment_note(MERLON_ACCEPT);
			merlon_send_state(skb, s);
			return MERLON_PASS;
		}
	}
	merlon_send_state(skb, s);
	if (merlon_view(skb) < 0 || merlon_ask() < 0)
		return merlon_discard(s, side, MERLON_STAT_FAILED);
	r = merlon_conclude(skb);
	if (answer == MERLON_ANSWER_TO_RESET && r == MERLON_PASS)
		merlon_track_rejected_reset(skb);
	merlon_debug("hook %u state %u: %d", s->context.hook, s->context.ct_state, r);
	return r;
}

/* `where`: enum merlon_side, and what the packet carries in skb->tc_index << 1. `reason`: enum merlon_cold_reason. */
__noinline int merlon_cold(struct __sk_buff *skb, __u32 where, __u32 reason)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_stats *count = merlon_only(stats);
	int r;

	if (!s || !count)
		return TC_ACT_SHOT;
	s->now = merlon_now(count);
	/* in memory: the verifier shall not go the long way once for each */
	s->timed_from = count->count[MERLON_STAT_COLD]++ % MERLON_TIMED_EVERY ? 0 : bpf_ktime_get_ns();
	r = merlon_long_way(skb, where, reason);
	if (s->timed_from) {
		count->count[MERLON_STAT_TIMED]++;
		count->count[MERLON_STAT_TIMED_NS] += bpf_ktime_get_ns() - s->timed_from;
	}
	return r;
}

/* To the program `cold`, which does merlon_cold(). Comes back only where it is not there: nobody judges the packet then. */
merlon_inline int merlon_go_cold(struct __sk_buff *skb, __u32 where, __u32 reason)
{
	struct merlon_scratch *s = merlon_only(scratch);

	if (s) {
		s->where = where;
		s->reason = reason;
		bpf_tail_call_static(skb, &long_way, 0);
	}
	merlon_stat_packet(MERLON_STAT_FAILED, merlon_hook_of(where & 1, skb->ingress_ifindex), skb->len);
	return control.flags & MERLON_C_AUDIT ? MERLON_PASS : merlon_drop(where & 1);
}

#endif
