/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/compile/compile.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "src/compile/flat.h"
#include "src/compile/ifclass.h"
#include "src/compile/visits.h"
#include "src/util/cleanup.h"

#define MIN_IFACE_SLOTS 64U
#define DEFAULT_BURST 5		/* NFT_LIMIT_PKT_BURST_DEFAULT */
#define NS_PER_S 1000000000ULL
#define MAX_BUCKET_NS (1ULL << 62)	/* times are compared as signed numbers */

static const char *const hook_name[MERLON_HOOKS] = { "input", "forward", "output" };
static const char *const family_name[MERLON_FAMILIES] = { "ip", "ip6" };

static struct merlon_image *head(const struct merlon_compiler *compiler)
{
	return (struct merlon_image *)compiler->builder.word;
}

static uint64_t saturate(__uint128_t ns)
{
	return ns > MAX_BUCKET_NS ? MAX_BUCKET_NS : (uint64_t)ns;
}

/* As nft_limit_init() of net/netfilter/nft_limit.c; xt_limit's credits come to the same. */
static struct merlon_image_limit limit_of(const struct merlon_limit *limit, uint32_t slot)
{
	struct merlon_image_limit image = { .slot = slot, .bytes = limit->bytes };
	uint64_t ns = limit->per_s * NS_PER_S, rate = limit->rate ? limit->rate : 1;

	if (limit->bytes) {
		image.ns = ns;
		image.rate = rate;
		image.max_ns = saturate((__uint128_t)ns * (rate + limit->burst) / rate);
	} else {
		image.ns = ns / rate;
		image.rate = 1;
		image.max_ns = saturate((__uint128_t)image.ns * (limit->burst ? limit->burst : DEFAULT_BURST));
	}
	return image;
}

static void emit_limits(struct merlon_compiler *compiler)
{
	struct merlon_builder *b = &compiler->builder;
	const struct merlon_policy *policy = compiler->policy;
	uint32_t words = sizeof(struct merlon_image_limit) / 8, at;

	if (!policy->n_limits)
		return;
	at = merlon_builder_put(b, NULL, policy->n_limits * words, 4);
	if (b->error)
		return;
	for (uint32_t i = 0; i < policy->n_limits; i++) {
		const struct merlon_counter_origin *from = &policy->limit[i];
		struct merlon_image_limit limit = limit_of(&from->rule->statement[from->statement].limit, policy->first_limit + i);

		memcpy(b->word + at + i * words, &limit, sizeof(limit));
	}
	head(compiler)->limits = at;
	head(compiler)->n_limits = policy->n_limits;
}

/* A table with room for four times the interfaces there are; it is made larger until all of them find a slot. */
static void emit_interfaces(struct merlon_compiler *compiler)
{
	struct merlon_builder *b = &compiler->builder;
	const struct merlon_compile_options *o = compiler->options;
	uint32_t slots = MIN_IFACE_SLOTS, at;
	size_t i = 0;

	if (compiler->policy->n_ifclasses <= MERLON_IFACE_OTHER + 1)
		return;
	while (slots < 4 * o->n_interfaces && slots < 1U << 16)
		slots *= 2;
	while (!b->error) {
		at = merlon_builder_put(b, NULL, slots, MERLON_LINE_WORDS);
		if (b->error)
			return;
		head(compiler)->ifaces = at;
		head(compiler)->ifaces_mask = slots - 1;
		for (i = 0; i < o->n_interfaces; i++)
			if (merlon_policy_bind(compiler->policy, b->word, o->interface[i].index, o->interface[i].name) < 0)
				break;
		if (i == o->n_interfaces)
			return;
		if (slots >= 1U << 16) {
			merlon_diag_add(compiler->diag, MERLON_ERROR, (struct merlon_place){ 0 },
					"%zu interfaces are more than the data plane can tell apart", o->n_interfaces);
			b->error = -EINVAL;
		}
		slots *= 2;
	}
}

/*
 * 1 << family of what nf_tables puts together for conntrack: where any rule of a table asks it, whether packets meet the
 * rule or not (nft_ct_get_init(), nf_ct_netns_get()).
 */
