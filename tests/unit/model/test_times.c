/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/model/times.h"

static struct merlon_lookup_element looked_up[4];
static struct merlon_set_element declared[2];

static struct merlon_ruleset ruleset_of_times(void)
{
	static struct merlon_lookup lookup = { .element = looked_up, .n = 4 };
	static struct merlon_statement statement[2] = { { .kind = MERLON_S_COUNTER }, { .kind = MERLON_S_LOOKUP, .lookup = &lookup } };
	static struct merlon_rule rule[2] = { { 0 }, { .statement = statement, .n = 2 } };
	static struct merlon_chain chain[2] = { { 0 }, { .rule = rule, .n = 2 } };
	static struct merlon_set set = { .element = declared, .n = 2 };

	for (size_t i = 0; i < 4; i++)
		looked_up[i] = (struct merlon_lookup_element){ .timeout_ms = 9000, .expires_ms = 9000 };
	looked_up[0].left_ms = 7399;
	looked_up[1].left_ms = 7350;
	looked_up[2].left_ms = 3;
	/* it stays */
	looked_up[3] = (struct merlon_lookup_element){ 0 };
	declared[0] = (struct merlon_set_element){ .timeout_ms = 9000, .expires_ms = 9000, .left_ms = 7349 };
	declared[1] = (struct merlon_set_element){ 0 };
	return (struct merlon_ruleset){ .chain = chain, .n_chains = 2, .set = &set, .n_sets = 1 };
}

static void assert_times(uint64_t a, uint64_t b, uint64_t c, uint64_t of_set)
{
	assert_int_equal(looked_up[0].expires_ms, a);
	assert_int_equal(looked_up[1].expires_ms, b);
	assert_int_equal(looked_up[2].expires_ms, c);
	assert_int_equal(declared[0].expires_ms, of_set);
	assert_int_equal(looked_up[3].expires_ms, 0);
	assert_int_equal(declared[1].expires_ms, 0);
}

static void never_later(void **state)
{
	struct merlon_ruleset ruleset = ruleset_of_times();

	(void)state;
	merlon_times_exact(&ruleset);
	/* what is about to end does, and is none that stays */
	assert_times(7350, 7350, 1, 7300);
}

static void kept_and_set(void **state)
{
	struct merlon_ruleset ruleset = ruleset_of_times();
	json_t *list, *longer, *zero;

	(void)state;
	merlon_times_exact(&ruleset);
	list = merlon_times_list(&ruleset);
	assert_int_equal(json_array_size(list), 4);
	ruleset = ruleset_of_times();
	assert_true(merlon_times_set(&ruleset, list));
	assert_times(7350, 7350, 1, 7300);
	longer = json_deep_copy(list);
	json_array_append_new(longer, json_integer(5));
	ruleset = ruleset_of_times();
	assert_false(merlon_times_set(&ruleset, longer));
	assert_false(merlon_times_set(&ruleset, NULL));
	assert_times(9000, 9000, 9000, 9000);
	zero = json_pack("[i, i, s, i]", 0, -1, "soon", 8);
	assert_true(merlon_times_set(&ruleset, zero));
	assert_times(1, 1, 1, 8);
	json_decref(zero);
	json_decref(longer);
	json_decref(list);
}

static void nothing_expires(void **state)
{
	struct merlon_ruleset ruleset = { 0 };

	(void)state;
	assert_null(merlon_times_list(&ruleset));
	assert_true(merlon_times_set(&ruleset, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(never_later), cmocka_unit_test(kept_and_set), cmocka_unit_test(nothing_expires) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
