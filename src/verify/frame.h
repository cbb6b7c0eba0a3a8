/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `merlon verify` plays: a ground (the devices and addresses of the scratch hosts), and segments of frames on it.
 * ground.c and packets*.c make them from a ruleset and a seed; world*.c, run.c play them into two hosts, one with
 * nf_tables and one with merlon, and compare. Both hosts are empty machines: nothing listens, nothing answers by itself but
 * what the filters answer. What a host would say is played as a frame of way MERLON_FRAME_LOCAL.
 */
#ifndef MERLON_VERIFY_FRAME_H
#define MERLON_VERIFY_FRAME_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "bpf/abi.h"
#include "src/model/ruleset.h"

#define MERLON_GROUND_DEVICES 16
#define MERLON_GROUND_LO 0		/* device 0 is the loopback device of the hosts */

struct merlon_ground_device {
	char name[IFNAMSIZ];
	unsigned index;			/* the same in both hosts; where the ruleset names one by index, that one */
	bool tun;			/* packets without Ethernet header; else Ethernet */
	uint8_t mac[6];			/* the host's */
	uint8_t peer_mac[6];		/* of the one gateway behind it; addresses behind it need no resolution */
};

/* Where an address is. Every address that frames carry and that routing asks for is in the list. */
enum merlon_place_kind {
	MERLON_PLACE_LOCAL,		/* the host's own */
	MERLON_PLACE_BEHIND,		/* routed to `device` */
	MERLON_PLACE_NOWHERE,		/* no route */
};
struct merlon_ground_address {
	uint8_t family;			/* enum merlon_family */
	uint8_t kind;
	uint8_t device;			/* index in merlon_ground.device */
	uint8_t address[16];		/* network byte order, IPv4 in the first four */
};

struct merlon_ground {
	struct merlon_ground_device device[MERLON_GROUND_DEVICES];
	unsigned n_devices;
	struct merlon_ground_address *address;	/* owned */
	size_t n_addresses;
};

enum merlon_frame_way {
	MERLON_FRAME_DEVICE,		/* comes in by `device`, which is not lo */
	MERLON_FRAME_LOCAL,		/* sent by the host itself (IP_HDRINCL); `device`: bound to it, MERLON_FRAME_UNBOUND: by route */
};
#define MERLON_FRAME_UNBOUND 0xff

/* Reasons for which the two may differ, as `merlon check` names them (src/model/limits.h); such frames are compared apart. */
enum merlon_frame_limit {
	MERLON_LIMIT_NONE,
	MERLON_LIMIT_FRAGMENTS,		/* fragments out of order or incomplete: at TC they are judged one by one, in nf_tables reassembled */
	MERLON_LIMIT_DCCP,	/* nf_conntrack of older kernels has states of its own for it */
	MERLON_LIMIT_AFTER_ROUTING,	/* the stack answers a forwarded packet before the egress hook sees it */
	MERLON_LIMIT_REJECT_CHECKSUM,	/* a packet with a wrong checksum is rejected: nf_tables does not answer */
	MERLON_LIMIT_STACK_CHECKS,	/* the stack discards the packet before it asks a hook: options, addresses that are no host's */
	MERLON_LIMIT_PARSER,		/* dropped by the parser: ICMP of one byte, more than eight extension headers */
	MERLON_FRAME_LIMITS,
};

struct merlon_frame {
	uint8_t way;			/* enum merlon_frame_way */
	uint8_t device;
	uint8_t limit;			/* enum merlon_frame_limit */
	uint8_t gso_type;		/* VIRTIO_NET_HDR_GSO_* of linux/virtio_net.h, 0: none */
	uint16_t gso_size, header_bytes;	/* as in struct virtio_net_hdr: gso_size, hdr_len */
	uint16_t csum_start, csum_offset;	/* partial checksum (VIRTIO_NET_HDR_F_NEEDS_CSUM), from the start of `data`; 0, 0: none */
	uint32_t bytes;
	uint8_t *data;			/* owned: way DEVICE of Ethernet: from that header on; else from the IP header on */
	const char *note;		/* static: what kind of frame, for reports */
};

/*
 * Frames that depend on each other (connections, rate limits) are within one segment: sessions, conntrack entries and
 * rate limits are fresh when it begins.
 */
struct merlon_segment {
	struct merlon_ground ground;	/* its devices are those of every other segment */
	struct merlon_frame *frame;	/* owned */
	size_t n, room;
};
void merlon_segment_clear(struct merlon_segment *segment);

/* packets.c: the source of segments for one ruleset. The ruleset must outlive it. */
struct merlon_packets;
int merlon_packets_new(const struct merlon_ruleset *ruleset, uint64_t seed, struct merlon_packets **ret);
void merlon_packets_free(struct merlon_packets *packets);
/* The devices that all segments are on; `address` is empty. */
const struct merlon_ground *merlon_packets_devices(const struct merlon_packets *packets);
/* How many of the interfaces that rules name have no device, because there were more of them than room. */
unsigned merlon_packets_left_out(const struct merlon_packets *packets);
/*
 * The next segment, of about `n` frames (some scripts end a little later). First all boundaries of the ruleset, in an
 * order that spreads over rules and chains when `n` in total is too small for all of them; when these are done, random
 * ones without end. 0 or -ENOMEM.
 */
int merlon_packets_next(struct merlon_packets *packets, size_t n, struct merlon_segment *ret);

#endif
