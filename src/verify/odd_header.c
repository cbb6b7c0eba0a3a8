/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that break off, and headers that lie. */
#include <netinet/in.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/odd.h"

static bool tunnel(const struct merlon_packets *p, const struct merlon_intent *intent)
{
	return p->devices.device[intent->in].tun;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = v >> 8;
	p[1] = v;
}

/* Puts the length of a packet that was cut or made longer right, and its checksums. */
static void settle_length(struct merlon_packets *p, const struct merlon_intent *intent, size_t n)
{
	size_t at = merlon_intent_head(intent);

	if (intent->family == MERLON_IPV4) {
		put16(p->ip + 2, n);
		merlon_seal_header(p->ip);
	} else {
		put16(p->ip + 4, n - at);
	}
	merlon_seal_transport(p->ip, at, n, intent->l4proto);
}

/* What a transport of so many bytes comes under. */
static enum merlon_frame_limit limit_of(const struct merlon_intent *intent, size_t bytes)
{
	if (merlon_is_icmp_protocol(intent->l4proto) && bytes == 1)
		return MERLON_LIMIT_PARSER;
	return merlon_has_checksum(intent->l4proto, bytes) ? MERLON_LIMIT_NONE : MERLON_LIMIT_REJECT_CHECKSUM;
}

void merlon_odd_truncated(struct merlon_packets *p)
{
	struct merlon_intent intent;

	for (unsigned i = 0; i < 4; i++)
		if (merlon_odd_base(p, -1, false, &intent))
			merlon_odd_send(p, &intent, merlon_odd_of(p, merlon_odd_build(p, &intent)), "cut off", MERLON_LIMIT_NONE);
}

void merlon_odd_short(struct merlon_packets *p)
{
	for (unsigned i = 0; i < 4; i++) {
		struct merlon_emission e = { .note = "short" };
		struct merlon_intent intent;
		size_t n, at;

		if (!merlon_odd_base(p, -1, false, &intent))
			return;
		at = merlon_intent_head(&intent);
		n = merlon_odd_build(p, &intent) - at;
		n = merlon_odd_of(p, n < 21 ? n : 21);
		settle_length(p, &intent, at + n);
		e.limit = limit_of(&intent, n);
		e.padding = merlon_random_percent(&p->random, 40) ? 46 : 0;
		merlon_emit_bytes(p, &intent, &e, at + n);
	}
}

void merlon_odd_header4(struct merlon_packets *p)
{
	static const uint8_t ttl[] = { 0, 1, 2, 255 };
	struct merlon_emission e = { .note = "IPv4 header" };
	struct merlon_intent intent;
	size_t n;

	if (!merlon_odd_base(p, MERLON_IPV4, false, &intent))
		return;
	n = merlon_odd_build(p, &intent);
	switch (merlon_odd_of(p, 7)) {
	case 0:
		if (!tunnel(p, &intent))
			p->ip[0] = merlon_odd_of(p, 16) << 4 | 5;
		break;
	case 1:
		p->ip[0] = 0x40 | merlon_odd_of(p, 16);
		if ((p->ip[0] & 15) > 5)
			e.limit = MERLON_LIMIT_STACK_CHECKS;
		break;
	case 2:
		put16(p->ip + 2, merlon_odd_of(p, 2) ? merlon_odd_of(p, n + 8) : 1500 + 3000 * merlon_odd_of(p, 20));
		e.limit = (size_t)(p->ip[2] << 8 | p->ip[3]) == 21 && merlon_is_icmp_protocol(intent.l4proto) ? MERLON_LIMIT_PARSER :
											    MERLON_LIMIT_REJECT_CHECKSUM;
		break;
	case 3:
		merlon_seal_header(p->ip);
		put16(p->ip + 10, (unsigned)(p->ip[10] << 8 | p->ip[11]) + 1 + merlon_odd_of(p, 0xfffd));
		merlon_emit_bytes(p, &intent, &e, n);
		return;
	case 4:
		p->ip[8] = ttl[merlon_odd_of(p, 4)];
		if (p->ip[8] < 2 && intent.hook == MERLON_FORWARD)
			e.limit = MERLON_LIMIT_AFTER_ROUTING;
		break;
	case 5:
		put16(p->ip + 6, merlon_odd_of(p, 2) ? 0x8000 : 0);
		break;
	default:
		e.ethertype = 0x86dd;
		break;
	}
	merlon_seal_header(p->ip);
	merlon_emit_bytes(p, &intent, &e, n);
}

