/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/intent.h"

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <string.h>

#include "bpf/crc32c.h"
#include "bpf/sctp.h"

#define IPPROTO_DCCP_ 33
#define TCP_ACK 0x10
#define BODY_BYTES 24

static void put16(uint8_t *p, unsigned v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

uint16_t merlon_sum(const uint8_t *data, size_t n, uint32_t sum)
{
	uint64_t total = sum;

	for (size_t i = 0; i + 1 < n; i += 2)
		total += (unsigned)(data[i] << 8 | data[i + 1]);
	if (n & 1)
		total += (unsigned)data[n - 1] << 8;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total;
}

uint32_t merlon_pseudo_sum(const uint8_t *ip, size_t n, uint8_t l4proto)
{
	bool v4 = ip[0] >> 4 == 4;

	return (uint32_t)merlon_sum(ip + (v4 ? 12 : 8), v4 ? 8 : 32, 0) + (uint32_t)(n >> 16) + (n & 0xffff) + l4proto;
}

void merlon_seal_header(uint8_t *ip)
{
	size_t n = (ip[0] & 15) * 4;

	put16(ip + 10, 0);
	put16(ip + 10, ~merlon_sum(ip, n < 20 ? 20 : n, 0));
}

/* Where the checksum of a transport header is; 0: it has none. */
static size_t checksum_at(uint8_t l4proto)
{
	switch (l4proto) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP_:
		return 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 2;
	default:
		return 0;
	}
}

bool merlon_has_checksum(uint8_t l4proto, size_t n)
{
	size_t at = checksum_at(l4proto);

	return n >= (at ? at + 2 : 6);
}

/* Least significant byte first, RFC 9260 appendix A. */
static void seal_sctp(uint8_t *p, size_t bytes)
{
	uint32_t crc;

	put32(p + MERLON_SCTP_SUM, 0);
	crc = ~merlon_crc_add(MERLON_CRC_NONE, p, bytes, bytes);
	put32(p + MERLON_SCTP_SUM, __builtin_bswap32(crc));
}

void merlon_seal_transport(uint8_t *ip, size_t at, size_t n, uint8_t l4proto)
{
	/* IPv4: the sum of other protocols is asked for without a pseudo header (nf_reject_ipv4.c), IPv6: with it */
	bool pseudo = ip[0] >> 4 == 6 || (!merlon_is_icmp_protocol(l4proto) && checksum_at(l4proto));
	size_t field = checksum_at(l4proto), bytes = n - at;
	uint16_t sum;

	if (l4proto == IPPROTO_SCTP && bytes >= MERLON_SCTP_BYTES) {
		seal_sctp(ip + at, bytes);
		return;
	}
	if (!merlon_has_checksum(l4proto, bytes))
		return;
	if (!field)
		field = (bytes & ~(size_t)1) - 2;
	put16(ip + at + field, 0);
	sum = ~merlon_sum(ip + at, bytes, pseudo ? merlon_pseudo_sum(ip, bytes, l4proto) : 0);
	put16(ip + at + field, (l4proto == IPPROTO_UDP || l4proto == IPPROTO_UDPLITE) && !sum ? 0xffff : sum);
}

size_t merlon_intent_head(const struct merlon_intent *intent)
{
	return intent->family == MERLON_IPV4 ? 20 : 40;
}

static size_t transport_bytes(uint8_t l4proto)
{
	switch (l4proto) {
	case IPPROTO_TCP:
		return 20;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP_:
		return 12;
	default:
		return 8;
	}
}

size_t merlon_intent_least(const struct merlon_intent *intent)
{
	return merlon_intent_head(intent) + transport_bytes(intent->l4proto);
}

/* The transport header without its checksum; `n` with the body. */
static void write_transport(const struct merlon_intent *intent, const struct merlon_details *d, uint8_t *p, size_t n)
{
	memset(p, 0, transport_bytes(intent->l4proto));
	put16(p, intent->th0);
	put16(p + 2, intent->th2);
	switch (intent->l4proto) {
	case IPPROTO_TCP:
		put32(p + 4, d->seq);
		put32(p + 8, d->ack);
		p[12] = 5 << 4;
		p[13] = intent->tcp_flags;
		put16(p + 14, MERLON_WINDOW);
		break;
	case IPPROTO_UDP:
		put16(p + 4, n > 0xffff ? 0 : n);
		break;
	case IPPROTO_DCCP_:
		p[4] = 3;	/* data offset in words */
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		put16(p + 4, d->id);
		put16(p + 6, d->sequence);
		break;
	default:
		break;
	}
}

