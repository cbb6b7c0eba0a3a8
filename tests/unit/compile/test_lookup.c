/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What lookups become: how many rules, where they lead, and that they decide as the reference does. */
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compile/maker.h"

static const enum merlon_field ports[] = { MERLON_F_TH2 }, addresses[] = { MERLON_F_SADDR };
static const enum merlon_field pair[] = { MERLON_F_SADDR, MERLON_F_TH2 };

struct fixture {
	struct merlon_ruleset *ruleset;
	struct merlon_rule *rule;
	struct merlon_policy *policy;
	struct merlon_packet p;
	uint32_t base, called;
};

static struct fixture make(bool drop)
{
	struct fixture f = { .ruleset = make_ruleset(), .p = make_packet() };

	f.base = make_base(f.ruleset, MERLON_INPUT, 0, drop);
	f.called = make_chain(f.ruleset, "called");
	f.rule = make_rule(f.ruleset, f.base);
	return f;
}

static void finish(struct fixture *f)
{
	merlon_policy_free(f->policy);
	merlon_ruleset_free(f->ruleset);
}

static uint32_t n_rules(const struct fixture *f)
{
	return f->policy->list[MERLON_INPUT][MERLON_IPV4].n;
}

static unsigned judged(struct fixture *f, uint32_t saddr, uint32_t port)
{
	f->p.field[MERLON_F_SADDR] = saddr;
	f->p.field[MERLON_F_TH2] = port;
	return judge_both(f->policy, &f->p).verdict;
}

static void elements_of_one_part_are_one_rule(void **state)
{
	struct fixture f = make(true);
	struct merlon_lookup *l = make_lookup(f.rule, addresses, 1);

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		make_element(l, (merlon_value[]){ 3 * i, 3 * i + 1 });
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	assert_int_equal(n_rules(&f), 2);
	assert_int_equal(judged(&f, 300, 80), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 302, 80), MERLON_DROP);
	finish(&f);
}

static void maps_are_a_rule_for_each_verdict(void **state)
{
	static const enum merlon_rule_verdict verdict[] = { MERLON_V_ACCEPT, MERLON_V_DROP, MERLON_V_RETURN };
	struct fixture f = make(false);
	struct merlon_lookup *l = make_lookup(f.rule, ports, 1);

	(void)state;
	l->map = true;
	for (unsigned i = 0; i < 300; i++)
		make_element(l, (merlon_value[]){ i, i })->verdict = verdict[i % 3];
	make_verdict(make_rule(f.ruleset, f.base), MERLON_V_DROP);
	f.policy = compile(f.ruleset);
	assert_int_equal(n_rules(&f), 5);
	assert_int_equal(judged(&f, 1, 297), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 1, 298), MERLON_DROP);
	assert_int_equal(judged(&f, 1, 299), MERLON_ACCEPT);	/* returned: the policy */
	assert_int_equal(judged(&f, 1, 300), MERLON_DROP);	/* not in it: the next rule */
	finish(&f);
}

/* 2 x 3 pairs agree in one part each: one rule. A pair of its own is another. */
static void pairs_that_agree_merge(void **state)
{
	struct fixture f = make(true);
	struct merlon_lookup *l = make_lookup(f.rule, pair, 2);

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		make_element(l, (merlon_value[]){ 10 + i % 2, 10 + i % 2, 20 * (i / 2), 20 * (i / 2) + 9 });
	make_element(l, (merlon_value[]){ 99, 99, 7, 7 });
	make_statement(f.rule, MERLON_S_COUNTER);
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	assert_int_equal(n_rules(&f), 3);
	assert_int_equal(f.policy->n_counters, 1);	/* the statement's, in both */
	assert_int_equal(judged(&f, 11, 49), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 11, 50), MERLON_DROP);
	assert_int_equal(judged(&f, 99, 7), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 99, 9), MERLON_DROP);
	finish(&f);
}

