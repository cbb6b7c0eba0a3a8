/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A group of cmocka tests over one plane. Included after cmocka.h; the file defines set_up(), which runs before each test. */
#ifndef TESTS_BPF_GROUP_H
#define TESTS_BPF_GROUP_H

#include <unistd.h>

#include "tests/bpf/plane.h"

static struct plane plane;

static inline int open_plane(void **state)
{
	(void)state;
	return plane_open(&plane, false);
}

/* With what the kernel's own skb tells, where there is such a kernel. */
static inline int open_plane_kern_ctx(void **state)
{
	(void)state;
	return plane_open(&plane, true);
}

static inline int close_plane(void **state)
{
	(void)state;
	plane_close(&plane);
	return 0;
}

#define RULES(rules, policy) plane_rules(&plane, rules, sizeof(rules) / sizeof((rules)[0]), policy)
#define TEST(f) cmocka_unit_test_setup(f, set_up)
/* The program's exit status: 77 where it is not root's. */
#define RUN_GROUP(tests, open, close) (geteuid() ? 77 : cmocka_run_group_tests(tests, open, close))

#endif
