/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Enters connections into a data plane's table of sessions: UDP from 10.0.0.0/8, answered, which expire in an hour. Prints how
 * many found a place.
 *
 * usage: fill MAPS N   MAPS: the directory where the maps are pinned
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/kernel/table.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

static int pinned(const char *dir, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return bpf_obj_get(path);
}

static void connect_to(struct merlon_flow *flow, uint32_t i, uint64_t now_ns)
{
	*flow = (struct merlon_flow){ 0 };
	flow->tuple.v4 = (struct merlon_tuple4){ .a = htonl(0x0a000000 + i), .b = htonl(0xc0a80001), .a_port = htons(1024 + i % 60000),
						 .b_port = htons(53), .l4proto = IPPROTO_UDP };
	flow->session.flags = MERLON_S_ORIG_IS_A | MERLON_S_SEEN_REPLY | MERLON_S_ASSURED | MERLON_S_PROVED;
	flow->session.created_ns = now_ns;
	flow->session.expires_ns = now_ns + 3600 * 1000000000ULL;
}

int main(int argc, char **argv)
{
	_cleanup_close_ int sessions = argc == 3 ? pinned(argv[1], "sessions") : -1, sets = argc == 3 ? pinned(argv[1], "sets") : -1;
	_cleanup_close_ int control = argc == 3 ? pinned(argv[1], "control") : -1;
	uint32_t zero = 0, n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0, i, entered = 0;
	struct merlon_flow_table table;
	struct merlon_control c;
	uint64_t now_ns = merlon_now_ns();
	struct merlon_flow flow;

	if (sessions < 0 || sets < 0 || control < 0 || bpf_map_lookup_elem(control, &zero, &c) < 0 ||
	    merlon_table_map((struct merlon_table_maps){ sessions, sets }, &table) < 0) {
		fputs("usage: fill MAPS N\n", stderr);
		return 1;
	}
	for (i = 0; i < n; i++) {
		connect_to(&flow, i, now_ns);
		entered += !merlon_table_enter(&table, c.seed, MERLON_IPV4, &flow, now_ns);
	}
	merlon_table_unmap(&table);
	printf("%u\n", entered);
	return 0;
}
