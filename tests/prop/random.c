/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/prop/random.h"

#include <linux/netfilter.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_STATEMENTS 12

const struct merlon_interface random_interface[] = {
	{ 1, "lo", false }, { 2, "eth0", false }, { 3, "eth1", false }, { 4, "veth12", false }, { 5, "veth1", false }, { 9, "wlan0", false }, { 300, "eth10", false },
};
const size_t random_interfaces = sizeof(random_interface) / sizeof(random_interface[0]);

/* Prefixes in each other, of one length with another type, and of the addresses that packets have. */
const struct merlon_address random_address[] = {
	{ AF_INET, 8, RTN_LOCAL, { 127 }, 1 },
	{ AF_INET, 16, RTN_LOCAL, { 10, 1 }, 2 },
	{ AF_INET, 24, RTN_UNICAST, { 10, 1, 1 }, 2 },
	{ AF_INET, 30, RTN_LOCAL, { 192, 168, 0, 4 }, 2 },
	{ AF_INET, 32, RTN_LOCAL, { 10, 0, 0, 1 }, 2 },
	{ AF_INET, 32, RTN_BROADCAST, { 10, 0, 0, 1 }, 2 },
	{ AF_INET, 32, RTN_BROADCAST, { 192, 168, 0, 7 }, 2 },
	{ AF_INET, 32, RTN_UNREACHABLE, { 192, 168, 0, 6 }, 2 },
	{ AF_INET6, 64, RTN_LOCAL, { 0x20, 1, 0xd, 0xb8 }, 2 },
	{ AF_INET6, 127, RTN_LOCAL, { 0xfe, 0x80, [15] = 4 }, 2 },
	{ AF_INET6, 128, RTN_LOCAL, { 0xfe, 0x80 }, 2 },
	{ AF_INET6, 128, RTN_ANYCAST, { 0x20, 1, 0xd, 0xb8, [15] = 2 }, 2 },
	{ AF_INET6, 8, RTN_MULTICAST, { 0xff }, 2 },
};
const size_t random_addresses = sizeof(random_address) / sizeof(random_address[0]);

struct random random_seed(uint64_t seed)
{
	struct random r = { .state = seed * 0x9e3779b97f4a7c15ULL + 0x1234567 };

	for (int i = 0; i < 8; i++)
		random_bits(&r);
	return r;
}

/* Addresses, ports and the rest come from small pools, so that rules overlap and packets meet them. */
static merlon_value pool_address(struct random *r, enum merlon_family family)
{
	static const uint32_t high[] = { 0, 0x0a000000, 0x0a010000, 0x0a0101ff, 0xc0a80000, 0xc0a80180, 0xfffffff0 };
	uint32_t v4 = high[random_below(r, 7)] + random_below(r, 16);
	merlon_value v6;

	if (r->spread && random_percent(r, 80)) {
		uint64_t mixed = (random_below(r, r->spread) + 1) * 0x9e3779b97f4a7c15ULL;

		v4 = mixed >> 32;
		v6 = (merlon_value)(0x20010db8ULL << 32 | v4 >> (mixed & 16)) << 64 | mixed;
		return family == MERLON_IPV4 ? v4 : v6;
	}
	if (family == MERLON_IPV4)
		return v4;
	v6 = (merlon_value)(random_percent(r, 50) ? 0x20010db800000000ULL : 0xfe80000000000000ULL) << 64;
	if (random_percent(r, 5))
		v6 = ~(merlon_value)0 << 32;
	return v6 | (merlon_value)random_below(r, 3) << 62 | v4;
}

