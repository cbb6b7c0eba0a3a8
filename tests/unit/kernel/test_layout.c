/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions of other layouts: what becomes of numbers that are elsewhere, of other sizes, missing, or said by garbage. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "bpf/set.h"
#include "src/kernel/layout.h"
#include "src/util/cleanup.h"

#define NOW 1000000000ULL

/* Another layout: three ways, numbers of other sizes, in bits, and in another order. */
struct their_end {
	uint32_t maxwin, end, maxend, maxack;
	uint8_t flags, scale;
	uint16_t spare;
};
struct their_tcp {
	uint8_t last_kind, last_direction, last_flags, last_scale, repeats, spare;
	uint16_t last_window;
	uint32_t last_end, last_ack, last_seq;
	struct their_end seen[2];
};
struct their_session {
	uint32_t flags;
	uint32_t spare : 3, state : 5, more : 24;
	struct {
		uint32_t packets;
		uint32_t spare;
		uint64_t bytes;
	} stats[2];
	uint64_t expires_ns;
	struct their_tcp tcp;
};
struct their_flow {
	struct their_session session;
	union {
		struct merlon_tuple4 v4;
		struct merlon_tuple6 v6;
	} tuple;
};
struct their_flow_set {
	struct their_flow way[3];
	uint32_t spare;
};
struct their_tags {
	uint32_t spare;
	uint32_t tag[3];
};
struct their_set {
	struct their_flow_set flows;
	struct their_tags tags;
};

/* What the other side leaves out. */
enum { WITHOUT_WINDOW = 1, WITHOUT_PORT = 2, WITHOUT_FLAGS = 4 };

struct types {
	struct btf *btf;
	int u8, u16, u32, u64;
};

static int array_of(struct types *t, int type, unsigned n)
{
	return btf__add_array(t->btf, t->u32, type, n);
}

static void field(struct types *t, const char *name, int type, size_t offset)
{
	assert_int_equal(btf__add_field(t->btf, name, type, offset * 8, 0), 0);
}

static int add_tuple(struct types *t, const char *name, size_t bytes, int address, unsigned without)
{
	int id = btf__add_struct(t->btf, name, bytes);
	size_t ports = bytes == sizeof(struct merlon_tuple4) ? 8 : 32;

	field(t, "a", address, 0);
	field(t, "b", address, ports / 2);
	field(t, "a_port", t->u16, ports);
	if (!(without & WITHOUT_PORT))
		field(t, "b_port", t->u16, ports + 2);
	field(t, "id", t->u16, ports + 4);
	field(t, "l4proto", t->u8, ports + 6);
	return id;
}

static int add_tcp(struct types *t, unsigned without)
{
	int end = btf__add_struct(t->btf, "merlon_tcp_end", sizeof(struct their_end)), seen, id;

	field(t, "maxwin", t->u32, offsetof(struct their_end, maxwin));
	field(t, "end", t->u32, offsetof(struct their_end, end));
	field(t, "maxend", t->u32, offsetof(struct their_end, maxend));
	if (!(without & WITHOUT_WINDOW))
		field(t, "maxack", t->u32, offsetof(struct their_end, maxack));
	field(t, "flags", t->u8, offsetof(struct their_end, flags));
	field(t, "scale", t->u8, offsetof(struct their_end, scale));
	seen = array_of(t, end, 2);
	id = btf__add_struct(t->btf, "merlon_tcp", sizeof(struct their_tcp));
	field(t, "last_kind", t->u8, offsetof(struct their_tcp, last_kind));
	field(t, "last_direction", t->u8, offsetof(struct their_tcp, last_direction));
	field(t, "last_flags", t->u8, offsetof(struct their_tcp, last_flags));
	field(t, "last_scale", t->u8, offsetof(struct their_tcp, last_scale));
	field(t, "repeats", t->u8, offsetof(struct their_tcp, repeats));
	field(t, "last_window", t->u16, offsetof(struct their_tcp, last_window));
	field(t, "last_end", t->u32, offsetof(struct their_tcp, last_end));
	field(t, "last_ack", t->u32, offsetof(struct their_tcp, last_ack));
	field(t, "last_seq", t->u32, offsetof(struct their_tcp, last_seq));
	field(t, "seen", seen, offsetof(struct their_tcp, seen));
	return id;
}

