/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is delivered, and what rules log, by nfnetlink_log. The table of the observer belongs to its socket (Linux 5.12):
 * a ruleset that begins with `flush ruleset` leaves it alone. It is made first, so that of the hooks at the last priority it
 * is the last one: behind nf_conntrack's, which makes a connection known (nf_hook_entries_grow(): newer ones in front).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/oracle.h"

#define TABLE MERLON_OBSERVER_TABLE
#define CHAIN "delivered"
#define LOG_BUFFER (32 << 20)	/* as much as a batch of the largest packets needs */

#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 2
#endif

static int put_rule(struct merlon_nft_batch *b)
{
	struct nlmsghdr *h = merlon_nft_next(b, NFT_MSG_NEWRULE, NFPROTO_INET, NLM_F_CREATE | NLM_F_APPEND);
	struct nftnl_rule *rule = nftnl_rule_alloc();
	struct nftnl_expr *log = nftnl_expr_alloc("log"), *drop = nftnl_expr_alloc("immediate");

	if (!h || !rule || !log || !drop)
		return -ENOMEM;
	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, TABLE);
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, CHAIN);
	nftnl_expr_set_u16(log, NFTNL_EXPR_LOG_GROUP, MERLON_GROUP_DELIVERED);
	nftnl_expr_set_u16(log, NFTNL_EXPR_LOG_QTHRESHOLD, 1);
	nftnl_rule_add_expr(rule, log);
	nftnl_expr_set_u32(drop, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(drop, NFTNL_EXPR_IMM_VERDICT, NF_DROP);
	nftnl_rule_add_expr(rule, drop);
	nftnl_rule_nlmsg_build_payload(h, rule);
	nftnl_rule_free(rule);
	merlon_nft_put(b, h);
	return 0;
}

static int make_table(struct mnl_socket *netfilter)
{
	_cleanup_(merlon_nft_clear) struct merlon_nft_batch b;
	int r = merlon_nft_begin(&b, netfilter);

	if (!r)
		r = merlon_nft_put_table(&b, NFT_MSG_NEWTABLE, TABLE, NFT_TABLE_F_OWNER);
	if (!r)
		r = merlon_nft_put_chain(&b, TABLE, CHAIN, NF_INET_LOCAL_IN, INT_MAX);
	if (!r)
		r = put_rule(&b);
	return r ? r : merlon_nft_commit(&b);
}

static int config(struct mnl_socket *log, uint16_t group, uint16_t attribute, const void *value, size_t bytes)
{
	char buffer[256];
	struct nlmsghdr *h = nftnl_nlmsg_build_hdr(buffer, 0, AF_UNSPEC, 0, 0);
	struct nfgenmsg *nfg = mnl_nlmsg_get_payload(h);

	h->nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
	nfg->res_id = htons(group);
	mnl_attr_put(h, attribute, bytes, value);
	return merlon_netlink_ask(log, h);
}

static int listen_to(struct mnl_socket *log, uint16_t group)
{
	struct nfulnl_msg_config_cmd bind = { .command = NFULNL_CFG_CMD_BIND };
	struct nfulnl_msg_config_mode mode = { .copy_range = htonl(0xffff), .copy_mode = NFULNL_COPY_PACKET };
	uint32_t one = htonl(1);
	int r = config(log, group, NFULA_CFG_CMD, &bind, sizeof(bind));

	if (!r)
		r = config(log, group, NFULA_CFG_MODE, &mode, sizeof(mode));
	/* each packet at once: nothing is to be waited for */
	return r ? r : config(log, group, NFULA_CFG_QTHRESH, &one, sizeof(one));
}

int merlon_observe(struct mnl_socket *observer, struct mnl_socket *log)
{
	int fd = mnl_socket_get_fd(log), bytes = LOG_BUFFER, r;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		return -errno;
	r = make_table(observer);
	if (!r)
		r = listen_to(log, MERLON_GROUP_DELIVERED);
	return r ? r : listen_to(log, MERLON_GROUP_LOGGED);
}

