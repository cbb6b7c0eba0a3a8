/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nf_tables tells of its changes: whether they are of elements of sets alone, and which. */
#ifndef MERLON_NEWS_H
#define MERLON_NEWS_H

#include "compat/snapshot.h"
#include "src/model/elements.h"

struct merlon_news {
	struct merlon_element_change *change;	/* owned, in an order in which they can be made */
	size_t n;
};

/*
 * From notifications, in their order: what has come between two generations. 0; -ERANGE: something else than elements of sets that
 * merlon_elements_change() knows has, or a generation is missing; or -ENOMEM.
 */
int merlon_news_read(const void *messages, size_t bytes, uint32_t from, uint32_t to, const struct merlon_ruleset *ruleset,
		     struct merlon_news *ret);
/* How many bytes of them are of generations up to this one. */
size_t merlon_news_until(const void *messages, size_t bytes, uint32_t generation);
void merlon_news_clear(struct merlon_news *news);

/*
 * Makes a snapshot of generation `from` one of generation `to`, where merlon_news_read() has found nothing but elements; and back. 0;
 * -ERANGE: it is not of the generation before; or -ENOMEM. On an error it is as before.
 */
int merlon_snapshot_follow(struct merlon_snapshot *snapshot, const void *messages, size_t bytes, uint32_t from, uint32_t to);
void merlon_snapshot_unfollow(struct merlon_snapshot *snapshot, const void *messages, size_t bytes, uint32_t from, uint32_t to);

/* The same with requests that nf_tables was sent for elements (struct merlon_asked). */
int merlon_snapshot_change(struct merlon_snapshot *snapshot, const struct merlon_snapshot *requests);
void merlon_snapshot_change_back(struct merlon_snapshot *snapshot, const struct merlon_snapshot *requests);

struct nlmsghdr;
/* A request becomes the last one of a snapshot. 0 or -ENOMEM. */
int merlon_snapshot_append(struct merlon_snapshot *snapshot, const struct nlmsghdr *request);

#endif
