/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which rules share a plane. A plane costs a packet time, and vectors that keep rules which do not look at a dimension
 * cost memory. So rules of one shape (set of dimensions) share a plane; small shapes share one as long as a single
 * word holds them all; what is still too many planes is joined where the fewest rules get a dimension they do not ask.
 */
#include "src/compile/planes.h"

#include <errno.h>
#include <stdlib.h>

#define SHAPES (1U << MERLON_DIMS)

static int add_rule(struct merlon_plane *plane, uint32_t rule)
{
	if (merlon_grow(&plane->rule, plane->n, &plane->room, sizeof(*plane->rule)) < 0)
		return -ENOMEM;
	plane->rule[plane->n++] = rule;
	return 0;
}

static uint32_t shape_of(const struct merlon_flat_rule *rule)
{
	uint32_t shape = 0;

	for (unsigned d = 0; d < MERLON_DIMS; d++)
		if (rule->dim[d] != MERLON_ANY)
			shape |= MERLON_BIT(d);
	return shape;
}

struct group {
	uint32_t dims, n, into;		/* into: the group that it became part of, or its own number */
};

static uint32_t group_of(const struct group *group, uint32_t i)
{
	while (group[i].into != i)
		i = group[i].into;
	return i;
}

static void join(struct group *group, uint32_t from, uint32_t to)
{
	group[to].dims |= group[from].dims;
	group[to].n += group[from].n;
	group[from].n = 0;
	group[from].into = to;
}

static const struct group *sorted_groups;

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint32_t n = sorted_groups[x].n, m = sorted_groups[y].n;

	return n != m ? (n > m) - (n < m) : (x > y) - (x < y);
}

/* Small shapes, smallest first, share planes of one word. */
static void join_small(struct group *group)
{
	uint32_t order[SHAPES], n = 0, to = SHAPES;

	for (uint32_t s = 0; s < SHAPES; s++)
		if (group[s].n)
			order[n++] = s;
	sorted_groups = group;
	qsort(order, n, sizeof(*order), by_size);
	for (uint32_t i = 0; i < n && group[order[i]].n <= MERLON_DIRECT_RULES; i++) {
		if (to < SHAPES && group[to].n + group[order[i]].n <= MERLON_DIRECT_RULES)
			join(group, order[i], to);
		else
			to = order[i];
	}
}

static uint64_t join_cost(const struct group *a, const struct group *b)
{
	return (uint64_t)a->n * __builtin_popcount(b->dims & ~a->dims) +
	       (uint64_t)b->n * __builtin_popcount(a->dims & ~b->dims);
}

/* Planes that the groups need: large ones are cut. */
static uint32_t planes_of(const struct group *group)
{
	uint32_t n = 0;

	for (uint32_t s = 0; s < SHAPES; s++)
		n += (group[s].n + MERLON_PLANE_RULES - 1) / MERLON_PLANE_RULES;
	return n;
}

static void join_to_fit(struct group *group)
{
	while (planes_of(group) > MERLON_PLANES) {
		uint32_t from = 0, to = 0;
		uint64_t least = UINT64_MAX;

		for (uint32_t a = 0; a < SHAPES; a++) {
			for (uint32_t b = a + 1; b < SHAPES && group[a].n; b++) {
				if (group[b].n && join_cost(&group[a], &group[b]) < least) {
					least = join_cost(&group[a], &group[b]);
					from = b;
					to = a;
				}
			}
		}
		if (from == to)
			return;
		join(group, from, to);
	}
}

static int by_first(const void *a, const void *b)
{
	const struct merlon_plane *x = a, *y = b;

	return (x->rule[0] > y->rule[0]) - (x->rule[0] < y->rule[0]);
}

static int fill(const struct merlon_flat *flat, const bool *placed, const struct group *group, struct merlon_planes *planes)
{
	struct merlon_plane *open[SHAPES] = { 0 };
	int r = 0;

	for (uint32_t i = 0; i < flat->n && !r; i++) {
		uint32_t g = planes->direct ? 0 : group_of(group, shape_of(&flat->rule[i]));

		if (placed[i])
			continue;
		if (!open[g] || open[g]->n == MERLON_PLANE_RULES) {
			open[g] = &planes->plane[planes->n++];
			open[g]->dims = group[g].dims;
		}
		r = add_rule(open[g], i);
	}
	return r;
}

int merlon_planes_choose(const struct merlon_flat *flat, const bool *placed, struct merlon_planes *planes)
{
	struct group group[SHAPES] = { 0 };
	uint32_t rank[MERLON_DIMS] = { 0 };
	int r;

	*planes = (struct merlon_planes){ .direct = flat->n <= MERLON_DIRECT_RULES };
	for (uint32_t s = 0; s < SHAPES; s++)
		group[s] = (struct group){ .dims = s, .into = s };
	for (uint32_t i = 0; i < flat->n; i++)
		group[shape_of(&flat->rule[i])].n += !placed[i];
	join_small(group);
	join_to_fit(group);
	if (planes->direct)
		for (uint32_t s = 1; s < SHAPES; s++)
			if (group[s].n)
				join(group, s, 0);
	planes->plane = calloc(planes_of(group) + 1, sizeof(*planes->plane));
	if (!planes->plane)
		return -ENOMEM;
	r = fill(flat, placed, group, planes);
	if (r < 0)
		return r;
	qsort(planes->plane, planes->n, sizeof(*planes->plane), by_first);
	for (uint32_t p = 0; p < planes->n; p++)
		for (unsigned d = 0; d < MERLON_DIMS; d++)
			if (planes->plane[p].dims & MERLON_BIT(d))
				planes->plane[p].rank[d] = rank[d]++;
	return 0;
}

void merlon_planes_clear(struct merlon_planes *planes)
{
	for (uint32_t p = 0; p < planes->n; p++)
		free(planes->plane[p].rule);
	free(planes->plane);
	*planes = (struct merlon_planes){ 0 };
}
