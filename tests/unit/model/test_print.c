/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the printer makes of rules that nft would never give back; the golden files have the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <linux/netfilter.h>

#include "compat/build.h"

struct fixture {
	struct merlon_ruleset *ruleset;
	struct merlon_rule *rule;
};

/* A table of iptables with one base chain and one empty rule. */
static void make(struct fixture *f, uint8_t family)
{
	f->ruleset = merlon_ruleset_new();
	merlon_build_table(f->ruleset, family, "filter");
	merlon_build_chain(f->ruleset, 0, "INPUT")->base = true;
	f->rule = merlon_build_rule(&f->ruleset->chain[0]);
}

static void expect_and_free(struct fixture *f, const char *expected)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	merlon_rule_print(f->ruleset, &f->ruleset->chain[0], &f->ruleset->chain[0].rule[0], out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
	merlon_ruleset_free(f->ruleset);
}

static void add_match(struct fixture *f, enum merlon_field field, merlon_value lo, merlon_value hi)
{
	struct merlon_statement *s = merlon_build_statement(f->rule, MERLON_S_MATCH);

	s->match.field = field;
	s->match.mask = ~0U;
	if (lo <= hi)
		merlon_intervals_add(&s->match.in, lo, hi);
}

static void add_jump(struct fixture *f, const char *name)
{
	struct merlon_statement *s;

	merlon_build_chain(f->ruleset, 0, name);
	s = merlon_build_statement(f->rule, MERLON_S_VERDICT);
	s->verdict.verdict = MERLON_V_JUMP;
	s->verdict.chain = strdup(name);
	s->verdict.target = 1;
}

static void nothing(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, NFPROTO_IPV4);
	expect_and_free(&f, "continue");
	make(&f, NFPROTO_IPV4);
	f.rule->comment = strdup("only a comment");
	expect_and_free(&f, "continue comment \"only a comment\"");
	/* matches nothing: not everything */
	make(&f, NFPROTO_IPV4);
	add_match(&f, MERLON_F_TTL, 1, 0);
	expect_and_free(&f, "ip ttl != 0-255");
	make(&f, NFPROTO_IPV4);
	add_match(&f, MERLON_F_CT_STATE, 1, 0);
	expect_and_free(&f, "ct state 0x80");
	make(&f, NFPROTO_IPV4);
	add_match(&f, MERLON_F_SADDR, 0, 0xffffffff);
	f.rule->statement[0].match.negated = true;
	expect_and_free(&f, "ip saddr 0.0.0.0/0");
}

static void names(void **state)
{
	static const struct {
		const char *name, *expected;
	} c[] = {
		{ "ufw-user-input", "jump ufw-user-input" }, { "LOGDROP", "jump LOGDROP" }, { "drop", "jump drop_1" },
		{ "1st", "jump c_1st_1" }, { "a+b", "jump a_b_1" }, { "-x", "jump c_-x_1" },
	};
	struct fixture f;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(c) / sizeof(*c); i++) {
		make(&f, NFPROTO_IPV4);
		f.rule = &f.ruleset->chain[0].rule[0];
		add_jump(&f, c[i].name);
		expect_and_free(&f, c[i].expected);
	}
}

static void strings(void **state)
{
	struct merlon_statement *s;
	struct fixture f;

	(void)state;
	make(&f, NFPROTO_IPV4);
	f.rule->comment = strdup("a \"quoted\"\nword");
	s = merlon_build_statement(f.rule, MERLON_S_LOG);
	strcpy(s->log->prefix, "say \"x\"");
	s->log->level = 7;
	s->log->group = -1;
	expect_and_free(&f, "log prefix \"say 'x'\" level debug comment \"a 'quoted' word\"");

	make(&f, NFPROTO_IPV4);
	s = merlon_build_statement(f.rule, MERLON_S_INTERFACE);
	s->interface.field = MERLON_F_IIF;
	s->interface.name = calloc(2, sizeof(*s->interface.name));
	s->interface.n = 2;
	strcpy(s->interface.name[0].name, "eth0");
	s->interface.name[0].index = 2;
	strcpy(s->interface.name[1].name, "77");
	s->interface.name[1].index = 77;
	expect_and_free(&f, "iif { \"eth0\", 77 }");
}

static void rates(void **state)
{
	static const struct {
		uint64_t rate, per_s;
		const char *expected;
	} c[] = {
		{ 5, 1, "limit rate 5/second burst 5 packets" }, { 1, 20, "limit rate 3/minute burst 5 packets" },
		{ 10000, 30000, "limit rate 20/minute burst 5 packets" }, { 1, 86400, "limit rate 1/day burst 5 packets" },
		{ 10000, 3333, "limit rate 10801/hour burst 5 packets" },
	};
	struct merlon_statement *s;
	struct fixture f;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(c) / sizeof(*c); i++) {
		make(&f, NFPROTO_IPV4);
		s = merlon_build_statement(f.rule, MERLON_S_LIMIT);
		s->limit.rate = c[i].rate;
		s->limit.per_s = c[i].per_s;
		s->limit.burst = 5;
		expect_and_free(&f, c[i].expected);
	}
}

