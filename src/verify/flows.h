/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both ends of a flow, with sequence numbers that fit whatever the flags. */
#ifndef MERLON_VERIFY_FLOWS_H
#define MERLON_VERIFY_FLOWS_H

#include "src/verify/packets.h"

enum {
	MERLON_FIN = 0x01,
	MERLON_SYN = 0x02,
	MERLON_RST = 0x04,
	MERLON_PSH = 0x08,
	MERLON_ACK = 0x10,
	MERLON_URG = 0x20,
	MERLON_ECE = 0x40,
	MERLON_CWR = 0x80,
};

struct merlon_ends {
	struct merlon_intent side[2];	/* what the originator sends, and the other end */
	uint32_t seq[2], heard[2];
	uint16_t id, sequence;		/* ICMP echo */
};

struct merlon_ends merlon_ends(struct merlon_packets *p, const struct merlon_intent *opener);
/*
 * Sends a segment or datagram of one side with `bytes` of data. `flags`: TCP only. `again`: with the sequence number of
 * the one before.
 */
struct merlon_speech {
	uint8_t side, flags;
	uint16_t bytes;
	bool again;
	int32_t ahead;		/* of the right sequence number, or of the one that is acknowledged; the next segment has right ones */
	const char *note;
};
void merlon_say(struct merlon_packets *p, struct merlon_ends *ends, const struct merlon_speech *speech);
/* The details that a packet of this side has now. */
struct merlon_details merlon_ends_details(const struct merlon_ends *ends, int side);
/* Makes the flow established: the handshake, or a question and its answer. */
void merlon_establish(struct merlon_packets *p, struct merlon_ends *ends, const char *note);

#endif
