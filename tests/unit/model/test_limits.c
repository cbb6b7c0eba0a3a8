/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <linux/netfilter.h>

#include "src/model/limits.h"
#include "src/util/kernel.h"

/* A ruleset of one chain with one rule of one statement, on the stack. */
struct one {
	struct merlon_ruleset ruleset;
	struct merlon_table table;
	struct merlon_chain chain;
	struct merlon_rule rule;
	struct merlon_statement statement;
};

static struct one *one(struct one *o, enum merlon_hook hook, struct merlon_statement statement)
{
	*o = (struct one){ .statement = statement, .table = { .family = NFPROTO_INET } };
	o->rule = (struct merlon_rule){ .statement = &o->statement, .n = 1 };
	o->chain = (struct merlon_chain){ .base = true, .reached = true, .hook = hook, .rule = &o->rule, .n = 1 };
	o->ruleset = (struct merlon_ruleset){ .table = &o->table, .n_tables = 1, .chain = &o->chain, .n_chains = 1 };
	return o;
}

static bool names(const struct one *o, const char *limit)
{
	json_t *list = merlon_limits(merlon_ruleset_concerns(&o->ruleset)), *item;
	bool found = false;
	size_t i;

	json_array_foreach(list, i, item)
		found |= !strcmp(json_string_value(json_object_get(item, "limit")), limit);
	json_decref(list);
	return found;
}

static void test_only_what_concerns(void **state)
{
	const struct merlon_statement ct = { .kind = MERLON_S_MATCH, .match = { .field = MERLON_F_CT_STATE } };
	const struct merlon_statement port = { .kind = MERLON_S_MATCH, .match = { .field = MERLON_F_TH2 } };
	const struct merlon_statement whole = { .kind = MERLON_S_MATCH,
						.match = { .field = MERLON_F_TH2, .header_bytes = 4 } };
	const struct merlon_statement reject = { .kind = MERLON_S_VERDICT, .verdict = { .verdict = MERLON_V_REJECT } };
	const struct merlon_statement length = { .kind = MERLON_S_MATCH, .match = { .field = MERLON_F_LENGTH } };
	const struct merlon_statement bytes = { .kind = MERLON_S_LIMIT, .limit = { .bytes = true } };
	const struct merlon_statement packets = { .kind = MERLON_S_LIMIT };
	struct one o;

	(void)state;
	assert_true(names(one(&o, MERLON_INPUT, ct), "sctp-chunks"));
	assert_false(names(one(&o, MERLON_INPUT, port), "sctp-chunks"));
	/* by what this host has */
	assert_int_equal(names(one(&o, MERLON_INPUT, ct), "dccp"), merlon_kernel_tracks("dccp_timeout_open"));
	assert_false(names(one(&o, MERLON_INPUT, port), "dccp"));
	assert_int_equal(names(one(&o, MERLON_INPUT, ct), "reverse-path"), merlon_kernel_filters_sources());
	assert_false(names(one(&o, MERLON_INPUT, port), "reverse-path"));
	assert_false(names(one(&o, MERLON_FORWARD, ct), "reverse-path"));
	/* the one limit where the other is: by the kernel that runs */
	assert_int_equal(names(one(&o, MERLON_INPUT, ct), "l4-checksum"), names(one(&o, MERLON_INPUT, reject), "reject-checksum"));
	assert_false(names(one(&o, MERLON_INPUT, port), "l4-checksum"));
	assert_true(names(one(&o, MERLON_INPUT, length), "fragment-length"));
	assert_true(names(one(&o, MERLON_INPUT, bytes), "fragment-length"));
	assert_false(names(one(&o, MERLON_INPUT, packets), "fragment-length"));
	assert_false(names(one(&o, MERLON_OUTPUT, port), "fragment-length"));
	assert_false(names(one(&o, MERLON_FORWARD, length), "fragment-length"));
	assert_true(names(one(&o, MERLON_INPUT, port), "fragments"));
	assert_true(names(one(&o, MERLON_OUTPUT, port), "fragments"));
	assert_true(names(one(&o, MERLON_FORWARD, ct), "fragments"));
	assert_false(names(one(&o, MERLON_FORWARD, port), "fragments"));
	one(&o, MERLON_INPUT, port)->table.family = NFPROTO_IPV6;
	assert_false(names(&o, "fragments"));
	assert_true(names(one(&o, MERLON_INPUT, reject), "reject-daemon"));
	assert_false(names(one(&o, MERLON_INPUT, ct), "reject-daemon"));
	assert_true(names(one(&o, MERLON_INPUT, whole), "short-headers"));
	assert_false(names(one(&o, MERLON_INPUT, port), "short-headers"));
	for (size_t i = 0; i < 3; i++) {
		static const char *const where[] = { "output-errno", "output-copies", "forward-route" };
		enum merlon_hook hook = i < 2 ? MERLON_OUTPUT : MERLON_FORWARD;

		assert_false(names(one(&o, hook, port), where[i]));
		one(&o, hook, port)->chain.drop = true;
		assert_true(names(&o, where[i]));
		assert_true(names(one(&o, hook, reject), where[i]));
		one(&o, MERLON_INPUT, reject)->chain.drop = true;
		assert_false(names(&o, where[i]));
	}
	one(&o, MERLON_FORWARD, reject);
	o.chain.reached = false;
	assert_false(names(&o, "forward-route"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_only_what_concerns) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
