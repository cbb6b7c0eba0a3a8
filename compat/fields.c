/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/fields.h"

#include <linux/netfilter/nf_tables.h>
#include <netinet/in.h>

#include "src/util/cleanup.h"

#define NH NFT_PAYLOAD_NETWORK_HEADER
#define TH NFT_PAYLOAD_TRANSPORT_HEADER

/* RFC 791 3.1 */
static const struct merlon_header_field ipv4[] = {
	{ NH, 0, 1, MERLON_NO_FIELD, "ip version and hdrlength" },
	{ NH, 1, 1, MERLON_F_TOS, "ip dscp" },
	{ NH, 2, 2, MERLON_F_LENGTH, "ip length" },
	{ NH, 4, 2, MERLON_NO_FIELD, "ip id" },
	{ NH, 6, 2, MERLON_NO_FIELD, "ip frag-off" },
	{ NH, 8, 1, MERLON_F_TTL, "ip ttl" },
	{ NH, 9, 1, MERLON_F_L4PROTO, "ip protocol" },
	{ NH, 10, 2, MERLON_NO_FIELD, "ip checksum" },
	{ NH, 12, 4, MERLON_F_SADDR, "ip saddr" },
	{ NH, 16, 4, MERLON_F_DADDR, "ip daddr" },
	{ 0 },
};

/* RFC 8200 3; the traffic class lies across the first two bytes */
static const struct merlon_header_field ipv6[] = {
	{ NH, 0, 2, MERLON_F_TOS, "ip6 dscp" },
	{ NH, 2, 2, MERLON_NO_FIELD, "ip6 flowlabel" },
	{ NH, 4, 2, MERLON_NO_FIELD, "ip6 length" },
	{ NH, 6, 1, MERLON_F_NEXTHDR, "ip6 nexthdr" },
	{ NH, 7, 1, MERLON_F_TTL, "ip6 hoplimit" },
	{ NH, 8, 16, MERLON_F_SADDR, "ip6 saddr" },
	{ NH, 24, 16, MERLON_F_DADDR, "ip6 daddr" },
	{ 0 },
};

/* Protocols with ports, and what is not known: bytes 0-1 and 2-3, whatever they are. */
static const struct merlon_header_field ports[] = {
	{ TH, 0, 2, MERLON_F_TH0, "th sport" },
	{ TH, 2, 2, MERLON_F_TH2, "th dport" },
	{ 0 },
};

/* RFC 9293 3.1 */
static const struct merlon_header_field tcp[] = {
	{ TH, 0, 2, MERLON_F_TH0, "tcp sport" },
	{ TH, 2, 2, MERLON_F_TH2, "tcp dport" },
	{ TH, 4, 4, MERLON_NO_FIELD, "tcp sequence" },
	{ TH, 8, 4, MERLON_NO_FIELD, "tcp ackseq" },
	{ TH, 12, 1, MERLON_NO_FIELD, "tcp doff" },
	{ TH, 13, 1, MERLON_F_TCP_FLAGS, "tcp flags" },
	{ TH, 14, 2, MERLON_NO_FIELD, "tcp window" },
	{ TH, 16, 2, MERLON_NO_FIELD, "tcp checksum" },
	{ TH, 18, 2, MERLON_NO_FIELD, "tcp urgptr" },
	{ 0 },
};

static const struct merlon_header_field udp[] = {
	{ TH, 0, 2, MERLON_F_TH0, "udp sport" },
	{ TH, 2, 2, MERLON_F_TH2, "udp dport" },
	{ TH, 4, 2, MERLON_NO_FIELD, "udp length" },
	{ TH, 6, 2, MERLON_NO_FIELD, "udp checksum" },
	{ 0 },
};

/* RFC 792, RFC 4443 */
static const struct merlon_header_field icmp[] = {
	{ TH, 0, 1, MERLON_F_ICMP_TYPE, "icmp type" },
	{ TH, 1, 1, MERLON_F_ICMP_CODE, "icmp code" },
	{ TH, 2, 2, MERLON_NO_FIELD, "icmp checksum" },
	{ TH, 4, 2, MERLON_NO_FIELD, "icmp id" },
	{ TH, 6, 2, MERLON_NO_FIELD, "icmp sequence" },
	{ 0 },
};

