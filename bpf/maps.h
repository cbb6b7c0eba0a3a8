/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The maps of the data plane and what is set before it is loaded. Sizes marked "set by the loader" are placeholders.
 */
#ifndef MERLON_MAPS_H
#define MERLON_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/abi.h"

/* The entry of a map that has but one. */
#define merlon_only(map) \
	({ \
		__u32 zero_ = 0; \
		bpf_map_lookup_elem(&(map), &zero_); \
	})

/* Words of the image - 1; set by the loader together with the value size of the map `image`. */
const volatile __u32 merlon_image_mask = (1U << 17) - 1;
/* Sets of the map `sessions` - 1; set by the loader. */
const volatile __u32 merlon_sets_mask = 2047;
/* Entries of a half of the map `decisions` - 1; set by the loader. */
const volatile __u32 merlon_decisions_mask = (1U << 15) - 1;
/*
 * The kernel has bpf_cast_to_kern_ctx() and bpf_rdonly_cast() (6.2). Set by the loader, which finds these functions in
 * the kernel's BTF; without them namespace and egress device can't be told (see ours.h).
 */
const volatile __u8 merlon_have_kern_ctx = 0;
/*
 * nf_conntrack takes multicast router discovery for untracked (6.10), before for invalid. Set by the loader by the
 * kernel's version: nothing else tells.
 */
const volatile __u8 merlon_have_mrdisc = 1;
/*
 * Since 6.3, and where that was backported (6.1.192), a reset that rejects ends the connection for nf_conntrack
 * (nf_ct_set_closing() in nf_send_reset()).
 */
const volatile __u8 merlon_reset_closes = 1;
/* A rejected DCCP packet gets its answer only if it adds up (6.17). Set by the loader by the kernel's version. */
const volatile __u8 merlon_reject_sums_dccp = 1;
/* Sockets know their cgroup (CONFIG_SOCK_CGROUP_DATA). Set by the loader, which finds the helper in the kernel's BTF. */
const volatile __u8 merlon_have_cgroups = 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);		/* set by the loader */
	__type(key, __u32);
	__type(value, __u64);
} limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);		/* set by the loader */
	__type(key, __u32);
	__type(value, struct merlon_counter);
} counters SEC(".maps");

/* After the two maps that it uses by name. */
#include "bpf/classify.h"
#include "bpf/session.h"
#include "bpf/set.h"

/* Slots of `entry`. */
enum merlon_entry { MERLON_ENTRY_INGRESS, MERLON_ENTRY_EGRESS, MERLON_ENTRIES };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MERLON_ENTRIES);
	__type(key, __u32);
	__type(value, __u32);
} entry SEC(".maps");

/*
 * Leads to the program `cold` of the same load: ingress and egress jump there. Not through `entry`, whose slots are changed
 * one after the other, so that a packet would meet another data plane's maps half-way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} long_way SEC(".maps");

/*
 * Maps of one value, by the names of their sections. As variables: their address is part of the program, which in a map it would have
 * to look for.
 */
struct merlon_control control SEC(".data.control");
struct merlon_trackers trackers SEC(".data.trackers");

/* One value of merlon_image_mask + 1 words. It has no BTF type, whose size would have to agree. */
struct merlon_inner_image {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, (1U << 17) * sizeof(__u64));	/* set by the loader */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, struct merlon_inner_image);
} image SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);		/* set by the loader */
	__type(key, struct merlon_path);
	__type(value, __u32);
} paths SEC(".maps");

/* Entry 0 is never used. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2U << 15);	/* set by the loader: 2 * (merlon_decisions_mask + 1) */
	__type(key, __u32);
	__type(value, struct merlon_decision);
} decisions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MERLON_PATH_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} path_next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct merlon_stats);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct merlon_walk);
} walk SEC(".maps");

/* Page-aligned, so that the lines of a set are lines of memory; user space reads it where it is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2048);	/* set by the loader: merlon_sets_mask + 1 */
	__type(key, __u32);
	__type(value, struct merlon_flow_ways);
} sessions SEC(".maps");

