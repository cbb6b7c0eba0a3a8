/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Takes over the connections that nf_conntrack knows when the first policy comes into force, so that rules for the first
 * packets of connections do not cut those that are open. As ctnetlink tells them (net/netfilter/nf_conntrack_netlink.c):
 * windows are not among that, so TCP is taken over as if it was picked up. tests/bpf/test_takeover compares what comes after.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include "bpf/session.h"
#include "src/kernel/internal.h"
#include "src/kernel/table.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/netlink.h"

#define TRIES 5
#define STREAM_AGE_NS 3000000000ULL	/* more than MERLON_UDP_STREAM_NS */

static struct merlon_attributes nested(const struct nlattr *nest)
{
	struct merlon_attributes a = { 0 };

	if (nest)
		mnl_attr_parse_nested(nest, merlon_on_attribute, &a);
	return a;
}

static bool read_bytes(const struct merlon_attributes *a, unsigned type, void *ret, size_t bytes)
{
	if (!a->at[type] || mnl_attr_get_payload_len(a->at[type]) != bytes)
		return false;
	memcpy(ret, mnl_attr_get_payload(a->at[type]), bytes);
	return true;
}

static uint8_t number8(const struct merlon_attributes *a, unsigned type)
{
	uint8_t n = 0;

	read_bytes(a, type, &n, sizeof(n));
	return n;
}

/* The ends as packets in the first one's direction have them, ports as tuples do (struct merlon_tuple4). */
struct ends {
	enum merlon_family family;
	__be32 saddr[4], daddr[4];
	__be16 sport, dport, id;
	uint8_t l4proto;
};

/* ICMP: the request's type and code are the asking end's port. */
static bool read_ports(const struct merlon_attributes *proto, struct ends *ret)
{
	bool v6 = ret->family == MERLON_IPV6;
	uint8_t asked[2];

	ret->l4proto = number8(proto, CTA_PROTO_NUM);
	if (!merlon_is_icmp(ret->l4proto)) {
		/* what has no ports has none of these */
		read_bytes(proto, CTA_PROTO_SRC_PORT, &ret->sport, sizeof(ret->sport));
		read_bytes(proto, CTA_PROTO_DST_PORT, &ret->dport, sizeof(ret->dport));
		return true;
	}
	if (!read_bytes(proto, v6 ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE, &asked[0], 1) ||
	    !read_bytes(proto, v6 ? CTA_PROTO_ICMPV6_CODE : CTA_PROTO_ICMP_CODE, &asked[1], 1) ||
	    !read_bytes(proto, v6 ? CTA_PROTO_ICMPV6_ID : CTA_PROTO_ICMP_ID, &ret->id, sizeof(ret->id)))
		return false;
	memcpy(&ret->sport, asked, sizeof(asked));
	return true;
}

static bool read_ends(const struct nlattr *tuple, uint8_t family, struct ends *ret)
{
	struct merlon_attributes parts = nested(tuple), ip = nested(parts.at[CTA_TUPLE_IP]), proto = nested(parts.at[CTA_TUPLE_PROTO]);

	if (family == AF_INET6) {
		ret->family = MERLON_IPV6;
		if (!read_bytes(&ip, CTA_IP_V6_SRC, ret->saddr, 16) || !read_bytes(&ip, CTA_IP_V6_DST, ret->daddr, 16))
			return false;
	} else {
		ret->family = MERLON_IPV4;
		if (family != AF_INET || !read_bytes(&ip, CTA_IP_V4_SRC, ret->saddr, 4) || !read_bytes(&ip, CTA_IP_V4_DST, ret->daddr, 4))
			return false;
	}
	return read_ports(&proto, ret);
}

/* 1: the sender is end `a`. */
static int make_tuple(union merlon_tuple *tuple, const struct ends *e)
{
	uint32_t ports = merlon_pair16(e->sport, e->dport), tail = merlon_tuple_tail(e->id, e->l4proto);

	if (e->family == MERLON_IPV4)
		return merlon_tuple4_set(tuple, e->saddr[0], e->daddr[0], ports, tail);
	return merlon_tuple6_set(tuple, e->saddr, e->daddr, ports, tail);
}

static void read_tcp(const struct nlattr *info, struct merlon_session *session)
{
	struct merlon_attributes outer = nested(info), tcp = nested(outer.at[CTA_PROTOINFO_TCP]);
	uint8_t state = number8(&tcp, CTA_PROTOINFO_TCP_STATE);

	/* the kernel's numbers (enum tcp_conntrack) are those of enum merlon_tcp_state */
	_Static_assert((int)TCP_CONNTRACK_SYN_SENT2 == (int)MERLON_TCP_SYN_SENT2, "states of TCP");
	_Static_assert(IP_CT_TCP_FLAG_CLOSE_INIT == MERLON_TCP_CLOSED, "the end that closed");
	session->state = state < MERLON_TCP_STATES ? state : MERLON_TCP_ESTABLISHED;
	for (unsigned d = 0; d < MERLON_DIRECTIONS; d++) {
		struct nf_ct_tcp_flags flags = { 0 };

		read_bytes(&tcp, d == MERLON_ORIGINAL ? CTA_PROTOINFO_TCP_FLAGS_ORIGINAL : CTA_PROTOINFO_TCP_FLAGS_REPLY, &flags,
			   sizeof(flags));
		session->tcp.seen[d].flags = MERLON_TCP_SACKS | MERLON_TCP_LIBERAL | (flags.flags & MERLON_TCP_CLOSED);
	}
	session->tcp.last_kind = MERLON_TCP_KIND_OTHER;
	/*
	 * Which end's reset it was ctnetlink does not tell. If it was the originator's, its next SYN begins a connection, which
	 * the rules judge; else it is let through. Here they judge it in any case.
	 */
	if (session->state == MERLON_TCP_SYN_SENT2)
		session->tcp.last_flags = MERLON_TCP_SIMULTANEOUS;
	if (session->state == MERLON_TCP_CLOSE)
		session->tcp.last_kind = MERLON_TCP_KIND_RST;
}

