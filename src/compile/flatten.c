/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Base chains -> one list of rules. A jump becomes the called chain's rules under the jump's conditions; as all
 * dimensions stay the same while a packet is judged, only what is not a dimension needs a rule of its own there.
 *
 * Conditions on dimensions commute with each other and with tests that keep no state, so they are taken out of the
 * rule's order up to the first statement that leaves a trace (counter, limit, log, mark): what follows is an op.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "src/compile/flat.h"
#include "src/compile/ways.h"

#define MAX_BASE 64
#define MAX_JUMPS 16		/* NFT_JUMP_STACK_SIZE of net/netfilter/nf_tables.h */
#define MAX_NESTING 512		/* gotos too; only to stop at a loop, which nf_tables does not load */
#define LABEL_NEXT 0U		/* the label of "the rule behind this one" */
#define DEFAULT_MAX_FLAT (1U << 22)
#define NS_PER_MS 1000000ULL

struct flattener {
	struct merlon_compiler *compiler;
	struct merlon_flat *flat;
	uint32_t *label;	/* index that each label stands for */
	uint32_t n_labels, labels_room;
	uint32_t n_lookups;	/* numbers for merlon_flat_rule.way */
	unsigned jumps, nesting;
	/* the chain that is being flattened */
	uint32_t chain;
	uint32_t on_return;	/* label */
	uint32_t on_accept;	/* label of the next base chain, LABEL_NEXT in the last one */
};

/* A rule that is being put together. */
struct draft {
	const struct merlon_rule *rule;
	uint32_t dim[MERLON_DIMS];	/* of the rule itself */
	uint32_t inner[MERLON_DIMS];	/* also what its ops test: holds for all that comes after it */
	uint32_t first_op;
	uint32_t behind;		/* label of where a packet goes on that is not decided, LABEL_NEXT */
	uint32_t way;			/* as in merlon_flat_rule */
	bool traced;			/* a statement that leaves a trace was met */
	bool never;			/* no packet gets any further */
	bool second;			/* of the two ways of a match on either port */
};

static int new_label(struct flattener *f, uint32_t *ret)
{
	if (merlon_grow(&f->label, f->n_labels, &f->labels_room, sizeof(*f->label)) < 0)
		return -ENOMEM;
	*ret = f->n_labels;
	f->label[f->n_labels++] = 0;
	return 0;
}

static int add_op(struct flattener *f, struct merlon_flat_op op)
{
	struct merlon_flat *flat = f->flat;

	if (merlon_grow(&flat->op, flat->n_ops, &flat->ops_room, sizeof(*flat->op)) < 0)
		return -ENOMEM;
	flat->op[flat->n_ops++] = op;
	return 0;
}

static int add_rule(struct flattener *f, const struct draft *d, const struct merlon_flat_rule *rule)
{
	struct merlon_flat *flat = f->flat;
	uint32_t max = f->compiler->options->max_flat_rules;
	struct merlon_place place = d->rule ? d->rule->place : (struct merlon_place){ 0 };
	uint32_t n_ops = flat->n_ops - d->first_op;

	if (!max)
		max = DEFAULT_MAX_FLAT;
	if (flat->n >= max) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, place,
				"the chains come to more than %" PRIu32 " rules when jumps are resolved", max);
		return -EINVAL;
	}
	if (n_ops > MERLON_MAX_OPS) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, place,
				"the rule has %" PRIu32 " steps, at most %d can be taken", n_ops, MERLON_MAX_OPS);
		return -EINVAL;
	}
	if (merlon_grow(&flat->rule, flat->n, &flat->room, sizeof(*flat->rule)) < 0 ||
	    merlon_grow(&flat->origin, flat->n, &flat->origin_room, sizeof(*flat->origin)) < 0)
		return -ENOMEM;
	flat->origin[flat->n] = (struct merlon_flat_origin){ f->chain, d->rule };
	flat->rule[flat->n] = *rule;
	memcpy(flat->rule[flat->n].dim, d->dim, sizeof(d->dim));
	flat->rule[flat->n].op = d->first_op;
	flat->rule[flat->n].n_ops = n_ops;
	flat->rule[flat->n].way = d->way;
	flat->n++;
	return 0;
}

