/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/compile/explain.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/naive.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"

#define NOWHERE 0xffffffffU	/* index of an interface that this host does not have */

static const char *const verdict_name[] = {
	[MERLON_CONTINUE] = "continue", [MERLON_ACCEPT] = "accept", [MERLON_DROP] = "drop", [MERLON_REJECT] = "reject",
};
static const char *const hook_name[MERLON_HOOKS] = { "input", "forward", "output" };
static const char *const state_name[MERLON_CT_STATES] = { "invalid", "established", "related", "new", "untracked" };
static const char *const direction_name[MERLON_DIRECTIONS] = { "original", "reply" };

void merlon_why_ask(const struct merlon_question *question, enum merlon_hook hook, struct merlon_why *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->hook = hook;
	ret->side = hook == MERLON_INPUT ? MERLON_INGRESS : MERLON_EGRESS;
	ret->bytes = question->length;
	ret->given_state = question->state == MERLON_QUESTION_ANY ? MERLON_CT_STATES : question->state;
	ret->given_direction = question->direction == MERLON_QUESTION_ANY ? MERLON_ORIGINAL : question->direction;
}

static int parse(const struct merlon_question *question, struct merlon_headers *ret)
{
	__u8 bytes[MERLON_QUESTION_BYTES];
	struct merlon_buffer buffer = { bytes, merlon_question_packet(question, bytes) };

	return merlon_parse(&buffer, question->family, buffer.bytes, ret);
}

int merlon_why_tuple(const struct merlon_question *question, union merlon_tuple *ret)
{
	struct merlon_headers h;

	if (parse(question, &h) || merlon_tracking(&h) != MERLON_TRACK_SESSION)
		return -1;
	return merlon_tuple_make(ret, &h) < 0 ? -1 : 0;
}

static uint32_t index_of(const char *name)
{
	unsigned index = *name ? if_nametoindex(name) : 0;

	return *name && !index ? NOWHERE : index;
}

/* As merlon_view() of bpf/cold.h does it from an skb. */
static void fill_view(const struct merlon_explain *explain, const struct merlon_question *question,
		      const struct merlon_why *why, const struct merlon_context *context, struct merlon_packet *packet)
{
	const struct merlon_policy *policy = explain->policy;
	bool input = why->hook == MERLON_INPUT;

	packet->hook = why->hook;
	packet->iif = why->iif;
	packet->oif = why->oif;
	packet->ct_state = context->ct_state;
	packet->ct_direction = why->packet.ct_direction;
	merlon_put(packet, MERLON_F_IIF, merlon_policy_iface_class(policy, why->iif, explain->iif));
	merlon_put(packet, MERLON_F_OIF, merlon_policy_iface_class(policy, why->oif, explain->oif));
	merlon_put(packet, MERLON_F_CT_STATE, context->ct_state);
	if (merlon_why_has_direction(context->ct_state))
		merlon_put(packet, MERLON_F_CT_DIRECTION, why->packet.ct_direction);
	merlon_put(packet, MERLON_F_MARK, question->mark);
	merlon_put(packet, MERLON_F_PKTTYPE, input ? question->pkttype : PACKET_HOST);
	if (input && strcmp(explain->iif, "lo") != 0) {
		merlon_put(packet, MERLON_F_ETHER_SADDR_HIGH, merlon_be32(question->mac));
		merlon_put(packet, MERLON_F_ETHER_SADDR_LOW, merlon_be16(question->mac + 4));
	}
}

int merlon_why_native(const struct merlon_explain *explain, const struct merlon_question *question,
		      struct merlon_why *why)
{
	static const struct merlon_trackers trackers = { .tcp_loose = 1 };
	struct merlon_native *native = NULL;
	struct merlon_walk walk = { 0 };
	struct merlon_context context = { 0 };
	struct merlon_headers h;
	int r = merlon_native_new(explain->policy, &native);

	if (r < 0)
		return r;
	if (!why->now_ns)
		why->now_ns = explain->loaded_ns;
	if (!why->iif)
		why->iif = index_of(explain->iif);
	if (!why->oif)
		why->oif = index_of(explain->oif);
	if (!parse(question, &h)) {
		merlon_why_lengthen(&h, why->bytes);
		context.tcp_flags = h.tcp_flags;
		merlon_why_track(why, &h, &context, &trackers);
		merlon_fill_packet(&walk.packet, &h);
		fill_view(explain, question, why, &context, &walk.packet);
		walk.now_ns = why->now_ns;
		merlon_native_classify(native, &walk);
		merlon_why_take(why, &walk);
	}
	merlon_native_free(native);
	return why->judged ? 0 : -EINVAL;
}

