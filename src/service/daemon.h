/* SPDX-License-Identifier: GPL-2.0-or-later */
/* merlond: one network namespace, one data plane, one policy. Everything runs in one sd-event loop. */
#ifndef MERLON_SERVICE_DAEMON_H
#define MERLON_SERVICE_DAEMON_H

#include <jansson.h>
#include <limits.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "src/compile/compile.h"
#include "src/kernel/answers.h"
#include "src/kernel/dataplane.h"
#include "src/model/event.h"
#include "src/service/settings.h"
#include "src/service/space.h"

struct merlon_journal;
struct merlon_work;
struct merlon_monitors;
struct merlon_event_origins;
struct merlon_cgroups;
struct merlon_client;
struct merlon_listings;
struct merlon_readings;
struct merlon_nft_command;
struct mnl_socket;

/* The policy in force with what it was made from. */
struct merlon_enforced {
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy;
	struct merlon_totals totals;	/* of the ruleset: for status, which does not look at each rule */
	unsigned concerns;		/* merlon_ruleset_concerns() */
	json_t *sources;	/* [{"file":name,"copy":path,"family":"ip"|"ip6"|null}] */
	bool audit, partial;
	bool as_snapshot;	/* kept for a restart as what nf_tables holds, like an edited one: the sources include other files */
	bool edited;		/* since it was applied: it is what the policy namespace says, no longer what the sources say */
	uint32_t addresses;	/* merlon_daemon.addresses that it was compiled with */
	uint64_t loaded_ns;	/* CLOCK_MONOTONIC: when the elements had the times to live that the ruleset gives them */
	struct merlon_counter *carried;		/* [policy->n_counters], what rules counted before this generation; NULL: nothing */
	uint64_t since_us;	/* CLOCK_REALTIME */
};

/* Who answers rejected packets. */
struct merlon_answering {
	struct merlon_answers *own;	/* this process; NULL: the one that settings.answers leads to */
	int fd;				/* to that one; -1: it is not there */
	sd_event_source *source, *pause, *pulse;
	bool missing, told;		/* nobody answers; the journal knows */
	uint64_t since_ns;		/* CLOCK_MONOTONIC: when it was last connected to */
	pid_t pid;			/* of that process, as the kernel knows it; 0: there is none */
};

struct merlon_daemon {
	struct merlon_settings settings;
	int argc;
	char **argv;			/* what the settings were read from, to read them again */
	struct merlon_trackers trackers;	/* in force, from the first policy on */
	sd_event *event;
	sd_event_source *rings, *rings_pause;
	struct merlon_dataplane *dp;
	struct merlon_enforced enforced;	/* ruleset NULL: none, or not known */
	struct merlon_interface *interface;	/* of the namespace */
	size_t n_interfaces;
	struct merlon_address *address;		/* of the namespace */
	size_t n_addresses;
	uint64_t perf_ns;	/* of the processor, what merlon_perf() itself has taken */
	unsigned adopted;	/* connections of nf_conntrack, by the first policy */
	struct merlon_space space;
	struct mnl_socket *rtnl;
	struct merlon_answering answering;
	struct merlon_journal *journal;
	struct merlon_work *work;
	unsigned n_requests;			/* of clients, that wait for their turn */
	struct merlon_event_origins *origins;
	struct merlon_cgroups *cgroups;
	struct merlon_monitors *monitors;
	struct merlon_client *clients;
	struct merlon_listings *listings;	/* NULL: none yet */
	struct merlon_readings *readings;
	uint64_t many_told_ns;			/* when the journal heard of too many clients; 0: not yet */
	int listener;
	int state_lock;
	bool own_socket;			/* made here, to be unlinked here */
	bool own_socket_dir, own_state_dir;	/* made here, to be removed here unless something is in them */
	uint64_t ending_ns;			/* when it was told to; 0: not yet */
	bool renew_waits;			/* a job that compiles anew is queued */
	bool untold;				/* the service manager has not heard what was put in force */
	uint32_t addresses;			/* how often the addresses have changed */
	struct {
		uint64_t at_ns;
		uint32_t established, embryonic;
	} counted;				/* see merlon_daemon_count_sessions() */
	struct merlon_policy *coming;		/* of the policy that is being put in force */
	bool unfiltered;			/* a policy is in force on no interface, and the journal was told */
	uint64_t started_us;			/* CLOCK_MONOTONIC */
};

