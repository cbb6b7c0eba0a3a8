/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/packets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"

#define IDLE 10000	/* steps without a frame before a segment ends early */

/* What comes next, while there are boundaries left, and then; each round has some of every kind. */
enum kind { GOAL, SCRIPT, VARY, ODD, RANDOM };
static const uint8_t round_with_goals[] = {
	GOAL, GOAL, GOAL, ODD, GOAL, SCRIPT, GOAL, GOAL, RANDOM, SCRIPT, GOAL, ODD, GOAL, GOAL, SCRIPT, GOAL, ODD, GOAL, SCRIPT, RANDOM, GOAL,
	GOAL, VARY, GOAL,
};
static const uint8_t round_without[] = { RANDOM, SCRIPT, ODD, RANDOM, SCRIPT, RANDOM, ODD, SCRIPT, VARY, RANDOM, SCRIPT, ODD };

/* Keeps each of the values offered with the same likelihood. */
static void offer(struct merlon_packets *p, enum merlon_field field, enum merlon_family family, merlon_value v)
{
	struct merlon_pool *pool = &p->pool[field][family];
	uint64_t k = pool->n < MERLON_POOL ? pool->n : merlon_random_bits(&p->random) % (pool->seen + 1);

	pool->seen++;
	if (k < MERLON_POOL)
		pool->v[k] = v;
	if (pool->n < MERLON_POOL)
		pool->n++;
}

static void offer_range(struct merlon_packets *p, enum merlon_field field, enum merlon_family family, merlon_value lo, merlon_value hi)
{
	merlon_value max = merlon_value_max(merlon_field_bits(field, family));

	/* both families choose from the pool of IPv4 where the field is not of one */
	family = field <= MERLON_F_DADDR ? family : MERLON_IPV4;
	offer(p, field, family, lo);
	if (hi != lo)
		offer(p, field, family, hi);
	if (lo)
		offer(p, field, family, lo - 1);
	if (hi < max)
		offer(p, field, family, hi + 1);
}

static void offer_statement(struct merlon_packets *p, const struct merlon_statement *s)
{
	if (s->kind == MERLON_S_MATCH)
		for (size_t i = 0; i < s->match.in.n; i++)
			offer_range(p, s->match.field, s->match.family, s->match.in.v[i].lo, s->match.in.v[i].hi);
	for (size_t i = 0; s->kind == MERLON_S_LOOKUP && i < s->lookup->n * s->lookup->n_parts; i++) {
		const struct merlon_part *part = &s->lookup->part[i % s->lookup->n_parts];

		if (part->field != MERLON_F_IIF && part->field != MERLON_F_OIF)
			offer_range(p, part->field, part->family, s->lookup->range[i].lo, s->lookup->range[i].hi);
	}
}

static void fill_pools(struct merlon_packets *p)
{
	for (size_t c = 0; c < p->ruleset->n_chains; c++)
		for (size_t r = 0; p->ruleset->chain[c].reached && r < p->ruleset->chain[c].n; r++)
			for (size_t s = 0; s < p->ruleset->chain[c].rule[r].n; s++)
				offer_statement(p, &p->ruleset->chain[c].rule[r].statement[s]);
}

int merlon_packets_new(const struct merlon_ruleset *ruleset, uint64_t seed, struct merlon_packets **ret)
{
	struct merlon_packets *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->ruleset = ruleset;
	p->random = merlon_random_seed(seed);
	p->next_port = 20000 + merlon_random_below(&p->random, 40000);
	p->result = malloc(sizeof(*p->result));
	p->ip = malloc(MERLON_IP_ROOM);
	p->inner = malloc(MERLON_IP_ROOM);
	r = p->result && p->ip && p->inner ? merlon_ground_devices(p) : -ENOMEM;
	if (r == 0)
		r = merlon_goals_new(p);
	if (r < 0) {
		merlon_packets_free(p);
		return r;
	}
	fill_pools(p);
	merlon_goals_warm(p);
	*ret = p;
	return 0;
}

void merlon_packets_free(struct merlon_packets *p)
{
	if (!p)
		return;
	merlon_scripts_clear(p);
	merlon_goals_free(p->goals);
	free(p->place);
	free(p->result);
	free(p->ip);
	free(p->inner);
	free(p);
}

const struct merlon_ground *merlon_packets_devices(const struct merlon_packets *p)
{
	return &p->devices;
}

unsigned merlon_packets_left_out(const struct merlon_packets *p)
{
	return p->left_out;
}

static void random_one(struct merlon_packets *p)
{
	struct merlon_intent intent;

	if (merlon_intent_random(p, merlon_random_below(&p->random, MERLON_HOOKS), merlon_random_below(&p->random, MERLON_FAMILIES), &intent))
		merlon_play(p, &intent, "random");
}

static void step(struct merlon_packets *p, enum kind kind)
{
	switch (kind) {
	case GOAL:
		if (!merlon_goals_step(p))
			random_one(p);
		break;
	case SCRIPT:
		merlon_scripts_step(p);
		break;
	case VARY:
		merlon_vary(p);
		break;
	case ODD:
		merlon_odd(p);
		break;
	case RANDOM:
		random_one(p);
		break;
	}
}

int merlon_packets_next(struct merlon_packets *p, size_t n, struct merlon_segment *ret)
{
	struct merlon_segment segment = { .ground = p->devices };
	unsigned idle = 0;

	p->segment = &segment;
	p->error = 0;
	merlon_ground_begin(p);
	merlon_goals_begin(p);
	/* a ground on which nothing can be sent gives short segments */
	while (segment.n < n && !p->error && idle < IDLE) {
		size_t before = segment.n;
		bool goals = merlon_goals_left(p);
		const uint8_t *round = goals ? round_with_goals : round_without;
		size_t length = goals ? sizeof(round_with_goals) : sizeof(round_without);

		step(p, round[p->kind++ % length]);
		idle = segment.n == before ? idle + 1 : 0;
	}
	if (!p->error)
		merlon_scripts_finish(p);
	merlon_scripts_clear(p);
	p->segment = NULL;
	if (p->error) {
		merlon_segment_clear(&segment);
		return p->error;
	}
	*ret = segment;
	return 0;
}
