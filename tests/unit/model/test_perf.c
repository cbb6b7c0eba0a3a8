/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `merlon perf` makes of two answers: figures, and what of them is unhealthy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/perf.h"

static const char before_text[] =
	"{'time_ns': 1000000000, 'pid': 7, 'generation': 3, 'mode': 'enforce', 'torn_out': false, 'interfaces': 2, 'timed': true, 'cpu_ns': 5000000,"
	" 'counts': {'packets': 100, 'bytes': 1000, 'session_hits': 90, 'session_misses': 10, 'new_sessions': 5, 'drops': 1, 'rejects': 0,"
	"  'invalid': 0, 'malformed': 0, 'unjudged': 0, 'events': 0, 'events_lost': 2, 'rejects_lost': 0, 'sessions_full': 0, 'failed': 0},"
	" 'hooks': {'input': {'packets': 50, 'bytes': 500}, 'forward': {'packets': 0, 'bytes': 0}, 'output': {'packets': 50, 'bytes': 500}},"
	" 'cold': {'packets': 20, 'timed': 1, 'timed_ns': 900}, 'programs': {'runs': 1000, 'run_ns': 50000},"
	" 'sessions': 4, 'embryonic': 1, 'max_sessions': 1000, 'maps_bytes': 4096, 'rss_bytes': 8192, 'ns_estimate': 600,"
	" 'answers': {'pid': 8, 'cpu_ns': 100}, 'interface': null, 'softirq_ns': [0, 1000]}";

static json_t *answer(void)
{
	static char text[sizeof(before_text)];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = before_text[i] == '\'' ? '"' : before_text[i];
	return json_loads(text, 0, NULL);
}

/* `path`: "group.key", or "key". */
static void set(json_t *json, const char *path, json_t *value)
{
	const char *dot = strchr(path, '.');
	char group[32];

	if (!dot) {
		assert_int_equal(json_object_set_new(json, path, value), 0);
		return;
	}
	assert_true((size_t)(dot - path) < sizeof(group));
	memcpy(group, path, dot - path);
	group[dot - path] = 0;
	set(json_object_get(json, group), dot + 1, value);
}

static void put(json_t *json, const char *path, json_int_t value)
{
	set(json, path, json_integer(value));
}

/* Two seconds later: 100,000 packets, 999 of 1000 of which sessions answered. */
static json_t *later(void)
{
	json_t *json = answer();

	put(json, "time_ns", 3000000000);
	put(json, "counts.packets", 100100);
	put(json, "counts.bytes", 1000 + 25000000);
	put(json, "counts.session_hits", 90 + 99900);
	put(json, "counts.session_misses", 10 + 100);
	put(json, "counts.new_sessions", 5 + 60);
	put(json, "counts.drops", 1 + 30);
	set(json, "hooks.input", json_pack("{s:i, s:i}", "packets", 50 + 60000, "bytes", 500 + 20000000));
	set(json, "hooks.output", json_pack("{s:i, s:i}", "packets", 50 + 40000, "bytes", 500 + 5000000));
	set(json, "cold", json_pack("{s:i, s:i, s:i}", "packets", 20 + 2000, "timed", 1 + 40, "timed_ns", 900 + 40 * 1000));
	set(json, "programs", json_pack("{s:i, s:i}", "runs", 1000 + 200000, "run_ns", 50000 + 200000 * 40 + 2000 * 1000));
	put(json, "cpu_ns", 5000000 + 20000000);
	set(json, "answers", json_pack("{s:i, s:i}", "pid", 8, "cpu_ns", 100 + 2000000));
	set(json, "softirq_ns", json_pack("[i, i]", 1000000000, 1000 + 500000000));
	return json;
}

static json_t *figures_of(json_t *now)
{
	json_t *before = answer(), *figures = merlon_perf_figures(before, now);

	assert_non_null(figures);
	assert_int_equal(merlon_perf_judge(figures), 0);
	json_decref(before);
	json_decref(now);
	return figures;
}