static merlon_value pool_value(struct random *r, enum merlon_field field, enum merlon_family family)
{
	static const uint16_t port[] = { 0, 22, 53, 80, 443, 1024, 8080, 32768, 65535 };
	static const uint8_t proto[] = { 1, 6, 6, 6, 17, 17, 47, 58, 0, 255 };

	switch (field) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
		return pool_address(r, family);
	case MERLON_F_TH0:
	case MERLON_F_TH2:
		return port[random_below(r, 9)];
	case MERLON_F_L4PROTO:
	case MERLON_F_NEXTHDR:
		return proto[random_below(r, 10)];
	case MERLON_F_CT_STATE:
		return random_below(r, MERLON_CT_STATES);
	case MERLON_F_CT_DIRECTION:
		return random_below(r, 2);
	case MERLON_F_ICMP_TYPE:
		return random_below(r, 3) * 8;
	case MERLON_F_ICMP_CODE:
		return random_below(r, 4);
	case MERLON_F_RT_TYPE:
		return random_below(r, 5);
	case MERLON_F_LENGTH:
		return 60 + random_below(r, 8) * 100;
	case MERLON_F_MARK:
	case MERLON_F_ETHER_SADDR_HIGH:
	case MERLON_F_ETHER_SADDR_LOW:
		return random_below(r, 6);
	case MERLON_F_NFPROTO:
		return random_below(r, 2);
	default:
		return random_below(r, 256);
	}
}

static struct merlon_interval random_interval(struct random *r, enum merlon_field field, enum merlon_family family)
{
	merlon_value max = merlon_value_max(merlon_field_bits(field, family));
	merlon_value lo = pool_value(r, field, family), hi = lo;

	if (field <= MERLON_F_DADDR && random_percent(r, 60)) {
		unsigned bits = random_below(r, 30);

		lo = lo >> bits << bits;
		hi = lo | merlon_value_max(bits ? bits : 1);
		hi = bits ? hi : lo;
	} else if (random_percent(r, 40)) {
		hi = pool_value(r, field, family);
		if (hi < lo) {
			merlon_value swap = lo;

			lo = hi;
			hi = swap;
		}
	}
	if (random_percent(r, 3)) {
		lo = 0;
		hi = max;
	}
	return (struct merlon_interval){ lo, hi > max ? max : hi };
}

static struct merlon_statement random_match(struct random *r, enum merlon_field field, enum merlon_family family)
{
	struct merlon_statement s = { .kind = MERLON_S_MATCH,
				      .match = { .field = field, .family = family, .mask = ~0U } };
	unsigned n = random_percent(r, 75) ? 1 : 1 + random_below(r, 5);

	for (unsigned i = 0; i < n; i++) {
		struct merlon_interval interval = random_interval(r, field, family);

		merlon_intervals_add(&s.match.in, interval.lo, interval.hi);
	}
	merlon_intervals_normalise(&s.match.in);
	if (random_percent(r, 15)) {
		s.match.negated = true;
		merlon_intervals_complement(&s.match.in, merlon_value_max(merlon_field_bits(field, family)));
	}
	if (field == MERLON_F_TCP_FLAGS || (field > MERLON_F_DADDR && random_percent(r, 4)))
		s.match.mask = random_below(r, 64);
	if (s.match.mask != ~0U && random_percent(r, 70)) {
		merlon_intervals_clear(&s.match.in);
		merlon_intervals_add(&s.match.in, 0, random_percent(r, 50) ? 0 : s.match.mask);
	}
	if (field > MERLON_F_DADDR && random_percent(r, 5))
		s.match.header_bytes = random_percent(r, 20) ? MERLON_HEADER_CHAIN : 4U << random_below(r, 3);
	return s;
}

static struct merlon_ifname random_ifname(struct random *r)
{
	static const char *const text[] = { "eth0", "eth1", "veth12", "tun0", "lo", "e", "eth", "veth", "eth1" };
	struct merlon_ifname name = { 0 };
	unsigned which = random_below(r, 9);

	strcpy(name.name, text[which]);
	name.prefix = which >= 5;
	if (random_percent(r, 10)) {
		name.prefix = false;
		name.index = 1 + random_below(r, 5);
	}
	return name;
}

static struct merlon_statement random_interface_match(struct random *r, enum merlon_field field)
{
	struct merlon_statement s = { .kind = MERLON_S_INTERFACE, .interface = { .field = field } };

