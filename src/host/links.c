/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interfaces on which a packet is more than one packet, or another one than nf_tables sees. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"
#include "src/util/kernel.h"

#define TRIES 20

static void copy_name(char *to, size_t room, const struct nlattr *attribute)
{
	if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0)
		snprintf(to, room, "%s", mnl_attr_get_str(attribute));
}

static int on_bridge(const struct nlattr *attribute, void *data)
{
	struct merlon_link *link = data;

	switch (mnl_attr_get_type(attribute)) {
	case IFLA_BR_NF_CALL_IPTABLES:
	case IFLA_BR_NF_CALL_IP6TABLES:
		if (mnl_attr_validate(attribute, MNL_TYPE_U8) >= 0)
			link->calls_iptables |= mnl_attr_get_u8(attribute) != 0;
		break;
	}
	return MNL_CB_OK;
}

static int on_info(const struct nlattr *attribute, void *data)
{
	struct merlon_link *link = data;

	switch (mnl_attr_get_type(attribute)) {
	case IFLA_INFO_KIND:
		copy_name(link->kind, sizeof(link->kind), attribute);
		break;
	case IFLA_INFO_SLAVE_KIND:
		copy_name(link->slave_kind, sizeof(link->slave_kind), attribute);
		break;
	case IFLA_INFO_DATA:	/* behind the kind */
		if (!strcmp(link->kind, "bridge"))
			mnl_attr_parse_nested(attribute, on_bridge, link);
		break;
	}
	return MNL_CB_OK;
}

static int on_xdp(const struct nlattr *attribute, void *data)
{
	if (mnl_attr_get_type(attribute) == IFLA_XDP_ATTACHED && mnl_attr_validate(attribute, MNL_TYPE_U8) >= 0)
		((struct merlon_link *)data)->xdp = mnl_attr_get_u8(attribute) != XDP_ATTACHED_NONE;
	return MNL_CB_OK;
}

static int on_attribute(const struct nlattr *attribute, void *data)
{
	struct merlon_link *link = data;

	switch (mnl_attr_get_type(attribute)) {
	case IFLA_IFNAME:
		copy_name(link->name, sizeof(link->name), attribute);
		break;
	case IFLA_MASTER:
		if (mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
			link->master = mnl_attr_get_u32(attribute);
		break;
	case IFLA_LINK:
		if (mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
			link->below = mnl_attr_get_u32(attribute);
		break;
	case IFLA_LINK_NETNSID:
		link->below = 0;	/* an index of another namespace; comes behind IFLA_LINK (rtnl_fill_ifinfo) */
		break;
	case IFLA_LINKINFO:
		mnl_attr_parse_nested(attribute, on_info, link);
		break;
	case IFLA_XDP:
		mnl_attr_parse_nested(attribute, on_xdp, link);
		break;
	}
	return MNL_CB_OK;
}

int merlon_link_read(const struct nlmsghdr *message, struct merlon_link *ret)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct merlon_link link = { 0 };

	if (message->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(message) < sizeof(*info))
		return -EPROTO;
	link.index = info->ifi_index;
	mnl_attr_parse(message, sizeof(*info), on_attribute, &link);
	if (link.below == link.index)
		link.below = 0;
	if (!link.name[0])
		return -EPROTO;
	*ret = link;
	return 0;
}

static int on_link(const struct nlmsghdr *message, void *data)
{
	struct merlon_links *links = data;
	struct merlon_link one, *grown;

	if (merlon_link_read(message, &one) < 0)
		return MNL_CB_OK;
	if (!(links->n & (links->n - 1))) {
		grown = reallocarray(links->link, links->n ? 2 * links->n : 1, sizeof(*grown));
		if (!grown) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		links->link = grown;
	}
	links->link[links->n++] = one;
	return MNL_CB_OK;
}

int merlon_links_list(struct merlon_links *ret)
{
	char buffer[256] __attribute__((aligned(MNL_ALIGNTO)));
	int tries, r = -EINTR;

	for (tries = 0; r == -EINTR && tries < TRIES; tries++) {
		struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

		ret->n = 0;
		request->nlmsg_type = RTM_GETLINK;
		request->nlmsg_flags = NLM_F_DUMP;
		mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
		mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		r = merlon_netlink_exchange(NETLINK_ROUTE, request, false, on_link, ret);
	}
	return r;
}

const char *merlon_link_name(const struct merlon_links *links, unsigned index)
{
	size_t i;

	for (i = 0; i < links->n; i++)
		if (links->link[i].index == index)
			return links->link[i].name;
	return NULL;
}

static const char *name_of(const struct merlon_links *links, unsigned index)
{
	const char *name = merlon_link_name(links, index);

	return name ? name : "an interface of another namespace";
}

static int judge_bridge(struct merlon_host_view *view, const struct merlon_links *links, const struct merlon_link *bridge,
			bool bridge_calls)
{
	struct merlon_finding finding = {
		.what = "bridge-netfilter",
		.rule = "one judgement per packet",
		.why = "bridged packets pass the forward chains of iptables and nf_tables, merlon does not see them",
		.cure = "sysctl net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 (and nf_call_iptables 0 "
			"of the bridge), or filter what is bridged in nf_tables' family bridge",
		.severity = merlon_host_concern(view, MERLON_ASKS_FORWARD),
	};
	unsigned ports = 0;
	size_t i;

	if (!bridge_calls && !bridge->calls_iptables)
		return 0;
	for (i = 0; i < links->n; i++)
		ports += links->link[i].master == bridge->index;
	/* From a single port nothing is bridged. */
	if (ports < 2)
		finding.severity = MERLON_HOST_NOTE;
	return merlon_finding_add(view, &finding, "bridge %s with %u ports", bridge->name, ports);
}

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(word, list[i]))
			return true;
	return false;
}