/* Whether a condition on an ICMP field may be asked of TH0 instead: both are there for ICMP and ICMPv6 alike. */
static bool icmp_only(const struct flattener *f, const struct draft *d)
{
	const struct merlon_intervals *l4proto = &f->compiler->sets.set[d->inner[MERLON_F_L4PROTO]];

	if (d->inner[MERLON_F_L4PROTO] == MERLON_ANY)
		return false;
	for (size_t i = 0; i < l4proto->n; i++)
		if (l4proto->v[i].lo != l4proto->v[i].hi || (l4proto->v[i].lo != 1 && l4proto->v[i].lo != 58))
			return false;
	return true;
}

/*
 * A packet with one byte of transport header has an ICMP type, but no TH0. The data path drops such ICMP packets
 * before rules are asked, as icmp_rcv() does.
 */
static int to_dimension(struct flattener *f, const struct draft *d, struct merlon_condition *c)
{
	if (c->mask != ~0U || (c->field != MERLON_F_ICMP_TYPE && c->field != MERLON_F_ICMP_CODE) || !icmp_only(f, d))
		return 0;
	if (c->field == MERLON_F_ICMP_CODE && d->inner[MERLON_F_TH0] == MERLON_ANY)
		return 0;
	c->field = MERLON_F_TH0;
	return 1;
}

static int narrow(struct flattener *f, struct draft *d, struct merlon_condition c)
{
	struct merlon_sets *sets = &f->compiler->sets;
	struct merlon_condition plain = c;
	int r;

	if ((c.field == MERLON_F_ETHER_SADDR_HIGH || c.field == MERLON_F_ETHER_SADDR_LOW) &&
	    f->flat->hook != MERLON_INPUT) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, d->rule->place, f->flat->hook == MERLON_FORWARD ?
				"the sender's Ethernet address is not known when a packet is forwarded: ask for it in "
				"chains of hook input" :
				"a packet that this host sends has no sender's Ethernet address yet: ask for it in chains "
				"of hook input");
		return -EINVAL;
	}
	if (merlon_sets_empty(sets, c.set)) {
		d->never = true;
		return 0;
	}
	if (to_dimension(f, d, &c)) {
		r = merlon_condition_th0(f->compiler, &plain, &c.set);
		if (r < 0)
			return r;
	}
	if (c.field < MERLON_DIMS && c.mask == ~0U) {
		r = merlon_sets_intersect(sets, d->inner[c.field], c.set, &d->inner[c.field]);
		if (r < 0)
			return r;
		if (merlon_sets_empty(sets, d->inner[c.field]))
			d->never = true;
		if (!d->traced) {
			d->dim[c.field] = d->inner[c.field];
			return 0;
		}
	}
	return add_op(f, (struct merlon_flat_op){ .kind = MERLON_OP_MATCH, .field = plain.field, .mask = plain.mask,
						  .arg = plain.set });
}

static int add_condition(struct flattener *f, struct draft *d, const struct merlon_statement *s)
{
	struct merlon_condition c, other;
	int r = merlon_condition(f->compiler, s, f->flat->family, &c);

	if (r == MERLON_NEVER)
		d->never = true;
	if (r == -ERANGE) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, d->rule->place,
				"the rule asks for types of IPv6 addresses that depend on the routes: at the same time "
				"only local, multicast and broadcast can be asked for");
		return -EINVAL;
	}
	if (r || s->kind == MERLON_S_FAMILY)
		return r < 0 ? r : 0;
	if (s->kind != MERLON_S_MATCH || !s->match.either || !d->second)
		return narrow(f, d, c);
	/* what the first way did not take */
	r = merlon_condition_not(f->compiler, s, &other);
	c.field = MERLON_F_TH2;
	if (!r)
		r = narrow(f, d, c);
	return r < 0 || d->never ? r : narrow(f, d, other);
}

