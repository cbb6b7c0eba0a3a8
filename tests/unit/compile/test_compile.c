/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compile/maker.h"

static uint32_t uses_ct(struct merlon_ruleset *ruleset, uint8_t family)
{
	struct merlon_policy *policy;
	uint32_t families;

	ruleset->table[0].family = family;
	policy = compile(ruleset);
	families = ((const struct merlon_image *)policy->image)->uses_ct;
	merlon_policy_free(policy);
	return families;
}

static void image_is_a_power_of_two(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	struct merlon_policy *policy;
	const struct merlon_image *image;

	(void)state;
	make_base(ruleset, MERLON_INPUT, 0, false);
	policy = compile(ruleset);
	image = (const struct merlon_image *)policy->image;
	assert_int_equal(policy->room & (policy->room - 1), 0);
	assert_true(policy->words <= policy->room);
	assert_int_equal(image->words, policy->words);
	assert_true(image->magic == MERLON_IMAGE_MAGIC);
	assert_int_equal(image->generation, 5);
	assert_int_equal(image->uses_ct, 0);
	merlon_policy_free(policy);
	make_match(make_rule(ruleset, 0), MERLON_F_CT_STATE, MERLON_CT_NEW, MERLON_CT_NEW);
	make_verdict(&ruleset->chain[0].rule[0], MERLON_V_DROP);
	assert_int_equal(uses_ct(ruleset, NFPROTO_INET), 1U << MERLON_IPV4 | 1U << MERLON_IPV6);
	assert_int_equal(uses_ct(ruleset, NFPROTO_IPV4), 1U << MERLON_IPV4);
	assert_int_equal(uses_ct(ruleset, NFPROTO_IPV6), 1U << MERLON_IPV6);
	/* also where no packet comes to the rule */
	ruleset->chain[0].base = ruleset->chain[0].reached = false;
	assert_int_equal(uses_ct(ruleset, NFPROTO_INET), 1U << MERLON_IPV4 | 1U << MERLON_IPV6);
	merlon_ruleset_free(ruleset);
}

/* Decisions about protocols without ports may not be remembered then. */
static void ports_without_a_protocol_are_noted(void **state)
{
	static const struct {
		enum merlon_field field;
		int lo, hi;	/* protocols; -1: any */
		uint32_t bare;
	} cases[] = {
		{ MERLON_F_TH2, 6, 6, 0 }, { MERLON_F_TH0, 17, 17, 0 }, { MERLON_F_TH0, 1, 1, 0 }, { MERLON_F_TH2, 1, 1, 1 },
		{ MERLON_F_TH2, 50, 50, 1 }, { MERLON_F_TH2, 6, 17, 1 }, { MERLON_F_TH2, -1, -1, 1 }, { MERLON_F_TH0, -1, -1, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int traced = 0; traced < 2; traced++) {
			struct merlon_ruleset *ruleset = make_ruleset();
			struct merlon_rule *rule = make_rule(ruleset, make_base(ruleset, MERLON_INPUT, 0, false));
			struct merlon_policy *policy;

			if (cases[i].lo >= 0)
				make_match(rule, MERLON_F_L4PROTO, cases[i].lo, cases[i].hi);
			if (traced)
				make_statement(rule, MERLON_S_COUNTER);
			make_match(rule, cases[i].field, 53, 53);
			make_verdict(rule, MERLON_V_DROP);
			policy = compile(ruleset);
			assert_int_equal(((const struct merlon_image *)policy->image)->bare_ports, cases[i].bare);
			merlon_policy_free(policy);
			merlon_ruleset_free(ruleset);
		}
	}
}

static void bounds_are_diagnostics(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_compile_options few = make_options;
	struct merlon_rule *rule;

	(void)state;
	make_statement(make_rule(ruleset, base), MERLON_S_COUNTER);
	make_limit(make_rule(ruleset, base), 1, 1, false);
	few.max_counters = 0;
	assert_string_equal(compile_error(ruleset, &few),
			    "this is counter number 1, the data plane has room for 0");
	few.max_counters = 1;
	few.max_limits = 0;
	assert_string_equal(compile_error(ruleset, &few), "this is limit number 1, the data plane has room for 0");
	rule = make_rule(ruleset, base);
	for (int i = 0; i < 256; i++)
		make_statement(rule, MERLON_S_MARK);
	assert_string_equal(compile_error(ruleset, NULL), "the rule has 256 steps, at most 255 can be taken");
	merlon_ruleset_free(ruleset);
}

