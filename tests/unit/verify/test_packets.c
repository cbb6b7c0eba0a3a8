/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source of frames: what it makes is read by code of its own and put to the reference. A frame's checksums are
 * right but where its note says otherwise, the same seed gives the same frames, and nearly every rule decides on some.
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

#define FRAMES 20000
#define SEGMENT 2000

static const char *const files[][2] = {
	{ "tests/e2e/rulesets/chains.nft", NULL },    { "tests/e2e/rulesets/sets.nft", NULL },
	{ "tests/e2e/rulesets/stateless.nft", NULL }, { "tests/e2e/rulesets/states.nft", NULL },
	{ "docs/examples/web-db.v4", "docs/examples/web-db.v6" },
};

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
static bool ip_of(const struct merlon_segment *segment, const struct merlon_frame *frame, struct merlon_buffer *ret, uint8_t *family)
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
	struct merlon_naive_result result;
	bool **decided;			/* [chain][rule] */
};

static void note(struct seen *seen, const struct merlon_rule *rule)
{
	for (size_t c = 0; rule && c < seen->ruleset->n_chains; c++) {
		const struct merlon_chain *chain = &seen->ruleset->chain[c];

		if (rule >= chain->rule && rule < chain->rule + chain->n)
			seen->decided[c][rule - chain->rule] = true;
	}
}

/* The packet at one hook, in each state that it could have: rules that decide are noted. */
static void judge(struct seen *seen, const struct merlon_segment *segment, struct merlon_packet *packet, int in, int out)
{
	struct merlon_address address[2];
	struct merlon_naive_input input = { .ruleset = seen->ruleset, .packet = packet, .address = address };

	input.iif_name = in < 0 ? "" : segment->ground.device[in].name;
	input.oif_name = out < 0 ? "" : segment->ground.device[out].name;
	packet->iif = in < 0 ? 0 : segment->ground.device[in].index;
	packet->oif = out < 0 ? 0 : segment->ground.device[out].index;
	merlon_put(packet, MERLON_F_MARK, 0);
	merlon_put(packet, MERLON_F_PKTTYPE, 0);
	for (int state = 0; state < MERLON_CT_STATES; state++) {
		merlon_put(packet, MERLON_F_CT_STATE, state);
		assert_int_equal(merlon_naive(&input, &seen->result), 0);
		for (size_t i = 0; i < seen->result.n_ended; i++)
			note(seen, seen->result.ended[i]);
		for (size_t i = 0; i < seen->result.n_counted; i++)
			note(seen, seen->result.counted[i]);
	}
}

static void judge_frame(struct seen *seen, const struct merlon_segment *segment, const struct merlon_frame *frame)
{
	const struct merlon_ground_address *to;
	struct merlon_packet packet = { 0 };
	struct merlon_headers headers;
	struct merlon_buffer ip;
	uint8_t family;
	bool local;

	if (!ip_of(segment, frame, &ip, &family) || merlon_parse(&ip, family, ip.bytes, &headers) < 0)
		return;
	merlon_fill_packet(&packet, &headers);
	to = place(segment, family, headers.daddr);
	local = !to || to->kind == MERLON_PLACE_LOCAL;
	if (frame->way == MERLON_FRAME_LOCAL) {
		packet.hook = MERLON_OUTPUT;
		judge(seen, segment, &packet, -1, local ? 0 : to->device);
		packet.hook = MERLON_INPUT;
		if (local)
			judge(seen, segment, &packet, 0, -1);
	} else if (local) {
		packet.hook = MERLON_INPUT;
		judge(seen, segment, &packet, frame->device, -1);
	} else if (to->kind == MERLON_PLACE_BEHIND) {
		packet.hook = MERLON_FORWARD;
		packet.field[MERLON_F_TTL]--;
		judge(seen, segment, &packet, frame->device, to->device);
	}
}

static bool has_verdict(const struct merlon_rule *rule)
{
	const struct merlon_statement *s = rule->n ? &rule->statement[rule->n - 1] : NULL;

	return s && s->kind == MERLON_S_VERDICT && s->verdict.verdict <= MERLON_V_REJECT;
}

/* Share of rules with a verdict that some frame is decided by, in percent. */
static double reached(struct seen *seen, bool print)
{
	unsigned n = 0, yes = 0;

	for (size_t c = 0; c < seen->ruleset->n_chains; c++)
		for (size_t r = 0; seen->ruleset->chain[c].reached && r < seen->ruleset->chain[c].n; r++) {
			const struct merlon_rule *rule = &seen->ruleset->chain[c].rule[r];

			if (rule->status != MERLON_EXACT || !has_verdict(rule))
				continue;
			n++;
			yes += seen->decided[c][r];
			if (print && !seen->decided[c][r])
				printf("#   never: %s: %s\n", seen->ruleset->chain[c].name, rule->text ? rule->text : "?");
		}
	return n ? 100.0 * yes / n : 100;
}

static void *must(void *p)
{
	assert_non_null(p);
	return p;
}

static double share(const struct merlon_ruleset *ruleset, size_t frames, uint64_t seed, bool print)
{
	struct merlon_packets *packets;
	struct merlon_segment segment;
	struct seen *seen = must(calloc(1, sizeof(*seen)));
	double ret;

	seen->ruleset = ruleset;
	seen->decided = must(calloc(ruleset->n_chains + 1, sizeof(*seen->decided)));
	for (size_t c = 0; c < ruleset->n_chains; c++)
		seen->decided[c] = must(calloc(ruleset->chain[c].n + 1, 1));
	assert_int_equal(merlon_packets_new(ruleset, seed, &packets), 0);
	for (size_t done = 0; done < frames; done += segment.n, merlon_segment_clear(&segment)) {
		assert_int_equal(merlon_packets_next(packets, SEGMENT < frames ? SEGMENT : frames, &segment), 0);
		assert_true(segment.n > 0);
		for (size_t i = 0; i < segment.n; i++)
			judge_frame(seen, &segment, &segment.frame[i]);
	}
	merlon_packets_free(packets);
	ret = reached(seen, print);
	for (size_t c = 0; c < ruleset->n_chains; c++)
		free(seen->decided[c]);
	free(seen->decided);
	free(seen);
	return ret;
}

static void rules_are_reached(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = load(files[i], files[i][1] ? 2 : 1);
		double few, all;

		if (!ruleset)
			skip();
		few = share(ruleset, 500, 1, false);
		all = share(ruleset, FRAMES, 1, true);
		printf("# %s: %.1f %% of the rules decide on some of 500 frames, %.1f %% of %d\n", files[i][0], few, all, FRAMES);
		assert_true(all >= 97);
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
		while (n < 200000) {
			assert_int_equal(merlon_packets_next(packets, SEGMENT, &segment), 0);
			n += segment.n;
			merlon_segment_clear(&segment);
		}
		printf("# %s: %.0f frames a second\n", files[i][0], n / (now_s() - start));
		merlon_packets_free(packets);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_reached),
		cmocka_unit_test(seeds_decide),
		cmocka_unit_test(speed),
	};

	return cmocka_run_group_tests_name("the frames of verify", tests, NULL, NULL);
}
