/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/naive.h"

#include <errno.h>
#include <string.h>

#define MAX_JUMPS 16		/* NFT_JUMP_STACK_SIZE of net/netfilter/nf_tables.h */
#define MAX_STEPS 10000000U	/* a loop of gotos, which nf_tables does not load */
#define MAX_BASE 64

struct evaluation {
	const struct merlon_naive_input *input;
	struct merlon_naive_result *result;
};

static merlon_value value_of(const struct evaluation *e, enum merlon_field field)
{
	const struct merlon_packet *p = e->input->packet;

	if (field <= MERLON_F_DADDR && p->family == MERLON_IPV6)
		return (merlon_value)p->addr6[field][0] << 64 | p->addr6[field][1];
	return field == MERLON_F_MARK ? e->result->mark : p->field[field];
}

static bool match(const struct evaluation *e, const struct merlon_statement *s)
{
	enum merlon_field field = s->match.field;
	merlon_value value = value_of(e, field);

	if (field <= MERLON_F_DADDR && e->input->packet->family != s->match.family)
		return false;
	if (!(e->input->packet->present & MERLON_BIT(field)))
		return false;
	if (field > MERLON_F_DADDR)
		value &= s->match.mask;
	if (s->match.either && e->input->packet->present & MERLON_BIT(MERLON_F_TH2) &&
	    merlon_intervals_contain(&s->match.in, value_of(e, MERLON_F_TH2)))
		return true;
	return merlon_intervals_contain(&s->match.in, value);
}

static bool match_interface(const struct evaluation *e, const struct merlon_statement *s)
{
	bool in = s->interface.field == MERLON_F_IIF, found = false;
	const char *name = in ? e->input->iif_name : e->input->oif_name;
	unsigned index = in ? e->input->packet->iif : e->input->packet->oif;

	for (size_t i = 0; i < s->interface.n; i++) {
		const struct merlon_ifname *wanted = &s->interface.name[i];

		if (wanted->index)
			found |= wanted->index == index;
		else if (wanted->prefix)
			found |= !strncmp(wanted->name, name, strlen(wanted->name));
		else
			found |= !strcmp(wanted->name, name);
	}
	return found != s->interface.negated;
}

static bool limit(const struct evaluation *e, const struct merlon_rule *rule, const struct merlon_statement *s)
{
	bool token = !e->input->take || e->input->take(e->input->context, rule, s);

	return token != s->limit.over;
}

static void touch(const struct merlon_rule **list, size_t *n, const struct merlon_rule *rule)
{
	if (*n < MERLON_NAIVE_TOUCHED)
		list[(*n)++] = rule;
}

/* A statement other than a verdict; false: the rule ends here. */
static bool pass(const struct evaluation *e, const struct merlon_rule *rule, const struct merlon_statement *s)
{
	switch (s->kind) {
	case MERLON_S_MATCH:
		return match(e, s);
	case MERLON_S_INTERFACE:
		return match_interface(e, s);
	case MERLON_S_FAMILY:
		return s->family == e->input->packet->family;
	case MERLON_S_LIMIT:
		return limit(e, rule, s);
	case MERLON_S_COUNTER:
		touch(e->result->counted, &e->result->n_counted, rule);
		return true;
	case MERLON_S_LOG:
		touch(e->result->logged, &e->result->n_logged, rule);
		return true;
	case MERLON_S_MARK:
		e->result->mark = (e->result->mark & s->mark.mask) ^ s->mark.xor;
		return true;
	case MERLON_S_ADDRTYPE:
	case MERLON_S_LOOKUP:
		return false;
	case MERLON_S_VERDICT:
		break;
	}
	return true;
}

/* The rule's verdict statement, NULL: it has none, or a statement before it did not match. */
static const struct merlon_statement *apply(const struct evaluation *e, const struct merlon_rule *rule)
{
	for (size_t i = 0; i < rule->n; i++) {
		if (rule->statement[i].kind == MERLON_S_VERDICT)
			return &rule->statement[i];
		if (!pass(e, rule, &rule->statement[i]))
			return NULL;
	}
	return NULL;
}

static void decide(const struct evaluation *e, const struct merlon_statement *s)
{
	struct merlon_naive_result *result = e->result;

	switch (s->verdict.verdict) {
	case MERLON_V_ACCEPT:
		result->verdict = MERLON_ACCEPT;
		break;
	case MERLON_V_REJECT:
		result->verdict = MERLON_REJECT;
		result->reject = s->verdict.reject.type;
		result->reject_code = s->verdict.reject.code[e->input->packet->family];
		break;
	default:
		result->verdict = MERLON_DROP;
		break;
	}
}

struct position {
	const struct merlon_chain *chain;
	size_t rule;
};

/* One base chain: fills the verdict. */
static int run(const struct evaluation *e, const struct merlon_chain *base)
{
	struct position stack[MAX_JUMPS], at = { base, 0 };
	unsigned depth = 0;

	for (unsigned steps = 0; steps < MAX_STEPS; steps++) {
		const struct merlon_rule *rule;
		const struct merlon_statement *s;

		if (at.rule >= at.chain->n) {
			if (!depth)
				break;
			at = stack[--depth];
			continue;
		}
		rule = &at.chain->rule[at.rule++];
		s = apply(e, rule);
		if (!s || s->verdict.verdict == MERLON_V_CONTINUE)
			continue;
		if (s->verdict.verdict == MERLON_V_RETURN) {
			at.rule = at.chain->n;
		} else if (s->verdict.verdict == MERLON_V_JUMP || s->verdict.verdict == MERLON_V_GOTO) {
			if (s->verdict.verdict == MERLON_V_JUMP) {
				if (depth == MAX_JUMPS)
					return -ELOOP;
				stack[depth++] = at;
			}
			at = (struct position){ &e->input->ruleset->chain[s->verdict.target], 0 };
		} else {
			e->result->chain = at.chain;
			e->result->rule = rule;
			decide(e, s);
			return 0;
		}
	}
	if (at.rule < at.chain->n)
		return -ELOOP;
	e->result->chain = base;
	e->result->rule = NULL;
	e->result->verdict = base->drop ? MERLON_DROP : MERLON_ACCEPT;
	return 0;
}

int merlon_naive(const struct merlon_naive_input *input, struct merlon_naive_result *ret)
{
	struct evaluation e = { input, ret };
	uint32_t base[MAX_BASE];
	size_t n = merlon_ruleset_base(input->ruleset, input->packet->hook, input->packet->family, base, MAX_BASE);

	ret->verdict = MERLON_ACCEPT;
	ret->reject = 0;
	ret->reject_code = 0;
	ret->chain = NULL;
	ret->rule = NULL;
	ret->n_counted = 0;
	ret->n_logged = 0;
	ret->mark = input->packet->field[MERLON_F_MARK];
	for (size_t i = 0; i < n; i++) {
		int r = run(&e, &input->ruleset->chain[base[i]]);

		if (r < 0)
			return r;
		if (ret->verdict != MERLON_ACCEPT)
			return 0;
	}
	return 0;
}
