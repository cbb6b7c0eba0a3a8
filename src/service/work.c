/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/work.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "src/service/daemon.h"
#include "src/util/cleanup.h"

struct queue {
	struct merlon_job *first, **end;
};

/* Of those who share the lock: a mutex goes to whoever comes first, which would mostly be who has just let go. */
struct turn {
	atomic_int wants;
	pthread_cond_t taken;
};

struct merlon_work {
	pthread_t thread;
	pthread_mutex_t lock;		/* the daemon's */
	pthread_cond_t more;
	struct turn threads, loops;
	struct queue todo, yielding, ready;	/* all of this is under the lock */
	struct merlon_job *in_hand;
	sd_event_source *source;
	int news;			/* eventfd: something is ready */
	bool idle, ends;
	bool frees;			/* what jobs have freed is not given back to the kernel yet */
};

/*
 * A ruleset takes a multiple of its size to read, which may be the last for long. But changes follow one another, and what the next
 * one needs again costs a fault for each page.
 */
#define KEEPS_FREED_S 2

static void had_turn(struct turn *mine)
{
	atomic_fetch_sub(&mine->wants, 1);
	pthread_cond_signal(&mine->taken);
}

static void take_lock(struct merlon_work *w, struct turn *mine)
{
	atomic_fetch_add(&mine->wants, 1);
	pthread_mutex_lock(&w->lock);
	had_turn(mine);
}

/* Lets the other one have the lock first, if it wants it. */
static void stand_back(struct merlon_work *w, struct turn *other)
{
	while (atomic_load(&other->wants))
		pthread_cond_wait(&other->taken, &w->lock);
}

static void give_freed_back(struct merlon_work *w)
{
	w->frees = false;
	pthread_mutex_unlock(&w->lock);
	malloc_trim(0);
	take_lock(w, &w->threads);
}

/* Until there is a job, or there was none for long. Who brings one says that the thread wants the lock. */
static void wait_for_more(struct merlon_work *w)
{
	struct timespec until;
	int r = 0;

	w->idle = true;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += KEEPS_FREED_S;
	if (w->frees)
		r = pthread_cond_clockwait(&w->more, &w->lock, CLOCK_MONOTONIC, &until);
	else
		pthread_cond_wait(&w->more, &w->lock);
	if (w->idle && r == ETIMEDOUT)
		give_freed_back(w);
	if (w->idle)
		return;
	had_turn(&w->threads);
}

static void enter(struct queue *queue, struct merlon_job *job)
{
	job->next = NULL;
	*queue->end = job;
	queue->end = &job->next;
}

static struct merlon_job *take(struct queue *queue)
{
	struct merlon_job *job = queue->first;

	if (job) {
		queue->first = job->next;
		if (!queue->first)
			queue->end = &queue->first;
	}
	return job;
}

static struct merlon_job *next_job(struct merlon_work *w)
{
	struct merlon_job *job = take(&w->todo);

	return job ? job : take(&w->yielding);
}