static const json_t *get(const json_t *json, const char *path)
{
	const char *dot = strchr(path, '.');
	char group[32] = "";

	if (!dot)
		return json_object_get(json, path);
	memcpy(group, path, dot - path);
	return get(json_object_get(json, group), dot + 1);
}

static void assert_real(const json_t *figures, const char *path, double expected)
{
	const json_t *value = get(figures, path);
	double off = json_number_value(value) - expected;

	if (!json_is_number(value) || off > 1e-6 * expected + 1e-9 || off < -1e-6 * expected - 1e-9)
		fail_msg("%s is %f, not %f", path, json_number_value(value), expected);
}

/* JSON_TRUE, JSON_FALSE or JSON_NULL; the text has `words`. */
static void assert_finding(const json_t *figures, const char *about, json_type healthy, const char *words)
{
	const json_t *finding;
	size_t i;

	json_array_foreach(json_object_get(figures, "findings"), i, finding) {
		const char *text = json_string_value(json_object_get(finding, "text"));

		if (strcmp(json_string_value(json_object_get(finding, "about")), about))
			continue;
		if (json_typeof(json_object_get(finding, "healthy")) != healthy || !strstr(text, words))
			fail_msg("%s: %s", about, text);
		assert_int_equal(json_is_string(json_object_get(finding, "cure")), healthy == JSON_FALSE);
		return;
	}
	fail_msg("nothing is found about %s", about);
}

static void rates_are_by_time(void **state)
{
	json_t *f = figures_of(later());

	(void)state;
	assert_real(f, "seconds", 2);
	assert_real(f, "packets_per_s", 50000);
	assert_real(f, "bits_per_s", 100000000);
	assert_real(f, "hooks.input.packets_per_s", 30000);
	assert_real(f, "hooks.input.bits_per_s", 80000000);
	assert_real(f, "hooks.output.packets_per_s", 20000);
	assert_real(f, "hooks.forward.packets_per_s", 0);
	assert_real(f, "hit_rate", 0.999);
	assert_real(f, "new_sessions_per_s", 30);
	assert_real(f, "drops", 30);
	assert_real(f, "cpu_pct.merlond", 1);
	assert_real(f, "cpu_pct.answers", 0.1);
	assert_real(f, "cpu_pct.softirq", 75);
	assert_real(f, "cpu_pct.softirq_most", 50);
	assert_real(f, "sessions", 4);
	json_decref(f);
}

static void costs_are_apart(void **state)
{
	json_t *now = later(), *f = figures_of(json_incref(now)), *before = answer();

	(void)state;
	assert_real(f, "ns_per_packet.all", 50);
	assert_real(f, "ns_per_packet.cold", 1000);
	assert_real(f, "ns_per_packet.hot", 40);
	json_decref(f);
	/* few were timed of many: only what was measured is told */
	set(now, "cold", json_pack("{s:i, s:i, s:i}", "packets", 20 + 50000, "timed", 1 + 5, "timed_ns", 900 + 5 * 100));
	f = figures_of(json_incref(now));
	assert_real(f, "ns_per_packet.cold", 100);
	assert_true(json_is_null(get(f, "ns_per_packet.hot")));
	json_decref(f);
	/* none was timed of the few that came: those of before say what they take */
	set(now, "cold", json_pack("{s:i, s:i, s:i}", "packets", 20 + 10, "timed", 1, "timed_ns", 900));
	f = figures_of(json_incref(now));
	assert_true(json_is_null(get(f, "ns_per_packet.cold")));
	assert_real(f, "ns_per_packet.hot", (200000 * 40 + 2000 * 1000 - 10 * 900) / 200000.0);
	json_decref(f);
	/* the kernel did not count */
	set(before, "timed", json_false());
	f = merlon_perf_figures(before, now);
	assert_true(json_is_null(get(f, "ns_per_packet.all")) && json_is_null(get(f, "ns_per_packet.hot")));
	json_decref(f);
	json_decref(before);
	json_decref(now);
}

