/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/display.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/util/clock.h"

#define BUFFER (256U << 10)
#define LAST_WORDS_MS 1000

int merlon_display_open(struct merlon_display *d, bool json, const volatile sig_atomic_t *stopped)
{
	*d = (struct merlon_display){ .json = json, .stopped = stopped, .buffer = malloc(BUFFER), .second = -1, .ends_width = 37,
				      .interfaces_width = 8 };
	return d->buffer ? 0 : -ENOMEM;
}

void merlon_display_close(struct merlon_display *d)
{
	free(d->buffer);
	d->buffer = NULL;
}

void merlon_display_synchronize(struct merlon_display *d)
{
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	d->real_ns = (int64_t)real.tv_sec * 1000000000 + real.tv_nsec - (int64_t)merlon_now_ns();
}

static int write_all(const struct merlon_display *d, const char *from, size_t left)
{
	while (left) {
		struct pollfd out = { STDOUT_FILENO, POLLOUT, 0 };
		bool last = *d->stopped;
		ssize_t n;

		if (last && poll(&out, 1, LAST_WORDS_MS) == 0)
			return -ETIMEDOUT;
		/* a pipe that is ready takes so much without waiting */
		n = write(STDOUT_FILENO, from, last && left > PIPE_BUF ? PIPE_BUF : left);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			from += n;
			left -= n;
		}
	}
	return 0;
}

int merlon_display_flush(struct merlon_display *d)
{
	int r = write_all(d, d->buffer, d->used);

	d->used = 0;
	d->flushed_ns = merlon_now_ns();
	return r;
}

/* Room for a line; one that has none even in the empty buffer is -EMSGSIZE. */
static int make_room(struct merlon_display *d, size_t bytes)
{
	if (bytes > BUFFER)
		return -EMSGSIZE;
	return d->used + bytes > BUFFER ? merlon_display_flush(d) : 0;
}

/* Sets the stamp to its second and returns the microseconds in it. */
static unsigned stamp(struct merlon_display *d, uint64_t time_ns)
{
	uint64_t real_ns = time_ns + d->real_ns;
	time_t second = real_ns / 1000000000;
	struct tm tm;

	if (second != d->second) {
		if (d->json)
			strftime(d->stamp, sizeof(d->stamp), "%Y-%m-%dT%H:%M:%S", gmtime_r(&second, &tm));
		else
			strftime(d->stamp, sizeof(d->stamp), "%H:%M:%S", localtime_r(&second, &tm));
		d->second = second;
	}
	return real_ns % 1000000000 / 1000;
}

static char *digits(char *to, unsigned v, unsigned n)
{
	for (unsigned i = n; i--; v /= 10)
		to[i] = '0' + v % 10;
	return to + n;
}

static int json_event(struct merlon_display *d, const struct merlon_event_report *report)
{
	unsigned us = stamp(d, report->event->time_ns);
	struct merlon_entry entry;
	char *to;
	int r;

	merlon_entry_build(&entry, report);
	r = make_room(d, merlon_entry_json_room(&entry) + 64);
	if (r < 0)
		return r;
	to = stpcpy(d->buffer + d->used, "{\"MERLON_TIME\":\"");
	to = stpcpy(to, d->stamp);
	*to++ = '.';
	to = digits(to, us, 6);
	to = merlon_entry_json(&entry, stpcpy(to, "Z\","));
	to = stpcpy(to, "}\n");
	d->used = to - d->buffer;
	return 0;
}

static char *put_end(char *to, const struct merlon_event *e, const __be32 *address, __be16 port)
{
	bool ports = merlon_event_has_ports(e), brackets = ports && e->family == MERLON_IPV6;

	if (brackets)
		*to++ = '[';
	to += merlon_event_address(e, address, to);
	if (brackets)
		*to++ = ']';
	return ports ? to + sprintf(to, ":%u", ntohs(port)) : to;
}

