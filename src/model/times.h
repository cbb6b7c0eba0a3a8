/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long the elements of a ruleset have to live: those that matches look in, and those of declarations. */
#ifndef MERLON_TIMES_H
#define MERLON_TIMES_H

#include <jansson.h>

#include "src/model/ruleset.h"

/* Elements whose times end within so much of each other may end together, with the first of them. */
#define MERLON_TIMES_GRAIN_MS 50

/*
 * From now on each element lives as long as it had left when it was read, at ruleset->read_ns (struct merlon_lookup_element,
 * left_ms), never longer and at most MERLON_TIMES_GRAIN_MS shorter: the fewer ends there are, the fewer rules.
 */
void merlon_times_exact(struct merlon_ruleset *ruleset);

/* All times in their order; a new reference, or NULL: no element expires. */
json_t *merlon_times_list(struct merlon_ruleset *ruleset);
/* As merlon_times_list() had them of the same ruleset. False, and nothing is changed: it is not the same. */
bool merlon_times_set(struct merlon_ruleset *ruleset, const json_t *list);

#endif
