/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A scratch host: a network namespace with devices whose other end is this process (tun(4)), and ears for all that
 * comes out of them or is delivered to the host. Nothing in it speaks by itself: what is delivered is noted at the end
 * of INPUT and dropped there. All of it is held by descriptors, so that nothing stays when the process is gone.
 */
#ifndef MERLON_VERIFY_WORLD_H
#define MERLON_VERIFY_WORLD_H

#include "src/util/diag.h"
#include "src/verify/frame.h"
#include "src/verify/hear.h"

struct merlon_marks;
struct mnl_socket;

struct merlon_world {
	int netns;
	struct merlon_ground ground;			/* its devices; no addresses */
	int device[MERLON_GROUND_DEVICES];		/* of lo: -1 */
	int sender[MERLON_FAMILIES][MERLON_GROUND_DEVICES + 1];	/* raw sockets, the last one unbound */
	struct mnl_socket *route, *netfilter, *log;
	struct mnl_socket *observer;			/* whose table notes what is delivered */
	struct merlon_marks *marks;
	struct merlon_ground_address *address;		/* whose routes are there, owned */
	size_t n_addresses;
};

/* Makes the host with the devices of `ground`. 0 or a negative errno with a diagnostic; *ret needs no closing then. */
int merlon_world_open(struct merlon_world *ret, const struct merlon_ground *ground, struct merlon_diag *diag);
void merlon_world_close(struct merlon_world *world);

/* Moves the calling thread into the host. 0 or a negative errno. */
int merlon_world_enter(const struct merlon_world *world);

/* Puts the addresses where `ground` has them, and only them. */
int merlon_world_settle(struct merlon_world *world, const struct merlon_ground *ground, struct merlon_diag *diag);

/* A frame arrives, or is sent by the host. What the host itself refuses is not told: nothing comes out then. */
void merlon_world_send(const struct merlon_world *world, const struct merlon_frame *frame);

/* Takes all that has come out since. 0 or a negative errno (-ENOBUFS: something was lost). */
int merlon_world_hear(const struct merlon_world *world, struct merlon_ears *ears);

/* observe.c: the table that notes and drops what is delivered; it is gone when `observer` is closed. */
int merlon_observe(struct mnl_socket *observer, struct mnl_socket *log);
#define MERLON_OBSERVER_TABLE "merlon-verify"
#define MERLON_GROUP_DELIVERED 1	/* nfnetlink_log groups */
#define MERLON_GROUP_LOGGED 2
/* Takes what the log socket has. */
int merlon_observe_read(struct mnl_socket *log, struct merlon_ears *ears);

/* marks.c: tells the marks of what leaves by the devices. In the host's namespace; merlon's programs go in front. */
int merlon_marks_open(const struct merlon_ground *ground, struct merlon_marks **ret);
void merlon_marks_close(struct merlon_marks *marks);
int merlon_marks_hear(struct merlon_marks *marks, struct merlon_ears *ears);

/* route.c */
int merlon_route_loopback(struct mnl_socket *route);
/* Groups seem to be reached by the last device, as a default route makes it seem. */
int merlon_route_groups(struct mnl_socket *route, const struct merlon_ground *ground);
int merlon_route_gateway(struct mnl_socket *route, const struct merlon_ground *ground, unsigned device);
int merlon_route_places(struct mnl_socket *route, const struct merlon_ground *ground,
			const struct merlon_ground_address *address, size_t n, bool remove);
/* Sends a request and waits for its acknowledgement. 0 or a negative errno. */
struct nlmsghdr;
int merlon_netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request);

#endif
