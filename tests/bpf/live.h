/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real traffic for tests: the programs attached to an interface, and sockets. Included after cmocka.h. */
#ifndef TESTS_BPF_LIVE_H
#define TESTS_BPF_LIVE_H

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <bpf/libbpf.h>

#include "tests/bpf/plane.h"

/* Both entry programs, by classic TC, to an interface of the namespace that the caller is in. */
static inline void attach(const struct plane *plane, int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, in, .prog_fd = bpf_program__fd(plane->skel->progs.ingress_entry));
	LIBBPF_OPTS(bpf_tc_opts, out, .prog_fd = bpf_program__fd(plane->skel->progs.egress_entry));

	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	hook.attach_point = BPF_TC_INGRESS;
	assert_int_equal(bpf_tc_attach(&hook, &in), 0);
	hook.attach_point = BPF_TC_EGRESS;
	assert_int_equal(bpf_tc_attach(&hook, &out), 0);
}

/* An address from text, family by the colon; port in host order. */
static inline struct sockaddr_storage address(const char *text, uint16_t port, socklen_t *bytes)
{
	struct sockaddr_storage to = { 0 };
	struct sockaddr_in *v4 = (void *)&to;
	struct sockaddr_in6 *v6 = (void *)&to;

	if (strchr(text, ':')) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		inet_pton(AF_INET6, text, &v6->sin6_addr);
		*bytes = sizeof(*v6);
	} else {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		inet_pton(AF_INET, text, &v4->sin_addr);
		*bytes = sizeof(*v4);
	}
	return to;
}

/* A socket that is bound there; the caller closes it. */
static inline int bound(const char *text, int type, uint16_t port)
{
	socklen_t bytes;
	struct sockaddr_storage at = address(text, port, &bytes);
	int fd = socket(at.ss_family, type, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, bytes), 0);
	return fd;
}

/* Within 200 ms. */
static inline bool arrives(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 200) == 1;
}

/* One byte; returns as sendto(). */
static inline ssize_t send_to(int fd, const char *text, uint16_t port)
{
	socklen_t bytes;
	struct sockaddr_storage to = address(text, port, &bytes);

	return sendto(fd, "x", 1, 0, (struct sockaddr *)&to, bytes);
}

#endif
