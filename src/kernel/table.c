/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of sessions as user space sees it: mapped. */
#include "src/kernel/table.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "bpf/set.h"
#include "src/util/cleanup.h"

#define LOCK_TRIES 10000
#define ENTER_TRIES 100

int merlon_table_map(struct merlon_table_maps maps, struct merlon_flow_table *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	void *flows, *sets;
	int r;

	if (bpf_obj_get_info_by_fd(maps.sessions, &info, &size) < 0)
		return -errno;
	flows = mmap(NULL, info.max_entries * sizeof(struct merlon_flow_ways), PROT_READ | PROT_WRITE, MAP_SHARED, maps.sessions, 0);
	if (flows == MAP_FAILED)
		return -errno;
	sets = mmap(NULL, info.max_entries * sizeof(struct merlon_flow_set), PROT_READ | PROT_WRITE, MAP_SHARED, maps.sets, 0);
	if (sets == MAP_FAILED) {
		r = -errno;
		munmap(flows, info.max_entries * sizeof(struct merlon_flow_ways));
		return r;
	}
	*ret = (struct merlon_flow_table){ flows, sets, info.max_entries };
	return 0;
}

void merlon_table_unmap(const struct merlon_flow_table *table)
{
	munmap(table->flows, table->n * sizeof(struct merlon_flow_ways));
	munmap(table->sets, table->n * sizeof(struct merlon_flow_set));
}

static struct merlon_set_ref set_at(const struct merlon_flow_table *table, uint32_t at)
{
	at &= table->n - 1;
	return (struct merlon_set_ref){ &table->sets[at], &table->flows[at] };
}

/* NULL: it is not there. */
static struct merlon_session *find(const struct merlon_flow_table *table, enum merlon_family family, const union merlon_tuple *tuple,
				   uint64_t hash)
{
	struct merlon_set_ref set[] = { set_at(table, merlon_first_set(hash)), set_at(table, merlon_second_set(hash)) };

	for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
		uint32_t way = merlon_set_find(&set[i], family, tuple, merlon_tag_of(family, hash));

		if (way < MERLON_WAYS)
			return &set[i].flows->way[way].session;
	}
	return NULL;
}

/*
 * Locks of the data path, which never holds one for long. It waits for this process no longer than bpf/lock.h says; while
 * it has a lock, this process does nothing but write to memory. One that stays is that of a process which was killed, and is
 * taken from it, as the data path does it. False: the word is another one's.
 */
