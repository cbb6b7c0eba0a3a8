/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events as lines, or as a pcapng file. */
#ifndef MERLON_CLI_DISPLAY_H
#define MERLON_CLI_DISPLAY_H

#include <net/if.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "src/model/event.h"

enum merlon_form { MERLON_FORM_TEXT, MERLON_FORM_JSON, MERLON_FORM_PCAP };

struct merlon_display {
	enum merlon_form form;
	int out;				/* not owned */
	const volatile sig_atomic_t *stopped;	/* who does not take the last lines then is not waited for */
	char *buffer;
	size_t used;
	uint64_t flushed_ns;	/* CLOCK_MONOTONIC */
	int64_t real_ns;	/* CLOCK_REALTIME less CLOCK_MONOTONIC, when last synchronized */
	time_t second;		/* that `stamp` is of */
	char stamp[32];
	int ends_width, interfaces_width;	/* of text */
	char (*interface)[IFNAMSIZ];		/* owned; of pcap, in the order of their blocks */
	unsigned n_interfaces;
	uint64_t lost;				/* of pcap: what the next packet is to tell */
};

/* 0 or -ENOMEM. */
int merlon_display_open(struct merlon_display *d, enum merlon_form form, int out, const volatile sig_atomic_t *stopped);
void merlon_display_close(struct merlon_display *d);
/* What is displayed now is recent: takes up how the clocks stand to each other. */
void merlon_display_synchronize(struct merlon_display *d);
/* These keep lines back until a flush. 0 or a negative errno. */
int merlon_display_event(struct merlon_display *d, const struct merlon_event_report *report);
/* `where`: "monitor" or "ring". Of pcap also a line on the standard error. */
int merlon_display_lost(struct merlon_display *d, uint64_t n, const char *where);
int merlon_display_flush(struct merlon_display *d);

#endif
