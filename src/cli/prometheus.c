/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OpenMetrics 1.0 text: families are named as the keys of `merlon stats --json`. Or the text format before it, which
 * node_exporter reads: there a counter's family has the _total, too, and there are no units and no end.
 */
#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/util/cleanup.h"

static long long number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static bool before_openmetrics;

/* `unit`: "" or what the name ends with. */
static void family(const char *name, const char *type, const char *unit, const char *help)
{
	const char *total = before_openmetrics && !strcmp(type, "counter") ? "_total" : "";

	printf("# TYPE merlon_%s%s %s\n", name, total, type);
	if (*unit && !before_openmetrics)
		printf("# UNIT merlon_%s %s\n", name, unit);
	printf("# HELP merlon_%s%s %s\n", name, total, help);
}

static void put_escaped(const char *from, FILE *out)
{
	for (; *from; from++)
		if (*from == '\n')
			fputs("\\n", out);
		else
			fprintf(out, "%s%c", *from == '"' || *from == '\\' ? "\\" : "", *from);
}

static void put_label(const char *name, const char *value, FILE *out)
{
	fprintf(out, "%s=\"", name);
	put_escaped(value, out);
	fputc('"', out);
}

static void print_totals(const json_t *stats)
{
	static const struct {
		const char *key, *unit, *help;
	} counter[] = {
		{ "packets", "", "Packets judged." },
		{ "bytes", "bytes", "Bytes of the packets judged." },
		{ "session_hits", "", "Packets answered by sessions." },
		{ "session_misses", "", "Packets decided by the rules." },
		{ "new_sessions", "", "Sessions begun." },
		{ "accepted", "", "Packets accepted." },
		{ "drops", "", "Packets dropped, or that would be with audit." },
		{ "rejects", "", "Packets rejected, or that would be with audit." },
		{ "invalid", "", "Packets with ct state invalid." },
		{ "malformed", "", "Packets that could not be read." },
		{ "unjudged", "", "Packets that were passed without being judged." },
		{ "sessions_full", "", "Sessions that were not kept, for want of room." },
		{ "failed", "", "Packets whose rules could not be followed to their end." },
		{ "events", "", "Events reported: denied and logged packets." },
		{ "events_lost", "", "Events that merlond could not read in time." },
		{ "rejects_lost", "", "Rejected packets that were not answered." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(counter); i++) {
		family(counter[i].key, "counter", counter[i].unit, counter[i].help);
		printf("merlon_%s_total %lld\n", counter[i].key, number(stats, counter[i].key));
	}
}

static void gauge(const char *name, const char *unit, const char *help, long long value)
{
	family(name, "gauge", unit, help);
	printf("merlon_%s %lld\n", name, value);
}

static void print_state(const json_t *stats, const json_t *status)
{
	const json_t *interfaces = json_object_get(status, "interfaces"), *name;
	size_t i;

	family("session_hit_ratio", "gauge", "ratio", "Part of the packets that sessions answered.");
	printf("merlon_session_hit_ratio %.6f\n", json_real_value(json_object_get(stats, "hit_rate")));
	gauge("generation", "", "Number of the policy in force; 0: none.", number(stats, "generation"));
	gauge("audit", "", "1 if what is denied passes.", json_is_true(json_object_get(stats, "audit")));
	family("sessions", "gauge", "", "Flows that are known.");
	printf("merlon_sessions{state=\"established\"} %lld\n", number(status, "sessions"));
	printf("merlon_sessions{state=\"embryonic\"} %lld\n", number(status, "embryonic"));
	gauge("sessions_max", "", "Flows that there is room for.", number(status, "max_sessions"));
	gauge("memory_bytes", "bytes", "Memory of all maps of the data plane.", number(status, "memory_bytes"));
	gauge("interfaces", "", "Interfaces that are filtered.", json_array_size(interfaces));
	family("interface_filtered", "gauge", "", "1 for each interface that is filtered.");
	json_array_foreach(interfaces, i, name) {
		fputs("merlon_interface_filtered{", stdout);
		put_label("interface", json_string_value(name), stdout);
		puts("} 1");
	}
}

/*
 * By what is the same after the next apply: the handle is only told where no line is known. Rules that have all labels in
 * common, and counters of one rule, are numbered. The caller's; NULL without memory.
 */
static char *labels_of(const json_t *counter, json_t *seen)
{
	char *labels = NULL, line[24];
	size_t size, nth;
	FILE *out = open_memstream(&labels, &size);

	if (!out)
		return NULL;
	snprintf(line, sizeof(line), "%lld", number(counter, "line"));
	put_label("family", text(counter, "family"), out);
	put_label(",table", text(counter, "table"), out);
	put_label(",chain", text(counter, "chain"), out);
	put_label(",file", text(counter, "file"), out);
	put_label(",line", number(counter, "line") ? line : "", out);
	put_label(",rule", text(counter, "rule"), out);
	if (!*text(counter, "file") || !number(counter, "line"))
		fprintf(out, ",handle=\"%lld\"", number(counter, "handle"));
	fflush(out);
	nth = labels ? number(seen, labels) + 1 : 0;
	if (nth)
		json_object_set_new(seen, labels, json_integer(nth));
	if (nth > 1)
		fprintf(out, ",nth=\"%zu\"", nth);
	fclose(out);
	return labels;
}

static void print_rules(const json_t *counters, const char *key, const char *name, const char *unit, const char *help)
{
	json_t *seen = json_object();
	const json_t *counter;
	size_t i;

	family(name, "counter", unit, help);
	json_array_foreach(counters, i, counter) {
		_cleanup_free_ char *labels = labels_of(counter, seen);

		if (labels)
			printf("merlon_%s_total{%s} %lld\n", name, labels, number(counter, key));
	}
	json_decref(seen);
}

void merlon_prometheus(const json_t *stats, const json_t *status, bool textfile)
{
	const json_t *counters = json_object_get(stats, "counters");

	before_openmetrics = textfile;
	print_totals(stats);
	print_state(stats, status);
	print_rules(counters, "packets", "rule_packets", "", "Packets that a rule counted.");
	print_rules(counters, "bytes", "rule_bytes", "bytes", "Bytes of the packets that a rule counted.");
	if (!textfile)
		puts("# EOF");
}