/* All rules let packets go on; if all of them may meet in one packet that is too many. */
static void rules_that_meet_are_bounded(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;
	struct merlon_rule *rule;

	(void)state;
	for (unsigned i = 0; i < MERLON_MAX_VISITS + 100; i++) {
		rule = make_rule(ruleset, base);
		make_match(rule, MERLON_F_TH0, i & 1 ? 0 : 1024, 1024);
		make_statement(rule, MERLON_S_MARK);
		rule->statement[1].mark.mask = ~0U;
		rule->statement[1].mark.xor = i;
	}
	assert_string_equal(compile_error(ruleset, NULL),
			    "hook input, ip: up to 4196 rules without a final verdict may meet in one packet, the data "
			    "plane follows 4095");
	/* disjoint ones never meet */
	for (unsigned i = 0; i < MERLON_MAX_VISITS + 100; i++)
		ruleset->chain[base].rule[i].statement[0].match.in.v[0] = (struct merlon_interval){ i, i };
	policy = compile(ruleset);
	assert_int_equal(judge_both(policy, &p).mark, 1024);
	assert_int_equal(judge_both(policy, &p).steps, 2);
	merlon_policy_free(policy);
	/* as many as are allowed do work */
	for (unsigned i = 0; i < MERLON_MAX_VISITS + 100; i++)
		ruleset->chain[base].rule[i].statement[0].match.in.v[0] =
			(struct merlon_interval){ i < 4095 ? 0 : 1025 + i, i < 4095 ? 1024 : 1025 + i };
	policy = compile(ruleset);
	assert_int_equal(judge_both(policy, &p).steps, MERLON_MAX_VISITS);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

/* Each of the 128 combinations of dimensions with a port, 40 rules each: more planes than there may be. */
static void planes_are_joined(void **state)
{
	static const merlon_value value[MERLON_DIMS] = { 0x0a000001, 0x0a000002, 1024, 80, 6, 0, 0, MERLON_CT_NEW };
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true);
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;

	(void)state;
	for (unsigned i = 0; i < 256 * 20; i++) {
		struct merlon_rule *rule = make_rule(ruleset, base);

		for (unsigned d = 0; d < MERLON_DIMS; d++) {
			if (d != MERLON_F_TH2 && i & 1U << d)
				make_match(rule, d, value[d] + i / 256 * !!(i % 256), value[d] + i / 256 * 2);
		}
		make_match(rule, MERLON_F_TH2, i == 4000 ? 80 : 7, i == 4000 ? 80 : 7);
		make_verdict(rule, MERLON_V_ACCEPT);
	}
	while (ruleset->chain[base].rule[4000].n)
		merlon_statement_clear(&ruleset->chain[base].rule[4000].statement[--ruleset->chain[base].rule[4000].n]);
	make_match(&ruleset->chain[base].rule[4000], MERLON_F_TH2, 80, 80);
	make_verdict(&ruleset->chain[base].rule[4000], MERLON_V_ACCEPT);
	policy = compile(ruleset);
	assert_int_equal(policy->n_planes, MERLON_PLANES);
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_ACCEPT);
	p.field[MERLON_F_TH2] = 81;
	assert_int_equal(judge_both(policy, &p).verdict, MERLON_DROP);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

static const struct merlon_image_list *input_list(const struct merlon_policy *policy, enum merlon_family family)
{
	const struct merlon_image *image = (const struct merlon_image *)policy->image;

	return (const struct merlon_image_list *)(policy->image + image->list[MERLON_INPUT][family]);
}

#define NARROW 500U
static const merlon_value v6_net = (merlon_value)0x20010db800000000ULL << 64;

