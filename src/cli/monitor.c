/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "src/cli/cli.h"
#include "src/cli/display.h"
#include "src/model/filter.h"
#include "src/model/stream.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define INPUT (1U << 20)
#define FLUSH_NS 100000000
#define ENOUGH 1	/* --count */

_Static_assert(INPUT >= MERLON_STREAM_RECORD, "a record fits");

static volatile sig_atomic_t stopped;
static int stream = -1;		/* for the handler */

struct monitor {
	struct merlon_filter *filter;
	struct merlon_display display;
	uint64_t left;		/* of --count; 0: without end */
	struct merlon_event_origin origin[MERLON_STREAM_ORIGINS];
	struct merlon_stream_interface interface[MERLON_STREAM_INTERFACES];
	char input[INPUT];
	size_t used;
};

/* Ends the next read, also one that has not begun. */
static void on_signal(int number)
{
	(void)number;
	stopped = 1;
	shutdown(stream, SHUT_RDWR);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

/* NULL: it has no name that is known. */
static const char *name_of(const struct monitor *m, uint32_t index)
{
	const struct merlon_stream_interface *i = &m->interface[index % MERLON_STREAM_INTERFACES];

	return i->index == index && *i->name ? i->name : NULL;
}

static int take_event(struct monitor *m, const char *record)
{
	struct merlon_stream_event e;
	struct merlon_event_report report = { .event = &e.event };
	int r;

	memcpy(&e, record, sizeof(e));
	report.origin = &m->origin[e.origin % MERLON_STREAM_ORIGINS];
	report.iif = name_of(m, e.event.iif);
	report.oif = name_of(m, e.event.oif);
	if (!merlon_filter_match(m->filter, &report))
		return 0;
	r = merlon_display_event(&m->display, &report);
	return !r && m->left && !--m->left ? ENOUGH : r;
}

static int take_origin(struct monitor *m, const char *record, size_t bytes)
{
	struct merlon_stream_origin head;

	if (bytes < sizeof(head))
		return -EPROTO;
	memcpy(&head, record, sizeof(head));
	return merlon_stream_origin_read(record, bytes, &m->origin[head.slot % MERLON_STREAM_ORIGINS]);
}

static int take_interface(struct monitor *m, const char *record)
{
	struct merlon_stream_interface i;

	memcpy(&i, record, sizeof(i));
	i.name[sizeof(i.name) - 1] = 0;
	m->interface[i.index % MERLON_STREAM_INTERFACES] = i;
	return 0;
}

static int take_lost(struct monitor *m, const char *record)
{
	struct merlon_stream_lost lost;
	int r = 0;

	memcpy(&lost, record, sizeof(lost));
	if (lost.monitor)
		r = merlon_display_lost(&m->display, lost.monitor, "monitor");
	if (!r && lost.ring)
		r = merlon_display_lost(&m->display, lost.ring, "ring");
	return r;
}

static int take(struct monitor *m, const char *record, const struct merlon_stream_header *header)
{
	switch (header->type) {
	case MERLON_STREAM_EVENT:
		return header->bytes == sizeof(struct merlon_stream_event) ? take_event(m, record) : -EPROTO;
	case MERLON_STREAM_ORIGIN:
		return take_origin(m, record, header->bytes);
	case MERLON_STREAM_INTERFACE:
		return header->bytes == sizeof(struct merlon_stream_interface) ? take_interface(m, record) : -EPROTO;
	case MERLON_STREAM_LOST:
		return header->bytes == sizeof(struct merlon_stream_lost) ? take_lost(m, record) : -EPROTO;
	}
	return 0;
}

/* All records that are there whole. 0, ENOUGH or a negative errno. */
static int take_all(struct monitor *m)
{
	struct merlon_stream_header header;
	size_t at = 0;
	int r = 0;

	while (!r && m->used - at >= sizeof(header)) {
		memcpy(&header, m->input + at, sizeof(header));
		if (header.bytes < sizeof(header) || header.bytes > MERLON_STREAM_RECORD)
			return -EPROTO;
		if (header.bytes > m->used - at)
			break;
		r = take(m, m->input + at, &header);
		at += header.bytes;
	}
	memmove(m->input, m->input + at, m->used - at);
	m->used -= at;
	return r;
}

/* Waits for more, and meanwhile lets out what was kept back. 0; -ENODATA: that was all; or an error. */
static int receive(struct monitor *m)
{
	struct pollfd in = { stream, POLLIN, 0 };
	ssize_t n = recv(stream, m->input + m->used, INPUT - m->used, MSG_DONTWAIT);
	int r = 0;

	if ((n < 0 && errno == EAGAIN) || merlon_now_ns() - m->display.flushed_ns > FLUSH_NS)
		r = merlon_display_flush(&m->display);
	if (r < 0)
		return r;
	if (n < 0 && errno == EAGAIN)
		return poll(&in, 1, -1) < 0 && errno != EINTR ? -errno : 0;
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	m->used += n;
	return n ? 0 : -ENODATA;
}

static int watch(struct monitor *m)
{
	int r = 0, flushed;

	while (!r && !stopped) {
		r = receive(m);
		merlon_display_synchronize(&m->display);
		if (!r)
			r = take_all(m);
	}
	flushed = merlon_display_flush(&m->display);
	return r == 0 || r == ENOUGH || r == -ENODATA ? (flushed < 0 ? flushed : r) : r;
}

/* What ended it, as an exit status. */
static int explain(int r)
{
	struct merlon_diag diag = { 0 };
	struct merlon_place nowhere = { 0 };

	if (stopped || r == ENOUGH || r == -EPIPE)
		return MERLON_EXIT_DONE;
	if (r == -ENODATA) {
		merlon_diag_add(&diag, MERLON_ERROR, nowhere, "merlond has gone");
		merlon_diag_cure(&diag, "a policy that was in force goes on filtering; start merlond again to see events");
	} else if (r == -EPROTO) {
		merlon_diag_add(&diag, MERLON_ERROR, nowhere, "merlond says what this merlon does not understand");
		merlon_diag_cure(&diag, "they are of different versions: restart merlond");
	} else {
		merlon_diag_add(&diag, MERLON_ERROR, nowhere, "cannot go on: %s", strerror(-r));
	}
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	return MERLON_EXIT_FAILED;
}

static int monitor(const struct merlon_options *options, struct monitor *m)
{
	struct merlon_call call;
	int r = merlon_call(options, "Monitor", NULL, &call);

	if (r)
		return r;
	stream = call.file;
	m->left = options->count;
	catch_signals();
	r = merlon_display_open(&m->display, options->json, &stopped);
	if (!r)
		r = watch(m);
	merlon_display_close(&m->display);
	close(stream);
	return explain(r);
}

static int run(const struct merlon_options *options)
{
	struct merlon_diag diag = { 0 };
	_cleanup_free_ struct monitor *m = calloc(1, sizeof(*m));
	int r = m ? merlon_filter_read((const char *const *)options->file, options->n_files, &m->filter, &diag) : -ENOMEM;

	if (r < 0) {
		merlon_fail(options, &diag);
		return r == -EINVAL ? MERLON_EXIT_USAGE : MERLON_EXIT_FAILED;
	}
	r = monitor(options, m);
	for (size_t i = 0; i < MERLON_STREAM_ORIGINS; i++)
		merlon_event_origin_clear(&m->origin[i]);
	merlon_filter_free(m->filter);
	return r;
}

const struct merlon_command merlon_monitor = {
	.name = "monitor",
	.usage = "[WORD VALUE]...",
	.does = "shows denied and logged packets as they come",
	.more = "The words say which packets; several must all hold:\n"
		"  verdict drop|reject|accept|log\n"
		"  hook input|forward|output\n"
		"  state new|established|related|invalid|untracked\n"
		"  proto NAME|NUMBER\n"
		"  src ADDRESS[/LENGTH], dst ADDRESS[/LENGTH], host ADDRESS[/LENGTH] (either end)\n"
		"  sport N[-M], dport N[-M], port N[-M] (either end)\n"
		"  iif NAME, oif NAME, chain NAME\n",
	.takes = MERLON_TAKES_WORDS | MERLON_TAKES_COUNT | MERLON_TAKES_SOCKET,
	.run = run,
};
