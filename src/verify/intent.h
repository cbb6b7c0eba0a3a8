/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One packet as it is meant to be seen at a hook, and its bytes. */
#ifndef MERLON_VERIFY_INTENT_H
#define MERLON_VERIFY_INTENT_H

#include <stddef.h>

#include "src/model/naive.h"
#include "src/verify/frame.h"

#define MERLON_NO_DEVICE 0xff
#define MERLON_IP_ROOM 65536	/* bytes of the longest packet */
#define MERLON_MTU 1500

enum { MERLON_SOURCE, MERLON_DESTINATION };

struct merlon_intent {
	uint8_t family;			/* enum merlon_family */
	uint8_t hook;			/* enum merlon_hook */
	uint8_t in, out;		/* devices of the ground, MERLON_NO_DEVICE: none at this hook */
	uint8_t address[2][16];		/* network byte order, IPv4 in the first four */
	uint8_t l4proto;
	uint8_t tcp_flags;
	uint8_t ttl, tos;		/* TTL as the hook sees it: at FORWARD one less than on the wire */
	uint8_t nexthdr;		/* IPv6: 1 + the protocol of an extension header to put before the transport; 0: none */
	uint8_t rt_type;		/* of that header, if it is a routing header */
	uint8_t pkttype;		/* PACKET_* of linux/if_packet.h */
	uint8_t state, direction;	/* what the flow makes of it: enum merlon_ct_state, merlon_direction */
	bool own_source;		/* INPUT, FORWARD: a sender elsewhere took one of the host's addresses */
	bool bound;			/* OUTPUT: leaves by `out` whatever the route is */
	bool has_ether;			/* `ether` is the sender's, else the gateway's */
	uint8_t ether[6];
	uint16_t th0, th2;		/* bytes 0-1 and 2-3 of the transport header */
	uint32_t bytes;			/* length of the IP packet; 0: as its headers need */
};

/* What the bytes of a packet have beyond its intent. All zero is plain. */
#define MERLON_WINDOW 29200	/* of every TCP segment, not scaled */

struct merlon_details {
	uint32_t seq, ack;
	uint16_t id, sequence;		/* ICMP echo */
	uint16_t fragment;		/* IPv4: flags and offset; 0: DF */
	uint16_t ip_id;
	const uint8_t *body;		/* behind the transport header; NULL: a pattern */
	size_t n_body;
	const uint8_t *options;		/* IPv4 options, a multiple of 4 bytes; IPv6: extension headers, the last one names the transport */
	size_t n_options;
	uint8_t first;			/* IPv6 with options: the first one's protocol */
	uint16_t wrong;			/* added to the transport checksum */
	bool may_fragment;		/* IPv4: no DF where `fragment` is 0 */
};

/*
 * Writes the packet from the IP header on, checksums right, into `ret` (MERLON_IP_ROOM bytes); returns its length.
 * Payload of unknown protocols is such that its sum is right, too: nf_reject_verify_csum() asks.
 */
size_t merlon_intent_build(const struct merlon_intent *intent, const struct merlon_details *details, uint8_t *ret);
/* Where the transport header of a built packet without extension headers begins. */
size_t merlon_intent_head(const struct merlon_intent *intent);
/* Bytes of the shortest packet of this protocol, from the IP header on. */
size_t merlon_intent_least(const struct merlon_intent *intent);

/* Puts the checksums of a changed packet right again: of the IPv4 header, of the transport at `at` up to `n`. */
void merlon_seal_header(uint8_t *ip);
void merlon_seal_transport(uint8_t *ip, size_t at, size_t n, uint8_t l4proto);
uint16_t merlon_sum(const uint8_t *data, size_t n, uint32_t sum);
/* The sum over the pseudo header, for merlon_sum(). */
uint32_t merlon_pseudo_sum(const uint8_t *ip, size_t n, uint8_t l4proto);
/* Whether the transport's checksum field is within `n` bytes of it; protocols without one: whether the sum can be right. */
bool merlon_has_checksum(uint8_t l4proto, size_t n);

/* The answer's intent: ends, ports and interfaces change places, and so does the hook. ICMP echo becomes the reply. */
struct merlon_intent merlon_intent_reverse(const struct merlon_intent *intent);

/* As rules see it. `mark` is 0. */
void merlon_intent_packet(const struct merlon_intent *intent, const struct merlon_ground *devices, struct merlon_packet *ret);

static inline merlon_value merlon_address_value(const uint8_t *address, uint8_t family)
{
	merlon_value v = 0;

	for (int i = 0; i < (family == MERLON_IPV4 ? 4 : 16); i++)
		v = v << 8 | address[i];
	return v;
}

static inline void merlon_address_bytes(merlon_value v, uint8_t family, uint8_t ret[16])
{
	for (int i = 0; i < 16; i++)
		ret[i] = 0;
	for (int i = (family == MERLON_IPV4 ? 4 : 16) - 1; i >= 0; i--, v >>= 8)
		ret[i] = v & 0xff;
}

/* What an address is by itself, wherever it is. */
enum merlon_address_kind {
	MERLON_ADDRESS_UNICAST,		/* can be given to a host and routed */
	MERLON_ADDRESS_LOOPBACK,	/* every host's own */
	MERLON_ADDRESS_MULTICAST,
	MERLON_ADDRESS_BROADCAST,	/* 255.255.255.255 */
	MERLON_ADDRESS_LINK,		/* fe80::/10: not routed */
	MERLON_ADDRESS_SPECIAL,		/* unspecified, class E, mapped: no host's */
};
enum merlon_address_kind merlon_address_kind(const uint8_t *address, uint8_t family);

static inline bool merlon_is_icmp_protocol(uint8_t l4proto)
{
	return l4proto == 1 || l4proto == 58;
}
/* Protocols that nf_conntrack tracks by ports. */
static inline bool merlon_has_ports_protocol(uint8_t l4proto)
{
	return l4proto == 6 || l4proto == 17 || l4proto == 33 || l4proto == 132 || l4proto == 136;
}

#endif
