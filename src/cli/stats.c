/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/util/cleanup.h"

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
	int r = merlon_call(options, "Stats", NULL, &stats);

	if (r)
		return r;
	r = merlon_call(options, "Status", NULL, &status);
	if (!r) {
		merlon_prometheus(stats.answer, status.answer, options->textfile);
		json_decref(status.answer);
	}
	json_decref(stats.answer);
	return r;
}

/* Who reads the file finds the one before or this one, whole. Until it is named by its name, it is none that is read. */
static int write_metrics(const struct merlon_options *options)
{
	_cleanup_free_ char *new = NULL;
	int fd, r, error = 0;

	if (asprintf(&new, "%s.XXXXXX", options->textfile) < 0)
		return MERLON_EXIT_FAILED;
	fd = mkostemp(new, O_CLOEXEC);
	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || fchmod(fd, 0644) < 0)
		error = errno;
	r = error ? MERLON_EXIT_FAILED : show_metrics(options);
	if (!r && fflush(stdout))
		error = errno;
	if (fd >= 0 && close(fd) < 0 && !error)
		error = errno;
	if (!r && !error && rename(new, options->textfile) < 0)
		error = errno;
	if (error)
		fprintf(stderr, "error: %s: %s\n", options->textfile, strerror(error));
	if (fd >= 0 && (r || error))
		unlink(new);
	return error ? MERLON_EXIT_FAILED : r;
}

static int run(const struct merlon_options *options)
{
	if (options->json + options->prometheus + !!options->textfile > 1) {
		fputs("error: --prometheus, --textfile and --json are different formats\n  give one of them\n", stderr);
		return MERLON_EXIT_USAGE;
	}
	if (options->textfile)
		return write_metrics(options);
	return options->prometheus ? show_metrics(options) : merlon_show(options, "Stats", NULL, print);
}

const struct merlon_command merlon_stats = {
	.name = "stats",
	.usage = "",
	.does = "shows what was counted, also per rule",
	.takes = MERLON_TAKES_PROMETHEUS | MERLON_TAKES_SOCKET,
	.run = run,
};
