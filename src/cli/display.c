/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/display.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/model/pcapng.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define BUFFER (256U << 10)
#define LAST_WORDS_MS 1000

int merlon_display_open(struct merlon_display *d, enum merlon_form form, int out, const volatile sig_atomic_t *stopped)
{
	*d = (struct merlon_display){ .form = form, .out = out, .stopped = stopped, .buffer = malloc(BUFFER), .second = -1,
				      .ends_width = 37, .interfaces_width = 8 };
	if (!d->buffer)
		return -ENOMEM;
	if (form == MERLON_FORM_PCAP)
		d->used = merlon_pcapng_section(d->buffer) - d->buffer;
	return 0;
}

void merlon_display_close(struct merlon_display *d)
{
	free(d->buffer);
	free(d->interface);
	d->buffer = NULL;
	d->interface = NULL;
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
		struct pollfd out = { d->out, POLLOUT, 0 };
		bool last = *d->stopped;
		ssize_t n;

		if (last && poll(&out, 1, LAST_WORDS_MS) == 0)
			return -ETIMEDOUT;
		/* a pipe that is ready takes so much without waiting */
		n = write(d->out, from, last && left > PIPE_BUF ? PIPE_BUF : left);
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
		if (d->form == MERLON_FORM_JSON)
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

/* "  by nginx.service, uid 33" */
static void put_sender(char *ret, size_t room, const struct merlon_event_report *r)
{
	size_t bytes = 0;
	const char *unit = r->cgroup ? merlon_event_unit(r->cgroup, &bytes) : NULL;

	*ret = 0;
	if (r->event->uid == MERLON_NO_UID)
		return;
	if (unit)
		snprintf(ret, room, "  by %.*s, uid %u", (int)bytes, unit, r->event->uid);
	else
		snprintf(ret, room, "  by uid %u", r->event->uid);
}

static int put_rule(char *to, size_t room, const struct merlon_event_report *r)
{
	const struct merlon_event_origin *o = r->origin;
	const char *audited = r->event->audit && r->event->kind == MERLON_EVENT_VERDICT ? "  [audit: it passed]" : "";
	char sender[NAME_MAX + 32];

	put_sender(sender, sizeof(sender), r);

	if (o->rule && o->file && o->line)
		return snprintf(to, room, "%s  (%s:%u)%s%s\n", o->rule, o->file, o->line, sender, audited);
	if (o->rule)
		return snprintf(to, room, "%s%s%s\n", o->rule, sender, audited);
	if (o->chain)
		return snprintf(to, room, "chain %s policy %s%s%s\n", o->chain, merlon_event_verdict(r->event), sender, audited);
	return snprintf(to, room, "-%s%s\n", sender, audited);
}

static int widen(int *width, const char *text)
{
	if ((int)strlen(text) > *width)
		*width = strlen(text);
	return *width;
}

/*
 * What rules, interfaces and control groups are called must not command the terminal: no C0, and no C1, which are one byte, or
 * two of UTF-8.
 */
static void harmless(char *line, const char *end)
{
	bool in_utf8 = false;

	for (; line < end; line++) {
		unsigned char c = *line;

		if (c < 0x20 || c == 0x7f || (c < 0xa0 && c >= 0x80 && (!in_utf8 || (unsigned char)line[-1] == 0xc2)))
			*line = '?';
		in_utf8 = c >= 0xc2 || (in_utf8 && c >= 0x80 && c < 0xc0);
	}
}

static int text_event(struct merlon_display *d, const struct merlon_event_report *r)
{
	const struct merlon_event *e = r->event;
	const struct merlon_event_origin *o = r->origin;
	unsigned us = stamp(d, e->time_ns);
	size_t room = 1024 + (o->rule ? strlen(o->rule) : 0) + (o->file ? strlen(o->file) : 0) + (o->chain ? strlen(o->chain) : 0);
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
	harmless(line, to - 1);
	d->used = to - d->buffer;
	return 0;
}

/* The number of an interface's block, which is written if there is none yet; or a negative errno. */
static int interface_block(struct merlon_display *d, const char *name)
{
	char (*more)[IFNAMSIZ];
	int r;

	for (unsigned i = 0; i < d->n_interfaces; i++)
		if (!strcmp(d->interface[i], name))
			return i;
	more = reallocarray(d->interface, d->n_interfaces + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	d->interface = more;
	r = make_room(d, MERLON_PCAPNG_HEAD);
	if (r < 0)
		return r;
	strcpy(more[d->n_interfaces], name);
	d->used = merlon_pcapng_interface(d->buffer + d->used, name, MERLON_EVENT_SNAP) - d->buffer;
	return d->n_interfaces++;
}

/* By the interface that it came in by; of a packet that was sent here, the one that it leaves by. */
static int pcap_event(struct merlon_display *d, const struct merlon_event_report *r)
{
	const struct merlon_event *e = r->event;
	struct merlon_pcapng_packet packet = { .time_ns = e->time_ns + d->real_ns, .data = r->packet, .bytes = r->packet_bytes,
					       .whole = e->bytes, .direction = e->iif ? MERLON_PCAPNG_IN : MERLON_PCAPNG_OUT,
					       .lost = d->lost };
	_cleanup_free_ char *comment = NULL;
	struct merlon_entry entry;
	char name[IFNAMSIZ];
	int block;

	put_interface(name, e->iif ? e->iif : e->oif, e->iif ? r->iif : r->oif);
	block = interface_block(d, name);
	if (block < 0)
		return block;
	merlon_entry_build(&entry, r);
	comment = malloc(merlon_entry_comment_room(&entry));
	if (!comment)
		return -ENOMEM;
	packet.interface = block;
	packet.comment = comment;
	packet.comment_bytes = merlon_entry_comment(&entry, comment) - comment;
	block = make_room(d, merlon_pcapng_room(&packet));
	if (block < 0)
		return block;
	d->used = merlon_pcapng_packet(d->buffer + d->used, &packet) - d->buffer;
	d->lost = 0;
	return 0;
}

int merlon_display_event(struct merlon_display *d, const struct merlon_event_report *report)
{
	switch (d->form) {
	case MERLON_FORM_JSON: return json_event(d, report);
	case MERLON_FORM_PCAP: return pcap_event(d, report);
	default: return text_event(d, report);
	}
}

int merlon_display_lost(struct merlon_display *d, uint64_t n, const char *where)
{
	const char *plural = n == 1 ? "" : "s";
	const char *who = !strcmp(where, "ring") ? "more than merlond could read" : "more than this monitor could read";
	int r = make_room(d, 128);

	if (r < 0)
		return r;
	if (d->form == MERLON_FORM_JSON) {
		d->used += sprintf(d->buffer + d->used, "{\"lost\":%llu,\"where\":\"%s\"}\n", (unsigned long long)n, where);
	} else if (d->form == MERLON_FORM_TEXT) {
		d->used += sprintf(d->buffer + d->used, "lost %llu event%s: %s\n", (unsigned long long)n, plural, who);
	} else {
		d->lost += n;
		fprintf(stderr, "lost %llu packet%s: %s\n", (unsigned long long)n, plural, who);
	}
	return 0;
}
