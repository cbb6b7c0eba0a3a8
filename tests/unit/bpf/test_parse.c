/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bpf/session.h"
#include "tests/bpf/packet.h"

static const struct flow v4 = { "192.0.2.9", "192.0.2.1", 1000, 53 };
static const struct flow v6 = { "2001:db8::9", "2001:db8::1", 1000, 53 };

/* From an exact allocation, so that the sanitizers see a read behind it. */
static int parse_bytes(const uint8_t *data, size_t bytes, uint8_t family, struct merlon_headers *h)
{
	uint8_t *copy = malloc(bytes ? bytes : 1);
	struct merlon_buffer buffer = { copy, bytes };
	int r;

	assert_non_null(copy);
	memcpy(copy, data, bytes);
	r = merlon_parse(&buffer, family, bytes, h);
	free(copy);
	return r;
}

static int parse(const struct frame *f, struct merlon_headers *h)
{
	return parse_bytes(f->data + ETH, f->bytes - ETH, f->v6 ? MERLON_IPV6 : MERLON_IPV4, h);
}

static struct merlon_packet view(const struct frame *f)
{
	struct merlon_packet packet = { 0 };
	struct merlon_headers h;

	assert_int_equal(parse(f, &h), 0);
	merlon_fill_packet(&packet, &h);
	return packet;
}

#define HAS(packet, name) (!!((packet).present & MERLON_BIT(MERLON_F_##name)))

static void tcp_fields(void **state)
{
	struct frame f = frame_tcp(&v4, F_SYN | F_ACK, 10);
	struct merlon_headers h;
	struct merlon_packet packet;

	(void)state;
	f.data[ETH + 1] = 0xb8;
	put32(f.data + f.l4 + 4, 0x01020304);
	put32(f.data + f.l4 + 8, 0x05060708);
	frame_checksum(&f);
	assert_int_equal(parse(&f, &h), 0);
	assert_int_equal(h.seq, 0x01020304);
	assert_int_equal(h.ack, 0x05060708);
	assert_int_equal(h.tcp_header, 20);
	assert_int_equal(h.ct_bytes, 30);
	assert_false(h.flags);
	packet = view(&f);
	assert_int_equal(packet.field[MERLON_F_SADDR], 0xc0000209);
	assert_int_equal(packet.field[MERLON_F_DADDR], 0xc0000201);
	assert_int_equal(packet.field[MERLON_F_TH0], 1000);
	assert_int_equal(packet.field[MERLON_F_TH2], 53);
	assert_int_equal(packet.field[MERLON_F_L4PROTO], 6);
	assert_int_equal(packet.field[MERLON_F_NEXTHDR], 6);
	assert_int_equal(packet.field[MERLON_F_TCP_FLAGS], F_SYN | F_ACK);
	assert_int_equal(packet.field[MERLON_F_TTL], 64);
	assert_int_equal(packet.field[MERLON_F_TOS], 0xb8);
	assert_int_equal(packet.field[MERLON_F_LENGTH], 50);
	assert_int_equal(packet.bytes, 50);
	assert_int_equal(packet.l4_offset, 20);
	assert_false(HAS(packet, ICMP_TYPE));
}

static void ipv6_fields(void **state)
{
	struct frame f = frame_udp(&v6, 4);
	struct merlon_packet packet;

	(void)state;
	f.data[ETH] = 0x6a;
	f.data[ETH + 1] = 0x50;
	packet = view(&f);
	assert_true(packet.addr6[0][0] == 0x20010db800000000ULL && packet.addr6[0][1] == 9);
	assert_true(packet.addr6[1][0] == 0x20010db800000000ULL && packet.addr6[1][1] == 1);
	assert_int_equal(packet.field[MERLON_F_TOS], 0xa5);
	assert_int_equal(packet.field[MERLON_F_LENGTH], 52);
	assert_int_equal(packet.field[MERLON_F_TH2], 53);
	assert_false(HAS(packet, TCP_FLAGS));
}

static void icmp_fields(void **state)
{
	struct frame f = frame_icmp(&v4, 3, 13, 20);
	struct merlon_packet packet = view(&f);

	(void)state;
	assert_int_equal(packet.field[MERLON_F_TH0], 3 << 8 | 13);
	assert_int_equal(packet.field[MERLON_F_ICMP_TYPE], 3);
	assert_int_equal(packet.field[MERLON_F_ICMP_CODE], 13);
}

