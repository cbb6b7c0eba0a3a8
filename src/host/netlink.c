/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/netlink.h>

#include "src/host/internal.h"

#define TRIES 5		/* a table that changes while it is dumped */

int merlon_host_dump_route(uint16_t type, uint8_t family, size_t bytes, bool strict, void (*begin)(void *context),
			   mnl_cb_t on_message, void *context)
{
	char buffer[256] __attribute__((aligned(MNL_ALIGNTO)));
	int tries, r = -EINTR;

	for (tries = 0; r == -EINTR && tries < TRIES; tries++) {
		struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
		uint8_t *header = mnl_nlmsg_put_extra_header(request, bytes);

		request->nlmsg_type = type;
		request->nlmsg_flags = NLM_F_DUMP;
		*header = family;
		if (begin)
			begin(context);
		r = merlon_netlink_exchange(NETLINK_ROUTE, request, strict, on_message, context);
	}
	return r < 0 && merlon_netlink_is_absent(r) ? 0 : r;
}