	s.interface.n = 1 + (random_percent(r, 20) ? random_below(r, 3) : 0);
	s.interface.name = calloc(s.interface.n, sizeof(*s.interface.name));
	s.interface.negated = random_percent(r, 20);
	for (size_t i = 0; i < s.interface.n; i++)
		s.interface.name[i] = random_ifname(r);
	return s;
}

static struct merlon_statement random_addrtype(struct random *r)
{
	struct merlon_statement s = { .kind = MERLON_S_ADDRTYPE };

	s.addrtype.field = random_below(r, 2);
	/* what depends on the routes is all in, or all out */
	s.addrtype.types = random_bits(r) & (1U << RTN_LOCAL | 1U << RTN_MULTICAST | 1U << RTN_BROADCAST);
	if (random_percent(r, 40))
		s.addrtype.types |= ~(1U << RTN_LOCAL | 1U << RTN_MULTICAST | 1U << RTN_BROADCAST);
	return s;
}

#define NAMES 6

/* Few different values in each part, so that elements agree in some. */
static struct merlon_statement random_lookup(struct random *r, enum merlon_family family)
{
	static const enum merlon_field field[] = {
		MERLON_F_SADDR, MERLON_F_DADDR, MERLON_F_TH0, MERLON_F_TH2, MERLON_F_TH2, MERLON_F_L4PROTO, MERLON_F_IIF,
		MERLON_F_OIF, MERLON_F_CT_STATE, MERLON_F_CT_STATE, MERLON_F_MARK, MERLON_F_NFPROTO, MERLON_F_ICMP_TYPE,
	};
	struct merlon_lookup *l = calloc(1, sizeof(*l));

	l->n_parts = random_percent(r, 40) ? 1 : 2 + random_below(r, 3);
	l->n = random_percent(r, 90) ? random_below(r, 12) : random_below(r, 150);
	l->n_names = NAMES;
	l->part = calloc(l->n_parts, sizeof(*l->part));
	l->element = calloc(l->n + 1, sizeof(*l->element));
	l->range = calloc(l->n * l->n_parts + 1, sizeof(*l->range));
	l->name = calloc(NAMES, sizeof(*l->name));
	for (size_t i = 0; i < NAMES; i++)
		l->name[i] = random_ifname(r);
	for (size_t p = 0; p < l->n_parts; p++)
		l->part[p] = (struct merlon_part){ field[random_below(r, sizeof(field) / sizeof(field[0]))], family };
	for (size_t i = 0; i < l->n * l->n_parts; i++) {
		struct merlon_part *part = &l->part[i % l->n_parts];
		struct merlon_interval in = random_interval(r, part->field, part->family);

		l->range[i] = (struct merlon_part_range){ in.lo, in.hi };
		if (part->field == MERLON_F_IIF || part->field == MERLON_F_OIF)
			l->range[i].lo = l->range[i].hi = random_below(r, NAMES);
		else if (i >= l->n_parts && random_percent(r, 30))
			l->range[i] = l->range[i - l->n_parts];
	}
	for (size_t i = 0; i < l->n; i++)
		if (random_percent(r, 15))
			l->element[i].expires_ms = 1 + random_below(r, random_percent(r, 50) ? 8 : 60000);
	if (l->n && random_percent(r, 15))
		l->element[random_below(r, l->n)].any = true;
	l->negated = random_percent(r, 30);
	return (struct merlon_statement){ .kind = MERLON_S_LOOKUP, .lookup = l };
}

static struct merlon_statement random_trace(struct random *r)
{
	struct merlon_statement s = { .kind = MERLON_S_COUNTER };
	unsigned which = random_below(r, 10);

