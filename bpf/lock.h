/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock of a session, or of a set of embryonic ones: two CPUs change it one after the other. Who holds a session's may
 * wait for a set's; who holds a set's waits for none. (bpf_spin_lock may not be held over calls of functions.)
 * Whoever holds it is in a softirq, or has those turned off, and is done in well under a microsecond; only a hypervisor
 * can stop it for longer. After MERLON_LOCK_TRIES the lock is taken from it, which is counted: a packet must not wait for
 * another one for ever.
 */
#ifndef MERLON_LOCK_H
#define MERLON_LOCK_H

#include "bpf/maps.h"
#include "bpf/stats.h"

#define MERLON_LOCK_TRIES (1 << 16)

struct merlon_lock_wait {
	__u32 *lock;
	__u32 taken;
};

static long merlon_lock_try(__u32 i, struct merlon_lock_wait *wait)
{
	(void)i;
	wait->taken = !*(volatile __u32 *)wait->lock && !__sync_val_compare_and_swap(wait->lock, 0, 1);
	return wait->taken;
}

static __attribute__((noinline)) void merlon_lock_wait(__u32 *lock)
{
	struct merlon_lock_wait wait = { .lock = lock };

	bpf_loop(MERLON_LOCK_TRIES, merlon_lock_try, &wait, 0);
	if (!wait.taken)
		merlon_stat(MERLON_STAT_LOCKS_BROKEN);
}

merlon_inline void merlon_lock_word(__u32 *lock)
{
	if (__sync_val_compare_and_swap(lock, 0, 1))
		merlon_lock_wait(lock);
}

merlon_inline void merlon_unlock_word(__u32 *lock)
{
#if defined(__TARGET_ARCH_x86)
	/* stores are seen in the order in which they were made */
	barrier();
	*(volatile __u32 *)lock = 0;
#else
	__sync_lock_test_and_set(lock, 0);
#endif
}

merlon_inline void merlon_lock(struct merlon_session *session)
{
	merlon_lock_word(&session->lock);
}

merlon_inline void merlon_unlock(struct merlon_session *session)
{
	merlon_unlock_word(&session->lock);
}

#endif