/* A refused rule is a comment of one line, whatever its text is; kept chains are left out. */
static void comments(void **state)
{
	struct fixture f;
	char *text = NULL;
	size_t size;
	FILE *out;

	(void)state;
	make(&f, NFPROTO_INET);
	merlon_build_refuse(f.rule, "expression `x`");
	merlon_build_refuse(f.rule, "expression `y`");
	f.rule->text = strdup("one\nflush ruleset");
	merlon_build_chain(f.ruleset, 0, "kept")->kept = true;
	out = open_memstream(&text, &size);
	merlon_ruleset_print(f.ruleset, out);
	fclose(out);
	assert_string_equal(text, "table inet filter {\n\tchain INPUT {\n"
			    "\t\ttype filter hook input priority 0; policy accept;\n"
			    "\t\t# refused (expression `x`): one flush ruleset\n\t}\n}\n");
	free(text);
	merlon_ruleset_free(f.ruleset);
}

static struct merlon_lookup *add_lookup(struct fixture *f, const enum merlon_field *field, size_t n_parts)
{
	struct merlon_lookup *l = calloc(1, sizeof(*l));

	merlon_build_statement(f->rule, MERLON_S_LOOKUP)->lookup = l;
	l->n_parts = n_parts;
	l->part = calloc(n_parts, sizeof(*l->part));
	l->range = calloc(8 * n_parts, sizeof(*l->range));
	l->element = calloc(8, sizeof(*l->element));
	for (size_t i = 0; i < n_parts; i++)
		l->part[i].field = field[i];
	return l;
}

static struct merlon_lookup_element *add_element(struct merlon_lookup *l, const merlon_value *range)
{
	for (size_t p = 0; p < l->n_parts; p++)
		l->range[l->n * l->n_parts + p] = (struct merlon_part_range){ range[2 * p], range[2 * p + 1] };
	return &l->element[l->n++];
}

static void concatenations(void **state)
{
	static const enum merlon_field pair[] = { MERLON_F_SADDR, MERLON_F_TH2 }, other[] = { MERLON_F_TH2, MERLON_F_SADDR };
	static const enum merlon_field many[] = { MERLON_F_IIF, MERLON_F_MARK, MERLON_F_L4PROTO };
	struct merlon_lookup *l;
	struct fixture f;

	(void)state;
	/* nft asks for family and protocol itself, in this order */
	make(&f, NFPROTO_INET);
	merlon_build_statement(f.rule, MERLON_S_FAMILY)->family = MERLON_IPV4;
	add_match(&f, MERLON_F_L4PROTO, 6, 6);
	l = add_lookup(&f, pair, 2);
	add_element(l, (merlon_value[]){ 0x0a000001, 0x0a000001, 22, 25 });
	add_element(l, (merlon_value[]){ 0x0a000000, 0x0a0000ff, 80, 80 });
	add_element(l, (merlon_value[]){ 0, 0, 0, 0 })->any = true;
	expect_and_free(&f, "ip saddr . tcp dport { 10.0.0.1 . 22-25, 10.0.0.0/24 . 80, * }");

	make(&f, NFPROTO_INET);
	add_match(&f, MERLON_F_L4PROTO, 17, 17);
	merlon_build_statement(f.rule, MERLON_S_FAMILY)->family = MERLON_IPV4;
	l = add_lookup(&f, pair, 2);
	l->negated = true;
	l->set = strdup("known");
	expect_and_free(&f, "meta l4proto udp ip saddr . udp dport != @known");

	make(&f, NFPROTO_INET);
	add_match(&f, MERLON_F_L4PROTO, 17, 17);
	merlon_build_statement(f.rule, MERLON_S_FAMILY)->family = MERLON_IPV4;
	l = add_lookup(&f, other, 2);
	l->set = strdup("known");
	expect_and_free(&f, "udp dport . ip saddr @known");

	make(&f, NFPROTO_IPV4);
	l = add_lookup(&f, many, 3);
	l->name = calloc(2, sizeof(*l->name));
	l->n_names = 2;
	strcpy(l->name[0].name, "lo");
	strcpy(l->name[1].name, "eth");
	l->name[1].prefix = true;
	add_element(l, (merlon_value[]){ 0, 0, 5, 5, 6, 6 });
	add_element(l, (merlon_value[]){ 1, 1, 6, 9, 58, 58 });
	expect_and_free(&f, "iifname . meta mark . meta l4proto { \"lo\" . 0x5 . tcp, \"eth*\" . 0x6-0x9 . ipv6-icmp }");
}

