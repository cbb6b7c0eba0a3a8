/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What came out of a host, by channel. Of each packet only what a filter decides is kept: identifications that the
 * host chooses anew each time are blanked, partial checksums completed. Two hosts said the same if all their sums agree.
 */
#ifndef MERLON_VERIFY_HEAR_H
#define MERLON_VERIFY_HEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/verify/frame.h"
#include "src/verify/mark.h"

/* Channels: a device's number for what left by it, and: */
enum {
	MERLON_CHANNEL_DELIVERED = MERLON_GROUND_LO,	/* what passed INPUT */
	MERLON_CHANNEL_LOGGED = MERLON_GROUND_DEVICES,	/* struct merlon_logged */
	MERLON_CHANNEL_MARKED,				/* struct merlon_marked */
	MERLON_CHANNELS,
};

/* What a log statement said of a packet. */
struct merlon_logged {
	uint8_t hook, family;	/* enum merlon_hook, enum merlon_family */
	uint8_t pad[2];
	uint32_t iif, oif, bytes, mark;
	uint8_t source[16], destination[16];
	char prefix[128];
};

struct merlon_arrival {
	uint8_t channel;
	bool wrong;		/* a checksum in its headers is wrong */
	uint8_t gso_type;
	uint16_t gso_size;
	uint32_t mark;		/* of what was delivered */
	uint32_t iif;
	uint32_t network;	/* where the IP header begins */
	uint32_t bytes;
	uint64_t hash;
	uint8_t *data;		/* owned; NULL unless the ears keep */
};

struct merlon_ears {
	uint64_t sum[MERLON_CHANNELS];	/* of hashes: order does not matter, numbers do */
	uint32_t n[MERLON_CHANNELS];
	uint32_t answers[MERLON_CHANNELS];	/* of n: resets and ICMP errors */
	bool keep;			/* the packets too */
	struct merlon_arrival *arrival;	/* owned */
	size_t n_arrivals, room;
};

/* Forgets what was heard, but not `keep`. */
void merlon_ears_clear(struct merlon_ears *ears);
bool merlon_ears_equal(const struct merlon_ears *a, const struct merlon_ears *b);
/* Only how many packets came by each device, and were delivered; without answers. */
bool merlon_ears_as_many(const struct merlon_ears *a, const struct merlon_ears *b);

/*
 * Takes a packet (`arrival` without hash and data). `data` is changed in place. `partial`: its checksum from
 * `csum_start` on belongs at `csum_offset` behind it and is not done yet.
 */
struct merlon_partial {
	bool partial;
	uint16_t csum_start, csum_offset;
};
void merlon_ears_packet(struct merlon_ears *ears, const struct merlon_arrival *arrival, uint8_t *data,
			const struct merlon_partial *partial);
void merlon_ears_logged(struct merlon_ears *ears, const struct merlon_logged *logged);
void merlon_ears_marked(struct merlon_ears *ears, const struct merlon_marked *marked);

#endif
