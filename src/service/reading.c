/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/reading.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

#define TRIES 10	/* the policy is another one each time: somebody changes it all the time */

/* Root's, or those of the others: the first one is in hand if there is a child. */
struct turn {
	struct merlon_daemon *d;
	struct merlon_reading *first, **end;
	unsigned tries;			/* of the first one */
	pid_t pid;			/* 0: no child */
	int pidfd;
	bool late;			/* it was killed for that */
	sd_event_source *on_end, *on_late;
};

struct merlon_readings {
	struct turn turn[2];
};

static void forget_child(struct turn *turn)
{
	sd_event_source_disable_unref(turn->on_end);
	sd_event_source_disable_unref(turn->on_late);
	merlon_closep(&turn->pidfd);
	turn->on_end = turn->on_late = NULL;
	turn->pidfd = -1;
	turn->pid = 0;
}

/* The child has ended or is about to. 0 or a negative errno. */
static int reap(struct turn *turn)
{
	bool late = turn->late;
	int status, r;

	do
		r = waitpid(turn->pid, &status, 0);
	while (r < 0 && errno == EINTR);
	r = r < 0 ? -errno : WIFEXITED(status) ? -WEXITSTATUS(status) : late ? -ETIMEDOUT : -ECHILD;
	forget_child(turn);
	return r;
}

static void kill_child(struct turn *turn)
{
	kill(turn->pid, SIGKILL);
	reap(turn);
}

static void finish(struct turn *turn, int fd)
{
	struct merlon_reading *reading = turn->first;

	turn->first = reading->next;
	if (!turn->first)
		turn->end = &turn->first;
	turn->tries = 0;
	reading->fd = fd;
	reading->done(turn->d, reading);
}

/* Listings are not what the kernel should keep when there is no memory, whatever it is told of the daemon. */
static void be_expendable(void)
{
	_cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "0", 1) < 0)
		return;
}

static void __attribute__((noreturn)) read_and_exit(const struct turn *turn)
{
	FILE *out = fdopen(turn->first->fd, "w");
	int r;

	be_expendable();
	if (!out)
		_exit(ENOMEM);
	r = turn->first->run(turn->d, out);
	if (fclose(out) && !r)
		r = -errno;
	_exit(-r);
}

static int on_child_end(sd_event_source *source, int fd, uint32_t events, void *context);

static int on_child_late(sd_event_source *source, uint64_t due_us, void *context)
{
	struct turn *turn = context;

	(void)source;
	(void)due_us;
	turn->late = true;
	kill(turn->pid, SIGKILL);
	return 0;
}

static int watch(struct turn *turn)
{
	sd_event *event = turn->d->event;
	int r;

	turn->pidfd = pidfd_open(turn->pid, 0);
	if (turn->pidfd < 0)
		return -errno;
	r = sd_event_add_io(event, &turn->on_end, turn->pidfd, EPOLLIN, on_child_end, turn);
	return r < 0 ? r : sd_event_add_time_relative(event, &turn->on_late, CLOCK_MONOTONIC, merlon_child_limit_s() * 1000000ULL, 0,
						      on_child_late, turn);
}

static int begin(struct turn *turn)
{
	int r;

	turn->late = false;
	turn->first->fd = memfd_create("merlon-reading", MFD_CLOEXEC);
	if (turn->first->fd < 0)
		return -errno;
	turn->pid = merlon_fork();
	if (turn->pid == 0)
		read_and_exit(turn);
	r = turn->pid < 0 ? -errno : watch(turn);
	if (r < 0 && turn->pid > 0)
		kill_child(turn);
	if (r < 0) {
		turn->pid = 0;
		close(turn->first->fd);
	}
	return r;
}

static void go_on(struct turn *turn)
{
	int r;

	while (turn->first && !turn->pid && (r = begin(turn)) < 0)
		finish(turn, r);
}

static int on_child_end(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct turn *turn = context;
	int r = reap(turn);

	(void)source;
	(void)fd;
	(void)events;
	if (!r && lseek(turn->first->fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r < 0)
		close(turn->first->fd);
	if (r != -ESTALE || ++turn->tries == TRIES)
		finish(turn, r < 0 ? r : turn->first->fd);
	go_on(turn);
	return 0;
}

int merlon_readings_open(struct merlon_daemon *d)
{
	size_t i;

	d->readings = calloc(1, sizeof(*d->readings));
	if (!d->readings)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(d->readings->turn); i++) {
		struct turn *turn = &d->readings->turn[i];

		*turn = (struct turn){ .d = d, .end = &turn->first, .pidfd = -1 };
	}
	return 0;
}

void merlon_reading_add(struct merlon_daemon *d, struct merlon_reading *reading)
{
	struct turn *turn = &d->readings->turn[reading->trusted];

	reading->next = NULL;
	*turn->end = reading;
	turn->end = &reading->next;
	go_on(turn);
}

void merlon_readings_end(struct merlon_daemon *d)
{
	size_t i;

	for (i = 0; d->readings && i < ARRAY_SIZE(d->readings->turn); i++) {
		struct turn *turn = &d->readings->turn[i];

		if (turn->pid) {
			kill_child(turn);
			close(turn->first->fd);
		}
		while (turn->first)
			finish(turn, -ECANCELED);
	}
}

void merlon_readings_close(struct merlon_daemon *d)
{
	merlon_readings_end(d);
	free(d->readings);
	d->readings = NULL;
}