static void maps(void **state)
{
	static const enum merlon_field ct[] = { MERLON_F_CT_STATE }, type[] = { MERLON_F_ICMP_TYPE };
	static const enum merlon_field family[] = { MERLON_F_NFPROTO };
	struct merlon_lookup_element *e;
	struct merlon_lookup *l;
	struct fixture f;

	(void)state;
	make(&f, NFPROTO_INET);
	merlon_build_chain(f.ruleset, 0, "x");
	f.rule = &f.ruleset->chain[0].rule[0];
	l = add_lookup(&f, ct, 1);
	l->map = true;
	add_element(l, (merlon_value[]){ MERLON_CT_ESTABLISHED, MERLON_CT_ESTABLISHED })->verdict = MERLON_V_ACCEPT;
	add_element(l, (merlon_value[]){ MERLON_CT_INVALID, MERLON_CT_INVALID })->verdict = MERLON_V_DROP;
	e = add_element(l, (merlon_value[]){ MERLON_CT_NEW, MERLON_CT_NEW });
	e->verdict = MERLON_V_JUMP;
	e->target = 1;
	expect_and_free(&f, "ct state vmap { established : accept, invalid : drop, new : jump x }");

	make(&f, NFPROTO_INET);
	merlon_build_statement(f.rule, MERLON_S_FAMILY)->family = MERLON_IPV6;
	add_match(&f, MERLON_F_L4PROTO, 58, 58);
	l = add_lookup(&f, type, 1);
	l->map = true;
	add_element(l, (merlon_value[]){ 128, 128 })->verdict = MERLON_V_RETURN;
	expect_and_free(&f, "icmpv6 type vmap { echo-request : return }");

	make(&f, NFPROTO_INET);
	l = add_lookup(&f, family, 1);
	l->map = true;
	l->set = strdup("families");
	expect_and_free(&f, "meta nfproto vmap @families");
}

static void ethernet_and_address_types(void **state)
{
	static const enum merlon_field ether[] = { MERLON_F_ETHER_SADDR_HIGH, MERLON_F_ETHER_SADDR_LOW, MERLON_F_SADDR };
	static const enum merlon_field length[] = { MERLON_F_LENGTH, MERLON_F_SADDR };
	struct merlon_statement *s;
	struct merlon_lookup *l;
	struct fixture f;

	(void)state;
	make(&f, NFPROTO_IPV4);
	l = add_lookup(&f, ether, 2);
	add_element(l, (merlon_value[]){ 0x02aabbcc, 0x02aabbcc, 0x0dee, 0x0dee });
	expect_and_free(&f, "ether saddr { 02:aa:bb:cc:0d:ee }");
	make(&f, NFPROTO_IPV4);
	l = add_lookup(&f, ether, 3);
	add_element(l, (merlon_value[]){ 0x02aabbcc, 0x02aabbcc, 0x0dee, 0x0dee, 1, 1 });
	expect_and_free(&f, "ether saddr . ip saddr { 02:aa:bb:cc:0d:ee . 0.0.0.1 }");
	/* nft 1.0.6 would take it for something else */
	make(&f, NFPROTO_IPV4);
	l = add_lookup(&f, length, 2);
	add_element(l, (merlon_value[]){ 60, 60, 1, 1 });
	expect_and_free(&f, "@unknown-field . ip saddr { 60 . 0.0.0.1 }");

	make(&f, NFPROTO_INET);
	s = merlon_build_statement(f.rule, MERLON_S_ADDRTYPE);
	s->addrtype.field = MERLON_F_SADDR;
	s->addrtype.types = 1U << 2 | 1U << 3;
	expect_and_free(&f, "fib saddr type { local, broadcast }");
	make(&f, NFPROTO_INET);
	s = merlon_build_statement(f.rule, MERLON_S_ADDRTYPE);
	s->addrtype.field = MERLON_F_DADDR;
	s->addrtype.types = ~(1U << 2);
	s->addrtype.negated = true;
	expect_and_free(&f, "fib daddr type != local");
}

/* What a set looks like some time after it was loaded. */
static void aged(const struct merlon_set *set, uint64_t age_ms, const char *expected)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	merlon_set_print(set, age_ms, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void elements_that_expire(void **state)
{
	char text[] = "set s { elements = { 1 timeout 3s, 2 expires 8s, 3 }; }";
	struct merlon_set_element element[] = {
		{ 21, 33, 33, 33, 3000, 3000, 0 }, { 35, 36, 47, 47, 9000, 8000, 0 }, { 49, 50, 50, 50, 0, 0, 0 },
	};
	struct merlon_set set = { .declaration = text, .element = element, .n = 3 };

	(void)state;
	aged(&set, 0, text);
	aged(&set, 500, "set s { elements = { 1 timeout 3s expires 2s500ms, 2 expires 7s500ms, 3 }; }");
	aged(&set, 3000, "set s { elements = { 2 expires 5s, 3 }; }");
	aged(&set, 8000, "set s { elements = { 3 }; }");
	set.n = 2;
	aged(&set, 8000, "set s { }");
	set.n = 0;
	aged(&set, 8000, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing), cmocka_unit_test(names), cmocka_unit_test(strings), cmocka_unit_test(rates),
		cmocka_unit_test(comments),
		cmocka_unit_test(concatenations),
		cmocka_unit_test(maps),
		cmocka_unit_test(ethernet_and_address_types),
		cmocka_unit_test(elements_that_expire),
	};

	return cmocka_run_group_tests_name("print", tests, NULL, NULL);
}
