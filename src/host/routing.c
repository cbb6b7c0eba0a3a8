/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Routing by mark. Netfilter sets marks after TC ingress, and bpf_fib_lookup() is asked without one: where a rule by mark
 * leads to a route `local`, packets for foreign addresses are delivered here that merlon takes for forwarded ones.
 */
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

#define MARK_RULES 64	/* of each family; more are taken for the worst */

struct mark_rule {
	uint32_t priority, table, mark;
	bool inverted;
};

struct rules {
	struct mark_rule rule[MARK_RULES];
	size_t n;
	bool more;
};

struct attributes {
	struct mark_rule rule;
	bool marked;
};

static int on_rule_attribute(const struct nlattr *attribute, void *data)
{
	struct attributes *a = data;
	uint32_t value;

	if (mnl_attr_validate(attribute, MNL_TYPE_U32) < 0)
		return MNL_CB_OK;
	value = mnl_attr_get_u32(attribute);
	switch (mnl_attr_get_type(attribute)) {
	case FRA_PRIORITY:
		a->rule.priority = value;
		break;
	case FRA_TABLE:
		a->rule.table = value;
		break;
	case FRA_FWMARK:
		a->rule.mark = value;
		break;
	case FRA_FWMASK:
		/* `fwmark 0/0` looks at nothing; the kernel gives the mask whenever it is not 0. */
		a->marked = value != 0;
		break;
	}
	return MNL_CB_OK;
}

static int on_rule(const struct nlmsghdr *message, void *data)
{
	const struct fib_rule_hdr *header = mnl_nlmsg_get_payload(message);
	struct rules *rules = data;
	struct attributes a = { 0 };

	if (message->nlmsg_type != RTM_NEWRULE || mnl_nlmsg_get_payload_len(message) < sizeof(*header))
		return MNL_CB_OK;
	a.rule.table = header->table;
	a.rule.inverted = header->flags & FIB_RULE_INVERT;
	mnl_attr_parse(message, sizeof(*header), on_rule_attribute, &a);
	if (!a.marked || header->action != FR_ACT_TO_TBL)
		return MNL_CB_OK;
	if (rules->n == MARK_RULES) {
		rules->more = true;
		return MNL_CB_STOP;
	}
	rules->rule[rules->n++] = a.rule;
	return MNL_CB_OK;
}

static int read_rules(uint8_t family, struct rules *ret)
{
	char buffer[256] __attribute__((aligned(MNL_ALIGNTO)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct fib_rule_hdr *header;

	request->nlmsg_type = RTM_GETRULE;
	request->nlmsg_flags = NLM_F_DUMP;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->family = family;
	return merlon_netlink_exchange(NETLINK_ROUTE, request, false, on_rule, ret);
}

struct wanted {
	uint32_t table;
	bool found;
};

static int on_route_attribute(const struct nlattr *attribute, void *data)
{
	if (mnl_attr_get_type(attribute) == RTA_TABLE && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
		*(uint32_t *)data = mnl_attr_get_u32(attribute);
	return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *message, void *data)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct wanted *wanted = data;
	uint32_t table;

	if (message->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(message) < sizeof(*route))
		return MNL_CB_OK;
	table = route->rtm_table;
	mnl_attr_parse(message, sizeof(*route), on_route_attribute, &table);
	/* Asked for already; a kernel that does not filter by table and type tells everything. */
	if (table != wanted->table || (route->rtm_type != RTN_LOCAL && route->rtm_type != RTN_ANYCAST))
		return MNL_CB_OK;
	wanted->found = true;
	return MNL_CB_STOP;
}

/* 1: the table delivers something here; 0, or a negative errno. */
static int delivers(uint8_t family, uint32_t table)
{
	char buffer[256] __attribute__((aligned(MNL_ALIGNTO)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct wanted wanted = { .table = table };
	struct rtmsg *route;
	int r;

	request->nlmsg_type = RTM_GETROUTE;
	request->nlmsg_flags = NLM_F_DUMP;
	route = mnl_nlmsg_put_extra_header(request, sizeof(*route));
	route->rtm_family = family;
	/* Only these: the other tables may hold the routes of the Internet. */
	route->rtm_type = RTN_LOCAL;
	route->rtm_table = table < 256 ? table : RT_TABLE_UNSPEC;
	mnl_attr_put_u32(request, RTA_TABLE, table);
	r = merlon_netlink_exchange(NETLINK_ROUTE, request, true, on_route, &wanted);
	/* No route was ever added there (ip_fib_dump, inet6_dump_fib). */
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : wanted.found;
}

/* Whether a packet that is routed otherwise than foreseen may leave by an interface where nothing judges it. */
static bool leaves_unfiltered(const struct merlon_host_view *view, const struct merlon_links *links)
{
	size_t i;

	for (i = 0; i < links->n; i++)
		if (!merlon_host_filters(view, links->link[i].name))
			return true;
	return false;
}

static int judge(struct merlon_host_view *view, const struct merlon_links *links, uint8_t family,
		 const struct mark_rule *rule)
{
	static const char delivered[] = "packets for foreign addresses are delivered here by their mark, which netfilter sets "
		"after merlon judged: merlon would take them for forwarded";
	static const char routed[] = "packets are routed by a mark that netfilter sets after merlon looked for their way: one "
		"may be judged by the rules for input, or by another outgoing interface";
	struct merlon_finding finding = {
		.what = "fwmark-rule",
		.rule = "input by exclusion",
		.why = routed,
		.cure = "route by address or interface instead of by mark; --audit judges without dropping",
		.severity = leaves_unfiltered(view, links) ? MERLON_HOST_REFUSE : MERLON_HOST_WARN,
	};
	int local = rule->inverted ? 0 : delivers(family, rule->table);

	if (local < 0)
		return merlon_finding_unseen(view, "local routes of policy routing", local);
	/* `not fwmark`, as wg-quick has it: what comes in has no mark, and takes the rule in the look-up, too. */
	if (rule->inverted)
		finding.severity = MERLON_HOST_NOTE;
	if (local) {
		finding.why = delivered;
		finding.severity = MERLON_HOST_REFUSE;
	}
	return merlon_finding_add(view, &finding, "ip %srule %u: %sfwmark 0x%x lookup %u", family == AF_INET6 ? "-6 " : "",
				  rule->priority, rule->inverted ? "not " : "", rule->mark, rule->table);
}

int merlon_host_routing(struct merlon_host_view *view, const struct merlon_links *links)
{
	static const uint8_t family[] = { AF_INET, AF_INET6 };
	size_t i, j;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(family) && r == 0; i++) {
		struct rules rules = { 0 };

		r = read_rules(family[i], &rules);
		if (r < 0 && merlon_netlink_is_absent(r))
			r = 0;
		else if (r < 0)
			r = merlon_finding_unseen(view, "policy routing", r);
		for (j = 0; j < rules.n && r == 0; j++)
			r = judge(view, links, family[i], &rules.rule[j]);
		if (r == 0 && rules.more)
			r = merlon_finding_unseen(view, "policy routing by more than 64 marks", -E2BIG);
	}
	return r;
}
