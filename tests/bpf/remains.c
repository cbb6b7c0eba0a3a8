/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bpf/remains.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "src/kernel/table.h"

#define SYSCTLS "/proc/sys/net/netfilter"
#define ROOM 8192	/* for a message of ctnetlink */

/* A tuple as its originator has it. */
struct ends {
	const void *from, *to;
	uint16_t sport, dport, id;	/* network order */
	uint8_t family, l4proto;
};

static struct nlmsghdr *request(char *buffer, uint16_t type, uint16_t flags, uint8_t family)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *nfg;

	h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	nfg = mnl_nlmsg_put_extra_header(h, sizeof(*nfg));
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	return h;
}

/* The answer's bytes, in `buffer`. */
static ssize_t ask(const struct nlmsghdr *h, char *buffer)
{
	struct mnl_socket *nl = mnl_socket_open(NETLINK_NETFILTER);
	ssize_t n;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		abort();
	n = mnl_socket_recvfrom(nl, buffer, ROOM);
	mnl_socket_close(nl);
	return n;
}

static void put_tuple(struct nlmsghdr *h, const struct ends *e)
{
	struct nlattr *tuple = mnl_attr_nest_start(h, CTA_TUPLE_ORIG), *part = mnl_attr_nest_start(h, CTA_TUPLE_IP);
	bool v6 = e->family == MERLON_IPV6, icmp = e->l4proto == IPPROTO_ICMP || e->l4proto == IPPROTO_ICMPV6;

	mnl_attr_put(h, v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, v6 ? 16 : 4, e->from);
	mnl_attr_put(h, v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, v6 ? 16 : 4, e->to);
	mnl_attr_nest_end(h, part);
	part = mnl_attr_nest_start(h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(h, CTA_PROTO_NUM, e->l4proto);
	if (icmp) {
		mnl_attr_put_u16(h, v6 ? CTA_PROTO_ICMPV6_ID : CTA_PROTO_ICMP_ID, e->id);
		mnl_attr_put_u8(h, v6 ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE, ntohs(e->sport) >> 8);
		mnl_attr_put_u8(h, v6 ? CTA_PROTO_ICMPV6_CODE : CTA_PROTO_ICMP_CODE, ntohs(e->sport) & 0xff);
	} else {
		mnl_attr_put_u16(h, CTA_PROTO_SRC_PORT, e->sport);
		mnl_attr_put_u16(h, CTA_PROTO_DST_PORT, e->dport);
	}
	mnl_attr_nest_end(h, part);
	mnl_attr_nest_end(h, tuple);
}

static int64_t kernel_remains(const struct ends *e)
{
	char buffer[ROOM];
	struct nlmsghdr *h = request(buffer, IPCTNL_MSG_CT_GET, NLM_F_ACK, e->family == MERLON_IPV6 ? AF_INET6 : AF_INET);
	const struct nlattr *attr;
	ssize_t n;

	put_tuple(h, e);
	n = ask(h, buffer);
	h = (struct nlmsghdr *)buffer;
	if (n <= 0 || h->nlmsg_type == NLMSG_ERROR)
		return -1;
	mnl_attr_for_each(attr, h, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(attr) == CTA_TIMEOUT)
			return ntohl(mnl_attr_get_u32(attr));
	return -1;
}

unsigned remains_kernel_count(bool flush)
{
	char buffer[ROOM];
	FILE *f;
	unsigned n;

	if (flush)
		ask(request(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, AF_UNSPEC), buffer);
	f = fopen(SYSCTLS "/nf_conntrack_count", "r");
	if (!f || fscanf(f, "%u", &n) != 1)
		abort();
	fclose(f);
	return n;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static struct ends ends_of(uint8_t family, const void *key, bool from_a)
{
	const struct merlon_tuple4 *t4 = key;
	const struct merlon_tuple6 *t6 = key;
	struct ends e = { .family = family };
	uint16_t a_port, b_port;

	if (family == MERLON_IPV4) {
		e.from = from_a ? &t4->a : &t4->b;
		e.to = from_a ? &t4->b : &t4->a;
		e.id = t4->id;
		e.l4proto = t4->l4proto;
		a_port = t4->a_port;
		b_port = t4->b_port;
	} else {
		e.from = from_a ? t6->a : t6->b;
		e.to = from_a ? t6->b : t6->a;
		e.id = t6->id;
		e.l4proto = t6->l4proto;
		a_port = t6->a_port;
		b_port = t6->b_port;
	}
	e.sport = from_a ? a_port : b_port;
	e.dport = from_a ? b_port : a_port;
	return e;
}

/* What is asked for, and how much was found. */
struct search {
	uint16_t port;
	void (*each)(void *context, const struct remains *r);
	void *context;
	unsigned found;
};

static void compare(struct search *search, uint8_t family, const void *key, const struct merlon_session *session)
{
	struct ends e = ends_of(family, key, session->flags & MERLON_S_ORIG_IS_A);
	struct remains r = { .family = family, .l4proto = e.l4proto, .port = search->port };

	if (search->port && search->port != ntohs(e.sport) && search->port != ntohs(e.dport) && search->port != ntohs(e.id))
		return;
	r.state = session->state;
	r.merlon_s = (int64_t)(session->expires_ns - now_ns()) / 1000000000;
	r.age_ns = now_ns() - session->created_ns;
	r.kernel_s = kernel_remains(&e);
	search->each(search->context, &r);
	search->found++;
}

static int each_flow(void *context, enum merlon_family family, const struct merlon_flow *flow)
{
	compare(context, family, &flow->tuple, &flow->session);
	return 0;
}

unsigned remains_each(const struct plane *plane, uint16_t port, void (*each)(void *context, const struct remains *r), void *context)
{
	struct search search = { .port = port, .each = each, .context = context };

	if (merlon_table_each(plane_table(plane), each_flow, &search) < 0)
		abort();
	return search.found;
}

static void write_sysctl(const char *name, unsigned value)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), SYSCTLS "/%s", name);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%u", value) < 0 || fclose(f))
		abort();
}

void remains_shuffle(void)
{
	DIR *dir = opendir(SYSCTLS);
	unsigned place[64], n = 0, used = 0, i;
	struct dirent *e;

	if (!dir)
		abort();
	for (i = 0; i < 64; i++)
		place[i] = i;
	for (i = 63; i; i--) {
		unsigned other = any(i + 1), was = place[i];

		place[i] = place[other];
		place[other] = was;
	}
	/* below and above the two minutes from which on a connection that went wrong is forgotten sooner */
	while ((e = readdir(dir)) && used < 64)
		if (strstr(e->d_name, "nf_conntrack_") && strstr(e->d_name, "_timeout") && !strstr(e->d_name, "frag6")) {
			n = place[used++];
			write_sysctl(e->d_name, 50 + n * 10 + (n > 32) * n * 40);
		}
	closedir(dir);
	write_sysctl("nf_conntrack_tcp_max_retrans", any(4) + 1);
}