static uint32_t number(const struct nlattr *attr)
{
	return attr ? ntohl(mnl_attr_get_u32(attr)) : 0;
}

static int attribute(const struct nlattr *attr, void *context)
{
	const struct nlattr **table = context;

	if (mnl_attr_get_type(attr) <= NFULA_MAX)
		table[mnl_attr_get_type(attr)] = attr;
	return MNL_CB_OK;
}

static int take_delivered(struct merlon_ears *ears, const struct nlattr **a)
{
	struct merlon_arrival arrival = { .channel = MERLON_CHANNEL_DELIVERED, .mark = number(a[NFULA_MARK]),
					  .iif = number(a[NFULA_IFINDEX_INDEV]) };
	struct merlon_partial complete = { 0 };

	if (!a[NFULA_PAYLOAD])
		return MNL_CB_OK;
	arrival.bytes = mnl_attr_get_payload_len(a[NFULA_PAYLOAD]);
	merlon_ears_packet(ears, &arrival, mnl_attr_get_payload(a[NFULA_PAYLOAD]), &complete);
	return MNL_CB_OK;
}

static void read_header(const uint8_t *ip, size_t bytes, struct merlon_logged *ret)
{
	if (bytes >= sizeof(struct iphdr) && ip[0] >> 4 == 4) {
		ret->family = MERLON_IPV4;
		ret->bytes = ip[2] << 8 | ip[3];
		memcpy(ret->source, ip + offsetof(struct iphdr, saddr), 4);
		memcpy(ret->destination, ip + offsetof(struct iphdr, daddr), 4);
	} else if (bytes >= sizeof(struct ip6_hdr)) {
		ret->family = MERLON_IPV6;
		ret->bytes = (ip[4] << 8 | ip[5]) + sizeof(struct ip6_hdr);
		memcpy(ret->source, ip + offsetof(struct ip6_hdr, ip6_src), 16);
		memcpy(ret->destination, ip + offsetof(struct ip6_hdr, ip6_dst), 16);
	}
}

static int take_logged(struct merlon_ears *ears, const struct nlattr **a)
{
	const struct nfulnl_msg_packet_hdr *head = a[NFULA_PACKET_HDR] ? mnl_attr_get_payload(a[NFULA_PACKET_HDR]) : NULL;
	struct merlon_logged logged = { .iif = number(a[NFULA_IFINDEX_INDEV]), .oif = number(a[NFULA_IFINDEX_OUTDEV]),
					.mark = number(a[NFULA_MARK]) };

	if (!a[NFULA_PAYLOAD] || !head)
		return MNL_CB_OK;
	logged.hook = head->hook == NF_INET_LOCAL_IN ? MERLON_INPUT :
		      head->hook == NF_INET_FORWARD ? MERLON_FORWARD : MERLON_OUTPUT;
	read_header(mnl_attr_get_payload(a[NFULA_PAYLOAD]), mnl_attr_get_payload_len(a[NFULA_PAYLOAD]), &logged);
	if (a[NFULA_PREFIX])
		strncpy(logged.prefix, mnl_attr_get_str(a[NFULA_PREFIX]), sizeof(logged.prefix) - 1);
	merlon_ears_logged(ears, &logged);
	return MNL_CB_OK;
}

static int take(const struct nlmsghdr *h, void *context)
{
	const struct nlattr *table[NFULA_MAX + 1] = { 0 };
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(h);

	if (h->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET))
		return MNL_CB_OK;
	mnl_attr_parse(h, sizeof(*nfg), attribute, table);
	return ntohs(nfg->res_id) == MERLON_GROUP_DELIVERED ? take_delivered(context, table) : take_logged(context, table);
}

int merlon_observe_read(struct mnl_socket *log, struct merlon_ears *ears)
{
	static char buffer[1 << 18];
	ssize_t n;

	while ((n = recv(mnl_socket_get_fd(log), buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
		if (mnl_cb_run(buffer, n, 0, 0, take, ears) < 0)
			return -errno;
	return n < 0 && errno != EAGAIN ? -errno : 0;
}
