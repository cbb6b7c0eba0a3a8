/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single packets through the loaded ingress program: malformed ones, extension headers, fragments, what is not judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bpf/group.h"
#include "tests/bpf/packet.h"

static const struct flow v4 = { "192.0.2.9", "192.0.2.1", 1000, 53 };
static const struct flow v6 = { "2001:db8::9", "2001:db8::1", 1000, 53 };

/* UDP and TCP to port 53, and pings; everything else is dropped. */
static const struct plane_rule dns[] = {
	{ 0, 17, 53, 0, 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, 6, 53, 0, 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, 1, -1, 0, 0, 0, { 3 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, 51, -1, 0, 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};

static int set_up(void **state)
{
	(void)state;
	plane_forget(&plane);
	plane_rules(&plane, dns, sizeof(dns) / sizeof(dns[0]), MERLON_DROP);
	return 0;
}

static int in(const struct frame *f)
{
	return plane_ingress(&plane, plane.veth, f->data, f->bytes);
}

static uint64_t malformed(void)
{
	return plane_stat(&plane, MERLON_STAT_MALFORMED);
}

/* Dropped before the rules were asked. */
static void assert_malformed(const struct frame *f)
{
	uint64_t before = malformed();

	assert_int_equal(in(f), PLANE_SHOT);
	assert_int_equal(malformed(), before + 1);
}

static void assert_judged(const struct frame *f, int verdict)
{
	uint64_t before = malformed(), misses = plane_stat(&plane, MERLON_STAT_MISSES) + plane_stat(&plane, MERLON_STAT_HITS);

	assert_int_equal(in(f), verdict);
	assert_int_equal(malformed(), before);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_MISSES) + plane_stat(&plane, MERLON_STAT_HITS), misses + 1);
}

static void malformed_ipv4(void **state)
{
	struct frame f = frame_udp(&v4, 10);

	(void)state;
	assert_judged(&f, PLANE_PASS);
	for (unsigned ihl = 0; ihl < 5; ihl++) {
		f.data[ETH] = 0x40 | ihl;
		assert_malformed(&f);
	}
	for (unsigned version = 0; version < 16; version++) {
		f.data[ETH] = version << 4 | 5;
		frame_checksum(&f);
		if (version != 4)
			assert_malformed(&f);
	}
	f = frame_udp(&v4, 10);
	/* the test run takes no less than an IP header: tests/unit/bpf/test_parse.c has the shorter ones */
	for (size_t bytes = f.bytes - 1; bytes >= ETH + 20; bytes--) {
		struct frame cut = f;

		cut.bytes = bytes;
		assert_malformed(&cut);
	}
	put16(f.data + ETH + 2, 19);
	frame_checksum(&f);
	assert_malformed(&f);
	f = frame_udp(&v4, 10);
	f.data[ETH + 10] ^= 1;
	assert_malformed(&f);
	f = frame_udp(&v4, 10);
	f.data[ETH] = 0x4f;
	assert_malformed(&f);
}

static void malformed_ipv6(void **state)
{
	struct frame f = frame_udp(&v6, 10);

	(void)state;
	assert_judged(&f, PLANE_PASS);
	for (unsigned version = 0; version < 16; version++) {
		f.data[ETH] = version << 4;
		if (version != 6)
			assert_malformed(&f);
	}
	f = frame_udp(&v6, 10);
	for (size_t bytes = f.bytes - 1; bytes >= ETH + 40; bytes--) {
		struct frame cut = f;

		cut.bytes = bytes;
		assert_malformed(&cut);
	}
}

/* The IP length counts, not the frame's: what is behind it is padding. */
static void padding(void **state)
{
	struct frame f = frame_udp(&v4, 0), g = frame_udp(&v6, 0);
	struct merlon_session session;

	(void)state;
	f.bytes += 18;
	assert_judged(&f, PLANE_PASS);
	assert_true(plane_session(&plane, MERLON_IPV4, &session));
	assert_int_equal(session.stats[0].bytes, 28);
	g.bytes += 18;
	assert_judged(&g, PLANE_PASS);
	assert_true(plane_session(&plane, MERLON_IPV6, &session));
	assert_int_equal(session.stats[0].bytes, 48);
	/* ports in the padding are none: 53 is there, but the datagram ends before it */
	f = frame_udp(&v4, 0);
	put16(f.data + ETH + 2, 20 + 3);
	frame_checksum(&f);
	assert_judged(&f, PLANE_SHOT);
}

