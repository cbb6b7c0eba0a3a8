/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The proof: the same frames through nf_tables and through merlon's data plane, each in a scratch host of its own, and
 * what comes out compared.
 */
#ifndef MERLON_VERIFY_VERIFY_H
#define MERLON_VERIFY_VERIFY_H

#include <jansson.h>

#include "compat/compat.h"
#include "src/verify/frame.h"

struct merlon_verify;

struct merlon_verify_request {
	const struct merlon_source *source;	/* as the ruleset was read from them */
	size_t n_sources;
	const struct merlon_ruleset *ruleset;	/* nothing refused in it */
	unsigned long packets;
	uint64_t seed;
	/* Called now and then with the number of packets sent; another answer than 0 ends the run. */
	int (*progress)(void *context, unsigned long packets);
	void *context;
};

struct merlon_verify_result {
	unsigned long packets;			/* sent through both */
	unsigned long differences;
	unsigned long unrepeatable;		/* differences that were not there a second time */
	struct {
		unsigned long packets, differences;
	} limit[MERLON_FRAME_LIMITS];
	double seconds;				/* that the packets took */
	bool stopped;				/* ended by progress() or after many differences */
	bool rates_left_out;			/* of limits: whatever the tempo, the machine was too busy to compare them */
	json_t *first;				/* the first difference, NULL: none; owned by the caller */
};

/* The name of a limit, as `merlon check` has it. */
const char *merlon_verify_limit(enum merlon_frame_limit limit);

/*
 * Once in a process, which gets a mount namespace of its own. 0 or a negative errno with a diagnostic: -EPERM for who is
 * not root.
 */
int merlon_verify_open(struct merlon_verify **ret, struct merlon_diag *diag);
void merlon_verify_close(struct merlon_verify *verify);
/*
 * Proves one ruleset. 0: done, whatever was found; a negative errno with a diagnostic. Writes
 * merlon-verify-SEED.pcap into the current directory if there is a difference.
 */
int merlon_verify_run(struct merlon_verify *verify, const struct merlon_verify_request *request,
		      struct merlon_verify_result *ret, struct merlon_diag *diag);

#endif
