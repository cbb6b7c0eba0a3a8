/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lookups: concatenations, maps of verdicts, sets whose elements expire. Each way through one (ways.h) is a rule; a
 * packet takes one of them at most, and goes on behind them all unless it is decided.
 */
#include <stdlib.h>
#include <string.h>

#include "src/compile/flattener.h"
#include "src/compile/ways.h"

#define NS_PER_MS 1000000ULL

/* Where no way narrows a part: the packet has it. */
static int ask_presence(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_lookup *lookup)
{
	struct merlon_condition c = { .mask = ~0U };
	int r = 0;

	for (size_t p = 0; p < lookup->n_parts && !r && !d->never; p++) {
		c.field = lookup->part[p].field;
		r = merlon_ways_presence(f->compiler, &lookup->part[p], &c.set);
		if (!r && c.set != MERLON_ANY)
			r = merlon_flatten_narrow(f, d, c);
	}
	return r;
}

static int take_way(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_ways *ways, uint32_t way)
{
	const struct merlon_lookup *lookup = ways->lookup;
	uint64_t ms = lookup->element[ways->element[way]].expires_ms, ns = f->compiler->options->loaded_ns;
	struct merlon_condition c = { .mask = ~0U };
	int r = 0;

	for (size_t p = 0; p < lookup->n_parts && !r && !d->never; p++) {
		c.field = lookup->part[p].field;
		c.set = ways->set[way * lookup->n_parts + p];
		if (c.set != MERLON_ANY)
			r = merlon_flatten_narrow(f, d, c);
	}
	if (r < 0 || d->never || !ms)
		return r;
	ns = ms > (UINT64_MAX - ns) / NS_PER_MS ? UINT64_MAX : ns + ms * NS_PER_MS;
	return merlon_flatten_op(f, (struct merlon_flat_op){ .kind = MERLON_OP_UNTIL, .arg = (uint32_t)ns, .mask = ns >> 32 });
}

/* Whether what follows in the rule may stand in each way: it may not fail any more once it has left a trace. */
static bool may_stand_in_ways(const struct merlon_rule *rule, size_t i)
{
	bool traced = false;

	for (; i < rule->n; i++) {
		if (rule->statement[i].kind == MERLON_S_MATCH && rule->statement[i].match.header_bytes)
			return false;
		switch (rule->statement[i].kind) {
		case MERLON_S_LIMIT:
		case MERLON_S_LOOKUP:
			return false;
		case MERLON_S_COUNTER:
		case MERLON_S_LOG:
		case MERLON_S_MARK:
			traced = true;
			break;
		case MERLON_S_VERDICT:
			return rule->statement[i].verdict.verdict != MERLON_V_JUMP &&
			       rule->statement[i].verdict.verdict != MERLON_V_GOTO;
		default:
			if (traced)
				return false;
		}
	}
	return true;
}

/* A draft under the same conditions as `d`, whose own ops are done. */
static struct merlon_draft begin_way(const struct merlon_flattener *f, const struct merlon_draft *d)
{
	struct merlon_draft way = { .rule = d->rule, .first_op = f->flat->n_ops, .behind = d->behind, .way = d->way,
				    .second = d->second, .header_bytes = d->header_bytes };

	memcpy(way.dim, d->inner, sizeof(way.dim));
	memcpy(way.inner, d->inner, sizeof(way.inner));
	return way;
}

static int lead_to(struct merlon_flattener *f, struct merlon_draft *d, uint32_t label)
{
	return merlon_flatten_add(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .next = label });
}

/* Ways that lead to a label; packets that meet none of them go on behind the last. */
static int lead_ways_to(struct merlon_flattener *f, const struct merlon_draft *d, const struct merlon_ways *ways,
			uint32_t label)
{
	int r = 0;

	for (uint32_t w = 0; w < ways->n && !r; w++) {
		struct merlon_draft way = begin_way(f, d);

		r = take_way(f, &way, ways, w);
		if (way.never)
			f->flat->n_ops = way.first_op;
		else if (!r)
			r = lead_to(f, &way, label);
	}
	return r;
}

