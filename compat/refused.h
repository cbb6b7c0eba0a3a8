/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What merlon_ruleset_print() makes of a rule that is refused, "# refused (REASON): RULE", read again: nftables skips it as a
 * comment, but whoever wrote the rule has not said that he does without it.
 */
#ifndef MERLON_REFUSED_H
#define MERLON_REFUSED_H

#include "src/model/ruleset.h"

struct merlon_refused {
	struct merlon_place place;
	char *reason, *rule;		/* owned */
	size_t chain, at;		/* where it stands, as its reader numbers chains; `at`: behind so many rules */
};

/* Reads the comment that begins at `p`. 0: it is another one; 1, and *ret but for its place; -ENOMEM. */
int merlon_refused_read(const char *p, const char *end, struct merlon_refused *ret);
/* Puts it into a chain, in front of the rule `index`, as a rule that is refused. 0 or -ENOMEM. */
int merlon_refused_put(struct merlon_chain *chain, size_t index, const struct merlon_refused *refused);
void merlon_refused_clear(struct merlon_refused *refused);

#endif