/* What may fail behind a trace stands once, behind the ways. */
static void rest_of_a_rule_stands_once(void **state)
{
	struct fixture f = make(true);
	struct merlon_lookup *l = make_lookup(f.rule, pair, 2);

	(void)state;
	make_element(l, (merlon_value[]){ 1, 9, 80, 80 });
	make_element(l, (merlon_value[]){ 5, 20, 70, 90 });	/* both match 5..9, 80: counted once */
	make_statement(f.rule, MERLON_S_COUNTER);
	make_match(f.rule, MERLON_F_TH0, 1000, 2000);
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	assert_int_equal(n_rules(&f), 5);	/* two ways, past them, the rest, the policy */
	assert_int_equal(judged(&f, 7, 80), MERLON_ACCEPT);
	f.p.field[MERLON_F_TH0] = 1;
	assert_int_equal(judged(&f, 7, 80), MERLON_DROP);
	assert_int_equal(judge_both(f.policy, &f.p).n_counters, 1);
	assert_int_equal(judged(&f, 30, 80), MERLON_DROP);
	assert_int_equal(judge_both(f.policy, &f.p).n_counters, 0);
	finish(&f);
}

/* Neither those of the packet's parts that are not there, nor what is found. */
static void negation_needs_all_parts(void **state)
{
	struct fixture f = make(false);
	struct merlon_lookup *l = make_lookup(f.rule, pair, 2);

	(void)state;
	make_element(l, (merlon_value[]){ 1, 1, 80, 80 });
	make_element(l, (merlon_value[]){ 2, 2, 81, 81 });
	l->negated = true;
	make_verdict(f.rule, MERLON_V_DROP);
	f.policy = compile(f.ruleset);
	assert_int_equal(judged(&f, 1, 80), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 1, 81), MERLON_DROP);
	f.p.present &= ~MERLON_BIT(MERLON_F_TH2);
	assert_int_equal(judged(&f, 1, 81), MERLON_ACCEPT);
	merlon_policy_free(f.policy);
	/* of one part: the complement, without rules of its own */
	l->n_parts = 1;
	l->n = 1;
	l->part[0].field = MERLON_F_TH2;
	l->range[0] = (struct merlon_part_range){ 80, 80 };
	f.policy = compile(f.ruleset);
	assert_int_equal(n_rules(&f), 2);
	assert_int_equal(judged(&f, 1, 81), MERLON_ACCEPT);
	f.p.present |= MERLON_BIT(MERLON_F_TH2);
	assert_int_equal(judged(&f, 1, 81), MERLON_DROP);
	assert_int_equal(judged(&f, 1, 80), MERLON_ACCEPT);
	finish(&f);
}

static void elements_expire(void **state)
{
	struct fixture f = make(true);
	struct merlon_lookup *l = make_lookup(f.rule, ports, 1);
	struct merlon_walk walk;

	(void)state;
	make_element(l, (merlon_value[]){ 1, 1 })->expires_ms = MAKE_AGE_MS;
	make_element(l, (merlon_value[]){ 2, 2 })->expires_ms = MAKE_AGE_MS + 1;
	make_element(l, (merlon_value[]){ 3, 3 });
	make_element(l, (merlon_value[]){ 4, 4 })->expires_ms = UINT64_MAX;
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	assert_int_equal(judged(&f, 1, 1), MERLON_DROP);
	assert_int_equal(judged(&f, 1, 2), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 1, 3), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 1, 4), MERLON_ACCEPT);
	assert_int_equal(judged(&f, 1, 5), MERLON_DROP);
	/* remembered only where no time was asked for */
	f.p.field[MERLON_F_TH2] = 2;
	walk = judge_both(f.policy, &f.p);
	assert_false(walk.cacheable);
	f.p.field[MERLON_F_TH2] = 1;
	assert_false(judge_both(f.policy, &f.p).cacheable);
	f.p.field[MERLON_F_TH2] = 3;
	assert_true(judge_both(f.policy, &f.p).cacheable);
	finish(&f);
}

