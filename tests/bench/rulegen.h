/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Synthetic rules in the manner of ClassBench (Taylor and Turner, 2007), for both address families and with more
 * dimensions than its five; rules that ClassBench wrote; and packets for either.
 */
#ifndef MERLON_BENCH_RULEGEN_H
#define MERLON_BENCH_RULEGEN_H

#include "src/model/ruleset.h"
#include "src/util/interfaces.h"

enum rulegen_kind {
	RULEGEN_FEW,	/* few wildcards in addresses, ports and protocol */
	RULEGEN_MANY,	/* many wildcards; also input interface and ct state: seven dimensions */
	RULEGEN_MIXED,	/* also output interface and TCP flags: nine */
	RULEGEN_KINDS,
};

#define RULEGEN_INTERFACES 8
/* What the rules' interface names stand for. */
extern const struct merlon_interface rulegen_interface[RULEGEN_INTERFACES];

/*
 * One chain of `n` rules, policy accept: input, of RULEGEN_MIXED forward. NULL: no memory. The same seed gives the same
 * rules. The caller frees it.
 */
struct merlon_ruleset *rulegen(enum rulegen_kind kind, enum merlon_family family, uint32_t n, uint64_t seed);
/*
 * The rules of a filter set as ClassBench writes it ("@SADDR/LEN DADDR/LEN LO : HI LO : HI PROTO/MASK ..."), flags left out.
 * NULL: it cannot be read, or has none.
 */
struct merlon_ruleset *rulegen_classbench(const char *file);
/*
 * A packet that meets a rule picked at random, or (one in four) the corners of two of them. Interfaces are in iif and oif as
 * indexes (0: none), their classes are the caller's to enter.
 */
void rulegen_packet(const struct merlon_ruleset *ruleset, uint64_t *seed, struct merlon_packet *ret);
const char *rulegen_name(enum rulegen_kind kind);

#endif
