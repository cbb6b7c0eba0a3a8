/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/naive.h"

#include <errno.h>

#include "tests/unit/compile/maker.h"

static struct merlon_naive_result result;

static int run(const struct merlon_ruleset *ruleset, const struct merlon_packet *packet, const char *iif)
{
	struct merlon_naive_input input = { .ruleset = ruleset, .packet = packet, .iif_name = iif, .oif_name = "" };

	return merlon_naive(&input, &result);
}

static void chains_call_each_other(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true), called = make_chain(ruleset, "called");
	uint32_t gone = make_chain(ruleset, "gone");
	struct merlon_packet p = make_packet();
	struct merlon_rule *rule;

	(void)state;
	make_call(make_rule(ruleset, base), MERLON_V_JUMP, called);
	rule = make_rule(ruleset, base);
	make_statement(rule, MERLON_S_COUNTER);
	make_verdict(rule, MERLON_V_ACCEPT);
	/* called goes to gone; the end of gone is the end of called: back behind the jump */
	make_call(make_rule(ruleset, called), MERLON_V_GOTO, gone);
	make_verdict(make_rule(ruleset, called), MERLON_V_DROP);
	make_verdict(make_rule(ruleset, gone), MERLON_V_RETURN);
	make_verdict(make_rule(ruleset, gone), MERLON_V_DROP);
	assert_int_equal(run(ruleset, &p, ""), 0);
	assert_int_equal(result.verdict, MERLON_ACCEPT);
	assert_ptr_equal(result.rule, rule);
	assert_int_equal(result.n_counted, 1);
	/* from a base chain: the end of gone is the policy */
	ruleset->chain[base].rule[0].statement[0].verdict.verdict = MERLON_V_GOTO;
	assert_int_equal(run(ruleset, &p, ""), 0);
	assert_int_equal(result.verdict, MERLON_DROP);
	assert_null(result.rule);
	assert_ptr_equal(result.chain, &ruleset->chain[base]);
	/* a chain that calls itself */
	make_call(make_rule(ruleset, gone), MERLON_V_JUMP, gone);
	ruleset->chain[gone].rule[0].statement[0].verdict.verdict = MERLON_V_CONTINUE;
	ruleset->chain[gone].rule[1].statement[0].verdict.verdict = MERLON_V_CONTINUE;
	assert_int_equal(run(ruleset, &p, ""), -ELOOP);
	merlon_ruleset_free(ruleset);
}

static void base_chains_in_order(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t late = make_base(ruleset, MERLON_INPUT, 5, false), early = make_base(ruleset, MERLON_INPUT, -5, false);
	struct merlon_packet p = make_packet();

	(void)state;
	make_verdict(make_rule(ruleset, early), MERLON_V_ACCEPT);
	make_verdict(make_rule(ruleset, late), MERLON_V_REJECT);
	ruleset->chain[late].rule[0].statement[0].verdict.reject = (struct merlon_reject_with){ MERLON_REJECT_ICMP,
												{ 13, 1 } };
	assert_int_equal(run(ruleset, &p, ""), 0);
	assert_int_equal(result.verdict, MERLON_REJECT);
	assert_int_equal(result.reject_code, 13);
	ruleset->chain[early].rule[0].statement[0].verdict.verdict = MERLON_V_DROP;
	assert_int_equal(run(ruleset, &p, ""), 0);
	assert_ptr_equal(result.chain, &ruleset->chain[early]);
	p.hook = MERLON_FORWARD;
	assert_int_equal(run(ruleset, &p, ""), 0);
	assert_int_equal(result.verdict, MERLON_ACCEPT);
	assert_null(result.chain);
	merlon_ruleset_free(ruleset);
}

static void interfaces_and_marks(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_rule *rule = make_rule(ruleset, base);
	struct merlon_packet p = make_packet();

	(void)state;
	make_interface(rule, MERLON_F_IIF, "eth", true);
	make_statement(rule, MERLON_S_MARK);
	rule->statement[1].mark.xor = 9;
	rule = make_rule(ruleset, base);
	make_match(rule, MERLON_F_MARK, 9, 9);	/* sees what the rule before did */
	make_verdict(rule, MERLON_V_DROP);
	assert_int_equal(run(ruleset, &p, "eth3"), 0);
	assert_int_equal(result.verdict, MERLON_DROP);
	assert_int_equal(run(ruleset, &p, "veth3"), 0);
	assert_int_equal(result.verdict, MERLON_ACCEPT);
	ruleset->chain[base].rule[0].statement[0].interface.negated = true;
	assert_int_equal(run(ruleset, &p, ""), 0);
	assert_int_equal(result.verdict, MERLON_DROP);
	ruleset->chain[base].rule[0].statement[0].interface.negated = false;
	ruleset->chain[base].rule[0].statement[0].interface.name[0].index = 4;
	p.iif = 4;
	assert_int_equal(run(ruleset, &p, "lo"), 0);
	assert_int_equal(result.verdict, MERLON_DROP);
	merlon_ruleset_free(ruleset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_call_each_other),
		cmocka_unit_test(base_chains_in_order),
		cmocka_unit_test(interfaces_and_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