static int add_session(struct types *t, unsigned without)
{
	int tcp = add_tcp(t, without), count = btf__add_struct(t->btf, NULL, 16), counts, shared, id;

	field(t, "packets", t->u32, 0);
	field(t, "bytes", t->u64, 8);
	counts = array_of(t, count, 2);
	shared = btf__add_union(t->btf, NULL, sizeof(struct their_tcp));
	field(t, "tcp", tcp, 0);
	id = btf__add_struct(t->btf, "merlon_session", sizeof(struct their_session));
	if (!(without & WITHOUT_FLAGS))
		field(t, "flags", t->u32, offsetof(struct their_session, flags));
	assert_int_equal(btf__add_field(t->btf, "state", t->u32, 32 + 3, 5), 0);
	field(t, "stats", counts, offsetof(struct their_session, stats));
	field(t, "expires_ns", t->u64, offsetof(struct their_session, expires_ns));
	field(t, NULL, shared, offsetof(struct their_session, tcp));
	return id;
}

static void add_states(struct types *t)
{
	btf__add_enum(t->btf, "merlon_tcp_state", 4);
	btf__add_enum_value(t->btf, "MERLON_TCP_ESTABLISHED", 9);
	btf__add_enum_value(t->btf, "MERLON_TCP_CLOSE", 3);
	btf__add_enum_value(t->btf, "MERLON_TCP_DREAMING", 4);
	btf__add_enum_value(t->btf, "MERLON_TCP_INVALID", 5);
}

static struct btf *their_btf(unsigned without)
{
	struct types t = { .btf = btf__new_empty() };
	int tuple[2], address, both, session, flow, ways, tags;

	t.u8 = btf__add_int(t.btf, "unsigned char", 1, 0);
	t.u16 = btf__add_int(t.btf, "unsigned short", 2, 0);
	t.u32 = btf__add_int(t.btf, "unsigned int", 4, 0);
	t.u64 = btf__add_int(t.btf, "unsigned long", 8, 0);
	tuple[0] = add_tuple(&t, "merlon_tuple4", sizeof(struct merlon_tuple4), t.u32, without);
	address = array_of(&t, t.u32, 4);
	tuple[1] = add_tuple(&t, "merlon_tuple6", sizeof(struct merlon_tuple6), address, 0);
	both = btf__add_union(t.btf, "merlon_tuple", sizeof(struct merlon_tuple6));
	field(&t, "v4", tuple[0], 0);
	field(&t, "v6", tuple[1], 0);
	session = add_session(&t, without);
	flow = btf__add_struct(t.btf, "merlon_flow", sizeof(struct their_flow));
	field(&t, "session", session, offsetof(struct their_flow, session));
	field(&t, "tuple", both, offsetof(struct their_flow, tuple));
	ways = array_of(&t, flow, 3);
	tags = array_of(&t, t.u32, 3);
	btf__add_struct(t.btf, "merlon_flow_ways", sizeof(struct their_flow_set));
	field(&t, "way", ways, offsetof(struct their_flow_set, way));
	btf__add_struct(t.btf, "merlon_flow_set", sizeof(struct their_tags));
	field(&t, "tag", tags, offsetof(struct their_tags, tag));
	btf__add_struct(t.btf, "merlon_control", 16);
	field(&t, "version", t.u32, 0);
	field(&t, "netns_cookie", t.u64, 8);
	field(&t, "generation", t.u16, 4);
	field(&t, "flags", t.u16, 6);
	add_states(&t);
	return t.btf;
}

static struct btf *our_btf(void)
{
	char path[PATH_MAX];
	struct btf *btf;

	snprintf(path, sizeof(path), "%s/bpf/merlon.bpf.o", getenv("MERLON_TOP_BUILDDIR") ? getenv("MERLON_TOP_BUILDDIR") : ".");
	btf = btf__parse(path, NULL);
	assert_non_null(btf);
	return btf;
}