/* Rule i is about 10.0.i.0/24 or 2001:db8:0:i::/64, and asks for more in many ways; it decides, or not. */
static void make_narrow(struct merlon_ruleset *ruleset, uint32_t base, unsigned i)
{
	struct merlon_rule *rule = make_rule(ruleset, base);

	if (i % 5 == 4)
		make_address6(rule, i & 1 ? MERLON_F_SADDR : MERLON_F_DADDR, v6_net | (merlon_value)i << 64, v6_net | (merlon_value)i << 64 | ~0ULL);
	else
		make_match(rule, i & 1 ? MERLON_F_SADDR : MERLON_F_DADDR, 0x0a000000 + (i << 8), 0x0a0000ff + (i << 8));
	if (i % 3 == 0) {
		make_match(rule, MERLON_F_L4PROTO, 6, 6);
		make_match(rule, MERLON_F_TH2, 80, 90);
		merlon_intervals_add(&rule->statement[rule->n - 1].match.in, 443, 443);
	}
	if (i % 7 == 0)
		make_match(rule, MERLON_F_TH0, 1000, 1024);
	if (i % 4 == 0) {
		make_match(rule, MERLON_F_CT_STATE, MERLON_CT_INVALID, MERLON_CT_INVALID);
		merlon_intervals_add(&rule->statement[rule->n - 1].match.in, MERLON_CT_NEW, MERLON_CT_NEW);
	}
	make_verdict(rule, i % 6 ? MERLON_V_ACCEPT : MERLON_V_CONTINUE);
}

static void ask_narrow(const struct merlon_policy *policy, unsigned i)
{
	struct merlon_packet p = make_packet();

	for (unsigned k = 0; k < 32; k++) {
		p.family = i % 5 == 4 ? MERLON_IPV6 : MERLON_IPV4;
		p.field[MERLON_F_SADDR] = 0x0a000000 + (i << 8) - 1 + k % 3 * 0x80;
		p.field[MERLON_F_DADDR] = 0x0a000000 + (i << 8) + (k & 4 ? 255 : 256);
		p.addr6[0][0] = (uint64_t)(v6_net >> 64) + i - (k % 3 == 0);
		p.addr6[0][1] = k % 3 == 1 ? 0 : ~0ULL;
		p.addr6[1][0] = (uint64_t)(v6_net >> 64) + i + !(k & 4);
		p.addr6[1][1] = k & 4 ? ~0ULL : 0;
		p.field[MERLON_F_TH2] = k & 8 ? 443 : 79 + k % 13;
		p.field[MERLON_F_TH0] = k & 16 ? 1025 : 1000;
		p.field[MERLON_F_CT_STATE] = p.ct_state = k % MERLON_CT_STATES;
		p.present = make_packet().present;
		judge_both(policy, &p);
		p.present &= ~(1U << k % MERLON_DIMS & ~3U);	/* addresses are always there */
		judge_both(policy, &p);
	}
}

/* Rules that few others share an address with are in no plane. */
static void narrow_rules_are_hashed(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true);
	struct merlon_policy *policy;

	(void)state;
	for (unsigned i = 0; i < NARROW; i++)
		make_narrow(ruleset, base, i);
	policy = compile(ruleset);
	for (int family = 0; family < MERLON_FAMILIES; family++) {
		assert_in_range(input_list(policy, family)->n_subtables, 1, 4);
		assert_int_equal(input_list(policy, family)->n_planes, 0);
	}
	for (unsigned i = 0; i < NARROW; i++)
		ask_narrow(policy, i);
	merlon_policy_free(policy);
	/* rules that all packets meet stand before and after them */
	make_verdict(make_rule(ruleset, base), MERLON_V_CONTINUE);
	for (unsigned i = 0; i < 70; i++) {
		struct merlon_rule *rule = make_rule(ruleset, base);

		make_match(rule, MERLON_F_TH2, 80 + i, 82 + i);
		make_verdict(rule, i % 3 ? MERLON_V_CONTINUE : MERLON_V_ACCEPT);
	}
	for (unsigned i = 0; i < NARROW; i++)
		make_narrow(ruleset, base, NARROW - 1 - i);
	policy = compile(ruleset);
	assert_true(input_list(policy, MERLON_IPV4)->n_subtables > 0 && input_list(policy, MERLON_IPV4)->n_planes > 0);
	for (unsigned i = 0; i < NARROW; i++)
		ask_narrow(policy, i);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

