/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration files in the style of systemd: [Section], Key=Value, comments with # or ; at the start of a line. */
#ifndef MERLON_UTIL_INI_H
#define MERLON_UTIL_INI_H

#include "src/util/diag.h"

struct merlon_ini_key {
	const char *section, *key;
	/* Takes a value; -EINVAL with a diagnostic at `place` refuses it. */
	int (*set)(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag);
	/* With `key` NULL, in place of set(): takes any key of the section. 1: there is no such key. */
	int (*set_any)(void *context, const char *key, const char *value, struct merlon_place place, struct merlon_diag *diag);
};

/* Is told of each value that was taken; 0 or an error. */
typedef int merlon_ini_taken(void *context, const char *section, const char *key, const char *value, struct merlon_place place);

/*
 * Reads a file by a table of keys (ended by section NULL). Unknown keys and sections are warnings, anything that is no
 * line of such a file and refused values are errors: all are in `diag`, with file and line. 0 or the first error; -EINVAL also
 * of what is no regular file (nor /dev/null): a pipe is not waited for.
 * `taken` may be NULL.
 */
int merlon_ini_read(const char *file, const struct merlon_ini_key *keys, merlon_ini_taken *taken, void *context,
		    struct merlon_diag *diag);

#endif
