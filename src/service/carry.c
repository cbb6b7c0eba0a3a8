/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules that stay when others change: they keep their places, counts and buckets. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"

/* A rule by what tells it apart in nf_tables. */
struct known {
	uint64_t handle;
	uint32_t table;		/* index in the ruleset before */
	const struct merlon_rule *rule;
};

/* A rule and what it was. */
struct pair {
	const struct merlon_rule *rule, *before;
};

static int by_handle(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	if (x->handle != y->handle)
		return x->handle < y->handle ? -1 : 1;
	return x->table < y->table ? -1 : x->table > y->table;
}

static int by_rule(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->rule < y->rule ? -1 : x->rule > y->rule;
}

static size_t count_rules(const struct merlon_ruleset *ruleset)
{
	size_t i, n = 0;

	for (i = 0; i < ruleset->n_chains; i++)
		n += ruleset->chain[i].n;
	return n;
}

static int index_rules(const struct merlon_ruleset *ruleset, struct known **ret, size_t *ret_n)
{
	size_t i, j, n = 0;
	struct known *list = calloc(count_rules(ruleset) + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n; j++) {
			const struct merlon_rule *rule = &ruleset->chain[i].rule[j];

			if (rule->handle)
				list[n++] = (struct known){ rule->handle, ruleset->chain[i].table, rule };
		}
	qsort(list, n, sizeof(*list), by_handle);
	*ret = list;
	*ret_n = n;
	return 0;
}

static bool find_table(const struct merlon_ruleset *ruleset, const struct merlon_table *like, uint32_t *ret)
{
	size_t i;

	for (i = 0; i < ruleset->n_tables; i++)
		if (ruleset->table[i].family == like->family && ruleset->table[i].handle == like->handle &&
		    !strcmp(ruleset->table[i].name, like->name)) {
			*ret = i;
			return true;
		}
	return false;
}

/* Which rules of `next` were in `before`; sorted by the rule. */
static int pair_up(const struct merlon_ruleset *before, const struct merlon_ruleset *next, struct pair **ret, size_t *ret_n)
{
	_cleanup_free_ struct known *known = NULL;
	struct pair *list = calloc(count_rules(next) + 1, sizeof(*list));
	size_t i, j, n_known = 0, n = 0;

	if (!list || index_rules(before, &known, &n_known) < 0) {
		free(list);
		return -ENOMEM;
	}
	for (i = 0; i < next->n_chains; i++) {
		const struct merlon_chain *chain = &next->chain[i];
		struct known key;

		if (!find_table(before, &next->table[chain->table], &key.table))
			continue;
		for (j = 0; j < chain->n; j++) {
			const struct known *was;

			key.handle = chain->rule[j].handle;
			was = bsearch(&key, known, n_known, sizeof(key), by_handle);
			if (was)
				list[n++] = (struct pair){ &chain->rule[j], was->rule };
		}
	}
	qsort(list, n, sizeof(*list), by_rule);
	*ret = list;
	*ret_n = n;
	return 0;
}

int merlon_carry_places(const struct merlon_ruleset *before, struct merlon_ruleset *next)
{
	_cleanup_free_ struct pair *pair = NULL;
	size_t i, n;

	if (pair_up(before, next, &pair, &n) < 0)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		struct merlon_rule *rule = (struct merlon_rule *)pair[i].rule;

		if (!pair[i].before->place.file)
			continue;
		rule->place.file = merlon_build_file(next, pair[i].before->place.file);
		rule->place.line = pair[i].before->place.line;
		if (!rule->place.file)
			return -ENOMEM;
	}
	return 0;
}

static bool has_rule_of(const struct merlon_ruleset *ruleset, const char *file)
{
	size_t i, j;

	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n; j++) {
			const char *from = ruleset->chain[i].rule[j].place.file;

			if (from && !strcmp(from, file))
				return true;
		}
	return false;
}

