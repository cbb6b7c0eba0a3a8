/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where no process can be made: it is said, and no other process hears of it. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/util/netns.h"

static int error;
static unsigned killed;

/* These are found before libc's. */
pid_t fork(void)
{
	errno = error;
	return -1;
}

int clone(int (*run)(void *argument), void *stack, int flags, void *argument, ...)
{
	(void)run;
	(void)stack;
	(void)flags;
	(void)argument;
	errno = error;
	return -1;
}

int kill(pid_t pid, int signal)
{
	(void)pid;
	(void)signal;
	killed++;
	return 0;
}

static int nothing(void *context)
{
	(void)context;
	return 0;
}

static void no_process(void **state)
{
	static const int errors[] = { EAGAIN, ENOMEM };
	char *output;
	size_t size;
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		error = errors[i];
		assert_int_equal(merlon_netns_new(&fd), -error);
		assert_int_equal(merlon_netns_socket(0, 0, 0, 0), -error);
		assert_int_equal(merlon_child(nothing, NULL, &output, &size), -error);
		assert_int_equal(killed, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(no_process) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
