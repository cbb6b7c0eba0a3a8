/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/cli.h"
#include "src/host/host.h"
#include "src/model/limits.h"
#include "src/model/report.h"

/* `status` is what the files gave; what the host adds to the report can only make it worse. */
static int check_host(const struct merlon_loaded *loaded, int status)
{
	const struct merlon_host_options options = { .policy = loaded->ruleset, .any_interfaces = true };
	struct merlon_host host;
	json_t *list;

	if (merlon_host_check(&options, &host) < 0 || !(list = merlon_host_json(&host))) {
		fputs("error: out of memory\n", stderr);
		return MERLON_EXIT_FAILED;
	}
	json_object_set_new(loaded->report, "host", list);
	if (status == MERLON_EXIT_DONE && merlon_host_refuses(&host))
		status = MERLON_EXIT_REFUSED;
	merlon_host_clear(&host);
	return status;
}

/* Why apply would not put it in force, or null. What is no rule's fault has no exit status of its own: the rules are exact all the same. */
static json_t *refusal(const struct merlon_loaded *loaded, int status)
{
	const struct merlon_unfit *unfit = loaded->ruleset ? merlon_ruleset_unfit(loaded->ruleset) : NULL;
	size_t refused = json_array_size(json_object_get(loaded->report, "refused"));

	if (unfit)
		return json_string(unfit->text);
	if (refused)
		return json_sprintf("%zu rule%s refused", refused, refused == 1 ? " is" : "s are");
	if (status != MERLON_EXIT_DONE)
		return json_string(loaded->ruleset ? "the ruleset cannot be compiled" : "the ruleset cannot be read");
	return json_null();
}

static void add_refusal(const struct merlon_loaded *loaded, int status)
{
	json_t *why = refusal(loaded, status);

	/* what loading has found is of the host, and stays where there is nothing else */
	if (json_is_null(why) && json_object_get(loaded->report, "apply_refuses"))
		json_decref(why);
	else
		json_object_set_new(loaded->report, "apply_refuses", why);
}

static void print_unfit(const struct merlon_loaded *loaded)
{
	const struct merlon_unfit *unfit = merlon_ruleset_unfit(loaded->ruleset);

	if (unfit)
		printf("apply refuses this ruleset: %s\n  %s\n", unfit->text, unfit->cure);
}

static void print(const struct merlon_loaded *loaded)
{
	const json_t *memory = json_object_get(loaded->report, "memory_bytes");
	const json_t *host = json_object_get(loaded->report, "host");
	char text[32];

	if (loaded->ruleset) {
		merlon_report_print(loaded->report, stdout);
		if (memory)
			printf("image %s, about %lld ns for a new flow\n", merlon_bytes(json_integer_value(memory), text),
			       (long long)json_integer_value(json_object_get(loaded->report, "ns_estimate")));
		print_unfit(loaded);
		merlon_limits_print(json_object_get(loaded->report, "limits"), stdout);
	}
	if (host)
		merlon_host_print(host, stdout);
}

static int run(const struct merlon_options *options)
{
	struct merlon_loaded loaded = { 0 };
	int status = MERLON_EXIT_DONE;

	if (options->n_files)
		status = merlon_load_local(options, true, &loaded);
	else
		loaded.report = json_pack("{s:i, s:i, s:i, s:[], s:i, s:[]}", "rules", 0, "exact", 0, "kept", 0, "refused",
					  "generation", 0, "messages");
	if (options->n_files)
		add_refusal(&loaded, status);
	if (options->host)
		status = check_host(&loaded, status);
	if (options->json)
		merlon_print_json(loaded.report);
	else
		print(&loaded);
	merlon_loaded_clear(&loaded);
	return status;
}

const struct merlon_command merlon_check = {
	.name = "check",
	.usage = "FILE... | --host [FILE...]",
	.does = "reads and compiles a ruleset, and reports on each rule",
	.takes = MERLON_TAKES_FILES | MERLON_TAKES_FAMILY | MERLON_TAKES_PARTIAL | MERLON_TAKES_HOST,
	.run = run,
};
