/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `merlon status`, `stats` and `sessions` say. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bpf/tcp.h"
#include "src/model/event.h"
#include "src/model/limits.h"
#include "src/model/report.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

static json_t *attached_names(const struct merlon_daemon *d)
{
	unsigned attached[4096];
	size_t i, n = merlon_dataplane_attached(d->dp, attached, ARRAY_SIZE(attached));
	json_t *list = json_array();

	for (i = 0; i < n; i++) {
		const char *name = merlon_links_name(d, attached[i]);

		if (name)
			json_array_append_new(list, merlon_report_text(name));
	}
	return list;
}

static json_t *source_names(const struct merlon_daemon *d)
{
	json_t *list = json_array();
	const json_t *s;
	size_t i;

	json_array_foreach(d->enforced.sources, i, s)
		json_array_append(list, json_object_get(s, "file"));
	return list;
}

const char *merlon_mode(const struct merlon_daemon *d, bool audit)
{
	if (!merlon_dataplane_generation(d->dp) || merlon_dataplane_is_torn_out(d->dp) || (d->enforced.ruleset && !merlon_ruleset_filters(d->enforced.ruleset)))
		return "idle";
	return audit ? "audit" : "enforce";
}

static void add_policy(const struct merlon_daemon *d, json_t *status)
{
	const struct merlon_policy *p = d->enforced.policy;

	json_object_set_new(status, "policy_known", json_boolean(p != NULL));
	if (!p)
		return;
	json_object_set_new(status, "rules", json_integer(d->enforced.totals.rules));
	json_object_set_new(status, "kept", json_integer(d->enforced.totals.kept));
	json_object_set_new(status, "left_out", merlon_report_left_out(d->enforced.ruleset));
	json_object_set_new(status, "flat_rules", json_integer(p->n_flat));
	json_object_set_new(status, "subtables", json_integer(p->n_subtables));
	json_object_set_new(status, "planes", json_integer(p->n_planes));
	json_object_set_new(status, "image_bytes", json_integer(p->words * 8LL));
	json_object_set_new(status, "ns_estimate", json_integer(p->ns_estimate));
	json_object_set_new(status, "limits", merlon_limits(d->enforced.concerns));
	json_object_set_new(status, "since_us", json_integer(d->enforced.since_us));
}

/* Where a setting stands: it may be a drop-in. "FILE:LINE" is cut for it. */
static struct merlon_place place_of(const struct merlon_daemon *d, const char *key, char from[PATH_MAX + 16])
{
	struct merlon_place place = { .file = d->settings.config };
	char *colon;
	size_t i;

	for (i = 0; i < d->settings.n_settings; i++)
		if (!strcmp(d->settings.setting[i].key, key)) {
			snprintf(from, PATH_MAX + 16, "%s", d->settings.setting[i].from);
			colon = strrchr(from, ':');
			if (colon) {
				*colon = '\0';
				place = (struct merlon_place){ from, strtoul(colon + 1, NULL, 10) };
			}
		}
	return place;
}

/* `text`: "[Section] KEY=value" */
static void warn_kept(const struct merlon_daemon *d, const char *key, const char *text, const char *kept, struct merlon_diag *diag)
{
	char from[PATH_MAX + 16];

	merlon_diag_add(diag, MERLON_WARNING, place_of(d, key, from),
			"%s is not in force: the data plane was made with %s, and keeps that", text, kept);
	merlon_diag_cure(diag, "it is made anew after `merlon stop`: until merlond has started and the ruleset is applied again "
			 "nothing is filtered, and connections are forgotten");
}

void merlon_kept_warn(const struct merlon_daemon *d, const struct merlon_dataplane_info *info, struct merlon_diag *diag)
{
	char text[32], kept[16];

	/* as it was written, where it comes to the same */
	if (merlon_sessions_room(d->settings.max_sessions) != info->max_sessions) {
		snprintf(text, sizeof(text), "[Sessions] Max=%u", d->settings.max_sessions);
		snprintf(kept, sizeof(kept), "%u", info->max_sessions);
		warn_kept(d, "Max", text, kept, diag);
	}
	if (d->settings.attach == MERLON_ATTACH_TCX && !info->tcx)
		warn_kept(d, "Attach", "[Network] Attach=tcx", "clsact", diag);
	else if (d->settings.attach == MERLON_ATTACH_CLSACT && info->tcx)
		warn_kept(d, "Attach", "[Network] Attach=clsact", "tcx", diag);
}

