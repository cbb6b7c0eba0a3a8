/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/util/ifpattern.h"

static bool chosen(const char *text, const char *name)
{
	struct merlon_ifpattern *pattern;
	bool r;

	assert_int_equal(merlon_ifpattern_parse(text, &pattern), 0);
	r = merlon_ifpattern_match(pattern, name);
	merlon_ifpattern_free(pattern);
	return r;
}

static void test_match(void **state)
{
	(void)state;
	assert_true(chosen("*", "eth0"));
	assert_true(chosen("eth*,wg0", "eth12"));
	assert_true(chosen("eth*, wg0", "wg0"));
	assert_false(chosen("eth*,wg0", "wg1"));
	assert_false(chosen("eth*,!eth3", "eth3"));
	assert_true(chosen("eth*,!eth3", "eth30"));
	assert_true(chosen("!lo", "eth0"));
	assert_false(chosen("!lo", "lo"));
	assert_false(chosen("!lo,*", "lo"));
	assert_true(chosen("eth[0-3]", "eth2"));
	assert_false(chosen("eth[0-3]", "eth4"));
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "", ",", "eth0,", "!", "!!lo", "a/b" };
	struct merlon_ifpattern *pattern = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(merlon_ifpattern_parse(bad[i], &pattern), -EINVAL);
		assert_null(pattern);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_match), cmocka_unit_test(test_refused) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
