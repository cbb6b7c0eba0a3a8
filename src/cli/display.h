/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events as lines on the standard output. */
#ifndef MERLON_CLI_DISPLAY_H
#define MERLON_CLI_DISPLAY_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "src/model/event.h"

struct merlon_display {
	bool json;
	const volatile sig_atomic_t *stopped;	/* who does not take the last lines then is not waited for */
	char *buffer;
	size_t used;
	uint64_t flushed_ns;	/* CLOCK_MONOTONIC */
	int64_t real_ns;	/* CLOCK_REALTIME less CLOCK_MONOTONIC, when last synchronized */
	time_t second;		/* that `stamp` is of */
	char stamp[32];
	int ends_width, interfaces_width;
};

/* 0 or -ENOMEM. */
int merlon_display_open(struct merlon_display *d, bool json, const volatile sig_atomic_t *stopped);
void merlon_display_close(struct merlon_display *d);
/* What is displayed now is recent: takes up how the clocks stand to each other. */
void merlon_display_synchronize(struct merlon_display *d);
/* These keep lines back until a flush. 0 or a negative errno, of the standard output. */
int merlon_display_event(struct merlon_display *d, const struct merlon_event_report *report);
/* `where`: "monitor" or "ring". */
int merlon_display_lost(struct merlon_display *d, uint64_t n, const char *where);
int merlon_display_flush(struct merlon_display *d);

#endif
