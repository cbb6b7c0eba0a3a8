/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CLOCK_MONOTONIC, as the data path's times and sd-event's are. */
#ifndef MERLON_UTIL_CLOCK_H
#define MERLON_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t merlon_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* As of the last tick, as timers of the kernel and the data path count. */
static inline uint64_t merlon_tick_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

#endif