	if (which < 3) {
		s.kind = MERLON_S_LIMIT;
		s.limit = (struct merlon_limit){ .rate = 1 + random_below(r, 20), .per_s = random_percent(r, 80) ? 1 : 60,
						 .burst = random_below(r, 6), .over = random_percent(r, 30) };
		if (random_percent(r, 30)) {
			s.limit.bytes = true;
			s.limit.rate *= 100;
			s.limit.burst *= 500;
		}
	} else if (which < 5) {
		s.kind = MERLON_S_LOG;
	} else if (which < 6) {
		s.kind = MERLON_S_MARK;
		s.mark.mask = random_below(r, 8);
		s.mark.xor = random_below(r, 8);
	}
	return s;
}

struct maker {
	struct random *r;
	const struct random_style *style;
	struct merlon_ruleset *ruleset;
	uint32_t chain, n_base;
	struct merlon_statement statement[MAX_STATEMENTS];
	size_t n;
	bool logged, counted;
	unsigned lookups;	/* of the rule */
};

static void add(struct maker *m, struct merlon_statement s)
{
	bool second = (s.kind == MERLON_S_LOG && m->logged) || (s.kind == MERLON_S_COUNTER && m->counted);

	if (second || m->n == MAX_STATEMENTS - 1) {
		merlon_statement_clear(&s);
		return;
	}
	m->logged |= s.kind == MERLON_S_LOG;
	m->counted |= s.kind == MERLON_S_COUNTER;
	m->statement[m->n++] = s;
}

/* Either port, once in a rule and before anything that counts. */
static bool may_be_either(const struct maker *m, const struct merlon_statement *s)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->statement[i].kind == MERLON_S_COUNTER || m->statement[i].kind == MERLON_S_LIMIT ||
		    m->statement[i].kind == MERLON_S_LOG || m->statement[i].kind == MERLON_S_MARK ||
		    (m->statement[i].kind == MERLON_S_MATCH && m->statement[i].match.either))
			return false;
	return s->match.field == MERLON_F_TH0 && s->match.mask == ~0U;
}

static void add_match(struct maker *m)
{
	static const enum merlon_field residual[] = {
		MERLON_F_TCP_FLAGS, MERLON_F_TCP_FLAGS, MERLON_F_LENGTH, MERLON_F_TTL, MERLON_F_TOS, MERLON_F_NEXTHDR,
		MERLON_F_MARK, MERLON_F_PKTTYPE, MERLON_F_CT_DIRECTION, MERLON_F_RT_TYPE,
	};
	enum merlon_family family = random_percent(m->r, 50);
	unsigned which = random_below(m->r, 100);
	struct merlon_statement icmp, plain;

	if (which < 60) {
		enum merlon_field field = random_below(m->r, MERLON_DIMS);

		if (field == MERLON_F_IIF || field == MERLON_F_OIF) {
			add(m, random_interface_match(m->r, field));
			return;
		}
		plain = random_match(m->r, field, family);
		plain.match.either = may_be_either(m, &plain) && random_percent(m->r, 30);
		add(m, plain);
	} else if (which < 70) {
		icmp = random_match(m->r, MERLON_F_L4PROTO, family);
		merlon_intervals_clear(&icmp.match.in);
		icmp.match.mask = ~0U;
		merlon_intervals_add(&icmp.match.in, family ? 58 : 1, family ? 58 : 1);
		add(m, icmp);
		if (random_percent(m->r, 90))
			add(m, random_match(m->r, MERLON_F_ICMP_TYPE, family));
		if (random_percent(m->r, 50))
			add(m, random_match(m->r, MERLON_F_ICMP_CODE, family));
	} else if (which < 74) {
		add(m, (struct merlon_statement){ .kind = MERLON_S_FAMILY, .family = family });
	} else if (which < 78) {
		add(m, random_addrtype(m->r));
	} else if (which < 84 && m->lookups < 2) {
		m->lookups++;
		add(m, random_lookup(m->r, family));
	} else if (!m->style->plain) {
		add(m, random_match(m->r, residual[random_below(m->r, 9)], family));
	}
}

