/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decisions in their map: a table of open addressing, of which nothing is taken out while it counts (struct merlon_decision). */
#ifndef MERLON_DECISION_H
#define MERLON_DECISION_H

#include "bpf/maps.h"

/* The same as an entry of the map, NULL: nothing. */
merlon_inline const struct merlon_decision *merlon_remembered(const struct merlon_session *session,
							      const struct merlon_context *context, __u8 direction, __u8 side)
{
	__u32 id = merlon_session_remembers(session, context, direction, side);

	return id ? bpf_map_lookup_elem(&decisions, &id) : NULL;
}

/* Fields that tell decisions of one generation apart, as words. */
#define MERLON_DECISION_WORDS 2
merlon_inline __u64 merlon_decision_word(const struct merlon_decision *d, __u32 i)
{
	return *(const __u64 *)((const char *)d + 8 * (i + 1));
}

merlon_inline int merlon_decisions_equal(const struct merlon_decision *a, const struct merlon_decision *b)
{
	return a->iif == b->iif && merlon_decision_word(a, 0) == merlon_decision_word(b, 0) &&
	       merlon_decision_word(a, 1) == merlon_decision_word(b, 1);
}

/* Fibonacci hashing (Knuth, TAOCP 6.4), word by word; the numbers are the policy's and the interfaces', nobody else's. */
merlon_inline __u32 merlon_decision_hash(const struct merlon_decision *d)
{
	__u64 h = d->iif;

	merlon_unroll
	for (__u32 i = 0; i < MERLON_DECISION_WORDS; i++)
		h = (h ^ h >> 29 ^ merlon_decision_word(d, i)) * 0x9e3779b97f4a7c15ULL;
	return h >> 32;
}

/* The entry that has this decision, which it may take for it; 0: it has another one. */
merlon_inline int merlon_decision_take(struct merlon_decision *at, const struct merlon_decision *d)
{
	__u32 there = *(volatile __u32 *)&at->generation;

	if (there == d->generation)
		return merlon_decisions_equal(at, d);
	if (there == MERLON_DECISION_TAKEN ||
	    __sync_val_compare_and_swap(&at->generation, there, MERLON_DECISION_TAKEN) != there)
		return 0;
	at->iif = d->iif;
	at->oif = d->oif;
	at->path = d->path;
	at->hook = d->hook;
	at->ct_state = d->ct_state;
	at->verdict = d->verdict;
	at->tos = d->tos;
	at->tcp_mask = d->tcp_mask;
	at->tcp_flags = d->tcp_flags;
	__sync_lock_test_and_set(&at->generation, d->generation);
	return 1;
}

merlon_noinline int merlon_decision_take_at(__u32 id, const struct merlon_decision *d)
{
	struct merlon_decision *at = bpf_map_lookup_elem(&decisions, &id);

	return id && at && merlon_decision_take(at, d);
}

/* The index of scratch->decision; 0: there is no room where it would have to be. */
merlon_noinline __u32 merlon_decision_id(struct merlon_scratch *s)
{
	const struct merlon_decision *d = &s->decision;
	__u32 hash = merlon_decision_hash(d), half = d->generation & 1 ? merlon_decisions_mask + 1 : 0;

	merlon_unroll
	for (__u32 i = 0; i < MERLON_DECISION_PROBES; i++) {
		__u32 id = half + ((hash + i) & merlon_decisions_mask);

		if (merlon_decision_take_at(id, d))
			return id;
	}
	return 0;
}

#endif
