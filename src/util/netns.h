/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network namespaces of one's own. Nothing here moves the calling process: whatever has to happen inside a namespace
 * happens in a child.
 */
#ifndef MERLON_UTIL_NETNS_H
#define MERLON_UTIL_NETNS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A new network namespace without interfaces (but a lo that is down). Without CAP_SYS_ADMIN a user namespace is made
 * around it, of which the caller's user is root. *ret_fd keeps it alive and is the caller's to close.
 * 0 or a negative errno: -EPERM (-ENOSPC) where the kernel does not allow it (allows no more).
 */
int merlon_netns_new(int *ret_fd);

/* Moves the calling process there for good, into its user namespace too if that is needed: for children only. */
int merlon_netns_enter(int fd);

/* A socket of the namespace, for use from the caller's: its descriptor or a negative errno. */
int merlon_netns_socket(int fd, int family, int type, int protocol);

/* fork(2); the child does not outlive the thread that called, and is to leave by _exit(). */
pid_t merlon_fork(void);

/*
 * Runs `run` in a child, with standard output and error going into a buffer. *ret_output is that text, to be freed,
 * with a final NUL that *ret_size does not count. Returns the child's exit status, or a negative errno if it could not
 * be run or did not end by itself: -ETIMEDOUT: within merlon_child_limit_s(), it was killed then, -EFBIG: it wrote without
 * end, -ECHILD: a signal ended it. There is no text then. The child leaves by _exit(run's answer): no handlers of the
 * parent run; it does not outlive the thread that called.
 */
int merlon_child(int (*run)(void *context), void *context, char **ret_output, size_t *ret_size);

/* What is done here while a child runs: `child`, a descriptor, can be read when it has ended; it may run until `end_ns` (CLOCK_MONOTONIC). */
struct merlon_meanwhile {
	void (*run)(void *context, int child, uint64_t end_ns);
	void *context;
};
/* The same, and then waits for the child; `meanwhile` NULL: nothing. It is not done where the kernel gives no such descriptor. */
int merlon_child_and(int (*run)(void *context), void *context, const struct merlon_meanwhile *meanwhile, char **ret_output,
		     size_t *ret_size);

/* 300, or what MERLON_CHILD_TIMEOUT says; not more than the thread's own limit. */
unsigned merlon_child_limit_s(void);
/* From now on children of this thread have so many seconds at most; 0: it has no limit of its own. */
void merlon_child_limit(unsigned most_s);

#endif
