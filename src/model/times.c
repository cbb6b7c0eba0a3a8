/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/times.h"

typedef void (*each_time)(void *context, uint64_t *expires_ms, uint64_t left_ms);

static void each_of_lookup(struct merlon_lookup *lookup, each_time each, void *context)
{
	for (size_t i = 0; i < lookup->n; i++)
		if (lookup->element[i].expires_ms)
			each(context, &lookup->element[i].expires_ms, lookup->element[i].left_ms);
}

static void each_of_set(struct merlon_set *set, each_time each, void *context)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->element[i].expires_ms)
			each(context, &set->element[i].expires_ms, set->element[i].left_ms);
}

static void for_each(struct merlon_ruleset *ruleset, each_time each, void *context)
{
	for (size_t c = 0; c < ruleset->n_chains; c++)
		for (size_t r = 0; r < ruleset->chain[c].n; r++) {
			struct merlon_rule *rule = &ruleset->chain[c].rule[r];

			for (size_t s = 0; s < rule->n; s++)
				if (rule->statement[s].kind == MERLON_S_LOOKUP)
					each_of_lookup(rule->statement[s].lookup, each, context);
		}
	for (size_t s = 0; s < ruleset->n_sets; s++)
		each_of_set(&ruleset->set[s], each, context);
}

static void make_exact(void *context, uint64_t *expires_ms, uint64_t left_ms)
{
	(void)context;
	/* 0 would be for ever */
	*expires_ms = left_ms > MERLON_TIMES_GRAIN_MS ? left_ms - left_ms % MERLON_TIMES_GRAIN_MS : 1;
}

void merlon_times_exact(struct merlon_ruleset *ruleset)
{
	for_each(ruleset, make_exact, NULL);
}

static void note(void *list, uint64_t *expires_ms, uint64_t left_ms)
{
	(void)left_ms;
	json_array_append_new(list, json_integer((json_int_t)*expires_ms));
}

json_t *merlon_times_list(struct merlon_ruleset *ruleset)
{
	json_t *list = json_array();

	for_each(ruleset, note, list);
	if (json_array_size(list))
		return list;
	json_decref(list);
	return NULL;
}

static void count(void *n, uint64_t *expires_ms, uint64_t left_ms)
{
	(void)expires_ms;
	(void)left_ms;
	++*(size_t *)n;
}

struct setting {
	const json_t *list;
	size_t at;
};

static void set_time(void *context, uint64_t *expires_ms, uint64_t left_ms)
{
	struct setting *s = context;
	json_int_t ms = json_integer_value(json_array_get(s->list, s->at++));

	(void)left_ms;
	*expires_ms = ms > 0 ? (uint64_t)ms : 1;
}

bool merlon_times_set(struct merlon_ruleset *ruleset, const json_t *list)
{
	struct setting s = { .list = list };
	size_t n = 0;

	for_each(ruleset, count, &n);
	if (n != json_array_size(list))
		return false;
	for_each(ruleset, set_time, &s);
	return true;
}
