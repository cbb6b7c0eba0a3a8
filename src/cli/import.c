/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/model/limits.h"
#include "src/model/report.h"
#include "src/model/ruleset.h"
#include "src/util/cleanup.h"

static int write_policy(const struct merlon_options *options, const struct merlon_ruleset *ruleset)
{
	_cleanup_fclose_ FILE *file = NULL;
	FILE *out = stdout;

	if (options->out) {
		out = file = fopen(options->out, "we");
		if (!file) {
			fprintf(stderr, "%s: error: cannot write: %s\n", options->out, strerror(errno));
			return -1;
		}
	}
	merlon_ruleset_print(ruleset, out);
	if (fflush(out) || ferror(out)) {
		fprintf(stderr, "%s: error: cannot write: %s\n", options->out ? options->out : "<stdout>", strerror(errno));
		return -1;
	}
	return 0;
}

/* Where the report is what standard output has. */
static int add_text(const struct merlon_loaded *loaded)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return -1;
	merlon_ruleset_print(loaded->ruleset, out);
	if (fclose(out))
		return -1;
	return json_object_set_new(loaded->report, "text", json_string(text));
}

/* Prints what is to be said, which is then in the report, too. */
static void tell(struct merlon_loaded *loaded, struct merlon_diag *diag)
{
	json_t *messages = merlon_report_messages(diag);

	json_array_extend(json_object_get(loaded->report, "messages"), messages);
	json_decref(messages);
	merlon_diag_print(diag, stderr);
	merlon_diag_clear(diag);
}

/* A host without rules, or a file of something else: text that enforces nothing is not what was hoped for. */
static void tell_nothing(const struct merlon_options *options, struct merlon_loaded *loaded)
{
	struct merlon_diag diag = { 0 };

	if (merlon_ruleset_filters(loaded->ruleset))
		return;
	if (options->live) {
		merlon_diag_add(&diag, MERLON_WARNING, (struct merlon_place){ 0 },
				"nothing to import: no filter chain at input, forward or output is loaded in this network namespace");
		merlon_diag_cure(&diag, "if a service has them, start it first; `merlon apply` refuses this text as it is");
	} else {
		merlon_diag_add(&diag, MERLON_WARNING, (struct merlon_place){ .file = options->file[0] },
				"nothing to import: there is no filter chain at input, forward or output");
		merlon_diag_cure(&diag, "`merlon apply` refuses this text as it is");
	}
	tell(loaded, &diag);
}

/* The policy and what is kept beside it. */
static int write_out(const struct merlon_options *options, struct merlon_loaded *loaded)
{
	struct merlon_diag diag = { 0 };

	if (options->out && merlon_out_is_free(options, loaded->ruleset, &diag) < 0) {
		tell(loaded, &diag);
		return -1;
	}
	if (options->json && !options->out) {
		if (add_text(loaded) == 0)
			return 0;
		fputs("error: the policy cannot be told as JSON\n", stderr);
		return -1;
	}
	if (write_policy(options, loaded->ruleset) < 0)
		return -1;
	return options->out ? merlon_write_remainder(options, loaded->ruleset) : 0;
}

static int run(const struct merlon_options *given)
{
	const struct merlon_options *options = given;
	struct merlon_options to_stdout = *given;
	struct merlon_loaded loaded;
	int status;

	if (given->out && !strcmp(given->out, "-")) {
		to_stdout.out = NULL;
		options = &to_stdout;
	}
	/* the size of the image is part of the JSON report */
	status = merlon_load_local(options, options->json, &loaded);
	if (loaded.ruleset)
		tell_nothing(options, &loaded);

	if (loaded.ruleset && write_out(options, &loaded) < 0)
		status = MERLON_EXIT_FAILED;
	else if (loaded.ruleset && !options->out && json_integer_value(json_object_get(loaded.report, "kept")))
		fputs("note: what is kept by netfilter is not in this text; with -o OUT it is written beside it\n", stderr);
	if (options->json)
		merlon_print_json(loaded.report);
	else if (loaded.ruleset)
		merlon_report_print(loaded.report, stderr);
	if (status == MERLON_EXIT_REFUSED && !options->json)
		fputs("note: refused rules are comments in this text, and stay refused there: to do without one, delete its line\n", stderr);
	merlon_loaded_clear(&loaded);
	return status;
}

const struct merlon_command merlon_import = {
	.name = "import",
	.usage = "FILE... | --live",
	.does = "turns any ruleset into nft text, and reports on each rule",
	.takes = MERLON_TAKES_FILES | MERLON_TAKES_FAMILY | MERLON_TAKES_PARTIAL | MERLON_TAKES_OUT | MERLON_TAKES_LIVE,
	.run = run,
};
