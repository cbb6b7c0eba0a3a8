/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The short way of a packet: TCP and UDP without IP options, of an established session (or a datagram of a flow that
 * nobody answers) that remembers what the rules said. Nothing is changed before it is certain that the packet goes this way; in doubt it goes the long one.
 * Functions of their own for the two families: so their stacks are not added to those of the long way.
 */
#ifndef MERLON_HOT_H
#define MERLON_HOT_H

#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>

#include "bpf/act.h"
#include "bpf/ours.h"
#include "bpf/track.h"

#define MERLON_S_HOT (MERLON_S_SEEN_REPLY | MERLON_S_ASSURED)

/* As much of a packet as the short way looks at. */
struct merlon_glance {
	__u64 now;
	__u32 bytes;
	__u32 sender_is_a;
	__u8 l4proto;
	__u8 tcp_flags;
};

/* From the network header on, as far as it is in the linear part of the skb. */
merlon_inline long merlon_glance(struct __sk_buff *skb, __u8 *raw, __u32 n)
{
	return bpf_skb_load_bytes_relative(skb, 0, raw, n, BPF_HDR_START_NET);
}

/* A segment that changes nothing in an established connection, a datagram that is whole. `raw`: transport header. */
merlon_inline int merlon_glance_transport(struct merlon_glance *g, const __u8 *raw, __u32 l4_bytes)
{
	const __u8 turning = MERLON_TCP_SYN | MERLON_TCP_FIN | MERLON_TCP_RST | MERLON_TCP_ACK;

	g->tcp_flags = 0;
	if (g->l4proto == MERLON_PROTO_TCP) {
		__u32 header = raw[12] >> 4 << 2;

		g->tcp_flags = raw[13];
		return (raw[13] & turning) == MERLON_TCP_ACK && header >= MERLON_TCP_BYTES && header <= l4_bytes;
	}
	return g->l4proto == MERLON_PROTO_UDP && merlon_be16(raw + 4) >= MERLON_UDP_BYTES && merlon_be16(raw + 4) <= l4_bytes;
}

merlon_inline void merlon_hot_touch(struct merlon_session *session, const struct merlon_glance *g, __u8 direction)
{
	struct merlon_timeouts *t = merlon_only(timeouts);

	session->stats[direction & 1].packets++;
	session->stats[direction & 1].bytes += g->bytes;
	if (!t)
		return;
	if (g->l4proto == MERLON_PROTO_TCP) {
		session->tcp_last_index = MERLON_TCP_KIND_ACK;
		session->tcp_last_dir = direction;
		session->expires_ns = g->now + t->ns[MERLON_T_TCP + MERLON_TCP_ESTABLISHED];
	} else {
		session->expires_ns = g->now + merlon_timeout_ns(t, session, MERLON_PROTO_UDP, g->now);
	}
}

/* Where the packet is, as decisions know it; `side` is a constant. */
merlon_inline struct merlon_context merlon_here(struct __sk_buff *skb, const struct merlon_control *c, __u32 side)
{
	__u32 from = side == MERLON_EGRESS ? skb->ingress_ifindex : 0;

	return (struct merlon_context){
		.generation = c->generation,
		.routes = c->routes,
		.iif = side == MERLON_INGRESS ? skb->ifindex : from,
		.oif = side == MERLON_INGRESS ? 0 : skb->ifindex,
		.hook = side == MERLON_INGRESS ? MERLON_INPUT : from ? MERLON_FORWARD : MERLON_OUTPUT,
		.ct_state = MERLON_CT_ESTABLISHED,
	};
}

merlon_inline int merlon_hot_session(struct __sk_buff *skb, struct merlon_context *here, struct merlon_session *session,
				     struct merlon_glance *g, __u32 carried)
{
	__u32 side = here->hook == MERLON_INPUT ? MERLON_INGRESS : MERLON_EGRESS;
	const struct merlon_decision *d;
	__u8 direction;

	here->tcp_flags = g->tcp_flags;
	g->now = bpf_ktime_get_coarse_ns();
	if (session->expires_ns < g->now ||
	    (g->l4proto == MERLON_PROTO_TCP && session->tcp_state != MERLON_TCP_ESTABLISHED))
		return MERLON_COLD;
	direction = merlon_direction_of(session->flags, g->sender_is_a);
	if ((session->flags & MERLON_S_HOT) != MERLON_S_HOT) {
		/* one more datagram without an answer changes nothing either */
		if (g->l4proto != MERLON_PROTO_UDP || session->flags & MERLON_S_SEEN_REPLY || direction != MERLON_ORIGINAL)
			return MERLON_COLD;
		here->ct_state = MERLON_CT_NEW;
	}
	if (carried && carried != merlon_carry(here->ct_state, direction))
		return MERLON_COLD;
	d = &session->decision[direction & 1][side];
	if (side == MERLON_INGRESS && merlon_forward_holds(d, here, g->now))
		return MERLON_PASS;
	if (d->verdict != MERLON_ACCEPT || !merlon_decision_holds(d, here))
		return MERLON_COLD;
	if (!carried)
		merlon_hot_touch(session, g, direction);
	if (side == MERLON_EGRESS && here->oif == MERLON_LOOPBACK)
		skb->tc_index = merlon_carry(here->ct_state, direction);
	merlon_count_at(d->path, g->bytes);
	merlon_stat_hit(g->bytes);
	return MERLON_PASS;
}