static void options(void **state)
{
	static const uint8_t nop[40] = { [0 ... 39] = 1 };

	(void)state;
	for (unsigned n = 4; n <= 40; n += 4) {
		struct frame f = frame_udp(&v4, 10);

		frame_insert(&f, nop, n);
		f.data[ETH] = 0x45 + n / 4;
		frame_length(&f, f.bytes);
		assert_judged(&f, PLANE_PASS);
		f.data[ETH + 20 + n - 1] ^= 2;
		assert_malformed(&f);
	}
}

static void icmp_of_one_byte(void **state)
{
	struct frame f = frame_icmp(&v4, 8, 0, 0), g = frame_icmp(&v6, 128, 0, 0);

	(void)state;
	frame_length(&f, f.l4 + 1);
	assert_malformed(&f);
	frame_length(&g, g.l4 + 1);
	assert_malformed(&g);
	frame_length(&f, f.l4 + 0);
	assert_judged(&f, PLANE_PASS);
}

/* An extension header in front of what is there. */
static void extend(struct frame *f, uint8_t type, size_t bytes)
{
	uint8_t header[256] = { f->data[ETH + 6], bytes / 8 - 1 };
	size_t l4 = f->l4;

	if (type == 51)
		header[1] = bytes / 4 - 2;
	f->data[ETH + 6] = type;
	f->l4 = ETH + 40;
	frame_insert(f, header, bytes);
	f->l4 = l4 + bytes;
}

static void extension_headers(void **state)
{
	static const uint8_t types[] = { 0, 43, 60 };
	struct frame f;

	(void)state;
	for (size_t i = 0; i < sizeof(types); i++)
		for (size_t bytes = 8; bytes <= 64; bytes += 8) {
			plane_forget(&plane);
			f = frame_udp(&v6, 10);
			extend(&f, types[i], bytes);
			assert_judged(&f, PLANE_PASS);
			put16(f.data + f.l4 + 2, 54);
			assert_judged(&f, PLANE_SHOT);
		}
	f = frame_udp(&v6, 10);
	for (int i = 1; i <= 8; i++) {
		extend(&f, 60, 8);
		plane_forget(&plane);
		assert_judged(&f, PLANE_PASS);
	}
	/* beyond the bound no protocol is known, and a rule on ports must not be got round */
	extend(&f, 60, 8);
	assert_malformed(&f);
	/* a chain that leads out of the packet */
	f = frame_udp(&v6, 10);
	extend(&f, 60, 8);
	f.data[ETH + 41] = 200;
	assert_judged(&f, PLANE_SHOT);
	/* no next header, and one that is cut off */
	f = frame_ip(&v6, 59, 20);
	assert_judged(&f, PLANE_SHOT);
	f = frame_ip(&v6, 60, 7);
	assert_judged(&f, PLANE_SHOT);
}

/* Rules see the authentication header, the session what is behind it. */
static void authentication_header(void **state)
{
	struct frame f = frame_udp(&v6, 10);
	uint64_t before = plane_counter(&plane, 4);

	(void)state;
	extend(&f, 51, 24);
	assert_judged(&f, PLANE_PASS);
	assert_int_equal(plane_counter(&plane, 4), before + 1);
	f.data[ETH + 40] = 1;
	assert_judged(&f, PLANE_PASS);
}

static uint64_t hits(void)
{
	return plane_stat(&plane, MERLON_STAT_HITS);
}

