/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said about a ruleset: the totals and every refused rule, as the commands give them. */
#ifndef MERLON_MODEL_REPORT_H
#define MERLON_MODEL_REPORT_H

#include <jansson.h>

#include "src/model/ruleset.h"

/* The name, in the place of a file's, of what is in force where no file could be applied, OnFailure=closed. */
#define MERLON_CLOSED_BUILT_IN "the built-in closed ruleset"

/*
 * {"rules","exact","kept","refused":[{"file","line","handle","table","chain","rule","reason","comment"}],
 * "limits","missing_sets":[{"table","set","reason"}]}; "comment": only that is there. A new reference, NULL: no memory.
 */
json_t *merlon_report(const struct merlon_ruleset *ruleset);
/* `file`, unless NULL, is what refused rules are named by whose place in it is not known. */
void merlon_report_name_file(json_t *report, const char *file);

/* What the policy does without, a list in the form of "refused"; a new reference, NULL: no memory. */
json_t *merlon_report_left_out(const struct merlon_ruleset *ruleset);

/*
 * What stays out where packets are compared: all of the chains that are left to netfilter, also those without rules, and rules
 * that nothing leads to. A list in the form of "refused", "rule" null for a chain; a new reference, NULL: no memory.
 */
json_t *merlon_report_uncompared(const struct merlon_ruleset *ruleset);

/*
 * Names, comments and prefixes are bytes of the user's, and what is no UTF-8 must not lose a whole report: '?' for each byte that is
 * no ASCII then. A new reference; `text` NULL: null; NULL: no memory.
 */
json_t *merlon_report_text(const char *text);

/* [{"severity","file","line","text","cure"}], and back. */
json_t *merlon_report_messages(const struct merlon_diag *diag);
void merlon_report_read_messages(const json_t *messages, struct merlon_diag *diag);

/*
 * A rule's text for reports: without the values that its counters had in the input, which look like counts. NULL without memory;
 * the caller frees it.
 */
char *merlon_rule_brief(const struct merlon_rule *rule);

/* A line for each chain. */
void merlon_report_print_uncompared(const json_t *uncompared, FILE *out);
/* "FILE:LINE: left out: RULE" and the reason, of each. */
void merlon_report_print_left_out(const json_t *left_out, FILE *out);
/* The report for people: totals, then each refused rule with place and reason; `left_out`: rules of --allow-partial. */
void merlon_report_print(const json_t *report, FILE *out);

/*
 * Takes refused rules out of the ruleset where leaving them out cannot let more traffic through: those that only ever
 * accept. What is taken out is appended to `ret_left_out` in the form of "refused". Returns how many refused rules
 * remain. `refused`: that of the ruleset's report, where each of these gets a "stays" with the reason, or NULL.
 */
int merlon_ruleset_leave_out(struct merlon_ruleset *ruleset, json_t *refused, json_t *ret_left_out);

#endif
