/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a pinned program takes for the packets of a file, in nanoseconds above one that does nothing, one pass over them in
 * their order: a line for each pass. Run it in the network namespace of the interface.
 *
 * usage: feed PROGRAM IFACE FILE PASSES VERDICT
 *   PROGRAM: path of a pin; FILE: lines "udp|tcp SADDR SPORT DADDR DPORT", of one address family; VERDICT: what the program
 *   has to return for the last packet of each pass, -1 for pass or 2 for drop
 */
#include <bpf/bpf.h>
#include <net/if.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/bench/feed.h"
#include "tests/bench/feed.skel.h"
#include "tests/bpf/packet.h"

static void die(const char *what)
{
	fprintf(stderr, "feed: %s\n", what);
	exit(1);
}

static int build(const char *line, struct feed_frame *ret)
{
	char proto[8], saddr[48], daddr[48];
	struct flow flow = { saddr, daddr, 0, 0 };
	struct frame frame;

	if (sscanf(line, "%7s %47s %hu %47s %hu", proto, saddr, &flow.sport, daddr, &flow.dport) != 5)
		return -1;
	frame = !strcmp(proto, "tcp") ? frame_tcp(&flow, F_SYN, 0) : frame_udp(&flow, 0);
	if (frame.bytes > sizeof(*ret))
		return -1;
	frame_transport_sum(&frame, !strcmp(proto, "tcp") ? 6 : 17);
	memcpy(ret, frame.data, sizeof(*ret));
	return 0;
}

static struct feed_frame *read_frames(const char *file, uint32_t *ret_n)
{
	struct feed_frame *frames = NULL;
	uint32_t n = 0, room = 0;
	char line[160];
	FILE *in = fopen(file, "r");

	if (!in)
		die("cannot read the packets");
	while (fgets(line, sizeof(line), in)) {
		if (n == room) {
			room = room ? room * 2 : 1024;
			frames = reallocarray(frames, room, sizeof(*frames));
			if (!frames)
				die("no memory");
		}
		if (build(line, &frames[n++]))
			die("a line of the file is no packet of 64 bytes");
	}
	fclose(in);
	*ret_n = n;
	return frames;
}

static int load_empty(int verdict)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = verdict },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", insns, 2, NULL);
}

static struct feed_bpf *load(const struct feed_frame *frame, uint32_t n, int program, int verdict)
{
	struct feed_bpf *feed = feed_bpf__open();
	int prog[] = { program, load_empty(verdict) };
	void *memory;

	if (!feed || bpf_map__set_max_entries(feed->maps.frames, n) || feed_bpf__load(feed))
		die("cannot load the programs");
	for (uint32_t slot = 0; slot < 2; slot++)
		if (bpf_map_update_elem(bpf_map__fd(feed->maps.next), &slot, &prog[slot], 0))
			die("cannot enter a program");
	memory = mmap(NULL, n * sizeof(*frame), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(feed->maps.frames), 0);
	if (memory == MAP_FAILED)
		die("cannot map the frames");
	memcpy(memory, frame, n * sizeof(*frame));
	return feed;
}

static double pass(struct feed_bpf *feed, const struct bpf_program *program, const struct feed_frame *first, uint32_t n,
		   unsigned ifindex, int verdict)
{
	struct __sk_buff context = { .ifindex = ifindex, .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = first, .data_size_in = sizeof(*first), .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = n);
	struct timespec start, end;

	feed->bss->turn = 0;
	/* a test run is all done in the caller's time; what else runs on the processor meanwhile is not of it */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	if (bpf_prog_test_run_opts(bpf_program__fd(program), &opts) || (int)opts.retval != verdict)
		die("a packet has another verdict");
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	return ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / n;
}

int main(int argc, char **argv)
{
	int program = argc == 6 ? bpf_obj_get(argv[1]) : -1, verdict;
	unsigned ifindex;
	struct feed_frame *frame;
	struct feed_bpf *feed;
	uint32_t n;

	if (argc != 6) {
		fprintf(stderr, "usage: feed PROGRAM IFACE FILE PASSES VERDICT\n");
		return 2;
	}
	ifindex = if_nametoindex(argv[2]);
	if (program < 0 || !ifindex)
		die(ifindex ? argv[1] : argv[2]);
	frame = read_frames(argv[3], &n);
	verdict = atoi(argv[5]);
	feed = load(frame, n, program, verdict);
	for (int i = atoi(argv[4]); i > 0; i--) {
		double full = pass(feed, feed->progs.feed, frame, n, ifindex, verdict);

		printf("%.1f\n", full - pass(feed, feed->progs.feed_empty, frame, n, ifindex, verdict));
	}
	feed_bpf__destroy(feed);
	free(frame);
	return 0;
}
