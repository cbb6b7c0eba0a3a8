/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The classifier alone: `classify_one` judges the packet in walks[0]; `classify_many` judges `count` packets of
 * `packets` one after the other in one run, `pass_over` does the same without the classifier, to be subtracted.
 * `classify_timed` is `classify_many` with two looks at the clock around each packet; `pass_timed` has nothing between them.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/abi.h"

const volatile __u32 merlon_image_mask = 1023;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct merlon_counter);
} counters SEC(".maps");

#include "bpf/classify.h"

/* The shape that the data path uses: an array of one image, swapped by its outer map. */
struct image_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, 4);
	__uint(value_size, 8192);
};
struct image_map first_image SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__array(values, struct image_map);
} image SEC(".maps") = { .values = { [0] = &first_image } };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct merlon_walk);
} walks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct merlon_packet);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);	/* maps are mapped in steps of 8 bytes */
} times SEC(".maps");

__u32 count;
__u32 warm;		/* all of them are the first packet */
__u64 sum;		/* of the deciding rules: a run can be checked */

static const __u64 *current_image(void)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&image, &zero);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

__attribute__((noinline)) int judge(struct merlon_walk *walk)
{
	const __u64 *words = current_image();

	if (!walk || !words)
		return -1;
	merlon_classify(words, walk);
	return walk->verdict;
}

SEC("tc")
int classify_one(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct merlon_walk *walk = bpf_map_lookup_elem(&walks, &zero);

	(void)skb;
	return walk ? judge(walk) : -1;
}

static struct merlon_walk *take_packet(__u32 i)
{
	__u32 zero = 0, at = warm ? 0 : i;
	struct merlon_walk *walk = bpf_map_lookup_elem(&walks, &zero);
	struct merlon_packet *packet = bpf_map_lookup_elem(&packets, &at);

	if (!walk || !packet)
		return NULL;
	walk->packet = *packet;
	return walk;
}

static long judge_next(__u32 i, void *context)
{
	struct merlon_walk *walk = take_packet(i);

	(void)context;
	if (!walk)
		return 1;
	judge(walk);
	sum += walk->rule;
	return 0;
}

static long skip_next(__u32 i, void *context)
{
	struct merlon_walk *walk = take_packet(i);

	(void)context;
	if (!walk)
		return 1;
	sum += walk->rule;
	return 0;
}

SEC("tc")
int classify_many(struct __sk_buff *skb)
{
	(void)skb;
	bpf_loop(count, judge_next, NULL, 0);
	return 0;
}

SEC("tc")
int pass_over(struct __sk_buff *skb)
{
	(void)skb;
	bpf_loop(count, skip_next, NULL, 0);
	return 0;
}

static long time_next(__u32 i, int with)
{
	struct merlon_walk *walk = take_packet(i);
	__u64 *ns = bpf_map_lookup_elem(&times, &i), begin;

	if (!walk || !ns)
		return 1;
	begin = bpf_ktime_get_ns();
	if (with)
		judge(walk);
	*ns = bpf_ktime_get_ns() - begin;
	sum += walk->rule;
	return 0;
}

static long judge_timed(__u32 i, void *context)
{
	(void)context;
	return time_next(i, 1);
}

static long skip_timed(__u32 i, void *context)
{
	(void)context;
	return time_next(i, 0);
}

SEC("tc")
int classify_timed(struct __sk_buff *skb)
{
	(void)skb;
	bpf_loop(count, judge_timed, NULL, 0);
	return 0;
}

SEC("tc")
int pass_timed(struct __sk_buff *skb)
{
	(void)skb;
	bpf_loop(count, skip_timed, NULL, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
