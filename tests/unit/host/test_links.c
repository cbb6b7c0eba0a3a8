/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kinds of interfaces, IPsec states and load balancers that not every kernel has: as rtnetlink, xfrm and procfs show them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/lwtunnel.h>
#include <linux/nexthop.h>
#include <linux/if_link.h>
#include <linux/mroute.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#include "src/host/internal.h"

struct made {
	unsigned index, master, below;
	const char *name, *kind, *slave_kind;
	int netnsid;	/* of `below`, 0: ours */
	uint8_t xdp, nf_call;
};

static char buffer[1024] __attribute__((aligned(8)));

static const struct nlmsghdr *make(const struct made *m)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;
	struct nlattr *nest, *data;

	message->nlmsg_type = RTM_NEWLINK;
	info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
	info->ifi_index = m->index;
	mnl_attr_put_strz(message, IFLA_IFNAME, m->name);
	if (m->below)
		mnl_attr_put_u32(message, IFLA_LINK, m->below);
	if (m->netnsid)
		mnl_attr_put_u32(message, IFLA_LINK_NETNSID, m->netnsid);
	if (m->master)
		mnl_attr_put_u32(message, IFLA_MASTER, m->master);
	nest = mnl_attr_nest_start(message, IFLA_LINKINFO);
	if (m->kind)
		mnl_attr_put_strz(message, IFLA_INFO_KIND, m->kind);
	if (m->nf_call) {
		data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
		mnl_attr_put_u8(message, IFLA_BR_NF_CALL_IP6TABLES, m->nf_call);
		mnl_attr_nest_end(message, data);
	}
	if (m->slave_kind)
		mnl_attr_put_strz(message, IFLA_INFO_SLAVE_KIND, m->slave_kind);
	mnl_attr_nest_end(message, nest);
	nest = mnl_attr_nest_start(message, IFLA_XDP);
	mnl_attr_put_u8(message, IFLA_XDP_ATTACHED, m->xdp);
	mnl_attr_nest_end(message, nest);
	return message;
}

/* What is found on a host with these links; the caller clears it. */
static struct merlon_host judge(const struct made *made, size_t n, unsigned asks, unsigned kernel)
{
	static const struct merlon_ruleset policy;
	const struct merlon_host_options options = { .policy = &policy };
	struct merlon_host host = { 0 };
	struct merlon_host_view view = { .host = &host, .options = &options, .asks = asks };
	struct merlon_link link[8];
	struct merlon_links links = { link, n };
	size_t i;

	for (i = 0; i < n; i++)
		assert_int_equal(merlon_link_read(make(&made[i]), &link[i]), 0);
	assert_int_equal(merlon_links_judge(&view, &links, false, kernel), 0);
	return host;
}

static void expect(struct merlon_host host, const char *what, enum merlon_host_severity severity, const char *where)
{
	assert_int_equal(host.n, 1);
	assert_string_equal(host.finding[0].what, what);
	assert_int_equal(host.finding[0].severity, severity);
	assert_string_equal(host.finding[0].where, where);
	merlon_host_clear(&host);
}

static void test_enslaved(void **state)
{
	struct made vrf[] = { { .index = 2, .name = "red", .kind = "vrf" },
			      { .index = 3, .name = "eth1", .master = 2, .slave_kind = "vrf" } };
	struct made ovs[] = { { .index = 2, .name = "ovs-system", .kind = "openvswitch" },
			      { .index = 3, .name = "eth1", .master = 2, .slave_kind = "openvswitch" } };
	struct made bond[] = { { .index = 2, .name = "bond0", .kind = "bond" },
			       { .index = 3, .name = "eth1", .master = 2, .slave_kind = "bond" } };

	(void)state;
	expect(judge(vrf, 2, 0, 0x0612), "vrf", MERLON_HOST_REFUSE, "eth1 in red");
	/* A VRF without interfaces is nobody's. */
	assert_int_equal(judge(vrf, 1, 0, 0x0612).n, 0);
	expect(judge(ovs, 2, 0, 0x0612), "enslaved", MERLON_HOST_WARN, "eth1 in ovs-system, openvswitch");
	assert_int_equal(judge(bond, 2, 0, 0x0612).n, 0);
}

