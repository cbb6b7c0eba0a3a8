/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * instructions [--lines]: work for valgrind to count, the same each time. Each call of work() is a figure, whose name and
 * packets are printed as a line of JSON in the order of the calls; tests/e2e/budgets.py reads the counts beside them.
 *
 *   hot_v4, hot_v6		a packet of an established connection, native build of the data plane
 *   new_v4, denied_v4		a flow's first packet that 1,000 rules accept, one that they deny
 *   classify_FAMILY_RULES_IP	the classifier alone, native library: families of rulegen.h
 *
 * --lines: for its cache simulation, established packets of one connection, of 100,000 in random order, and new flows beside those.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/classify.h"
#include "src/compile/compile.h"
#include "tests/bench/native.h"
#include "tests/bench/rulegen.h"
#include "tests/bpf/packet.h"

#define PACKETS 1000U
#define FLOWS 100000U
#define FRAME 64U		/* bytes of all frames; a segment of some bytes */
#define SPORT 34		/* offsets in a frame of IPv4 */
#define FIRST_PORT 1024
#define CLASSIFY_RULES 1000U

static const struct flow v4 = { "192.0.2.9", "192.0.2.1", 40000, 22 }, v6 = { "2001:db8::9", "2001:db8::1", 40000, 22 };

static struct {
	uint8_t frame[PACKETS][FRAME];
	uint32_t flow[PACKETS];
	size_t bytes;		/* of the frame that is sent again and again */
	struct merlon_native *native;
	struct merlon_walk walk;
	struct merlon_packet packet[PACKETS];
} work_on;

static void die(const char *what)
{
	fprintf(stderr, "instructions: %s\n", what);
	exit(1);
}

#ifdef __clang__
#define as_it_is noinline
#else
#define as_it_is noipa	/* no copy of it with another name */
#endif

/* What valgrind counts. */
static __attribute__((as_it_is)) void work(void (*step)(uint32_t i))
{
	for (uint32_t i = 0; i < PACKETS; i++)
		step(i);
}

static void figure(const char *name, void (*step)(uint32_t i))
{
	printf("{\"figure\": \"%s\", \"packets\": %u}\n", name, PACKETS);
	work(step);
}

static void step_again(uint32_t i)
{
	(void)i;
	if (native_ingress(work_on.bytes) != NATIVE_PASS)
		die("an established packet did not pass");
}

static void put_flow(uint32_t flow, unsigned from)
{
	uint16_t port[] = { htons(flow & 0xffff), htons(FIRST_PORT + (flow >> 16)) };

	memcpy(native_frame() + SPORT, &port[from], 2);
	memcpy(native_frame() + SPORT + 2, &port[!from], 2);
}

static void step_flow(uint32_t i)
{
	put_flow(work_on.flow[i], 0);
	step_again(i);
}

static void step_frame(uint32_t i)
{
	memcpy(native_frame(), work_on.frame[i], FRAME);
	native_ingress(FRAME);
}

static void step_classify(uint32_t i)
{
	work_on.walk.packet = work_on.packet[i];
	merlon_native_classify(work_on.native, &work_on.walk);
}

static int send_frame(const struct frame *f)
{
	memcpy(native_frame(), f->data, f->bytes);
	return native_ingress(f->bytes);
}

/* A connection, and its next segment in the frame. */
static void open_connection(const struct flow *flow)
{
	struct flow back = reversed(flow);
	const struct frame f[] = { frame_tcp(flow, F_SYN, 0), frame_tcp(&back, F_SYN | F_ACK, 0), frame_tcp(flow, F_ACK, 0),
				   frame_tcp(flow, F_ACK, 10) };

	for (size_t i = 0; i < sizeof(f) / sizeof(f[0]); i++)
		if (send_frame(&f[i]) != NATIVE_PASS)
			die("a connection does not come about");
	work_on.bytes = f[3].bytes;
}

/* All figures of established packets are of such: no other way passed for it. */
static void figure_hit(const char *name, void (*step)(uint32_t i))
{
	uint64_t before = native_stat(MERLON_STAT_HITS);

	figure(name, step);
	if (native_stat(MERLON_STAT_HITS) - before != PACKETS)
		die("packets went another way than the one that is counted");
}

static struct merlon_policy *compile(enum rulegen_kind kind, enum merlon_family family, uint32_t n,
				     struct merlon_ruleset **ret_ruleset)
{
	struct merlon_compile_options options = { .generation = 1, .first_counter = 1, .first_limit = 1,
						  .interface = rulegen_interface, .n_interfaces = RULEGEN_INTERFACES };
	struct merlon_policy *policy = NULL;
	struct merlon_diag diag = { 0 };

	*ret_ruleset = rulegen(kind, family, n, 1);
	if (!*ret_ruleset || merlon_compile(*ret_ruleset, &options, &policy, &diag))
		die("the rules do not compile");
	merlon_diag_clear(&diag);
	return policy;
}

