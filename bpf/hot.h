/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The short way of a packet: TCP and UDP without IP options, of an established session (or a datagram of a flow that
 * nobody answers) that remembers what the rules said, in the window. Nothing is changed before it is certain that the
 * packet goes this way; in doubt it goes the long one.
 * All of it is one function for each side: what differs between them is decided when it is compiled.
 */
#ifndef MERLON_HOT_H
#define MERLON_HOT_H

#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>

#include "bpf/act.h"
#include "bpf/checksum.h"
#include "bpf/ours.h"
#include "bpf/track.h"

#define MERLON_S_HOT (MERLON_S_SEEN_REPLY | MERLON_S_PROVED)

/* As much of a packet as the short way looks at. */
struct merlon_glance {
	union merlon_tuple tuple;
	__u64 hash;
	__u64 now;
	__u32 bytes;
	__u32 sender_is_a;
	struct merlon_tcp_segment segment;
	__u8 l4proto;
	__u8 tos;
	__u8 tcp_flags;
	__u8 unsummed;		/* a datagram without a checksum */
	__u8 ends_early;	/* a datagram with something behind it */
	__u8 may_sack;		/* there are options other than a timestamp */
};

#define MERLON_GLANCE 24		/* of a TCP header: four bytes of options */
#define MERLON_ONLY_TIMESTAMP 0x0101080a	/* RFC 7323 appendix A: NOP, NOP, timestamp */

/*
 * The headers: where they are, if the kernel says where that is and all of them is there to be read, else a copy in the
 * scratch. How much of the transport header: *ret_n. *ret_offset: of the network header in the skb; on 6.1 it is a guess
 * where devices have no Ethernet, good enough for lengths. NULL: too little.
 */
merlon_inline const __u8 *merlon_glance(struct __sk_buff *skb, __u32 ip_bytes, __u32 *ret_offset, __u32 *ret_n)
{
	struct merlon_scratch *s;
	__u8 *copy;

	*ret_n = MERLON_GLANCE;
	*ret_offset = ETH_HLEN;
	if (merlon_have_kern_ctx) {
		const __u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

		*ret_offset = merlon_network_offset_known(skb);
		if (*ret_offset == ETH_HLEN && data + ETH_HLEN + ip_bytes + MERLON_GLANCE <= end)
			return data + ETH_HLEN;
	}
	s = merlon_only(scratch);
	if (!s)
		return NULL;
	copy = s->chunk;
	if (!bpf_skb_load_bytes_relative(skb, 0, copy, ip_bytes + MERLON_GLANCE, BPF_HDR_START_NET))
		return copy;
	*ret_n = MERLON_TCP_BYTES;
	if (!bpf_skb_load_bytes_relative(skb, 0, copy, ip_bytes + MERLON_TCP_BYTES, BPF_HDR_START_NET))
		return copy;
	/* a datagram may be shorter than a segment's header */
	*ret_n = MERLON_UDP_BYTES;
	return bpf_skb_load_bytes_relative(skb, 0, copy, ip_bytes + MERLON_UDP_BYTES, BPF_HDR_START_NET) ? NULL : copy;
}

/*
 * A segment that changes nothing in an established connection, a datagram that is whole. `raw`: `n` bytes of the
 * transport header.
 */
merlon_inline int merlon_glance_transport(struct merlon_glance *g, const __u8 *raw, __u32 n, __u32 l4_bytes)
{
	const __u8 turning = MERLON_TCP_SYN | MERLON_TCP_FIN | MERLON_TCP_RST | MERLON_TCP_ACK;
	struct merlon_tcp_segment *segment = &g->segment;
	__u32 header;

	if (g->l4proto != MERLON_PROTO_TCP) {
		__u16 datagram = merlon_ntoh16(merlon_field(__be16, raw + 4));

		g->unsummed = !merlon_field(__be16, raw + 6);
		g->ends_early = datagram != l4_bytes;
		return g->l4proto == MERLON_PROTO_UDP && datagram >= MERLON_UDP_BYTES && datagram <= l4_bytes;
	}
	header = raw[12] >> 4 << 2;
	g->tcp_flags = raw[13];
	if (n < MERLON_TCP_BYTES || (raw[13] & turning) != MERLON_TCP_ACK || header < MERLON_TCP_BYTES || header > l4_bytes)
		return 0;
	g->may_sack = header > MERLON_TCP_BYTES && (header != MERLON_TCP_BYTES + 12 || n != MERLON_GLANCE ||
						     merlon_field(__be32, raw + 20) != bpf_htonl(MERLON_ONLY_TIMESTAMP));
	segment->flags = raw[13];
	segment->seq = merlon_ntoh32(merlon_field(__be32, raw + 4));
	segment->ack = segment->sack = merlon_ntoh32(merlon_field(__be32, raw + 8));
	segment->end = segment->seq + l4_bytes - header;
	segment->window = merlon_ntoh16(merlon_field(__be16, raw + 14));
	return 1;
}

