/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/settings.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "src/kernel/dataplane.h"
#include "src/service/bus.h"
#include "src/util/cleanup.h"
#include "src/util/ini.h"

#define NOWHERE "none"
#define MOST_SESSIONS (1U << 26)

static const char usage[] =
	"usage: merlond [OPTION]...\n"
	"Enforces a ruleset on the network namespace it runs in.\n"
	"\n"
	"  --foreground         stay in the foreground (merlond always does; for symmetry with other daemons)\n"
	"  --socket PATH        where `merlon` finds it (default " MERLON_BUS_SOCKET ")\n"
	"  --pin-dir PATH       where the data plane is pinned, on a BPF file system (default /sys/fs/bpf/merlon)\n"
	"  --interfaces GLOBS   interfaces to filter: a comma list of patterns, `!` leaves out (default *)\n"
	"  --config FILE        configuration file\n"
	"  --state-dir DIR      where the policy in force is kept for a restart (default " MERLON_RUN_DIR ")\n"
	"  --policy-netns PATH  where the policy namespace is mounted; none: nowhere (default /run/netns/merlon, for the default pins)\n"
	"  --events FILE        also write every report there, a JSON object a line with the journal's fields, without its limits\n"
	"  --help, --version\n";

static int set_string(char **to, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int set_interfaces(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	struct merlon_settings *s = context;
	struct merlon_ifpattern *pattern;
	int r = merlon_ifpattern_parse(value, &pattern);

	if (r < 0) {
		merlon_diag_add(diag, MERLON_ERROR, place, "\"%s\" is no list of interface patterns", value);
		merlon_diag_cure(diag, "give names or patterns with commas between, as in eth*,!eth3");
		return r;
	}
	merlon_ifpattern_free(s->pattern);
	s->pattern = pattern;
	return set_string(&s->interfaces, value);
}

static int set_policy_netns(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	struct merlon_settings *s = context;

	if (value[0] == '/' || !strcmp(value, NOWHERE))
		return set_string(&s->policy_netns, value);
	merlon_diag_add(diag, MERLON_ERROR, place, "\"%s\" is no absolute path", value);
	merlon_diag_cure(diag, "give a path such as /run/netns/merlon, or " NOWHERE);
	return -EINVAL;
}

struct count {
	const char *key, *value;
	struct merlon_place place;
};

static int read_count(const struct count *c, uint32_t *ret, struct merlon_diag *diag)
{
	const char *value = c->value;
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || end == value || *end || *value == '-' || n < 64 || n > MOST_SESSIONS) {
		merlon_diag_add(diag, MERLON_ERROR, c->place, "%s=\"%s\" is no number from 64 to %u", c->key, value, MOST_SESSIONS);
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

static int set_max(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return read_count(&(struct count){ "Max", value, place }, &((struct merlon_settings *)context)->max_sessions, diag);
}

static int set_tracker(void *context, const char *key, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return merlon_tracker_override(&((struct merlon_settings *)context)->trackers, key, value, place, diag);
}

static const struct merlon_ini_key keys[] = {
	{ "Network", "Interfaces", set_interfaces, NULL },
	{ "Network", "PolicyNetns", set_policy_netns, NULL },
	{ "Sessions", "Max", set_max, NULL },
	{ "timeouts", NULL, NULL, set_tracker },
	{ NULL, NULL, NULL, NULL },
};

enum { OPT_FOREGROUND = 256, OPT_SOCKET, OPT_PIN_DIR, OPT_INTERFACES, OPT_CONFIG, OPT_STATE_DIR, OPT_EVENTS, OPT_POLICY_NETNS, OPT_HELP, OPT_VERSION };
static const struct option options[] = {
	{ "foreground", no_argument, NULL, OPT_FOREGROUND },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "pin-dir", required_argument, NULL, OPT_PIN_DIR },
	{ "interfaces", required_argument, NULL, OPT_INTERFACES },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "state-dir", required_argument, NULL, OPT_STATE_DIR },
	{ "events", required_argument, NULL, OPT_EVENTS },
	{ "policy-netns", required_argument, NULL, OPT_POLICY_NETNS },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int take_option(struct merlon_settings *s, int option, struct merlon_diag *diag)
{
	switch (option) {
	case OPT_FOREGROUND:
		s->foreground = true;
		return 0;
	case OPT_SOCKET:
		return set_string(&s->socket, optarg);
	case OPT_PIN_DIR:
		return set_string(&s->pin_dir, optarg);
	case OPT_STATE_DIR:
		return set_string(&s->state_dir, optarg);
	case OPT_CONFIG:
		return set_string(&s->config, optarg);
	case OPT_EVENTS:
		return set_string(&s->events, optarg);
	case OPT_POLICY_NETNS:
		return set_policy_netns(s, optarg, (struct merlon_place){ .file = "--policy-netns" }, diag);
	case OPT_INTERFACES:
		return set_interfaces(s, optarg, (struct merlon_place){ .file = "--interfaces" }, diag);
	case OPT_HELP:
		fputs(usage, stdout);
		return 1;
	case OPT_VERSION:
		puts("merlond " PACKAGE_VERSION);
		return 1;
	default:
		return -EINVAL;
	}
}

static int wrong(const char *argument, struct merlon_diag *diag)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "\"%s\" is no option, or lacks its value", argument);
	merlon_diag_cure(diag, "`merlond --help` lists the options");
	return -EINVAL;
}

