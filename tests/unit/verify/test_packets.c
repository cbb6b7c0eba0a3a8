/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source of frames: what it makes is read by code of its own and put to the reference. A frame's checksums are
 * right but where its note says otherwise, the same seed gives the same frames, and nearly every rule is matched by some.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

/* a chain of IPv6 headers there, of rules here */
#define merlon_chain merlon_header_chain
#include "bpf/parse.h"
#undef merlon_chain
#include "compat/compat.h"
#include "src/model/naive.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"
#include "src/verify/frame.h"
#include "tests/unit/compile/maker.h"

#define FRAMES 20000
#define SEGMENT 2000

static const char *const files[][2] = {
	{ "tests/e2e/rulesets/chains.nft", NULL },    { "tests/e2e/rulesets/sets.nft", NULL },
	{ "tests/e2e/rulesets/stateless.nft", NULL }, { "tests/e2e/rulesets/states.nft", NULL },
	{ "docs/examples/web-db.v4", "docs/examples/web-db.v6" },
	{ "tests/e2e/rulesets/lookups.nft", NULL },   { "tests/e2e/rulesets/addrtypes.nft", NULL },
	{ "tests/unit/verify/wide.nft", NULL },
};

/*
 * Rules of these that no packet matches: a mark that nothing sets; what is forwarded though it is for the host itself, and
 * senders that are neither unicast nor the host's.
 */
static const unsigned unmatched[ARRAY_SIZE(files)] = { [5] = 1, [6] = 2 };

static struct merlon_ruleset *load(const char *const *file, size_t n)
{
	const char *top = getenv("MERLON_TOP_SRCDIR");
	struct merlon_source source[2] = { 0 };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	char path[2][512];
	int fd;

	if (merlon_netns_new(&fd) < 0)
		return NULL;
	close(fd);
	for (size_t i = 0; i < n; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/%s", top ? top : ".", file[i]);
		source[i].file = path[i];
	}
	if (merlon_read_files(source, n, &ruleset, &diag) < 0) {
		merlon_diag_print(&diag, stderr);
		fail();
	}
	merlon_diag_clear(&diag);
	return ruleset;
}

static const struct merlon_ground_address *place(const struct merlon_segment *segment, uint8_t family, const void *address)
{
	for (size_t i = 0; i < segment->ground.n_addresses; i++)
		if (segment->ground.address[i].family == family &&
		    !memcmp(segment->ground.address[i].address, address, family == MERLON_IPV4 ? 4 : 16))
			return &segment->ground.address[i];
	return NULL;
}

/* A frame's IP packet. False: there is none. */
static bool ip_of(const struct merlon_segment *segment, const struct merlon_frame *frame, struct merlon_buffer *ret,
		  uint8_t *family)
{
	unsigned at = 0;

	if (frame->way == MERLON_FRAME_DEVICE && !segment->ground.device[frame->device].tun) {
		at = 14;
		if (frame->bytes < 18)
			return false;
		if (frame->data[12] == 0x81 && !frame->data[13])
			at = 18;
		if (!(frame->data[at - 2] == 8 && !frame->data[at - 1]) && !(frame->data[at - 2] == 0x86 && frame->data[at - 1] == 0xdd))
			return false;
	}
	if (frame->bytes <= at)
		return false;
	*ret = (struct merlon_buffer){ frame->data + at, frame->bytes - at };
	*family = ret->data[0] >> 4 == 6 ? MERLON_IPV6 : MERLON_IPV4;
	return ret->data[0] >> 4 == 4 || ret->data[0] >> 4 == 6;
}

struct seen {
	const struct merlon_ruleset *ruleset;
	const struct merlon_segment *segment;
	struct merlon_naive_result result;
	bool **matched;			/* [chain][rule] */
};

