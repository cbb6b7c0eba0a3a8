/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers that depend on a seed and nothing else: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64. */
#ifndef MERLON_VERIFY_RANDOM_H
#define MERLON_VERIFY_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct merlon_random {
	uint64_t s[4];
};

static inline uint64_t merlon_splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static inline struct merlon_random merlon_random_seed(uint64_t seed)
{
	struct merlon_random r;

	for (int i = 0; i < 4; i++)
		r.s[i] = merlon_splitmix(&seed);
	return r;
}

static inline uint64_t merlon_random_rotate(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

static inline uint64_t merlon_random_bits(struct merlon_random *r)
{
	uint64_t ret = merlon_random_rotate(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = merlon_random_rotate(r->s[3], 45);
	return ret;
}

/* 0..n-1; n is not 0. */
static inline uint32_t merlon_random_below(struct merlon_random *r, uint32_t n)
{
	return (merlon_random_bits(r) >> 32) * n >> 32;
}

static inline bool merlon_random_percent(struct merlon_random *r, unsigned percent)
{
	return merlon_random_below(r, 100) < percent;
}

#endif