/* policy.c: the report in the shape of `merlon apply --json`; returns an enum merlon_exit. */
int merlon_policy_apply(struct merlon_daemon *d, const json_t *request, json_t **ret_report);
/* Gives file number `index` of the ruleset another name. */
int merlon_policy_rename_file(struct merlon_ruleset *ruleset, size_t index, const char *name);
/* 0, an exit status, or an error; the report gains what was refused or left out. */
int merlon_policy_settle(const struct merlon_daemon *d, const struct merlon_enforced *next, json_t *report,
			 struct merlon_diag *diag);
/* Completes a report by what is in force now, and says in the journal what became of it. */
void merlon_policy_report(struct merlon_daemon *d, int status, json_t *report, struct merlon_diag *diag);

/* listings.c: a file that a client who may only read is to get, which stays the caller's, is one of a bounded amount. */
int merlon_listings_keep(struct merlon_daemon *d, int fd);
void merlon_listings_close(struct merlon_daemon *d);

/* resume.c: takes up the policy that is pinned; explains in the log where that is not possible. */
void merlon_policy_resume(struct merlon_daemon *d);

/*
 * enforce.c: puts *next in force and takes it over. `snapshot`: what its namespace holds, where that is to be saved for a
 * restart (next->edited). `carry`: rules that were there before go on counting from where they were.
 */
int merlon_enforce(struct merlon_daemon *d, struct merlon_enforced *next, const struct merlon_snapshot *snapshot, bool carry,
		   struct merlon_diag *diag);
/* What is left to be done when a policy is ready: interfaces, nf_conntrack's sysctls, and before the first one its connections. */
int merlon_enforce_last(void *daemon, struct merlon_diag *diag);
/* next->policy, of next->ruleset and this host as it is now. */
int merlon_enforce_compile(struct merlon_daemon *d, struct merlon_enforced *next, struct merlon_diag *diag);
/* What a compilation needs to know of this host as it is now. */
int merlon_enforce_options(struct merlon_daemon *d, const struct merlon_enforced *next, struct merlon_compile_options *ret,
			   struct merlon_diag *diag);
/* Compiles the ruleset in force anew: for interfaces that its image had no room for, or other addresses. In the thread. */
int merlon_enforce_renew(struct merlon_daemon *d, struct merlon_diag *diag);
/* The same as a job. */
void merlon_enforce_renew_later(struct merlon_daemon *d);
/* The same if the policy in force asks for addresses and was compiled with others. */
void merlon_enforce_check_addresses(struct merlon_daemon *d);
/* Sets the trackers as the sysctls are now and the configuration was. */
void merlon_enforce_trackers(struct merlon_daemon *d);
/* Says of the ruleset what there is to be said of all its rules, once. */
void merlon_enforced_count(struct merlon_enforced *enforced);
void merlon_enforced_clear(struct merlon_enforced *enforced);

/* carry.c */
/* Gives the rules of `next` that stand in `before` too, by their handles, the places they have there. 0 or -ENOMEM. */
int merlon_carry_places(const struct merlon_ruleset *before, struct merlon_ruleset *next);
/* Takes sources out of the list that `next` has nothing of any more: no rule at all, or none of the file's lines. 0 or -ENOMEM. */
int merlon_carry_sources(const struct merlon_ruleset *before, const struct merlon_ruleset *next, json_t *sources);
/* Leaves out of `next` the refused rules that `before` does without, with their places and texts. 0 or -ENOMEM. */
int merlon_carry_left_out(const struct merlon_ruleset *before, struct merlon_ruleset *next);
/* What of the policy before goes on in the next one; cleared by the caller. 0 or -ENOMEM. */
int merlon_carry_prepare(const struct merlon_enforced *before, const struct merlon_policy *next, struct merlon_handover *ret);
void merlon_carry_clear(struct merlon_handover *handover);
/* After the next one came into force: what its rules counted before. NULL: nothing, or no memory. */
struct merlon_counter *merlon_carry_counts(const struct merlon_enforced *before, const struct merlon_policy *next,
					   const struct merlon_handover *handover);

/* edit.c: what the policy namespace holds becomes the policy. */
/* Runs a command of nft there; *ret_output is what it printed, the caller's. An enum merlon_exit. */
int merlon_policy_nft(struct merlon_daemon *d, const json_t *request, bool trusted, json_t **ret_report, char **ret_output);
/* Somebody changed the namespace. */
void merlon_policy_follow(struct merlon_daemon *d);
/* elements.c: takes what the namespace holds over if elements alone have changed, without reading it. False: it was not so. */
bool merlon_policy_elements(struct merlon_daemon *d, json_t **report, struct merlon_diag *diag);
/*
 * Makes the changes that a command of nft asks for, if they are of elements alone, and puts them in force; nft need not read the set
 * for that. False: nothing has happened, it takes nft. They may be in the namespace and not in force: it was changed, then.
 */