/* A set of several ways, the statements behind it start at `i`. */
static int add_set(struct merlon_flattener *f, const struct merlon_draft *d, const struct merlon_ways *ways, size_t i)
{
	struct merlon_draft way, rest;
	uint32_t body;
	int r = 0;

	if (!ways->lookup->negated && may_stand_in_ways(d->rule, i)) {
		for (uint32_t w = 0; w < ways->n && !r; w++) {
			way = begin_way(f, d);
			r = take_way(f, &way, ways, w);
			if (!r)
				r = merlon_flatten_from(f, &way, i);
		}
		return r;
	}
	if (ways->lookup->negated) {
		r = lead_ways_to(f, d, ways, d->behind);
	} else {
		r = merlon_flatten_label(f, &body);
		if (!r)
			r = lead_ways_to(f, d, ways, body);
		way = begin_way(f, d);
		if (!r)
			r = lead_to(f, &way, d->behind);
		if (!r)
			f->label[body] = f->flat->n;
	}
	rest = begin_way(f, d);
	rest.behind = MERLON_LABEL_NEXT;
	rest.way = 0;
	if (!r && ways->lookup->negated)
		r = ask_presence(f, &rest, ways->lookup);
	return r < 0 ? r : merlon_flatten_from(f, &rest, i);
}

static struct merlon_statement verdict_of(const struct merlon_lookup_element *element)
{
	return (struct merlon_statement){ .kind = MERLON_S_VERDICT,
					  .verdict = { .verdict = element->verdict, .target = element->target } };
}

/* A chain that several ways of a map lead to: it stands once, behind them. */
struct call {
	struct merlon_statement verdict;
	uint32_t label, n_ways;
};

struct calls {
	struct call *call;
	uint32_t n, room;
	struct merlon_hash by_verdict;
};

static bool is_call(const struct merlon_lookup_element *element)
{
	return element->verdict == MERLON_V_JUMP || element->verdict == MERLON_V_GOTO;
}

static int count_calls(struct merlon_flattener *f, const struct merlon_ways *ways, struct calls *calls)
{
	int r = 0;

	for (uint32_t w = 0; w < ways->n && !r; w++) {
		const struct merlon_lookup_element *element = &ways->lookup->element[ways->element[w]];
		uint32_t i;

		if (!is_call(element))
			continue;
		if (!merlon_hash_get(&calls->by_verdict, element->verdict, element->target, &i)) {
			i = calls->n;
			r = merlon_grow(&calls->call, calls->n, &calls->room, sizeof(*calls->call));
			if (!r)
				r = merlon_hash_put(&calls->by_verdict, element->verdict, element->target, i);
			if (r < 0)
				return r;
			calls->call[i] = (struct call){ .verdict = verdict_of(element) };
			calls->n++;
			r = merlon_flatten_label(f, &calls->call[i].label);
		}
		calls->call[i].n_ways++;
	}
	return r;
}

static int add_map_way(struct merlon_flattener *f, struct merlon_draft *way, const struct merlon_lookup_element *element,
		       const struct calls *calls)
{
	struct merlon_statement verdict = verdict_of(element);
	uint32_t i;

	if (is_call(element) && merlon_hash_get(&calls->by_verdict, element->verdict, element->target, &i) &&
	    calls->call[i].n_ways > 1)
		return lead_to(f, way, calls->call[i].label);
	/* the ways that follow must not be tried */
	if (element->verdict == MERLON_V_CONTINUE)
		return lead_to(f, way, way->behind);
	return merlon_flatten_verdict(f, way, &verdict);
}

/* The chains that several ways lead to, once each; who came along no such way goes on behind. */
static int add_calls(struct merlon_flattener *f, const struct merlon_draft *d, const struct calls *calls)
{
	bool any = false;
	int r = 0;

	for (uint32_t i = 0; i < calls->n && !r; i++) {
		struct merlon_draft way = begin_way(f, d);

		if (calls->call[i].n_ways < 2)
			continue;
		if (!any)
			r = lead_to(f, &way, d->behind);
		any = true;
		f->label[calls->call[i].label] = f->flat->n;
		way.way = 0;
		if (!r)
			r = merlon_flatten_call(f, &way, &calls->call[i].verdict);
	}
	return r;
}

