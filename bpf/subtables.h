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

/* 1 if lo <= value <= hi. */
merlon_inline __u32 merlon_between(__u32 value, __u32 lo, __u32 hi)
{
	return merlon_le32(value - lo, hi - lo);
}

/* The same of `pair`: two halves of 16 bits, the lower bound in the lower one. */
merlon_inline __u32 merlon_between16(__u32 value, __u32 pair)
{
	return merlon_between(value & 0xffff, pair & 0xffff, pair >> 16);
}

/* The same of IPv6 addresses. */
merlon_inline __u32 merlon_between6(const __u64 *value, const __u64 (*bounds)[2])
{
	return (merlon_lt128(value[0], value[1], bounds[0][0], bounds[0][1]) |
		merlon_lt128(bounds[1][0], bounds[1][1], value[0], value[1])) ^ 1;
}

/* Whether the packet is in the box at a word; free of branches but one, for the verifier's and the branch predictor's sake. */
merlon_inline __u32 merlon_in_box(const struct merlon_env *env, __u32 at)
{
	const struct merlon_image_box *box = merlon_block(env, at, merlon_image_box, MERLON_LINE_WORDS);
	const struct merlon_packet *packet = &env->walk->packet;
	const struct merlon_image_box6 *box6;
	__u32 what = box->what, in;

	in = merlon_le32(what & 0xff & ~packet->present, 0);
	in &= what >> 8 >> (packet->field[MERLON_F_CT_STATE] & 7);
	in &= merlon_between(packet->field[MERLON_F_L4PROTO] & 0xff, what >> 16 & 0xff, what >> 24);
	in &= merlon_between16(packet->field[MERLON_F_TH0], box->th0);
	in &= merlon_between16(packet->field[MERLON_F_TH2], box->th2);
	in &= merlon_between16(packet->field[MERLON_F_IIF], box->iif);
	in &= merlon_between16(packet->field[MERLON_F_OIF], box->oif);
	if (packet->family == MERLON_IPV6) {
		box6 = merlon_block(env, at, merlon_image_box6, 2 * MERLON_LINE_WORDS);
		return in & merlon_between6(packet->addr6[0], box6->saddr) & merlon_between6(packet->addr6[1], box6->daddr);
	}
	in &= merlon_between(packet->field[MERLON_F_SADDR], box->saddr[0], box->saddr[1]);
	return in & merlon_between(packet->field[MERLON_F_DADDR], box->daddr[0], box->daddr[1]);
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
	if (rule < walk->from || !merlon_in_box(env, at)) {
		walk->box = box->more ? box->more * MERLON_LINE_WORDS : at + merlon_box_words(walk->packet.family);
		return box->last & 1;
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
