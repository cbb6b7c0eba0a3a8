/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions in their tables, `embryonic` and `sessions4` or `sessions6`: finding, locking, entering, moving and forgetting
 * them. Each of these is safe against another CPU that does any of them with the same flow.
 */
#ifndef MERLON_TABLES_H
#define MERLON_TABLES_H

#include <linux/errno.h>

#include "bpf/embryonic.h"
#include "bpf/lock.h"
#include "bpf/maps.h"
#include "bpf/stats.h"

/* Which tuple it is. 0: there is none. */
merlon_inline __u64 merlon_hash(__u8 family, const union merlon_tuple *tuple)
{
	struct merlon_control *c = merlon_only(control);

	return c ? merlon_tuple_hash(c->seed, family, tuple) : 0;
}

/* The set of embryonic flows that a tuple belongs to. */
merlon_inline struct merlon_embryos *merlon_embryos_of(__u64 hash)
{
	__u32 at = hash & merlon_sets_mask;

	return bpf_map_lookup_elem(&embryonic, &at);
}

#define MERLON_NO_PLACE 0xffffffffU

/*
 * Where an embryonic flow is, as a number of set and way; MERLON_NO_PLACE: nowhere. A global function, as others below:
 * the verifier looks at it once, not once for each call.
 */
__noinline __u32 merlon_place_of(const union merlon_tuple *tuple, __u32 family, __u64 hash, __u64 now)
{
	struct merlon_embryos *set = merlon_embryos_of(hash);
	__u32 way;

	if (!tuple || !set)
		return MERLON_NO_PLACE;
	way = merlon_embryos_find(set, family & 1, tuple, merlon_tag_of(family & 1, hash), MERLON_USED(now));
	return way < MERLON_WAYS ? (hash & merlon_sets_mask) * MERLON_WAYS + way : MERLON_NO_PLACE;
}

merlon_inline struct merlon_session *merlon_find_embryonic(__u8 family, const union merlon_tuple *tuple, __u64 hash, __u64 now)
{
	__u32 place = merlon_place_of(tuple, family, hash, now), at = place / MERLON_WAYS;
	struct merlon_embryos *set;

	if (place == MERLON_NO_PLACE)
		return NULL;
	set = bpf_map_lookup_elem(&embryonic, &at);
	return set ? &set->way[place & (MERLON_WAYS - 1)].session : NULL;
}

merlon_inline struct merlon_session *merlon_find_established(__u8 family, const union merlon_tuple *tuple)
{
	return family == MERLON_IPV4 ? bpf_map_lookup_elem(&sessions4, &tuple->v4) : bpf_map_lookup_elem(&sessions6, &tuple->v6);
}

merlon_inline struct merlon_session *merlon_lookup(__u8 family, const union merlon_tuple *tuple, __u64 hash, __u64 now, int embryonic)
{
	return embryonic ? merlon_find_embryonic(family, tuple, hash, now) : merlon_find_established(family, tuple);
}

/* Out of the table of embryonic flows; the caller holds the session's lock. */
__noinline int merlon_clear_embryonic(const union merlon_tuple *tuple, __u32 family, __u64 hash)
{
	struct merlon_embryos *set = merlon_embryos_of(hash);
	__u32 way;

	if (!tuple || !set)
		return 0;
	merlon_lock_word(&set->lock, 0);
	way = merlon_embryos_way(set, family & 1, tuple, merlon_tag_of(family & 1, hash));
	if (way < MERLON_WAYS)
		set->tag[way & (MERLON_WAYS - 1)] = 0;
	merlon_unlock_word(&set->lock);
	return 0;
}

/* Takes a session out of its table, and away from its owner. The caller holds its lock. */
merlon_inline void merlon_forget(__u8 family, const union merlon_tuple *tuple, __u64 hash, struct merlon_session *session)
{
	session->owner = MERLON_LOCKED;
	if (!(session->flags & MERLON_S_PROMOTED))
		merlon_clear_embryonic(tuple, family, hash);
	else if (family == MERLON_IPV4)
		bpf_map_delete_elem(&sessions4, &tuple->v4);
	else
		bpf_map_delete_elem(&sessions6, &tuple->v6);
}

