/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy namespace: holds the ruleset in force in nf_tables, where nft and whatever else speaks to nf_tables finds
 * and changes it. It is the same namespace as long as the daemon lives, so that programs may stay in it.
 */
#ifndef MERLON_SERVICE_SPACE_H
#define MERLON_SERVICE_SPACE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "compat/snapshot.h"
#include "src/util/diag.h"

struct mnl_socket;
struct merlon_daemon;

struct merlon_space {
	int fd;				/* of the namespace; -1: none */
	struct mnl_socket *netlink;	/* asks and changes it */
	struct mnl_socket *news;	/* is told of its changes */
	sd_event_source *source, *pause;
	uint32_t generation;		/* nf_tables' number of what was last read or written here */
	struct merlon_snapshot snapshot;	/* of what is in force; handles: `was` are those of now */
	/* notifications that came since it was last read or written here; `lost`: not all of them are known */
	struct merlon_space_heard {
		char *messages;		/* owned */
		size_t bytes;
		bool lost;
	} heard;
	struct merlon_space_sending *sending;	/* NULL: nothing is sent to it */
	bool mounted;
	json_t *differs;		/* messages: why what it holds is not what is in force; NULL: it is */
};

/* Makes it, empty, and mounts it where the settings say; one that cannot be mounted is a warning in `diag`. */
int merlon_space_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_space_close(struct merlon_daemon *d);

/* A socket of NETLINK_NETFILTER in a namespace, NULL with errno. */
struct mnl_socket *merlon_space_socket(int netns);

/*
 * Makes it hold `snapshot`, which is taken over and left empty on success, and gives the ruleset in force the handles that its rules
 * have there. With `generation` not NULL only if it is still of that generation: what others changed meanwhile is not lost.
 * 0 or a negative errno; it is marked as different then, and the reason is in `diag`.
 */
int merlon_space_hold(struct merlon_daemon *d, struct merlon_snapshot *snapshot, const uint32_t *generation,
		      struct merlon_diag *diag);
/* The same with something else than what is in force. Elements are put back as old as they are by now. */
int merlon_space_put(struct merlon_daemon *d, struct merlon_snapshot *snapshot, const uint32_t *generation,
		     struct merlon_diag *diag);
/* Takes over `snapshot`, which was taken here: what is held now is in force. */
void merlon_space_keep(struct merlon_daemon *d, struct merlon_snapshot *snapshot);
/* Takes note that it does not hold what is in force. */
void merlon_space_differs(struct merlon_daemon *d, const struct merlon_diag *why);
void merlon_space_agrees(struct merlon_daemon *d);
/* Takes the notifications that have come to what was heard before, which stays where it is. */
void merlon_space_hear(struct merlon_daemon *d);
/* What is held now, as generation `generation` of nf_tables, is in force: it was followed by its notifications. */
void merlon_space_followed(struct merlon_daemon *d, uint32_t generation);
/*
 * Sends it requests while the caller goes on, which leaves them and the namespace alone until the end. They are made only if it still
 * is of the generation that it was read or written as last. 0 or a negative errno.
 */
int merlon_space_send(struct merlon_daemon *d, struct merlon_snapshot *requests);
/* Waits for the outcome; 0 if nothing is sent, too. */
int merlon_space_sent(struct merlon_daemon *d);
int merlon_space_send_end(struct merlon_daemon *d);
/* Whether it was changed since it was last read or written here. */
bool merlon_space_changed(struct merlon_daemon *d);

#endif
