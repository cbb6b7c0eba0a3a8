/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bench/rulegen.h"

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS 5

static const enum merlon_field field_of[FIELDS] = { MERLON_F_SADDR, MERLON_F_DADDR, MERLON_F_TH0, MERLON_F_TH2,
						    MERLON_F_L4PROTO };

/* Percentages by kind: wildcard source address, destination address, source port, destination port. */
static const unsigned wildcard[][4] = {
	[RULEGEN_ACL] = { 5, 3, 99, 15 },
	[RULEGEN_MIXED] = { 25, 25, 80, 35 },
	[RULEGEN_FW] = { 45, 35, 70, 25 },
};

static const uint16_t service[] = { 22, 25, 53, 80, 123, 143, 389, 443, 993, 1433, 1521, 3306, 5432, 6379, 8080, 9090 };

static uint32_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (*seed * 0x2545f4914f6cdd1dULL) >> 32;
}

static uint32_t below(uint64_t *seed, uint32_t n)
{
	return ((uint64_t)next(seed) * n) >> 32;
}

struct range {
	uint32_t lo, hi;
};

static struct range prefix(uint64_t *seed, uint32_t nets)
{
	static const uint8_t length[] = { 8, 16, 16, 20, 22, 24, 24, 24, 26, 27, 28, 29, 30, 32, 32, 32 };
	uint64_t net = below(seed, nets) * 0x9e3779b97f4a7c15ULL + 1;
	uint32_t mask = ~0U << (32 - length[below(seed, 16)]);
	uint32_t address = ((next(&net) & 0xffff0000) | (next(seed) & 0xffff)) & mask;

	return (struct range){ address, address | ~mask };
}

static struct range ports(uint64_t *seed)
{
	unsigned which = below(seed, 100);
	uint32_t port;

	if (which < 75) {
		port = which < 55 ? service[below(seed, 16)] : 1024 + below(seed, 200) * 300;
		return (struct range){ port, port };
	}
	if (which < 86)
		return (struct range){ 1024, 65535 };
	port = 1 + below(seed, 60000);
	return (struct range){ port, port + 1 + below(seed, 4000) };
}

static int add(struct merlon_rule *rule, enum merlon_field field, struct range range)
{
	struct merlon_statement *s = &rule->statement[rule->n++];

	*s = (struct merlon_statement){ .kind = MERLON_S_MATCH, .match = { .field = field, .family = MERLON_IPV4,
									   .mask = ~0U } };
	return merlon_intervals_add(&s->match.in, range.lo, range.hi);
}

static int make_rule(struct merlon_rule *rule, enum rulegen_kind kind, uint32_t nets, uint64_t *seed)
{
	static const uint8_t proto[] = { 6, 6, 6, 6, 6, 6, 17, 17, 17 };
	uint8_t p = proto[below(seed, 9)];
	int r = 0;

	rule->status = MERLON_EXACT;
	rule->statement = calloc(FIELDS + 1, sizeof(*rule->statement));
	if (!rule->statement)
		return -1;
	for (unsigned f = 0; f < 4 && !r; f++)
		if (below(seed, 100) >= wildcard[kind][f])
			r = add(rule, field_of[f], f < 2 ? prefix(seed, nets) : ports(seed));
	if (!r && (rule->n < 2 || below(seed, 100) < 95))
		r = add(rule, MERLON_F_L4PROTO, (struct range){ p, p });
	rule->statement[rule->n].kind = MERLON_S_VERDICT;
	rule->statement[rule->n++].verdict.verdict = below(seed, 2) ? MERLON_V_ACCEPT : MERLON_V_DROP;
	return r;
}

struct merlon_ruleset *rulegen(enum rulegen_kind kind, uint32_t n, uint64_t seed)
{
	struct merlon_ruleset *ruleset = merlon_ruleset_new();

	seed = seed * 0x9e3779b97f4a7c15ULL + 1;
	if (!ruleset)
		return NULL;
	ruleset->table = calloc(1, sizeof(*ruleset->table));
	ruleset->chain = calloc(1, sizeof(*ruleset->chain));
	if (!ruleset->table || !ruleset->chain)
		goto no_memory;
	ruleset->n_tables = ruleset->n_chains = 1;
	ruleset->table->family = NFPROTO_IPV4;
	*ruleset->chain = (struct merlon_chain){ .base = true, .hook = MERLON_INPUT, .reached = true };
	ruleset->chain->rule = calloc(n, sizeof(*ruleset->chain->rule));
	if (!ruleset->chain->rule)
		goto no_memory;
	for (ruleset->chain->n = 0; ruleset->chain->n < n; ruleset->chain->n++)
		if (make_rule(&ruleset->chain->rule[ruleset->chain->n], kind, n / 40 < 8 ? 8 : n / 40, &seed) < 0)
			goto no_memory;
	return ruleset;
no_memory:
	merlon_ruleset_free(ruleset);
	return NULL;
}

/* Values that meet a rule; fields that it does not look at are left alone. */
static void meet(const struct merlon_rule *rule, uint64_t *seed, bool corner, struct merlon_packet *p)
{
	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];
		uint32_t lo, span;

		if (s->kind != MERLON_S_MATCH)
			continue;
		lo = s->match.in.v[0].lo;
		span = (uint32_t)s->match.in.v[0].hi - lo;
		p->field[s->match.field] = corner ? lo : lo + (span == ~0U ? next(seed) : below(seed, span + 1));
	}
}

void rulegen_packet(const struct merlon_ruleset *ruleset, uint64_t *seed, struct merlon_packet *ret)
{
	const struct merlon_chain *chain = ruleset->chain;

	*ret = (struct merlon_packet){ .hook = MERLON_INPUT, .family = MERLON_IPV4, .bytes = 100, .iif = 1 };
	ret->present = (1U << MERLON_DIMS) - 1;
	ret->field[MERLON_F_SADDR] = next(seed);
	ret->field[MERLON_F_DADDR] = next(seed);
	ret->field[MERLON_F_TH0] = 1024 + below(seed, 64000);
	ret->field[MERLON_F_TH2] = below(seed, 65536);
	ret->field[MERLON_F_L4PROTO] = 6;
	ret->field[MERLON_F_IIF] = 1;
	ret->field[MERLON_F_CT_STATE] = MERLON_CT_NEW;
	if (below(seed, 4)) {
		meet(&chain->rule[below(seed, chain->n)], seed, false, ret);
		return;
	}
	meet(&chain->rule[below(seed, chain->n)], seed, true, ret);
	meet(&chain->rule[below(seed, chain->n)], seed, true, ret);
}

const char *rulegen_name(enum rulegen_kind kind)
{
	static const char *const name[] = { "acl", "mixed", "fw" };

	return name[kind];
}
