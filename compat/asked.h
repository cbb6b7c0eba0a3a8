/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Before nft adds an element to a set of intervals it reads all the set, to see whether it overlaps (nftables 1.0.6,
 * src/intervals.c), and so it does before it takes one away: of 100,000 networks that takes it more than half a second. Where a
 * command is of plain addresses there is nothing in it that only nft would understand; what they mean to those that are there the
 * ruleset tells.
 */
#ifndef MERLON_ASKED_H
#define MERLON_ASKED_H

#include "compat/command.h"
#include "compat/news.h"

/* What a command asks for, and the requests to nf_tables that do it. */
struct merlon_asked {
	struct merlon_snapshot requests;
	struct merlon_news news;
};

/*
 * Of a command that adds addresses to a set or takes them away. 0; -ERANGE: the command, or the set, is another one, or may be
 * refused, which is nft's to do; or -ENOMEM. Whether the set has room for them, or has them, merlon_elements_change() knows.
 */
int merlon_asked_read(const struct merlon_nft_command *command, const struct merlon_ruleset *ruleset, struct merlon_asked *ret);
void merlon_asked_clear(struct merlon_asked *asked);

#endif