static void write_header(const struct merlon_intent *intent, const struct merlon_details *d, uint8_t *ip, size_t n)
{
	uint8_t ttl = intent->ttl + (intent->hook == MERLON_FORWARD);

	if (intent->family == MERLON_IPV4) {
		ip[0] = 0x40 | (20 + d->n_options) / 4;
		ip[1] = intent->tos;
		put16(ip + 2, n);
		put16(ip + 4, d->ip_id ? d->ip_id : 0x4d4c);
		put16(ip + 6, d->fragment ? d->fragment : d->may_fragment ? 0 : 0x4000);
		ip[8] = ttl;
		ip[9] = intent->l4proto;
		memcpy(ip + 12, intent->address[MERLON_SOURCE], 4);
		memcpy(ip + 16, intent->address[MERLON_DESTINATION], 4);
		if (d->n_options)
			memcpy(ip + 20, d->options, d->n_options);
		merlon_seal_header(ip);
		return;
	}
	put32(ip, 6U << 28 | (uint32_t)intent->tos << 20);
	put16(ip + 4, n - 40);
	ip[6] = d->n_options ? d->first : intent->l4proto;
	ip[7] = ttl;
	memcpy(ip + 8, intent->address[MERLON_SOURCE], 16);
	memcpy(ip + 24, intent->address[MERLON_DESTINATION], 16);
	if (d->n_options)
		memcpy(ip + 40, d->options, d->n_options);
}

/* An extension header of eight bytes that does nothing. */
static void write_extension(const struct merlon_intent *intent, uint8_t ret[8])
{
	uint8_t protocol = intent->nexthdr - 1;

	memset(ret, 0, 8);
	ret[0] = intent->l4proto;
	if (protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_DSTOPTS) {
		ret[2] = 1;	/* PadN */
		ret[3] = 4;
	}
	if (protocol == IPPROTO_ROUTING)
		ret[2] = intent->rt_type;
}

size_t merlon_intent_build(const struct merlon_intent *intent, const struct merlon_details *details, uint8_t *ret)
{
	static const struct merlon_details plain;
	struct merlon_details d = details ? *details : plain;
	size_t transport = transport_bytes(intent->l4proto), body, at, n;
	uint8_t extension[8];

	if (intent->family == MERLON_IPV6 && intent->nexthdr && !d.n_options) {
		d.first = intent->nexthdr - 1;
		write_extension(intent, extension);
		d.options = extension;
		d.n_options = sizeof(extension);
	}
	at = merlon_intent_head(intent) + d.n_options;
	body = d.body ? d.n_body : intent->l4proto == IPPROTO_TCP ? 0 : BODY_BYTES;
	n = at + transport + body;
	if (intent->bytes >= at + transport && !d.body) {
		n = intent->bytes;
		body = n - at - transport;
	}
	write_header(intent, &d, ret, n);
	write_transport(intent, &d, ret + at, n - at);
	for (size_t i = 0; i < body; i++)
		ret[at + transport + i] = d.body ? d.body[i] : (uint8_t)(i * 7 + 1);
	merlon_seal_transport(ret, at, n, intent->l4proto);
	if (d.wrong && merlon_has_checksum(intent->l4proto, n - at)) {
		uint8_t *field = ret + at + checksum_at(intent->l4proto);

		put16(field, (unsigned)(field[0] << 8 | field[1]) + d.wrong);
	}
	return n;
}

struct merlon_intent merlon_intent_reverse(const struct merlon_intent *intent)
{
	static const uint8_t reply4[][2] = { { 8, 0 }, { 13, 14 }, { 15, 16 }, { 17, 18 } };
	static const uint8_t reply6[][2] = { { 128, 129 }, { 139, 140 } };
	struct merlon_intent r = *intent;
	uint8_t type = intent->th0 >> 8;

	memcpy(r.address[MERLON_SOURCE], intent->address[MERLON_DESTINATION], 16);
	memcpy(r.address[MERLON_DESTINATION], intent->address[MERLON_SOURCE], 16);
	r.in = intent->out;
	r.out = intent->in;
	/* over loopback the hook of the sender comes first in both directions */
	if ((intent->in == MERLON_GROUND_LO || intent->out == MERLON_GROUND_LO) && intent->hook != MERLON_FORWARD) {
		r.in = intent->in;
		r.out = intent->out;
	} else if (intent->hook != MERLON_FORWARD) {
		r.hook = intent->hook == MERLON_INPUT ? MERLON_OUTPUT : MERLON_INPUT;
	}
	r.direction = !intent->direction;
	r.pkttype = PACKET_HOST;
	r.has_ether = false;
	r.bound = r.own_source = false;
	if (!merlon_is_icmp_protocol(intent->l4proto)) {
		r.th0 = intent->th2;
		r.th2 = intent->th0;
		return r;
	}
	for (size_t i = 0; intent->l4proto == IPPROTO_ICMP && i < 4; i++)
		if (type == reply4[i][0] || type == reply4[i][1])
			r.th0 = reply4[i][type == reply4[i][0]] << 8;
	for (size_t i = 0; intent->l4proto == IPPROTO_ICMPV6 && i < 2; i++)
		if (type == reply6[i][0] || type == reply6[i][1])
			r.th0 = reply6[i][type == reply6[i][0]] << 8;
	return r;
}

static void put(struct merlon_packet *p, enum merlon_field field, uint32_t value)
{
	p->field[field] = value;
	p->present |= MERLON_BIT(field);
}

