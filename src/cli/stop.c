/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/util/cleanup.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define WAIT_US 20000
#define MOST_WAITS 1500

/* The path of the job that a unit is in; NULL: there is none. The caller's. */
static char *job_of(sd_bus *bus, const char *unit)
{
	_cleanup_free_ char *path = NULL;
	sd_bus_message *reply = NULL;
	char *job = NULL;
	const char *text;

	if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) >= 0 &&
	    sd_bus_get_property(bus, SYSTEMD, path, SYSTEMD ".Unit", "Job", NULL, &reply, "(uo)") >= 0 &&
	    sd_bus_message_read(reply, "(uo)", NULL, &text) >= 0)
		job = strdup(text);
	sd_bus_message_unref(reply);
	return job;
}

/* systemd's own socket: the system's bus may not be there yet, or not any more. NULL: no answer. */
static sd_bus *connect_to_systemd(void)
{
	sd_bus *bus = NULL;

	if (sd_bus_new(&bus) >= 0 && sd_bus_set_address(bus, "unix:path=/run/systemd/private") >= 0 && sd_bus_start(bus) >= 0)
		return bus;
	sd_bus_unref(bus);
	return NULL;
}

/* NULL: not known. The caller's. */
static char *state_of(sd_bus *bus, const char *unit)
{
	_cleanup_free_ char *path = NULL;
	char *state = NULL;

	if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) >= 0)
		sd_bus_get_property_string(bus, SYSTEMD, path, SYSTEMD ".Unit", "ActiveState", NULL, &state);
	return state;
}

static bool is_active(sd_bus *bus, const char *unit)
{
	_cleanup_free_ char *state = state_of(bus, unit);

	return state && (!strcmp(state, "active") || !strcmp(state, "activating") || !strcmp(state, "reloading"));
}

/* 0, when it is in the queue, or a negative errno. */
static int begin_job(sd_bus *bus, const char *method, const char *unit, const char *mode)
{
	int r = sd_bus_call_method(bus, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager", method, NULL, NULL, "ss", unit, mode);

	return r < 0 ? r : 0;
}

/* Whether systemd stops the service that this runs in only to start it again: nothing has to let go in between. */
static bool is_restart(sd_bus *bus, const char *unit)
{
	_cleanup_free_ char *job = job_of(bus, unit), *type = NULL;

	if (job)
		sd_bus_get_property_string(bus, SYSTEMD, job, SYSTEMD ".Job", "JobType", NULL, &type);
	return type && !strcmp(type, "restart");
}

static bool has_job(sd_bus *bus, const char *unit)
{
	_cleanup_free_ char *job = job_of(bus, unit);

	return job && strcmp(job, "/");
}

/*
 * A daemon that does not run would be started by its socket; but the unit, which is to be stopped before it, would be waited for,
 * and waits itself. So it is with a socket that was stopped.
 */
static void wake_daemon(sd_bus *bus, const char *unit)
{
	char name[MERLON_UNIT_ROOM];
	int i;

	/* merlon@x.socket and merlond@x.service of merlon@x.service */
	snprintf(name, sizeof(name), "%.*s.socket", (int)(strlen(unit) - strlen(".service")), unit);
	if (!is_active(bus, name) && begin_job(bus, "StartUnit", name, "ignore-dependencies") == 0)
		for (i = 0; i < MOST_WAITS && has_job(bus, name); i++)
			usleep(WAIT_US);
	snprintf(name, sizeof(name), "merlond%.*s", MERLON_UNIT_ROOM - 8, unit + strlen("merlon"));
	if (!is_active(bus, name))
		begin_job(bus, "StartUnit", name, "ignore-dependencies");
}

/* As a unit's ExecStop=: whether there is anything to do; then there is a daemon to do it. */
static bool is_to_stop(void)
{
	_cleanup_free_ char *unit = NULL;
	sd_bus *bus = sd_pid_get_unit(0, &unit) < 0 || (strcmp(unit, "merlon.service") && strncmp(unit, "merlon@", 7) != 0) ?
		      NULL : connect_to_systemd();
	bool restart = bus && is_restart(bus, unit);

	if (bus && !restart)
		wake_daemon(bus, unit);
	sd_bus_flush_close_unref(bus);
	return !restart;
}

/* What waits for this command may be what the job waits for: so there is an end to that. True: it was stopped. */
static bool stop_unit(sd_bus *bus, const char *unit)
{
	_cleanup_free_ char *state = NULL;
	int i;

	if (begin_job(bus, "StopUnit", unit, "replace") < 0)
		return false;
	for (i = 0; i < MOST_WAITS && has_job(bus, unit); i++)
		usleep(WAIT_US);
	state = state_of(bus, unit);
	return state && !strcmp(state, "inactive");
}

/*
 * A unit that says that its ruleset is in force is stopped, too: `systemctl is-active` is to tell the truth, and `systemctl start`
 * to put it in force again. Its own stop detaches, and ends the daemon, since nothing is in force any more that OnStop=keep
 * could keep. False: there is no such unit, or it did not.
 */
static bool stop_by_unit(const struct merlon_options *options)
{
	char unit[MERLON_UNIT_ROOM];
	sd_bus *bus = merlon_unit_of(options->socket, "merlon", unit) && sd_booted() > 0 ? connect_to_systemd() : NULL;
	struct merlon_call call;
	bool stopped = false;

	if (bus && is_active(bus, unit) && !merlon_call(options, "Flush", NULL, &call)) {
		stopped = call.status == MERLON_EXIT_DONE && stop_unit(bus, unit);
		json_decref(call.answer);
	}
	sd_bus_flush_close_unref(bus);
	return stopped;
}

static const char detached[] = "merlon is detached; nothing is filtered any more";

static int stop(const struct merlon_options *options)
{
	return merlon_change(options, "Stop", detached, NULL);
}

/* Of merlon.service: the configuration may say that the policy outlives it. */
static int stop_configured(const struct merlon_options *options)
{
	struct merlon_call call;
	bool keep;
	int r;

	if (!is_to_stop())
		return MERLON_EXIT_DONE;
	r = merlon_call(options, "Config", NULL, &call);
	if (r)
		return r;
	keep = !strcmp(merlon_configured(call.answer, "Policy", "OnStop"), "keep");
	json_decref(call.answer);
	if (!keep || !merlon_is_enforced(options))
		return stop(options);
	if (options->json)
		puts("{\"messages\": []}");
	else
		puts("the policy stays in force: OnStop=keep");
	return MERLON_EXIT_DONE;
}

static int run(const struct merlon_options *options)
{
	if (options->force)
		return merlon_stop_force(options);
	if (options->configured)
		return stop_configured(options);
	if (!stop_by_unit(options))
		return stop(options);
	puts(options->json ? "{\"messages\": []}" : detached);
	return MERLON_EXIT_DONE;
}

const struct merlon_command merlon_stop = {
	.name = "stop",
	.usage = "",
	.does = "detaches from all interfaces, and ends merlond",
	.takes = MERLON_TAKES_SOCKET | MERLON_TAKES_CONFIGURED | MERLON_TAKES_FORCE,
	.run = run,
};
