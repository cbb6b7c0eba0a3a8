/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What merlond was told: command line over configuration file over defaults. */
#ifndef MERLON_SERVICE_SETTINGS_H
#define MERLON_SERVICE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/kernel/dataplane.h"
#include "src/util/diag.h"
#include "src/util/ifpattern.h"

/* One setting as it was written; `from`: "FILE:LINE", "default" or "the command line". All owned. */
struct merlon_setting {
	char *section, *key, *value, *from;
};

struct merlon_settings {
	char *socket, *pin_dir, *state_dir, *config, *events, *policy_netns;	/* owned; policy_netns NULL: not mounted */
	char *bpf_fs, *pin_path;			/* owned; bpf_fs may be NULL; pin_dir as it is reached by that */
	char *answers;					/* owned; NULL: rejected packets are answered by this process */
	char *instance;					/* owned; NULL: the host's own */
	char *ruleset, *closed_ruleset;			/* owned; what merlon.service applies, and if that fails */
	bool audit, fail_closed, stop_keeps;		/* how it does that, [Policy] */
	uint32_t log_rate, log_burst;			/* reports of a rule into the journal: a second, at once */
	struct merlon_setting *setting;			/* owned */
	size_t n_settings;
	char *interfaces;				/* owned; as it was written */
	struct merlon_ifpattern *pattern;		/* owned; of `interfaces` */
	enum merlon_attach attach;
	uint32_t max_sessions;
	struct merlon_tracker_overrides trackers;
	bool foreground;
};

/*
 * Reads argv and the configuration file it names. 0; 1: --help or --version was answered; -EINVAL: wrong usage or a value that is
 * refused, explained in `diag`.
 */
int merlon_settings_read(struct merlon_settings *ret, int argc, char **argv, struct merlon_diag *diag);
/*
 * The same again, for a daemon that runs: what it cannot change any more stays as it is. On an error, explained in `diag`,
 * nothing is changed.
 */
int merlon_settings_reread(struct merlon_settings *settings, int argc, char **argv, struct merlon_diag *diag);
void merlon_settings_clear(struct merlon_settings *settings);

#endif
