/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/netfilter.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/report.h"

static struct merlon_ruleset *with_rules(const char *const *text, size_t n)
{
	struct merlon_ruleset *r = merlon_ruleset_new();
	size_t i;

	r->table = calloc(1, sizeof(*r->table));
	r->n_tables = 1;
	r->table->name = strdup("t");
	r->table->family = NFPROTO_INET;
	r->chain = calloc(1, sizeof(*r->chain));
	r->n_chains = 1;
	r->chain->name = strdup("input");
	r->chain->base = true;
	r->chain->rule = calloc(n, sizeof(*r->chain->rule));
	r->chain->n = n;
	for (i = 0; i < n; i++) {
		r->chain->rule[i].text = strdup(text[i]);
		r->chain->rule[i].reason = strdup("why");
		r->chain->rule[i].status = MERLON_REFUSED;
		r->chain->rule[i].place.line = i + 1;
	}
	return r;
}

static int remain(const char *text)
{
	struct merlon_ruleset *r = with_rules(&text, 1);
	json_t *left_out = json_array();
	int n = merlon_ruleset_leave_out(r, NULL, left_out);

	assert_int_equal(n + json_array_size(left_out), 1);
	assert_int_equal(r->chain->n, n);
	json_decref(left_out);
	merlon_ruleset_free(r);
	return n;
}

static void test_leave_out(void **state)
{
	(void)state;
	assert_int_equal(remain("-A INPUT -m recent --name x -j ACCEPT"), 0);
	assert_int_equal(remain("meta cgroup 1 accept"), 0);
	assert_int_equal(remain("-A INPUT -m recent --name x -j DROP"), 1);
	assert_int_equal(remain("-A INPUT -m recent --name x -j ACCEPTED"), 1);
	assert_int_equal(remain("-A INPUT -m recent --name x -g ACCEPT"), 1);
	assert_int_equal(remain("-A INPUT -m recent --set"), 1);
	assert_int_equal(remain("-A INPUT -m comment --comment \"x -j ACCEPT\" -j DROP"), 1);
	assert_int_equal(remain("meta cgroup 1 drop"), 1);
	assert_int_equal(remain("meta cgroup 1 jump accept-all"), 1);
	assert_int_equal(remain("meta cgroup 1 goto accept"), 1);
	assert_int_equal(remain("add @seen { ip saddr } accept"), 1);
	assert_int_equal(remain("ct mark set 1 accept"), 1);
	assert_int_equal(remain("meta cgroup 1 drop comment \"we accept"), 1);
}

static void test_order_kept(void **state)
{
	static const char *const text[] = { "a drop", "b accept", "-A INPUT -m recent --set" };
	struct merlon_ruleset *r = with_rules(text, 3);
	json_t *left_out = json_array(), *report = merlon_report(r), *refused = json_object_get(report, "refused");

	(void)state;
	assert_int_equal(json_array_size(refused), 3);
	assert_string_equal(json_string_value(json_object_get(json_array_get(refused, 0), "table")), "inet t");
	assert_int_equal(merlon_ruleset_leave_out(r, refused, left_out), 2);
	assert_string_equal(r->chain->rule[0].text, "a drop");
	assert_string_equal(r->chain->rule[1].text, text[2]);
	assert_non_null(strstr(json_string_value(json_object_get(json_array_get(refused, 0), "stays")), "more traffic"));
	assert_null(json_object_get(json_array_get(refused, 1), "stays"));
	assert_non_null(strstr(json_string_value(json_object_get(json_array_get(refused, 2), "stays")), "no verdict"));
	assert_int_equal(json_integer_value(json_object_get(json_array_get(left_out, 0), "line")), 2);
	json_decref(report);
	json_decref(left_out);
	merlon_ruleset_free(r);
}

static void test_messages(void **state)
{
	struct merlon_diag from = { 0 }, to = { 0 };
	json_t *json;

	(void)state;
	merlon_diag_add(&from, MERLON_WARNING, (struct merlon_place){ "f", 3 }, "100%% \xff");
	merlon_diag_add(&from, MERLON_ERROR, (struct merlon_place){ 0 }, "text");
	merlon_diag_cure(&from, "cure %d", 1);
	json = merlon_report_messages(&from);
	merlon_report_read_messages(json, &to);
	assert_int_equal(to.n, 2);
	assert_int_equal(to.message[0].severity, MERLON_WARNING);
	assert_string_equal(to.message[0].file, "f");
	assert_int_equal(to.message[0].line, 3);
	assert_string_equal(to.message[0].text, "100% ?");
	assert_string_equal(to.message[1].text, "text");
	assert_string_equal(to.message[1].cure, "cure 1");
	assert_null(to.message[1].file);
	json_decref(json);
	merlon_diag_clear(&from);
	merlon_diag_clear(&to);
}

static void brief(const char *text, const char *expected)
{
	struct merlon_rule rule = { .text = (char *)(uintptr_t)text };
	char *got = merlon_rule_brief(&rule);

	assert_string_equal(got, expected);
	free(got);
}

static void test_brief(void **state)
{
	(void)state;
	brief("tcp dport 22 counter packets 0 bytes 0 accept", "tcp dport 22 counter accept");
	brief("counter packets 12 bytes 345", "counter");
	brief("counter accept", "counter accept");
	brief("log prefix \"counter packets 1 bytes 2\" counter packets 1 bytes 2 drop",
	      "log prefix \"counter packets 1 bytes 2\" counter drop");
	brief("limit rate 5/minute burst 5 packets accept", "limit rate 5/minute burst 5 packets accept");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leave_out), cmocka_unit_test(test_order_kept), cmocka_unit_test(test_messages),
		cmocka_unit_test(test_brief),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
