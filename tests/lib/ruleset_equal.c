/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/ruleset_equal.h"

#include <string.h>

static bool same_name(const struct merlon_ifname *a, const struct merlon_ifname *b)
{
	return a->prefix == b->prefix && a->index == b->index && strcmp(a->name, b->name) == 0;
}

/* As sets: the kernel gives elements in any order. */
static bool same_names(const struct merlon_statement *a, const struct merlon_statement *b)
{
	size_t i, j;

	for (i = 0; i < a->interface.n; i++) {
		for (j = 0; j < b->interface.n; j++)
			if (same_name(&a->interface.name[i], &b->interface.name[j]))
				break;
		if (j == b->interface.n)
			return false;
	}
	return a->interface.n == b->interface.n;
}

static bool same_range(const struct merlon_lookup *a, size_t i, const struct merlon_lookup *b, size_t j, size_t part)
{
	const struct merlon_part_range *x = &a->range[i * a->n_parts + part], *y = &b->range[j * b->n_parts + part];

	if (a->part[part].field == MERLON_F_IIF || a->part[part].field == MERLON_F_OIF)
		return same_name(&a->name[x->lo], &b->name[y->lo]);
	return x->lo == y->lo && x->hi == y->hi;
}

/* Times to live run on between two readings, what was declared stays. */
static bool same_element(const struct merlon_lookup *a, size_t i, const struct merlon_lookup *b, size_t j)
{
	const struct merlon_lookup_element *x = &a->element[i], *y = &b->element[j];

	if (x->any != y->any || x->timeout_ms != y->timeout_ms || !x->expires_ms != !y->expires_ms)
		return false;
	for (size_t p = 0; p < a->n_parts && !x->any; p++)
		if (!same_range(a, i, b, j, p))
			return false;
	return !a->map || (x->verdict == y->verdict && (x->verdict < MERLON_V_JUMP || x->target == y->target));
}

/* The elements of anonymous maps and sets come in any order; where the order may count, nobody knows it. */
static bool same_lookup(const struct merlon_lookup *a, const struct merlon_lookup *b)
{
	if (a->n_parts != b->n_parts || a->n != b->n || a->map != b->map || a->negated != b->negated || !a->set != !b->set ||
	    (a->set && strcmp(a->set, b->set) != 0))
		return false;
	for (size_t p = 0; p < a->n_parts; p++)
		if (a->part[p].field != b->part[p].field || a->part[p].family != b->part[p].family)
			return false;
	for (size_t i = 0; i < a->n; i++) {
		size_t j = i;

		/* the same place first */
		for (size_t tries = 0; tries < b->n && !same_element(a, i, b, j); tries++)
			j = tries;
		if (!same_element(a, i, b, j))
			return false;
	}
	return true;
}

static bool same_limit(const struct merlon_limit *a, const struct merlon_limit *b)
{
	return a->rate * b->per_s == b->rate * a->per_s && a->burst == b->burst && a->bytes == b->bytes && a->over == b->over;
}

static bool same_statement(const struct merlon_statement *a, const struct merlon_statement *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case MERLON_S_MATCH:
		return a->match.field == b->match.field && a->match.family == b->match.family &&
		       a->match.mask == b->match.mask && a->match.either == b->match.either && merlon_intervals_equal(&a->match.in, &b->match.in);
	case MERLON_S_INTERFACE:
		return a->interface.field == b->interface.field && a->interface.negated == b->interface.negated &&
		       same_names(a, b);
	case MERLON_S_FAMILY:
		return a->family == b->family;
	case MERLON_S_COUNTER:
		return a->counter.packets == b->counter.packets && a->counter.bytes == b->counter.bytes;
	case MERLON_S_LIMIT:
		return same_limit(&a->limit, &b->limit);
	case MERLON_S_LOG:
		return strcmp(a->log->prefix, b->log->prefix) == 0 && a->log->level == b->log->level &&
		       a->log->flags == b->log->flags && a->log->group == b->log->group;
	case MERLON_S_MARK:
		return a->mark.mask == b->mark.mask && a->mark.xor == b->mark.xor;
	case MERLON_S_ADDRTYPE:
		return a->addrtype.field == b->addrtype.field && a->addrtype.types == b->addrtype.types;
	case MERLON_S_LOOKUP:
		return same_lookup(a->lookup, b->lookup);
	case MERLON_S_VERDICT:
		return a->verdict.verdict == b->verdict.verdict && a->verdict.reject.type == b->verdict.reject.type &&
		       memcmp(a->verdict.reject.code, b->verdict.reject.code, sizeof(a->verdict.reject.code)) == 0;
	}
	return false;
}

const char *rule_difference(const struct merlon_rule *a, const struct merlon_rule *b)
{
	static char text[512];
	size_t i;

	if (a->status != b->status) {
		snprintf(text, sizeof(text), "status: %s | %s (%s)", a->text, b->text, b->reason ? b->reason : "");
		return text;
	}
	if (a->status == MERLON_REFUSED && (strcmp(a->reason, b->reason) || (a->text && strcmp(a->text, b->text ? b->text : "")))) {
		snprintf(text, sizeof(text), "refused: %s: %s | %s: %s", a->reason, a->text, b->reason, b->text);
		return text;
	}
	if (a->status == MERLON_REFUSED)
		return NULL;
	for (i = 0; i < a->n && i < b->n; i++)
		if (!same_statement(&a->statement[i], &b->statement[i])) {
			snprintf(text, sizeof(text), "statement %zu: %s | %s", i, a->text, b->text);
			return text;
		}
	if (a->n != b->n) {
		snprintf(text, sizeof(text), "%zu and %zu statements: %s | %s", a->n, b->n, a->text, b->text);
		return text;
	}
	return NULL;
}

static const char *chain_difference(const struct merlon_chain *a, const struct merlon_chain *b)
{
	size_t i = 0, j = 0;

	if (a->base != b->base || (a->base && (a->hook != b->hook || a->priority != b->priority || a->drop != b->drop)))
		return "the base chains differ";
	/* refused rules are printed as comments, which are read again */
	while (i < a->n || j < b->n) {
		const char *difference;

		if (i < a->n && a->rule[i].status == MERLON_KEPT) {
			i++;
			continue;
		}
		if (i == a->n || j == b->n)
			return "the number of rules differs";
		difference = rule_difference(&a->rule[i++], &b->rule[j++]);
		if (difference)
			return difference;
	}
	return NULL;
}

const char *ruleset_difference(const struct merlon_ruleset *a, const struct merlon_ruleset *b)
{
	size_t i = 0, j = 0;

	while (i < a->n_chains || j < b->n_chains) {
		const char *difference;

		if (i < a->n_chains && a->chain[i].kept) {
			i++;
			continue;
		}
		if (i == a->n_chains || j == b->n_chains)
			return "the number of chains differs";
		difference = chain_difference(&a->chain[i++], &b->chain[j++]);
		if (difference)
			return difference;
	}
	return NULL;
}
