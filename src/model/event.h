/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An event of the data plane in words: what the journal, --events and `merlon monitor` say of it. */
#ifndef MERLON_MODEL_EVENT_H
#define MERLON_MODEL_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi.h"

/* MESSAGE_ID of the journal's entries; systemd/merlon.catalog explains them. */
#define MERLON_MESSAGE_DROP	"4e1936820e8a491ca418a6508b5997ce"
#define MERLON_MESSAGE_REJECT	"77b22fad4c88414182e511898794f01a"
#define MERLON_MESSAGE_AUDIT	"1a5a13a880474579bdd3daf041c41358"
#define MERLON_MESSAGE_LOG	"8890daae98b44860bf3855f3248fd3e2"
#define MERLON_MESSAGE_IN_FORCE	"f0fd43ba0d35468e8ccc8e0e8f83e2e6"
#define MERLON_MESSAGE_NOT_APPLIED	"6f412756b5234989a7fd4e5915f3bbb7"
#define MERLON_MESSAGE_STOPPED	"b65187d8a60c4f0590575454297b90db"

/* The rule that an event comes from. Strings are owned; NULL: no such part, or of a policy that is gone by now. */
struct merlon_event_origin {
	char *chain, *rule, *file;
	char *prefix;		/* of a log statement; NULL: it is none */
	uint32_t line;		/* 0: not known */
	int32_t level;		/* of a log statement; -1: not given */
};
void merlon_event_origin_clear(struct merlon_event_origin *origin);

/* An event with what it names. */
struct merlon_event_report {
	const struct merlon_event *event;
	const struct merlon_event_origin *origin;
	const char *iif, *oif;	/* NULL: an interface without a known name */
	uint64_t suppressed;	/* events of this rule before it that were not told */
	const char *cgroup;	/* path of event->cgroup, from / on; NULL: not known */
	const void *packet;	/* from the IP header on, as far as it is there */
	uint32_t packet_bytes;	/* of `packet`; 0: it is not there */
};

/* `from`: e->saddr or e->daddr; `to` [INET6_ADDRSTRLEN]. Returns its length. */
size_t merlon_event_address(const struct merlon_event *e, const __be32 *from, char *to);
const char *merlon_event_verdict(const struct merlon_event *e);
const char *merlon_event_hook(const struct merlon_event *e);
const char *merlon_event_state(const struct merlon_event *e);
/* Whether sport and dport are ports: those of ICMP are type and code, other protocols have none. */
bool merlon_event_has_ports(const struct merlon_event *e);
bool merlon_event_is_icmp(const struct merlon_event *e);
/* ret[8] holds what is no constant. */
const char *merlon_protocol_name(uint8_t number, char ret[8]);

/* The system unit that a control group belongs to, in its path and *ret_bytes long; NULL: none. */
const char *merlon_event_unit(const char *cgroup, size_t *ret_bytes);

/* The fields of a journal entry, in their order; the first is MESSAGE. */
#define MERLON_ENTRY_FIELDS 28
struct merlon_entry {
	struct merlon_entry_field {
		const char *name, *value;	/* not ended by 0; of the entry or the origin */
		size_t bytes;			/* of `value` */
	} field[MERLON_ENTRY_FIELDS];
	unsigned n;
	size_t used;
	char room[1024];
};
/* *entry may not be copied, and is good as long as what the report names. */
void merlon_entry_build(struct merlon_entry *entry, const struct merlon_event_report *report);

/* The most bytes that merlon_entry_json() writes. */
size_t merlon_entry_json_room(const struct merlon_entry *entry);
/* "NAME":"value",... without braces; what is no UTF-8 becomes U+FFFD. Returns the end of what was written. */
char *merlon_entry_json(const struct merlon_entry *entry, char *to);

/* The most bytes that merlon_entry_comment() writes. */
size_t merlon_entry_comment_room(const struct merlon_entry *entry);
/* A line NAME=value for each field that the packet itself does not tell, as UTF-8. Returns the end of what was written. */
char *merlon_entry_comment(const struct merlon_entry *entry, char *to);

#endif
