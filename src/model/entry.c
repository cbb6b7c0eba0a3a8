/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An event as the fields of a journal entry, and these as JSON. `merlon monitor` does this for hundreds of thousands of
 * events a second: nothing is allocated, and printf() is kept out of it.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "src/model/event.h"
#include "src/util/cleanup.h"

/* Appends to the room; what no longer fits is cut. */
static void put(struct merlon_entry *entry, const char *text, size_t n)
{
	size_t left = sizeof(entry->room) - entry->used;

	n = n < left ? n : left;
	memcpy(entry->room + entry->used, text, n);
	entry->used += n;
}

static void put_text(struct merlon_entry *entry, const char *text)
{
	put(entry, text, strlen(text));
}

static void put_number(struct merlon_entry *entry, uint64_t v)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = '0' + v % 10;
	while (v /= 10);
	put(entry, digits + at, sizeof(digits) - at);
}

static void put_interface(struct merlon_entry *entry, uint32_t index, const char *name)
{
	if (index && name)
		put_text(entry, name);
	else if (index)
		put_number(entry, index);
}

static void put_protocol(struct merlon_entry *entry, uint8_t number)
{
	switch (number) {
	case IPPROTO_TCP: put_text(entry, "TCP"); return;
	case IPPROTO_UDP: put_text(entry, "UDP"); return;
	case IPPROTO_ICMP: put_text(entry, "ICMP"); return;
	case IPPROTO_ICMPV6: put_text(entry, "ICMPv6"); return;
	case IPPROTO_SCTP: put_text(entry, "SCTP"); return;
	}
	put_number(entry, number);
}

static void add(struct merlon_entry *entry, const char *name, const char *value, size_t bytes)
{
	entry->field[entry->n++] = (struct merlon_entry_field){ name, value, bytes };
}

static void add_text(struct merlon_entry *entry, const char *name, const char *value)
{
	add(entry, name, value, strlen(value));
}

/* A field of what was put in the room since `from`. */
static void add_put(struct merlon_entry *entry, const char *name, size_t from)
{
	add(entry, name, entry->room + from, entry->used - from);
}

static void add_number(struct merlon_entry *entry, const char *name, uint64_t v)
{
	size_t from = entry->used;

	put_number(entry, v);
	add_put(entry, name, from);
}

static void add_interface(struct merlon_entry *entry, const char *name, uint32_t index, const char *interface)
{
	size_t from = entry->used;

	put_interface(entry, index, interface);
	if (index)
		add_put(entry, name, from);
}

static void put_field(struct merlon_entry *entry, const char *name, uint64_t v)
{
	put_text(entry, name);
	put_number(entry, v);
}

static void put_flags(struct merlon_entry *entry, const struct merlon_event *e)
{
	if (e->l4proto != IPPROTO_TCP)
		return;
	if (e->tcp_flags & 0x10)
		put_text(entry, " ACK");
	if (e->tcp_flags & 0x04)
		put_text(entry, " RST");
	if (e->tcp_flags & 0x02)
		put_text(entry, " SYN");
	if (e->tcp_flags & 0x01)
		put_text(entry, " FIN");
}

struct ends {
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	size_t src_bytes, dst_bytes;
};

/* In the manner of nf_log_syslog.c, so that what reads kernel logs today reads these. */
static void add_message(struct merlon_entry *entry, const struct merlon_event_report *r, const struct ends *ends)
{
	const struct merlon_event *e = r->event;

	if (r->origin->prefix) {
		put_text(entry, r->origin->prefix);
	} else {
		put_text(entry, e->audit ? "audit " : "");
		put_text(entry, merlon_event_verdict(e));
		put_text(entry, " ");
	}
	put_text(entry, "IN=");
	put_interface(entry, e->iif, r->iif);
	put_text(entry, " OUT=");
	put_interface(entry, e->oif, r->oif);
	put_text(entry, " SRC=");
	put(entry, ends->src, ends->src_bytes);
	put_text(entry, " DST=");
	put(entry, ends->dst, ends->dst_bytes);
	put_field(entry, " LEN=", e->bytes);
	put_field(entry, " TTL=", e->ttl);
	put_text(entry, " PROTO=");
	put_protocol(entry, e->l4proto);
	if (merlon_event_is_icmp(e)) {
		put_field(entry, " TYPE=", ntohs(e->sport) >> 8);
		put_field(entry, " CODE=", ntohs(e->sport) & 255);
	} else if (e->sport || e->dport) {
		put_field(entry, " SPT=", ntohs(e->sport));
		put_field(entry, " DPT=", ntohs(e->dport));
	}
	put_flags(entry, e);
	add_put(entry, "MESSAGE", 0);
}

