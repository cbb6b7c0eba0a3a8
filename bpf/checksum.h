/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums of transport headers, where the skb says whether a card or the sender vouches for them (from 6.2 on). As
 * nf_ip_checksum(), nf_ip6_checksum() and their _partial() siblings in net/netfilter/utils.c of Linux 6.18 look at them.
 * SCTP's as sctp_error() of net/netfilter/nf_conntrack_proto_sctp.c does.
 */
#ifndef MERLON_CHECKSUM_H
#define MERLON_CHECKSUM_H

#include <bpf/bpf_endian.h>

#include "bpf/crc32c.h"
#include "bpf/maps.h"
#include "bpf/ours.h"

/* skb->ip_summed, linux/skbuff.h. Those with the lowest bit set need no look. */
enum merlon_summed {
	MERLON_SUMMED_NONE,
	MERLON_SUMMED_UNNECESSARY,	/* the card has verified it */
	MERLON_SUMMED_COMPLETE,		/* skb->csum is the sum from the network header on */
	MERLON_SUMMED_PARTIAL,		/* it is still to be filled in: the sender was on this host, or is a guest of it */
};

merlon_inline __u32 merlon_summed(struct __sk_buff *skb)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);

	return merlon_kernel_bits(kernel, ip_summed);
}

/* Whether nobody vouches for the packet's checksum. On 6.1 that is not known, and none is looked at. */
merlon_inline int merlon_unverified(struct __sk_buff *skb)
{
	return merlon_have_kern_ctx && !(merlon_summed(skb) & MERLON_SUMMED_UNNECESSARY);
}

merlon_inline __u32 merlon_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

struct merlon_summing {
	struct __sk_buff *skb;
	__u32 offset, bytes;
};

/* The next MERLON_SUM_CHUNK bytes, or what is left of them. 1: those were the last ones. */
static long merlon_sum_chunk(__u32 i, struct merlon_summing *w)
{
	struct merlon_scratch *s = merlon_only(scratch);
	__u32 at = i * MERLON_SUM_CHUNK, left = w->bytes - at;

	if (!s || at >= w->bytes)
		return 1;
	if (left >= MERLON_SUM_CHUNK) {
		s->sum_failed |= !!bpf_skb_load_bytes(w->skb, s->network + w->offset + at, s->chunk, MERLON_SUM_CHUNK);
		s->sum = bpf_csum_diff(NULL, 0, (__be32 *)s->chunk, MERLON_SUM_CHUNK, s->sum);
		return 0;
	}
	left &= MERLON_SUM_CHUNK - 1;
	if (!left)
		return 1;
	s->sum_failed |= !!bpf_skb_load_bytes(w->skb, s->network + w->offset + at, s->chunk, left);
	s->chunk[left] = s->chunk[left + 1] = s->chunk[left + 2] = 0;
	s->sum = bpf_csum_diff(NULL, 0, (__be32 *)s->chunk, (left + 3) & ~3U, s->sum);
	return 1;
}

/* The ones' complement sum of `bytes` from `offset` on and of `sum`, in 16 bits of the packet's byte order; -1: they are not there. */
__noinline int merlon_sum(struct __sk_buff *skb, __u32 offset, __u32 bytes, __u32 sum)
{
	struct merlon_summing w = { .skb = skb, .offset = offset, .bytes = bytes };
	struct merlon_scratch *s = merlon_only(scratch);

	if (!merlon_have_kern_ctx || !s)
		return -1;
	s->sum = sum;
	s->sum_failed = 0;
	bpf_loop(bytes / MERLON_SUM_CHUNK + 1, merlon_sum_chunk, &w, 0);
	return s->sum_failed ? -1 : (int)merlon_fold(s->sum);
}

#define MERLON_SUM_NEAR 2048	/* a packet of Ethernet, not one that was put together of several */