static uint32_t families_with_ct(const struct merlon_ruleset *ruleset)
{
	uint32_t families = 0;

	for (size_t c = 0; c < ruleset->n_chains; c++) {
		const struct merlon_chain *chain = &ruleset->chain[c];
		const struct merlon_table *table = &ruleset->table[chain->table];

		for (size_t r = 0; r < chain->n && !chain->kept; r++)
			for (int f = 0; f < MERLON_FAMILIES && chain->rule[r].status == MERLON_EXACT &&
			     merlon_rule_asks_ct(&chain->rule[r]); f++)
				families |= merlon_table_has_family(table, f) ? 1U << f : 0;
	}
	return families;
}

/* What session tuples have of a transport header: ports of TCP and its like, type and code of ICMP. */
static bool is_in_tuple(const struct merlon_intervals *l4proto, bool th2)
{
	for (size_t i = 0; i < l4proto->n; i++) {
		for (merlon_value proto = l4proto->v[i].lo; proto <= l4proto->v[i].hi; proto++) {
			switch ((uint32_t)proto) {
			case IPPROTO_TCP:
			case IPPROTO_UDP:
			case IPPROTO_UDPLITE:
			case IPPROTO_SCTP:
			case IPPROTO_DCCP:
				break;
			case IPPROTO_ICMP:
			case IPPROTO_ICMPV6:
				if (!th2)
					break;
				return false;
			default:
				return false;
			}
		}
	}
	return true;
}

static bool asks_bare_ports(const struct merlon_compiler *compiler, const struct merlon_flat *flat)
{
	for (uint32_t i = 0; i < flat->n; i++) {
		const struct merlon_flat_rule *rule = &flat->rule[i];
		bool th0 = rule->dim[MERLON_F_TH0] != MERLON_ANY, th2 = rule->dim[MERLON_F_TH2] != MERLON_ANY;

		for (uint32_t j = rule->op; j < rule->op + rule->n_ops; j++) {
			bool match = flat->op[j].kind == MERLON_OP_MATCH;

			th0 |= match && flat->op[j].field == MERLON_F_TH0;
			th2 |= match && flat->op[j].field == MERLON_F_TH2;
		}
		if ((th0 || th2) && (rule->dim[MERLON_F_L4PROTO] == MERLON_ANY ||
				     !is_in_tuple(&compiler->sets.set[rule->dim[MERLON_F_L4PROTO]], th2)))
			return true;
	}
	return false;
}

static int flatten_list(struct merlon_compiler *compiler, struct merlon_flat *flat)
{
	uint32_t visits;
	int r = merlon_flatten(compiler, flat);

	if (!r)
		r = merlon_visits(compiler, flat, &visits);
	if (r < 0)
		return r;
	if (visits > MERLON_MAX_VISITS) {
		merlon_diag_add(compiler->diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"hook %s, %s: up to %u rules without a final verdict may meet in one packet, the data "
				"plane follows %u", hook_name[flat->hook], family_name[flat->family], visits - 1,
				MERLON_MAX_VISITS - 1);
		return -EINVAL;
	}
	compiler->policy->list[flat->hook][flat->family].origin = flat->origin;
	compiler->policy->list[flat->hook][flat->family].n = flat->n;
	flat->origin = NULL;
	compiler->policy->n_flat += flat->n;
	return 0;
}

/*
 * Fits what tests/bench/classify measures over distinct packets: about 100 ns for a list without planes, then by the
 * cube of the logarithm of the image's size, as caches fill up.
 */
static uint32_t estimate(const struct merlon_policy *policy)
{
	uint32_t log = 31 - __builtin_clz(policy->words >> 9 | 1);

	return policy->n_flat ? 100 + log * log * log * 4 / 10 : 20;
}