static void note(void *context, const struct merlon_rule *rule)
{
	struct seen *seen = context;

	for (size_t c = 0; c < seen->ruleset->n_chains; c++) {
		const struct merlon_chain *chain = &seen->ruleset->chain[c];

		if (rule >= chain->rule && rule < chain->rule + chain->n)
			seen->matched[c][rule - chain->rule] = true;
	}
}

static void add_type(const struct merlon_segment *segment, struct merlon_naive_input *input, const struct merlon_headers *h,
		     bool source)
{
	const uint8_t *a = (const uint8_t *)(source ? h->saddr : h->daddr);
	const struct merlon_ground_address *known = place(segment, h->family, a);
	struct merlon_address *ret = (struct merlon_address *)&input->address[input->n_addresses];
	bool v4 = h->family == MERLON_IPV4;
	int type = RTN_UNSPEC;

	if (known && known->kind == MERLON_PLACE_LOCAL)
		type = RTN_LOCAL;
	else if (v4 ? a[0] >> 4 == 14 : a[0] == 0xff)
		type = RTN_MULTICAST;
	else if (v4 && (a[0] & a[1] & a[2] & a[3]) == 255)
		type = RTN_BROADCAST;
	if (type == RTN_UNSPEC)
		return;
	*ret = (struct merlon_address){ .family = v4 ? AF_INET : AF_INET6, .bits = v4 ? 32 : 128, .type = type };
	memcpy(ret->address, a, 16);
	input->n_addresses++;
}

/* What the Ethernet header says. */
static void put_link(const struct merlon_segment *segment, const struct merlon_frame *frame, struct merlon_packet *packet)
{
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };
	const uint8_t *d = frame->data;

	merlon_put(packet, MERLON_F_PKTTYPE, PACKET_HOST);
	if (frame->way != MERLON_FRAME_DEVICE || segment->ground.device[frame->device].tun)
		return;
	if (d[0] & 1)
		merlon_put(packet, MERLON_F_PKTTYPE, memcmp(d, all, 6) ? PACKET_MULTICAST : PACKET_BROADCAST);
	merlon_put(packet, MERLON_F_ETHER_SADDR_HIGH, merlon_be32(d + 6));
	merlon_put(packet, MERLON_F_ETHER_SADDR_LOW, merlon_be16(d + 10));
}

/* The packet at one hook, in each state that it could have: rules that match are noted. */
static void judge_at(struct seen *seen, struct merlon_naive_input *input, struct merlon_packet *packet, int in, int out)
{
	const struct merlon_ground *g = &seen->segment->ground;

	input->iif_name = in < 0 ? "" : g->device[in].name;
	input->oif_name = out < 0 ? "" : g->device[out].name;
	packet->iif = in < 0 ? 0 : g->device[in].index;
	packet->oif = out < 0 ? 0 : g->device[out].index;
	merlon_put(packet, MERLON_F_MARK, 0);
	for (int i = 0; i < MERLON_CT_STATES * MERLON_DIRECTIONS; i++) {
		merlon_put(packet, MERLON_F_CT_STATE, i / MERLON_DIRECTIONS);
		merlon_put(packet, MERLON_F_CT_DIRECTION, i % MERLON_DIRECTIONS);
		assert_int_equal(merlon_naive(input, &seen->result), 0);
	}
}

