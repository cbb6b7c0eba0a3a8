/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "src/cli/cli.h"

static void print(const json_t *s)
{
	static const struct {
		const char *key, *label, *audit;	/* audit: where what is denied passes */
	} line[] = {
		{ "packets", "packets judged", NULL },
		{ "accepted", "accepted", NULL },
		{ "drops", "dropped", "would be dropped" },
		{ "rejects", "rejected", "would be rejected" },
		{ "malformed", "malformed, dropped", "malformed, passed" },
		{ "failed", "failed, dropped", "failed, passed" },
		{ "invalid", "with ct state invalid", NULL },
		{ "unjudged", "not judged, passed", NULL },
		{ "session_hits", "answered by sessions", NULL },
		{ "session_misses", "decided by the rules", NULL },
		{ "new_sessions", "new sessions", NULL },
		{ "sessions_full", "sessions not kept", NULL },
		{ "events", "events reported", NULL },
		{ "events_lost", "events lost", NULL },
		{ "rejects_lost", "rejects unanswered", NULL },
	};
	const json_t *counters = json_object_get(s, "counters"), *c;
	bool audit = json_is_true(json_object_get(s, "audit"));
	char text[32];
	size_t i;

	if (audit)
		puts("audit: what is denied passes; counts of before the audit are among these");
	for (i = 0; i < sizeof(line) / sizeof(line[0]); i++)
		printf("%-22s %15s\n", audit && line[i].audit ? line[i].audit : line[i].label, merlon_thousands(json_integer_value(json_object_get(s, line[i].key)), text));
	printf("%-22s %15s\n", "bytes judged", merlon_bytes(json_integer_value(json_object_get(s, "bytes")), text));
	printf("%-22s %13.1f %%\n", "session hit rate", 100 * json_real_value(json_object_get(s, "hit_rate")));
	if (!json_array_size(counters))
		return;
	printf("\n%12s %15s  %s\n", "packets", "bytes", "rule");
	json_array_foreach(counters, i, c) {
		const char *file = json_string_value(json_object_get(c, "file"));
		int at = json_integer_value(json_object_get(c, "line"));

		printf("%12s ", merlon_thousands(json_integer_value(json_object_get(c, "packets")), text));
		printf("%15s  ", merlon_thousands(json_integer_value(json_object_get(c, "bytes")), text));
		printf("%s", json_string_value(json_object_get(c, "rule")));
		if (file && at)
			printf("  (%s:%d)", file, at);
		putchar('\n');
	}
}

static int show_metrics(const struct merlon_options *options)
{
	struct merlon_call stats, status;
	int r;

	if (options->json) {
		fputs("error: --prometheus and --json are different formats\n  give one of them\n", stderr);
		return MERLON_EXIT_USAGE;
	}
	r = merlon_call(options, "Stats", NULL, &stats);
	if (r)
		return r;
	r = merlon_call(options, "Status", NULL, &status);
	if (!r) {
		merlon_prometheus(stats.answer, status.answer);
		json_decref(status.answer);
	}
	json_decref(stats.answer);
	return r;
}

static int run(const struct merlon_options *options)
{
	return options->prometheus ? show_metrics(options) : merlon_show(options, "Stats", NULL, print);
}

const struct merlon_command merlon_stats = {
	.name = "stats",
	.usage = "",
	.does = "shows what was counted, also per rule",
	.takes = MERLON_TAKES_PROMETHEUS | MERLON_TAKES_SOCKET,
	.run = run,
};
