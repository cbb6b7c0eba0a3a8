/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "bpf/parse.h"
#include "tests/unit/compile/maker.h"

static uint32_t n_rules(const struct merlon_policy *policy)
{
	return policy->list[MERLON_INPUT][MERLON_IPV4].n;
}

static unsigned verdict_of(const struct merlon_policy *policy, uint32_t index)
{
	return image_rule(policy, MERLON_INPUT, MERLON_IPV4, index)->what >> 8 & 0xff;
}

static unsigned ops_of(const struct merlon_policy *policy, uint32_t index)
{
	return image_rule(policy, MERLON_INPUT, MERLON_IPV4, index)->what & 0xff;
}

static void finish(struct merlon_ruleset *ruleset, struct merlon_policy *policy)
{
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

static void policy_is_the_last_rule(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;

	(void)state;
	make_base(ruleset, MERLON_INPUT, 0, true);
	policy = compile(ruleset);
	assert_int_equal(n_rules(policy), 1);
	assert_int_equal(verdict_of(policy, 0), MERLON_DROP);
	assert_null(policy->list[MERLON_INPUT][MERLON_IPV4].origin[0].rule);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	p.hook = MERLON_OUTPUT;	/* no base chain there */
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	assert_int_equal(judge_both(policy, &p).rule, MERLON_NO_RULE);
	finish(ruleset, policy);
}

static void accept_goes_on_with_the_next_base_chain(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t late = make_base(ruleset, MERLON_INPUT, 10, false), early = make_base(ruleset, MERLON_INPUT, -1, true);
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;

	(void)state;
	make_verdict(make_rule(ruleset, early), MERLON_V_ACCEPT);
	make_verdict(make_rule(ruleset, late), MERLON_V_DROP);
	policy = compile(ruleset);
	/* accept, drop (policy of the first), drop, accept (policy of the last) */
	assert_int_equal(n_rules(policy), 4);
	assert_int_equal(verdict_of(policy, 0), MERLON_CONTINUE);
	assert_int_equal(image_rule(policy, MERLON_INPUT, MERLON_IPV4, 0)->next, 2);
	assert_int_equal(judge_both(policy, &p).rule, 2);
	finish(ruleset, policy);
}

static void jump_narrows_the_called_chain(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false), called = make_chain(ruleset, "called");
	struct merlon_packet p = make_packet();
	struct merlon_rule *rule = make_rule(ruleset, base);
	struct merlon_policy *policy;

	(void)state;
	make_match(rule, MERLON_F_TH2, 1, 100);
	make_call(rule, MERLON_V_JUMP, called);
	rule = make_rule(ruleset, called);	/* nothing of it is left: dropped */
	make_match(rule, MERLON_F_TH2, 200, 300);
	make_verdict(rule, MERLON_V_DROP);
	rule = make_rule(ruleset, called);
	make_match(rule, MERLON_F_TH2, 50, 300);
	make_verdict(rule, MERLON_V_DROP);
	policy = compile(ruleset);
	assert_int_equal(n_rules(policy), 2);	/* no rule for the jump itself */
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	p.field[MERLON_F_TH2] = 101;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	p.field[MERLON_F_TH2] = 49;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	finish(ruleset, policy);
}

static void return_and_goto_lead_on(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true), called = make_chain(ruleset, "called");
	uint32_t gone = make_chain(ruleset, "gone");
	struct merlon_packet p = make_packet();
	struct merlon_rule *rule;
	struct merlon_policy *policy;

	(void)state;
	make_call(make_rule(ruleset, base), MERLON_V_JUMP, called);	/* called returns: on with the next rule */
	rule = make_rule(ruleset, base);
	make_match(rule, MERLON_F_TH2, 80, 80);
	make_call(rule, MERLON_V_GOTO, gone);				/* gone ends: on with the policy */
	make_verdict(make_rule(ruleset, base), MERLON_V_ACCEPT);
	make_verdict(make_rule(ruleset, called), MERLON_V_RETURN);
	make_verdict(make_rule(ruleset, called), MERLON_V_DROP);
	make_statement(make_rule(ruleset, gone), MERLON_S_COUNTER);
	policy = compile(ruleset);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	p.field[MERLON_F_TH2] = 81;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	finish(ruleset, policy);
}

