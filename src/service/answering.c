/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who answers rejected packets: this process, or one that may open sockets of IP, behind --answers. */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>

#include "src/kernel/answers.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define PAUSE_US 250000		/* slower than systemd takes a socket for broken, 20 times in 2 s */
#define PULSE_US 2000000	/* how often it is looked whether it still reads */
#define BEGINNING_NS 5000000000ULL	/* how long it may take to be started, and to say something */

static int on_pause(sd_event_source *source, uint64_t due_us, void *context);

/* Rejected packets wait in their ring, as far as there is room. */
static void try_later(struct merlon_daemon *d, int error)
{
	struct merlon_answering *a = &d->answering;

	if (!a->told)
		merlon_journal_note(LOG_WARNING, "%s: %s; rejected packets get no answer until it is there", d->settings.answers,
				    strerror(-error));
	a->missing = a->told = true;
	a->source = sd_event_source_disable_unref(a->source);
	a->pulse = sd_event_source_disable_unref(a->pulse);
	merlon_closep(&a->fd);
	a->fd = -1;
	a->pid = 0;
	sd_event_source_disable_unref(a->pause);
	a->pause = NULL;
	sd_event_add_time_relative(d->event, &a->pause, CLOCK_MONOTONIC, PAUSE_US, 0, on_pause, d);
}

/* `ring` -1: there is none any more. */
static int send_ring(int to, int ring, uint32_t bytes)
{
	struct merlon_answers_ring what = { .bytes = bytes };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = &what, .iov_len = sizeof(what) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (ring >= 0) {
		struct cmsghdr *c;

		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &ring, sizeof(ring));
	}
	return sendmsg(to, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The data path knows the sockets first: an answer must be `related` from the first one on. */
static int hand_over(struct merlon_daemon *d, const struct merlon_answer_cookies *cookies)
{
	uint32_t bytes;
	int ring = merlon_dataplane_rejects(d->dp, &bytes), r = ring < 0 ? ring : merlon_dataplane_answers_by(d->dp, cookies);

	return r < 0 ? r : send_ring(d->answering.fd, ring, bytes);
}

/* Who listens is systemd; who sends the cookies is the process itself. */
static ssize_t receive(struct merlon_answering *a, struct merlon_answer_cookies *cookies)
{
	char control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { .iov_base = cookies, .iov_len = sizeof(*cookies) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(a->fd, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	struct ucred sender;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof(sender))) {
		memcpy(&sender, CMSG_DATA(c), sizeof(sender));
		a->pid = sender.pid;
	}
	return n;
}

static void begins_to_answer(struct merlon_daemon *d)
{
	if (d->answering.told)
		merlon_journal_note(LOG_NOTICE, "%s: rejected packets are answered again", d->settings.answers);
	d->answering.missing = d->answering.told = false;
}

/*
 * It need not be gone to answer nobody: it may be stopped, or hang. So it is sent the ring again, which changes nothing for it,
 * of whatever version it is; what it has not read at the next look says that it reads no ring either.
 */
static int on_pulse(sd_event_source *source, uint64_t due_us, void *context)
{
	struct merlon_daemon *d = context;
	struct merlon_answering *a = &d->answering;
	uint32_t bytes;
	int unread = 0, ring = merlon_dataplane_rejects(d->dp, &bytes), r = 0;

	(void)due_us;
	if (ioctl(a->fd, SIOCOUTQ, &unread) == 0 && unread) {
		if (!a->told)
			merlon_journal_note(LOG_WARNING, "%s: merlon-answers does not go on; rejected packets get no answer until it does",
					    d->settings.answers);
		a->missing = a->told = true;
	} else {
		begins_to_answer(d);
		r = ring < 0 ? ring : send_ring(a->fd, ring, bytes);
	}
	if (!r && (r = sd_event_source_set_time_relative(source, PULSE_US)) >= 0)
		r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (r < 0)
		try_later(d, r);
	return 0;
}

static int on_answering(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct merlon_daemon *d = context;
	struct merlon_answer_cookies cookies;
	ssize_t n = receive(&d->answering, &cookies);
	int r;

	(void)source;
	(void)fd;
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	r = n < 0 ? -errno : n == sizeof(cookies) ? hand_over(d, &cookies) : -ECONNRESET;
	if (!r && !d->answering.pulse)
		r = sd_event_add_time_relative(d->event, &d->answering.pulse, CLOCK_MONOTONIC, PULSE_US, PULSE_US / 4, on_pulse, d);
	if (r < 0)
		try_later(d, r);
	else
		begins_to_answer(d);
	return 0;
}

static int connect_to(struct merlon_daemon *d)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct merlon_answering *a = &d->answering;
	int on = 1;

	a->since_ns = merlon_now_ns();
	if (snprintf(to.sun_path, sizeof(to.sun_path), "%s", d->settings.answers) >= (int)sizeof(to.sun_path))
		return -ENAMETOOLONG;
	a->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0 || setsockopt(a->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    connect(a->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return sd_event_add_io(d->event, &a->source, a->fd, EPOLLIN, on_answering, d);
}

static int on_pause(sd_event_source *source, uint64_t due_us, void *context)
{
	int r = connect_to(context);

	(void)source;
	(void)due_us;
	if (r < 0)
		try_later(context, r);
	return 0;
}

int merlon_answering_open(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_answer_cookies cookies;
	int r;

	if (d->settings.answers) {
		/* a connection is not yet somebody who answers */
		d->answering.missing = true;
		r = connect_to(d);
		if (r < 0)
			try_later(d, r);
		return 0;
	}
	r = merlon_answers_open(true, &d->answering.own, diag);
	if (r < 0)
		return r;
	merlon_answers_cookies(d->answering.own, &cookies);
	return merlon_dataplane_answers_by(d->dp, &cookies);
}

void merlon_answering_warn(const struct merlon_daemon *d, struct merlon_diag *diag)
{
	if (!d->answering.missing || (!d->answering.told && merlon_now_ns() - d->answering.since_ns < BEGINNING_NS))
		return;
	merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ .file = d->settings.answers },
			d->answering.fd < 0 ? "nobody is there who would answer rejected packets" :
					      "who is there does not answer rejected packets");
	merlon_diag_cure(diag, d->answering.fd < 0 ? "start merlon-answers.socket" : "restart merlon-answers.service");
}

void merlon_answering_close(struct merlon_daemon *d)
{
	struct merlon_answering *a = &d->answering;

	/* what is in force goes on without this process, and so do the answers */
	if (a->fd >= 0 && d->dp && !merlon_dataplane_generation(d->dp))
		send_ring(a->fd, -1, 0);
	sd_event_source_disable_unref(a->source);
	sd_event_source_disable_unref(a->pause);
	sd_event_source_disable_unref(a->pulse);
	merlon_closep(&a->fd);
	merlon_answers_close(a->own);
	*a = (struct merlon_answering){ .fd = -1 };
}
