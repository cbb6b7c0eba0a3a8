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

/* The same of IPv6 addresses, the bounds in the four words from `at` on. */
merlon_inline __u32 merlon_between6(const struct merlon_env *env, const __u64 *value, __u32 at)
{
	__u64 lo[2] = { merlon_word(env, at), merlon_word(env, at + 1) };
	__u64 hi[2] = { merlon_word(env, at + 2), merlon_word(env, at + 3) };
	__u32 below = merlon_lt64(value[0], lo[0]) | ((merlon_lt64(lo[0], value[0]) ^ 1) & merlon_lt64(value[1], lo[1]));
	__u32 above = merlon_lt64(hi[0], value[0]) | ((merlon_lt64(value[0], hi[0]) ^ 1) & merlon_lt64(hi[1], value[1]));

	return (below | above) ^ 1;
}

/* Whether the packet is in a box; free of branches but one, for the verifier's and the branch predictor's sake. */
merlon_inline __u32 merlon_in_box(const struct merlon_env *env, __u32 box)
{
	const __u32 saddr6 = __builtin_offsetof(struct merlon_image_box6, saddr) / 8;
	const __u32 daddr6 = __builtin_offsetof(struct merlon_image_box6, daddr) / 8;
	const struct merlon_packet *packet = &env->walk->packet;
	__u32 what = merlon_member(env, box, merlon_image_box, what), in;

	in = merlon_le32(what & 0xff & ~packet->present, 0);
	in &= what >> 8 >> (packet->field[MERLON_F_CT_STATE] & 7);
	in &= merlon_between(packet->field[MERLON_F_L4PROTO] & 0xff, what >> 16 & 0xff, what >> 24);
	in &= merlon_between16(packet->field[MERLON_F_TH0], merlon_member(env, box, merlon_image_box, th0));
	in &= merlon_between16(packet->field[MERLON_F_TH2], merlon_member(env, box, merlon_image_box, th2));
	in &= merlon_between16(packet->field[MERLON_F_IIF], merlon_member(env, box, merlon_image_box, iif));
	in &= merlon_between16(packet->field[MERLON_F_OIF], merlon_member(env, box, merlon_image_box, oif));
	if (packet->family == MERLON_IPV6)
		return in & merlon_between6(env, packet->addr6[0], box + saddr6) &
		       merlon_between6(env, packet->addr6[1], box + daddr6);
	in &= merlon_between(packet->field[MERLON_F_SADDR], merlon_member(env, box, merlon_image_box, saddr[0]),
			     merlon_member(env, box, merlon_image_box, saddr[1]));
	return in & merlon_between(packet->field[MERLON_F_DADDR], merlon_member(env, box, merlon_image_box, daddr[0]),
				   merlon_member(env, box, merlon_image_box, daddr[1]));
}

/* Reads the packet's bucket in a subtable: what it holds has no influence on where the next one's is. */
static long merlon_bucket_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	const struct merlon_packet *packet = &walk->packet;
	__u32 at = walk->subtables + i * (sizeof(struct merlon_image_subtable) / 8);
	__u64 saddr[2] = { packet->field[MERLON_F_SADDR], 0 }, daddr[2] = { packet->field[MERLON_F_DADDR], 0 };
	__u64 mask[4] = { merlon_word(env, at), merlon_word(env, at + 1), merlon_word(env, at + 2),
			  merlon_word(env, at + 3) };
	__u64 bucket;
	__u32 hash;

	if (packet->family == MERLON_IPV6) {
		saddr[0] = packet->addr6[0][0];
		saddr[1] = packet->addr6[0][1];
		daddr[0] = packet->addr6[1][0];
		daddr[1] = packet->addr6[1][1];
	}
	hash = merlon_subtable_hash(mask, merlon_member(env, at, merlon_image_subtable, th2_mask), saddr, daddr,
				    packet->field[MERLON_F_TH2]);
	bucket = merlon_word(env, merlon_member(env, at, merlon_image_subtable, buckets) +
				  (hash & merlon_member(env, at, merlon_image_subtable, buckets_mask)));
	walk->head[i & (MERLON_SUBTABLES - 1)] = ~(__u32)bucket;
	walk->bucket[i & (MERLON_SUBTABLES - 1)] = bucket >> 32;
	return 0;
}

/* Looks at the next box of a bucket. */
static long merlon_box_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u32 t = walk->subtable & (MERLON_SUBTABLES - 1), box = walk->box, rule = merlon_member(env, box, merlon_image_box, rule);

	(void)i;
	walk->box = box + (walk->packet.family == MERLON_IPV6 ? sizeof(struct merlon_image_box6) :
								 sizeof(struct merlon_image_box)) / 8;
	if (rule < walk->from)
		return 0;
	if (rule >= walk->best) {
		walk->head[t] = rule;
		return 1;
	}
	if (!merlon_in_box(env, box))
		return 0;
	walk->head[t] = rule;
	walk->at = walk->is[t] = box + __builtin_offsetof(struct merlon_image_box, is) / 8;
	walk->exact |= 1U << t;
	walk->best = rule;
	return 1;
}

/* Asks a subtable for its first match at or after walk->from, if that may be less than walk->best. */
static long merlon_subtable_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u32 t = i & (MERLON_SUBTABLES - 1), head = walk->head[t];

	if (head >= walk->best)
		return 0;
	if (walk->exact >> t & 1) {
		if (head >= walk->from) {
			walk->best = head;
			walk->at = walk->is[t];
			return 0;
		}
		walk->exact &= ~(1U << t);
	}
	walk->subtable = t;
	walk->box = (walk->bucket[t] >> 8) * 8;
	walk->head[t] = MERLON_NO_RULE;
	merlon_loop(walk->bucket[t] & 0xff, merlon_box_step, env);
	return 0;
}

#endif
