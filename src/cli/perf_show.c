/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/perf.h"

#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/util/cleanup.h"

static const char *const hook_name[] = { "input", "forward", "output" };

static double real(const json_t *json, const char *key)
{
	return json_number_value(json_object_get(json, key));
}

static long long rounded(const json_t *json, const char *key)
{
	return (long long)(real(json, key) + 0.5);
}

/* "12.3 Mbit" */
static char *bits(double n, char ret[32])
{
	static const char *const unit[] = { "bit", "kbit", "Mbit", "Gbit", "Tbit" };
	size_t i = 0;

	while (n >= 1000 && i < ARRAY_SIZE(unit) - 1) {
		n /= 1000;
		i++;
	}
	snprintf(ret, 32, i && n < 100 ? "%.1f %s" : "%.0f %s", n, unit[i]);
	return ret;
}

/* With `digits` behind the point, "-" where it is null. */
static char *maybe(const json_t *json, const char *key, double times, int digits, char ret[32])
{
	const json_t *value = json_object_get(json, key);

	if (json_is_number(value))
		snprintf(ret, 32, "%.*f", digits, times * json_number_value(value));
	else
		snprintf(ret, 32, "-");
	return ret;
}

static void print_rates(const char *name, double packets_per_s, double bits_per_s)
{
	char a[32], b[32];

	printf("%-24s %15s %15s\n", name, merlon_thousands((long long)(packets_per_s + 0.5), a), bits(bits_per_s, b));
}

static void print_traffic(const json_t *f)
{
	const json_t *hooks = json_object_get(f, "hooks"), *interface = json_object_get(f, "interface");
	const char *name = json_string_value(json_object_get(interface, "name"));
	char label[64];

	printf("%-24s %15s %15s\n", "", "packets/s", "per second");
	for (size_t i = 0; i < ARRAY_SIZE(hook_name); i++) {
		const json_t *hook = json_object_get(hooks, hook_name[i]);

		print_rates(hook_name[i], real(hook, "packets_per_s"), real(hook, "bits_per_s"));
	}
	if (!name)
		return;
	snprintf(label, sizeof(label), "%s in", name);
	print_rates(label, real(interface, "rx_packets_per_s"), real(interface, "rx_bits_per_s"));
	snprintf(label, sizeof(label), "%s out", name);
	print_rates(label, real(interface, "tx_packets_per_s"), real(interface, "tx_bits_per_s"));
	printf("only these two lines are of %s: all others are of all that is filtered\n", name);
}

static void print_rest(const json_t *f)
{
	const json_t *ns = json_object_get(f, "ns_per_packet"), *cpu = json_object_get(f, "cpu_pct");
	char a[32], b[32], c[32];

	printf("hit rate    %s %% of the packets answered by sessions\n", maybe(f, "hit_rate", 100, 2, a));
	printf("ns/packet   %s all, %s short way, %s long way\n", maybe(ns, "all", 1, 0, a), maybe(ns, "hot", 1, 0, b),
	       maybe(ns, "cold", 1, 0, c));
	printf("per second  %s new flows, %s dropped, ", merlon_thousands(rounded(f, "new_sessions_per_s"), a),
	       merlon_thousands(rounded(f, "drops_per_s"), b));
	printf("%s rejected, %s malformed, %s not judged\n", merlon_thousands(rounded(f, "rejects_per_s"), a),
	       merlon_thousands(rounded(f, "malformed_per_s"), b), merlon_thousands(rounded(f, "unjudged_per_s"), c));
	printf("sessions    %s established, %s embryonic, ", merlon_thousands(rounded(f, "sessions"), a),
	       merlon_thousands(rounded(f, "embryonic"), b));
	printf("room for %s\n", merlon_thousands(rounded(f, "max_sessions"), a));
	printf("memory      %s in maps, ", merlon_bytes(real(f, "maps_bytes"), a));
	printf("%s in merlond\n", merlon_bytes(real(f, "rss_bytes"), a));
	printf("%% of a CPU  %s merlond, ", maybe(cpu, "merlond", 1, 1, a));
	printf("%s merlon-answers, %s softirq of the whole host\n", maybe(cpu, "answers", 1, 1, a), maybe(cpu, "softirq", 1, 1, b));
	printf("events      %s a second, %s lost\n", merlon_thousands(rounded(f, "events_per_s"), a),
	       merlon_thousands(rounded(f, "events_lost"), b));
}