static void *work(void *context)
{
	const uint64_t one = 1;
	struct merlon_daemon *d = context;
	struct merlon_work *w = d->work;

	/* a working directory of its own: files are included from where the caller is */
	if (unshare(CLONE_FS) < 0)
		merlon_journal_note(LOG_WARNING, "the working directory is shared while rulesets are read");
	pthread_mutex_lock(&w->lock);
	while (!w->ends) {
		w->in_hand = next_job(w);
		if (!w->in_hand) {
			wait_for_more(w);
			continue;
		}
		w->in_hand->run(d, w->in_hand);
		enter(&w->ready, w->in_hand);
		w->in_hand = NULL;
		if (write(w->news, &one, sizeof(one)) < 0)
			merlon_journal_note(LOG_ERR, "the loop cannot be told that a job is done");
		w->frees = true;
		stand_back(w, &w->loops);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static int on_news(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct merlon_daemon *d = context;
	struct merlon_job *job;
	uint64_t n;

	(void)source;
	(void)events;
	if (read(fd, &n, sizeof(n)) < 0)
		return 0;
	while ((job = take(&d->work->ready)))
		job->done(d, job);
	if (d->untold)
		merlon_daemon_status(d);
	return 0;
}

static void work_free(struct merlon_work *w)
{
	sd_event_source_unref(w->source);
	merlon_closep(&w->news);
	pthread_cond_destroy(&w->threads.taken);
	pthread_cond_destroy(&w->loops.taken);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int merlon_work_open(struct merlon_daemon *d)
{
	struct merlon_work *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	pthread_cond_init(&w->threads.taken, NULL);
	pthread_cond_init(&w->loops.taken, NULL);
	w->todo.end = &w->todo.first;
	w->yielding.end = &w->yielding.first;
	w->ready.end = &w->ready.first;
	w->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = w->news < 0 ? -errno : sd_event_add_io(d->event, &w->source, w->news, EPOLLIN, on_news, d);
	if (r < 0) {
		work_free(w);
		return r;
	}
	d->work = w;
	pthread_mutex_lock(&w->lock);
	r = pthread_create(&w->thread, NULL, work, d);
	if (r) {
		pthread_mutex_unlock(&w->lock);
		d->work = NULL;
		work_free(w);
	}
	return -r;
}

void merlon_work_end(struct merlon_daemon *d)
{
	d->work->ends = true;
}

void merlon_work_close(struct merlon_daemon *d)
{
	struct merlon_work *w = d->work;
	struct merlon_job *job;

	if (!w)
		return;
	w->ends = true;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	while ((job = take(&w->ready)))
		job->done(d, job);
	while ((job = next_job(w)))
		job->done(d, job);
	d->work = NULL;
	work_free(w);
}

void merlon_work_add(struct merlon_daemon *d, struct merlon_job *job)
{
	struct merlon_work *w = d->work;

	enter(job->yields ? &w->yielding : &w->todo, job);
	if (!w->idle)
		return;
	w->idle = false;
	atomic_fetch_add(&w->threads.wants, 1);
	pthread_cond_signal(&w->more);
}

static void free_job(struct merlon_daemon *d, struct merlon_job *job)
{
	(void)d;
	free(job);
}

void merlon_work_do(struct merlon_daemon *d, void (*run)(struct merlon_daemon *d, struct merlon_job *job))
{
	struct merlon_job *job = malloc(sizeof(*job));

	if (!job) {
		merlon_journal_note(LOG_ERR, "out of memory: something that has changed was not looked at");
		return;
	}
	*job = (struct merlon_job){ .run = run, .done = free_job };
	merlon_work_add(d, job);
}

bool merlon_work_is_busy(const struct merlon_daemon *d)
{
	return d->work && d->work->in_hand;
}

bool merlon_work_is_here(const struct merlon_daemon *d)
{
	return d->work && pthread_equal(pthread_self(), d->work->thread);
}

void merlon_work_let_go(const struct merlon_daemon *d)
{
	if (merlon_work_is_here(d))
		pthread_mutex_unlock(&d->work->lock);
}

void merlon_work_take_back(const struct merlon_daemon *d)
{
	if (merlon_work_is_here(d))
		take_lock(d->work, &d->work->threads);
}

int merlon_work_loop(struct merlon_daemon *d)
{
	int r, code;

	while (sd_event_get_state(d->event) != SD_EVENT_FINISHED) {
		stand_back(d->work, &d->work->threads);
		r = sd_event_prepare(d->event);
		if (!r) {
			pthread_mutex_unlock(&d->work->lock);
			r = sd_event_wait(d->event, UINT64_MAX);
			take_lock(d->work, &d->work->loops);
		}
		if (r > 0)
			r = sd_event_dispatch(d->event);
		if (r < 0)
			return r;
	}
	r = sd_event_get_exit_code(d->event, &code);
	return r < 0 ? r : code;
}
