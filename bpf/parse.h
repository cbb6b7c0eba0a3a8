/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the bytes of an IP packet to struct merlon_headers, and from there to the packet as rules see it. Offsets count
 * from the network header. Compiled into the BPF programs, which read an skb, and natively, reading a buffer.
 */
#ifndef MERLON_PARSE_H
#define MERLON_PARSE_H

#include "bpf/extensions.h"
#include "bpf/headers.h"
#include "bpf/read.h"
#include "bpf/transport.h"

/* RFC 791, RFC 1071: the ones' complement sum over a whole header is all ones; `bytes` is a multiple of 4. */
merlon_inline int merlon_checksum_ok(const __u8 *header, __u32 bytes)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < bytes; i += 4)
		sum += merlon_field(__u32, header + i);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff || sum == 2 * 0xffff;
}

/* The transport header, where there is one. -1: no host would take the packet. */
merlon_inline int merlon_parse_transport(merlon_source *source, struct merlon_headers *h)
{
	__u8 raw[MERLON_TCP_BYTES] = { 0 };
	__u32 n;

	if (h->flags & (MERLON_H_NO_L4 | MERLON_H_LATER))
		return 0;
	/* rules see the type of an ICMP packet, and the classifier's dimension the type and code: no half of it */
	if (merlon_is_icmp(h->ct_proto) && h->ct_bytes == 1)
		return -1;
	/* RFC 1858: a first fragment that hides the flags, or the ports */
	if (h->flags & MERLON_H_FIRST &&
	    h->ct_bytes < (h->ct_proto == MERLON_PROTO_TCP ? MERLON_TCP_BYTES : merlon_has_ports(h->ct_proto) ? MERLON_UDP_BYTES : 0))
		return -1;
	n = merlon_read_transport(source, h->ct_offset, h->ct_bytes, raw);
	merlon_take_transport(h, raw, n);
	/* bytes 12 and 13 of a TCP header that breaks off behind them: rules on flags can read them */
	if (n == 14)
		h->tcp_flags = raw[13];
	if (h->ct_proto == MERLON_PROTO_TCP && h->tcp_header > MERLON_TCP_BYTES && h->tcp_header <= h->ct_bytes)
		merlon_read_options(source, h->ct_offset + MERLON_TCP_BYTES, h->tcp_header - MERLON_TCP_BYTES, &h->options);
	if (h->ct_proto == MERLON_PROTO_SCTP && h->ct_bytes >= MERLON_SCTP_BYTES)
		merlon_read_chunks(source, h->ct_offset + MERLON_SCTP_BYTES, h->ct_offset + h->ct_bytes, &h->sctp);
	if (h->l4_offset != h->ct_offset)
		n = merlon_read_transport(source, h->l4_offset, h->l4_bytes, raw);
	h->th0 = merlon_be16(raw);
	h->th2 = merlon_be16(raw + 2);
	h->th_bytes = n;
	return 0;
}

merlon_inline int merlon_parse4(merlon_source *source, __u32 available, struct merlon_headers *h)
{
	__u8 raw[MERLON_IPV4_MAX_BYTES] __attribute__((aligned(8))) = { 0 };
	__u16 fragment;
	__u32 header;

	if (merlon_read(source, 0, raw, MERLON_IPV4_BYTES))
		return -1;
	header = (raw[0] & 15) * 4;
	h->bytes = merlon_be16(raw + 2);
	/* a super-packet beyond 64 KB has no length in its header (iph_totlen() of linux/ip.h) */
	if (!h->bytes && available > 0xffff)
		h->bytes = available;
	if (raw[0] >> 4 != 4 || header < MERLON_IPV4_BYTES || h->bytes < header || h->bytes > available)
		return -1;
	/* all of it again, not only the options: the verifier of 6.1 would not see that their length is not 0 */
	if (header > MERLON_IPV4_BYTES && merlon_read(source, 0, raw, header))
		return -1;
	if (!merlon_checksum_ok(raw, sizeof(raw)))
		h->flags |= MERLON_H_CHECKSUM;
	__builtin_memcpy(&h->saddr[0], raw + 12, 4);
	__builtin_memcpy(&h->daddr[0], raw + 16, 4);
	fragment = merlon_be16(raw + 6);
	if (fragment & MERLON_IP_OFFSET)
		h->flags |= MERLON_H_LATER | MERLON_H_UNTRACKABLE | (fragment & MERLON_IP_MF ? 0 : MERLON_H_LAST);
	else if (fragment & MERLON_IP_MF)
		h->flags |= MERLON_H_FIRST;
	h->fragment_id = raw[4] << 8 | raw[5];
	h->fragment_offset = (fragment & MERLON_IP_OFFSET) * 8;
	h->fragment_bytes = h->bytes - header;
	h->tos = raw[1];
	h->ttl = raw[8];
	h->l4proto = h->ct_proto = h->nexthdr = raw[9];
	h->l4_offset = h->ct_offset = header;
	h->l4_bytes = h->ct_bytes = h->bytes - header;
	return merlon_parse_transport(source, h);
}

