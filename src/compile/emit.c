/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A flattened list -> the image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/image.h"
#include "src/compile/planes.h"
#include "src/compile/subtables.h"

#define RULE_WORDS ((uint32_t)sizeof(struct merlon_image_rule) / 8)
#define ROW_WORDS (1 + MERLON_PLANES / 2)
#define DIRECT_VALUES 4096U	/* a dimension with no boundary above this has no tree */

static uint32_t plane_words(const struct merlon_plane *plane)
{
	return plane->n <= 64 ? 1 : plane->n <= 64 * 64 ? 2 : 3;
}

struct merlon_image_tree merlon_emit_tree(struct merlon_builder *b, const merlon_value *boundary, size_t apart, uint32_t n, bool wide)
{
	struct merlon_image_tree tree = { .n = n, .levels = 1 };
	uint32_t key_words = wide ? 2 : 1, stride = 1;

	for (uint64_t reach = MERLON_TREE_FANOUT; reach < n; reach *= MERLON_TREE_FANOUT) {
		tree.levels++;
		stride *= MERLON_TREE_FANOUT;
	}
	for (uint32_t l = 0; l < tree.levels; l++, stride /= MERLON_TREE_FANOUT) {
		uint32_t keys = (n + stride - 1) / stride;
		uint32_t nodes = (keys + MERLON_TREE_FANOUT - 1) / MERLON_TREE_FANOUT;
		uint32_t words = nodes * MERLON_TREE_FANOUT * key_words / (wide ? 1 : 2);

		tree.level[l] = merlon_builder_put(b, NULL, words, MERLON_TREE_FANOUT * key_words / (wide ? 1 : 2));
		if (b->error)
			return tree;
		memset(b->word + tree.level[l], 0xff, words * sizeof(*b->word));
		for (uint32_t i = 0; i < keys; i++) {
			merlon_value key = *(const merlon_value *)((const char *)boundary + (size_t)i * stride * apart);

			if (wide) {
				b->word[tree.level[l] + 2 * i] = key >> 64;
				b->word[tree.level[l] + 2 * i + 1] = (uint64_t)key;
			} else {
				((uint32_t *)(b->word + tree.level[l]))[i] = (uint32_t)key;
			}
		}
	}
	return tree;
}

static int by_pos(const void *a, const void *b)
{
	const struct merlon_step *x = a, *y = b;

	return (x->pos > y->pos) - (x->pos < y->pos);
}

/* Notes in a row what a plane's vector is from here on. */
static void enter(const struct merlon_sweep *sweep, const struct merlon_step *step, uint64_t *row)
{
	uint64_t bit = 1ULL << step->plane;

	if (sweep->planes->direct) {
		row[0] = step->vector;
		return;
	}
	row[0] = step->empty ? row[0] & ~bit : row[0] | bit;
	((uint32_t *)(row + 1))[sweep->planes->plane[step->plane].rank[sweep->dim]] = step->vector;
}

/* Rows of a large set take turns with those beside it: the last few are found without the builder's table. */
struct recent {
	uint64_t row[2][ROW_WORDS];
	uint32_t at[2], next, n;
};

static uint32_t share(struct merlon_builder *b, struct recent *recent, const uint64_t *row, uint32_t words)
{
	for (uint32_t i = 0; i < recent->n; i++)
		if (recent->row[i][0] == row[0] && (words == 1 || !memcmp(recent->row[i], row, words * sizeof(*row))))
			return recent->at[i];
	memcpy(recent->row[recent->next], row, words * sizeof(*row));
	recent->at[recent->next] = merlon_builder_share(b, row, words);
	recent->n += recent->n < 2;
	recent->next ^= 1;
	return recent->at[recent->next ^ 1];
}

/* Merges the steps of all planes into rows: in their place steps of the dimension, whose vector is the row, one for each that differs. */
static void find_rows(struct merlon_sweep *sweep, uint64_t *row, uint32_t row_words)
{
	struct recent recent = { .n = 0 };
	struct merlon_builder *b = &sweep->compiler->builder;
	uint32_t i = 0, n = 0;

	merlon_sort(sweep->step, sweep->n, sizeof(*sweep->step), by_pos);
	while (i < sweep->n) {
		merlon_value pos = sweep->step[i].pos;
		uint32_t at;

		for (; i < sweep->n && sweep->step[i].pos == pos; i++)
			enter(sweep, &sweep->step[i], row);
		at = share(b, &recent, row, row_words);
		if (!n || sweep->step[n - 1].vector != at)
			sweep->step[n++] = (struct merlon_step){ .pos = pos, .vector = at };
	}
	sweep->n = n;
}

