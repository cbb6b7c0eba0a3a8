/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is opened in a child comes back, whatever else this user's programs do. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/util/netns.h"

enum { OK, NO_NETNS, NOT_REFUSED, NOT_NEW, NO_SOCKET };

/* With a descriptor, by SCM_RIGHTS of unix(7). */
static int send_one(int to, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = &fd, .iov_len = sizeof(fd) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* As merlond.service, for which RLIMIT_NOFILE holds. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	syscall(SYS_capset, &header, data);
}

/* As many descriptors are under way as this user may have. */
static int open_with_many_sent(void)
{
	const struct rlimit most = { 32, 32 };
	int pair[2], netns, sock, r = 0, i;
	struct stat here, there;

	if (merlon_netns_new(&netns) < 0)
		return NO_NETNS;
	close(netns);
	drop_capabilities();
	if (setrlimit(RLIMIT_NOFILE, &most) < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0)
		return NO_NETNS;
	for (i = 0; i < 8 && r == 0; i++) {
		int next[2];

		/* each pair's queue takes a few */
		while ((r = send_one(pair[0], pair[1])) == 0)
			;
		if (r == -EAGAIN && socketpair(AF_UNIX, SOCK_DGRAM, 0, next) == 0) {
			pair[0] = next[0];
			pair[1] = next[1];
			r = 0;
		}
	}
	if (r != -ETOOMANYREFS)
		return NOT_REFUSED;
	r = merlon_netns_new(&netns);
	if (r < 0 || stat("/proc/self/ns/net", &here) < 0 || fstat(netns, &there) < 0 || here.st_ino == there.st_ino)
		return NOT_NEW;
	sock = merlon_netns_socket(netns, AF_INET, SOCK_DGRAM, 0);
	return sock >= 0 && fcntl(sock, F_GETFD) & FD_CLOEXEC && fcntl(netns, F_GETFD) & FD_CLOEXEC ? OK : NO_SOCKET;
}

static void many_descriptors_sent(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(open_with_many_sent());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_NETNS)
		skip();
	assert_int_equal(WEXITSTATUS(status), OK);
}

static void errors_come_back(void **state)
{
	(void)state;
	/* no namespace at all: the child's own error, not one of how it is told */
	assert_int_equal(merlon_netns_socket(-1, AF_INET, SOCK_DGRAM, 0), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(many_descriptors_sent), cmocka_unit_test(errors_come_back) };

	return cmocka_run_group_tests_name("opened", tests, NULL, NULL);
}
