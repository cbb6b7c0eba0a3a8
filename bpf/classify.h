/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a packet to its verdict, over a policy image. Compiled into the BPF programs and into the native library.
 */
#ifndef MERLON_CLASSIFY_H
#define MERLON_CLASSIFY_H

#include "bpf/abi.h"
#include "bpf/env.h"
#include "bpf/image.h"
#include "bpf/search.h"
#include "bpf/subtables.h"
#include "bpf/walk.h"

/* The class of an interface; classes are what IIF and OIF of a packet hold. */
merlon_inline __u32 merlon_iface_class_in(const struct merlon_env *env, __u32 ifindex)
{
	__u32 ifaces = merlon_member(env, 0, merlon_image, ifaces);
	__u32 mask = merlon_member(env, 0, merlon_image, ifaces_mask);

	if (!ifindex)
		return MERLON_IFACE_NONE;
	if (!ifaces)
		return MERLON_IFACE_OTHER;
	merlon_unroll
	for (__u32 i = 0; i < MERLON_IFACE_PROBES; i++) {
		__u64 entry = merlon_word(env, ifaces + ((merlon_image_iface_slot(ifindex) + i) & mask));

		if (entry >> 32 == ifindex)
			return (__u32)entry;
		if (!entry)
			break;
	}
	return MERLON_IFACE_OTHER;
}

/* Finds the packet's row in one dimension. */
merlon_inline void merlon_enter_dim(const struct merlon_env *env, __u32 list, __u32 d)
{
	struct merlon_walk *walk = env->walk;
	__u32 at = list + (__builtin_offsetof(struct merlon_image_list, dim) + d * sizeof(struct merlon_image_dim)) / 8;
	const struct merlon_image_dim *dim = merlon_block(env, at, merlon_image_dim, MERLON_LINE_WORDS);
	__u32 row, interval;

	if (!(walk->packet.present & MERLON_BIT(d))) {
		row = dim->absent;
	} else {
		if (d <= MERLON_F_DADDR && walk->packet.family == MERLON_IPV6)
			interval = merlon_search6(env, at, d, dim->ahead);
		else
			interval = merlon_search(env, at, walk->packet.field[d], dim->ahead);
		row = merlon_half(env, dim->rows, interval & dim->which);
	}
	walk->row[d] = row;
	walk->live &= merlon_word(env, row);
}

/* The least local index of a plane whose rule is at or after `from`. */
merlon_noinline __u32 merlon_lower_bound(const struct merlon_env *env, __u32 order, __u32 n)
{
	__u32 from = env->walk->from, at = 0;

	/* `at` rules are known to be before `from`; 18 steps settle 262144 */
	merlon_unroll
	for (__u32 step = MERLON_PLANE_RULES; step; step >>= 1) {
		__u32 to = at + step;

		/* what is read behind the end does not count */
		at += step * (merlon_le32(to, n) & (merlon_le32(from, merlon_half(env, order, to - 1)) ^ 1));
	}
	return at;
}

/* One step of a search: the next middle word, or the next leaf. */
static long merlon_vector_step(__u32 i, void *context)
{
	const struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u64 middle = walk->middle, word = ~0ULL, below;
	__u32 n_dims = walk->n_dims, start = walk->start, bit, at;

	(void)i;
	if (!middle) {
		__u64 top = walk->top;

		if (!top)
			return 1;
		bit = merlon_lowest(top);
		below = (1ULL << (bit & 63)) - 1;
		walk->top = top & (top - 1);
		walk->middle_index = bit;
		middle = bit == start >> 12 ? ~0ULL << (start >> 6 & 63) : ~0ULL;
	merlon_unroll
		for (__u32 k = 0; k < MERLON_DIMS; k++) {
			__u64 bits;

			merlon_opaque(n_dims);
			if (k >= n_dims)
				break;
			at = walk->vector[k] + 1 + 2 * merlon_popcount(walk->top_bits[k] & below);
			bits = merlon_word(env, at);
			walk->bits[k] = bits;
			walk->leaves[k] = merlon_word(env, at + 1);
			middle &= bits;
			if (!middle)
				break;
		}
		walk->middle = middle;
		return 0;
	}
	bit = merlon_lowest(middle);
	below = (1ULL << (bit & 63)) - 1;
	walk->middle = middle & (middle - 1);
	at = walk->middle_index * 64 + bit;
	if (at == start >> 6)
		word = ~0ULL << (start & 63);
	merlon_unroll
	for (__u32 k = 0; k < MERLON_DIMS; k++) {
		merlon_opaque(n_dims);
		if (k >= n_dims)
			break;
		word &= merlon_word(env, walk->leaves[k] + merlon_popcount(walk->bits[k] & below));
		if (!word)
			break;
	}
	if (!word)
		return 0;
	walk->found = at * 64 + merlon_lowest(word);
	return 1;
}

