/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/origins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int by_handle(const void *a, const void *b)
{
	const struct merlon_origin *x = a, *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return x->handle < y->handle ? -1 : x->handle > y->handle;
}

static struct merlon_origin *find(const struct merlon_origins *origins, uint64_t table, uint64_t handle)
{
	struct merlon_origin key = { .table = table, .handle = handle };

	return origins->n ? bsearch(&key, origins->known, origins->n, sizeof(key), by_handle) : NULL;
}

uint32_t merlon_origins_find(const struct merlon_origins *origins, const struct merlon_table *table, uint64_t handle)
{
	const struct merlon_origin *known = find(origins, table->handle, handle);

	return known ? known->source : origins->sources;
}

/* Those that are known already are marked as seen, others go to `new`. */
static void note(struct merlon_origins *origins, struct merlon_origin it, struct merlon_origin *new, size_t *n)
{
	struct merlon_origin *known = find(origins, it.table, it.handle);

	if (!known) {
		new[(*n)++] = it;
		return;
	}
	known->seen = true;
}

static void note_all(struct merlon_origins *origins, const struct merlon_ruleset *rs, struct merlon_origin *new, size_t *n)
{
	size_t i, j;

	for (i = 0; i < rs->n_chains; i++) {
		const struct merlon_chain *chain = &rs->chain[i];
		struct merlon_origin it = { .table = rs->table[chain->table].handle, .source = origins->sources, .seen = true };

		/* a policy of drop is as good as a rule */
		it.handle = chain->handle;
		if (chain->base && chain->drop)
			note(origins, it, new, n);
		it.is_rule = true;
		for (j = 0; j < chain->n; j++) {
			it.handle = chain->rule[j].handle;
			note(origins, it, new, n);
		}
	}
}

static void count_loss(const struct merlon_origins *origins, struct merlon_loss *loss)
{
	size_t i;

	*loss = (struct merlon_loss){ .from = MERLON_NOTHING_LOST };
	for (i = 0; i < origins->n; i++) {
		const struct merlon_origin *it = &origins->known[i];

		if (it->seen)
			continue;
		if (loss->from != MERLON_NOTHING_LOST)
			loss->more |= it->source != loss->from;
		if (it->source < loss->from)
			loss->from = it->source;
		loss->rules += it->is_rule;
		loss->policies += !it->is_rule;
	}
}

int merlon_origins_add(struct merlon_origins *origins, const struct merlon_ruleset *ruleset, struct merlon_loss *ret_loss)
{
	struct merlon_totals totals = merlon_ruleset_totals(ruleset);
	size_t room = origins->n + totals.rules + ruleset->n_chains + 1, i, n = 0;
	struct merlon_origin *grown = reallocarray(origins->known, room, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	origins->known = grown;
	for (i = 0; i < origins->n; i++)
		grown[i].seen = false;
	note_all(origins, ruleset, grown + origins->n, &n);
	count_loss(origins, ret_loss);
	origins->n += n;
	qsort(grown, origins->n, sizeof(*grown), by_handle);
	origins->sources++;
	return 0;
}

size_t merlon_share_count(const struct merlon_share *share, const struct merlon_table *table, const struct merlon_chain *chain)
{
	size_t i, n = 0;

	for (i = 0; i < chain->n; i++)
		n += merlon_share_has(share, table, &chain->rule[i]);
	return n;
}

void merlon_origins_clear(struct merlon_origins *origins)
{
	free(origins->known);
	*origins = (struct merlon_origins){ 0 };
}
