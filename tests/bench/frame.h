/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internet checksums (RFC 1071) of frames that the benchmarks send. */
#ifndef TESTS_BENCH_FRAME_H
#define TESTS_BENCH_FRAME_H

#include <stddef.h>

static inline unsigned short frame_fold(unsigned sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* sum and the 16-bit words of data, which are in network byte order. */
static inline unsigned frame_add(const void *data, size_t n, unsigned sum)
{
	const unsigned char *p = data;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += p[i] << 8 | p[i + 1];
	return n % 2 ? sum + (p[n - 1] << 8) : sum;
}

#endif
