/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "src/model/report.h"
#include "src/service/bus.h"
#include "src/service/reading.h"
#include "src/service/work.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define COUNTED_NS 5000000000ULL
#define RINGS_PAUSE_US 1000	/* the ring has room for 9,000 events */

static void on_event_record(void *context, const struct merlon_event *event, const struct merlon_event_packet *with)
{
	merlon_journal_event(context, event);
	merlon_monitors_event(context, event, with);
}

static void on_reject_record(void *context, const struct merlon_reject_event *event)
{
	merlon_answers_reject(((struct merlon_daemon *)context)->answering.own, event);
}

/*
 * A reader that has caught up is woken by the next packet that is reported, at that packet's cost. So once something was there
 * it looks again a moment later, and waits to be woken only when nothing has come meanwhile.
 */
static void read_rings(struct merlon_daemon *d)
{
	bool some = merlon_dataplane_events_consume(d->dp) > 0;

	merlon_monitors_flush(d);
	if (some && (sd_event_source_set_time(d->rings_pause, merlon_now_ns() / 1000 + RINGS_PAUSE_US) < 0 ||
		     sd_event_source_set_enabled(d->rings_pause, SD_EVENT_ONESHOT) < 0))
		some = false;
	sd_event_source_set_enabled(d->rings, some ? SD_EVENT_OFF : SD_EVENT_ON);
}

static int on_rings(sd_event_source *source, int fd, uint32_t events, void *context)
{
	(void)source;
	(void)fd;
	(void)events;
	read_rings(context);
	return 0;
}

static int on_rings_pause(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source;
	(void)usec;
	read_rings(context);
	return 0;
}

int merlon_daemon_reload(struct merlon_daemon *d, json_t **ret_report)
{
	struct merlon_diag diag = { 0 };
	int r;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(merlon_now_ns() / 1000));
	r = merlon_settings_reread(&d->settings, d->argc, d->argv, &diag);
	if (r)
		merlon_journal_note(LOG_ERR, "the settings stay as they were");
	merlon_journal_diag(&diag);
	*ret_report = json_pack("{s:o}", "messages", merlon_report_messages(&diag));
	merlon_diag_clear(&diag);
	merlon_enforce_trackers(d);
	merlon_links_sync(d);
	merlon_daemon_status(d);
	sd_notify(0, "READY=1");
	return r ? MERLON_EXIT_FAILED : MERLON_EXIT_DONE;
}

static void run_reload(struct merlon_daemon *d, struct merlon_job *job)
{
	json_t *report;

	(void)job;
	merlon_daemon_reload(d, &report);
	json_decref(report);
}

/* A job: what is being done now goes by the settings as they are. */
static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
	(void)source;
	(void)info;
	merlon_work_do(context, run_reload);
	return 0;
}

/* Whether what is in force is only what came in place of a ruleset that could not be applied, OnFailure=closed. */
static bool is_closed(const struct merlon_daemon *d)
{
	const char *file = json_string_value(json_object_get(json_array_get(d->enforced.sources, 0), "file"));

	return file && (!strcmp(file, d->settings.closed_ruleset) || !strcmp(file, MERLON_CLOSED_BUILT_IN));
}

static void count_sessions(struct merlon_daemon *d)
{
	merlon_dataplane_count_sessions(d->dp, &d->counted.established, &d->counted.embryonic);
	d->counted.at_ns = merlon_now_ns();
}

void merlon_daemon_count_sessions(struct merlon_daemon *d, uint32_t *ret_established, uint32_t *ret_embryonic)
{
	if (!merlon_work_is_busy(d) || merlon_now_ns() - d->counted.at_ns > COUNTED_NS)
		count_sessions(d);
	*ret_established = d->counted.established;
	*ret_embryonic = d->counted.embryonic;
}

