/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions in their table: finding, locking, entering, keeping and forgetting them. Each of these is safe against another CPU
 * that does any of them with the same flow. A session stays where it is; who enters one holds the lock of its tuple's first
 * set, also where it goes into the second.
 */
#ifndef MERLON_TABLE_H
#define MERLON_TABLE_H

#include "bpf/lock.h"
#include "bpf/maps.h"
#include "bpf/set.h"
#include "bpf/stats.h"

/* Which tuple it is. */
merlon_inline __u64 merlon_hash(__u8 family, const union merlon_tuple *tuple)
{
	return merlon_tuple_hash(control.seed, family, tuple);
}

merlon_inline struct merlon_flow_set *merlon_set_head(__u32 at)
{
	at &= merlon_sets_mask;
	return bpf_map_lookup_elem(&sets, &at);
}

merlon_inline struct merlon_flow_ways *merlon_flows_at(__u32 at)
{
	at &= merlon_sets_mask;
	return bpf_map_lookup_elem(&sessions, &at);
}

/* -1: there is none, which cannot be. */
merlon_inline int merlon_set_at(__u32 at, struct merlon_set_ref *ret)
{
	at &= merlon_sets_mask;
	ret->head = bpf_map_lookup_elem(&sets, &at);
	ret->flows = bpf_map_lookup_elem(&sessions, &at);
	return ret->head && ret->flows ? 0 : -1;
}

#define MERLON_NO_PLACE 0xffffffffU

/*
 * Where a flow's session is, as a number of set and way; MERLON_NO_PLACE: nowhere. A global function, as others below: the
 * verifier looks at it once, not once for each call.
 */
__noinline __u32 merlon_place_of(const union merlon_tuple *tuple, __u32 family, __u64 hash)
{
	__u16 tag = merlon_tag_of(family & 1, hash);
	__u32 at = merlon_first_set(hash);

	if (!tuple)
		return MERLON_NO_PLACE;
	merlon_unroll
	for (int i = 0; i < 2; i++) {
		struct merlon_set_ref set;
		__u32 way = merlon_set_at(at, &set) ? MERLON_WAYS : merlon_set_find(&set, family & 1, tuple, tag);

		if (way < MERLON_WAYS)
			return (at & merlon_sets_mask) * MERLON_WAYS + way;
		at = merlon_second_set(hash);
	}
	return MERLON_NO_PLACE;
}

merlon_inline struct merlon_session *merlon_session_at(__u32 place)
{
	struct merlon_flow_ways *flows = merlon_flows_at(place / MERLON_WAYS);

	if (!flows)
		return NULL;
	merlon_opaque(place);	/* or clang adds it to the pointer before that is looked at */
	return &flows->way[place & (MERLON_WAYS - 1)].session;
}

/* The session at a place is used, which is noted of an embryonic one. */
merlon_inline void merlon_use(const struct merlon_session *session, __u32 place, __u64 now)
{
	struct merlon_flow_set *head;

	if (session->flags & MERLON_S_ESTABLISHED)
		return;
	head = merlon_set_head(place / MERLON_WAYS);
	if (head)
		merlon_set_use(head, place & (MERLON_WAYS - 1), MERLON_USED(now));
}

/*
 * A session leaves the table, or is to keep its place there from now on (`keep_ns`, 0: not so): -1, that cannot be. The caller
 * holds its lock.
 */
__noinline int merlon_settle(const union merlon_tuple *tuple, __u32 family, __u64 hash, __u64 keep_ns)
{
	__u32 place = merlon_place_of(tuple, family, hash), way = place & (MERLON_WAYS - 1);
	struct merlon_set_ref set;
	int r = 0;

	if (place == MERLON_NO_PLACE || merlon_set_at(place / MERLON_WAYS, &set))
		return -1;
	merlon_lock_word(&set.head->lock, 0);
	if (keep_ns)
		r = merlon_set_keep(&set, way, keep_ns);
	else
		set.head->tag[way] = 0;
	merlon_unlock_word(&set.head->lock);
	return r;
}

/* Takes a session out of the table, and away from its owner. The caller holds its lock. */
merlon_inline void merlon_forget(__u8 family, const union merlon_tuple *tuple, __u64 hash, struct merlon_session *session)
{
	session->owner = MERLON_LOCKED;
	merlon_settle(tuple, family, hash, 0);
}

/* A flow that has proved itself keeps its place: no flood takes it. The caller holds its lock. */
merlon_inline void merlon_establish(const struct merlon_scratch *s, struct merlon_session *session)
{
	if (merlon_settle(&s->tuple, s->headers.family, s->hash, s->now))
		merlon_stat_apart(MERLON_STAT_SESSIONS_FULL);
	else
		session->flags |= MERLON_S_ESTABLISHED;
}

