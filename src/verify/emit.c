/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/kernel.h"
#include "src/verify/packets.h"

#define ETHER_BYTES 14
#define ETHER_VLAN_BYTES 18
#define SPOOFED_PERCENT 8	/* a sender that is elsewhere than where the packet comes in */

static struct merlon_frame *append(struct merlon_segment *segment)
{
	if (segment->n == segment->room) {
		size_t room = segment->room ? 2 * segment->room : 256;
		struct merlon_frame *grown = reallocarray(segment->frame, room, sizeof(*grown));

		if (!grown)
			return NULL;
		segment->frame = grown;
		segment->room = room;
	}
	memset(&segment->frame[segment->n], 0, sizeof(*segment->frame));
	return &segment->frame[segment->n];
}

static void destination_mac(const struct merlon_intent *intent, const struct merlon_ground_device *device, uint8_t ret[6])
{
	static const uint8_t other[6] = { 2, 0, 0, 0, 0x99, 0x99 };
	const uint8_t *a = intent->address[MERLON_DESTINATION];

	switch (intent->pkttype) {
	case PACKET_BROADCAST:
		memset(ret, 0xff, 6);
		break;
	case PACKET_MULTICAST:
		if (intent->family == MERLON_IPV4)
			memcpy(ret, (uint8_t[]){ 1, 0, 0x5e, a[1] & 0x7f, a[2], a[3] }, 6);
		else
			memcpy(ret, (uint8_t[]){ 0x33, 0x33, a[12], a[13], a[14], a[15] }, 6);
		break;
	case PACKET_OTHERHOST:
		memcpy(ret, other, 6);
		break;
	default:
		memcpy(ret, device->mac, 6);
		break;
	}
}

/* Returns the bytes of the Ethernet header. */
static size_t write_ether(const struct merlon_packets *p, const struct merlon_intent *intent,
			  const struct merlon_emission *e, uint8_t *ret)
{
	const struct merlon_ground_device *device = &p->devices.device[intent->in];
	uint16_t type = e->ethertype ? e->ethertype : intent->family == MERLON_IPV4 ? 0x0800 : 0x86dd;
	size_t n = 12;

	if (e->mac)
		memcpy(ret, e->mac, 6);
	else
		destination_mac(intent, device, ret);
	memcpy(ret + 6, intent->has_ether ? intent->ether : device->peer_mac, 6);
	if (e->vlan) {
		uint16_t tag = e->vlan - 1;

		memcpy(ret + 12, (uint8_t[]){ 0x81, 0, tag >> 8, tag & 0xff }, 4);
		n = 16;
	}
	ret[n] = type >> 8;
	ret[n + 1] = type;
	return n + 2;
}

static void fill(const struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_emission *e,
		 struct merlon_frame *frame)
{
	bool local = intent->hook == MERLON_OUTPUT || intent->in == MERLON_GROUND_LO;

	frame->way = local ? MERLON_FRAME_LOCAL : MERLON_FRAME_DEVICE;
	frame->device = !local ? intent->in : e->bound ? intent->out : MERLON_FRAME_UNBOUND;
	frame->limit = e->limit;
	frame->note = e->note;
	frame->gso_type = e->gso_type;
	frame->gso_size = e->gso_size;
	if (!local && !p->devices.device[intent->in].tun)
		frame->bytes = write_ether(p, intent, e, frame->data);
	if (e->header_bytes)
		frame->header_bytes = e->header_bytes + frame->bytes;
	if (e->csum_offset) {
		frame->csum_start = e->csum_start + frame->bytes;
		frame->csum_offset = e->csum_offset;
	}
}

void merlon_emit_bytes(struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_emission *emission,
		       size_t n)
{
	struct merlon_frame *frame = append(p->segment);

	if (frame)
		frame->data = malloc(ETHER_VLAN_BYTES + n + emission->padding);
	if (!frame || !frame->data) {
		p->error = -ENOMEM;
		return;
	}
	fill(p, intent, emission, frame);
	memcpy(frame->data + frame->bytes, p->ip, n);
	frame->bytes += n;
	if (frame->way == MERLON_FRAME_DEVICE && !p->devices.device[intent->in].tun) {
		memset(frame->data + frame->bytes, 0xa5, emission->padding);
		frame->bytes += emission->padding;
	}
	/* a tunnel tells the family by the first byte, and has no empty packets */
	if (frame->bytes)
		p->segment->n++;
	else
		free(frame->data);
}

