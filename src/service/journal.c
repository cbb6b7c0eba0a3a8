/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reports of the data plane as journal entries with a field for each part; where there is no journal, a line on standard
 * error. Per rule so many at once and so many a second; what is suppressed is counted and said with the next one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <time.h>

#include "src/model/report.h"
#include "src/service/daemon.h"
#include "src/service/event.h"
#include "src/util/cleanup.h"

#define RULES 4096	/* buckets, by hash */
#define FIELDS 24

struct merlon_journal {
	FILE *events;		/* of --events, NULL: not asked for */
	struct {
		uint64_t empty_ns;
		uint64_t suppressed;
	} rule[RULES];
};

static bool have_journal(void)
{
	static int known = -1;

	if (known < 0)
		known = access("/run/systemd/journal/socket", W_OK) == 0;
	return known;
}

struct entry {
	struct iovec field[FIELDS];
	int n;
};

__attribute__((format(printf, 2, 3)))
static void add(struct entry *entry, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return;
	if (entry->n == FIELDS) {
		free(text);
		return;
	}
	entry->field[entry->n++] = (struct iovec){ text, n };
}

static void entry_clear(struct entry *entry)
{
	int i;

	for (i = 0; i < entry->n; i++)
		free(entry->field[i].iov_base);
}

static const char *protocol(uint8_t number, char *ret)
{
	switch (number) {
	case IPPROTO_TCP: return "TCP";
	case IPPROTO_UDP: return "UDP";
	case IPPROTO_ICMP: return "ICMP";
	case IPPROTO_ICMPV6: return "ICMPv6";
	case IPPROTO_SCTP: return "SCTP";
	}
	sprintf(ret, "%u", number);
	return ret;
}

/* In the manner of nf_log_syslog.c, so that what reads kernel logs today reads these. */
static void add_message(const struct merlon_daemon *d, struct entry *entry, const struct merlon_event *e,
			const struct merlon_event_origin *o)
{
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], proto[8], in[16], out[16], ports[64] = "", prefix[160];
	bool icmp = e->l4proto == IPPROTO_ICMP || e->l4proto == IPPROTO_ICMPV6;

	if (o->log)
		snprintf(prefix, sizeof(prefix), "%s", o->log->prefix);
	else
		snprintf(prefix, sizeof(prefix), "%s%s ", e->audit ? "audit " : "", merlon_event_verdict(e));
	if (icmp)
		snprintf(ports, sizeof(ports), " TYPE=%u CODE=%u", ntohs(e->sport) >> 8, ntohs(e->sport) & 255);
	else if (e->sport || e->dport)
		snprintf(ports, sizeof(ports), " SPT=%u DPT=%u", ntohs(e->sport), ntohs(e->dport));
	add(entry, "MESSAGE=%sIN=%s OUT=%s SRC=%s DST=%s LEN=%u TTL=%u PROTO=%s%s%s%s%s%s", prefix,
	    merlon_event_interface(d, e->iif, in), merlon_event_interface(d, e->oif, out), merlon_event_address(e, e->saddr, src), merlon_event_address(e, e->daddr, dst),
	    e->bytes, e->ttl, protocol(e->l4proto, proto), ports,
	    e->l4proto == IPPROTO_TCP && e->tcp_flags & 0x10 ? " ACK" : "",
	    e->l4proto == IPPROTO_TCP && e->tcp_flags & 0x04 ? " RST" : "",
	    e->l4proto == IPPROTO_TCP && e->tcp_flags & 0x02 ? " SYN" : "",
	    e->l4proto == IPPROTO_TCP && e->tcp_flags & 0x01 ? " FIN" : "");
}

static void add_rule(struct entry *entry, const struct merlon_event_origin *o)
{
	_cleanup_free_ char *brief = NULL;

	if (o->chain)
		add(entry, "MERLON_CHAIN=%s", o->chain->name);
	if (o->rule && (brief = merlon_rule_brief(o->rule)))
		add(entry, "MERLON_RULE=%s", brief);
	if (o->rule && o->rule->place.file && o->rule->place.line) {
		add(entry, "MERLON_RULE_FILE=%s", o->rule->place.file);
		add(entry, "MERLON_RULE_LINE=%u", o->rule->place.line);
	}
	if (o->log)
		add(entry, "MERLON_PREFIX=%s", o->log->prefix);
}

