/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chains of the policy's own files that are left to netfilter: what they set, the rules beside them may ask for. Here it
 * does not matter whether this host runs them: without them merlon misses what they would set, with them what they do.
 */
#include <errno.h>

#include "src/host/chains.h"

/* NAT is refused for itself; what kept rules stop is for netfilter to stop. */
#define NOT_JUDGED (1U << MERLON_DOES_NAT | 1U << MERLON_DOES_STOP)

static int add(struct merlon_chains *chains, const struct merlon_ruleset *policy, const struct merlon_chain *from)
{
	const struct merlon_table *table = &policy->table[from->table];
	struct merlon_host_chain *chain = merlon_chains_add(chains, "", table->family, table->name, from->name);
	size_t i;
	unsigned does;

	if (!chain)
		return -ENOMEM;
	chain->own = from;
	chain->base = chain->reached = true;
	for (i = 0; i < from->n; i++)
		for (does = 0; does < MERLON_DOES; does++)
			if (from->rule[i].does & ~NOT_JUDGED & 1U << does)
				merlon_chain_does(chain, does, i + 1);
	return 0;
}

int merlon_host_own(struct merlon_host_view *view)
{
	const struct merlon_ruleset *policy = view->options->policy;
	struct merlon_chains chains = { 0 };
	size_t i;
	int r = 0;

	for (i = 0; policy && i < policy->n_chains && r == 0; i++)
		if (policy->chain[i].beside)
			r = add(&chains, policy, &policy->chain[i]);
	if (r == 0)
		r = merlon_chains_judge(view, &chains);
	merlon_chains_clear(&chains);
	return r;
}