/* TCP and UDP beyond the MTU come as super-packets. */
static void make_super(const struct merlon_intent *intent, size_t n, struct merlon_emission *e)
{
	bool tcp = intent->l4proto == IPPROTO_TCP;
	size_t at = merlon_intent_head(intent);

	if (n <= MERLON_MTU || (!tcp && intent->l4proto != IPPROTO_UDP))
		return;
	/* of linux/virtio_net.h: VIRTIO_NET_HDR_GSO_TCPV4 1, _TCPV6 4, _UDP_L4 5 */
	e->gso_type = !tcp ? 5 : intent->family == MERLON_IPV4 ? 1 : 4;
	e->header_bytes = at + (tcp ? 20 : 8);
	e->gso_size = 1400;
	e->csum_start = at;
	e->csum_offset = tcp ? 16 : 6;
}

/* A group that goes beyond the link, none of those that hosts are in by themselves: no copy comes back. */
static bool is_foreign_group(const struct merlon_intent *intent)
{
	const uint8_t *to = intent->address[MERLON_DESTINATION];

	if (intent->family == MERLON_IPV6)
		return to[0] == 0xff && (to[1] & 0xf) == 0xe;
	return to[0] >> 4 == 14 && (to[0] != 224 || to[1] || to[2] || to[3] == 2);
}

enum merlon_frame_limit merlon_intent_limit(const struct merlon_intent *intent)
{
	if (intent->l4proto == IPPROTO_DCCP && merlon_kernel_tracks("dccp_timeout_open"))
		return MERLON_LIMIT_DCCP;
	if (intent->nexthdr == 1 + IPPROTO_FRAGMENT)
		return MERLON_LIMIT_FRAGMENTS;
	if (intent->family == MERLON_IPV6 && intent->l4proto == IPPROTO_NONE)
		return MERLON_LIMIT_REJECT_CHECKSUM;
	/* the bytes behind it are no authentication header */
	if (intent->family == MERLON_IPV6 && intent->l4proto == IPPROTO_AH)
		return MERLON_LIMIT_STACK_CHECKS;
	/* a copy of what the host sends to all comes back to it, as a packet that no device brought */
	if (intent->hook == MERLON_OUTPUT && merlon_address_kind(intent->address[MERLON_DESTINATION], intent->family) > MERLON_ADDRESS_LOOPBACK &&
	    !is_foreign_group(intent))
		return MERLON_LIMIT_STACK_CHECKS;
	return intent->hook == MERLON_FORWARD && !intent->ttl ? MERLON_LIMIT_AFTER_ROUTING : MERLON_LIMIT_NONE;
}

/* The partial checksum that comes with a super-packet: the field holds the sum of the pseudo header. */
static void make_partial(struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_emission *e, size_t n)
{
	uint8_t *field = p->ip + e->csum_start + e->csum_offset;
	uint16_t sum = merlon_sum(NULL, 0, merlon_pseudo_sum(p->ip, n - e->csum_start, intent->l4proto));

	field[0] = sum >> 8;
	field[1] = sum;
}

void merlon_emit_limited(struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_details *details,
			 const char *note, enum merlon_frame_limit limit)
{
	enum merlon_frame_limit own = merlon_intent_limit(intent);
	struct merlon_emission e = { .note = note, .limit = limit ? limit : own };
	size_t n = merlon_intent_build(intent, details, p->ip);

	/* what no route leads out needs a device to be bound to */
	e.bound = intent->bound || (intent->hook == MERLON_OUTPUT && intent->out != MERLON_GROUND_LO &&
				    merlon_address_kind(intent->address[MERLON_DESTINATION], intent->family) > MERLON_ADDRESS_LOOPBACK);
	if (intent->hook != MERLON_OUTPUT && intent->in != MERLON_GROUND_LO && !intent->nexthdr)
		make_super(intent, n, &e);
	if (n > MERLON_MTU && !e.gso_type)
		return;
	if (e.csum_offset)
		make_partial(p, intent, &e, n);
	merlon_emit_bytes(p, intent, &e, n);
}

