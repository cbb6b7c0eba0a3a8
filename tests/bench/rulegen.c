/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bench/rulegen.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#define MOST_STATEMENTS 10

const struct merlon_interface rulegen_interface[RULEGEN_INTERFACES] = {
	{ .index = 1, .name = "lan0" }, { .index = 2, .name = "lan1" }, { .index = 3, .name = "lan2" },
	{ .index = 4, .name = "lan3" }, { .index = 5, .name = "dmz0" }, { .index = 6, .name = "dmz1" },
	{ .index = 7, .name = "wan0" }, { .index = 8, .name = "wan1" },
};

/* Percentages: wildcard source address, destination address, source port, destination port. */
static const unsigned wildcard[RULEGEN_KINDS][4] = {
	[RULEGEN_FEW] = { 5, 3, 99, 15 },
	[RULEGEN_MANY] = { 45, 35, 70, 25 },
	[RULEGEN_MIXED] = { 25, 25, 80, 35 },
};

/* What rules ask for besides comes together, as in the chains that people write: percentages. */
enum { IIF = 1, OIF = 2, STATE = 4, SYN = 8 };
static const struct {
	unsigned percent, what;
} besides[RULEGEN_KINDS][6] = {
	[RULEGEN_FEW] = { { 100, 0 } },
	[RULEGEN_MANY] = { { 30, 0 }, { 25, STATE }, { 20, IIF }, { 25, IIF | STATE } },
	[RULEGEN_MIXED] = { { 30, 0 }, { 20, STATE }, { 15, IIF }, { 10, OIF }, { 15, IIF | OIF | STATE },
			    { 10, SYN | STATE } },
};

/*
 * A ruleset has few shapes, and the first of them have most of its rules: people and tools write rules of a kind. (Taylor and
 * Turner saw it in theirs: far fewer combinations of prefix lengths and port ranges than there could be, and most rules in a
 * few of them.)
 */
static const unsigned n_shapes[RULEGEN_KINDS] = { 12, 24, 32 };
struct shape {
	bool any[4];
	unsigned besides;
};
#define MOST_SHAPES 32

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

static merlon_value wide(uint64_t *seed)
{
	merlon_value v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 32 | next(seed);
	return v;
}

struct range {
	merlon_value lo, hi;
};

static struct range prefix4(uint64_t *seed, uint32_t nets)
{
	static const uint8_t length[] = { 8, 16, 16, 20, 22, 24, 24, 24, 26, 27, 28, 29, 30, 32, 32, 32 };
	uint64_t net = below(seed, nets) * 0x9e3779b97f4a7c15ULL + 1;
	uint32_t mask = ~0U << (32 - length[below(seed, 16)]);
	uint32_t address = ((next(&net) & 0xffff0000) | (next(seed) & 0xffff)) & mask;

	return (struct range){ address, address | ~mask };
}

/* Sites of 48 bits, their subnets, and hosts in them, some with numbers that people gave them. */
static struct range prefix6(uint64_t *seed, uint32_t nets)
{
	static const uint8_t length[] = { 32, 40, 48, 48, 56, 56, 60, 64, 64, 64, 64, 64, 96, 128, 128, 128 };
	uint64_t net = below(seed, nets) * 0x9e3779b97f4a7c15ULL + 1;
	unsigned bits = 128 - length[below(seed, 16)];
	merlon_value mask = ~(merlon_value)0 << bits, address = (merlon_value)(0x2000 | (next(&net) & 0x1fff)) << 112;

