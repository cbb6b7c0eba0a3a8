/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/news.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/util/netlink.h"

/* A start of an interval, its end (the first value behind it), or an element of a set without intervals. */
struct bound {
	size_t set;
	merlon_value at;
	bool add, end;
};

struct bounds {
	struct bound *v;	/* owned */
	size_t n, room;
};

static unsigned type_of(const struct nlmsghdr *message)
{
	return message->nlmsg_type >> 8 == NFNL_SUBSYS_NFTABLES ? message->nlmsg_type & 255 : NFT_MSG_MAX;
}

/* Whether `generation` is behind `than`; nf_tables counts on from the greatest to the least (nf_tables_commit()). */
static bool is_later(uint32_t generation, uint32_t than)
{
	return (int32_t)(generation - than) > 0;
}

/*
 * Calls `each` for the messages of the transactions behind generation `from`; each of them ends with the message of its
 * generation. 0 if the last one is `to` and none is missing, else -ERANGE; or what `each` returned.
 */
static int each_message(const void *messages, size_t bytes, uint32_t from, uint32_t to,
			int (*each)(void *context, const struct nlmsghdr *message), void *context)
{
	const struct nlmsghdr *begin = messages, *message = messages;
	int left = (int)bytes, r;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		uint32_t generation;

		if (type_of(message) != NFT_MSG_NEWGEN)
			continue;
		generation = merlon_nft_generation_of(message);
		if (is_later(generation, from)) {
			if (generation != from + 1)
				return -ERANGE;
			for (; begin <= message; begin = (const void *)((const char *)begin + MNL_ALIGN(begin->nlmsg_len))) {
				r = each(context, begin);
				if (r < 0)
					return r;
			}
			from = generation;
		}
		begin = (const void *)((const char *)message + MNL_ALIGN(message->nlmsg_len));
	}
	return left || from != to ? -ERANGE : 0;
}

size_t merlon_news_until(const void *messages, size_t bytes, uint32_t generation)
{
	const struct nlmsghdr *message = messages;
	int left = (int)bytes;
	size_t until = 0;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
		if (type_of(message) == NFT_MSG_NEWGEN && !is_later(merlon_nft_generation_of(message), generation))
			until = (const char *)message - (const char *)messages + MNL_ALIGN(message->nlmsg_len);
	return until;
}

