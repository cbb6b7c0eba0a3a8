/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the source of frames. What is random comes from `random` alone.
 *   ground.c    devices and places of addresses
 *   needs.c     what a packet must be to match statements, and packets that are so
 *   goals.c     what is to be tried of each rule, and how its chain is reached
 *   emit.c      from intents to frames
 *   flows.c     connections and their scripts
 *   odd*.c      packets that no rule asks for
 *   packets.c   the order of all this
 */
#ifndef MERLON_VERIFY_PACKETS_H
#define MERLON_VERIFY_PACKETS_H

#include "src/verify/intent.h"
#include "src/verify/random.h"

#define MERLON_POOL 256			/* values of a field that rules name, a sample */
#define MERLON_OPENERS 64		/* intents that began a flow, a sample for each hook and family */
#define MERLON_SCRIPTS 6		/* connections that run at a time */

struct merlon_goals;
struct merlon_script;

struct merlon_pool {
	merlon_value v[MERLON_POOL];
	uint64_t seen;			/* values offered so far */
	unsigned n;
};

struct merlon_openers {
	struct merlon_intent v[MERLON_OPENERS];
	uint64_t seen;
	unsigned n;
};

struct merlon_packets {
	const struct merlon_ruleset *ruleset;
	struct merlon_random random;
	struct merlon_ground devices;
	unsigned left_out;			/* interfaces of the ruleset for which there was no room */
	struct merlon_goals *goals;		/* owned */
	struct merlon_pool pool[MERLON_FIELDS][MERLON_FAMILIES];
	struct merlon_openers openers[MERLON_HOOKS][MERLON_FAMILIES];
	struct merlon_naive_result *result;	/* owned */
	uint8_t *ip;				/* owned: MERLON_IP_ROOM bytes to build a packet in */
	uint8_t *inner;				/* owned: another one, to be quoted */
	unsigned naive_percent;			/* share of packets that are put to the reference: less for long rulesets */
	struct merlon_intent cause;		/* what an ICMP error is to quote, where its addresses fit */
	uint16_t next_port;
	uint16_t next_id;
	unsigned odd, kind;			/* which kind of odd packet comes next, and which of all kinds */

	/* the segment that is being made */
	struct merlon_segment *segment;
	uint32_t *place;			/* owned: hash of segment->ground.address, index + 1 */
	size_t place_room;
	struct merlon_script *script[MERLON_SCRIPTS];	/* owned */
	int error;
};

/* ground.c */
int merlon_ground_devices(struct merlon_packets *p);
/*
 * Gives an address a place in the segment, if it has none: 1. Where it has one: whether it is this one. Loopback
 * addresses are local, others that are no host's are nowhere.
 */
bool merlon_ground_place(struct merlon_packets *p, uint8_t family, const uint8_t *address, enum merlon_place_kind kind,
			 uint8_t device);
/* NULL: it has none yet. */
const struct merlon_ground_address *merlon_ground_find(const struct merlon_packets *p, uint8_t family, const uint8_t *address);
void merlon_ground_begin(struct merlon_packets *p);
/* One of a few addresses that lie behind a device, or, `local`, are the host's on it. */
void merlon_ground_plain(struct merlon_packets *p, uint8_t family, uint8_t device, bool local, uint8_t ret[16]);
/* Any device but lo. */
uint8_t merlon_ground_any(struct merlon_packets *p);
bool merlon_ifname_is(const struct merlon_ifname *wanted, const struct merlon_ground_device *device);

/* emit.c */
struct merlon_emission {
	const char *note;		/* static */
	uint8_t limit;			/* enum merlon_frame_limit */
	const uint8_t *mac;		/* destination of the Ethernet frame; NULL: by pkttype */
	uint16_t ethertype;		/* 0: by family */
	uint16_t vlan;			/* 1 + tag; 0: none */
	unsigned padding;		/* bytes behind the IP packet */
	uint8_t gso_type;
	uint16_t gso_size, header_bytes;
	uint16_t csum_start, csum_offset;	/* from the IP header on */
	bool bound;			/* LOCAL: bound to intent->out */
};
/* Appends the `n` bytes of p->ip as a frame on intent's way. Errors are kept in p->error. */
void merlon_emit_bytes(struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_emission *emission,
		       size_t n);
/* Builds and appends. */
void merlon_emit(struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_details *details, const char *note);
void merlon_emit_limited(struct merlon_packets *p, const struct merlon_intent *intent, const struct merlon_details *details,
			 const char *note, enum merlon_frame_limit limit);
/* The limit that a plain packet of this intent comes under. */
enum merlon_frame_limit merlon_intent_limit(const struct merlon_intent *intent);
/*
 * Gives the intent's addresses their places, or changes its devices to where they are. False: they contradict, the
 * packet can't be in this segment.
 */
bool merlon_settle(struct merlon_packets *p, struct merlon_intent *intent);

/* flows.c */
struct merlon_intent merlon_opener(struct merlon_packets *p, int hook, int family);
void merlon_openers_add(struct merlon_packets *p, const struct merlon_intent *intent);
/* A flow that nothing is known of: plain or of the ruleset's values, settled. False: not here. */
bool merlon_intent_random(struct merlon_packets *p, int hook, int family, struct merlon_intent *ret);
/* The packets that bring the flow into the state that `intent` is to be in, and the packet itself. */
void merlon_play(struct merlon_packets *p, const struct merlon_intent *intent, const char *note);
/* Starts a connection, or goes on with one of those that run. */
void merlon_scripts_step(struct merlon_packets *p);
void merlon_scripts_finish(struct merlon_packets *p);
void merlon_scripts_clear(struct merlon_packets *p);
/* A flow in all its variations: other interfaces, hooks, repeated. */
void merlon_vary(struct merlon_packets *p);

/* odd.c: packets of the next odd kind. */
void merlon_odd(struct merlon_packets *p);

/* goals.c */
int merlon_goals_new(struct merlon_packets *p);
void merlon_goals_free(struct merlon_goals *goals);
/* Plays the next boundary of some rule. False: there are no more. */
bool merlon_goals_step(struct merlon_packets *p);
/* Whether there are boundaries that were not tried yet. */
bool merlon_goals_left(const struct merlon_packets *p);
/* What the packets before this segment could not settle is tried again. */
void merlon_goals_begin(struct merlon_packets *p);

/* Looks for flows that may begin: the before the first segment. */
void merlon_goals_warm(struct merlon_packets *p);

/* Whether the reference lets it through; p->result is filled. */
bool merlon_judge(struct merlon_packets *p, const struct merlon_intent *intent);

#endif