/* The words of the pseudo header, added up; which of the ends is the sender does not matter to that. */
merlon_inline __u64 merlon_hot_pseudo(const struct merlon_glance *g, __u32 ip_bytes, __u32 l4_bytes)
{
	__u64 sum = (__u64)bpf_htonl(l4_bytes) + bpf_htonl(g->l4proto);

	merlon_unroll
	for (__u32 i = 0; i < (ip_bytes == MERLON_IPV4_BYTES ? 1 : 4); i++)
		sum += (g->tuple.word[i] & 0xffffffff) + (g->tuple.word[i] >> 32);
	return sum;
}

/*
 * Whether nf_conntrack takes the packet's checksum for right, of which the skb says nothing. Where it came in unseen,
 * the long way has to look (merlon_verify()).
 */
merlon_inline int merlon_hot_sum(struct __sk_buff *skb, __u32 side, const struct merlon_glance *g, __u32 ip_bytes)
{
	__u32 l4_bytes = g->bytes - ip_bytes, family = ip_bytes == MERLON_IPV4_BYTES ? MERLON_IPV4 : MERLON_IPV6;

	if (!trackers.checksum || g->unsummed)
		return 1;
	if (side == MERLON_EGRESS)
		return !skb->ingress_ifindex || merlon_came_filtered(skb->ingress_ifindex);
	return !merlon_sum_is_wrong_near(skb, ip_bytes, l4_bytes, MERLON_SUM_OF(family, g->l4proto) | (g->ends_early ? 0 : MERLON_SUM_ALL),
					 merlon_hot_pseudo(g, ip_bytes, l4_bytes));
}

/* Enters the packet into its session. -1: it is not that simple, and nothing was changed. */
merlon_inline int merlon_hot_touch(struct merlon_session *session, struct merlon_glance *g, __u8 direction)
{
	if (g->l4proto == MERLON_PROTO_TCP) {
		g->segment.direction = direction;
		if ((g->may_sack && session->tcp.seen[!direction].flags & MERLON_TCP_SACKS) ||
		    merlon_tcp_flow(session, &g->segment, g->now, &trackers))
			return -1;
	} else {
		merlon_prolong(session, MERLON_PROTO_UDP, g->now, &trackers);
	}
	session->stats[direction & 1].packets++;
	session->stats[direction & 1].bytes += g->bytes;
	return 0;
}

/* Where the packet is, as decisions know it; `side` is a constant. */
merlon_inline struct merlon_context merlon_here(struct __sk_buff *skb, __u32 side, const struct merlon_glance *g)
{
	__u32 from = side == MERLON_EGRESS ? skb->ingress_ifindex : 0;

	return (struct merlon_context){
		.generation = control.generation,
		.routes = control.routes,
		.iif = side == MERLON_INGRESS ? skb->ifindex : from,
		.oif = side == MERLON_INGRESS ? 0 : skb->ifindex,
		.hook = merlon_hook_of(side, from),
		.ct_state = MERLON_CT_ESTABLISHED,
		.tcp_flags = g->tcp_flags,
		.tos = g->tos,
	};
}