/* The called chain changes the mark that a later way asks for: it is not tried. */
static void one_way_is_taken(void **state)
{
	static const enum merlon_field parts[] = { MERLON_F_TH2, MERLON_F_MARK };
	struct fixture f = make(false);
	struct merlon_lookup *l = make_lookup(f.rule, parts, 2);
	struct merlon_lookup_element *e;
	struct merlon_rule *rule;

	(void)state;
	l->map = true;
	for (unsigned i = 0; i < 2; i++) {
		e = make_element(l, (merlon_value[]){ 10 + i, 10 + i, i, i });
		e->verdict = MERLON_V_JUMP;
		e->target = f.called;
	}
	make_element(l, (merlon_value[]){ 10, 10, 5, 5 })->verdict = MERLON_V_DROP;
	e = make_element(l, (merlon_value[]){ 0, 0, 0, 0 });
	e->any = true;
	e->verdict = MERLON_V_DROP;
	rule = make_rule(f.ruleset, f.called);
	make_statement(rule, MERLON_S_COUNTER);
	make_statement(rule, MERLON_S_MARK);
	rule->statement[1].mark.xor = 5;
	f.policy = compile(f.ruleset);
	assert_int_equal(f.policy->n_counters, 1);
	assert_int_equal(judged(&f, 1, 10), MERLON_ACCEPT);	/* called, then the policy */
	assert_int_equal(judge_both(f.policy, &f.p).n_counters, 1);
	assert_int_equal(judged(&f, 1, 11), MERLON_DROP);	/* `*` */
	f.p.field[MERLON_F_MARK] = 1;
	assert_int_equal(judged(&f, 1, 11), MERLON_ACCEPT);
	f.p.present &= ~MERLON_BIT(MERLON_F_TH2);
	assert_int_equal(judged(&f, 1, 11), MERLON_ACCEPT);	/* not even `*` */
	finish(&f);
}

/* What counts before a lookup counts every packet that gets there. */
static void traces_stand_in_front(void **state)
{
	struct fixture f = make(true);
	struct merlon_lookup *l;

	(void)state;
	make_match(f.rule, MERLON_F_TH0, 1000, 2000);
	make_statement(f.rule, MERLON_S_COUNTER);
	l = make_lookup(f.rule, pair, 2);
	make_element(l, (merlon_value[]){ 1, 1, 80, 80 });
	make_element(l, (merlon_value[]){ 2, 2, 81, 81 });
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	assert_int_equal(judged(&f, 2, 81), MERLON_ACCEPT);
	assert_int_equal(judge_both(f.policy, &f.p).n_counters, 1);
	assert_int_equal(judged(&f, 3, 81), MERLON_DROP);
	assert_int_equal(judge_both(f.policy, &f.p).n_counters, 1);
	f.p.field[MERLON_F_TH0] = 1;
	assert_int_equal(judged(&f, 2, 81), MERLON_DROP);
	assert_int_equal(judge_both(f.policy, &f.p).n_counters, 0);
	finish(&f);
}

static void interfaces_and_families(void **state)
{
	static const enum merlon_field parts[] = { MERLON_F_IIF, MERLON_F_NFPROTO };
	struct fixture f = make(true);
	struct merlon_lookup *l = make_lookup(f.rule, parts, 2);
	size_t eth = make_name(l, "eth", true), wlan = make_name(l, "wlan0", false);

	(void)state;
	make_element(l, (merlon_value[]){ eth, eth, MERLON_IPV6, MERLON_IPV6 });
	make_element(l, (merlon_value[]){ wlan, wlan, MERLON_IPV4, MERLON_IPV6 });
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	f.p.field[MERLON_F_IIF] = merlon_policy_iface_class(f.policy, 7, "wlan0");
	assert_int_equal(judge(f.policy, &f.p).verdict, MERLON_ACCEPT);
	f.p.field[MERLON_F_IIF] = merlon_policy_iface_class(f.policy, 3, "eth1");
	assert_int_equal(judge(f.policy, &f.p).verdict, MERLON_DROP);
	f.p.family = MERLON_IPV6;
	assert_int_equal(judge(f.policy, &f.p).verdict, MERLON_ACCEPT);
	finish(&f);
}

