/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/util/cleanup.h"

/* Waits for a child; its exit status, -ECHILD if a signal ended it. */
static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

static int write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/*
 * Programs executed in a user namespace keep their capabilities if the user is root there (user_namespaces(7)), or if they
 * are ambient ones (capabilities(7)).
 */
static int keep_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	int i;

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &header, data) < 0)
		return -errno;
	for (i = 0; i <= CAP_LAST_CAP; i++)
		if (data[CAP_TO_INDEX(i)].permitted & CAP_TO_MASK(i) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return -errno;
	return 0;
}

/* Root without CAP_SETFCAP may not be root there, too (since Linux 5.12), but has its capabilities all the same. */
static int unshare_as_user(void)
{
	char uid[64], gid[64];
	int r;

	snprintf(uid, sizeof(uid), "0 %u 1\n", (unsigned)geteuid());
	snprintf(gid, sizeof(gid), "0 %u 1\n", (unsigned)getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -errno;
	r = write_file("/proc/self/uid_map", uid);
	if (r == -EPERM && geteuid() != 0)
		return keep_capabilities();
	if (r == 0)
		r = write_file("/proc/self/setgroups", "deny");
	if (r == 0)
		r = write_file("/proc/self/gid_map", gid);
	return r;
}

/* Sends an open descriptor (or, if negative, an error) through a socket, with SCM_RIGHTS of unix(7). */
static void send_fd(int to, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = &fd, .iov_len = sizeof(fd) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	while (sendmsg(to, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static int receive_fd(int from)
{
	char control[CMSG_SPACE(sizeof(int))];
	int fd = -EIO;
	struct iovec iov = { .iov_base = &fd, .iov_len = sizeof(fd) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != sizeof(fd))
		return -ECHILD;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return fd < 0 ? fd : -EIO;
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

/* Opens something in a child; what it opened or a negative errno. */
static int open_in_child(int (*open_it)(void *context), void *context)
{
	int pair[2], fd;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		send_fd(pair[1], open_it(context));
		_exit(0);
	}
	close(pair[1]);
	fd = pid < 0 ? -errno : receive_fd(pair[0]);
	close(pair[0]);
	if (pid > 0)
		reap(pid);
	return fd;
}

static int open_new(void *context)
{
	int fd, r;

	(void)context;
	if (unshare(CLONE_NEWNET) < 0) {
		if (errno != EPERM)
			return -errno;
		r = unshare_as_user();
		if (r < 0)
			return r;
	}
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int merlon_netns_new(int *ret_fd)
{
	int fd = open_in_child(open_new, NULL);

	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int merlon_netns_enter(int fd)
{
	_cleanup_close_ int user = -1;

	if (setns(fd, CLONE_NEWNET) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	user = ioctl(fd, NS_GET_USERNS);
	if (user < 0 || setns(user, CLONE_NEWUSER) < 0 || setns(fd, CLONE_NEWNET) < 0)
		return -errno;
	return geteuid() ? keep_capabilities() : 0;
}

struct socket_request {
	int netns, family, type, protocol;
};

static int open_socket(void *context)
{
	const struct socket_request *r = context;
	int fd = merlon_netns_enter(r->netns);

	if (fd < 0)
		return fd;
	fd = socket(r->family, r->type, r->protocol);
	return fd < 0 ? -errno : fd;
}

int merlon_netns_socket(int fd, int family, int type, int protocol)
{
	struct socket_request request = { fd, family, type, protocol };

	return open_in_child(open_socket, &request);
}

static int read_all(int fd, char **ret, size_t *ret_size)
{
	_cleanup_free_ char *text = NULL;
	size_t done = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	text = malloc(st.st_size + 1);
	if (!text)
		return -ENOMEM;
	while (done < (size_t)st.st_size) {
		ssize_t n = pread(fd, text + done, st.st_size - done, done);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		done += n > 0 ? n : 0;
	}
	text[done] = '\0';
	*ret = TAKE_PTR(text);
	*ret_size = done;
	return 0;
}

int merlon_child(int (*run)(void *context), void *context, char **ret_output, size_t *ret_size)
{
	/* a file in memory, not a pipe: the child never waits for a reader */
	_cleanup_close_ int out = memfd_create("merlon-output", MFD_CLOEXEC);
	int status, r;
	pid_t pid, parent;

	if (out < 0)
		return -errno;
	/* what the parent has not written yet must not be written twice */
	fflush(NULL);
	parent = getpid();
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* It holds the caller's descriptors, a daemon's socket among them: it must not outlive it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(127);
		if (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
			_exit(127);
		r = run(context);
		/* not what another thread of the parent was about to write elsewhere */
		fflush(stdout);
		fflush(stderr);
		_exit(r);
	}
	status = reap(pid);
	r = read_all(out, ret_output, ret_size);
	if (r < 0)
		return r;
	if (status < 0) {
		free(*ret_output);
		*ret_output = NULL;
	}
	return status;
}
