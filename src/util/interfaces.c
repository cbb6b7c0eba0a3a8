/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/interfaces.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/util/netlink.h"

#define TRIES 20

struct list {
	struct merlon_interface *v;
	size_t n;
	int error;
};

static int on_slave_info(const struct nlattr *attribute, void *data)
{
	static const char *const kind[] = { "bridge", "bond", "team" };
	struct merlon_interface *interface = data;
	size_t i;

	if (mnl_attr_get_type(attribute) != IFLA_INFO_SLAVE_KIND)
		return MNL_CB_OK;
	for (i = 0; i < ARRAY_SIZE(kind); i++)
		if (!strcmp(mnl_attr_get_str(attribute), kind[i]))
			interface->port = true;
	return MNL_CB_OK;
}

static int on_attribute(const struct nlattr *attribute, void *data)
{
	struct merlon_interface *interface = data;

	switch (mnl_attr_get_type(attribute)) {
	case IFLA_IFNAME:
		snprintf(interface->name, sizeof(interface->name), "%s", mnl_attr_get_str(attribute));
		break;
	case IFLA_LINKINFO:
		mnl_attr_parse_nested(attribute, on_slave_info, interface);
		break;
	}
	return MNL_CB_OK;
}

int merlon_interface_read(const struct nlmsghdr *header, struct merlon_interface *ret)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);

	*ret = (struct merlon_interface){ .index = info->ifi_index };
	mnl_attr_parse(header, sizeof(*info), on_attribute, ret);
	return ret->name[0] ? 0 : -EPROTO;
}

static int on_link(const struct nlmsghdr *header, void *data)
{
	struct list *list = data;
	struct merlon_interface one, *grown;

	if (merlon_interface_read(header, &one) < 0)
		return MNL_CB_OK;
	grown = reallocarray(list->v, list->n + 1, sizeof(*grown));
	if (!grown) {
		list->error = -ENOMEM;
		return MNL_CB_ERROR;
	}
	list->v = grown;
	list->v[list->n++] = one;
	return MNL_CB_OK;
}

static int by_index(const void *a, const void *b)
{
	const struct merlon_interface *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static int dump(struct mnl_socket *socket, struct list *list)
{
	char buffer[32768];	/* what netlink sends at once, at most (libmnl.h) */
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	ssize_t n = 1;
	int r = MNL_CB_OK;

	header->nlmsg_type = RTM_GETLINK;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(header, sizeof(struct ifinfomsg));
	if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0)
		return -errno;
	while (n > 0 && r > MNL_CB_STOP) {
		n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (n > 0)
			r = mnl_cb_run(buffer, n, 0, mnl_socket_get_portid(socket), on_link, list);
	}
	if (list->error)
		return list->error;
	return n < 0 || r < 0 ? -errno : 0;
}

static int list_once(struct merlon_interface **ret, size_t *ret_n)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct list list = { 0 };
	int r;

	if (!socket)
		return -errno;
	r = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : dump(socket, &list);
	mnl_socket_close(socket);
	if (r < 0) {
		free(list.v);
		return r;
	}
	if (list.n)
		qsort(list.v, list.n, sizeof(*list.v), by_index);
	*ret = list.v;
	*ret_n = list.n;
	return 0;
}

int merlon_interfaces(struct merlon_interface **ret, size_t *ret_n)
{
	int tries, r = -EINTR;

	/* Interfaces came or went while they were listed (NLM_F_DUMP_INTR). */
	for (tries = 0; r == -EINTR && tries < TRIES; tries++)
		r = list_once(ret, ret_n);
	return r;
}

static int on_counts(const struct nlmsghdr *header, void *data)
{
	struct merlon_attributes a = { 0 };
	struct rtnl_link_stats64 counts = { 0 };
	size_t bytes;

	mnl_attr_parse(header, sizeof(struct ifinfomsg), merlon_on_attribute, &a);
	if (!a.at[IFLA_STATS64]) {
		errno = EPROTO;
		return MNL_CB_ERROR;
	}
	/* it grows at the end with the kernel */
	bytes = mnl_attr_get_payload_len(a.at[IFLA_STATS64]);
	memcpy(&counts, mnl_attr_get_payload(a.at[IFLA_STATS64]), bytes < sizeof(counts) ? bytes : sizeof(counts));
	*(struct rtnl_link_stats64 *)data = counts;
	return MNL_CB_OK;
}

int merlon_interface_counts(unsigned index, struct rtnl_link_stats64 *ret)
{
	char buffer[64] __attribute__((aligned(MNL_ALIGNTO)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *which;

	request->nlmsg_type = RTM_GETLINK;
	which = mnl_nlmsg_put_extra_header(request, sizeof(*which));
	which->ifi_index = index;
	return merlon_netlink_exchange(NETLINK_ROUTE, request, false, on_counts, ret);
}