void merlon_emit(struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_details *details, const char *note)
{
	merlon_emit_limited(p, intent, details, note, MERLON_LIMIT_NONE);
}

/* Whether a packet for the host itself may have this destination: its own, or everybody's. */
static bool is_for_all(const struct merlon_intent *intent)
{
	static const uint8_t all4[4] = { 224, 0, 0, 1 }, all6[16] = { 0xff, 2, [15] = 1 };
	const uint8_t *a = intent->address[MERLON_DESTINATION];

	if (intent->family == MERLON_IPV6)
		return !memcmp(a, all6, 16);
	return !memcmp(a, all4, 4) || merlon_address_kind(a, MERLON_IPV4) == MERLON_ADDRESS_BROADCAST;
}

static bool settle_local(struct merlon_packets *p, const struct merlon_intent *intent)
{
	bool ok = merlon_has_ports_protocol(intent->l4proto) || merlon_is_icmp_protocol(intent->l4proto) ||
		  memcmp(intent->address[MERLON_SOURCE], intent->address[MERLON_DESTINATION], 16);

	/* where both ends are one, which direction nf_conntrack finds first is a matter of its hash */

	for (int i = 0; i < 2 && ok; i++)
		ok = merlon_ground_place(p, intent->family, intent->address[i], MERLON_PLACE_LOCAL, MERLON_GROUND_LO);
	return ok;
}

static bool settle_destination(struct merlon_packets *p, struct merlon_intent *intent)
{
	const uint8_t *a = intent->address[MERLON_DESTINATION];
	const struct merlon_ground_address *known = merlon_ground_find(p, intent->family, a);

	if (intent->hook == MERLON_INPUT)
		return is_for_all(intent) || merlon_ground_place(p, intent->family, a, MERLON_PLACE_LOCAL, intent->in);
	if (intent->hook == MERLON_OUTPUT && (is_for_all(intent) || is_foreign_group(intent)))
		return true;
	if (known && known->kind == MERLON_PLACE_BEHIND)
		intent->out = known->device;
	return merlon_ground_place(p, intent->family, a, MERLON_PLACE_BEHIND, intent->out);
}

static bool settle_source(struct merlon_packets *p, struct merlon_intent *intent)
{
	const uint8_t *a = intent->address[MERLON_SOURCE];
	enum merlon_address_kind kind = merlon_address_kind(a, intent->family);
	const struct merlon_ground_address *known = merlon_ground_find(p, intent->family, a);

	if (kind == MERLON_ADDRESS_LINK)
		return intent->hook == MERLON_INPUT;
	if (kind != MERLON_ADDRESS_UNICAST)
		return false;
	if (intent->own_source)
		return merlon_ground_place(p, intent->family, a, MERLON_PLACE_LOCAL, intent->in);
	if (intent->hook == MERLON_OUTPUT)
		return merlon_ground_place(p, intent->family, a, MERLON_PLACE_LOCAL, intent->out) ||
		       merlon_random_percent(&p->random, SPOOFED_PERCENT);
	if (known && known->kind == MERLON_PLACE_BEHIND && !merlon_random_percent(&p->random, SPOOFED_PERCENT))
		intent->in = known->device;
	if (known)
		return known->kind != MERLON_PLACE_LOCAL;
	return merlon_ground_place(p, intent->family, a, MERLON_PLACE_BEHIND, intent->in);
}

bool merlon_settle(struct merlon_packets *p, struct merlon_intent *intent)
{
	const struct merlon_ground_address *to = merlon_ground_find(p, intent->family, intent->address[MERLON_DESTINATION]);

	if (intent->hook == MERLON_OUTPUT && to && to->kind == MERLON_PLACE_LOCAL)
		intent->out = MERLON_GROUND_LO;
	if (intent->hook != MERLON_FORWARD && (intent->in == MERLON_GROUND_LO || intent->out == MERLON_GROUND_LO))
		return settle_local(p, intent);
	return settle_destination(p, intent) && settle_source(p, intent);
}