/* First packets of flows that the policy gives this verdict. */
static void choose_frames(const struct merlon_policy *policy, const struct merlon_ruleset *ruleset, uint8_t verdict)
{
	uint64_t seed = 42;

	if (merlon_native_new(policy, &work_on.native))
		die("no memory");
	for (uint32_t i = 0; i < PACKETS;) {
		struct merlon_packet *p = &work_on.walk.packet;
		struct frame f = frame_tcp(&v4, F_SYN, FRAME - ETH - 40);
		uint8_t *ip = f.data + ETH;

		rulegen_packet(ruleset, &seed, p);
		p->field[MERLON_F_L4PROTO] = 6;
		merlon_native_classify(work_on.native, &work_on.walk);
		/* no address that the stack would discard, and no flow that two packets have */
		if (work_on.walk.verdict != verdict || p->field[MERLON_F_SADDR] >> 24 < 1 || p->field[MERLON_F_SADDR] >> 24 > 126 ||
		    p->field[MERLON_F_DADDR] >> 28 > 13)
			continue;
		put32(ip + 12, p->field[MERLON_F_SADDR]);
		put32(ip + 16, p->field[MERLON_F_DADDR]);
		put16(f.data + f.l4, p->field[MERLON_F_TH0]);
		put16(f.data + f.l4 + 2, p->field[MERLON_F_TH2]);
		frame_checksum(&f);
		memcpy(work_on.frame[i++], f.data, FRAME);
	}
	merlon_native_free(work_on.native);
}

/* A flow that is drawn twice is a hit. */
static uint64_t accepted(void)
{
	return native_stat(MERLON_STAT_ACCEPTED) + native_stat(MERLON_STAT_HITS);
}

static void count_plane(void)
{
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy = compile(RULEGEN_FEW, MERLON_IPV4, CLASSIFY_RULES, &ruleset);
	uint64_t before;

	native_open(policy->image, policy->room, 1U << 12);
	open_connection(&v4);
	figure_hit("hot_v4", step_again);
	open_connection(&v6);
	figure_hit("hot_v6", step_again);
	choose_frames(policy, ruleset, MERLON_ACCEPT);
	before = accepted();
	figure("new_v4", step_frame);
	if (accepted() - before != PACKETS)
		die("first packets were not accepted");
	choose_frames(policy, ruleset, MERLON_DROP);
	before = native_stat(MERLON_STAT_DROPPED);
	figure("denied_v4", step_frame);
	if (native_stat(MERLON_STAT_DROPPED) - before != PACKETS)
		die("first packets were not denied");
	native_close();
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

static uint32_t class_of(const struct merlon_policy *policy, uint32_t index)
{
	return index ? merlon_policy_iface_class(policy, index, rulegen_interface[index - 1].name) : 0;
}

static void count_rules(enum rulegen_kind kind, enum merlon_family family, uint32_t n)
{
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy = compile(kind, family, n, &ruleset);
	uint64_t seed = 42;
	char what[32], name[64];

	for (uint32_t i = 0; i < PACKETS; i++) {
		struct merlon_packet *p = &work_on.packet[i];

		rulegen_packet(ruleset, &seed, p);
		p->field[MERLON_F_IIF] = class_of(policy, p->iif);
		p->field[MERLON_F_OIF] = class_of(policy, p->oif);
	}
	if (merlon_native_new(policy, &work_on.native))
		die("no memory");
	snprintf(what, sizeof(what), "%s_%uk_v%d", rulegen_name(kind), n / 1000, family == MERLON_IPV4 ? 4 : 6);
	snprintf(name, sizeof(name), "classify_%s", what);
	figure(name, step_classify);
	printf("{\"figure\": \"image_%s_bytes\", \"value\": %u}\n", what, policy->words * 8);
	merlon_native_free(work_on.native);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

static void count_classifier(void)
{
	for (int kind = 0; kind < RULEGEN_KINDS; kind++)
		for (uint32_t n = CLASSIFY_RULES; n <= 10 * CLASSIFY_RULES; n *= 10) {
			count_rules(kind, MERLON_IPV4, n);
			count_rules(kind, MERLON_IPV6, n);
		}
}

static void count_lines(void)
{
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy = compile(RULEGEN_FEW, MERLON_IPV4, CLASSIFY_RULES, &ruleset);
	struct flow back = reversed(&v4);
	const struct frame f[] = { frame_tcp(&v4, F_SYN, 0), frame_tcp(&back, F_SYN | F_ACK, 0), frame_tcp(&v4, F_ACK, 0),
				   frame_tcp(&v4, F_ACK, 0) };
	uint64_t before;

	native_open(policy->image, policy->room, 1U << 15);
	open_connection(&v4);
	figure_hit("one_flow", step_again);
	for (uint32_t flow = 0; flow < FLOWS; flow++)
		for (size_t i = 0; i < sizeof(f) / sizeof(f[0]); i++) {
			memcpy(native_frame(), f[i].data, FRAME);
			put_flow(flow, i == 1);
			native_ingress(f[i].bytes);
		}
	srandom(1);
	for (uint32_t i = 0; i < PACKETS; i++)
		work_on.flow[i] = random() % FLOWS;
	memcpy(native_frame(), f[3].data, FRAME);
	work_on.bytes = f[3].bytes;
	figure_hit("of_100k_flows", step_flow);
	for (uint32_t i = 0; i < PACKETS; i++)
		work_on.flow[i] = FLOWS + (i * 617U) % PACKETS;
	memcpy(native_frame(), f[0].data, FRAME);
	work_on.bytes = f[0].bytes;
	before = native_stat(MERLON_STAT_NEW_SESSIONS);
	figure("new_beside_100k_flows", step_flow);
	if (native_stat(MERLON_STAT_NEW_SESSIONS) - before != PACKETS)
		die("new flows were not entered");
	native_close();
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--lines")) {
		count_lines();
	} else if (argc > 1) {
		fprintf(stderr, "usage: instructions [--lines]\n");
		return 2;
	} else {
		count_plane();
		count_classifier();
	}
	return 0;
}
