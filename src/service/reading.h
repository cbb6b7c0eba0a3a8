/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What only reads and takes long is done by a child: it has the daemon as it was when that began, whatever the loop and the
 * thread change meanwhile, and its memory goes with it. Root's readings and those of others each have a child of their own,
 * one at a time.
 */
#ifndef MERLON_SERVICE_READING_H
#define MERLON_SERVICE_READING_H

#include <stdbool.h>
#include <stdio.h>

struct merlon_daemon;

struct merlon_reading {
	/* In the child: 0 or a negative errno. -ESTALE: the data plane is no more as the daemon was; it is begun again. */
	int (*run)(struct merlon_daemon *d, FILE *out);
	/* On the loop; frees what it is about. */
	void (*done)(struct merlon_daemon *d, struct merlon_reading *reading);
	struct merlon_reading *next;
	bool trusted;	/* root's */
	int fd;		/* out, for `done`, which closes it: a file with what was written, from its beginning; or a negative errno */
};

/* 0 or a negative errno. */
int merlon_readings_open(struct merlon_daemon *d);
/* The reading is theirs until it is done, which may be before this returns. */
void merlon_reading_add(struct merlon_daemon *d, struct merlon_reading *reading);
/* What is not ready is done with -ECANCELED. */
void merlon_readings_end(struct merlon_daemon *d);
void merlon_readings_close(struct merlon_daemon *d);

#endif