static int read_arguments(struct merlon_settings *s, int argc, char **argv, struct merlon_diag *diag)
{
	int option, r;

	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			return wrong(argv[optind - 1], diag);
		r = take_option(s, option, diag);
		if (r)
			return r;
	}
	if (optind < argc)
		return wrong(argv[optind], diag);
	return 0;
}

/* The file comes first and the command line wins: it is read twice, the first time to find the file. */
static int read_all(struct merlon_settings *s, int argc, char **argv, struct merlon_diag *diag)
{
	int r = read_arguments(s, argc, argv, diag);

	if (r || !s->config)
		return r;
	r = merlon_ini_read(s->config, keys, s, diag);
	return r < 0 ? r : read_arguments(s, argc, argv, diag);
}

/* The usual name is for the host's own data plane; others would take it from each other. */
static int settle_policy_netns(struct merlon_settings *s, const char *usual_pins)
{
	if (!s->policy_netns)
		return strcmp(s->pin_dir, usual_pins) ? 0 : set_string(&s->policy_netns, "/run/netns/merlon");
	if (!strcmp(s->policy_netns, NOWHERE)) {
		free(s->policy_netns);
		s->policy_netns = NULL;
	}
	return 0;
}

int merlon_settings_read(struct merlon_settings *ret, int argc, char **argv, struct merlon_diag *diag)
{
	struct merlon_dataplane_options defaults = merlon_dataplane_defaults();
	struct merlon_settings s = { .max_sessions = defaults.max_sessions };
	int r;

	if ((r = set_string(&s.socket, MERLON_BUS_SOCKET)) < 0 || (r = set_string(&s.pin_dir, defaults.pin_dir)) < 0 ||
	    (r = set_string(&s.state_dir, MERLON_RUN_DIR)) < 0 ||
	    (r = set_interfaces(&s, "*", (struct merlon_place){ 0 }, diag)) < 0 ||
	    (r = read_all(&s, argc, argv, diag))) {
		merlon_settings_clear(&s);
		return r;
	}
	r = settle_policy_netns(&s, defaults.pin_dir);
	if (r < 0) {
		merlon_settings_clear(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void merlon_settings_clear(struct merlon_settings *settings)
{
	free(settings->socket);
	free(settings->pin_dir);
	free(settings->state_dir);
	free(settings->config);
	free(settings->events);
	free(settings->policy_netns);
	free(settings->interfaces);
	merlon_ifpattern_free(settings->pattern);
	*settings = (struct merlon_settings){ 0 };
}
