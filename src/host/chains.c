/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/host/chains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"

#define TRIES 20

/* Grown by doubling: a ruleset may have thousands of chains. */
static void *one_more(void *array, size_t n, size_t size)
{
	return n & (n - 1) ? array : reallocarray(array, n ? 2 * n : 1, size);
}

struct merlon_host_chain *merlon_chains_add(struct merlon_chains *chains, const char *from, uint8_t family,
					    const char *table, const char *name)
{
	struct merlon_host_chain *grown = one_more(chains->chain, chains->n, sizeof(*grown)), *chain;

	if (!grown)
		return NULL;
	chains->chain = grown;
	chain = &grown[chains->n];
	*chain = (struct merlon_host_chain){ .from = from, .family = family, .table = strdup(table), .name = strdup(name) };
	if (!chain->table || !chain->name) {
		free(chain->table);
		free(chain->name);
		return NULL;
	}
	chains->n++;
	return chain;
}

void merlon_chain_does(struct merlon_host_chain *chain, uint32_t does, uint64_t rule)
{
	unsigned one;

	does &= ((1U << MERLON_DOES) - 1) & ~chain->does;
	chain->does |= does;
	for (one = 0; does >> one; one++)
		if (does & 1U << one)
			chain->first[one] = rule;
}

int merlon_chains_jump(struct merlon_chains *chains, size_t from, size_t to)
{
	const struct merlon_jump *last = chains->n_jumps ? &chains->jump[chains->n_jumps - 1] : NULL;
	struct merlon_jump *grown;

	if (last && last->from == from && last->to == to)
		return 0;
	grown = one_more(chains->jump, chains->n_jumps, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	chains->jump = grown;
	chains->jump[chains->n_jumps++] = (struct merlon_jump){ from, to };
	return 0;
}

static int by_from(const void *a, const void *b)
{
	const struct merlon_jump *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

static size_t first_from(const struct merlon_chains *chains, size_t from)
{
	size_t low = 0, high = chains->n_jumps;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (chains->jump[middle].from < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int merlon_chains_reach(struct merlon_chains *chains)
{
	/* a chain is put there twice at most: when it is reached, and when it is so from behind input */
	_cleanup_free_ size_t *open = calloc(2 * chains->n + 1, sizeof(*open));
	size_t n = 0, i;

	if (!open)
		return -ENOMEM;
	if (chains->n_jumps)
		qsort(chains->jump, chains->n_jumps, sizeof(*chains->jump), by_from);
	for (i = 0; i < chains->n; i++)
		if (chains->chain[i].base) {
			chains->chain[i].reached = true;
			open[n++] = i;
		}
	while (n) {
		size_t from = open[--n];

		for (i = first_from(chains, from); i < chains->n_jumps && chains->jump[i].from == from; i++) {
			struct merlon_host_chain *to = &chains->chain[chains->jump[i].to];

			if (!to->reached || (chains->chain[from].behind_input && !to->behind_input)) {
				to->reached = true;
				to->behind_input |= chains->chain[from].behind_input;
				open[n++] = chains->jump[i].to;
			}
		}
	}
	return 0;
}

void merlon_chains_clear(struct merlon_chains *chains)
{
	size_t i;

	for (i = 0; i < chains->n; i++) {
		free(chains->chain[i].table);
		free(chains->chain[i].name);
	}
	free(chains->chain);
	free(chains->jump);
	*chains = (struct merlon_chains){ 0 };
}

static int read_ipv4(struct merlon_chains *chains)
{
	return merlon_chains_of_xtables(chains, false);
}

static int read_ipv6(struct merlon_chains *chains)
{
	return merlon_chains_of_xtables(chains, true);
}

static int look(struct merlon_host_view *view, const char *what, int (*read_all)(struct merlon_chains *), bool *live)
{
	struct merlon_chains chains = { 0 };
	int tries, r = -EINTR;

	for (tries = 0; r == -EINTR && tries < TRIES; tries++) {
		merlon_chains_clear(&chains);
		r = read_all(&chains);
	}
	if (r == 0)
		merlon_own_settle(view, &chains);
	if (r == 0)
		r = merlon_chains_reach(&chains);
	if (r == 0 && view->options->policy)
		merlon_own_mark_live(view->options->policy, &chains, live);
	if (r == 0)
		r = merlon_chains_judge(view, &chains);
	else if (merlon_netlink_is_absent(r))
		r = 0;
	else
		r = merlon_finding_unseen(view, what, r);
	merlon_chains_clear(&chains);
	return r;
}

int merlon_host_netfilter(struct merlon_host_view *view)
{
	const struct merlon_ruleset *policy = view->options->policy;
	_cleanup_free_ bool *live = calloc(policy ? policy->n_chains + 1 : 1, sizeof(*live));
	int r = live ? look(view, "the rules of nf_tables", merlon_chains_of_nftables, live) : -ENOMEM;

	if (r == 0)
		r = look(view, "the rules of iptables-legacy", read_ipv4, live);
	if (r == 0)
		r = look(view, "the rules of ip6tables-legacy", read_ipv6, live);
	return r == 0 ? merlon_host_unloaded(view, live) : r;
}
