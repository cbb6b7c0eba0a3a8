/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is to be tried: of every rule, at every hook and family that reaches it, a packet that matches and the boundaries
 * of each match. The way to its chain is one of many, another one each time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/boundary.h"
#include "src/verify/needs.h"

#define PATH 18			/* chains on the way: NFT_JUMP_STACK_SIZE and the base chain; gotos may make it longer */
#define BASES 64
#define ATTEMPTS 8		/* packets that are solved for one goal */
#define DEFERRALS 3		/* segments that a goal waits for, where its addresses contradict those of others */
#define NO_ELEMENT UINT32_MAX
#define NAIVE_RULES 1000	/* rules that the reference may go through for a packet */

struct caller {
	uint32_t chain, rule;
	uint32_t element;	/* of a map; NO_ELEMENT: a verdict */
};

struct unit {
	uint32_t chain, rule;
	uint8_t hook, family;
	uint16_t next;		/* boundary to be tried next */
};

struct goal {
	struct unit unit;
	uint16_t boundary;
	uint8_t deferred;
};

struct merlon_goals {
	uint32_t *first;	/* owned, [chains + 1]: where the callers of a chain begin */
	struct caller *caller;	/* owned */
	uint8_t *reach;		/* owned, [chains]: bits of 1 << (2 * hook + family) */
	struct unit *unit;	/* owned, in random order */
	size_t n, at;
	struct goal *waiting;	/* owned: for the next segment */
	size_t n_waiting, room, retried, to_retry;
};

struct path {
	struct caller step[PATH];	/* from the base chain on; the last one is the rule itself */
	unsigned n;
};

static uint8_t reach_bit(int hook, int family)
{
	return 1U << (2 * hook + family);
}

/* Calls `f` for each call in the ruleset. */
typedef void call_function(struct merlon_goals *g, uint32_t target, const struct caller *caller);

static void calls_of_rule(struct merlon_goals *g, const struct merlon_rule *rule, struct caller caller, call_function *f)
{
	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		caller.element = NO_ELEMENT;
		if (s->kind == MERLON_S_VERDICT && (s->verdict.verdict == MERLON_V_JUMP || s->verdict.verdict == MERLON_V_GOTO))
			f(g, s->verdict.target, &caller);
		for (size_t e = 0; s->kind == MERLON_S_LOOKUP && s->lookup->map && e < s->lookup->n; e++) {
			const struct merlon_lookup_element *element = &s->lookup->element[e];

			caller.element = e;
			if (element->verdict == MERLON_V_JUMP || element->verdict == MERLON_V_GOTO)
				f(g, element->target, &caller);
		}
	}
}

static void for_calls(struct merlon_goals *g, const struct merlon_ruleset *ruleset, call_function *f)
{
	for (size_t c = 0; c < ruleset->n_chains; c++)
		for (size_t r = 0; ruleset->chain[c].reached && r < ruleset->chain[c].n; r++)
			if (ruleset->chain[c].rule[r].status == MERLON_EXACT)
				calls_of_rule(g, &ruleset->chain[c].rule[r], (struct caller){ c, r, NO_ELEMENT }, f);
}

static void count_call(struct merlon_goals *g, uint32_t target, const struct caller *caller)
{
	(void)caller;
	g->first[target + 1]++;
}

static void keep_call(struct merlon_goals *g, uint32_t target, const struct caller *caller)
{
	g->caller[g->first[target]++] = *caller;
}

static int find_callers(struct merlon_goals *g, const struct merlon_ruleset *ruleset)
{
	size_t n = ruleset->n_chains;

	g->first = calloc(n + 2, sizeof(*g->first));
	if (!g->first)
		return -ENOMEM;
	for_calls(g, ruleset, count_call);
	for (size_t c = 0; c < n; c++)
		g->first[c + 1] += g->first[c];
	g->caller = calloc(g->first[n] + 1UL, sizeof(*g->caller));
	if (!g->caller)
		return -ENOMEM;
	for_calls(g, ruleset, keep_call);
	/* each start has moved to the next one's */
	memmove(g->first + 1, g->first, n * sizeof(*g->first));
	g->first[0] = 0;
	return 0;
}