/* Of only two different rows: those beside each other differ. */
static bool takes_turns(const struct merlon_sweep *sweep)
{
	for (uint32_t i = 2; i < sweep->n; i++)
		if (sweep->step[i].vector != sweep->step[i & 1].vector)
			return false;
	return sweep->n > 2;
}

static void emit_dim(struct merlon_sweep *sweep, struct merlon_image_dim *dim)
{
	struct merlon_builder *b = &sweep->compiler->builder;
	const struct merlon_step *step = sweep->step;
	merlon_value last = step[sweep->n - 1].pos;
	uint32_t n = sweep->n, at = 0;

	if (sweep->dim > MERLON_F_TH2 && last < DIRECT_VALUES) {
		n = (uint32_t)last + 1;
		dim->tree.n = n;
	} else {
		dim->tree = merlon_emit_tree(b, &step->pos, sizeof(*step), n, merlon_dim_max(sweep->dim, sweep->flat->family) >> 32);
	}
	dim->which = UINT32_MAX;
	if (dim->tree.levels && takes_turns(sweep)) {
		dim->which = 1;
		n = 2;
	}
	dim->rows = merlon_builder_put(b, NULL, (n + 1) / 2, MERLON_LINE_WORDS);
	dim->ahead = dim->which == 1 ? 0 : dim->rows;
	for (uint32_t i = 0; i < n && !b->error; i++) {
		if (dim->tree.levels)
			at = i;
		else
			at += at + 1 < sweep->n && step[at + 1].pos == i;
		((uint32_t *)(b->word + dim->rows))[i] = step[at].vector;
	}
}

static uint32_t emit_absent(const struct merlon_sweep *sweep, uint64_t *row, uint32_t row_words)
{
	for (uint32_t p = 0; p < sweep->planes->n; p++)
		if (sweep->planes->plane[p].dims & MERLON_BIT(sweep->dim))
			enter(sweep, &sweep->absent[p], row);
	return merlon_builder_share(&sweep->compiler->builder, row, row_words);
}

/* One dimension: the vectors of all planes that look at it, then rows and tree. */
static int build_dim(struct merlon_sweep *sweep, struct merlon_image_dim *dim)
{
	uint64_t row[ROW_WORDS] = { 0 };
	uint32_t row_words, users = 0;
	int r = 0;

	for (uint32_t p = 0; p < sweep->planes->n && !r; p++) {
		if (!(sweep->planes->plane[p].dims & MERLON_BIT(sweep->dim))) {
			row[0] |= 1ULL << p;
			continue;
		}
		users++;
		r = merlon_sweep_plane(sweep, p);
	}
	if (!r && users) {
		row_words = sweep->planes->direct ? 1 : 1 + (users + 1) / 2;
		dim->absent = emit_absent(sweep, row, row_words);
		find_rows(sweep, row, row_words);
		emit_dim(sweep, dim);
	}
	free(sweep->step);
	return r;
}

static uint32_t emit_order(struct merlon_builder *b, const struct merlon_plane *plane)
{
	uint32_t at = merlon_builder_put(b, NULL, (plane->n + 1) / 2, 1);

	if (!b->error)
		memcpy(b->word + at, plane->rule, plane->n * sizeof(*plane->rule));
	return at;
}

/* `rule`: of the list. */
static uint32_t emit_plane_rules(struct merlon_builder *b, const struct merlon_plane *plane, const struct merlon_image_rule *rule)
{
	uint32_t at = merlon_builder_put(b, NULL, plane->n * RULE_WORDS, RULE_WORDS);

	for (uint32_t i = 0; i < plane->n && !b->error; i++)
		memcpy(b->word + at + i * RULE_WORDS, &rule[plane->rule[i]], sizeof(*rule));
	return at;
}

