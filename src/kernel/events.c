/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "src/kernel/internal.h"

/* At one call, so that a flood does not hold the caller's loop: what is left keeps the descriptor ready. */
#define BUDGET 4096

static int on_event(void *context, void *data, size_t size)
{
	struct merlon_dataplane *dp = context;
	struct merlon_event older = { 0 };
	const struct merlon_event *event = data;

	if (size < MERLON_EVENT_BYTES_LEAST || !dp->handler.event)
		return 0;
	if (size < sizeof(older))
		event = memcpy(&older, data, size);
	dp->handler.event(dp->handler.context, event, size >= sizeof(struct merlon_event_packet) ? data : NULL);
	/* A negative answer stops libbpf behind this record. */
	return --dp->budget > 0 ? 0 : -EAGAIN;
}

static int on_reject(void *context, void *data, size_t size)
{
	struct merlon_dataplane *dp = context;

	if (size < sizeof(struct merlon_reject_event))
		return 0;
	dp->handler.reject(dp->handler.context, data);
	return --dp->budget > 0 ? 0 : -EAGAIN;
}

int merlon_dataplane_events_open(struct merlon_dataplane *dp, const struct merlon_dataplane_events *handler)
{
	int r;

	if (dp->ring)
		return -EALREADY;
	dp->handler = *handler;
	/* Rejects first: libbpf reads the rings in this order, and an answer is waited for. */
	if (handler->reject)
		dp->ring = ring_buffer__new(dp->fd[MERLON_MAP_REJECTS], on_reject, dp, NULL);
	else
		dp->ring = ring_buffer__new(dp->fd[MERLON_MAP_EVENTS], on_event, dp, NULL);
	if (!dp->ring)
		return -errno;
	r = handler->reject ? ring_buffer__add(dp->ring, dp->fd[MERLON_MAP_EVENTS], on_event, dp) : 0;
	if (r < 0) {
		ring_buffer__free(dp->ring);
		dp->ring = NULL;
	}
	return r;
}

int merlon_dataplane_events_fd(const struct merlon_dataplane *dp)
{
	return dp->ring ? ring_buffer__epoll_fd(dp->ring) : -ENOENT;
}

int merlon_dataplane_events_consume(struct merlon_dataplane *dp)
{
	int r;

	if (!dp->ring)
		return -ENOENT;
	dp->budget = BUDGET;
	/* whether or not a wake-up is still on its way */
	r = ring_buffer__consume(dp->ring);
	return r == -EAGAIN ? BUDGET : r;
}

int merlon_dataplane_rejects(const struct merlon_dataplane *dp, uint32_t *ret_bytes)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(dp->fd[MERLON_MAP_REJECTS], &info, &size) < 0)
		return -errno;
	*ret_bytes = info.max_entries;
	return dp->fd[MERLON_MAP_REJECTS];
}