	address |= (merlon_value)next(&net) << 80 | (merlon_value)(next(seed) & 0xffff) << 64;
	address |= below(seed, 2) ? below(seed, 4096) : wide(seed) & ~0ULL;
	address &= mask;
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

static int add(struct merlon_rule *rule, enum merlon_family family, enum merlon_field field, struct range range)
{
	struct merlon_statement *s = &rule->statement[rule->n++];

	*s = (struct merlon_statement){ .kind = MERLON_S_MATCH, .match = { .field = field, .family = family, .mask = ~0U } };
	return merlon_intervals_add(&s->match.in, range.lo, range.hi);
}

static int add_interface(struct merlon_rule *rule, enum merlon_field field, const char *name)
{
	struct merlon_statement *s = &rule->statement[rule->n++];

	*s = (struct merlon_statement){ .kind = MERLON_S_INTERFACE, .interface = { .field = field, .n = 1 } };
	s->interface.name = calloc(1, sizeof(*s->interface.name));
	if (!s->interface.name)
		return -1;
	strcpy(s->interface.name->name, name);
	return 0;
}

static int add_besides(struct merlon_rule *rule, enum merlon_family family, unsigned what, uint64_t *seed)
{
	struct range state = { MERLON_CT_NEW, MERLON_CT_NEW };
	int r = 0;

	if (what & IIF)
		r = add_interface(rule, MERLON_F_IIF, rulegen_interface[below(seed, RULEGEN_INTERFACES)].name);
	if (what & OIF && !r)
		r = add_interface(rule, MERLON_F_OIF, rulegen_interface[below(seed, RULEGEN_INTERFACES)].name);
	if (!(what & SYN) && below(seed, 5) == 0)
		state = (struct range){ MERLON_CT_ESTABLISHED, MERLON_CT_RELATED };
	if (what & STATE && !r)
		r = add(rule, family, MERLON_F_CT_STATE, state);
	if (what & SYN && !r) {
		r = add(rule, family, MERLON_F_TCP_FLAGS, (struct range){ 2, 2 });
		rule->statement[rule->n - 1].match.mask = 0x17;
	}
	return r;
}

static void make_shape(struct shape *shape, enum rulegen_kind kind, uint64_t *seed)
{
	unsigned of_hundred = below(seed, 100), i = 0;

	/* some address, or it would be for all packets of a protocol */
	do {
		for (unsigned f = 0; f < 4; f++)
			shape->any[f] = below(seed, 100) < wildcard[kind][f];
	} while (shape->any[0] && shape->any[1]);
	for (; of_hundred >= besides[kind][i].percent; i++)
		of_hundred -= besides[kind][i].percent;
	shape->besides = besides[kind][i].what;
}

static int make_rule(struct merlon_rule *rule, const struct shape *shape, enum merlon_family family, uint32_t nets,
		     uint64_t *seed)
{
	static const enum merlon_field field_of[] = { MERLON_F_SADDR, MERLON_F_DADDR, MERLON_F_TH0, MERLON_F_TH2 };
	unsigned p = shape->besides & SYN || below(seed, 3) ? 6 : 17;
	int r = 0;

	rule->status = MERLON_EXACT;
	rule->statement = calloc(MOST_STATEMENTS, sizeof(*rule->statement));
	if (!rule->statement)
		return -1;
	for (unsigned f = 0; f < 4 && !r; f++)
		if (!shape->any[f])
			r = add(rule, family, field_of[f],
				f >= 2 ? ports(seed) : family == MERLON_IPV4 ? prefix4(seed, nets) : prefix6(seed, nets));
	/* ports are of a protocol */
	if (!r && (!shape->any[2] || !shape->any[3] || shape->besides & SYN || below(seed, 2)))
		r = add(rule, family, MERLON_F_L4PROTO, (struct range){ p, p });
	if (!r)
		r = add_besides(rule, family, shape->besides, seed);
	rule->statement[rule->n].kind = MERLON_S_VERDICT;
	rule->statement[rule->n++].verdict.verdict = below(seed, 2) ? MERLON_V_ACCEPT : MERLON_V_DROP;
	return r;
}

static struct merlon_ruleset *make_chain(enum merlon_family family, enum merlon_hook hook, uint32_t room)
{
	struct merlon_ruleset *ruleset = merlon_ruleset_new();