static void test_stacked(void **state)
{
	struct made vlan[] = { { .index = 2, .name = "eth0" }, { .index = 3, .name = "eth0.5", .kind = "vlan", .below = 2 } };
	struct made veth[] = { { .index = 2, .name = "a", .kind = "veth", .below = 3 },
			       { .index = 3, .name = "b", .kind = "veth", .below = 2 } };

	(void)state;
	expect(judge(vlan, 2, 0, 0x0601), "stacked", MERLON_HOST_WARN, "eth0.5 on eth0");
	assert_int_equal(judge(vlan, 2, 0, 0x0602).n, 0);
	assert_int_equal(judge(veth, 2, 0, 0x0601).n, 0);
	/* The interface below is another namespace's, and so is its index. */
	vlan[1].netnsid = 4;
	assert_int_equal(judge(vlan, 2, 0, 0x0601).n, 0);
}

static void test_bridge(void **state)
{
	struct made bridge[] = { { .index = 2, .name = "br0", .kind = "bridge", .nf_call = 1 },
				 { .index = 3, .name = "p0", .master = 2, .slave_kind = "bridge" },
				 { .index = 4, .name = "p1", .master = 2, .slave_kind = "bridge" } };

	(void)state;
	expect(judge(bridge, 3, MERLON_ASKS_FORWARD, 0x0612), "bridge-netfilter", MERLON_HOST_REFUSE, "bridge br0 with 2 ports");
	expect(judge(bridge, 3, 0, 0x0612), "bridge-netfilter", MERLON_HOST_NOTE, "bridge br0 with 2 ports");
	expect(judge(bridge, 2, MERLON_ASKS_FORWARD, 0x0612), "bridge-netfilter", MERLON_HOST_NOTE, "bridge br0 with 1 ports");
	bridge[0].nf_call = 0;
	assert_int_equal(judge(bridge, 3, MERLON_ASKS_FORWARD, 0x0612).n, 0);
}

static void test_xdp(void **state)
{
	struct made link = { .index = 2, .name = "eth0", .xdp = XDP_ATTACHED_DRV };

	(void)state;
	expect(judge(&link, 1, 0, 0x0612), "xdp", MERLON_HOST_NOTE, "eth0");
	link.xdp = XDP_ATTACHED_NONE;
	assert_int_equal(judge(&link, 1, 0, 0x0612).n, 0);
}

static void test_cut_short(void **state)
{
	struct made made = { .index = 2, .name = "eth0", .kind = "vrf", .master = 3, .slave_kind = "vrf", .xdp = 1 };
	struct merlon_link link;
	uint32_t whole = make(&made)->nlmsg_len, length;

	(void)state;
	/* A copy of exactly this size: reading beyond it is seen by the sanitizer. libmnl takes messages as aligned. */
	for (length = MNL_NLMSG_HDRLEN; length <= whole; length += MNL_ALIGNTO) {
		struct nlmsghdr *copy = malloc(length);

		memcpy(copy, buffer, length);
		copy->nlmsg_len = length;
		merlon_link_read(copy, &link);
		free(copy);
	}
}

static struct nlmsghdr *begin_xfrm(uint16_t type, size_t bytes, void **ret)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

	message->nlmsg_type = type;
	*ret = mnl_nlmsg_put_extra_header(message, bytes);
	memset(*ret, 0, bytes);
	return message;
}

static void test_xfrm_state(void **state)
{
	struct xfrm_usersa_info *info;
	struct nlmsghdr *message = begin_xfrm(XFRM_MSG_NEWSA, sizeof(*info), (void **)&info);
	const struct xfrm_algo_aead aead = { .alg_name = "rfc4106(gcm(aes))" };

	(void)state;
	assert_false(merlon_xfrm_state_transforms(message));
	mnl_attr_put(message, XFRMA_ALG_AEAD, sizeof(aead), &aead);
	assert_true(merlon_xfrm_state_transforms(message));
	mnl_attr_put_u32(message, XFRMA_IF_ID, 42);
	assert_false(merlon_xfrm_state_transforms(message));
}

