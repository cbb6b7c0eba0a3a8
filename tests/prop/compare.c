/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/prop/compare.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOADED_NS 999999123456ULL	/* so long ago that some elements have expired */

int trial_begin(struct trial *trial, uint64_t seed, unsigned most_rules)
{
	struct merlon_compile_options options = { .generation = 7, .interface = random_interface,
						  .n_interfaces = random_interfaces, .first_counter = 3,
						  .max_counters = 1 << 20, .first_limit = 2, .max_limits = 1 << 20,
						  .max_flat_rules = 60000, .address = random_address,
						  .n_addresses = random_addresses };
	struct merlon_diag diag = { 0 };
	struct random_style style = { 0 };
	int r;

	*trial = (struct trial){ .seed = seed, .random = random_seed(seed), .now_ns = 1000000000000ULL };
	options.loaded_ns = LOADED_NS;
	style.rules = 1 + random_below(&trial->random, random_percent(&trial->random, 50) ? 40 : most_rules);
	style.plain = random_percent(&trial->random, 20);
	style.uniform = random_percent(&trial->random, seed % 10 ? 5 : 60);
	if (style.uniform && !(seed % 10))
		style.rules = most_rules / 2 + random_below(&trial->random, most_rules / 2);
	if (random_percent(&trial->random, 40)) {
		style.rules += 400;
		trial->random.spread = style.rules / (2 + random_below(&trial->random, 15));
	}
	trial->ruleset = random_ruleset(&trial->random, &style);
	r = merlon_compile(trial->ruleset, &options, &trial->policy, &diag);
	if (r < 0 && !diag.n)
		abort();
	merlon_diag_clear(&diag);
	if (r < 0)
		return 1;
	if (merlon_native_new(trial->policy, &trial->native) < 0)
		abort();
	trial->expected_at_once = calloc(trial->policy->n_counters + 1, sizeof(uint64_t));
	trial->at_once = calloc(trial->policy->n_counters + 1, sizeof(uint64_t));
	return 0;
}

void trial_end(struct trial *trial)
{
	merlon_native_free(trial->native);
	merlon_policy_free(trial->policy);
	merlon_ruleset_free(trial->ruleset);
	free(trial->bucket);
	free(trial->expected_at_once);
	free(trial->at_once);
}

static struct bucket *bucket_of(struct trial *trial, const struct merlon_statement *limit, uint64_t max)
{
	for (size_t i = 0; i < trial->n_buckets; i++)
		if (trial->bucket[i].limit == limit)
			return &trial->bucket[i];
	trial->bucket = reallocarray(trial->bucket, trial->n_buckets + 1, sizeof(*trial->bucket));
	trial->bucket[trial->n_buckets] = (struct bucket){ limit, max, trial->now_ns };
	return &trial->bucket[trial->n_buckets++];
}

/* nft_limit_eval() of net/netfilter/nft_limit.c: tokens and the time of the last packet. */
static bool take(void *context, const struct merlon_rule *rule, const struct merlon_statement *s)
{
	struct trial *trial = context;
	uint64_t ns = s->limit.per_s * 1000000000ULL, max, cost;
	struct bucket *bucket;

	(void)rule;
	if (s->limit.bytes) {
		max = ns * (s->limit.rate + s->limit.burst) / s->limit.rate;
		cost = ns * trial->walk.packet.bytes / s->limit.rate;
	} else {
		max = ns / s->limit.rate * (s->limit.burst ? s->limit.burst : 5);
		cost = ns / s->limit.rate;
	}
	bucket = bucket_of(trial, s, max);
	bucket->tokens += trial->now_ns - bucket->last;
	bucket->last = trial->now_ns;
	if (bucket->tokens > max)
		bucket->tokens = max;
	if (bucket->tokens < cost)
		return false;
	bucket->tokens -= cost;
	return true;
}

static uint32_t class_of(const struct trial *trial, uint32_t index, const char *name, bool *wrong)
{
	struct merlon_env env = { .image = (const __u64 *)trial->policy->image, .mask = trial->policy->room - 1 };
	uint32_t class = merlon_policy_iface_class(trial->policy, index, name);

	*wrong |= merlon_iface_class_in(&env, index) != class;
	return class;
}

static const char *compare_counters(struct trial *trial)
{
	const struct merlon_counter *now = merlon_native_counters(trial->native);

	for (size_t i = 0; i < trial->naive.n_counted; i++) {
		const struct merlon_rule *rule = trial->naive.counted[i];
		uint32_t c;

		if (i < MERLON_PATH_COUNTERS) {
			c = trial->walk.counter[i] - trial->policy->first_counter;
			if (i >= trial->walk.n_counters || c >= trial->policy->n_counters ||
			    trial->policy->counter[c].rule != rule)
				return "counted rules";
			continue;
		}
		for (c = 0; c < trial->policy->n_counters && trial->policy->counter[c].rule != rule; c++)
			;
		trial->expected_at_once[c]++;
	}
	if (trial->naive.n_counted < trial->walk.n_counters)
		return "number of counted rules";
	if (trial->naive.n_counted > MERLON_PATH_COUNTERS && trial->walk.cacheable)
		return "cacheable with lost counters";
	for (uint32_t c = 0; c < trial->policy->n_counters; c++)
		if (now[c].packets != trial->expected_at_once[c])
			return "counters counted at once";
	return NULL;
}

static const struct merlon_log *log_of(const struct merlon_rule *rule)
{
	for (size_t i = 0; i < rule->n; i++)
		if (rule->statement[i].kind == MERLON_S_LOG)
			return rule->statement[i].log;
	return NULL;
}

