/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/event.h"

static struct merlon_event tcp4(void)
{
	struct merlon_event e = { .generation = 4294967295U, .uid = MERLON_NO_UID, .bytes = 60, .iif = 2, .oif = 30, .sport = htons(1024),
				  .dport = htons(443), .family = MERLON_IPV4, .hook = MERLON_FORWARD, .verdict = MERLON_DROP,
				  .l4proto = IPPROTO_TCP, .ct_state = MERLON_CT_NEW, .tcp_flags = 0x12, .ttl = 64 };

	inet_pton(AF_INET, "10.0.99.100", e.saddr);
	inet_pton(AF_INET, "255.1.2.9", e.daddr);
	return e;
}

static const struct merlon_event_origin no_origin = { .level = -1 };

/* What merlon_entry_json() writes, which jansson must read; a new reference. */
static json_t *fields(const struct merlon_event *e, const struct merlon_event_origin *origin, uint64_t suppressed)
{
	struct merlon_event_report report = { .event = e, .origin = origin, .iif = "eth0", .suppressed = suppressed };
	struct merlon_entry entry;
	json_t *json;
	size_t room;
	char *text, *end;

	merlon_entry_build(&entry, &report);
	assert_true(entry.n <= MERLON_ENTRY_FIELDS);
	assert_string_equal(entry.field[0].name, "MESSAGE");
	room = merlon_entry_json_room(&entry);
	text = malloc(room + 3);
	*text = '{';
	end = merlon_entry_json(&entry, text + 1);
	assert_true((size_t)(end - text - 1) <= room);
	strcpy(end, "}");
	json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(json);
	free(text);
	return json;
}

static void has(const json_t *json, const char *name, const char *value)
{
	const char *is = json_string_value(json_object_get(json, name));

	if (!value) {
		assert_null(is);
		return;
	}
	assert_non_null(is);
	assert_string_equal(is, value);
}

static void test_a_drop(void **state)
{
	struct merlon_event_origin origin = { (char *)"in", (char *)"tcp dport 443 drop", (char *)"a.nft", NULL, 3, -1 };
	struct merlon_event e = tcp4();
	json_t *json = fields(&e, &origin, 0);

	(void)state;
	has(json, "MESSAGE", "drop IN=eth0 OUT=30 SRC=10.0.99.100 DST=255.1.2.9 LEN=60 TTL=64 PROTO=TCP SPT=1024 DPT=443 ACK SYN");
	has(json, "PRIORITY", "6");
	has(json, "MESSAGE_ID", MERLON_MESSAGE_DROP);
	has(json, "MERLON_SUPPRESSED", NULL);
	has(json, "MERLON_VERDICT", "drop");
	has(json, "MERLON_HOOK", "forward");
	has(json, "MERLON_SRC", "10.0.99.100");
	has(json, "MERLON_DST", "255.1.2.9");
	has(json, "MERLON_SPORT", "1024");
	has(json, "MERLON_DPORT", "443");
	has(json, "MERLON_PROTO", "TCP");
	has(json, "MERLON_IIF", "eth0");
	has(json, "MERLON_OIF", "30");
	has(json, "MERLON_STATE", "new");
	has(json, "MERLON_GENERATION", "4294967295");
	has(json, "MERLON_MODE", "enforce");
	has(json, "MERLON_CHAIN", "in");
	has(json, "MERLON_RULE", "tcp dport 443 drop");
	has(json, "MERLON_RULE_FILE", "a.nft");
	has(json, "MERLON_RULE_LINE", "3");
	has(json, "MERLON_PREFIX", NULL);
	has(json, "MERLON_UID", NULL);
	has(json, "MERLON_CGROUP", NULL);
	json_decref(json);
}

static void test_a_log(void **state)
{
	struct merlon_event_origin origin = { .prefix = (char *)"seen: ", .level = -1 };
	struct merlon_event e = tcp4();
	json_t *json;

	(void)state;
	e.kind = MERLON_EVENT_LOG;
	e.l4proto = IPPROTO_ICMP;
	e.sport = htons(8 << 8 | 1);
	e.dport = 0;
	e.oif = 0;
	json = fields(&e, &origin, 12);
	has(json, "MESSAGE", "seen: IN=eth0 OUT= SRC=10.0.99.100 DST=255.1.2.9 LEN=60 TTL=64 PROTO=ICMP TYPE=8 CODE=1");
	has(json, "PRIORITY", "4");
	has(json, "MESSAGE_ID", MERLON_MESSAGE_LOG);
	has(json, "MERLON_SUPPRESSED", "12");
	has(json, "MERLON_VERDICT", "log");
	has(json, "MERLON_SPORT", NULL);
	has(json, "MERLON_OIF", NULL);
	has(json, "MERLON_RULE", NULL);
	has(json, "MERLON_RULE_FILE", NULL);
	has(json, "MERLON_PREFIX", "seen: ");
	json_decref(json);
	origin.level = 1;
	json = fields(&e, &origin, 0);
	has(json, "PRIORITY", "1");
	json_decref(json);
}