/* A rule on routing headers ahead of all others, as ufw has it: flows are remembered, but not for packets with one. */
static void routing_headers(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, -1, -1, 0, 0, 0, { 1 }, 0, MERLON_DROP, 0, 0, PLANE_ROUTING },
		{ 0, 17, 53, 0, 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	struct frame f = frame_udp(&v6, 10), with = f;
	uint64_t before;

	(void)state;
	plane_rules(&plane, rules, 2, MERLON_DROP);
	extend(&with, 43, 8);
	for (int i = 0; i < 3; i++) {
		with.data[ETH + 42] = PLANE_ROUTING_TYPE;
		assert_judged(&with, PLANE_SHOT);
		with.data[ETH + 42] = PLANE_ROUTING_TYPE + 2;
		before = hits();
		assert_judged(&with, PLANE_PASS);
		assert_judged(&with, PLANE_PASS);
		assert_int_equal(hits(), before);
		assert_judged(&f, PLANE_PASS);
		assert_judged(&f, PLANE_PASS);
		assert_int_equal(hits(), before + (i ? 2 : 1));
	}
}

static void fragments4(void **state)
{
	struct frame first = frame_udp(&v4, 64), later, unknown;

	(void)state;
	put16(first.data + ETH + 4, 4711);
	put16(first.data + ETH + 6, 0x2000);
	put16(first.data + first.l4 + 4, 1000);
	frame_checksum(&first);
	later = first;
	put16(later.data + ETH + 6, 0x2009);
	frame_checksum(&later);
	assert_int_equal(in(&later), PLANE_SHOT);
	assert_judged(&first, PLANE_PASS);
	assert_int_equal(in(&later), PLANE_PASS);
	/* what has nothing but what came before is left out, an empty one ends it for all */
	unknown = later;
	put16(unknown.data + ETH + 6, 0x2001);
	frame_length(&unknown, unknown.l4 + 64);
	assert_int_equal(in(&unknown), PLANE_SHOT);
	assert_int_equal(in(&later), PLANE_PASS);
	frame_length(&unknown, unknown.l4);
	assert_int_equal(in(&unknown), PLANE_SHOT);
	assert_int_equal(in(&later), PLANE_SHOT);
	assert_judged(&first, PLANE_PASS);
	assert_int_equal(in(&later), PLANE_PASS);
	/* and so does one that reaches into the first one and beyond */
	unknown = later;
	put16(unknown.data + ETH + 6, 0x2008);
	frame_checksum(&unknown);
	assert_int_equal(in(&unknown), PLANE_SHOT);
	assert_int_equal(in(&later), PLANE_SHOT);
	assert_judged(&first, PLANE_PASS);
	assert_int_equal(in(&later), PLANE_PASS);
	unknown = later;
	put16(unknown.data + ETH + 4, 4712);
	frame_checksum(&unknown);
	assert_int_equal(in(&unknown), PLANE_SHOT);
	/* the first one denied: all are */
	put16(first.data + first.l4 + 2, 54);
	put16(first.data + ETH + 4, 4712);
	frame_checksum(&first);
	assert_judged(&first, PLANE_SHOT);
	assert_int_equal(in(&unknown), PLANE_SHOT);
	/* another interface knows nothing of it */
	later.data[5] = 2;
	assert_int_equal(plane_ingress(&plane, plane.far, later.data, later.bytes), PLANE_SHOT);
}

static void fragments6(void **state)
{
	struct frame first = frame_udp(&v6, 64), later;

	(void)state;
	put16(first.data + first.l4 + 4, 1000);
	extend(&first, 44, 8);
	put16(first.data + ETH + 42, 1);
	put32(first.data + ETH + 44, 0x12345678);
	later = first;
	put16(later.data + ETH + 42, 72 << 3 | 1);
	assert_int_equal(in(&later), PLANE_SHOT);
	assert_judged(&first, PLANE_PASS);
	assert_int_equal(in(&later), PLANE_PASS);
	put16(later.data + ETH + 42, 72 | 1);
	assert_int_equal(in(&later), PLANE_PASS);
	put16(later.data + ETH + 42, 64 | 1);
	assert_int_equal(in(&later), PLANE_SHOT);
	put32(later.data + ETH + 44, 0x12345679);
	assert_int_equal(in(&later), PLANE_SHOT);
	/* "atomic": a fragment header, but the whole datagram */
	first = frame_udp(&v6, 10);
	extend(&first, 44, 8);
	plane_forget(&plane);
	assert_judged(&first, PLANE_PASS);
}

