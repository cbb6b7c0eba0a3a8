/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the host check share. Each part looks at one thing: it returns 0, or -ENOMEM. */
#ifndef MERLON_HOST_INTERNAL_H
#define MERLON_HOST_INTERNAL_H

#include "src/host/host.h"
#include "src/util/netlink.h"

/* What of a packet the policy asks for. */
enum {
	MERLON_ASKS_MARK = 1,
	MERLON_ASKS_STATE = 2,		/* of the connection */
	MERLON_ASKS_HEADER = 4,		/* TTL, TOS and the like: what mangle rules change */
	MERLON_ASKS_FORWARD = 8,	/* has a forward chain */
	MERLON_ASKS_BEGINNING = 16,	/* whether a connection has begun: for the direction, or for the state in output chains that may deny */
};

struct merlon_host_view {
	struct merlon_host *host;
	const struct merlon_host_options *options;
	unsigned asks;		/* MERLON_ASKS_*; meaningless without a policy */
	bool partial;		/* some interface will not be filtered: what is forwarded there is judged where it comes in */
};

/* Adds a finding like `like`, whose `where` comes from the format. 0 or -ENOMEM. */
int merlon_finding_add(struct merlon_host_view *view, const struct merlon_finding *like, const char *where, ...)
	__attribute__((format(printf, 3, 4)));
/* Something could not be looked at: `error` is a negative errno. 0 or -ENOMEM. */
int merlon_finding_unseen(struct merlon_host_view *view, const char *what, int error);
/* MERLON_HOST_REFUSE if the policy asks for all of it, _WARN if there is no policy, _NOTE if it does not. */
enum merlon_host_severity merlon_host_concern(const struct merlon_host_view *view, unsigned asks);
/* Whether the interface will be filtered. */
bool merlon_host_filters(const struct merlon_host_view *view, const char *name);

/*
 * merlon_netlink_exchange() of one kind of routing objects: `bytes` of header, which begins with the family. Asks again where what was dumped
 * changed meanwhile, each time after `begin`, if there is one; that the kernel has no such thing is 0.
 */
int merlon_host_dump_route(uint16_t type, uint8_t family, size_t bytes, bool strict, void (*begin)(void *context),
			   mnl_cb_t on_message, void *context);

/* links.c: what netlink says about one interface. */
struct merlon_link {
	unsigned index, master, below;	/* interface indexes, 0: none; below: of the one that carries it, in this namespace */
	char name[IFNAMSIZ], kind[24], slave_kind[24];
	bool xdp;			/* a program is attached */
	bool calls_iptables;		/* a bridge that itself hands its packets to netfilter */
};
int merlon_link_read(const struct nlmsghdr *message, struct merlon_link *ret);
struct merlon_links {
	struct merlon_link *link;
	size_t n;
};
int merlon_links_list(struct merlon_links *ret);
/* NULL: there is none of this index. */
const char *merlon_link_name(const struct merlon_links *links, unsigned index);
/* Findings from a list of links. `bridge_calls`: net.bridge.bridge-nf-call-iptables or -ip6tables is 1. */
int merlon_links_judge(struct merlon_host_view *view, const struct merlon_links *links, bool bridge_calls, unsigned kernel);

int merlon_host_links(struct merlon_host_view *view, const struct merlon_links *links);
int merlon_host_filters_of_tc(struct merlon_host_view *view, const struct merlon_links *links);
int merlon_host_routing(struct merlon_host_view *view, const struct merlon_links *links);
int merlon_host_forwarding(struct merlon_host_view *view, const struct merlon_links *links);
int merlon_host_multicast(struct merlon_host_view *view);
int merlon_host_multipath(struct merlon_host_view *view, const struct merlon_links *links);
int merlon_host_xfrm(struct merlon_host_view *view);
int merlon_host_encap(struct merlon_host_view *view);

/* encap.c: how a route or a next hop encapsulates, LWTUNNEL_ENCAP_*; 0: not, or for an interface where TC sees what is inside. */
unsigned merlon_route_encap(const struct nlmsghdr *message);
/* "ip -6 route fd00::/8 table 7", cut to fit. */
void merlon_route_name(const struct nlmsghdr *message, char *ret, size_t room);

/* multipath.c: interfaces that the next hops of a route lead to; NULL: to none such. The names belong to the links. */
struct merlon_ways {
	const char *filtered, *other;	/* two that differ */
	const char *unfiltered;
};
struct merlon_ways merlon_route_ways(const struct merlon_host_view *view, const struct merlon_links *links,
				     const struct nlmsghdr *message);

/* filters.c: a filter at TC, from its message. 0, or -EPROTO: it is none. */
struct merlon_tc_filter {
	char kind[24];
	bool ours;		/* merlon's own */
	char rewrites[24];	/* the action that changes addresses or ports, or else the mark; "": none */
};
int merlon_tc_filter_read(const struct nlmsghdr *message, struct merlon_tc_filter *ret);

/* xfrm.c: of a policy that transforms packets without an interface of their own: XFRM_POLICY_*; else -1. */
int merlon_xfrm_policy_direction(const struct nlmsghdr *message);
bool merlon_xfrm_state_transforms(const struct nlmsghdr *message);

/*
 * services.c: asks systemd's manager behind `bus`; destination NULL: there is no bus between. Who has a finding already, by his
 * rules, gets no other one. Also -ENOMEM or, when there is no answer, another negative errno.
 */
struct sd_bus;
int merlon_services_ask(struct merlon_host_view *view, struct sd_bus *bus, const char *destination);
int merlon_host_services(struct merlon_host_view *view);
/* For merlon_host_idle_firewalls(). */
char *merlon_services_idle(struct sd_bus *bus, const char *destination);

/* ipvs.c: whether /proc/net/ip_vs, opened, lists a virtual service; copies its line, cut to fit. */
bool merlon_ipvs_service(FILE *file, char *ret, size_t room);
int merlon_host_ipvs(struct merlon_host_view *view);

/*
 * multicast.c: the first interface in /proc/net/ip_mr_vif or ip6_mr_vif, opened. And the table that a rule of multicast routing
 * leads to; 0: the one that is there from the start, or it is no such rule.
 */
bool merlon_multicast_interface(FILE *file, char ret[IFNAMSIZ]);
uint32_t merlon_multicast_table(const struct nlmsghdr *message);

/* chains.c and below: rules of netfilter that run in this namespace. */
int merlon_host_netfilter(struct merlon_host_view *view);

/* own.c: the kept chains of the policy itself. */
int merlon_host_own(struct merlon_host_view *view);
/* ... of those the ones that stop packets, and that nobody loads. `live`, by the policy's chains: this host has it; NULL: not known. */
int merlon_host_unloaded(struct merlon_host_view *view, const bool *live);

#endif