/* What is in the sets of `sessions`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2048);	/* likewise */
	__type(key, __u32);
	__type(value, struct merlon_flow_set);
} sets SEC(".maps");

/* TCP sessions that packets would have begun which were answered by a reset. Both families. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct merlon_tuple6);
	__type(value, struct merlon_session);
} rejected SEC(".maps");

/* What became of the first fragment, for those that follow. */
struct merlon_fragment_key {
	__be32 saddr[4], daddr[4];
	__be32 id;
	__u32 ifindex;
	__u8 l4proto;
	__u8 hook;
	__u8 family;
	__u8 pad;
};
struct merlon_fragment {
	__u64 time_ns;
	__u32 verdict;
	__u32 bytes;			/* data that it has; none of the others' belongs before its end */
	/* of TCP: whose session, and the sequence number that the datagram's data begins with, counting headers as data */
	union merlon_tuple tuple;
	__u64 hash;
	__u32 seq;
	__u8 is_tcp;
	__u8 direction;
	__u8 ct_state;
	__u8 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct merlon_fragment_key);
	__type(value, struct merlon_fragment);
} fragments SEC(".maps");

/* Interfaces whose egress is filtered. What is routed to another one is judged where it comes in. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} filtered SEC(".maps");

/* IPv4 addresses that no packet from the network comes from: this host's own, and those of broadcasts. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, __u8);
} martian SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);	/* set by the loader, likewise below */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} rejects SEC(".maps");

/* Why a packet goes the long way; no return codes of TC. */
enum merlon_cold_reason {
	MERLON_COLD = 0x100,
	MERLON_COLD_NO_SESSION,		/* it has none */
};

#define MERLON_SUM_CHUNK 512	/* bytes that bpf_csum_diff() takes at once */

/* Where the cold path keeps what does not fit on its stack. */
struct merlon_scratch {
	struct merlon_headers headers, inner;
	struct merlon_session session;	/* one to be made */
	struct merlon_decision decision;	/* one to be remembered */
	struct merlon_path path;
	struct bpf_fib_lookup fib;
	struct merlon_fragment_key fragment;
	struct merlon_fragment first;	/* one to be noted */
	union merlon_tuple tuple, inner_tuple;
	__u64 hash;			/* of `tuple` */
	struct merlon_context context;
	__u64 now;
	__u64 timed_from;		/* when this packet's long way began, if it is one that is timed; else 0 */
	__u32 network;			/* offset of the network header in the skb */
	__u32 carried;			/* skb->tc_index as it came over loopback or from ingress, 0: nothing */
	__u32 where, reason;		/* arguments of merlon_cold(), for the program `cold` */
	__u32 remembered;		/* what the session remembers for this packet: an index of `decisions` */
	__u8 side;
	__u8 direction;
	__u8 has_direction;
	__u8 sender_is_a;
	__u8 has_session;		/* there is one of this tuple */
	__u8 starts_session;		/* `session` goes into the table if the packet is accepted: merlon_starts() */
	__u8 bad_checksum;		/* nf_conntrack finds the checksum of its transport wrong */
	__u8 discarded;			/* a route says so: the stack neither delivers it nor forwards it */
	__u8 sum_failed;		/* bytes to be summed are not there */
	__u32 sum;			/* bpf/checksum.h: what was added up so far, and of what */
	__u8 chunk[MERLON_SUM_CHUNK + 4] __attribute__((aligned(8)));
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct merlon_scratch);
} scratch SEC(".maps");

/* A function: what is written out for a lookup, in each place that reads, is what loading the programs takes long for. */
merlon_noinline int merlon_read(struct __sk_buff *skb, __u32 offset, void *to, __u32 n)
{
	struct merlon_scratch *s = merlon_only(scratch);

	return s ? bpf_skb_load_bytes(skb, s->network + offset, to, n) : -1;
}

#endif
