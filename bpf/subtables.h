/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of a list that are in hash tables (struct merlon_image_subtable of image.h): which of them a packet meets first.
 */
#ifndef MERLON_SUBTABLES_H
#define MERLON_SUBTABLES_H

#include "bpf/abi.h"
#include "bpf/env.h"
#include "bpf/image.h"
#include "bpf/walk.h"

/*
 * 0 if a >= b in all lanes, whose highest bits are in `top`; else those that are not. Where the highest bits are the same the
 * others decide, which are subtracted without borrowing from the lane above.
 */
merlon_inline __u64 merlon_lanes_less(__u64 a, __u64 b, __u64 top)
{
	return (((a & ~b) | (~(a ^ b) & ((a | top) - (b & ~top)))) & top) ^ top;
}

#define MERLON_LANES_16 0x8000800080008000ULL
#define MERLON_LANES_32 0x8000000080000000ULL

/* 0 if value is in `prefix`: an address of two words, then its mask. */
merlon_inline __u64 merlon_outside_prefix6(const __u64 *value, const __u64 (*prefix)[2])
{
	return ((value[0] ^ prefix[0][0]) & prefix[1][0]) | ((value[1] ^ prefix[0][1]) & prefix[1][1]);
}

/* 0 if value is in `range`: least and greatest. */
merlon_inline __u64 merlon_outside_range6(const __u64 *value, const __u64 (*range)[2])
{
	return merlon_lt128(value[0], value[1], range[0][0], range[0][1]) |
	       merlon_lt128(range[1][0], range[1][1], value[0], value[1]);
}

/* 0 if the addresses of the packet are in the box at a word. */
merlon_inline __u64 merlon_outside_addresses(const struct merlon_env *env, __u32 at)
{
	const struct merlon_image_box *box = merlon_block(env, at, merlon_image_box, MERLON_LINE_WORDS);
	const struct merlon_packet *packet = &env->walk->packet;
	const struct merlon_image_box6 *box6;
	__u64 pair = env->walk->pair;

	if (packet->family == MERLON_IPV6) {
		box6 = merlon_block(env, at, merlon_image_box6, 2 * MERLON_LINE_WORDS);
		if (box->flags & MERLON_BOX_UNEVEN)
			return merlon_outside_range6(packet->addr6[0], box6->saddr) |
			       merlon_outside_range6(packet->addr6[1], box6->daddr);
		return merlon_outside_prefix6(packet->addr6[0], box6->saddr) |
		       merlon_outside_prefix6(packet->addr6[1], box6->daddr);
	}
	if (box->flags & MERLON_BOX_UNEVEN)
		return merlon_lanes_less(pair, box->pair[0], MERLON_LANES_32) |
		       merlon_lanes_less(box->pair[1], pair, MERLON_LANES_32);
	return (pair ^ box->pair[0]) & box->pair[1];
}

/* 0 if the packet is in the box at a word. Of branches it has only those that nearly all boxes of a list agree in. */
merlon_inline __u64 merlon_outside(const struct merlon_env *env, __u32 at)
{
	const struct merlon_image_box *box = merlon_block(env, at, merlon_image_box, MERLON_LINE_WORDS);
	const struct merlon_packet *packet = &env->walk->packet;
	__u64 lanes = env->walk->lanes, out;
	__u32 what = box->what, l4proto = packet->field[MERLON_F_L4PROTO] & 0xff;

	out = what & 0xff & ~packet->present;
	out |= ~(what >> 8 >> (packet->field[MERLON_F_CT_STATE] & 7)) & 1;
	out |= merlon_le32(what >> 16 & 0xff, l4proto) ^ 1;
	out |= merlon_le32(l4proto, what >> 24) ^ 1;
	out |= merlon_lanes_less(lanes, box->lanes[0], MERLON_LANES_16);
	out |= merlon_lanes_less(box->lanes[1], lanes, MERLON_LANES_16);
	return out | merlon_outside_addresses(env, at);
}

merlon_inline __u32 merlon_box_words(__u32 family)
{
	return (family == MERLON_IPV6 ? sizeof(struct merlon_image_box6) : sizeof(struct merlon_image_box)) / 8;
}

/* Reads the packet's bucket in a subtable: what it holds has no influence on where the next one's is. */
static long merlon_bucket_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	const struct merlon_packet *packet = &walk->packet;
	__u32 at = walk->subtables + i * (sizeof(struct merlon_image_subtable) / 8);
	const struct merlon_image_subtable *table = merlon_block(env, at, merlon_image_subtable, MERLON_LINE_WORDS);
	__u32 hash, n, there;
	__u64 bucket;

	if (packet->family == MERLON_IPV6) {
		hash = merlon_subtable_hash(table->mask, table->th2_mask, packet->addr6[0], packet->addr6[1],
					    packet->field[MERLON_F_TH2]);
	} else {
		const __u64 mask[4] = { table->mask[0], 0, table->mask[2], 0 };
		const __u64 saddr[2] = { packet->field[MERLON_F_SADDR], 0 }, daddr[2] = { packet->field[MERLON_F_DADDR], 0 };

		hash = merlon_subtable_hash(mask, table->th2_mask, saddr, daddr, packet->field[MERLON_F_TH2]);
	}
	n = walk->n_buckets & (MERLON_SUBTABLES - 1);
	if (table->slots) {
		at = table->buckets + merlon_subtable_slot(hash, table->slots) * merlon_box_words(packet->family);
		walk->head[n] = merlon_member(env, at, merlon_image_box, rule);
		walk->bucket[n] = at / MERLON_LINE_WORDS;
		there = walk->head[n] != MERLON_NO_RULE;
	} else {
		bucket = merlon_word(env, table->buckets + (hash & table->buckets_mask));
		walk->head[n] = bucket & (MERLON_BUCKET_RULES - 1);
		walk->bucket[n] = bucket >> 40;
		there = bucket >> 24 >> MERLON_BUCKET_TAG(hash) & 1;
	}
	/* the next one takes its place if the packet's boxes are not there */
	walk->n_buckets = n + there;
	return 0;
}

/* Looks at the next box of a bucket. */
static long merlon_box_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u32 b = walk->looked & (MERLON_SUBTABLES - 1), at = walk->box;
	const struct merlon_image_box *box = merlon_block(env, at, merlon_image_box, MERLON_LINE_WORDS);
	__u32 rule = box->rule;

	(void)i;
	if (rule >= walk->best) {
		walk->head[b] = rule;
		return 1;
	}
	if (rule < walk->from || merlon_outside(env, at)) {
		walk->box = box->more ? box->more * MERLON_LINE_WORDS : at + merlon_box_words(walk->packet.family);
		return box->flags & MERLON_BOX_LAST;
	}
	walk->head[b] = rule;
	walk->at = walk->is[b] = at + __builtin_offsetof(struct merlon_image_box, is) / 8;
	walk->exact |= 1U << b;
	walk->best = rule;
	return 1;
}

/* Asks a bucket for its first match at or after walk->from, if that may be less than walk->best. */
static long merlon_hashed_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u32 b = i & (MERLON_SUBTABLES - 1), head = walk->head[b];

	if (head >= walk->best)
		return 0;
	if (walk->exact >> b & 1) {
		if (head >= walk->from) {
			walk->best = head;
			walk->at = walk->is[b];
			return 0;
		}
		walk->exact &= ~(1U << b);
	}
	walk->looked = b;
	walk->box = walk->bucket[b] * MERLON_LINE_WORDS;
	walk->head[b] = MERLON_NO_RULE;
	merlon_loop(MERLON_BUCKET_BOXES, merlon_box_step, env);
	return 0;
}

#endif