merlon_inline int merlon_parse6(merlon_source *source, __u32 available, struct merlon_headers *h)
{
	struct merlon_header_chain chain = { 0 };
	__u8 raw[MERLON_IPV6_BYTES];

	if (merlon_read(source, 0, raw, sizeof(raw)))
		return -1;
	h->nexthdr = raw[6];
	h->bytes = merlon_be16(raw + 4) + MERLON_IPV6_BYTES;
	/* no length here: it is in the hop-by-hop option of a jumbogram, RFC 2675 */
	if (h->bytes == MERLON_IPV6_BYTES && h->nexthdr == MERLON_PROTO_HOPOPTS)
		h->bytes = available;
	if (raw[0] >> 4 != 6 || h->bytes > available)
		return -1;
	__builtin_memcpy(h->saddr, raw + 8, 16);
	__builtin_memcpy(h->daddr, raw + 24, 16);
	h->tos = raw[0] << 4 | raw[1] >> 4;
	h->ttl = raw[7];
	if (merlon_walk_chain(source, MERLON_IPV6_BYTES, h->bytes, h->nexthdr, &chain) || chain.cut)
		return -1;
	h->fragment_id = chain.fragment_id;
	h->fragment_offset = chain.fragment_offset;
	h->fragment_bytes = chain.fragment_at < h->bytes ? h->bytes - chain.fragment_at : 0;
	h->flags |= chain.flags;
	h->l4proto = chain.l4proto;
	h->ct_proto = chain.ct_proto;
	h->l4_offset = chain.l4_offset;
	h->ct_offset = chain.ct_offset;
	h->has_routing = chain.rt_offset != 0;
	h->rt_type = chain.rt_type;
	/* what a header that claims to reach beyond the packet says of the next one holds: there is nothing to read of it */
	h->l4_bytes = h->l4_offset < h->bytes ? h->bytes - h->l4_offset : 0;
	h->ct_bytes = h->ct_offset < h->bytes ? h->bytes - h->ct_offset : 0;
	return merlon_parse_transport(source, h);
}

/*
 * Reads the headers of a packet of which `available` bytes are there (it may be padded). -1: the stack would discard
 * it as malformed, or nothing certain can be said of it.
 */
merlon_inline int merlon_parse(merlon_source *source, __u8 family, __u32 available, struct merlon_headers *h)
{
	__builtin_memset(h, 0, sizeof(*h));
	h->family = family;
	return family == MERLON_IPV4 ? merlon_parse4(source, available, h) : merlon_parse6(source, available, h);
}

/*
 * The packet inside an ICMP error that ends at `end`, as far as a session can be found by it: what nf_ct_get_tuplepr()
 * of net/netfilter/nf_conntrack_core.c needs; merlon_ports() looks whether enough of the transport header is quoted.
 * Lengths inside are not looked at. -1: there is no such packet.
 */
