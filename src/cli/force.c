/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `merlon stop --force`: for whoever is locked out, and for packages that are removed. Needs no daemon. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/host/host.h"
#include "src/kernel/dataplane.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"

/*
 * Who takes away the only filter there is opens the host: that must not go by in silence where it is a package that is removed.
 * In the namespace that it is about; `name` NULL: it has no name.
 */
static void warn_open(const char *name, const char *interfaces, struct merlon_diag *diag)
{
	_cleanup_free_ char *idle = NULL;

	if (merlon_host_is_filtered() == 1)
		return;
	merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
			"%s%s%snothing filters on %s any more: merlon did, and netfilter has no rules that do", name ? "network namespace " : "",
			name ? name : "", name ? ": " : "", interfaces);
	if (name)
		return;
	idle = merlon_host_idle_firewalls();
	if (idle)
		merlon_diag_cure(diag, "what filtered before may be among these, which are installed and do not run: %s. "
				 "`systemctl unmask UNIT` and `systemctl enable --now UNIT` bring it back (ufw: then `ufw enable`), merlon-migrate(7)", idle);
	else
		merlon_diag_cure(diag, "the rules from before come back by iptables-restore, or by nft -f, merlon-migrate(7)");
}

/* It knows nothing of this, and can put nothing in force any more. `name`: its instance, or NULL. */
static void tell_daemon(const char *name, struct merlon_diag *diag)
{
	merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
			"merlond still runs, without what was pinned: it puts no policy in force until it is started anew");
	merlon_diag_cure(diag, "`systemctl restart merlond%s%s`, or start it again by hand; then apply the ruleset", name ? "@" : "",
			 name ? name : "");
}

/* What is pinned in one place. `name`: of the network namespace that this is in; NULL: the caller's. 1: it was there, 0: nothing was. */
static int remove_one(const struct merlon_options *options, const char *pin_dir, const char *name, json_t *places, struct merlon_diag *diag)
{
	_cleanup_free_ char *interfaces = merlon_dataplane_enforced_on(pin_dir);
	bool served = merlon_dataplane_is_served(pin_dir);
	int r = merlon_dataplane_force_remove(pin_dir, diag);

	if (r <= 0)
		return r;
	if (interfaces)
		warn_open(name, interfaces, diag);
	if (served)
		tell_daemon(name, diag);
	json_array_append_new(places, json_pack("{s:s, s:s?, s:s?}", "pin_dir", pin_dir, "netns", name, "enforced_on", interfaces));
	if (!options->json)
		printf("%s is removed; nothing is filtered any more%s%s\n", pin_dir, name ? " in network namespace " : "", name ? name : "");
	return r;
}

/* As merlond --instance has it: what is pinned in merlon-NAME filters /run/netns/NAME. If that is gone, it filters nothing. */
static int remove_of_namespace(const struct merlon_options *options, const char *pin_dir, const char *name, json_t *places,
			       struct merlon_diag *diag)
{
	_cleanup_close_ int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = -1;
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "/run/netns/%s", name) < (int)sizeof(path))
		there = open(path, O_RDONLY | O_CLOEXEC);
	if (there < 0 || here < 0)
		return remove_one(options, pin_dir, NULL, places, diag);
	if (setns(there, CLONE_NEWNET) < 0) {
		r = -errno;
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = path }, "cannot enter it: %s", strerror(-r));
		return r;
	}
	r = remove_one(options, pin_dir, name, places, diag);
	if (setns(here, CLONE_NEWNET) < 0)
		return -errno;
	return r;
}

static int remove_all(const struct merlon_options *options, const char *usual, json_t *places, struct merlon_diag *diag)
{
	const char *base = strrchr(usual, '/') + 1;
	size_t length = strlen(base);
	char path[PATH_MAX];
	struct dirent *entry;
	int r = remove_one(options, usual, NULL, places, diag), one;
	DIR *dir;

	snprintf(path, sizeof(path), "%.*s", (int)(base - usual), usual);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, base, length) != 0 || entry->d_name[length] != '-')
			continue;
		snprintf(path, sizeof(path), "%.*s%s", (int)(base - usual), usual, entry->d_name);
		one = remove_of_namespace(options, path, entry->d_name + length + 1, places, diag);
		r = r < 0 ? r : one < 0 ? one : r | one;
	}
	if (dir)
		closedir(dir);
	return r;
}

int merlon_stop_force(const struct merlon_options *options)
{
	const char *usual = merlon_dataplane_defaults().pin_dir, *pin_dir = options->pin_dir ? options->pin_dir : usual;
	struct merlon_diag diag = { 0 };
	json_t *report, *places = json_array();
	int r = options->all ? remove_all(options, usual, places, &diag) : remove_one(options, pin_dir, NULL, places, &diag);

	if (r < 0) {
		json_decref(places);
		return merlon_fail(options, &diag);
	}
	merlon_diag_print(&diag, stderr);
	report = json_pack("{s:b, s:o, s:o}", "removed", r > 0, "places", places, "messages", merlon_report_messages(&diag));
	merlon_diag_clear(&diag);
	if (options->json)
		merlon_print_json(report);
	else if (!r)
		printf("nothing is pinned in %s%s\n", pin_dir, options->all ? " or beside it" : "");
	json_decref(report);
	return MERLON_EXIT_DONE;
}
