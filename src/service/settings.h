/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What merlond was told: command line over configuration file over defaults. */
#ifndef MERLON_SERVICE_SETTINGS_H
#define MERLON_SERVICE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/kernel/dataplane.h"
#include "src/util/diag.h"
#include "src/util/ifpattern.h"

struct merlon_settings {
	char *socket, *pin_dir, *state_dir, *config, *events, *policy_netns;	/* owned; policy_netns NULL: not mounted */
	char *interfaces;				/* owned; as it was written */
	struct merlon_ifpattern *pattern;		/* owned; of `interfaces` */
	uint32_t max_sessions;
	struct merlon_tracker_overrides trackers;
	bool foreground;
};

/*
 * Reads argv and the configuration file it names. 0; 1: --help or --version was answered; -EINVAL: wrong usage or a value that is
 * refused, explained in `diag`.
 */
int merlon_settings_read(struct merlon_settings *ret, int argc, char **argv, struct merlon_diag *diag);
void merlon_settings_clear(struct merlon_settings *settings);

#endif