bool merlon_policy_asked(struct merlon_daemon *d, const struct merlon_nft_command *command, json_t **report, struct merlon_diag *diag);
/* Drops all rules. An enum merlon_exit. */
int merlon_policy_flush(struct merlon_daemon *d, json_t **ret_report);

/* list.c: writes the policy in force, as JSON: for a child (reading.h). */
int merlon_write_list(struct merlon_daemon *d, FILE *out);

/* state.c: what a restarted daemon needs to know about a generation. */
int merlon_state_save(struct merlon_daemon *d, struct merlon_enforced *enforced, const struct merlon_snapshot *snapshot,
		      struct merlon_diag *diag);
/* What was carried over into the generation in force. Best effort: without it, counters begin with the generation. */
void merlon_state_save_counts(const struct merlon_daemon *d, const struct merlon_enforced *enforced);
struct merlon_counter *merlon_state_load_counts(const struct merlon_daemon *d, const struct merlon_policy *policy);
/*
 * *ret_state: what else was kept, a new reference. "places": of an edited policy, [{"family","table","chain",
 * "rules":[[handle,file,line],...], "left_out":[{"at","rule","file","line","comment","reason"},...]}]; "times":
 * merlon_times_list(), or nothing; "taken_ns": of the snapshot, see merlon_state_time().
 */
int merlon_state_load(const struct merlon_daemon *d, uint32_t generation, struct merlon_enforced *ret, json_t **ret_state,
		      struct merlon_diag *diag);
/* A time of CLOCK_MONOTONIC that was kept; of another boot it means nothing, and it is now. */
uint64_t merlon_state_time(const json_t *state, const char *name);
/* Where the snapshot of an edited policy is kept. */
void merlon_state_snapshot_path(const struct merlon_daemon *d, uint32_t generation, char ret[PATH_MAX]);
/* Removes the directory if it was made here and nothing is kept there. */
void merlon_state_close(struct merlon_daemon *d);
/* The directory is one daemon's: what is kept there goes by generation alone. -EBUSY with a diagnostic. */
int merlon_state_open(struct merlon_daemon *d, struct merlon_diag *diag);
/* Removes what belongs to other generations; 0: to all. */
void merlon_state_keep_only(const struct merlon_daemon *d, uint32_t generation);

/* perf.c: what `merlon perf` makes its figures of; `interface`: NULL or its name. NULL: explained in `diag`. */
json_t *merlon_perf(struct merlon_daemon *d, const char *interface, struct merlon_diag *diag);

