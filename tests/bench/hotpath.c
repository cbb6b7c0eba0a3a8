/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hotpath [--json] [--rounds N]: what a packet of an established connection costs at TC ingress above an empty program,
 * its verdict being remembered. Both run through BPF_PROG_TEST_RUN on the same frame, in turns; medians over rounds.
 * The programs are those of the skeleton that merlond embeds, entered where interfaces enter them.
 */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"

#define REPEAT 500000
#define MAX_ROUNDS 101

struct figure {
	const char *name;
	double empty[MAX_ROUNDS], full[MAX_ROUNDS];
};

static int load_empty(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = PLANE_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", insns, 2, NULL);
}

static double run(int prog, int ifindex, const struct frame *f)
{
	struct __sk_buff context = { .ifindex = ifindex, .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->bytes, .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = REPEAT);
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (bpf_prog_test_run_opts(prog, &opts) || (int)opts.retval != PLANE_PASS) {
		fprintf(stderr, "hotpath: a packet did not pass\n");
		exit(1);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / REPEAT;
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

static void measure(struct plane *plane, const struct flow *flow, struct figure *figure, int rounds)
{
	int empty = load_empty(), full = bpf_program__fd(plane->skel->progs.ingress_entry);
	struct frame f = frame_tcp(flow, F_ACK, 6);
	uint64_t hits;

	open_connection(plane, flow);
	run(full, plane->veth, &f);
	hits = plane_stat(plane, MERLON_STAT_HITS);
	for (int i = 0; i < rounds; i++) {
		figure->empty[i] = run(empty, plane->veth, &f);
		figure->full[i] = run(full, plane->veth, &f);
	}
	if (plane_stat(plane, MERLON_STAT_HITS) != hits + (uint64_t)rounds * REPEAT) {
		fprintf(stderr, "hotpath: packets left the short way\n");
		exit(1);
	}
	close(empty);
}

static void print(struct figure *figure, int rounds, int json)
{
	double empty = median(figure->empty, rounds), full = median(figure->full, rounds);

	if (json)
		printf("{\"figure\": \"%s\", \"value\": %.1f, \"unit\": \"ns\"}\n", figure->name, full - empty);
	else
		printf("%-22s %6.1f ns above an empty program (%.1f - %.1f; %.1f to %.1f over %d rounds)\n", figure->name,
		       full - empty, full, empty, figure->full[0], figure->full[rounds - 1], rounds);
}

int main(int argc, char **argv)
{
	static const struct plane_rule rules[] = {
		{ 0, -1, -1, MERLON_BIT(MERLON_CT_ESTABLISHED) | MERLON_BIT(MERLON_CT_RELATED), 0, 0, { 1 }, 0,
		  MERLON_ACCEPT, 0, 0, 0 },
		{ 0, 6, 22, MERLON_BIT(MERLON_CT_NEW), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	static const struct flow v4 = { "192.0.2.9", "192.0.2.1", 40000, 22 }, v6 = { "2001:db8::9", "2001:db8::1", 40000, 22 };
	static struct figure figures[] = { { .name = "hot_path_v4_warm_ns" }, { .name = "hot_path_v6_warm_ns" } };
	int json = 0, rounds = 21;
	struct plane plane;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = 1;
		else if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
			rounds = atoi(argv[++i]);
		else
			rounds = 0;
	}
	if (rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: hotpath [--json] [--rounds N]\n");
		return 2;
	}
	if (plane_open(&plane, true)) {
		fprintf(stderr, "hotpath: needs root\n");
		return 77;
	}
	plane_rules(&plane, rules, 2, MERLON_DROP);
	measure(&plane, &v4, &figures[0], rounds);
	measure(&plane, &v6, &figures[1], rounds);
	print(&figures[0], rounds, json);
	print(&figures[1], rounds, json);
	plane_close(&plane);
	return 0;
}
