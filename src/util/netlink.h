/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MERLON_UTIL_NETLINK_H
#define MERLON_UTIL_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>

/*
 * Sends a request on a socket of its own and hands all answers to `on_message`, which may end it with MNL_CB_STOP, or with
 * MNL_CB_ERROR and errno. 0 or a negative errno; -EINTR: what was dumped changed meanwhile. `strict`: the kernel filters
 * by the request's header (Linux 4.20).
 */
int merlon_netlink_exchange(int protocol, struct nlmsghdr *request, bool strict, mnl_cb_t on_message, void *context);
/* Whether an error only says that this kernel has no such thing. */
bool merlon_netlink_is_absent(int error);

#endif
