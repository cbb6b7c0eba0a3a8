/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "bpf/classify.h"
#include "src/compile/compile.h"

struct merlon_native {
	const struct merlon_policy *policy;
	uint64_t *limits;
	struct merlon_counter *counters;
};

int merlon_native_new(const struct merlon_policy *policy, struct merlon_native **ret)
{
	struct merlon_native *native = calloc(1, sizeof(*native));

	if (!native)
		return -ENOMEM;
	native->policy = policy;
	native->limits = calloc(policy->n_limits + 1, sizeof(*native->limits));
	native->counters = calloc(policy->n_counters + 1, sizeof(*native->counters));
	if (!native->limits || !native->counters) {
		merlon_native_free(native);
		return -ENOMEM;
	}
	*ret = native;
	return 0;
}

void merlon_native_free(struct merlon_native *native)
{
	if (!native)
		return;
	free(native->limits);
	free(native->counters);
	free(native);
}

void merlon_native_classify(struct merlon_native *native, struct merlon_walk *walk)
{
	const struct merlon_policy *policy = native->policy;
	struct merlon_env env = {
		.image = (const __u64 *)policy->image,
		.walk = walk,
		.mask = policy->room - 1,
		.limits = (__u64 *)native->limits,
		.first_limit = policy->first_limit,
		.n_limits = policy->n_limits,
		.counters = native->counters,
		.first_counter = policy->first_counter,
		.n_counters = policy->n_counters,
	};

	merlon_classify_in(&env);
}

const struct merlon_counter *merlon_native_counters(const struct merlon_native *native)
{
	return native->counters;
}
