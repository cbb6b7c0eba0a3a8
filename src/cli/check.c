/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/cli.h"
#include "src/model/limits.h"
#include "src/model/report.h"

static int run(const struct merlon_options *options)
{
	struct merlon_loaded loaded;
	int status = merlon_load_local(options, true, &loaded);
	const json_t *memory = json_object_get(loaded.report, "memory_bytes");
	char text[32];

	if (options->json) {
		merlon_print_json(loaded.report);
	} else if (loaded.ruleset) {
		merlon_report_print(loaded.report, stdout);
		if (memory)
			printf("image %s, about %lld ns for a new flow\n", merlon_bytes(json_integer_value(memory), text),
			       (long long)json_integer_value(json_object_get(loaded.report, "ns_estimate")));
		merlon_limits_print(json_object_get(loaded.report, "limits"), stdout);
	}
	merlon_loaded_clear(&loaded);
	return status;
}

const struct merlon_command merlon_check = {
	.name = "check",
	.usage = "FILE...",
	.does = "reads and compiles a ruleset, and reports on each rule",
	.takes = MERLON_TAKES_FILES | MERLON_TAKES_FAMILY | MERLON_TAKES_PARTIAL,
	.run = run,
};