/* Which are healthy, on one line; then, what is not told, and what is wrong. */
static void print_findings(const json_t *f)
{
	const json_t *findings = json_object_get(f, "findings"), *finding;
	const char *separator = "healthy     ";
	size_t i;

	json_array_foreach(findings, i, finding) {
		if (!json_is_true(json_object_get(finding, "healthy")))
			continue;
		printf("%s%s", separator, json_string_value(json_object_get(finding, "about")));
		separator = ", ";
	}
	putchar('\n');
	json_array_foreach(findings, i, finding)
		if (json_is_null(json_object_get(finding, "healthy")))
			printf("not known   %s: %s\n", json_string_value(json_object_get(finding, "about")),
			       json_string_value(json_object_get(finding, "text")));
	json_array_foreach(findings, i, finding)
		if (json_is_false(json_object_get(finding, "healthy")))
			printf("UNHEALTHY   %s: %s\n            %s\n", json_string_value(json_object_get(finding, "about")),
			       json_string_value(json_object_get(finding, "text")), json_string_value(json_object_get(finding, "cure")));
}

static const char *policy(const json_t *f)
{
	const char *mode = json_string_value(json_object_get(f, "mode"));

	if (!mode || !strcmp(mode, "idle"))
		return "no policy in force";
	return !strcmp(mode, "audit") ? "audit: nothing is dropped" : "enforced";
}

void merlon_perf_table(const json_t *f)
{
	printf("%s  %s  generation %lld, %s\n\n", json_is_true(json_object_get(f, "summary")) ? "in all" : "merlon perf",
	       json_string_value(json_object_get(f, "time")), rounded(f, "generation"), policy(f));
	print_traffic(f);
	printf("\n%-11s %.1f s\n", "time", real(f, "seconds"));
	print_rest(f);
	print_findings(f);
}

void merlon_perf_line(const json_t *f)
{
	const json_t *hooks = json_object_get(f, "hooks"), *ns = json_object_get(f, "ns_per_packet"), *cpu = json_object_get(f, "cpu_pct");
	const json_t *interface = json_object_get(f, "interface"), *findings = json_object_get(f, "findings"), *finding;
	char a[32], b[32], c[32];
	size_t i;

	printf("%s %s%.1f s", json_string_value(json_object_get(f, "time")), json_is_true(json_object_get(f, "summary")) ? "in all " : "",
	       real(f, "seconds"));
	for (i = 0; i < ARRAY_SIZE(hook_name); i++) {
		const json_t *hook = json_object_get(hooks, hook_name[i]);

		printf(", %s %lld/s %s/s", hook_name[i], rounded(hook, "packets_per_s"), bits(real(hook, "bits_per_s"), a));
	}
	if (json_is_object(interface)) {
		const char *name = json_string_value(json_object_get(interface, "name"));

		printf(", %s in %lld/s %s/s", name, rounded(interface, "rx_packets_per_s"), bits(real(interface, "rx_bits_per_s"), a));
		printf(", %s out %lld/s %s/s", name, rounded(interface, "tx_packets_per_s"), bits(real(interface, "tx_bits_per_s"), a));
	}
	printf(", hits %s %%", maybe(f, "hit_rate", 100, 2, a));
	printf(", ns %s all %s short %s long", maybe(ns, "all", 1, 0, a), maybe(ns, "hot", 1, 0, b), maybe(ns, "cold", 1, 0, c));
	printf(", %lld new/s %lld dropped/s %lld rejected/s", rounded(f, "new_sessions_per_s"), rounded(f, "drops_per_s"),
	       rounded(f, "rejects_per_s"));
	printf(", sessions %lld + %lld of %lld", rounded(f, "sessions"), rounded(f, "embryonic"), rounded(f, "max_sessions"));
	printf(", maps %s", merlon_bytes(real(f, "maps_bytes"), a));
	printf(", merlond %s %s %%", merlon_bytes(real(f, "rss_bytes"), a), maybe(cpu, "merlond", 1, 1, b));
	printf(", answers %s %%, softirq %s %%", maybe(cpu, "answers", 1, 1, a), maybe(cpu, "softirq", 1, 1, b));
	printf(", %lld events lost, %s\n", rounded(f, "events_lost"), json_is_true(json_object_get(f, "healthy")) ? "healthy" : "UNHEALTHY");
	json_array_foreach(findings, i, finding)
		if (json_is_false(json_object_get(finding, "healthy")))
			printf("  %s: %s; %s\n", json_string_value(json_object_get(finding, "about")),
			       json_string_value(json_object_get(finding, "text")), json_string_value(json_object_get(finding, "cure")));
}