/* If there are `n` bytes more, they are added up: many by a helper, which costs a call. */
#define merlon_sum_some(n) \
	do { \
		const __u8 *at_ = data + offset; \
		if (!(bytes & (n))) \
			break; \
		if (at_ + (n) > end) \
			return -1; \
		if ((n) >= 64) { \
			sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)at_, (n) < MERLON_SUM_CHUNK ? (n) : MERLON_SUM_CHUNK, 0); \
			if ((n) > MERLON_SUM_CHUNK) \
				sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)(at_ + MERLON_SUM_CHUNK), MERLON_SUM_CHUNK, 0); \
		} else { \
			merlon_unroll \
			for (__u32 i_ = 0; i_ < (n); i_ += 4) \
				sum += merlon_field(__u32, at_ + i_); \
		} \
		at_ += (n); \
		/* the verifier knows nothing of a difference, so it need not look at what follows for each that there may be */ \
		merlon_opaque(at_); \
		offset = (at_ - data) & (2 * MERLON_SUM_NEAR - 1); \
		merlon_opaque(offset); \
	} while (0)

/* As merlon_sum(), where the skb has them in one piece; `offset` is from its beginning. -1: it has not, or they are too many. */
merlon_inline int merlon_sum_near(struct __sk_buff *skb, __u32 offset, __u32 bytes, __u64 start)
{
	const __u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u64 sum = start;

	if (bytes >= MERLON_SUM_NEAR)
		return -1;
	offset &= 2 * MERLON_SUM_NEAR - 1;
	merlon_opaque(offset);
	if (bytes >= 64) {
		merlon_sum_some(1024);
		merlon_sum_some(512);
		merlon_sum_some(256);
		merlon_sum_some(128);
		merlon_sum_some(64);
	}
	merlon_sum_some(32);
	merlon_sum_some(16);
	merlon_sum_some(8);
	merlon_sum_some(4);
	data += offset;
	if (bytes & 2) {
		if (data + 2 > end)
			return -1;
		sum += merlon_field(__u16, data);
		data += 2;
	}
	if (bytes & 1) {
		if (data + 1 > end)
			return -1;
		sum += merlon_pair8(data[0], 0);
	}
	return merlon_fold(sum);
}

#define MERLON_CRC_CHUNK 128	/* the verifier walks every byte of it */

/* As merlon_sum_chunk(). The sum's field counts as zeros. */
static long merlon_crc_chunk(__u32 i, struct merlon_summing *w)
{
	struct merlon_scratch *s = merlon_only(scratch);
	__u32 at = i * MERLON_CRC_CHUNK, left = w->bytes - at;

	if (!s || at >= w->bytes)
		return 1;
	if (left > MERLON_CRC_CHUNK)
		left = MERLON_CRC_CHUNK;
	if (!left)
		return 1;
	s->sum_failed |= !!bpf_skb_load_bytes(w->skb, s->network + w->offset + at, s->chunk, left);
	if (!i)
		*(__u32 *)(s->chunk + MERLON_SCTP_SUM) = 0;
	s->sum = merlon_crc_add(s->sum, s->chunk, left, MERLON_CRC_CHUNK);
	return 0;
}

/* 1: the checksum is wrong of an SCTP packet of `bytes` at `offset` from the network header. Only what nobody summed is looked at. */
__noinline int merlon_crc_is_wrong(struct __sk_buff *skb, __u32 offset, __u32 bytes)
{
	struct merlon_summing w = { .skb = skb, .offset = offset, .bytes = bytes };
	struct merlon_scratch *s = merlon_only(scratch);
	__u8 found[4];
	__u32 sum;

	if (!merlon_have_kern_ctx || !s || bytes < MERLON_SCTP_BYTES || merlon_summed(skb) != MERLON_SUMMED_NONE)
		return 0;
	s->network = merlon_network_offset(skb);
	if (bpf_skb_load_bytes(skb, s->network + offset + MERLON_SCTP_SUM, found, sizeof(found)))
		return 1;
	s->sum = MERLON_CRC_NONE;
	s->sum_failed = 0;
	bpf_loop(bytes / MERLON_CRC_CHUNK + 1, merlon_crc_chunk, &w, 0);
	sum = ~s->sum;
	return s->sum_failed || sum != (found[0] | found[1] << 8 | found[2] << 16 | (__u32)found[3] << 24);
}