int merlon_carry_sources(const struct merlon_ruleset *before, const struct merlon_ruleset *next, json_t *sources)
{
	_cleanup_free_ struct pair *pair = NULL;
	size_t i, n = 0;

	if (pair_up(before, next, &pair, &n) < 0)
		return -ENOMEM;
	/* files whose lines are not known go with the last rule of all */
	for (i = json_array_size(sources); i-- && count_rules(before);) {
		const char *file = json_string_value(json_object_get(json_array_get(sources, i), "file"));

		if (!n || (has_rule_of(before, file) && !has_rule_of(next, file)))
			json_array_remove(sources, i);
	}
	return 0;
}

static const struct merlon_chain *find_chain(const struct merlon_ruleset *before, const struct merlon_ruleset *next,
					     const struct merlon_chain *chain)
{
	uint32_t table;
	size_t i;

	if (!find_table(before, &next->table[chain->table], &table))
		return NULL;
	for (i = 0; i < before->n_chains; i++)
		if (before->chain[i].table == table && !strcmp(before->chain[i].name, chain->name))
			return &before->chain[i];
	return NULL;
}

static const struct merlon_rule *find_left_out(const struct merlon_chain *chain, uint64_t handle)
{
	size_t i;

	for (i = 0; i < chain->n_left_out; i++)
		if (chain->left_out[i].rule.handle == handle)
			return &chain->left_out[i].rule;
	return NULL;
}

static bool was_left_out(void *context, const struct merlon_rule *rule)
{
	return rule->status == MERLON_REFUSED && find_left_out(context, rule->handle);
}

/* What is left out is told as the user wrote it, which nf_tables does not know. */
static int describe_as(struct merlon_ruleset *next, struct merlon_rule *rule, const struct merlon_rule *before)
{
	if (before->text) {
		free(rule->text);
		rule->text = strdup(before->text);
	}
	if (before->place.file) {
		rule->place.file = merlon_build_file(next, before->place.file);
		rule->place.line = before->place.line;
	}
	return !rule->text != !before->text || (before->place.file && !rule->place.file) ? -ENOMEM : 0;
}

/* Those that the file had as comments are in no namespace. */
static int carry_comments(struct merlon_ruleset *next, const struct merlon_chain *was, struct merlon_chain *chain)
{
	size_t i;
	int r = 0;

	for (i = 0; i < was->n_left_out && r == 0; i++) {
		const struct merlon_rule *before = &was->left_out[i].rule;
		struct merlon_rule rule = { .status = MERLON_REFUSED, .commented = true, .place.line = before->place.line };

		if (!before->commented)
			continue;
		rule.text = before->text ? strdup(before->text) : NULL;
		rule.reason = before->reason ? strdup(before->reason) : NULL;
		rule.place.file = before->place.file ? merlon_build_file(next, before->place.file) : NULL;
		r = merlon_chain_note_left_out(chain, rule, was->left_out[i].at);
		if (r < 0)
			merlon_rule_clear(&rule);
	}
	return r;
}

int merlon_carry_left_out(const struct merlon_ruleset *before, struct merlon_ruleset *next)
{
	size_t i, j;
	int r = 0;

	for (i = 0; i < next->n_chains && !r; i++) {
		struct merlon_chain *chain = &next->chain[i];
		const struct merlon_chain *was = find_chain(before, next, chain);

		if (!was || !was->n_left_out)
			continue;
		r = merlon_chain_leave_out(chain, was_left_out, (void *)(uintptr_t)was);
		for (j = 0; j < chain->n_left_out && !r; j++) {
			struct merlon_rule *rule = &chain->left_out[j].rule;

			r = describe_as(next, rule, find_left_out(was, rule->handle));
		}
		if (r == 0)
			r = carry_comments(next, was, chain);
	}
	return r;
}

/* A counter or limit by its statement. */
struct numbered {
	struct merlon_counter_origin of;
	uint32_t index;
};

