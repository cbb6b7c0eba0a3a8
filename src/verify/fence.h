/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fence between packets. What goes over lo waits in the backlog of its CPU, first in, first out, for all namespaces; on
 * a busy machine a softirq may leave it to ksoftirqd, and the next packet, which comes in by a device, would be there
 * first. So a run stays on one CPU, where a datagram of its own, over the lo of a third namespace, is behind all that
 * is still to be done.
 */
#ifndef MERLON_VERIFY_FENCE_H
#define MERLON_VERIFY_FENCE_H

#include <sched.h>

struct merlon_fence {
	int socket;
	cpu_set_t before;	/* where the thread may run otherwise */
};

/* Binds the calling thread to the CPU that it is on. 0 or a negative errno; *ret needs no closing then. */
int merlon_fence_open(struct merlon_fence *ret);
void merlon_fence_close(struct merlon_fence *fence);
/* Returns when all is done that packets sent before have caused, or after a second. */
void merlon_fence(const struct merlon_fence *fence);

#endif