/* A field is there as soon as its own bytes are. */
static void fields_of_short_headers(void **state)
{
	(void)state;
	for (size_t bytes = 0; bytes <= 20; bytes++) {
		struct frame f = frame_tcp(&v4, F_SYN, 0);
		struct merlon_packet packet;

		frame_length(&f, f.l4 + bytes);
		packet = view(&f);
		assert_true(HAS(packet, L4PROTO));
		assert_int_equal(HAS(packet, TH0), bytes >= 2);
		assert_int_equal(HAS(packet, TH2), bytes >= 4);
		assert_int_equal(HAS(packet, TCP_FLAGS), bytes >= 14);
		if (bytes >= 14)
			assert_int_equal(packet.field[MERLON_F_TCP_FLAGS], F_SYN);
	}
}

static void every_cut_is_refused(void **state)
{
	const struct frame frames[] = { frame_tcp(&v4, F_SYN, 5), frame_tcp(&v6, F_SYN, 5) };
	struct merlon_headers h;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (size_t bytes = 0; bytes < frames[i].bytes - ETH; bytes++)
			assert_int_equal(parse_bytes(frames[i].data + ETH, bytes, frames[i].v6, &h), -1);
}

static void extend(struct frame *f, uint8_t type, uint8_t second, size_t bytes)
{
	uint8_t header[64] = { f->data[ETH + 6], second };
	size_t l4 = f->l4;

	f->data[ETH + 6] = type;
	f->l4 = ETH + 40;
	frame_insert(f, header, bytes);
	f->l4 = l4 + bytes;
}

static void later_fragments_have_no_ports(void **state)
{
	struct frame f = frame_udp(&v4, 40);
	struct merlon_headers h;
	struct merlon_packet packet;

	(void)state;
	put16(f.data + ETH + 6, 5);
	frame_checksum(&f);
	assert_int_equal(parse(&f, &h), 0);
	assert_int_equal(h.flags, MERLON_H_LATER | MERLON_H_UNTRACKABLE | MERLON_H_LAST);
	packet = view(&f);
	assert_true(HAS(packet, L4PROTO));
	assert_false(HAS(packet, TH0) || HAS(packet, TH2));
	put16(f.data + ETH + 6, 0x2000 | 5);
	frame_checksum(&f);
	assert_int_equal(parse(&f, &h), 0);
	assert_int_equal(h.flags, MERLON_H_LATER | MERLON_H_UNTRACKABLE);
}

/* A first fragment shows what is to be judged, or is refused. */
static void first_fragments_have_all(void **state)
{
	static const struct {
		uint8_t proto;
		size_t least;
	} protocols[] = { { 6, 20 }, { 17, 8 }, { 132, 8 }, { 136, 8 }, { 1, 0 }, { 47, 0 } };
	struct merlon_headers h;

	(void)state;
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		for (size_t bytes = 0; bytes <= 24; bytes += 4) {
			struct frame f = frame_ip(&v4, protocols[i].proto, bytes);

			put16(f.data + ETH + 6, 0x2000);
			frame_checksum(&f);
			assert_int_equal(parse(&f, &h), bytes < protocols[i].least ? -1 : 0);
		}
	/* 16 bytes of destination options end with the first fragment, or leave this much for what is behind */
	for (size_t behind = 0; behind <= 8; behind += 8)
		for (int more = 0; more < 2; more++) {
			struct frame f = frame_udp(&v6, behind ? 0 : 4);

			extend(&f, 60, 1, 16);
			extend(&f, 44, 0, 8);
			put16(f.data + ETH + 42, more);
			frame_length(&f, ETH + 40 + 8 + 16 + behind);
			assert_int_equal(parse(&f, &h), more && !behind ? -1 : 0);
			/* the chain itself is cut off */
			frame_length(&f, ETH + 40 + 8 + 1);
			assert_int_equal(parse(&f, &h), more ? -1 : 0);
		}
}

