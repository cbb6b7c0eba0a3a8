/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data plane in the kernel: programs, maps, pins, attachments. Everything is pinned below `pin_dir`, so it goes on
 * enforcing when the process that made it is gone, and merlon_dataplane_open() finds it again.
 *
 *   PIN_DIR/maps/NAME         maps that outlive policies: control, sessions, statistics, ring buffers, ...
 *   PIN_DIR/policy/NAME       maps and programs of the size class in force: image, counters, limits, paths, decisions,
 *                             long_way, which leads to the program `cold`; from the first policy on
 *   PIN_DIR/progs/{ingress,egress}   entry programs: one tail call through map `entry`, constant slots
 *   PIN_DIR/links/IFINDEX-{ingress,egress}   TCX links; where the kernel has none (before 6.6), clsact filters hold on
 *
 * The entry programs stay attached for good. A new policy is one store of a pointer (array of maps `image`, slot 0);
 * one that needs a larger image loads programs for that size and then swaps the slots of `entry`. A packet sees the
 * old policy or the new one; sessions are in maps of their own and stay.
 */
#ifndef MERLON_KERNEL_DATAPLANE_H
#define MERLON_KERNEL_DATAPLANE_H

#include "bpf/abi.h"
#include "src/compile/compile.h"
#include "src/util/diag.h"

struct merlon_dataplane;

/* How programs are attached: by TCX links where the kernel has them (6.6), else as filters of clsact; or only by the one. */
enum merlon_attach { MERLON_ATTACH_AUTO, MERLON_ATTACH_TCX, MERLON_ATTACH_CLSACT };

struct merlon_dataplane_options {
	const char *pin_dir;		/* on a bpffs, made if missing; default /sys/fs/bpf/merlon */
	const char *pin_name;		/* what messages call it; NULL: as it is */
	uint32_t max_sessions;		/* of both address families; there is room for merlon_sessions_room() */
	uint32_t events_bytes;		/* of the ring buffer; a power of two */
	enum merlon_attach attach;	/* what is attached already stays as it is */
	bool create;			/* false: only find what is pinned, -ENOENT otherwise */
};

/* Sensible values for all of the above. */
struct merlon_dataplane_options merlon_dataplane_defaults(void);

/* What becomes of max_sessions: sets are a power of two. */
uint32_t merlon_sessions_room(uint32_t max_sessions);

/*
 * Finds the pinned data plane, with the sizes that it was made with, or makes it. Error and diagnostic with the cure: no bpffs, no privileges, kernel too old
 * (floor: 6.1), pins that cannot be read. -ENOENT: nothing there and !create.
 * One whose maps have another layout goes on enforcing, as it did, until the next policy is put in force: that policy comes
 * with a data plane of this layout, which takes the sessions over (takeover.c). Till then it has a generation, but no image.
 */
int merlon_dataplane_open(const struct merlon_dataplane_options *options, struct merlon_dataplane **ret,
			  struct merlon_diag *diag);
/* 0; -ESTALE with a diagnostic: its pins were taken away, and there can be no other policy than the one in force. */
int merlon_dataplane_is_there(const struct merlon_dataplane *dp, struct merlon_diag *diag);
/* Whether a policy was in force, and is not any more: its pins were taken away, and nothing is attached. */
bool merlon_dataplane_is_torn_out(const struct merlon_dataplane *dp);
/* Lets go of descriptors; enforcement goes on. */
void merlon_dataplane_close(struct merlon_dataplane *dp);
/* Detaches from all interfaces and removes the pins. */
int merlon_dataplane_remove(struct merlon_dataplane *dp, struct merlon_diag *diag);
/* Whether a process has the data plane open that is pinned there: it is taken away from under it. */
bool merlon_dataplane_is_served(const char *pin_dir);
/* The same without opening it, in this network namespace and of any layout. 1: it was there, 0: nothing was. */
int merlon_dataplane_force_remove(const char *pin_dir, struct merlon_diag *diag);

