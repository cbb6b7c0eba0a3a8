/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many rules one packet may touch. A rule that may let a packet go on (no verdict, or a test that can fail) counts
 * for every packet that meets its conditions; the least maximum over the dimensions is an upper bound.
 */
#include "src/compile/visits.h"

#include <errno.h>
#include <stdlib.h>

#include "src/compile/planes.h"

struct edge {
	merlon_value pos;
	int by;
};

static bool may_fail(const struct merlon_flat *flat, const struct merlon_flat_rule *rule)
{
	for (uint32_t i = 0; i < rule->n_ops; i++) {
		uint8_t kind = flat->op[rule->op + i].kind;

		if (kind == MERLON_OP_MATCH || kind == MERLON_OP_LIMIT || kind == MERLON_OP_UNTIL)
			return true;
	}
	return false;
}

static bool may_go_on(const struct merlon_flat *flat, const struct merlon_flat_rule *rule)
{
	return rule->verdict == MERLON_CONTINUE || may_fail(flat, rule);
}

/* Of the ways through one lookup that cannot fail a packet takes one at most. */
static bool is_way(const struct merlon_flat *flat, const struct merlon_flat_rule *rule)
{
	return rule->way && rule->verdict == MERLON_CONTINUE && !may_fail(flat, rule);
}

/* Lookups that have such ways. 0 or -ENOMEM. */
static int count_lookups(const struct merlon_flat *flat, uint32_t *ret)
{
	uint32_t most = 0;
	bool *seen;

	for (uint32_t i = 0; i < flat->n; i++)
		most = flat->rule[i].way > most ? flat->rule[i].way : most;
	seen = calloc(most + 1, sizeof(*seen));
	if (!seen)
		return -ENOMEM;
	*ret = 0;
	for (uint32_t i = 0; i < flat->n; i++) {
		if (is_way(flat, &flat->rule[i]) && !seen[flat->rule[i].way]) {
			seen[flat->rule[i].way] = true;
			++*ret;
		}
	}
	free(seen);
	return 0;
}

static int by_pos(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	if (x->pos != y->pos)
		return x->pos < y->pos ? -1 : 1;
	return x->by - y->by;	/* what ends here makes room for what starts here */
}

static int add(struct edge **edge, uint32_t *n, uint32_t *room, struct edge new)
{
	if (merlon_grow(edge, *n, room, sizeof(**edge)) < 0)
		return -ENOMEM;
	(*edge)[(*n)++] = new;
	return 0;
}

static int add_edges(const struct merlon_intervals *set, merlon_value max, struct edge **edge, uint32_t *n,
		     uint32_t *room)
{
	int r = 0;

	for (size_t i = 0; i < set->n && !r; i++) {
		r = add(edge, n, room, (struct edge){ set->v[i].lo, 1 });
		if (!r && set->v[i].hi < max)
			r = add(edge, n, room, (struct edge){ set->v[i].hi + 1, -1 });
	}
	return r;
}

/* `lookups`: as many rules in place of the ways through lookups; -1: ways are rules as others are. */
static int most_in_dim(const struct merlon_compiler *compiler, const struct merlon_flat *flat, uint32_t dim,
		       int64_t lookups, uint32_t *ret)
{
	struct edge *edge = NULL;
	uint32_t n = 0, room = 0, any = lookups < 0 ? 0 : lookups, most = 0, now = 0;
	int r = 0;

	for (uint32_t i = 0; i < flat->n && !r; i++) {
		if (!may_go_on(flat, &flat->rule[i]) || (lookups >= 0 && is_way(flat, &flat->rule[i])))
			continue;
		if (flat->rule[i].dim[dim] == MERLON_ANY)
			any++;
		else
			r = add_edges(&compiler->sets.set[flat->rule[i].dim[dim]],
				      merlon_dim_max(dim, flat->family), &edge, &n, &room);
	}
	if (!r && n)
		qsort(edge, n, sizeof(*edge), by_pos);
	for (uint32_t i = 0; i < n; i++) {
		now += edge[i].by;
		most = now > most ? now : most;
	}
	free(edge);
	*ret = any + most;
	return r;
}

int merlon_visits(const struct merlon_compiler *compiler, const struct merlon_flat *flat, uint32_t *ret)
{
	uint32_t most, lookups, least;
	int r = count_lookups(flat, &lookups);

	if (r < 0)
		return r;
	least = lookups;
	for (uint32_t i = 0; i < flat->n; i++)
		least += may_go_on(flat, &flat->rule[i]) && !is_way(flat, &flat->rule[i]);
	for (uint32_t i = 0; i < 2 * MERLON_DIMS && !r && least > MERLON_MAX_VISITS - 1; i++) {
		r = most_in_dim(compiler, flat, i / 2, i % 2 ? -1 : (int64_t)lookups, &most);
		if (!r && most < least)
			least = most;
	}
	*ret = least + 1;	/* and the rule that decides */
	return r;
}
