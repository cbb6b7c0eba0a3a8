/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The elements of a lookup as ways through it: what the packet must be, as one set for each part. Elements that lead to
 * the same and agree in all parts but one are one way.
 */
#ifndef MERLON_COMPILE_WAYS_H
#define MERLON_COMPILE_WAYS_H

#include "src/compile/flat.h"

struct merlon_ways {
	const struct merlon_lookup *lookup;
	enum merlon_family family;
	bool never;		/* packets of this family lack a part */
	uint32_t *element;	/* [n] the element of the lookup that stands for the way: its expiry, its verdict */
	uint32_t *set;		/* [n][n_parts], MERLON_ANY: nothing to ask (settled here, or all is well) */
	uint32_t n;
};

/* In the order in which they are to be tried; the element `*` is the last way. 0 or -ENOMEM. */
int merlon_ways_find(struct merlon_compiler *compiler, const struct merlon_lookup *lookup, enum merlon_family family,
		     struct merlon_ways *ret);
void merlon_ways_clear(struct merlon_ways *ways);

/* The set of all values of a part: met by packets that have it. MERLON_ANY where all have it. 0 or -ENOMEM. */
int merlon_ways_presence(struct merlon_compiler *compiler, const struct merlon_part *part, uint32_t *ret);

#endif