static void healthy_ones(void **state)
{
	static const char *const about[] = {
		"policy", "hit rate", "long way", "sessions", "events", "answers", "merlond", "softirq", "data path",
	};
	json_t *f = figures_of(later());

	(void)state;
	assert_true(json_is_true(get(f, "healthy")));
	assert_int_equal(json_array_size(get(f, "findings")), sizeof(about) / sizeof(about[0]));
	for (size_t i = 0; i < sizeof(about) / sizeof(about[0]); i++)
		assert_finding(f, about[i], JSON_TRUE, "");
	json_decref(f);
}

static void what_cannot_be_told(void **state)
{
	json_t *now = answer(), *f;

	(void)state;
	put(now, "time_ns", 2000000000);
	put(now, "pid", 70);
	put(now, "generation", 0);
	set(now, "mode", json_string("idle"));
	set(now, "answers", json_null());
	set(now, "softirq_ns", json_array());
	f = figures_of(now);
	assert_true(json_is_null(get(f, "hit_rate")));
	assert_true(json_is_null(get(f, "ns_per_packet.all")));
	assert_true(json_is_null(get(f, "cpu_pct.merlond")) && json_is_null(get(f, "cpu_pct.answers")));
	assert_finding(f, "policy", JSON_NULL, "everything passes");
	assert_finding(f, "hit rate", JSON_NULL, "too few");
	assert_finding(f, "long way", JSON_NULL, "too few");
	assert_finding(f, "merlond", JSON_NULL, "started anew");
	assert_true(json_is_true(get(f, "healthy")));
	json_decref(f);
}