static void test_xfrm_policy(void **state)
{
	struct xfrm_userpolicy_info *info;
	struct nlmsghdr *message = begin_xfrm(XFRM_MSG_NEWPOLICY, sizeof(*info), (void **)&info);
	const struct xfrm_user_tmpl template = { .mode = XFRM_MODE_TUNNEL };

	(void)state;
	info->dir = XFRM_POLICY_FWD;
	info->action = XFRM_POLICY_ALLOW;
	/* as IKE daemons let their own packets by */
	assert_int_equal(merlon_xfrm_policy_direction(message), -1);
	mnl_attr_put(message, XFRMA_TMPL, sizeof(template), &template);
	assert_int_equal(merlon_xfrm_policy_direction(message), XFRM_POLICY_FWD);
	info->action = XFRM_POLICY_BLOCK;
	assert_int_equal(merlon_xfrm_policy_direction(message), -1);
	info->action = XFRM_POLICY_ALLOW;
	mnl_attr_put_u32(message, XFRMA_IF_ID, 42);
	assert_int_equal(merlon_xfrm_policy_direction(message), -1);
}

/* A filter of some classifier, with actions at that classifier's place for them. */
static struct merlon_tc_filter filter(const char *kind, uint16_t place, uint32_t handle, const char *const *action, size_t n)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct merlon_tc_filter ret;
	struct nlattr *options, *list, *one;
	struct tcmsg *tc;
	size_t i;

	message->nlmsg_type = RTM_NEWTFILTER;
	tc = mnl_nlmsg_put_extra_header(message, sizeof(*tc));
	tc->tcm_handle = handle;
	mnl_attr_put_strz(message, TCA_KIND, kind);
	options = mnl_attr_nest_start(message, TCA_OPTIONS);
	list = mnl_attr_nest_start(message, place);
	for (i = 0; i < n; i++) {
		one = mnl_attr_nest_start(message, i + 1);
		mnl_attr_put_strz(message, TCA_ACT_KIND, action[i]);
		mnl_attr_nest_end(message, one);
	}
	mnl_attr_nest_end(message, list);
	mnl_attr_nest_end(message, options);
	assert_int_equal(merlon_tc_filter_read(message, &ret), handle ? 0 : -EPROTO);
	return ret;
}

static void test_filters(void **state)
{
	const char *const two[] = { "skbedit", "nat" }, *const harmless[] = { "gact", "mirred" };

	(void)state;
	assert_string_equal(filter("flower", TCA_FLOWER_ACT, 1, two, 1).rewrites, "skbedit");
	assert_string_equal(filter("flower", TCA_FLOWER_ACT, 1, two, 2).rewrites, "nat");
	assert_string_equal(filter("matchall", TCA_MATCHALL_ACT, 1, harmless, 2).rewrites, "");
	/* the same bytes at another attribute of the classifier are no actions */
	assert_string_equal(filter("matchall", TCA_MATCHALL_FLAGS, 1, two, 2).rewrites, "");
	assert_false(filter("u32", TCA_U32_ACT, 0x6d6c, two, 0).ours);
	assert_true(filter("bpf", TCA_BPF_ACT, 0x6d6c, two, 0).ours);
	filter("u32", TCA_U32_ACT, 0, two, 0);
}

static struct nlmsghdr *route(void)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct rtmsg *header;

	message->nlmsg_type = RTM_NEWROUTE;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->rtm_family = AF_INET6;
	return message;
}

static unsigned encap(uint16_t type)
{
	struct nlmsghdr *message = route();

	mnl_attr_put_u32(message, RTA_TABLE, RT_TABLE_MAIN);
	mnl_attr_put_u16(message, RTA_ENCAP_TYPE, type);
	return merlon_route_encap(message);
}