void merlon_odd_header6(struct merlon_packets *p)
{
	static const uint8_t hops[] = { 0, 1, 2, 255 };
	struct merlon_emission e = { .note = "IPv6 header" };
	struct merlon_intent intent;
	size_t n;

	if (!merlon_odd_base(p, MERLON_IPV6, false, &intent))
		return;
	n = merlon_odd_build(p, &intent);
	switch (merlon_odd_of(p, 5)) {
	case 0:
		if (!tunnel(p, &intent))
			p->ip[0] = merlon_odd_of(p, 16) << 4;
		break;
	case 1:
		put16(p->ip + 4, merlon_odd_of(p, 2) ? merlon_odd_of(p, n - 40 + 8) : 1500 + 3000 * merlon_odd_of(p, 20));
		e.limit = !p->ip[4] && p->ip[5] == 1 && merlon_is_icmp_protocol(intent.l4proto) ? MERLON_LIMIT_PARSER :
											      MERLON_LIMIT_REJECT_CHECKSUM;
		break;
	case 2:
		p->ip[7] = hops[merlon_odd_of(p, 4)];
		if (p->ip[7] < 2 && intent.hook == MERLON_FORWARD)
			e.limit = MERLON_LIMIT_AFTER_ROUTING;
		break;
	case 3:
		p->ip[0] = 0x60 | merlon_odd_of(p, 16);
		p->ip[1] = merlon_odd_of(p, 256);
		p->ip[3] = merlon_odd_of(p, 256);
		break;
	default:
		e.ethertype = 0x0800;
		break;
	}
	merlon_emit_bytes(p, &intent, &e, n);
}

/* Data offsets, lengths and checksums of the transport. */
void merlon_odd_transport(struct merlon_packets *p)
{
	static const uint16_t lengths[] = { 0, 1, 7, 8, 9, 13, 15, 100, 65535 };
	enum merlon_frame_limit limit = MERLON_LIMIT_NONE;
	const char *note = "transport checksum";
	struct merlon_intent intent;
	size_t n, at;

	if (!merlon_odd_base(p, -1, false, &intent))
		return;
	at = merlon_intent_head(&intent);
	if (merlon_random_percent(&p->random, 10) && !merlon_is_icmp_protocol(intent.l4proto)) {
		intent.th0 = merlon_odd_of(p, 2) ? 0 : intent.th0;
		intent.th2 = intent.th0 ? 0 : intent.th2;
		merlon_odd_send(p, &intent, merlon_odd_build(p, &intent), "port 0", limit);
		return;
	}
	n = merlon_odd_build(p, &intent);
	if (intent.l4proto == IPPROTO_TCP && merlon_odd_of(p, 3)) {
		if (merlon_odd_of(p, 2)) {
			memset(p->ip + n, 1, 48);
			n += 48;
		}
		p->ip[at + 12] = merlon_odd_of(p, 16) << 4;
		settle_length(p, &intent, n);
		note = "data offset";
	} else if (intent.l4proto == IPPROTO_UDP && merlon_odd_of(p, 3)) {
		put16(p->ip + at + 4, lengths[merlon_odd_of(p, ARRAY_SIZE(lengths))]);
		settle_length(p, &intent, n);
		note = "UDP length";
	} else if (intent.l4proto == IPPROTO_UDP && merlon_odd_of(p, 2)) {
		put16(p->ip + at + 6, 0);
		note = "no UDP checksum";
		limit = intent.family == MERLON_IPV4 ? MERLON_LIMIT_NONE : MERLON_LIMIT_REJECT_CHECKSUM;
	} else {
		size_t field = intent.l4proto == IPPROTO_TCP ? 16 : intent.l4proto == IPPROTO_UDP ? 6 : 2;

		p->ip[at + field] ^= 1 + merlon_odd_of(p, 255);
		limit = MERLON_LIMIT_REJECT_CHECKSUM;
	}
	merlon_odd_send(p, &intent, n, note, limit);
}

/* Some bytes are anything. */
void merlon_odd_flipped(struct merlon_packets *p)
{
	struct merlon_intent intent;
	size_t n, at, flips = 1 + merlon_odd_of(p, 3);

	if (!merlon_odd_base(p, -1, true, &intent))
		return;
	at = merlon_intent_head(&intent);
	n = merlon_odd_build(p, &intent);
	while (flips--) {
		size_t where = merlon_odd_of(p, at + 20 < n ? at + 20 : n);

		/* addresses stay, or the packet goes where nobody was told of */
		if (where < (intent.family == MERLON_IPV4 ? 12U : 8U) || where >= at)
			p->ip[where] = merlon_odd_of(p, 256);
	}
	if (intent.family == MERLON_IPV4 && merlon_random_percent(&p->random, 90))
		merlon_seal_header(p->ip);
	merlon_odd_send(p, &intent, n, "bytes at random", MERLON_LIMIT_STACK_CHECKS);
}
