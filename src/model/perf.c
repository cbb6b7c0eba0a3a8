/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/perf.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "src/util/cleanup.h"

/* What is counted before and after, and the time between. */
struct span {
	const json_t *before, *after;
	double seconds;
};

static json_int_t number(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

/* How much more it is now; 0 where it began anew, as after `merlon stop`. */
static double grown(const struct span *s, const char *group, const char *key)
{
	const json_t *before = group ? json_object_get(s->before, group) : s->before;
	const json_t *after = group ? json_object_get(s->after, group) : s->after;
	json_int_t n = number(after, key) - number(before, key);

	return n > 0 ? (double)n : 0;
}

/* A mean, or null where there is nothing to take it of. */
static json_t *mean(double sum, double n)
{
	return n > 0 ? json_real(sum / n) : json_null();
}

static json_t *hook_rates(const struct span *s)
{
	static const char *const name[] = { "input", "forward", "output" };
	const struct span hooks = { json_object_get(s->before, "hooks"), json_object_get(s->after, "hooks"), s->seconds };
	json_t *list = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(name); i++)
		json_object_set_new(list, name[i], json_pack("{s:f, s:f}",
							     "packets_per_s", grown(&hooks, name[i], "packets") / s->seconds,
							     "bits_per_s", 8 * grown(&hooks, name[i], "bytes") / s->seconds));
	return list;
}

static json_t *interface_rates(const struct span *s)
{
	const json_t *now = json_object_get(s->after, "interface");

	/* another one may have got its name meanwhile */
	if (!json_is_object(now) || number(now, "index") != number(json_object_get(s->before, "interface"), "index"))
		return json_null();
	return json_pack("{s:O, s:O, s:f, s:f, s:f, s:f, s:I, s:I, s:I}", "name", json_object_get(now, "name"),
			 "filtered", json_object_get(now, "filtered"),
			 "rx_packets_per_s", grown(s, "interface", "rx_packets") / s->seconds,
			 "rx_bits_per_s", 8 * grown(s, "interface", "rx_bytes") / s->seconds,
			 "tx_packets_per_s", grown(s, "interface", "tx_packets") / s->seconds,
			 "tx_bits_per_s", 8 * grown(s, "interface", "tx_bytes") / s->seconds,
			 "rx_dropped", (json_int_t)grown(s, "interface", "rx_dropped"),
			 "rx_missed", (json_int_t)grown(s, "interface", "rx_missed"),
			 "tx_dropped", (json_int_t)grown(s, "interface", "tx_dropped"));
}

#define SAMPLES_LEAST 16
#define COLD_LITTLE 0.05	/* of the runs: so few that it hardly matters what they took */

/*
 * Of a packet. "all": what the attached programs took, by the kernel's count, over their runs. "cold": the long way, by the data
 * path's own clock, behind the look that every packet takes at the short one. "hot": that look, which is the rest.
 */
static json_t *costs(const struct span *s)
{
	double runs = grown(s, "programs", "runs"), ns = grown(s, "programs", "run_ns");
	double cold = grown(s, "cold", "packets"), timed = grown(s, "cold", "timed"), cold_ns = grown(s, "cold", "timed_ns");
	const json_t *ever = json_object_get(s->after, "cold");
	/* of the few that came none may have been timed */
	double cold_mean = timed > 0 ? cold_ns / timed : number(ever, "timed") ? (double)number(ever, "timed_ns") / number(ever, "timed") : 0;
	double rest = ns - cold * cold_mean;
	bool is_told = json_is_true(json_object_get(s->before, "timed")) && rest > 0 && (timed >= SAMPLES_LEAST || cold < COLD_LITTLE * runs);

	if (!json_is_true(json_object_get(s->before, "timed")))
		runs = 0;
	return json_pack("{s:o, s:o, s:o, s:I}", "all", mean(ns, runs), "hot", mean(rest, is_told ? runs : 0),
			 "cold", mean(cold_ns, timed), "cold_samples", (json_int_t)timed);
}