static void tiny_first_fragment(void **state)
{
	struct frame f = frame_tcp(&v4, F_SYN, 0);

	(void)state;
	frame_length(&f, f.l4 + 8);
	put16(f.data + ETH + 6, 0x2000);
	frame_checksum(&f);
	assert_malformed(&f);
}

static void short_transport_headers(void **state)
{
	(void)state;
	/* the port is there from the fourth byte on: nf_tables reads no more than it needs */
	for (size_t bytes = 0; bytes < 20; bytes++) {
		struct frame f = frame_tcp(&v4, F_SYN, 0), g = frame_tcp(&v6, F_SYN, 0);

		frame_length(&f, f.l4 + bytes);
		assert_judged(&f, bytes >= 4 ? PLANE_PASS : PLANE_SHOT);
		frame_length(&g, g.l4 + bytes);
		assert_judged(&g, bytes >= 4 ? PLANE_PASS : PLANE_SHOT);
	}
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV6), 0);
}

static void not_judged(void **state)
{
	struct flow denied = { "192.0.2.9", "192.0.2.1", 1, 2 };
	struct frame f = frame_udp(&denied, 10), arp, tagged, others;
	uint64_t before = plane_stat(&plane, MERLON_STAT_UNJUDGED);

	(void)state;
	assert_judged(&f, PLANE_SHOT);
	arp = f;
	put16(arp.data + 12, 0x0806);
	assert_int_equal(in(&arp), PLANE_PASS);
	/* a tag that the kernel has not taken off: not this device's */
	tagged = f;
	put16(tagged.data + 12, 0x8100);
	assert_int_equal(in(&tagged), PLANE_PASS);
	others = f;
	others.data[5] = 0x77;
	assert_int_equal(in(&others), PLANE_PASS);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_UNJUDGED), before + 3);
}

/* IP version and Ethernet type that disagree. */
static void wrong_family(void **state)
{
	struct frame f = frame_udp(&v4, 30), g = frame_udp(&v6, 30);

	(void)state;
	put16(f.data + 12, 0x86dd);
	assert_malformed(&f);
	put16(g.data + 12, 0x0800);
	assert_malformed(&g);
}

/* The sender's Ethernet address: there on Ethernet devices, not on loopback. */
static void ether(void **state)
{
	struct flow here = { "127.0.0.1", "127.0.0.1", 1000, 53 };
	struct frame f = frame_udp(&v4, 30), lo = frame_udp(&here, 30);
	const struct plane_rule rule = { .l4proto = -1, .dport = -1, .verdict = MERLON_ACCEPT, .direction = PLANE_ETHER };

	(void)state;
	memcpy(&f.data[6], "\x02\xaa\xbb\xcc\xdd\xee", 6);
	memset(&lo.data[0], 0, 6);	/* loopback's own */
	memcpy(&lo.data[6], &f.data[6], 6);
	plane_rules(&plane, &rule, 1, MERLON_DROP);
	assert_int_equal(in(&f), PLANE_PASS);
	assert_int_equal(plane_ingress(&plane, PLANE_LO, lo.data, lo.bytes), PLANE_SHOT);
	f.data[9]++;
	assert_int_equal(in(&f), PLANE_SHOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(malformed_ipv4), TEST(malformed_ipv6), TEST(padding), TEST(options), TEST(icmp_of_one_byte),
		TEST(extension_headers), TEST(authentication_header), TEST(routing_headers), TEST(fragments4), TEST(fragments6),
		TEST(tiny_first_fragment), TEST(short_transport_headers), TEST(not_judged), TEST(wrong_family),
		TEST(ether),
	};

	return RUN_GROUP(tests, open_plane_kern_ctx, close_plane);
}