static int finish(struct merlon_compiler *compiler)
{
	struct merlon_policy *policy = compiler->policy;
	struct merlon_builder *b = &compiler->builder;

	if (b->error == -E2BIG && policy->n_subtables)
		return -E2BIG;
	if (b->error == -E2BIG) {
		merlon_diag_add(compiler->diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"the policy (%u rules with jumps resolved) needs more than the %u MB that an image may have",
				policy->n_flat, b->max >> 17);
		return -EINVAL;
	}
	if (b->error)
		return b->error;
	head(compiler)->words = b->n;
	policy->words = b->n;
	policy->room = b->room;
	policy->image = TAKE_PTR(b->word);
	policy->ns_estimate = estimate(policy);
	return 0;
}

static int compile(struct merlon_compiler *compiler)
{
	struct merlon_image image = { .magic = MERLON_IMAGE_MAGIC, .generation = compiler->options->generation,
				      .uses_ct = families_with_ct(compiler->ruleset) };
	struct merlon_flat flat[MERLON_HOOKS][MERLON_FAMILIES] = { 0 };
	int r = merlon_ifclass_build(compiler->policy, compiler->diag);

	for (unsigned i = 0; i < MERLON_HOOKS * MERLON_FAMILIES && !r; i++) {
		struct merlon_flat *f = &flat[i / MERLON_FAMILIES][i % MERLON_FAMILIES];

		f->hook = i / MERLON_FAMILIES;
		f->family = i % MERLON_FAMILIES;
		r = flatten_list(compiler, f);
		image.bare_ports |= asks_bare_ports(compiler, f);
	}
	if (!r) {
		merlon_builder_put(&compiler->builder, &image, sizeof(image) / 8, 1);
		emit_limits(compiler);
		emit_interfaces(compiler);
	}
	for (unsigned i = 0; i < MERLON_HOOKS * MERLON_FAMILIES; i++) {
		struct merlon_flat *f = &flat[i / MERLON_FAMILIES][i % MERLON_FAMILIES];

		if (!r && f->n && !compiler->builder.error) {
			uint32_t at = merlon_emit_list(compiler, f);

			if (!compiler->builder.error)
				head(compiler)->list[f->hook][f->family] = at;
		}
		merlon_flat_clear(f);
	}
	return r < 0 ? r : finish(compiler);
}

/* -E2BIG, and no diagnostic: there may be room for it without subtables. */
static int compile_as(const struct merlon_ruleset *ruleset, const struct merlon_compile_options *options, bool plain,
		      struct merlon_policy **ret_policy, struct merlon_diag *diag)
{
	struct merlon_compiler compiler = { .ruleset = ruleset, .options = options, .diag = diag, .plain = plain,
					    .builder = { .max = options->max_words ? options->max_words : MERLON_IMAGE_MAX_WORDS } };
	int r;

	compiler.policy = calloc(1, sizeof(*compiler.policy));
	if (!compiler.policy)
		return -ENOMEM;
	compiler.policy->ruleset = ruleset;
	compiler.policy->generation = options->generation;
	compiler.policy->first_counter = options->first_counter;
	compiler.policy->first_limit = options->first_limit;
	r = merlon_sets_init(&compiler.sets);
	if (!r)
		r = compile(&compiler);
	merlon_sets_clear(&compiler.sets);
	merlon_hash_clear(&compiler.seen);
	merlon_builder_clear(&compiler.builder);
	if (r < 0) {
		merlon_policy_free(compiler.policy);
		return r;
	}
	*ret_policy = compiler.policy;
	return 0;
}

int merlon_compile(const struct merlon_ruleset *ruleset, const struct merlon_compile_options *options,
		   struct merlon_policy **ret_policy, struct merlon_diag *diag)
{
	int r = compile_as(ruleset, options, false, ret_policy, diag);

	return r == -E2BIG ? compile_as(ruleset, options, true, ret_policy, diag) : r;
}

void merlon_policy_free(struct merlon_policy *policy)
{
	if (!policy)
		return;
	for (unsigned hook = 0; hook < MERLON_HOOKS; hook++)
		for (unsigned family = 0; family < MERLON_FAMILIES; family++)
			free(policy->list[hook][family].origin);
	free(policy->image);
	free(policy->counter);
	free(policy->limit);
	free(policy->log);
	free(policy->ifclass);
	free(policy);
}