static void residual_of_a_jump_is_a_rule(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false), called = make_chain(ruleset, "called");
	struct merlon_packet p = make_packet();
	struct merlon_rule *rule = make_rule(ruleset, base);
	struct merlon_policy *policy;

	(void)state;
	make_masked(rule, MERLON_F_TCP_FLAGS, 0x17, 0x02);
	make_call(rule, MERLON_V_JUMP, called);
	make_verdict(make_rule(ruleset, called), MERLON_V_DROP);
	policy = compile(ruleset);
	assert_int_equal(n_rules(policy), 3);
	assert_int_equal(verdict_of(policy, 0), MERLON_CONTINUE);
	assert_int_equal(image_rule(policy, MERLON_INPUT, MERLON_IPV4, 0)->next, 1);
	assert_int_equal(image_rule(policy, MERLON_INPUT, MERLON_IPV4, 0)->fail, 2);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	assert_int_equal(judge_both(policy, &p).tcp_mask, 0x17);
	assert_int_equal(judge_both(policy, &p).cacheable, 1);
	p.field[MERLON_F_TCP_FLAGS] = 0x10;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	finish(ruleset, policy);
}

static void matches_behind_a_counter_stay_behind_it(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_packet p = make_packet();
	struct merlon_rule *rule = make_rule(ruleset, base);
	struct merlon_policy *policy;

	(void)state;
	make_statement(rule, MERLON_S_COUNTER);
	make_match(rule, MERLON_F_TH2, 443, 443);
	make_verdict(rule, MERLON_V_DROP);
	rule = make_rule(ruleset, base);	/* of the other family, but what is before still counts */
	make_statement(rule, MERLON_S_COUNTER);
	make_address6(rule, MERLON_F_SADDR, 1, 2);
	make_verdict(rule, MERLON_V_DROP);
	policy = compile(ruleset);
	assert_int_equal(ops_of(policy, 0), 2);
	assert_int_equal(judge_both(policy, &p).n_counters, 2);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	p.field[MERLON_F_TH2] = 443;
	assert_int_equal(judge_both(policy, &p).n_counters, 1);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	finish(ruleset, policy);
}

static void state_belongs_to_the_statement(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false), called = make_chain(ruleset, "called");
	struct merlon_packet p = make_packet();
	struct merlon_rule *rule = make_rule(ruleset, called);
	struct merlon_policy *policy;
	struct merlon_walk walk;

	(void)state;
	make_statement(rule, MERLON_S_COUNTER);
	make_limit(rule, 1, 1, false);
	make_call(make_rule(ruleset, base), MERLON_V_JUMP, called);
	make_call(make_rule(ruleset, base), MERLON_V_JUMP, called);
	policy = compile(ruleset);
	assert_int_equal(policy->n_counters, 1);	/* for IPv4 and IPv6, twice each */
	assert_int_equal(policy->n_limits, 1);
	walk = judge_both(policy, &p);
	assert_int_equal(walk.n_counters, 2);
	assert_int_equal(walk.counter[0], 10);
	assert_int_equal(walk.counter[1], 10);
	assert_int_equal(walk.cacheable, 0);
	assert_ptr_equal(policy->counter[0].rule, rule);
	finish(ruleset, policy);
}

