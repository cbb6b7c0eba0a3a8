/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel (6.18) said of these addresses, with these entries in its routing table `local`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "src/model/addrtype.h"

#define TYPE(t) (1U << (t))
#define ROUTED6 (TYPE(RTN_UNSPEC) | TYPE(RTN_UNICAST) | TYPE(RTN_ANYCAST) | TYPE(RTN_BLACKHOLE) | TYPE(RTN_UNREACHABLE) | \
		 TYPE(RTN_PROHIBIT) | TYPE(RTN_THROW))

static const struct merlon_address table[] = {
	{ AF_INET, 8, RTN_LOCAL, { 127 }, 1 },
	{ AF_INET, 32, RTN_BROADCAST, { 127, 255, 255, 255 }, 1 },
	{ AF_INET, 16, RTN_LOCAL, { 10, 8 }, 1 },
	{ AF_INET, 24, RTN_UNICAST, { 10, 8, 3 }, 2 },
	{ AF_INET, 24, RTN_UNREACHABLE, { 10, 8, 4 }, 2 },
	{ AF_INET, 32, RTN_LOCAL, { 10, 0, 0, 1 }, 2 },
	{ AF_INET, 32, RTN_BROADCAST, { 10, 0, 0, 255 }, 2 },
	{ AF_INET6, 128, RTN_LOCAL, { [15] = 1 }, 1 },
	{ AF_INET6, 64, RTN_LOCAL, { 0x20, 1, 0xd, 0xb8, 0, 5 }, 1 },
	{ AF_INET6, 64, RTN_LOCAL, { 0x20, 1, 0xd, 0xb8, 0, 6 }, 1 },
	{ AF_INET6, 128, RTN_LOCAL, { 0x20, 1, 0xd, 0xb8, 0, 6 }, 1 },
	{ AF_INET6, 128, RTN_ANYCAST, { 0x20, 1, 0xd, 0xb8, 0, 5, [15] = 9 }, 1 },
	{ AF_INET6, 8, RTN_MULTICAST, { 0xff }, 1 },
};

static bool has_type(const char *text, uint32_t types)
{
	enum merlon_family family = inet_pton(AF_INET6, text, (uint8_t[16]){ 0 }) == 1;
	struct merlon_intervals in;
	uint8_t bytes[16];
	merlon_value v = 0;
	bool has;

	assert_int_equal(inet_pton(family ? AF_INET6 : AF_INET, text, bytes), 1);
	for (unsigned i = 0; i < (family ? 16 : 4); i++)
		v = v << 8 | bytes[i];
	assert_int_equal(merlon_addrtype(table, sizeof(table) / sizeof(*table), family, types, &in), 0);
	has = merlon_intervals_contain(&in, v);
	merlon_intervals_clear(&in);
	return has;
}

static void ipv4(void **state)
{
	static const struct {
		const char *address;
		unsigned type;
	} c[] = {
		{ "0.0.0.0", RTN_BROADCAST }, { "0.1.2.3", RTN_BROADCAST }, { "1.0.0.0", RTN_UNICAST },
		{ "127.0.0.1", RTN_LOCAL }, { "127.255.255.255", RTN_BROADCAST }, { "128.0.0.0", RTN_UNICAST },
		{ "10.0.0.0", RTN_UNICAST }, { "10.0.0.1", RTN_LOCAL }, { "10.0.0.255", RTN_BROADCAST },
		{ "10.8.1.1", RTN_LOCAL }, { "10.8.3.1", RTN_UNICAST }, { "10.8.4.1", RTN_UNICAST },
		{ "10.8.5.0", RTN_LOCAL }, { "223.255.255.255", RTN_UNICAST }, { "224.0.0.0", RTN_MULTICAST },
		{ "239.255.255.255", RTN_MULTICAST }, { "240.0.0.0", RTN_UNICAST }, { "255.255.255.254", RTN_UNICAST },
		{ "255.255.255.255", RTN_BROADCAST },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(c) / sizeof(*c); i++) {
		assert_true(has_type(c[i].address, TYPE(c[i].type)));
		assert_false(has_type(c[i].address, ~TYPE(c[i].type)));
	}
}

static void ipv6(void **state)
{
	(void)state;
	assert_true(has_type("::1", TYPE(RTN_LOCAL)));
	assert_true(has_type("2001:db8:5::3", TYPE(RTN_LOCAL)));
	assert_false(has_type("2001:db8:5::", TYPE(RTN_LOCAL)));	/* anycast */
	assert_false(has_type("2001:db8:5::9", TYPE(RTN_LOCAL)));
	assert_true(has_type("2001:db8:6::", TYPE(RTN_LOCAL)));		/* an address of its own */
	assert_false(has_type("2001:db8:7::1", TYPE(RTN_LOCAL)));
	assert_true(has_type("2001:db8:7::1", ROUTED6));
	assert_true(has_type("2001:db8:5::", ~TYPE(RTN_LOCAL)));
	assert_true(has_type("ff02::1", TYPE(RTN_MULTICAST)));
	assert_true(has_type("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", TYPE(RTN_MULTICAST)));
	assert_false(has_type("feff::1", TYPE(RTN_MULTICAST)));
	assert_false(has_type("ff02::1", ROUTED6 | TYPE(RTN_LOCAL)));
}

static void what_the_routes_say(void **state)
{
	struct merlon_intervals in;

	(void)state;
	assert_int_equal(merlon_addrtype(NULL, 0, MERLON_IPV6, TYPE(RTN_UNICAST), &in), -ERANGE);
	assert_int_equal(merlon_addrtype(NULL, 0, MERLON_IPV6, TYPE(RTN_ANYCAST) | TYPE(RTN_LOCAL), &in), -ERANGE);
	assert_int_equal(merlon_addrtype(NULL, 0, MERLON_IPV6, ~TYPE(RTN_UNICAST), &in), -ERANGE);
	assert_int_equal(merlon_addrtype(NULL, 0, MERLON_IPV6, TYPE(RTN_BROADCAST), &in), 0);
	assert_int_equal(in.n, 0);
	merlon_intervals_clear(&in);
	assert_int_equal(merlon_addrtype(NULL, 0, MERLON_IPV4, ~0U, &in), 0);
	assert_int_equal(in.n, 1);
	assert_true(in.v[0].lo == 0 && in.v[0].hi == 0xffffffff);
	merlon_intervals_clear(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ipv4),
		cmocka_unit_test(ipv6),
		cmocka_unit_test(what_the_routes_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
