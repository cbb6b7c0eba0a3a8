/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Routes with several next hops. The kernel chooses one by a hash of what only its own skb has (l4_hash of the sender, flow
 * label, addresses inside a tunnel), bpf_fib_lookup() perhaps another one. A packet is judged as FORWARD where it leaves, or
 * where it comes in if the look-up leads to an interface that is not filtered: between the two it passes unjudged.
 */
#include <errno.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

struct hop {
	uint32_t id, interface;
};

struct reader {
	const struct merlon_host_view *view;
	const struct merlon_links *links;
	struct hop *hop;	/* nexthop objects that are no groups */
	size_t n;
	struct merlon_ways found;
	char where[160];
};

static void note(const struct merlon_host_view *view, const struct merlon_links *links, uint32_t interface, struct merlon_ways *ways)
{
	const char *name = merlon_link_name(links, interface);

	/* None: a black hole, or what has just gone. */
	if (!name)
		return;
	if (!merlon_host_filters(view, name))
		ways->unfiltered = name;
	else if (!ways->filtered)
		ways->filtered = name;
	else if (strcmp(ways->filtered, name))
		ways->other = name;
}

static void note_hops(const struct merlon_host_view *view, const struct merlon_links *links, const struct nlattr *multipath,
		      struct merlon_ways *ways)
{
	const char *at = mnl_attr_get_payload(multipath);
	size_t left = mnl_attr_get_payload_len(multipath);

	while (left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const void *)at;
		size_t step = RTNH_ALIGN(hop->rtnh_len);

		if (hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > left)
			break;
		note(view, links, hop->rtnh_ifindex, ways);
		at += step;
		left -= step > left ? left : step;
	}
}

struct merlon_ways merlon_route_ways(const struct merlon_host_view *view, const struct merlon_links *links,
				     const struct nlmsghdr *message)
{
	struct merlon_ways ways = { 0 };
	const struct nlattr *attribute;

	if (message->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(message) < sizeof(struct rtmsg))
		return ways;
	mnl_attr_for_each(attribute, message, sizeof(struct rtmsg))
		if (mnl_attr_get_type(attribute) == RTA_MULTIPATH)
			note_hops(view, links, attribute, &ways);
	return ways;
}

/* Whether it matters: one is filtered and one is not, or may be. */
static bool matters(const struct merlon_host_view *view, const struct merlon_ways *ways)
{
	return ways->filtered && (ways->unfiltered || (ways->other && view->options->any_interfaces));
}

static int on_route(const struct nlmsghdr *message, void *data)
{
	struct reader *reader = data;

	reader->found = merlon_route_ways(reader->view, reader->links, message);
	if (!matters(reader->view, &reader->found))
		return MNL_CB_OK;
	merlon_route_name(message, reader->where, sizeof(reader->where));
	return MNL_CB_STOP;
}

struct nexthop {
	uint32_t id, interface;
	const struct nlattr *group;
	bool fdb;		/* of a VXLAN, not of routes */
};