static int add_trace(struct flattener *f, struct draft *d, size_t i)
{
	const struct merlon_statement *s = &d->rule->statement[i];
	struct merlon_flat_op op = { 0 };
	int r = 0;

	d->traced = true;
	switch (s->kind) {
	case MERLON_S_COUNTER:
		op.kind = MERLON_OP_COUNT;
		r = merlon_state_counter(f->compiler, d->rule, i, &op.arg);
		break;
	case MERLON_S_LIMIT:
		op.kind = MERLON_OP_LIMIT;
		op.invert = s->limit.over;
		r = merlon_state_limit(f->compiler, d->rule, i, &op.arg);
		break;
	case MERLON_S_LOG:
		op.kind = MERLON_OP_LOG;
		r = merlon_state_log(f->compiler, d->rule, i, &op.arg);
		break;
	default:
		op.kind = MERLON_OP_MARK;
		op.mask = s->mark.mask;
		op.arg = s->mark.xor;
		break;
	}
	return r < 0 ? r : add_op(f, op);
}

static int flatten_chain(struct flattener *f, uint32_t chain, const uint32_t dim[MERLON_DIMS], uint32_t on_return);

/* A jump or goto whose conditions are in the draft. */
static int add_call(struct flattener *f, struct draft *d, const struct merlon_statement *s)
{
	bool jump = s->verdict.verdict == MERLON_V_JUMP;
	uint32_t over, on_end, on_return = f->on_return, chain = f->chain;
	struct draft leave = { .rule = d->rule, .way = d->way };
	int r = new_label(f, &over);

	if (!r && f->flat->n_ops > d->first_op)
		r = add_rule(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .fail = over });
	if (r < 0)
		return r;
	/* the end of a chain that was gone to is the end of this one */
	on_end = !jump ? on_return : d->behind != LABEL_NEXT ? d->behind : over;
	f->jumps += jump;
	r = flatten_chain(f, s->verdict.target, d->inner, on_end);
	f->jumps -= jump;
	f->chain = chain;
	f->on_return = on_return;
	if (!r && on_end != over) {
		memcpy(leave.dim, d->inner, sizeof(leave.dim));
		leave.first_op = f->flat->n_ops;
		r = add_rule(f, &leave, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .next = on_end });
	}
	f->label[over] = f->flat->n;
	return r;
}

static int add_verdict(struct flattener *f, struct draft *d, const struct merlon_statement *s)
{
	struct merlon_flat_rule rule = { .verdict = MERLON_CONTINUE };

	switch (s->verdict.verdict) {
	case MERLON_V_ACCEPT:
		if (f->on_accept == LABEL_NEXT)
			rule.verdict = MERLON_ACCEPT;
		else
			rule.next = f->on_accept;
		break;
	case MERLON_V_DROP:
		rule.verdict = MERLON_DROP;
		break;
	case MERLON_V_REJECT:
		rule.verdict = MERLON_REJECT;
		rule.reject = s->verdict.reject.type;
		rule.reject_code = s->verdict.reject.code[f->flat->family];
		break;
	case MERLON_V_RETURN:
		rule.next = f->on_return;
		break;
	case MERLON_V_CONTINUE:
		rule.next = d->behind;
		if (d->traced)
			break;
		f->flat->n_ops = d->first_op;	/* tests alone change nothing */
		return 0;
	case MERLON_V_JUMP:
	case MERLON_V_GOTO:
		return add_call(f, d, s);
	}
	return add_rule(f, d, &rule);
}

static int flatten_from(struct flattener *f, struct draft *d, size_t i);

/* Where no way narrows a part: the packet has it. */
static int ask_presence(struct flattener *f, struct draft *d, const struct merlon_lookup *lookup)
{
	struct merlon_condition c = { .mask = ~0U };
	int r = 0;

	for (size_t p = 0; p < lookup->n_parts && !r && !d->never; p++) {
		c.field = lookup->part[p].field;
		r = merlon_ways_presence(f->compiler, &lookup->part[p], &c.set);
		if (!r && c.set != MERLON_ANY)
			r = narrow(f, d, c);
	}
	return r;
}

