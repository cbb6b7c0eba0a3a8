/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What merlond writes to a monitor: records, each a header and what its type says, in the byte order of the host. A name is
 * told before the first event that uses it: a slot means what was last told of it. Unknown types are to be skipped.
 */
#ifndef MERLON_MODEL_STREAM_H
#define MERLON_MODEL_STREAM_H

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi.h"
#include "src/model/event.h"

#define MERLON_STREAM_ORIGINS 4096	/* slots */
#define MERLON_STREAM_INTERFACES 256	/* slots: by index modulo this */
#define MERLON_STREAM_CGROUPS 256	/* slots: by id modulo this */
#define MERLON_STREAM_RECORD 65536	/* bytes of a record at most */

enum merlon_stream_type {
	MERLON_STREAM_EVENT = 1,
	MERLON_STREAM_ORIGIN,
	MERLON_STREAM_INTERFACE,
	MERLON_STREAM_LOST,
	MERLON_STREAM_CGROUP,
};

struct merlon_stream_header {
	uint32_t bytes;		/* of the record with this header */
	uint32_t type;
};

/* To a monitor that asked for packets, followed by the packet's first bytes: those from the IP header on. */
struct merlon_stream_event {
	struct merlon_stream_header header;
	uint32_t origin;	/* slot */
	uint32_t packet_bytes;	/* that follow; MERLON_EVENT_SNAP at most */
	struct merlon_event event;
};
_Static_assert(sizeof(struct merlon_stream_event) == 112, "merlon_stream_event");

struct merlon_stream_interface {
	struct merlon_stream_header header;
	uint32_t index;
	char name[IFNAMSIZ];	/* "": it has none that is known */
};
_Static_assert(sizeof(struct merlon_stream_interface) == 28, "merlon_stream_interface");

/* Followed by its path, with the 0; "": it has none that is known. */
struct merlon_stream_cgroup {
	struct merlon_stream_header header;
	uint64_t id;
};
_Static_assert(sizeof(struct merlon_stream_cgroup) == 16, "merlon_stream_cgroup");

/* Events that should have stood here. */
struct merlon_stream_lost {
	struct merlon_stream_header header;
	uint64_t monitor;	/* it did not read fast enough */
	uint64_t ring;		/* the data plane had no room for them: nobody got them */
};
_Static_assert(sizeof(struct merlon_stream_lost) == 24, "merlon_stream_lost");

/* Followed by the strings that are there, each with its 0, in the order of these. */
enum { MERLON_ORIGIN_CHAIN = 1, MERLON_ORIGIN_RULE = 2, MERLON_ORIGIN_FILE = 4, MERLON_ORIGIN_PREFIX = 8 };
struct merlon_stream_origin {
	struct merlon_stream_header header;
	uint32_t slot;
	uint32_t line;
	int32_t level;
	uint32_t strings;	/* MERLON_ORIGIN_* */
};
_Static_assert(sizeof(struct merlon_stream_origin) == 24, "merlon_stream_origin");

/* Writes the record into ret[MERLON_STREAM_RECORD] and returns its size; of longer strings only the beginning. */
size_t merlon_stream_origin_write(uint32_t slot, const struct merlon_event_origin *origin, void *ret);
/* Replaces *ret by what the record says. 0; -EPROTO: it is no such record; -ENOMEM. */
int merlon_stream_origin_read(const void *record, size_t bytes, struct merlon_event_origin *ret);

#endif
