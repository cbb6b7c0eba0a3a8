/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IPv4 options, IPv6 extension headers, fragments. */
#include <netinet/in.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/odd.h"

struct option {
	uint8_t n;
	uint8_t bytes[12];
	bool late;	/* INPUT is judged before the stack has looked at it, or it is written into */
};

static const struct option options[] = {
	{ 4, { 1, 1, 1, 1 }, false }, { 4, { 1 }, false },		       { 4, { 0 }, false },
	{ 4, { 0x94, 4 }, false },    { 12, { [0] = 1, 1, 1, 1 }, false },     { 4, { 0x99, 4, 'a', 'b' }, false },
	{ 12, { 0x82, 11 }, false },  { 8, { 7, 7, 4 }, true },		       { 12, { 0x44, 12, 13 }, true },
	{ 8, { 0x86, 6, 0, 0, 0, 1 }, true }, { 8, { 0x83, 7, 4, 192, 0, 2, 7 }, true }, { 8, { 0x89, 7, 4, 192, 0, 2, 7 }, true },
	{ 4, { 0x94, 1 }, true },     { 4, { 0x94, 0 }, true },		       { 4, { 7, 40, 4 }, true },
	{ 4, { 0x99, 0xff }, true },  { 4, { 0x44, 3, 5 }, true },	       { 4, { 1, 1, 1, 7 }, true },
};

void merlon_odd_options4(struct merlon_packets *p)
{
	for (unsigned i = 0; i < 3; i++) {
		const struct option *o = &options[merlon_odd_of(p, ARRAY_SIZE(options))];
		struct merlon_details d = { .seq = merlon_random_bits(&p->random), .id = ++p->next_id, .options = o->bytes, .n_options = o->n };
		struct merlon_intent intent;

		if (merlon_odd_base(p, MERLON_IPV4, false, &intent))
			merlon_emit_limited(p, &intent, &d, "IPv4 option", o->late ? MERLON_LIMIT_STACK_CHECKS : MERLON_LIMIT_NONE);
	}
}

/* An extension header of a chain; `next` of the last one is the transport. */
struct extension {
	uint8_t protocol;
	uint8_t n;		/* bytes */
	uint8_t bytes[24];	/* from byte 1 on; byte 0 is the next header */
};

struct chain {
	const char *note;
	enum merlon_frame_limit limit;
	struct extension extension[6];	/* ends with n 0 */
};

