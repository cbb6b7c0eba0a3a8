/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Routes that encapsulate (lightweight tunnels): the packet goes into another one between nf_tables' hook for output or forward
 * and TC, which sees only the outer one, as with IPsec.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/lwtunnel.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

#define ENCAP_XFRM 10	/* LWTUNNEL_ENCAP_XFRM of linux/lwtunnel.h since Linux 6.1 */

struct found {
	unsigned type;
	char where[160];
};

static const char *type_name(unsigned type)
{
	static const char *const name[] = {
		[LWTUNNEL_ENCAP_MPLS] = "mpls", [LWTUNNEL_ENCAP_ILA] = "ila", [LWTUNNEL_ENCAP_SEG6] = "seg6",
		[LWTUNNEL_ENCAP_BPF] = "bpf", [LWTUNNEL_ENCAP_SEG6_LOCAL] = "seg6local", [LWTUNNEL_ENCAP_RPL] = "rpl",
		[LWTUNNEL_ENCAP_IOAM6] = "ioam6",
	};

	return type < ARRAY_SIZE(name) && name[type] ? name[type] : "of an unknown type";
}

/*
 * `ip`, `ip6` and `xfrm` only note what a tunnel's interface shall do: they have no output of their own (ip_tun_lwt_ops in
 * net/ipv4/ip_tunnel_core.c), and the packet passes TC on that interface as it is.
 */
static unsigned judged(const struct nlattr *attribute)
{
	unsigned type = mnl_attr_validate(attribute, MNL_TYPE_U16) < 0 ? 0 : mnl_attr_get_u16(attribute);

	return type == LWTUNNEL_ENCAP_IP || type == LWTUNNEL_ENCAP_IP6 || type == ENCAP_XFRM ? 0 : type;
}

/* Of the next hops of one route: each has attributes of its own behind a struct rtnexthop. */
static unsigned of_hops(const struct nlattr *multipath)
{
	const char *at = mnl_attr_get_payload(multipath);
	size_t left = mnl_attr_get_payload_len(multipath);
	unsigned type = 0;

	while (!type && left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const void *)at;
		const struct nlattr *attribute;
		size_t step = RTNH_ALIGN(hop->rtnh_len);

		if (hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > left)
			break;
		attribute = (const void *)(at + sizeof(*hop));
		for (; mnl_attr_ok(attribute, (int)(at + hop->rtnh_len - (const char *)attribute)); attribute = mnl_attr_next(attribute))
			if (mnl_attr_get_type(attribute) == RTA_ENCAP_TYPE)
				type = judged(attribute);
		at += step;
		left -= step > left ? left : step;
	}
	return type;
}

unsigned merlon_route_encap(const struct nlmsghdr *message)
{
	const struct nlattr *attribute;
	unsigned type = 0;

	if (message->nlmsg_type == RTM_NEWNEXTHOP && mnl_nlmsg_get_payload_len(message) >= sizeof(struct nhmsg)) {
		mnl_attr_for_each(attribute, message, sizeof(struct nhmsg))
			if (!type && mnl_attr_get_type(attribute) == NHA_ENCAP_TYPE)
				type = judged(attribute);
		return type;
	}
	if (message->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(message) < sizeof(struct rtmsg))
		return 0;
	mnl_attr_for_each(attribute, message, sizeof(struct rtmsg)) {
		if (!type && mnl_attr_get_type(attribute) == RTA_ENCAP_TYPE)
			type = judged(attribute);
		if (!type && mnl_attr_get_type(attribute) == RTA_MULTIPATH)
			type = of_hops(attribute);
	}
	return type;
}

void merlon_route_name(const struct nlmsghdr *message, char *ret, size_t room)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	char address[INET6_ADDRSTRLEN] = "default", table[24] = "", length[8] = "";
	const struct nlattr *attribute;
	uint32_t number = route->rtm_table;

	mnl_attr_for_each(attribute, message, sizeof(*route)) {
		if (mnl_attr_get_type(attribute) == RTA_TABLE && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
			number = mnl_attr_get_u32(attribute);
		if (mnl_attr_get_type(attribute) == RTA_DST &&
		    mnl_attr_get_payload_len(attribute) >= (route->rtm_family == AF_INET6 ? 16 : 4)) {
			inet_ntop(route->rtm_family, mnl_attr_get_payload(attribute), address, sizeof(address));
			snprintf(length, sizeof(length), "/%u", route->rtm_dst_len);
		}
	}
	if (number != RT_TABLE_MAIN)
		snprintf(table, sizeof(table), " table %u", number);
	snprintf(ret, room, "ip %sroute %s%s%s", route->rtm_family == AF_INET6 ? "-6 " : "", address, length, table);
}

static int on_message(const struct nlmsghdr *message, void *data)
{
	struct found *found = data;

	found->type = merlon_route_encap(message);
	if (!found->type)
		return MNL_CB_OK;
	if (message->nlmsg_type == RTM_NEWROUTE)
		merlon_route_name(message, found->where, sizeof(found->where));
	else
		strcpy(found->where, "ip nexthop");
	return MNL_CB_STOP;
}

int merlon_host_encap(struct merlon_host_view *view)
{
	static const struct merlon_finding encap = {
		.what = "encap",
		.rule = "ipsec and vrf",
		.why = "a route puts packets into others (a lightweight tunnel): TC sees the outer packet where nf_tables sees what is "
		       "inside, which would pass unjudged",
		.cure = "use a tunnel with an interface of its own, or keep this host on nf_tables; --audit judges without dropping",
		.severity = MERLON_HOST_REFUSE,
	};
	static const struct {
		uint16_t type;
		uint8_t family, bytes;
	} where[] = {
		{ RTM_GETROUTE, AF_INET, sizeof(struct rtmsg) }, { RTM_GETROUTE, AF_INET6, sizeof(struct rtmsg) },
		{ RTM_GETNEXTHOP, AF_UNSPEC, sizeof(struct nhmsg) },
	};
	struct found found = { 0 };
	size_t i;
	int r = 0;

	/* all tables: the kernel has no filter for these */
	for (i = 0; i < ARRAY_SIZE(where) && r == 0 && !found.type; i++)
		r = merlon_host_dump_route(where[i].type, where[i].family, where[i].bytes, true, NULL, on_message, &found);
	if (r < 0)
		return merlon_finding_unseen(view, "routes that encapsulate", r);
	return found.type ? merlon_finding_add(view, &encap, "%s, encap %s", found.where, type_name(found.type)) : 0;
}
