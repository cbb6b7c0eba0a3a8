/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/kernel/reject.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>

/* RFC 1812 4.3.2.3: an ICMP error is at most 576 bytes; RFC 4443 2.4 (c): the minimum MTU. */
#define ICMP_MOST 576
#define ICMPV6_MOST 1280

static uint32_t sum_words(const void *data, size_t bytes, uint32_t sum)
{
	const uint8_t *p = data;

	for (; bytes > 1; bytes -= 2, p += 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	return bytes ? sum + ((uint32_t)p[0] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

uint16_t merlon_checksum(const void *data, size_t bytes)
{
	return fold(sum_words(data, bytes, 0));
}

/* RFC 793's pseudo header, RFC 8200's 8.1: addresses, protocol, length. */
uint16_t merlon_transport_checksum(const void *addresses, size_t bytes, uint8_t protocol, const void *l4, size_t l4_bytes)
{
	return fold(sum_words(l4, l4_bytes, sum_words(addresses, bytes, protocol + (uint32_t)l4_bytes)));
}

static bool read_tcp(const struct merlon_reject_event *event, struct tcphdr *ret)
{
	if (event->l4proto != IPPROTO_TCP || event->l4_offset + sizeof(*ret) > event->snap_bytes)
		return false;
	memcpy(ret, event->packet + event->l4_offset, sizeof(*ret));
	return !ret->rst;
}

/*
 * RFC 793, "Reset Generation": with an ACK the reset continues from it, otherwise it acknowledges what came. The
 * length is that of the IP packet: Ethernet padding is no data.
 */
static void fill_reset(const struct merlon_reject_event *event, const struct tcphdr *old, struct tcphdr *rst)
{
	uint32_t data = event->bytes - event->l4_offset - old->doff * 4U;

	memset(rst, 0, sizeof(*rst));
	rst->source = old->dest;
	rst->dest = old->source;
	rst->doff = sizeof(*rst) / 4;
	rst->rst = 1;
	if (old->ack) {
		rst->seq = old->ack_seq;
	} else {
		rst->ack = 1;
		rst->ack_seq = htonl(ntohl(old->seq) + old->syn + old->fin + data);
	}
}

static int build_reset4(const struct merlon_reject_event *event, const struct iphdr *old, uint8_t ttl,
			struct merlon_answer *ret)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .frag_off = htons(IP_DF), .ttl = ttl, .protocol = IPPROTO_TCP,
			    .saddr = old->daddr, .daddr = old->saddr };
	struct tcphdr tcp, rst;

	if (!read_tcp(event, &tcp))
		return -EINVAL;
	fill_reset(event, &tcp, &rst);
	rst.check = merlon_transport_checksum(&ip.saddr, 8, IPPROTO_TCP, &rst, sizeof(rst));
	ret->bytes = sizeof(ip) + sizeof(rst);
	ip.tot_len = htons(ret->bytes);
	memcpy(ret->packet, &ip, sizeof(ip));
	memcpy(ret->packet + sizeof(ip), &rst, sizeof(rst));
	return 0;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* LOOPBACK_IFINDEX: what leaves by it stays. */
static bool is_to_this_host(const struct merlon_reject_event *event)
{
	return event->hook == MERLON_INPUT || event->oif == 1;
}

static int build_unreachable4(const struct merlon_reject_event *event, const struct iphdr *old, uint8_t ttl,
			      struct merlon_answer *ret)
{
	struct icmphdr icmp = { .type = ICMP_DEST_UNREACH, .code = event->code };
	/* net/ipv4/icmp.c: the original's precedence is replaced by internetwork control; not ours: the route's source */
	struct iphdr ip = { .version = 4, .ihl = 5, .tos = (old->tos & IPTOS_TOS_MASK) | IPTOS_PREC_INTERNETCONTROL,
			    .ttl = ttl, .protocol = IPPROTO_ICMP,
			    .saddr = is_to_this_host(event) ? old->daddr : 0, .daddr = old->saddr };
	size_t quote = least(event->snap_bytes, ICMP_MOST - sizeof(ip) - sizeof(icmp));
	uint8_t *at = ret->packet + sizeof(ip);

	memcpy(at, &icmp, sizeof(icmp));
	memcpy(at + sizeof(icmp), event->packet, quote);
	icmp.checksum = merlon_checksum(at, sizeof(icmp) + quote);
	memcpy(at, &icmp, sizeof(icmp));
	ret->bytes = sizeof(ip) + sizeof(icmp) + quote;
	ip.tot_len = htons(ret->bytes);
	memcpy(ret->packet, &ip, sizeof(ip));
	return 0;
}

static bool is_icmp_error4(const struct merlon_reject_event *event)
{
	uint8_t type;

	if (event->l4proto != IPPROTO_ICMP || event->l4_offset >= event->snap_bytes)
		return false;
	type = event->packet[event->l4_offset];
	return type != ICMP_ECHO && type != ICMP_ECHOREPLY && type != ICMP_TIMESTAMP && type != ICMP_TIMESTAMPREPLY &&
	       type != ICMP_INFO_REQUEST && type != ICMP_INFO_REPLY && type != ICMP_ADDRESS && type != ICMP_ADDRESSREPLY;
}

static bool is_unicast4(in_addr_t address)
{
	uint32_t host = ntohl(address);

	return host && (host & 0xf0000000U) != 0xe0000000U && host != 0xffffffffU;
}

static int build4(const struct merlon_reject_event *event, const struct merlon_reject_limits *limits,
		  struct merlon_answer *ret)
{
	struct iphdr old;

	if (event->snap_bytes < sizeof(old))
		return -EINVAL;
	memcpy(&old, event->packet, sizeof(old));
	if (!is_unicast4(old.saddr) || !is_unicast4(old.daddr) || (ntohs(old.frag_off) & IP_OFFMASK) || is_icmp_error4(event))
		return -EINVAL;
	ret->kind = MERLON_ANSWER_IPV4;
	ret->to4.s_addr = old.saddr;
	if (event->type == MERLON_REJECT_TCP_RST)
		return build_reset4(event, &old, limits->ttl, ret);
	return build_unreachable4(event, &old, limits->ttl, ret);
}

static void begin6(const struct ip6_hdr *old, uint8_t next, size_t payload, uint8_t hop_limit, struct ip6_hdr *ip)
{
	memset(ip, 0, sizeof(*ip));
	ip->ip6_vfc = 0x60;
	ip->ip6_plen = htons(payload);
	ip->ip6_nxt = next;
	ip->ip6_hlim = hop_limit;
	ip->ip6_src = old->ip6_dst;
	ip->ip6_dst = old->ip6_src;
}

static int build_reset6(const struct merlon_reject_event *event, const struct ip6_hdr *old, uint8_t hop_limit,
			struct merlon_answer *ret)
{
	struct ip6_hdr ip;
	struct tcphdr tcp, rst;

	if (!read_tcp(event, &tcp))
		return -EINVAL;
	begin6(old, IPPROTO_TCP, sizeof(rst), hop_limit, &ip);
	fill_reset(event, &tcp, &rst);
	rst.check = merlon_transport_checksum(&ip.ip6_src, 32, IPPROTO_TCP, &rst, sizeof(rst));
	ret->bytes = sizeof(ip) + sizeof(rst);
	memcpy(ret->packet, &ip, sizeof(ip));
	memcpy(ret->packet + sizeof(ip), &rst, sizeof(rst));
	return 0;
}

static int build_unreachable6(const struct merlon_reject_event *event, const struct ip6_hdr *old, uint8_t hop_limit,
			      struct merlon_answer *ret)
{
	struct icmp6_hdr icmp = { .icmp6_type = ICMP6_DST_UNREACH, .icmp6_code = event->code };
	size_t quote = least(event->snap_bytes, ICMPV6_MOST - sizeof(*old) - sizeof(icmp));
	size_t payload = sizeof(icmp) + quote, offset = 0;
	struct ip6_hdr ip;

	/* Of addresses that are not this host's only the kernel can choose the answer's source. */
	ret->kind = is_to_this_host(event) ? MERLON_ANSWER_IPV6 : MERLON_ANSWER_ICMPV6;
	begin6(old, IPPROTO_ICMPV6, payload, hop_limit, &ip);
	if (ret->kind == MERLON_ANSWER_IPV6) {
		memcpy(ret->packet, &ip, sizeof(ip));
		offset = sizeof(ip);
	}
	memcpy(ret->packet + offset, &icmp, sizeof(icmp));
	memcpy(ret->packet + offset + sizeof(icmp), event->packet, quote);
	icmp.icmp6_cksum = merlon_transport_checksum(&ip.ip6_src, 32, IPPROTO_ICMPV6, ret->packet + offset, payload);
	memcpy(ret->packet + offset, &icmp, sizeof(icmp));
	ret->bytes = offset + payload;
	return 0;
}

static bool is_icmp_error6(const struct merlon_reject_event *event)
{
	return event->l4proto == IPPROTO_ICMPV6 &&
	       (event->l4_offset >= event->snap_bytes || !(event->packet[event->l4_offset] & ICMP6_INFOMSG_MASK));
}

static int build6(const struct merlon_reject_event *event, const struct merlon_reject_limits *limits,
		  struct merlon_answer *ret)
{
	struct ip6_hdr old;

	if (event->snap_bytes < sizeof(old))
		return -EINVAL;
	memcpy(&old, event->packet, sizeof(old));
	if (IN6_IS_ADDR_MULTICAST(&old.ip6_src) || IN6_IS_ADDR_UNSPECIFIED(&old.ip6_src) ||
	    IN6_IS_ADDR_MULTICAST(&old.ip6_dst) || is_icmp_error6(event))
		return -EINVAL;
	ret->kind = MERLON_ANSWER_IPV6;
	ret->to6 = old.ip6_src;
	ret->scope = IN6_IS_ADDR_LINKLOCAL(&old.ip6_src) ? (event->iif ? event->iif : event->oif) : 0;
	if (event->type == MERLON_REJECT_TCP_RST)
		return build_reset6(event, &old, limits->hop_limit, ret);
	return build_unreachable6(event, &old, limits->hop_limit, ret);
}

int merlon_reject_build(const struct merlon_reject_event *event, const struct merlon_reject_limits *limits,
			struct merlon_answer *ret)
{
	if (event->snap_bytes > sizeof(event->packet))
		return -EINVAL;
	ret->scope = 0;
	return event->family == MERLON_IPV4 ? build4(event, limits, ret) : build6(event, limits, ret);
}