static int take_way(struct flattener *f, struct draft *d, const struct merlon_ways *ways, uint32_t way)
{
	const struct merlon_lookup *lookup = ways->lookup;
	uint64_t ms = lookup->element[ways->element[way]].expires_ms, ns = f->compiler->options->loaded_ns;
	struct merlon_condition c = { .mask = ~0U };
	int r = 0;

	for (size_t p = 0; p < lookup->n_parts && !r && !d->never; p++) {
		c.field = lookup->part[p].field;
		c.set = ways->set[way * lookup->n_parts + p];
		if (c.set != MERLON_ANY)
			r = narrow(f, d, c);
	}
	if (r < 0 || d->never || !ms)
		return r;
	ns = ms > (UINT64_MAX - ns) / NS_PER_MS ? UINT64_MAX : ns + ms * NS_PER_MS;
	return add_op(f, (struct merlon_flat_op){ .kind = MERLON_OP_UNTIL, .arg = (uint32_t)ns, .mask = ns >> 32 });
}

/* Whether what follows in the rule may stand in each way: it may not fail any more once it has left a trace. */
static bool may_stand_in_ways(const struct merlon_rule *rule, size_t i)
{
	bool traced = false;

	for (; i < rule->n; i++) {
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
static struct draft begin_way(const struct flattener *f, const struct draft *d)
{
	struct draft way = { .rule = d->rule, .first_op = f->flat->n_ops, .behind = d->behind, .way = d->way,
			     .second = d->second };

	memcpy(way.dim, d->inner, sizeof(way.dim));
	memcpy(way.inner, d->inner, sizeof(way.inner));
	return way;
}

static int lead_to(struct flattener *f, struct draft *d, uint32_t label)
{
	return add_rule(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .next = label });
}

/* Ways that lead to a label; packets that meet none of them go on behind the last. */
static int lead_ways_to(struct flattener *f, const struct draft *d, const struct merlon_ways *ways, uint32_t label)
{
	int r = 0;

	for (uint32_t w = 0; w < ways->n && !r; w++) {
		struct draft way = begin_way(f, d);

		r = take_way(f, &way, ways, w);
		if (way.never)
			f->flat->n_ops = way.first_op;
		else if (!r)
			r = lead_to(f, &way, label);
	}
	return r;
}

/* A set of several ways, the statements behind it start at `i`. */
static int add_set(struct flattener *f, const struct draft *d, const struct merlon_ways *ways, size_t i)
{
	struct draft way, rest;
	uint32_t body;
	int r = 0;

	if (!ways->lookup->negated && may_stand_in_ways(d->rule, i)) {
		for (uint32_t w = 0; w < ways->n && !r; w++) {
			way = begin_way(f, d);
			r = take_way(f, &way, ways, w);
			if (!r)
				r = flatten_from(f, &way, i);
		}
		return r;
	}
	if (ways->lookup->negated) {
		r = lead_ways_to(f, d, ways, d->behind);
	} else {
		r = new_label(f, &body);
		if (!r)
			r = lead_ways_to(f, d, ways, body);
		way = begin_way(f, d);
		if (!r)
			r = lead_to(f, &way, d->behind);
		if (!r)
			f->label[body] = f->flat->n;
	}
	rest = begin_way(f, d);
	rest.behind = LABEL_NEXT;
	rest.way = 0;
	if (!r && ways->lookup->negated)
		r = ask_presence(f, &rest, ways->lookup);
	return r < 0 ? r : flatten_from(f, &rest, i);
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

static int count_calls(struct flattener *f, const struct merlon_ways *ways, struct calls *calls)
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
			r = new_label(f, &calls->call[i].label);
		}
		calls->call[i].n_ways++;
	}
	return r;
}

static int add_map_way(struct flattener *f, struct draft *way, const struct merlon_lookup_element *element,
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
	return add_verdict(f, way, &verdict);
}