static void warn_full(const struct merlon_daemon *d, uint64_t n, struct merlon_diag *diag)
{
	if (!n)
		return;
	merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ .file = d->settings.config },
			"the table of sessions was full: %llu flow%s found no place or could not keep it", (unsigned long long)n,
			n == 1 ? "" : "s");
	merlon_diag_cure(diag, "raise [Sessions] Max=, then `merlon stop`, and apply the ruleset again");
}

/* What is not as one would think it is. */
static json_t *messages(const struct merlon_daemon *d, const struct merlon_dataplane_info *info, const struct merlon_stats *stats)
{
	struct merlon_diag diag = { 0 };
	json_t *list;

	merlon_links_warn(d, &diag);
	merlon_kept_warn(d, info, &diag);
	merlon_answering_warn(d, &diag);
	warn_full(d, stats->count[MERLON_STAT_SESSIONS_FULL], &diag);
	list = merlon_report_messages(&diag);
	merlon_diag_clear(&diag);
	return list;
}

json_t *merlon_config(const struct merlon_daemon *d)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < d->settings.n_settings; i++) {
		const struct merlon_setting *s = &d->settings.setting[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o}", "section", s->section, "key", s->key,
						      "value", merlon_report_text(s->value), "from", merlon_report_text(s->from)));
	}
	return list;
}

static json_t *trackers(const struct merlon_daemon *d)
{
	json_t *list = json_object();
	const char *sysctl;
	uint64_t value;
	size_t i;

	for (i = 0; merlon_tracker_setting(&d->trackers, i, &sysctl, &value); i++)
		json_object_set_new(list, sysctl, json_integer(value));
	return list;
}

json_t *merlon_status(struct merlon_daemon *d)
{
	struct merlon_dataplane_info info;
	uint32_t established, embryonic;
	struct merlon_stats stats;
	json_t *status;

	if (merlon_dataplane_info(d->dp, &info) < 0 || merlon_dataplane_stats(d->dp, &stats) < 0)
		return NULL;
	merlon_daemon_count_sessions(d, &established, &embryonic);
	status = json_pack("{s:i, s:I, s:I, s:s, s:s, s:o, s:o, s:o, s:i, s:i, s:i, s:{s:i}, s:I, s:I, s:I, s:s}",
			   "pid", (int)getpid(),
			   "uptime_s", (json_int_t)((merlon_now_ns() / 1000 - d->started_us) / 1000000),
			   "generation", (json_int_t)merlon_dataplane_generation(d->dp),
			   "mode", merlon_mode(d, info.audit),
			   "attach", info.tcx ? "tcx" : "clsact",
			   "interfaces", attached_names(d),
			   "interfaces_chosen", merlon_report_text(d->settings.interfaces),
			   "sources", source_names(d),
			   "sessions", (int)established, "max_sessions", (int)info.max_sessions,
			   "embryonic", (int)embryonic,
			   "configured", "max_sessions", (int)d->settings.max_sessions,
			   "memory_bytes", (json_int_t)info.memory_bytes,
			   "image_room_bytes", (json_int_t)info.image_words * 8,
			   "events_lost", (json_int_t)stats.count[MERLON_STAT_EVENTS_LOST],
			   "pin_dir", d->settings.pin_dir);
	if (status)
		add_policy(d, status);
	json_object_set_new(status, "policy_netns", d->space.mounted ? json_string(d->settings.policy_netns) : json_null());
	json_object_set_new(status, "netns_differs", json_boolean(d->space.differs));
	if (d->space.differs)
		json_object_set(status, "netns_messages", d->space.differs);
	json_object_set_new(status, "trackers", trackers(d));
	json_object_set_new(status, "edited", json_boolean(d->enforced.edited));
	json_object_set_new(status, "messages", messages(d, &info, &stats));
	return status;
}

