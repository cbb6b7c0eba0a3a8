/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/event.h"

#include <arpa/inet.h>
#include <stdio.h>

const char *merlon_event_address(const struct merlon_event *e, const __be32 *from, char *ret)
{
	return inet_ntop(e->family == MERLON_IPV4 ? AF_INET : AF_INET6, from, ret, INET6_ADDRSTRLEN);
}

const char *merlon_event_interface(const struct merlon_daemon *d, uint32_t index, char *ret)
{
	const char *name = index ? merlon_links_name(d, index) : "";

	if (name)
		return name;
	sprintf(ret, "%u", index);
	return ret;
}

/* Events of a generation that is gone by now have lost their rule. */
struct merlon_event_origin merlon_event_origin(const struct merlon_daemon *d, const struct merlon_event *e)
{
	const struct merlon_policy *p = d->enforced.policy;
	const struct merlon_flat_origin *flat = merlon_policy_origin(p, e->generation, e->hook, e->family, e->rule);
	struct merlon_event_origin o = { 0 };

	if (flat) {
		o.rule = flat->rule;
		if (flat->chain < d->enforced.ruleset->n_chains)
			o.chain = &d->enforced.ruleset->chain[flat->chain];
	}
	if (p && e->generation == p->generation && e->kind == MERLON_EVENT_LOG && e->log < p->n_logs)
		o.log = p->log[e->log];
	return o;
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