merlon_noinline int merlon_hot4(struct __sk_buff *skb, struct merlon_context *here, __u32 carried)
{
	__u8 raw[MERLON_IPV4_BYTES + MERLON_TCP_BYTES] __attribute__((aligned(8)));
	struct merlon_session *session;
	struct merlon_tuple4 tuple;
	struct merlon_glance g;
	__be16 sport, dport;
	__be32 saddr, daddr;

	/* a datagram may be shorter than a segment's headers */
	if (merlon_glance(skb, raw, sizeof(raw)) && merlon_glance(skb, raw, MERLON_IPV4_BYTES + MERLON_UDP_BYTES))
		return MERLON_COLD;
	g.l4proto = raw[9];
	g.bytes = merlon_be16(raw + 2);
	if (raw[0] != 0x45 || merlon_be16(raw + 6) & (MERLON_IP_MF | MERLON_IP_OFFSET) ||
	    g.bytes < MERLON_IPV4_BYTES || !merlon_has_bytes(skb, g.bytes) ||
	    (here->hook == MERLON_INPUT && !merlon_checksum_ok(raw, MERLON_IPV4_BYTES)) ||
	    !merlon_glance_transport(&g, raw + MERLON_IPV4_BYTES, g.bytes - MERLON_IPV4_BYTES))
		return MERLON_COLD;
	__builtin_memcpy(&saddr, raw + 12, 4);
	__builtin_memcpy(&daddr, raw + 16, 4);
	__builtin_memcpy(&sport, raw + 20, 2);
	__builtin_memcpy(&dport, raw + 22, 2);
	tuple.id = 0;
	tuple.l4proto = g.l4proto;
	tuple.pad = 0;
	g.sender_is_a = merlon_tuple4_set(&tuple, saddr, daddr, sport, dport);
	session = bpf_map_lookup_elem(&sessions4, &tuple);
	if (session)
		return merlon_hot_session(skb, here, session, &g, carried);
	if (g.l4proto != MERLON_PROTO_UDP)
		return MERLON_COLD_NOT_ESTABLISHED;
	session = bpf_map_lookup_elem(&embryonic4, &tuple);
	return session ? merlon_hot_session(skb, here, session, &g, carried) : MERLON_COLD_NO_SESSION;
}

merlon_noinline int merlon_hot6(struct __sk_buff *skb, struct merlon_context *here, __u32 carried)
{
	__u8 raw[MERLON_IPV6_BYTES + MERLON_TCP_BYTES] __attribute__((aligned(8)));
	struct merlon_session *session;
	struct merlon_tuple6 tuple;
	struct merlon_glance g;
	__be32 saddr[4], daddr[4];
	__be16 sport, dport;

	if (merlon_glance(skb, raw, sizeof(raw)) && merlon_glance(skb, raw, MERLON_IPV6_BYTES + MERLON_UDP_BYTES))
		return MERLON_COLD;
	g.l4proto = raw[6];
	g.bytes = merlon_be16(raw + 4) + MERLON_IPV6_BYTES;
	if (raw[0] >> 4 != 6 || !merlon_has_bytes(skb, g.bytes) ||
	    !merlon_glance_transport(&g, raw + MERLON_IPV6_BYTES, g.bytes - MERLON_IPV6_BYTES))
		return MERLON_COLD;
	__builtin_memcpy(saddr, raw + 8, 16);
	__builtin_memcpy(daddr, raw + 24, 16);
	__builtin_memcpy(&sport, raw + 40, 2);
	__builtin_memcpy(&dport, raw + 42, 2);
	tuple.id = 0;
	tuple.l4proto = g.l4proto;
	tuple.pad = 0;
	g.sender_is_a = merlon_tuple6_set(&tuple, saddr, daddr, sport, dport);
	session = bpf_map_lookup_elem(&sessions6, &tuple);
	if (session)
		return merlon_hot_session(skb, here, session, &g, carried);
	if (g.l4proto != MERLON_PROTO_UDP)
		return MERLON_COLD_NOT_ESTABLISHED;
	session = bpf_map_lookup_elem(&embryonic6, &tuple);
	return session ? merlon_hot_session(skb, here, session, &g, carried) : MERLON_COLD_NO_SESSION;
}

/* MERLON_PASS, or an enum merlon_cold_reason: the long way. */
merlon_inline int merlon_hot(struct __sk_buff *skb, const struct merlon_control *c, __u32 side, __u32 carried)
{
	struct merlon_context here = merlon_here(skb, c, side);

	return skb->protocol == bpf_htons(ETH_P_IP) ? merlon_hot4(skb, &here, carried) :
						      merlon_hot6(skb, &here, carried);
}

#endif
