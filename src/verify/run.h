/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of a run share. */
#ifndef MERLON_VERIFY_RUN_H
#define MERLON_VERIFY_RUN_H

#include "src/verify/fence.h"
#include "src/verify/oracle.h"
#include "src/verify/plane.h"
#include "src/verify/verify.h"
#include "src/verify/world.h"

enum merlon_who { MERLON_WHO_KERNEL, MERLON_WHO_MERLON, MERLON_WHOS };

struct merlon_verify {
	int home;				/* the namespace that the process came from */
	struct merlon_world world[MERLON_WHOS];
	struct merlon_plane plane;		/* in the second world */
	bool ready;				/* worlds and plane are there */
};

struct merlon_run {
	struct merlon_verify *v;
	const struct merlon_verify_request *request;
	struct merlon_verify_result *result;
	struct merlon_diag *diag;
	struct merlon_fence fence;
	struct merlon_segment segment;
	/*
	 * Its frames are in three parts: [0, n_free) are compared in all; of [n_free, n_plain) only what passes is
	 * compared, not how the rest is answered, logged and counted; the others come under a limit.
	 */
	size_t n_free, n_plain;
	struct merlon_ears ears[MERLON_WHOS];
	struct merlon_counter *base[MERLON_WHOS], *now[MERLON_WHOS];	/* of the policy's counters */
	uint32_t room;		/* in each of them */
	unsigned long sent;
	bool rejects;				/* some rule answers */
	bool tracks[MERLON_FAMILIES];		/* some rule for them asks for a connection */
	bool stateful;				/* rules keep a state of their own: a limit */
	bool asks_length, asks_nexthdr;		/* some rule does: of a datagram they are others than of its fragments */
	bool asks_transport;			/* ports, flags, types: nf_tables reads them out of what a later fragment carries */
	uint64_t token_ns;		/* of the limits, at the next loading */
	bool rates_seen;			/* rates have been compared */
};

/* Puts the ruleset in force in both, with fresh counters and limits. 0 or a negative errno with a diagnostic. */
int merlon_run_load(struct merlon_run *run);
/* Both hosts as they are at the beginning of a segment, on its ground, counters included. 0 or a negative errno with a diagnostic. */
int merlon_run_reset(struct merlon_run *run);
/* Sends a frame into both. */
void merlon_run_send(struct merlon_run *run, const struct merlon_frame *frame);
/*
 * Takes what came out; 1: the same in both, 0: not, even after `patience_ms`. A negative errno with a diagnostic when
 * something was lost.
 */
int merlon_run_compare(struct merlon_run *run, int patience_ms);
/* The same for frames of the second part. */
int merlon_run_compare_plain(struct merlon_run *run, int patience_ms);
void merlon_run_quiet(struct merlon_run *run);
/* Reads all counters into run->now; 1: since run->base both counted the same, 0: not. */
int merlon_run_counters(struct merlon_run *run);
void merlon_run_rebase(struct merlon_run *run);

/*
 * find.c: the segment differed: at a frame before `end`, or only in its counters. Counts the frames that differ again,
 * and explains the first one if it is the first of the run. 0 or a negative errno with a diagnostic.
 */
int merlon_run_find(struct merlon_run *run, size_t end, bool counters);

/* Plays the first `n` frames of the segment anew, and compares the last: as merlon_run_compare(). */
int merlon_run_replay(struct merlon_run *run, size_t n);
/* Frame `at` differs: counts it, and explains it if it is the first of the run. 0 or a negative errno. */
int merlon_run_explain(struct merlon_run *run, size_t at);

/*
 * rates.c: waits for tokens, and compares how many there are then; with packets of the segment that come to a limit. Of
 * all limits of packets, once in a run of some length. 0 or a negative errno with a diagnostic.
 */
int merlon_run_rates(struct merlon_run *run);

/* part.c: the order in which a segment's frames are played. 0 or -ENOMEM. */
int merlon_run_part(struct merlon_run *run);
/* Whether it is a fragment: what is left of a datagram would wait in a host for the rest. */
bool merlon_run_is_piece(const struct merlon_run *run, const struct merlon_frame *frame);
/* Whether more of its datagram follows. */
bool merlon_run_goes_on(const struct merlon_run *run, const struct merlon_frame *frame);
/* Plays the second part of the segment. 0 or a negative errno with a diagnostic. */
int merlon_run_plain(struct merlon_run *run);

/*
 * trace.c: the steps of the packets of play() through nf_tables' rules, a list of {"table", "chain", "step", "rule",
 * "verdict"}; empty where the kernel does not tell. A new reference.
 */
json_t *merlon_trace(struct merlon_run *run, int (*play)(void *context), void *context);

/* describe.c: one line about a packet that begins at its IP header; the caller's to free, NULL: no memory. */
char *merlon_describe(const uint8_t *ip, size_t bytes);
/* What came out of a host, as a list of texts. A new reference. */
json_t *merlon_describe_ears(const struct merlon_ears *ears, const struct merlon_ground *ground);
char *merlon_hex(const uint8_t *data, size_t bytes);

/* pcap.c: writes frames, in their order. 0 or a negative errno. */
int merlon_pcap_write(const char *path, const struct merlon_segment *segment, const size_t *index, size_t n);

#endif
