/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One frame becomes many in one BPF_PROG_TEST_RUN: before each packet the next of `frames` is written over it, then it goes
 * to what is in slot 0 (`feed`) or slot 1 (`feed_empty`, to be subtracted).
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "tests/bench/feed.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct feed_frame);
} frames SEC(".maps");

__u32 turn;

static __always_inline int put(struct __sk_buff *skb)
{
	__u32 at = turn++;
	const struct feed_frame *frame = bpf_map_lookup_elem(&frames, &at);
	__u64 *word = (void *)(long)skb->data;

	if (!frame || (void *)(word + FEED_WORDS) > (void *)(long)skb->data_end)
		return -1;
#pragma clang loop unroll(full)
	for (int i = 0; i < FEED_WORDS; i++)
		word[i] = frame->word[i];
	return 0;
}

SEC("tc")
int feed(struct __sk_buff *skb)
{
	if (!put(skb))
		bpf_tail_call_static(skb, &next, 0);
	return FEED_FAILED;
}

SEC("tc")
int feed_empty(struct __sk_buff *skb)
{
	if (!put(skb))
		bpf_tail_call_static(skb, &next, 1);
	return FEED_FAILED;
}

char _license[] SEC("license") = "GPL";