#define PADDED(protocol) { protocol, 8, { 0, 1, 4 } }
static const struct chain chains[] = {
	{ "hop-by-hop", 0, { PADDED(IPPROTO_HOPOPTS) } },
	{ "destination options", 0, { PADDED(IPPROTO_DSTOPTS) } },
	{ "hop-by-hop and destination options", 0, { PADDED(IPPROTO_HOPOPTS), { IPPROTO_DSTOPTS, 16, { 1, 1, 12 } } } },
	{ "routing, no segments left", 0, { { IPPROTO_ROUTING, 24, { 2 } } } },
	{ "authentication", 0, { { IPPROTO_AH, 24, { 4 } } } },
	{ "five options", 0, { PADDED(IPPROTO_DSTOPTS), PADDED(IPPROTO_DSTOPTS), PADDED(IPPROTO_DSTOPTS),
			       PADDED(IPPROTO_DSTOPTS), PADDED(IPPROTO_DSTOPTS) } },
	{ "routing of type 2", 0, { { IPPROTO_ROUTING, 24, { 2, 2 } } } },
	{ "routing of type 253", 0, { { IPPROTO_ROUTING, 8, { 0, 253 } } } },
	{ "two routing headers, 0 and 253", 0, { { IPPROTO_ROUTING, 8, { 0 } }, { IPPROTO_ROUTING, 8, { 0, 253 } } } },
	{ "two routing headers, 253 and 0", 0, { { IPPROTO_ROUTING, 8, { 0, 253 } }, { IPPROTO_ROUTING, 8, { 0 } } } },
	{ "authentication, routing", 0, { { IPPROTO_AH, 24, { 4 } }, { IPPROTO_ROUTING, 8, { 0 } } } },
	{ "hop-by-hop, routing, options", 0, { PADDED(IPPROTO_HOPOPTS), { IPPROTO_ROUTING, 24, { 2 } }, PADDED(IPPROTO_DSTOPTS) } },
	{ "hop-by-hop not first", 0, { PADDED(IPPROTO_DSTOPTS), PADDED(IPPROTO_HOPOPTS) } },
	{ "atomic fragment", MERLON_LIMIT_FRAGMENTS, { { IPPROTO_FRAGMENT, 8, { 0 } } } },
	{ "atomic fragment behind options", MERLON_LIMIT_FRAGMENTS, { PADDED(IPPROTO_DSTOPTS), { IPPROTO_FRAGMENT, 8, { 0 } } } },
	{ "routing, segments left", MERLON_LIMIT_STACK_CHECKS, { { IPPROTO_ROUTING, 24, { 2, 0, 1 } } } },
	{ "segment routing", MERLON_LIMIT_STACK_CHECKS, { { IPPROTO_ROUTING, 24, { 2, 4 } } } },
	{ "unknown option, discard", MERLON_LIMIT_STACK_CHECKS, { { IPPROTO_DSTOPTS, 8, { 0, 0x7e, 4 } } } },
	{ "unknown option, report", MERLON_LIMIT_STACK_CHECKS, { { IPPROTO_DSTOPTS, 8, { 0, 0xbe, 4 } } } },
	{ "unknown hop option, report", MERLON_LIMIT_STACK_CHECKS, { { IPPROTO_HOPOPTS, 8, { 0, 0xbe, 4 } } } },
	{ "option too long", MERLON_LIMIT_STACK_CHECKS, { { IPPROTO_DSTOPTS, 8, { 0, 1, 0xff } } } },
	{ "header too long", MERLON_LIMIT_STACK_CHECKS, { { IPPROTO_DSTOPTS, 8, { 40, 1, 4 } } } },
};
#undef PADDED

/* Writes the chain; returns its length. */
static size_t write_chain(const struct chain *chain, uint8_t l4proto, uint8_t ret[160])
{
	size_t n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(chain->extension) && chain->extension[i].n; i++) {
		const struct extension *e = &chain->extension[i];
		bool last = i + 1 == ARRAY_SIZE(chain->extension) || !e[1].n;

		memset(ret + n, 0, e->n);
		ret[n] = last ? l4proto : e[1].protocol;
		memcpy(ret + n + 1, e->bytes, (size_t)e->n - 1);
		n += e->n;
	}
	return n;
}

static void send_chain(struct merlon_packets *p, const struct merlon_intent *intent, const struct chain *chain, const char *note)
{
	struct merlon_details d = { .seq = merlon_random_bits(&p->random), .id = p->next_id, .first = chain->extension[0].protocol };
	uint8_t bytes[160];

	d.options = bytes;
	d.n_options = write_chain(chain, intent->l4proto, bytes);
	merlon_emit_limited(p, intent, &d, note, chain->limit);
}

/* More headers than the parser walks. */
static void send_many(struct merlon_packets *p, const struct merlon_intent *intent)
{
	struct merlon_details d = { .id = p->next_id, .first = IPPROTO_DSTOPTS };
	uint8_t bytes[96] = { 0 };

	for (unsigned i = 0; i < 12; i++)
		memcpy(bytes + 8 * i, (uint8_t[]){ i == 11 ? intent->l4proto : IPPROTO_DSTOPTS, 0, 1, 4 }, 4);
	d.options = bytes;
	d.n_options = sizeof(bytes);
	merlon_emit_limited(p, intent, &d, "twelve extension headers", MERLON_LIMIT_PARSER);
}

void merlon_odd_extensions6(struct merlon_packets *p)
{
	for (unsigned i = 0; i < 3; i++) {
		unsigned which = merlon_odd_of(p, ARRAY_SIZE(chains) + 1);
		struct merlon_intent intent;

		if (!merlon_odd_base(p, MERLON_IPV6, false, &intent))
			return;
		p->next_id++;
		if (which == ARRAY_SIZE(chains))
			send_many(p, &intent);
		else
			send_chain(p, &intent, &chains[which], chains[which].note);
	}
}