/* The caller holds the session's lock. MERLON_PASS with *ret_path: what to count; without: another hook judges. */
merlon_inline int merlon_hot_locked(struct __sk_buff *skb, __u32 side, struct merlon_session *session, struct merlon_glance *g,
				    __u32 *carried, __u32 *ret_path)
{
	struct merlon_context here = merlon_here(skb, side, g);
	const struct merlon_decision *d;
	__u8 direction;

	if (session->expires_ns < g->now ||
	    (g->l4proto == MERLON_PROTO_TCP && session->state != MERLON_TCP_ESTABLISHED))
		return MERLON_COLD;
	direction = merlon_direction_of(session->flags, g->sender_is_a);
	if ((session->flags & MERLON_S_HOT) != MERLON_S_HOT) {
		/* one more datagram without an answer changes nothing either */
		if (g->l4proto != MERLON_PROTO_UDP || session->flags & MERLON_S_SEEN_REPLY || direction != MERLON_ORIGINAL)
			return MERLON_COLD;
		here.ct_state = MERLON_CT_NEW;
	}
	if (*carried && *carried != merlon_carry(here.ct_state, direction))
		return MERLON_COLD;
	d = merlon_remembered(session, &here, direction, side);
	if (!d)
		return MERLON_COLD;
	if (side == MERLON_INGRESS && merlon_forward_holds(d, session->checked_s[direction & 1], &here, g->now))
		return skb->pkt_type == PACKET_HOST ? MERLON_PASS : MERLON_COLD;	/* merlon_track_discarded() */
	if (!merlon_decision_holds(d, &here))
		return MERLON_COLD;
	*ret_path = d->path;
	if (!*carried && merlon_hot_touch(session, g, direction))
		return MERLON_COLD;
	*carried = merlon_carry(here.ct_state, direction);
	return MERLON_PASS;
}

/* Gives the session's lock back. */
merlon_inline int merlon_hot_session(struct __sk_buff *skb, __u32 side, struct merlon_session *session, struct merlon_glance *g,
				     __u32 carried, struct merlon_stats *count)
{
	__u32 path = ~0U;
	int r = merlon_hot_locked(skb, side, session, g, &carried, &path);

	merlon_unlock(session);
	if (r != MERLON_PASS || path == ~0U)
		return r;
	if (side == MERLON_EGRESS && skb->ifindex == MERLON_LOOPBACK)
		skb->tc_index = carried;
	merlon_count_at(path, g->bytes);
	merlon_stat_hook(count, merlon_hook_of(side, side == MERLON_EGRESS ? skb->ingress_ifindex : 0), g->bytes);
	count->count[MERLON_STAT_HITS]++;
	return MERLON_PASS;
}

/*
 * Where the session most likely is: the lines are on their way while the packet is looked at. Without the loads the lock,
 * which is in the first of them, would be waited for before the others are asked for. NULL: it is not there, says the tag. The
 * processor foretells what that says, and has asked for the lines by then; a packet that has no session waits for none.
 */
merlon_inline struct merlon_flow *merlon_hot_place(__u64 hash, __u8 family, __u8 l4proto)
{
	__u32 way = merlon_first_way(hash) & (MERLON_WAYS - 1);
	struct merlon_flow *at;
	struct merlon_set_ref set;

	if (merlon_set_at(merlon_first_set(hash), &set) ||
	    (set.head->tag[way] & ~MERLON_TAG_ESTABLISHED) != merlon_tag_of(family, hash))
		return NULL;
	at = &set.flows->way[way];
	(void)*(volatile __u64 *)((char *)at + 64);
	if (l4proto == MERLON_PROTO_TCP)
		(void)*(volatile __u64 *)((char *)at + 128);
	return at;
}

