/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Synthetic rules in the manner of ClassBench (Taylor and Turner, 2007), and packets for them. */
#ifndef MERLON_BENCH_RULEGEN_H
#define MERLON_BENCH_RULEGEN_H

#include "src/model/ruleset.h"

enum rulegen_kind {
	RULEGEN_ACL,	/* few wildcards */
	RULEGEN_MIXED,
	RULEGEN_FW,	/* many wildcards */
};

/* One input chain of `n` five-field rules, policy accept. NULL: no memory. The same seed gives the same rules. */
struct merlon_ruleset *rulegen(enum rulegen_kind kind, uint32_t n, uint64_t seed);
/* A packet that meets a rule picked at random, or (one in four) the corners of two of them. */
void rulegen_packet(const struct merlon_ruleset *ruleset, uint64_t *seed, struct merlon_packet *ret);
const char *rulegen_name(enum rulegen_kind kind);

#endif