/* The chains that several ways lead to, once each; who came along no such way goes on behind. */
static int add_calls(struct flattener *f, const struct draft *d, const struct calls *calls)
{
	bool any = false;
	int r = 0;

	for (uint32_t i = 0; i < calls->n && !r; i++) {
		struct draft way = begin_way(f, d);

		if (calls->call[i].n_ways < 2)
			continue;
		if (!any)
			r = lead_to(f, &way, d->behind);
		any = true;
		f->label[calls->call[i].label] = f->flat->n;
		way.way = 0;
		if (!r)
			r = add_call(f, &way, &calls->call[i].verdict);
	}
	return r;
}

static int add_map(struct flattener *f, const struct draft *d, const struct merlon_ways *ways)
{
	struct calls calls = { 0 };
	int r = count_calls(f, ways, &calls);

	for (uint32_t w = 0; w < ways->n && !r; w++) {
		struct draft way = begin_way(f, d);

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
static int add_ways(struct flattener *f, struct draft *d, const struct merlon_ways *ways, size_t i)
{
	uint32_t behind;
	struct draft way;
	int r = new_label(f, &behind);

	if (!r && f->flat->n_ops > d->first_op)
		r = add_rule(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .fail = behind });
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
static int take_others(struct flattener *f, struct draft *d, const struct merlon_ways *ways)
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
	return r < 0 ? r : narrow(f, d, c);
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
static int add_single(struct flattener *f, struct draft *d, const struct merlon_ways *ways, size_t i)
{
	const struct merlon_lookup *lookup = ways->lookup;
	struct merlon_statement verdict;
	int r;

	if (lookup->negated) {
		r = ways->n ? take_others(f, d, ways) : ask_presence(f, d, lookup);
		return r < 0 ? r : flatten_from(f, d, i + 1);
	}
	d->never |= !ways->n;
	r = d->never ? 0 : take_way(f, d, ways, 0);
	if (r < 0)
		return r;
	if (!lookup->map || d->never)
		return flatten_from(f, d, i + 1);
	verdict = verdict_of(&lookup->element[ways->element[0]]);
	return add_verdict(f, d, &verdict);
}

static int add_lookup(struct flattener *f, struct draft *d, size_t i)
{
	struct merlon_ways ways;
	int r = merlon_ways_find(f->compiler, d->rule->statement[i].lookup, f->flat->family, &ways);

	if (r < 0)
		return r;
	if (ways.never)
		d->never = true;
	if (ways.never)
		r = flatten_from(f, d, i + 1);
	else if (is_single(&ways))
		r = add_single(f, d, &ways, i);
	else
		r = add_ways(f, d, &ways, i);
	merlon_ways_clear(&ways);
	return r;
}

/* What follows in the rule from statement `i` on, under what the draft asks for. */
static int flatten_from(struct flattener *f, struct draft *d, size_t i)
{
	static const struct merlon_statement go_on = { .kind = MERLON_S_VERDICT,
						       .verdict = { .verdict = MERLON_V_CONTINUE } };
	int r = 0;

	for (; i < d->rule->n && !r && !d->never; i++) {
		const struct merlon_statement *s = &d->rule->statement[i];

		switch (s->kind) {
		case MERLON_S_MATCH:
		case MERLON_S_INTERFACE:
		case MERLON_S_FAMILY:
		case MERLON_S_ADDRTYPE:
			r = add_condition(f, d, s);
			break;
		case MERLON_S_LOOKUP:
			return add_lookup(f, d, i);
		case MERLON_S_VERDICT:
			return add_verdict(f, d, s);
		default:
			r = add_trace(f, d, i);
			break;
		}
	}
	if (r < 0)
		return r;
	/* what was traced before nothing could match any more still happens; else there is nothing to do */
	return add_verdict(f, d, &go_on);
}

static int flatten_way(struct flattener *f, const struct merlon_rule *rule, const uint32_t dim[MERLON_DIMS], bool second)
{
	struct draft d = { .rule = rule, .first_op = f->flat->n_ops, .second = second };

	if (rule->status != MERLON_EXACT) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, rule->place, "%s: %s", rule->text ? rule->text : "rule",
				rule->reason ? rule->reason : "not supported");
		return -EINVAL;
	}
	memcpy(d.dim, dim, sizeof(d.dim));
	memcpy(d.inner, dim, sizeof(d.inner));
	return flatten_from(f, &d, 0);
}

