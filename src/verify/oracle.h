/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's own nf_tables in a scratch host: the original input, without what merlon leaves to netfilter. */
#ifndef MERLON_VERIFY_ORACLE_H
#define MERLON_VERIFY_ORACLE_H

#include "compat/compat.h"
#include "src/compile/compile.h"
#include "src/verify/tempo.h"
#include "src/verify/world.h"

/*
 * Replaces what the host filters with. Kept chains and refused rules, which are left out of merlon's policy too, are
 * taken out again, logs to syslog become logs that the ears hear, and limits get the tempo of those of `policy`, the
 * ruleset that merlon has (rules of the same place in the same chain go together). 0, or a negative errno with a diagnostic.
 */
struct merlon_oracle_request {
	const struct merlon_source *source;
	size_t n_sources;
	const struct merlon_ruleset *policy;
	uint64_t token_ns;
};
int merlon_oracle_load(const struct merlon_world *world, const struct merlon_oracle_request *request, struct merlon_diag *diag);
/* Forgets all connections. */
int merlon_oracle_forget(const struct merlon_world *world);

/*
 * What the counters of a policy's rules say here: `ret` has one for each counter of the policy. 0, or -ESTALE if
 * the rules are not those of the policy's ruleset.
 */
int merlon_oracle_counters(const struct merlon_world *world, const struct merlon_policy *policy, struct merlon_counter *ret,
			   struct merlon_diag *diag);

struct nftnl_rule;
/* The rules as they were loaded, and merlon's. */
struct merlon_tempo_change {
	const struct merlon_ruleset *loaded, *policy;
	uint64_t token_ns;
};
/* logs.c: every rule that logs does it to MERLON_GROUP_LOGGED, and limits get their tempo. */
int merlon_oracle_change(struct mnl_socket *netfilter, const struct merlon_tempo_change *tempo);
/* Merlon's rule in the place of a rule that was loaded; NULL: there is none. */
const struct merlon_rule *merlon_oracle_twin(const struct merlon_tempo_change *rules, const struct nftnl_rule *rule);

/* Sends a batch of nf_tables messages, each of which has NLM_F_ACK, and reads the answers: the first error. */
struct merlon_nft_batch {
	struct mnl_socket *socket;
	char *buffer;		/* owned */
	size_t used, room;
	unsigned sequence;
};
int merlon_nft_begin(struct merlon_nft_batch *batch, struct mnl_socket *socket);
/* The header of the next message; there is room for 128 KiB of payload. NULL: no memory. merlon_nft_put() ends it. */
struct nlmsghdr *merlon_nft_next(struct merlon_nft_batch *batch, uint16_t type, uint16_t family, uint16_t flags);
void merlon_nft_put(struct merlon_nft_batch *batch, const struct nlmsghdr *h);
/* NFT_MSG_NEWTABLE or DELTABLE of an inet table; `flags`: NFT_TABLE_F_*. 0 or -ENOMEM. */
int merlon_nft_put_table(struct merlon_nft_batch *batch, uint16_t type, const char *table, uint32_t flags);
/* A new filter chain of an inet table; `hook`: NF_INET_*. 0 or -ENOMEM. */
int merlon_nft_put_chain(struct merlon_nft_batch *batch, const char *table, const char *chain, uint32_t hook, int32_t priority);
int merlon_nft_commit(struct merlon_nft_batch *batch);
void merlon_nft_clear(struct merlon_nft_batch *batch);

#endif