merlon_inline long merlon_enter(__u8 family, const union merlon_tuple *tuple, const struct merlon_session *session)
{
	return family == MERLON_IPV4 ? bpf_map_update_elem(&sessions4, &tuple->v4, session, BPF_NOEXIST) :
				       bpf_map_update_elem(&sessions6, &tuple->v6, session, BPF_NOEXIST);
}

/* As merlon_embryos_enter(), of the session in the scratch. */
__noinline int merlon_try_to_enter(void)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *entered = NULL;
	struct merlon_embryos *set;
	__u8 family;
	int r;

	if (!s)
		return -1;
	family = s->headers.family & 1;
	set = merlon_embryos_of(s->hash);
	if (!set)
		return -1;
	s->session.owner = merlon_owner_of(s->hash) | MERLON_LOCKED;
	merlon_lock_word(&set->lock, 0);
	r = merlon_embryos_enter(set, family, &s->tuple, merlon_tag_of(family, s->hash), MERLON_USED(s->now), &s->session, &entered);
	merlon_unlock_word(&set->lock);
	if (entered)
		merlon_unlock(entered);
	return r;
}

#define MERLON_ENTER_TRIES 16

/*
 * scratch->session into the table of embryonic flows. 0; -1: another one has just entered that tuple. Between the tries
 * the set is not locked, so that whoever works there can go on.
 */
merlon_noinline int merlon_enter_embryonic(void)
{
	merlon_unroll
	for (int i = 0; i < MERLON_ENTER_TRIES; i++) {
		int r = merlon_try_to_enter();

		if (r != MERLON_BUSY)
			return r;
	}
	return -1;
}

/*
 * An expired session is none, whether or not its memory was given back. Whoever sees it first takes it out: others
 * might take out what has come in its place.
 */
merlon_inline struct merlon_session *merlon_find_in(__u8 family, const union merlon_tuple *tuple, __u64 hash, __u64 now,
						    int embryonic)
{
	struct merlon_session *session = merlon_lookup(family, tuple, hash, now, embryonic);

	if (!session || session->expires_ns >= now)
		return session;
	if (merlon_lock(session, hash))
		return NULL;
	if (session->expires_ns < now)
		merlon_forget(family, tuple, hash, session);
	merlon_unlock(session);
	return NULL;
}

merlon_inline struct merlon_session *merlon_find(__u8 family, const union merlon_tuple *tuple, __u64 hash, __u64 now)
{
	struct merlon_session *session = merlon_find_in(family, tuple, hash, now, 0);

	if (!session)
		session = merlon_find_in(family, tuple, hash, now, 1);
	/* it may just have been promoted: into the one table before it left the other */
	return session ? session : merlon_find_in(family, tuple, hash, now, 0);
}

/* The session of the scratch's tuple, with its lock; NULL: there is none. It moves at most once in its life. */
merlon_noinline struct merlon_session *merlon_lock_session(const struct merlon_scratch *s)
{
	struct merlon_session *session = merlon_find_established(s->headers.family, &s->tuple);

	if (session && !merlon_lock(session, s->hash))
		return session;
	session = merlon_find_embryonic(s->headers.family, &s->tuple, s->hash, s->now);
	if (session && !merlon_lock(session, s->hash))
		return session;
	session = merlon_find_established(s->headers.family, &s->tuple);
	return session && !merlon_lock(session, s->hash) ? session : NULL;
}

/*
 * A flow that has proved itself moves to where no flood reaches it. If there is no room, it stays. The caller holds its
 * lock; the copy is free.
 */
merlon_inline void merlon_promote(struct merlon_scratch *s, struct merlon_session *session)
{
	long r;

	s->session = *session;
	s->session.owner = merlon_owner_of(s->hash);
	s->session.flags |= MERLON_S_PROMOTED;
	r = merlon_enter(s->headers.family, &s->tuple, &s->session);
	if (r) {
		if (r != -EEXIST)
			merlon_stat(MERLON_STAT_SESSIONS_FULL);
		return;
	}
	merlon_forget(s->headers.family, &s->tuple, s->hash, session);
}

#endif