static int by_statement(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	if (x->of.rule != y->of.rule)
		return x->of.rule < y->of.rule ? -1 : 1;
	return x->of.statement < y->of.statement ? -1 : x->of.statement > y->of.statement;
}

/* Calls `each` for what has a number in both policies. 0 or -ENOMEM. */
static int each_common(const struct pair *pair, size_t n_pairs, const struct merlon_counter_origin *before, uint32_t n_before,
		       const struct merlon_counter_origin *next, uint32_t n_next,
		       void (*each)(void *context, uint32_t before, uint32_t next), void *context)
{
	_cleanup_free_ struct numbered *list = calloc(n_before + 1, sizeof(*list));
	uint32_t i;

	if (!list)
		return -ENOMEM;
	for (i = 0; i < n_before; i++)
		list[i] = (struct numbered){ before[i], i };
	qsort(list, n_before, sizeof(*list), by_statement);
	for (i = 0; i < n_next; i++) {
		struct pair key = { next[i].rule, NULL };
		const struct pair *is = bsearch(&key, pair, n_pairs, sizeof(key), by_rule);
		struct numbered was = { { is ? is->before : NULL, next[i].statement }, 0 };
		const struct numbered *found = is ? bsearch(&was, list, n_before, sizeof(was), by_statement) : NULL;

		if (found)
			each(context, found->index, i);
	}
	return 0;
}

struct buckets {
	const struct merlon_policy *before, *next;
	struct merlon_handover *handover;
};

static void add_slot(void *context, uint32_t before, uint32_t next)
{
	struct buckets *b = context;

	b->handover->slot[b->handover->n_slots++] = (struct merlon_handover_slot){
		b->before->first_limit + before, b->next->first_limit + next };
}

int merlon_carry_prepare(const struct merlon_enforced *before, const struct merlon_policy *next, struct merlon_handover *ret)
{
	const struct merlon_policy *policy = before->policy;
	struct buckets buckets = { policy, next, ret };
	_cleanup_free_ struct pair *pair = NULL;
	size_t n;

	*ret = (struct merlon_handover){ .slot = calloc(next->n_limits + 1, sizeof(*ret->slot)),
					 .last = calloc(policy->n_counters + 1, sizeof(*ret->last)),
					 .first_counter = policy->first_counter, .n_counters = policy->n_counters };
	if (!ret->slot || !ret->last || pair_up(policy->ruleset, next->ruleset, &pair, &n) < 0 ||
	    each_common(pair, n, policy->limit, policy->n_limits, next->limit, next->n_limits, add_slot, &buckets) < 0) {
		merlon_carry_clear(ret);
		return -ENOMEM;
	}
	return 0;
}

void merlon_carry_clear(struct merlon_handover *handover)
{
	free(handover->slot);
	free(handover->last);
	*handover = (struct merlon_handover){ 0 };
}

struct counts {
	const struct merlon_counter *last, *carried;
	struct merlon_counter *next;
};

static void add_count(void *context, uint32_t before, uint32_t next)
{
	struct counts *c = context;

	c->next[next] = c->last[before];
	if (c->carried) {
		c->next[next].packets += c->carried[before].packets;
		c->next[next].bytes += c->carried[before].bytes;
	}
}

struct merlon_counter *merlon_carry_counts(const struct merlon_enforced *before, const struct merlon_policy *next,
					   const struct merlon_handover *handover)
{
	const struct merlon_policy *policy = before->policy;
	_cleanup_free_ struct merlon_counter *carried = calloc(next->n_counters + 1, sizeof(*carried));
	struct counts counts = { handover->last, before->carried, carried };
	_cleanup_free_ struct pair *pair = NULL;
	size_t n;

	if (!carried || handover->error < 0 || pair_up(policy->ruleset, next->ruleset, &pair, &n) < 0 ||
	    each_common(pair, n, policy->counter, policy->n_counters, next->counter, next->n_counters, add_count, &counts) < 0)
		return NULL;
	return TAKE_PTR(carried);
}