/* Which hooks and families come to each chain: repeated until nothing is added, as calls do not go in circles. */
static int find_reach(struct merlon_goals *g, const struct merlon_ruleset *ruleset)
{
	uint32_t base[BASES];
	bool more = true;

	g->reach = calloc(ruleset->n_chains + 1, sizeof(*g->reach));
	if (!g->reach)
		return -ENOMEM;
	for (int hook = 0; hook < MERLON_HOOKS; hook++)
		for (int family = 0; family < MERLON_FAMILIES; family++) {
			size_t n = merlon_ruleset_base(ruleset, hook, family, base, BASES);

			for (size_t i = 0; i < n; i++)
				g->reach[base[i]] |= reach_bit(hook, family);
		}
	while (more) {
		more = false;
		for (size_t c = 0; c < ruleset->n_chains; c++)
			for (uint32_t i = g->first[c]; i < g->first[c + 1]; i++) {
				uint8_t with = g->reach[c] | g->reach[g->caller[i].chain];

				more |= with != g->reach[c];
				g->reach[c] = with;
			}
	}
	return 0;
}

/* Whether a rule can match packets of a family at all. */
static bool rule_has_family(const struct merlon_rule *rule, int family)
{
	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_FAMILY && (int)s->family != family)
			return false;
		if (s->kind == MERLON_S_MATCH && s->match.field <= MERLON_F_DADDR && (int)s->match.family != family)
			return false;
	}
	return true;
}

static void shuffle(struct merlon_random *r, struct unit *unit, size_t n)
{
	for (; n > 1; n--) {
		size_t k = merlon_random_below(r, n);
		struct unit swap = unit[n - 1];

		unit[n - 1] = unit[k];
		unit[k] = swap;
	}
}

static int find_units(struct merlon_packets *p, struct merlon_goals *g)
{
	const struct merlon_ruleset *ruleset = p->ruleset;
	size_t rules = 0;

	for (size_t c = 0; c < ruleset->n_chains; c++)
		rules += g->reach[c] ? ruleset->chain[c].n : 0;
	g->unit = calloc(rules * MERLON_HOOKS * MERLON_FAMILIES + 1, sizeof(*g->unit));
	if (!g->unit)
		return -ENOMEM;
	for (size_t c = 0; c < ruleset->n_chains; c++)
		for (size_t r = 0; g->reach[c] && r < ruleset->chain[c].n; r++)
			for (int way = 0; way < MERLON_HOOKS * MERLON_FAMILIES; way++)
				if (g->reach[c] >> way & 1 && ruleset->chain[c].rule[r].status == MERLON_EXACT &&
				    rule_has_family(&ruleset->chain[c].rule[r], way & 1))
					g->unit[g->n++] = (struct unit){ c, r, way >> 1, way & 1, 0 };
	shuffle(&p->random, g->unit, g->n);
	p->naive_percent = rules <= NAIVE_RULES ? 100 : 100UL * NAIVE_RULES / rules;
	return 0;
}

int merlon_goals_new(struct merlon_packets *p)
{
	struct merlon_goals *g = calloc(1, sizeof(*g));
	int r;

	p->goals = g;
	if (!g)
		return -ENOMEM;
	r = find_callers(g, p->ruleset);
	if (r == 0)
		r = find_reach(g, p->ruleset);
	return r < 0 ? r : find_units(p, g);
}

void merlon_goals_free(struct merlon_goals *g)
{
	if (!g)
		return;
	free(g->first);
	free(g->caller);
	free(g->reach);
	free(g->unit);
	free(g->waiting);
	free(g);
}

/* A way from a base chain to the rule. False: it is longer than nf_tables lets jumps be. */
static bool find_path(struct merlon_packets *p, const struct unit *unit, struct path *ret)
{
	const struct merlon_goals *g = p->goals;
	struct caller back[PATH] = { { unit->chain, unit->rule, NO_ELEMENT } };
	uint32_t chain = unit->chain;
	unsigned n = 1;

	while (!p->ruleset->chain[chain].base) {
		uint32_t callers = g->first[chain + 1] - g->first[chain], start;
		const struct caller *caller = NULL;

		if (!callers || n == PATH)
			return false;
		start = merlon_random_below(&p->random, callers);
		for (uint32_t i = 0; i < callers && !caller; i++) {
			caller = &g->caller[g->first[chain] + (start + i) % callers];
			if (!(g->reach[caller->chain] & reach_bit(unit->hook, unit->family)))
				caller = NULL;
		}
		if (!caller)
			return false;
		back[n++] = *caller;
		chain = caller->chain;
	}
	ret->n = n;
	for (unsigned i = 0; i < n; i++)
		ret->step[i] = back[n - 1 - i];
	return true;
}

