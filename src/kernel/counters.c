/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the data path counted, and what user space tells it. */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/kernel/answers.h"
#include "src/util/cleanup.h"

int merlon_dataplane_stats(const struct merlon_dataplane *dp, struct merlon_stats *ret)
{
	unsigned cpus = merlon_possible_cpus(), i, cpu;
	_cleanup_free_ struct merlon_stats *per_cpu = calloc(cpus, sizeof(*per_cpu));
	struct merlon_stats sum = { 0 };
	uint32_t zero = 0;

	if (!per_cpu)
		return -ENOMEM;
	if (bpf_map_lookup_elem(dp->fd[MERLON_MAP_STATS], &zero, per_cpu) < 0)
		return -errno;
	for (cpu = 0; cpu < cpus; cpu++)
		for (i = 0; i < MERLON_STATS; i++)
			sum.count[i] += per_cpu[cpu].count[i];
	for (i = 0; i < MERLON_HOOKS; i++) {
		sum.count[MERLON_STAT_PACKETS] += sum.count[MERLON_STAT_HOOKS + 2 * i];
		sum.count[MERLON_STAT_BYTES] += sum.count[MERLON_STAT_HOOKS + 2 * i + 1];
	}
	/*
	 * The short way counts no more than it has to. A sum of counts does not fall from one reading to the next; packets less
	 * those that were denied does, by one that is counted as the first and not yet as the second.
	 */
	sum.count[MERLON_STAT_ACCEPTED] += sum.count[MERLON_STAT_HITS];
	*ret = sum;
	return 0;
}

int merlon_dataplane_runs(const struct merlon_dataplane *dp, struct merlon_runs *ret)
{
	const int *prog = merlon_before_judges(dp) ? dp->before->entry_prog : dp->entry_prog;
	struct merlon_runs sum = { 0 };

	for (int i = 0; i < MERLON_PROGS; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info);

		if (bpf_obj_get_info_by_fd(prog[i], &info, &size) < 0)
			return -errno;
		sum.n += info.run_cnt;
		sum.ns += info.run_time_ns;
	}
	*ret = sum;
	return 0;
}

int merlon_runs_count(void)
{
	int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);

	return fd < 0 ? -errno : fd;
}

struct sum_context {
	int counters;
	uint32_t generation, first, n;
	unsigned cpus;
	struct merlon_counter *per_cpu, *sum;
};

static int read_counter(struct sum_context *c, uint32_t index, struct merlon_counter *ret)
{
	struct merlon_counter sum = { 0 };
	unsigned cpu;

	if (bpf_map_lookup_elem(c->counters, &index, c->per_cpu) < 0)
		return -errno;
	for (cpu = 0; cpu < c->cpus; cpu++) {
		sum.packets += c->per_cpu[cpu].packets;
		sum.bytes += c->per_cpu[cpu].bytes;
	}
	*ret = sum;
	return 0;
}

static int add_path(void *context, const void *key, const void *value)
{
	const struct merlon_path *path = key;
	struct sum_context *c = context;
	struct merlon_counter counted;
	size_t i;
	int r;

	if (path->generation != c->generation)
		return 0;
	r = read_counter(c, *(const uint32_t *)value, &counted);
	if (r < 0)
		return r;
	for (i = 0; i < MERLON_PATH_COUNTERS && path->counter[i]; i++) {
		uint32_t index = path->counter[i] - c->first;

		if (path->counter[i] < c->first || index >= c->n)
			continue;
		c->sum[index].packets += counted.packets;
		c->sum[index].bytes += counted.bytes;
	}
	return 0;
}

int merlon_counters_sum(const struct merlon_policy_maps *maps, uint32_t generation, uint32_t first, uint32_t n,
			struct merlon_counter *ret)
{
	unsigned cpus = merlon_possible_cpus();
	_cleanup_free_ struct merlon_counter *per_cpu = calloc(cpus, sizeof(*per_cpu));
	struct sum_context c = {
		.counters = maps->fd[MERLON_MAP_COUNTERS], .generation = generation,
		.first = first, .n = n, .cpus = cpus, .per_cpu = per_cpu, .sum = ret,
	};
	uint32_t i;

	if (!per_cpu)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		int r = read_counter(&c, first + i, &ret[i]);

		if (r < 0)
			return r;
	}
	return merlon_map_each(maps->fd[MERLON_MAP_PATHS], sizeof(struct merlon_path), sizeof(uint32_t), add_path, &c);
}

int merlon_dataplane_counters(const struct merlon_dataplane *dp, uint32_t first, uint32_t n,
			      struct merlon_counter *ret)
{
	uint32_t zero = 0;
	struct merlon_control now;
	int r = merlon_counters_sum(&dp->policy, dp->control.generation, first, n, ret);

	/* that it ends is said before its counters are taken away */
	if (!r && bpf_map_lookup_elem(dp->fd[MERLON_MAP_CONTROL], &zero, &now) < 0)
		return -errno;
	return r < 0 ? r : now.generation == dp->control.generation ? 0 : -ESTALE;
}

int merlon_dataplane_bucket(const struct merlon_dataplane *dp, uint32_t slot, uint64_t *ret)
{
	return bpf_map_lookup_elem(dp->policy.fd[MERLON_MAP_LIMITS], &slot, ret) < 0 ? -errno : 0;
}

int merlon_dataplane_routes_changed(struct merlon_dataplane *dp)
{
	dp->control.routes++;
	return merlon_control_write(dp);
}

int merlon_dataplane_answers_by(struct merlon_dataplane *dp, const struct merlon_answer_cookies *sockets)
{
	_Static_assert(sizeof(sockets->cookie) == sizeof(dp->control.reject_cookie), "one cookie a socket");
	memcpy(dp->control.reject_cookie, sockets->cookie, sizeof(sockets->cookie));
	return merlon_control_write(dp);
}

int merlon_dataplane_trackers(struct merlon_dataplane *dp, const struct merlon_trackers *trackers)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(dp->fd[MERLON_MAP_TRACKERS], &zero, trackers, 0) < 0 ? -errno : 0;
}
