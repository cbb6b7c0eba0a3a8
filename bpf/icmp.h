/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What nf_conntrack makes of ICMP and ICMPv6 types (net/netfilter/nf_conntrack_proto_icmp.c and _icmpv6.c of Linux
 * 6.18): questions with answers are tracked, errors belong to the packet that they quote, neighbour discovery and
 * multicast listener discovery are not tracked, the rest is invalid.
 */
#ifndef MERLON_ICMP_H
#define MERLON_ICMP_H

#include "bpf/abi.h"
#include "bpf/env.h"

enum merlon_icmp_class {
	MERLON_ICMP_OTHER,	/* invalid */
	MERLON_ICMP_REQUEST,
	MERLON_ICMP_REPLY,
	MERLON_ICMP_ERROR,
	MERLON_ICMP_REDIRECT,	/* of IPv6: an option quotes the packet */
	MERLON_ICMP_UNTRACKED,
};

#define MERLON_ICMP4_ERRORS (1U << 3 | 1U << 4 | 1U << 5 | 1U << 11 | 1U << 12)
#define MERLON_ICMP4_REQUESTS (1U << 8 | 1U << 13 | 1U << 15 | 1U << 17)
#define MERLON_ICMP4_REPLIES (1U << 0 | 1U << 14 | 1U << 16 | 1U << 18)

merlon_inline __u8 merlon_icmp4_class(__u8 type)
{
	__u32 bit = type < 32 ? 1U << type : 0;

	if (bit & MERLON_ICMP4_ERRORS)
		return MERLON_ICMP_ERROR;
	if (bit & MERLON_ICMP4_REQUESTS)
		return MERLON_ICMP_REQUEST;
	return bit & MERLON_ICMP4_REPLIES ? MERLON_ICMP_REPLY : MERLON_ICMP_OTHER;
}

/* Multicast router discovery (RFC 4286): untracked since Linux 6.10; before, the data path makes it untrackable. */
merlon_inline int merlon_icmp6_is_mrdisc(__u8 type)
{
	return type == 151 || type == 152;
}

merlon_inline __u8 merlon_icmp6_class(__u8 type)
{
	if (type < 128)
		return MERLON_ICMP_ERROR;
	if ((type >= 130 && type <= 136) || type == 143 || merlon_icmp6_is_mrdisc(type))
		return MERLON_ICMP_UNTRACKED;
	if (type == 137)
		return MERLON_ICMP_REDIRECT;
	if (type == 128 || type == 139)
		return MERLON_ICMP_REQUEST;
	return type == 129 || type == 140 ? MERLON_ICMP_REPLY : MERLON_ICMP_OTHER;
}

/* The type that a reply answers. */
merlon_inline __u8 merlon_icmp_request_of(__u8 family, __u8 reply)
{
	if (family == MERLON_IPV4)
		return reply ? reply - 1 : 8;
	return reply - 1;
}

#endif
