/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pointer to an image. Storing it returns when no program can still be looking at the one before
 * (maybe_wait_bpf_programs(), kernel/bpf/syscall.c), some 10 ms later. From the first moment on packets meet the new one: a thread
 * waits, and who stored it goes on as soon as it can be read back. What must not happen to the one before as long as packets are on
 * their way that met it, its half of the counters' paths and of the decisions being used again above all, waits for the thread.
 */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_US 50

struct merlon_storing {
	pthread_t thread;
	int map, inner;
	int error;
	atomic_bool ended;
};

static int store(int map, int inner)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(map, &zero, &inner, 0) < 0 ? -errno : 0;
}

static void *store_and_wait(void *context)
{
	struct merlon_storing *storing = context;

	storing->error = store(storing->map, storing->inner);
	atomic_store(&storing->ended, true);
	return NULL;
}

static bool is_stored(const struct merlon_storing *storing, uint32_t id)
{
	uint32_t zero = 0, there = 0;

	return !bpf_map_lookup_elem(storing->map, &zero, &there) && there == id;
}

void merlon_image_store_end(struct merlon_dataplane *dp)
{
	if (!dp->storing)
		return;
	pthread_join(dp->storing->thread, NULL);
	free(dp->storing);
	dp->storing = NULL;
}

/* The descriptors may be closed, or be others, from then on. */
static int wait_until_stored(struct merlon_dataplane *dp, uint32_t id)
{
	int r;

	while (!is_stored(dp->storing, id)) {
		if (!atomic_load(&dp->storing->ended)) {
			usleep(LOOK_US);
			continue;
		}
		r = dp->storing->error;
		merlon_image_store_end(dp);
		return r;
	}
	return 0;
}

int merlon_image_store(struct merlon_dataplane *dp, int map, int inner)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	struct merlon_storing *storing;

	merlon_image_store_end(dp);
	storing = malloc(sizeof(*storing));
	if (!storing || bpf_obj_get_info_by_fd(inner, &info, &size) < 0)
		goto here;
	*storing = (struct merlon_storing){ .map = map, .inner = inner };
	if (pthread_create(&storing->thread, NULL, store_and_wait, storing))
		goto here;
	dp->storing = storing;
	return wait_until_stored(dp, info.id);
here:
	free(storing);
	return store(map, inner);
}
