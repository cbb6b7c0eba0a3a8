/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/settings.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "src/kernel/dataplane.h"
#include "src/service/bus.h"
#include "src/util/cleanup.h"
#include "src/util/ini.h"

#define NOWHERE "none"
#define MOST_SESSIONS (1U << 26)
#define MOST_REPORTS 1000000
#define COMMAND_LINE "the command line"

static const char usage[] =
	"usage: merlond [OPTION]...\n"
	"Enforces a ruleset on the network namespace it runs in.\n"
	"\n"
	"  --foreground         stay in the foreground (merlond always does; for symmetry with other daemons)\n"
	"  --socket PATH        where `merlon` finds it (default " MERLON_BUS_SOCKET ")\n"
	"  --pin-dir PATH       where the data plane is pinned, on a BPF file system (default /sys/fs/bpf/merlon)\n"
	"  --bpf-fs PATH        where to find what is below /sys/fs/bpf, if that is read-only here\n"
	"  --interfaces GLOBS   interfaces to filter: a comma list of patterns, `!` leaves out (default *)\n"
	"  --config FILE        configuration file, with FILE.d/*.conf (default " MERLON_SYSCONFDIR "/merlon.conf, if it is there)\n"
	"  --instance NAME      one of several: its places are named by it (/run/merlon/NAME, /sys/fs/bpf/merlon-NAME,\n"
	"                       " MERLON_SYSCONFDIR "/NAME.conf, " MERLON_SYSCONFDIR "/NAME.nft)\n"
	"  --state-dir DIR      where the policy in force is kept for a restart (default " MERLON_RUN_DIR ")\n"
	"  --policy-netns PATH  where the policy namespace is mounted; none: nowhere (default /run/netns/merlon, for the default pins)\n"
	"  --answers SOCKET     where merlon-answers answers rejected packets (default: merlond does so itself)\n"
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

/* In the order of enum merlon_attach. */
static const char *const attach_name[] = { "auto", "tcx", "clsact" };

