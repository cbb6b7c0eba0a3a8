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
	strcpy(s->log.prefix, "say \"x\"");
	s->log.level = 7;
	s->log.group = -1;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing), cmocka_unit_test(names), cmocka_unit_test(strings), cmocka_unit_test(rates),
		cmocka_unit_test(comments),
	};

	return cmocka_run_group_tests_name("print", tests, NULL, NULL);
}
