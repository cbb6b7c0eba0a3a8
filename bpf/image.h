/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy image: what the compiler writes and the classifier reads. One block of 64-bit words; every reference in
 * it is an index of a word from its start, and 0 means "none". A BPF program reads it as one map value, the native
 * library as an array; both mask each index with the block's size - 1 (a power of two), so that no image can lead out
 * of it. Arrays of 32-bit values are read as "halves": half i of word w is the 32-bit value 2 * w + i of the block.
 *
 * For each (hook, family) the compiler flattens all base chains, in the order of their priorities, into one list of
 * rules; a rule's place in it is its index. The classifier finds, in ascending order, the indexes of the rules whose
 * dimensions match a packet: in hash tables where addresses tell rules apart (struct merlon_image_subtable), and for
 * all other rules by hierarchical bit vectors (Lakshman and Stiliadis, SIGCOMM 1998, aggregated as in
 * Baboescu and Varghese, SIGCOMM 2001), one set of vectors per plane: a plane holds rules that look at the same
 * dimensions. A list of at most 64 rules has no planes: one bit each, in the rows themselves.
 */
#ifndef MERLON_IMAGE_H
#define MERLON_IMAGE_H

#include "bpf/abi.h"

#define MERLON_IMAGE_MAGIC 0x6e6f6c72656d0004ULL	/* "merlon", format 4 */
#define MERLON_IMAGE_MAX_WORDS (1U << 26)	/* 512 MB: BPF_MAX_VAR_OFF of linux/bpf_verifier.h in bytes */
#define MERLON_PLANES 64		/* at most, per list: one bit each in a word */
#define MERLON_PLANE_RULES (64 * 64 * 64)
#define MERLON_DIRECT_RULES 64		/* a list this short has no planes */
#define MERLON_TREE_FANOUT 16
#define MERLON_TREE_LEVELS 6
#define MERLON_NO_RULE 0xffffffffU	/* the end of a list */
#define MERLON_LINE_WORDS 8	/* of a cache line */
#define MERLON_MAX_VISITS 4096		/* rules that one packet may touch */

/*
 * A search tree over sorted boundaries b[0] = 0 <= b[1] <= ... <= b[n-1]: the answer for a value v is the greatest i
 * with b[i] <= v. Level 0 is the root, the last level holds all boundaries; a node of level l+1 hangs below each entry
 * of level l, which repeats its first key. Keys are halves, 16 in a node of one cache line; IPv6 addresses are two
 * words (high one first), 16 in a node of four lines (at a multiple of four). Unused entries of a level's last node are all ones: clamp the
 * answer to n - 1. Without levels the boundaries are 0, 1, 2, ..., n - 1.
 */
struct merlon_image_tree {
	__u32 n;		/* boundaries; 0: no tree */
	__u32 levels;		/* 0..MERLON_TREE_LEVELS */
	__u32 level[MERLON_TREE_LEVELS];	/* word where each level starts, on a cache line */
};

/*
 * One dimension of a list: the tree gives the interval, half [interval & `which`] of `rows` the word of its row. A row is the
 * word `live`, the planes whose vector here is not empty (planes that do not look at this dimension have their bit
 * set), followed by one half per plane that looks at this dimension (by its rank among them): the word of its vector.
 * In a list without planes `live` has a bit for each rule that matches here, and nothing follows.
 */
struct merlon_image_dim {
	struct merlon_image_tree tree;	/* n = 0: nothing looks at this dimension */
	__u32 rows;
	__u32 which;		/* 1: two rows that take turns, as for inside and outside of a set; else all ones */
	__u32 ahead;		/* `rows` where they are worth asking for beside the tree's last level, or 0 */
	__u32 absent;		/* row of packets that do not have the field */
	__u32 pad[4];
};
_Static_assert(sizeof(struct merlon_image_dim) == 64, "a cache line");

/*
 * A plane: `n` rules, of which rule i (its local index) is rule half [i] of `order` of the list. A vector is
 *   depth 1 (n <= 64):      the word of bits
 *   depth 2 (n <= 4096):    a word that says which leaf words are not zero, then those leaf words
 *   depth 3 (n <= 262144):  a word that says which middle words are not zero, then for each of them the middle word
 *                           and the index of its first leaf word (two words), the leaves being packed likewise
 * Vectors and leaves are shared wherever they are equal. Planes are in ascending order of `first`.
 */
struct merlon_image_plane {
	__u32 n;
	__u32 depth;
	__u32 order;
	__u32 first, last;	/* indexes in the list of its first and last rule */
	__u32 n_dims;
	__u32 dim[MERLON_DIMS];	/* dimension | rank << 8, the most selective first */
	__u32 rules;		/* merlon_image_rule[n] */
	__u32 pad[1];
};
_Static_assert(sizeof(struct merlon_image_plane) == 64, "a cache line");

