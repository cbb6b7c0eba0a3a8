/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/compile/maker.h"

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/naive.h"

#define ROOM 8192
#define NOW_NS 1000000000000ULL

static const struct merlon_interface interfaces[] = { { 2, "eth0", false }, { 3, "eth1", false }, { 7, "wlan0", false } };
const struct merlon_compile_options make_options = {
	.generation = 5, .interface = interfaces, .n_interfaces = 3, .first_counter = 10, .max_counters = 100,
	.first_limit = 4, .max_limits = 100, .loaded_ns = NOW_NS - MAKE_AGE_MS * 1000000ULL,
};

struct merlon_ruleset *make_ruleset(void)
{
	struct merlon_ruleset *ruleset = merlon_ruleset_new();

	ruleset->table = calloc(1, sizeof(*ruleset->table));
	ruleset->table->family = NFPROTO_INET;
	ruleset->n_tables = 1;
	ruleset->chain = calloc(64, sizeof(*ruleset->chain));
	return ruleset;
}

uint32_t make_chain(struct merlon_ruleset *ruleset, const char *name)
{
	struct merlon_chain *chain = &ruleset->chain[ruleset->n_chains];

	assert_true(ruleset->n_chains < 64);
	chain->name = strdup(name);
	chain->rule = calloc(ROOM, sizeof(*chain->rule));
	chain->reached = true;
	return ruleset->n_chains++;
}

uint32_t make_base(struct merlon_ruleset *ruleset, enum merlon_hook hook, int priority, bool drop)
{
	uint32_t i = make_chain(ruleset, "base");

	ruleset->chain[i].base = true;
	ruleset->chain[i].hook = hook;
	ruleset->chain[i].priority = priority;
	ruleset->chain[i].drop = drop;
	return i;
}

struct merlon_rule *make_rule(struct merlon_ruleset *ruleset, uint32_t chain)
{
	struct merlon_rule *rule = &ruleset->chain[chain].rule[ruleset->chain[chain].n++];

	assert_true(ruleset->chain[chain].n <= ROOM);
	rule->statement = calloc(300, sizeof(*rule->statement));
	return rule;
}

static struct merlon_statement *append(struct merlon_rule *rule, enum merlon_statement_kind kind)
{
	struct merlon_statement *s = &rule->statement[rule->n++];

	s->kind = kind;
	return s;
}

static struct merlon_statement *append_match(struct merlon_rule *rule, enum merlon_field field)
{
	struct merlon_statement *s = append(rule, MERLON_S_MATCH);

	s->match.field = field;
	s->match.mask = ~0U;
	return s;
}

void make_match(struct merlon_rule *rule, enum merlon_field field, merlon_value lo, merlon_value hi)
{
	merlon_intervals_add(&append_match(rule, field)->match.in, lo, hi);
}

void make_address6(struct merlon_rule *rule, enum merlon_field field, merlon_value lo, merlon_value hi)
{
	make_match(rule, field, lo, hi);
	rule->statement[rule->n - 1].match.family = MERLON_IPV6;
}

void make_masked(struct merlon_rule *rule, enum merlon_field field, uint32_t mask, uint32_t value)
{
	make_match(rule, field, value, value);
	rule->statement[rule->n - 1].match.mask = mask;
}

void make_interface(struct merlon_rule *rule, enum merlon_field field, const char *name, bool prefix)
{
	struct merlon_statement *s = append(rule, MERLON_S_INTERFACE);

	s->interface.field = field;
	s->interface.n = 1;
	s->interface.name = calloc(1, sizeof(*s->interface.name));
	strncpy(s->interface.name->name, name, IFNAMSIZ - 1);
	s->interface.name->prefix = prefix;
}

void make_iif(struct merlon_rule *rule, unsigned index)
{
	make_interface(rule, MERLON_F_IIF, "named", false);
	rule->statement[rule->n - 1].interface.name->index = index;
}

void make_statement(struct merlon_rule *rule, enum merlon_statement_kind kind)
{
	append(rule, kind);
}

void make_limit(struct merlon_rule *rule, uint64_t rate, uint32_t burst, bool over)
{
	append(rule, MERLON_S_LIMIT)->limit = (struct merlon_limit){ .rate = rate, .per_s = 1, .burst = burst,
								    .over = over };
}

void make_verdict(struct merlon_rule *rule, enum merlon_rule_verdict verdict)
{
	append(rule, MERLON_S_VERDICT)->verdict.verdict = verdict;
}

void make_call(struct merlon_rule *rule, enum merlon_rule_verdict verdict, uint32_t chain)
{
	make_verdict(rule, verdict);
	rule->statement[rule->n - 1].verdict.target = chain;
}

struct merlon_lookup *make_lookup(struct merlon_rule *rule, const enum merlon_field *field, size_t n_parts)
{
	struct merlon_lookup *lookup = calloc(1, sizeof(*lookup));