/* Two next hops, of which the second one encapsulates; `cut`: bytes that the first one claims. */
static unsigned encap_of_hop(uint16_t type, unsigned short cut)
{
	struct nlmsghdr *message = route();
	struct nlattr *list = mnl_attr_nest_start(message, RTA_MULTIPATH);
	struct rtnexthop *hop = mnl_nlmsg_get_payload_tail(message);

	*hop = (struct rtnexthop){ .rtnh_len = cut ? cut : sizeof(*hop) };
	message->nlmsg_len += sizeof(*hop);
	hop++;
	*hop = (struct rtnexthop){ .rtnh_len = sizeof(*hop) + 2 * MNL_ATTR_HDRLEN };
	message->nlmsg_len += sizeof(*hop);
	mnl_attr_put_u16(message, RTA_ENCAP_TYPE, type);
	mnl_attr_nest_end(message, list);
	return merlon_route_encap(message);
}

static void test_encap(void **state)
{
	static const uint16_t refused[] = { LWTUNNEL_ENCAP_MPLS, LWTUNNEL_ENCAP_ILA, LWTUNNEL_ENCAP_SEG6, LWTUNNEL_ENCAP_BPF,
					    LWTUNNEL_ENCAP_SEG6_LOCAL, LWTUNNEL_ENCAP_RPL, LWTUNNEL_ENCAP_IOAM6, 99 };
	struct nlmsghdr *message;
	struct nhmsg *header;
	unsigned short cut;
	size_t i;

	(void)state;
	assert_int_equal(merlon_route_encap(route()), 0);
	for (i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		assert_int_equal(encap(refused[i]), refused[i]);
		assert_int_equal(encap_of_hop(refused[i], 0), refused[i]);
	}
	/* for the interface of a tunnel, where TC sees what is inside */
	assert_int_equal(encap(LWTUNNEL_ENCAP_IP), 0);
	assert_int_equal(encap(LWTUNNEL_ENCAP_IP6), 0);
	assert_int_equal(encap(10), 0);
	for (cut = 1; cut < sizeof(struct rtnexthop); cut++)
		assert_int_equal(encap_of_hop(LWTUNNEL_ENCAP_SEG6, cut), 0);
	assert_int_equal(encap_of_hop(LWTUNNEL_ENCAP_SEG6, 1000), 0);
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = RTM_NEWNEXTHOP;
	assert_int_equal(merlon_route_encap(message), 0);
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nh_family = AF_INET6;
	mnl_attr_put_u16(message, NHA_ENCAP_TYPE, LWTUNNEL_ENCAP_SEG6);
	assert_int_equal(merlon_route_encap(message), LWTUNNEL_ENCAP_SEG6);
}

static void test_multicast(void **state)
{
	static const char head[] = "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote\n";
	struct fib_rule_hdr *rule;
	char text[256], name[IFNAMSIZ] = "";
	struct nlmsghdr *message;
	FILE *file = fmemopen((void *)head, strlen(head), "r");

	(void)state;
	assert_false(merlon_multicast_interface(file, name));
	fclose(file);
	snprintf(text, sizeof(text), "%s 0 eth0              0       0         0       0 00008 00000000 00000000\n", head);
	file = fmemopen(text, strlen(text), "r");
	assert_true(merlon_multicast_interface(file, name));
	assert_string_equal(name, "eth0");
	fclose(file);
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = RTM_NEWRULE;
	assert_int_equal(merlon_multicast_table(message), 0);
	rule = mnl_nlmsg_put_extra_header(message, sizeof(*rule));
	*rule = (struct fib_rule_hdr){ .family = RTNL_FAMILY_IPMR, .table = RT_TABLE_DEFAULT, .action = FR_ACT_TO_TBL };
	assert_int_equal(merlon_multicast_table(message), 0);
	rule->family = RTNL_FAMILY_IP6MR;
	assert_int_equal(merlon_multicast_table(message), RT_TABLE_DEFAULT);
	rule->table = RT_TABLE_MAIN;
	assert_int_equal(merlon_multicast_table(message), 0);
	mnl_attr_put_u32(message, FRA_TABLE, 1000);
	assert_int_equal(merlon_multicast_table(message), 1000);
	/* one of IPv6 itself, as a kernel without multicast routing answers */
	rule->family = AF_INET6;
	assert_int_equal(merlon_multicast_table(message), 0);
}