	if (!ruleset)
		return NULL;
	ruleset->table = calloc(1, sizeof(*ruleset->table));
	ruleset->chain = calloc(1, sizeof(*ruleset->chain));
	if (!ruleset->table || !ruleset->chain)
		goto no_memory;
	ruleset->n_tables = ruleset->n_chains = 1;
	ruleset->table->family = family == MERLON_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
	*ruleset->chain = (struct merlon_chain){ .base = true, .hook = hook, .reached = true, .name = strdup("c") };
	ruleset->table->name = strdup("bench");
	ruleset->chain->rule = calloc(room, sizeof(*ruleset->chain->rule));
	if (ruleset->chain->rule && ruleset->chain->name && ruleset->table->name)
		return ruleset;
no_memory:
	merlon_ruleset_free(ruleset);
	return NULL;
}

struct merlon_ruleset *rulegen(enum rulegen_kind kind, enum merlon_family family, uint32_t n, uint64_t seed)
{
	struct merlon_ruleset *ruleset = make_chain(family, kind == RULEGEN_MIXED ? MERLON_FORWARD : MERLON_INPUT, n);
	uint32_t nets = n / 40 < 8 ? 8 : n / 40;
	struct shape shape[MOST_SHAPES];

	seed = seed * 0x9e3779b97f4a7c15ULL + 1;
	for (unsigned i = 0; i < n_shapes[kind]; i++)
		make_shape(&shape[i], kind, &seed);
	for (; ruleset && ruleset->chain->n < n; ruleset->chain->n++) {
		unsigned which = below(&seed, n_shapes[kind]) * below(&seed, n_shapes[kind]) / n_shapes[kind];

		if (make_rule(&ruleset->chain->rule[ruleset->chain->n], &shape[which], family, nets, &seed) < 0) {
			ruleset->chain->n++;
			merlon_ruleset_free(ruleset);
			return NULL;
		}
	}
	return ruleset;
}

/* A field of a ClassBench line; the whole range is a wildcard. */
static int add_unless_any(struct merlon_rule *rule, enum merlon_field field, uint32_t lo, uint32_t hi, uint32_t most)
{
	return lo == 0 && hi == most ? 0 : add(rule, MERLON_IPV4, field, (struct range){ lo, hi });
}

/* 0; 1: it is no rule; negative: no memory. */
static int read_rule(const char *line, struct merlon_rule *rule)
{
	char address[2][16];
	unsigned length[2], port[2][2], proto, mask;
	struct in_addr in[2];
	int r = 0;

	if (sscanf(line, "@%15[0-9.]/%u %15[0-9.]/%u %u : %u %u : %u %x/%x", address[0], &length[0], address[1], &length[1],
		   &port[0][0], &port[0][1], &port[1][0], &port[1][1], &proto, &mask) != 10)
		return 1;
	if (length[0] > 32 || length[1] > 32 || inet_pton(AF_INET, address[0], &in[0]) != 1 ||
	    inet_pton(AF_INET, address[1], &in[1]) != 1 || (mask && mask != 0xff))
		return 1;
	rule->status = MERLON_EXACT;
	rule->statement = calloc(MOST_STATEMENTS, sizeof(*rule->statement));
	if (!rule->statement)
		return -1;
	for (int i = 0; i < 2 && !r; i++) {
		uint32_t host = length[i] ? ~(~0U << (32 - length[i])) : ~0U;

		if (length[i] == 32)
			host = 0;
		r = add_unless_any(rule, MERLON_F_SADDR + i, ntohl(in[i].s_addr) & ~host, ntohl(in[i].s_addr) | host, ~0U);
	}
	for (int i = 0; i < 2 && !r; i++)
		r = add_unless_any(rule, MERLON_F_TH0 + i, port[i][0], port[i][1], 65535);
	if (!r && mask)
		r = add(rule, MERLON_IPV4, MERLON_F_L4PROTO, (struct range){ proto, proto });
	rule->statement[rule->n].kind = MERLON_S_VERDICT;
	rule->statement[rule->n++].verdict.verdict = MERLON_V_ACCEPT;
	return r;
}

struct merlon_ruleset *rulegen_classbench(const char *file)
{
	struct merlon_ruleset *ruleset;
	uint32_t lines = 0;
	char line[256];
	FILE *in = fopen(file, "r");
	int r = 0;

