/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/event.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void merlon_event_origin_clear(struct merlon_event_origin *origin)
{
	free(origin->chain);
	free(origin->rule);
	free(origin->file);
	free(origin->prefix);
	*origin = (struct merlon_event_origin){ .level = -1 };
}

/* inet_ntop() of an IPv4 address takes as long as all the rest of an entry. */
static size_t dotted(const uint8_t *from, char *to)
{
	char *at = to;

	for (int i = 0; i < 4; i++) {
		uint8_t v = from[i];

		if (i)
			*at++ = '.';
		if (v >= 100)
			*at++ = '0' + v / 100;
		if (v >= 10)
			*at++ = '0' + v / 10 % 10;
		*at++ = '0' + v % 10;
	}
	*at = 0;
	return at - to;
}

size_t merlon_event_address(const struct merlon_event *e, const __be32 *from, char *to)
{
	if (e->family == MERLON_IPV4)
		return dotted((const uint8_t *)from, to);
	inet_ntop(AF_INET6, from, to, INET6_ADDRSTRLEN);
	return strlen(to);
}

const char *merlon_event_verdict(const struct merlon_event *e)
{
	if (e->kind == MERLON_EVENT_LOG)
		return "log";
	return e->verdict == MERLON_REJECT ? "reject" : e->verdict == MERLON_DROP ? "drop" : "accept";
}

const char *merlon_event_hook(const struct merlon_event *e)
{
	static const char *const name[MERLON_HOOKS] = { "input", "forward", "output" };

	return e->hook < MERLON_HOOKS ? name[e->hook] : "?";
}

const char *merlon_event_state(const struct merlon_event *e)
{
	static const char *const name[MERLON_CT_STATES] = { "invalid", "established", "related", "new", "untracked" };

	return e->ct_state < MERLON_CT_STATES ? name[e->ct_state] : "?";
}

bool merlon_event_is_icmp(const struct merlon_event *e)
{
	return e->l4proto == IPPROTO_ICMP || e->l4proto == IPPROTO_ICMPV6;
}

bool merlon_event_has_ports(const struct merlon_event *e)
{
	switch (e->l4proto) {
	case IPPROTO_TCP: case IPPROTO_UDP: case IPPROTO_SCTP: case IPPROTO_UDPLITE: case IPPROTO_DCCP:
		return true;
	}
	return false;
}

static bool ends_in(const char *name, size_t bytes, const char *end)
{
	size_t n = strlen(end);

	return bytes > n && !memcmp(name + bytes - n, end, n);
}

/* As sd_pid_get_unit(3) tells it: below its slices. */
const char *merlon_event_unit(const char *cgroup, size_t *ret_bytes)
{
	static const char *const kind[] = { ".service", ".scope", ".socket", ".mount", ".swap" };

	while (*cgroup == '/') {
		/* systemd escapes names that the kernel has for itself (cg_escape()) */
		const char *name = cgroup + 1 + (cgroup[1] == '_');
		size_t bytes = strcspn(name, "/");

		cgroup = name + bytes;
		if (ends_in(name, bytes, ".slice"))
			continue;
		*ret_bytes = bytes;
		for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++)
			if (ends_in(name, bytes, kind[i]))
				return name;
		return NULL;
	}
	return NULL;
}

const char *merlon_protocol_name(uint8_t number, char ret[8])
{
	switch (number) {
	case IPPROTO_TCP: return "tcp";
	case IPPROTO_UDP: return "udp";
	case IPPROTO_ICMP: return "icmp";
	case IPPROTO_ICMPV6: return "icmpv6";
	case IPPROTO_SCTP: return "sctp";
	case IPPROTO_GRE: return "gre";
	}
	snprintf(ret, 8, "%u", number);
	return ret;
}