/* "10.0.0.1:1024 > 10.0.0.2:80", "10.0.0.1 > 10.0.0.2 type 8 code 0" */
static void put_ends(char ret[160], const struct merlon_event *e)
{
	char *to = put_end(ret, e, e->saddr, e->sport);

	to = stpcpy(to, " > ");
	to = put_end(to, e, e->daddr, e->dport);
	*to = 0;
	if (merlon_event_is_icmp(e))
		sprintf(to, " type %u code %u", ntohs(e->sport) >> 8, ntohs(e->sport) & 255);
}

static void put_interface(char ret[IFNAMSIZ], uint32_t index, const char *name)
{
	if (index && !name)
		snprintf(ret, IFNAMSIZ, "%u", index);
	else
		snprintf(ret, IFNAMSIZ, "%s", index ? name : "");
}

/* "eth0 >", "> eth1", "eth0 > eth1" */
static void put_interfaces(char ret[40], const struct merlon_event_report *r)
{
	char iif[IFNAMSIZ], oif[IFNAMSIZ];

	put_interface(iif, r->event->iif, r->iif);
	put_interface(oif, r->event->oif, r->oif);
	snprintf(ret, 40, "%s%s>%s%s", iif, *iif ? " " : "", *oif ? " " : "", oif);
}

static int put_rule(char *to, size_t room, const struct merlon_event_report *r)
{
	const struct merlon_event_origin *o = r->origin;
	const char *audited = r->event->audit && r->event->kind == MERLON_EVENT_VERDICT ? "  [audit: it passed]" : "";

	if (o->rule && o->file && o->line)
		return snprintf(to, room, "%s  (%s:%u)%s\n", o->rule, o->file, o->line, audited);
	if (o->rule)
		return snprintf(to, room, "%s%s\n", o->rule, audited);
	if (o->chain)
		return snprintf(to, room, "chain %s policy %s%s\n", o->chain, merlon_event_verdict(r->event), audited);
	return snprintf(to, room, "-%s\n", audited);
}

static int widen(int *width, const char *text)
{
	if ((int)strlen(text) > *width)
		*width = strlen(text);
	return *width;
}

static int text_event(struct merlon_display *d, const struct merlon_event_report *r)
{
	const struct merlon_event *e = r->event;
	const struct merlon_event_origin *o = r->origin;
	unsigned us = stamp(d, e->time_ns);
	size_t room = 512 + (o->rule ? strlen(o->rule) : 0) + (o->file ? strlen(o->file) : 0) + (o->chain ? strlen(o->chain) : 0);
	char ends[160], interfaces[40], proto[8], *line, *to;
	int error = make_room(d, room);

	if (error < 0)
		return error;
	put_ends(ends, e);
	put_interfaces(interfaces, r);
	line = to = d->buffer + d->used;
	to += sprintf(to, "%s.%03u  %-6s  %-7s  %-6s  %-*s  ", d->stamp, us / 1000, merlon_event_verdict(e),
		      merlon_event_hook(e), merlon_protocol_name(e->l4proto, proto), widen(&d->ends_width, ends), ends);
	to += sprintf(to, "%-*s  %-11s  ", widen(&d->interfaces_width, interfaces), interfaces, merlon_event_state(e));
	to += put_rule(to, room - (to - line), r);
	/* What a rule says must not command the terminal. */
	for (; line < to - 1; line++)
		if ((unsigned char)*line < 0x20 || *line == 0x7f)
			*line = '?';
	d->used = to - d->buffer;
	return 0;
}

int merlon_display_event(struct merlon_display *d, const struct merlon_event_report *report)
{
	return d->json ? json_event(d, report) : text_event(d, report);
}

int merlon_display_lost(struct merlon_display *d, uint64_t n, const char *where)
{
	int r = make_room(d, 128);

	if (r < 0)
		return r;
	if (d->json)
		d->used += sprintf(d->buffer + d->used, "{\"lost\":%llu,\"where\":\"%s\"}\n", (unsigned long long)n, where);
	else
		d->used += sprintf(d->buffer + d->used, "lost %llu event%s: %s\n", (unsigned long long)n, n == 1 ? "" : "s",
				   !strcmp(where, "ring") ? "more than merlond could read" : "more than this monitor could read");
	return 0;
}