/* Later chains of the same table may be called: there are no loops. */
static bool add_call(struct maker *m, struct merlon_statement *s)
{
	uint32_t n = m->ruleset->n_chains, target;

	for (unsigned tries = 0; tries < 4; tries++) {
		target = m->chain + 1 + random_below(m->r, 4);
		if (target < m->n_base || target >= n ||
		    m->ruleset->chain[target].table != m->ruleset->chain[m->chain].table)
			continue;
		s->verdict.verdict = random_percent(m->r, 75) ? MERLON_V_JUMP : MERLON_V_GOTO;
		s->verdict.target = target;
		s->verdict.chain = strdup(m->ruleset->chain[target].name);
		return true;
	}
	return false;
}

static void add_map(struct maker *m)
{
	static const enum merlon_rule_verdict plain[] = { MERLON_V_ACCEPT, MERLON_V_DROP, MERLON_V_CONTINUE,
							  MERLON_V_RETURN };
	struct merlon_statement s = random_lookup(m->r, random_percent(m->r, 50)), call = { 0 };

	s.lookup->negated = false;
	s.lookup->map = true;
	for (size_t i = 0; i < s.lookup->n; i++) {
		struct merlon_lookup_element *e = &s.lookup->element[i];

		e->verdict = plain[random_below(m->r, 4)];
		if (m->style->plain || random_percent(m->r, 60) || !add_call(m, &call))
			continue;
		e->verdict = call.verdict.verdict;
		e->target = call.verdict.target;
		e->chain = call.verdict.chain;
	}
	add(m, s);
}

static void add_verdict(struct maker *m)
{
	struct merlon_statement s = { .kind = MERLON_S_VERDICT };
	unsigned which = random_below(m->r, 100);

	if (!m->style->uniform && random_percent(m->r, 8)) {
		add_map(m);
		return;
	}
	if (which < (m->style->uniform ? 98 : 12) && !m->style->plain)
		return;
	if (which < 35 && !m->style->plain && add_call(m, &s)) {
		add(m, s);
		return;
	}
	if (which < 45 && !m->style->plain)
		s.verdict.verdict = MERLON_V_RETURN;
	else if (which < 47)
		s.verdict.verdict = MERLON_V_CONTINUE;
	else if (which < 70)
		s.verdict.verdict = MERLON_V_ACCEPT;
	else if (which < 85)
		s.verdict.verdict = MERLON_V_DROP;
	else
		s.verdict = (__typeof__(s.verdict)){ .verdict = MERLON_V_REJECT,
						     .reject = { which & 1, { which % 7, which % 5 } } };
	add(m, s);
}

/* Few packets meet such a rule, but the rules that one meets lie all over the plane. */
static void make_uniform(struct maker *m)
{
	enum merlon_family family = m->ruleset->chain[0].drop ? MERLON_IPV4 : MERLON_IPV6;
	struct merlon_statement source = random_match(m->r, MERLON_F_SADDR, family);

	if (random_percent(m->r, 99)) {
		merlon_value address = pool_address(m->r, family) & ~(merlon_value)15;

		merlon_intervals_clear(&source.match.in);
		merlon_intervals_add(&source.match.in, address, address + 15);
		add(m, source);
		add(m, random_match(m->r, MERLON_F_DADDR, family));
		add(m, random_match(m->r, MERLON_F_TH2, family));
	} else {
		add(m, source);
		add_match(m);
	}
}

/* Few packets meet it, and of the others' rules few. */
static void add_narrow(struct maker *m)
{
	enum merlon_family family = random_percent(m->r, 50);
	struct merlon_statement s = { .kind = MERLON_S_MATCH, .match = { .field = random_below(m->r, 2), .family = family, .mask = ~0U } };

	for (unsigned i = random_percent(m->r, 80) ? 1 : 1 + random_below(m->r, 5); i; i--) {
		merlon_value low = merlon_value_max(1 + random_below(m->r, 12)), lo = pool_address(m->r, family) & ~low;

		if (random_percent(m->r, 60))
			low = 0;
		merlon_intervals_add(&s.match.in, lo, lo | low);
	}
	merlon_intervals_normalise(&s.match.in);
	add(m, s);
}

