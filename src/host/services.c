/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which services that load rules are running, as systemd knows it: one question for all of them. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#include "src/host/chains.h"
#include "src/util/cleanup.h"

#define PATIENCE_US 500000	/* the check must not hang where systemd does */
#define UNITS ARRAY_SIZE(((struct merlon_manager *)0)->unit)

static const struct merlon_manager *manager_by_unit(const char *unit)
{
	const struct merlon_manager *manager;
	size_t i, j;

	for (i = 0; (manager = merlon_manager(i)); i++)
		for (j = 0; j < UNITS && manager->unit[j]; j++)
			if (!strcmp(unit, manager->unit[j]))
				return manager;
	return NULL;
}

static bool is_found(const struct merlon_host *host, const char *name)
{
	size_t i, n = strlen(name);

	for (i = 0; i < host->n; i++)
		if (!strcmp(host->finding[i].what, "service") && !strncmp(host->finding[i].where, name, n) &&
		    host->finding[i].where[n] == ':')
			return true;
	return false;
}

static int add_unit(void *context, const char *unit, const char *load, const char *state)
{
	struct merlon_host_view *view = context;
	struct merlon_finding finding = {
		.what = "service",
		.why = "it loads rules into the host's netfilter: both would filter, and rules may change behind merlon",
		.cure = "stop and disable it when merlon's policy has replaced its rules (systemctl disable --now)",
		.severity = MERLON_HOST_WARN,
	};
	const struct merlon_manager *manager = manager_by_unit(unit);

	if (!manager || strcmp(load, "loaded") || (strcmp(state, "active") && strcmp(state, "activating") && strcmp(state, "reloading")) ||
	    is_found(view->host, manager->name))
		return 0;
	if (manager->nat_cure) {
		finding.why = "it adds rules to the host's netfilter when it needs them, NAT among them, which merlon would judge wrong";
		finding.cure = manager->nat_cure;
	}
	return merlon_finding_add(view, &finding, "%s: %s is %s", manager->name, unit, state);
}

static int put_names(sd_bus_message *message)
{
	const struct merlon_manager *manager;
	size_t i, j;
	int r = sd_bus_message_open_container(message, 'a', "s");

	for (i = 0; r >= 0 && (manager = merlon_manager(i)); i++)
		for (j = 0; r >= 0 && j < UNITS && manager->unit[j]; j++)
			r = sd_bus_message_append(message, "s", manager->unit[j]);
	return r < 0 ? r : sd_bus_message_close_container(message);
}

typedef int on_unit(void *context, const char *unit, const char *load, const char *state);

static int read_units(sd_bus_message *reply, on_unit *each, void *context)
{
	const char *name, *load, *active;
	int r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");

	while (r >= 0) {
		/* name, description, load state, active state, ... of ListUnits() in org.freedesktop.systemd1(5) */
		r = sd_bus_message_read(reply, "(ssssssouso)", &name, NULL, &load, &active, NULL, NULL, NULL, NULL, NULL, NULL);
		if (r <= 0)
			break;
		r = each(context, name, load, active);
	}
	return r;
}

static int ask(sd_bus *bus, const char *destination, on_unit *each, void *context)
{
	sd_bus_message *call = NULL, *reply = NULL;
	int r = sd_bus_message_new_method_call(bus, &call, destination, "/org/freedesktop/systemd1",
					       "org.freedesktop.systemd1.Manager", "ListUnitsByNames");

	if (r >= 0)
		r = put_names(call);
	if (r >= 0)
		r = sd_bus_call(bus, call, PATIENCE_US, NULL, &reply);
	if (r >= 0)
		r = read_units(reply, each, context);
	sd_bus_message_unref(call);
	sd_bus_message_unref(reply);
	return r < 0 ? r : 0;
}

int merlon_services_ask(struct merlon_host_view *view, sd_bus *bus, const char *destination)
{
	return ask(bus, destination, add_unit, view);
}

static int add_idle(void *context, const char *unit, const char *load, const char *state)
{
	const struct merlon_manager *manager = manager_by_unit(unit);
	char **list = context, *longer;

	if (!manager || !manager->firewall || (strcmp(load, "loaded") && strcmp(load, "masked")) ||
	    (strcmp(state, "inactive") && strcmp(state, "failed")))
		return 0;
	if (asprintf(&longer, "%s%s%s", *list ? *list : "", *list ? ", " : "", unit) < 0)
		return -ENOMEM;
	free(*list);
	*list = longer;
	return 0;
}

char *merlon_services_idle(sd_bus *bus, const char *destination)
{
	char *list = NULL;

	ask(bus, destination, add_idle, &list);
	return list;
}

/* Services run in the namespace of PID 1; whoever may not look there is taken to be in it. */
static bool is_services_namespace(void)
{
	struct stat theirs, ours;

	if (stat("/proc/1/ns/net", &theirs) < 0 || stat("/proc/self/ns/net", &ours) < 0)
		return true;
	return theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev;
}

char *merlon_host_idle_firewalls(void)
{
	sd_bus *bus = NULL;
	char *list = NULL;

	if (sd_booted() > 0 && is_services_namespace() && sd_bus_open_system(&bus) >= 0)
		list = merlon_services_idle(bus, "org.freedesktop.systemd1");
	sd_bus_flush_close_unref(bus);
	return list;
}

int merlon_host_services(struct merlon_host_view *view)
{
	sd_bus *bus = NULL;
	int r;

	if (sd_booted() <= 0 || !is_services_namespace())
		return 0;
	r = sd_bus_open_system(&bus);
	if (r >= 0)
		r = merlon_services_ask(view, bus, "org.freedesktop.systemd1");
	sd_bus_flush_close_unref(bus);
	if (r == -ENOMEM)
		return r;
	/* It is not what decides: the rules themselves have been looked at. */
	return r < 0 ? merlon_finding_add(view, &(const struct merlon_finding){
				.what = "unseen", .why = "which services load rules could not be asked",
				.severity = MERLON_HOST_NOTE }, "systemd: %s", strerror(-r)) : 0;
}