/* RFC 9293 3.1, RFC 8200 8.1. Both families' headers add up to the same if length and protocol have 32 bits each. */
merlon_inline __u32 merlon_pseudo_sum(struct __sk_buff *skb, struct merlon_scratch *s, __u32 family, __u32 bytes,
				      __u32 l4proto)
{
	__be32 *header = (__be32 *)s->chunk;

	__builtin_memset(header, 0, 32);
	if (family == MERLON_IPV4)
		bpf_skb_load_bytes(skb, s->network + 12, header, 8);
	else
		bpf_skb_load_bytes(skb, s->network + 8, header, 32);
	header[8] = bpf_htonl(bytes);
	header[9] = bpf_htonl(l4proto);
	return merlon_fold(bpf_csum_diff(NULL, 0, header, 40, 0));
}

/*
 * Whether the card's sum over the whole packet is right. An IPv4 header adds nothing to it: its own checksum is right.
 * Of ICMP either sum is taken, with pseudo header and without, as nf_ip_checksum() does it.
 */
merlon_inline int merlon_card_agrees(struct __sk_buff *skb, __u32 family, __u32 offset, __u32 pseudo, int has_pseudo)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	__u64 sum = kernel->csum;
	int before = 0;

	if (family == MERLON_IPV6)
		before = merlon_sum(skb, 0, offset, 0);
	if (before < 0)
		return 0;
	sum += 0xffff - (__u32)before;
	return merlon_fold(sum + pseudo) == 0xffff || (!has_pseudo && merlon_fold(sum) == 0xffff);
}

#define MERLON_SUM_OF(family, l4proto) ((__u32)(family) << 8 | (l4proto))

/*
 * 1: the checksum is wrong of `bytes` of transport header and payload at `offset` (from the network header), of which it
 * covers `covered`: fewer with UDP-Lite only. `of`: MERLON_SUM_OF(). The caller has found merlon_unverified().
 *
 * UDP-Lite is verified as if it were UDP, and of IPv4 with the low 8 bits of the length: udplite_error() names the one,
 * nf_ip_checksum_partial() gives length and protocol to csum_tcpudp_nofold() in the wrong order (Linux 6.18).
 */
__noinline int merlon_sum_is_wrong(struct __sk_buff *skb, __u32 offset, __u32 bytes, __u32 covered, __u32 of)
{
	__u32 family = of >> 8 & 1, l4proto = of & 0xff, pseudo, length;
	struct merlon_scratch *s = merlon_only(scratch);
	int complete, has_pseudo, sum;

	if (!merlon_have_kern_ctx || !s)
		return 0;
	s->network = merlon_network_offset(skb);
	complete = merlon_summed(skb) == MERLON_SUMMED_COMPLETE && covered == bytes;
	length = bytes;
	if (l4proto == MERLON_PROTO_UDPLITE) {
		l4proto = MERLON_PROTO_UDP;
		length = family == MERLON_IPV4 && !complete ? bytes & 0xff : bytes;
	}
	has_pseudo = family == MERLON_IPV6 || l4proto == MERLON_PROTO_TCP || l4proto == MERLON_PROTO_UDP;
	pseudo = merlon_pseudo_sum(skb, s, family, length, l4proto);
	/* what a link added behind the packet is in the card's sum */
	if (complete && s->network + offset + bytes == skb->len && merlon_card_agrees(skb, family, offset, pseudo, has_pseudo))
		return 0;
	/* without one the kernel starts from the IPv4 header, which adds up to all ones: no payload at all is right */
	sum = merlon_sum(skb, offset, covered, has_pseudo ? pseudo : 0xffff);
	if (sum < 0)
		return 1;
	return sum != 0xffff && !(complete && !has_pseudo && merlon_fold(sum + pseudo) == 0xffff);
}

#define MERLON_SUM_ALL 0x200	/* in `of`: the receiver will sum the same bytes */

