/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is counted while the data plane runs; `merlon perf` makes figures of two such answers (src/model/perf.h). */
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/interfaces.h"

#define MOST_ATTACHED 4096

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t = { 0 };

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t rss_bytes(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	if (!f || fscanf(f, "%*u %llu", &pages) != 1)
		return 0;
	return pages * sysconf(_SC_PAGESIZE);
}

/* The process that answers rejected packets; null: there is none but this one. */
static json_t *answers(const struct merlon_daemon *d)
{
	clockid_t clock;

	if (d->answering.pid <= 0 || clock_getcpuclockid(d->answering.pid, &clock))
		return json_null();
	return json_pack("{s:i, s:I}", "pid", (int)d->answering.pid, "cpu_ns", (json_int_t)clock_ns(clock));
}

static json_t *hooks(const struct merlon_stats *stats)
{
	static const char *const name[MERLON_HOOKS] = { "input", "forward", "output" };
	json_t *list = json_object();

	for (size_t i = 0; i < MERLON_HOOKS; i++)
		json_object_set_new(list, name[i], json_pack("{s:I, s:I}",
							     "packets", (json_int_t)stats->count[MERLON_STAT_HOOKS + 2 * i],
							     "bytes", (json_int_t)stats->count[MERLON_STAT_HOOKS + 2 * i + 1]));
	return list;
}

static const struct merlon_interface *find(const struct merlon_daemon *d, const char *name)
{
	for (size_t i = 0; i < d->n_interfaces; i++)
		if (!strcmp(d->interface[i].name, name))
			return &d->interface[i];
	return NULL;
}

static bool is_attached(const struct merlon_daemon *d, unsigned index)
{
	_cleanup_free_ unsigned *attached = calloc(MOST_ATTACHED, sizeof(*attached));
	size_t n = attached ? merlon_dataplane_attached(d->dp, attached, MOST_ATTACHED) : 0;

	for (size_t i = 0; i < n; i++)
		if (attached[i] == index)
			return true;
	return false;
}

/* NULL: explained in `diag`. */
static json_t *interface_counts(const struct merlon_daemon *d, const char *name, struct merlon_diag *diag)
{
	const struct merlon_interface *interface = find(d, name);
	struct rtnl_link_stats64 s;
	int r = interface ? merlon_interface_counts(interface->index, &s) : -ENODEV;

	if (r == -ENODEV) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"there is no interface \"%s\" in the network namespace of merlond", name);
		merlon_diag_cure(diag, "`merlon status` lists those that are filtered");
	} else if (r < 0) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot read what is counted on %s: %s", name,
				strerror(-r));
	}
	if (r < 0)
		return NULL;
	return json_pack("{s:s, s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", name, "index", (int)interface->index,
			 "filtered", is_attached(d, interface->index),
			 "rx_packets", (json_int_t)s.rx_packets, "rx_bytes", (json_int_t)s.rx_bytes,
			 "rx_dropped", (json_int_t)s.rx_dropped, "rx_missed", (json_int_t)s.rx_missed_errors,
			 "tx_packets", (json_int_t)s.tx_packets, "tx_bytes", (json_int_t)s.tx_bytes, "tx_dropped", (json_int_t)s.tx_dropped);
}

static json_t *counts(struct merlon_daemon *d, json_t *interface)
{
	const struct merlon_policy *policy = d->enforced.policy;
	struct merlon_dataplane_info info;
	struct merlon_stats stats;
	struct merlon_runs runs;
	uint32_t established, embryonic;
	json_t *all;

	/* first what moves, at one time */
	uint64_t now_ns = merlon_now_ns();

	if (merlon_dataplane_runs(d->dp, &runs) < 0 || merlon_dataplane_stats(d->dp, &stats) < 0 ||
	    merlon_dataplane_info(d->dp, &info) < 0) {
		json_decref(interface);
		return NULL;
	}
	merlon_dataplane_count_sessions(d->dp, &established, &embryonic);
	all = json_pack("{s:I, s:i, s:I, s:s, s:o, s:o, s:{s:I, s:I, s:I}, s:{s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o, s:b, s:I}",
			"time_ns", (json_int_t)now_ns, "pid", (int)getpid(),
			"generation", (json_int_t)merlon_dataplane_generation(d->dp), "mode", merlon_mode(d, info.audit),
			"counts", merlon_stats_counts(&stats), "hooks", hooks(&stats),
			"cold", "packets", (json_int_t)stats.count[MERLON_STAT_COLD],
			"timed", (json_int_t)stats.count[MERLON_STAT_TIMED], "timed_ns", (json_int_t)stats.count[MERLON_STAT_TIMED_NS],
			"programs", "runs", (json_int_t)runs.n, "run_ns", (json_int_t)runs.ns,
			"sessions", (json_int_t)established, "embryonic", (json_int_t)embryonic,
			"max_sessions", (json_int_t)info.max_sessions,
			"maps_bytes", (json_int_t)info.memory_bytes, "rss_bytes", (json_int_t)rss_bytes(),
			"answers", answers(d), "ns_estimate", (json_int_t)(policy ? policy->ns_estimate : 0), "interface", interface,
			"torn_out", merlon_dataplane_is_torn_out(d->dp), "interfaces", (json_int_t)info.attached);
	return all;
}

json_t *merlon_perf(struct merlon_daemon *d, const char *interface, struct merlon_diag *diag)
{
	uint64_t began_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	json_t *of_interface = interface ? interface_counts(d, interface, diag) : json_null(), *all;

	all = of_interface ? counts(d, of_interface) : NULL;
	if (all)
		json_object_set_new(all, "cpu_ns", json_integer(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - d->perf_ns -
								(clock_ns(CLOCK_THREAD_CPUTIME_ID) - began_ns)));
	d->perf_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - began_ns;
	return all;
}
