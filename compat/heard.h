/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What nf_tables told of the rules that came into an empty namespace: the messages that a dump would have, and for nothing. For
 * each message of a dump the kernel goes through a chain from its beginning (__nf_tables_dump_rules()), so that of a chain
 * of 100,000 rules it takes longer than to load them.
 */
#ifndef MERLON_HEARD_H
#define MERLON_HEARD_H

#include <libmnl/libmnl.h>

#include "src/model/ruleset.h"

struct merlon_heard;

/* Listens, before anything is loaded there. NULL: it cannot, and all is to be dumped. */
struct merlon_heard *merlon_heard_new(int netns);
void merlon_heard_free(struct merlon_heard *heard);
void merlon_heard_freep(struct merlon_heard **heard);

/*
 * Listens until a transaction has come, before `end_ns` (CLOCK_MONOTONIC) and before `child`, a descriptor of the process that makes
 * it, can be read. False: none was told by then.
 */
bool merlon_heard_transaction(struct merlon_heard *heard, int child, uint64_t end_ns);
/* Whether anything was told since the last look, or was lost. */
bool merlon_heard_more(struct merlon_heard *heard);

/*
 * Whether what was heard is certain to be all rules of this generation: they were loaded in one transaction, each behind those
 * before it, nothing was lost. The chains of `ruleset` are those of a dump. If not, the rules are to be dumped.
 */
bool merlon_heard_all(struct merlon_heard *heard, uint32_t generation, const struct merlon_ruleset *ruleset);
/* After that: how many rules there are. */
size_t merlon_heard_count(const struct merlon_heard *heard);
/* Likewise: runs `parse` on the rules' messages, chain by chain, as a dump has them. 0 or a negative errno. */
int merlon_heard_run(const struct merlon_heard *heard, mnl_cb_t parse, void *context);

#endif