static void chains(void **state)
{
	struct frame f = frame_udp(&v6, 4);
	struct merlon_headers h;
	struct merlon_packet packet;

	(void)state;
	extend(&f, 60, 1, 16);
	extend(&f, 43, 0, 8);
	extend(&f, 0, 0, 8);
	packet = view(&f);
	assert_int_equal(packet.field[MERLON_F_L4PROTO], 17);
	assert_int_equal(packet.field[MERLON_F_NEXTHDR], 0);
	assert_int_equal(packet.l4_offset, 40 + 32);
	/* authentication: rules stop there, the tracker goes on */
	f = frame_udp(&v6, 4);
	extend(&f, 51, 4, 24);
	assert_int_equal(parse(&f, &h), 0);
	assert_int_equal(h.l4proto, 51);
	assert_int_equal(h.l4_offset, 40);
	assert_int_equal(h.th0, 17 << 8 | 4);
	assert_int_equal(h.ct_proto, 17);
	assert_int_equal(h.ct_offset, 64);
	assert_int_equal(ntohs(h.dport), 53);
	/* a later fragment says what it is a fragment of, unless that is an extension header */
	f = frame_udp(&v6, 40);
	extend(&f, 44, 0, 8);
	put16(f.data + ETH + 42, 10 << 3);
	packet = view(&f);
	assert_int_equal(packet.field[MERLON_F_L4PROTO], 17);
	assert_false(HAS(packet, TH0));
	f = frame_ip(&v6, 60, 40);
	extend(&f, 44, 0, 8);
	put16(f.data + ETH + 42, 10 << 3);
	packet = view(&f);
	assert_false(HAS(packet, L4PROTO));
	/* no next header, endless chains */
	f = frame_ip(&v6, 59, 8);
	assert_int_equal(parse(&f, &h), 0);
	assert_int_equal(h.flags, MERLON_H_UNTRACKABLE);
	f = frame_udp(&v6, 4);
	for (int i = 0; i < 9; i++)
		extend(&f, 60, 0, 8);
	assert_int_equal(parse(&f, &h), -1);
}

static void routing(struct frame *f, uint8_t type)
{
	extend(f, 43, 0, 8);
	f->data[ETH + 42] = type;
}

/* As ipv6_find_hdr() finds them: tried in nf_tables of 6.18 with `rt type`. */
static void routing_headers(void **state)
{
	struct frame f = frame_udp(&v6, 4);
	struct merlon_packet packet = view(&f);

	(void)state;
	assert_false(HAS(packet, RT_TYPE));
	routing(&f, 0);
	routing(&f, 2);
	extend(&f, 51, 4, 24);
	extend(&f, 0, 0, 8);
	packet = view(&f);
	assert_true(HAS(packet, RT_TYPE));
	assert_int_equal(packet.field[MERLON_F_RT_TYPE], 2);
	/* a later fragment has those that are before its fragment header */
	f = frame_udp(&v6, 40);
	extend(&f, 44, 0, 8);
	put16(f.data + ETH + 42, 10 << 3);
	routing(&f, 4);
	packet = view(&f);
	assert_true(HAS(packet, RT_TYPE) && packet.field[MERLON_F_RT_TYPE] == 4);
	f = frame_ip(&v6, 43, 40);
	extend(&f, 44, 0, 8);
	put16(f.data + ETH + 42, 10 << 3);
	assert_false(HAS(view(&f), RT_TYPE));
}

/* Four bytes of it will do, if they are the packet's own; what is behind it may be missing. */
static void routing_headers_cut_off(void **state)
{
	(void)state;
	for (unsigned padding = 0; padding < 2; padding++)
		for (unsigned bytes = 0; bytes <= 24; bytes++) {
			struct frame f = frame_udp(&v6, 20);
			struct merlon_packet packet;

			extend(&f, 43, 2, 24);
			f.data[ETH + 42] = 3;
			put16(f.data + ETH + 4, bytes);
			if (!padding)
				f.bytes = ETH + 40 + bytes;
			packet = view(&f);
			assert_int_equal(HAS(packet, RT_TYPE), bytes >= 4);
			assert_true(bytes < 4 || packet.field[MERLON_F_RT_TYPE] == 3);
			assert_int_equal(HAS(packet, L4PROTO), bytes >= 4);
		}
}

