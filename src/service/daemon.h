/* SPDX-License-Identifier: GPL-2.0-or-later */
/* merlond: one network namespace, one data plane, one policy. Everything runs in one sd-event loop. */
#ifndef MERLON_SERVICE_DAEMON_H
#define MERLON_SERVICE_DAEMON_H

#include <jansson.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "src/compile/compile.h"
#include "src/kernel/dataplane.h"
#include "src/service/settings.h"

struct merlon_answers;
struct merlon_journal;
struct merlon_client;
struct mnl_socket;

/* The policy in force with what it was made from. */
struct merlon_enforced {
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy;
	json_t *sources;	/* [{"file":name,"copy":path,"family":"ip"|"ip6"|null}] */
	bool audit;
	uint64_t since_us;	/* CLOCK_REALTIME */
};

struct merlon_daemon {
	struct merlon_settings settings;
	sd_event *event;
	struct merlon_dataplane *dp;
	struct merlon_enforced enforced;	/* ruleset NULL: none, or not known */
	struct merlon_interface *interface;	/* of the namespace */
	size_t n_interfaces;
	struct mnl_socket *rtnl;
	struct merlon_answers *answers;
	struct merlon_journal *journal;
	struct merlon_client *clients;
	unsigned n_clients;
	int listener;
	int state_lock;
	bool own_socket;			/* made here, to be unlinked here */
	uint64_t started_us;			/* CLOCK_MONOTONIC */
};

/* policy.c: the report in the shape of `merlon apply --json`; returns an enum merlon_exit. */
int merlon_policy_apply(struct merlon_daemon *d, const json_t *request, json_t **ret_report);
/* Takes up the policy that is pinned; explains in the log where that is not possible. */
void merlon_policy_resume(struct merlon_daemon *d);
/* Compiles the ruleset in force for interfaces that its image had no room for. */
int merlon_policy_renew(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_enforced_clear(struct merlon_enforced *enforced);

/* state.c: what a restarted daemon needs to know about a generation. */
int merlon_state_save(struct merlon_daemon *d, struct merlon_enforced *enforced, struct merlon_diag *diag);
int merlon_state_load(const struct merlon_daemon *d, uint32_t generation, struct merlon_enforced *ret,
		      struct merlon_diag *diag);
/* The directory is one daemon's: what is kept there goes by generation alone. -EBUSY with a diagnostic. */
int merlon_state_open(struct merlon_daemon *d, struct merlon_diag *diag);
/* Removes what belongs to other generations; 0: to all. */
void merlon_state_keep_only(const struct merlon_daemon *d, uint32_t generation);

/* links.c */
int merlon_links_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_links_close(struct merlon_daemon *d);
/* Enters all interfaces into the image in force and attaches to the chosen ones. */
void merlon_links_sync(struct merlon_daemon *d);
/* Attaches to the chosen interfaces before there is something to enforce; an error if one of them cannot be filtered. */
int merlon_links_attach(struct merlon_daemon *d, struct merlon_diag *diag);
const char *merlon_links_name(const struct merlon_daemon *d, unsigned index);

/* bus.c */
int merlon_bus_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_bus_close(struct merlon_daemon *d);

/* report.c: new references, NULL without memory. */
json_t *merlon_status(struct merlon_daemon *d);
json_t *merlon_stats(struct merlon_daemon *d);
/* A file (memfd) with the list of sessions, or an error. */
int merlon_sessions(struct merlon_daemon *d);

/* why.c: the answer to the words of `merlon why`; NULL: explained in `diag`. */
json_t *merlon_why(struct merlon_daemon *d, const json_t *words, struct merlon_diag *diag);

/* journal.c */
int merlon_journal_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_journal_close(struct merlon_daemon *d);
void merlon_journal_event(struct merlon_daemon *d, const struct merlon_event *event);
/* The daemon's own messages. */
void merlon_journal_diag(const struct merlon_diag *diag);
void merlon_journal_note(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* answer.c */
int merlon_answers_open(struct merlon_daemon *d, struct merlon_diag *diag);
void merlon_answers_close(struct merlon_daemon *d);
void merlon_answers_reject(struct merlon_daemon *d, const struct merlon_reject_event *event);

/* timeouts.c: from the nf_conntrack sysctls of this namespace. */
void merlon_timeouts_read(struct merlon_timeouts *ret, bool *ret_tcp_loose);

/* daemon.c */
int merlon_daemon_run(struct merlon_settings *settings);
void merlon_daemon_status(struct merlon_daemon *d);

#endif
