/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether the figures are those of a healthy data plane, and if not, why and what can be done. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bpf/abi.h"
#include "src/model/perf.h"
#include "src/util/cleanup.h"

#define HIT_RATE_LEAST 0.99
#define PACKETS_LEAST 1000	/* with fewer a rate says nothing */
#define SAMPLES_LEAST 16
#define COLD_NS_MOST 5000.0
#define COLD_TIMES_MOST 4	/* what the compiler estimated */
#define ESTABLISHED_MOST 0.8	/* of those that there is room for */
#define FULL 0.9
#define MERLOND_PCT_MOST 2.0
#define ANSWERS_PCT_MOST 10.0
#define SOFTIRQ_PCT_MOST 90.0

enum health { UNKNOWN, HEALTHY, UNHEALTHY };

static json_int_t number(const json_t *f, const char *key)
{
	return json_integer_value(json_object_get(f, key));
}

static double real(const json_t *f, const char *key)
{
	return json_number_value(json_object_get(f, key));
}

static void find(json_t *f, const char *about, enum health health, const char *cure, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* `cure`: NULL, or what can be done. */
static void find(json_t *f, const char *about, enum health health, const char *cure, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	json_array_append_new(json_object_get(f, "findings"),
			      json_pack("{s:s, s:o, s:s?, s:s?}", "about", about,
					"healthy", health == UNKNOWN ? json_null() : json_boolean(health == HEALTHY), "text", text, "cure", cure));
	if (health == UNHEALTHY)
		json_object_set_new(f, "healthy", json_false());
}

static void judge_policy(json_t *f)
{
	const char *mode = json_string_value(json_object_get(f, "mode"));

	if (json_is_true(json_object_get(f, "torn_out")))
		find(f, "policy", UNHEALTHY, "`merlon status` says what to do", "not enforced any more: its pins were removed");
	else if (!mode || !strcmp(mode, "idle"))
		find(f, "policy", UNKNOWN, NULL, "none is in force: everything passes");
	else if (json_is_integer(json_object_get(f, "interfaces")) && !number(f, "interfaces"))
		find(f, "policy", UNHEALTHY, "[Network] Interfaces= in merlon.conf(5) says which are filtered; `merlon status` has what it says now",
		     "in force on no interface: everything passes");
	else
		find(f, "policy", HEALTHY, NULL, "%s", !strcmp(mode, "audit") ? "judged, and nothing is dropped: audit" : "enforced");
}

/* What most of the packets were that no session answered for. */
static void explain_misses(json_t *f, double rate)
{
	json_int_t misses = number(f, "session_misses"), denied = number(f, "drops") + number(f, "rejects");
	json_int_t begun = number(f, "new_sessions"), invalid = number(f, "invalid"), rest = misses - denied - begun;

	/* what is invalid and denied is both */
	if (denied >= begun && denied >= rest)
		find(f, "hit rate", UNHEALTHY, "`merlon monitor` shows them with their rule; what comes from few senders is cheapest stopped ahead of this host",
		     "%.1f %%: of %lld packets that the rules decided %lld were denied, which no session remembers%s", 100 * rate,
		     (long long)misses, (long long)denied, 2 * invalid > denied ? "; most are invalid" : "");
	else if (begun >= rest)
		find(f, "hit rate", UNHEALTHY, "`merlon sessions` shows them: a scan or a flood is denied by a rule, short connections of a service can be kept open",
		     "%.1f %%: of %lld packets that the rules decided %lld began a flow", 100 * rate, (long long)misses, (long long)begun);
	else
		find(f, "hit rate", UNHEALTHY, "put `ct state established accept` ahead of rules with limit, length, mark or other matches of each packet",
		     "%.1f %%: of %lld packets that the rules decided %lld belong to flows that are known, or to none; they meet rules that "
		     "look at each packet, or the policy or the routes have just changed",
		     100 * rate, (long long)misses, (long long)rest);
}

static void judge_hit_rate(json_t *f)
{
	const json_t *rate = json_object_get(f, "hit_rate");

	if (number(f, "packets") < PACKETS_LEAST || !json_is_number(rate))
		find(f, "hit rate", UNKNOWN, NULL, "too few packets to say: %lld", (long long)number(f, "packets"));
	else if (json_number_value(rate) < HIT_RATE_LEAST)
		explain_misses(f, json_number_value(rate));
	else
		find(f, "hit rate", HEALTHY, NULL, "%.2f %%", 100 * json_number_value(rate));
}

static void judge_cold(json_t *f)
{
	const json_t *costs = json_object_get(f, "ns_per_packet");
	double cold = real(costs, "cold"), most = COLD_TIMES_MOST * real(f, "ns_estimate");

	if (most < COLD_NS_MOST)
		most = COLD_NS_MOST;
	if (number(costs, "cold_samples") < SAMPLES_LEAST)
		find(f, "long way", UNKNOWN, NULL, "too few packets went it to say what it costs");
	else if (cold > most)
		find(f, "long way", UNHEALTHY, "is the processor shared with others (steal in top), or the kernel one for debugging? `merlon check` says what the ruleset should cost",
		     "%.0f ns for a packet that no session answers for, more than %.0f", cold, most);
	else
		find(f, "long way", HEALTHY, NULL, "%.0f ns for a packet that no session answers for", cold);
}

static void judge_sessions(json_t *f)
{
	json_int_t established = number(f, "sessions"), embryonic = number(f, "embryonic"), room = number(f, "max_sessions");
	json_int_t full = number(f, "sessions_full");
	double most = (double)room * MERLON_WAYS_ESTABLISHED / MERLON_WAYS;
	const char *raise = "raise [Sessions] Max= in merlon.conf(5), then `merlon stop`, and apply the ruleset again";

	if (full)
		find(f, "sessions", UNHEALTHY, raise, "%lld flow%s found no place in the table or could not keep it", (long long)full,
		     full == 1 ? "" : "s");
	else if (established > ESTABLISHED_MOST * most)
		find(f, "sessions", UNHEALTHY, raise, "%lld established ones are near the limit of %.0f", (long long)established, most);
	else if (established + embryonic > FULL * room && number(f, "new_sessions"))
		find(f, "sessions", UNHEALTHY, "established ones keep their places; deny what begins so many, or raise [Sessions] Max=",
		     "the table is full: flows that have not proved themselves push one another out, %.0f a second", real(f, "new_sessions_per_s"));
	else
		find(f, "sessions", HEALTHY, NULL, "%lld of %lld", (long long)(established + embryonic), (long long)room);
}

static void judge_events(json_t *f)
{
	json_int_t lost = number(f, "events_lost");

	if (lost)
		find(f, "events", UNHEALTHY, "each packet that is denied or logged is one: `limit rate` in rules that log, and a flood is best stopped ahead of this host",
		     "%lld lost: merlond could not read them as fast as they came", (long long)lost);
	else
		find(f, "events", HEALTHY, NULL, "none lost");
}

static void judge_answers(json_t *f)
{
	const json_t *pct = json_object_get(json_object_get(f, "cpu_pct"), "answers");
	json_int_t lost = number(f, "rejects_lost");

	if (lost)
		find(f, "answers", UNHEALTHY, "does merlon-answers run (`merlon status`)? drop what comes as a flood instead of rejecting it",
		     "%lld rejected packets got no answer", (long long)lost);
	else if (json_number_value(pct) > ANSWERS_PCT_MOST)
		find(f, "answers", UNHEALTHY, "drop what comes as a flood instead of rejecting it",
		     "merlon-answers takes %.1f %% of a processor", json_number_value(pct));
	else
		find(f, "answers", HEALTHY, NULL, "none lost");
}

static void judge_merlond(json_t *f)
{
	const json_t *pct = json_object_get(json_object_get(f, "cpu_pct"), "merlond");
	double events = real(f, "events_per_s");

	if (!json_is_number(pct))
		find(f, "merlond", UNKNOWN, NULL, "it was started anew");
	else if (json_number_value(pct) > MERLOND_PCT_MOST)
		find(f, "merlond", UNHEALTHY, events > 100 ? "each packet that is denied or logged is one: `merlon monitor` shows them; `limit rate` in rules that log" :
		     "it is busy while policies are applied or edited and lists are asked for; if nobody does so, `journalctl -u merlond`",
		     "takes %.1f %% of a processor, with %.0f events a second", json_number_value(pct), events);
	else
		find(f, "merlond", HEALTHY, NULL, "%.1f %% of a processor", json_number_value(pct));
}

static void judge_softirq(json_t *f)
{
	const json_t *most = json_object_get(json_object_get(f, "cpu_pct"), "softirq_most");

	if (!json_is_number(most))
		find(f, "softirq", UNKNOWN, NULL, "cannot read /proc/stat");
	else if (json_number_value(most) > SOFTIRQ_PCT_MOST)
		find(f, "softirq", UNHEALTHY, "spread the packets: more queues (`ethtool -L`), or RPS",
		     "one processor spends %.0f %% of its time there", json_number_value(most));
	else
		find(f, "softirq", HEALTHY, NULL, "at most %.0f %% of a processor", json_number_value(most));
}

static void judge_failures(json_t *f)
{
	json_int_t failed = number(f, "failed");

	if (failed)
		find(f, "data path", UNHEALTHY, "that is a mistake of merlon's; please report it",
		     "could not go on with %lld packet%s, and dropped them", (long long)failed, failed == 1 ? "" : "s");
	else
		find(f, "data path", HEALTHY, NULL, "no failures");
}

static void judge_interface(json_t *f)
{
	const json_t *i = json_object_get(f, "interface");
	const char *name = json_string_value(json_object_get(i, "name"));
	/* rx_dropped are also frames of protocols that nobody listens to */
	json_int_t dropped = number(i, "rx_missed") + number(i, "tx_dropped");

	if (!name)
		return;
	if (!number(f, "generation"))
		find(f, "interface", UNKNOWN, NULL, "interfaces are filtered from the first policy on");
	else if (!json_is_true(json_object_get(i, "filtered")))
		find(f, "interface", UNHEALTHY, "[Network] Interfaces= in merlon.conf(5) says which are; what is routed to it is judged where it comes in",
		     "%s is not filtered", name);
	else if (dropped)
		find(f, "interface", UNHEALTHY, "a queue was full or memory short: `ip -s -s link show`; longer rings by `ethtool -G`",
		     "the kernel dropped %lld packet%s on %s", (long long)dropped, dropped == 1 ? "" : "s", name);
	else
		find(f, "interface", HEALTHY, NULL, "no full queues on %s", name);
}

int merlon_perf_judge(json_t *f)
{
	json_object_set_new(f, "healthy", json_true());
	if (json_object_set_new(f, "findings", json_array()) < 0)
		return -ENOMEM;
	judge_policy(f);
	judge_hit_rate(f);
	judge_cold(f);
	judge_sessions(f);
	judge_events(f);
	judge_answers(f);
	judge_merlond(f);
	judge_softirq(f);
	judge_failures(f);
	judge_interface(f);
	return 0;
}
