/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define CHILD_S 300
/* What libnftables lists of a million rules takes less. */
#define CHILD_BYTES (128ULL << 20)

static _Thread_local unsigned most_s;

unsigned merlon_child_limit_s(void)
{
	const char *said = getenv("MERLON_CHILD_TIMEOUT");
	unsigned long s = said ? strtoul(said, NULL, 10) : 0;

	s = s && s <= UINT16_MAX ? s : CHILD_S;
	return most_s && most_s < s ? most_s : s;
}

void merlon_child_limit(unsigned most)
{
	most_s = most;
}

/* Waits for a child; its exit status, -EFBIG: it wrote more than it may, -ECHILD: another signal ended it. */
static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return WTERMSIG(status) == SIGXFSZ ? -EFBIG : -ECHILD;
}

/*
 * The same of one that may be stopped, or wait for what never comes: -ETIMEDOUT, and it is gone. `meanwhile`: what is done here
 * first; or NULL.
 */
static int reap_in_time(pid_t pid, const struct merlon_meanwhile *meanwhile)
{
	uint64_t now = merlon_now_ns(), end = now + merlon_child_limit_s() * 1000000000ULL;
	_cleanup_close_ int fd = pidfd_open(pid, 0);
	struct pollfd ended = { fd, POLLIN, 0 };
	int r = 0;

	if (fd >= 0 && meanwhile)
		meanwhile->run(meanwhile->context, fd, end);
	while (fd >= 0 && (now = merlon_now_ns()) < end) {
		r = poll(&ended, 1, (end - now) / 1000000 + 1);
		if (r > 0 || (r < 0 && errno != EINTR))
			break;
	}
	if (r > 0 || fd < 0)
		return reap(pid);
	kill(pid, SIGKILL);
	r = reap(pid);
	return r == -ECHILD ? -ETIMEDOUT : r;
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

/* A child holds the caller's descriptors, a daemon's socket among them: it must not outlive it. */
static void die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
}

struct opening {
	int (*open_it)(void *context);
	void *context;
	pid_t parent;
	int to;
};

static int open_and_tell(void *argument)
{
	const struct opening *o = argument;
	int fd;

	die_with(o->parent);
	fd = o->open_it(o->context);
	_exit(write(o->to, &fd, sizeof(fd)) == sizeof(fd) ? 0 : 1);
}

/*
 * Opens something in a child; what it opened or a negative errno. The child shares its descriptors: to send them, by
 * SCM_RIGHTS, fails while this user's programs have more under way than RLIMIT_NOFILE (unix(7), ETOOMANYREFS).
 */
static int open_in_child(int (*open_it)(void *context), void *context)
{
	_Alignas(16) char stack[64 << 10];
	struct opening opening = { .open_it = open_it, .context = context, .parent = getpid() };
	int told[2], fd, r;
	pid_t pid;

	if (pipe2(told, O_CLOEXEC) < 0)
		return -errno;
	opening.to = told[1];
	pid = clone(open_and_tell, stack + sizeof(stack), CLONE_FILES | SIGCHLD, &opening);
	r = pid < 0 ? -errno : reap_in_time(pid, NULL);
	/* one that exits with 0 has written */
	if (r == 0 && read(told[0], &fd, sizeof(fd)) != sizeof(fd))
		r = -EIO;
	close(told[0]);
	close(told[1]);
	if (r == 0)
		return fd;
	return r < 0 ? r : -ECHILD;
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
	fd = socket(r->family, r->type | SOCK_CLOEXEC, r->protocol);
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

pid_t merlon_fork(void)
{
	pid_t parent = getpid(), pid;

	/* what the parent has not written yet must not be written twice */
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		die_with(parent);
	return pid;
}

int merlon_child_and(int (*run)(void *context), void *context, const struct merlon_meanwhile *meanwhile, char **ret_output,
		     size_t *ret_size)
{
	/* a file in memory, not a pipe: the child never waits for a reader */
	_cleanup_close_ int out = memfd_create("merlon-output", MFD_CLOEXEC);
	const struct rlimit most = { CHILD_BYTES, CHILD_BYTES };
	int status, r;
	pid_t pid;

	*ret_output = NULL;
	*ret_size = 0;
	if (out < 0)
		return -errno;
	pid = merlon_fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* the memory that it writes to */
		setrlimit(RLIMIT_FSIZE, &most);
		if (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
			_exit(127);
		r = run(context);
		/* not what another thread of the parent was about to write elsewhere */
		fflush(stdout);
		fflush(stderr);
		_exit(r);
	}
	status = reap_in_time(pid, meanwhile);
	r = status < 0 ? 0 : read_all(out, ret_output, ret_size);
	return r < 0 ? r : status;
}

int merlon_child(int (*run)(void *context), void *context, char **ret_output, size_t *ret_size)
{
	return merlon_child_and(run, context, NULL, ret_output, ret_size);
}
