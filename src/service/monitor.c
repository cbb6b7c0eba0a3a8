/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors: who wants to see events as they come (src/model/stream.h). Each has a buffer; what it does not read in time is
 * lost to it alone, and it is told how much. Nobody waits for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "src/model/stream.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define MOST_MONITORS 16
#define BUFFER (16U << 20)
/* An event and all that is told before it have room below this. */
#define FULL (BUFFER - 2 * MERLON_STREAM_RECORD)
/* Who lost events gets the next one when it has caught up so far, so that the news of it are few. */
#define CAUGHT_UP (BUFFER / 2)
#define SOCKET_BYTES (4 << 20)
#define LOOK_US 100000	/* for what the ring lost, after an event */

struct monitor {
	struct merlon_daemon *d;
	struct monitor *next;
	sd_event_source *source;		/* owns the socket */
	int fd;
	char *buffer;				/* a ring of BUFFER bytes */
	size_t start, used;
	bool packets;				/* it gets them, too */
	uint64_t lost;				/* events, since it was told */
	uint64_t ring_told;			/* of merlon_monitors.ring_lost */
	uint32_t origin[MERLON_STREAM_ORIGINS];	/* serials of what it was told */
	struct merlon_stream_interface interface[MERLON_STREAM_INTERFACES];
	struct {
		uint64_t id;
		bool named;
	} cgroup[MERLON_STREAM_CGROUPS];
};

struct merlon_monitors {
	struct monitor *first;
	unsigned n, n_packets;			/* of all, of those that get packets */
	sd_event_source *look;
	bool looks;
	uint64_t ring_lost;			/* of the data plane, when last looked at */
};

/* The data plane takes packets along as long as there is somebody who gets them. */
static int count_packets(struct merlon_daemon *d, int more)
{
	unsigned n = d->monitors->n_packets + more;
	int r = !n == !d->monitors->n_packets ? 0 : merlon_dataplane_set_packets(d->dp, n);

	if (r < 0 && n)
		return r;
	d->monitors->n_packets = n;
	return 0;
}

static void monitor_free(struct monitor *m)
{
	struct monitor **p = &m->d->monitors->first;

	while (*p && *p != m)
		p = &(*p)->next;
	if (*p) {
		*p = m->next;
		m->d->monitors->n--;
		if (m->packets)
			count_packets(m->d, -1);
	}
	sd_event_source_disable_unref(m->source);
	merlon_closep(&m->fd);
	free(m->buffer);
	free(m);
}

/* The caller knows that there is room. */
static void put(struct monitor *m, const void *record, size_t bytes)
{
	size_t at = (m->start + m->used) % BUFFER, first = BUFFER - at < bytes ? BUFFER - at : bytes;

	memcpy(m->buffer + at, record, first);
	memcpy(m->buffer, (const char *)record + first, bytes - first);
	m->used += bytes;
}

static void tell_lost(struct monitor *m)
{
	struct merlon_stream_lost lost = { { sizeof(lost), MERLON_STREAM_LOST }, m->lost,
					   m->d->monitors->ring_lost - m->ring_told };

	if ((!lost.monitor && !lost.ring) || m->used > CAUGHT_UP)
		return;
	put(m, &lost, sizeof(lost));
	m->lost = 0;
	m->ring_told = m->d->monitors->ring_lost;
}

