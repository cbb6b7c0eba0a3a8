/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counting: per-CPU statistics, counters of rules, and paths (struct merlon_path of abi.h). */
#ifndef MERLON_STATS_H
#define MERLON_STATS_H

#include "bpf/maps.h"

merlon_inline void merlon_stat(enum merlon_stat which)
{
	struct merlon_stats *count = merlon_only(stats);

	if (count)
		count->count[which]++;
}

merlon_inline void merlon_stat_hook(struct merlon_stats *count, __u8 hook, __u32 bytes)
{
	__u32 at = MERLON_STAT_HOOKS + 2 * (hook & 3);

	count->count[at]++;
	count->count[at + 1] += bytes;
}

/* A packet that was judged. */
merlon_inline void merlon_stat_packet(enum merlon_stat how, __u8 hook, __u32 bytes)
{
	struct merlon_stats *count = merlon_only(stats);

	if (!count)
		return;
	merlon_stat_hook(count, hook, bytes);
	count->count[how]++;
}

/* The same on the long way, where many do. On the short way a call that is never made takes 3 ns: registers are kept for it. */
merlon_noinline void merlon_stat_apart(enum merlon_stat which)
{
	merlon_stat(which);
}

merlon_noinline void merlon_stat_packet_apart(enum merlon_stat how, __u8 hook, __u32 bytes)
{
	merlon_stat_packet(how, hook, bytes);
}

/*
 * The coarse clock (nanoseconds, CLOCK_MONOTONIC), asked once a tick: it only goes on when the kernel's jiffies do, and to read
 * those the verifier puts a load where a call was (bpf_jiffies64, inlined by do_misc_fixups() of kernel/bpf/verifier.c). The kernel
 * counts the tick first and then sets the clock (tick_do_update_jiffies64()): asked between the two, this is a tick behind.
 */
merlon_inline __u64 merlon_now(struct merlon_stats *count)
{
	__u64 tick = bpf_jiffies64();

	if (count->tick != tick) {
		count->tick_ns = bpf_ktime_get_coarse_ns();
		count->tick = tick;
	}
	return count->tick_ns;
}

merlon_inline void merlon_count_at(__u32 index, __u32 bytes)
{
	struct merlon_counter *counter;

	if (!index)
		return;
	counter = bpf_map_lookup_elem(&counters, &index);
	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

/* A new id for scratch->path; 0: there are none left. */
merlon_inline __u32 merlon_path_new(struct merlon_scratch *s)
{
	__u32 slot = MERLON_PATH_NEXT, end_slot = MERLON_PATH_END, id, *next, *end, *other;

	next = bpf_map_lookup_elem(&path_next, &slot);
	end = bpf_map_lookup_elem(&path_next, &end_slot);
	if (!next || !end || *next >= *end)
		return 0;
	id = __sync_fetch_and_add(next, 1);
	if (id >= *end)
		return 0;
	if (!bpf_map_update_elem(&paths, &s->path, &id, BPF_NOEXIST))
		return id;
	other = bpf_map_lookup_elem(&paths, &s->path);
	return other ? *other : 0;
}

/*
 * The path of the counters that a walk touched, as a cached decision counts them. -1: there is none to be had, the
 * decision cannot be remembered.
 */
merlon_inline long merlon_path_of(struct merlon_scratch *s, const struct merlon_walk *w)
{
	__u32 n = w->n_counters, id, *known;

	if (n <= 1)
		return n ? w->counter[0] : 0;
	s->path.generation = w->generation;
	merlon_unroll
	for (__u32 i = 0; i < MERLON_PATH_COUNTERS; i++)
		s->path.counter[i] = i < n ? w->counter[i] : 0;
	known = bpf_map_lookup_elem(&paths, &s->path);
	id = known ? *known : merlon_path_new(s);
	return id ? (long)id : -1;
}

/* Counts what a walk touched, one by one. */
merlon_inline void merlon_count_walk(const struct merlon_walk *w)
{
	__u32 n = w->n_counters;

	for (__u32 i = 0; i < MERLON_PATH_COUNTERS; i++) {
		if (i >= n)
			break;
		merlon_count_at(w->counter[i], w->packet.bytes);
	}
}

#endif
