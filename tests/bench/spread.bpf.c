/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One frame of an IPv4 flow becomes many flows' in one BPF_PROG_TEST_RUN: before each packet its ports are written anew,
 * then it goes to what is in slot 0 (`spread`) or slot 1 (`spread_empty`): the same with a program that does nothing, to
 * be subtracted. What is written is in no checksum that anyone looks at here.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORTS 34	/* behind the Ethernet header and an IPv4 header without options */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

__u32 flows = 1;	/* how many; a power of two or not */
__u32 in_turn;		/* one after the other, else at random */
__u32 first_dport;
__u32 turn;

/* Flow n: source port n modulo 65536, destination port first_dport + n / 65536. */
static __always_inline int choose(struct __sk_buff *skb)
{
	__u32 n = in_turn ? turn++ : bpf_get_prandom_u32();
	__u16 *port = (void *)(long)skb->data + PORTS;

	if ((void *)(port + 2) > (void *)(long)skb->data_end || !flows)
		return -1;
	n %= flows;
	port[0] = bpf_htons(n & 0xffff);
	port[1] = bpf_htons(first_dport + (n >> 16));
	return 0;
}

SEC("tc")
int spread(struct __sk_buff *skb)
{
	if (!choose(skb))
		bpf_tail_call_static(skb, &next, 0);
	return 2;
}

SEC("tc")
int spread_empty(struct __sk_buff *skb)
{
	if (!choose(skb))
		bpf_tail_call_static(skb, &next, 1);
	return 2;
}

char _license[] SEC("license") = "GPL";
