/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a packet to its verdict, over a policy image. Compiled into the BPF programs and into the native library.
 */
#ifndef MERLON_CLASSIFY_H
#define MERLON_CLASSIFY_H

#include "bpf/abi.h"
#include "bpf/image.h"

#define MERLON_WALK_LOGS 4

/*
 * The classifier's work area and answer; in the BPF programs an entry of a per-CPU map. The caller fills `packet`
 * and `now_ns`; merlon_classify() fills the rest.
 */
struct merlon_walk {
	struct merlon_packet packet;
	__u64 now_ns;
	/* answer */
	__u32 rule;		/* index of the deciding rule, MERLON_NO_RULE: there is no base chain */
	__u32 generation;	/* of the image */
	__u8 verdict;		/* ACCEPT, DROP or REJECT */
	__u8 reject, reject_code;
	__u8 cacheable;		/* the verdict holds for every packet that agrees in the dimensions and `tcp_flags` */
	__u8 tcp_mask;		/* TCP flags that ops looked at */
	__u8 n_logs, n_counters;
	__u8 failed;		/* the walk could not be finished: verdict is DROP */
	__u32 steps;		/* rules visited */
	struct {
		__u32 rule, log;
	} logs[MERLON_WALK_LOGS];	/* further ones are lost, and counted in logs_lost */
	__u32 logs_lost;
	__u32 mark;		/* packet's mark after the walk */
	__u32 counter[MERLON_PATH_COUNTERS + 1];	/* touched counters in order; more: not cacheable, counted at once */
	/* work area */
	__u64 live;
	__u32 row[MERLON_DIMS];
	__u32 next[MERLON_PLANES];	/* per plane: its first match at or after `from`, as far as it is known */
};

#endif