/* answering.c */
/* With --answers it is no error if nobody is there: it is tried again. */
int merlon_answering_open(struct merlon_daemon *d, struct merlon_diag *diag);
/* A warning while nobody answers. */
void merlon_answering_warn(const struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_answering_close(struct merlon_daemon *d);

/* links.c */
int merlon_links_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_links_close(struct merlon_daemon *d);
/* Enters all interfaces into the image in force and attaches to the chosen ones. */
void merlon_links_sync(struct merlon_daemon *d);
/* Tells the policy that is being put in force which interfaces there are by now. */
void merlon_links_bind_coming(struct merlon_daemon *d);
/* Reads the addresses of the namespace; 1: they are others than before, or an error. */
int merlon_links_addresses(struct merlon_daemon *d);
/* Attaches to the chosen interfaces before there is something to enforce; an error if one of them cannot be filtered. */
int merlon_links_attach(struct merlon_daemon *d, struct merlon_diag *diag);
/* Begins that where no policy is in force, beside what reads and compiles the first one. Who begins it ends it in any case. */
void merlon_links_attach_ahead(struct merlon_daemon *d);
void merlon_links_attach_ahead_end(struct merlon_daemon *d);
/* Where no policy is in force nothing stays attached. */
void merlon_links_leave(struct merlon_daemon *d);
/* A warning if the policy in force judges nothing, since no interface is chosen. */
void merlon_links_warn(const struct merlon_daemon *d, struct merlon_diag *diag);
const char *merlon_links_name(const struct merlon_daemon *d, unsigned index);

/* bus.c */
int merlon_bus_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_bus_close(struct merlon_daemon *d);

/* listen.c: the socket, in d->listener. 0, or an error with a diagnostic or without. */
int merlon_listen(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_listen_end(struct merlon_daemon *d);

/* report.c: new references, NULL without memory. */
json_t *merlon_status(struct merlon_daemon *d);
/* The settings, [{"section","key","value","from"}]. */
json_t *merlon_config(const struct merlon_daemon *d);
/* A warning for each setting that the data plane, which was there already, does not have. */
void merlon_kept_warn(const struct merlon_daemon *d, const struct merlon_dataplane_info *info, struct merlon_diag *diag);
/* Those that are of no rule. */
json_t *merlon_stats_counts(const struct merlon_stats *stats);
/* "idle", "audit", "enforce" */
const char *merlon_mode(const struct merlon_daemon *d, bool audit);
/* For children (reading.h). */
int merlon_write_stats(struct merlon_daemon *d, FILE *out);
int merlon_write_sessions(struct merlon_daemon *d, FILE *out);
/*
 * What the counters of the policy in force, which must be known, counted in all: [n_counters], the caller's. 0; -ESTALE: it is
 * no more in force; or another negative errno.
 */
int merlon_counts(const struct merlon_daemon *d, struct merlon_counter **ret);
/* Writes JSON, which it takes over; NULL: there was no memory for it. 0 or a negative errno. */
int merlon_write_json(json_t *json, FILE *out);

/* why.c: the answer to the words of `merlon why`; NULL: explained in `diag`. */
json_t *merlon_why(struct merlon_daemon *d, const json_t *words, struct merlon_diag *diag);

/* journal.c */
int merlon_journal_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_journal_close(struct merlon_daemon *d);
void merlon_journal_event(struct merlon_daemon *d, const struct merlon_event *event);
/* The daemon's own messages. */
void merlon_journal_diag(const struct merlon_diag *diag);
/* With a MESSAGE_ID (src/model/event.h), as a word about merlon.service. */
void merlon_journal_tell(const struct merlon_daemon *d, const char *id, int priority, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void merlon_journal_note(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* origins.c */
int merlon_event_origins_open(struct merlon_daemon *d);
void merlon_event_origins_close(struct merlon_daemon *d);
struct merlon_told_origin {
	uint32_t slot;		/* below MERLON_STREAM_ORIGINS */
	uint32_t serial;	/* never 0; no two origins have the same */
	struct merlon_event_origin origin;
};
/* The rule that an event comes from; good until the next call. */
const struct merlon_told_origin *merlon_event_origins_find(struct merlon_daemon *d, const struct merlon_event *event);

/* cgroups.c */
int merlon_cgroups_open(struct merlon_daemon *d);
void merlon_cgroups_close(struct merlon_daemon *d);
/* The path of a control group of the unified hierarchy, from / on; NULL: not known. Good until the next call. */
const char *merlon_cgroup_path(struct merlon_daemon *d, uint64_t id);

/* monitor.c */
int merlon_monitors_open(struct merlon_daemon *d);
void merlon_monitors_close(struct merlon_daemon *d);
/*
 * A socket to read a stream (src/model/stream.h) from, the caller's; -EUSERS: there are enough of them, half of which are kept
 * for those who are trusted; or another error. `packets`: with the packets of the events.
 */
int merlon_monitors_add(struct merlon_daemon *d, bool trusted, bool packets);
/* Never waits. What is written goes out with the next flush. `with`: NULL, or the same event with its packet. */
void merlon_monitors_event(struct merlon_daemon *d, const struct merlon_event *event, const struct merlon_event_packet *with);
void merlon_monitors_flush(struct merlon_daemon *d);

/* daemon.c */
/* Takes the settings over. `argv`: what they were read from. */
int merlon_daemon_run(struct merlon_settings *settings, int argc, char **argv);
/* Takes away a directory that this daemon, or in the usual place one before it, has made; not if something is in it. */
void merlon_daemon_remove_dir(const char *dir, bool own);
/*
 * The sessions now; while a job is under way, up to five seconds ago: counting maps the whole table, and waits for threads that need
 * memory for a large ruleset.
 */
void merlon_daemon_count_sessions(struct merlon_daemon *d, uint32_t *ret_established, uint32_t *ret_embryonic);
/* Tells the service manager. Counts the sessions: after a change d->untold has it done when the answer is out. */
void merlon_daemon_status(struct merlon_daemon *d);
/*
 * Settings and sysctls as they are now; the policy is merlon.service's to reload. Wrong settings change nothing. In the thread.
 * *ret_report: {"messages"}, NULL without memory. An enum merlon_exit.
 */
int merlon_daemon_reload(struct merlon_daemon *d, json_t **ret_report);

#endif