/* What rules see of an IPv6 packet with this behind its header: tried in nf_tables of 6.18. Padding does not count. */
static const struct {
	uint8_t first, n, bytes[18];
	int l4proto;		/* -1: none */
	enum merlon_tracking tracking;
} odd_chains[] = {
	{ 60, 18, { 6, 200 }, 6, MERLON_TRACK_INVALID }, { 60, 10, { 253, 200 }, 253, MERLON_TRACK_SESSION },
	{ 60, 2, { 253 }, 253, MERLON_TRACK_SESSION }, { 60, 1, { 253 }, -1, MERLON_TRACK_INVALID },
	{ 60, 2, { 43 }, -1, MERLON_TRACK_INVALID }, { 60, 2, { 43, 200 }, -1, MERLON_TRACK_INVALID },
	{ 60, 2, { 59 }, 59, MERLON_TRACK_INVALID }, { 60, 10, { 58, 200 }, 58, MERLON_TRACK_INVALID },
	{ 43, 3, { 6, 0, 3 }, -1, MERLON_TRACK_INVALID }, { 43, 4, { 6, 0, 3 }, 6, MERLON_TRACK_INVALID },
	{ 44, 3, { 6 }, -1, MERLON_TRACK_INVALID }, { 44, 4, { 253 }, 253, MERLON_TRACK_SESSION },
	{ 51, 1, { 6 }, -1, MERLON_TRACK_INVALID }, { 51, 2, { 6 }, 51, MERLON_TRACK_INVALID },
	{ 51, 2, { 253 }, 51, MERLON_TRACK_SESSION }, { 51, 2, { 43, 200 }, 51, MERLON_TRACK_INVALID },
	{ 51, 16, { 6, 200 }, 51, MERLON_TRACK_INVALID }, { 51, 10, { 253, 200 }, 51, MERLON_TRACK_SESSION },
};

static void chains_that_end_early(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(odd_chains) / sizeof(odd_chains[0]); i++)
		for (unsigned padding = 0; padding < 2; padding++) {
			struct frame f = frame_ip(&v6, odd_chains[i].first, 60);
			struct merlon_packet packet;
			struct merlon_headers h;

			memcpy(f.data + ETH + 40, odd_chains[i].bytes, odd_chains[i].n);
			put16(f.data + ETH + 4, odd_chains[i].n);
			if (!padding)
				f.bytes = ETH + 40 + odd_chains[i].n;
			assert_int_equal(parse(&f, &h), 0);
			packet = view(&f);
			assert_int_equal(HAS(packet, L4PROTO), odd_chains[i].l4proto >= 0);
			if (odd_chains[i].l4proto >= 0)
				assert_int_equal(packet.field[MERLON_F_L4PROTO], odd_chains[i].l4proto);
			assert_int_equal(packet.field[MERLON_F_TH_BYTES] == MERLON_TH_NEVER,
					 odd_chains[i].l4proto < 0 || (odd_chains[i].l4proto == 51 && odd_chains[i].bytes[0] == 43));
			assert_int_equal(merlon_tracking(&h), odd_chains[i].tracking);
		}
}

/* Any bytes at all: nothing is read that is not there (under the sanitizers), and what is said is inside the packet. */
static void noise(void **state)
{
	uint8_t data[128];
	unsigned seed = 1;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		size_t bytes = rand_r(&seed) % sizeof(data);
		struct merlon_headers h;
		uint8_t family = i & 1;

		for (size_t j = 0; j < sizeof(data); j++)
			data[j] = rand_r(&seed) % 4 ? rand_r(&seed) : (rand_r(&seed) % 2 ? 0 : 60);
		data[0] = family == MERLON_IPV4 ? 0x45 + rand_r(&seed) % 3 : 0x60;
		data[family == MERLON_IPV4 ? 2 : 4] = 0;
		if (parse_bytes(data, bytes, family, &h))
			continue;
		assert_true(h.bytes <= bytes);
		assert_true(!h.l4_bytes || h.l4_offset + h.l4_bytes == h.bytes);
		assert_true(h.th_bytes <= h.l4_bytes);
		parse_bytes(data, bytes, family, &h);
		struct merlon_buffer buffer = { data, bytes };
		merlon_parse_inner(&buffer, rand_r(&seed) % 64, buffer.bytes, family, &h);
	}
}