static void add_packet(struct merlon_entry *entry, const struct merlon_event_report *r, const struct ends *ends)
{
	const struct merlon_event *e = r->event;
	size_t from;

	add_text(entry, "MERLON_VERDICT", merlon_event_verdict(e));
	add_text(entry, "MERLON_HOOK", merlon_event_hook(e));
	from = entry->used;
	put(entry, ends->src, ends->src_bytes);
	add_put(entry, "MERLON_SRC", from);
	from = entry->used;
	put(entry, ends->dst, ends->dst_bytes);
	add_put(entry, "MERLON_DST", from);
	if (!merlon_event_is_icmp(e)) {
		add_number(entry, "MERLON_SPORT", ntohs(e->sport));
		add_number(entry, "MERLON_DPORT", ntohs(e->dport));
	}
	from = entry->used;
	put_protocol(entry, e->l4proto);
	add_put(entry, "MERLON_PROTO", from);
	add_interface(entry, "MERLON_IIF", e->iif, r->iif);
	add_interface(entry, "MERLON_OIF", e->oif, r->oif);
	add_text(entry, "MERLON_STATE", merlon_event_state(e));
	add_number(entry, "MERLON_GENERATION", e->generation);
	add_text(entry, "MERLON_MODE", e->audit ? "audit" : "enforce");
}

/* Who sent it, where it is this host's. */
static void add_sender(struct merlon_entry *entry, const struct merlon_event_report *r)
{
	const char *unit;
	size_t bytes;

	if (r->event->uid != MERLON_NO_UID)
		add_number(entry, "MERLON_UID", r->event->uid);
	if (!r->cgroup)
		return;
	unit = merlon_event_unit(r->cgroup, &bytes);
	if (unit)
		add(entry, "MERLON_UNIT", unit, bytes);
	add_text(entry, "MERLON_CGROUP", r->cgroup);
}

static void add_rule(struct merlon_entry *entry, const struct merlon_event_origin *o)
{
	if (o->chain)
		add_text(entry, "MERLON_CHAIN", o->chain);
	if (o->rule)
		add_text(entry, "MERLON_RULE", o->rule);
	if (o->file && o->line) {
		add_text(entry, "MERLON_RULE_FILE", o->file);
		add_number(entry, "MERLON_RULE_LINE", o->line);
	}
	if (o->prefix)
		add_text(entry, "MERLON_PREFIX", o->prefix);
}

static const char *message_id(const struct merlon_event *e)
{
	if (e->kind == MERLON_EVENT_LOG)
		return MERLON_MESSAGE_LOG;
	if (e->audit)
		return MERLON_MESSAGE_AUDIT;
	return e->verdict == MERLON_REJECT ? MERLON_MESSAGE_REJECT : MERLON_MESSAGE_DROP;
}

void merlon_entry_build(struct merlon_entry *entry, const struct merlon_event_report *r)
{
	const struct merlon_event_origin *o = r->origin;
	struct ends ends;

	entry->n = entry->used = 0;
	ends.src_bytes = merlon_event_address(r->event, r->event->saddr, ends.src);
	ends.dst_bytes = merlon_event_address(r->event, r->event->daddr, ends.dst);
	add_message(entry, r, &ends);
	add_text(entry, "MESSAGE_ID", message_id(r->event));
	add_number(entry, "PRIORITY", !o->prefix ? LOG_INFO : o->level >= 0 ? o->level : LOG_WARNING);
	if (r->suppressed)
		add_number(entry, "MERLON_SUPPRESSED", r->suppressed);
	add_packet(entry, r, &ends);
	add_sender(entry, r);
	add_rule(entry, o);
}

