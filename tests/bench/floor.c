/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * floor [--drop|--least] IFACE...: TCX programs that do nothing at ingress and egress of these interfaces, until standard
 * input ends: what they cost is what no firewall at TC goes below. Or ones that do nothing but drop, at ingress alone; or, at
 * ingress, the least that following connections takes (least.bpf.c). Prints a line when they are attached.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "tests/bench/least.skel.h"

#define TCX_INGRESS 46
#define TCX_EGRESS 47
#define TCX_NEXT (-1)
#define TCX_DROP 2

/* libbpf 1.1 knows no links of TCX. */
static int attach(int prog, unsigned ifindex, unsigned type)
{
	struct {
		__u32 prog_fd, target_ifindex, attach_type, flags;
		char rest[48];
	} attr = { .prog_fd = prog, .target_ifindex = ifindex, .attach_type = type };

	return syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
}

static int trivial(int answer)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = answer },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "floor", "GPL", insns, 2, NULL);
}

int main(int argc, char **argv)
{
	bool drop = argc > 1 && !strcmp(argv[1], "--drop"), least = argc > 1 && !strcmp(argv[1], "--least");
	struct least_bpf *skel = least ? least_bpf__open_and_load() : NULL;
	int egress = trivial(TCX_NEXT), ingress = drop ? trivial(TCX_DROP) : skel ? bpf_program__fd(skel->progs.least) : egress;

	if (ingress < 0 || egress < 0 || (least && !skel)) {
		fprintf(stderr, "floor: a program cannot be loaded: %s\n", strerror(errno));
		return 1;
	}
	for (int i = 1 + (drop || least); i < argc; i++) {
		unsigned ifindex = if_nametoindex(argv[i]);

		if (!ifindex || attach(ingress, ifindex, TCX_INGRESS) < 0 || (!drop && attach(egress, ifindex, TCX_EGRESS) < 0)) {
			fprintf(stderr, "floor: %s: %s\n", argv[i], strerror(errno));
			return 1;
		}
	}
	puts("attached");
	fflush(stdout);
	/* the links end with this process */
	while (getchar() != EOF)
		;
	least_bpf__destroy(skel);
	return 0;
}
