/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * merlon-answers: answers rejected packets in merlond's place, which so needs no socket of IP. What strangers sent is read
 * here, by a process that may do nothing else. It is started by its socket, where merlond hands it the ring of rejected
 * packets (src/kernel/answers.h), and goes on without merlond.
 */
#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "src/answers/ring.h"
#include "src/kernel/answers.h"
#include "src/util/cleanup.h"

/* At once, so that a flood does not keep merlond waiting. */
#define MOST 4096

struct answering {
	struct merlon_answers *answers;
	int listener, merlond;	/* -1: none is there */
	struct merlon_ring ring;
};

static void on_reject(void *context, const void *record, size_t bytes)
{
	if (bytes >= sizeof(struct merlon_reject_event))
		merlon_answers_reject(context, record);
}

static void let_go(struct answering *a)
{
	merlon_closep(&a->merlond);
	a->merlond = -1;
}

/* The one that comes is the one that holds the pins now. Who does not take the cookies at once, has room for them, is none. */
static void welcome(struct answering *a)
{
	int fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct merlon_answer_cookies cookies;

	if (fd < 0)
		return;
	let_go(a);
	a->merlond = fd;
	merlon_answers_cookies(a->answers, &cookies);
	if (send(fd, &cookies, sizeof(cookies), MSG_NOSIGNAL) != sizeof(cookies))
		let_go(a);
}

/* Whether it goes on: the ring to read from now on, or that there is nothing to answer any more. */
static bool listen_to(struct answering *a)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct merlon_answers_ring what;
	struct iovec iov = { .iov_base = &what, .iov_len = sizeof(what) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t n = recvmsg(a->merlond, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	struct merlon_ring ring;
	_cleanup_close_ int fd = -1;
	int r;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (n != sizeof(what) || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		if (n >= 0 || errno != EAGAIN)
			let_go(a);
		return true;
	}
	if (fd < 0)
		return false;
	r = merlon_ring_open(TAKE_FD(fd), what.bytes, &ring);
	if (r < 0) {
		fprintf(stderr, SD_ERR "cannot read the ring of rejected packets: %s\n", strerror(-r));
		let_go(a);
		return true;
	}
	merlon_ring_close(&a->ring);
	a->ring = ring;
	return true;
}

static int loop(struct answering *a)
{
	for (;;) {
		struct pollfd on[] = { { .fd = a->listener, .events = POLLIN }, { .fd = a->merlond, .events = POLLIN },
				       { .fd = a->ring.fd, .events = POLLIN } };

		if (poll(on, ARRAY_SIZE(on), -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (on[1].revents && !listen_to(a))
			return 0;
		if (on[0].revents)
			welcome(a);
		if (on[2].revents && a->ring.fd == on[2].fd)
			merlon_ring_read(&a->ring, MOST, on_reject, a->answers);
	}
}

/* The sockets are open: what CAP_NET_RAW would still allow is others, which receive. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

int main(void)
{
	struct answering a = { .listener = SD_LISTEN_FDS_START, .merlond = -1, .ring = MERLON_RING_NONE };
	struct merlon_diag diag = { 0 };
	int r;

	if (sd_listen_fds(1) != 1 || sd_is_socket_unix(a.listener, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
		fputs(SD_ERR "merlon-answers is started by systemd for merlon-answers.socket\n", stderr);
		return EXIT_FAILURE;
	}
	r = merlon_answers_open(true, &a.answers, &diag);
	if (!r)
		r = drop_capabilities();
	if (!r)
		r = loop(&a);
	merlon_diag_print(&diag, stderr);
	if (r < 0 && !diag.n)
		fprintf(stderr, SD_ERR "cannot go on: %s\n", strerror(-r));
	merlon_diag_clear(&diag);
	merlon_ring_close(&a.ring);
	let_go(&a);
	merlon_answers_close(a.answers);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