void merlon_daemon_status(struct merlon_daemon *d)
{
	uint32_t generation = merlon_dataplane_generation(d->dp), rules = d->enforced.policy ? d->enforced.policy->n_flat : 0;
	uint32_t sessions;

	d->untold = false;
	if (!generation || merlon_dataplane_is_torn_out(d->dp)) {
		sd_notify(0, "STATUS=no policy is in force: nothing is filtered");
		return;
	}
	/* of changes that come one behind the other the next one is waiting */
	if (merlon_now_ns() - d->counted.at_ns > COUNTED_NS)
		count_sessions(d);
	sessions = d->counted.established + d->counted.embryonic;
	sd_notifyf(0, "STATUS=generation %u, %u rule%s, %u session%s, %s%s", generation, rules, rules == 1 ? "" : "s",
		   sessions, sessions == 1 ? "" : "s",
		   d->enforced.audit ? "audit: nothing is dropped" : "enforcing",
		   is_closed(d) ? ", closed: the ruleset could not be applied" : "");
}

#define STATUS_US (60 * 1000000ULL)

/* Sessions come and go. */
static int on_minute(sd_event_source *source, uint64_t due_us, void *context)
{
	merlon_daemon_status(context);
	sd_event_source_set_time(source, due_us + STATUS_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void run_nothing(struct merlon_daemon *d, struct merlon_job *job)
{
	(void)d;
	(void)job;
}

static void end(struct merlon_daemon *d, struct merlon_job *job)
{
	free(job);
	/* while there are connections to say so */
	merlon_readings_end(d);
	sd_event_exit(d->event, 0);
}

#define PATIENCE_NS 1000000000ULL	/* what comes sooner is the same wish, sent twice (timeout(1) does) */

/* The data plane stays. What was begun is ended and answered first; who does not want to wait for that asks again. */
static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
	struct merlon_daemon *d = context;
	struct merlon_job *job;

	(void)source;
	(void)info;
	if (d->ending_ns && merlon_now_ns() - d->ending_ns < PATIENCE_NS)
		return 0;
	job = d->ending_ns ? NULL : malloc(sizeof(*job));
	/* whatever is half done, a kill would find the same */
	if (!job)
		_exit(EXIT_FAILURE);
	d->ending_ns = merlon_now_ns();
	sd_notify(0, "STOPPING=1");
	*job = (struct merlon_job){ .run = run_nothing, .done = end };
	merlon_work_add(d, job);
	return 0;
}

static int add_signals(struct merlon_daemon *d)
{
	sigset_t mask;
	int r;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return -errno;
	if ((r = sd_event_add_signal(d->event, NULL, SIGTERM, on_terminate, d)) < 0 ||
	    (r = sd_event_add_signal(d->event, NULL, SIGINT, on_terminate, d)) < 0)
		return r;
	return sd_event_add_signal(d->event, NULL, SIGHUP, on_hangup, d);
}

static void on_relax(void *context, bool away)
{
	if (away) {
		merlon_work_let_go(context);
		return;
	}
	merlon_work_take_back(context);
	/* some may have come meanwhile */
	merlon_links_bind_coming(context);
}

static int open_dataplane(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_dataplane_options options = merlon_dataplane_defaults();
	struct merlon_dataplane_events handler = { on_event_record, d->settings.answers ? NULL : on_reject_record, d };
	int r;

	options.pin_dir = d->settings.pin_path;
	options.pin_name = d->settings.pin_dir;
	options.max_sessions = d->settings.max_sessions;
	options.attach = d->settings.attach;
	r = merlon_dataplane_open(&options, &d->dp, diag);
	if (r < 0)
		return r;
	merlon_dataplane_relax(d->dp, on_relax, d);
	merlon_dataplane_last(d->dp, merlon_enforce_last, d);
	r = merlon_answering_open(d, diag);
	if (r < 0)
		return r;
	r = merlon_dataplane_events_open(d->dp, &handler);
	if (!r)
		r = sd_event_add_io(d->event, &d->rings, merlon_dataplane_events_fd(d->dp), EPOLLIN, on_rings, d);
	if (r >= 0)
		r = sd_event_add_time(d->event, &d->rings_pause, CLOCK_MONOTONIC, 0, 50, on_rings_pause, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->rings_pause, SD_EVENT_OFF);
	if (r < 0)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot read the data plane's events: %s",
				strerror(-r));
	return r;
}

