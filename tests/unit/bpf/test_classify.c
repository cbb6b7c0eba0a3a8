/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "src/compile/planes.h"
#include "tests/unit/compile/maker.h"

static void bits(void **state)
{
	(void)state;
	assert_int_equal(merlon_popcount(0), 0);
	assert_int_equal(merlon_popcount(~0ULL), 64);
	assert_int_equal(merlon_lowest(1ULL << 63), 63);
	assert_int_equal(merlon_lowest(0x50), 4);
	assert_int_equal(merlon_lowest(0), 64);
	assert_int_equal(merlon_le32(0, 0), 1);
	assert_int_equal(merlon_le32(~0U, 0), 0);
	assert_int_equal(merlon_le32(~0U - 1, ~0U), 1);
	assert_int_equal(merlon_lt64(0, ~0ULL), 1);
	assert_int_equal(merlon_lt64(~0ULL, 0), 0);
	assert_int_equal(merlon_lt64(1ULL << 63, 1ULL << 63), 0);
}

/* Boundary i is 3 * i + 1 from 1 on, as 32-bit keys or in the high or low half of 128-bit ones. */
static void search(uint32_t n, bool wide, unsigned shift)
{
	struct merlon_builder b = { .max = 1 << 24 };
	merlon_value *boundary = calloc(n, sizeof(*boundary));
	struct merlon_image_tree tree;
	struct merlon_walk walk;
	struct merlon_env env = { .walk = &walk };
	uint32_t at, found;

	for (uint32_t i = 1; i < n; i++)
		boundary[i] = (merlon_value)(3 * i + 1) << shift;
	merlon_builder_put(&b, NULL, 16, 1);
	tree = merlon_emit_tree(&b, boundary, sizeof(*boundary), n, wide);
	at = merlon_builder_put(&b, &tree, sizeof(tree) / 8, sizeof(tree) / 8);
	assert_int_equal(b.error, 0);
	env.image = (const __u64 *)b.word;
	env.mask = b.room - 1;
	for (uint32_t v = 0; v < 3 * n + 5; v++) {
		walk.packet.addr6[1][0] = ((merlon_value)v << shift) >> 64;
		walk.packet.addr6[1][1] = (uint64_t)((merlon_value)v << shift);
		found = wide ? merlon_search6(&env, at, 1, 0) : merlon_search(&env, at, v, 0);
		assert_int_equal(found, v < 4 ? 0 : (v - 1) / 3 < n ? (v - 1) / 3 : n - 1);
	}
	if (!wide)
		assert_int_equal(merlon_search(&env, at, ~0U, 0), n - 1);
	merlon_builder_clear(&b);
	free(boundary);
}

static void trees(void **state)
{
	static const uint32_t size[] = { 1, 2, 15, 16, 17, 255, 256, 257, 4096, 4097, 70000 };

	(void)state;
	for (unsigned i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		search(size[i], false, 0);
		search(size[i], true, 0);
		search(size[i], true, 64);
		search(size[i], true, 60);
	}
}

static void bucket_gives_and_refills(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	struct merlon_rule *rule = make_rule(ruleset, make_base(ruleset, MERLON_INPUT, 0, true));
	struct merlon_walk walk = { .packet = make_packet(), .now_ns = 1000 };	/* just after boot */
	struct merlon_policy *policy;
	struct merlon_native *native;

	(void)state;
	make_limit(rule, 10, 3, false);
	make_verdict(rule, MERLON_V_ACCEPT);
	policy = compile(ruleset);
	assert_int_equal(merlon_native_new(policy, &native), 0);
	for (int i = 0; i < 5; i++) {
		merlon_native_classify(native, &walk);
		assert_int_equal(walk.verdict, i < 3 ? MERLON_ACCEPT : MERLON_DROP);
		assert_int_equal(walk.cacheable, 0);
	}
	walk.now_ns += 99999999;
	merlon_native_classify(native, &walk);
	assert_int_equal(walk.verdict, MERLON_DROP);
	walk.now_ns += 1;
	merlon_native_classify(native, &walk);
	assert_int_equal(walk.verdict, MERLON_ACCEPT);
	walk.now_ns -= 50;	/* another CPU's clock */
	merlon_native_classify(native, &walk);
	assert_int_equal(walk.verdict, MERLON_DROP);
	merlon_native_free(native);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

/* More counters and logs than a walk can list. */
static void overflows_are_counted(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true);
	struct merlon_walk walk = { .packet = make_packet() };
	struct merlon_policy *policy;
	struct merlon_native *native;

	(void)state;
	for (int i = 0; i < 17; i++)
		make_statement(make_rule(ruleset, base), MERLON_S_COUNTER);
	policy = compile(ruleset);
	assert_int_equal(merlon_native_new(policy, &native), 0);
	merlon_native_classify(native, &walk);
	assert_int_equal(walk.n_counters, MERLON_PATH_COUNTERS);
	assert_int_equal(walk.cacheable, 0);
	assert_int_equal(merlon_native_counters(native)[14].packets, 0);
	assert_int_equal(merlon_native_counters(native)[15].packets, 1);
	assert_int_equal(merlon_native_counters(native)[16].bytes, 60);
	merlon_native_free(native);
	merlon_policy_free(policy);
	ruleset->chain[base].rule[15].statement->kind = MERLON_S_LOG;
	ruleset->chain[base].rule[16].statement->kind = MERLON_S_LOG;
	for (int i = 0; i < MERLON_WALK_LOGS - 1; i++)
		make_statement(make_rule(ruleset, base), MERLON_S_LOG);
	policy = compile(ruleset);
	walk = judge(policy, &walk.packet);
	assert_int_equal(walk.n_logs, MERLON_WALK_LOGS);
	assert_int_equal(walk.logs_lost, 1);
	assert_int_equal(walk.logs[3].rule, 18);
	assert_ptr_equal(policy->log[walk.logs[3].log], ruleset->chain[base].rule[18].statement->log);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

/* An image that leads nowhere is survived: the packet is dropped, and that it failed is told. */
static void nonsense_is_dropped(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;
	struct merlon_image_rule *rule;
	struct merlon_walk walk;

	(void)state;
	make_statement(make_rule(ruleset, base), MERLON_S_COUNTER);
	policy = compile(ruleset);
	rule = (struct merlon_image_rule *)image_rule(policy, MERLON_INPUT, MERLON_IPV4, 0);
	rule->next = 0;	/* a loop */
	walk = judge(policy, &p);
	assert_int_equal(walk.verdict, MERLON_DROP);
	assert_int_equal(walk.failed, 1);
	assert_int_equal(walk.cacheable, 0);
	assert_int_equal(walk.steps, MERLON_MAX_VISITS);
	rule->next = 77;	/* behind the end */
	walk = judge(policy, &p);
	assert_int_equal(walk.failed, 1);
	assert_int_equal(walk.steps, 1);
	srand(1);
	for (int i = 0; i < 2000; i++) {
		memcpy(&policy->image[rand() % policy->words], (uint32_t[]){ rand(), rand() }, 8);
		judge(policy, &p);
	}
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits),
		cmocka_unit_test(trees),
		cmocka_unit_test(bucket_gives_and_refills),
		cmocka_unit_test(overflows_are_counted),
		cmocka_unit_test(nonsense_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