static void icmp_type_is_a_dimension(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true);
	struct merlon_packet p = make_packet();
	struct merlon_rule *rule = make_rule(ruleset, base);
	struct merlon_policy *policy;

	(void)state;
	make_match(rule, MERLON_F_L4PROTO, 1, 1);
	make_match(rule, MERLON_F_ICMP_TYPE, 3, 3);
	make_match(rule, MERLON_F_ICMP_CODE, 4, 4);
	make_verdict(rule, MERLON_V_ACCEPT);
	rule = make_rule(ruleset, base);	/* any protocol: decided packet by packet */
	make_match(rule, MERLON_F_ICMP_TYPE, 8, 8);
	make_verdict(rule, MERLON_V_ACCEPT);
	policy = compile(ruleset);
	assert_int_equal(ops_of(policy, 0), 0);
	assert_int_equal(ops_of(policy, 1), 1);
	p.field[MERLON_F_L4PROTO] = 1;
	p.present |= MERLON_BIT(MERLON_F_ICMP_TYPE) | MERLON_BIT(MERLON_F_ICMP_CODE);
	p.field[MERLON_F_ICMP_TYPE] = 3;
	p.field[MERLON_F_ICMP_CODE] = 4;
	p.field[MERLON_F_TH0] = 0x304;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	assert_int_equal(judge_both(policy, &p).cacheable, 1);
	p.field[MERLON_F_ICMP_CODE] = 5;
	p.field[MERLON_F_TH0] = 0x305;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	assert_int_equal(judge_both(policy, &p).cacheable, 0);
	finish(ruleset, policy);
}

static void make_header(struct merlon_rule *rule, enum merlon_field field, merlon_value value, uint8_t bytes)
{
	make_match(rule, field, value, value);
	rule->statement[rule->n - 1].match.header_bytes = bytes;
}

static struct merlon_packet of_header(uint32_t proto, uint32_t bytes)
{
	struct merlon_packet p = make_packet();

	merlon_put(&p, MERLON_F_L4PROTO, proto);
	merlon_put(&p, MERLON_F_TH_BYTES, bytes);
	if (bytes < 4)
		p.present &= ~MERLON_BIT(MERLON_F_TH2);
	if (bytes < 2)
		p.present &= ~MERLON_BIT(MERLON_F_TH0);
	return p;
}

/* As x_tables does; what came before the match in the rule decides whether it is asked, what comes behind does not. */
static void headers_that_are_cut_off_are_dropped(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_packet p;
	struct merlon_policy *policy;

	(void)state;
	for (unsigned port = 80; port < 83; port++) {
		struct merlon_rule *rule = make_rule(ruleset, base);

		make_match(rule, MERLON_F_L4PROTO, 6, 6);
		make_header(rule, MERLON_F_TH2, port, 4);
		make_match(rule, MERLON_F_SADDR, 1, 1);
		make_verdict(rule, MERLON_V_ACCEPT);
	}
	policy = compile(ruleset);
	/* drop once, three times accept, the policy */
	assert_int_equal(n_rules(policy), 5);
	for (uint32_t bytes = 0; bytes < 8; bytes++) {
		p = of_header(6, bytes);
		assert_int_equal(judge_both(policy, &p).verdict, bytes < 4 ? MERLON_DROP : MERLON_ACCEPT);
		assert_int_equal(judge_both(policy, &p).cacheable, 1);
		p = of_header(17, bytes);
		assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	}
	/* a later fragment has no header */
	p = of_header(6, 0);
	p.present &= ~MERLON_BIT(MERLON_F_TH_BYTES);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	finish(ruleset, policy);
}

/* What counts before such a match counts once, and what it lets by is not asked. */
static void headers_are_asked_for_in_order(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_rule *rule = make_rule(ruleset, base);
	struct merlon_packet p = of_header(1, 7);
	struct merlon_policy *policy;
	struct merlon_walk walk;

	(void)state;
	make_match(rule, MERLON_F_L4PROTO, 1, 1);
	make_statement(rule, MERLON_S_COUNTER);
	make_match(rule, MERLON_F_TTL, 1, 9);
	make_header(rule, MERLON_F_ICMP_TYPE, 8, 8);
	make_statement(rule, MERLON_S_COUNTER);
	make_verdict(rule, MERLON_V_ACCEPT);
	policy = compile(ruleset);
	merlon_put(&p, MERLON_F_TTL, 9);
	walk = judge_both(policy, &p);
	assert_int_equal(walk.verdict, MERLON_DROP);
	assert_int_equal(walk.n_counters, 1);
	merlon_put(&p, MERLON_F_TTL, 10);
	walk = judge_both(policy, &p);
	assert_int_equal(walk.verdict, MERLON_ACCEPT);
	assert_int_equal(walk.n_counters, 1);
	p = of_header(1, 8);
	merlon_put(&p, MERLON_F_TTL, 9);
	merlon_put(&p, MERLON_F_ICMP_TYPE, 8);
	merlon_put(&p, MERLON_F_TH0, 8 << 8);
	walk = judge_both(policy, &p);
	assert_int_equal(walk.verdict, MERLON_ACCEPT);
	assert_int_equal(walk.n_counters, 2);
	finish(ruleset, policy);
}