static struct merlon_blob raw(const struct btf *btf)
{
	uint32_t bytes;
	const void *data = btf__raw_data(btf, &bytes);

	return (struct merlon_blob){ data, bytes };
}

static struct merlon_layout *layout_of(unsigned without)
{
	struct btf *theirs = their_btf(without), *ours = our_btf();
	struct merlon_blob from = raw(theirs), to = raw(ours);
	struct merlon_layout *layout = NULL;
	struct merlon_diag diag = { 0 };

	assert_int_equal(merlon_layout_new(&from, &to, &layout, &diag), 0);
	btf__free(theirs);
	btf__free(ours);
	return layout;
}

static void fill(struct their_set *set)
{
	struct their_flow *flow = &set->flows.way[1];

	memset(set, 0, sizeof(*set));
	set->tags.tag[1] = MERLON_TAG_USED | 5;
	flow->tuple.v4 = (struct merlon_tuple4){ .a = 1, .b = 2, .a_port = 3, .b_port = 4, .id = 5, .l4proto = MERLON_PROTO_TCP };
	flow->session.flags = MERLON_S_SEEN_REPLY | MERLON_S_ASSURED | MERLON_S_ESTABLISHED;
	flow->session.spare = 7;
	flow->session.state = 9;
	flow->session.more = 0xffffff;
	flow->session.expires_ns = NOW + 77;
	for (unsigned d = 0; d < 2; d++) {
		flow->session.stats[d].packets = 0xf0000000U + d;
		flow->session.stats[d].bytes = 0x123456789aULL + d;
		flow->session.tcp.seen[d] = (struct their_end){ .end = 10 + d, .maxend = 20 + d, .maxwin = 30 + d, .maxack = 40 + d,
								.scale = 7, .flags = MERLON_TCP_SCALES | MERLON_TCP_CLOSED };
	}
	flow->session.tcp.last_seq = 0xdeadbeef;
	flow->session.tcp.last_window = 512;
}

static void test_converted(void **state)
{
	struct merlon_layout *layout = layout_of(0);
	enum merlon_family family = MERLON_IPV6;
	struct merlon_flow flow;
	struct their_set set;

	(void)state;
	fill(&set);
	assert_int_equal(merlon_layout_ways_bytes(layout), sizeof(set.flows));
	assert_int_equal(merlon_layout_set_bytes(layout), sizeof(set.tags));
	assert_int_equal(merlon_layout_ways(layout), 3);
	/* which they do not say */
	assert_int_equal(merlon_layout_owner(layout, &set.flows, 1), 0);
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 0, NOW, &family, &flow), MERLON_LAYOUT_EMPTY);
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 2, NOW, &family, &flow), MERLON_LAYOUT_EMPTY);
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW, &family, &flow), MERLON_LAYOUT_FLOW);
	assert_int_equal(family, MERLON_IPV4);
	assert_memory_equal(&flow.tuple.v4, &set.flows.way[1].tuple.v4, sizeof(flow.tuple.v4));
	assert_int_equal(flow.session.state, MERLON_TCP_ESTABLISHED);
	/* whether it keeps its place is its table's to say */
	assert_int_equal(flow.session.flags, MERLON_S_SEEN_REPLY | MERLON_S_ASSURED);
	assert_int_equal(flow.session.expires_ns, NOW + 77);
	for (unsigned d = 0; d < 2; d++) {
		assert_int_equal(flow.session.stats[d].packets, 0xf0000000U + d);
		assert_int_equal(flow.session.stats[d].bytes, 0x123456789aULL + d);
		assert_int_equal(flow.session.tcp.seen[d].end, 10 + d);
		assert_int_equal(flow.session.tcp.seen[d].maxend, 20 + d);
		assert_int_equal(flow.session.tcp.seen[d].maxwin, 30 + d);
		assert_int_equal(flow.session.tcp.seen[d].maxack, 40 + d);
		assert_int_equal(flow.session.tcp.seen[d].scale, 7);
		assert_int_equal(flow.session.tcp.seen[d].flags, MERLON_TCP_SCALES | MERLON_TCP_CLOSED);
	}
	assert_int_equal(flow.session.tcp.last_seq, 0xdeadbeef);
	assert_int_equal(flow.session.tcp.last_window, 512);
	assert_int_equal(flow.session.generation | flow.session.decision[0][0] | flow.session.owner, 0);
	merlon_layout_free(layout);
}

