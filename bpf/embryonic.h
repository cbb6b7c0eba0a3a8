/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of embryonic flows (struct merlon_embryos of abi.h): finding, entering, taking out. Pure: the caller has the set.
 *
 * A way may be taken for another flow at any moment, but not while its session is locked. So whoever found a session
 * locks it, which fails if it is not that flow's any more.
 */
#ifndef MERLON_EMBRYONIC_H
#define MERLON_EMBRYONIC_H

#include "bpf/session.h"

#define MERLON_TAG_USED 0x8000
#define MERLON_TAG_IPV6 0x4000
#define MERLON_TAG_HASH 0x3fff

/*
 * Says where a tuple is, the set's number being the lower bits, and whose a session is. Multiplication and xor-shift with a
 * secret seed before each.
 */
merlon_inline __u64 merlon_tuple_hash(__u64 seed, __u8 family, const union merlon_tuple *tuple)
{
	__u64 h = seed ^ tuple->word[0];

	h *= 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 32 ^ tuple->word[1]) + seed;
	h *= 0xbf58476d1ce4e5b9ULL;
	if (family == MERLON_IPV6) {
		h = (h ^ h >> 32 ^ tuple->word[2]) + seed;
		h *= 0x9e3779b97f4a7c15ULL;
		h = (h ^ h >> 32 ^ tuple->word[3]) + seed;
		h *= 0xbf58476d1ce4e5b9ULL;
		h = (h ^ h >> 32 ^ tuple->word[4]) + seed;
		h *= 0x9e3779b97f4a7c15ULL;
	}
	h = (h ^ h >> 29) + seed;
	h *= 0x94d049bb133111ebULL;
	return h ^ h >> 31;
}

/* merlon_session.owner of the session of a tuple with this hash. */
merlon_inline __u32 merlon_owner_of(__u64 hash)
{
	return ((__u32)(hash >> 32) | 2) & ~MERLON_LOCKED;
}

merlon_inline __u16 merlon_tag_of(__u8 family, __u64 hash)
{
	return MERLON_TAG_USED | (family == MERLON_IPV6 ? MERLON_TAG_IPV6 : 0) | (hash >> 48 & MERLON_TAG_HASH);
}

merlon_inline int merlon_tuples_equal(__u8 family, const union merlon_tuple *a, const union merlon_tuple *b)
{
	if (a->word[0] != b->word[0] || a->word[1] != b->word[1])
		return 0;
	return family == MERLON_IPV4 || (a->word[2] == b->word[2] && a->word[3] == b->word[3] && a->word[4] == b->word[4]);
}

/* The way of a tuple with this tag, MERLON_WAYS: it has none. */
merlon_inline __u32 merlon_embryos_way(const struct merlon_embryos *set, __u8 family, const union merlon_tuple *tuple, __u16 tag)
{
	merlon_unroll
	for (__u32 i = 0; i < MERLON_WAYS; i++)
		if (set->tag[i] == tag && merlon_tuples_equal(family, &set->way[i].tuple, tuple))
			return i;
	return MERLON_WAYS;
}

/* The same of one that is used now. */
merlon_inline __u32 merlon_embryos_find(struct merlon_embryos *set, __u8 family, const union merlon_tuple *tuple, __u16 tag,
					__u32 used)
{
	__u32 way = merlon_embryos_way(set, family, tuple, tag);

	if (way < MERLON_WAYS && set->used[way & (MERLON_WAYS - 1)] != used)
		set->used[way & (MERLON_WAYS - 1)] = used;
	return way;
}

#define MERLON_USED_SKEW 1024	/* another CPU may have used a way a little later than this packet came */
#define MERLON_BUSY 1

/* The way to be taken next: an empty one, else the one that was not used for longest. */
merlon_inline __u32 merlon_embryos_oldest(const struct merlon_embryos *set, __u32 used)
{
	__u64 most = 0;

	/* way and age as one number: fewer states for the verifier than two that belong together */
	merlon_unroll
	for (__u32 i = 0; i < MERLON_WAYS; i++) {
		__u64 empty = set->tag[i] - 1ULL;	/* its upper half: all ones, or zeros */
		__u64 age = (__u32)(used + MERLON_USED_SKEW - set->used[i]) | empty >> 32;

		age = age << 8 | (MERLON_WAYS - 1 - i);
		most = age > most ? age : most;
	}
	return MERLON_WAYS - 1 - (most & (MERLON_WAYS - 1));
}

/*
 * Enters a session, whose lock is taken in the copy that is given. The caller has the set's lock. 0; -1: the tuple is
 * there already; MERLON_BUSY: somebody works on what would have to go, or has just taken it out and not let go yet.
 * Nobody waits for that here: who has a session's lock may wait for the set's. The way's session is unlocked by the
 * caller: *ret.
 */
merlon_inline int merlon_embryos_enter(struct merlon_embryos *set, __u8 family, const union merlon_tuple *tuple, __u16 tag, __u32 used,
				   const struct merlon_session *session, struct merlon_session **ret)
{
	__u32 way = merlon_embryos_oldest(set, used);
	struct merlon_embryo *at = &set->way[way & (MERLON_WAYS - 1)];
	__u32 owner;

	if (merlon_embryos_way(set, family, tuple, tag) < MERLON_WAYS)
		return -1;
	owner = *(volatile __u32 *)&at->session.owner;
	if (owner & MERLON_LOCKED || __sync_val_compare_and_swap(&at->session.owner, owner, MERLON_LOCKED) != owner)
		return MERLON_BUSY;
	at->tuple.word[0] = tuple->word[0];
	at->tuple.word[1] = tuple->word[1];
	at->tuple.word[2] = family == MERLON_IPV6 ? tuple->word[2] : 0;
	at->tuple.word[3] = family == MERLON_IPV6 ? tuple->word[3] : 0;
	at->tuple.word[4] = family == MERLON_IPV6 ? tuple->word[4] : 0;
	at->session = *session;
	set->tag[way & (MERLON_WAYS - 1)] = tag;
	set->used[way & (MERLON_WAYS - 1)] = used;
	*ret = &at->session;
	return 0;
}

#endif
