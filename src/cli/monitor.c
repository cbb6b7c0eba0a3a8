/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
	struct {
		uint64_t id;
		char *path;	/* owned; NULL: not known */
	} cgroup[MERLON_STREAM_CGROUPS];
	uint64_t shown, lost, bare;	/* events; bare: without their packets */
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

static int take_event(struct monitor *m, const char *record, size_t bytes)
{
	struct merlon_stream_event e;
	struct merlon_event_report report = { .event = &e.event };
	int r;

	if (bytes < sizeof(e))
		return -EPROTO;
	memcpy(&e, record, sizeof(e));
	if (bytes - sizeof(e) != e.packet_bytes)
		return -EPROTO;
	report.packet = record + sizeof(e);
	report.packet_bytes = e.packet_bytes;
	report.origin = &m->origin[e.origin % MERLON_STREAM_ORIGINS];
	report.iif = name_of(m, e.event.iif);
	report.oif = name_of(m, e.event.oif);
	if (e.event.cgroup && m->cgroup[e.event.cgroup % MERLON_STREAM_CGROUPS].id == e.event.cgroup)
		report.cgroup = m->cgroup[e.event.cgroup % MERLON_STREAM_CGROUPS].path;
	if (!merlon_filter_match(m->filter, &report))
		return 0;
	r = merlon_display_event(&m->display, &report);
	m->shown += !r;
	m->bare += !r && !e.packet_bytes;
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

static int take_cgroup(struct monitor *m, const char *record, size_t bytes)
{
	const char *path = record + sizeof(struct merlon_stream_cgroup);
	struct merlon_stream_cgroup head;
	size_t slot;

	if (bytes <= sizeof(head) || record[bytes - 1])
		return -EPROTO;
	memcpy(&head, record, sizeof(head));
	slot = head.id % MERLON_STREAM_CGROUPS;
	free(m->cgroup[slot].path);
	m->cgroup[slot].id = head.id;
	m->cgroup[slot].path = *path ? strdup(path) : NULL;
	return 0;
}

static int take_lost(struct monitor *m, const char *record)
{
	struct merlon_stream_lost lost;
	int r = 0;

	memcpy(&lost, record, sizeof(lost));
	m->lost += lost.monitor + lost.ring;
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
		return take_event(m, record, header->bytes);
	case MERLON_STREAM_ORIGIN:
		return take_origin(m, record, header->bytes);
	case MERLON_STREAM_INTERFACE:
		return header->bytes == sizeof(struct merlon_stream_interface) ? take_interface(m, record) : -EPROTO;
	case MERLON_STREAM_CGROUP:
		return take_cgroup(m, record, header->bytes);
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

/* Where to write; or an exit status, -1 - status, when the reason is on stderr. */
static int open_out(const struct merlon_options *options)
{
	int fd;

	if (!options->pcap)
		return STDOUT_FILENO;
	if (!strcmp(options->pcap, "-") && !isatty(STDOUT_FILENO))
		return STDOUT_FILENO;
	if (!strcmp(options->pcap, "-")) {
		fputs("error: packets are not for a terminal\n  pipe them into a program, as in `| tcpdump -r -`, or name a file\n", stderr);
		return -1 - MERLON_EXIT_USAGE;
	}
	fd = open(options->pcap, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd >= 0)
		return fd;
	fprintf(stderr, "error: %s: %s\n", options->pcap, strerror(errno));
	return -1 - MERLON_EXIT_FAILED;
}

static void sum_up(const struct monitor *m)
{
	fprintf(stderr, "%llu packet%s written, %llu lost\n", (unsigned long long)m->shown, m->shown == 1 ? "" : "s",
		(unsigned long long)m->lost);
	if (m->bare)
		fprintf(stderr, "%llu of them without a byte: an older merlon loaded the programs in force\n"
			"  `merlon stop`, and applying the ruleset again, loads them anew\n", (unsigned long long)m->bare);
}

static int monitor(const struct merlon_options *options, struct monitor *m)
{
	enum merlon_form form = options->pcap ? MERLON_FORM_PCAP : options->json ? MERLON_FORM_JSON : MERLON_FORM_TEXT;
	struct merlon_call call;
	int out, r = merlon_call(options, options->pcap ? "Capture" : "Monitor", NULL, &call);

	if (r)
		return r;
	out = open_out(options);
	if (out < 0) {
		close(call.file);
		return -1 - out;
	}
	stream = call.file;
	m->left = options->count;
	catch_signals();
	r = merlon_display_open(&m->display, form, out, &stopped);
	if (!r)
		r = watch(m);
	merlon_display_close(&m->display);
	close(stream);
	if (out != STDOUT_FILENO && close(out) < 0 && (!r || r == ENOUGH))
		r = -errno;
	if (options->pcap)
		sum_up(m);
	return explain(r);
}

static int run(const struct merlon_options *options)
{
	struct merlon_diag diag = { 0 };
	_cleanup_free_ struct monitor *m = NULL;
	int r;

	if (options->pcap && options->json)
		return fputs("error: --pcap and --json are different formats\n", stderr), MERLON_EXIT_USAGE;
	m = calloc(1, sizeof(*m));
	r = m ? merlon_filter_read((const char *const *)options->file, options->n_files, &m->filter, &diag) : -ENOMEM;
	if (r < 0) {
		merlon_fail(options, &diag);
		return r == -EINVAL ? MERLON_EXIT_USAGE : MERLON_EXIT_FAILED;
	}
	r = monitor(options, m);
	for (size_t i = 0; i < MERLON_STREAM_ORIGINS; i++)
		merlon_event_origin_clear(&m->origin[i]);
	for (size_t i = 0; i < MERLON_STREAM_CGROUPS; i++)
		free(m->cgroup[i].path);
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
	.takes = MERLON_TAKES_WORDS | MERLON_TAKES_COUNT | MERLON_TAKES_PCAP | MERLON_TAKES_SOCKET,
	.run = run,
};
