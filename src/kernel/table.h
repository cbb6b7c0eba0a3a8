/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of sessions, as user space sees it. Functions return 0 or a negative errno. */
#ifndef MERLON_KERNEL_TABLE_H
#define MERLON_KERNEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi.h"

/* Its maps' descriptors, which are the caller's. */
struct merlon_table_maps {
	int sessions, sets;
};
struct merlon_flow_table {
	struct merlon_flow_ways *flows;
	struct merlon_flow_set *sets;
	size_t n;	/* of each; a power of two */
};
int merlon_table_map(struct merlon_table_maps maps, struct merlon_flow_table *ret);
void merlon_table_unmap(const struct merlon_flow_table *table);
/*
 * Enters a flow, which keeps its place if it has proved itself (MERLON_S_PROVED), and may then take an embryonic one's.
 * -EEXIST: it is there; -ENOSPC: there is no way for it; -EBUSY: somebody works on what would have to make way. The data path
 * may work on the table meanwhile.
 */
int merlon_table_enter(const struct merlon_flow_table *table, uint64_t seed, enum merlon_family family, const struct merlon_flow *flow,
		       uint64_t now_ns);
/* The session of a tuple, which the data path does not change until it is unlocked: very soon. NULL: there is none, or no more. */
struct merlon_session *merlon_table_lock(const struct merlon_flow_table *table, uint64_t seed, enum merlon_family family,
					 const union merlon_tuple *tuple);
void merlon_table_unlock(struct merlon_session *session);

/* Calls `each` for every flow, expired ones too, until it returns other than 0. It gets a copy, which may be torn. */
int merlon_table_each(struct merlon_table_maps maps, int (*each)(void *context, enum merlon_family family, const struct merlon_flow *flow),
		      void *context);
/* How many flows there are that have not expired. Those that have are in the table until their place is taken. */
int merlon_table_count(struct merlon_table_maps maps, uint64_t now_ns, uint32_t *ret_established, uint32_t *ret_embryonic);
/* The session of a tuple; false: there is none, or the table cannot be read. `seed`: of struct merlon_control. */
bool merlon_table_find(struct merlon_table_maps maps, uint64_t seed, enum merlon_family family, const union merlon_tuple *tuple,
		       struct merlon_session *ret);
/* Forgets all flows, while the data path goes on. */
int merlon_table_flush(struct merlon_table_maps maps);

#endif
