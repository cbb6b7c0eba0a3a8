/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the decoders of x_tables' structures share. */
#ifndef MERLON_XT_H
#define MERLON_XT_H

#include "compat/eval.h"

struct merlon_blob {
	struct merlon_eval *eval;
	const char *name;
	uint32_t revision;
	const void *info;	/* NULL: none */
	uint32_t len;		/* bytes */
};

/* Refuses the rule: the match as such, or what it says. Returns 0. */
int merlon_xt_refuse(const struct merlon_blob *blob, const char *what);
/* The structure of a blob, or NULL and the rule refused: another revision than those known, or too short. */
const void *merlon_xt_take(const struct merlon_blob *blob, uint32_t first, uint32_t last, size_t size);

int merlon_xt_addrtype(const struct merlon_blob *blob);

#endif
