/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The least that a firewall which follows connections does with a packet at TC: addresses and ports are read and hashed, the
 * connection's two cache lines are found, locked and written. It asks nothing: not whether the headers are right, nor
 * the checksum, nor what the rules said, nor whether the packet may follow those before it.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>

#define TCX_NEXT (-1)

/* As many as the places of sessions in a table of the default size. */
#define CELLS (1 << 18)
struct cell {
	__u32 lock, packets;
	__u64 key, bytes, used;
	__u64 rest[4];
	__u64 second[8];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CELLS);
	__uint(map_flags, BPF_F_MMAPABLE);	/* so that it begins at a page, and cells at lines */
	__type(key, __u32);
	__type(value, struct cell);
} cells SEC(".maps");

SEC("tc")
int least(struct __sk_buff *skb)
{
	const __u8 *ip = (void *)(long)skb->data + ETH_HLEN, *end = (void *)(long)skb->data_end;
	struct cell *cell;
	__u64 key, hash;
	__u32 at;

	if (skb->protocol != bpf_htons(ETH_P_IP) || ip + 24 > end)
		return TCX_NEXT;
	/* the same for both directions */
	key = (__u64)(*(__u32 *)(ip + 12) ^ *(__u32 *)(ip + 16)) << 32 | (*(__u16 *)(ip + 20) ^ *(__u16 *)(ip + 22)) << 8 | ip[9];
	hash = key * 0x9e3779b97f4a7c15ULL;
	hash = (hash ^ hash >> 29) * 0x94d049bb133111ebULL;
	at = hash >> 46;
	cell = bpf_map_lookup_elem(&cells, &at);
	if (!cell)
		return TCX_NEXT;
	/* both lines are asked for before the lock is waited for */
	(void)*(volatile __u64 *)&cell->second[0];
	if (__sync_val_compare_and_swap(&cell->lock, 0, 1))
		return TCX_NEXT;
	cell->key = key;
	cell->packets++;
	cell->bytes += skb->len;
	cell->used = bpf_jiffies64();
	cell->second[0]++;
	*(volatile __u32 *)&cell->lock = 0;
	return TCX_NEXT;
}

char _license[] SEC("license") = "GPL";
