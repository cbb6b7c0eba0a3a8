/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-login.h>

#include "src/cli/cli.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"

#define SYSTEMD "org.freedesktop.systemd1"

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

/* Whether systemd stops the service that this runs in only to start it again: nothing has to let go in between. */
static bool is_restart(void)
{
	_cleanup_free_ char *unit = NULL, *job = NULL, *type = NULL;
	sd_bus *bus = NULL;

	/* systemd's own socket: the system's bus may not be there yet, or not any more */
	if (sd_pid_get_unit(0, &unit) >= 0 && sd_bus_new(&bus) >= 0 &&
	    sd_bus_set_address(bus, "unix:path=/run/systemd/private") >= 0 && sd_bus_start(bus) >= 0 &&
	    (job = job_of(bus, unit)))
		sd_bus_get_property_string(bus, SYSTEMD, job, SYSTEMD ".Job", "JobType", NULL, &type);
	sd_bus_flush_close_unref(bus);
	return type && !strcmp(type, "restart");
}

static int stop(const struct merlon_options *options)
{
	struct merlon_diag diag = { 0 };
	struct merlon_call call;
	int r = merlon_call(options, "Stop", NULL, &call);

	if (r)
		return r;
	merlon_report_read_messages(json_object_get(call.answer, "messages"), &diag);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	if (options->json)
		merlon_print_json(call.answer);
	else if (call.status == MERLON_EXIT_DONE)
		puts("merlon is detached; nothing is filtered any more");
	json_decref(call.answer);
	return call.status;
}

/* Of merlon.service: the configuration may say that the policy outlives it. */
static int stop_configured(const struct merlon_options *options)
{
	struct merlon_call call;
	bool keep;
	int r;

	if (is_restart())
		return MERLON_EXIT_DONE;
	r = merlon_call(options, "Config", NULL, &call);
	if (r)
		return r;
	keep = !strcmp(merlon_configured(call.answer, "Policy", "OnStop"), "keep");
	json_decref(call.answer);
	if (!keep)
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
	return options->configured ? stop_configured(options) : stop(options);
}

const struct merlon_command merlon_stop = {
	.name = "stop",
	.usage = "",
	.does = "detaches from all interfaces, and ends merlond",
	.takes = MERLON_TAKES_SOCKET | MERLON_TAKES_CONFIGURED | MERLON_TAKES_FORCE,
	.run = run,
};