/* Gathers the vectors of a plane; returns the conjunction of their first words. */
merlon_inline __u64 merlon_vectors(const struct merlon_env *env, const struct merlon_image_plane *plane, __u32 n_dims)
{
	struct merlon_walk *walk = env->walk;
	__u64 top = ~0ULL;

	merlon_unroll
	for (__u32 k = 0; k < MERLON_DIMS; k++) {
		__u32 dim, vector;
		__u64 bits;

		merlon_opaque(n_dims);
		if (k >= n_dims)
			break;
		dim = plane->dim[k];
		vector = merlon_half(env, walk->row[dim & (MERLON_DIMS - 1)] + 1, dim >> 8);
		bits = merlon_word(env, vector);
		walk->vector[k] = vector;
		walk->leaves[k] = vector + 1;
		walk->top_bits[k] = bits;
		walk->bits[k] = bits;
		top &= bits;
		if (!top)
			break;
	}
	return top;
}

/* The local index of a plane's first match at or after walk->start, in walk->found; MERLON_NO_RULE: there is none. */
merlon_inline void merlon_search_plane(struct merlon_env *env, const struct merlon_image_plane *plane)
{
	struct merlon_walk *walk = env->walk;
	__u32 depth = plane->depth, n_dims = plane->n_dims, start = walk->start;
	__u64 top;

	if (!n_dims) {
		walk->found = start;
		return;
	}
	walk->found = MERLON_NO_RULE;
	top = merlon_vectors(env, plane, n_dims);
	if (depth == 1) {
		top &= ~0ULL << (start & 63);
		if (top)
			walk->found = merlon_lowest(top);
		return;
	}
	if (!top)
		return;
	walk->n_dims = n_dims;
	if (depth == 2) {
		walk->top = 0;
		walk->middle = top & ~0ULL << (start >> 6 & 63);
		walk->middle_index = 0;
	} else {
		walk->top = top & ~0ULL << (start >> 12 & 63);
		walk->middle = 0;
	}
	merlon_loop(64 * 64 + 64 + 1, merlon_vector_step, env);
}

/* A match at or after walk->from, the n-th of `rules`: it may be the least one. */
merlon_inline void merlon_match(struct merlon_walk *walk, __u32 rule, __u32 rules, __u32 n)
{
	if (rule >= walk->best)
		return;
	walk->best = rule;
	walk->at = rules + n * (sizeof(struct merlon_image_rule) / 8);
}

/* Asks the next plane on walk->todo for its first match at or after walk->from. */
static long merlon_plane_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u64 todo = walk->todo, bit = todo & -todo;
	__u32 p = merlon_lowest(todo) & (MERLON_PLANES - 1);
	__u32 at = walk->planes + p * (sizeof(struct merlon_image_plane) / 8), from = walk->from, start = 0, n, rule;
	const struct merlon_image_plane *plane = merlon_block(env, at, merlon_image_plane, MERLON_LINE_WORDS);

	(void)i;
	if (!todo)
		return 1;
	walk->todo = todo & (todo - 1);
	if (walk->known & bit) {
		rule = walk->next[p];
		if (rule >= from) {
			merlon_match(walk, rule, plane->rules, walk->local[p]);
			return 0;
		}
		start = walk->local[p] + 1;
	}
	/* planes are sorted by their first rule: none of those that follow can do better either */
	if (plane->first > walk->best)
		return 1;
	if (plane->last < from) {
		walk->live &= ~bit;
		return 0;
	}
	n = plane->n;
	if (from && merlon_half(env, plane->order, start) < from)
		start = merlon_lower_bound(env, plane->order, n);
	walk->start = start;
	merlon_search_plane(env, plane);
	if (walk->found >= n) {
		walk->live &= ~bit;
		return 0;
	}
	rule = merlon_half(env, plane->order, walk->found);
	walk->local[p] = walk->found;
	walk->next[p] = rule;
	walk->known |= bit;
	merlon_match(walk, rule, plane->rules, walk->found);
	return 0;
}