/* What is remembered of a flow behind some headers must not decide on the same one behind others. */
void merlon_odd_same_flow6(struct merlon_packets *p)
{
	struct merlon_intent intent;

	if (!merlon_odd_base(p, MERLON_IPV6, false, &intent) || intent.l4proto == IPPROTO_TCP)
		return;
	p->next_id++;
	for (unsigned i = 0; i < 6; i++) {
		const struct chain *chain = &chains[merlon_odd_of(p, ARRAY_SIZE(chains))];

		if (!chain->limit && merlon_odd_of(p, 3))
			send_chain(p, &intent, chain, "one flow behind different headers");
		else
			merlon_emit(p, &intent, &(struct merlon_details){ .id = p->next_id }, "one flow behind different headers");
	}
}

#define PIECES 3
#define PIECE_BYTES 24

/* Sends piece `i` of the payload in p->inner. */
static void send_piece(struct merlon_packets *p, const struct merlon_intent *intent, unsigned i, uint16_t id,
		       enum merlon_frame_limit limit)
{
	struct merlon_emission e = { .note = "fragment", .limit = limit };
	size_t at = merlon_intent_head(intent), more = i + 1 < PIECES;
	uint8_t *ip = p->ip;

	memcpy(ip, p->inner, at);
	if (intent->family == MERLON_IPV4) {
		uint16_t flags = i * PIECE_BYTES / 8 | (more ? 0x2000 : 0);

		memcpy(ip + 2, (uint8_t[]){ 0, at + PIECE_BYTES, id >> 8, id & 0xff, flags >> 8, flags & 0xff }, 6);
		merlon_seal_header(ip);
	} else {
		memcpy(ip + at, (uint8_t[]){ intent->l4proto, 0, 0, i * PIECE_BYTES | more, 0, 0, id >> 8, id & 0xff }, 8);
		ip[5] = PIECE_BYTES + 8;
		ip[6] = IPPROTO_FRAGMENT;
		at += 8;
	}
	memcpy(ip + at, p->inner + merlon_intent_head(intent) + (size_t)i * PIECE_BYTES, PIECE_BYTES);
	merlon_emit_bytes(p, intent, &e, at + PIECE_BYTES);
}

/* A datagram of three pieces, into p->inner. */
static bool datagram(struct merlon_packets *p, struct merlon_intent *ret)
{
	struct merlon_details d = { .seq = merlon_random_bits(&p->random), .id = ++p->next_id };

	if (!merlon_odd_base(p, -1, false, ret))
		return false;
	/* no error, which the host may answer with in one way or another; a port where more is denied */
	if (merlon_is_icmp_protocol(ret->l4proto))
		ret->th0 = (ret->family == MERLON_IPV4 ? 8 : 128) << 8;
	else if (merlon_random_percent(&p->random, 50))
		ret->th2 = 1 + merlon_odd_of(p, 65535);
	ret->bytes = merlon_intent_head(ret) + PIECES * PIECE_BYTES;
	merlon_intent_build(ret, &d, p->inner);
	return true;
}

/* Complete and in order: what passes is the same, though nf_tables judges one datagram where three packets are judged at TC. */
void merlon_odd_fragments(struct merlon_packets *p)
{
	struct merlon_intent intent;
	uint16_t id = merlon_random_bits(&p->random);

	if (!datagram(p, &intent))
		return;
	for (unsigned i = 0; i < PIECES; i++)
		send_piece(p, &intent, i, id, MERLON_LIMIT_NONE);
}

void merlon_odd_broken_fragments(struct merlon_packets *p)
{
	static const uint8_t orders[][PIECES + 1] = { { 2, 1, 0, 9 }, { 0, 9 }, { 1, 9 }, { 0, 2, 9 }, { 0, 0, 1, 2 }, { 1, 0, 2, 9 } };
	const uint8_t *order = orders[merlon_odd_of(p, ARRAY_SIZE(orders))];
	struct merlon_intent intent;
	uint16_t id = merlon_random_bits(&p->random);

	if (!datagram(p, &intent))
		return;
	for (unsigned i = 0; i <= PIECES && order[i] < PIECES; i++)
		send_piece(p, &intent, order[i], id, MERLON_LIMIT_FRAGMENTS);
}