/* The session of the packet at hand, and what it says. Nothing reads the packet where it is any more: calls may end that. */
merlon_inline int merlon_hot_find(struct __sk_buff *skb, __u32 side, struct merlon_glance *g, __u32 carried, __u8 family)
{
	__u32 ip_bytes = family == MERLON_IPV4 ? MERLON_IPV4_BYTES : MERLON_IPV6_BYTES, place;
	struct merlon_flow *at = merlon_hot_place(g->hash, family, g->l4proto);
	struct merlon_stats *count = merlon_only(stats);
	struct merlon_session *session;

	if (!count)
		return MERLON_COLD;
	if (!carried && merlon_unverified(skb) && !merlon_hot_sum(skb, side, g, ip_bytes))
		return MERLON_COLD;
	g->now = merlon_now(count);
	if (!at || !merlon_tuples_equal(family, &at->tuple, &g->tuple)) {
		/* a copy of it, word by word, or all of `g` would have to be in memory */
		const __u64 *word = g->tuple.word;
		union merlon_tuple tuple = { .word = { word[0], word[1], word[2], word[3], word[4] } };

		place = merlon_place_of(&tuple, family, g->hash);
		if (place == MERLON_NO_PLACE)
			return MERLON_COLD_NO_SESSION;
		session = merlon_session_at(place);
		if (!session)
			return MERLON_COLD;
		merlon_use(session, place, g->now);
	} else {
		session = &at->session;
		merlon_use(session, merlon_first_set(g->hash) * MERLON_WAYS + merlon_first_way(g->hash), g->now);
	}
	return merlon_lock(session, g->hash) ? MERLON_COLD : merlon_hot_session(skb, side, session, g, carried, count);
}

merlon_inline int merlon_hot4(struct __sk_buff *skb, __u32 side, __u32 carried)
{
	struct merlon_glance g = { 0 };
	__u32 offset, n;
	const __u8 *raw = merlon_glance(skb, MERLON_IPV4_BYTES, &offset, &n);

	if (!raw)
		return MERLON_COLD;
	g.l4proto = raw[9];
	g.tos = raw[1];
	g.bytes = merlon_ntoh16(merlon_field(__be16, raw + 2));
	if (raw[0] != 0x45 || merlon_field(__be16, raw + 6) & bpf_htons(MERLON_IP_MF | MERLON_IP_OFFSET) ||
	    g.bytes < MERLON_IPV4_BYTES || g.bytes + offset > skb->len ||
	    (side == MERLON_INGRESS && !merlon_checksum_ok(raw, MERLON_IPV4_BYTES)) ||
	    !merlon_glance_transport(&g, raw + MERLON_IPV4_BYTES, n, g.bytes - MERLON_IPV4_BYTES))
		return MERLON_COLD;
	g.sender_is_a = merlon_tuple4_set(&g.tuple, merlon_field(__be32, raw + 12), merlon_field(__be32, raw + 16),
					  merlon_field(__u32, raw + 20), merlon_tuple_tail(0, g.l4proto));
	g.hash = merlon_tuple_hash(control.seed, MERLON_IPV4, &g.tuple);
	return merlon_hot_find(skb, side, &g, carried, MERLON_IPV4);
}

merlon_inline int merlon_hot6(struct __sk_buff *skb, __u32 side, __u32 carried)
{
	struct merlon_glance g = { 0 };
	__u32 offset, n;
	const __u8 *raw = merlon_glance(skb, MERLON_IPV6_BYTES, &offset, &n);
	__be32 saddr[4], daddr[4];

	if (!raw)
		return MERLON_COLD;
	g.l4proto = raw[6];
	g.tos = raw[0] << 4 | raw[1] >> 4;
	g.bytes = merlon_ntoh16(merlon_field(__be16, raw + 4)) + MERLON_IPV6_BYTES;
	if (raw[0] >> 4 != 6 || g.bytes + offset > skb->len ||
	    !merlon_glance_transport(&g, raw + MERLON_IPV6_BYTES, n, g.bytes - MERLON_IPV6_BYTES))
		return MERLON_COLD;
	merlon_unroll
	for (int i = 0; i < 4; i++) {
		saddr[i] = merlon_field(__be32, raw + 8 + 4 * i);
		daddr[i] = merlon_field(__be32, raw + 24 + 4 * i);
	}
	g.sender_is_a = merlon_tuple6_set(&g.tuple, saddr, daddr, merlon_field(__u32, raw + 40), merlon_tuple_tail(0, g.l4proto));
	g.hash = merlon_tuple_hash(control.seed, MERLON_IPV6, &g.tuple);
	return merlon_hot_find(skb, side, &g, carried, MERLON_IPV6);
}

/* MERLON_PASS, or an enum merlon_cold_reason: the long way. */
merlon_inline int merlon_hot(struct __sk_buff *skb, __u32 side, __u32 carried)
{
	return skb->protocol == bpf_htons(ETH_P_IP) ? merlon_hot4(skb, side, carried) : merlon_hot6(skb, side, carried);
}

#endif
