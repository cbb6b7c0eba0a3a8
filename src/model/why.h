/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The packet that `merlon why` asks about: from the user's words, and to bytes. */
#ifndef MERLON_MODEL_WHY_H
#define MERLON_MODEL_WHY_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi.h"
#include "src/util/diag.h"

#define MERLON_QUESTION_ANY (-1)
#define MERLON_QUESTION_BYTES 80	/* of IP and transport header, at most */

struct merlon_question {
	enum merlon_family family;
	uint8_t proto;
	uint8_t saddr[16], daddr[16];	/* network byte order; IPv4 in the first four */
	uint16_t sport, dport;		/* of protocols with ports */
	int icmp_type, icmp_code;	/* MERLON_QUESTION_ANY: not given */
	uint16_t echo_id;
	int flags;			/* of TCP; MERLON_QUESTION_ANY: not given */
	char iif[IFNAMSIZ], oif[IFNAMSIZ];	/* "": not given */
	int hook;			/* enum merlon_hook, MERLON_QUESTION_ANY: not given */
	int state;			/* enum merlon_ct_state, likewise */
	int direction;			/* enum merlon_direction, likewise */
	uint32_t mark;
	uint32_t length;		/* of the IP packet; 0: not given, only headers */
	uint8_t ttl, tos;
	uint8_t mac[6];			/* the sender's Ethernet address */
	uint32_t pkttype;		/* of linux/if_packet.h, where it comes in: HOST, BROADCAST or MULTICAST, by the destination */
};

/*
 * Reads PROTO SRC[:PORT] DST[:PORT] [WORD VALUE]... 0, or -EINVAL with a diagnostic that says what is wrong or
 * missing, and what it could be.
 */
int merlon_question_read(const char *const *word, size_t n, struct merlon_question *ret, struct merlon_diag *diag);

/*
 * The headers of the packet from IP on, with all checksums that are looked at; the IP header's length is theirs and not
 * question->length. Returns their number of bytes.
 */
size_t merlon_question_packet(const struct merlon_question *question, uint8_t ret[MERLON_QUESTION_BYTES]);

/* What keeps the answer from being certain, in words for the user; NULL: nothing. */
const char *merlon_question_doubt(const struct merlon_question *question);

/* TCP flags where none are given: those of a packet that there may be in such a state. `known`: its session exists. */
void merlon_question_assume(struct merlon_question *question, bool known);

#endif
