/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/flows.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>

#include "src/verify/needs.h"

static const uint8_t data[MERLON_MTU] = "merlon";

bool merlon_judge(struct merlon_packets *p, const struct merlon_intent *intent)
{
	struct merlon_packet packet;
	struct merlon_address address[2];
	struct merlon_naive_input input = {
		.ruleset = p->ruleset, .packet = &packet, .address = address,
		.iif_name = intent->in == MERLON_NO_DEVICE ? "" : p->devices.device[intent->in].name,
		.oif_name = intent->out == MERLON_NO_DEVICE ? "" : p->devices.device[intent->out].name,
	};

	merlon_intent_packet(intent, &p->devices, &packet);
	for (int i = 0; i < 2; i++) {
		const struct merlon_ground_address *place = p->segment ? merlon_ground_find(p, intent->family, intent->address[i]) : NULL;
		enum merlon_address_kind kind = merlon_address_kind(intent->address[i], intent->family);
		bool local = (place && place->kind == MERLON_PLACE_LOCAL) || kind == MERLON_ADDRESS_LOOPBACK;
		struct merlon_address *a = &address[input.n_addresses];

		if (!local && kind != MERLON_ADDRESS_MULTICAST && kind != MERLON_ADDRESS_BROADCAST)
			continue;
		*a = (struct merlon_address){ .family = intent->family == MERLON_IPV4 ? AF_INET : AF_INET6 };
		a->bits = intent->family == MERLON_IPV4 ? 32 : 128;
		a->type = local ? RTN_LOCAL : kind == MERLON_ADDRESS_MULTICAST ? RTN_MULTICAST : RTN_BROADCAST;
		memcpy(a->address, intent->address[i], 16);
		input.n_addresses++;
	}
	return merlon_naive(&input, p->result) == 0 && p->result->verdict == MERLON_ACCEPT;
}

void merlon_openers_add(struct merlon_packets *p, const struct merlon_intent *intent)
{
	struct merlon_openers *o = &p->openers[intent->hook][intent->family];
	uint64_t k = o->n < MERLON_OPENERS ? o->n : merlon_random_below(&p->random, o->seen > UINT32_MAX - 1 ? UINT32_MAX : o->seen + 1);

	o->seen++;
	if (k < MERLON_OPENERS)
		o->v[k] = *intent;
	if (o->n < MERLON_OPENERS)
		o->n++;
}

struct merlon_intent merlon_opener(struct merlon_packets *p, int hook, int family)
{
	const struct merlon_openers *o = &p->openers[hook][family];
	struct merlon_intent intent;

	if (o->n && merlon_random_percent(&p->random, 90)) {
		intent = o->v[merlon_random_below(&p->random, o->n)];
		/* a flow of its own, most times */
		if (intent.l4proto == IPPROTO_TCP || intent.l4proto == IPPROTO_UDP) {
			struct merlon_intent other = intent;

			p->next_port = p->next_port >= 60000 ? 20000 : p->next_port + 1;
			other.th0 = p->next_port;
			if (!merlon_random_percent(&p->random, p->naive_percent) || merlon_judge(p, &other))
				intent = other;
		}
		return intent;
	}
	merlon_intent_random(p, hook, family, &intent);
	return intent;
}

bool merlon_intent_random(struct merlon_packets *p, int hook, int family, struct merlon_intent *ret)
{
	struct merlon_needs needs = { .hook = hook, .family = family };

	return merlon_needs_solve(p, &needs, NULL, ret) && merlon_settle(p, ret);
}

struct merlon_ends merlon_ends(struct merlon_packets *p, const struct merlon_intent *opener)
{
	struct merlon_ends e = { .side = { *opener, merlon_intent_reverse(opener) } };

	for (int i = 0; i < 2; i++)
		e.seq[i] = merlon_random_bits(&p->random);
	e.id = ++p->next_id;
	e.side[1].ttl = 63;
	e.side[1].bytes = 0;
	return e;
}

struct merlon_details merlon_ends_details(const struct merlon_ends *ends, int side)
{
	return (struct merlon_details){ .seq = ends->seq[side], .ack = ends->heard[side], .id = ends->id, .sequence = ends->sequence };
}

/* Whether a segment with these flags can be part of a connection: others take no room in the sequence. */
static bool sensible(uint8_t flags)
{
	uint8_t core = flags & (MERLON_FIN | MERLON_SYN | MERLON_RST | MERLON_ACK);

	return core == MERLON_SYN || core == (MERLON_SYN | MERLON_ACK) || core == MERLON_RST || core == (MERLON_RST | MERLON_ACK) ||
	       core == MERLON_ACK || core == (MERLON_FIN | MERLON_ACK);
}

