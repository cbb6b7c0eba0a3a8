/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static void put_addresses(struct nlmsghdr *header, const struct merlon_route_query *query)
{
	size_t bytes = query->family == AF_INET ? 4 : 16;
	struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->rtm_family = query->family;
	message->rtm_tos = query->tos;
	message->rtm_dst_len = bytes * 8;
	mnl_attr_put(header, RTA_DST, bytes, query->daddr);
	if (query->saddr) {
		message->rtm_src_len = bytes * 8;
		mnl_attr_put(header, RTA_SRC, bytes, query->saddr);
	}
}

static void put_request(struct nlmsghdr *header, const struct merlon_route_query *query)
{
	header->nlmsg_type = RTM_GETROUTE;
	header->nlmsg_flags = NLM_F_REQUEST;
	put_addresses(header, query);
	if (query->iif)
		mnl_attr_put_u32(header, RTA_IIF, query->iif);
	if (query->oif)
		mnl_attr_put_u32(header, RTA_OIF, query->oif);
	if (query->mark)
		mnl_attr_put_u32(header, RTA_MARK, query->mark);
	/* the kernel takes no other protocols here (rtm_getroute_parse_ip_proto() of net/ipv4/ip_sockglue.c) */
	if (query->proto != IPPROTO_TCP && query->proto != IPPROTO_UDP && query->proto != IPPROTO_ICMP &&
	    query->proto != IPPROTO_ICMPV6)
		return;
	mnl_attr_put_u8(header, RTA_IP_PROTO, query->proto);
	if (query->proto != IPPROTO_TCP && query->proto != IPPROTO_UDP)
		return;
	if (query->sport)
		mnl_attr_put_u16(header, RTA_SPORT, htons(query->sport));
	if (query->dport)
		mnl_attr_put_u16(header, RTA_DPORT, htons(query->dport));
}

static int on_attribute(const struct nlattr *attribute, void *data)
{
	struct merlon_route *route = data;

	if (mnl_attr_get_type(attribute) == RTA_OIF)
		route->oif = mnl_attr_get_u32(attribute);
	return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *header, void *data)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	struct merlon_route *route = data;

	route->type = message->rtm_type;
	mnl_attr_parse(header, sizeof(*message), on_attribute, route);
	return MNL_CB_STOP;
}

static int ask(struct mnl_socket *socket, const struct merlon_route_query *query, struct merlon_route *ret)
{
	char buffer[8192];	/* one route */
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	struct merlon_route route = { 0 };
	ssize_t n;

	put_request(header, query);
	if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
	if (n < 0 || mnl_cb_run(buffer, n, 0, mnl_socket_get_portid(socket), on_route, &route) < 0)
		return -errno;
	*ret = route;
	return 0;
}

int merlon_route_get(const struct merlon_route_query *query, struct merlon_route *ret)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int r;

	if (!socket)
		return -errno;
	r = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : ask(socket, query, ret);
	mnl_socket_close(socket);
	return r;
}