static int set_attach(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	for (size_t i = 0; i < ARRAY_SIZE(attach_name); i++)
		if (!strcmp(attach_name[i], value)) {
			((struct merlon_settings *)context)->attach = i;
			return 0;
		}
	merlon_diag_add(diag, MERLON_ERROR, place, "Attach=\"%s\" is none of auto, tcx and clsact", value);
	return -EINVAL;
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

struct number {
	const char *key;
	unsigned long least, most;
};

static int read_number(const struct number *number, const char *value, struct merlon_place place, uint32_t *ret, struct merlon_diag *diag)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || end == value || *end || *value == '-' || n < number->least || n > number->most) {
		merlon_diag_add(diag, MERLON_ERROR, place, "%s=\"%s\" is no number from %lu to %lu", number->key, value, number->least,
				number->most);
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

static int set_max(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	const struct number number = { "Max", 64, MOST_SESSIONS };

	return read_number(&number, value, place, &((struct merlon_settings *)context)->max_sessions, diag);
}

static int set_log_rate(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	const struct number number = { "Rate", 0, MOST_REPORTS };

	return read_number(&number, value, place, &((struct merlon_settings *)context)->log_rate, diag);
}

static int set_log_burst(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	const struct number number = { "Burst", 1, MOST_REPORTS };

	return read_number(&number, value, place, &((struct merlon_settings *)context)->log_burst, diag);
}

struct choice {
	const char *key, *no, *yes;
};

static int read_choice(const struct choice *choice, const char *value, struct merlon_place place, bool *ret, struct merlon_diag *diag)
{
	if (strcmp(value, choice->no) && strcmp(value, choice->yes)) {
		merlon_diag_add(diag, MERLON_ERROR, place, "%s=\"%s\" is neither %s nor %s", choice->key, value, choice->no,
				choice->yes);
		return -EINVAL;
	}
	*ret = !strcmp(value, choice->yes);
	return 0;
}

static int set_mode(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return read_choice(&(struct choice){ "Mode", "enforce", "audit" }, value, place,
			   &((struct merlon_settings *)context)->audit, diag);
}

static int set_on_failure(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return read_choice(&(struct choice){ "OnFailure", "open", "closed" }, value, place,
			   &((struct merlon_settings *)context)->fail_closed, diag);
}

static int set_on_stop(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return read_choice(&(struct choice){ "OnStop", "detach", "keep" }, value, place,
			   &((struct merlon_settings *)context)->stop_keeps, diag);
}

static int set_path(const char *key, char **to, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	if (value[0] == '/')
		return set_string(to, value);
	merlon_diag_add(diag, MERLON_ERROR, place, "%s=\"%s\" is no absolute path", key, value);
	return -EINVAL;
}

static int set_ruleset(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return set_path("Ruleset", &((struct merlon_settings *)context)->ruleset, value, place, diag);
}

static int set_closed_ruleset(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return set_path("ClosedRuleset", &((struct merlon_settings *)context)->closed_ruleset, value, place, diag);
}

static int set_tracker(void *context, const char *key, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	return merlon_tracker_override(&((struct merlon_settings *)context)->trackers, key, value, place, diag);
}

static const struct merlon_ini_key keys[] = {
	{ "Network", "Interfaces", set_interfaces, NULL },
	{ "Network", "Attach", set_attach, NULL },
	{ "Network", "PolicyNetns", set_policy_netns, NULL },
	{ "Policy", "Ruleset", set_ruleset, NULL },
	{ "Policy", "ClosedRuleset", set_closed_ruleset, NULL },
	{ "Policy", "Mode", set_mode, NULL },
	{ "Policy", "OnFailure", set_on_failure, NULL },
	{ "Policy", "OnStop", set_on_stop, NULL },
	{ "Sessions", "Max", set_max, NULL },
	{ "Log", "Rate", set_log_rate, NULL },
	{ "Log", "Burst", set_log_burst, NULL },
	{ "timeouts", NULL, NULL, set_tracker },
	{ NULL, NULL, NULL, NULL },
};

/* What holds where nothing else was said, in the words of a file. */
static const struct {
	const char *section, *key, *value;
} defaults[] = {
	{ "Network", "Interfaces", "*" },
	{ "Network", "Attach", "auto" },
	{ "Policy", "Mode", "enforce" },
	{ "Policy", "OnFailure", "open" },
	{ "Policy", "ClosedRuleset", MERLON_DATADIR "/closed.nft" },
	{ "Policy", "OnStop", "detach" },
	{ "Sessions", "Max", "262144" },
	{ "Log", "Rate", "20" },
	{ "Log", "Burst", "200" },
};

/* Where a value came from, for `merlon config`; the last one counts. */
static int record(struct merlon_settings *s, const char *section, const char *key, const char *value, const char *from)
{
	struct merlon_setting *more, *at = s->setting;
	size_t i = 0;
	int r;

	while (i < s->n_settings && (strcmp(at[i].section, section) || strcmp(at[i].key, key)))
		i++;
	if (i == s->n_settings) {
		more = reallocarray(s->setting, i + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		s->setting = more;
		more[s->n_settings++] = (struct merlon_setting){ 0 };
	}
	at = &s->setting[i];
	if ((r = set_string(&at->section, section)) < 0 || (r = set_string(&at->key, key)) < 0 ||
	    (r = set_string(&at->value, value)) < 0)
		return r;
	return set_string(&at->from, from);
}

static int record_line(void *context, const char *section, const char *key, const char *value, struct merlon_place place)
{
	char from[PATH_MAX + 16];

	snprintf(from, sizeof(from), "%s:%u", place.file, place.line);
	return record(context, section, key, value, from);
}

static int set_default(struct merlon_settings *s, const char *section, const char *key, const char *value, struct merlon_diag *diag)
{
	const struct merlon_ini_key *k = keys;
	int r;

	while (strcmp(k->section, section) || strcmp(k->key, key))
		k++;
	r = k->set(s, value, (struct merlon_place){ 0 }, diag);
	return r < 0 ? r : record(s, section, key, value, "default");
}

enum { OPT_FOREGROUND = 256, OPT_SOCKET, OPT_PIN_DIR, OPT_BPF_FS, OPT_ANSWERS, OPT_INTERFACES, OPT_CONFIG, OPT_INSTANCE, OPT_STATE_DIR, OPT_EVENTS, OPT_POLICY_NETNS, OPT_HELP, OPT_VERSION };
static const struct option options[] = {
	{ "foreground", no_argument, NULL, OPT_FOREGROUND },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "pin-dir", required_argument, NULL, OPT_PIN_DIR },
	{ "bpf-fs", required_argument, NULL, OPT_BPF_FS },
	{ "answers", required_argument, NULL, OPT_ANSWERS },
	{ "interfaces", required_argument, NULL, OPT_INTERFACES },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "instance", required_argument, NULL, OPT_INSTANCE },
	{ "state-dir", required_argument, NULL, OPT_STATE_DIR },
	{ "events", required_argument, NULL, OPT_EVENTS },
	{ "policy-netns", required_argument, NULL, OPT_POLICY_NETNS },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int take_interfaces(struct merlon_settings *s, struct merlon_diag *diag)
{
	int r = set_interfaces(s, optarg, (struct merlon_place){ .file = "--interfaces" }, diag);

	return r < 0 ? r : record(s, "Network", "Interfaces", optarg, COMMAND_LINE);
}

static int take_policy_netns(struct merlon_settings *s, struct merlon_diag *diag)
{
	int r = set_policy_netns(s, optarg, (struct merlon_place){ .file = "--policy-netns" }, diag);

	return r < 0 ? r : record(s, "Network", "PolicyNetns", optarg, COMMAND_LINE);
}

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
	case OPT_BPF_FS:
		return set_string(&s->bpf_fs, optarg);
	case OPT_ANSWERS:
		return set_string(&s->answers, optarg);
	case OPT_STATE_DIR:
		return set_string(&s->state_dir, optarg);
	case OPT_CONFIG:
		return set_string(&s->config, optarg);
	case OPT_INSTANCE:
		return set_string(&s->instance, optarg);
	case OPT_EVENTS:
		return set_string(&s->events, optarg);
	case OPT_POLICY_NETNS:
		return take_policy_netns(s, diag);
	case OPT_INTERFACES:
		return take_interfaces(s, diag);
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

/* Files of a directory in the order of their names. A directory that is not there has none. */
static int read_drop_ins(struct merlon_settings *s, const char *dir, struct merlon_diag *diag)
{
	struct dirent **entry = NULL;
	int i, n = scandir(dir, &entry, NULL, alphasort), r = n < 0 && errno != ENOENT ? -errno : 0;

	if (r < 0)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = dir }, "cannot read: %s", strerror(-r));
	for (i = 0; i < n; i++) {
		_cleanup_free_ char *path = NULL;
		size_t length = strlen(entry[i]->d_name);

		if (r >= 0 && entry[i]->d_name[0] != '.' && length > 5 && !strcmp(entry[i]->d_name + length - 5, ".conf"))
			r = asprintf(&path, "%s/%s", dir, entry[i]->d_name) < 0 ? -ENOMEM :
			    merlon_ini_read(path, keys, record_line, s, diag);
		free(entry[i]);
	}
	free(entry);
	return r < 0 ? r : 0;
}

