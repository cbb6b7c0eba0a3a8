/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/filter.h"

#define WORDS 8

/* "a b c" as an array of words; the text must stay. */
static size_t split(char *text, const char *word[WORDS])
{
	size_t n = 0;

	for (char *at = strtok(text, " "); at && n < WORDS; at = strtok(NULL, " "))
		word[n++] = at;
	return n;
}

/* A denied TCP packet from 10.1.2.3:1024 to 10.1.255.4:443, forwarded from eth0 to eth1, by a rule of chain `in`. */
static struct merlon_event tcp4(void)
{
	struct merlon_event e = { .iif = 2, .oif = 3, .sport = htons(1024), .dport = htons(443), .family = MERLON_IPV4,
				  .hook = MERLON_FORWARD, .verdict = MERLON_DROP, .l4proto = IPPROTO_TCP,
				  .ct_state = MERLON_CT_NEW };

	inet_pton(AF_INET, "10.1.2.3", e.saddr);
	inet_pton(AF_INET, "10.1.255.4", e.daddr);
	return e;
}

static bool matches(const struct merlon_event *e, const char *words)
{
	struct merlon_event_origin origin = { .chain = (char *)"in" };
	struct merlon_event_report report = { .event = e, .origin = &origin, .iif = "eth0", .oif = "eth1" };
	struct merlon_diag diag = { 0 };
	struct merlon_filter *filter;
	const char *word[WORDS];
	char text[160];
	bool yes;

	strcpy(text, words);
	assert_int_equal(merlon_filter_read(word, split(text, word), &filter, &diag), 0);
	assert_int_equal(diag.n, 0);
	yes = merlon_filter_match(filter, &report);
	merlon_filter_free(filter);
	return yes;
}

static void test_nothing_is_everything(void **state)
{
	struct merlon_event e = tcp4();

	(void)state;
	assert_true(matches(&e, ""));
}

static void test_words(void **state)
{
	static const struct {
		const char *yes, *no;
	} pair[] = {
		{ "verdict drop", "verdict reject" }, { "hook forward", "hook input" }, { "proto tcp", "proto udp" },
		{ "proto 6", "proto 17" }, { "state new", "state established" }, { "chain in", "chain out" },
		{ "iif eth0", "iif eth1" }, { "oif eth1", "oif eth0" },
		{ "src 10.1.2.3", "src 10.1.2.4" }, { "src 10.1.0.0/16", "src 10.2.0.0/16" },
		{ "src 10.1.2.2/31", "src 10.1.2.4/31" }, { "src 0.0.0.0/0", "src ::/0" },
		{ "dst 10.1.255.0/24", "dst 10.1.254.0/24" },
		{ "host 10.1.2.3", "host 10.1.2.4" }, { "host 10.1.255.4", "host 10.1.0.0/24" },
		{ "sport 1024", "sport 443" }, { "dport 440-443", "dport 444-500" }, { "dport 443-65535", "dport 0-442" },
		{ "port 1024", "port 80" }, { "port 443", "port 444" },
		{ "src 10.1.2.3 dport 443", "src 10.1.2.3 dport 80" }, { "port 443 port 1024", "port 443 port 80" },
	};
	struct merlon_event e = tcp4();

	(void)state;
	for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
		assert_true(matches(&e, pair[i].yes));
		assert_false(matches(&e, pair[i].no));
	}
}

static void test_a_log_is_no_verdict(void **state)
{
	struct merlon_event e = tcp4();

	(void)state;
	e.kind = MERLON_EVENT_LOG;
	assert_true(matches(&e, "verdict log"));
	assert_false(matches(&e, "verdict drop"));
}

static void test_ipv6(void **state)
{
	struct merlon_event e = tcp4();

	(void)state;
	e.family = MERLON_IPV6;
	inet_pton(AF_INET6, "2001:db8:0:8000::1", e.saddr);
	inet_pton(AF_INET6, "2001:db8::2", e.daddr);
	assert_true(matches(&e, "src 2001:db8:0:8000::/49"));
	assert_false(matches(&e, "dst 2001:db8:0:8000::/49"));
	assert_true(matches(&e, "host 2001:db8::2/128"));
	assert_false(matches(&e, "src 0.0.0.0/0"));
}

/* Type and code of ICMP are where ports are. */
static void test_icmp_has_no_ports(void **state)
{
	struct merlon_event e = tcp4();

	(void)state;
	e.l4proto = IPPROTO_ICMP;
	assert_true(matches(&e, "proto icmp"));
	assert_false(matches(&e, "port 1024"));
	assert_false(matches(&e, "dport 0-65535"));
}

static void test_interfaces_that_are_not_there(void **state)
{
	struct merlon_event e = tcp4();

	(void)state;
	e.oif = 0;
	assert_false(matches(&e, "oif eth1"));
}

static void test_wrong_words(void **state)
{
	static const struct {
		const char *words, *says, *cure;
	} wrong[] = {
		{ "bogus 1", "\"bogus\"", "verdict, hook, proto" },
		{ "proto tcp port", "port has no value", "write port" },
		{ "verdict maybe", "verdict has no value \"maybe\"", "drop|reject|accept|log" },
		{ "hook prerouting", "hook has no value \"prerouting\"", "input|forward|output" },
		{ "state old", "state has no value \"old\"", "new|established" },
		{ "proto nosuch", "proto is a protocol, not \"nosuch\"", "tcp, udp" },
		{ "proto 256", "proto is a protocol, not \"256\"", "tcp, udp" },
		{ "src example.org", "src is an address", "not looked up" },
		{ "dst 10.0.0.0/33", "dst is an address or a prefix, not \"10.0.0.0/33\"", "from 0 to 32" },
		{ "dst 10.0.0.0/", "dst is", "from 0 to 32" },
		{ "host ::/129", "host is", "from 0 to 128" },
		{ "port 65536", "port is a port", "0 to 65535" },
		{ "sport 20-10", "sport is a port or a range of ports, not \"20-10\"", "8000-8099" },
		{ "dport 1-", "dport is", "443" },
		{ "dport -1", "dport is", "443" },
		{ "iif interface-with-a-long-name", "iif is the name of an interface", "ip link" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct merlon_diag diag = { 0 };
		struct merlon_filter *filter = NULL;
		const char *word[WORDS];
		char text[160];

		strcpy(text, wrong[i].words);
		assert_int_equal(merlon_filter_read(word, split(text, word), &filter, &diag), -EINVAL);
		assert_null(filter);
		assert_int_equal(diag.n, 1);
		assert_non_null(strstr(diag.message[0].text, wrong[i].says));
		assert_non_null(strstr(diag.message[0].cure, wrong[i].cure));
		merlon_diag_clear(&diag);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_everything), cmocka_unit_test(test_words),
		cmocka_unit_test(test_a_log_is_no_verdict), cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_icmp_has_no_ports), cmocka_unit_test(test_interfaces_that_are_not_there),
		cmocka_unit_test(test_wrong_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
