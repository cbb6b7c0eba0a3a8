/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of merlon: one file each, and what they share. */
#ifndef MERLON_CLI_CLI_H
#define MERLON_CLI_CLI_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#include "src/service/bus.h"
#include "src/util/diag.h"

struct merlon_options {
	const char *socket;
	const char *out;	/* -o */
	int family;		/* AF_UNSPEC: not given */
	bool json, live, audit, allow_partial;
	bool host;		/* check: look at the host too */
	bool configured;	/* apply, stop: as merlond's configuration says */
	bool reload;		/* config: read them again */
	bool force;		/* stop: without merlond */
	bool all;		/* stop --force: of every network namespace */
	const char *pin_dir;	/* stop --force; NULL: not given */
	bool each;		/* verify: every file is a ruleset of its own */
	unsigned long packets;	/* verify: 0: not given */
	unsigned long long seed;
	bool has_seed;
	unsigned long long count;	/* monitor: 0: not given */
	const char *pcap;	/* monitor: a file, or "-"; NULL: not given */
	bool prometheus;	/* stats */
	const char *textfile;	/* stats: NULL: not given */
	const char *interface;	/* perf: NULL: not given */
	double duration_s, interval_s;	/* perf: 0: not given */
	const char *with;	/* why: --file, the ruleset to ask instead of the one in force */
	char **file;		/* or other words, MERLON_TAKES_WORDS */
	int n_files;
};

/* Which of the options a command takes, besides --json and --help. */
enum {
	MERLON_TAKES_SOCKET = 1,
	MERLON_TAKES_FAMILY = 2,
	MERLON_TAKES_PARTIAL = 4,
	MERLON_TAKES_OUT = 8,
	MERLON_TAKES_LIVE = 16,
	MERLON_TAKES_AUDIT = 32,
	MERLON_TAKES_FILES = 64,
	MERLON_TAKES_HOST = 128,
	MERLON_TAKES_PACKETS = 256,	/* and --seed, --each */
	MERLON_TAKES_WORDS = 512,	/* what follows are no files */
	MERLON_TAKES_WITH = 1024,
	MERLON_TAKES_ALL = 2048,	/* what follows belongs to another program, options too */
	MERLON_TAKES_CONFIGURED = 4096,
	MERLON_TAKES_FORCE = 8192,	/* and --pin-dir, --all */
	MERLON_TAKES_COUNT = 16384,
	MERLON_TAKES_PROMETHEUS = 32768,	/* and --textfile */
	MERLON_TAKES_PCAP = 65536,
	MERLON_TAKES_INTERVAL = 131072,	/* and --duration, --interface */
	MERLON_TAKES_RELOAD = 262144,
};

struct merlon_command {
	const char *name;
	const char *usage;	/* what follows the name */
	const char *does;
	const char *more;	/* behind the options in --help; NULL: nothing */
	unsigned takes;
	int (*run)(const struct merlon_options *options);	/* an enum merlon_exit */
};
extern const struct merlon_command merlon_check, merlon_import, merlon_apply, merlon_status, merlon_stats,
	merlon_sessions, merlon_stop, merlon_why, merlon_nft, merlon_list, merlon_flush,
	merlon_verify, merlon_config_command, merlon_monitor, merlon_perf;

/* config.c: a value of what the method Config answers; "": it has none. */
const char *merlon_configured(const json_t *list, const char *section, const char *key);

/* load.c: reads, reports and compiles what the options name. */
struct merlon_ruleset;
struct merlon_policy;
struct merlon_loaded {
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy;	/* NULL: not compiled */
	struct merlon_address *address;	/* of this host, as the policy was compiled with */
	size_t n_addresses;
	json_t *report;		/* as `merlon check --json` prints it */
};
/* An exit status; messages and refusals are already on stderr (or in the report, with --json). */
int merlon_load_local(const struct merlon_options *options, bool compile, struct merlon_loaded *ret);
void merlon_loaded_clear(struct merlon_loaded *loaded);

/* remainder.c: whether neither -o nor what is written beside it is what was read. 0 or -EEXIST and a diagnostic. */
int merlon_out_is_free(const struct merlon_options *options, const struct merlon_ruleset *ruleset, struct merlon_diag *diag);
/* Beside -o; 0 or an error that is already on stderr. */
int merlon_write_remainder(const struct merlon_options *options, const struct merlon_ruleset *ruleset);

/*
 * client.c: the unit merlon@x.service or, with `kind` "merlond", merlond@x.service of a daemon that listens there. False: it is none
 * of ours.
 */
#define MERLON_UNIT_ROOM 256	/* systemd.unit(5): a name has 255 characters at most */
bool merlon_unit_of(const char *socket, const char *kind, char ret[MERLON_UNIT_ROOM]);
struct merlon_call {
	int status;		/* what the method answered, where it does */
	json_t *answer;		/* owned by the caller; NULL: it is a stream */
	int file;		/* -1, or what the method answered beside it or instead; the caller's */
};
/* Calls a method with a string (NULL: without). 0, or an exit status when the reason is already on stderr. */
int merlon_call(const struct merlon_options *options, const char *method, const char *argument, struct merlon_call *ret);
/* Calls a method that only tells, and prints what it answers: by `print`, or as JSON. An exit status. */
int merlon_show(const struct merlon_options *options, const char *method, const char *argument,
		void (*print)(const json_t *answer));
/*
 * Calls a method that changes something, and says what came of it: messages, and `done`, or on stderr `failed` (NULL:
 * messages say it); or JSON. An exit status.
 */
int merlon_change(const struct merlon_options *options, const char *method, const char *done, const char *failed);

/*
 * apply.c: `file` as a path that the daemon can read as long as this process lives, and after merlon_daemon_may_read():
 * standard input ("-"), what is no regular file, and what root may read only by its privileges, which the daemon does not have,
 * are read once, into memory (`ret_spooled`). `name`: what to call it, the absolute path of a regular file. 0 or a negative errno.
 */
int merlon_daemon_path(const char *file, char path[PATH_MAX], char name[PATH_MAX], bool *ret_spooled);
/* Gives up all privileges but those of the user, when all files are there. 0 or a negative errno. */
int merlon_daemon_may_read(void);
/* Whether a policy is in force; true where that cannot be said. */
bool merlon_is_enforced(const struct merlon_options *options);
/* What stays in force after a report of something that was refused, on stderr. */
void merlon_print_unchanged(const json_t *report);
/* The messages of a report. */
void merlon_print_messages(const json_t *report, FILE *out);

/* force.c: without merlond; an exit status. */
int merlon_stop_force(const struct merlon_options *options);

/* prometheus.c: the statistics as OpenMetrics text on stdout; `textfile`: as node_exporter reads it. */
void merlon_prometheus(const json_t *stats, const json_t *status, bool textfile);

/* print.c */
/* A command that has nothing else to say: the messages on stderr, with --json also {"messages"} on stdout. Clears them; exit status 1. */
int merlon_fail(const struct merlon_options *options, struct merlon_diag *diag);
void merlon_print_json(const json_t *json);
/* "1.5 MiB", "2 d 3 h", "12,345"; into `ret`, which is returned. */
char *merlon_bytes(double bytes, char ret[32]);
char *merlon_seconds(long long seconds, char ret[32]);
char *merlon_thousands(long long number, char ret[32]);

#endif
