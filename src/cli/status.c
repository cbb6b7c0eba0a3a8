/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "src/cli/cli.h"
#include "src/model/limits.h"
#include "src/model/report.h"

static long long number(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

static void print_list(const char *label, const json_t *list)
{
	const json_t *item;
	size_t i;

	printf("%-12s", label);
	json_array_foreach(list, i, item)
		printf("%s%s", i ? ", " : "", json_string_value(item));
	puts(json_array_size(list) ? "" : "none");
}

static void print_namespace(const json_t *s)
{
	const char *path = json_string_value(json_object_get(s, "policy_netns"));

	if (path)
		printf("namespace   %s\n", path);
	if (json_is_true(json_object_get(s, "netns_differs")))
		puts("            the policy namespace differs from what is in force; the journal says why");
}

static void print_policy(const json_t *s)
{
	const char *mode = json_string_value(json_object_get(s, "mode"));
	char rules[32], flat[32], bytes[32];

	if (!strcmp(mode, "idle")) {
		puts("policy      none: everything passes");
		return;
	}
	printf("policy      generation %lld, %s\n", number(s, "generation"),
	       !strcmp(mode, "audit") ? "audit (nothing is dropped)" : "enforced");
	if (!json_is_true(json_object_get(s, "policy_known"))) {
		puts("rules       not known to this daemon; apply the ruleset again to see them in reports");
		return;
	}
	if (json_is_true(json_object_get(s, "edited")) && !json_array_size(json_object_get(s, "sources")))
		puts("edited      by nft commands; nothing is left of what was applied");
	else
		print_list(json_is_true(json_object_get(s, "edited")) ? "edited" : "sources", json_object_get(s, "sources"));
	printf("rules       %s (%s flattened, %lld subtable%s, %lld plane%s), %lld kept by netfilter, %zu left out\n",
	       merlon_thousands(number(s, "rules"), rules),
	       merlon_thousands(number(s, "flat_rules"), flat), number(s, "subtables"), number(s, "subtables") == 1 ? "" : "s",
	       number(s, "planes"), number(s, "planes") == 1 ? "" : "s", number(s, "kept"),
	       json_array_size(json_object_get(s, "left_out")));
	merlon_report_print_left_out(json_object_get(s, "left_out"), stdout);
	print_namespace(s);
	printf("image       %s, about %lld ns for a new flow\n", merlon_bytes(number(s, "image_bytes"), bytes),
	       number(s, "ns_estimate"));
}

static void print(const json_t *s)
{
	char a[32], b[32];

	printf("merlond     pid %lld, up %s\n", number(s, "pid"), merlon_seconds(number(s, "uptime_s"), a));
	print_policy(s);
	print_list("interfaces", json_object_get(s, "interfaces"));
	printf("attached    by %s, chosen by %s\n", json_string_value(json_object_get(s, "attach")),
	       json_string_value(json_object_get(s, "interfaces_chosen")));
	printf("sessions    %s established, %s embryonic, ", merlon_thousands(number(s, "sessions"), a),
	       merlon_thousands(number(s, "embryonic"), b));
	printf("room for %s\n", merlon_thousands(number(s, "max_sessions"), a));
	printf("memory      %s in maps\n", merlon_bytes(number(s, "memory_bytes"), a));
	printf("events      %s lost\n", merlon_thousands(number(s, "events_lost"), a));
	printf("pins        %s\n", json_string_value(json_object_get(s, "pin_dir")));
	merlon_limits_print(json_object_get(s, "limits"), stdout);
	merlon_print_messages(s, stdout);
}

static int run(const struct merlon_options *options)
{
	return merlon_show(options, "Status", NULL, print);
}

const struct merlon_command merlon_status = {
	.name = "status",
	.usage = "",
	.does = "shows what is in force, where, and how full the tables are",
	.takes = MERLON_TAKES_SOCKET,
	.run = run,
};