static void make_rule(struct maker *m, struct merlon_rule *rule)
{
	unsigned matches = random_below(m->r, 5);

	m->n = 0;
	m->logged = m->counted = false;
	m->lookups = 0;
	if (m->style->uniform) {
		make_uniform(m);
	} else {
		if (m->r->spread)
			add_narrow(m);
		for (unsigned i = 0; i < matches; i++) {
			add_match(m);
			if (!m->style->plain && random_percent(m->r, 12))
				add(m, random_trace(m->r));
		}
	}
	if (random_percent(m->r, 40))
		add(m, (struct merlon_statement){ .kind = MERLON_S_COUNTER });
	add_verdict(m);
	rule->status = MERLON_EXACT;
	rule->n = m->n;
	rule->statement = calloc(m->n + 1, sizeof(*rule->statement));
	memcpy(rule->statement, m->statement, m->n * sizeof(*m->statement));
}

static void make_chains(struct maker *m, unsigned n_chains)
{
	struct merlon_ruleset *ruleset = m->ruleset;

	ruleset->chain = calloc(n_chains, sizeof(*ruleset->chain));
	for (unsigned i = 0; i < n_chains; i++) {
		struct merlon_chain *chain = &ruleset->chain[i];

		chain->name = malloc(16);
		chain->name[0] = 'c';
		chain->name[1] = 'a' + i % 26;
		chain->name[2] = 'a' + i / 26;
		chain->name[3] = 0;
		chain->table = random_percent(m->r, 70) ? 0 : random_below(m->r, 3);
		chain->base = i < m->n_base;
		chain->hook = random_below(m->r, MERLON_HOOKS);
		if (m->style->uniform) {
			chain->table = 0;
			chain->hook = ruleset->chain[0].hook;
		}
		chain->priority = (int)random_below(m->r, 4) - 2;
		chain->drop = chain->base && random_percent(m->r, 40);
		chain->reached = true;
	}
	ruleset->n_chains = n_chains;
}

struct merlon_ruleset *random_ruleset(struct random *r, const struct random_style *style)
{
	static const uint8_t family[] = { NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 };
	struct maker m = { .r = r, .style = style, .ruleset = merlon_ruleset_new() };
	unsigned n_chains = style->uniform ? 2 : 3 + random_below(r, 12);

	m.n_base = style->uniform ? 2 : 1 + random_below(r, n_chains < 6 ? n_chains : 6);
	m.ruleset->table = calloc(3, sizeof(*m.ruleset->table));
	for (unsigned i = 0; i < 3; i++)
		m.ruleset->table[i] = (struct merlon_table){ .family = family[i], .name = strdup("t") };
	m.ruleset->n_tables = 3;
	make_chains(&m, n_chains);
	for (m.chain = 0; m.chain < n_chains; m.chain++) {
		struct merlon_chain *chain = &m.ruleset->chain[m.chain];

		chain->n = random_below(r, 2 * style->rules / n_chains + 2);
		chain->rule = calloc(chain->n + 1, sizeof(*chain->rule));
		for (size_t i = 0; i < chain->n; i++)
			make_rule(&m, &chain->rule[i]);
	}
	return m.ruleset;
}

static void set(struct merlon_packet *p, enum merlon_field field, uint32_t value)
{
	p->field[field] = value;
	p->present |= MERLON_BIT(field);
}

/* A value of the pool, or next to one. */
static merlon_value near(struct random *r, enum merlon_field field, enum merlon_family family)
{
	merlon_value max = merlon_value_max(merlon_field_bits(field, family));
	merlon_value value = pool_value(r, field, family);

	if (random_percent(r, 20))
		value += random_percent(r, 50) ? 1 : -1;
	if (random_percent(r, 5))
		value ^= (merlon_value)1 << random_below(r, 128);
	return value & max;
}

