/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between the two builds of the data plane's headers: BPF programs and the native library.
 *
 * A BPF program that includes this defines before:
 *   const volatile __u32 merlon_image_mask	words of the image - 1, set before load: the verifier then knows that no
 *						masked index leaves the map value
 *   map `limits`	array of __u64, token buckets
 *   map `counters`	per-CPU array of struct merlon_counter
 */
#ifndef MERLON_ENV_H
#define MERLON_ENV_H

#include "bpf/abi.h"

struct merlon_walk;

/*
 * Kernel 6.1 refuses some loops by the way their code is laid out ("back-edge"): short ones are unrolled. clang does
 * so only where it cannot merge an early exit into the loop's condition, hence merlon_opaque() on what is compared.
 */
#ifdef __bpf__
#define merlon_unroll _Pragma("clang loop unroll(full)")
#define merlon_opaque(x) asm volatile("" : "+r"(x))
#else
#define merlon_unroll
#define merlon_opaque(x)
#endif

#ifdef __bpf__

#include <bpf/bpf_helpers.h>

#define merlon_inline static __always_inline
#define merlon_noinline static __attribute__((noinline))
/* A global function: verified once for any arguments, not once for each way that leads to it. Pointers may be NULL there. */
#define merlon_apart __attribute__((noinline))

struct merlon_env {
	const __u64 *image;
	struct merlon_walk *walk;
};
#define merlon_mask(env) ((void)(env), merlon_image_mask)

/*
 * Calls callback(i, env) until it returns 1, at most n times. Kernel 6.1 verifies a callback for one iteration only
 * and drops branches that look dead then: what a loop changes is kept in the walk (a map value, whose contents are
 * unknown to the verifier), never on the stack.
 */
#define merlon_loop(n, callback, env) bpf_loop(n, callback, env, 0)

merlon_inline __u64 *merlon_bucket(const struct merlon_env *env, __u32 slot)
{
	(void)env;
	return bpf_map_lookup_elem(&limits, &slot);
}

merlon_inline struct merlon_counter *merlon_counter_at(const struct merlon_env *env, __u32 index)
{
	(void)env;
	return bpf_map_lookup_elem(&counters, &index);
}

#else

#include <stddef.h>

#define merlon_inline static inline __attribute__((always_inline, unused))
#define merlon_noinline static __attribute__((unused))
#define merlon_apart static __attribute__((unused))

struct merlon_env {
	const __u64 *image;
	struct merlon_walk *walk;
	__u32 mask;
	__u64 *limits;			/* [n_limits], from slot first_limit on */
	__u32 first_limit, n_limits;
	struct merlon_counter *counters;	/* [n_counters], from index first_counter on */
	__u32 first_counter, n_counters;
};
#define merlon_mask(env) ((env)->mask)

#define merlon_loop(n, callback, env) \
	do { \
		for (__u32 i_ = 0; i_ < (n) && !callback(i_, env); i_++) \
			; \
	} while (0)

merlon_inline __u64 *merlon_bucket(const struct merlon_env *env, __u32 slot)
{
	return slot - env->first_limit < env->n_limits ? &env->limits[slot - env->first_limit] : NULL;
}

merlon_inline struct merlon_counter *merlon_counter_at(const struct merlon_env *env, __u32 index)
{
	return index - env->first_counter < env->n_counters ? &env->counters[index - env->first_counter] : NULL;
}

#endif

merlon_inline __u64 merlon_word(const struct merlon_env *env, __u32 index)
{
	return env->image[index & merlon_mask(env)];
}

/* Half `half` counted from word `word`. */
merlon_inline __u32 merlon_half(const struct merlon_env *env, __u32 word, __u32 half)
{
	return ((const __u32 *)env->image)[(word * 2 + half) & (merlon_mask(env) << 1 | 1)];
}

/*
 * A struct that starts at `word`, a multiple of `words`, which is a power of two: its first `words` words are in the image
 * wherever it says that it is. One mask for all members, and the verifier knows it.
 */
#define merlon_block(env, word, type, words) \
	((const struct type *)&(env)->image[(word) & merlon_mask(env) & ~((__u32)(words) - 1)])

/* A 32-bit member of a struct that starts at `word`. */
#define merlon_member(env, word, type, member) \
	merlon_half(env, word, __builtin_offsetof(struct type, member) / 4)
/* A 64-bit one. */
#define merlon_member64(env, word, type, member) \
	merlon_word(env, (word) + __builtin_offsetof(struct type, member) / 8)

/* BPF has no instruction for these; branch-free, because each branch doubles the verifier's work. */
merlon_inline __u32 merlon_popcount(__u64 x)
{
#ifdef __bpf__
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return x * 0x0101010101010101ULL >> 56;
#else
	return __builtin_popcountll(x);
#endif
}

/* The lowest set bit; 64 for 0. */
merlon_inline __u32 merlon_lowest(__u64 x)
{
	return merlon_popcount((x & -x) - 1);
}

/* 1 if a <= b. */
merlon_inline __u32 merlon_le32(__u32 a, __u32 b)
{
	__u64 difference = (__u64)a - b - 1;

	merlon_opaque(difference);	/* or clang sees a comparison, and makes branches of it */
	return difference >> 63;
}

merlon_inline __u32 merlon_lt64(__u64 a, __u64 b)
{
	return ((~a & b) | ((~a | b) & (a - b))) >> 63;
}

/* 1 if a < b, both of two words, the high one first: what is left to borrow when they are subtracted. */
merlon_inline __u32 merlon_lt128(__u64 a_high, __u64 a_low, __u64 b_high, __u64 b_low)
{
	__u64 borrow = merlon_lt64(a_low, b_low);

	return ((~a_high & b_high) | ((~a_high | b_high) & (a_high - b_high - borrow))) >> 63;
}

#endif
