/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vectors of a plane in a dimension: a sweep over the boundaries of its rules' sets. Rules with the same set are
 * toggled together, only words that are not zero are written, only those that changed are written anew, and equal
 * vectors and leaves are stored once: the work is in proportion to what overlaps, not to rules times boundaries.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/compile/planes.h"

struct member {
	uint32_t set, local;
};

/* A vector as it is now, with its upper levels. */
struct vector {
	struct merlon_builder *builder;
	unsigned depth;
	uint32_t n_set;		/* bits */
	uint64_t top;
	uint64_t middle[64];
	uint64_t *leaf;		/* [64 * 64] */
	uint64_t changed;	/* middle words whose leaves are not stored yet */
	uint32_t stored[64];	/* where the leaves of a middle word are */
};

static void toggle(struct vector *v, uint32_t local)
{
	uint32_t word = local / 64, middle = word / 64;

	v->leaf[word] ^= 1ULL << local % 64;
	v->n_set += v->leaf[word] >> local % 64 & 1 ? 1 : -1;
	if (v->leaf[word])
		v->middle[middle] |= 1ULL << word % 64;
	else
		v->middle[middle] &= ~(1ULL << word % 64);
	if (v->middle[middle])
		v->top |= 1ULL << middle;
	else
		v->top &= ~(1ULL << middle);
	v->changed |= 1ULL << middle;
}

/* The leaves below a middle word that are not zero. */
static uint32_t pack(const struct vector *v, uint32_t middle, uint64_t *to)
{
	uint32_t n = 0;

	for (uint64_t bits = v->middle[middle]; bits; bits &= bits - 1)
		to[n++] = v->leaf[middle * 64 + __builtin_ctzll(bits)];
	return n;
}

static uint64_t store(struct vector *v)
{
	uint64_t word[129];
	uint32_t n = 1;

	if (v->depth == 0)
		return v->leaf[0];
	if (v->depth == 1)
		return merlon_builder_share(v->builder, v->leaf, 1);
	if (v->depth == 2) {
		word[0] = v->middle[0];
		return merlon_builder_share(v->builder, word, 1 + pack(v, 0, word + 1));
	}
	for (uint64_t bits = v->changed & v->top; bits; bits &= bits - 1) {
		uint32_t middle = __builtin_ctzll(bits);

		n = pack(v, middle, word);
		v->stored[middle] = merlon_builder_share(v->builder, word, n);
	}
	v->changed = 0;
	word[0] = v->top;
	n = 1;
	for (uint64_t bits = v->top; bits; bits &= bits - 1) {
		uint32_t middle = __builtin_ctzll(bits);

		word[n++] = v->middle[middle];
		word[n++] = v->stored[middle];
	}
	return merlon_builder_share(v->builder, word, n);
}

static int by_set(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	if (x->set != y->set)
		return x->set < y->set ? -1 : 1;
	return (x->local > y->local) - (x->local < y->local);
}

static int by_pos(const void *a, const void *b)
{
	const struct merlon_step *x = a, *y = b;

	return (x->pos > y->pos) - (x->pos < y->pos);
}

/*
 * The boundaries of all sets, each a step that says which members it toggles; members are sorted by set, those without one
 * (MERLON_ANY) come first. They stand one behind where the plane's steps come to stand, which are one more at most: so none is written
 * where one is that has not been read.
 */
static int find_toggles(struct merlon_sweep *sweep, const struct member *member, uint32_t n, struct merlon_step **ret, uint32_t *ret_n)
{
	merlon_value max = merlon_dim_max(sweep->dim, sweep->flat->family);
	struct merlon_step *toggle_at;
	uint32_t n_toggles = 0, room = 1, end;

	for (uint32_t i = 0; i < n; i++)
		if (!i || member[i].set != member[i - 1].set)
			room += 2 * sweep->compiler->sets.set[member[i].set].n;
	if (merlon_reserve(&sweep->step, sweep->n + room, &sweep->room, sizeof(*sweep->step)) < 0)
		return -ENOMEM;
	toggle_at = sweep->step + sweep->n + 1;
	for (uint32_t i = 0; i < n; i = end) {
		const struct merlon_intervals *set = &sweep->compiler->sets.set[member[i].set];

		for (end = i; end < n && member[end].set == member[i].set; end++)
			;
		for (size_t k = 0; k < set->n && set->v[k].lo <= max; k++) {
			toggle_at[n_toggles++] = (struct merlon_step){ .pos = set->v[k].lo, .first = i, .n = end - i };
			if (set->v[k].hi >= max)
				break;
			toggle_at[n_toggles++] = (struct merlon_step){ .pos = set->v[k].hi + 1, .first = i, .n = end - i };
		}
	}
	merlon_sort(toggle_at, n_toggles, sizeof(*toggle_at), by_pos);
	*ret = toggle_at;
	*ret_n = n_toggles;
	return 0;
}

static void add_step(struct merlon_sweep *sweep, struct vector *v, uint32_t plane, merlon_value pos)
{
	sweep->step[sweep->n++] = (struct merlon_step){ .pos = pos, .vector = store(v), .plane = plane,
							.empty = !v->top };
}

static int run(struct merlon_sweep *sweep, uint32_t plane, struct vector *v, const struct member *member, uint32_t n)
{
	struct merlon_step *at;
	uint32_t n_toggles, i = 0, steps = 0;
	double kept = 0;

	if (find_toggles(sweep, member, n, &at, &n_toggles) < 0)
		return -ENOMEM;
	for (uint32_t k = 0; k < n && member[k].set == MERLON_ANY; k++)
		toggle(v, member[k].local);
	sweep->absent[plane] = (struct merlon_step){ .vector = store(v), .plane = plane, .empty = !v->top };
	for (merlon_value pos = 0;; pos = at[i].pos) {
		for (; i < n_toggles && at[i].pos == pos; i++)
			for (uint32_t k = 0; k < at[i].n; k++)
				toggle(v, member[at[i].first + k].local);
		add_step(sweep, v, plane, pos);
		kept += v->n_set;
		steps++;
		if (i == n_toggles)
			break;
	}
	sweep->planes->plane[plane].density[sweep->dim] = kept / steps / n;
	return 0;
}

int merlon_sweep_plane(struct merlon_sweep *sweep, uint32_t plane)
{
	const struct merlon_plane *p = &sweep->planes->plane[plane];
	struct vector v = { .builder = &sweep->compiler->builder };
	struct member *member = calloc(p->n, sizeof(*member));
	int r = -ENOMEM;

	v.depth = sweep->planes->direct ? 0 : p->n <= 64 ? 1 : p->n <= 64 * 64 ? 2 : 3;
	v.leaf = calloc(64 * 64, sizeof(*v.leaf));
	if (member && v.leaf) {
		for (uint32_t i = 0; i < p->n; i++)
			member[i] = (struct member){ sweep->flat->rule[p->rule[i]].dim[sweep->dim], i };
		qsort(member, p->n, sizeof(*member), by_set);
		r = run(sweep, plane, &v, member, p->n);
	}
	free(v.leaf);
	free(member);
	return r;
}