static const struct merlon_rule *rule_at(const struct merlon_packets *p, const struct caller *at)
{
	return &p->ruleset->chain[at->chain].rule[at->rule];
}

/* What the packet must be: the conditions on the way, and the rule's own with the boundary in place of one of them. */
static void collect(struct merlon_packets *p, const struct path *path, const struct merlon_boundary *boundary,
		    struct merlon_needs *needs)
{
	for (unsigned i = 0; i < path->n; i++) {
		const struct merlon_rule *rule = rule_at(p, &path->step[i]);
		bool last = i + 1 == path->n;

		for (size_t k = 0; k < rule->n; k++) {
			uint32_t element = path->step[i].element;

			if (rule->statement[k].kind == MERLON_S_VERDICT)
				break;
			if (last && k == boundary->statement)
				merlon_boundary_needs(&p->random, needs, &rule->statement[k], boundary);
			else
				merlon_needs_statement(&p->random, needs, &rule->statement[k], element == NO_ELEMENT ? SIZE_MAX : element);
		}
	}
}

static bool is_terminal(const struct merlon_rule *rule)
{
	const struct merlon_statement *s = rule->n ? &rule->statement[rule->n - 1] : NULL;

	return s && s->kind == MERLON_S_VERDICT && s->verdict.verdict <= MERLON_V_REJECT;
}

/*
 * The rule that keeps the packet from the one meant; NULL: nothing does, as far as can be told. p->result is the
 * reference's.
 */
static const struct merlon_rule *blocker(const struct merlon_packets *p, const struct merlon_needs *needs,
					 const struct path *path, bool inside)
{
	const struct merlon_naive_result *result = p->result;
	const struct merlon_rule *target = rule_at(p, &path->step[path->n - 1]), *by = NULL;
	uint32_t bases[BASES];
	size_t n = merlon_ruleset_base(p->ruleset, needs->hook, needs->family, bases, BASES), k = 0;

	while (k < n && bases[k] != path->step[0].chain)
		k++;
	/* an earlier base chain had the last word */
	if (k >= result->n_ended)
		return result->rule;
	by = result->ended[k];
	if (!by || by == target)
		return NULL;
	for (unsigned i = 0; i < path->n; i++) {
		const struct merlon_chain *chain = &p->ruleset->chain[path->step[i].chain];

		if (by >= chain->rule && by < chain->rule + chain->n)
			return by - chain->rule < (ptrdiff_t)path->step[i].rule ? by : NULL;
	}
	return inside && is_terminal(target) ? by : NULL;
}

/* Next time the packet shall miss one of the matches of the rule that was in the way. */
static void avoid(struct merlon_packets *p, const struct merlon_rule *rule, struct merlon_needs *needs)
{
	size_t start = rule->n ? merlon_random_below(&p->random, rule->n) : 0;

	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[(start + i) % rule->n];
		struct merlon_need need = { .s = s, .not = true, .field = MERLON_FIELDS };

		if (s->kind == MERLON_S_MATCH)
			need.field = s->match.field;
		else if (s->kind == MERLON_S_INTERFACE)
			need.field = s->interface.field;
		else if (s->kind == MERLON_S_ADDRTYPE)
			need.field = s->addrtype.field;
		else if (s->kind != MERLON_S_LOOKUP || s->lookup->negated)
			continue;
		if (needs->n < MERLON_NEEDS - 1)
			merlon_needs_add(needs, &need);
		return;
	}
}

