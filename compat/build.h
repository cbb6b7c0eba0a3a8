/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Growing a merlon_ruleset piece by piece. Every function returns the new, zeroed piece, owned by what it is added to,
 * or NULL without memory; a piece may move when another of its kind is added.
 */
#ifndef MERLON_BUILD_H
#define MERLON_BUILD_H

#include "src/model/ruleset.h"

struct merlon_table *merlon_build_table(struct merlon_ruleset *ruleset, uint8_t family, const char *name);
struct merlon_chain *merlon_build_chain(struct merlon_ruleset *ruleset, uint32_t table, const char *name);
struct merlon_set *merlon_build_set(struct merlon_ruleset *ruleset, uint32_t table, const char *name);
struct merlon_rule *merlon_build_rule(struct merlon_chain *chain);
struct merlon_statement *merlon_build_statement(struct merlon_rule *rule, enum merlon_statement_kind kind);

/* The ruleset's own copy of a file name, the same pointer for the same name; NULL without memory. */
const char *merlon_build_file(struct merlon_ruleset *ruleset, const char *name);

/* Marks a rule refused, for the first reason given. Its statements are dropped by merlon_build_settle(). */
void merlon_build_refuse(struct merlon_rule *rule, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * When all is read: finds what jumps lead to, keeps chains that only kept chains reach, marks the reached ones, drops
 * the statements of refused rules and writes the text of exact ones. 0 or -ENOMEM.
 */
int merlon_build_settle(struct merlon_ruleset *ruleset);

/* Whether a declaration of a map leads to chains of its table that are kept. */
bool merlon_build_leads_to_kept(const struct merlon_ruleset *ruleset, uint32_t table, const char *declaration);

/* Moves everything of `from`, which is empty afterwards, behind what is in `to`. 0 or -ENOMEM. */
int merlon_build_join(struct merlon_ruleset *to, struct merlon_ruleset *from);

#endif
