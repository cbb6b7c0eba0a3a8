/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What kind of address the kernel takes an address for, as `fib saddr type` of nft and `addrtype` of iptables ask it.
 * IPv4: __inet_dev_addr_type() of net/ipv4/fib_frontend.c. IPv6: nft_fib6_eval_type() of net/ipv6/netfilter/nft_fib_ipv6.c.
 */
#ifndef MERLON_MODEL_ADDRTYPE_H
#define MERLON_MODEL_ADDRTYPE_H

#include "bpf/abi.h"
#include "src/model/intervals.h"
#include "src/util/addresses.h"

/*
 * The addresses of a family that have one of `types` (1 << RTN_LOCAL and so on). `address`: the routing table `local`;
 * of two entries for one prefix the first counts. *ret is overwritten and must not own anything. 0, -ENOMEM, or
 * -ERANGE: IPv6, and the answer is in other routing tables. There, table `local` tells LOCAL and MULTICAST from the
 * rest, but not the types of the rest from each other: the first address of each connected subnet is ANYCAST.
 *
 * IPv4: as long as there are no `ip rule`s of the administrator's, table `main` is searched together with `local`, and
 * a route in it that is more specific than a local prefix makes addresses UNICAST: enter it in the list as RTN_UNICAST.
 */
int merlon_addrtype(const struct merlon_address *address, size_t n, enum merlon_family family, uint32_t types,
		    struct merlon_intervals *ret);

#endif
