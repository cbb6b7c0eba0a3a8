/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of intervals (net/netfilter/nft_set_rbtree.c) keeps each as two elements, its end marked as such. When an interval
 * expires its end stays until the kernel tidies up, which is with a later change at the earliest (seen on 6.18): a dump has
 * it, and refuses it in a request. Dumps go downwards, so an end whose interval is gone is followed by another end.
 *
 * Requests go upwards, as nft's do: the first element of such a set ends what would begin at 0. A set of some size that is full has
 * room for all only if that one comes first (nft_rbtree_adjust_maxsize(), which looks whether it is there), and behind it the kernel
 * takes the others only in this order.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "compat/snapshot.h"
#include "src/util/cleanup.h"

static bool is_end(const struct nlattr *element)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, element)
		if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_FLAGS)
			return ntohl(mnl_attr_get_u32(attr)) & NFT_SET_ELEM_INTERVAL_END;
	return false;
}

/* Which element of the messages is an end, in their order; NULL without memory. */
static bool *find_ends(const char *messages, size_t bytes, size_t *ret_n)
{
	size_t n = 0, room = 256, at;
	bool *end = malloc(room);

	for (at = 0; end && at < bytes; at += MNL_ALIGN(((const struct nlmsghdr *)(messages + at))->nlmsg_len)) {
		const struct nlmsghdr *message = (const void *)(messages + at);
		const struct nlattr *attr, *element;

		mnl_attr_for_each(attr, message, sizeof(struct nfgenmsg)) {
			if (mnl_attr_get_type(attr) != NFTA_SET_ELEM_LIST_ELEMENTS)
				continue;
			mnl_attr_for_each_nested(element, attr) {
				bool *larger = n < room ? end : realloc(end, room *= 2);

				if (!larger) {
					free(end);
					return NULL;
				}
				end = larger;
				end[n++] = is_end(element);
			}
		}
	}
	*ret_n = n;
	return end;
}

static bool is_orphan(const bool *end, size_t n, size_t i)
{
	return end[i] && i + 1 < n && end[i + 1];
}

/* Writes `attr` to `to` without its orphans; how far that got. The two may overlap. */
static char *copy_list(char *to, const struct nlattr *attr, const bool *end, size_t n, size_t *at)
{
	struct nlattr *list = (void *)to;
	const char *from = mnl_attr_get_payload(attr), *stop = from + mnl_attr_get_payload_len(attr);
	uint16_t type = attr->nla_type;
	size_t bytes;

	to += MNL_ATTR_HDRLEN;
	for (; from < stop; from += bytes) {
		bytes = MNL_ALIGN(((const struct nlattr *)from)->nla_len);
		if (is_orphan(end, n, (*at)++))
			continue;
		memmove(to, from, bytes);
		to += bytes;
	}
	list->nla_len = to - (char *)list;
	list->nla_type = type;
	return to;
}

static char *copy_message(char *to, const struct nlmsghdr *message, const bool *end, size_t n, size_t *at)
{
	const char *from = (const char *)message, *stop = from + message->nlmsg_len;
	const size_t head = MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct nfgenmsg));
	struct nlmsghdr *copy = (void *)to;
	size_t bytes;

	memmove(to, from, head);
	to += head;
	for (from += head; from < stop; from += bytes) {
		const struct nlattr *attr = (const void *)from;

		bytes = MNL_ALIGN(attr->nla_len);
		if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_LIST_ELEMENTS) {
			to = copy_list(to, attr, end, n, at);
		} else {
			memmove(to, from, bytes);
			to += bytes;
		}
	}
	copy->nlmsg_len = to - (char *)copy;
	return to;
}

int merlon_snapshot_leave_orphans(char *messages, size_t *bytes)
{
	size_t n = 0, i, at = 0, element = 0;
	_cleanup_free_ bool *end = find_ends(messages, *bytes, &n);
	char *to = messages;

	if (!end)
		return -ENOMEM;
	for (i = 0; i < n && !is_orphan(end, n, i); i++)
		;
	if (i >= n)
		return 0;
	while (at < *bytes) {
		const struct nlmsghdr *message = (const void *)(messages + at);

		at += MNL_ALIGN(message->nlmsg_len);
		to = copy_message(to, message, end, n, &element);
	}
	*bytes = to - messages;
	return 0;
}

static void copy_backwards(char *to, const struct nlattr *list)
{
	const char *from = mnl_attr_get_payload(list), *stop = from + mnl_attr_get_payload_len(list);
	size_t bytes;

	to += stop - (const char *)list;
	for (; from < stop; from += bytes) {
		bytes = MNL_ALIGN(((const struct nlattr *)from)->nla_len);
		to -= bytes;
		memcpy(to, from, bytes);
	}
}

int merlon_snapshot_upwards(char *messages, size_t bytes)
{
	size_t n, i, at, length;
	_cleanup_free_ bool *end = find_ends(messages, bytes, &n);
	_cleanup_free_ char *copy = malloc(bytes);
	char *to = copy + bytes;

	if (!end || !copy)
		return -ENOMEM;
	for (i = 0; i < n && !end[i]; i++)
		;
	if (i == n)
		return 0;
	for (at = 0; at < bytes; at += length) {
		const struct nlmsghdr *message = (const void *)(messages + at);
		const struct nlattr *attr;

		length = MNL_ALIGN(message->nlmsg_len);
		to -= length;
		memcpy(to, message, length);
		mnl_attr_for_each(attr, message, sizeof(struct nfgenmsg))
			if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_LIST_ELEMENTS)
				copy_backwards(to + ((const char *)attr - (const char *)message), attr);
	}
	memcpy(messages, copy, bytes);
	return 0;
}