static bool lock_word(uint32_t *word, uint32_t free)
{
	for (unsigned tries = 0; tries < LOCK_TRIES; tries++) {
		uint32_t expected = free;

		if (__atomic_compare_exchange_n(word, &expected, free | MERLON_LOCKED, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
		if (expected != (free | MERLON_LOCKED))
			return false;
		sched_yield();
	}
	return true;
}

static void unlock_word(uint32_t *word, uint32_t free)
{
	__atomic_store_n(word, free, __ATOMIC_RELEASE);
}

/* Both sets are locked, or are one. */
static int enter(const struct merlon_set_ref *set, const struct merlon_set_ref *second, uint64_t hash, enum merlon_family family,
		 const struct merlon_flow *flow, uint64_t now_ns)
{
	merlon_offer offer = merlon_set_first_offer(set, hash, MERLON_USED(now_ns)), other = merlon_set_offer(second, MERLON_USED(now_ns));
	struct merlon_session session = flow->session, *entered;
	uint32_t way;

	if (other > offer) {
		set = second;
		offer = other;
	}
	way = merlon_offered_way(offer);
	/* nobody sees it before it is whole */
	session.owner = merlon_owner_of(hash) | MERLON_LOCKED;
	session.flags &= ~MERLON_S_ESTABLISHED;
	if (!offer || (offer < MERLON_OFFER_EMPTY && !(session.flags & MERLON_S_PROVED)))
		return -ENOSPC;
	if (merlon_set_put(set, way, family, &flow->tuple, merlon_tag_of(family, hash), MERLON_USED(now_ns), &session, &entered))
		return -EBUSY;
	if (session.flags & MERLON_S_PROVED && !merlon_set_keep(set, way, now_ns))
		entered->flags |= MERLON_S_ESTABLISHED;
	unlock_word(&entered->owner, merlon_owner_of(hash));
	return 0;
}

static int enter_locked(const struct merlon_flow_table *table, uint64_t hash, enum merlon_family family, const struct merlon_flow *flow,
			uint64_t now_ns, bool is_last)
{
	struct merlon_set_ref set = set_at(table, merlon_first_set(hash)), second = set_at(table, merlon_second_set(hash));
	bool both = second.flows != set.flows, ready = true;
	int r = -EBUSY;

	lock_word(&set.head->lock, 0);
	/* who has the lock of a first set waits for no other one, and does without it in the end */
	if (both && !__sync_bool_compare_and_swap(&second.head->lock, 0, MERLON_LOCKED)) {
		both = false;
		ready = is_last;
	}
	if (ready)
		r = find(table, family, &flow->tuple, hash) ? -EEXIST : enter(&set, both ? &second : &set, hash, family, flow, now_ns);
	if (both)
		unlock_word(&second.head->lock, 0);
	unlock_word(&set.head->lock, 0);
	return r;
}

int merlon_table_enter(const struct merlon_flow_table *table, uint64_t seed, enum merlon_family family, const struct merlon_flow *flow,
		       uint64_t now_ns)
{
	uint64_t hash = merlon_tuple_hash(seed, family, &flow->tuple);
	int r = -EBUSY;

	for (unsigned tries = 1; r == -EBUSY && tries <= ENTER_TRIES; tries++)
		r = enter_locked(table, hash, family, flow, now_ns, tries == ENTER_TRIES);
	return r;
}

struct merlon_session *merlon_table_lock(const struct merlon_flow_table *table, uint64_t seed, enum merlon_family family,
					 const union merlon_tuple *tuple)
{
	uint64_t hash = merlon_tuple_hash(seed, family, tuple);
	struct merlon_session *session = find(table, family, tuple, hash);

	return session && lock_word(&session->owner, merlon_owner_of(hash)) ? session : NULL;
}

void merlon_table_unlock(struct merlon_session *session)
{
	unlock_word(&session->owner, session->owner & ~MERLON_LOCKED);
}

int merlon_table_each(struct merlon_table_maps maps, int (*each)(void *context, enum merlon_family family, const struct merlon_flow *flow),
			  void *context)
{
	struct merlon_flow_table table;
	int r = merlon_table_map(maps, &table);
	size_t i, way;

	if (r < 0)
		return r;
	for (i = 0; !r && i < table.n; i++)
		for (way = 0; !r && way < MERLON_WAYS; way++) {
			uint16_t tag = *(volatile uint16_t *)&table.sets[i].tag[way];
			struct merlon_flow copy;

			if (!tag)
				continue;
			copy = table.flows[i].way[way];
			r = each(context, tag & MERLON_TAG_IPV6 ? MERLON_IPV6 : MERLON_IPV4, &copy);
		}
	merlon_table_unmap(&table);
	return r;
}

/* One line of memory a flow is looked at, which is what this takes. */
int merlon_table_count(struct merlon_table_maps maps, uint64_t now_ns, uint32_t *ret_established, uint32_t *ret_embryonic)
{
	uint32_t n[2] = { 0 };
	struct merlon_flow_table table;
	int r = merlon_table_map(maps, &table);
	size_t i, way;

	if (r < 0)
		return r;
	for (i = 0; i < table.n; i++)
		for (way = 0; way < MERLON_WAYS; way++) {
			const volatile struct merlon_session *session = &table.flows[i].way[way].session;

			if (*(volatile uint16_t *)&table.sets[i].tag[way] && session->expires_ns >= now_ns)
				n[!!(session->flags & MERLON_S_ESTABLISHED)]++;
		}
	merlon_table_unmap(&table);
	*ret_embryonic = n[0];
	*ret_established = n[1];
	return 0;
}

bool merlon_table_find(struct merlon_table_maps maps, uint64_t seed, enum merlon_family family, const union merlon_tuple *tuple,
			   struct merlon_session *ret)
{
	const struct merlon_session *found;
	struct merlon_flow_table table;

	if (merlon_table_map(maps, &table) < 0)
		return false;
	found = find(&table, family, tuple, merlon_tuple_hash(seed, family, tuple));
	if (found)
		*ret = *found;
	merlon_table_unmap(&table);
	return found;
}

/*
 * Without any lock, which the data path would have to wait for if this process was stopped: each session is taken from its
 * owner, as merlon_forget() does it, and who holds its lock still gives that back.
 */
static void flush_set(const struct merlon_set_ref *set)
{
	for (size_t way = 0; way < MERLON_WAYS; way++) {
		__atomic_fetch_and(&set->flows->way[way].session.owner, MERLON_LOCKED, __ATOMIC_SEQ_CST);
		*(volatile uint16_t *)&set->head->tag[way] = 0;
	}
}

int merlon_table_flush(struct merlon_table_maps maps)
{
	struct merlon_flow_table table;
	int r = merlon_table_map(maps, &table);
	size_t i;

	if (r < 0)
		return r;
	for (i = 0; i < table.n; i++)
		flush_set(&(struct merlon_set_ref){ &table.sets[i], &table.flows[i] });
	merlon_table_unmap(&table);
	return 0;
}