/* Of one processor; null: another process, or none. */
static json_t *load(const struct span *s, const json_t *before, const json_t *after)
{
	if (!json_is_object(before) || !json_is_object(after) || number(before, "pid") != number(after, "pid"))
		return json_null();
	return json_real(100 * (number(after, "cpu_ns") - number(before, "cpu_ns")) / (s->seconds * 1e9));
}

/* Of all processors together, and of the one that had most. */
static void add_softirq(const struct span *s, json_t *cpu)
{
	const json_t *before = json_object_get(s->before, "softirq_ns"), *after = json_object_get(s->after, "softirq_ns"), *now;
	double sum = 0, most = 0;
	size_t i;

	json_array_foreach(after, i, now) {
		double pct = (json_integer_value(now) - json_integer_value(json_array_get(before, i))) / (s->seconds * 1e7);

		sum += pct;
		most = pct > most ? pct : most;
	}
	json_object_set_new(cpu, "softirq", json_array_size(before) ? json_real(sum) : json_null());
	json_object_set_new(cpu, "softirq_most", json_array_size(before) ? json_real(most) : json_null());
}

static json_t *loads(const struct span *s)
{
	json_t *cpu = json_pack("{s:o, s:o}", "merlond", load(s, s->before, s->after),
				"answers", load(s, json_object_get(s->before, "answers"), json_object_get(s->after, "answers")));

	add_softirq(s, cpu);
	return cpu;
}

static void add_counted(const struct span *s, json_t *figures)
{
	static const struct {
		const char *count, *rate;	/* rate NULL: how many there were */
	} line[] = {
		{ "packets", "packets_per_s" }, { "new_sessions", "new_sessions_per_s" }, { "drops", "drops_per_s" },
		{ "rejects", "rejects_per_s" }, { "malformed", "malformed_per_s" }, { "invalid", "invalid_per_s" },
		{ "unjudged", "unjudged_per_s" }, { "events", "events_per_s" },
		{ "packets", NULL }, { "session_misses", NULL }, { "new_sessions", NULL }, { "drops", NULL }, { "rejects", NULL },
		{ "invalid", NULL }, { "events_lost", NULL }, { "rejects_lost", NULL }, { "sessions_full", NULL }, { "failed", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(line); i++) {
		double n = grown(s, "counts", line[i].count);

		if (line[i].rate)
			json_object_set_new(figures, line[i].rate, json_real(n / s->seconds));
		else
			json_object_set_new(figures, line[i].count, json_integer((json_int_t)n));
	}
	json_object_set_new(figures, "bits_per_s", json_real(8 * grown(s, "counts", "bytes") / s->seconds));
}

json_t *merlon_perf_figures(const json_t *before, const json_t *after)
{
	static const char *const as_it_is[] = {
		"generation", "mode", "torn_out", "interfaces", "sessions", "embryonic", "max_sessions", "maps_bytes", "rss_bytes", "ns_estimate",
	};
	struct span s = { before, after, (number(after, "time_ns") - number(before, "time_ns")) / 1e9 };
	double hits = grown(&s, "counts", "session_hits"), misses = grown(&s, "counts", "session_misses");
	json_t *figures;

	if (s.seconds <= 0)
		return NULL;
	figures = json_pack("{s:f, s:o, s:o, s:o, s:o, s:o}", "seconds", s.seconds, "hooks", hook_rates(&s),
			    "interface", interface_rates(&s), "hit_rate", mean(hits, hits + misses), "ns_per_packet", costs(&s),
			    "cpu_pct", loads(&s));
	if (!figures)
		return NULL;
	add_counted(&s, figures);
	for (size_t i = 0; i < ARRAY_SIZE(as_it_is); i++)
		json_object_set(figures, as_it_is[i], json_object_get(after, as_it_is[i]));
	return figures;
}
