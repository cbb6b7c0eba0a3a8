/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the first policy needs is made while it is read and compiled: its programs, which the verifier takes long to look through,
 * and the links. Each of those waits for a grace period of RCU (tcx_entry_sync(), include/net/tcx.h), 8 to 20 ms; until there is a
 * policy the slots of `entry` are empty, and an entry program lets all packets go on.
 */
#include "src/kernel/internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the threads look at in the data plane stays as it is. */
struct merlon_links_ahead {
	pthread_t thread;
	const struct merlon_dataplane *dp;
	atomic_bool ends;
	size_t n;
	unsigned ifindex[];
};
struct merlon_programs_ahead {
	pthread_t thread;
	struct merlon_dataplane *dp;
	int error;
};

/* Errors are for merlon_dataplane_attach(), which meets them again. */
static void *attach(void *context)
{
	struct merlon_links_ahead *ahead = context;
	size_t i;
	int side;

	for (i = 0; i < ahead->n; i++)
		for (side = 0; side < MERLON_PROGS && !atomic_load(&ahead->ends); side++)
			merlon_link_attach(ahead->dp, ahead->ifindex[i], side);
	return NULL;
}

void merlon_dataplane_attach_ahead(struct merlon_dataplane *dp, const unsigned *ifindex, size_t n)
{
	struct merlon_links_ahead *ahead;

	if (!dp->tcx || dp->links_ahead || merlon_dataplane_generation(dp))
		return;
	ahead = calloc(1, sizeof(*ahead) + n * sizeof(*ifindex));
	if (!ahead)
		return;
	ahead->dp = dp;
	ahead->n = n;
	memcpy(ahead->ifindex, ifindex, n * sizeof(*ifindex));
	if (pthread_create(&ahead->thread, NULL, attach, ahead))
		free(ahead);
	else
		dp->links_ahead = ahead;
}

void merlon_dataplane_attach_ahead_end(struct merlon_dataplane *dp, bool at_once)
{
	struct merlon_links_ahead *ahead = dp->links_ahead;

	if (!ahead)
		return;
	atomic_store(&ahead->ends, at_once);
	pthread_join(ahead->thread, NULL);
	free(ahead);
	dp->links_ahead = NULL;
}

/* Errors are for the policy that comes: it tries once more, when they may be mended. */
static void *load(void *context)
{
	struct merlon_programs_ahead *ahead = context;
	struct merlon_diag diag = { 0 };

	ahead->error = merlon_load_programs(ahead->dp, &merlon_smallest_class, "policy-next", &diag);
	merlon_diag_clear(&diag);
	return NULL;
}

void merlon_dataplane_load_ahead(struct merlon_dataplane *dp)
{
	struct merlon_programs_ahead *ahead;

	if (dp->programs_ahead || merlon_has_programs(dp))
		return;
	ahead = calloc(1, sizeof(*ahead));
	if (!ahead)
		return;
	ahead->dp = dp;
	if (pthread_create(&ahead->thread, NULL, load, ahead))
		free(ahead);
	else
		dp->programs_ahead = ahead;
}

int merlon_load_ahead_end(struct merlon_dataplane *dp)
{
	struct merlon_programs_ahead *ahead = dp->programs_ahead;
	int r;

	if (!ahead)
		return -ENOENT;
	pthread_join(ahead->thread, NULL);
	r = ahead->error;
	free(ahead);
	dp->programs_ahead = NULL;
	return r;
}
