/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A command of nft(8) as `merlon nft` hands it to the daemon: its options as libnftables has them. */
#ifndef MERLON_COMMAND_H
#define MERLON_COMMAND_H

#include <jansson.h>
#include <stdbool.h>

#include "src/util/diag.h"

struct merlon_nft_command {
	const char *text;	/* NULL: the file */
	const char *file;	/* absolute path */
	const char *cwd;	/* where the files that it includes are looked for; NULL: do not care */
	unsigned output;	/* NFT_CTX_OUTPUT_* */
	unsigned debug;		/* enum nft_debug_level */
	bool check, optimize;
	const json_t *include, *define;	/* lists of strings, or NULL */
	json_t *owner;		/* of all that is above */
};

/* {"text"|"file","cwd","output","debug","check","optimize","include","define"}: 0 or -EINVAL; refers to a new reference of the request. */
int merlon_nft_command_read(const json_t *request, struct merlon_nft_command *ret);
void merlon_nft_command_clear(struct merlon_nft_command *command);

/* Whether it can do nothing but list: for those who may not change anything, too. */
bool merlon_nft_only_lists(const struct merlon_nft_command *command);

/*
 * Runs it on the namespace, in a child; *ret_output is what it printed, on both streams, and the caller's. Names of
 * interfaces are looked up in the namespace of the caller. 0, 1: nft said no, MERLON_NFT_REFUSED: it was not asked, since its file
 * has rules that `merlon import` refused, or a negative errno with a diagnostic.
 */
#define MERLON_NFT_REFUSED 2
int merlon_nft_run(int netns, const struct merlon_nft_command *command, char **ret_output, struct merlon_diag *diag);

#endif
