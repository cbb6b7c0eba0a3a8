/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "src/service/bus.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"


static void on_event_record(void *context, const struct merlon_event *event)
{
	merlon_journal_event(context, event);
}

static void on_reject_record(void *context, const struct merlon_reject_event *event)
{
	merlon_answers_reject(((struct merlon_daemon *)context)->answers, event);
}

static int on_rings(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct merlon_daemon *d = context;

	(void)source;
	(void)fd;
	(void)events;
	merlon_dataplane_events_consume(d->dp);
	return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
	struct merlon_daemon *d = context;

	(void)source;
	(void)info;
	merlon_enforce_trackers(d);
	merlon_links_sync(d);
	return 0;
}

void merlon_daemon_status(struct merlon_daemon *d)
{
	uint32_t rules = d->enforced.policy ? d->enforced.policy->n_flat : 0;

	sd_notifyf(0, "STATUS=generation %u, %u rule%s, %s", merlon_dataplane_generation(d->dp), rules, rules == 1 ? "" : "s",
		   d->enforced.audit ? "audit" : "enforcing");
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
	/* No handler: the loop ends, the data plane stays. */
	if ((r = sd_event_add_signal(d->event, NULL, SIGTERM, NULL, NULL)) < 0 ||
	    (r = sd_event_add_signal(d->event, NULL, SIGINT, NULL, NULL)) < 0)
		return r;
	return sd_event_add_signal(d->event, NULL, SIGHUP, on_hangup, d);
}

static int open_dataplane(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_dataplane_options options = merlon_dataplane_defaults();
	struct merlon_dataplane_events handler = { on_event_record, on_reject_record, d };
	int r;

	options.pin_dir = d->settings.pin_dir;
	options.max_sessions = d->settings.max_sessions;
	r = merlon_dataplane_open(&options, &d->dp, diag);
	if (r < 0)
		return r;
	r = merlon_answers_open(d->dp, true, &d->answers, diag);
	if (r < 0)
		return r;
	r = merlon_dataplane_events_open(d->dp, &handler);
	if (!r)
		r = sd_event_add_io(d->event, NULL, merlon_dataplane_events_fd(d->dp), EPOLLIN, on_rings, d);
	if (r < 0)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot read the data plane's events: %s",
				strerror(-r));
	return r;
}

/* A data plane that was found keeps the sizes that it was made with. */
static void tell_sizes(const struct merlon_daemon *d)
{
	struct merlon_dataplane_info info;
	struct merlon_diag diag = { 0 };

	if (merlon_dataplane_info(d->dp, &info) < 0)
		return;
	merlon_sizes_warn(d, &info, &diag);
	merlon_journal_diag(&diag);
	merlon_diag_clear(&diag);
}

/* The socket comes first: a second daemon must not touch the data plane of the first. */
static int start(struct merlon_daemon *d, struct merlon_diag *diag)
{
	int r;

	if ((r = sd_event_new(&d->event)) < 0 || (r = add_signals(d)) < 0)
		return r;
	if ((r = merlon_bus_open(d, diag)) < 0 || (r = merlon_state_open(d, diag)) < 0 ||
	    (r = merlon_journal_open(d, diag)) < 0 || (r = open_dataplane(d, diag)) < 0 ||
	    (r = merlon_links_open(d, diag)) < 0 || (r = merlon_space_open(d, diag)) < 0)
		return r;
	tell_sizes(d);
	merlon_policy_resume(d);
	merlon_dataplane_routes_changed(d->dp);
	if (merlon_dataplane_generation(d->dp))
		merlon_links_sync(d);
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
	merlon_bus_close(d);
	merlon_space_close(d);
	merlon_links_close(d);
	merlon_answers_close(d->answers);
	merlon_journal_close(d);
	merlon_dataplane_close(d->dp);
	merlon_enforced_clear(&d->enforced);
	merlon_state_close(d);
	sd_event_unref(d->event);
}

int merlon_daemon_run(struct merlon_settings *settings)
{
	struct merlon_daemon d = { .settings = *settings, .listener = -1, .state_lock = -1, .space.fd = -1, .started_us = merlon_now_ns() / 1000 };
	struct merlon_diag diag = { 0 };
	int r = start(&d, &diag);

	merlon_diag_print(&diag, stderr);
	if (r < 0 && !diag.n)
		fprintf(stderr, "error: cannot start: %s\n", strerror(-r));
	merlon_diag_clear(&diag);
	if (!r)
		r = sd_event_loop(d.event);
	stop(&d);
	return r;
}