/* A route of IPv4 with next hops on these interfaces; `cut`: bytes that the last one claims, 0: as many as it has. */
static struct merlon_ways ways(const struct merlon_ifpattern *pattern, const int *interface, size_t n, unsigned short cut)
{
	static struct merlon_link link[] = { { .index = 1, .name = "lo" }, { .index = 2, .name = "eth0" }, { .index = 3, .name = "eth1" } };
	const struct merlon_links links = { link, 3 };
	const struct merlon_host_options options = { .interfaces = pattern };
	const struct merlon_host_view view = { .options = &options };
	struct nlmsghdr *message = route();
	struct nlattr *list = mnl_attr_nest_start(message, RTA_MULTIPATH);
	size_t i;

	for (i = 0; i < n; i++) {
		struct rtnexthop *hop = mnl_nlmsg_get_payload_tail(message);

		*hop = (struct rtnexthop){ .rtnh_len = cut && i + 1 == n ? cut : sizeof(*hop), .rtnh_ifindex = interface[i] };
		message->nlmsg_len += sizeof(*hop);
	}
	mnl_attr_nest_end(message, list);
	return merlon_route_ways(&view, &links, message);
}

static void test_ways(void **state)
{
	const int two[] = { 2, 3 }, same[] = { 2, 2 }, gone[] = { 2, 9 };
	struct merlon_ifpattern *pattern;
	struct merlon_ways w;
	unsigned short cut;

	(void)state;
	w = ways(NULL, two, 2, 0);
	assert_string_equal(w.filtered, "eth0");
	assert_string_equal(w.other, "eth1");
	assert_null(w.unfiltered);
	w = ways(NULL, same, 2, 0);
	assert_null(w.other);
	w = ways(NULL, gone, 2, 0);
	assert_null(w.other);
	assert_int_equal(merlon_ifpattern_parse("*,!eth1", &pattern), 0);
	w = ways(pattern, two, 2, 0);
	assert_string_equal(w.filtered, "eth0");
	assert_string_equal(w.unfiltered, "eth1");
	for (cut = 1; cut < sizeof(struct rtnexthop); cut++)
		assert_null(ways(pattern, two, 2, cut).unfiltered);
	assert_null(ways(pattern, two, 2, 1000).unfiltered);
	merlon_ifpattern_free(pattern);
}

static bool ipvs_in(const char *text, char ret[32])
{
	FILE *file = fmemopen((void *)text, strlen(text), "r");
	bool found = merlon_ipvs_service(file, ret, 32);

	fclose(file);
	return found;
}

static void test_ipvs(void **state)
{
	static const char none[] = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n"
				   "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
	char one[512], service[32] = "";

	(void)state;
	assert_false(ipvs_in(none, service));
	snprintf(one, sizeof(one), "%sUDP  [fd00::1]:0035 wrr\n  -> [fd00::2]:0035 Masq 1 0 0\n", none);
	assert_true(ipvs_in(one, service));
	assert_string_equal(service, "UDP  [fd00::1]:0035 wrr");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enslaved), cmocka_unit_test(test_stacked), cmocka_unit_test(test_bridge),
		cmocka_unit_test(test_xdp), cmocka_unit_test(test_cut_short), cmocka_unit_test(test_xfrm_state),
		cmocka_unit_test(test_xfrm_policy), cmocka_unit_test(test_ipvs),
		cmocka_unit_test(test_filters), cmocka_unit_test(test_encap),
		cmocka_unit_test(test_multicast), cmocka_unit_test(test_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