static void emit_plane(struct merlon_builder *b, const struct merlon_plane *plane, const struct merlon_image_rule *rule, uint32_t at)
{
	struct merlon_image_plane image = { .n = plane->n, .depth = plane_words(plane), .first = plane->rule[0],
					    .last = plane->rule[plane->n - 1] };
	uint32_t left = plane->dims;

	while (left) {
		uint32_t best = __builtin_ctz(left);

		for (uint32_t d = best; d < MERLON_DIMS; d++)
			if (left & MERLON_BIT(d) && plane->density[d] < plane->density[best])
				best = d;
		image.dim[image.n_dims++] = best | plane->rank[best] << 8;
		left &= ~MERLON_BIT(best);
	}
	image.order = emit_order(b, plane);
	image.rules = emit_plane_rules(b, plane, rule);
	if (!b->error)
		memcpy(b->word + at, &image, sizeof(image));
}

/* What the rules of a list are in the image; their ops are laid out. NULL: no memory. */
static struct merlon_image_rule *make_rules(struct merlon_compiler *compiler, const struct merlon_flat *flat)
{
	struct merlon_image_rule *made = calloc(flat->n + 1, sizeof(*made));

	for (uint32_t i = 0; i < flat->n && made && !compiler->builder.error; i++) {
		const struct merlon_flat_rule *rule = &flat->rule[i];

		made[i] = (struct merlon_image_rule){
			.ops = rule->n_ops ? merlon_emit_ops(compiler, flat, rule) : 0,
			.what = MERLON_RULE(rule->n_ops, rule->verdict, rule->reject, rule->reject_code),
			.next = rule->next,
			.fail = rule->fail,
		};
	}
	return made;
}

static bool is_for_all(const struct merlon_flat_rule *rule)
{
	for (unsigned d = 0; d < MERLON_DIMS; d++)
		if (rule->dim[d] != MERLON_ANY)
			return false;
	return true;
}

uint32_t merlon_emit_list(struct merlon_compiler *compiler, const struct merlon_flat *flat)
{
	struct merlon_builder *b = &compiler->builder;
	struct merlon_image_list list = { .n_rules = flat->n, .rest = MERLON_NO_RULE };
	uint32_t at = merlon_builder_put(b, NULL, sizeof(list) / 8, MERLON_LINE_WORDS);
	struct merlon_planes planes = { 0 };
	struct merlon_image_rule *rule = make_rules(compiler, flat);
	bool *placed = calloc(flat->n, sizeof(*placed));
	int r = rule && placed ? 0 : -ENOMEM;

	if (!r && is_for_all(&flat->rule[flat->n - 1])) {
		list.rest = flat->n - 1;
		list.rest_is = rule[list.rest];
		placed[list.rest] = true;
	}
	if (!r && flat->n > MERLON_DIRECT_RULES && !compiler->plain)
		r = merlon_subtables_emit(compiler, flat, rule, &list, placed);
	if (!r)
		r = merlon_planes_choose(flat, placed, &planes);

	for (uint32_t d = 0; d < MERLON_DIMS && !r; d++) {
		struct merlon_sweep sweep = { .compiler = compiler, .flat = flat, .planes = &planes, .dim = d };

		r = build_dim(&sweep, &list.dim[d]);
		list.dims |= list.dim[d].tree.n ? MERLON_BIT(d) : 0;
	}
	if (r < 0 && !b->error)
		b->error = r;
	if (!r && planes.direct)
		list.rules = merlon_builder_put(b, rule, flat->n * RULE_WORDS, RULE_WORDS);
	list.n_planes = planes.direct ? 0 : planes.n;
	if (planes.n)
		list.all = ~0ULL >> (64 - (planes.direct ? planes.plane->n : planes.n));
	if (list.n_planes)
		list.planes = merlon_builder_put(b, NULL, planes.n * (sizeof(struct merlon_image_plane) / 8),
						 MERLON_LINE_WORDS);
	for (uint32_t p = 0; p < list.n_planes && !b->error; p++)
		emit_plane(b, &planes.plane[p], rule, list.planes + p * (sizeof(struct merlon_image_plane) / 8));
	if (list.n_subtables > compiler->policy->n_subtables)
		compiler->policy->n_subtables = list.n_subtables;
	if (planes.n > compiler->policy->n_planes)
		compiler->policy->n_planes = planes.n;
	if (!b->error)
		memcpy(b->word + at, &list, sizeof(list));
	merlon_planes_clear(&planes);
	free(placed);
	free(rule);
	return at;
}