static json_t *brief(const struct merlon_rule *rule)
{
	_cleanup_free_ char *text = merlon_rule_brief(rule);

	return merlon_report_text(text ? text : "");
}

static json_t *counter_json(const struct merlon_daemon *d, const struct merlon_chain *chain, const struct merlon_rule *rule,
			    const struct merlon_counter *counted)
{
	const struct merlon_table *table = &d->enforced.ruleset->table[chain->table];

	return json_pack("{s:s?, s:s, s:o*, s:o, s:o, s:i, s:I, s:I, s:I}", "family", merlon_nfproto_name(table->family), "table", table->name,
			 "chain", json_string(chain->name), "rule", brief(rule),
			 "file", merlon_report_text(rule->place.file),
			 "line", (int)rule->place.line, "handle", (json_int_t)rule->handle,
			 "packets", (json_int_t)counted->packets, "bytes", (json_int_t)counted->bytes);
}

struct by_rule {
	const struct merlon_rule *rule;
	uint32_t index;
};

static int compare(const void *a, const void *b)
{
	const struct by_rule *x = a, *y = b;

	if (x->rule != y->rule)
		return x->rule < y->rule ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* The first of a rule's counters. */
static size_t find(const struct by_rule *sorted, size_t n, const struct merlon_rule *rule)
{
	size_t low = 0;

	while (n > low) {
		size_t middle = low + (n - low) / 2;

		if (sorted[middle].rule < rule)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

/* The compiler numbers counters as it meets them; people read them in the order of their rules. */
static int add_in_order(const struct merlon_daemon *d, const struct merlon_counter *counted, json_t *list)
{
	const struct merlon_ruleset *ruleset = d->enforced.ruleset;
	const struct merlon_policy *p = d->enforced.policy;
	_cleanup_free_ struct by_rule *sorted = calloc(p->n_counters, sizeof(*sorted));
	size_t i, j, at;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < p->n_counters; i++)
		sorted[i] = (struct by_rule){ p->counter[i].rule, i };
	qsort(sorted, p->n_counters, sizeof(*sorted), compare);
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n; j++) {
			const struct merlon_rule *rule = &ruleset->chain[i].rule[j];

			for (at = find(sorted, p->n_counters, rule); at < p->n_counters && sorted[at].rule == rule; at++)
				json_array_append_new(list, counter_json(d, &ruleset->chain[i], rule, &counted[sorted[at].index]));
		}
	return 0;
}

int merlon_counts(const struct merlon_daemon *d, struct merlon_counter **ret)
{
	const struct merlon_policy *p = d->enforced.policy;
	_cleanup_free_ struct merlon_counter *counted = calloc(p->n_counters + 1, sizeof(*counted));
	uint32_t i;
	int r;

	if (!counted)
		return -ENOMEM;
	r = p->n_counters ? merlon_dataplane_counters(d->dp, p->first_counter, p->n_counters, counted) : 0;
	if (r < 0)
		return r;
	for (i = 0; i < p->n_counters && d->enforced.carried; i++) {
		counted[i].packets += d->enforced.carried[i].packets;
		counted[i].bytes += d->enforced.carried[i].bytes;
	}
	*ret = TAKE_PTR(counted);
	return 0;
}

static int add_rule_counters(const struct merlon_daemon *d, json_t *list)
{
	_cleanup_free_ struct merlon_counter *counted = NULL;
	int r;

	if (!d->enforced.policy || !d->enforced.policy->n_counters)
		return 0;
	r = merlon_counts(d, &counted);
	return r < 0 ? r : add_in_order(d, counted, list);
}

int merlon_write_json(json_t *json, FILE *out)
{
	int r = !json ? -ENOMEM : json_dumpf(json, out, JSON_COMPACT) < 0 ? -EIO : 0;

	json_decref(json);
	return r;
}

json_t *merlon_stats_counts(const struct merlon_stats *stats)
{
	static const struct {
		const char *name;
		enum merlon_stat stat;
	} field[] = {
		{ "packets", MERLON_STAT_PACKETS },
		{ "bytes", MERLON_STAT_BYTES },
		{ "session_hits", MERLON_STAT_HITS },
		{ "session_misses", MERLON_STAT_MISSES },
		{ "new_sessions", MERLON_STAT_NEW_SESSIONS },
		{ "accepted", MERLON_STAT_ACCEPTED },
		{ "drops", MERLON_STAT_DROPPED },
		{ "rejects", MERLON_STAT_REJECTED },
		{ "invalid", MERLON_STAT_INVALID },
		{ "malformed", MERLON_STAT_MALFORMED },
		{ "unjudged", MERLON_STAT_UNJUDGED },
		{ "sessions_full", MERLON_STAT_SESSIONS_FULL },
		{ "failed", MERLON_STAT_FAILED },
		{ "events", MERLON_STAT_EVENTS },
		{ "events_lost", MERLON_STAT_EVENTS_LOST },
		{ "rejects_lost", MERLON_STAT_REJECTS_LOST },
	};
	json_t *json = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(field); i++)
		json_object_set_new(json, field[i].name, json_integer(stats->count[field[i].stat]));
	return json;
}

