/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of many IPv4 flows, written by arithmetic alone, so that making them leaves the caches as they are. Compiles for
 * BPF (flood.bpf.c) and natively (flood.c): both ways send the same frames.
 */
#ifndef TESTS_BENCH_FLOOD_H
#define TESTS_BENCH_FLOOD_H

#include <linux/types.h>

#define FLOOD_WORDS 7		/* 56 bytes: all headers, and what is zero behind those of UDP */
#define FLOOD_ADDRESSES 4096U
#define FLOOD_PORTS 60000U
#define FLOOD_FIRST_PORT 1024U
#define FLOOD_BUCKETS 512

struct flood {
	__u64 header[FLOOD_WORDS];	/* of every frame; what differs between flows, and the checksums, are 0 */
	__u32 flows;			/* > 0 */
	__u32 first;			/* number of the first one */
	__u32 stride;			/* a prime that flows is no multiple of: from one packet to the next */
	__u32 base;			/* address of flow 0, host byte order */
	__u32 ip_sum, l4_sum;		/* one's complement sums of what does not differ, host byte order */
	__u16 l4_check;			/* offset of the checksum of TCP or UDP */
	__u16 answers;			/* the flow is the destination's address and port, not the source's */
};

static inline __u16 flood_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static inline __u16 flood_be16(__u16 v)
{
	return v << 8 | v >> 8;		/* the tests run on little-endian machines only */
}

/* Packet number `turn` of the flood into the first 8 * FLOOD_WORDS bytes of a frame. */
static inline void flood_write(const struct flood *f, __u64 turn, __u64 *to)
{
	__u32 flow = f->first + turn * f->stride % f->flows, address = f->base + flow % FLOOD_ADDRESSES;
	__u16 port = FLOOD_FIRST_PORT + flow / FLOOD_ADDRESSES % FLOOD_PORTS;
	__u32 sum = (address >> 16) + (address & 0xffff), at = f->answers ? 30 : 26;
	unsigned char *frame = (unsigned char *)to;

#ifdef __bpf__
#pragma unroll
#endif
	for (int i = 0; i < FLOOD_WORDS; i++)
		to[i] = f->header[i];
	*(__u16 *)(frame + 24) = flood_be16(flood_fold(f->ip_sum + sum));
	*(__u16 *)(frame + at) = flood_be16(address >> 16);
	*(__u16 *)(frame + at + 2) = flood_be16(address);
	*(__u16 *)(frame + (f->answers ? 36 : 34)) = flood_be16(port);
	sum = flood_fold(f->l4_sum + sum + port);
	if (f->l4_check == 50)
		*(__u16 *)(frame + 50) = flood_be16(sum);
	else
		*(__u16 *)(frame + 40) = flood_be16(sum ? sum : 0xffff);
}

/* Buckets of times: sixteen to a power of two. */
static inline __u32 flood_bucket(__u64 ns)
{
	__u32 v = ns > 0x7fffffff ? 0x7fffffff : ns, log = 4;

	if (v < 16)
		return v;
#ifdef __bpf__
#pragma unroll
#endif
	for (int step = 16; step; step >>= 1)
		if (v >> (log + step) && log + step < 31)
			log += step;
	return (log - 3) * 16 + (v >> (log - 4) & 15);
}

/* The shortest time that is in a bucket. */
static inline __u64 flood_bucket_ns(__u32 bucket)
{
	return bucket < 16 ? bucket : (16 + (bucket & 15ULL)) << (bucket / 16 - 1);
}

#endif
