/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock of a session, or of a set of them: two CPUs change it one after the other. Who holds a session's may
 * wait for a set's; who holds a set's waits for none. (bpf_spin_lock may not be held over calls of functions.)
 *
 * The word of a session's lock says whose session it is, too: its memory may be another flow's by the time that somebody
 * who looked it up wants to lock it: a flow that is over makes room at once, an embryonic one for any other.
 *
 * Whoever holds a lock is in a softirq, or has those turned off, and is done in well under a microsecond; only a
 * hypervisor can stop it for longer. After MERLON_LOCK_TRIES the lock is taken from it, which is counted: a packet must
 * not wait for another one for ever.
 */
#ifndef MERLON_LOCK_H
#define MERLON_LOCK_H

#include "bpf/maps.h"
#include "bpf/stats.h"

#define MERLON_LOCK_TRIES (1 << 16)

struct merlon_lock_wait {
	__u32 *word;
	__u32 free;	/* the word of a lock that nobody has */
	int taken;	/* -1: the word is another one's */
};

static long merlon_lock_try(__u32 i, struct merlon_lock_wait *wait)
{
	__u32 there = *(volatile __u32 *)wait->word;

	(void)i;
	if (there == wait->free)
		wait->taken = __sync_val_compare_and_swap(wait->word, there, there | MERLON_LOCKED) == there;
	else if (there != (wait->free | MERLON_LOCKED))
		wait->taken = -1;
	return wait->taken != 0;
}

static __attribute__((noinline)) int merlon_lock_wait(__u32 *word, __u32 free)
{
	struct merlon_lock_wait wait = { .word = word, .free = free };

	bpf_loop(MERLON_LOCK_TRIES, merlon_lock_try, &wait, 0);
	if (!wait.taken)
		merlon_stat(MERLON_STAT_LOCKS_BROKEN);
	return wait.taken < 0 ? -1 : 0;
}

/* 0; -1: it is not what it was expected to be, `free` or `free | MERLON_LOCKED`, and is not locked. */
merlon_inline int merlon_lock_word(__u32 *word, __u32 free)
{
	__u32 there = __sync_val_compare_and_swap(word, free, free | MERLON_LOCKED);

	/* or clang keeps whether they are equal as a number, and asks again */
	merlon_opaque(there);
	return there == free ? 0 : merlon_lock_wait(word, free);
}

/* Whether it is taken without waiting for anybody. */
merlon_inline int merlon_lock_word_now(__u32 *word)
{
	return __sync_val_compare_and_swap(word, 0, MERLON_LOCKED) == 0;
}

merlon_inline void merlon_unlock_word(__u32 *word)
{
	__u32 free = *(volatile __u32 *)word & ~MERLON_LOCKED;

#if defined(__TARGET_ARCH_x86)
	/* stores are seen in the order in which they were made */
	barrier();
	*(volatile __u32 *)word = free;
#else
	__sync_lock_test_and_set(word, free);
#endif
}

/* `hash`: of the tuple whose session this was when it was looked up. -1: it is not any more, and not locked. */
merlon_inline int merlon_lock(struct merlon_session *session, __u64 hash)
{
	return merlon_lock_word(&session->owner, merlon_owner_of(hash));
}

merlon_inline void merlon_unlock(struct merlon_session *session)
{
	merlon_unlock_word(&session->owner);
}

#endif
