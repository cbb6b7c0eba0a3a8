/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of sessions (struct merlon_flow_ways of abi.h): which way of two sets is a tuple's, and which one it gets. Two choices
 * make sets fill evenly (Azar, Broder, Karlin, Upfal: Balanced Allocations, 1999). Pure: the caller has the sets.
 *
 * An embryonic flow's way may be taken for another one at any moment, but not while its session is locked. So whoever
 * found a session locks it, which fails if it is not that flow's any more.
 */
#ifndef MERLON_SET_H
#define MERLON_SET_H

#include "bpf/session.h"

#define MERLON_TAG_USED 0x8000
#define MERLON_TAG_IPV6 0x4000
#define MERLON_TAG_ESTABLISHED 0x2000
#define MERLON_TAG_HASH 0x1fff

#define MERLON_HASH_FAMILY 47	/* its bit in the hash */

/*
 * Says where a tuple is, and whose a session is. Multiplication and xor-shift with a secret seed before each. One bit is
 * the family: the first words of an IPv6 tuple may be those of an IPv4 one.
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
	h ^= h >> 31;
	return (h & ~(1ULL << MERLON_HASH_FAMILY)) | (__u64)family << MERLON_HASH_FAMILY;
}

/* The two sets where a tuple may be, modulo their number, and the way of the first one that it takes if that is free. */
merlon_inline __u32 merlon_first_set(__u64 hash)
{
	return hash;
}

merlon_inline __u32 merlon_second_set(__u64 hash)
{
	return hash >> 24;
}

