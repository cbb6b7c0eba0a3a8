/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interval sets, each stored once and known by its number, so that equal conditions are equal numbers. */
#ifndef MERLON_COMPILE_SETS_H
#define MERLON_COMPILE_SETS_H

#include "src/compile/table.h"
#include "src/model/intervals.h"

#define MERLON_ANY 0U	/* no condition at all: also met by a packet that does not have the field */

struct merlon_sets {
	struct merlon_intervals *set;	/* room 0: of somebody else, who keeps it */
	uint32_t n, room;
	struct merlon_hash by_content;	/* hash of the content and a number of those with the same hash -> number */
	struct merlon_hash by_pair;	/* intersections */
};

int merlon_sets_init(struct merlon_sets *sets);
void merlon_sets_clear(struct merlon_sets *sets);
/* The number of a set; takes the content of `set`, also on failure. 0 or -ENOMEM. */
int merlon_sets_enter(struct merlon_sets *sets, struct merlon_intervals *set, uint32_t *ret);
/* The same without a copy of `set`, which stays as it is as long as the sets do. */
int merlon_sets_lend(struct merlon_sets *sets, const struct merlon_intervals *set, uint32_t *ret);
/* The number of the intersection of two sets. 0 or -ENOMEM. */
int merlon_sets_intersect(struct merlon_sets *sets, uint32_t a, uint32_t b, uint32_t *ret);

static inline bool merlon_sets_empty(const struct merlon_sets *sets, uint32_t id)
{
	return id != MERLON_ANY && !sets->set[id].n;
}

#endif
