/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a packet: return codes, events for the daemon, packets that it is to answer. */
#ifndef MERLON_ACT_H
#define MERLON_ACT_H

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "bpf/checksum.h"
#include "bpf/maps.h"
#include "bpf/stats.h"

#define MERLON_SOCK_RAW 3	/* SOCK_RAW of linux/net.h, which is none of uapi */
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

merlon_inline void merlon_event_fill(struct merlon_event *event, const struct merlon_scratch *s,
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

/*
 * Whose socket sends: the user, and the cgroup. What the kernel itself answers comes from raw sockets of its own, which
 * are in the cgroup of whoever made the namespace: nothing is said of raw sockets.
 */
merlon_inline void merlon_event_sender(struct __sk_buff *skb, const struct merlon_scratch *s,
				       struct merlon_event *event)
{
	struct bpf_sock *sk = skb->sk;

	event->uid = MERLON_NO_UID;
	event->cgroup = 0;
	if (s->context.hook != MERLON_OUTPUT || !sk)
		return;
	/* who had it is gone; since Linux 6.13 what is sent for it has it, and its user would be overflowuid */
	if (sk->state == BPF_TCP_TIME_WAIT)
		return;
	sk = bpf_sk_fullsock(sk);
	if (sk && sk->type == MERLON_SOCK_RAW)
		return;
	event->uid = bpf_get_socket_uid(skb);
	if (merlon_have_cgroups)
		event->cgroup = bpf_skb_cgroup_id(skb);
}

/* Of the walk: which log statement, or what came of it all. */
merlon_inline void merlon_event_cause(struct merlon_event *event, const struct merlon_walk *w, __u32 log)
{
	event->verdict = w->verdict;
	if (log < MERLON_WALK_LOGS) {
		event->kind = MERLON_EVENT_LOG;
		event->rule = w->logs[log].rule;
		event->log = w->logs[log].log;
		event->mark = w->logs[log].mark;
	} else {
		event->kind = MERLON_EVENT_VERDICT;
		event->rule = w->rule;
		event->log = 0;
		event->mark = w->mark;
	}
}

/* The packet, and when it came to the nanosecond: a tick of the coarse clock holds many packets. */
merlon_inline void merlon_event_snap(struct __sk_buff *skb, const struct merlon_scratch *s,
				     struct merlon_event_packet *with)
{
	__u32 n = s->headers.bytes;

	if (n > MERLON_EVENT_SNAP)
		n = MERLON_EVENT_SNAP;
	with->event.time_ns = bpf_ktime_get_ns();
	with->pad = 0;
	with->bytes = 0;
	if (n >= MERLON_IPV4_BYTES && n <= MERLON_EVENT_SNAP && !merlon_read(skb, 0, with->packet, n))
		with->bytes = n;
}

/* One report: log statement number `log` of the walk, or, beyond MERLON_WALK_LOGS, the verdict. */
__noinline int merlon_report_one(struct __sk_buff *skb, __u32 log)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_walk *w = merlon_only(walk);
	struct merlon_event_packet *with = NULL;
	struct merlon_event *event;

	if (!s || !w)
		return -1;
	if (control.flags & MERLON_C_PACKETS)
		event = (void *)(with = bpf_ringbuf_reserve(&events, sizeof(*with), 0));
	else
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		merlon_stat_apart(MERLON_STAT_EVENTS_LOST);
		return 0;
	}
	merlon_event_fill(event, s, w);
	merlon_event_cause(event, w, log);
	merlon_event_sender(skb, s, event);
	event->audit = !!(control.flags & MERLON_C_AUDIT);
	if (with)
		merlon_event_snap(skb, s, with);
	bpf_ringbuf_submit(event, 0);
	merlon_stat_apart(MERLON_STAT_EVENTS);
	return 0;
}

/* Reports what the walk logged, and the verdict if it denies. */
__noinline int merlon_report(struct __sk_buff *skb)
{
	struct merlon_walk *w = merlon_only(walk);
	__u32 n;

	if (!w)
		return 0;
	n = w->n_logs;
	for (__u32 i = 0; i < MERLON_WALK_LOGS; i++) {
		if (i >= n)
			break;
		merlon_report_one(skb, i);
	}
	if (w->logs_lost) {
		struct merlon_stats *count = merlon_only(stats);

		if (count)
			count->count[MERLON_STAT_EVENTS_LOST] += w->logs_lost;
	}
	if (w->verdict != MERLON_ACCEPT)
		merlon_report_one(skb, MERLON_WALK_LOGS);
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
		merlon_stat_apart(MERLON_STAT_REJECTS_LOST);
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
		merlon_stat_apart(MERLON_STAT_REJECTS_LOST);
		return 0;
	}
	bpf_ringbuf_submit(event, 0);
	return 1;
}

#endif
