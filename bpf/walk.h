/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MERLON_WALK_H
#define MERLON_WALK_H

#include "bpf/abi.h"
#include "bpf/image.h"

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
	/* the verdict holds for all packets that agree in the dimensions, in `tcp_flags`, and in having a routing header */
	__u8 cacheable;
	__u8 tcp_mask;		/* TCP flags that ops looked at */
	__u8 n_logs, n_counters;
	__u8 failed;		/* the walk could not be finished: verdict is DROP */
	__u32 steps;		/* rules visited */
	struct {
		__u32 rule, log, mark;	/* mark: as it was then */
	} logs[MERLON_WALK_LOGS];	/* further ones are lost, and counted in logs_lost */
	__u32 logs_lost;
	__u32 bare_ports;	/* as in the image */
	__u32 mark;		/* packet's mark after the walk */
	__u32 counter[MERLON_PATH_COUNTERS + 1];	/* touched counters in order; more: not cacheable, counted at once */
	/* work area */
	__u64 live;		/* planes (or rules) that may still match */
	__u64 known;		/* planes whose next[] and local[] are set */
	__u64 todo;		/* planes still to be asked for the rule to visit */
	__u32 rules, planes, n_planes, rest;	/* of the list */
	__u32 from;		/* index to go on at */
	__u32 best;		/* the least match at or after `from` found so far ... */
	__u32 at;		/* ... and the word of its struct merlon_image_rule */
	__u32 row[MERLON_DIMS];
	__u32 next[MERLON_PLANES];	/* per plane: its first match at or after `from`, as far as it is known ... */
	__u32 local[MERLON_PLANES];	/* ... and its local index */
	__u32 list;		/* word of the list */
	__u64 lanes, pair;	/* of the packet: MERLON_BOX_LANES(), MERLON_BOX_PAIR() */
	/* buckets of subtables where the packet's may be: the least index that may match at or after `from`, MERLON_NO_RULE: none */
	__u32 n_buckets, subtables;
	__u32 head[MERLON_SUBTABLES], bucket[MERLON_SUBTABLES];	/* bucket: the line of its first box */
	__u32 is[MERLON_SUBTABLES];	/* the word of the rule in the box of head[] */
	__u32 exact;		/* buckets whose head[] and is[] do match */
	__u32 box, looked;	/* being looked at, in which bucket */
	/* the plane being searched */
	__u32 start, found;	/* local indexes: where the search starts, what it found */
	__u32 n_dims, middle_index;
	__u64 top, middle;	/* words of the two upper levels: bits not yet followed */
	__u64 top_bits[MERLON_DIMS], bits[MERLON_DIMS];	/* by the plane's order of dimensions */
	__u32 vector[MERLON_DIMS], leaves[MERLON_DIMS];
	/* the rule being visited */
	__u32 op, failed_op;
	__u32 tries, taken;
	__u64 cost, max;
};

#endif
