/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions in their tables, `embryonic` and `sessions4` or `sessions6`: finding, locking, entering, moving and forgetting
 * them. Each of these is safe against another CPU that does any of them with the same flow.
 */
#ifndef MERLON_TABLES_H
#define MERLON_TABLES_H

#include "bpf/embryonic.h"
#include "bpf/lock.h"
#include "bpf/maps.h"
#include "bpf/stats.h"

/* The set of embryonic flows that a tuple belongs to, *ret_set, and its tag there. */
merlon_inline struct merlon_embryos *merlon_embryos_of(__u8 family, const union merlon_tuple *tuple, __u32 *ret_set, __u16 *ret_tag)
{
	struct merlon_control *c = merlon_only(control);
	__u64 hash = merlon_tuple_hash(c ? c->seed : 0, family, tuple);

	*ret_set = hash & merlon_sets_mask;
	*ret_tag = merlon_tag_of(family, hash);
	return bpf_map_lookup_elem(&embryonic, ret_set);
}

#define MERLON_NO_PLACE 0xffffffffU

/*
 * Where an embryonic flow is, as a number of set and way; MERLON_NO_PLACE: nowhere. A global function, as others below:
 * the verifier looks at it once, not once for each call.
 */
__noinline __u32 merlon_place_of(const union merlon_tuple *tuple, __u32 family, __u64 now)
{
	struct merlon_embryos *set;
	__u32 at, way;
	__u16 tag;

	if (!tuple)
		return MERLON_NO_PLACE;
	set = merlon_embryos_of(family & 1, tuple, &at, &tag);
	if (!set)
		return MERLON_NO_PLACE;
	way = merlon_embryos_find(set, family & 1, tuple, tag, MERLON_USED(now));
	return way < MERLON_WAYS ? at * MERLON_WAYS + way : MERLON_NO_PLACE;
}

merlon_inline struct merlon_session *merlon_find_embryonic(__u8 family, const union merlon_tuple *tuple, __u64 now)
{
	__u32 place = merlon_place_of(tuple, family, now), at = place / MERLON_WAYS;
	struct merlon_embryos *set;

	if (place == MERLON_NO_PLACE)
		return NULL;
	set = bpf_map_lookup_elem(&embryonic, &at);
	return set ? &set->way[place & (MERLON_WAYS - 1)].session : NULL;
}

merlon_inline struct merlon_session *merlon_lookup(__u8 family, const union merlon_tuple *tuple, __u64 now, int embryonic)
{
	if (embryonic)
		return merlon_find_embryonic(family, tuple, now);
	return family == MERLON_IPV4 ? bpf_map_lookup_elem(&sessions4, &tuple->v4) : bpf_map_lookup_elem(&sessions6, &tuple->v6);
}

/*
 * Locks a session that was looked up. 0; -1: meanwhile it left its table, or what was found is another one's by now, and
 * the lock is not held.
 */
merlon_inline int merlon_hold(struct merlon_session *session, __u8 family, const union merlon_tuple *tuple, int embryonic)
{
	merlon_lock(session);
	if (!(session->flags & MERLON_S_GONE) && (!embryonic || merlon_embryo_is(session, family, tuple)))
		return 0;
	merlon_unlock(session);
	return -1;
}

/* Out of the table of embryonic flows; the caller holds the session's lock. */
__noinline int merlon_clear_embryonic(const union merlon_tuple *tuple, __u32 family)
{
	struct merlon_embryos *set;
	__u32 at, way;
	__u16 tag;

	if (!tuple)
		return 0;
	set = merlon_embryos_of(family & 1, tuple, &at, &tag);
	if (!set)
		return 0;
	merlon_lock_word(&set->lock);
	way = merlon_embryos_way(set, family & 1, tuple, tag);
	if (way < MERLON_WAYS)
		set->tag[way & (MERLON_WAYS - 1)] = 0;
	merlon_unlock_word(&set->lock);
	return 0;
}

/* Takes a session out of its table. The caller holds its lock (merlon_hold()). */
merlon_inline void merlon_forget(__u8 family, const union merlon_tuple *tuple, struct merlon_session *session)
{
	session->flags |= MERLON_S_GONE;
	if (!(session->flags & MERLON_S_PROMOTED))
		merlon_clear_embryonic(tuple, family);
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
	__u16 tag;
	__u32 at;
	int r;

	if (!s)
		return -1;
	family = s->headers.family & 1;
	set = merlon_embryos_of(family, &s->tuple, &at, &tag);
	if (!set)
		return -1;
	s->session.lock = 1;
	merlon_lock_word(&set->lock);
	r = merlon_embryos_enter(set, family, &s->tuple, tag, MERLON_USED(s->now), &s->session, &entered);
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
merlon_inline struct merlon_session *merlon_find_in(__u8 family, const union merlon_tuple *tuple, __u64 now,
						    int embryonic)
{
	struct merlon_session *session = merlon_lookup(family, tuple, now, embryonic);

	if (!session || session->expires_ns >= now)
		return session;
	if (merlon_hold(session, family, tuple, embryonic))
		return NULL;
	if (session->expires_ns < now)
		merlon_forget(family, tuple, session);
	merlon_unlock(session);
	return NULL;
}

merlon_inline struct merlon_session *merlon_find(__u8 family, const union merlon_tuple *tuple, __u64 now)
{
	struct merlon_session *session = merlon_find_in(family, tuple, now, 0);

	if (!session)
		session = merlon_find_in(family, tuple, now, 1);
	/* it may just have been promoted: into the one table before it left the other */
	return session ? session : merlon_find_in(family, tuple, now, 0);
}

/* The session of the scratch's tuple, with its lock; NULL: there is none. It moves at most once in its life. */
merlon_noinline struct merlon_session *merlon_lock_session(const struct merlon_scratch *s)
{
	struct merlon_session *session = merlon_lookup(s->headers.family, &s->tuple, s->now, 0);

	if (session && !merlon_hold(session, s->headers.family, &s->tuple, 0))
		return session;
	session = merlon_lookup(s->headers.family, &s->tuple, s->now, 1);
	if (session && !merlon_hold(session, s->headers.family, &s->tuple, 1))
		return session;
	session = merlon_lookup(s->headers.family, &s->tuple, s->now, 0);
	return session && !merlon_hold(session, s->headers.family, &s->tuple, 0) ? session : NULL;
}

/*
 * A flow that has proved itself moves to where no flood reaches it. If there is no room, it stays. The caller holds its
 * lock; the copy is free.
 */
merlon_inline void merlon_promote(struct merlon_scratch *s, struct merlon_session *session)
{
	long r;

	s->session = *session;
	s->session.lock = 0;
	s->session.flags |= MERLON_S_PROMOTED;
	r = merlon_enter(s->headers.family, &s->tuple, &s->session);
	if (r) {
		merlon_stat(MERLON_STAT_SESSIONS_FULL);
		return;
	}
	merlon_forget(s->headers.family, &s->tuple, session);
}

#endif
