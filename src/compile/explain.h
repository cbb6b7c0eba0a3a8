/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Questions about a policy (`merlon why`): asked natively, and any answer led back to the ruleset. */
#ifndef MERLON_COMPILE_EXPLAIN_H
#define MERLON_COMPILE_EXPLAIN_H

#include <jansson.h>

#include "bpf/why.h"
#include "src/compile/compile.h"
#include "src/model/why.h"

/* What an answer is about. */
struct merlon_explain {
	const struct merlon_policy *policy;	/* NULL: the rules are not known */
	const struct merlon_address *address;	/* as the policy was compiled with */
	size_t n_addresses;
	uint64_t loaded_ns;
	const char *iif, *oif;			/* names, "" where there is none */
	uint64_t *limits;	/* [n_limits] buckets as the question found them; changed. NULL: all full */
};

/*
 * The question's own part of `why`: hook (and the side that goes with it), state and length. Interfaces and session are
 * the caller's business.
 */
void merlon_why_ask(const struct merlon_question *question, enum merlon_hook hook, struct merlon_why *ret);

/* The session tuple of the packet. 0, or -1: such packets have none. */
int merlon_why_tuple(const struct merlon_question *question, union merlon_tuple *ret);

/*
 * Asks a policy that need not be in force: full buckets, elements as old as why->now_ns (0: as when it was loaded) makes
 * them. Interfaces without an index in `why` go by the names `iif` and `oif`, which need not exist; all but "lo" are taken
 * for Ethernet. 0 or -ENOMEM.
 */
int merlon_why_native(const struct merlon_explain *explain, const struct merlon_question *question,
		      struct merlon_why *why);

/*
 * The answer in the shape of `merlon why --json`: judged (true: the rules were asked), verdict, hook, table, chain, rule,
 * file, line, handle, policy (the chain's decided), state, direction, cached, decision, reject, mark, counters, logged,
 * trace. The trace is the way that the reference takes through the ruleset (src/model/naive.h), each rule of which no
 * match failed; where that does not end at the same rule, only what was counted and logged is in it, and
 * "trace_complete" is false. A new reference, NULL: no memory.
 */
json_t *merlon_explain(const struct merlon_explain *explain, const struct merlon_why *why);

#endif