static void judge_frame(struct seen *seen, const struct merlon_frame *frame)
{
	const struct merlon_ground_address *to;
	struct merlon_address address[2];
	struct merlon_packet packet = { 0 };
	struct merlon_naive_input input = {
		.ruleset = seen->ruleset, .packet = &packet, .address = address, .met = note, .context = seen,
	};
	struct merlon_headers headers;
	struct merlon_buffer ip;
	uint8_t family;
	bool local;

	if (!ip_of(seen->segment, frame, &ip, &family) || merlon_parse(&ip, family, ip.bytes, &headers) < 0)
		return;
	merlon_fill_packet(&packet, &headers);
	put_link(seen->segment, frame, &packet);
	add_type(seen->segment, &input, &headers, true);
	add_type(seen->segment, &input, &headers, false);
	to = place(seen->segment, family, headers.daddr);
	local = !to || to->kind == MERLON_PLACE_LOCAL;
	if (frame->way == MERLON_FRAME_LOCAL) {
		packet.hook = MERLON_OUTPUT;
		judge_at(seen, &input, &packet, -1, local ? 0 : to->device);
		packet.hook = MERLON_INPUT;
		if (local)
			judge_at(seen, &input, &packet, 0, -1);
	} else if (local) {
		packet.hook = MERLON_INPUT;
		judge_at(seen, &input, &packet, frame->device, -1);
	} else if (to->kind == MERLON_PLACE_BEHIND) {
		packet.hook = MERLON_FORWARD;
		packet.field[MERLON_F_TTL]--;
		judge_at(seen, &input, &packet, frame->device, to->device);
	}
}

/* Share of rules that some frame matches, in percent, and how many none does. */
static double reached(struct seen *seen, bool print, unsigned *ret_never)
{
	unsigned n = 0, yes = 0;

	for (size_t c = 0; c < seen->ruleset->n_chains; c++)
		for (size_t r = 0; seen->ruleset->chain[c].reached && r < seen->ruleset->chain[c].n; r++) {
			const struct merlon_rule *rule = &seen->ruleset->chain[c].rule[r];

			if (rule->status != MERLON_EXACT)
				continue;
			n++;
			yes += seen->matched[c][r];
			if (print && !seen->matched[c][r])
				printf("#   never: %s: %s\n", seen->ruleset->chain[c].name, rule->text ? rule->text : "?");
		}
	*ret_never = n - yes;
	return n ? 100.0 * yes / n : 100;
}

static void *must(void *p)
{
	assert_non_null(p);
	return p;
}

static double share(const struct merlon_ruleset *ruleset, size_t frames, bool print, unsigned *ret_never)
{
	struct merlon_packets *packets;
	struct merlon_segment segment;
	struct seen *seen = must(calloc(1, sizeof(*seen)));
	double ret;

	seen->ruleset = ruleset;
	seen->segment = &segment;
	seen->matched = must(calloc(ruleset->n_chains + 1, sizeof(*seen->matched)));
	for (size_t c = 0; c < ruleset->n_chains; c++)
		seen->matched[c] = must(calloc(ruleset->chain[c].n + 1, 1));
	assert_int_equal(merlon_packets_new(ruleset, 1, &packets), 0);
	for (size_t done = 0; done < frames; done += segment.n, merlon_segment_clear(&segment)) {
		assert_int_equal(merlon_packets_next(packets, SEGMENT < frames ? SEGMENT : frames, &segment), 0);
		assert_true(segment.n > 0);
		for (size_t i = 0; i < segment.n; i++)
			judge_frame(seen, &segment.frame[i]);
	}
	merlon_packets_free(packets);
	ret = reached(seen, print, ret_never);
	for (size_t c = 0; c < ruleset->n_chains; c++)
		free(seen->matched[c]);
	free(seen->matched);
	free(seen);
	return ret;
}

static void rules_are_reached(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = load(files[i], files[i][1] ? 2 : 1);
		unsigned never;
		double few, all;

		if (!ruleset)
			skip();
		few = share(ruleset, 500, false, &never);
		all = share(ruleset, FRAMES, true, &never);
		printf("# %s: %.1f %% of the rules match some of 500 frames, %.1f %% of %d\n", files[i][0], few, all, FRAMES);
		assert_in_range(never, 0, unmatched[i]);
	}
}

