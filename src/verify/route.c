/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where addresses are, over rtnetlink: thousands of routes in a few messages. */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "src/util/cleanup.h"
#include "src/verify/world.h"

#define BATCH_BYTES 32768
#define MESSAGE_MOST 256
#define LOOPBACK 1

/* The address that errors of the host come from. Of the nets for documentation and tests, which rules rarely name. */
#define OWN4 "198.19.255.254"
#define OWN6 "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"

/* Reads until the acknowledgement of `sequence`. The first error of any message before it counts. */
static int wait_for(struct mnl_socket *socket, unsigned sequence)
{
	char buffer[65536];
	int r = 0;

	for (;;) {
		ssize_t n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		const struct nlmsghdr *h = (const struct nlmsghdr *)buffer;
		int left = n;

		if (n < 0)
			return -errno;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *error = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (error->error && !r)
				r = error->error;
			if (h->nlmsg_seq == sequence)
				return r;
		}
	}
}

int merlon_netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request)
{
	request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	request->nlmsg_seq = 1;
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	return wait_for(socket, 1);
}

static int af_of(uint8_t family)
{
	return family == MERLON_IPV4 ? AF_INET : AF_INET6;
}

static size_t bytes_of(uint8_t family)
{
	return family == MERLON_IPV4 ? 4 : 16;
}

static int add_own(struct mnl_socket *route, int af, const char *text)
{
	char buffer[MESSAGE_MOST];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	uint8_t address[16];
	size_t bytes = af == AF_INET ? 4 : 16;

	inet_pton(af, text, address);
	h->nlmsg_type = RTM_NEWADDR;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
	m->ifa_family = af;
	m->ifa_prefixlen = bytes * 8;
	m->ifa_flags = IFA_F_PERMANENT | IFA_F_NODAD;
	m->ifa_scope = RT_SCOPE_UNIVERSE;
	m->ifa_index = LOOPBACK;
	mnl_attr_put(h, IFA_LOCAL, bytes, address);
	mnl_attr_put(h, IFA_ADDRESS, bytes, address);
	return merlon_netlink_ask(route, h);
}

int merlon_route_loopback(struct mnl_socket *route)
{
	char buffer[MESSAGE_MOST];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	int r;

	h->nlmsg_type = RTM_NEWLINK;
	m->ifi_index = LOOPBACK;
	m->ifi_flags = m->ifi_change = IFF_UP;
	r = merlon_netlink_ask(route, h);
	if (!r)
		r = add_own(route, AF_INET, OWN4);
	return r ? r : add_own(route, AF_INET6, OWN6);
}

/* IPv4: the groups of IPv6 have their routes in the local table, which is asked first. */
int merlon_route_groups(struct mnl_socket *route, const struct merlon_ground *ground)
{
	char buffer[MESSAGE_MOST];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	h->nlmsg_type = RTM_NEWROUTE;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
	m->rtm_family = AF_INET;
	m->rtm_dst_len = 4;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = RT_SCOPE_LINK;
	m->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(h, RTA_DST, htonl(0xe0000000));
	mnl_attr_put_u32(h, RTA_OIF, ground->device[ground->n_devices - 1].index);
	return merlon_netlink_ask(route, h);
}

/*
 * One a device: routes lead over it, and only it has to be resolved. No address that a ruleset is likely to name: one
 * that is also a place of the ground would be no way for others.
 */
static void gateway(uint8_t family, unsigned device, uint8_t ret[16])
{
	memset(ret, 0, 16);
	if (family == MERLON_IPV4) {
		memcpy(ret, (uint8_t[]){ 100, 98, 231, device + 17 }, 4);
	} else {
		memcpy(ret, (uint8_t[]){ 0xfe, 0x80 }, 2);
		memcpy(ret + 8, "merlon", 6);
		ret[14] = device;
		ret[15] = 1;
	}
}

int merlon_route_gateway(struct mnl_socket *route, const struct merlon_ground *ground, unsigned device)
{
	uint8_t family, address[16];
	int r = 0;

	for (family = 0; !r && family < MERLON_FAMILIES; family++) {
		char buffer[MESSAGE_MOST];
		struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
		struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

		gateway(family, device, address);
		h->nlmsg_type = RTM_NEWNEIGH;
		h->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
		m->ndm_family = af_of(family);
		m->ndm_ifindex = ground->device[device].index;
		m->ndm_state = NUD_PERMANENT;
		mnl_attr_put(h, NDA_DST, bytes_of(family), address);
		mnl_attr_put(h, NDA_LLADDR, 6, ground->device[device].peer_mac);
		r = merlon_netlink_ask(route, h);
	}
	return r;
}

