/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the kernel does not take the news that packets are taken along, or no longer are: the next news do not begin it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "src/kernel/internal.h"

static int error;
static struct merlon_control there;	/* what the kernel has */

/* This is found before libbpf's. */
int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
	(void)fd;
	(void)key;
	(void)flags;
	errno = error;
	if (!error)
		there = *(const struct merlon_control *)value;
	return error ? -error : 0;
}

static void set(struct merlon_dataplane *dp, bool packets, int fails)
{
	error = fails;
	assert_int_equal(merlon_dataplane_set_packets(dp, packets), -fails);
	error = 0;
}

static void next_news(void **state)
{
	struct merlon_dataplane dp = { 0 };

	(void)state;
	set(&dp, true, ENOMEM);
	assert_int_equal(merlon_dataplane_set_audit(&dp, true), 0);
	assert_int_equal(there.flags, MERLON_C_AUDIT);
	set(&dp, true, 0);
	assert_int_equal(there.flags, MERLON_C_AUDIT | MERLON_C_PACKETS);
	set(&dp, false, ENOMEM);
	assert_int_equal(there.flags, MERLON_C_AUDIT | MERLON_C_PACKETS);
	assert_int_equal(merlon_dataplane_set_audit(&dp, false), 0);
	assert_int_equal(there.flags, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(next_news) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