static uint64_t digest(const struct merlon_ruleset *ruleset, uint64_t seed)
{
	struct merlon_packets *packets;
	struct merlon_segment segment;
	uint64_t h = 1469598103934665603ULL;

	assert_int_equal(merlon_packets_new(ruleset, seed, &packets), 0);
	for (int k = 0; k < 3; k++, merlon_segment_clear(&segment)) {
		assert_int_equal(merlon_packets_next(packets, 1000, &segment), 0);
		for (size_t i = 0; i < segment.n; i++)
			for (uint32_t b = 0; b < segment.frame[i].bytes; b++)
				h = (h ^ segment.frame[i].data[b]) * 1099511628211ULL;
		for (size_t i = 0; i < segment.ground.n_addresses; i++)
			for (int b = 0; b < 16; b++)
				h = (h ^ segment.ground.address[i].address[b] ^ segment.ground.address[i].kind) * 1099511628211ULL;
	}
	merlon_packets_free(packets);
	return h;
}

static void seeds_decide(void **state)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = load(files[0], 1);

	(void)state;
	if (!ruleset)
		skip();
	assert_true(digest(ruleset, 7) == digest(ruleset, 7));
	assert_true(digest(ruleset, 7) != digest(ruleset, 8));
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void speed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = load(files[i], files[i][1] ? 2 : 1);
		struct merlon_packets *packets;
		struct merlon_segment segment;
		double start = now_s();
		size_t n = 0;

		if (!ruleset)
			skip();
		assert_int_equal(merlon_packets_new(ruleset, 3, &packets), 0);
		while (n < 50000) {
			assert_int_equal(merlon_packets_next(packets, SEGMENT, &segment), 0);
			n += segment.n;
			merlon_segment_clear(&segment);
		}
		printf("# %s: %.0f frames a second\n", files[i][0], n / (now_s() - start));
		merlon_packets_free(packets);
	}
}

/* RFC 1071, by another way than the source's. */
static bool sum_right(const uint8_t *data, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? data[i] : (uint32_t)data[i] << 8;
	return (sum % 0xffff) == 0 && sum;
}

static uint32_t pseudo(const uint8_t *ip, bool v4, size_t n, uint8_t l4proto)
{
	uint32_t sum = n + l4proto;

	for (int i = v4 ? 12 : 8; i < (v4 ? 20 : 40); i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	return sum;
}

/* Notes of frames that are right in all they are. */
static bool meant_right(const struct merlon_frame *frame)
{
	static const char *const notes[] = {
		"inside of a rule", "just outside of a rule", "its flow begins", "answered", "goes on", "flow again", "flow to be varied",
		"flow with other flags", "flow on another interface", "random", "open, talk, close", "question and answer", "ICMP type",
		"error", "first segment", "Ethernet padding",
	};

	for (size_t i = 0; i < ARRAY_SIZE(notes); i++)
		if (!strcmp(frame->note, notes[i]))
			return !frame->gso_type && frame->limit == MERLON_LIMIT_NONE;
	return false;
}

static void check_right(const struct merlon_segment *segment, const struct merlon_frame *frame)
{
	struct merlon_headers h;
	struct merlon_buffer ip;
	uint8_t family;

	assert_true(ip_of(segment, frame, &ip, &family));
	assert_int_equal(merlon_parse(&ip, family, ip.bytes, &h), 0);
	assert_true(h.bytes <= 1500);
	if (strcmp(frame->note, "Ethernet padding"))
		assert_int_equal(h.bytes, ip.bytes);
	if (family == MERLON_IPV4)
		assert_true(sum_right(ip.data, 20, 0));
	if (h.ct_proto == IPPROTO_ICMP && family == MERLON_IPV4)
		assert_true(sum_right(ip.data + h.ct_offset, h.ct_bytes, 0));
	else if (h.ct_proto == IPPROTO_TCP || h.ct_proto == IPPROTO_UDP || (h.ct_proto == IPPROTO_ICMPV6 && family == MERLON_IPV6))
		assert_true(sum_right(ip.data + h.ct_offset, h.ct_bytes, pseudo(ip.data, family == MERLON_IPV4, h.ct_bytes, h.ct_proto)));
}

static void check_frame(const struct merlon_segment *segment, const struct merlon_frame *frame)
{
	const struct merlon_ground *g = &segment->ground;

	assert_non_null(frame->note);
	assert_true(frame->limit < MERLON_FRAME_LIMITS);
	if (frame->way == MERLON_FRAME_DEVICE) {
		assert_in_range(frame->device, 1, g->n_devices - 1);
		assert_true(frame->bytes >= (g->device[frame->device].tun ? 1 : 14));
		/* what a tunnel takes is told by the first byte */
		if (g->device[frame->device].tun)
			assert_true(frame->data[0] >> 4 == 4 || frame->data[0] >> 4 == 6);
	} else {
		assert_true(frame->device == MERLON_FRAME_UNBOUND || frame->device < g->n_devices);
		assert_int_equal(frame->gso_type, 0);
		assert_int_equal(frame->csum_offset, 0);
		assert_true(frame->bytes >= 20);
	}
	if (frame->gso_type)
		assert_true(frame->gso_size && frame->csum_offset && frame->header_bytes < frame->bytes);
	else
		assert_true(frame->bytes <= 1500 + 18);
	if (meant_right(frame))
		check_right(segment, frame);
}

static void frames_are_well_formed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = load(files[i], files[i][1] ? 2 : 1);
		struct merlon_packets *packets;
		struct merlon_segment segment;
		size_t right = 0, n = 0;

		if (!ruleset)
			skip();
		assert_int_equal(merlon_packets_new(ruleset, 5, &packets), 0);
		for (int k = 0; k < 10; k++, merlon_segment_clear(&segment)) {
			assert_int_equal(merlon_packets_next(packets, SEGMENT, &segment), 0);
			for (size_t f = 0; f < segment.n; f++, n++) {
				check_frame(&segment, &segment.frame[f]);
				right += meant_right(&segment.frame[f]);
			}
		}
		merlon_packets_free(packets);
		assert_true(right > n / 4);
	}
}