merlon_inline __u32 merlon_first_way(__u64 hash)
{
	return hash >> 61 & (MERLON_WAYS - 1);
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

/* A set of the table. */
struct merlon_set_ref {
	struct merlon_flow_set *head;
	struct merlon_flow_ways *flows;
};

/* The way of a tuple with this tag, MERLON_WAYS: it has none. */
merlon_inline __u32 merlon_set_find(const struct merlon_set_ref *set, __u8 family, const union merlon_tuple *tuple, __u16 tag)
{
	merlon_unroll
	for (__u32 i = 0; i < MERLON_WAYS; i++)
		if ((set->head->tag[i] & ~MERLON_TAG_ESTABLISHED) == tag && merlon_tuples_equal(family, &set->flows->way[i].tuple, tuple))
			return i;
	return MERLON_WAYS;
}

/* A flow that is still embryonic is looked for: it stays for longer. The clock ticks rarely, and others read this line. */
merlon_inline void merlon_set_use(struct merlon_flow_set *head, __u32 way, __u32 used)
{
	__u32 *at = &head->used[way & (MERLON_WAYS - 1)];

	if (*at != used)
		*at = used;
}

#define MERLON_USED_SKEW 1024	/* another CPU may have used a way a little later than this packet came */

/* How good the best way of a set is for a new flow: an empty one, of many; the embryonic one unused for longest; 0: none. */
typedef __u64 merlon_offer;
#define MERLON_OFFER_EMPTY (1ULL << 40)

merlon_inline merlon_offer merlon_set_offer(const struct merlon_set_ref *set, __u32 used)
{
	__u64 most = 0, empty = 0;

	/* way and age as one number: fewer states for the verifier than two that belong together */
	merlon_unroll
	for (__u32 i = 0; i < MERLON_WAYS; i++) {
		__u64 tag = set->head->tag[i], age = (__u32)(used + MERLON_USED_SKEW - set->head->used[i]) | 1, is_empty, stays;

		/* or clang makes branches of it, which the verifier goes one by one */
		merlon_opaque(tag);
		is_empty = (tag - 1) >> 63;
		stays = tag / MERLON_TAG_ESTABLISHED & 1;
		merlon_opaque(is_empty);
		merlon_opaque(stays);
		age = (age & (stays - 1)) | (__u64)(__u32)-is_empty;
		age = age << 8 | (MERLON_WAYS - 1 - i);
		most = age > most ? age : most;
		empty += is_empty;
	}
	return most < MERLON_WAYS ? 0 : empty << 40 | most;
}

/* The same of a tuple's first set: if the way that the hash says is empty, that is better than what any other set has. */
merlon_inline merlon_offer merlon_set_first_offer(const struct merlon_set_ref *set, __u64 hash, __u32 used)
{
	__u32 way = merlon_first_way(hash) & (MERLON_WAYS - 1);

	return set->head->tag[way] ? merlon_set_offer(set, used) : (MERLON_WAYS + 1) * MERLON_OFFER_EMPTY | (MERLON_WAYS - 1 - way);
}

merlon_inline __u32 merlon_offered_way(merlon_offer offer)
{
	return MERLON_WAYS - 1 - (offer & (MERLON_WAYS - 1));
}

/* Whether the session in a way keeps its place, but has expired. Nobody takes it out until somebody needs the room. */
merlon_inline int merlon_way_is_over(const struct merlon_set_ref *set, __u32 way, __u64 now)
{
	return set->head->tag[way] & MERLON_TAG_ESTABLISHED && set->flows->way[way].session.expires_ns < now;
}

/* Such a way, MERLON_WAYS: there is none. */
merlon_inline __u32 merlon_set_expired(const struct merlon_set_ref *set, __u64 now)
{
	__u32 way = MERLON_WAYS;

	merlon_unroll
	for (__u32 i = 0; i < MERLON_WAYS; i++)
		if (merlon_way_is_over(set, i, now))
			way = i;
	return way;
}

/*
 * An offer, or a better one where the set is full: in one way, which depends on the flow, it is seen whether what is there
 * has expired. So that is found before long, and a flood does not look through all of them each time.
 */
merlon_inline merlon_offer merlon_set_glean(const struct merlon_set_ref *set, merlon_offer offer, __u64 hash, __u64 now)
{
	__u32 way = hash >> 53 & (MERLON_WAYS - 1);

	return offer < MERLON_OFFER_EMPTY && merlon_way_is_over(set, way, now) ? MERLON_OFFER_EMPTY | (MERLON_WAYS - 1 - way) : offer;
}

#define MERLON_BUSY 1

/*
 * Puts a session, whose lock is taken in the copy that is given, into a way. The caller has the set's lock. 0; MERLON_BUSY:
 * somebody works on what would have to go, or has just taken it out and not let go yet. Nobody waits for that here: who
 * has a session's lock may wait for the set's. The way's session is unlocked by the caller: *ret.
 */
merlon_inline int merlon_set_put(const struct merlon_set_ref *set, __u32 way, __u8 family, const union merlon_tuple *tuple, __u16 tag,
				 __u32 used, const struct merlon_session *session, struct merlon_session **ret)
{
	struct merlon_flow *at = &set->flows->way[way & (MERLON_WAYS - 1)];
	__u32 owner = *(volatile __u32 *)&at->session.owner;

	if (owner & MERLON_LOCKED || __sync_val_compare_and_swap(&at->session.owner, owner, MERLON_LOCKED) != owner)
		return MERLON_BUSY;
	at->tuple.word[0] = tuple->word[0];
	at->tuple.word[1] = tuple->word[1];
	at->tuple.word[2] = family == MERLON_IPV6 ? tuple->word[2] : 0;
	at->tuple.word[3] = family == MERLON_IPV6 ? tuple->word[3] : 0;
	at->tuple.word[4] = family == MERLON_IPV6 ? tuple->word[4] : 0;
	at->session = *session;
	set->head->tag[way & (MERLON_WAYS - 1)] = tag;
	set->head->used[way & (MERLON_WAYS - 1)] = used;
	*ret = &at->session;
	return 0;
}

/* Lets the flow in a way keep its place. The caller has the set's lock. -1: so many do already, and none has expired. */
merlon_inline int merlon_set_keep(const struct merlon_set_ref *set, __u32 way, __u64 now)
{
	__u32 kept = 0, over;

	/* user space has just taken it out */
	if (!set->head->tag[way & (MERLON_WAYS - 1)])
		return -1;
	merlon_unroll
	for (__u32 i = 0; i < MERLON_WAYS; i++)
		kept += set->head->tag[i] / MERLON_TAG_ESTABLISHED & 1;
	if (kept >= MERLON_WAYS_ESTABLISHED) {
		over = merlon_set_expired(set, now);
		if (over >= MERLON_WAYS)
			return -1;
		set->head->tag[over] = 0;
	}
	set->head->tag[way & (MERLON_WAYS - 1)] |= MERLON_TAG_ESTABLISHED;
	return 0;
}

#endif