/* The ct states that the needs leave, a bit each. */
static unsigned states_left(const struct merlon_needs *needs)
{
	unsigned left = (1U << MERLON_CT_STATES) - 1;

	for (unsigned i = 0; i < needs->n; i++) {
		const struct merlon_need *need = &needs->v[i];

		for (unsigned state = 0; need->field == MERLON_F_CT_STATE && state < MERLON_CT_STATES; state++) {
			bool in = need->s ? merlon_intervals_contain(&need->s->match.in, state) != need->not :
					    state >= need->lo && state <= need->hi;

			if (!in)
				left &= ~(1U << state);
		}
	}
	return left;
}

/* A packet of a flow that the rules let begin, where the needs want one or could do with it. */
static bool find_flow(struct merlon_packets *p, const struct merlon_needs *needs, struct merlon_intent *ret)
{
	static const uint8_t reverse[] = { MERLON_OUTPUT, MERLON_FORWARD, MERLON_INPUT };
	unsigned left = states_left(needs);
	bool established = left & 1U << MERLON_CT_ESTABLISHED, related = left & 1U << MERLON_CT_RELATED, reply;
	const struct merlon_openers *o;

	if ((left & 1U << MERLON_CT_NEW && !merlon_random_percent(&p->random, 15)) || (!established && !related))
		return false;
	if (related && established)
		related = merlon_random_percent(&p->random, 30);
	/* an error may also be about an answer, and goes its flow's way then */
	reply = merlon_random_percent(&p->random, related ? 70 : 50);
	o = &p->openers[reply ? reverse[needs->hook] : needs->hook][needs->family];
	if (!o->n)
		return false;
	*ret = o->v[merlon_random_below(&p->random, o->n)];
	p->cause = reply ? *ret : merlon_intent_reverse(ret);
	if (reply)
		*ret = merlon_intent_reverse(ret);
	ret->state = related ? MERLON_CT_RELATED : MERLON_CT_ESTABLISHED;
	return true;
}

enum outcome {
	SENT,
	CONTRADICTS,	/* its addresses are elsewhere in this segment */
	IMPOSSIBLE,
};

/* Whether the packet begins a flow that later ones can belong to. */
static bool opens(const struct merlon_packets *p, const struct merlon_intent *intent)
{
	bool icmp = merlon_is_icmp_protocol(intent->l4proto);
	uint8_t query = intent->family == MERLON_IPV4 ? 8 : 128;

	return p->result->verdict == MERLON_ACCEPT && intent->state == MERLON_CT_NEW && intent->pkttype == 0 && !intent->own_source &&
	       intent->bytes <= MERLON_MTU && (!icmp || intent->th0 >> 8 == query) &&
	       merlon_address_kind(intent->address[MERLON_DESTINATION], intent->family) == MERLON_ADDRESS_UNICAST &&
	       merlon_intent_limit(intent) == MERLON_LIMIT_NONE;
}

/*
 * A packet for the goal: solved, put in its place, and shown to the reference; where a rule before decides on it, another
 * one is tried that avoids that rule.
 */
static enum outcome aim(struct merlon_packets *p, const struct path *path, const struct merlon_boundary *boundary,
			struct merlon_needs *needs, struct merlon_intent *ret)
{
	unsigned fixed = needs->n;
	bool judged = merlon_random_percent(&p->random, p->naive_percent), found = false;
	enum outcome why = IMPOSSIBLE;

	for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
		const struct merlon_rule *rule;
		struct merlon_intent hint, intent;
		bool flow = find_flow(p, needs, &hint);

		if (!merlon_needs_solve(p, needs, flow ? &hint : NULL, &intent)) {
			if (needs->n == fixed && !flow && attempt >= 2)
				break;
			needs->n -= needs->n > fixed;
			continue;
		}
		if (!merlon_settle(p, &intent) || !merlon_needs_hold(p, needs, &intent)) {
			why = CONTRADICTS;
			continue;
		}
		*ret = intent;
		found = true;
		if (!judged)
			break;
		merlon_judge(p, &intent);
		if (opens(p, &intent))
			merlon_openers_add(p, &intent);
		rule = blocker(p, needs, path, boundary->inside);
		if (!rule)
			break;
		avoid(p, rule, needs);
	}
	return found ? SENT : why;
}

static enum outcome try_goal(struct merlon_packets *p, const struct goal *goal)
{
	struct merlon_needs needs = { .hook = goal->unit.hook, .family = goal->unit.family };
	struct merlon_boundary boundary;
	struct merlon_intent intent;
	enum outcome outcome;
	struct path path;