	lookup->part = calloc(n_parts, sizeof(*lookup->part));
	lookup->n_parts = n_parts;
	for (size_t i = 0; i < n_parts; i++)
		lookup->part[i].field = field[i];
	append(rule, MERLON_S_LOOKUP)->lookup = lookup;
	return lookup;
}

struct merlon_lookup_element *make_element(struct merlon_lookup *lookup, const merlon_value *range)
{
	size_t n = lookup->n++;

	lookup->element = reallocarray(lookup->element, lookup->n, sizeof(*lookup->element));
	lookup->range = reallocarray(lookup->range, lookup->n * lookup->n_parts, sizeof(*lookup->range));
	lookup->element[n] = (struct merlon_lookup_element){ 0 };
	for (size_t p = 0; p < lookup->n_parts; p++)
		lookup->range[n * lookup->n_parts + p] = (struct merlon_part_range){ range[2 * p], range[2 * p + 1] };
	return &lookup->element[n];
}

size_t make_name(struct merlon_lookup *lookup, const char *name, bool prefix)
{
	lookup->name = reallocarray(lookup->name, lookup->n_names + 1, sizeof(*lookup->name));
	lookup->name[lookup->n_names] = (struct merlon_ifname){ .prefix = prefix };
	strncpy(lookup->name[lookup->n_names].name, name, IFNAMSIZ - 1);
	return lookup->n_names++;
}

struct merlon_policy *compile(const struct merlon_ruleset *ruleset)
{
	struct merlon_policy *policy = NULL;
	struct merlon_diag diag = { 0 };
	int r = merlon_compile(ruleset, &make_options, &policy, &diag);

	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	assert_int_equal(r, 0);
	return policy;
}

const char *compile_error(const struct merlon_ruleset *ruleset, const struct merlon_compile_options *changed)
{
	static char text[512];
	struct merlon_policy *policy = NULL;
	struct merlon_diag diag = { 0 };
	int r = merlon_compile(ruleset, changed ? changed : &make_options, &policy, &diag);

	assert_int_equal(r, -22);
	assert_null(policy);
	assert_int_equal(diag.n, 1);
	snprintf(text, sizeof(text), "%s", diag.message[0].text);
	merlon_diag_clear(&diag);
	return text;
}

struct merlon_packet make_packet(void)
{
	struct merlon_packet p = { .family = MERLON_IPV4, .hook = MERLON_INPUT, .bytes = 60 };

	p.field[MERLON_F_SADDR] = 0x0a000001;
	p.field[MERLON_F_DADDR] = 0x0a000002;
	p.field[MERLON_F_TH0] = 1024;
	p.field[MERLON_F_TH2] = 80;
	p.field[MERLON_F_L4PROTO] = 6;
	p.field[MERLON_F_CT_STATE] = MERLON_CT_NEW;
	p.field[MERLON_F_TCP_FLAGS] = 2;
	p.present = MERLON_BIT(MERLON_DIMS) - 1;
	p.present |= MERLON_BIT(MERLON_F_TCP_FLAGS) | MERLON_BIT(MERLON_F_MARK);
	return p;
}

struct merlon_walk judge(const struct merlon_policy *policy, const struct merlon_packet *packet)
{
	struct merlon_native *native;
	struct merlon_walk walk;

	memset(&walk, 0xff, sizeof(walk));
	walk.packet = *packet;
	walk.now_ns = NOW_NS;
	assert_int_equal(merlon_native_new(policy, &native), 0);
	merlon_native_classify(native, &walk);
	merlon_native_free(native);
	return walk;
}

struct merlon_walk judge_both(const struct merlon_policy *policy, const struct merlon_packet *packet)
{
	static struct merlon_naive_result naive;
	struct merlon_naive_input input = { .ruleset = policy->ruleset, .packet = packet, .iif_name = "",
					    .oif_name = "", .age_ms = MAKE_AGE_MS };
	struct merlon_walk walk = judge(policy, packet);

	assert_int_equal(merlon_naive(&input, &naive), 0);
	assert_int_equal(walk.verdict, naive.verdict);
	assert_int_equal(walk.n_counters, naive.n_counted);
	assert_int_equal(walk.mark, naive.mark);
	if (naive.chain)
		assert_ptr_equal(policy->list[packet->hook][packet->family].origin[walk.rule].rule, naive.rule);
	return walk;
}

const struct merlon_image_rule *image_rule(const struct merlon_policy *policy, enum merlon_hook hook,
					   enum merlon_family family, uint32_t index)
{
	const struct merlon_image *image = (const struct merlon_image *)policy->image;
	const struct merlon_image_list *list;

	assert_true(image->list[hook][family] != 0);
	list = (const struct merlon_image_list *)(policy->image + image->list[hook][family]);
	assert_true(index < list->n_rules);
	return (const struct merlon_image_rule *)(policy->image + list->rules) + index;
}
