/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ICMP of all types, errors about packets that were not sent, flows from an end to itself, protocols without ports, first
 * segments with any flags.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/odd.h"

static uint8_t icmp_of(const struct merlon_intent *intent)
{
	return intent->family == MERLON_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

void merlon_odd_icmp(struct merlon_packets *p)
{
	static const uint8_t body[24];

	for (unsigned i = 0; i < 4; i++) {
		struct merlon_details d = { .id = ++p->next_id, .body = body, .n_body = sizeof(body) };
		struct merlon_intent intent;
		uint8_t type;

		if (!merlon_odd_base(p, -1, false, &intent))
			return;
		if (intent.family == MERLON_IPV4)
			type = merlon_odd_of(p, 10) ? merlon_odd_of(p, 44) : merlon_odd_of(p, 256);
		else
			type = merlon_odd_of(p, 10) ? merlon_odd_of(p, 2) * 128 + merlon_odd_of(p, 34) : merlon_odd_of(p, 256);
		intent.l4proto = icmp_of(&intent);
		intent.th0 = type << 8 | (merlon_odd_of(p, 3) ? 0 : merlon_odd_of(p, 16));
		intent.th2 = 0;
		merlon_emit(p, &intent, &d, "ICMP type");
	}
}

static const uint16_t errors4[] = { 0x301, 0x303, 0x304, 0xb00, 0xc00, 0x400 }, errors6[] = { 0x100, 0x104, 0x200, 0x300, 0x401 };

/* Makes `error` one of `cause`, which p->inner holds or something like it. */
static void make_error(struct merlon_packets *p, const struct merlon_intent *cause, struct merlon_intent *error,
		       struct merlon_details *quote)
{
	*quote = (struct merlon_details){ .body = p->inner };
	*error = merlon_intent_reverse(cause);
	error->l4proto = icmp_of(cause);
	error->th0 = cause->family == MERLON_IPV4 ? errors4[merlon_odd_of(p, ARRAY_SIZE(errors4))] :
						    errors6[merlon_odd_of(p, ARRAY_SIZE(errors6))];
	error->th2 = 0;
	error->tcp_flags = 0;
	/* an MTU, where it is one: none that would change a route */
	if (error->th0 == 0x304 || error->th0 == 0x200)
		quote->sequence = MERLON_MTU;
}

/* What the error quotes in place of the packet that was sent; returns how much of p->inner. */
static size_t misquote(struct merlon_packets *p, const struct merlon_intent *cause, size_t n)
{
	size_t head = merlon_intent_head(cause), at = merlon_odd_of(p, 9);
	struct merlon_intent other = *cause;

	switch (at) {
	case 0:
		other.th2++;
		return merlon_intent_build(&other, NULL, p->inner);
	case 1:
		other = merlon_intent_reverse(cause);
		other.hook = cause->hook;
		return merlon_intent_build(&other, NULL, p->inner);
	case 2:
		other.l4proto = 253;
		return merlon_intent_build(&other, NULL, p->inner);
	case 3:
		other.address[MERLON_SOURCE][3] ^= 1;
		return merlon_intent_build(&other, NULL, p->inner);
	case 4:
		p->inner[0] ^= 0x20;
		return n;
	case 5:
		if (cause->family == MERLON_IPV4)
			p->inner[0] = 0x43;
		return cause->family == MERLON_IPV4 ? n : 39;
	case 6:
		if (cause->family == MERLON_IPV4)
			p->inner[7] |= 0x10;
		return cause->family == MERLON_IPV4 ? n : 41;
	default:
		return merlon_odd_of(p, head + 9);
	}
}

/* Errors about a flow: right ones from routers and from the other end, and those whose quote is not what was sent. */
void merlon_odd_icmp_errors(struct merlon_packets *p)
{
	struct merlon_intent cause, error;
	struct merlon_details d;

	if (!merlon_odd_base(p, -1, false, &cause))
		return;
	d = (struct merlon_details){ .seq = merlon_random_bits(&p->random), .id = ++p->next_id };
	merlon_emit(p, &cause, &d, "to be answered by errors");
	for (unsigned i = 0; i < 4; i++) {
		size_t n = merlon_intent_build(&cause, &d, p->inner);
		struct merlon_details quote;

		make_error(p, &cause, &error, &quote);
		/* a router on the way back */
		if (error.hook != MERLON_OUTPUT && merlon_odd_of(p, 3)) {
			merlon_ground_plain(p, error.family, error.in, false, error.address[MERLON_SOURCE]);
			if (!merlon_ground_place(p, error.family, error.address[MERLON_SOURCE], MERLON_PLACE_BEHIND, error.in))
				continue;
		}
		quote.n_body = i < 2 ? n : misquote(p, &cause, n);
		if (i == 1)
			quote.n_body = merlon_intent_head(&cause) + 8;
		merlon_emit(p, &error, &quote, i < 2 ? "error" : "error about another packet");
	}
}

/*
 * A flow from an end to itself, of which nf_conntrack takes all but the first packet for replies, and errors about it. It
 * is forwarded, or goes over lo: what comes in for the host the stack does not take from the host's own address.
 */
void merlon_odd_to_itself(struct merlon_packets *p)
{
	static const uint8_t protocols[] = { IPPROTO_UDP, IPPROTO_UDP, IPPROTO_TCP, 132, 253 };
	struct merlon_intent intent, error;
	struct merlon_details d, quote;
	struct merlon_ends ends;

	if (!merlon_odd_base(p, -1, false, &intent))
		return;
	intent.l4proto = protocols[merlon_odd_of(p, ARRAY_SIZE(protocols))];
	intent.th0 = intent.th2 = intent.l4proto == 253 ? 0 : 1 + merlon_odd_of(p, 60000);
	if (merlon_odd_of(p, 3)) {
		intent.hook = MERLON_FORWARD;
		intent.in = merlon_ground_any(p);
		intent.out = merlon_ground_any(p);
		merlon_ground_plain(p, intent.family, intent.out, false, intent.address[MERLON_DESTINATION]);
	} else {
		intent.hook = MERLON_OUTPUT;
		intent.in = MERLON_NO_DEVICE;
		intent.out = MERLON_GROUND_LO;
		merlon_ground_plain(p, intent.family, MERLON_GROUND_LO, true, intent.address[MERLON_DESTINATION]);
	}
	memcpy(intent.address[MERLON_SOURCE], intent.address[MERLON_DESTINATION], 16);
	if (!merlon_settle(p, &intent))
		return;
	ends = merlon_ends(p, &intent);
	/* it is one direction on the wire, too */
	ends.side[1] = intent;
	merlon_establish(p, &ends, "to itself");
	d = merlon_ends_details(&ends, 0);
	for (unsigned i = 0; i < 3; i++) {
		merlon_intent_build(&intent, &d, p->inner);
		make_error(p, &intent, &error, &quote);
		error.hook = intent.hook;
		error.in = intent.in;
		error.out = intent.out;
		quote.n_body = merlon_intent_head(&intent) + 8;
		merlon_emit(p, &error, &quote, "error about a flow to itself");
	}
	merlon_say(p, &ends, &(struct merlon_speech){ .side = 0, .flags = MERLON_ACK, .note = "to itself, again" });
}

/* One that rules name, or beside it. */
static uint16_t named_port(struct merlon_packets *p, enum merlon_field field)
{
	const struct merlon_pool *pool = &p->pool[field][MERLON_IPV4];

	return pool->n ? (uint16_t)pool->v[merlon_odd_of(p, pool->n)] : merlon_odd_of(p, 65536);
}

void merlon_odd_protocols(struct merlon_packets *p)
{
	static const uint8_t protocols[] = { 2, 33, 41, 47, 50, 51, 103, 115, 132, 136, 253, 254 };
	uint8_t l4proto = protocols[merlon_odd_of(p, ARRAY_SIZE(protocols))];
	struct merlon_intent intent, back;

	if (!merlon_odd_base(p, l4proto == IPPROTO_AH ? MERLON_IPV4 : -1, false, &intent))
		return;
	intent.l4proto = l4proto;
	intent.tcp_flags = 0;
	if (!merlon_has_ports_protocol(l4proto)) {
		intent.th0 = merlon_odd_of(p, 2) ? 0 : intent.th0;
		intent.th2 = merlon_odd_of(p, 2) ? 0 : intent.th2;
	}
	back = merlon_intent_reverse(&intent);
	merlon_emit(p, &intent, NULL, "protocol");
	merlon_emit(p, &back, NULL, "protocol, back");
	merlon_emit(p, &intent, NULL, "protocol, again");
	/* where the kernel has no tracker for it, it is the same connection */
	for (unsigned i = 0; i < 3; i++) {
		struct merlon_intent other = merlon_odd_of(p, 3) ? intent : back;
		uint16_t *port = merlon_odd_of(p, 2) ? &other.th2 : &other.th0;

		*port = named_port(p, port == &other.th2 ? MERLON_F_TH2 : MERLON_F_TH0);
		merlon_emit(p, &other, NULL, "protocol, with other ports");
	}
	for (unsigned i = 0; i < 2; i++) {
		static const uint8_t sizes[] = { 0, 1, 3, 4, 7, 8 };
		size_t at = merlon_intent_head(&intent), n = sizes[merlon_odd_of(p, ARRAY_SIZE(sizes))];

		merlon_intent_build(&intent, NULL, p->ip);
		if (intent.family == MERLON_IPV4) {
			p->ip[2] = 0;
			p->ip[3] = at + n;
			merlon_seal_header(p->ip);
		} else {
			p->ip[4] = 0;
			p->ip[5] = n;
		}
		merlon_seal_transport(p->ip, at, at + n, l4proto);
		merlon_odd_send(p, &intent, at + n, "protocol, short",
				merlon_intent_limit(&intent) ? merlon_intent_limit(&intent) :
				merlon_has_checksum(l4proto, n) ? MERLON_LIMIT_NONE : MERLON_LIMIT_REJECT_CHECKSUM);
	}
}

/* Any combination of flags in a flow's first segment. */
void merlon_odd_tcp_flags(struct merlon_packets *p)
{
	for (unsigned i = 0; i < 6; i++) {
		struct merlon_details d = { .seq = merlon_random_bits(&p->random) };
		struct merlon_intent intent;

		if (!merlon_odd_base(p, -1, false, &intent))
			return;
		if (intent.l4proto != IPPROTO_TCP) {
			intent.l4proto = IPPROTO_TCP;
			intent.th0 = 20000 + merlon_odd_of(p, 40000);
			intent.th2 = merlon_odd_of(p, 2) ? 443 : 22;
		}
		intent.tcp_flags = merlon_odd_of(p, 4) ? merlon_odd_of(p, 64) : merlon_odd_of(p, 256);
		d.ack = intent.tcp_flags & MERLON_ACK ? 1 : 0;
		merlon_emit(p, &intent, &d, "first segment");
	}
}

/* What the host sends to groups; it may come back to it. */
void merlon_odd_multicast_out(struct merlon_packets *p)
{
	static const char *const to[MERLON_FAMILIES][3] = {
		{ "224.0.0.1", "224.0.0.251", "255.255.255.255" }, { "ff02::1", "ff02::fb", "ff05::2" },
	};
	int family = merlon_odd_of(p, MERLON_FAMILIES);
	struct merlon_intent intent = {
		.family = family, .hook = MERLON_OUTPUT, .in = MERLON_NO_DEVICE, .out = merlon_ground_any(p), .l4proto = IPPROTO_UDP,
		.ttl = 1, .th0 = 20000 + merlon_odd_of(p, 40000), .th2 = merlon_odd_of(p, 2) ? 53 : 5353, .state = MERLON_CT_NEW,
	};
	struct merlon_emission e = { .note = "to a group, from the host", .bound = true, .limit = MERLON_LIMIT_STACK_CHECKS };

	merlon_ground_plain(p, family, intent.out, true, intent.address[MERLON_SOURCE]);
	inet_pton(family == MERLON_IPV4 ? AF_INET : AF_INET6, to[family][merlon_odd_of(p, 3)], intent.address[MERLON_DESTINATION]);
	if (merlon_ground_place(p, family, intent.address[MERLON_SOURCE], MERLON_PLACE_LOCAL, intent.out))
		merlon_emit_bytes(p, &intent, &e, merlon_odd_build(p, &intent));
}