/* A try to take from a bucket: user space and other CPUs may change it meanwhile. */
static long merlon_limit_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u64 *bucket = merlon_bucket(env, walk->tries);
	__u64 now = walk->now_ns, old, empty;

	(void)i;
	if (!bucket)
		return 1;
	old = *(volatile __u64 *)bucket;
	/* times wrap: a bucket larger than the uptime was empty before zero */
	empty = !old || (__s64)(now - old) > (__s64)walk->max ? now - walk->max : old;
	/* empty in the future: another CPU was here with a later clock, there is nothing to take yet */
	if ((__s64)(now - empty) < (__s64)walk->cost)
		return 1;
	empty += walk->cost;
	if (__sync_val_compare_and_swap(bucket, old, empty + !empty) != old)
		return 0;
	walk->taken = 1;
	return 1;
}

/* Whether the bucket had a token for the packet. */
merlon_inline __u32 merlon_take(struct merlon_env *env, __u32 limit)
{
	struct merlon_walk *walk = env->walk;
	__u64 cost = merlon_member64(env, limit, merlon_image_limit, ns);
	__u64 rate = merlon_member64(env, limit, merlon_image_limit, rate);

	if (merlon_member(env, limit, merlon_image_limit, bytes))
		cost *= walk->packet.bytes;
	walk->cost = rate ? cost / rate : cost;
	walk->max = merlon_member64(env, limit, merlon_image_limit, max_ns);
	walk->tries = merlon_member(env, limit, merlon_image_limit, slot);
	walk->taken = 0;
	merlon_loop(64, merlon_limit_step, env);
	return walk->taken;
}

merlon_inline void merlon_count(struct merlon_env *env, __u32 index)
{
	struct merlon_walk *walk = env->walk;
	__u32 n = walk->n_counters;
	struct merlon_counter *counter;

	if (n < MERLON_PATH_COUNTERS) {
		walk->counter[n & MERLON_PATH_COUNTERS] = index;
		walk->n_counters = n + 1;
		return;
	}
	walk->cacheable = 0;
	counter = merlon_counter_at(env, index);
	if (counter) {
		counter->packets++;
		counter->bytes += walk->packet.bytes;
	}
}

merlon_inline void merlon_log(struct merlon_walk *walk, __u32 log)
{
	__u32 n = walk->n_logs;

	walk->cacheable = 0;
	if (n >= MERLON_WALK_LOGS) {
		walk->logs_lost++;
		return;
	}
	walk->logs[n & (MERLON_WALK_LOGS - 1)].rule = walk->best;
	walk->logs[n & (MERLON_WALK_LOGS - 1)].log = log;
	walk->logs[n & (MERLON_WALK_LOGS - 1)].mark = walk->mark;
	walk->n_logs = n + 1;
}

/*
 * Decisions of sessions are neither taken from packets with a routing header nor hold for them (bpf/track.h): to a
 * rule that asks for one, packets without are all the same.
 */
merlon_inline __u32 merlon_is_without_routing(const struct merlon_packet *packet, __u32 field)
{
	return field == MERLON_F_RT_TYPE && !(packet->present & MERLON_BIT(MERLON_F_RT_TYPE));
}

