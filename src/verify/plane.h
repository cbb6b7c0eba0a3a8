/* SPDX-License-Identifier: GPL-2.0-or-later */
/* merlon's data plane in a scratch host. All functions are called in that host's namespace. */
#ifndef MERLON_VERIFY_PLANE_H
#define MERLON_VERIFY_PLANE_H

#include "src/compile/compile.h"
#include "src/kernel/answers.h"
#include "src/kernel/dataplane.h"
#include "src/verify/hear.h"
#include "src/verify/tempo.h"

struct merlon_plane {
	struct merlon_dataplane *dp;
	struct merlon_answers *answers;
	const struct merlon_ruleset *ruleset;
	struct merlon_policy *policy;		/* in force; owned */
	struct merlon_interface *interface;	/* owned */
	size_t n_interfaces;
	uint64_t token_ns;		/* of its limits */
	uint64_t loaded_ns;			/* from when on elements' times count */
	struct merlon_ears *ears;		/* where events go; NULL: nowhere */
	void (*denied)(void *context, const struct merlon_event *event);	/* may be NULL */
	void *context;
};

/* The data plane, pinned in the bpffs of the caller's own mount namespace (merlon_plane_bpffs()). */
int merlon_plane_open(struct merlon_plane *ret, struct merlon_diag *diag);
void merlon_plane_close(struct merlon_plane *plane);
/* A mount namespace for this process with a bpffs of its own: what is pinned there is gone with the process. */
int merlon_plane_bpffs(struct merlon_diag *diag);

/* Attaches to all interfaces, and puts the ruleset in force, with full buckets; it must outlive the next call. */
int merlon_plane_apply(struct merlon_plane *plane, const struct merlon_ruleset *ruleset, uint64_t token_ns,
		       struct merlon_diag *diag);
/* The same ruleset for the addresses as they are now, if that matters to it; its counters then begin anew. */
int merlon_plane_renew(struct merlon_plane *plane, struct merlon_diag *diag);
/* Answers what was rejected and takes what was logged since; whether there was any. */
bool merlon_plane_serve(struct merlon_plane *plane);
/* Forgets all flows; cached routes too. */
int merlon_plane_forget(struct merlon_plane *plane);

#endif
