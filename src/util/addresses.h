/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the caller's namespace takes for its own: the entries of the routing table `local`, which the kernel fills from
 * the addresses of the interfaces (broadcast addresses too) and administrators from `ip route add local`.
 */
#ifndef MERLON_UTIL_ADDRESSES_H
#define MERLON_UTIL_ADDRESSES_H

#include <stddef.h>
#include <stdint.h>

struct merlon_address {
	uint8_t family;		/* AF_INET, AF_INET6 */
	uint8_t bits;		/* length of the prefix */
	uint8_t type;		/* RTN_* of linux/rtnetlink.h */
	uint8_t address[16];	/* network byte order; IPv4 in the first four */
	unsigned ifindex;	/* 0: none */
};

/*
 * Sorted by family, address, bits, so that equal tables give equal lists. Of several entries for one prefix the first is
 * the one that the kernel goes by: by metric, then as they were added. *ret is the caller's to free and never NULL.
 * 0 or a negative errno.
 */
int merlon_addresses(struct merlon_address **ret, size_t *ret_n);

#endif