static json_t *text_of(const struct merlon_rule *rule)
{
	_cleanup_free_ char *text = merlon_rule_brief(rule);

	return merlon_report_text(text ? text : "");
}

/* The chain that a rule is in. */
static const struct merlon_chain *chain_of(const struct merlon_ruleset *ruleset, const struct merlon_rule *rule)
{
	for (size_t i = 0; i < ruleset->n_chains; i++)
		if (rule >= ruleset->chain[i].rule && rule < ruleset->chain[i].rule + ruleset->chain[i].n)
			return &ruleset->chain[i];
	return NULL;
}

/* {"table","chain","rule","file","line","handle"}; rule NULL: the chain's policy. */
static json_t *place_json(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain,
			  const struct merlon_rule *rule)
{
	json_t *text = rule ? text_of(rule) : json_sprintf("policy %s", chain->drop ? "drop" : "accept");

	return json_pack("{s:s, s:s, s:o, s:o, s:i, s:I}", "table", ruleset->table[chain->table].name, "chain", chain->name,
			 "rule", text, "file", merlon_report_text(rule ? rule->place.file : NULL),
			 "line", rule ? (int)rule->place.line : 0, "handle", (json_int_t)(rule ? rule->handle : 0));
}

static json_t *rule_json(const struct merlon_ruleset *ruleset, const struct merlon_rule *rule)
{
	const struct merlon_chain *chain = chain_of(ruleset, rule);

	return chain ? place_json(ruleset, chain, rule) : json_null();
}

static json_t *origin_json(const struct merlon_policy *policy, const struct merlon_flat_origin *origin)
{
	return place_json(policy->ruleset, &policy->ruleset->chain[origin->chain], origin->rule);
}

static json_t *counters_json(const struct merlon_policy *policy, const struct merlon_why *why)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < why->n_counters && i < MERLON_PATH_COUNTERS; i++) {
		uint32_t counter = why->counter[i] - policy->first_counter;

		if (counter < policy->n_counters)
			json_array_append_new(list, rule_json(policy->ruleset, policy->counter[counter].rule));
	}
	return list;
}

static json_t *logged_json(const struct merlon_policy *policy, const struct merlon_why *why)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < why->n_logs && i < MERLON_WALK_LOGS; i++) {
		const struct merlon_flat_origin *origin = merlon_policy_origin(policy, why->generation, why->packet.hook,
									       why->packet.family, why->logs[i].rule);

		if (origin)
			json_array_append_new(list, origin_json(policy, origin));
	}
	return list;
}

/* The way through the ruleset. */
struct trace {
	const struct merlon_explain *explain;
	const struct merlon_why *why;
	json_t *list;
};

static void on_met(void *context, const struct merlon_rule *rule)
{
	struct trace *t = context;

	json_array_append_new(t->list, rule_json(t->explain->policy->ruleset, rule));
}

/* Whether a bucket had a token, by the classifier's own arithmetic. */
static bool on_take(void *context, const struct merlon_rule *rule, const struct merlon_statement *s)
{
	struct trace *t = context;
	const struct merlon_policy *policy = t->explain->policy;
	struct merlon_walk walk = { .packet = t->why->packet, .now_ns = t->why->now_ns };
	struct merlon_env env = {
		.image = (const __u64 *)policy->image, .walk = &walk, .mask = policy->room - 1,
		.limits = (__u64 *)t->explain->limits, .first_limit = policy->first_limit, .n_limits = policy->n_limits,
	};
	const struct merlon_image *image = (const void *)policy->image;

	(void)rule;
	for (uint32_t i = 0; i < policy->n_limits; i++)
		if (&policy->limit[i].rule->statement[policy->limit[i].statement] == s)
			return merlon_take(&env, image->limits + i * (sizeof(struct merlon_image_limit) / 8));
	return true;
}

/* Follows the packet through the ruleset. 1: it ends where the classifier's answer does. */
static int follow(struct trace *t, const struct merlon_flat_origin *decided)
{
	const struct merlon_explain *explain = t->explain;
	struct merlon_naive_result *naive = malloc(sizeof(*naive));
	struct merlon_naive_input input = {
		.ruleset = explain->policy->ruleset, .packet = &t->why->packet, .iif_name = explain->iif,
		.oif_name = explain->oif, .address = explain->address, .n_addresses = explain->n_addresses,
		.age_ms = (t->why->now_ns - explain->loaded_ns) / 1000000, .take = on_take, .met = on_met, .context = t,
	};
	int r;

	if (!naive)
		return -ENOMEM;
	r = merlon_naive(&input, naive);
	if (!r)
		r = naive->verdict == t->why->verdict && naive->chain && naive->rule == decided->rule &&
		    naive->chain == &explain->policy->ruleset->chain[decided->chain];
	free(naive);
	return r;
}

