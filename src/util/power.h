/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MERLON_UTIL_POWER_H
#define MERLON_UTIL_POWER_H

#include <stdint.h>

/* `least`, which is a power of two, or the next one that is at least n. */
static inline uint32_t merlon_power_of_two(uint32_t least, uint32_t n)
{
	while (least < n)
		least <<= 1;
	return least;
}

#endif