/*
 * The interfaces of this network namespace on which a policy is enforced by what is pinned there, of any layout: "lo, eth0". NULL:
 * none, it only audits, or that cannot be read. The caller's.
 */
char *merlon_dataplane_enforced_on(const char *pin_dir);

/* Where the compiler may number counters and limits for the next policy, and its generation. */
void merlon_dataplane_prepare(struct merlon_dataplane *dp, struct merlon_compile_options *options);
/* The same numbers as the policy in force has them: compiling its ruleset again must give the same image. -ENOENT: none. */
int merlon_dataplane_in_force(const struct merlon_dataplane *dp, struct merlon_compile_options *options);
/* What goes on from the policy before. */
struct merlon_handover {
	/* buckets of limits: slot of the old policy, slot of the new one */
	struct merlon_handover_slot {
		uint32_t from, to;
	} *slot;
	size_t n_slots;
	/* out: what the old policy's counters [first_counter, first_counter + n_counters) came to when it had ended; the caller's */
	struct merlon_counter *last;
	uint32_t first_counter, n_counters;
	int error;	/* out: the policy is in force, but `last` could not be read */
};

/*
 * Is called with true before something that takes long and changes nothing that others look at, with false behind it, while
 * a policy is put in force.
 */
void merlon_dataplane_relax(struct merlon_dataplane *dp, void (*relax)(void *context, bool away), void *context);
/* Is called right before a policy is put in force, when all is ready for it; an error ends it there. It explains that itself. */
void merlon_dataplane_last(struct merlon_dataplane *dp, int (*last)(void *context, struct merlon_diag *diag), void *context);
/* Puts a policy in force, as one step; on an error the old one stays. Limits and counters start anew. */
int merlon_dataplane_apply(struct merlon_dataplane *dp, const struct merlon_policy *policy, bool audit,
			   struct merlon_diag *diag);
/* The same, and what `handover` says goes on. */
int merlon_dataplane_hand_over(struct merlon_dataplane *dp, const struct merlon_policy *policy, bool audit,
			       struct merlon_handover *handover, struct merlon_diag *diag);
/* Whether the policy in force denies, or only says what it would deny. */
int merlon_dataplane_set_audit(struct merlon_dataplane *dp, bool audit);
bool merlon_dataplane_audits(const struct merlon_dataplane *dp);
/* The image in force, writable (for merlon_policy_bind()), NULL: none, or one of another layout. */
uint64_t *merlon_dataplane_image(struct merlon_dataplane *dp);
uint32_t merlon_dataplane_generation(const struct merlon_dataplane *dp);

/*
 * Attaches to an interface, or renews what is missing there. -EBUSY with a diagnostic if another program leaves no
 * room. Detaching what is gone is no error.
 */
int merlon_dataplane_attach(struct merlon_dataplane *dp, unsigned ifindex, struct merlon_diag *diag);
int merlon_dataplane_detach(struct merlon_dataplane *dp, unsigned ifindex);
/* From all, whatever attached there. 0 or the last error. */
int merlon_dataplane_detach_all(struct merlon_dataplane *dp);
/*
 * Begins to attach to these interfaces while no policy is in force, and goes on beside the caller; merlon_dataplane_attach() then
 * only finds that it is done, or says why not. The end of it, before that call; `at_once`: the rest is not wanted.
 */
void merlon_dataplane_attach_ahead(struct merlon_dataplane *dp, const unsigned *ifindex, size_t n);
void merlon_dataplane_attach_ahead_end(struct merlon_dataplane *dp, bool at_once);
/* Likewise begins to load programs where there are none yet, for a policy that is not large. They wait for one that comes later, too. */
void merlon_dataplane_load_ahead(struct merlon_dataplane *dp);
/* Indexes attached now, into `ret`; returns their number. */
size_t merlon_dataplane_attached(const struct merlon_dataplane *dp, unsigned *ret, size_t max);

