/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hotpath [--build DIR] [--json] [--rounds N] [--only FIGURE]: what packets cost at TC ingress.
 *
 *   hot_path_v4_warm_ns, hot_path_v6_warm_ns   a packet of an established connection above an empty program, its verdict
 *                                              being remembered, always of the same one
 *   hot_path_v4_100k_shuffled_ns               the same over 100,000 connections: one pass, a packet of each, in random order
 *   hot_path_shuffled_floor_ns                 what three cache lines of one of 100,000 flows and a lock in them cost a
 *                                              program that does nothing else, and cannot look for the next packet's
 *                                              meanwhile: less is not to be had
 *   session_create_ns                          a SYN that begins a flow above the same segment with FIN set too: the same
 *                                              rule accepts both at the same place, no tracker follows the other one.
 *                                              So this is tuple, lookups, the session's beginning, its entry into a
 *                                              table that is full (another one is evicted), and the decision in it
 *
 * All run through BPF_PROG_TEST_RUN in turns with what is subtracted; medians over rounds. The programs are those of the
 * skeleton that merlond embeds, entered where interfaces enter them; tables are as large as merlond makes them.
 */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/spread.skel.h"
#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"
#include "src/kernel/table.h"

#define REPEAT 500000
#define MAX_ROUNDS 101
#define FLOWS 100000
#define FIRST_PORT 1024
#define NEW_FLOWS (4096U << 16)	/* more than there are packets: evicting is by CPU, an old session may still be there */

struct figure {
	const char *name, *above;
	void (*measure)(struct plane *plane, int empty, struct spread_bpf *spread, struct figure *figure, int rounds);
	double base[MAX_ROUNDS], full[MAX_ROUNDS];
};

static const struct flow v4 = { "192.0.2.9", "192.0.2.1", 40000, 22 }, v6 = { "2001:db8::9", "2001:db8::1", 40000, 22 };

/* A program on a frame. */
struct way {
	int prog;
	struct frame frame;
	unsigned packets;
};

static void die(const char *what)
{
	fprintf(stderr, "hotpath: %s\n", what);
	exit(1);
}

static int load_empty(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = PLANE_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", insns, 2, NULL);
}

static double run(const struct way *way, int ifindex)
{
	struct __sk_buff context = { .ifindex = ifindex, .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = way->frame.data, .data_size_in = way->frame.bytes,
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = way->packets);
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (bpf_prog_test_run_opts(way->prog, &opts) || (int)opts.retval != PLANE_PASS)
		die("a packet did not pass");
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / way->packets;
}