static void add_fields(const struct merlon_daemon *d, struct entry *entry, const struct merlon_event *e)
{
	char text[INET6_ADDRSTRLEN], name[16];

	add(entry, "MERLON_VERDICT=%s", merlon_event_verdict(e));
	add(entry, "MERLON_HOOK=%s", merlon_event_hook(e));
	add(entry, "MERLON_SRC=%s", merlon_event_address(e, e->saddr, text));
	add(entry, "MERLON_DST=%s", merlon_event_address(e, e->daddr, text));
	if (e->l4proto != IPPROTO_ICMP && e->l4proto != IPPROTO_ICMPV6) {
		add(entry, "MERLON_SPORT=%u", ntohs(e->sport));
		add(entry, "MERLON_DPORT=%u", ntohs(e->dport));
	}
	add(entry, "MERLON_PROTO=%s", protocol(e->l4proto, name));
	if (e->iif)
		add(entry, "MERLON_IIF=%s", merlon_event_interface(d, e->iif, name));
	if (e->oif)
		add(entry, "MERLON_OIF=%s", merlon_event_interface(d, e->oif, name));
	add(entry, "MERLON_STATE=%s", merlon_event_state(e));
	add(entry, "MERLON_GENERATION=%u", e->generation);
	add(entry, "MERLON_MODE=%s", e->audit ? "audit" : "enforce");
}

/* One line of JSON, as `journalctl -o json` has it. */
static void write_line(FILE *out, const struct entry *entry)
{
	json_t *line = json_object();
	int i;

	for (i = 0; i < entry->n; i++) {
		const char *field = entry->field[i].iov_base;
		size_t key = strcspn(field, "=");
		_cleanup_free_ char *name = strndup(field, key);

		if (name)
			json_object_set_new(line, name, json_stringn(field + key + 1, entry->field[i].iov_len - key - 1));
	}
	json_dumpf(line, out, JSON_COMPACT);
	fputc('\n', out);
	fflush(out);
	json_decref(line);
}

static void deliver(struct entry *entry)
{
	if (have_journal()) {
		sd_journal_sendv(entry->field, entry->n);
		return;
	}
	/* The message comes first. */
	fprintf(stderr, "%.*s\n", (int)entry->field[0].iov_len - 8, (char *)entry->field[0].iov_base + 8);
}

/* Whether this one may be reported, and how many before it were not. */
static bool within_rate(const struct merlon_settings *settings, struct merlon_journal *j, const struct merlon_event *e,
			uint64_t *ret_suppressed)
{
	uint32_t hash = ((e->rule * MERLON_HOOKS + e->hook) * 2 + e->family) * 2 + e->kind;
	unsigned slot = hash * 0x9e3779b1U >> 20;
	uint64_t cost = settings->log_rate ? 1000000000ULL / settings->log_rate : 0, most = cost * settings->log_burst;

	if (!cost)
		return true;
	if (e->time_ns - j->rule[slot].empty_ns > most)
		j->rule[slot].empty_ns = e->time_ns - most;
	if (e->time_ns - j->rule[slot].empty_ns < cost) {
		j->rule[slot].suppressed++;
		return false;
	}
	j->rule[slot].empty_ns += cost;
	*ret_suppressed = j->rule[slot].suppressed;
	j->rule[slot].suppressed = 0;
	return true;
}

void merlon_journal_event(struct merlon_daemon *d, const struct merlon_event *event)
{
	struct merlon_event_origin o = merlon_event_origin(d, event);
	struct entry entry = { 0 };
	uint64_t suppressed = 0;
	bool within = within_rate(&d->settings, d->journal, event, &suppressed);

	if (!within && !d->journal->events)
		return;
	add_message(d, &entry, event, &o);
	add(&entry, "PRIORITY=%d", o.log && o.log->level >= 0 ? o.log->level : o.log ? LOG_WARNING : LOG_INFO);
	if (suppressed)
		add(&entry, "MERLON_SUPPRESSED=%llu", (unsigned long long)suppressed);
	add_fields(d, &entry, event);
	add_rule(&entry, &o);
	if (within)
		deliver(&entry);
	if (d->journal->events)
		write_line(d->journal->events, &entry);
	entry_clear(&entry);
}

void merlon_journal_note(int priority, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return;
	if (have_journal())
		sd_journal_print(priority, "%s", text);
	else
		fprintf(stderr, "merlond: %s\n", text);
}

void merlon_journal_diag(const struct merlon_diag *diag)
{
	static const int priority[] = { LOG_ERR, LOG_WARNING, LOG_NOTICE };
	size_t i;

	for (i = 0; i < diag->n; i++) {
		const struct merlon_message *m = &diag->message[i];

		merlon_journal_note(priority[m->severity], "%s%s%s%s%s", m->file ? m->file : "", m->file ? ": " : "", m->text,
				    m->cure ? "; " : "", m->cure ? m->cure : "");
	}
}

int merlon_journal_open(struct merlon_daemon *d, struct merlon_diag *diag)
{
	d->journal = calloc(1, sizeof(*d->journal));
	if (!d->journal)
		return -ENOMEM;
	if (!d->settings.events)
		return 0;
	d->journal->events = fopen(d->settings.events, "ae");
	if (d->journal->events)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = d->settings.events }, "%s", strerror(errno));
	merlon_diag_cure(diag, "--events names a file that can be written");
	return -errno;
}

void merlon_journal_close(struct merlon_daemon *d)
{
	if (d->journal && d->journal->events)
		fclose(d->journal->events);
	free(d->journal);
	d->journal = NULL;
}
