/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asks merlond what is counted, again and again, and shows what that comes to. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/perf.h"
#include "src/kernel/dataplane.h"
#include "src/model/perf.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define CLEAR "\033[H\033[2J"

enum form { TABLE, LINES, JSON };

struct perf {
	const struct merlon_options *options;
	enum form form;
	int counting;		/* the kernel counts the runs of programs as long as this is open; or a negative errno */
	json_t *first, *last;	/* what merlond answered */
	unsigned samples;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

/* The second one ends a wait for merlond, too. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* Until then, or until a signal comes, also one that has just come. */
static void wait_until(uint64_t due_ns)
{
	sigset_t ours, before;
	uint64_t now;

	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigprocmask(SIG_BLOCK, &ours, &before);
	while (!stopped && (now = merlon_now_ns()) < due_ns) {
		struct timespec left = { (due_ns - now) / 1000000000, (due_ns - now) % 1000000000 };

		ppoll(NULL, 0, &left, &before);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* What every processor has spent in softirq; empty: it cannot be read. */
static json_t *softirq_ns(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/stat", "re");
	json_int_t tick_ns = 1000000000 / sysconf(_SC_CLK_TCK);
	_cleanup_free_ char *line = NULL;
	json_t *list = json_array();
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0 && !strncmp(line, "cpu", 3)) {
		unsigned long long ticks;

		/* the first line is the sum */
		if (sscanf(line, "cpu%*u %*u %*u %*u %*u %*u %*u %llu", &ticks) == 1)
			json_array_append_new(list, json_integer((json_int_t)ticks * tick_ns));
	}
	return list;
}

/* 0, or an exit status. */
static int ask(const struct perf *p, json_t **ret)
{
	struct merlon_call call;
	int r = merlon_call(p->options, "Perf", p->options->interface ? p->options->interface : "", &call);

	if (r)
		return r;
	json_object_set_new(call.answer, "softirq_ns", softirq_ns());
	json_object_set_new(call.answer, "timed", json_boolean(p->counting >= 0));
	*ret = call.answer;
	return 0;
}

/* Local time; with the date and the zone for machines. */
static void add_time(json_t *figures, const char *form)
{
	time_t now = time(NULL);
	char text[64];
	struct tm tm;

	strftime(text, sizeof(text), form, localtime_r(&now, &tm));
	json_object_set_new(figures, "time", json_string(text));
}

/* 0, or an exit status. */
static int show(const struct perf *p, const json_t *before, bool is_summary)
{
	json_t *figures = merlon_perf_figures(before, p->last);

	if (!figures || merlon_perf_judge(figures) < 0) {
		json_decref(figures);
		fputs("error: out of memory\n", stderr);
		return MERLON_EXIT_FAILED;
	}
	json_object_set_new(figures, "summary", json_boolean(is_summary));
	add_time(figures, p->form == JSON ? "%Y-%m-%dT%H:%M:%S%z" : "%H:%M:%S");
	switch (p->form) {
	case TABLE:
		fputs(is_summary ? "\n" : CLEAR, stdout);
		merlon_perf_table(figures);
		break;
	case LINES:
		merlon_perf_line(figures);
		break;
	case JSON:
		json_dumpf(figures, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(figures);
	if (fflush(stdout) == 0)
		return 0;
	perror("error: standard output");
	return MERLON_EXIT_FAILED;
}

/* One sample after the other. 0, or an exit status. */
static int watch(struct perf *p)
{
	double interval_s = p->options->interval_s ? p->options->interval_s : 1;
	uint64_t interval_ns = interval_s * 1e9, end_ns = UINT64_MAX, due_ns = merlon_now_ns();
	int r = ask(p, &p->first);

	if (r)
		return r;
	if (p->options->duration_s)
		end_ns = due_ns + (uint64_t)(p->options->duration_s * 1e9);
	p->last = json_incref(p->first);
	while (!r && !stopped && merlon_now_ns() < end_ns) {
		json_t *before = p->last, *now = NULL;

		/* what merlond could not answer in time is no reason to hurry */
		for (due_ns += interval_ns; due_ns < merlon_now_ns();)
			due_ns += interval_ns;
		wait_until(due_ns < end_ns ? due_ns : end_ns);
		r = ask(p, &now);
		if (r)
			break;
		p->last = now;
		r = show(p, before, false);
		json_decref(before);
		p->samples++;
	}
	return r ? r : p->samples > 1 ? show(p, p->first, true) : 0;
}

static void tell_uncounted(const struct perf *p)
{
	if (p->counting >= 0)
		return;
	fprintf(stderr, "note: nanoseconds of all packets and of the short way are not shown: %s\n",
		p->counting == -EPERM ? "only root may have the kernel count them" : strerror(-p->counting));
}

static int run(const struct merlon_options *options)
{
	struct perf p = { .options = options, .form = options->json ? JSON : isatty(STDOUT_FILENO) ? TABLE : LINES };
	int r;

	p.counting = merlon_runs_count();
	tell_uncounted(&p);
	catch_signals();
	r = watch(&p);
	json_decref(p.first);
	json_decref(p.last);
	merlon_closep(&p.counting);
	return r;
}

const struct merlon_command merlon_perf = {
	.name = "perf",
	.usage = "",
	.does = "shows what the data plane does and costs, and whether it is healthy",
	.takes = MERLON_TAKES_INTERVAL | MERLON_TAKES_SOCKET,
	.run = run,
};
