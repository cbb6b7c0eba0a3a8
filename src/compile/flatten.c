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

#include "src/compile/flattener.h"

#define MAX_BASE 64
#define MAX_JUMPS 16		/* NFT_JUMP_STACK_SIZE of net/netfilter/nf_tables.h */
#define MAX_NESTING 512		/* gotos too; only to stop at a loop, which nf_tables does not load */
#define DEFAULT_MAX_FLAT (1U << 22)

int merlon_flatten_label(struct merlon_flattener *f, uint32_t *ret)
{
	if (merlon_grow(&f->label, f->n_labels, &f->labels_room, sizeof(*f->label)) < 0)
		return -ENOMEM;
	*ret = f->n_labels;
	f->label[f->n_labels++] = 0;
	return 0;
}

int merlon_flatten_op(struct merlon_flattener *f, struct merlon_flat_op op)
{
	struct merlon_flat *flat = f->flat;

	if (merlon_grow(&flat->op, flat->n_ops, &flat->ops_room, sizeof(*flat->op)) < 0)
		return -ENOMEM;
	flat->op[flat->n_ops++] = op;
	return 0;
}

int merlon_flatten_add(struct merlon_flattener *f, const struct merlon_draft *d, const struct merlon_flat_rule *rule)
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
static bool icmp_only(const struct merlon_flattener *f, const struct merlon_draft *d)
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
static int to_dimension(struct merlon_flattener *f, const struct merlon_draft *d, struct merlon_condition *c)
{
	if (c->mask != ~0U || (c->field != MERLON_F_ICMP_TYPE && c->field != MERLON_F_ICMP_CODE) || !icmp_only(f, d))
		return 0;
	if (c->field == MERLON_F_ICMP_CODE && d->inner[MERLON_F_TH0] == MERLON_ANY)
		return 0;
	c->field = MERLON_F_TH0;
	return 1;
}

static bool is_ether(uint8_t field)
{
	return field == MERLON_F_ETHER_SADDR_HIGH || field == MERLON_F_ETHER_SADDR_LOW;
}

static int refuse_ether(struct merlon_flattener *f, const struct merlon_draft *d)
{
	merlon_diag_add(f->compiler->diag, MERLON_ERROR, d->rule->place, f->flat->hook == MERLON_FORWARD ?
			"the sender's Ethernet address is not known when a packet is forwarded: ask for it in chains of "
			"hook input" :
			"a packet that this host sends has no sender's Ethernet address yet: ask for it in chains of hook "
			"input");
	return -EINVAL;
}

int merlon_flatten_narrow(struct merlon_flattener *f, struct merlon_draft *d, struct merlon_condition c)
{
	struct merlon_sets *sets = &f->compiler->sets;
	struct merlon_condition plain = c;
	int r;

	if (is_ether(c.field) && f->flat->hook != MERLON_INPUT)
		return refuse_ether(f, d);
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
	return merlon_flatten_op(f, (struct merlon_flat_op){ .kind = MERLON_OP_MATCH, .field = plain.field,
							     .mask = plain.mask,
							     .arg = plain.set });
}

/* Whether a rule before this one in the chain, which all packets of this one have met, drops the same. */
static bool is_dropped_before(const struct merlon_flattener *f, const struct merlon_draft *d, uint8_t bytes)
{
	return bytes != MERLON_HEADER_CHAIN && d->whole && f->flat->n_ops == d->first_op && bytes <= f->dropped.bytes &&
	       !memcmp(d->dim, f->dropped.dim, sizeof(d->dim));
}

/*
 * A rule in front of what follows: packets that met all so far and have less of a transport header are dropped. The
 * tests so far are made again for the others.
 */
static int add_header(struct merlon_flattener *f, struct merlon_draft *d, uint8_t bytes)
{
	struct merlon_flat_op shorter = { .kind = MERLON_OP_MATCH, .field = MERLON_F_TH_BYTES, .mask = ~0U };
	uint32_t first = d->first_op, n = f->flat->n_ops - first;
	struct merlon_intervals less = { 0 };
	int r;

	if (bytes != MERLON_HEADER_CHAIN)
		d->header_bytes = bytes;
	if (is_dropped_before(f, d, bytes))
		return 0;
	if (bytes == MERLON_HEADER_CHAIN)
		r = merlon_intervals_add(&less, MERLON_TH_NEVER, MERLON_TH_NEVER);
	else
		r = merlon_intervals_add(&less, 0, bytes - 1);
	if (!r)
		r = merlon_sets_enter(&f->compiler->sets, &less, &shorter.arg);
	if (!r)
		r = merlon_flatten_op(f, shorter);
	if (!r)
		r = merlon_flatten_add(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_DROP });
	d->first_op = f->flat->n_ops;
	for (uint32_t i = 0; i < n && !r; i++)
		r = merlon_flatten_op(f, f->flat->op[first + i]);
	if (!n && d->whole && bytes != MERLON_HEADER_CHAIN) {
		memcpy(f->dropped.dim, d->dim, sizeof(d->dim));
		f->dropped.bytes = bytes;
	}
	return r;
}

