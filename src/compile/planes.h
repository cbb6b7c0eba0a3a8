/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Planes of a list, their vectors and rows. */
#ifndef MERLON_COMPILE_PLANES_H
#define MERLON_COMPILE_PLANES_H

#include "src/compile/flat.h"

struct merlon_plane {
	uint32_t dims;			/* MERLON_BIT() of the dimensions that its rules look at */
	uint32_t *rule;			/* indexes in the list, ascending; owned */
	uint32_t n, room;
	uint32_t rank[MERLON_DIMS];	/* among the planes that look at a dimension */
	double density[MERLON_DIMS];	/* share of its rules that an interval of a dimension keeps, on average */
};

struct merlon_planes {
	struct merlon_plane *plane;	/* in ascending order of their first rules */
	uint32_t n;
	bool direct;			/* one plane, whose vectors are the rows' first words */
};

/* Puts every rule of a list that is not `placed` elsewhere into a plane. 0 or -ENOMEM. */
int merlon_planes_choose(const struct merlon_flat *flat, const bool *placed, struct merlon_planes *planes);
void merlon_planes_clear(struct merlon_planes *planes);

/*
 * The vectors of one plane in one dimension change at boundaries: what they are from `pos` on. `vector` is a word of
 * the image, or the vector itself in a direct list.
 */
struct merlon_step {
	merlon_value pos;
	union {
		uint64_t vector;
		struct {
			uint32_t first, n;
		};	/* before there is one: what makes it (vectors.c) */
	};
	uint32_t plane;
	bool empty;
};
struct merlon_sweep {
	struct merlon_compiler *compiler;
	const struct merlon_flat *flat;
	struct merlon_planes *planes;
	uint32_t dim;
	struct merlon_step *step;	/* owned */
	uint32_t n, room;
	struct merlon_step absent[MERLON_PLANES];	/* what packets without the field meet, by plane */
};
/* Appends the steps of a plane. 0 or -ENOMEM (errors of the builder stay there). */
int merlon_sweep_plane(struct merlon_sweep *sweep, uint32_t plane);

/* The greatest value of a dimension in lists of a family. */
static inline merlon_value merlon_dim_max(uint32_t dim, enum merlon_family family)
{
	return merlon_value_max(dim <= MERLON_F_DADDR && family == MERLON_IPV6 ? 128 : 32);
}

/* Lays out a tree over `n` ascending boundaries, which are `apart` bytes from each other. */
struct merlon_image_tree merlon_emit_tree(struct merlon_builder *b, const merlon_value *boundary, size_t apart, uint32_t n, bool wide);
/* Lays out the ops of a rule; returns the word of the first. */
uint32_t merlon_emit_ops(struct merlon_compiler *compiler, const struct merlon_flat *flat,
			 const struct merlon_flat_rule *rule);

#endif