int merlon_write_stats(struct merlon_daemon *d, FILE *out)
{
	struct merlon_stats stats;
	json_t *json, *counters;
	uint64_t asked;
	int r = merlon_dataplane_stats(d->dp, &stats);

	if (r < 0)
		return r;
	json = merlon_stats_counts(&stats);
	json_object_set_new(json, "counters", counters = json_array());
	asked = stats.count[MERLON_STAT_HITS] + stats.count[MERLON_STAT_MISSES];
	json_object_set_new(json, "hit_rate", json_real(asked ? (double)stats.count[MERLON_STAT_HITS] / asked : 0));
	json_object_set_new(json, "generation", json_integer(merlon_dataplane_generation(d->dp)));
	json_object_set_new(json, "audit", json_boolean(merlon_dataplane_audits(d->dp)));
	r = add_rule_counters(d, counters);
	if (r < 0) {
		json_decref(json);
		return r;
	}
	return merlon_write_json(json, out);
}

struct list {
	struct merlon_daemon *d;
	FILE *out;
	uint64_t now_ns;
	bool first;
};

static const char *state_of(const struct merlon_session_view *v, uint8_t l4proto)
{
	static const char *const tcp[MERLON_TCP_STATES] = {
		"none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close",
		"syn_sent2",
	};

	if (l4proto == IPPROTO_TCP && v->session.state < MERLON_TCP_STATES)
		return tcp[v->session.state];
	if (v->session.flags & MERLON_S_ASSURED)
		return "assured";
	return v->session.flags & MERLON_S_SEEN_REPLY ? "replied" : "unreplied";
}

/* A place in the flattened rules. */
struct spot {
	uint32_t generation, hook, index;
};

/*
 * What let the flow in. After a change of the policy: what lets it go on, of which only the originator's verdict says
 * what the flow is to this host.
 */
static struct spot spot_of(const struct merlon_daemon *d, const struct merlon_session *s)
{
	if (!d->enforced.policy || s->admitted_generation != d->enforced.policy->generation)
		return (struct spot){ 0 };
	return (struct spot){ s->admitted_generation, s->admitted >> 30, s->admitted & 0x3fffffff };
}

static json_t *rule_of(const struct merlon_daemon *d, const struct merlon_flat_origin *origin)
{
	const struct merlon_chain *chain;
	char text[128];

	if (!origin)
		return json_null();
	if (origin->rule)
		return brief(origin->rule);
	chain = &d->enforced.ruleset->chain[origin->chain];
	snprintf(text, sizeof(text), "chain %s policy %s", chain->name, chain->drop ? "drop" : "accept");
	return json_string(text);
}

struct ends {
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	uint16_t sport, dport;
	uint8_t l4proto;
};

