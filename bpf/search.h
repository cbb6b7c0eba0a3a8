/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which interval of a dimension a value lies in: trees of boundaries, a node of 16 keys a level. */
#ifndef MERLON_SEARCH_H
#define MERLON_SEARCH_H

#include "bpf/env.h"
#include "bpf/image.h"
#include "bpf/walk.h"

#define MERLON_AHEAD_LEVELS 3	/* what fewer levels lead to is in near caches */

/*
 * A node of a tree's last level is as many keys as a line of `rows` is halves: that line is asked for beside the node, not when
 * the node has come. Words from one node's line to the next one's; 0: there are no rows, and nothing is asked for.
 */
merlon_inline __u32 merlon_ahead(__u32 rows)
{
	__u64 none = (__u64)rows - 1;

	merlon_opaque(none);
	return (none >> 63 ^ 1) * (MERLON_TREE_FANOUT / 2);
}

struct merlon_keys {
	__u32 key[MERLON_TREE_FANOUT];
};
struct merlon_keys6 {
	__u64 key[MERLON_TREE_FANOUT][2];	/* high word first */
};

/* The interval of a value in a tree of 32-bit boundaries. `rows`: halves that the answer is an index of, 0: nothing. */
merlon_noinline __u32 merlon_search(const struct merlon_env *env, __u32 tree, __u32 value, __u32 rows)
{
	const struct merlon_image_tree *in = merlon_block(env, tree, merlon_image_tree, sizeof(*in) / 8);
	__u32 n = in->n, levels = in->levels, ahead = merlon_ahead(rows), at = 0;

	if (!levels)
		return value < n ? value : n - 1;
	merlon_unroll
	for (__u32 l = 0; l < MERLON_TREE_LEVELS; l++) {
		const struct merlon_keys *node;
		__u32 i;

		merlon_opaque(levels);
		if (l >= levels)
			break;
		node = merlon_block(env, in->level[l] + at * (MERLON_TREE_FANOUT / 2), merlon_keys, sizeof(*node) / 8);
		if (l >= MERLON_AHEAD_LEVELS)
			(void)*(const volatile __u64 *)&env->image[(rows + at * ahead) & merlon_mask(env)];
		/* three keys that do not wait for each other, twice: four that do take longer */
		i = merlon_le32(node->key[4], value) + merlon_le32(node->key[8], value) + merlon_le32(node->key[12], value);
		i *= 4;
		i += merlon_le32(node->key[i + 1], value) + merlon_le32(node->key[i + 2], value) +
		     merlon_le32(node->key[i + 3], value);
		at = at * MERLON_TREE_FANOUT + i;
	}
	return at < n ? at : n - 1;
}

/* 1 if a key is at most an IPv6 address. */
merlon_inline __u32 merlon_key6_le(const __u64 *key, const __u64 *value)
{
	return merlon_lt128(value[0], value[1], key[0], key[1]) ^ 1;
}

merlon_noinline __u32 merlon_search6(const struct merlon_env *env, __u32 tree, __u32 end, __u32 rows)
{
	const struct merlon_image_tree *in = merlon_block(env, tree, merlon_image_tree, sizeof(*in) / 8);
	__u32 n = in->n, levels = in->levels, ahead = merlon_ahead(rows), at = 0;
	__u64 value[2] = { env->walk->packet.addr6[end & 1][0], env->walk->packet.addr6[end & 1][1] };

	merlon_unroll
	for (__u32 l = 0; l < MERLON_TREE_LEVELS; l++) {
		const struct merlon_keys6 *node;
		__u32 i;

		merlon_opaque(levels);
		if (l >= levels)
			break;
		node = merlon_block(env, in->level[l] + at * (MERLON_TREE_FANOUT * 2), merlon_keys6, sizeof(*node) / 8);
		if (l >= MERLON_AHEAD_LEVELS)
			(void)*(const volatile __u64 *)&env->image[(rows + at * ahead) & merlon_mask(env)];
		i = merlon_key6_le(node->key[4], value) + merlon_key6_le(node->key[8], value) + merlon_key6_le(node->key[12], value);
		i *= 4;
		i += merlon_key6_le(node->key[i + 1], value) + merlon_key6_le(node->key[i + 2], value) +
		     merlon_key6_le(node->key[i + 3], value);
		at = at * MERLON_TREE_FANOUT + i;
	}
	return at < n ? at : n - 1;
}

#endif
