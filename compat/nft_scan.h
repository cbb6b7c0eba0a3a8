/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which line of an nft source a rule stands on. nf_tables does not keep it, so a scanner that knows only statements,
 * braces, strings and comments notes where each rule of a chain begins, and which rules `merlon import` wrote as comments.
 */
#ifndef MERLON_NFT_SCAN_H
#define MERLON_NFT_SCAN_H

#include "compat/load.h"
#include "compat/refused.h"

#define MERLON_NFT_WORD 128
#define MERLON_NO_CHAIN SIZE_MAX

struct merlon_nft_lines {
	uint8_t family;
	char table[MERLON_NFT_WORD], chain[MERLON_NFT_WORD];
	struct merlon_place *place;	/* [n], files: strings of the ruleset */
	size_t n, room;
	bool uncertain;
};

struct merlon_nft_scan {
	const char *file;		/* a string of the ruleset */
	struct merlon_nft_lines *chain;
	size_t n;
	struct merlon_refused *refused;	/* also of files of which it is not certain that they are included; chain: of these, or MERLON_NO_CHAIN */
	size_t n_refused;
	bool includes, uncertain;	/* of the whole file */
	bool relative;			/* it, or what it may include, may include "./NAME" or "../NAME" */
	unsigned removals;		/* statements that take something away */
	struct merlon_removal removal;	/* the one that all would go by, else the first one */
};

/* Owned by the caller. 0 or -ENOMEM. */
int merlon_nft_scan(struct merlon_ruleset *ruleset, const struct merlon_text *text, struct merlon_nft_scan *ret);
/* `dirs`: an array of more directories that files may be included from, or NULL. */
int merlon_nft_scan_with(struct merlon_ruleset *ruleset, const struct merlon_text *text, const json_t *dirs,
			 struct merlon_nft_scan *ret);
void merlon_nft_scan_clear(struct merlon_nft_scan *scan);

#endif
