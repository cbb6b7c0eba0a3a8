/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/util/slip.h"

static void test_near(void **state)
{
	(void)state;
	assert_string_equal(merlon_slip("Interface", NULL, "Interfaces"), "Interfaces");
	assert_string_equal(merlon_slip("Timeouts", NULL, "timeouts"), "timeouts");
	assert_string_equal(merlon_slip("xcheck", NULL, "check"), "check");
	assert_string_equal(merlon_slip("stats", "status", "stats"), "stats");
	assert_string_equal(merlon_slip("stats", "stats", "status"), "stats");
	assert_string_equal(merlon_slip("statusx", "status", "list"), "status");
}

static void test_far(void **state)
{
	(void)state;
	assert_null(merlon_slip("frobnicate", NULL, "flush"));
	assert_null(merlon_slip("", NULL, "nft"));
	assert_null(merlon_slip("abc", NULL, "nft"));
	/* half of it is no slip */
	assert_null(merlon_slip("moxx", NULL, "mode"));
	assert_null(merlon_slip("a word that is longer than any of ours", NULL, "a word that is longer than any of our"));
	assert_string_equal(merlon_slip("zzzzzz", "kept", "check"), "kept");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_near), cmocka_unit_test(test_far) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