/* Every address that a frame is sent to or from has a place, but those that are no host's. */
static void addresses_have_places(void **state)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = load(files[0], 1);
	struct merlon_packets *packets;
	struct merlon_segment segment;

	(void)state;
	if (!ruleset)
		skip();
	assert_int_equal(merlon_packets_new(ruleset, 11, &packets), 0);
	assert_int_equal(merlon_packets_next(packets, 5000, &segment), 0);
	for (size_t i = 0; i < segment.n; i++) {
		struct merlon_headers h;
		struct merlon_buffer ip;
		uint8_t family;

		if (segment.frame[i].limit || !ip_of(&segment, &segment.frame[i], &ip, &family) ||
		    merlon_parse(&ip, family, ip.bytes, &h) < 0)
			continue;
		if (family == MERLON_IPV4 && (ntohl(h.daddr[0]) >> 28 < 14 && ntohl(h.daddr[0]) >> 24 != 127))
			assert_non_null(place(&segment, family, h.daddr));
		if (family == MERLON_IPV6 && ntohl(h.daddr[0]) >> 29 == 1)
			assert_non_null(place(&segment, family, h.daddr));
	}
	merlon_segment_clear(&segment);
	merlon_packets_free(packets);
}

/* A short run has some of every kind. */
static void short_runs_have_all(void **state)
{
	static const char *const notes[] = {
		"inside of a rule", "just outside of a rule", "its flow begins", "random", "cut off", "ICMP type", "IPv4 header", "fragment",
		"IPv4 option", "to a group or no host", "error about another packet", "short", "flow again",
	};
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = load(files[0], 1);
	unsigned found[ARRAY_SIZE(notes)] = { 0 }, tun = 0, local = 0, super = 0;
	struct merlon_packets *packets;
	struct merlon_segment segment;

	(void)state;
	if (!ruleset)
		skip();
	assert_int_equal(merlon_packets_new(ruleset, 2, &packets), 0);
	assert_int_equal(merlon_packets_next(packets, 500, &segment), 0);
	assert_in_range(segment.n, 500, 700);
	for (size_t i = 0; i < segment.n; i++) {
		const struct merlon_frame *f = &segment.frame[i];

		for (size_t k = 0; k < ARRAY_SIZE(notes); k++)
			found[k] += !strcmp(f->note, notes[k]);
		local += f->way == MERLON_FRAME_LOCAL;
		tun += f->way == MERLON_FRAME_DEVICE && segment.ground.device[f->device].tun;
		super += !!f->gso_type;
	}
	for (size_t k = 0; k < ARRAY_SIZE(notes); k++)
		if (!found[k])
			fail_msg("no frame is \"%s\"", notes[k]);
	assert_true(local && tun && super);
	merlon_segment_clear(&segment);
	merlon_packets_free(packets);
}

