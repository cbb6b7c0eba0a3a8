/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The answer to a rejected packet, as net/ipv4/netfilter/nf_reject_ipv4.c and its IPv6 twin would send it. */
#ifndef MERLON_KERNEL_REJECT_H
#define MERLON_KERNEL_REJECT_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi.h"

/* Which socket sends it. */
enum merlon_answer_kind {
	MERLON_ANSWER_IPV4,	/* whole packet; the kernel fills in source 0, identification and header checksum */
	MERLON_ANSWER_IPV6,	/* whole packet */
	MERLON_ANSWER_ICMPV6,	/* from the ICMPv6 header on; the kernel chooses the source and does the checksum */
};

struct merlon_answer {
	enum merlon_answer_kind kind;
	size_t bytes;
	union {
		struct in_addr to4;
		struct in6_addr to6;
	};
	unsigned scope;		/* interface of a link-local `to6`, 0: none */
	uint8_t packet[1280] __attribute__((aligned(4)));
};

struct merlon_reject_limits {
	uint8_t ttl, hop_limit;		/* of new packets */
};

/* 0; -EINVAL: no answer may be given to such a packet. */
int merlon_reject_build(const struct merlon_reject_event *event, const struct merlon_reject_limits *limits,
			struct merlon_answer *ret);

/* As they stand in a header (network byte order), which has 0 there meanwhile. `addresses`: both, `bytes` of them together. */
uint16_t merlon_checksum(const void *data, size_t bytes);
uint16_t merlon_transport_checksum(const void *addresses, size_t bytes, uint8_t protocol, const void *l4, size_t l4_bytes);

#endif