/* One flattened rule, two words; where it is in several boxes, a copy in each. */
struct merlon_image_rule {
	__u32 ops;		/* word of its first op; the ops follow each other */
	__u32 what;		/* MERLON_RULE() */
	__u32 next;		/* MERLON_CONTINUE: index to go on at; often its own + 1 */
	__u32 fail;		/* index to go on at when a match among the ops fails */
};
_Static_assert(sizeof(struct merlon_image_rule) == 16, "merlon_image_rule");
/* `verdict` (enum merlon_verdict) holds when all ops went through; `reject` and `code` go with MERLON_REJECT. */
#define MERLON_RULE(n_ops, verdict, reject, code) \
	((__u32)(n_ops) | (__u32)(verdict) << 8 | (__u32)(reject) << 16 | (__u32)(code) << 24)
#define MERLON_MAX_OPS 255

/*
 * Rules that are one interval in every dimension (a box; or a few boxes), and that few others share addresses with, are
 * in subtables instead of planes: tuple space search (Srinivasan, Suri and Varghese, SIGCOMM 1999) with merged tuples
 * (Daly and others, TupleMerge, IEEE/ACM Transactions on Networking 27, 2019). A subtable is a hash table of what its
 * masks leave of the addresses and of the destination port; a bucket holds the boxes of its hash, by ascending rule,
 * one after the other. It is one word, MERLON_BUCKET(): its first rule and box (in cache lines), and a bit for each of the
 * tags of its boxes' hashes, so that most packets of another hash need not look at them; 0: it is empty.
 *
 * In a subtable that has nearly all of a list's boxes, as those of a set are, a bucket is its first box itself, which so costs
 * no second line of memory; what else is in it stands one after the other elsewhere.
 */
#define MERLON_SUBTABLES 16		/* at most, per list */
#define MERLON_BUCKET_BOXES 8		/* at most, in one bucket */
#define MERLON_BUCKET(rule, tags, line) ((__u64)(rule) | (__u64)(tags) << 24 | (__u64)(line) << 40)
#define MERLON_BUCKET_RULES (1U << 24)	/* rules of a list that can be told apart there */
#define MERLON_BUCKET_TAG(hash) ((hash) >> 28)	/* of 16; far from what chooses the bucket */
struct merlon_image_subtable {
	__u64 mask[4];		/* of the source in [0] and [1], the destination in [2] and [3]: high word first; IPv4: [0], [2] */
	__u32 th2_mask;
	__u32 buckets;		/* word of the first */
	__u32 buckets_mask;	/* number of buckets - 1 */
	__u32 slots;		/* number of buckets that are boxes, of rule MERLON_NO_RULE where there is none; 0: they are words */
	__u32 pad[4];
};
_Static_assert(sizeof(struct merlon_image_subtable) == 64, "a cache line");

/* The part of a packet that a subtable hashes; user space and data plane have to agree. */
static inline __u32 merlon_subtable_hash(const __u64 *mask, __u32 th2_mask, const __u64 *saddr, const __u64 *daddr,
					 __u32 th2)
{
	__u64 hash = (saddr[0] & mask[0]) * 0x9e3779b97f4a7c15ULL + (saddr[1] & mask[1]) * 0xc2b2ae3d27d4eb4fULL +
		     (daddr[0] & mask[2]) * 0xd6e8feb86659fd93ULL + (daddr[1] & mask[3]) * 0x9fb21c651e98df25ULL +
		     (th2 & th2_mask) * 0xff51afd7ed558ccdULL;

	hash ^= hash >> 32;
	return hash * 0xc4ceb9fe1a85ec53ULL >> 32;
}

/* Which one of `slots` a hash chooses. */
static inline __u32 merlon_subtable_slot(__u32 hash, __u32 slots)
{
	return (__u64)hash * slots >> 32;
}

/*
 * Which values of each dimension a rule is about: all of those that it does not ask about. `asked`: MERLON_BIT() of the
 * dimensions that its rule asks about, a packet must have them; `states`: 1 << ct state. No field is smaller than a half,
 * for the sake of big-endian machines. Fields of 16 bits are compared four at a time, MERLON_BOX_LANES(), and so are both
 * addresses of IPv4, MERLON_BOX_PAIR(). Addresses are a value and its mask, and in an `uneven` box, where one of them is no
 * prefix, the least and the greatest.
 */
#define MERLON_BOX(asked, states, least_l4proto, greatest_l4proto) \
	((__u32)(asked) | (__u32)(states) << 8 | (__u32)(least_l4proto) << 16 | (__u32)(greatest_l4proto) << 24)
#define MERLON_BOX_LANES(th0, th2, iif, oif) \
	((__u64)(th0) | (__u64)(th2) << 16 | (__u64)(iif) << 32 | (__u64)(oif) << 48)