static void test_an_audited_one(void **state)
{
	struct merlon_event e = tcp4();
	json_t *json;

	(void)state;
	e.audit = 1;
	e.verdict = MERLON_REJECT;
	e.l4proto = 47;
	e.sport = e.dport = 0;
	json = fields(&e, &no_origin, 0);
	has(json, "MESSAGE", "audit reject IN=eth0 OUT=30 SRC=10.0.99.100 DST=255.1.2.9 LEN=60 TTL=64 PROTO=47");
	has(json, "MESSAGE_ID", MERLON_MESSAGE_AUDIT);
	has(json, "MERLON_MODE", "audit");
	has(json, "MERLON_SPORT", "0");
	json_decref(json);
}

static void test_ipv6(void **state)
{
	struct merlon_event e = tcp4();
	json_t *json;

	(void)state;
	e.family = MERLON_IPV6;
	inet_pton(AF_INET6, "2001:db8::1", e.saddr);
	inet_pton(AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", e.daddr);
	json = fields(&e, &no_origin, 0);
	has(json, "MERLON_SRC", "2001:db8::1");
	has(json, "MERLON_DST", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	json_decref(json);
}

static void test_escapes(void **state)
{
	static const struct {
		const char *text, *read;
	} sample[] = {
		{ "\"\\/\n\t\x01\x7f", "\"\\/\n\t\x01\x7f" },
		{ "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
		/* Latin-1, cut off, overlong, a surrogate, beyond U+10FFFF */
		{ "\xe9t\xe9", "\xef\xbf\xbdt\xef\xbf\xbd" },
		{ "a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	};
	struct merlon_event e = tcp4();

	(void)state;
	for (size_t i = 0; i < sizeof(sample) / sizeof(sample[0]); i++) {
		struct merlon_event_origin origin = { .rule = (char *)sample[i].text, .level = -1 };
		json_t *json = fields(&e, &origin, 0);

		has(json, "MERLON_RULE", sample[i].read);
		json_decref(json);
	}
}

static void unit_of(const char *cgroup, const char *unit)
{
	struct merlon_event e = tcp4();
	struct merlon_event_report report = { .event = &e, .origin = &no_origin, .cgroup = cgroup };
	struct merlon_entry entry;
	char text[4096], expected[512];

	e.uid = 33;
	merlon_entry_build(&entry, &report);
	*merlon_entry_json(&entry, text) = 0;
	snprintf(expected, sizeof(expected), "\"MERLON_UID\":\"33\",%s%s%s\"MERLON_CGROUP\":\"%s\"", unit ? "\"MERLON_UNIT\":\"" : "",
		 unit ? unit : "", unit ? "\"," : "", cgroup);
	assert_non_null(strstr(text, expected));
}

static void test_units(void **state)
{
	(void)state;
	unit_of("/system.slice/nginx.service", "nginx.service");
	unit_of("/system.slice/system-getty.slice/getty@tty1.service/below/x.service", "getty@tty1.service");
	unit_of("/user.slice/user-1000.slice/user@1000.service/app.slice/sh.service", "user@1000.service");
	unit_of("/user.slice/user-0.slice/session-1.scope", "session-1.scope");
	unit_of("/init.scope", "init.scope");
	unit_of("/_cgroup.service", "cgroup.service");
	unit_of("/", NULL);
	unit_of("/system.slice", NULL);
	unit_of("/kubepods/pod1/x.service", NULL);
	unit_of("/system.slice/.service", NULL);
}

static void test_a_comment(void **state)
{
	struct merlon_event_origin origin = { (char *)"in", (char *)"a\nb\xff \xc3\xa9", (char *)"a.nft", (char *)"p", 3, -1 };
	struct merlon_event e = tcp4();
	struct merlon_event_report report = { .event = &e, .origin = &origin, .iif = "eth0", .suppressed = 7 };
	struct merlon_entry entry;
	char text[2048], *end;

	(void)state;
	merlon_entry_build(&entry, &report);
	end = merlon_entry_comment(&entry, text);
	assert_true((size_t)(end - text) <= merlon_entry_comment_room(&entry));
	*end = 0;
	assert_string_equal(text, "MERLON_SUPPRESSED=7\nMERLON_VERDICT=drop\nMERLON_HOOK=forward\nMERLON_IIF=eth0\nMERLON_OIF=30\n"
			    "MERLON_STATE=new\nMERLON_GENERATION=4294967295\nMERLON_MODE=enforce\nMERLON_CHAIN=in\n"
			    "MERLON_RULE=a\xef\xbf\xbd" "b\xef\xbf\xbd \xc3\xa9\nMERLON_RULE_FILE=a.nft\nMERLON_RULE_LINE=3\n"
			    "MERLON_PREFIX=p");
}

static void test_a_long_prefix_is_cut_in_the_message_only(void **state)
{
	struct merlon_event_origin origin = { .level = -1 };
	struct merlon_event e = tcp4();
	char prefix[5000];
	json_t *json;

	(void)state;
	memset(prefix, '\x01', sizeof(prefix) - 1);
	prefix[sizeof(prefix) - 1] = 0;
	origin.prefix = prefix;
	json = fields(&e, &origin, 0);
	has(json, "MERLON_PREFIX", prefix);
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_drop), cmocka_unit_test(test_a_log), cmocka_unit_test(test_an_audited_one),
		cmocka_unit_test(test_ipv6), cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_units), cmocka_unit_test(test_a_comment),
		cmocka_unit_test(test_a_long_prefix_is_cut_in_the_message_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