/* A rule that asks for a header from statement `i` on and has left a trace before: that becomes a rule of its own. */
static int flatten_behind_trace(struct merlon_flattener *f, const struct merlon_draft *d, size_t i)
{
	struct merlon_draft rest = { .rule = d->rule, .behind = d->behind, .second = d->second,
				     .header_bytes = d->header_bytes };
	uint32_t over;
	int r = merlon_flatten_label(f, &over);

	if (!r)
		r = merlon_flatten_add(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .fail = over });
	if (r < 0)
		return r;
	memcpy(rest.dim, d->inner, sizeof(rest.dim));
	memcpy(rest.inner, d->inner, sizeof(rest.inner));
	rest.first_op = f->flat->n_ops;
	r = merlon_flatten_from(f, &rest, i);
	f->label[over] = f->flat->n;
	return r;
}

static bool asks_for_header(const struct merlon_draft *d, const struct merlon_statement *s)
{
	return s->kind == MERLON_S_MATCH && s->match.header_bytes > d->header_bytes;	/* MERLON_HEADER_CHAIN: always */
}

static int add_condition(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_statement *s)
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
	if (r == -ENODATA) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, d->rule->place,
				"the rule asks for types of addresses, and this host's addresses could not be read");
		return -EINVAL;
	}
	if (r || s->kind == MERLON_S_FAMILY)
		return r < 0 ? r : 0;
	if (s->kind != MERLON_S_MATCH || !s->match.either || !d->second)
		return merlon_flatten_narrow(f, d, c);
	/* what the first way did not take */
	r = merlon_condition_not(f->compiler, s, &other);
	c.field = MERLON_F_TH2;
	if (!r)
		r = merlon_flatten_narrow(f, d, c);
	return r < 0 || d->never ? r : merlon_flatten_narrow(f, d, other);
}

static int add_trace(struct merlon_flattener *f, struct merlon_draft *d, size_t i)
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
	return r < 0 ? r : merlon_flatten_op(f, op);
}

static int flatten_chain(struct merlon_flattener *f, uint32_t chain, const uint32_t dim[MERLON_DIMS], uint32_t on_return);

int merlon_flatten_call(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_statement *s)
{
	bool jump = s->verdict.verdict == MERLON_V_JUMP;
	uint32_t over, on_end, on_return = f->on_return, chain = f->chain;
	struct merlon_draft leave = { .rule = d->rule, .way = d->way };
	struct merlon_dropped dropped = f->dropped;
	int r = merlon_flatten_label(f, &over);

	if (!r && f->flat->n_ops > d->first_op)
		r = merlon_flatten_add(f, d, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .fail = over });
	if (r < 0)
		return r;
	/* the end of a chain that was gone to is the end of this one */
	on_end = !jump ? on_return : d->behind != MERLON_LABEL_NEXT ? d->behind : over;
	f->jumps += jump;
	r = flatten_chain(f, s->verdict.target, d->inner, on_end);
	f->jumps -= jump;
	f->chain = chain;
	f->on_return = on_return;
	f->dropped = dropped;
	if (!r && on_end != over) {
		memcpy(leave.dim, d->inner, sizeof(leave.dim));
		leave.first_op = f->flat->n_ops;
		r = merlon_flatten_add(f, &leave, &(struct merlon_flat_rule){ .verdict = MERLON_CONTINUE, .next = on_end });
	}
	f->label[over] = f->flat->n;
	return r;
}

int merlon_flatten_verdict(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_statement *s)
{
	struct merlon_flat_rule rule = { .verdict = MERLON_CONTINUE };

	switch (s->verdict.verdict) {
	case MERLON_V_ACCEPT:
		if (f->on_accept == MERLON_LABEL_NEXT)
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
		return merlon_flatten_call(f, d, s);
	}
	return merlon_flatten_add(f, d, &rule);
}