/* 5,000 pairs that may all go on, of which a packet meets one. */
static void ways_are_one_visit(void **state)
{
	struct fixture f = make(true);
	struct merlon_lookup *l = make_lookup(f.rule, pair, 2);

	(void)state;
	for (unsigned i = 0; i < 5000; i++)
		make_element(l, (merlon_value[]){ i, i + 20000, 20000 - i, 60000 - i });
	make_limit(f.rule, 10, 5, false);
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	assert_int_equal(judged(&f, 15000, 30000), MERLON_ACCEPT);
	assert_int_equal(judge_both(f.policy, &f.p).steps, 2);
	finish(&f);
}

static void ethernet_is_known_at_input(void **state)
{
	static const enum merlon_field parts[] = { MERLON_F_ETHER_SADDR_HIGH, MERLON_F_ETHER_SADDR_LOW };
	struct fixture f = make(true);
	struct merlon_lookup *l = make_lookup(f.rule, parts, 2);

	(void)state;
	make_element(l, (merlon_value[]){ 0x02aabbcc, 0x02aabbcc, 0xddee, 0xddee });
	make_verdict(f.rule, MERLON_V_ACCEPT);
	f.policy = compile(f.ruleset);
	assert_int_equal(judge_both(f.policy, &f.p).verdict, MERLON_DROP);
	f.p.present |= MERLON_BIT(MERLON_F_ETHER_SADDR_HIGH) | MERLON_BIT(MERLON_F_ETHER_SADDR_LOW);
	f.p.field[MERLON_F_ETHER_SADDR_HIGH] = 0x02aabbcc;
	f.p.field[MERLON_F_ETHER_SADDR_LOW] = 0xddee;
	assert_int_equal(judge_both(f.policy, &f.p).verdict, MERLON_ACCEPT);
	assert_false(judge_both(f.policy, &f.p).cacheable);
	f.ruleset->chain[f.base].hook = MERLON_FORWARD;
	assert_non_null(strstr(compile_error(f.ruleset, NULL),
			       "the sender's Ethernet address is not known when a packet is forwarded"));
	finish(&f);
}

static void address_types_are_dimensions(void **state)
{
	static const struct merlon_address local = { .family = 2, .bits = 24, .type = RTN_LOCAL, .address = { 10, 0, 1 } };
	struct merlon_compile_options options = make_options;
	struct fixture f = make(true);
	struct merlon_statement *s = &f.rule->statement[f.rule->n++];
	struct merlon_diag diag = { 0 };

	(void)state;
	*s = (struct merlon_statement){ .kind = MERLON_S_ADDRTYPE };
	s->addrtype.field = MERLON_F_SADDR;
	s->addrtype.types = 1U << RTN_LOCAL;
	make_verdict(f.rule, MERLON_V_ACCEPT);
	options.address = &local;
	options.n_addresses = 1;
	assert_int_equal(merlon_compile(f.ruleset, &options, &f.policy, &diag), 0);
	assert_true(f.policy->uses_addresses);
	f.p.field[MERLON_F_SADDR] = 0x0a000101;
	assert_int_equal(judge(f.policy, &f.p).verdict, MERLON_ACCEPT);
	assert_true(judge(f.policy, &f.p).cacheable);
	f.p.field[MERLON_F_SADDR] = 0x0a000201;
	assert_int_equal(judge(f.policy, &f.p).verdict, MERLON_DROP);
	assert_non_null(strstr(compile_error(f.ruleset, NULL), "addresses could not be read"));
	s->addrtype.types = 1U << RTN_UNICAST;
	assert_non_null(strstr(compile_error(f.ruleset, &options), "types of IPv6 addresses that depend on the routes"));
	merlon_diag_clear(&diag);
	finish(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elements_of_one_part_are_one_rule),
		cmocka_unit_test(maps_are_a_rule_for_each_verdict),
		cmocka_unit_test(pairs_that_agree_merge),
		cmocka_unit_test(rest_of_a_rule_stands_once),
		cmocka_unit_test(negation_needs_all_parts),
		cmocka_unit_test(elements_expire),
		cmocka_unit_test(one_way_is_taken),
		cmocka_unit_test(traces_stand_in_front),
		cmocka_unit_test(interfaces_and_families),
		cmocka_unit_test(ways_are_one_visit),
		cmocka_unit_test(ethernet_is_known_at_input),
		cmocka_unit_test(address_types_are_dimensions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