static void random_transport(struct random *r, struct merlon_packet *p)
{
	uint8_t proto = near(r, MERLON_F_L4PROTO, p->family);

	if (random_percent(r, 90))
		set(p, MERLON_F_TH_BYTES, random_percent(r, 50) ? 1000 : random_percent(r, 20) ? MERLON_TH_NEVER : random_below(r, 20));
	if (random_percent(r, 98))
		set(p, MERLON_F_L4PROTO, proto);
	if (random_percent(r, 10))
		return;
	if (proto == 1 || proto == 58) {
		set(p, MERLON_F_ICMP_TYPE, near(r, MERLON_F_ICMP_TYPE, p->family));
		set(p, MERLON_F_ICMP_CODE, near(r, MERLON_F_ICMP_CODE, p->family));
		set(p, MERLON_F_TH0, p->field[MERLON_F_ICMP_TYPE] << 8 | p->field[MERLON_F_ICMP_CODE]);
	} else {
		set(p, MERLON_F_TH0, near(r, MERLON_F_TH0, p->family));
	}
	if (random_percent(r, 95))
		set(p, MERLON_F_TH2, near(r, MERLON_F_TH2, p->family));
	if (proto == 6)
		set(p, MERLON_F_TCP_FLAGS, random_below(r, 64));
}

static const char *random_name(struct random *r, uint32_t *index)
{
	unsigned which = random_below(r, random_interfaces + 1);

	*index = which < random_interfaces ? random_interface[which].index : 0;
	return which < random_interfaces ? random_interface[which].name : "";
}

void random_packet(struct random *r, struct random_packet *ret)
{
	static const enum merlon_field plain[] = { MERLON_F_LENGTH, MERLON_F_TTL, MERLON_F_TOS, MERLON_F_NEXTHDR,
						   MERLON_F_MARK, MERLON_F_PKTTYPE };
	struct merlon_packet *p = &ret->packet;

	*ret = (struct random_packet){ 0 };
	p->family = random_below(r, 2);
	p->hook = random_below(r, MERLON_HOOKS);
	for (unsigned end = 0; end < 2; end++) {
		merlon_value address = near(r, MERLON_F_SADDR, p->family);

		set(p, MERLON_F_SADDR + end, p->family == MERLON_IPV4 ? (uint32_t)address : random_bits(r));
		if (p->family == MERLON_IPV6) {
			p->addr6[end][0] = address >> 64;
			p->addr6[end][1] = (uint64_t)address;
		}
	}
	random_transport(r, p);
	for (unsigned i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		set(p, plain[i], near(r, plain[i], p->family));
	if (p->family == MERLON_IPV6 && random_percent(r, 30))
		set(p, MERLON_F_RT_TYPE, near(r, MERLON_F_RT_TYPE, p->family));
	p->bytes = p->field[MERLON_F_LENGTH];
	p->ct_state = random_below(r, MERLON_CT_STATES);
	set(p, MERLON_F_CT_STATE, p->ct_state);
	if (p->ct_state != MERLON_CT_UNTRACKED)
		set(p, MERLON_F_CT_DIRECTION, random_below(r, 2));
	ret->iif_name = random_name(r, &p->iif);
	ret->oif_name = random_name(r, &p->oif);
	p->present |= MERLON_BIT(MERLON_F_IIF) | MERLON_BIT(MERLON_F_OIF);
}

void random_change(struct random *r, uint8_t tcp_mask, struct merlon_packet *p)
{
	static const enum merlon_field free_field[] = { MERLON_F_LENGTH, MERLON_F_TTL, MERLON_F_TOS, MERLON_F_NEXTHDR,
							MERLON_F_MARK, MERLON_F_PKTTYPE, MERLON_F_RT_TYPE };

	for (unsigned i = 0; i < sizeof(free_field) / sizeof(free_field[0]); i++)
		p->field[free_field[i]] = near(r, free_field[i], p->family);
	p->bytes = p->field[MERLON_F_LENGTH];
	p->field[MERLON_F_TCP_FLAGS] ^= random_below(r, 256) & (uint8_t)~tcp_mask;
}