/* Whether the packet's field is there and in what op `op` asks for. */
merlon_inline __u32 merlon_matches(const struct merlon_env *env, __u32 op, __u32 what)
{
	struct merlon_walk *walk = env->walk;
	__u32 field = what >> 8 & 0xff, invert = what >> 16 & 1, tree, value, in;
	__u32 mask = merlon_member(env, op, merlon_image_op, mask);

	if (field >= MERLON_FIELDS)
		return 0;
	if (field == MERLON_F_TCP_FLAGS)
		walk->tcp_mask |= mask;
	/* a packet that has a session has all of the header that any rule asks for (merlon_tracking()) */
	else if (field >= MERLON_DIMS && field != MERLON_F_TH_BYTES && !merlon_is_without_routing(&walk->packet, field))
		walk->cacheable = 0;
	if (!(walk->packet.present >> field & 1))
		return 0;
	tree = merlon_member(env, op, merlon_image_op, arg);
	if (field <= MERLON_F_DADDR && walk->packet.family == MERLON_IPV6)
		return (merlon_search6(env, tree, field, 0) ^ invert) & 1;
	value = field == MERLON_F_MARK ? walk->mark : walk->packet.field[field];
	value &= mask;
	if ((what & 0xff) == MERLON_OP_MATCH)
		return (merlon_search(env, tree, value, 0) ^ invert) & 1;
	in = value >= tree && value <= merlon_member(env, op, merlon_image_op, arg2);
	return in ^ invert;
}

/* One op of the rule that is visited; 1: it failed, the rest is left out. */
static long merlon_op_step(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u32 op = walk->op, what = merlon_member(env, op, merlon_image_op, what);
	__u32 arg = merlon_member(env, op, merlon_image_op, arg), went = 1;

	(void)i;
	walk->op = op + sizeof(struct merlon_image_op) / 8;
	switch (what & 0xff) {
	case MERLON_OP_MATCH:
	case MERLON_OP_RANGE:
		went = merlon_matches(env, op, what);
		break;
	case MERLON_OP_COUNT:
		merlon_count(env, arg);
		break;
	case MERLON_OP_LIMIT:
		walk->cacheable = 0;
		went = merlon_take(env, arg) ^ (what >> 16 & 1);
		break;
	case MERLON_OP_UNTIL:
		walk->cacheable = 0;
		went = walk->now_ns < (arg | (__u64)merlon_member(env, op, merlon_image_op, arg2) << 32);
		break;
	case MERLON_OP_LOG:
		merlon_log(walk, arg);
		break;
	case MERLON_OP_MARK:
		walk->cacheable = 0;
		walk->mark = (walk->mark & merlon_member(env, op, merlon_image_op, mask)) ^ arg;
		break;
	}
	if (went)
		return 0;
	walk->failed_op = 1;
	return 1;
}

/* The index of the next matching rule, in walk->best. */
merlon_inline void merlon_next_rule(struct merlon_env *env)
{
	struct merlon_walk *walk = env->walk;
	__u32 from = walk->from;

	walk->best = MERLON_NO_RULE;
	if (walk->rest >= from) {
		walk->best = walk->rest;
		walk->at = walk->list + __builtin_offsetof(struct merlon_image_list, rest_is) / 8;
	}
	if (walk->n_buckets)
		merlon_loop(walk->n_buckets, merlon_hashed_step, env);
	if (!walk->live)
		return;
	if (!walk->n_planes) {
		__u64 live = from < MERLON_DIRECT_RULES ? walk->live & ~0ULL << (from & 63) : 0;

		if (live)
			merlon_match(walk, merlon_lowest(live), walk->rules, merlon_lowest(live));
		return;
	}
	walk->todo = walk->live;
	merlon_loop(MERLON_PLANES, merlon_plane_step, env);
}