	if (!in)
		return NULL;
	while (fgets(line, sizeof(line), in))
		lines++;
	rewind(in);
	ruleset = make_chain(MERLON_IPV4, MERLON_INPUT, lines + 1);
	while (ruleset && r >= 0 && fgets(line, sizeof(line), in)) {
		r = read_rule(line, &ruleset->chain->rule[ruleset->chain->n]);
		ruleset->chain->n += r != 1;
	}
	fclose(in);
	if (ruleset && r >= 0 && ruleset->chain->n)
		return ruleset;
	merlon_ruleset_free(ruleset);
	return NULL;
}

static void put_address(struct merlon_packet *p, unsigned end, merlon_value value)
{
	p->field[MERLON_F_SADDR + end] = value;
	p->addr6[end][0] = value >> 64;
	p->addr6[end][1] = value;
}

/* Values that meet a rule; fields that it does not look at are left alone. */
static void meet(const struct merlon_rule *rule, uint64_t *seed, bool corner, struct merlon_packet *p)
{
	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];
		merlon_value lo, span, value;

		if (s->kind == MERLON_S_INTERFACE)
			for (unsigned k = 0; k < RULEGEN_INTERFACES; k++)
				if (!strcmp(s->interface.name->name, rulegen_interface[k].name))
					*(s->interface.field == MERLON_F_IIF ? &p->iif : &p->oif) = rulegen_interface[k].index;
		if (s->kind != MERLON_S_MATCH)
			continue;
		lo = s->match.in.v[0].lo;
		span = s->match.in.v[0].hi - lo;
		value = corner ? lo : lo + (span + 1 ? wide(seed) % (span + 1) : wide(seed));
		if (s->match.field <= MERLON_F_DADDR)
			put_address(p, s->match.field, value);
		else
			p->field[s->match.field] = value;
	}
}

void rulegen_packet(const struct merlon_ruleset *ruleset, uint64_t *seed, struct merlon_packet *ret)
{
	const struct merlon_chain *chain = ruleset->chain;

	*ret = (struct merlon_packet){ .hook = chain->hook, .bytes = 100, .iif = 1 + below(seed, RULEGEN_INTERFACES),
				       .family = ruleset->table->family == NFPROTO_IPV4 ? MERLON_IPV4 : MERLON_IPV6 };
	if (chain->hook == MERLON_FORWARD)
		ret->oif = 1 + below(seed, RULEGEN_INTERFACES);
	for (unsigned end = 0; end < 2; end++)
		put_address(ret, end, ret->family == MERLON_IPV4 ? next(seed) : wide(seed));
	ret->field[MERLON_F_TH0] = 1024 + below(seed, 64000);
	ret->field[MERLON_F_TH2] = below(seed, 65536);
	ret->field[MERLON_F_L4PROTO] = 6;
	ret->field[MERLON_F_CT_STATE] = MERLON_CT_NEW;
	ret->field[MERLON_F_TCP_FLAGS] = 2;
	if (below(seed, 4)) {
		meet(&chain->rule[below(seed, chain->n)], seed, false, ret);
	} else {
		meet(&chain->rule[below(seed, chain->n)], seed, true, ret);
		meet(&chain->rule[below(seed, chain->n)], seed, true, ret);
	}
	ret->ct_state = ret->field[MERLON_F_CT_STATE];
	ret->present = MERLON_BIT(MERLON_DIMS) - 1;
	if (ret->field[MERLON_F_L4PROTO] == 6)
		ret->present |= MERLON_BIT(MERLON_F_TCP_FLAGS);
}

const char *rulegen_name(enum rulegen_kind kind)
{
	static const char *const name[] = { "few", "many", "mixed" };

	return name[kind];
}
