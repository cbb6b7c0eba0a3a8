/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reference: a ruleset evaluated rule by rule, chain by chain, as nf_tables does it (net/netfilter/nf_tables_core.c,
 * nft_do_chain), without any of the compiler's work. Tests hold the classifier against it.
 */
#ifndef MERLON_MODEL_NAIVE_H
#define MERLON_MODEL_NAIVE_H

#include "src/model/ruleset.h"
#include "src/util/addresses.h"

#define MERLON_NAIVE_TOUCHED 4096
#define MERLON_NAIVE_BASES 64

struct merlon_naive_result {
	enum merlon_verdict verdict;	/* ACCEPT, DROP, REJECT */
	enum merlon_reject reject;
	uint8_t reject_code;
	const struct merlon_chain *chain;	/* of the decision; NULL: there is no base chain */
	const struct merlon_rule *rule;		/* NULL: the chain's policy */
	const struct merlon_rule *counted[MERLON_NAIVE_TOUCHED];	/* rules whose counters the packet raised, in order */
	size_t n_counted;
	const struct merlon_rule *logged[MERLON_NAIVE_TOUCHED];
	size_t n_logged;
	const struct merlon_rule *ended[MERLON_NAIVE_BASES];	/* what ended each base chain that was met; NULL: its policy */
	size_t n_ended;
	uint32_t mark;
};

struct merlon_naive_input {
	const struct merlon_ruleset *ruleset;
	/* field[MERLON_F_IIF] and [MERLON_F_OIF] are not looked at: interfaces are matched by iif, oif and these names */
	const struct merlon_packet *packet;
	const char *iif_name, *oif_name;	/* "" where there is none */
	const struct merlon_address *address;	/* what address types are told by */
	size_t n_addresses;
	uint64_t age_ms;			/* since the ruleset was loaded: elements that expire */
	/* Called for each limit statement met; its answer is whether the bucket had a token. NULL: it always had. */
	bool (*take)(void *context, const struct merlon_rule *rule, const struct merlon_statement *limit);
	/* NULL, or called for each rule of which no match failed, in order, when its end or verdict is reached. */
	void (*met)(void *context, const struct merlon_rule *rule);
	void *context;			/* of both */
};

/* 0, or -ELOOP if jumps nest deeper than nf_tables allows (NFT_JUMP_STACK_SIZE). */
int merlon_naive(const struct merlon_naive_input *input, struct merlon_naive_result *ret);

#endif
