/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which of several sources a rule or a policy of drop came with: they are loaded one after the other, and after each of them
 * what is new in the namespace is its own.
 */
#ifndef MERLON_ORIGINS_H
#define MERLON_ORIGINS_H

#include "src/model/ruleset.h"

struct merlon_origin {
	uint64_t table, handle;		/* handles; of a table they are numbered across its rules and chains */
	uint32_t source;
	bool is_rule;			/* else a base chain with the policy drop */
	bool seen;
};

struct merlon_origins {
	struct merlon_origin *known;	/* owned, sorted */
	size_t n;
	uint32_t sources;		/* as many as have been added; what is not known is of the next one */
};

#define MERLON_NOTHING_LOST UINT32_MAX

/* What a source took away from those before it. */
struct merlon_loss {
	uint32_t from;			/* the first source that lost something */
	bool more;			/* not the only one */
	size_t rules, policies;		/* policies: of drop */
};

/* After a source was loaded: what it brought, and what is gone since. 0 or -ENOMEM. */
int merlon_origins_add(struct merlon_origins *origins, const struct merlon_ruleset *ruleset, struct merlon_loss *ret_loss);
/* The source of a rule by its handle. */
uint32_t merlon_origins_find(const struct merlon_origins *origins, const struct merlon_table *table, uint64_t handle);
void merlon_origins_clear(struct merlon_origins *origins);

/* One source's part of a ruleset; `origins` NULL: there is but one. */
struct merlon_share {
	const struct merlon_origins *origins;
	uint32_t source;
};
static inline bool merlon_share_has(const struct merlon_share *share, const struct merlon_table *table,
				    const struct merlon_rule *rule)
{
	return !share->origins || merlon_origins_find(share->origins, table, rule->handle) == share->source;
}
/* How many rules of a chain are in it. */
size_t merlon_share_count(const struct merlon_share *share, const struct merlon_table *table, const struct merlon_chain *chain);

#endif