/*
 * An IPv6 address must be an interface's: by a route alone the host would receive for it, but not answer from it
 * (net/ipv6/icmp.c, icmp6_send(): ipv6_chk_addr()).
 */
static void put_address6(struct nlmsghdr *h, const struct merlon_ground *ground, const struct merlon_ground_address *a, bool remove)
{
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	bool link = a->address[0] == 0xfe && (a->address[1] & 0xc0) == 0x80;

	h->nlmsg_type = remove ? RTM_DELADDR : RTM_NEWADDR;
	h->nlmsg_flags = NLM_F_REQUEST | (remove ? 0 : NLM_F_CREATE | NLM_F_REPLACE);
	m->ifa_family = AF_INET6;
	m->ifa_prefixlen = 128;
	m->ifa_flags = IFA_F_PERMANENT | IFA_F_NODAD;
	m->ifa_scope = link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->ifa_index = link ? ground->device[a->device].index : LOOPBACK;
	mnl_attr_put(h, IFA_LOCAL, sizeof(a->address), a->address);
	mnl_attr_put(h, IFA_ADDRESS, sizeof(a->address), a->address);
}

static void put_place(struct nlmsghdr *h, const struct merlon_ground *ground, const struct merlon_ground_address *a, bool remove)
{
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	const struct merlon_ground_device *device = &ground->device[a->device];
	bool local = a->kind == MERLON_PLACE_LOCAL;
	uint8_t via[16];

	h->nlmsg_type = remove ? RTM_DELROUTE : RTM_NEWROUTE;
	h->nlmsg_flags = NLM_F_REQUEST | (remove ? 0 : NLM_F_CREATE | NLM_F_REPLACE);
	m->rtm_family = af_of(a->family);
	m->rtm_dst_len = bytes_of(a->family) * 8;
	m->rtm_table = local ? RT_TABLE_LOCAL : RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = local ? RT_SCOPE_HOST : device->tun ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = local ? RTN_LOCAL : RTN_UNICAST;
	mnl_attr_put(h, RTA_DST, bytes_of(a->family), a->address);
	mnl_attr_put_u32(h, RTA_OIF, local ? LOOPBACK : device->index);
	if (!local && !device->tun) {
		gateway(a->family, a->device, via);
		m->rtm_flags = RTNH_F_ONLINK;
		mnl_attr_put(h, RTA_GATEWAY, bytes_of(a->family), via);
	}
}

/* The loopback addresses are where they are. */
static bool has_route(const struct merlon_ground_address *a)
{
	static const uint8_t loopback6[16] = { [15] = 1 };

	if (a->kind == MERLON_PLACE_NOWHERE || (a->kind == MERLON_PLACE_BEHIND && a->device == MERLON_GROUND_LO))
		return false;
	return a->family == MERLON_IPV4 ? a->address[0] != 127 : memcmp(a->address, loopback6, 16) != 0;
}

int merlon_route_places(struct mnl_socket *route, const struct merlon_ground *ground,
			const struct merlon_ground_address *address, size_t n, bool remove)
{
	static char buffer[BATCH_BYTES];
	struct nlmsghdr *last = NULL;
	size_t used = 0, i;
	int r = 0;

	for (i = 0; i <= n && !r; i++) {
		if (last && (i == n || used + 2 * MESSAGE_MOST > sizeof(buffer))) {
			last->nlmsg_flags |= NLM_F_ACK;
			last->nlmsg_seq = 1;
			r = mnl_socket_sendto(route, buffer, used) < 0 ? -errno : wait_for(route, 1);
			used = 0;
			last = NULL;
			/* named twice; or no address that routes may lead to, the same in both hosts */
			if ((remove && (r == -ESRCH || r == -EADDRNOTAVAIL)) || r == -EINVAL)
				r = 0;
		}
		if (i == n || !has_route(&address[i]))
			continue;
		last = mnl_nlmsg_put_header(buffer + used);
		/* the address's own route is made by a worker of the kernel, later (addrconf_dad_work()) */
		if (address[i].family == MERLON_IPV6 && address[i].kind == MERLON_PLACE_LOCAL) {
			put_address6(last, ground, &address[i], remove);
			used += MNL_ALIGN(last->nlmsg_len);
			last = mnl_nlmsg_put_header(buffer + used);
		}
		put_place(last, ground, &address[i], remove);
		used += MNL_ALIGN(last->nlmsg_len);
	}
	return r;
}