static const struct merlon_header_field *transport(int proto)
{
	static const struct merlon_header_field none[] = { { 0 } };

	switch (proto) {
	case IPPROTO_TCP:
		return tcp;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return udp;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return icmp;
	case -1:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		return ports;
	default:
		return none;
	}
}

const struct merlon_header_field *merlon_header_field(const struct merlon_eval *eval, uint32_t base, uint32_t offset)
{
	const struct merlon_header_field *f;

	if (base == TH)
		f = transport(eval->proto);
	else if (base == NH && eval->family == MERLON_IPV4)
		f = ipv4;
	else if (base == NH && eval->family == MERLON_IPV6)
		f = ipv6;
	else
		return NULL;
	for (; f->name; f++)
		if (f->offset == offset)
			return f;
	return NULL;
}

const char *merlon_meta_name(uint32_t key)
{
	static const char *const name[] = {
		[NFT_META_LEN] = "meta length", [NFT_META_PROTOCOL] = "meta protocol",
		[NFT_META_PRIORITY] = "meta priority", [NFT_META_MARK] = "meta mark",
		[NFT_META_IIF] = "meta iif", [NFT_META_OIF] = "meta oif",
		[NFT_META_IIFNAME] = "meta iifname", [NFT_META_OIFNAME] = "meta oifname",
		[NFT_META_IIFTYPE] = "meta iiftype", [NFT_META_OIFTYPE] = "meta oiftype",
		[NFT_META_SKUID] = "meta skuid", [NFT_META_SKGID] = "meta skgid",
		[NFT_META_NFTRACE] = "meta nftrace", [NFT_META_RTCLASSID] = "meta rtclassid",
		[NFT_META_SECMARK] = "meta secmark", [NFT_META_NFPROTO] = "meta nfproto",
		[NFT_META_L4PROTO] = "meta l4proto", [NFT_META_BRI_IIFNAME] = "meta ibrname",
		[NFT_META_BRI_OIFNAME] = "meta obrname", [NFT_META_PKTTYPE] = "meta pkttype",
		[NFT_META_CPU] = "meta cpu", [NFT_META_IIFGROUP] = "meta iifgroup",
		[NFT_META_OIFGROUP] = "meta oifgroup", [NFT_META_CGROUP] = "meta cgroup",
		[NFT_META_PRANDOM] = "meta random", [NFT_META_SECPATH] = "meta secpath",
		[NFT_META_IIFKIND] = "meta iifkind", [NFT_META_OIFKIND] = "meta oifkind",
		[NFT_META_TIME_NS] = "meta time", [NFT_META_TIME_DAY] = "meta day",
		[NFT_META_TIME_HOUR] = "meta hour",
	};

	return key < ARRAY_SIZE(name) && name[key] ? name[key] : "meta (unknown key)";
}

const char *merlon_ct_name(uint32_t key)
{
	static const char *const name[] = {
		[NFT_CT_STATE] = "ct state", [NFT_CT_DIRECTION] = "ct direction", [NFT_CT_STATUS] = "ct status",
		[NFT_CT_MARK] = "ct mark", [NFT_CT_SECMARK] = "ct secmark", [NFT_CT_EXPIRATION] = "ct expiration",
		[NFT_CT_HELPER] = "ct helper", [NFT_CT_L3PROTOCOL] = "ct l3proto", [NFT_CT_SRC] = "ct saddr",
		[NFT_CT_DST] = "ct daddr", [NFT_CT_PROTOCOL] = "ct protocol", [NFT_CT_PROTO_SRC] = "ct proto-src",
		[NFT_CT_PROTO_DST] = "ct proto-dst", [NFT_CT_LABELS] = "ct label", [NFT_CT_PKTS] = "ct packets",
		[NFT_CT_BYTES] = "ct bytes", [NFT_CT_AVGPKT] = "ct avgpkt", [NFT_CT_ZONE] = "ct zone",
		[NFT_CT_EVENTMASK] = "ct event", [NFT_CT_SRC_IP] = "ct ip saddr", [NFT_CT_DST_IP] = "ct ip daddr",
		[NFT_CT_SRC_IP6] = "ct ip6 saddr", [NFT_CT_DST_IP6] = "ct ip6 daddr", [NFT_CT_ID] = "ct id",
	};

	return key < ARRAY_SIZE(name) && name[key] ? name[key] : "ct (unknown key)";
}
