/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One random ruleset under test: compiled, natively classified, and evaluated rule by rule. */
#ifndef MERLON_TESTS_COMPARE_H
#define MERLON_TESTS_COMPARE_H

#include "bpf/classify.h"
#include "src/model/naive.h"
#include "tests/prop/random.h"

struct bucket {
	const struct merlon_statement *limit;
	uint64_t tokens, last;		/* as nft_limit.c keeps them */
};

struct trial {
	uint64_t seed;
	struct random random;
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy;
	struct merlon_native *native;
	struct bucket *bucket;		/* of the reference, one per limit statement met */
	size_t n_buckets;
	uint64_t now_ns;
	uint64_t *expected_at_once, *at_once;	/* by counter: counted because the walk's list was full */
	struct merlon_walk walk;
	struct merlon_naive_result naive;
};

/* 0, or 1 if this ruleset is beyond a limit of the data plane (and was refused with a diagnostic). */
int trial_begin(struct trial *trial, uint64_t seed, unsigned most_rules);
void trial_end(struct trial *trial);
/*
 * Makes a packet, classifies it natively and by the reference, and compares all that can be seen from outside.
 * Returns NULL, or what differs.
 */
const char *trial_packet(struct trial *trial);
/* What differs between two walks over the same packet. */
const char *compare_walks(const struct merlon_walk *a, const struct merlon_walk *b);
void trial_describe(const struct trial *trial);

#endif
