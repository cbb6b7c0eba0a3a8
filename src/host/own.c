/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chains of the policy's own files that are left to netfilter: what they set, the rules beside them may ask for. Here it
 * does not matter whether this host runs them: without them merlon misses what they would set, with them what they do.
 */
#include <errno.h>
#include <linux/netfilter.h>
#include <string.h>

#include "src/host/chains.h"

/* It is refused for itself. */
#define NOT_JUDGED (1U << MERLON_DOES_NAT)

#define LEGACY "_legacy"	/* what `merlon import --live` adds to the table's name where nf_tables has one of that name */

static bool is_table(const char *name, const struct merlon_host_chain *of_host)
{
	size_t n = strlen(of_host->table);

	return !strncmp(name, of_host->table, n) && (!name[n] || (!strcmp(name + n, LEGACY) && strstr(of_host->from, "legacy")));
}

/* By their names: what the host has in it may be another state of it. */
static bool is_same(const struct merlon_ruleset *policy, const struct merlon_chain *chain, const struct merlon_host_chain *of_host)
{
	const struct merlon_table *table = &policy->table[chain->table];

	return of_host->family == table->family && is_table(table->name, of_host) && !strcmp(of_host->name, chain->name);
}

static int add(struct merlon_chains *chains, const struct merlon_ruleset *policy, const struct merlon_chain *from)
{
	const struct merlon_table *table = &policy->table[from->table];
	struct merlon_host_chain *chain = merlon_chains_add(chains, "", table->family, table->name, from->name);
	size_t i;

	if (!chain)
		return -ENOMEM;
	chain->own = from;
	chain->base = chain->reached = true;
	chain->behind_input = from->behind_input;
	for (i = 0; i < from->n; i++)
		merlon_chain_does(chain, from->rule[i].does & ~NOT_JUDGED, i + 1);
	if (from->drop)
		merlon_chain_does(chain, 1U << MERLON_DOES_STOP, 0);
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

static bool is_enforced(const struct merlon_ruleset *policy, const struct merlon_host_chain *of_host)
{
	size_t i;

	for (i = 0; policy && i < policy->n_chains; i++) {
		const struct merlon_chain *chain = &policy->chain[i];

		if (chain->base && !chain->kept && is_same(policy, chain, of_host) &&
		    of_host->hook == (chain->hook == MERLON_INPUT ? NF_INET_LOCAL_IN :
				      chain->hook == MERLON_FORWARD ? NF_INET_FORWARD : NF_INET_LOCAL_OUT))
			return true;
	}
	return false;
}

void merlon_own_settle(const struct merlon_host_view *view, struct merlon_chains *chains)
{
	size_t i;

	for (i = 0; i < chains->n; i++) {
		struct merlon_host_chain *chain = &chains->chain[i];
		bool of_ip = chain->family == NFPROTO_INET || chain->family == NFPROTO_IPV4 || chain->family == NFPROTO_IPV6;

		if (chain->base && view->partial && of_ip && (chain->hook == NF_INET_FORWARD || chain->hook == NF_INET_POST_ROUTING))
			chain->behind_input = true;
		if (chain->behind_input && is_enforced(view->options->policy, chain))
			chain->behind_input = false;
	}
}

/* Whether the chain drops or rejects anything; *ret_rule: index of the first rule that does, `n`: the policy does. */
static bool stops(const struct merlon_chain *chain, size_t *ret_rule)
{
	size_t i;

	for (i = 0; i < chain->n && !(chain->rule[i].does & MERLON_STOPS); i++)
		;
	*ret_rule = i;
	return i < chain->n || chain->drop;
}

void merlon_own_mark_live(const struct merlon_ruleset *policy, const struct merlon_chains *chains, bool *live)
{
	size_t i, j;

	for (i = 0; i < policy->n_chains; i++)
		for (j = 0; j < chains->n && policy->chain[i].beside && !live[i]; j++) {
			const struct merlon_host_chain *of_host = &chains->chain[j];

			live[i] = of_host->reached && of_host->does & MERLON_STOPS && is_same(policy, &policy->chain[i], of_host);
		}
}

int merlon_host_unloaded(struct merlon_host_view *view, const bool *live)
{
#define ALONE "it can drop or reject, and merlon does not load it: merlon enforces filter chains of input, forward and output only. "
	struct merlon_finding finding = {
		.what = "not-loaded", .rule = "kept chains", .severity = MERLON_HOST_WARN,
		.why = live ? ALONE "Netfilter of this host does not have it either: nothing enforces it" :
		       ALONE "It is enforced only where netfilter has it",
		.cure = "load it with `nft -f` or `iptables-restore`: `merlon import FILE -o OUT` writes what stays with netfilter beside OUT",
	};
	const struct merlon_ruleset *policy = view->options->policy;
	const struct merlon_chain *first = NULL;
	const char *family;
	char others[32] = "";
	unsigned n = 0;
	size_t i, rule;

	for (i = 0; policy && i < policy->n_chains; i++)
		if (policy->chain[i].beside && !(live && live[i]) && stops(&policy->chain[i], &rule) && !n++)
			first = &policy->chain[i];
	if (!n)
		return 0;
	if (n > 1)
		snprintf(others, sizeof(others), ", and %u more chain%s", n - 1, n > 2 ? "s" : "");
	stops(first, &rule);
	if (rule < first->n)
		finding.place = first->rule[rule].place;
	family = merlon_nfproto_name(policy->table[first->table].family);
	return merlon_finding_add(view, &finding, "table %s %s, chain %s%s%s", family ? family : "?", policy->table[first->table].name,
				  first->name, rule < first->n ? "" : ", policy drop", others);
}