static void read_ends(const struct merlon_session_view *v, struct ends *ret)
{
	bool from_a = v->session.flags & MERLON_S_ORIG_IS_A, v4 = v->family == MERLON_IPV4;
	const void *a = v4 ? (const void *)&v->tuple4.a : (const void *)v->tuple6.a;
	const void *b = v4 ? (const void *)&v->tuple4.b : (const void *)v->tuple6.b;
	uint16_t a_port = v4 ? v->tuple4.a_port : v->tuple6.a_port, b_port = v4 ? v->tuple4.b_port : v->tuple6.b_port;
	int af = v4 ? AF_INET : AF_INET6;

	inet_ntop(af, from_a ? a : b, ret->src, sizeof(ret->src));
	inet_ntop(af, from_a ? b : a, ret->dst, sizeof(ret->dst));
	ret->sport = ntohs(from_a ? a_port : b_port);
	ret->dport = ntohs(from_a ? b_port : a_port);
	ret->l4proto = v4 ? v->tuple4.l4proto : v->tuple6.l4proto;
	/* Queries keep their type in the port's place; what people know a ping by is its identifier. */
	if (ret->l4proto == IPPROTO_ICMP || ret->l4proto == IPPROTO_ICMPV6) {
		ret->sport = ntohs(v4 ? v->tuple4.id : v->tuple6.id);
		ret->dport = 0;
	}
}

static json_t *session_json(const struct list *list, const struct merlon_session_view *v)
{
	static const char *const direction[MERLON_HOOKS] = { "in", "forward", "out" };
	const struct merlon_session *s = &v->session;
	struct spot spot = spot_of(list->d, s);
	const struct merlon_flat_origin *origin = merlon_policy_origin(list->d->enforced.policy, spot.generation, spot.hook,
							       v->family, spot.index);
	const struct merlon_rule *rule = origin ? origin->rule : NULL;
	struct ends ends;
	char number[8];

	read_ends(v, &ends);
	return json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:i, s:b}",
			 "proto", merlon_protocol_name(ends.l4proto, number),
			 "src", ends.src, "sport", ends.sport, "dst", ends.dst, "dport", ends.dport,
			 "state", state_of(v, ends.l4proto),
			 "direction", spot.generation && spot.hook < MERLON_HOOKS ? direction[spot.hook] : NULL,
			 "packets", (json_int_t)(s->stats[0].packets + s->stats[1].packets),
			 "bytes", (json_int_t)(s->stats[0].bytes + s->stats[1].bytes),
			 "packets_original", (json_int_t)s->stats[0].packets, "bytes_original", (json_int_t)s->stats[0].bytes,
			 "packets_reply", (json_int_t)s->stats[1].packets, "bytes_reply", (json_int_t)s->stats[1].bytes,
			 "age_s", (json_int_t)(list->now_ns > s->created_ns ? (list->now_ns - s->created_ns) / 1000000000 : 0),
			 "expires_s", (json_int_t)((s->expires_ns - list->now_ns) / 1000000000),
			 "verdict", "accept",
			 "rule", rule_of(list->d, origin),
			 "file", merlon_report_text(rule ? rule->place.file : NULL), "line", rule ? (int)rule->place.line : 0,
			 "embryonic", v->embryonic);
}

static int list_session(void *context, const struct merlon_session_view *view)
{
	struct list *list = context;
	json_t *json;

	if (view->session.expires_ns <= list->now_ns)
		return 0;
	json = session_json(list, view);
	if (!json)
		return -ENOMEM;
	if (!list->first)
		fputs(",\n", list->out);
	list->first = false;
	json_dumpf(json, list->out, JSON_COMPACT);
	json_decref(json);
	return ferror(list->out) ? -EIO : 0;
}

int merlon_write_sessions(struct merlon_daemon *d, FILE *out)
{
	struct list list = { .d = d, .out = out, .now_ns = merlon_now_ns(), .first = true };
	int r;

	fputs("[", out);
	r = merlon_dataplane_sessions(d->dp, list_session, &list);
	fputs("]\n", out);
	return r;
}
