/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which way the kernel would route a packet of the caller's namespace. */
#ifndef MERLON_UTIL_ROUTE_H
#define MERLON_UTIL_ROUTE_H

#include <stdint.h>

struct merlon_route_query {
	uint8_t family;			/* AF_INET, AF_INET6 */
	const uint8_t *saddr, *daddr;	/* network byte order; saddr NULL: not chosen yet */
	unsigned iif;			/* where it comes in; 0: this host sends it */
	unsigned oif;			/* this host sends it, bound to an interface; 0: it is not */
	uint32_t mark;
	uint8_t tos;
	uint8_t proto;			/* for rules that look at it (TCP, UDP, ICMP, ICMPv6); others are left out */
	uint16_t sport, dport;
};

struct merlon_route {
	uint8_t type;			/* RTN_* of linux/rtnetlink.h */
	unsigned oif;			/* 0: none */
};

/*
 * 0, or a negative errno: -ENETUNREACH, -EHOSTUNREACH, -EACCES, -EINVAL (prohibiting route, or none), -EXDEV, -EINVAL (a
 * source that must not come from there).
 */
int merlon_route_get(const struct merlon_route_query *query, struct merlon_route *ret);

#endif