static bool has_device(const struct merlon_ground *g, const char *name, unsigned index)
{
	for (unsigned i = 0; i < g->n_devices; i++)
		if (!strcmp(g->device[i].name, name) && (!index || g->device[i].index == index))
			return true;
	return false;
}

static void devices_are_those_of_the_rules(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	uint32_t base = make_base(ruleset, MERLON_INPUT, 0, false);
	struct merlon_packets *packets;
	const struct merlon_ground *g;
	char name[IFNAMSIZ];

	(void)state;
	make_interface(make_rule(ruleset, base), MERLON_F_IIF, "wan", true);
	make_interface(make_rule(ruleset, base), MERLON_F_IIF, "lan7", false);
	make_interface(make_rule(ruleset, base), MERLON_F_IIF, "lo", false);
	make_iif(make_rule(ruleset, base), 4242);
	assert_int_equal(merlon_packets_new(ruleset, 1, &packets), 0);
	g = merlon_packets_devices(packets);
	assert_string_equal(g->device[MERLON_GROUND_LO].name, "lo");
	assert_true(has_device(g, "wan0", 0) && has_device(g, "wan", 0) && has_device(g, "wao0", 0) && has_device(g, "lan7", 0));
	assert_true(has_device(g, "named", 4242));
	assert_int_equal(merlon_packets_left_out(packets), 0);
	for (unsigned i = 0; i < g->n_devices; i++)
		for (unsigned k = 0; k < i; k++)
			assert_true(g->device[i].index && g->device[i].index != g->device[k].index && strcmp(g->device[i].name, g->device[k].name));
	merlon_packets_free(packets);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "port%d", i);
		make_interface(make_rule(ruleset, base), MERLON_F_IIF, name, false);
	}
	assert_int_equal(merlon_packets_new(ruleset, 1, &packets), 0);
	assert_true(merlon_packets_devices(packets)->n_devices <= MERLON_GROUND_DEVICES);
	assert_true(merlon_packets_left_out(packets) >= 30);
	merlon_packets_free(packets);
	merlon_ruleset_free(ruleset);
}

/* saddr . dport in { 192.0.2.0-192.0.2.7 . 80-90, 198.51.100.1 . 443 } */
static struct merlon_lookup *make_pairs(void)
{
	static const struct merlon_part part[] = { { MERLON_F_SADDR, MERLON_IPV4 }, { MERLON_F_TH2, MERLON_IPV4 } };
	static const struct merlon_part_range range[] = { { 0xc0000200, 0xc0000207 }, { 80, 90 }, { 0xc6336401, 0xc6336401 }, { 443, 443 } };
	struct merlon_lookup *lookup = must(calloc(1, sizeof(*lookup)));

	lookup->part = must(calloc(2, sizeof(*lookup->part)));
	memcpy(lookup->part, part, sizeof(part));
	lookup->range = must(calloc(4, sizeof(*lookup->range)));
	memcpy(lookup->range, range, sizeof(range));
	lookup->element = must(calloc(2, sizeof(*lookup->element)));
	lookup->n_parts = lookup->n = 2;
	return lookup;
}

