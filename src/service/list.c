/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `merlon list`: the policy in force as nft text, with what its rules counted up to now. */
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/report.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

/*
 * Counters of the ruleset have the values that the input gave them: shown are those and what was counted since. The ruleset is
 * this process's own.
 */
static int add_counts(const struct merlon_daemon *d)
{
	const struct merlon_policy *p = d->enforced.policy;
	_cleanup_free_ struct merlon_counter *counted = NULL;
	int r = merlon_counts(d, &counted);
	uint32_t i;

	if (r < 0)
		return r;
	for (i = 0; i < p->n_counters; i++) {
		struct merlon_rule *rule = (struct merlon_rule *)p->counter[i].rule;
		struct merlon_statement *s = &rule->statement[p->counter[i].statement];

		s->counter.packets += counted[i].packets;
		s->counter.bytes += counted[i].bytes;
	}
	return 0;
}

/* `left_out`: the policy does without it. */
static json_t *list_rule(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, const struct merlon_rule *rule,
			 bool left_out)
{
	static const char *const status[] = { "exact", "kept", "refused" };
	_cleanup_free_ char *text = NULL;
	struct merlon_counter counted = { 0 };
	bool counts = false;
	size_t size, i;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	merlon_rule_print(ruleset, chain, rule, out);
	if (fclose(out))
		return NULL;
	for (i = 0; i < rule->n && rule->status == MERLON_EXACT && !counts; i++)
		if (rule->statement[i].kind == MERLON_S_COUNTER) {
			counts = true;
			counted.packets = rule->statement[i].counter.packets;
			counted.bytes = rule->statement[i].counter.bytes;
		}
	return json_pack("{s:o, s:I, s:s, s:o, s:i, s:o*, s:o*, s:o*}", "rule", merlon_report_text(text), "handle", (json_int_t)rule->handle,
			 "status", left_out ? "left out" : status[rule->status], "file", merlon_report_text(rule->place.file), "line", (int)rule->place.line,
			 "packets", counts ? json_integer(counted.packets) : NULL,
			 "bytes", counts ? json_integer(counted.bytes) : NULL, "reason",
			 rule->reason ? merlon_report_text(rule->reason) : NULL);
}

static json_t *list_chain(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain)
{
	static const char *const hook[] = { "input", "forward", "output" };
	json_t *rules = json_array(), *json;
	size_t i, left = 0;

	for (i = 0; i <= chain->n; i++) {
		for (; left < chain->n_left_out && chain->left_out[left].at == i; left++)
			json_array_append_new(rules, list_rule(ruleset, chain, &chain->left_out[left].rule, true));
		if (i < chain->n)
			json_array_append_new(rules, list_rule(ruleset, chain, &chain->rule[i], false));
	}
	json = json_pack("{s:s, s:I, s:b, s:o}", "chain", chain->name, "handle", (json_int_t)chain->handle, "kept", chain->kept,
			 "rules", rules);
	if (chain->base && !chain->kept) {
		json_object_set_new(json, "hook", json_string(hook[chain->hook]));
		json_object_set_new(json, "priority", json_integer(chain->priority));
		json_object_set_new(json, "policy", json_string(chain->drop ? "drop" : "accept"));
	}
	return json;
}

/* What has expired is gone from the data plane, though nothing told the ruleset. */
static json_t *list_set(const struct merlon_set *set, uint64_t age_ms)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	merlon_set_print(set, age_ms, out);
	return fclose(out) ? NULL : merlon_report_text(text);
}

static json_t *list_table(const struct merlon_ruleset *ruleset, uint32_t t, uint64_t age_ms)
{
	const struct merlon_table *table = &ruleset->table[t];
	const char *family = merlon_nfproto_name(table->family);
	json_t *sets = json_array(), *chains = json_array();
	size_t i;

	for (i = 0; i < ruleset->n_sets; i++)
		if (ruleset->set[i].table == t && ruleset->set[i].declaration)
			json_array_append_new(sets, list_set(&ruleset->set[i], age_ms));
		else if (ruleset->set[i].table == t && ruleset->set[i].reason)
			json_array_append_new(sets, json_sprintf("# left out (%s): %s", ruleset->set[i].reason, ruleset->set[i].name));
	for (i = 0; i < ruleset->n_chains; i++)
		if (ruleset->chain[i].table == t)
			json_array_append_new(chains, list_chain(ruleset, &ruleset->chain[i]));
	return json_pack("{s:s, s:s, s:o, s:o}", "family", family, "table", table->name, "sets", sets, "chains", chains);
}

static json_t *list_tables(const struct merlon_ruleset *ruleset, uint64_t age_ms)
{
	json_t *tables = json_array();
	uint32_t t;

	for (t = 0; ruleset && t < ruleset->n_tables; t++)
		json_array_append_new(tables, list_table(ruleset, t, age_ms));
	return tables;
}

int merlon_write_list(struct merlon_daemon *d, FILE *out)
{
	const struct merlon_policy *p = d->enforced.policy;
	int r = p ? add_counts(d) : 0;

	if (r < 0)
		return r;
	return merlon_write_json(json_pack("{s:i, s:b, s:b, s:o}", "generation", (int)merlon_dataplane_generation(d->dp),
					   "policy_known", p || !merlon_dataplane_generation(d->dp), "audit", d->enforced.audit,
					   "tables", list_tables(d->enforced.ruleset, (merlon_now_ns() - d->enforced.loaded_ns) / 1000000)), out);
}