int merlon_flatten_from(struct merlon_flattener *f, struct merlon_draft *d, size_t i)
{
	static const struct merlon_statement go_on = { .kind = MERLON_S_VERDICT,
						       .verdict = { .verdict = MERLON_V_CONTINUE } };
	int r = 0;

	for (; i < d->rule->n && !r && !d->never; i++) {
		const struct merlon_statement *s = &d->rule->statement[i];

		if (asks_for_header(d, s) && d->traced)
			return flatten_behind_trace(f, d, i);
		if (asks_for_header(d, s))
			r = add_header(f, d, s->match.header_bytes);
		if (r < 0)
			return r;
		switch (s->kind) {
		case MERLON_S_MATCH:
		case MERLON_S_INTERFACE:
		case MERLON_S_FAMILY:
		case MERLON_S_ADDRTYPE:
			r = add_condition(f, d, s);
			break;
		case MERLON_S_LOOKUP:
			return merlon_flatten_lookup(f, d, i);
		case MERLON_S_VERDICT:
			return merlon_flatten_verdict(f, d, s);
		default:
			r = add_trace(f, d, i);
			break;
		}
	}
	if (r < 0)
		return r;
	/* what was traced before nothing could match any more still happens; else there is nothing to do */
	return merlon_flatten_verdict(f, d, &go_on);
}

static int flatten_way(struct merlon_flattener *f, const struct merlon_rule *rule, const uint32_t dim[MERLON_DIMS],
		       bool second)
{
	struct merlon_draft d = { .rule = rule, .first_op = f->flat->n_ops, .second = second,
				  .whole = true };

	if (rule->status != MERLON_EXACT) {
		merlon_diag_add(f->compiler->diag, MERLON_ERROR, rule->place, "%s: %s", rule->text ? rule->text : "rule",
				rule->reason ? rule->reason : "not supported");
		return -EINVAL;
	}
	memcpy(d.dim, dim, sizeof(d.dim));
	memcpy(d.inner, dim, sizeof(d.inner));
	return merlon_flatten_from(f, &d, 0);
}

/* A rule that looks at either port is two ways to the same end, of which a packet takes one at most. */
static int flatten_rule(struct merlon_flattener *f, const struct merlon_rule *rule, const uint32_t dim[MERLON_DIMS])
{
	int r = flatten_way(f, rule, dim, false);

	for (size_t i = 0; i < rule->n && !r; i++)
		if (rule->statement[i].kind == MERLON_S_MATCH && rule->statement[i].match.either)
			return flatten_way(f, rule, dim, true);
	return r;
}

static int flatten_chain(struct merlon_flattener *f, uint32_t chain, const uint32_t dim[MERLON_DIMS], uint32_t on_return)
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
	f->dropped.bytes = 0;
	for (size_t i = 0; i < c->n && !r; i++)
		r = flatten_rule(f, &c->rule[i], dim);
	f->nesting--;
	return r;
}

/* A base chain, and its policy as a last rule (an accept that goes on with the next base chain needs none). */
static int flatten_base(struct merlon_flattener *f, uint32_t chain, bool last)
{
	static const uint32_t any[MERLON_DIMS];
	struct merlon_flat_rule policy = { .verdict = MERLON_ACCEPT };
	struct merlon_draft d = { 0 };
	uint32_t end;
	int r = merlon_flatten_label(f, &end);

	f->on_accept = MERLON_LABEL_NEXT;
	if (!r && !last)
		r = merlon_flatten_label(f, &f->on_accept);
	if (!r)
		r = flatten_chain(f, chain, any, end);
	if (r < 0)
		return r;
	f->label[end] = f->flat->n;
	d.first_op = f->flat->n_ops;
	if (f->compiler->ruleset->chain[chain].drop)
		policy.verdict = MERLON_DROP;
	if (last || policy.verdict == MERLON_DROP)
		r = merlon_flatten_add(f, &d, &policy);
	if (!last)
		f->label[f->on_accept] = f->flat->n;
	return r;
}

static void resolve_labels(struct merlon_flattener *f)
{
	struct merlon_flat *flat = f->flat;

	for (uint32_t i = 0; i < flat->n; i++) {
		struct merlon_flat_rule *rule = &flat->rule[i];

		rule->next = rule->next == MERLON_LABEL_NEXT ? i + 1 : f->label[rule->next];
		rule->fail = rule->fail == MERLON_LABEL_NEXT ? i + 1 : f->label[rule->fail];
	}
}

int merlon_flatten(struct merlon_compiler *compiler, struct merlon_flat *flat)
{
	struct merlon_flattener f = { .compiler = compiler, .flat = flat };
	uint32_t base[MAX_BASE], unused;
	size_t n = merlon_ruleset_base(compiler->ruleset, flat->hook, flat->family, base, MAX_BASE);
	int r;

	if (n >= MAX_BASE) {
		merlon_diag_add(compiler->diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"more than %d base chains on one hook", MAX_BASE - 1);
		return -EINVAL;
	}
	r = merlon_flatten_label(&f, &unused);	/* MERLON_LABEL_NEXT */
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
