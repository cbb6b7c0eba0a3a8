/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Elements of named sets that come and go, in a ruleset that was read before. */
#ifndef MERLON_MODEL_ELEMENTS_H
#define MERLON_MODEL_ELEMENTS_H

#include "src/model/ruleset.h"

struct merlon_element_change {
	size_t set;			/* index in merlon_ruleset.set */
	struct merlon_interval element;
	bool add;			/* else it is taken away */
};

/* NULL: there is none of this name. */
const struct merlon_set *merlon_set_find(const struct merlon_ruleset *ruleset, uint8_t family, const char *table, const char *name);

/*
 * Makes the ruleset what it had been if it were read after `n` changes, or with `back` before them: the matches that look in the sets, and
 * their declarations. 0; -ERANGE: it takes a new reading, since a set is of another kind, or did not have (had) an element, or has no
 * other; -ENOMEM. Nothing has changed on an error.
 */
int merlon_elements_change(struct merlon_ruleset *ruleset, const struct merlon_element_change *changes, size_t n, bool back);

#endif