static void read_sctp(const struct nlattr *info, struct merlon_session *session)
{
	struct merlon_attributes outer = nested(info), sctp = nested(outer.at[CTA_PROTOINFO_SCTP]);
	uint8_t state = number8(&sctp, CTA_PROTOINFO_SCTP_STATE);

	session->state = state < MERLON_SCTP_STATES ? state : MERLON_SCTP_ESTABLISHED;
	read_bytes(&sctp, CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, &session->sctp.vtag[MERLON_ORIGINAL], sizeof(__be32));
	read_bytes(&sctp, CTA_PROTOINFO_SCTP_VTAG_REPLY, &session->sctp.vtag[MERLON_REPLY], sizeof(__be32));
}

/* Also of one direction. */
static bool has_zone(const struct merlon_attributes *entry)
{
	struct merlon_attributes original = nested(entry->at[CTA_TUPLE_ORIG]), reply = nested(entry->at[CTA_TUPLE_REPLY]);

	return entry->at[CTA_ZONE] || original.at[CTA_TUPLE_ZONE] || reply.at[CTA_TUPLE_ZONE];
}

/* The flow of an entry. False: it is none that the data path would have: of another zone, translated, not confirmed. */
static bool read_flow(const struct nlmsghdr *message, uint64_t now_ns, enum merlon_family *ret_family, struct merlon_flow *ret)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	struct merlon_attributes entry = { 0 };
	struct merlon_session *session = &ret->session;
	struct ends e = { 0 };
	uint32_t status;
	int is_a;

	mnl_attr_parse(message, sizeof(*header), merlon_on_attribute, &entry);
	status = merlon_attribute_u32(&entry, CTA_STATUS, 0);
	/* what is expected is related until it is answered, from then on it is as all others */
	if ((status & IPS_EXPECTED && !(status & IPS_SEEN_REPLY)) || has_zone(&entry) || status & (IPS_NAT_MASK | IPS_DYING) ||
	    !(status & IPS_CONFIRMED) ||
	    !read_ends(entry.at[CTA_TUPLE_ORIG], header->nfgen_family, &e))
		return false;
	*ret = (struct merlon_flow){ 0 };
	*ret_family = e.family;
	is_a = make_tuple(&ret->tuple, &e);
	session->flags = is_a && (memcmp(e.saddr, e.daddr, sizeof(e.saddr)) || e.sport != e.dport) ? MERLON_S_ORIG_IS_A : 0;
	session->expires_ns = now_ns + merlon_attribute_u32(&entry, CTA_TIMEOUT, 0) * 1000000000ULL;
	session->created_ns = now_ns;
	if (status & IPS_SEEN_REPLY)
		session->flags |= MERLON_S_SEEN_REPLY;
	if (status & IPS_ASSURED) {
		session->flags |= MERLON_S_ASSURED | MERLON_S_PROVED;
		session->created_ns -= STREAM_AGE_NS;
	}
	if (e.l4proto == MERLON_PROTO_TCP)
		read_tcp(entry.at[CTA_PROTOINFO], session);
	else if (e.l4proto == MERLON_PROTO_SCTP)
		read_sctp(entry.at[CTA_PROTOINFO], session);
	return true;
}

struct adoption {
	struct merlon_flow_table table;
	uint64_t seed, now_ns;
	unsigned n, left_out;
};

static int on_entry(const struct nlmsghdr *message, void *context)
{
	struct adoption *adoption = context;
	enum merlon_family family;
	struct merlon_flow flow;
	int r;

	if (!read_flow(message, adoption->now_ns, &family, &flow))
		return MNL_CB_OK;
	r = merlon_table_enter(&adoption->table, adoption->seed, family, &flow, adoption->now_ns);
	adoption->n += r == 0;
	adoption->left_out += r == -ENOSPC || r == -EBUSY;
	return MNL_CB_OK;
}

static int dump(struct adoption *adoption)
{
	char buffer[64] __attribute__((aligned(MNL_ALIGNTO)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
	request->nlmsg_flags = NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(request, sizeof(struct nfgenmsg));
	return merlon_netlink_exchange(NETLINK_NETFILTER, request, false, on_entry, adoption);
}

int merlon_dataplane_adopt(struct merlon_dataplane *dp, unsigned *ret_n, unsigned *ret_left_out)
{
	struct adoption adoption = { .seed = dp->control.seed, .now_ns = merlon_now_ns() };
	int tries, r = merlon_table_map(merlon_table_of(dp), &adoption.table);

	*ret_n = *ret_left_out = 0;
	if (r < 0)
		return r;
	/* of a first policy that did not come into force: they may have ended since */
	if (dp->has_sessions)
		merlon_dataplane_flush_sessions(dp);
	dp->has_sessions = true;
	/* what was entered before the list changed is there already */
	r = -EINTR;
	for (tries = 0; r == -EINTR && tries < TRIES; tries++) {
		adoption.left_out = 0;
		r = dump(&adoption);
	}
	merlon_table_unmap(&adoption.table);
	*ret_n = adoption.n;
	*ret_left_out = adoption.left_out;
	return r;
}
