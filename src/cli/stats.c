/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/cli.h"

static void print(const json_t *s)
{
	static const struct {
		const char *key, *label;
	} line[] = {
		{ "packets", "packets judged" },
		{ "accepted", "accepted" },
		{ "drops", "dropped" },
		{ "rejects", "rejected" },
		{ "malformed", "malformed, dropped" },
		{ "failed", "failed, dropped" },
		{ "invalid", "with ct state invalid" },
		{ "unjudged", "not judged, passed" },
		{ "session_hits", "answered by sessions" },
		{ "session_misses", "decided by the rules" },
		{ "new_sessions", "new sessions" },
		{ "sessions_full", "sessions not kept" },
		{ "events", "events reported" },
		{ "events_lost", "events lost" },
		{ "rejects_lost", "rejects unanswered" },
	};
	const json_t *counters = json_object_get(s, "counters"), *c;
	char text[32];
	size_t i;

	for (i = 0; i < sizeof(line) / sizeof(line[0]); i++)
		printf("%-22s %15s\n", line[i].label, merlon_thousands(json_integer_value(json_object_get(s, line[i].key)), text));
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

static int run(const struct merlon_options *options)
{
	return merlon_show(options, "Stats", NULL, print);
}

const struct merlon_command merlon_stats = {
	.name = "stats",
	.usage = "",
	.does = "shows what was counted, also per rule",
	.takes = MERLON_TAKES_SOCKET,
	.run = run,
};