/* The file that was asked for; the usual one may be missing. */
static int read_files(struct merlon_settings *s, struct merlon_diag *diag)
{
	_cleanup_free_ char *usual = NULL, *drop_ins = NULL;
	const char *file = s->config;
	int r;

	if (asprintf(&usual, MERLON_SYSCONFDIR "/%s.conf", s->instance ? s->instance : "merlon") < 0 ||
	    asprintf(&drop_ins, "%s.d", file ? file : usual) < 0)
		return -ENOMEM;
	if (file || access(usual, F_OK) == 0) {
		r = merlon_ini_read(file ? file : usual, keys, record_line, s, diag);
		if (r < 0)
			return r;
	}
	r = read_drop_ins(s, drop_ins, diag);
	return r < 0 || file ? r : set_string(&s->config, usual);
}

/* The usual name is for the host's own data plane; others would take it from each other. */
static int settle_policy_netns(struct merlon_settings *s, const char *usual_pins)
{
	if (!s->policy_netns && !strcmp(s->pin_dir, usual_pins)) {
		int r = set_default(s, "Network", "PolicyNetns", "/run/netns/merlon", NULL);

		if (r < 0)
			return r;
	} else if (!s->policy_netns) {
		return record(s, "Network", "PolicyNetns", NOWHERE, "default");
	}
	if (!strcmp(s->policy_netns, NOWHERE)) {
		free(s->policy_netns);
		s->policy_netns = NULL;
	}
	return 0;
}

/* The same file system may be mounted twice, the second time for this process alone. */
static int settle_pin_path(struct merlon_settings *s)
{
	static const char usual[] = "/sys/fs/bpf/";

	free(s->pin_path);
	s->pin_path = NULL;
	if (!s->bpf_fs || strncmp(s->pin_dir, usual, strlen(usual)) != 0)
		return set_string(&s->pin_path, s->pin_dir);
	return asprintf(&s->pin_path, "%s/%s", s->bpf_fs, s->pin_dir + strlen(usual)) < 0 ? -ENOMEM : 0;
}