/* A rule that looks at either port is two ways to the same end, of which a packet takes one at most. */
static int flatten_rule(struct flattener *f, const struct merlon_rule *rule, const uint32_t dim[MERLON_DIMS])
{
	int r = flatten_way(f, rule, dim, false);

	for (size_t i = 0; i < rule->n && !r; i++)
		if (rule->statement[i].kind == MERLON_S_MATCH && rule->statement[i].match.either)
			return flatten_way(f, rule, dim, true);
	return r;
}

static int flatten_chain(struct flattener *f, uint32_t chain, const uint32_t dim[MERLON_DIMS], uint32_t on_return)
{
	const struct merlon_chain *c = &f->compiler->ruleset->chain[chain];
	int r = 0;

	if (f->jumps > MAX_JUMPS || f->nesting >= MAX_NESTING) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"chain %s: jumps nest deeper than %u", c->name,
				f->jumps > MAX_JUMPS ? MAX_JUMPS : MAX_NESTING);
		return -EINVAL;
	}
	f->nesting++;
	f->chain = chain;
	f->on_return = on_return;
	for (size_t i = 0; i < c->n && !r; i++)
		r = flatten_rule(f, &c->rule[i], dim);
	f->nesting--;
	return r;
}

/* A base chain, and its policy as a last rule (an accept that goes on with the next base chain needs none). */
static int flatten_base(struct flattener *f, uint32_t chain, bool last)
{
	static const uint32_t any[MERLON_DIMS];
	struct merlon_flat_rule policy = { .verdict = MERLON_ACCEPT };
	struct draft d = { 0 };
	uint32_t end;
	int r = new_label(f, &end);

	f->on_accept = LABEL_NEXT;
	if (!r && !last)
		r = new_label(f, &f->on_accept);
	if (!r)
		r = flatten_chain(f, chain, any, end);
	if (r < 0)
		return r;
	f->label[end] = f->flat->n;
	d.first_op = f->flat->n_ops;
	if (f->compiler->ruleset->chain[chain].drop)
		policy.verdict = MERLON_DROP;
	if (last || policy.verdict == MERLON_DROP)
		r = add_rule(f, &d, &policy);
	if (!last)
		f->label[f->on_accept] = f->flat->n;
	return r;
}

static void resolve_labels(struct flattener *f)
{
	struct merlon_flat *flat = f->flat;

	for (uint32_t i = 0; i < flat->n; i++) {
		struct merlon_flat_rule *rule = &flat->rule[i];

		rule->next = rule->next == LABEL_NEXT ? i + 1 : f->label[rule->next];
		rule->fail = rule->fail == LABEL_NEXT ? i + 1 : f->label[rule->fail];
	}
}

int merlon_flatten(struct merlon_compiler *compiler, struct merlon_flat *flat)
{
	struct flattener f = { .compiler = compiler, .flat = flat };
	uint32_t base[MAX_BASE], unused;
	size_t n = merlon_ruleset_base(compiler->ruleset, flat->hook, flat->family, base, MAX_BASE);
	int r;

	if (n >= MAX_BASE) {
		merlon_diag_add(compiler->diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"more than %d base chains on one hook", MAX_BASE - 1);
		return -EINVAL;
	}
	r = new_label(&f, &unused);	/* LABEL_NEXT */
	for (size_t i = 0; i < n && !r; i++)
		r = flatten_base(&f, base[i], i == n - 1);
	if (!r)
		resolve_labels(&f);
	free(f.label);
	return r;
}

void merlon_flat_clear(struct merlon_flat *flat)
{
	free(flat->rule);
	free(flat->origin);
	free(flat->op);
	*flat = (struct merlon_flat){ .hook = flat->hook, .family = flat->family };
}