/* What was counted and logged, where no more is known for certain. */
static json_t *traces_left(const json_t *counters, const json_t *logged)
{
	json_t *list = json_array();

	json_array_extend(list, (json_t *)counters);
	json_array_extend(list, (json_t *)logged);
	return list;
}

static void add_trace(const struct merlon_explain *explain, const struct merlon_why *why,
		      const struct merlon_flat_origin *decided, json_t *answer)
{
	_cleanup_free_ uint64_t *full = calloc(explain->policy->n_limits + 1, sizeof(*full));
	struct merlon_explain with = *explain;
	struct trace t = { .explain = &with, .why = why, .list = json_array() };
	bool complete;

	if (!with.limits)
		with.limits = full;
	complete = with.limits && decided && follow(&t, decided) == 1;
	/* the rule that decided is told apart */
	if (complete && decided->rule && json_array_size(t.list))
		json_array_remove(t.list, json_array_size(t.list) - 1);
	if (!complete) {
		json_decref(t.list);
		t.list = traces_left(json_object_get(answer, "counters"), json_object_get(answer, "logged"));
	}
	json_object_set_new(answer, "trace", t.list);
	json_object_set_new(answer, "trace_complete", json_boolean(complete || !decided));
}

static json_t *reject_json(const struct merlon_why *why)
{
	if (why->verdict != MERLON_REJECT)
		return json_null();
	if (why->reject == MERLON_REJECT_TCP_RST)
		return json_pack("{s:s}", "type", "tcp reset");
	return json_pack("{s:s, s:i}", "type", why->packet.family == MERLON_IPV4 ? "icmp" : "icmpv6", "code",
			 why->reject_code);
}

/* What a session remembers for such packets: what the rules say of them now, or it would not hold. */
static json_t *decision_json(const struct merlon_policy *policy, const struct merlon_why *why)
{
	const struct merlon_decision *d = &why->decision;
	const struct merlon_flat_origin *origin;
	json_t *json;

	if (!why->cached)
		return json_null();
	origin = merlon_policy_origin(policy, d->generation, d->hook, why->packet.family, why->rule);
	json = origin ? origin_json(policy, origin) : json_object();
	json_object_set_new(json, "verdict", json_string(verdict_name[d->verdict % ARRAY_SIZE(verdict_name)]));
	return json;
}

static void add_rules(const struct merlon_explain *explain, const struct merlon_why *why, json_t *answer)
{
	bool known = explain->policy && why->generation == explain->policy->generation;
	const struct merlon_policy *policy = known ? explain->policy : NULL;
	const struct merlon_flat_origin *decided = merlon_policy_origin(policy, why->generation, why->packet.hook,
									why->packet.family, why->rule);
	json_t *place = decided ? origin_json(policy, decided) :
				  json_pack("{s:n, s:n, s:n, s:n, s:i, s:i}", "table", "chain", "rule", "file", "line", 0,
					    "handle", 0);

	json_object_update(answer, place);
	json_decref(place);
	json_object_set_new(answer, "policy", json_boolean(decided && !decided->rule));
	json_object_set_new(answer, "rules_known", json_boolean(known));
	json_object_set_new(answer, "decision", decision_json(policy, why));
	json_object_set_new(answer, "counters", policy ? counters_json(policy, why) : json_array());
	json_object_set_new(answer, "logged", policy ? logged_json(policy, why) : json_array());
	if (policy)
		add_trace(explain, why, decided, answer);
	else
		json_object_set_new(answer, "trace", json_array());
}

json_t *merlon_explain(const struct merlon_explain *explain, const struct merlon_why *why)
{
	const struct merlon_packet *p = &why->packet;
	json_t *answer = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:b, s:b, s:b, s:o, s:I, s:i, s:I}",
				   "verdict", verdict_name[why->verdict % ARRAY_SIZE(verdict_name)],
				   "hook", hook_name[p->hook % MERLON_HOOKS],
				   "family", p->family == MERLON_IPV4 ? "ip" : "ip6",
				   "state", state_name[p->ct_state % MERLON_CT_STATES],
				   "direction", merlon_why_has_direction(p->ct_state) ? direction_name[p->ct_direction & 1] : NULL,
				   "cached", why->cached, "session", why->has_session, "failed", why->failed,
				   "reject", reject_json(why), "mark", (json_int_t)why->mark,
				   "steps", (int)why->steps, "generation", (json_int_t)why->generation);

	if (!answer)
		return NULL;
	json_object_set_new(answer, "judged", json_true());
	json_object_set_new(answer, "iif", merlon_report_text(explain->iif));
	json_object_set_new(answer, "oif", merlon_report_text(explain->oif));
	add_rules(explain, why, answer);
	return answer;
}