/* Of what is counted, and of the sort of packets that was most of. */
static void reasons_for_misses(void **state)
{
	static const struct {
		int misses, begun, drops, rejects;
		const char *words;
	} of[] = {
		{ 5000, 4000, 500, 0, "4000 began a flow" },
		{ 5000, 500, 2000, 2000, "4000 were denied" },
		{ 5000, 500, 400, 0, "4100 belong to flows that are known" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		json_t *now = later(), *f;

		put(now, "counts.session_misses", 10 + of[i].misses);
		put(now, "counts.new_sessions", 5 + of[i].begun);
		put(now, "counts.drops", 1 + of[i].drops);
		put(now, "counts.rejects", of[i].rejects);
		f = figures_of(now);
		assert_finding(f, "hit rate", JSON_FALSE, of[i].words);
		assert_true(json_is_false(get(f, "healthy")));
		json_decref(f);
	}
}

/* One thing is otherwise than where all is healthy. */
static void one_is_unhealthy(void **state)
{
	static const struct {
		const char *path, *about, *words;
		json_int_t fine, value;
	} of[] = {
		{ "sessions", "sessions", "near the limit of 875", 700, 701 },
		{ "embryonic", "sessions", "push one another out", 896, 897 },
		{ "counts.sessions_full", "sessions", "1 flow found no place", 0, 1 },
		{ "counts.events_lost", "events", "1 lost", 2, 3 },
		{ "counts.rejects_lost", "answers", "1 rejected", 0, 1 },
		{ "answers.cpu_ns", "answers", "merlon-answers takes", 200000100, 200000200 },
		{ "cpu_ns", "merlond", "takes 2.0 %", 45000000, 45000001 },
		{ "cold.timed_ns", "long way", "more than 5000", 900 + 40 * 5000, 900 + 40 * 5001 },
		{ "counts.failed", "data path", "could not go on with 1 packet,", 0, 1 },
		{ "interfaces", "policy", "on no interface", 1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		json_t *now = later(), *f;

		put(now, of[i].path, of[i].fine);
		f = figures_of(json_incref(now));
		assert_true(json_is_true(get(f, "healthy")));
		json_decref(f);
		put(now, of[i].path, of[i].value);
		f = figures_of(now);
		assert_true(json_is_false(get(f, "healthy")));
		assert_finding(f, of[i].about, JSON_FALSE, of[i].words);
		json_decref(f);
	}
}

static void pins_were_removed(void **state)
{
	json_t *now = later(), *f;

	(void)state;
	set(now, "torn_out", json_true());
	set(now, "mode", json_string("idle"));
	f = figures_of(now);
	assert_true(json_is_false(get(f, "healthy")));
	assert_finding(f, "policy", JSON_FALSE, "pins were removed");
	json_decref(f);
}

static void one_processor_is_all_softirq(void **state)
{
	json_t *now = later(), *f;

	(void)state;
	set(now, "softirq_ns", json_pack("[i, I]", 0, (json_int_t)1000 + 1900000000));
	f = figures_of(now);
	assert_finding(f, "softirq", JSON_FALSE, "95 %");
	json_decref(f);
}

static json_t *interface(int index, bool filtered, int n)
{
	return json_pack("{s:s, s:i, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "name", "eth0", "index", index, "filtered", filtered,
			 "rx_packets", 10 + n, "rx_bytes", 1000 + 100 * n, "rx_dropped", n, "rx_missed", 0, "tx_packets", 20,
			 "tx_bytes", 2000, "tx_dropped", 0);
}

static void interfaces(void **state)
{
	json_t *before = answer(), *now = later(), *f;

	(void)state;
	set(before, "interface", interface(2, true, 0));
	set(now, "interface", interface(2, true, 50));
	f = merlon_perf_figures(before, now);
	assert_int_equal(merlon_perf_judge(f), 0);
	assert_real(f, "interface.rx_packets_per_s", 25);
	assert_real(f, "interface.rx_bits_per_s", 20000);
	assert_real(f, "interface.tx_packets_per_s", 0);
	assert_real(f, "interface.rx_dropped", 50);
	/* frames that nobody listens to */
	assert_finding(f, "interface", JSON_TRUE, "eth0");
	json_decref(f);
	put(now, "interface.tx_dropped", 1);
	f = merlon_perf_figures(before, now);
	assert_int_equal(merlon_perf_judge(f), 0);
	assert_finding(f, "interface", JSON_FALSE, "dropped 1 packet on eth0");
	json_decref(f);
	set(now, "interface", interface(2, false, 50));
	f = merlon_perf_figures(before, now);
	assert_int_equal(merlon_perf_judge(f), 0);
	assert_finding(f, "interface", JSON_FALSE, "eth0 is not filtered");
	json_decref(f);
	/* another one has its name now */
	set(now, "interface", interface(3, true, 50));
	f = merlon_perf_figures(before, now);
	assert_true(json_is_null(json_object_get(f, "interface")));
	json_decref(f);
	json_decref(before);
	json_decref(now);
}

/* After `merlon stop` all is counted anew: no rate is negative. */
static void counting_began_anew(void **state)
{
	json_t *before = later(), *now = answer(), *f;

	(void)state;
	put(now, "time_ns", 4000000000);
	f = merlon_perf_figures(before, now);
	assert_real(f, "packets_per_s", 0);
	assert_real(f, "bits_per_s", 0);
	assert_true(json_is_null(json_object_get(f, "hit_rate")));
	json_decref(f);
	put(now, "time_ns", 3000000000);
	assert_null(merlon_perf_figures(before, now));
	json_decref(before);
	json_decref(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_are_by_time), cmocka_unit_test(costs_are_apart), cmocka_unit_test(healthy_ones),
		cmocka_unit_test(what_cannot_be_told), cmocka_unit_test(reasons_for_misses), cmocka_unit_test(one_is_unhealthy),
		cmocka_unit_test(pins_were_removed), cmocka_unit_test(one_processor_is_all_softirq), cmocka_unit_test(interfaces), cmocka_unit_test(counting_began_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
