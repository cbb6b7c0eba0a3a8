/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a rule does beyond its dimensions -> the image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/image.h"
#include "src/compile/planes.h"

/* Values from inside to outside of the set and back: intervals with an odd number are in. */
static uint32_t emit_set(struct merlon_compiler *compiler, const struct merlon_intervals *set, bool wide)
{
	struct merlon_builder *b = &compiler->builder;
	merlon_value max = merlon_value_max(wide ? 128 : 32), *boundary = calloc(2 * set->n + 1, sizeof(*boundary));
	struct merlon_image_tree tree;
	uint32_t n = 1, at = 0;

	if (!boundary)
		b->error = b->error ? b->error : -ENOMEM;
	if (b->error) {
		free(boundary);
		return 0;
	}
	for (size_t i = 0; i < set->n && set->v[i].lo <= max; i++) {
		boundary[n++] = set->v[i].lo;
		if (set->v[i].hi >= max)
			break;
		boundary[n++] = set->v[i].hi + 1;
	}
	tree = merlon_emit_tree(b, boundary, sizeof(*boundary), n, wide);
	if (!b->error)
		at = merlon_builder_put(b, &tree, sizeof(tree) / 8, sizeof(tree) / 8);
	free(boundary);
	return at;
}

/* A match on one interval, or on all but one, needs no tree. */
static bool as_range(const struct merlon_intervals *set, merlon_value max, struct merlon_image_op *op, uint8_t field)
{
	if (set->n == 1 && set->v[0].lo <= max) {
		op->what = MERLON_OP(MERLON_OP_RANGE, field, 0);
		op->arg = set->v[0].lo;
		op->arg2 = set->v[0].hi < max ? set->v[0].hi : max;
		return true;
	}
	if (set->n == 2 && set->v[0].lo == 0 && set->v[1].hi >= max) {
		op->what = MERLON_OP(MERLON_OP_RANGE, field, 1);
		op->arg = set->v[0].hi + 1;
		op->arg2 = set->v[1].lo - 1;
		return true;
	}
	return false;
}

static struct merlon_image_op emit_match(struct merlon_compiler *compiler, enum merlon_family family,
					 const struct merlon_flat_op *from)
{
	const struct merlon_intervals *set = &compiler->sets.set[from->arg];
	bool wide = from->field <= MERLON_F_DADDR && family == MERLON_IPV6;
	struct merlon_image_op op = { .what = MERLON_OP(MERLON_OP_MATCH, from->field, 0), .mask = from->mask };

	if (!wide && as_range(set, merlon_value_max(merlon_field_bits(from->field, family)), &op, from->field))
		return op;
	op.arg = emit_set(compiler, set, wide);
	return op;
}

uint32_t merlon_emit_ops(struct merlon_compiler *compiler, const struct merlon_flat *flat,
			 const struct merlon_flat_rule *rule)
{
	struct merlon_image_op op[MERLON_MAX_OPS];
	uint64_t words[2 * MERLON_MAX_OPS];
	const struct merlon_image *head = (const struct merlon_image *)compiler->builder.word;

	for (uint32_t i = 0; i < rule->n_ops; i++) {
		const struct merlon_flat_op *from = &flat->op[rule->op + i];

		if (from->kind == MERLON_OP_MATCH) {
			op[i] = emit_match(compiler, flat->family, from);
			head = (const struct merlon_image *)compiler->builder.word;
			continue;
		}
		op[i] = (struct merlon_image_op){ .what = MERLON_OP(from->kind, from->field, from->invert),
						  .mask = from->mask, .arg = from->arg };
		if (from->kind == MERLON_OP_UNTIL)
			op[i].arg2 = from->mask;
		if (from->kind == MERLON_OP_LIMIT)
			op[i].arg = head->limits + from->arg * (sizeof(struct merlon_image_limit) / 8);
	}
	memcpy(words, op, rule->n_ops * sizeof(*op));
	return merlon_builder_share(&compiler->builder, words, 2 * rule->n_ops);
}
