/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * floor [--drop] IFACE...: TCX programs that do nothing, or nothing but drop (ingress alone), at ingress and egress of
 * these interfaces, until standard input ends. What they cost is what no firewall at TC goes below. Prints a line when they
 * are attached.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

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

int main(int argc, char **argv)
{
	int drop = argc > 1 && !strcmp(argv[1], "--drop");
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = drop ? TCX_DROP : TCX_NEXT },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int prog = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "floor", "GPL", insns, 2, NULL);

	for (int i = 1 + drop; i < argc; i++) {
		unsigned ifindex = if_nametoindex(argv[i]);

		if (prog < 0 || !ifindex || attach(prog, ifindex, TCX_INGRESS) < 0 ||
		    (!drop && attach(prog, ifindex, TCX_EGRESS) < 0)) {
			fprintf(stderr, "floor: %s: %s\n", argv[i], strerror(errno));
			return 1;
		}
	}
	puts("attached");
	fflush(stdout);
	/* the links end with this process */
	while (getchar() != EOF)
		;
	return 0;
}