merlon_inline int merlon_parse_inner(merlon_source *source, __u32 offset, __u32 end, __u8 family, struct merlon_headers *h)
{
	__u8 raw[MERLON_IPV6_BYTES] = { 0 };

	__builtin_memset(h, 0, sizeof(*h));
	h->family = family;
	if (offset > end || end - offset < (family == MERLON_IPV4 ? MERLON_IPV4_BYTES : MERLON_IPV6_BYTES))
		return -1;
	if (family == MERLON_IPV4) {
		if (merlon_read(source, offset, raw, MERLON_IPV4_BYTES) || merlon_be16(raw + 6) & MERLON_IP_OFFSET)
			return -1;
		__builtin_memcpy(&h->saddr[0], raw + 12, 4);
		__builtin_memcpy(&h->daddr[0], raw + 16, 4);
		h->ct_proto = raw[9];
		h->ct_offset = offset + (raw[0] & 15) * 4;
		if (h->ct_offset > end)
			return -1;
	} else {
		struct merlon_header_chain chain = { 0 };

		if (merlon_read(source, offset, raw, MERLON_IPV6_BYTES))
			return -1;
		__builtin_memcpy(h->saddr, raw + 8, 16);
		__builtin_memcpy(h->daddr, raw + 24, 16);
		if (merlon_walk_chain(source, offset + MERLON_IPV6_BYTES, end, raw[6], &chain) || chain.flags & MERLON_H_UNTRACKABLE)
			return -1;
		h->ct_proto = chain.ct_proto;
		h->ct_offset = chain.ct_offset;
	}
	h->ct_bytes = h->ct_offset < end ? end - h->ct_offset : 0;
	merlon_take_transport(h, raw, merlon_read_transport(source, h->ct_offset, h->ct_bytes, raw));
	return 0;
}

merlon_inline void merlon_put(struct merlon_packet *packet, enum merlon_field field, __u32 value)
{
	packet->field[field] = value;
	packet->present |= MERLON_BIT(field);
}

merlon_inline void merlon_put_addresses(struct merlon_packet *packet, const struct merlon_headers *h)
{
	if (h->family == MERLON_IPV4) {
		packet->field[MERLON_F_SADDR] = merlon_be32((const __u8 *)h->saddr);
		packet->field[MERLON_F_DADDR] = merlon_be32((const __u8 *)h->daddr);
	} else {
		for (int i = 0; i < 2; i++) {
			packet->addr6[0][i] = (__u64)merlon_be32((const __u8 *)&h->saddr[2 * i]) << 32 |
					      merlon_be32((const __u8 *)&h->saddr[2 * i + 1]);
			packet->addr6[1][i] = (__u64)merlon_be32((const __u8 *)&h->daddr[2 * i]) << 32 |
					      merlon_be32((const __u8 *)&h->daddr[2 * i + 1]);
		}
	}
	packet->present |= MERLON_BIT(MERLON_F_SADDR) | MERLON_BIT(MERLON_F_DADDR);
}

/*
 * The packet as rules see it, but for what its headers don't tell: hook, interfaces, ct state and direction, mark and
 * packet type.
 */
merlon_inline void merlon_fill_packet(struct merlon_packet *packet, const struct merlon_headers *h)
{
	packet->present = 0;
	packet->family = h->family;
	packet->bytes = h->bytes;
	packet->l4_offset = h->l4_offset;
	packet->l4_bytes = h->l4_bytes;
	merlon_put_addresses(packet, h);
	merlon_put(packet, MERLON_F_LENGTH, h->bytes);
	merlon_put(packet, MERLON_F_TTL, h->ttl);
	merlon_put(packet, MERLON_F_TOS, h->tos);
	merlon_put(packet, MERLON_F_NEXTHDR, h->nexthdr);
	if (h->has_routing)
		merlon_put(packet, MERLON_F_RT_TYPE, h->rt_type);
	if (h->flags & MERLON_H_BROKEN)
		merlon_put(packet, MERLON_F_TH_BYTES, MERLON_TH_NEVER);
	if (h->flags & MERLON_H_NO_L4)
		return;
	merlon_put(packet, MERLON_F_L4PROTO, h->l4proto);
	if (!(h->flags & (MERLON_H_LATER | MERLON_H_BROKEN)))
		merlon_put(packet, MERLON_F_TH_BYTES, h->l4_bytes < 0xffff ? h->l4_bytes : 0xffff);
	if (h->th_bytes < 2)
		return;
	merlon_put(packet, MERLON_F_TH0, h->th0);
	if (h->th_bytes >= 4)
		merlon_put(packet, MERLON_F_TH2, h->th2);
	if (h->l4proto == MERLON_PROTO_TCP && h->th_bytes >= 14)
		merlon_put(packet, MERLON_F_TCP_FLAGS, h->tcp_flags);
	if (merlon_is_icmp(h->l4proto)) {
		merlon_put(packet, MERLON_F_ICMP_TYPE, h->th0 >> 8);
		merlon_put(packet, MERLON_F_ICMP_CODE, h->th0 & 0xff);
	}
}

#endif
