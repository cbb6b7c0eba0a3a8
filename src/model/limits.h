/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the data plane, as it is now, does not do what nf_tables does with the same ruleset: named, so that nobody has to
 * find out by himself. Only what concerns the ruleset, and may be met on this host, is listed.
 */
#ifndef MERLON_MODEL_LIMITS_H
#define MERLON_MODEL_LIMITS_H

#include <jansson.h>

#include "src/model/ruleset.h"

/* Why `apply` does not take a ruleset, whatever the host, though each of its rules is understood. */
struct merlon_unfit {
	const char *text, *cure;
};
extern const struct merlon_unfit merlon_unfit_translates, merlon_unfit_empty;
/* The first that holds, NULL: none. */
const struct merlon_unfit *merlon_ruleset_unfit(const struct merlon_ruleset *ruleset);

/* What of a ruleset limits are about: bits. Looks at each rule. */
unsigned merlon_ruleset_concerns(const struct merlon_ruleset *ruleset);
/* Those of a ruleset with such concerns, on this host as it is now: [{"limit","text"}]; a new reference, NULL: no memory. */
json_t *merlon_limits(unsigned concerns);

/* Whether some rule may rewrite addresses, which TC sees on the wrong side: before DNAT, after SNAT. */
bool merlon_ruleset_translates(const struct merlon_ruleset *ruleset);
/* Whether there is a filter chain at input, forward or output at all. */
bool merlon_ruleset_filters(const struct merlon_ruleset *ruleset);

/* What is said about the limit of this name; NULL: there is none. */
const char *merlon_limit_text(const char *name);
/* A line each. */
void merlon_limits_print(const json_t *limits, FILE *out);

#endif
