/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether two rulesets mean the same: for tests of whatever writes and reads rulesets. */
#ifndef TESTS_RULESET_EQUAL_H
#define TESTS_RULESET_EQUAL_H

#include "src/model/ruleset.h"

/* NULL if equal, else what differs, in static storage. Handles, places, names of chains and notes on style do not count. */
const char *ruleset_difference(const struct merlon_ruleset *a, const struct merlon_ruleset *b);
const char *rule_difference(const struct merlon_rule *a, const struct merlon_rule *b);

#endif