	if (!find_path(p, &goal->unit, &path) ||
	    !merlon_boundary_at(p, rule_at(p, &path.step[path.n - 1]), goal->boundary, &boundary))
		return IMPOSSIBLE;
	collect(p, &path, &boundary, &needs);
	if (needs.impossible)
		return IMPOSSIBLE;
	outcome = aim(p, &path, &boundary, &needs, &intent);
	if (outcome == SENT)
		merlon_play(p, &intent, boundary.inside ? "inside of a rule" : "just outside of a rule");
	return outcome;
}

static void defer(struct merlon_packets *p, const struct goal *goal)
{
	struct merlon_goals *g = p->goals;

	if (goal->deferred >= DEFERRALS)
		return;
	if (g->n_waiting == g->room) {
		size_t room = g->room ? 2 * g->room : 64;
		struct goal *grown = reallocarray(g->waiting, room, sizeof(*grown));

		if (!grown) {
			p->error = -ENOMEM;
			return;
		}
		g->waiting = grown;
		g->room = room;
	}
	g->waiting[g->n_waiting] = *goal;
	g->waiting[g->n_waiting++].deferred++;
}

void merlon_goals_begin(struct merlon_packets *p)
{
	struct merlon_goals *g = p->goals;

	/* those that were not come to are kept, behind the ones that are new */
	if (g->retried)
		memmove(g->waiting, g->waiting + g->retried, (g->n_waiting - g->retried) * sizeof(*g->waiting));
	g->n_waiting -= g->retried;
	g->retried = 0;
	g->to_retry = g->n_waiting;
}

/* The next goal; false: there is none. */
static bool next_goal(struct merlon_goals *g, struct goal *ret, const struct merlon_ruleset *ruleset)
{
	while (g->n) {
		struct unit *unit;

		if (g->at >= g->n)
			g->at = 0;
		unit = &g->unit[g->at];
		if (unit->next < merlon_boundaries(&ruleset->chain[unit->chain].rule[unit->rule])) {
			*ret = (struct goal){ .unit = *unit, .boundary = unit->next++ };
			g->at++;
			return true;
		}
		*unit = g->unit[--g->n];
	}
	return false;
}

bool merlon_goals_left(const struct merlon_packets *p)
{
	return p->goals->n || p->goals->retried < p->goals->to_retry;
}

bool merlon_goals_step(struct merlon_packets *p)
{
	struct merlon_goals *g = p->goals;

	for (;;) {
		struct goal goal;
		enum outcome outcome;

		if (g->retried < g->to_retry)
			goal = g->waiting[g->retried++];
		else if (!next_goal(g, &goal, p->ruleset))
			return false;
		outcome = try_goal(p, &goal);
		if (outcome == SENT)
			return true;
		if (outcome == CONTRADICTS)
			defer(p, &goal);
	}
}

/* Beginnings of flows that the rules let pass, before the first frame that needs one. */
void merlon_goals_warm(struct merlon_packets *p)
{
	const struct merlon_goals *g = p->goals;
	unsigned tries = p->naive_percent == 100 ? 600 : 60;
	struct merlon_intent intent;

	for (unsigned i = 0; i < tries; i++) {
		struct merlon_boundary inside = { .statement = SIZE_MAX };
		struct merlon_needs needs = { .hook = i % MERLON_HOOKS, .family = i / MERLON_HOOKS % MERLON_FAMILIES };
		const struct unit *unit = g->n ? &g->unit[merlon_random_below(&p->random, g->n)] : NULL;
		struct path path;

		if (p->openers[needs.hook][needs.family].n >= 16)
			continue;
		if (unit && unit->hook == needs.hook && unit->family == needs.family && find_path(p, unit, &path))
			collect(p, &path, &inside, &needs);
		if (needs.impossible || !(states_left(&needs) & 1U << MERLON_CT_NEW) || !merlon_needs_solve(p, &needs, NULL, &intent))
			continue;
		merlon_judge(p, &intent);
		if (opens(p, &intent))
			merlon_openers_add(p, &intent);
	}
}
