/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/tempo.h"

#define NS_PER_S 1000000000ULL
#define STILL_S 3600
#define MOST_NS (1ULL << 62)	/* of a bucket, in both hosts */
#define LARGEST_PACKET (1 << 17)
#define FINE 1000		/* a stretch is exact to one part in so many */

static struct merlon_stretch as_it_is(void)
{
	return (struct merlon_stretch){ 1, 1 };
}

/* Both hosts multiply before they divide: by the bucket's size, and by that of the packet. */
static bool too_large(const struct merlon_limit *limit, struct merlon_stretch s)
{
	__uint128_t ns = (__uint128_t)limit->per_s * s.times * NS_PER_S, rate = (__uint128_t)limit->rate * s.by;
	__uint128_t bytes = limit->bytes ? rate + limit->burst : 1;

	if (limit->bytes && bytes < LARGEST_PACKET)
		bytes = LARGEST_PACKET;
	return rate >= MOST_NS || ns > MOST_NS / bytes || (!limit->bytes && ns / rate * (limit->burst + 5ULL) > MOST_NS);
}

static struct merlon_stretch still(const struct merlon_limit *limit)
{
	uint64_t rate = limit->rate > UINT32_MAX ? UINT32_MAX : limit->rate;
	struct merlon_stretch s = { 1 + STILL_S * rate / limit->per_s, 1 };

	while (s.times > 1 && too_large(limit, s))
		s.times /= 2;
	return s;
}

static struct merlon_stretch wait(const struct merlon_limit *limit, uint64_t wanted_ns)
{
	__uint128_t own_ns = (__uint128_t)limit->per_s * NS_PER_S / limit->rate;
	struct merlon_stretch s;

	if (!own_ns)
		return still(limit);
	s.by = own_ns > wanted_ns ? FINE * own_ns / wanted_ns : FINE;
	s.times = s.by * (__uint128_t)wanted_ns / own_ns;
	return too_large(limit, s) ? still(limit) : s;
}

struct merlon_stretch merlon_stretch(const struct merlon_limit *limit, uint64_t token_ns)
{
	/* a match of x_tables has no unit that could be another one */
	if (limit->xtables || !limit->rate || !limit->per_s)
		return as_it_is();
	return !token_ns || limit->bytes ? still(limit) : wait(limit, token_ns);
}

void merlon_tempo_policy(struct merlon_policy *policy, uint64_t token_ns)
{
	const struct merlon_image *head = (const struct merlon_image *)policy->image;
	struct merlon_image_limit *limit = (struct merlon_image_limit *)(policy->image + head->limits);
	uint32_t i;

	for (i = 0; i < policy->n_limits; i++) {
		const struct merlon_counter_origin *from = &policy->limit[i];
		struct merlon_stretch s = merlon_stretch(&from->rule->statement[from->statement].limit, token_ns);
		uint64_t tokens = limit[i].bytes || !limit[i].ns ? 0 : limit[i].max_ns / limit[i].ns;

		limit[i].ns = limit[i].ns * (__uint128_t)s.times / s.by;
		limit[i].max_ns = limit[i].bytes ? limit[i].max_ns * s.times : tokens * limit[i].ns;
	}
}