/* Tells the data path which addresses are this host's. 0 or a negative errno. */
struct merlon_address;
int merlon_dataplane_own(struct merlon_dataplane *dp, const struct merlon_address *address, size_t n);
/*
 * Takes over the connections that nf_conntrack knows and the data path does not, while no policy is in force. *ret_n: how
 * many; *ret_left_out: how many had no room. 0 or a negative errno: ctnetlink could not be asked.
 */
int merlon_dataplane_adopt(struct merlon_dataplane *dp, unsigned *ret_n, unsigned *ret_left_out);
/* Raised whenever addresses or routes changed: cached decisions are taken anew. */
int merlon_dataplane_routes_changed(struct merlon_dataplane *dp);
/* Sockets whose packets answer rejected ones; replaces the ones that were. */
struct merlon_answer_cookies;
int merlon_dataplane_answers_by(struct merlon_dataplane *dp, const struct merlon_answer_cookies *sockets);
/* As the nf_conntrack sysctls of the caller's namespace have them, or their defaults. */
void merlon_trackers_read(struct merlon_trackers *ret);
int merlon_dataplane_trackers(struct merlon_dataplane *dp, const struct merlon_trackers *trackers);

#define MERLON_TIMEOUT_MOST_S (365U * 86400)
/* What replaces the sysctls. All zero: nothing. */
struct merlon_tracker_overrides {
	uint32_t seconds[MERLON_TIMEOUTS];	/* by enum merlon_timeout; 0: as the sysctl has it */
	struct merlon_trackers numbers;		/* those that are no timeouts */
	uint32_t numbers_given;			/* which: trackers.c */
};
/*
 * Takes a setting, named as its sysctl without nf_conntrack_, with `-` for `_`, mostly without `timeout`: tcp-established,
 * udp, tcp-loose. 0; 1: there is no such setting; -EINVAL: the value is refused, explained at `place`.
 */
int merlon_tracker_override(struct merlon_tracker_overrides *o, const char *key, const char *value, struct merlon_place place,
			    struct merlon_diag *diag);
void merlon_trackers_override(struct merlon_trackers *trackers, const struct merlon_tracker_overrides *o);
/* The settings one by one, `i` from 0 on: the sysctl's name without nf_conntrack_ (some twice), seconds or a number. False: no more. */
bool merlon_tracker_setting(const struct merlon_trackers *trackers, size_t i, const char **ret_sysctl, uint64_t *ret_value);

/* Sums over the CPUs; MERLON_STAT_PACKETS and MERLON_STAT_BYTES are of all hooks. */
int merlon_dataplane_stats(const struct merlon_dataplane *dp, struct merlon_stats *ret);
/*
 * How often the attached programs ran, on all interfaces, and how long that took with all they jump to; both stand still
 * unless somebody has the kernel count it (merlon_runs_count(), sysctl kernel.bpf_stats_enabled). 0 or a negative errno.
 */
struct merlon_runs {
	uint64_t n, ns;
};
int merlon_dataplane_runs(const struct merlon_dataplane *dp, struct merlon_runs *ret);
/*
 * Has the kernel count the runs of all BPF programs for as long as the descriptor is open, which is the caller's. Needs
 * CAP_SYS_ADMIN. Or a negative errno.
 */
int merlon_runs_count(void);
/*
 * Exact counts of counters [first, first + n): direct ones plus the paths that lead over them. -ESTALE: another process, of which
 * this one is a child, has put another policy in force meanwhile.
 */
int merlon_dataplane_counters(const struct merlon_dataplane *dp, uint32_t first, uint32_t n,
			      struct merlon_counter *ret);
/* The state of a limit by its slot (bpf/image.h): 0 since the policy is in force as long as no packet came to it. 0 or a negative errno. */
int merlon_dataplane_bucket(const struct merlon_dataplane *dp, uint32_t slot, uint64_t *ret);

