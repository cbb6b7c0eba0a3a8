/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One frame of an IPv4 flow becomes many flows' in one BPF_PROG_TEST_RUN: before each packet its ports are written anew,
 * then it goes to what is in slot 0 (`spread`) or slot 1 (`spread_empty`): the same with a program that does nothing, to
 * be subtracted; or three cache lines of its flow are written under a lock in the first (`spread_touch`), as a session's
 * are. Which they are depends on what the packet before found: a processor that looked ahead would wait for those of several packets
 * at the same time, but between two packets there is a whole stack. What is written is in no checksum that anyone looks at here.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TCX_NEXT (-1)
#define PORTS 34	/* behind the Ethernet header and an IPv4 header without options */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

/* As many and as large as the places of sessions in a table of the default size. */
#define CELLS (1 << 18)
struct cell {
	__u32 lock, zero;
	__u64 word[23];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CELLS);
	__type(key, __u32);
	__type(value, struct cell);
} cells SEC(".maps");

#define MOST (1 << 17)
__u32 flows = 1;	/* how many, up to MOST unless they come one after the other */
__u32 in_turn;		/* one after the other, else in the order below */
__u32 first_dport;
__u32 turn;
__u32 found;		/* in the cell before: 0 */
__u32 order[MOST];	/* a permutation of the flows */

/* Flow n, which is returned: source port n modulo 65536, destination port first_dport + n / 65536. */
static __always_inline __s64 choose(struct __sk_buff *skb)
{
	__u32 n = turn++;
	__u16 *port = (void *)(long)skb->data + PORTS;

	if ((void *)(port + 2) > (void *)(long)skb->data_end || !flows)
		return -1;
	n %= flows;
	if (!in_turn)
		n = order[n & (MOST - 1)];
	port[0] = bpf_htons(n & 0xffff);
	port[1] = bpf_htons(first_dport + (n >> 16));
	return n;
}

SEC("tc")
int spread(struct __sk_buff *skb)
{
	if (choose(skb) >= 0)
		bpf_tail_call_static(skb, &next, 0);
	return 2;
}

SEC("tc")
int spread_empty(struct __sk_buff *skb)
{
	if (choose(skb) >= 0)
		bpf_tail_call_static(skb, &next, 1);
	return 2;
}

SEC("tc")
int spread_touch(struct __sk_buff *skb)
{
	__s64 n = choose(skb);
	__u64 hash = (n + *(volatile __u32 *)&found) * 0x9e3779b97f4a7c15ULL;
	struct cell *cell;
	__u32 at;

	hash = (hash ^ hash >> 29) * 0x94d049bb133111ebULL;
	at = hash >> 46;
	cell = bpf_map_lookup_elem(&cells, &at);
	if (n < 0 || !cell)
		return 2;
	/* all three lines are asked for before the lock is waited for */
	(void)*(volatile __u64 *)&cell->word[7];
	(void)*(volatile __u64 *)&cell->word[15];
	if (__sync_val_compare_and_swap(&cell->lock, 0, 1))
		return 2;
	cell->word[0]++;
	cell->word[7]++;
	cell->word[15]++;
	*(volatile __u32 *)&found = cell->zero;
	*(volatile __u32 *)&cell->lock = 0;
	return TCX_NEXT;
}

char _license[] SEC("license") = "GPL";