static const char *compare_logs(const struct trial *trial)
{
	const struct merlon_walk *walk = &trial->walk;
	size_t n = trial->naive.n_logged;

	if (walk->n_logs + walk->logs_lost != n || (walk->logs_lost && walk->n_logs != MERLON_WALK_LOGS))
		return "number of logs";
	for (size_t i = 0; i < walk->n_logs; i++)
		if (trial->policy->log[walk->logs[i].log] != log_of(trial->naive.logged[i]) ||
		    trial->policy->list[walk->packet.hook][walk->packet.family].origin[walk->logs[i].rule].rule !=
			    trial->naive.logged[i])
			return "logs";
	return n && walk->cacheable ? "cacheable with a log" : NULL;
}

static const char *compare_decision(const struct trial *trial)
{
	const struct merlon_walk *walk = &trial->walk;
	const struct merlon_naive_result *naive = &trial->naive;
	const struct merlon_flat_origin *origin;

	if (walk->failed)
		return "failed";
	if (walk->verdict != naive->verdict)
		return "verdict";
	if (walk->verdict == MERLON_REJECT &&
	    (walk->reject != naive->reject || walk->reject_code != naive->reject_code))
		return "kind of reject";
	if (walk->mark != naive->mark)
		return "mark";
	if (walk->generation != 7)
		return "generation";
	if (!naive->chain)
		return walk->rule == MERLON_NO_RULE ? NULL : "a rule where there is none";
	if (walk->rule >= trial->policy->list[walk->packet.hook][walk->packet.family].n)
		return "deciding rule's index";
	origin = &trial->policy->list[walk->packet.hook][walk->packet.family].origin[walk->rule];
	if (origin->rule != naive->rule || &trial->ruleset->chain[origin->chain] != naive->chain)
		return "deciding rule";
	return NULL;
}

/* A packet that agrees in all that a cached decision looks at must be decided alike and touch the same counters. */
static const char *check_cacheable(struct trial *trial)
{
	struct merlon_walk again;

	if (!trial->walk.cacheable)
		return NULL;
	memset(&again, 0xa5, sizeof(again));
	again.packet = trial->walk.packet;
	again.now_ns = trial->walk.now_ns + 10000000000ULL;
	random_change(&trial->random, trial->walk.tcp_mask, &again.packet);
	merlon_native_classify(trial->native, &again);
	if (again.verdict != trial->walk.verdict || again.rule != trial->walk.rule || again.n_logs || !again.cacheable ||
	    again.n_counters != trial->walk.n_counters || again.tcp_mask != trial->walk.tcp_mask ||
	    again.mark != again.packet.field[MERLON_F_MARK] ||
	    memcmp(again.counter, trial->walk.counter, again.n_counters * sizeof(again.counter[0])) != 0)
		return "a cacheable decision does not hold";
	return NULL;
}

const char *trial_packet(struct trial *trial)
{
	struct random_packet p;
	struct merlon_naive_input input = { .ruleset = trial->ruleset, .take = take, .context = trial,
					    .address = random_address, .n_addresses = random_addresses };
	bool wrong = false;
	const char *differs;

	random_packet(&trial->random, &p);
	p.packet.field[MERLON_F_IIF] = class_of(trial, p.packet.iif, p.iif_name, &wrong);
	p.packet.field[MERLON_F_OIF] = class_of(trial, p.packet.oif, p.oif_name, &wrong);
	if (wrong)
		return "class of an interface";
	trial->now_ns += random_below(&trial->random, 400000000);
	memset(&trial->walk, 0x5a, sizeof(trial->walk));
	trial->walk.packet = p.packet;
	trial->walk.now_ns = trial->now_ns;
	input.packet = &p.packet;
	input.age_ms = (trial->now_ns - LOADED_NS) / 1000000;
	input.iif_name = p.iif_name;
	input.oif_name = p.oif_name;
	if (merlon_naive(&input, &trial->naive) < 0)
		return "the reference failed";
	merlon_native_classify(trial->native, &trial->walk);
	differs = compare_decision(trial);
	if (!differs)
		differs = compare_counters(trial);
	if (!differs)
		differs = compare_logs(trial);
	return differs ? differs : check_cacheable(trial);
}

const char *compare_walks(const struct merlon_walk *a, const struct merlon_walk *b)
{
	if (a->verdict != b->verdict || a->rule != b->rule || a->failed != b->failed)
		return "verdict";
	if (a->reject != b->reject || a->reject_code != b->reject_code)
		return "reject";
	if (a->cacheable != b->cacheable || a->tcp_mask != b->tcp_mask)
		return "cacheable";
	if (a->n_counters != b->n_counters ||
	    memcmp(a->counter, b->counter, a->n_counters * sizeof(a->counter[0])) != 0)
		return "counters";
	if (a->n_logs != b->n_logs || a->logs_lost != b->logs_lost ||
	    memcmp(a->logs, b->logs, a->n_logs * sizeof(a->logs[0])) != 0)
		return "logs";
	if (a->mark != b->mark || a->steps != b->steps || a->generation != b->generation)
		return "mark, steps or generation";
	return NULL;
}

void trial_describe(const struct trial *trial)
{
	const struct merlon_walk *w = &trial->walk;

	fprintf(stderr,
		"# seed %" PRIu64 ", %u flat rules, %u subtables, %u planes; packet: hook %u family %u present %x; verdict %u (%u), "
		"rule %u (%td), steps %u, counters %u (%zu)\n",
		trial->seed, trial->policy->n_flat, trial->policy->n_subtables, trial->policy->n_planes, w->packet.hook, w->packet.family,
		w->packet.present, w->verdict, trial->naive.verdict, w->rule,
		trial->naive.chain ? trial->naive.rule - trial->naive.chain->rule : -1, w->steps, w->n_counters,
		trial->naive.n_counted);
}