/* What the set of this number offers the flow in the scratch, as its first or its second. */
__noinline __u64 merlon_offer_of(__u32 at, __u32 is_first)
{
	struct merlon_scratch *s = merlon_only(scratch);
	merlon_offer offer;
	struct merlon_set_ref set;

	if (!s || merlon_set_at(at, &set))
		return 0;
	offer = is_first ? merlon_set_first_offer(&set, s->hash, MERLON_USED(s->now)) : merlon_set_offer(&set, MERLON_USED(s->now));
	return merlon_set_glean(&set, offer, s->hash, s->now);
}

/* scratch->session into the set of this number, which is locked, for an offer of it. 0, -1: no way is to be had, MERLON_BUSY. */
__noinline int merlon_put_into(__u32 at, __u64 offer)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_session *entered = NULL;
	struct merlon_set_ref set;
	__u8 family;
	__u32 way;
	int r;

	if (!s || merlon_set_at(at, &set))
		return -1;
	family = s->headers.family & 1;
	way = offer ? merlon_offered_way(offer) : merlon_set_expired(&set, s->now);
	if (way >= MERLON_WAYS)
		return -1;
	s->session.owner = merlon_owner_of(s->hash) | MERLON_LOCKED;
	r = merlon_set_put(&set, way, family, &s->tuple, merlon_tag_of(family, s->hash), MERLON_USED(s->now), &s->session, &entered);
	if (entered)
		merlon_unlock(entered);
	return r;
}

/* The caller holds the lock of the first set. What merlon_put_into() returns. */
merlon_inline int merlon_put_into_either(struct merlon_scratch *s, __u32 first)
{
	__u32 second = merlon_second_set(s->hash) & merlon_sets_mask;
	__u64 offer = merlon_offer_of(first, 1);
	struct merlon_flow_set *head;
	int r;

	head = second != first && merlon_offer_of(second, 0) > offer ? merlon_set_head(second) : NULL;
	if (!head || !merlon_lock_word_now(&head->lock))
		return merlon_put_into(first, offer);
	r = merlon_put_into(second, merlon_offer_of(second, 0));
	merlon_unlock_word(&head->lock);
	/* it may have filled up since it made its offer */
	return r == -1 ? merlon_put_into(first, offer) : r;
}

#define MERLON_ENTERED_ALREADY (-2)

/* scratch->session into the table, once tried. */
__noinline int merlon_try_to_enter(void)
{
	struct merlon_scratch *s = merlon_only(scratch);
	struct merlon_flow_set *head;
	int r = MERLON_ENTERED_ALREADY;
	__u32 first;

	if (!s)
		return -1;
	first = merlon_first_set(s->hash) & merlon_sets_mask;
	head = merlon_set_head(first);
	if (!head)
		return -1;
	merlon_lock_word(&head->lock, 0);
	if (merlon_place_of(&s->tuple, s->headers.family, s->hash) == MERLON_NO_PLACE)
		r = merlon_put_into_either(s, first);
	merlon_unlock_word(&head->lock);
	return r;
}

#define MERLON_ENTER_TRIES 16

/*
 * scratch->session into the table. 0; MERLON_ENTERED_ALREADY: another CPU has just entered that tuple; -1: there is no
 * place. Between the tries the sets are not locked, so that whoever works there can go on.
 */
merlon_noinline int merlon_enter(void)
{
	int r = -1;

	merlon_unroll
	for (int i = 0; i < MERLON_ENTER_TRIES; i++) {
		r = merlon_try_to_enter();
		if (r != MERLON_BUSY)
			break;
	}
	if (r == 0)
		merlon_stat_apart(MERLON_STAT_NEW_SESSIONS);
	else if (r != MERLON_ENTERED_ALREADY)
		merlon_stat_apart(MERLON_STAT_SESSIONS_FULL);
	return r;
}

/*
 * The session of a tuple, NULL: there is none. An expired one is none, whether or not another has its place. Whoever sees it
 * first takes it out: others might take out what has come in its place.
 */
merlon_inline struct merlon_session *merlon_find(__u8 family, const union merlon_tuple *tuple, __u64 hash, __u64 now)
{
	__u32 place = merlon_place_of(tuple, family, hash);
	struct merlon_session *session = place == MERLON_NO_PLACE ? NULL : merlon_session_at(place);

	if (!session)
		return NULL;
	if (session->expires_ns >= now) {
		merlon_use(session, place, now);
		return session;
	}
	if (merlon_lock(session, hash))
		return NULL;
	if (session->expires_ns < now)
		merlon_forget(family, tuple, hash, session);
	merlon_unlock(session);
	return NULL;
}

/* The session of the scratch's tuple, with its lock; NULL: there is none. */
merlon_noinline struct merlon_session *merlon_lock_session(const struct merlon_scratch *s)
{
	__u32 place = merlon_place_of(&s->tuple, s->headers.family, s->hash);
	struct merlon_session *session = place == MERLON_NO_PLACE ? NULL : merlon_session_at(place);

	return session && !merlon_lock(session, s->hash) ? session : NULL;
}

#endif
