/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What changes the policy is done by one thread, one after the other; the loop goes on meanwhile. The daemon has one lock:
 * whoever runs has it, the loop while it dispatches and the thread while it works. Where the thread works on what is its
 * own alone (nft reads, the compiler compiles), it lets the lock go, and the loop answers.
 */
#ifndef MERLON_SERVICE_WORK_H
#define MERLON_SERVICE_WORK_H

#include <stdbool.h>

struct merlon_daemon;

/* A job: `run` in the thread, then `done` on the loop, which frees what it is about; both with the daemon's lock. */
struct merlon_job {
	void (*run)(struct merlon_daemon *d, struct merlon_job *job);
	void (*done)(struct merlon_daemon *d, struct merlon_job *job);
	struct merlon_job *next;
	bool yields;	/* all that do not are done first */
};

/* From here on the caller has the lock. 0 or a negative errno. */
int merlon_work_open(struct merlon_daemon *d);
/* Waits for the job in hand; those behind it are done without having been run. */
void merlon_work_close(struct merlon_daemon *d);
/* In a job: those behind it are done without having been run. */
void merlon_work_end(struct merlon_daemon *d);
/* The job is the work's until it is done. The caller has the lock. */
void merlon_work_add(struct merlon_daemon *d, struct merlon_job *job);
/* The same with a job that is nothing but this. */
void merlon_work_do(struct merlon_daemon *d, void (*run)(struct merlon_daemon *d, struct merlon_job *job));
/* Whether a job is under way. The caller has the lock. */
bool merlon_work_is_busy(const struct merlon_daemon *d);
/* Whether the caller is the thread. */
bool merlon_work_is_here(const struct merlon_daemon *d);

/*
 * In between, what others may look at stays as it is, and nothing of the daemon's is looked at that the loop may change:
 * interfaces and addresses. On the loop they do nothing: it keeps the lock.
 */
void merlon_work_let_go(const struct merlon_daemon *d);
void merlon_work_take_back(const struct merlon_daemon *d);

/* One round of the loop after the other, until it ends: as sd_event_loop(), but without the lock while nothing is to be done. */
int merlon_work_loop(struct merlon_daemon *d);

#endif
