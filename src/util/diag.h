/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Diagnostics: what a user must read, collected while a ruleset is worked on and printed by the caller. Functions that
 * take a merlon_diag never print by themselves.
 */
#ifndef MERLON_UTIL_DIAG_H
#define MERLON_UTIL_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum merlon_severity { MERLON_ERROR, MERLON_WARNING, MERLON_NOTE };

/* A place in an input file; file NULL or line 0: not known. The string belongs to whoever owns the place. */
struct merlon_place {
	const char *file;
	unsigned line;
};

struct merlon_message {
	enum merlon_severity severity;
	char *file;		/* NULL: no place */
	unsigned line;		/* 0: not known */
	char *text;		/* no newline at the end; may hold several lines (nft's caret lines) */
	char *cure;		/* NULL, or what the user can do about it */
};

struct merlon_diag {
	struct merlon_message *message;
	size_t n;
};

/* Adds a message; never fails visibly (without memory the message is lost and the caller's error code remains). */
void merlon_diag_add(struct merlon_diag *diag, enum merlon_severity severity, struct merlon_place place,
		     const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Gives the last message a cure. */
void merlon_diag_cure(struct merlon_diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Moves all messages of `from` to the end of `to`. */
void merlon_diag_take(struct merlon_diag *to, struct merlon_diag *from);
/* "FILE:LINE: error: TEXT" and the cure on a line of its own. */
void merlon_diag_print(const struct merlon_diag *diag, FILE *out);
void merlon_diag_clear(struct merlon_diag *diag);

#endif