static void corners_of_lookups(void **state)
{
	static const uint32_t wanted[][2] = {
		{ 0xc0000200, 0 }, { 0xc0000207, 0 }, { 0xc00001ff, 0 }, { 0xc0000208, 0 }, { 0xc6336401, 443 }, { 0xc6336400, 443 },
		{ 0xc6336402, 443 }, { 0xc6336401, 442 }, { 0xc6336401, 444 },
	};
	struct merlon_ruleset *ruleset = make_ruleset();
	struct merlon_rule *rule = make_rule(ruleset, make_base(ruleset, MERLON_FORWARD, 0, false));
	bool found[ARRAY_SIZE(wanted)] = { 0 };
	struct merlon_packets *packets;
	struct merlon_segment segment;

	(void)state;
	rule->status = MERLON_EXACT;
	make_match(rule, MERLON_F_L4PROTO, IPPROTO_TCP, IPPROTO_TCP);
	make_statement(rule, MERLON_S_LOOKUP);
	rule->statement[rule->n - 1].lookup = make_pairs();
	make_verdict(rule, MERLON_V_DROP);
	assert_int_equal(merlon_packets_new(ruleset, 1, &packets), 0);
	assert_int_equal(merlon_packets_next(packets, 1000, &segment), 0);
	for (size_t i = 0; i < segment.n; i++) {
		struct merlon_headers h;
		struct merlon_buffer ip;
		uint8_t family;

		if (!ip_of(&segment, &segment.frame[i], &ip, &family) || family != MERLON_IPV4 || merlon_parse(&ip, family, ip.bytes, &h) < 0)
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(wanted); k++)
			found[k] |= ntohl(h.saddr[0]) == wanted[k][0] && (!wanted[k][1] || ntohs(h.dport) == wanted[k][1]);
	}
	for (size_t k = 0; k < ARRAY_SIZE(wanted); k++)
		if (!found[k])
			fail_msg("no packet from %08x to port %u", wanted[k][0], wanted[k][1]);
	merlon_segment_clear(&segment);
	merlon_packets_free(packets);
	merlon_ruleset_free(ruleset);
}

static void many_rules_start_at_once(void **state)
{
	struct merlon_ruleset *ruleset = make_ruleset();
	struct merlon_packets *packets;
	struct merlon_segment segment;
	double began, started, done;

	(void)state;
	for (int hook = 0; hook < 2; hook++) {
		uint32_t base = make_base(ruleset, hook, 0, true);

		for (uint32_t i = 0; i < 5000; i++) {
			struct merlon_rule *rule = make_rule(ruleset, base);

			make_match(rule, MERLON_F_SADDR, 0x0a000000 + i * 16, 0x0a000000 + i * 16 + 7);
			make_match(rule, MERLON_F_TH2, i, i + 1);
			make_verdict(rule, MERLON_V_ACCEPT);
		}
	}
	began = now_s();
	assert_int_equal(merlon_packets_new(ruleset, 1, &packets), 0);
	started = now_s();
	assert_int_equal(merlon_packets_next(packets, 20000, &segment), 0);
	done = now_s();
	printf("# 10,000 rules: started in %.3f s, %.0f frames a second\n", started - began, segment.n / (done - started));
	assert_true(started - began < 2);
	merlon_segment_clear(&segment);
	merlon_packets_free(packets);
	merlon_ruleset_free(ruleset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_well_formed), cmocka_unit_test(addresses_have_places),
		cmocka_unit_test(short_runs_have_all),	  cmocka_unit_test(devices_are_those_of_the_rules),
		cmocka_unit_test(corners_of_lookups),	  cmocka_unit_test(many_rules_start_at_once),
		cmocka_unit_test(rules_are_reached),	  cmocka_unit_test(seeds_decide),
		cmocka_unit_test(speed),
	};

	return cmocka_run_group_tests_name("the frames of verify", tests, NULL, NULL);
}
