/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random rulesets and packets that are likely to meet at the rules' boundaries. The same seed gives the same ones. */
#ifndef MERLON_TESTS_RANDOM_H
#define MERLON_TESTS_RANDOM_H

#include "src/compile/compile.h"
#include "src/model/ruleset.h"

struct random {
	uint64_t state;
	uint32_t spread;	/* so many addresses that each is in few rules; 0: few addresses */
};

static inline uint32_t random_bits(struct random *r)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return (r->state * 0x2545f4914f6cdd1dULL) >> 32;
}

/* 0..n-1 */
static inline uint32_t random_below(struct random *r, uint32_t n)
{
	return ((uint64_t)random_bits(r) * n) >> 32;
}

static inline bool random_percent(struct random *r, unsigned percent)
{
	return random_below(r, 100) < percent;
}

struct random random_seed(uint64_t seed);

/* What interfaces there are, some of which rules name. */
extern const struct merlon_interface random_interface[];
extern const size_t random_interfaces;
/* The routing table `local`. */
extern const struct merlon_address random_address[];
extern const size_t random_addresses;

/* How a ruleset is to be: `rules` in about, few or many shapes. */
struct random_style {
	unsigned rules;
	bool uniform;		/* nearly all rules look at the same dimensions: large planes */
	bool plain;		/* no calls and no traces but counters */
};
struct merlon_ruleset *random_ruleset(struct random *r, const struct random_style *style);

/* A packet and the interfaces it has; classes in field[IIF] and field[OIF] are left to the caller. */
struct random_packet {
	struct merlon_packet packet;
	const char *iif_name, *oif_name;
};
void random_packet(struct random *r, struct random_packet *ret);
/* Changes what a decision does not depend on: all but the dimensions and the TCP flags in `tcp_mask`. */
void random_change(struct random *r, uint8_t tcp_mask, struct merlon_packet *packet);

#endif