/* Rule i is about one host, or about some that are no prefix, of 10.0.i.0/24 and of 2001:db8:0:i::/64. */
static merlon_value host_of(unsigned i, bool wide)
{
	return wide ? v6_net | (merlon_value)i << 64 | (i % 8 ? 7 : ~0ULL - 6) : 0x0a000007 + (i << 8);
}

static void ask_hosts(const struct merlon_policy *policy, unsigned i)
{
	struct merlon_packet p = make_packet();

	for (unsigned k = 0; k < 32; k++) {
		merlon_value wide = host_of(i, true) + k % 8 - 1;

		p.family = k & 8 ? MERLON_IPV6 : MERLON_IPV4;
		p.field[MERLON_F_SADDR] = host_of(i, false) + k % 8 - 1;
		p.addr6[0][0] = wide >> 64;
		p.addr6[0][1] = (uint64_t)wide;
		p.field[MERLON_F_TH2] = k & 16 ? 79 + i % 13 : 80;
		p.field[MERLON_F_TH0] = k & 16 ? 0x8000 : 0x7fff;
		judge_both(policy, &p);
	}
}

/* A list of nearly nothing else has buckets that are boxes. */
static void hosts_are_buckets(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true);
	struct merlon_policy *policy;

	(void)state;
	for (unsigned i = 0; i < 2 * NARROW; i++) {
		merlon_value first = host_of(i / 2, i & 1), last = first + (i % 6 < 2 ? 4 : 0);
		struct merlon_rule *rule = make_rule(ruleset, base);

		if (i & 1)
			make_address6(rule, MERLON_F_SADDR, first, last);
		else
			make_match(rule, MERLON_F_SADDR, first, last);
		if (i % 5 == 0)
			make_match(rule, MERLON_F_TH2, 80, 85);
		if (i % 7 == 0)
			make_match(rule, MERLON_F_TH0, i & 8 ? 0x8000 : 0, i & 8 ? 0xffff : 0x7fff);
		make_verdict(rule, i % 11 ? MERLON_V_ACCEPT : MERLON_V_CONTINUE);
	}
	policy = compile(ruleset);
	for (int family = 0; family < MERLON_FAMILIES; family++) {
		const struct merlon_image_list *list = input_list(policy, family);

		assert_int_equal(list->n_subtables, 1);
		/* those that only continue are left out */
		assert_in_range(((const struct merlon_image_subtable *)(policy->image + list->subtables))->slots, NARROW * 9 / 10, NARROW);
	}
	for (unsigned i = 0; i < NARROW; i++)
		ask_hosts(policy, i);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

/* What many rules say of one address is no case for a bucket. */
static void crowds_are_not(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true);
	struct merlon_packet p = make_packet();
	struct merlon_policy *policy;

	(void)state;
	for (unsigned i = 0; i < NARROW; i++) {
		struct merlon_rule *rule = make_rule(ruleset, base);

		make_match(rule, MERLON_F_SADDR, 0x0a000001, 0x0a000001);
		make_match(rule, MERLON_F_TH0, i, 2 * i);
		make_verdict(rule, i & 1 ? MERLON_V_ACCEPT : MERLON_V_DROP);
	}
	policy = compile(ruleset);
	assert_int_equal(policy->n_subtables, 0);
	for (unsigned i = 0; i < 2 * NARROW; i++) {
		p.field[MERLON_F_TH0] = i;
		judge_both(policy, &p);
	}
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

/* Subtables take room: a policy that has none with them may have it without. */
static void what_is_too_large_is_not_hashed(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, true), words;
	struct merlon_compile_options less = make_options;
	struct merlon_policy *policy;
	struct merlon_diag diag = { 0 };

	(void)state;
	for (unsigned i = 0; i < NARROW; i++)
		make_narrow(ruleset, base, i);
	policy = compile(ruleset);
	words = policy->words;
	assert_true(policy->n_subtables > 0);
	merlon_policy_free(policy);
	less.max_words = words;
	assert_int_equal(merlon_compile(ruleset, &less, &policy, &diag), 0);
	assert_true(policy->n_subtables > 0);
	merlon_policy_free(policy);
	less.max_words = words - 1;
	assert_int_equal(merlon_compile(ruleset, &less, &policy, &diag), 0);
	assert_int_equal(diag.n, 0);
	assert_int_equal(policy->n_subtables, 0);
	assert_true(policy->words < words);
	for (unsigned i = 0; i < NARROW; i += 7)
		ask_narrow(policy, i);
	merlon_policy_free(policy);
	less.max_words = 1 << 12;
	assert_string_equal(compile_error(ruleset, &less),
			    "the policy (418 rules with jumps resolved) needs more than the 0 MB that an image may have");
	merlon_ruleset_free(ruleset);
}