static int add_bound(struct bounds *bounds, struct bound bound)
{
	if (bounds->n == bounds->room) {
		size_t room = bounds->room ? 2 * bounds->room : 16;
		struct bound *larger = reallocarray(bounds->v, room, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		bounds->v = larger;
		bounds->room = room;
	}
	bounds->v[bounds->n++] = bound;
	return 0;
}

static int read_element(const struct merlon_set *set, const struct nlattr *element, struct bound *ret)
{
	const struct nlattr *attr, *value = NULL;
	uint32_t flags = 0;
	const uint8_t *byte;

	mnl_attr_for_each_nested(attr, element)
		switch (mnl_attr_get_type(attr)) {
		case NFTA_SET_ELEM_KEY:
			value = merlon_nested_attribute(attr, NFTA_DATA_VALUE);
			break;
		case NFTA_SET_ELEM_FLAGS:
			flags = ntohl(mnl_attr_get_u32(attr));
			break;
		case NFTA_SET_ELEM_PAD:
			break;
		default:
			return -ERANGE;
		}
	if (!value || mnl_attr_get_payload_len(value) != set->bits / 8 || flags & ~NFT_SET_ELEM_INTERVAL_END ||
	    (flags && !set->interval))
		return -ERANGE;
	byte = mnl_attr_get_payload(value);
	ret->at = 0;
	for (uint32_t i = 0; i < set->bits / 8; i++)
		ret->at = ret->at << 8 | byte[i];
	ret->end = flags;
	return 0;
}

struct reading {
	const struct merlon_ruleset *ruleset;
	struct bounds bounds;	/* of one transaction */
	struct merlon_news *news;
	size_t room;
};

/* By set; what is taken away first, for something else may have come in its place; by value, ends before starts. */
static int by_value(const void *a, const void *b)
{
	const struct bound *x = a, *y = b;

	if (x->set != y->set)
		return x->set < y->set ? -1 : 1;
	if (x->add != y->add)
		return x->add - y->add;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return y->end - x->end;
}

static int add_change(struct reading *reading, const struct bound *from, merlon_value last)
{
	struct merlon_news *news = reading->news;

	if (news->n == reading->room) {
		size_t room = reading->room ? 2 * reading->room : 16;
		struct merlon_element_change *larger = reallocarray(news->change, room, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		news->change = larger;
		reading->room = room;
	}
	news->change[news->n++] = (struct merlon_element_change){ .set = from->set, .element = { from->at, last }, .add = from->add };
	return 0;
}

/* Starts and ends in turns are intervals; where one has no end, or no start, only all of the set tells what it means. */
static int end_transaction(struct reading *reading)
{
	const struct bound *v = reading->bounds.v;
	size_t i, n = reading->bounds.n;
	int r = 0;

	if (n)
		qsort(reading->bounds.v, n, sizeof(*v), by_value);
	for (i = 0; i < n && !r; i++) {
		const struct merlon_set *set = &reading->ruleset->set[v[i].set];

		/* in front of the least value, where nothing ends, nft puts one into a set that was empty */
		if (v[i].end && !v[i].at)
			continue;
		if (!set->interval) {
			r = add_change(reading, &v[i], v[i].at);
		} else if (v[i].end || i + 1 == n || v[i + 1].set != v[i].set || v[i + 1].add != v[i].add || !v[i + 1].end) {
			r = -ERANGE;
		} else {
			r = add_change(reading, &v[i], v[i + 1].at - 1);
			i++;
		}
	}
	reading->bounds.n = 0;
	return r;
}

static int read_message(void *context, const struct nlmsghdr *message)
{
	const struct nlattr *table = merlon_nfnl_attribute(message, NFTA_SET_ELEM_LIST_TABLE), *name = merlon_nfnl_attribute(message, NFTA_SET_ELEM_LIST_SET);
	const struct nlattr *list = merlon_nfnl_attribute(message, NFTA_SET_ELEM_LIST_ELEMENTS), *element;
	const struct nfgenmsg *gen = mnl_nlmsg_get_payload(message);
	struct reading *reading = context;
	const struct merlon_set *set;
	struct bound bound;
	int r = 0;

	if (type_of(message) == NFT_MSG_NEWGEN)
		return end_transaction(reading);
	if ((type_of(message) != NFT_MSG_NEWSETELEM && type_of(message) != NFT_MSG_DELSETELEM) || !table || !name || !list)
		return -ERANGE;
	set = merlon_set_find(reading->ruleset, gen->nfgen_family, mnl_attr_get_str(table), mnl_attr_get_str(name));
	if (!set || !set->bits)
		return -ERANGE;
	bound.set = set - reading->ruleset->set;
	bound.add = type_of(message) == NFT_MSG_NEWSETELEM;
	mnl_attr_for_each_nested(element, list) {
		r = read_element(set, element, &bound);
		if (!r)
			r = add_bound(&reading->bounds, bound);
		if (r < 0)
			break;
	}
	return r;
}

int merlon_news_read(const void *messages, size_t bytes, uint32_t from, uint32_t to, const struct merlon_ruleset *ruleset,
		     struct merlon_news *ret)
{
	struct merlon_news news = { 0 };
	struct reading reading = { .ruleset = ruleset, .news = &news };
	int r = each_message(messages, bytes, from, to, read_message, &reading);

	free(reading.bounds.v);
	if (r < 0) {
		merlon_news_clear(&news);
		return r;
	}
	*ret = news;
	return 0;
}

void merlon_news_clear(struct merlon_news *news)
{
	free(news->change);
	*news = (struct merlon_news){ 0 };
}

static bool same_attr(const struct nlattr *a, const struct nlattr *b)
{
	return a && b && a->nla_len == b->nla_len && !memcmp(mnl_attr_get_payload(a), mnl_attr_get_payload(b), mnl_attr_get_payload_len(a));
}

static bool same_set(const struct nlmsghdr *a, const struct nlmsghdr *b)
{
	const struct nfgenmsg *x = mnl_nlmsg_get_payload(a), *y = mnl_nlmsg_get_payload(b);

	return x->nfgen_family == y->nfgen_family &&
	       same_attr(merlon_nfnl_attribute(a, NFTA_SET_ELEM_LIST_TABLE), merlon_nfnl_attribute(b, NFTA_SET_ELEM_LIST_TABLE)) &&
	       same_attr(merlon_nfnl_attribute(a, NFTA_SET_ELEM_LIST_SET), merlon_nfnl_attribute(b, NFTA_SET_ELEM_LIST_SET));
}

static uint32_t flags_of(const struct nlattr *element)
{
	const struct nlattr *flags = merlon_nested_attribute(element, NFTA_SET_ELEM_FLAGS);

	return flags ? mnl_attr_get_u32(flags) : 0;
}

static const struct nlattr *find_element(const struct nlattr *list, const struct nlattr *like)
{
	const struct nlattr *key = merlon_nested_attribute(like, NFTA_SET_ELEM_KEY), *element;

	mnl_attr_for_each_nested(element, list)
		if (same_attr(merlon_nested_attribute(element, NFTA_SET_ELEM_KEY), key) && flags_of(element) == flags_of(like))
			return element;
	return NULL;
}

static void cut(struct merlon_snapshot *snapshot, const void *from, size_t n)
{
	char *at = (char *)from, *end = (char *)snapshot->messages + snapshot->bytes;

	memmove(at, at + n, end - at - n);
	snapshot->bytes -= n;
}

/*
 * The request that makes an element, and where in it that is; NULL: there is none. Starts at *at, which is where one begins, and
 * leaves it there: the two bounds of an interval are close to each other.
 */
static struct nlmsghdr *find_request(const struct merlon_snapshot *snapshot, const struct nlmsghdr *news, const struct nlattr *like,
				     size_t *at, const struct nlattr **ret)
{
	size_t next = *at < snapshot->bytes ? *at : 0, passed = 0;

	while (passed < snapshot->bytes) {
		struct nlmsghdr *message = (void *)((char *)snapshot->messages + next);
		const struct nlattr *list = merlon_nfnl_attribute(message, NFTA_SET_ELEM_LIST_ELEMENTS);

		if (type_of(message) == NFT_MSG_NEWSETELEM && list && same_set(message, news) && (*ret = find_element(list, like))) {
			*at = next;
			return message;
		}
		passed += MNL_ALIGN(message->nlmsg_len);
		next += MNL_ALIGN(message->nlmsg_len);
		if (next >= snapshot->bytes)
			next = 0;
	}
	return NULL;
}

/* Takes an element out of a request, and the request if it makes no other. */
static void take_out(struct merlon_snapshot *snapshot, struct nlmsghdr *request, const struct nlattr *element)
{
	struct nlattr *list = (void *)merlon_nfnl_attribute(request, NFTA_SET_ELEM_LIST_ELEMENTS);
	size_t n = MNL_ALIGN(element->nla_len);

	if (mnl_attr_get_payload_len(list) <= n) {
		cut(snapshot, request, MNL_ALIGN(request->nlmsg_len));
		return;
	}
	list->nla_len -= n;
	request->nlmsg_len -= n;
	cut(snapshot, element, n);
}

/* All that the notification has, or nothing. */
static int take_out_all(struct merlon_snapshot *snapshot, const struct nlmsghdr *news, size_t *at)
{
	const struct nlattr *list = merlon_nfnl_attribute(news, NFTA_SET_ELEM_LIST_ELEMENTS), *element, *found;
	struct nlmsghdr *request;

	mnl_attr_for_each_nested(element, list)
		if (!find_request(snapshot, news, element, at, &found))
			return -ERANGE;
	mnl_attr_for_each_nested(element, list) {
		request = find_request(snapshot, news, element, at, &found);
		if (request)
			take_out(snapshot, request, found);
	}
	return 0;
}

int merlon_snapshot_append(struct merlon_snapshot *snapshot, const struct nlmsghdr *request)
{
	size_t bytes = MNL_ALIGN(request->nlmsg_len);
	char *larger = realloc(snapshot->messages, snapshot->bytes + bytes);

	if (!larger)
		return -ENOMEM;
	snapshot->messages = larger;
	memset(larger + snapshot->bytes, 0, bytes);
	memcpy(larger + snapshot->bytes, request, request->nlmsg_len);
	snapshot->bytes += bytes;
	return 0;
}

/* The message of a notification is that of a dump: behind all other requests it makes the elements, too. */
static int add(struct merlon_snapshot *snapshot, const struct nlmsghdr *news)
{
	struct nlmsghdr *message;
	int r = merlon_snapshot_append(snapshot, news);

	if (r < 0)
		return r;
	message = (void *)((char *)snapshot->messages + snapshot->bytes - MNL_ALIGN(news->nlmsg_len));
	message->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE;
	message->nlmsg_seq = message->nlmsg_pid = 0;
	((struct nfgenmsg *)mnl_nlmsg_get_payload(message))->res_id = 0;
	return 0;
}

struct sequence {
	const struct nlmsghdr **message;	/* owned */
	size_t n;
};

static int note_message(void *context, const struct nlmsghdr *message)
{
	struct sequence *s = context;
	const struct nlmsghdr **larger;

	if (type_of(message) == NFT_MSG_NEWGEN)
		return 0;
	larger = reallocarray(s->message, s->n + 1, sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	s->message = larger;
	larger[s->n++] = message;
	return 0;
}

/* What comes is made in its order, for a start goes before its end; what goes is there by then. */
static void undo(struct merlon_snapshot *snapshot, const struct sequence *s, size_t n)
{
	size_t i, at = 0;

	for (i = 0; i < n; i++)
		if (type_of(s->message[i]) == NFT_MSG_DELSETELEM)
			add(snapshot, s->message[i]);
	for (i = 0; i < n; i++)
		if (type_of(s->message[i]) == NFT_MSG_NEWSETELEM)
			take_out_all(snapshot, s->message[i], &at);
}

/* All or none of what was noted. */
static int change(struct merlon_snapshot *snapshot, const struct sequence *s)
{
	size_t i, at = 0;
	int r = 0;

	for (i = 0; i < s->n && !r; i++)
		r = type_of(s->message[i]) == NFT_MSG_NEWSETELEM ? add(snapshot, s->message[i]) : take_out_all(snapshot, s->message[i], &at);
	/* the last one has done nothing */
	if (r < 0 && i)
		undo(snapshot, s, i - 1);
	return r;
}

int merlon_snapshot_follow(struct merlon_snapshot *snapshot, const void *messages, size_t bytes, uint32_t from, uint32_t to)
{
	struct sequence s = { 0 };
	int r = each_message(messages, bytes, from, to, note_message, &s);

	if (!r)
		r = change(snapshot, &s);
	free(s.message);
	return r;
}

void merlon_snapshot_unfollow(struct merlon_snapshot *snapshot, const void *messages, size_t bytes, uint32_t from, uint32_t to)
{
	struct sequence s = { 0 };

	if (each_message(messages, bytes, from, to, note_message, &s) == 0)
		undo(snapshot, &s, s.n);
	free(s.message);
}

static int note_requests(const struct merlon_snapshot *requests, struct sequence *s)
{
	const struct nlmsghdr *message = requests->messages;
	int left = (int)requests->bytes, r = 0;

	for (; mnl_nlmsg_ok(message, left) && !r; message = mnl_nlmsg_next(message, &left))
		r = note_message(s, message);
	return r;
}

int merlon_snapshot_change(struct merlon_snapshot *snapshot, const struct merlon_snapshot *requests)
{
	struct sequence s = { 0 };
	int r = note_requests(requests, &s);

	if (!r)
		r = change(snapshot, &s);
	free(s.message);
	return r;
}

void merlon_snapshot_change_back(struct merlon_snapshot *snapshot, const struct merlon_snapshot *requests)
{
	struct sequence s = { 0 };

	if (note_requests(requests, &s) == 0)
		undo(snapshot, &s, s.n);
	free(s.message);
}