/* 0, or an error: nobody is there any more. */
static int flush(struct monitor *m)
{
	while (m->used) {
		size_t first = BUFFER - m->start < m->used ? BUFFER - m->start : m->used;
		struct iovec part[] = { { m->buffer + m->start, first }, { m->buffer, m->used - first } };
		ssize_t n = writev(m->fd, part, part[1].iov_len ? 2 : 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			break;
		m->used -= n;
		/* the same few pages again, as long as it keeps up */
		m->start = m->used ? (m->start + n) % BUFFER : 0;
	}
	return sd_event_source_set_io_events(m->source, m->used ? EPOLLOUT : 0);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct monitor *m = context;
	int r = events & (EPOLLHUP | EPOLLERR) ? -EPIPE : flush(m);

	(void)source;
	(void)fd;
	if (!r) {
		tell_lost(m);
		r = flush(m);
	}
	if (r < 0)
		monitor_free(m);
	return 0;
}

void merlon_monitors_flush(struct merlon_daemon *d)
{
	struct monitor *m, *next;

	for (m = d->monitors->first; m; m = next) {
		next = m->next;
		if (m->used && flush(m) < 0)
			monitor_free(m);
	}
}

static uint64_t ring_lost(const struct merlon_daemon *d)
{
	struct merlon_stats stats;

	return merlon_dataplane_stats(d->dp, &stats) < 0 ? d->monitors->ring_lost : stats.count[MERLON_STAT_EVENTS_LOST];
}

static int on_look(sd_event_source *source, uint64_t time_us, void *context)
{
	struct merlon_daemon *d = context;

	(void)source;
	(void)time_us;
	d->monitors->looks = false;
	d->monitors->ring_lost = ring_lost(d);
	for (struct monitor *m = d->monitors->first; m; m = m->next)
		tell_lost(m);
	merlon_monitors_flush(d);
	return 0;
}

/* A ring that was full has been read since: it is enough to look some time after the last event. */
static void look_later(struct merlon_daemon *d)
{
	struct merlon_monitors *all = d->monitors;

	if (all->looks)
		return;
	all->looks = sd_event_source_set_time(all->look, merlon_now_ns() / 1000 + LOOK_US) >= 0 &&
		     sd_event_source_set_enabled(all->look, SD_EVENT_ONESHOT) >= 0;
}

/* Names change: what counts is whether it was told this one. */
static void put_interface(struct monitor *m, uint32_t index, const char *name)
{
	struct merlon_stream_interface *told = &m->interface[index % MERLON_STREAM_INTERFACES];

	if (!index || (told->index == index && !strncmp(told->name, name, sizeof(told->name))))
		return;
	*told = (struct merlon_stream_interface){ { sizeof(*told), MERLON_STREAM_INTERFACE }, .index = index };
	strncpy(told->name, name, sizeof(told->name) - 1);
	put(m, told, sizeof(*told));
}

/* A group may be named later than its first event. */
static void put_cgroup(struct monitor *m, uint64_t id, const char *path)
{
	struct merlon_stream_cgroup record = { { sizeof(record), MERLON_STREAM_CGROUP }, .id = id };
	size_t bytes = path ? strlen(path) + 1 : 1, slot = id % MERLON_STREAM_CGROUPS;

	if (!id || (m->cgroup[slot].id == id && m->cgroup[slot].named == !!path))
		return;
	m->cgroup[slot].id = id;
	m->cgroup[slot].named = path;
	record.header.bytes += bytes;
	put(m, &record, sizeof(record));
	put(m, path ? path : "", bytes);
}

static void put_origin(struct monitor *m, const struct merlon_told_origin *named)
{
	static char record[MERLON_STREAM_RECORD];

	if (m->origin[named->slot] == named->serial)
		return;
	put(m, record, merlon_stream_origin_write(named->slot, &named->origin, record));
	m->origin[named->slot] = named->serial;
}

static void put_event(struct monitor *m, struct merlon_stream_event *record, const struct merlon_event_packet *with)
{
	record->packet_bytes = m->packets && with && with->bytes <= sizeof(with->packet) ? with->bytes : 0;
	record->header.bytes = sizeof(*record) + record->packet_bytes;
	put(m, record, sizeof(*record));
	if (record->packet_bytes)
		put(m, with->packet, record->packet_bytes);
}

void merlon_monitors_event(struct merlon_daemon *d, const struct merlon_event *event, const struct merlon_event_packet *with)
{
	struct merlon_stream_event record = { .header.type = MERLON_STREAM_EVENT, .event = *event };
	const char *iif, *oif, *cgroup;
	const struct merlon_told_origin *named;

	if (!d->monitors->first)
		return;
	named = merlon_event_origins_find(d, event);
	iif = event->iif ? merlon_links_name(d, event->iif) : NULL;
	oif = event->oif ? merlon_links_name(d, event->oif) : NULL;
	cgroup = event->cgroup ? merlon_cgroup_path(d, event->cgroup) : NULL;
	record.origin = named->slot;
	for (struct monitor *m = d->monitors->first; m; m = m->next) {
		tell_lost(m);
		if (m->lost || m->used > FULL) {
			m->lost++;
			continue;
		}
		put_origin(m, named);
		put_interface(m, event->iif, iif ? iif : "");
		put_interface(m, event->oif, oif ? oif : "");
		put_cgroup(m, event->cgroup, cgroup);
		put_event(m, &record, with);
	}
	look_later(d);
}

static int make_pair(int ret[2])
{
	const int bytes = SOCKET_BYTES;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret) < 0)
		return -errno;
	/* beyond net.core.wmem_max where this may */
	if (setsockopt(ret[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(ret[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return fcntl(ret[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int merlon_monitors_add(struct merlon_daemon *d, bool trusted, bool packets)
{
	_cleanup_close_ int theirs = -1;
	struct monitor *m;
	int pair[2], r;

	if (d->monitors->n >= (trusted ? MOST_MONITORS : MOST_MONITORS / 2))
		return -EUSERS;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->d = d;
	m->fd = -1;
	m->buffer = malloc(BUFFER);
	r = m->buffer ? make_pair(pair) : -ENOMEM;
	if (!r) {
		m->fd = pair[0];
		theirs = pair[1];
		r = sd_event_add_io(d->event, &m->source, m->fd, 0, on_ready, m);
	}
	if (r >= 0 && packets)
		r = count_packets(d, 1);
	if (r < 0) {
		monitor_free(m);
		return r;
	}
	m->packets = packets;
	d->monitors->ring_lost = m->ring_told = ring_lost(d);
	m->next = d->monitors->first;
	d->monitors->first = m;
	d->monitors->n++;
	return TAKE_FD(theirs);
}

int merlon_monitors_open(struct merlon_daemon *d)
{
	int r;

	d->monitors = calloc(1, sizeof(*d->monitors));
	if (!d->monitors)
		return -ENOMEM;
	r = sd_event_add_time(d->event, &d->monitors->look, CLOCK_MONOTONIC, 0, LOOK_US / 4, on_look, d);
	return r < 0 ? r : sd_event_source_set_enabled(d->monitors->look, SD_EVENT_OFF);
}

void merlon_monitors_close(struct merlon_daemon *d)
{
	if (!d->monitors)
		return;
	while (d->monitors->first) {
		flush(d->monitors->first);
		monitor_free(d->monitors->first);
	}
	sd_event_source_disable_unref(d->monitors->look);
	free(d->monitors);
	d->monitors = NULL;
}