/* Where an instance has what; "" is the host's own. */
static int name_places(struct merlon_settings *s, const char *pin_dir, struct merlon_diag *diag)
{
	_cleanup_free_ char *socket = NULL, *pins = NULL, *state = NULL, *ruleset = NULL;
	const char *name = s->instance ? s->instance : "", *slash = s->instance ? "/" : "", *dash = s->instance ? "-" : "";
	int r;

	if (strchr(name, '/') || *name == '.') {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = "--instance" }, "\"%s\" is no name", name);
		return -EINVAL;
	}
	if (asprintf(&socket, MERLON_RUN_DIR "%s%s/merlon.sock", slash, name) < 0 || asprintf(&pins, "%s%s%s", pin_dir, dash, name) < 0 ||
	    asprintf(&state, MERLON_RUN_DIR "%s%s", slash, name) < 0 ||
	    asprintf(&ruleset, MERLON_SYSCONFDIR "/%s.nft", s->instance ? name : "ruleset") < 0)
		return -ENOMEM;
	if ((!s->socket && (r = set_string(&s->socket, socket)) < 0) || (!s->pin_dir && (r = set_string(&s->pin_dir, pins)) < 0) ||
	    (!s->state_dir && (r = set_string(&s->state_dir, state)) < 0))
		return r;
	return set_default(s, "Policy", "Ruleset", ruleset, diag);
}

/* Defaults, then files, then the command line: that is read twice, the first time to find the file. */
static int read_all(struct merlon_settings *s, int argc, char **argv, struct merlon_diag *diag)
{
	const char *pin_dir = merlon_dataplane_defaults().pin_dir;
	size_t i;
	int r = read_arguments(s, argc, argv, diag);

	if (!r)
		r = name_places(s, pin_dir, diag);
	for (i = 0; !r && i < ARRAY_SIZE(defaults); i++)
		r = set_default(s, defaults[i].section, defaults[i].key, defaults[i].value, diag);
	if (!r)
		r = read_files(s, diag);
	if (!r)
		r = read_arguments(s, argc, argv, diag);
	if (!r)
		r = settle_pin_path(s);
	return r ? r : settle_policy_netns(s, pin_dir);
}

int merlon_settings_read(struct merlon_settings *ret, int argc, char **argv, struct merlon_diag *diag)
{
	struct merlon_settings s = { 0 };
	int r = read_all(&s, argc, argv, diag);

	if (r) {
		merlon_settings_clear(&s);
		return r;
	}
	*ret = s;
	return 0;
}

static void keep(char **new, char **old, const char *what, struct merlon_diag *diag)
{
	char *was = *old;

	if (strcmp(*new ? *new : "", was ? was : ""))
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 }, "%s changes when merlond is started again", what);
	*old = *new;
	*new = was;
}

int merlon_settings_reread(struct merlon_settings *settings, int argc, char **argv, struct merlon_diag *diag)
{
	struct merlon_settings new, old = *settings;
	int r = merlon_settings_read(&new, argc, argv, diag);

	if (r)
		return r;
	keep(&new.socket, &old.socket, "the socket", diag);
	keep(&new.pin_dir, &old.pin_dir, "the place of the pins", diag);
	keep(&new.pin_path, &old.pin_path, "--bpf-fs", diag);
	keep(&new.answers, &old.answers, "--answers", diag);
	keep(&new.state_dir, &old.state_dir, "the place of what is kept", diag);
	keep(&new.policy_netns, &old.policy_netns, "[Network] PolicyNetns", diag);
	keep(&new.events, &old.events, "--events", diag);
	merlon_settings_clear(&old);
	*settings = new;
	return 0;
}

void merlon_settings_clear(struct merlon_settings *settings)
{
	size_t i;

	for (i = 0; i < settings->n_settings; i++) {
		free(settings->setting[i].section);
		free(settings->setting[i].key);
		free(settings->setting[i].value);
		free(settings->setting[i].from);
	}
	free(settings->setting);
	free(settings->socket);
	free(settings->pin_dir);
	free(settings->bpf_fs);
	free(settings->pin_path);
	free(settings->answers);
	free(settings->state_dir);
	free(settings->config);
	free(settings->instance);
	free(settings->ruleset);
	free(settings->closed_ruleset);
	free(settings->events);
	free(settings->policy_netns);
	free(settings->interfaces);
	merlon_ifpattern_free(settings->pattern);
	*settings = (struct merlon_settings){ 0 };
}
