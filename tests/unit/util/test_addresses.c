/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table `local` of a namespace of its own, as the kernel fills it. */
#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/util/addresses.h"
#include "src/util/netns.h"

static int list(void *context)
{
	static const char setup[] =
		"PATH=$PATH:/usr/sbin:/sbin; ip link set lo up && ip addr add 10.1.2.3/24 dev lo && "
		"ip -6 addr add 2001:db8::1/64 dev lo nodad && ip route add local 192.0.2.0/24 dev lo && "
		"ip route add 198.51.100.0/24 dev lo && ip route add broadcast 203.0.113.255 dev lo table local && "
		"ip route add local 203.0.113.1 dev lo table local metric 10 && "
		"ip route add broadcast 203.0.113.1 dev lo table local metric 5 && "
		"ip route add broadcast 203.0.113.2 dev lo table local && ip route append local 203.0.113.2 dev lo table local && "
		"ip route add local 203.0.113.3 dev lo table local tos 0x10";
	struct merlon_address *address, *again;
	char text[INET6_ADDRSTRLEN];
	size_t n, n_again, i;

	if (merlon_netns_enter(*(int *)context) < 0 || system(setup) != 0)
		return 77;
	if (merlon_addresses(&address, &n) < 0 || merlon_addresses(&again, &n_again) < 0)
		return 1;
	if (n != n_again || memcmp(address, again, n * sizeof(*address)) != 0)
		return 2;
	for (i = 0; i < n; i++)
		printf("%s/%u %u %u\n", inet_ntop(address[i].family, address[i].address, text, sizeof(text)), address[i].bits,
		       address[i].type, address[i].ifindex);
	free(address);
	free(again);
	return 0;
}

static void table_local(void **state)
{
	static const char *const expected[] = {
		"10.1.2.3/32 2 1\n", "127.0.0.0/8 2 1\n", "127.0.0.1/32 2 1\n", "192.0.2.0/24 2 1\n",
		"203.0.113.1/32 3 1\n203.0.113.1/32 2 1\n", "203.0.113.2/32 3 1\n203.0.113.2/32 2 1\n", "203.0.113.255/32 3 1\n",
		"::1/128 2 1\n", "2001:db8::1/128 2 1\n",
	};
	const char *last = NULL;
	char *output = NULL;
	int netns, r;
	size_t size, i;

	(void)state;
	if (merlon_netns_new(&netns) < 0)
		skip();
	r = merlon_child(list, &netns, &output, &size);
	close(netns);
	if (r == 77) {
		free(output);
		skip();
	}
	assert_int_equal(r, 0);
	/* in this order, and no route of another table */
	for (i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		const char *at = strstr(output, expected[i]);

		if (!at || at < last)
			fail_msg("%s in %s", expected[i], output);
		last = at;
	}
	assert_null(strstr(output, "198.51.100.0"));
	/* an entry for some packets only */
	assert_null(strstr(output, "203.0.113.3"));
	free(output);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(table_local) };

	return cmocka_run_group_tests_name("addresses", tests, NULL, NULL);
}
