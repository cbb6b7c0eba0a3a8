/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MERLON_UTIL_NETLINK_H
#define MERLON_UTIL_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Sends a request on a socket of its own and hands all answers to `on_message`, which may end it with MNL_CB_STOP, or with
 * MNL_CB_ERROR and errno. 0 or a negative errno; -EINTR: what was dumped changed meanwhile. `strict`: the kernel filters
 * by the request's header (Linux 4.20).
 */
int merlon_netlink_exchange(int protocol, struct nlmsghdr *request, bool strict, mnl_cb_t on_message, void *context);
/* Whether an error only says that this kernel has no such thing. */
bool merlon_netlink_is_absent(int error);

#define MERLON_ATTRIBUTES 32

/* Attributes of a message or a nest by their numbers; NULL: not there. Those of higher numbers are left out. */
struct merlon_attributes {
	const struct nlattr *at[MERLON_ATTRIBUTES];
};
/* For mnl_attr_parse() and mnl_attr_parse_nested(): `data` is a struct merlon_attributes, of zeroes. */
int merlon_on_attribute(const struct nlattr *attribute, void *data);
/* One attribute of a message of nfnetlink; NULL: it has none of this number. */
const struct nlattr *merlon_nfnl_attribute(const struct nlmsghdr *message, uint16_t type);
/* The same of one in a nest, which may be NULL. */
const struct nlattr *merlon_nested_attribute(const struct nlattr *nest, uint16_t type);
/* Of a number in network byte order; `otherwise` where there is none of that size. */
uint32_t merlon_attribute_u32(const struct merlon_attributes *a, unsigned type, uint32_t otherwise);

#endif