/* Options as tcp_options() and tcp_sack() of nf_conntrack read them: up to the first that makes no sense. */
static const struct {
	uint8_t n, bytes[40];
	uint8_t flags, scale, blocks;
	uint32_t edge;		/* of the last block */
} options[] = {
	{ 4, { 1, 3, 3, 7 }, MERLON_TCP_SCALES, 7, 0, 0 }, { 4, { 3, 3, 14, 0 }, MERLON_TCP_SCALES, 14, 0, 0 },
	{ 4, { 3, 3, 15, 0 }, MERLON_TCP_SCALES, 14, 0, 0 }, { 4, { 3, 3, 255, 0 }, MERLON_TCP_SCALES, 14, 0, 0 },
	{ 4, { 4, 2, 1, 1 }, MERLON_TCP_SACKS, 0, 0, 0 },
	{ 12, { 2, 4, 5, 180, 4, 2, 3, 3, 9 }, MERLON_TCP_SACKS | MERLON_TCP_SCALES, 9, 0, 0 },
	{ 40, { [36] = 1, [37] = 3, [38] = 3, [39] = 7 }, 0, 0, 0, 0 },
	{ 40, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		3, 3, 7 }, MERLON_TCP_SCALES, 7, 0, 0 },
	/* the end, a length that says too little or too much: nothing behind it counts */
	{ 8, { 0, 3, 3, 7, 4, 2 }, 0, 0, 0, 0 }, { 8, { 8, 0, 3, 3, 7, 4, 2 }, 0, 0, 0, 0 }, { 8, { 8, 1, 3, 3, 7, 4, 2 }, 0, 0, 0, 0 },
	{ 4, { 1, 3, 4, 7 }, 0, 0, 0, 0 }, { 4, { 1, 1, 1, 3 }, 0, 0, 0, 0 }, { 4, { 4, 2, 3, 3 }, MERLON_TCP_SACKS, 0, 0, 0 },
	{ 4, { 255, 4, 3, 7 }, 0, 0, 0, 0 }, { 4, { 255, 5, 3, 7 }, 0, 0, 0, 0 },
	/* one of another length than it has is passed over */
	{ 8, { 3, 4, 7, 7, 4, 2, 1, 1 }, MERLON_TCP_SACKS, 0, 0, 0 }, { 8, { 4, 3, 0, 3, 3, 7 }, MERLON_TCP_SCALES, 7, 0, 0 },
	{ 8, { 3, 2, 3, 3, 7, 0 }, MERLON_TCP_SCALES, 7, 0, 0 },
	{ 12, { 5, 10, 0, 0, 0, 1, 0, 0, 1, 2 }, 0, 0, 1, 0x102 },
	{ 20, { 1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 9, 8, 7, 6 }, 0, 0, 2, 0x09080706 },
	{ 36, { 5, 34, [30] = 0xff, 0xff, 0xff, 0xfe }, 0, 0, 4, 0xfffffffe },
	{ 12, { 5, 9, 0, 0, 0, 1, 0, 0, 1, 2 }, 0, 0, 0, 0 }, { 12, { 5, 11, 0, 0, 0, 1, 0, 0, 1, 2 }, 0, 0, 0, 0 },
	{ 4, { 5, 2, 4, 2 }, MERLON_TCP_SACKS, 0, 0, 0 },
	/* the first SACK option counts */
	{ 20, { 5, 10, 0, 0, 0, 1, 0, 0, 0, 9, 5, 10, 0, 0, 0, 1, 0, 0, 0, 99 }, 0, 0, 1, 9 },
};

static void tcp_options(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		struct frame f = frame_tcp(&v4, F_ACK, options[i].n);
		struct merlon_headers h;

		memcpy(f.data + f.l4 + 20, options[i].bytes, options[i].n);
		f.data[f.l4 + 12] = (20 + options[i].n) << 2;
		assert_int_equal(parse(&f, &h), 0);
		assert_int_equal(h.options.flags, MERLON_TCP_OPTIONS | options[i].flags);
		assert_int_equal(h.options.scale, options[i].scale);
		assert_int_equal(h.options.blocks, options[i].blocks);
		if (options[i].blocks)
			assert_int_equal(h.options.edge[options[i].blocks - 1], options[i].edge);
	}
}

/* A header without options, or one that claims to be longer than the packet, has none. */
static void no_tcp_options(void **state)
{
	struct frame f = frame_tcp(&v4, F_ACK, 8);
	struct merlon_headers h;

	(void)state;
	memcpy(f.data + f.l4 + 20, "\3\3\7\4\2", 5);
	for (unsigned words = 0; words < 16; words++) {
		f.data[f.l4 + 12] = words << 4;
		assert_int_equal(parse(&f, &h), 0);
		assert_int_equal(h.options.flags, words == 6 ? MERLON_TCP_OPTIONS | MERLON_TCP_SCALES :
						  words == 7 ? MERLON_TCP_OPTIONS | MERLON_TCP_SCALES | MERLON_TCP_SACKS : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_fields), cmocka_unit_test(ipv6_fields), cmocka_unit_test(icmp_fields),
		cmocka_unit_test(fields_of_short_headers), cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(later_fragments_have_no_ports), cmocka_unit_test(first_fragments_have_all), cmocka_unit_test(chains),
		cmocka_unit_test(routing_headers), cmocka_unit_test(routing_headers_cut_off),
		cmocka_unit_test(chains_that_end_early), cmocka_unit_test(tcp_options), cmocka_unit_test(no_tcp_options),
		cmocka_unit_test(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