/* A data plane that was found stays as it was made. */
static void tell_kept(const struct merlon_daemon *d)
{
	struct merlon_dataplane_info info;
	struct merlon_diag diag = { 0 };

	if (merlon_dataplane_info(d->dp, &info) < 0)
		return;
	merlon_kept_warn(d, &info, &diag);
	merlon_journal_diag(&diag);
	merlon_diag_clear(&diag);
}

/*
 * A second daemon must not touch the data plane of the first: the lock of the state comes first, since of two that find the
 * socket of one that was killed only one may take its place.
 */
static int start(struct merlon_daemon *d, struct merlon_diag *diag)
{
	int r;

	if ((r = sd_event_new(&d->event)) < 0 || (r = add_signals(d)) < 0 || (r = merlon_work_open(d)) < 0)
		return r;
	if ((r = merlon_state_open(d, diag)) < 0 || (r = merlon_bus_open(d, diag)) < 0 ||
	    (r = merlon_journal_open(d, diag)) < 0 || (r = merlon_event_origins_open(d)) < 0 || (r = merlon_cgroups_open(d)) < 0 ||
	    (r = merlon_monitors_open(d)) < 0 ||
	    (r = open_dataplane(d, diag)) < 0 ||
	    (r = merlon_links_open(d, diag)) < 0 || (r = merlon_space_open(d, diag)) < 0)
		return r;
	tell_kept(d);
	merlon_policy_resume(d);
	/* of a first policy that was cut off */
	if (!merlon_dataplane_generation(d->dp))
		merlon_dataplane_detach_all(d->dp);
	merlon_dataplane_routes_changed(d->dp);
	if (merlon_dataplane_generation(d->dp))
		merlon_links_sync(d);
	r = sd_event_add_time_relative(d->event, NULL, CLOCK_MONOTONIC, STATUS_US, 1000000, on_minute, d);
	if (r < 0)
		return r;
	sd_event_set_watchdog(d->event, 1);
	merlon_daemon_status(d);
	sd_notify(0, "READY=1");
	return 0;
}

void merlon_daemon_remove_dir(const char *dir, bool own)
{
	if (own || !strcmp(dir, MERLON_RUN_DIR))
		rmdir(dir);
}

static void stop(struct merlon_daemon *d)
{
	sd_notify(0, "STOPPING=1");
	merlon_work_close(d);
	merlon_bus_close(d);
	merlon_space_close(d);
	merlon_links_close(d);
	merlon_answering_close(d);
	merlon_monitors_close(d);
	merlon_event_origins_close(d);
	merlon_cgroups_close(d);
	merlon_journal_close(d);
	merlon_dataplane_close(d->dp);
	merlon_enforced_clear(&d->enforced);
	merlon_state_close(d);
	sd_event_source_unref(d->rings);
	sd_event_source_unref(d->rings_pause);
	sd_event_unref(d->event);
}

int merlon_daemon_run(struct merlon_settings *settings, int argc, char **argv)
{
	struct merlon_daemon d = { .settings = *settings, .argc = argc, .argv = argv, .listener = -1, .state_lock = -1, .space = { .fd = -1 }, .answering.fd = -1, .started_us = merlon_now_ns() / 1000 };
	struct merlon_diag diag = { 0 };
	int r = start(&d, &diag);

	merlon_diag_print(&diag, stderr);
	if (r < 0 && !diag.n)
		fprintf(stderr, "error: cannot start: %s\n", strerror(-r));
	merlon_diag_clear(&diag);
	if (!r)
		r = merlon_work_loop(&d);
	stop(&d);
	merlon_settings_clear(&d.settings);
	return r;
}
