/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Before nft adds an element to a set of intervals it reads all the set, to see whether it overlaps (nftables 1.0.6,
 * src/intervals.c), and so it does before it takes one away: of 100,000 networks that takes it more than half a second. What the
 * command is about is found out in a namespace which has the set without its elements; what it means to those that are there the
 * caller knows.
 */
#ifndef MERLON_SKETCH_H
#define MERLON_SKETCH_H

#include "compat/command.h"
#include "compat/news.h"

struct mnl_socket;

/* A namespace that holds nothing of value, and a socket of NETLINK_NETFILTER there. */
struct merlon_sketch {
	int fd;
	struct mnl_socket *netlink;
};

/* Requests to the namespace that holds the set, and what they do. */
struct merlon_sketched {
	struct merlon_snapshot requests;
	struct merlon_news news;
};

/*
 * For a command that adds bare addresses to a set of intervals, or takes them away. 0; -ERANGE: the command, or the set, is another
 * one, or nft says no, and has to say it of the whole; or another negative errno. `snapshot` is of `ruleset`.
 */
int merlon_sketch_command(const struct merlon_sketch *sketch, const struct merlon_nft_command *command,
			  const struct merlon_snapshot *snapshot, const struct merlon_ruleset *ruleset, struct merlon_sketched *ret);
void merlon_sketched_clear(struct merlon_sketched *sketched);

#endif