/*
 * The same, of TCP and UDP whose pseudo header's 32-bit words add up to `pseudo`. What is found right the stack need not sum
 * again: nor does it behind nf_conntrack (nf_ip_checksum()).
 */
__noinline int merlon_sum_is_wrong_near(struct __sk_buff *skb, __u32 offset, __u32 bytes, __u32 of, __u64 pseudo)
{
	int sum;

	if (!merlon_have_kern_ctx)
		return 0;
	sum = merlon_summed(skb) == MERLON_SUMMED_NONE ? merlon_sum_near(skb, merlon_network_offset(skb) + offset, bytes, pseudo) : -1;
	if (sum < 0)
		return merlon_sum_is_wrong(skb, offset, bytes, bytes, of);
	if (sum == 0xffff && of & MERLON_SUM_ALL)
		bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	return sum != 0xffff;
}

/* Whether the interface a packet came in by is filtered: what the field that it carries says is of our own making there. */
merlon_inline int merlon_came_filtered(__u32 iif)
{
	return bpf_map_lookup_elem(&filtered, &iif) != NULL;
}

/*
 * Whether nf_conntrack finds the checksum wrong of a packet that comes in (it looks in PREROUTING). First fragments are
 * not verified: it sees the datagram whole.
 */
merlon_inline int merlon_tracker_finds_wrong(struct __sk_buff *skb, const struct merlon_headers *h)
{
	__u32 covered = h->ct_bytes;

	if (h->flags & (MERLON_H_FIRST | MERLON_H_LATER | MERLON_H_UNTRACKABLE))
		return 0;
	switch (h->ct_proto) {
	case MERLON_PROTO_UDP:
		if (!h->bytes67)
			return 0;
		break;
	case MERLON_PROTO_UDPLITE:
		if (h->udp_bytes && h->udp_bytes <= covered)
			covered = h->udp_bytes;
		break;
	case MERLON_PROTO_SCTP:
		return !(h->flags & MERLON_H_GENERIC) && merlon_crc_is_wrong(skb, h->ct_offset, h->ct_bytes);
	case MERLON_PROTO_TCP:
	case MERLON_PROTO_ICMP:
	case MERLON_PROTO_ICMPV6:
		break;
	default:
		return 0;
	}
	return merlon_sum_is_wrong(skb, h->ct_offset, h->ct_bytes, covered, MERLON_SUM_OF(h->family, h->ct_proto));
}

/*
 * Whether nf_tables gives a rejected packet no answer for its checksum: in all hooks, and of protocols that it does not
 * know the payload has to add up, too (nf_reject_verify_csum() of include/net/netfilter/nf_reject.h, nf_ip_checksum()).
 * DCCP is one of them since its tracker is gone (6.17).
 */
merlon_inline int merlon_reject_finds_wrong(struct __sk_buff *skb, const struct merlon_headers *h)
{
	if (h->flags & MERLON_H_FIRST || !merlon_unverified(skb))
		return 0;
	/* reject6_csum_ok() of net/ipv6/netfilter/nf_reject_ipv6.c; ipv6_skip_exthdr() finds nothing behind "no next header" */
	if (h->family == MERLON_IPV6 && (!h->ct_bytes || h->ct_proto == MERLON_PROTO_NONE))
		return 1;
	switch (h->ct_proto) {
	case MERLON_PROTO_UDP:
		if (h->ct_bytes >= MERLON_UDP_BYTES && !h->bytes67)
			return 0;
		break;
	case MERLON_PROTO_DCCP:
		if (!merlon_reject_sums_dccp)
			return 0;
		break;
	case MERLON_PROTO_GRE:
	case MERLON_PROTO_ESP:
	case MERLON_PROTO_AH:
	case MERLON_PROTO_SCTP:
	case MERLON_PROTO_UDPLITE:
		return 0;
	}
	return merlon_sum_is_wrong(skb, h->ct_offset, h->ct_bytes, h->ct_bytes, MERLON_SUM_OF(h->family, h->ct_proto));
}

#endif
