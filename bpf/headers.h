/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of a packet by its headers. Offsets count from the network header.
 */
#ifndef MERLON_HEADERS_H
#define MERLON_HEADERS_H

#include "bpf/abi.h"
#include "bpf/env.h"
#include "bpf/sctp.h"
#include "bpf/tcp.h"

#define MERLON_IPV4_BYTES 20
#define MERLON_IPV4_MAX_BYTES 60
#define MERLON_IPV6_BYTES 40
#define MERLON_TCP_BYTES 20
#define MERLON_UDP_BYTES 8
#define MERLON_ICMP_BYTES 8
#define MERLON_GRE_PPP 0x880b	/* protocol type, RFC 2637 4.1 */

#define MERLON_IP_MF 0x2000	/* RFC 791 3.1: more fragments; the low 13 bits are the offset */
#define MERLON_IP_OFFSET 0x1fff

/* Protocol numbers; names of their own, because linux/in.h and netinet/in.h do not go together. */
enum merlon_protocol {
	MERLON_PROTO_HOPOPTS = 0,
	MERLON_PROTO_ICMP = 1,
	MERLON_PROTO_TCP = 6,
	MERLON_PROTO_UDP = 17,
	MERLON_PROTO_DCCP = 33,
	MERLON_PROTO_ROUTING = 43,
	MERLON_PROTO_FRAGMENT = 44,
	MERLON_PROTO_GRE = 47,
	MERLON_PROTO_ESP = 50,
	MERLON_PROTO_AH = 51,
	MERLON_PROTO_ICMPV6 = 58,
	MERLON_PROTO_NONE = 59,
	MERLON_PROTO_DSTOPTS = 60,
	MERLON_PROTO_SCTP = 132,
	MERLON_PROTO_UDPLITE = 136,
};

/* What is known of a packet, merlon_headers.flags. */
#define MERLON_H_NO_L4		0x01	/* the chain of headers breaks off: rules see no protocol (nft_pktinfo "unspec") */
#define MERLON_H_FIRST		0x02	/* first fragment of several */
#define MERLON_H_LATER		0x04	/* another one: no transport header */
#define MERLON_H_UNTRACKABLE	0x08	/* nf_conntrack finds no protocol in it */
#define MERLON_H_CHECKSUM	0x10	/* the checksum of the IPv4 header is wrong */
#define MERLON_H_BROKEN		0x20	/* IPv6 extension headers break off, and none before was a routing header */
#define MERLON_H_GENERIC	0x40	/* this kernel has no tracker of its own for the protocol: it has no ports, no state */
#define MERLON_H_LAST		0x80	/* of later fragments: the one that ends the datagram */

/* Of the options of a TCP header (RFC 9293 3.1), what the tracker looks at. */
struct merlon_tcp_options {
	__u8 flags;			/* MERLON_TCP_OPTIONS, MERLON_TCP_SCALES, MERLON_TCP_SACKS */
	__u8 scale;
	__u8 blocks;			/* of the first SACK option; their right edges: */
	__u8 blocks_at;
	__u32 edge[4];
	__u32 at;
};

struct merlon_headers {
	__be32 saddr[4], daddr[4];	/* IPv4 in [0] */
	__be32 fragment_id;
	__u32 fragment_offset;		/* where a fragment's data belongs in the datagram, in bytes, */
	__u32 fragment_bytes;		/* and how much it is */
	__u32 bytes;			/* of the IP packet */
	__u32 l4_offset, l4_bytes;	/* what rules call the transport header */
	__u32 ct_offset, ct_bytes;	/* what the tracker does: behind an IPv6 authentication header, too */
	__u32 seq, ack;
	__be16 sport, dport;		/* bytes 0-1 and 2-3 at ct_offset */
	__be16 id;			/* ICMP: bytes 4-5 */
	__be16 bytes67;			/* UDP: its checksum; enhanced GRE: call ID (RFC 2637 4.1) */
	__u16 udp_bytes;		/* UDP: as its header says */
	__u16 th0, th2;			/* host order, at l4_offset */
	__u8 l4proto;			/* for rules */
	__u8 ct_proto;			/* for the tracker */
	__u8 family;
	__u8 flags;
	__u8 tcp_flags;
	__u8 tcp_header;		/* bytes by its data offset */
	struct merlon_tcp_options options;
	struct merlon_sctp_chunks sctp;
	__u16 window;			/* TCP: as its header says */
	__u8 ttl, tos, nexthdr;
	__u8 th_bytes;			/* of the transport header that rules can read: 0, 2, 4 or 20 */
	__u8 has_routing;		/* there is an IPv6 routing header; its type: */
	__u8 rt_type;
};

merlon_inline int merlon_has_ports(__u8 proto)
{
	return proto == MERLON_PROTO_TCP || proto == MERLON_PROTO_UDP || proto == MERLON_PROTO_UDPLITE || proto == MERLON_PROTO_SCTP ||
	       proto == MERLON_PROTO_DCCP;
}

merlon_inline int merlon_is_icmp(__u8 proto)
{
	return proto == MERLON_PROTO_ICMP || proto == MERLON_PROTO_ICMPV6;
}

#endif
