/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/fence.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "src/util/cleanup.h"
#include "src/util/netns.h"

/* A datagram socket that is connected to itself; the namespace lives as long as it does. */
static int open_socket(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct timeval second = { .tv_sec = 1 };
	_cleanup_close_ int netns = -1, fd = -1;
	socklen_t bytes = sizeof(address);
	int r = merlon_netns_new(&netns);

	if (r < 0)
		return r;
	fd = merlon_netns_socket(netns, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	if (ioctl(fd, SIOCSIFFLAGS, &lo) < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || getsockname(fd, (struct sockaddr *)&address, &bytes) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int merlon_fence_open(struct merlon_fence *ret)
{
	struct merlon_fence fence = { .socket = open_socket() };
	cpu_set_t here;
	int cpu;

	if (fence.socket < 0)
		return fence.socket;
	CPU_ZERO(&here);
	cpu = sched_getcpu();
	if (cpu >= 0 && cpu < CPU_SETSIZE)
		CPU_SET(cpu, &here);
	if (cpu < 0 || sched_getaffinity(0, sizeof(fence.before), &fence.before) < 0 || sched_setaffinity(0, sizeof(here), &here) < 0) {
		int error = -errno;

		close(fence.socket);
		return error;
	}
	*ret = fence;
	return 0;
}

void merlon_fence_close(struct merlon_fence *fence)
{
	if (fence->socket < 0)
		return;
	/* fails only where those CPUs are no longer there */
	if (sched_setaffinity(0, sizeof(fence->before), &fence->before) < 0)
		errno = 0;
	merlon_closep(&fence->socket);
}

void merlon_fence(const struct merlon_fence *fence)
{
	char byte = 0;

	/* one that came too late for its own fence is taken for the next one: it is behind no less */
	while (recv(fence->socket, &byte, 1, MSG_DONTWAIT) > 0)
		;
	if (send(fence->socket, &byte, 1, 0) != 1 || recv(fence->socket, &byte, 1, 0) != 1)
		errno = 0;
}
