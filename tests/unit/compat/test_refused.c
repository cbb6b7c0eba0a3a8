/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compat/refused.h"

static void is(const char *comment, const char *reason, const char *rule)
{
	struct merlon_refused refused;

	assert_int_equal(merlon_refused_read(comment, comment + strlen(comment), &refused), 1);
	assert_string_equal(refused.reason, reason);
	assert_string_equal(refused.rule, rule);
	merlon_refused_clear(&refused);
}

static void is_none(const char *comment)
{
	struct merlon_refused refused;

	assert_int_equal(merlon_refused_read(comment, comment + strlen(comment), &refused), 0);
}

static void comments(void **state)
{
	(void)state;
	is("# refused (why): -A INPUT -j DROP\n\ttcp dport 22 accept\n", "why", "-A INPUT -j DROP");
	is("# refused (target `set` (ipset): no): -A X -m comment --comment \"a): b\"", "target `set` (ipset): no",
	   "-A X -m comment --comment \"a): b\"");
	is("# refused (one ( only): rule\r\n", "one ( only", "rule");
	is("# refused (?): ", "?", "");
	is("# refused (?):\n", "?", "");
}

static void others(void **state)
{
	(void)state;
	is_none("# refused (see ticket 12)\n");
	is_none("# refused: -A INPUT -j DROP\n");
	is_none("# left out (why): -A INPUT -j ACCEPT\n");
	is_none("#");
	is_none("# refused (why\n): rule");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(comments), cmocka_unit_test(others) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
