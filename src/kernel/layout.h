/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions of a data plane whose maps have another layout. Each data plane keeps the types of its maps (BTF) in a map of
 * its own; by the names of members and states, any version reads any other's (bpf/abi.h). What is not there gets a value
 * that is safe: without all of TCP's windows a connection goes on as one that is picked up; what has a state of
 * unknown name is left out.
 */
#ifndef MERLON_KERNEL_LAYOUT_H
#define MERLON_KERNEL_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi.h"
#include "src/util/diag.h"

struct merlon_layout;

static inline uint8_t merlon_flow_l4proto(enum merlon_family family, const struct merlon_flow *flow)
{
	return family == MERLON_IPV4 ? flow->tuple.v4.l4proto : flow->tuple.v6.l4proto;
}

/*
 * Of two BTFs in raw form, which are not needed any more afterwards. 0, -ENOMEM, or -EPROTO with a diagnostic: sessions cannot
 * be read.
 */
struct merlon_blob {
	const void *data;
	size_t bytes;
};
int merlon_layout_new(const struct merlon_blob *theirs, const struct merlon_blob *ours, struct merlon_layout **ret,
		      struct merlon_diag *diag);
void merlon_layout_free(struct merlon_layout *layout);

/* Of their table: what a set takes, what its flows take, and how many those are. */
size_t merlon_layout_ways_bytes(const struct merlon_layout *layout);
size_t merlon_layout_set_bytes(const struct merlon_layout *layout);
unsigned merlon_layout_ways(const struct merlon_layout *layout);
/* Of their map `control`, as far as it has it. */
size_t merlon_layout_control_bytes(const struct merlon_layout *layout);
void merlon_layout_control(const struct merlon_layout *layout, const void *control, struct merlon_control *ret);

enum merlon_layout_flow {
	MERLON_LAYOUT_EMPTY,	/* there is none, or it has expired */
	MERLON_LAYOUT_FLOW,	/* *ret is filled but for what only its table and its policy know */
	MERLON_LAYOUT_UNKNOWN,	/* it is in a state that this version does not know, or has a number that does not fit */
};
/*
 * Whose the session in a way of one of their sets is, or MERLON_LOCKED: it is being changed. If it is the same before and after
 * the flow is read, that is of one piece. 0 where their layout does not say it.
 */
uint32_t merlon_layout_owner(const struct merlon_layout *layout, const void *ways, unsigned way);
/* The flow in a way of one of their sets. */
enum merlon_layout_flow merlon_layout_flow(const struct merlon_layout *layout, const void *set, const void *ways, unsigned way,
					   uint64_t now_ns, enum merlon_family *ret_family, struct merlon_flow *ret);

#endif