static int add_map(struct merlon_flattener *f, const struct merlon_draft *d, const struct merlon_ways *ways)
{
	struct calls calls = { 0 };
	int r = count_calls(f, ways, &calls);

	for (uint32_t w = 0; w < ways->n && !r; w++) {
		struct merlon_draft way = begin_way(f, d);

		r = take_way(f, &way, ways, w);
		if (way.never)
			f->flat->n_ops = way.first_op;
		else if (!r)
			r = add_map_way(f, &way, &ways->lookup->element[ways->element[w]], &calls);
	}
	if (!r)
		r = add_calls(f, d, &calls);
	free(calls.call);
	merlon_hash_clear(&calls.by_verdict);
	return r;
}

/* Several ways, each with rules of its own: what the rule did before stands in front of them, once. */
static int add_ways(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_ways *ways, size_t i)
{
	uint32_t behind;
	struct merlon_draft way;
	int r = merlon_flatten_label(f, &behind);

	if (!r && f->flat->n_ops > d->first_op)
		r = merlon_flatten_add(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .fail = behind });
	if (r < 0)
		return r;
	way = begin_way(f, d);
	way.behind = behind;
	way.way = ++f->n_lookups;
	r = ways->lookup->map ? add_map(f, &way, ways) : add_set(f, &way, ways, i + 1);
	f->label[behind] = f->flat->n;
	return r;
}

/* All values of the one part that are not in the one way. */
static int take_others(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_ways *ways)
{
	const struct merlon_part *part = &ways->lookup->part[0];
	struct merlon_condition c = { .field = part->field, .mask = ~0U };
	struct merlon_intervals others;
	int r;

	if (ways->set[0] == MERLON_ANY) {
		d->never = true;
		return 0;
	}
	r = merlon_intervals_copy(&f->compiler->sets.set[ways->set[0]], &others);
	if (r < 0)
		return r;
	r = merlon_intervals_complement(&others, merlon_value_max(merlon_field_bits(part->field, part->family)));
	if (r < 0) {
		merlon_intervals_clear(&others);
		return r;
	}
	r = merlon_sets_enter(&f->compiler->sets, &others, &c.set);
	return r < 0 ? r : merlon_flatten_narrow(f, d, c);
}

/* Whether there is no more than one way in, or out. */
static bool is_single(const struct merlon_ways *ways)
{
	const struct merlon_lookup *lookup = ways->lookup;

	if (!lookup->negated || !ways->n)
		return ways->n <= 1;
	return ways->n == 1 && lookup->n_parts == 1 && !lookup->element[ways->element[0]].expires_ms;
}

/* Such a lookup is a condition as others are. */
static int add_single(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_ways *ways, size_t i)
{
	const struct merlon_lookup *lookup = ways->lookup;
	struct merlon_statement verdict;
	int r;

	if (lookup->negated) {
		r = ways->n ? take_others(f, d, ways) : ask_presence(f, d, lookup);
		return r < 0 ? r : merlon_flatten_from(f, d, i + 1);
	}
	d->never |= !ways->n;
	r = d->never ? 0 : take_way(f, d, ways, 0);
	if (r < 0)
		return r;
	if (!lookup->map || d->never)
		return merlon_flatten_from(f, d, i + 1);
	verdict = verdict_of(&lookup->element[ways->element[0]]);
	return merlon_flatten_verdict(f, d, &verdict);
}

int merlon_flatten_lookup(struct merlon_flattener *f, struct merlon_draft *d, size_t i)
{
	struct merlon_ways ways;
	int r = merlon_ways_find(f->compiler, d->rule->statement[i].lookup, f->flat->family, &ways);

	if (r < 0)
		return r;
	if (ways.never)
		d->never = true;
	if (ways.never)
		r = merlon_flatten_from(f, d, i + 1);
	else if (is_single(&ways))
		r = add_single(f, d, &ways, i);
	else
		r = add_ways(f, d, &ways, i);
	merlon_ways_clear(&ways);
	return r;
}