static void put_addresses(struct merlon_packet *p, const struct merlon_intent *intent)
{
	for (int i = 0; i < 2; i++) {
		merlon_value v = merlon_address_value(intent->address[i], intent->family);

		p->present |= MERLON_BIT(MERLON_F_SADDR + i);
		if (intent->family == MERLON_IPV4) {
			p->field[MERLON_F_SADDR + i] = v;
		} else {
			p->addr6[i][0] = v >> 64;
			p->addr6[i][1] = v;
		}
	}
}

static void put_transport(struct merlon_packet *p, const struct merlon_intent *intent)
{
	put(p, MERLON_F_L4PROTO, intent->l4proto);
	put(p, MERLON_F_TH0, intent->th0);
	put(p, MERLON_F_TH2, intent->th2);
	if (intent->l4proto == IPPROTO_TCP)
		put(p, MERLON_F_TCP_FLAGS, intent->tcp_flags);
	if (merlon_is_icmp_protocol(intent->l4proto)) {
		put(p, MERLON_F_ICMP_TYPE, intent->th0 >> 8);
		put(p, MERLON_F_ICMP_CODE, intent->th0 & 0xff);
	}
}

void merlon_intent_packet(const struct merlon_intent *intent, const struct merlon_ground *devices, struct merlon_packet *ret)
{
	const uint8_t *ether = intent->ether;
	size_t least = merlon_intent_least(intent) + (intent->l4proto == IPPROTO_TCP ? 0 : BODY_BYTES);

	memset(ret, 0, sizeof(*ret));
	ret->family = intent->family;
	ret->hook = intent->hook;
	put_addresses(ret, intent);
	put_transport(ret, intent);
	put(ret, MERLON_F_CT_STATE, intent->state);
	if (intent->state != MERLON_CT_INVALID && intent->state != MERLON_CT_UNTRACKED)
		put(ret, MERLON_F_CT_DIRECTION, intent->direction);
	ret->ct_state = intent->state;
	ret->ct_direction = intent->direction;
	ret->bytes = intent->bytes ? intent->bytes : least;
	put(ret, MERLON_F_LENGTH, ret->bytes);
	put(ret, MERLON_F_TTL, intent->ttl);
	put(ret, MERLON_F_TOS, intent->tos);
	put(ret, MERLON_F_NEXTHDR, intent->nexthdr ? intent->nexthdr - 1U : intent->l4proto);
	if (intent->nexthdr == 1 + IPPROTO_ROUTING)
		put(ret, MERLON_F_RT_TYPE, intent->rt_type);
	put(ret, MERLON_F_MARK, 0);
	put(ret, MERLON_F_PKTTYPE, intent->pkttype);
	put(ret, MERLON_F_NFPROTO, intent->family);
	if (intent->in != MERLON_NO_DEVICE) {
		const struct merlon_ground_device *device = &devices->device[intent->in];

		ret->iif = device->index;
		if (!intent->has_ether)
			ether = device->peer_mac;
		if (!device->tun && intent->in != MERLON_GROUND_LO) {
			put(ret, MERLON_F_ETHER_SADDR_HIGH, (uint32_t)ether[0] << 24 | (uint32_t)ether[1] << 16 | (uint32_t)ether[2] << 8 | ether[3]);
			put(ret, MERLON_F_ETHER_SADDR_LOW, (uint32_t)ether[4] << 8 | ether[5]);
		}
	}
	if (intent->out != MERLON_NO_DEVICE)
		ret->oif = devices->device[intent->out].index;
}

static enum merlon_address_kind kind6(const uint8_t *a)
{
	static const uint8_t zero[15];

	if (!memcmp(a, zero, 15) && a[15] <= 1)
		return a[15] ? MERLON_ADDRESS_LOOPBACK : MERLON_ADDRESS_SPECIAL;
	if (a[0] == 0xff)
		return MERLON_ADDRESS_MULTICAST;
	if (a[0] == 0xfe && (a[1] & 0xc0) == 0x80)
		return MERLON_ADDRESS_LINK;
	/* ::/80 holds mapped and compatible addresses, fec0::/10 is retired */
	if (!memcmp(a, zero, 10) || (a[0] == 0xfe && a[1] >= 0xc0))
		return MERLON_ADDRESS_SPECIAL;
	return MERLON_ADDRESS_UNICAST;
}

enum merlon_address_kind merlon_address_kind(const uint8_t *a, uint8_t family)
{
	if (family == MERLON_IPV6)
		return kind6(a);
	if (!a[0])
		return MERLON_ADDRESS_SPECIAL;
	if (a[0] == 127)
		return MERLON_ADDRESS_LOOPBACK;
	if (a[0] < 224)
		return MERLON_ADDRESS_UNICAST;
	if (a[0] < 240)
		return MERLON_ADDRESS_MULTICAST;
	return (a[0] & a[1] & a[2] & a[3]) == 255 ? MERLON_ADDRESS_BROADCAST : MERLON_ADDRESS_SPECIAL;
}
