/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Odd addresses and links, and what only devices know: super-packets, partial checksums, padding. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/odd.h"

struct group {
	const char *address;
	enum merlon_frame_limit limit;	/* of packets to it */
};

static const struct group group4[] = {
	{ "224.0.0.1", 0 },	     { "255.255.255.255", 0 },
	/* nobody here listens to these: the stack drops them before INPUT */
	{ "224.0.0.251", MERLON_LIMIT_STACK_CHECKS }, { "239.1.2.3", MERLON_LIMIT_STACK_CHECKS },
	{ "127.0.0.1", MERLON_LIMIT_STACK_CHECKS },   { "0.0.0.0", MERLON_LIMIT_STACK_CHECKS },
	{ "240.0.0.1", MERLON_LIMIT_STACK_CHECKS },
};
static const struct group group6[] = {
	{ "ff02::1", 0 },   { "ff02::2", MERLON_LIMIT_STACK_CHECKS },
	{ "ff02::fb", MERLON_LIMIT_STACK_CHECKS },    { "ff05::2", MERLON_LIMIT_STACK_CHECKS },
	{ "ff0e::1", MERLON_LIMIT_STACK_CHECKS },     { "ff02::1:ff00:1", MERLON_LIMIT_STACK_CHECKS },
	{ "::1", MERLON_LIMIT_STACK_CHECKS },	      { "::", MERLON_LIMIT_STACK_CHECKS },
	{ "fe80::1", MERLON_LIMIT_STACK_CHECKS },     { "::ffff:192.0.2.1", MERLON_LIMIT_STACK_CHECKS },
};

static const struct group *random_group(struct merlon_packets *p, int family, uint8_t ret[16])
{
	const struct group *g = family == MERLON_IPV4 ? &group4[merlon_odd_of(p, ARRAY_SIZE(group4))] :
							&group6[merlon_odd_of(p, ARRAY_SIZE(group6))];

	memset(ret, 0, 16);
	inet_pton(family == MERLON_IPV4 ? AF_INET : AF_INET6, g->address, ret);
	return g;
}

void merlon_odd_groups(struct merlon_packets *p)
{
	for (unsigned i = 0; i < 4; i++) {
		struct merlon_intent intent;
		const struct group *group;
		enum merlon_address_kind kind;

		if (!merlon_odd_base(p, -1, false, &intent))
			return;
		group = random_group(p, intent.family, intent.address[MERLON_DESTINATION]);
		kind = merlon_address_kind(intent.address[MERLON_DESTINATION], intent.family);
		intent.hook = MERLON_INPUT;
		if (kind == MERLON_ADDRESS_BROADCAST)
			intent.pkttype = PACKET_BROADCAST;
		else if (kind == MERLON_ADDRESS_MULTICAST)
			intent.pkttype = PACKET_MULTICAST;
		if (merlon_random_percent(&p->random, 15))
			intent.pkttype = PACKET_HOST;
		merlon_emit_limited(p, &intent, &(struct merlon_details){ .id = ++p->next_id }, "to a group or no host", group->limit);
	}
}

/* Senders that no packet can come from. */
void merlon_odd_sources(struct merlon_packets *p)
{
	struct merlon_intent intent;

	if (!merlon_odd_base(p, -1, false, &intent))
		return;
	if (merlon_random_percent(&p->random, 70))
		random_group(p, intent.family, intent.address[MERLON_SOURCE]);
	else
		memcpy(intent.address[MERLON_SOURCE], intent.address[MERLON_DESTINATION], 16);
	merlon_emit_limited(p, &intent, &(struct merlon_details){ .id = ++p->next_id }, "from no host", MERLON_LIMIT_STACK_CHECKS);
}

/* Frames for others, tagged, of other protocols. */
void merlon_odd_links(struct merlon_packets *p)
{
	static const uint8_t macs[][6] = {
		{ 2, 0, 0, 0, 0x99, 0x99 }, { 255, 255, 255, 255, 255, 255 }, { 1, 0, 0x5e, 0, 0, 1 }, { 0x33, 0x33, 0, 0, 0, 1 },
	};
	static const uint16_t tags[] = { 0, 0x6000, 1, 100, 4095 }, types[] = { 0x88cc, 0x8864, 0x0004, 0x0100 };

	for (unsigned i = 0; i < 3; i++) {
		struct merlon_emission e = { .note = "frame for another" };
		struct merlon_intent intent;
		size_t n;

		if (!merlon_odd_base(p, -1, true, &intent))
			return;
		n = merlon_odd_build(p, &intent);
		switch (merlon_odd_of(p, 3)) {
		case 0:
			e.mac = macs[merlon_odd_of(p, ARRAY_SIZE(macs))];
			break;
		case 1:
			e.vlan = 1 + tags[merlon_odd_of(p, ARRAY_SIZE(tags))];
			e.note = "VLAN tag";
			break;
		default:
			e.ethertype = types[merlon_odd_of(p, ARRAY_SIZE(types))];
			e.note = "other protocol than IP";
			break;
		}
		merlon_emit_bytes(p, &intent, &e, n);
	}
}