/* Visits the next matching rule; 1: it decided. */
static long merlon_visit(__u32 i, void *context)
{
	struct merlon_env *env = context;
	struct merlon_walk *walk = env->walk;
	__u32 rule, what, verdict;

	(void)i;
	merlon_next_rule(env);
	if (walk->best == MERLON_NO_RULE)
		return 1;
	walk->steps++;
	rule = walk->at;
	what = merlon_member(env, rule, merlon_image_rule, what);
	if (what & 0xff) {
		walk->op = merlon_member(env, rule, merlon_image_rule, ops);
		walk->failed_op = 0;
		merlon_loop(what & 0xff, merlon_op_step, env);
		if (walk->failed_op) {
			walk->from = merlon_member(env, rule, merlon_image_rule, fail);
			return 0;
		}
	}
	verdict = what >> 8 & 0xff;
	if (verdict == MERLON_CONTINUE) {
		walk->from = merlon_member(env, rule, merlon_image_rule, next);
		return 0;
	}
	walk->rule = walk->best;
	walk->verdict = verdict;
	walk->reject = what >> 16 & 0xff;
	walk->reject_code = what >> 24;
	walk->failed = 0;
	return 1;
}

/* Rules that touch the packet can only be found after this; nothing of an earlier walk is left. */
merlon_inline void merlon_walk_reset(const struct merlon_env *env)
{
	struct merlon_walk *walk = env->walk;

	walk->rule = MERLON_NO_RULE;
	walk->generation = merlon_member(env, 0, merlon_image, generation);
	walk->verdict = MERLON_DROP;
	walk->reject = 0;
	walk->reject_code = 0;
	walk->cacheable = 1;
	walk->tcp_mask = 0;
	walk->n_logs = 0;
	walk->n_counters = 0;
	walk->failed = 1;
	walk->steps = 0;
	walk->logs_lost = 0;
	walk->bare_ports = merlon_member(env, 0, merlon_image, bare_ports);
	walk->mark = walk->packet.field[MERLON_F_MARK];
	walk->known = 0;
	walk->from = 0;
}

merlon_inline void merlon_classify_in(struct merlon_env *env)
{
	struct merlon_walk *walk = env->walk;
	__u32 list = merlon_half(env, 0, __builtin_offsetof(struct merlon_image, list) / 4 +
					 walk->packet.hook * MERLON_FAMILIES + walk->packet.family);
	const struct merlon_image_list *head = merlon_block(env, list, merlon_image_list, MERLON_LINE_WORDS);
	__u32 dims, n_subtables;

	merlon_walk_reset(env);
	if (!list) {
		walk->verdict = MERLON_ACCEPT;
		walk->failed = 0;
		return;
	}
	walk->list = list;
	walk->rules = head->rules;
	walk->planes = head->planes;
	walk->n_planes = head->n_planes;
	walk->rest = head->rest;
	walk->live = head->all;
	walk->subtables = head->subtables;
	walk->n_buckets = 0;
	walk->exact = 0;
	dims = head->dims;
	n_subtables = head->n_subtables < MERLON_SUBTABLES ? head->n_subtables : MERLON_SUBTABLES;
	if (n_subtables) {
		const __u32 *field = walk->packet.field;

		walk->lanes = MERLON_BOX_LANES(field[MERLON_F_TH0] & 0xffff, field[MERLON_F_TH2] & 0xffff,
					       field[MERLON_F_IIF] & 0xffff, field[MERLON_F_OIF] & 0xffff);
		walk->pair = MERLON_BOX_PAIR(field[MERLON_F_SADDR], field[MERLON_F_DADDR]);
		merlon_loop(n_subtables, merlon_bucket_step, env);
	}
	merlon_unroll
	for (__u32 d = 0; d < MERLON_DIMS; d++)
		if (dims >> d & 1 && walk->live)
			merlon_enter_dim(env, list, d);
	merlon_loop(MERLON_MAX_VISITS, merlon_visit, env);
	if (walk->failed)
		walk->cacheable = 0;
}

#ifdef __bpf__
/*
 * `image`: value of the map that holds the image, merlon_image_mask + 1 words. Call it from one global function, so
 * that it is verified once.
 */
merlon_inline void merlon_classify(const __u64 *image, struct merlon_walk *walk)
{
	struct merlon_env env = { .image = image, .walk = walk };

	merlon_classify_in(&env);
}

merlon_inline __u32 merlon_iface_class(const __u64 *image, __u32 ifindex)
{
	struct merlon_env env = { .image = image };

	return merlon_iface_class_in(&env, ifindex);
}
#endif

#endif
