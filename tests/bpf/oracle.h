/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel as the oracle: a packet is forwarded by a namespace where nft writes into the DSCP field which ct state
 * and direction nf_conntrack gave it, and given to merlon's egress program, whose counters say the same.
 */
#ifndef TESTS_BPF_ORACLE_H
#define TESTS_BPF_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"

/* The ends of the flows that it forwards, near and far, by family. */
#define ORACLE_NEAR "192.0.2.200"
#define ORACLE_FAR "198.51.100.9"
#define ORACLE_NEAR6 "2001:db8::200"
#define ORACLE_FAR6 "2001:db8:1::9"

/* What is seen: "nothing" is 0, a packet that did not come through. */
#define ORACLE_MEANINGS 9
extern const char *const oracle_meaning[ORACLE_MEANINGS];

struct oracle {
	struct plane plane;
	int near, far;		/* packet sockets at the ends */
	uint64_t counted[ORACLE_MEANINGS];
	int by_state;		/* decisions are remembered; established and related packets have no direction */
};

/* For cmocka's groups: 0, 77 if this machine cannot. */
int oracle_open(struct oracle *oracle);
void oracle_close(struct oracle *oracle);
/* Rules that tell directions, too, or (by_state) such as sessions remember the decisions of. */
void oracle_rules(struct oracle *oracle, int by_state);

/* A frame from the near or the far end: its destination becomes the router. */
void oracle_address(struct frame *f, int from_far);
/* Both return an index of oracle_meaning; merlon's may be -1: several. */
int oracle_kernel(struct oracle *oracle, const struct frame *f, int from_far);
int oracle_merlon(struct oracle *oracle, const struct frame *f, int from_far);
/* Takes over what nf_conntrack knows, as the first policy does. Returns how many connections. */
unsigned oracle_take_over(struct oracle *oracle);
int oracle_same(const struct oracle *oracle, int kernel, int merlon);

/* MERLON_PACKETS of the environment, or `otherwise`. */
int oracle_packets(int otherwise);

/* Random numbers, repeatable: MERLON_SEED. */
unsigned oracle_seed(void);
unsigned any(unsigned n);
int one_in(unsigned n);
uint32_t any32(void);

#endif
