/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random packets of connections between the ends of tests/bpf/oracle.h: numbers, windows and options of TCP are mostly
 * right, often at the edge of it, and sometimes anything.
 */
#ifndef TESTS_BPF_TALK_H
#define TESTS_BPF_TALK_H

#include <stdbool.h>

#include "tests/bpf/oracle.h"

#define TALKS 6

/* What one end of a TCP connection has sent, and would accept. */
struct end {
	uint32_t next;		/* behind what it sent */
	uint32_t acked;		/* the highest number that it acknowledged */
	uint32_t edge;		/* how far its windows let the other end send */
	uint32_t widest;	/* the largest of them, in bytes */
	uint16_t window;	/* as it last offered it */
	uint8_t scale;
	uint8_t scales;		/* it has sent a scale */
	uint8_t opened, closed;	/* it has sent a SYN, a FIN */
};

extern struct talk {
	struct flow flow;
	uint8_t proto;
	bool itself;			/* from an end to itself: all packets come from near */
	struct end end[2];
	uint8_t last_flags, flags_before;	/* of TCP */
	struct frame last[2];
	int has_last[2];
	char story[32768];	/* what happened so far, for the report of a difference */
} talks[TALKS];

/* Another connection in place of talks[i]. */
void talk_reset(int i);
/* What one end, 0 the near one, sends next. */
struct frame talk_packet(struct talk *talk, int from);
/* Makes what is seldom of a packet: flags that mean nothing to a tracker, probes, acknowledgments twice, other options of IP. */
void talk_make_odd(const struct talk *talk, int from, struct frame *f);
/* The same as talk_packet() of a connection as it should be, with a closed window now and then and with repeats; `*from` sends. */
struct frame talk_proper(struct talk *talk, int *from);
/* Writes into its story what became of a packet; both are indexes of oracle_meaning, merlon's may be -1. */
void talk_tell(struct talk *talk, const struct frame *f, int from, int kernel, int merlon);

#endif