#define ESCAPED 6	/* bytes at most of one: \u00XX */

size_t merlon_entry_json_room(const struct merlon_entry *entry)
{
	size_t room = 0;

	for (unsigned i = 0; i < entry->n; i++)
		room += strlen(entry->field[i].name) + sizeof("\"\":\"\",") + ESCAPED * entry->field[i].bytes;
	return room;
}

/* How many bytes are one character of UTF-8 (RFC 3629, no surrogates); 0: these are none. */
static size_t utf8(const unsigned char *s, size_t left)
{
	size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* Control characters and what is no UTF-8 become U+FFFD. */
static char *put_utf8(const char *text, size_t bytes, char *to)
{
	const unsigned char *s = (const unsigned char *)text, *end = s + bytes;

	while (s < end) {
		size_t n = *s >= 0x20 && *s < 0x7f ? 1 : utf8(s, end - s);

		if (n) {
			memcpy(to, s, n);
			to += n;
			s += n;
		} else {
			to = stpcpy(to, "\xef\xbf\xbd");
			s++;
		}
	}
	return to;
}

static char *escape_one(unsigned char c, char *to)
{
	static const char hex[] = "0123456789abcdef";

	*to++ = '\\';
	if (c == '"' || c == '\\') {
		*to++ = c;
		return to;
	}
	memcpy(to, "u00", 3);
	to[3] = hex[c >> 4];
	to[4] = hex[c & 15];
	return to + 5;
}

static char *escape(const char *text, size_t bytes, char *to)
{
	const unsigned char *s = (const unsigned char *)text, *end = s + bytes;

	while (s < end) {
		size_t n = 1;

		if (*s < 0x20 || *s == '"' || *s == '\\') {
			to = escape_one(*s, to);
		} else if (*s < 0x80) {
			*to++ = *s;
		} else if ((n = utf8(s, end - s))) {
			memcpy(to, s, n);
			to += n;
		} else {
			to = stpcpy(to, "\xef\xbf\xbd");
			n = 1;
		}
		s += n;
	}
	return to;
}

char *merlon_entry_json(const struct merlon_entry *entry, char *to)
{
	for (unsigned i = 0; i < entry->n; i++) {
		if (i)
			*to++ = ',';
		*to++ = '"';
		to = stpcpy(to, entry->field[i].name);
		to = stpcpy(to, "\":\"");
		to = escape(entry->field[i].value, entry->field[i].bytes, to);
		*to++ = '"';
	}
	return to;
}

/* Nobody who has the packet, too, needs these. */
static bool is_in_packet(const char *name)
{
	static const char *const there[] = { "MESSAGE", "MESSAGE_ID", "PRIORITY", "MERLON_SRC", "MERLON_DST", "MERLON_SPORT",
					     "MERLON_DPORT", "MERLON_PROTO" };

	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		if (!strcmp(name, there[i]))
			return true;
	return false;
}

#define REPLACED 3	/* bytes of U+FFFD */

size_t merlon_entry_comment_room(const struct merlon_entry *entry)
{
	size_t room = 0;

	for (unsigned i = 0; i < entry->n; i++)
		room += strlen(entry->field[i].name) + sizeof("=\n") + REPLACED * entry->field[i].bytes;
	return room;
}

char *merlon_entry_comment(const struct merlon_entry *entry, char *to)
{
	char *begin = to;

	for (unsigned i = 0; i < entry->n; i++) {
		const struct merlon_entry_field *f = &entry->field[i];

		if (is_in_packet(f->name))
			continue;
		if (to > begin)
			*to++ = '\n';
		to = stpcpy(stpcpy(to, f->name), "=");
		to = put_utf8(f->value, f->bytes, to);
	}
	return to;
}