void merlon_say(struct merlon_packets *p, struct merlon_ends *ends, const struct merlon_speech *speech)
{
	int side = speech->side;
	struct merlon_details d = merlon_ends_details(ends, side);
	struct merlon_intent *intent = &ends->side[side];
	uint32_t next;

	if (speech->bytes || intent->l4proto != IPPROTO_TCP) {
		d.body = data;
		d.n_body = speech->bytes;
	}
	intent->tcp_flags = speech->flags;
	if (speech->again)
		d.seq--;
	next = d.seq + speech->bytes + !!(speech->flags & MERLON_SYN) + !!(speech->flags & MERLON_FIN);
	if (speech->ahead)
		*(!(speech->flags & MERLON_ACK) || merlon_random_percent(&p->random, 50) ? &d.seq : &d.ack) += speech->ahead;
	if (!(speech->flags & MERLON_ACK))
		d.ack = 0;
	merlon_emit(p, intent, &d, speech->note);
	if (intent->l4proto != IPPROTO_TCP)
		ends->sequence += side;
	if (!speech->again && sensible(speech->flags))
		ends->seq[side] = next;
	ends->heard[!side] = ends->seq[side];
}

void merlon_establish(struct merlon_packets *p, struct merlon_ends *ends, const char *note)
{
	bool tcp = ends->side[0].l4proto == IPPROTO_TCP;

	merlon_say(p, ends, &(struct merlon_speech){ .side = 0, .flags = MERLON_SYN, .bytes = tcp ? 0 : 9, .note = note });
	merlon_say(p, ends, &(struct merlon_speech){ .side = 1, .flags = MERLON_SYN | MERLON_ACK, .bytes = tcp ? 0 : 14, .note = note });
	if (tcp)
		merlon_say(p, ends, &(struct merlon_speech){ .side = 0, .flags = MERLON_ACK, .note = note });
}

/* The plain beginning of the flow that an established packet belongs to. */
static struct merlon_intent opener_of(const struct merlon_intent *intent)
{
	struct merlon_intent o = intent->direction == MERLON_REPLY ? merlon_intent_reverse(intent) : *intent;

	o.state = MERLON_CT_NEW;
	o.direction = MERLON_ORIGINAL;
	o.ttl = 63;
	o.tos = o.bytes = o.nexthdr = 0;
	o.pkttype = PACKET_HOST;
	o.tcp_flags = MERLON_SYN;
	if (merlon_is_icmp_protocol(o.l4proto) && o.th0 >> 8 != 13 && o.th0 >> 8 != 15 && o.th0 >> 8 != 17)
		o.th0 = (o.family == MERLON_IPV4 ? 8 : 128) << 8;
	return o;
}

static void play_established(struct merlon_packets *p, const struct merlon_intent *intent, const char *note)
{
	struct merlon_intent opener = opener_of(intent);
	struct merlon_ends ends = merlon_ends(p, &opener);
	struct merlon_details d;
	int side = intent->direction == MERLON_REPLY;
	unsigned repeat = merlon_random_percent(&p->random, 30) ? 2 : 1;

	merlon_establish(p, &ends, "its flow begins");
	d = merlon_ends_details(&ends, side);
	while (repeat--)
		merlon_emit(p, intent, &d, note);
}