static bool read_nexthop(const struct nlmsghdr *message, struct nexthop *ret)
{
	const struct nlattr *attribute;

	*ret = (struct nexthop){ 0 };
	if (message->nlmsg_type != RTM_NEWNEXTHOP || mnl_nlmsg_get_payload_len(message) < sizeof(struct nhmsg))
		return false;
	mnl_attr_for_each(attribute, message, sizeof(struct nhmsg)) {
		uint16_t type = mnl_attr_get_type(attribute);

		if (type == NHA_GROUP)
			ret->group = attribute;
		if (type == NHA_FDB)
			ret->fdb = true;
		if (type == NHA_ID && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
			ret->id = mnl_attr_get_u32(attribute);
		if (type == NHA_OIF && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
			ret->interface = mnl_attr_get_u32(attribute);
	}
	return !ret->fdb;
}

static int on_hop(const struct nlmsghdr *message, void *data)
{
	struct reader *reader = data;
	struct nexthop one;

	if (!read_nexthop(message, &one) || one.group)
		return MNL_CB_OK;
	if (!(reader->n & (reader->n - 1))) {
		struct hop *grown = reallocarray(reader->hop, reader->n ? 2 * reader->n : 1, sizeof(*grown));

		if (!grown) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		reader->hop = grown;
	}
	reader->hop[reader->n++] = (struct hop){ one.id, one.interface };
	return MNL_CB_OK;
}

static int by_id(const void *a, const void *b)
{
	const struct hop *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* Of groups: a route may have one without listing its next hops (net.ipv4.nexthop_compat_mode=0). */
static int on_group(const struct nlmsghdr *message, void *data)
{
	struct reader *reader = data;
	const struct nexthop_grp *member;
	struct nexthop one;
	size_t i, n;

	if (!read_nexthop(message, &one) || !one.group)
		return MNL_CB_OK;
	member = mnl_attr_get_payload(one.group);
	n = mnl_attr_get_payload_len(one.group) / sizeof(*member);
	reader->found = (struct merlon_ways){ 0 };
	for (i = 0; i < n; i++) {
		const struct hop wanted = { .id = member[i].id };
		const struct hop *hop = reader->n ? bsearch(&wanted, reader->hop, reader->n, sizeof(wanted), by_id) : NULL;

		if (hop)
			note(reader->view, reader->links, hop->interface, &reader->found);
	}
	if (!matters(reader->view, &reader->found))
		return MNL_CB_OK;
	snprintf(reader->where, sizeof(reader->where), "ip nexthop id %u", one.id);
	return MNL_CB_STOP;
}

static void no_hops(void *data)
{
	struct reader *reader = data;

	reader->n = 0;
}

static int dump_routes(uint8_t family, struct reader *reader)
{
	return merlon_host_dump_route(RTM_GETROUTE, family, sizeof(struct rtmsg), true, NULL, on_route, reader);
}

static int dump_nexthops(void (*begin)(void *data), mnl_cb_t on_message, struct reader *reader)
{
	return merlon_host_dump_route(RTM_GETNEXTHOP, AF_UNSPEC, sizeof(struct nhmsg), true, begin, on_message, reader);
}

static int read_all(struct reader *reader)
{
	int r = dump_routes(AF_INET, reader);

	if (r == 0 && !reader->where[0])
		r = dump_routes(AF_INET6, reader);
	if (r == 0 && !reader->where[0])
		r = dump_nexthops(no_hops, on_hop, reader);
	if (r < 0 || reader->where[0] || !reader->n)
		return r;
	qsort(reader->hop, reader->n, sizeof(*reader->hop), by_id);
	return dump_nexthops(NULL, on_group, reader);
}

int merlon_host_multipath(struct merlon_host_view *view, const struct merlon_links *links)
{
	static const char unknown[] = "the kernel may choose another next hop than it says at TC: where one of these interfaces is "
		"filtered and the other one is not, a packet could leave without the rules for forward";
	struct merlon_finding finding = {
		.what = "multipath",
		.rule = "input by exclusion",
		.why = "the kernel may choose another next hop than it says at TC: a packet could leave by the interface that is not "
		       "filtered without the rules for forward",
		.cure = "filter all of them or none (merlond --interfaces)",
		.severity = MERLON_HOST_REFUSE,
	};
	struct reader reader = { .view = view, .links = links };
	int r;

	/* There may be the routes of the Internet. */
	if (!view->partial && !view->options->any_interfaces)
		return 0;
	r = read_all(&reader);
	free(reader.hop);
	if (r < 0)
		return merlon_finding_unseen(view, "routes with several next hops", r);
	if (!reader.where[0])
		return 0;
	if (reader.found.unfiltered)
		return merlon_finding_add(view, &finding, "%s: %s is filtered, %s is not", reader.where, reader.found.filtered,
					  reader.found.unfiltered);
	finding.why = unknown;
	finding.severity = MERLON_HOST_WARN;
	return merlon_finding_add(view, &finding, "%s by %s and %s", reader.where, reader.found.filtered, reader.found.other);
}
