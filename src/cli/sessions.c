/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "src/cli/cli.h"

static const char *text_of(const json_t *s, const char *key)
{
	const char *text = json_string_value(json_object_get(s, key));

	return text ? text : "-";
}

static long long number(const json_t *s, const char *key)
{
	return json_integer_value(json_object_get(s, key));
}

static void end_of(const json_t *s, const char *address, const char *port, char ret[64])
{
	const char *a = text_of(s, address);
	long long p = number(s, port);

	if (!p)
		snprintf(ret, 64, "%s", a);
	else
		snprintf(ret, 64, strchr(a, ':') ? "[%s]:%lld" : "%s:%lld", a, p);
}

static void print(const json_t *list)
{
	int width[2] = { 6, 11 };
	char from[64], to[64], a[32], b[32];
	const json_t *s;
	size_t i;

	json_array_foreach(list, i, s) {
		end_of(s, "src", "sport", from);
		end_of(s, "dst", "dport", to);
		width[0] = (int)strlen(from) > width[0] ? (int)strlen(from) : width[0];
		width[1] = (int)strlen(to) > width[1] ? (int)strlen(to) : width[1];
	}
	printf("%-6s  %-*s  %-*s  %-11s  %-7s  %9s  %9s  %12s  %s\n", "proto", width[0], "source", width[1], "destination",
	       "state", "way", "packets", "bytes", "expires", "rule");
	json_array_foreach(list, i, s) {
		const char *file = json_string_value(json_object_get(s, "file"));

		end_of(s, "src", "sport", from);
		end_of(s, "dst", "dport", to);
		printf("%-6s  %-*s  %-*s  %-11s  %-7s  %9s", text_of(s, "proto"), width[0], from, width[1], to,
		       text_of(s, "state"), text_of(s, "direction"), merlon_thousands(number(s, "packets"), a));
		printf("  %9s  %12s  %s", merlon_bytes(number(s, "bytes"), a), merlon_seconds(number(s, "expires_s"), b),
		       text_of(s, "rule"));
		if (file && number(s, "line"))
			printf("  (%s:%lld)", file, number(s, "line"));
		putchar('\n');
	}
	printf("%zu session%s\n", json_array_size(list), json_array_size(list) == 1 ? "" : "s");
}

static int run(const struct merlon_options *options)
{
	return merlon_show(options, "Sessions", NULL, print);
}

const struct merlon_command merlon_sessions = {
	.name = "sessions",
	.usage = "",
	.does = "lists the flows that merlon tracks, and the rule that let each in",
	.takes = MERLON_TAKES_SOCKET,
	.run = run,
};