struct merlon_session_view {
	enum merlon_family family;
	union {
		struct merlon_tuple4 tuple4;
		struct merlon_tuple6 tuple6;
	};
	struct merlon_session session;
	bool embryonic;
};
/* Calls `each` for every session; expired ones too. Stops at its first non-zero answer and returns it. */
int merlon_dataplane_sessions(const struct merlon_dataplane *dp,
			      int (*each)(void *context, const struct merlon_session_view *view), void *context);
/* The session of a tuple, as it is now. 0; -ENOENT: there is none, or it has expired. */
int merlon_dataplane_session(const struct merlon_dataplane *dp, enum merlon_family family, const union merlon_tuple *tuple,
			     struct merlon_session *ret);
/*
 * What a session remembers for a direction and a side, as far as it is of the policy in force and of the routes as they
 * are. False: nothing; *ret is untouched.
 */
bool merlon_dataplane_remembered(const struct merlon_dataplane *dp, const struct merlon_session *session,
				 enum merlon_direction direction, enum merlon_side side, struct merlon_decision *ret);
/* Forgets all sessions. */
int merlon_dataplane_flush_sessions(struct merlon_dataplane *dp);

/* Whether events bring their packets along, from now on; programs of an older version never do. */
int merlon_dataplane_set_packets(struct merlon_dataplane *dp, bool packets);
/*
 * Ring buffers: a descriptor to poll (epoll), and a call that hands out what is there, up to a bound; returns how many.
 */
struct merlon_dataplane_events {
	/* `with` has the event again, and its packet; NULL: merlon_dataplane_set_packets() was not asked for it */
	void (*event)(void *context, const struct merlon_event *event, const struct merlon_event_packet *with);
	void (*reject)(void *context, const struct merlon_reject_event *event);	/* NULL: another process reads that ring */
	void *context;
};
int merlon_dataplane_events_open(struct merlon_dataplane *dp, const struct merlon_dataplane_events *handler);
int merlon_dataplane_events_fd(const struct merlon_dataplane *dp);
int merlon_dataplane_events_consume(struct merlon_dataplane *dp);
/* The ring of rejected packets, for another process: its descriptor, which stays the data plane's, or a negative errno. */
int merlon_dataplane_rejects(const struct merlon_dataplane *dp, uint32_t *ret_bytes);

/*
 * What the policy in force would say of a packet (bpf/why.h). Nothing comes of it: no counter, token, session or event.
 * The frame is an Ethernet frame of an IP packet, at most 1500 bytes; `ifindex`: where it comes in (INPUT), else where it
 * leaves. 0 and the answer in `why`, and the buckets as the question found them in *ret_limits (by number of the policy's
 * limits; the caller frees it). -ENOENT: nothing is in force. Other errors come with a diagnostic.
 */
struct merlon_why;
struct merlon_why_frame {
	const void *data;
	uint32_t bytes;
	uint32_t mark;
	unsigned ifindex;
};
int merlon_dataplane_why(struct merlon_dataplane *dp, const struct merlon_why_frame *frame, struct merlon_why *why,
			 uint64_t **ret_limits, struct merlon_diag *diag);

struct merlon_dataplane_info {
	bool tcx;			/* else clsact */
	uint64_t memory_bytes;		/* of all maps, as the kernel accounts them */
	uint32_t max_sessions;	/* of all flows */
	uint32_t image_words;		/* room of the loaded programs */
	unsigned attached;	/* interfaces */
	bool audit;
};
int merlon_dataplane_info(const struct merlon_dataplane *dp, struct merlon_dataplane_info *ret);
/* Established and other flows now. Looks at the whole table: milliseconds. */
void merlon_dataplane_count_sessions(const struct merlon_dataplane *dp, uint32_t *ret_established, uint32_t *ret_embryonic);

#endif
