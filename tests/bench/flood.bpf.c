/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pktgen's place: BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES gives this program frame after frame, and what it
 * returns happens to them: they come in at an interface, as if its wire had brought them, at hardly any cost of a sender.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "tests/bench/flood.h"

struct flood flood_frames = {};
__u64 turn, turns;	/* the next packet, and how many there will be */
__u64 begin_ns, end_ns;	/* when the first and the last one were made */
__u64 last_ns;
__u32 timed;
__u64 times[FLOOD_BUCKETS];

SEC("xdp")
int flood(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;

	if (data + FLOOD_WORDS * 8 > end || !flood_frames.flows)
		return XDP_ABORTED;
	/* pages come back from the stack, which may have written into them: all headers are written anew */
	flood_write(&flood_frames, turn, data);
	if (!turn++)
		begin_ns = bpf_ktime_get_ns();
	if (turn == turns)
		end_ns = bpf_ktime_get_ns();
	if (timed) {
		__u64 now = bpf_ktime_get_ns();

		if (last_ns)
			times[flood_bucket(now - last_ns) & (FLOOD_BUCKETS - 1)]++;
		last_ns = now;
	}
	return XDP_PASS;
}

/* An interface of veth receives live frames only while it has a program. */
SEC("xdp")
int pass(struct xdp_md *xdp)
{
	(void)xdp;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