static uint32_t bound_class(const struct merlon_policy *policy, unsigned index)
{
	struct merlon_env env = { .image = (const __u64 *)policy->image, .mask = policy->room - 1 };

	return merlon_iface_class_in(&env, index);
}

static void interfaces_have_classes(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_policy *policy;
	uint32_t eth0, eth, other;

	(void)state;
	make_interface(make_rule(ruleset, base), MERLON_F_IIF, "eth0", false);
	make_interface(make_rule(ruleset, base), MERLON_F_OIF, "eth", true);
	make_iif(make_rule(ruleset, base), 7);
	policy = compile(ruleset);
	eth0 = merlon_policy_iface_class(policy, 2, "eth0");
	eth = merlon_policy_iface_class(policy, 3, "eth1");
	other = merlon_policy_iface_class(policy, 7, "wlan0");
	assert_true(eth0 != eth && eth0 != other && eth != other);
	assert_int_equal(merlon_policy_iface_class(policy, 0, ""), MERLON_IFACE_NONE);
	assert_int_equal(merlon_policy_iface_class(policy, 8, "wlan1"), MERLON_IFACE_OTHER);
	assert_int_not_equal(merlon_policy_iface_class(policy, 7, "eth0"), eth0);	/* renamed: both apply */
	assert_int_equal(bound_class(policy, 2), eth0);
	assert_int_equal(bound_class(policy, 3), eth);
	assert_int_equal(bound_class(policy, 0), MERLON_IFACE_NONE);
	assert_int_equal(bound_class(policy, 99), MERLON_IFACE_OTHER);
	/* one appears, is renamed, and vanishes */
	assert_int_equal(merlon_policy_bind(policy, policy->image, 99, "eth5"), 0);
	assert_int_equal(bound_class(policy, 99), eth);
	assert_int_equal(merlon_policy_bind(policy, policy->image, 99, "tap0"), 0);
	assert_int_equal(bound_class(policy, 99), MERLON_IFACE_OTHER);
	assert_int_equal(merlon_policy_bind(policy, policy->image, 2, NULL), 0);
	assert_int_equal(bound_class(policy, 2), MERLON_IFACE_OTHER);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

/* Interfaces come and go for long: slots are used again, and a full table says so. */
static void interface_slots_are_reused(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	struct merlon_policy *policy;
	unsigned bound = 0;
	int r = 0;

	(void)state;
	make_interface(make_rule(ruleset, make_base(ruleset, MERLON_INPUT, 0, false)), MERLON_F_IIF, "veth", true);
	policy = compile(ruleset);
	for (unsigned i = 100; i < 5000; i++) {
		assert_int_equal(merlon_policy_bind(policy, policy->image, i, "veth"), 0);
		assert_int_not_equal(bound_class(policy, i), MERLON_IFACE_OTHER);
		assert_int_equal(merlon_policy_bind(policy, policy->image, i, NULL), 0);
		assert_int_equal(bound_class(policy, i), MERLON_IFACE_OTHER);
	}
	for (; !r && bound < 100; bound++)
		r = merlon_policy_bind(policy, policy->image, 10000 + bound, "veth");
	assert_int_equal(r, -ENOSPC);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_is_a_power_of_two),
		cmocka_unit_test(ports_without_a_protocol_are_noted),
		cmocka_unit_test(bounds_are_diagnostics),
		cmocka_unit_test(rules_that_meet_are_bounded),
		cmocka_unit_test(planes_are_joined),
		cmocka_unit_test(narrow_rules_are_hashed),
		cmocka_unit_test(hosts_are_buckets),
		cmocka_unit_test(crowds_are_not), cmocka_unit_test(what_is_too_large_is_not_hashed),
		cmocka_unit_test(interfaces_have_classes),
		cmocka_unit_test(interface_slots_are_reused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
