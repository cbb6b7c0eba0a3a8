/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network interfaces of the caller's namespace. */
#ifndef MERLON_UTIL_INTERFACES_H
#define MERLON_UTIL_INTERFACES_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct merlon_interface {
	unsigned index;
	char name[IFNAMSIZ];
	bool port;	/* of a bridge, bond or team, which receives and sends what it carries in its own name */
};

struct nlmsghdr;
/* Reads an RTM_NEWLINK or RTM_DELLINK message. 0, or -EPROTO: it names no interface. */
int merlon_interface_read(const struct nlmsghdr *header, struct merlon_interface *ret);

/* All of them, in the order of their indexes; *ret is the caller's to free. 0 or a negative errno. */
int merlon_interfaces(struct merlon_interface **ret, size_t *ret_n);

/* What the kernel counts on an interface. 0; -ENODEV: there is none of this index; or another error. */
struct rtnl_link_stats64;
int merlon_interface_counts(unsigned index, struct rtnl_link_stats64 *ret);

#endif
