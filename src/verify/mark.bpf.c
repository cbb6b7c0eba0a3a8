/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Behind all other programs at a device's egress: tells the mark of what leaves. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "src/verify/mark.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} marks SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

/*
 * The host's own reports on its groups (hop-by-hop header first, source unspecified) come when its timers say so, and
 * have something else in the mark's place (linux/skbuff.h: union with reserved_tailroom).
 */
static __always_inline int is_group_report(struct __sk_buff *skb)
{
	__u8 header[24];
	__u64 source[2];

	if (bpf_skb_load_bytes_relative(skb, 0, header, sizeof(header), BPF_HDR_START_NET))
		return 0;
	__builtin_memcpy(source, header + 8, sizeof(source));
	return header[0] >> 4 == 6 && !header[6] && !source[0] && !source[1];
}

SEC("tc")
int mark(struct __sk_buff *skb)
{
	struct merlon_marked marked = { skb->ifindex, skb->len, skb->mark };

	if (marked.mark && !is_group_report(skb))
		bpf_ringbuf_output(&marks, &marked, sizeof(marked), BPF_RB_NO_WAKEUP);
	return TC_ACT_UNSPEC;
}
