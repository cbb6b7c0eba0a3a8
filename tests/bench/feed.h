/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MERLON_BENCH_FEED_H
#define MERLON_BENCH_FEED_H

#include <linux/types.h>

#define FEED_WORDS 8	/* a frame of 64 bytes */
#define FEED_FAILED 77	/* of the programs: there is no such frame */

struct feed_frame {
	__u64 word[FEED_WORDS];
};

#endif
