/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "src/util/cleanup.h"

#define RECEIVE_BUFFER (1 << 16)	/* the kernel fills dump messages of up to 32 KiB (net/netlink/af_netlink.c) */

static int exchange(struct mnl_socket *netlink, struct nlmsghdr *request, mnl_cb_t on_message, void *context)
{
	_cleanup_free_ char *buffer = malloc(RECEIVE_BUFFER);
	int r = MNL_CB_OK;

	if (!buffer)
		return -ENOMEM;
	request->nlmsg_flags |= NLM_F_REQUEST;
	request->nlmsg_seq = 1;
	if (mnl_socket_sendto(netlink, request, request->nlmsg_len) < 0)
		return -errno;
	while (r > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(netlink, buffer, RECEIVE_BUFFER);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buffer, n, 1, mnl_socket_get_portid(netlink), on_message, context);
		if (r < 0)
			return -errno;
		if (!(request->nlmsg_flags & NLM_F_DUMP))
			break;
	}
	return 0;
}

int merlon_netlink_exchange(int protocol, struct nlmsghdr *request, bool strict, mnl_cb_t on_message, void *context)
{
	/* One that is given up half way leaves nothing behind. */
	struct mnl_socket *netlink = mnl_socket_open2(protocol, SOCK_CLOEXEC);
	int on = 1, r;

	if (!netlink)
		return -errno;
	r = mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
	if (r == 0 && strict && mnl_socket_setsockopt(netlink, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) < 0)
		r = -errno;
	if (r == 0)
		r = exchange(netlink, request, on_message, context);
	mnl_socket_close(netlink);
	return r;
}

bool merlon_netlink_is_absent(int error)
{
	/* Not -EINVAL: a question that this kernel does not understand has not been answered. */
	return error == -EPROTONOSUPPORT || error == -EOPNOTSUPP || error == -EAFNOSUPPORT || error == -ENOENT ||
	       error == -ENOPROTOOPT;
}

int merlon_on_attribute(const struct nlattr *attribute, void *data)
{
	struct merlon_attributes *a = data;

	if (mnl_attr_get_type(attribute) < MERLON_ATTRIBUTES)
		a->at[mnl_attr_get_type(attribute)] = attribute;
	return MNL_CB_OK;
}

uint32_t merlon_attribute_u32(const struct merlon_attributes *a, unsigned type, uint32_t otherwise)
{
	if (!a->at[type] || mnl_attr_validate(a->at[type], MNL_TYPE_U32) < 0)
		return otherwise;
	return ntohl(mnl_attr_get_u32(a->at[type]));
}

const struct nlattr *merlon_nfnl_attribute(const struct nlmsghdr *message, uint16_t type)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, message, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(attr) == type)
			return attr;
	return NULL;
}

const struct nlattr *merlon_nested_attribute(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *attr;

	if (nest)
		mnl_attr_for_each_nested(attr, nest)
			if (mnl_attr_get_type(attr) == type)
				return attr;
	return NULL;
}
