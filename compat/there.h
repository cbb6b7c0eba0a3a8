/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory that nft text includes files from by names like "./x". */
#ifndef MERLON_THERE_H
#define MERLON_THERE_H

#include <jansson.h>

#include "src/util/diag.h"

/* What is to be read there: files, or the words of a command. */
struct merlon_texts {
	const char *words;	/* NULL: none */
	const char *const *file;	/* [n], absolute */
	size_t n;
	const json_t *dirs;	/* that files are included from, too, or NULL */
};

/*
 * Changes to `dir` for the texts; where that cannot be, as into the home of somebody else without CAP_DAC_OVERRIDE, to "/",
 * unless one of them needs it. 0, or a negative errno with a diagnostic.
 */
int merlon_there(const char *dir, const struct merlon_texts *texts, struct merlon_diag *diag);

#endif
