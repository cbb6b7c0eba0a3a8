/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/addresses.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"

#define TRIES 20

struct route {
	struct merlon_address address;
	uint32_t table;
	size_t place;	/* in the kernel's list */
};

struct list {
	struct route *v;
	size_t n;
	int error;
};

static int on_attribute(const struct nlattr *attribute, void *data)
{
	struct route *route = data;
	size_t len = mnl_attr_get_payload_len(attribute);

	switch (mnl_attr_get_type(attribute)) {
	case RTA_TABLE:
		route->table = mnl_attr_get_u32(attribute);
		break;
	case RTA_OIF:
		route->address.ifindex = mnl_attr_get_u32(attribute);
		break;
	case RTA_DST:
		if (len <= sizeof(route->address.address))
			memcpy(route->address.address, mnl_attr_get_payload(attribute), len);
		break;
	}
	return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *header, void *data)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	struct list *list = data;
	struct route *grown, route = { .table = message->rtm_table, .place = list->n };

	route.address.family = message->rtm_family;
	route.address.bits = message->rtm_dst_len;
	route.address.type = message->rtm_type;
	mnl_attr_parse(header, sizeof(*message), on_attribute, &route);
	/* clones are what was looked up, not what is configured; not every kernel filters by table */
	if (route.table != RT_TABLE_LOCAL || message->rtm_flags & RTM_F_CLONED)
		return MNL_CB_OK;
	/* the type of an address is asked for without a TOS (inet_addr_type() of net/ipv4/fib_frontend.c) */
	if (message->rtm_tos)
		return MNL_CB_OK;
	if ((list->n & (list->n - 1)) == 0) {
		grown = reallocarray(list->v, list->n ? list->n * 2 : 1, sizeof(*grown));
		if (!grown) {
			list->error = -ENOMEM;
			return MNL_CB_ERROR;
		}
		list->v = grown;
	}
	list->v[list->n++] = route;
	return MNL_CB_OK;
}

static int dump(struct mnl_socket *socket, uint8_t family, struct list *list)
{
	char buffer[32768];	/* what netlink sends at once, at most (libmnl.h) */
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	struct rtmsg *message;
	ssize_t n = 1;
	int r = MNL_CB_OK;

	header->nlmsg_type = RTM_GETROUTE;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	message->rtm_family = family;
	message->rtm_table = RT_TABLE_LOCAL;
	if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0)
		return -errno;
	while (n > 0 && r > MNL_CB_STOP) {
		n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (n > 0)
			r = mnl_cb_run(buffer, n, 0, mnl_socket_get_portid(socket), on_route, list);
	}
	if (list->error)
		return list->error;
	/* no such table: the family is off, or nothing is up yet */
	if (n < 0 || r < 0)
		return errno == ENOENT || errno == EAFNOSUPPORT ? 0 : -errno;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct route *p = a, *q = b;
	const struct merlon_address *x = &p->address, *y = &q->address;
	int r = memcmp(x->address, y->address, sizeof(x->address));

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (r)
		return r;
	if (x->bits != y->bits)
		return x->bits < y->bits ? -1 : 1;
	return p->place < q->place ? -1 : p->place > q->place;
}

static int list_once(struct merlon_address **ret, size_t *ret_n)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct merlon_address *sorted;
	struct list list = { 0 };
	int r, on = 1;

	if (!socket)
		return -errno;
	/* the kernel then looks at the table asked for: the others may hold a million routes */
	mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	r = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : dump(socket, AF_INET, &list);
	if (r == 0)
		r = dump(socket, AF_INET6, &list);
	mnl_socket_close(socket);
	sorted = r < 0 ? NULL : calloc(list.n + 1, sizeof(*sorted));
	if (sorted) {
		if (list.n)
			qsort(list.v, list.n, sizeof(*list.v), by_address);
		for (size_t i = 0; i < list.n; i++)
			sorted[i] = list.v[i].address;
		*ret = sorted;
		*ret_n = list.n;
	}
	free(list.v);
	return r < 0 ? r : sorted ? 0 : -ENOMEM;
}

int merlon_addresses(struct merlon_address **ret, size_t *ret_n)
{
	int tries, r = -EINTR;

	/* Routes came or went while they were listed (NLM_F_DUMP_INTR). */
	for (tries = 0; r == -EINTR && tries < TRIES; tries++)
		r = list_once(ret, ret_n);
	return r;
}