/* Back over the interface it came from. */
void merlon_odd_hairpin(struct merlon_packets *p)
{
	struct merlon_intent intent;
	struct merlon_ends ends;

	if (!merlon_odd_base(p, -1, false, &intent))
		return;
	intent.hook = MERLON_FORWARD;
	intent.in = intent.out = merlon_ground_any(p);
	for (int i = 0; i < 2; i++)
		merlon_ground_plain(p, intent.family, intent.in, false, intent.address[i]);
	if (!memcmp(intent.address[0], intent.address[1], 16) || !merlon_settle(p, &intent) || intent.in != intent.out)
		return;
	ends = merlon_ends(p, &intent);
	merlon_establish(p, &ends, "back the same way");
}

/* No route: the stack says so. */
void merlon_odd_nowhere(struct merlon_packets *p)
{
	struct merlon_intent intent;
	uint8_t *to = intent.address[MERLON_DESTINATION];

	if (!merlon_odd_base(p, -1, false, &intent))
		return;
	memset(to, 0, 16);
	memcpy(to, intent.family == MERLON_IPV4 ? (uint8_t[]){ 46, 78, 0 } : (uint8_t[]){ 0x20, 0x0a, 0 }, 3);
	to[3] = merlon_odd_of(p, 4);
	intent.hook = MERLON_FORWARD;
	intent.out = MERLON_NO_DEVICE;
	if (merlon_ground_place(p, intent.family, to, MERLON_PLACE_NOWHERE, 0))
		merlon_emit_limited(p, &intent, &(struct merlon_details){ .id = ++p->next_id }, "no route", MERLON_LIMIT_AFTER_ROUTING);
}

static bool base_with_ports(struct merlon_packets *p, struct merlon_intent *ret)
{
	if (!merlon_odd_base(p, -1, false, ret))
		return false;
	if (merlon_is_icmp_protocol(ret->l4proto)) {
		ret->l4proto = IPPROTO_UDP;
		ret->th0 = 20000 + merlon_odd_of(p, 40000);
		ret->th2 = 53;
	}
	return true;
}

/* Several segments in one, as offloads make them; of an open connection, and before there is one. */
void merlon_odd_super(struct merlon_packets *p)
{
	struct merlon_intent intent;
	struct merlon_ends ends;
	bool open = merlon_random_percent(&p->random, 70);

	if (!base_with_ports(p, &intent))
		return;
	ends = merlon_ends(p, &intent);
	if (open)
		merlon_establish(p, &ends, "super-packet's flow");
	intent.tcp_flags = MERLON_PSH | MERLON_ACK;
	for (unsigned i = 0; i < 2; i++) {
		struct merlon_details d = merlon_ends_details(&ends, 0);

		intent.bytes = 2000 + merlon_odd_of(p, 8000);
		if (merlon_odd_of(p, 6) == 0)
			intent.bytes = 60000 + merlon_odd_of(p, 5000);
		merlon_emit(p, &intent, &d, "super-packet");
		ends.seq[0] += intent.bytes - merlon_intent_least(&intent);
	}
}

/* The sum of the pseudo header in place of the checksum, as a local sender in a container leaves it. */
void merlon_odd_partial(struct merlon_packets *p)
{
	struct merlon_emission e = { .note = "partial checksum" };
	struct merlon_intent intent;
	size_t n, at;
	uint16_t sum;

	if (!base_with_ports(p, &intent))
		return;
	at = merlon_intent_head(&intent);
	n = merlon_odd_build(p, &intent);
	e.csum_start = at;
	e.csum_offset = intent.l4proto == IPPROTO_TCP ? 16 : 6;
	sum = merlon_sum(NULL, 0, merlon_pseudo_sum(p->ip, n - at, intent.l4proto));
	p->ip[at + e.csum_offset] = sum >> 8;
	p->ip[at + e.csum_offset + 1] = sum;
	merlon_emit_bytes(p, &intent, &e, n);
}

void merlon_odd_padded(struct merlon_packets *p)
{
	struct merlon_intent intent;

	if (merlon_odd_base(p, -1, true, &intent))
		merlon_emit_bytes(p, &intent, &(struct merlon_emission){ .note = "Ethernet padding", .padding = 1 + merlon_odd_of(p, 60) },
				  merlon_odd_build(p, &intent));
}
