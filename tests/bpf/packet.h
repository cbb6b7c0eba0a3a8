/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames for tests: Ethernet, IPv4 or IPv6, and a transport header, with right lengths and header checksums. */
#ifndef TESTS_BPF_PACKET_H
#define TESTS_BPF_PACKET_H

#include <arpa/inet.h>
#include <linux/types.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ETH 14
#define FRAME_MAX 2048

enum { F_FIN = 1, F_SYN = 2, F_RST = 4, F_PSH = 8, F_ACK = 16, F_URG = 32 };

struct frame {
	uint8_t data[FRAME_MAX];
	size_t bytes;
	size_t l4;		/* offset of the transport header in data */
	int v6;
};

/* The two ends of a flow; addresses as text, family by the colon. */
struct flow {
	const char *saddr, *daddr;
	uint16_t sport, dport;
};

static inline struct flow reversed(const struct flow *flow)
{
	return (struct flow){ flow->daddr, flow->saddr, flow->dport, flow->sport };
}

static inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v & 0xff;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static inline void frame_checksum(struct frame *f)
{
	uint8_t *ip = f->data + ETH;
	unsigned bytes = (ip[0] & 15) * 4U;
	uint32_t sum = 0;

	if (f->v6)
		return;
	put16(ip + 10, 0);
	for (unsigned i = 0; i < bytes; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~sum & 0xffff);
}

/* After a change of the packet's size: the lengths in its headers. */
static inline void frame_length(struct frame *f, size_t bytes)
{
	f->bytes = bytes;
	if (f->v6)
		put16(f->data + ETH + 4, bytes - ETH - 40);
	else
		put16(f->data + ETH + 2, bytes - ETH);
	frame_checksum(f);
}

static inline struct frame frame_ip(const struct flow *flow, uint8_t proto, size_t payload)
{
	struct frame f = { .v6 = !!strchr(flow->saddr, ':') };
	uint8_t *ip = f.data + ETH;

	memcpy(f.data, "\x02\0\0\0\0\x01\x02\0\0\0\0\x09", 12);
	put16(f.data + 12, f.v6 ? 0x86dd : 0x0800);
	if (f.v6) {
		ip[0] = 0x60;
		ip[6] = proto;
		ip[7] = 64;
		if (inet_pton(AF_INET6, flow->saddr, ip + 8) != 1 || inet_pton(AF_INET6, flow->daddr, ip + 24) != 1)
			abort();
	} else {
		ip[0] = 0x45;
		ip[8] = 64;
		ip[9] = proto;
		if (inet_pton(AF_INET, flow->saddr, ip + 12) != 1 || inet_pton(AF_INET, flow->daddr, ip + 16) != 1)
			abort();
	}
	f.l4 = ETH + (f.v6 ? 40 : 20);
	frame_length(&f, f.l4 + payload);
	return f;
}

static inline struct frame frame_tcp(const struct flow *flow, uint8_t flags, size_t payload)
{
	struct frame f = frame_ip(flow, 6, 20 + payload);

	put16(f.data + f.l4, flow->sport);
	put16(f.data + f.l4 + 2, flow->dport);
	f.data[f.l4 + 12] = 5 << 4;
	f.data[f.l4 + 13] = flags;
	put16(f.data + f.l4 + 14, 1024);
	return f;
}

static inline struct frame frame_udp(const struct flow *flow, size_t payload)
{
	struct frame f = frame_ip(flow, 17, 8 + payload);

	put16(f.data + f.l4, flow->sport);
	put16(f.data + f.l4 + 2, flow->dport);
	put16(f.data + f.l4 + 4, 8 + payload);
	return f;
}

/* sport of the flow is the identifier. */
static inline struct frame frame_icmp(const struct flow *flow, uint8_t type, uint8_t code, size_t payload)
{
	struct frame f = frame_ip(flow, strchr(flow->saddr, ':') ? 58 : 1, 8 + payload);

	f.data[f.l4] = type;
	f.data[f.l4 + 1] = code;
	put16(f.data + f.l4 + 4, flow->sport);
	return f;
}

static inline uint32_t frame_add(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum of the pseudo header, for a transport of this protocol from l4 to the frame's end. */
static inline uint32_t frame_pseudo(const struct frame *f, uint8_t proto)
{
	return frame_add(f->data + ETH + (f->v6 ? 8 : 12), f->v6 ? 32 : 8, proto + (uint32_t)(f->bytes - f->l4));
}

/*
 * The right checksum into the transport header, `at` bytes from its start: of `covered` bytes and of what `sum` holds
 * already (frame_pseudo(), or 0).
 */
static inline void frame_sum(struct frame *f, size_t at, size_t covered, uint32_t sum)
{
	uint8_t *field = f->data + f->l4 + at;

	put16(field, 0);
	put16(field, ~frame_add(f->data + f->l4, covered, sum) & 0xffff);
}

/* Where the checksum is in a header of this protocol; 0: nowhere. */
static inline size_t frame_sum_at(uint8_t proto)
{
	return proto == 6 ? 16 : proto == 17 || proto == 136 ? 6 : proto == 1 || proto == 58 ? 2 : 0;
}

/* Of TCP, UDP, ICMP and ICMPv6. */
static inline void frame_transport_sum(struct frame *f, uint8_t proto)
{
	size_t at = frame_sum_at(proto);

	if (at && f->bytes >= f->l4 + at + 2)
		frame_sum(f, at, f->bytes - f->l4, proto == 1 ? 0 : frame_pseudo(f, proto));
}

/* An ICMP error that quotes the first bytes of another packet. */
static inline struct frame frame_error(const struct flow *flow, uint8_t type, const struct frame *inner, size_t quoted)
{
	struct frame f = frame_icmp(flow, type, 0, quoted);

	memcpy(f.data + f.l4 + 8, inner->data + ETH, quoted);
	put16(f.data + f.l4 + 4, 0);
	return f;
}

/* Puts bytes between the IP header and what follows: options, or an extension header. */
static inline void frame_insert(struct frame *f, const void *bytes, size_t n)
{
	memmove(f->data + f->l4 + n, f->data + f->l4, f->bytes - f->l4);
	memcpy(f->data + f->l4, bytes, n);
	f->l4 += n;
	frame_length(f, f->bytes + n);
}

#endif
