/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data plane as the tests load it: the skeleton that merlond embeds, in a namespace of the test's own, with small
 * images written by hand, and packets that go through BPF_PROG_TEST_RUN.
 */
#ifndef TESTS_BPF_PLANE_H
#define TESTS_BPF_PLANE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/abi.h"
#include "bpf/why.h"
#include "bpf/merlon.skel.h"
#include "src/kernel/table.h"

#define PLANE_PASS (-1)
#define PLANE_SHOT 2
#define PLANE_NOWHERE 7		/* a redirect to no device */

#define PLANE_LO 1
#define PLANE_COUNTERS 256	/* the upper half belongs to paths */

/* What a test needs to be a test at all. */
#define CHECK(what)                                                                                  \
	do {                                                                                         \
		if (!(what)) {                                                                       \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #what, strerror(errno)); \
			abort();                                                                     \
		}                                                                                    \
	} while (0)

/* A rule over all families; -1 and 0 stand for "any". Rules of all hooks named share their counters. */
struct plane_rule {
	unsigned hooks;		/* MERLON_BIT(hook); 0: all */
	int l4proto, dport;
	unsigned states;	/* MERLON_BIT(ct state) */
	unsigned tcp_mask, tcp_value;
	unsigned counter[3];
	int log;		/* > 0: log statement log - 1 */
	uint8_t verdict, reject, code;
	uint8_t direction;	/* > 0: ct direction is direction - 1; such a decision is not remembered */
};
#define HOOK(h) MERLON_BIT(MERLON_##h)
#define STATES(a) MERLON_BIT(MERLON_CT_##a)
/* In place of a direction: the sender's Ethernet address starts with these bytes. */
#define PLANE_ETHER 3
#define PLANE_ETHER_HIGH 0x02aabbccU
/* ... or: there is a routing header of this type. */
#define PLANE_ROUTING 4
#define PLANE_ROUTING_TYPE 0
/* ... or: the TTL, or hop limit, is this. */
#define PLANE_TTL 5
#define PLANE_TTL_VALUE 9
/* ... or: the mark is this. */
#define PLANE_MARK 6
#define PLANE_MARK_VALUE 7
/* ... or, not a match: the packet gets that mark. */
#define PLANE_SET_MARK 7
/* ... or: a limit of so many packets, which is not filled up again within an hour. */
#define PLANE_LIMIT 8
#define PLANE_LIMIT_PACKETS 3
/* ... or: it is earlier than plane_until (CLOCK_MONOTONIC), as an element of a set that times out. */
#define PLANE_UNTIL 9
extern uint64_t plane_until;

struct plane {
	struct merlon_bpf *skel;
	struct merlon_flow_table table;	/* of sessions, mapped */
	unsigned generation;
	uint64_t netns_cookie;
	int veth;		/* index of interface m0, 02:00:00:00:00:01, 192.0.2.1/24 and 2001:db8::1/64; its peer is up */
	int far;		/* index of m1, 198.51.100.1/24, 2001:db8:1::1/64 */
	unsigned mark;		/* of the packets that plane_ingress() and plane_egress() send */
	unsigned ret_mark;	/* of the last one, when the program was done with it */
};

/* Enters a new network namespace and loads everything there. 77 if this machine cannot; 0: done. */
int plane_open(struct plane *plane, bool kern_ctx);
/* The same with room for so many flows, a power of two. */
int plane_open_for(struct plane *plane, bool kern_ctx, unsigned sessions);
struct merlon_table_maps plane_table(const struct plane *plane);
void plane_close(struct plane *plane);
/* Puts rules in force as the next generation; what no rule decides gets `policy`. */
void plane_rules(struct plane *plane, const struct plane_rule *rule, size_t n, uint8_t policy);
void plane_control(struct plane *plane, unsigned flags);
void plane_routes_changed(struct plane *plane);
struct merlon_trackers plane_trackers_now(const struct plane *plane);
void plane_trackers(struct plane *plane, const struct merlon_trackers *trackers);
void plane_timeout(struct plane *plane, unsigned which, uint64_t ns);
void plane_forget(struct plane *plane);
/* Whether packets get to the program of the long way. */
void plane_long_way(struct plane *plane, bool leads);

/* The programs' answers. */
int plane_ingress(struct plane *plane, int ifindex, const void *frame, size_t bytes);
int plane_egress(struct plane *plane, int iif, int oif, const void *frame, size_t bytes);

uint64_t plane_stat(const struct plane *plane, enum merlon_stat which);
/* Packets of a counter, those on paths included. */
uint64_t plane_counter(const struct plane *plane, unsigned index);
/* Packets of the counters 0 to n - 1, n at most PLANE_COUNTERS, without those on paths: quick, in one call. */
void plane_counters(const struct plane *plane, uint64_t *ret, unsigned n);
/* Sessions that keep their place, and embryonic ones. */
unsigned plane_established(const struct plane *plane, enum merlon_family family);
unsigned plane_embryonic(const struct plane *plane, enum merlon_family family);
/* The only session that there is, where it is; NULL: there is none. */
struct merlon_session *plane_the_session(const struct plane *plane);
/* The only session of a family; false: there is none, or several. */
bool plane_session(const struct plane *plane, enum merlon_family family, struct merlon_session *ret);
/* What a session remembers that is current; the rest is zeroes. */
void plane_remembered(const struct plane *plane, const struct merlon_session *session,
		      struct merlon_decision ret[MERLON_DIRECTIONS][MERLON_SIDES]);
/* What is in the ring buffers; both return how many there were, and give the last. */
unsigned plane_events(struct plane *plane, struct merlon_event *ret_last);
unsigned plane_rejects(struct plane *plane, struct merlon_reject_event *ret_last);

#endif
