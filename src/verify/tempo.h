/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The time of rate limits. A packet reaches the two hosts some microseconds apart, and a bucket may fill in between. So
 * that this never decides, both hosts are given each limit at another tempo: with the same bucket, but so that a token
 * takes very long to come (what passes then depends on the burst alone) or so long that it can be waited for.
 */
#ifndef MERLON_VERIFY_TEMPO_H
#define MERLON_VERIFY_TEMPO_H

#include "src/compile/compile.h"

/*
 * `token_ns`: how long a packet's token takes in each limit of packets; 0: so long that none comes while frames are played.
 * Limits of bytes: as with 0 always.
 */
/* A limit's unit of time becomes `times` as long, and its rate `by` as high: a token takes times / by of what it took. */
struct merlon_stretch {
	uint64_t times, by;
};
struct merlon_stretch merlon_stretch(const struct merlon_limit *limit, uint64_t token_ns);

/* Changes all limits in the image of a policy that is not in force yet. */
void merlon_tempo_policy(struct merlon_policy *policy, uint64_t token_ns);

#endif