static void families_have_lists_of_their_own(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_rule *rule = make_rule(ruleset, base);
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;

	(void)state;
	make_match(rule, MERLON_F_SADDR, 0, ~0U);
	make_verdict(rule, MERLON_V_DROP);
	rule = make_rule(ruleset, base);
	make_address6(rule, MERLON_F_DADDR, (merlon_value)1 << 64, ((merlon_value)1 << 64) + 1);
	make_verdict(rule, MERLON_V_DROP);
	rule = make_rule(ruleset, base);	/* meta nfproto ipv4 */
	make_statement(rule, MERLON_S_FAMILY);
	make_statement(rule, MERLON_S_COUNTER);
	policy = compile(ruleset);
	assert_int_equal(policy->list[MERLON_INPUT][MERLON_IPV4].n, 3);
	assert_int_equal(policy->list[MERLON_INPUT][MERLON_IPV6].n, 2);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	p.family = MERLON_IPV6;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	p.addr6[1][0] = 1;
	p.addr6[1][1] = 1;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	p.addr6[1][1] = 2;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	finish(ruleset, policy);
}

static void absent_fields_match_nothing(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	struct merlon_rule *rule = make_rule(ruleset, make_base(ruleset, MERLON_INPUT, 0, false));
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;

	(void)state;
	make_match(rule, MERLON_F_TH2, 0, 65535);	/* as `th dport != 65536` would be */
	make_verdict(rule, MERLON_V_DROP);
	policy = compile(ruleset);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	p.present &= ~MERLON_BIT(MERLON_F_TH2);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	finish(ruleset, policy);
}

static void what_cannot_be_is_refused(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false), chain = base;
	struct merlon_compile_options few = make_options;
	struct merlon_rule *rule;

	(void)state;
	for (int i = 0; i < 17; i++) {
		uint32_t target = make_chain(ruleset, "deep");

		make_call(make_rule(ruleset, chain), MERLON_V_JUMP, target);
		chain = target;
	}
	assert_string_equal(compile_error(ruleset, NULL), "chain deep: jumps nest deeper than 16");
	ruleset->chain[base].n = 0;
	free(ruleset->chain[base].rule[0].statement);
	rule = make_rule(ruleset, base);
	rule->status = MERLON_REFUSED;
	rule->text = strdup("meta cgroup 1");
	rule->reason = strdup("cgroup: not supported");
	assert_string_equal(compile_error(ruleset, NULL), "meta cgroup 1: cgroup: not supported");
	rule->status = MERLON_EXACT;
	few.max_flat_rules = 2;
	make_verdict(make_rule(ruleset, base), MERLON_V_DROP);
	make_verdict(make_rule(ruleset, base), MERLON_V_DROP);
	assert_string_equal(compile_error(ruleset, &few),
			    "the chains come to more than 2 rules when jumps are resolved");
	merlon_ruleset_free(ruleset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy_is_the_last_rule),
		cmocka_unit_test(accept_goes_on_with_the_next_base_chain),
		cmocka_unit_test(jump_narrows_the_called_chain),
		cmocka_unit_test(return_and_goto_lead_on),
		cmocka_unit_test(residual_of_a_jump_is_a_rule),
		cmocka_unit_test(matches_behind_a_counter_stay_behind_it),
		cmocka_unit_test(state_belongs_to_the_statement),
		cmocka_unit_test(icmp_type_is_a_dimension),
		cmocka_unit_test(headers_that_are_cut_off_are_dropped),
		cmocka_unit_test(headers_are_asked_for_in_order),
		cmocka_unit_test(families_have_lists_of_their_own),
		cmocka_unit_test(absent_fields_match_nothing),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