static int by_size(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median(double *value, int n)
{
	qsort(value, n, sizeof(*value), by_size);
	return n % 2 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
}

static void open_connection(struct plane *plane, const struct flow *flow)
{
	struct flow back = reversed(flow);
	const struct frame frames[] = { frame_tcp(flow, F_SYN, 0), frame_tcp(&back, F_SYN | F_ACK, 0),
					frame_tcp(flow, F_ACK, 0), frame_tcp(flow, F_ACK, 0) };

	for (int i = 0; i < 4; i++)
		plane_ingress(plane, plane->veth, frames[i].data, frames[i].bytes);
}

/* Packets that go the full way are all counted in `stat` (MERLON_STATS: in none), or they were not what the figure is about. */
static void measure(struct plane *plane, struct figure *figure, const struct way *base, const struct way *full,
		    enum merlon_stat stat, int rounds)
{
	uint64_t before, sent = (uint64_t)rounds * full->packets, counted;

	run(full, plane->veth);
	before = stat < MERLON_STATS ? plane_stat(plane, stat) : 0;
	for (int i = 0; i < rounds; i++) {
		figure->base[i] = run(base, plane->veth);
		figure->full[i] = run(full, plane->veth);
	}
	counted = stat < MERLON_STATS ? plane_stat(plane, stat) - before : sent;
	if (counted != sent) {
		fprintf(stderr, "hotpath: %s: %ju of %ju packets went the way that is measured\n", figure->name,
			(uintmax_t)counted, (uintmax_t)sent);
		exit(1);
	}
}

static void measure_warm(struct plane *plane, int empty, const struct flow *flow, struct figure *figure, int rounds)
{
	struct way base = { empty, frame_tcp(flow, F_ACK, 6), REPEAT }, full = base;

	full.prog = bpf_program__fd(plane->skel->progs.ingress_entry);
	open_connection(plane, flow);
	measure(plane, figure, &base, &full, MERLON_STAT_HITS, rounds);
}

static void shuffle(uint32_t *flow)
{
	for (uint32_t i = 0; i < FLOWS; i++) {
		uint32_t j = random() % (i + 1);

		flow[i] = flow[j];
		flow[j] = i;
	}
}

static struct spread_bpf *open_spread(struct plane *plane, int empty)
{
	struct spread_bpf *spread = spread_bpf__open_and_load();
	int prog[] = { bpf_program__fd(plane->skel->progs.ingress_entry), empty };

	if (!spread)
		die("cannot load the program that spreads packets over flows");
	spread->bss->first_dport = FIRST_PORT;
	spread->data->flows = FLOWS;
	shuffle(spread->bss->order);
	for (uint32_t slot = 0; slot < 2; slot++)
		if (bpf_map_update_elem(bpf_map__fd(spread->maps.next), &slot, &prog[slot], 0))
			die("cannot enter a program");
	return spread;
}

/* Makes the only session of the table into those of flows 0 to FLOWS - 1 (spread.bpf.c), entered in random order. */
static void multiply(struct plane *plane)
{
	static uint32_t flow[FLOWS];
	const struct merlon_session *only = plane_the_session(plane);
	struct merlon_flow one;

	if (!only)
		die("there is no session");
	one = *(const struct merlon_flow *)((const char *)only - offsetof(struct merlon_flow, session));
	one.session.expires_ns += 3600000000000ULL;
	shuffle(flow);
	for (uint32_t i = 0; i < FLOWS; i++) {
		/* the server has the lower address */
		one.tuple.v4.a_port = htons(FIRST_PORT + (flow[i] >> 16));
		one.tuple.v4.b_port = htons(flow[i] & 0xffff);
		/* the plane of the tests has no seed */
		if (merlon_table_enter(&plane->table, 0, MERLON_IPV4, &one, 1))
			die("cannot enter a session");
	}
}

static void measure_v4(struct plane *plane, int empty, struct spread_bpf *spread, struct figure *figure, int rounds)
{
	(void)spread;
	measure_warm(plane, empty, &v4, figure, rounds);
}

static void measure_v6(struct plane *plane, int empty, struct spread_bpf *spread, struct figure *figure, int rounds)
{
	(void)spread;
	measure_warm(plane, empty, &v6, figure, rounds);
}

static void measure_shuffled(struct plane *plane, int empty, struct spread_bpf *spread, struct figure *figure, int rounds)
{
	struct way base = { bpf_program__fd(spread->progs.spread_empty), frame_tcp(&v4, F_ACK, 6), FLOWS }, full = base;

	(void)empty;
	plane_forget(plane);
	open_connection(plane, &v4);
	full.prog = bpf_program__fd(spread->progs.spread);
	multiply(plane);
	measure(plane, figure, &base, &full, MERLON_STAT_HITS, rounds);
}

static void measure_floor(struct plane *plane, int empty, struct spread_bpf *spread, struct figure *figure, int rounds)
{
	struct way base = { bpf_program__fd(spread->progs.spread_empty), frame_tcp(&v4, F_ACK, 6), FLOWS }, full = base;

	(void)empty;
	full.prog = bpf_program__fd(spread->progs.spread_touch);
	measure(plane, figure, &base, &full, MERLON_STATS, rounds);
}

static void measure_create(struct plane *plane, int empty, struct spread_bpf *spread, struct figure *figure, int rounds)
{
	static const struct plane_rule accept = { 0, -1, -1, 0, 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 };
	struct way base = { bpf_program__fd(spread->progs.spread), frame_tcp(&v4, F_SYN | F_FIN, 0), REPEAT }, full = base;

	(void)empty;
	plane_forget(plane);
	full.frame = frame_tcp(&v4, F_SYN, 0);
	plane_rules(plane, &accept, 1, MERLON_DROP);
	/* none of those that are established */
	spread->bss->first_dport = 2 * FIRST_PORT;
	spread->data->flows = NEW_FLOWS;
	spread->bss->in_turn = 1;
	measure(plane, figure, &base, &full, MERLON_STAT_NEW_SESSIONS, rounds);
}

static void print(struct figure *figure, int rounds, int json)
{
	double base = median(figure->base, rounds), full = median(figure->full, rounds);

	if (json)
		printf("{\"figure\": \"%s\", \"value\": %.1f, \"unit\": \"ns\", \"low\": %.1f, \"high\": %.1f}\n",
		       figure->name, full - base, figure->full[0] - base, figure->full[rounds - 1] - base);
	else
		printf("%-26s %6.1f ns above %s (%.1f - %.1f; %.1f to %.1f over %d rounds)\n", figure->name, full - base,
		       figure->above, full, base, figure->full[0], figure->full[rounds - 1], rounds);
}

int main(int argc, char **argv)
{
	static const struct plane_rule rules[] = {
		{ 0, -1, -1, MERLON_BIT(MERLON_CT_ESTABLISHED) | MERLON_BIT(MERLON_CT_RELATED), 0, 0, { 1 }, 0,
		  MERLON_ACCEPT, 0, 0, 0 },
		{ 0, 6, 22, MERLON_BIT(MERLON_CT_NEW), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	static struct figure figures[] = {
		{ "hot_path_v4_warm_ns", "an empty program", measure_v4, { 0 }, { 0 } },
		{ "hot_path_v6_warm_ns", "an empty program", measure_v6, { 0 }, { 0 } },
		{ "hot_path_v4_100k_shuffled_ns", "an empty program", measure_shuffled, { 0 }, { 0 } },
		{ "hot_path_shuffled_floor_ns", "an empty program", measure_floor, { 0 }, { 0 } },
		{ "session_create_ns", "a packet that begins none", measure_create, { 0 }, { 0 } },
	};
	const char *only = NULL;
	int json = 0, rounds = 21, empty;
	struct spread_bpf *spread;
	struct plane plane;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = 1;
		else if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
			rounds = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else if (!strcmp(argv[i], "--build") && i + 1 < argc)
			i++;	/* it is built with its programs */
		else
			rounds = 0;
	}
	if (rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: hotpath [--build DIR] [--json] [--rounds N] [--only FIGURE]\n");
		return 2;
	}
	if (plane_open_for(&plane, true, 1U << 18)) {
		fprintf(stderr, "hotpath: needs root\n");
		return 77;
	}
	plane_rules(&plane, rules, 2, MERLON_DROP);
	empty = load_empty();
	spread = open_spread(&plane, empty);
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
		if (only && strcmp(only, figures[i].name) != 0)
			continue;
		figures[i].measure(&plane, empty, spread, &figures[i], rounds);
		print(&figures[i], rounds, json);
	}
	spread_bpf__destroy(spread);
	close(empty);
	plane_close(&plane);
	return 0;
}
