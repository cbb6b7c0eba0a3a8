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

#endif