/* An ICMP error that quotes the flow's first packet; if it goes the same way as that, the answer to it. */
static void play_related(struct merlon_packets *p, const struct merlon_intent *intent, const char *note)
{
	struct merlon_intent cause = merlon_intent_reverse(intent), known = p->cause, opener;
	bool about_answer = intent->direction == MERLON_ORIGINAL;
	struct merlon_details d = { .seq = merlon_random_bits(&p->random) };
	uint8_t quoted[MERLON_MTU];
	size_t n;

	if (known.family != cause.family || !known.l4proto ||
	    memcmp(known.address[MERLON_SOURCE], cause.address[MERLON_SOURCE], sizeof(known.address[MERLON_SOURCE]))) {
		known = merlon_opener(p, about_answer ? intent->hook : cause.hook, cause.family);
		if (about_answer)
			known = merlon_intent_reverse(&known);
	}
	cause.state = MERLON_CT_NEW;
	cause.direction = about_answer ? MERLON_REPLY : MERLON_ORIGINAL;
	cause.ttl = 63;
	cause.tos = cause.bytes = cause.nexthdr = 0;
	cause.l4proto = known.l4proto;
	cause.th0 = known.th0;
	cause.th2 = known.th2;
	cause.tcp_flags = MERLON_SYN;
	d.id = ++p->next_id;
	if (about_answer) {
		opener = merlon_intent_reverse(&cause);
		merlon_emit(p, &opener, &d, "its flow begins");
		cause.tcp_flags = MERLON_SYN | MERLON_ACK;
		d = (struct merlon_details){ .seq = merlon_random_bits(&p->random), .ack = d.seq + 1, .id = d.id };
	}
	merlon_emit(p, &cause, &d, "to be answered by an error");
	n = merlon_intent_build(&cause, &d, quoted);
	if (merlon_random_percent(&p->random, 50) && n > merlon_intent_head(&cause) + 8)
		n = merlon_intent_head(&cause) + 8;
	d = (struct merlon_details){ .body = quoted, .n_body = n };
	/* an MTU, where it is one: none that would change a route */
	if (intent->th0 >> 8 == (intent->family == MERLON_IPV4 ? 3 : 2))
		d.sequence = MERLON_MTU;
	merlon_emit(p, intent, &d, note);
}

/* Neighbour discovery and the like, right enough for the tracker. */
static void play_untracked(struct merlon_packets *p, const struct merlon_intent *intent, const char *note)
{
	uint8_t body[24] = { 0 };
	uint8_t type = intent->th0 >> 8;
	struct merlon_details d = { .body = body, .n_body = type == 133 ? 0 : 16 };

	memcpy(body, intent->address[MERLON_DESTINATION], 16);
	if (type == 135 || type == 136) {
		body[16] = type == 135 ? 1 : 2;
		body[17] = 1;
		memcpy(body + 18, p->devices.device[1].peer_mac, 6);
		d.n_body = 24;
	}
	merlon_emit(p, intent, &d, note);
}

/* UDP is invalid when its header claims more than there is. */
static void play_invalid(struct merlon_packets *p, const struct merlon_intent *intent, const char *note)
{
	struct merlon_emission e = { .note = note };
	size_t n, at = merlon_intent_head(intent);

	if (intent->l4proto != IPPROTO_UDP || intent->nexthdr || intent->bytes > MERLON_MTU) {
		merlon_emit(p, intent, &(struct merlon_details){ .seq = merlon_random_bits(&p->random), .id = ++p->next_id }, note);
		return;
	}
	n = merlon_intent_build(intent, NULL, p->ip);
	p->ip[at + 4] ^= 0x10;
	merlon_seal_transport(p->ip, at, n, IPPROTO_UDP);
	e.limit = merlon_intent_limit(intent);
	merlon_emit_bytes(p, intent, &e, n);
}

static void play_new(struct merlon_packets *p, const struct merlon_intent *intent, const char *note)
{
	struct merlon_ends ends = merlon_ends(p, intent);
	struct merlon_details d = merlon_ends_details(&ends, 0);

	merlon_emit(p, intent, &d, note);
	if (!merlon_random_percent(&p->random, 20) || intent->own_source ||
	    merlon_address_kind(intent->address[MERLON_DESTINATION], intent->family) > MERLON_ADDRESS_LOOPBACK)
		return;
	if (intent->l4proto == IPPROTO_TCP && intent->tcp_flags != MERLON_SYN)
		return;
	ends.seq[0]++;
	ends.heard[1] = ends.seq[0];
	merlon_say(p, &ends, &(struct merlon_speech){ .side = 1, .flags = MERLON_SYN | MERLON_ACK, .note = "answered" });
	if (merlon_random_percent(&p->random, 50))
		merlon_say(p, &ends, &(struct merlon_speech){ .side = 0, .flags = MERLON_ACK, .note = "goes on" });
}

void merlon_play(struct merlon_packets *p, const struct merlon_intent *intent, const char *note)
{
	switch (intent->state) {
	case MERLON_CT_ESTABLISHED:
		play_established(p, intent, note);
		break;
	case MERLON_CT_RELATED:
		play_related(p, intent, note);
		break;
	case MERLON_CT_UNTRACKED:
		play_untracked(p, intent, note);
		break;
	case MERLON_CT_INVALID:
		play_invalid(p, intent, note);
		break;
	default:
		play_new(p, intent, note);
		break;
	}
}
