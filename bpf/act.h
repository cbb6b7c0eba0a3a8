/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a packet: return codes, events for the daemon, packets that it is to answer. */
#ifndef MERLON_ACT_H
#define MERLON_ACT_H

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "bpf/checksum.h"
#include "bpf/maps.h"
#include "bpf/stats.h"

#define MERLON_NO_UID 0xffffffffU
#define MERLON_QUOTE4 576	/* RFC 1812 4.3.2.3: an ICMP error is no longer than this */

/* Later filters of the same hook see the packet, too (TC_ACT_OK would end the chain). */
#define MERLON_PASS TC_ACT_UNSPEC

/*
 * At egress TC_ACT_SHOT tells the sender, and TCP tries again every half second; a redirect to nowhere is silent, as a
 * packet that nf_tables drops is to whoever sits above.
 */
merlon_inline int merlon_drop(__u8 side)
{
	return side == MERLON_INGRESS ? TC_ACT_SHOT : (int)bpf_redirect(0, 0);
}

merlon_inline void merlon_event_packet(struct merlon_event *event, const struct merlon_scratch *s,
				       const struct merlon_walk *w)
{
	event->time_ns = s->now;
	event->generation = w->generation;
	event->bytes = s->headers.bytes;
	event->iif = s->context.iif;
	event->oif = s->context.oif;
	__builtin_memcpy(event->saddr, s->headers.saddr, 16);
	__builtin_memcpy(event->daddr, s->headers.daddr, 16);
	event->sport = bpf_htons(s->headers.th0);
	event->dport = bpf_htons(s->headers.th2);
	event->family = s->headers.family;
	event->hook = s->context.hook;
	event->l4proto = s->headers.l4proto;
	event->ct_state = s->context.ct_state;
	event->ct_direction = s->direction;
	event->tcp_flags = s->headers.tcp_flags;
	event->ttl = s->headers.ttl;
	event->pad[0] = event->pad[1] = 0;
}

/* The user whose socket sends; a packet of the kernel's own has none. */
merlon_inline __u32 merlon_uid(struct __sk_buff *skb, const struct merlon_scratch *s)
{
	if (s->context.hook != MERLON_OUTPUT || !skb->sk)
		return MERLON_NO_UID;
	return bpf_get_socket_uid(skb);
}

/* `log` counts for MERLON_EVENT_LOG only. */
merlon_noinline void merlon_report_one(struct __sk_buff *skb, const struct merlon_scratch *s, const struct merlon_walk *w,
				     const struct merlon_event *what)
{
	struct merlon_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		merlon_stat(MERLON_STAT_EVENTS_LOST);
		return;
	}
	merlon_event_packet(event, s, w);
	event->kind = what->kind;
	event->rule = what->rule;
	event->log = what->log;
	event->verdict = what->verdict;
	event->audit = what->audit;
	event->mark = what->mark;
	event->uid = merlon_uid(skb, s);
	bpf_ringbuf_submit(event, 0);
	merlon_stat(MERLON_STAT_EVENTS);
}

/* Reports what the walk logged, and the verdict if it denies. */
__noinline int merlon_report(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_control *c = merlon_only(control);
	struct merlon_walk *w = merlon_only(walk);
	struct merlon_event what = { 0 };
	__u32 n;

	if (!s || !w || !c)
		return 0;
	what.audit = !!(c->flags & MERLON_C_AUDIT);
	what.verdict = w->verdict;
	what.kind = MERLON_EVENT_LOG;
	n = w->n_logs;
	for (__u32 i = 0; i < MERLON_WALK_LOGS; i++) {
		if (i >= n)
			break;
		what.rule = w->logs[i].rule;
		what.log = w->logs[i].log;
		what.mark = w->logs[i].mark;
		merlon_report_one(skb, s, w, &what);
	}
	if (w->logs_lost) {
		struct merlon_stats *count = merlon_only(stats);

		if (count)
			count->count[MERLON_STAT_EVENTS_LOST] += w->logs_lost;
	}
	if (w->verdict == MERLON_ACCEPT)
		return 0;
	what.kind = MERLON_EVENT_VERDICT;
	what.rule = w->rule;
	what.log = 0;
	what.mark = w->mark;
	merlon_report_one(skb, s, w, &what);
	return 0;
}

merlon_inline int merlon_is_group(const struct merlon_headers *h)
{
	__u8 first = *(const __u8 *)h->daddr;

	return h->family == MERLON_IPV4 ? (first & 0xf0) == 0xe0 || h->daddr[0] == 0xffffffff : first == 0xff;
}

/* RFC 1122 3.2.2, RFC 4443 2.4 (e): what must never be answered. */
merlon_inline int merlon_may_answer(struct __sk_buff *skb, const struct merlon_scratch *s, __u8 type)
{
	const struct merlon_headers *h = &s->headers;

	if (h->flags & (MERLON_H_LATER | MERLON_H_NO_L4) || h->ct_offset > h->bytes || merlon_is_group(h))
		return 0;
	if (type == MERLON_REJECT_TCP_RST)
		return h->ct_proto == MERLON_PROTO_TCP && h->ct_bytes >= MERLON_TCP_BYTES && !(h->tcp_flags & MERLON_TCP_RST);
	if (skb->pkt_type != PACKET_HOST)
		return 0;
	if (!merlon_is_own_icmp(h))
		return 1;
	/* icmp_send() answers to no type that it does not know or cannot read (icmp_pointers[] of net/ipv4/icmp.c) */
	if (h->family == MERLON_IPV4)
		return h->ct_bytes &&
		       (merlon_icmp_class(h) == MERLON_ICMP_REQUEST || merlon_icmp_class(h) == MERLON_ICMP_REPLY);
	return merlon_icmp_class(h) != MERLON_ICMP_ERROR;
}

/* Hands a rejected packet to the daemon. 1: it will be answered. */
__noinline int merlon_reject(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_walk *w = merlon_only(walk);
	struct merlon_reject_event *event;
	__u32 n;

	if (!s || !w || !merlon_may_answer(skb, s, w->reject) || merlon_reject_finds_wrong(skb, &s->headers))
		return 0;
	event = bpf_ringbuf_reserve(&rejects, sizeof(*event), 0);
	if (!event) {
		merlon_stat(MERLON_STAT_REJECTS_LOST);
		return 0;
	}
	event->iif = s->context.iif;
	event->oif = s->context.oif;
	event->bytes = s->headers.bytes;
	event->family = s->headers.family;
	event->hook = s->context.hook;
	event->type = w->reject;
	event->code = w->reject_code;
	event->l4_offset = s->headers.ct_offset;
	event->l4proto = s->headers.ct_proto;
	event->ct_state = s->context.ct_state;
	event->ct_direction = s->direction & 1;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	n = s->headers.bytes;
	if (n > MERLON_QUOTE4 && s->headers.family == MERLON_IPV4)
		n = MERLON_QUOTE4;
	if (n > MERLON_REJECT_SNAP)
		n = MERLON_REJECT_SNAP;
	event->snap_bytes = n;
	if (n < MERLON_IPV4_BYTES || n > MERLON_REJECT_SNAP || merlon_read(skb, 0, event->packet, n)) {
		bpf_ringbuf_discard(event, 0);
		merlon_stat(MERLON_STAT_REJECTS_LOST);
		return 0;
	}
	bpf_ringbuf_submit(event, 0);
	return 1;
}

#endif