static void test_ipv6(void **state)
{
	struct merlon_layout *layout = layout_of(0);
	enum merlon_family family = MERLON_IPV4;
	struct merlon_flow flow;
	struct their_set set;

	(void)state;
	fill(&set);
	set.tags.tag[1] |= MERLON_TAG_IPV6;
	set.flows.way[1].tuple.v6 = (struct merlon_tuple6){ .a = { 1, 2, 3, 4 }, .b = { 5, 6, 7, 8 }, .a_port = 9, .b_port = 10, .l4proto = MERLON_PROTO_UDP };
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW, &family, &flow), MERLON_LAYOUT_FLOW);
	assert_int_equal(family, MERLON_IPV6);
	assert_memory_equal(&flow.tuple.v6, &set.flows.way[1].tuple.v6, sizeof(flow.tuple.v6));
	/* of what has no states */
	assert_int_equal(flow.session.tcp.seen[0].end, 0);
	merlon_layout_free(layout);
}

static void test_left_out(void **state)
{
	static const uint8_t unknown[] = { 4 /* of another name */, 5 /* no state */, 1 /* of no name */ };
	struct merlon_layout *layout = layout_of(0);
	enum merlon_family family;
	struct merlon_flow flow;
	struct their_set set;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		fill(&set);
		set.flows.way[1].session.state = unknown[i];
		assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW, &family, &flow), MERLON_LAYOUT_UNKNOWN);
	}
	fill(&set);
	set.flows.way[1].session.flags |= 0x100;
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW, &family, &flow), MERLON_LAYOUT_UNKNOWN);
	fill(&set);
	set.flows.way[1].tuple.v4.l4proto = MERLON_PROTO_SCTP;
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW, &family, &flow), MERLON_LAYOUT_UNKNOWN);
	fill(&set);
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW + 78, &family, &flow), MERLON_LAYOUT_EMPTY);
	merlon_layout_free(layout);
}

/* Not all of the windows is no windows: what comes next is believed, as of a connection that is picked up. */
static void test_without_window(void **state)
{
	struct merlon_layout *layout = layout_of(WITHOUT_WINDOW);
	enum merlon_family family;
	struct merlon_flow flow;
	struct their_set set;

	(void)state;
	fill(&set);
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW, &family, &flow), MERLON_LAYOUT_FLOW);
	for (unsigned d = 0; d < 2; d++) {
		assert_int_equal(flow.session.tcp.seen[d].maxwin | flow.session.tcp.seen[d].end, 0);
		assert_int_equal(flow.session.tcp.seen[d].flags, MERLON_TCP_SACKS | MERLON_TCP_LIBERAL | MERLON_TCP_CLOSED);
	}
	set.flows.way[1].session.state = 3;
	assert_int_equal(merlon_layout_flow(layout, &set.tags, &set.flows, 1, NOW, &family, &flow), MERLON_LAYOUT_UNKNOWN);
	merlon_layout_free(layout);
}

static void refused(const struct merlon_blob *from, const char *why)
{
	struct btf *ours = our_btf();
	struct merlon_blob to = raw(ours);
	struct merlon_layout *layout = NULL;
	struct merlon_diag diag = { 0 };

	assert_int_equal(merlon_layout_new(from, &to, &layout, &diag), -EPROTO);
	assert_null(layout);
	assert_int_equal(diag.n, 1);
	assert_non_null(strstr(diag.message[0].text, why));
	merlon_diag_clear(&diag);
	btf__free(ours);
}

static void test_refused(void **state)
{
	struct btf *without_port = their_btf(WITHOUT_PORT), *without_flags = their_btf(WITHOUT_FLAGS), *empty = btf__new_empty();
	struct merlon_blob port = raw(without_port), flags = raw(without_flags), nothing = raw(empty);
	struct merlon_blob text = { "no BTF at all, whatever it is instead", 37 }, none = { "", 0 };

	(void)state;
	refused(&port, "something is missing");
	refused(&flags, "something is missing");
	refused(&nothing, "something is missing");
	refused(&text, "damaged");
	refused(&none, "damaged");
	btf__free(without_port);
	btf__free(without_flags);
	btf__free(empty);
}