#define MERLON_BOX_PAIR(saddr, daddr) ((__u64)(saddr) << 32 | (__u64)(daddr))
struct merlon_image_box {
	__u32 rule;		/* index in the list */
	__u32 what;		/* MERLON_BOX() */
	__u64 lanes[2];		/* least and greatest */
	__u64 pair[2];		/* of IPv4 */
	struct merlon_image_rule is;	/* the rule: a match has it at hand */
	__u32 flags;		/* MERLON_BOX_LAST: of its bucket; MERLON_BOX_UNEVEN */
	__u32 more;		/* a bucket itself: the line of those that follow it, or 0 */
};
_Static_assert(sizeof(struct merlon_image_box) == 64, "a cache line");
#define MERLON_BOX_LAST 1U
#define MERLON_BOX_UNEVEN 2U
/* Of IPv6 two lines that processors fetch together: the second one has the addresses, the words of each high one first. */
struct merlon_image_box6 {
	struct merlon_image_box box;
	__u64 saddr[2][2], daddr[2][2];
};
_Static_assert(sizeof(struct merlon_image_box6) == 128, "two cache lines");

/* What a rule does beyond its dimensions, in the order of the rule's text. Two words. */
enum merlon_op_kind {
	MERLON_OP_MATCH,	/* (field & mask) in the intervals of tree `arg`: odd intervals are in, even ones out */
	MERLON_OP_RANGE,	/* (field & mask) in [arg, arg2], not for IPv6 addresses */
	MERLON_OP_COUNT,	/* count the packet at counter `arg` */
	MERLON_OP_LIMIT,	/* token bucket at word `arg`; fails when empty (inverted: when not) */
	MERLON_OP_LOG,		/* report the packet with log statement `arg` */
	MERLON_OP_MARK,		/* mark = (mark & mask) ^ arg */
	MERLON_OP_UNTIL,	/* fails from CLOCK_MONOTONIC nanoseconds arg | arg2 << 32 on; never cached */
};
struct merlon_image_op {
	__u32 what;		/* MERLON_OP() */
	__u32 mask;
	__u32 arg, arg2;
};
_Static_assert(sizeof(struct merlon_image_op) == 16, "merlon_image_op");
#define MERLON_OP(kind, field, invert) ((__u32)(kind) | (__u32)(field) << 8 | (__u32)(invert) << 16)

/*
 * A token bucket. Its state in the `limits` map is one word, the time at which it was empty: with now - state =
 * tokens (at most `max_ns`), a packet costs `ns` / `rate` (net/netfilter/nft_limit.c in virtual time; state 0 is
 * full).
 */
struct merlon_image_limit {
	__u64 ns;		/* per packet; `bytes`: per `rate` bytes */
	__u64 rate;
	__u64 max_ns;
	__u32 slot;		/* entry of the limits map */
	__u32 bytes;		/* count bytes instead of packets */
};
_Static_assert(sizeof(struct merlon_image_limit) == 32, "merlon_image_limit");

struct merlon_image_list {
	__u32 n_rules;
	__u32 n_planes;		/* 0: at most MERLON_DIRECT_RULES rules, in the rows themselves */
	__u32 planes;		/* merlon_image_plane[n_planes], on a cache line */
	__u32 rules;		/* merlon_image_rule[n_rules], in a list without planes: elsewhere they are with planes and boxes */
	__u64 all;		/* a bit for each plane, or for each rule but `rest` */
	__u32 n_subtables;	/* 0 in a list without planes */
	__u32 subtables;	/* merlon_image_subtable[n_subtables], on a cache line */
	struct merlon_image_rule rest_is;
	__u32 rest;		/* the last rule, if all packets meet it: it is here and nowhere else; MERLON_NO_RULE: they do not */
	__u32 dims;		/* MERLON_BIT() of the dimensions that have a tree */
	__u32 pad[2];
	struct merlon_image_dim dim[MERLON_DIMS];
};
_Static_assert(sizeof(struct merlon_image_list) == 64 * (1 + MERLON_DIMS), "cache lines");

/*
 * Interfaces: an open hash of `ifaces_mask` + 1 words, each ifindex << 32 | class, 0 = free, that starts at
 * merlon_image_iface_slot() and goes on for at most MERLON_IFACE_PROBES slots, or to the first free one. Interfaces
 * that are not in it have class 1, "no interface" has class 0. User space may fill free slots of an image in force
 * and change the class of used ones (one aligned store).
 */
#define MERLON_IFACE_PROBES 8
#define MERLON_IFACE_NONE 0
#define MERLON_IFACE_OTHER 1
struct merlon_image {
	__u64 magic;
	__u32 generation;
	__u32 words;		/* used */
	__u32 ifaces, ifaces_mask;
	__u32 limits, n_limits;	/* merlon_image_limit[n_limits] */
	__u32 uses_ct;		/* 1 << family: some rule asks for a ct state or direction: later fragments need their first one */
	__u32 bare_ports;	/* some rule looks where ports are without asking for a protocol that has them */
	__u32 list[MERLON_HOOKS][MERLON_FAMILIES];	/* merlon_image_list, 0: no base chain, accept */
};
_Static_assert(sizeof(struct merlon_image) % 8 == 0, "whole words");

static inline __u32 merlon_image_iface_slot(__u32 ifindex)
{
	return ifindex * 0x9e3779b1U >> 16;
}

#endif