static int judge_enslaved(struct merlon_host_view *view, const struct merlon_links *links, const struct merlon_link *link)
{
	static const char *const understood[] = { "bridge", "bond", "team" };
	static const struct merlon_finding vrf = {
		.what = "vrf",
		.rule = "ipsec and vrf",
		.why = "packets of a VRF come in from the VRF's device for nf_tables, and pass TC on both",
		.cure = "keep hosts with VRFs on nf_tables; --audit judges without dropping",
		.severity = MERLON_HOST_REFUSE,
	};
	static const struct merlon_finding other = {
		.what = "enslaved",
		.rule = "one judgement per packet",
		.why = "a switch takes this interface's packets before nf_tables sees them; merlon would judge them as input",
		.cure = "leave the interface out: merlond --interfaces '*,!NAME'",
		.severity = MERLON_HOST_WARN,
	};

	if (!link->master || is_one_of(link->slave_kind, understood, ARRAY_SIZE(understood)))
		return 0;
	if (!strcmp(link->slave_kind, "vrf"))
		return merlon_finding_add(view, &vrf, "%s in %s", link->name, name_of(links, link->master));
	if (!merlon_host_filters(view, link->name))
		return 0;
	return merlon_finding_add(view, &other, "%s in %s%s%s", link->name, name_of(links, link->master),
				  link->slave_kind[0] ? ", " : "", link->slave_kind);
}

/* Before Linux 6.2 the data plane can't tell whose packet it is at egress (bpf/ours.h). */
static int judge_stacked(struct merlon_host_view *view, const struct merlon_links *links, const struct merlon_link *link)
{
	static const char *const kinds[] = { "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap" };
	static const struct merlon_finding stacked = {
		.what = "stacked",
		.rule = "one judgement per packet",
		.why = "before Linux 6.2 what this interface sends is judged a second time where the one below it sends it",
		.cure = "leave the interface below out: merlond --interfaces '*,!NAME', or run Linux 6.2 or newer",
		.severity = MERLON_HOST_WARN,
	};

	if (!link->below || !is_one_of(link->kind, kinds, ARRAY_SIZE(kinds)) ||
	    !merlon_host_filters(view, name_of(links, link->below)))
		return 0;
	return merlon_finding_add(view, &stacked, "%s on %s", link->name, name_of(links, link->below));
}

int merlon_links_judge(struct merlon_host_view *view, const struct merlon_links *links, bool bridge_calls, unsigned kernel)
{
	static const struct merlon_finding xdp = {
		.what = "xdp",
		.why = "an XDP program is in front: what it drops, answers or sends on neither nf_tables nor merlon sees",
		.severity = MERLON_HOST_NOTE,
	};
	size_t i;
	int r = 0;

	for (i = 0; i < links->n && r == 0; i++) {
		const struct merlon_link *link = &links->link[i];

		if (!strcmp(link->kind, "bridge"))
			r = judge_bridge(view, links, link, bridge_calls);
		if (r == 0)
			r = judge_enslaved(view, links, link);
		if (r == 0 && kernel < 0x0602)
			r = judge_stacked(view, links, link);
		if (r == 0 && link->xdp && merlon_host_filters(view, link->name))
			r = merlon_finding_add(view, &xdp, "%s", link->name);
	}
	return r;
}

static bool is_on(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = '0';

	return fd >= 0 && read(fd, &value, 1) == 1 && value != '0';
}

int merlon_host_links(struct merlon_host_view *view, const struct merlon_links *links)
{
	bool bridge_calls = is_on("/proc/sys/net/bridge/bridge-nf-call-iptables") ||
			    is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables");

	return merlon_links_judge(view, links, bridge_calls, merlon_kernel_version());
}