/* What it takes for BTF is read within the bounds of a set: the sanitizers see it. */
static void test_garbage(void **state)
{
	struct btf *theirs = their_btf(0), *ours = our_btf();
	struct merlon_blob good = raw(theirs), to = raw(ours);
	unsigned taken = 0, refusals = 0;
	uint64_t random = 1;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		uint8_t *bad = malloc(good.bytes);
		struct merlon_blob from = { bad, good.bytes };
		struct merlon_layout *layout = NULL;
		struct merlon_diag diag = { 0 };

		memcpy(bad, good.data, good.bytes);
		for (int j = 0; j <= i % 3; j++) {
			random = random * 6364136223846793005ULL + 1442695040888963407ULL;
			bad[(random >> 33) % good.bytes] = random >> 25;
		}
		if (merlon_layout_new(&from, &to, &layout, &diag)) {
			refusals++;
			assert_int_equal(diag.n, 1);
		} else {
			size_t bytes = merlon_layout_ways_bytes(layout), control = merlon_layout_control_bytes(layout);
			size_t tags_bytes = merlon_layout_set_bytes(layout);
			uint8_t *set = malloc(bytes), *tags = malloc(tags_bytes), *c = malloc(control);
			struct merlon_control read;

			memset(set, 0x41, bytes);
			memset(tags, 0x41, tags_bytes);
			memset(c, 0x41, control);
			for (unsigned way = 0; way < merlon_layout_ways(layout); way++) {
				enum merlon_family family;
				struct merlon_flow flow;

				merlon_layout_flow(layout, tags, set, way, 0, &family, &flow);
			}
			merlon_layout_control(layout, c, &read);
			free(set);
			free(tags);
			free(c);
			merlon_layout_free(layout);
			taken++;
		}
		merlon_diag_clear(&diag);
		free(bad);
	}
	assert_true(taken && refusals);
	btf__free(theirs);
	btf__free(ours);
}

/* From this layout to itself: nothing is lost but what belongs to a table and a policy. */
static void test_same(void **state)
{
	struct btf *ours = our_btf();
	struct merlon_blob us = raw(ours);
	struct merlon_layout *layout = NULL;
	struct merlon_diag diag = { 0 };
	struct merlon_flow_ways *set = calloc(1, sizeof(*set));
	struct merlon_flow_set tags = { 0 };
	struct merlon_flow *at = &set->way[MERLON_WAYS - 1], flow;
	enum merlon_family family;

	(void)state;
	assert_int_equal(merlon_layout_new(&us, &us, &layout, &diag), 0);
	tags.tag[MERLON_WAYS - 1] = MERLON_TAG_USED;
	at->tuple.v4.l4proto = MERLON_PROTO_TCP;
	at->session.state = MERLON_TCP_FIN_WAIT;
	at->session.flags = MERLON_S_PROVED | MERLON_S_ORIG_IS_A;
	at->session.expires_ns = NOW;
	at->session.created_ns = 5;
	at->session.admitted = 6;
	memset(&at->session.stats, 0x11, sizeof(at->session.stats));
	memset(&at->session.tcp, 0x22, sizeof(at->session.tcp));
	at->session.tcp.pad = at->session.tcp.seen[0].pad = at->session.tcp.seen[1].pad = 0;
	assert_int_equal(merlon_layout_flow(layout, &tags, set, MERLON_WAYS - 1, NOW, &family, &flow), MERLON_LAYOUT_FLOW);
	assert_memory_equal(&flow, at, sizeof(flow));
	at->session.owner = 0x56780002 | MERLON_LOCKED;
	assert_int_equal(merlon_layout_owner(layout, set, MERLON_WAYS - 1), at->session.owner);
	merlon_layout_free(layout);
	btf__free(ours);
	free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_converted),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_without_window),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
