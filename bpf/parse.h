/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the bytes of an IP packet to struct merlon_headers, and from there to the packet as rules see it. Offsets count
 * from the network header. Compiled into the BPF programs, which read an skb, and natively, reading a buffer.
 */
#ifndef MERLON_PARSE_H
#define MERLON_PARSE_H

#include "bpf/abi.h"
#include "bpf/env.h"
#include "bpf/sctp.h"
#include "bpf/tcp.h"

#define MERLON_IPV4_BYTES 20
#define MERLON_IPV4_MAX_BYTES 60
#define MERLON_IPV6_BYTES 40
#define MERLON_TCP_BYTES 20
#define MERLON_UDP_BYTES 8
#define MERLON_ICMP_BYTES 8
#define MERLON_GRE_PPP 0x880b	/* protocol type, RFC 2637 4.1 */
#define MERLON_EXTENSIONS 8	/* extension headers that are walked; nobody sends as many */

#define MERLON_IP_MF 0x2000	/* RFC 791 3.1: more fragments; the low 13 bits are the offset */
#define MERLON_IP_OFFSET 0x1fff

/* Protocol numbers; names of their own, because linux/in.h and netinet/in.h do not go together. */
enum merlon_protocol {
	MERLON_PROTO_HOPOPTS = 0,
	MERLON_PROTO_ICMP = 1,
	MERLON_PROTO_TCP = 6,
	MERLON_PROTO_UDP = 17,
	MERLON_PROTO_DCCP = 33,
	MERLON_PROTO_ROUTING = 43,
	MERLON_PROTO_FRAGMENT = 44,
	MERLON_PROTO_GRE = 47,
	MERLON_PROTO_ESP = 50,
	MERLON_PROTO_AH = 51,
	MERLON_PROTO_ICMPV6 = 58,
	MERLON_PROTO_NONE = 59,
	MERLON_PROTO_DSTOPTS = 60,
	MERLON_PROTO_SCTP = 132,
	MERLON_PROTO_UDPLITE = 136,
};

/* What is known of a packet, merlon_headers.flags. */
#define MERLON_H_NO_L4		0x01	/* the chain of headers breaks off: rules see no protocol (nft_pktinfo "unspec") */
#define MERLON_H_FIRST		0x02	/* first fragment of several */
#define MERLON_H_LATER		0x04	/* another one: no transport header */
#define MERLON_H_UNTRACKABLE	0x08	/* nf_conntrack finds no protocol in it */
#define MERLON_H_CHECKSUM	0x10	/* the checksum of the IPv4 header is wrong */
#define MERLON_H_BROKEN		0x20	/* IPv6 extension headers break off, and none before was a routing header */
#define MERLON_H_GENERIC	0x40	/* this kernel has no tracker of its own for the protocol: it has no ports, no state */

/* Of the options of a TCP header (RFC 9293 3.1), what the tracker looks at. */
struct merlon_tcp_options {
	__u8 flags;			/* MERLON_TCP_OPTIONS, MERLON_TCP_SCALES, MERLON_TCP_SACKS */
	__u8 scale;
	__u8 blocks;			/* of the first SACK option; their right edges: */
	__u8 blocks_at;
	__u32 edge[4];
	__u32 at;
};

struct merlon_headers {
	__be32 saddr[4], daddr[4];	/* IPv4 in [0] */
	__be32 fragment_id;
	__u32 fragment_offset;		/* where a fragment's data belongs in the datagram, in bytes, */
	__u32 fragment_bytes;		/* and how much it is */
	__u32 bytes;			/* of the IP packet */
	__u32 l4_offset, l4_bytes;	/* what rules call the transport header */
	__u32 ct_offset, ct_bytes;	/* what the tracker does: behind an IPv6 authentication header, too */
	__u32 seq, ack;
	__be16 sport, dport;		/* bytes 0-1 and 2-3 at ct_offset */
	__be16 id;			/* ICMP: bytes 4-5 */
	__be16 bytes67;			/* UDP: its checksum; enhanced GRE: call ID (RFC 2637 4.1) */
	__u16 udp_bytes;		/* UDP: as its header says */
	__u16 th0, th2;			/* host order, at l4_offset */
	__u8 l4proto;			/* for rules */
	__u8 ct_proto;			/* for the tracker */
	__u8 family;
	__u8 flags;
	__u8 tcp_flags;
	__u8 tcp_header;		/* bytes by its data offset */
	struct merlon_tcp_options options;
	struct merlon_sctp_chunks sctp;
	__u16 window;			/* TCP: as its header says */
	__u8 ttl, tos, nexthdr;
	__u8 th_bytes;			/* of the transport header that rules can read: 0, 2, 4 or 20 */
	__u8 has_routing;		/* there is an IPv6 routing header; its type: */
	__u8 rt_type;
};

#ifdef __bpf__
/* Kernel 6.1 refuses some loops that contain calls ("back-edge"), by their layout: such loops are unrolled. */
#define MERLON_UNROLLED _Pragma("clang loop unroll(full)")
/* A function that the verifier looks at once, with any arguments, and not at each call. */
#define merlon_global __attribute__((noinline))
/* Calls callback(i, context) until it returns 1, at most n times. */
#define merlon_repeat(n, callback, context) bpf_loop(n, callback, context, 0)
typedef struct __sk_buff merlon_source;

/*
 * Defined by the program: reads what need not be in the linear part of the skb. The relative load of hot.h is quicker,
 * but fails there.
 */
static int merlon_read(merlon_source *skb, __u32 offset, void *to, __u32 n);
#else
#include <string.h>

#define MERLON_UNROLLED
#define merlon_repeat(n, callback, context)                     \
	do {                                                    \
		for (__u32 i_ = 0; i_ < (n); i_++)              \
			if (callback(i_, context))              \
				break;                          \
	} while (0)
#define merlon_global static __attribute__((unused))
typedef const struct merlon_buffer {
	const __u8 *data;
	__u32 bytes;
} merlon_source;

merlon_inline int merlon_read(merlon_source *buffer, __u32 offset, void *to, __u32 n)
{
	if (offset > buffer->bytes || buffer->bytes - offset < n)
		return -1;
	memcpy(to, buffer->data + offset, n);
	return 0;
}
#endif

merlon_inline __u16 merlon_be16(const __u8 *p)
{
	return (__u16)(p[0] << 8 | p[1]);
}

merlon_inline __u32 merlon_be32(const __u8 *p)
{
	return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | p[3];
}

merlon_inline int merlon_has_ports(__u8 proto)
{
	return proto == MERLON_PROTO_TCP || proto == MERLON_PROTO_UDP || proto == MERLON_PROTO_UDPLITE || proto == MERLON_PROTO_SCTP ||
	       proto == MERLON_PROTO_DCCP;
}

/* RFC 791, RFC 1071: the ones' complement sum over a whole header is all ones; `bytes` is a multiple of 4. */
merlon_inline int merlon_checksum_ok(const __u8 *header, __u32 bytes)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < bytes; i += 4) {
		__u32 word;

		__builtin_memcpy(&word, header + i, 4);
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* Where a walk over IPv6 extension headers ended. */
struct merlon_header_chain {
	__u32 l4_offset, ct_offset;
	__be32 fragment_id;
	__u32 fragment_at;	/* its data; it belongs at: */
	__u32 fragment_offset;
	__u32 rt_offset;	/* of the first routing header; 0: none */
	__u8 l4proto, ct_proto;
	__u8 flags;		/* MERLON_H_* */
	__u8 rt_type;
};

/* The headers that ipv6_ext_hdr() (net/ipv6/exthdrs_core.c) knows, but for "no next header". */
merlon_inline int merlon_is_extension(__u8 proto)
{
	return proto == MERLON_PROTO_HOPOPTS || proto == MERLON_PROTO_ROUTING || proto == MERLON_PROTO_FRAGMENT || proto == MERLON_PROTO_AH ||
	       proto == MERLON_PROTO_DSTOPTS;
}

/* A fragment header at `at`: returns 1 if the chain ends here. `raw` holds it. */
merlon_inline int merlon_fragment_header(struct merlon_header_chain *chain, const __u8 *raw, __u32 at, int ah)
{
	__u16 offset = merlon_be16(raw + 2);

	chain->fragment_at = at + 8;
	chain->fragment_offset = offset & ~7;
	__builtin_memcpy(&chain->fragment_id, raw + 4, 4);
	if (!(offset & ~7)) {
		if (offset & 1)
			chain->flags |= MERLON_H_FIRST;
		return 0;
	}
	chain->flags |= MERLON_H_LATER | MERLON_H_UNTRACKABLE;
	/* ipv6_find_hdr() names the protocol of a later fragment only if no extension header follows */
	if (!ah && (merlon_is_extension(raw[0]) || raw[0] == MERLON_PROTO_NONE))
		chain->flags |= MERLON_H_NO_L4;
	if (!ah)
		chain->l4proto = raw[0];
	chain->ct_proto = raw[0];
	return 1;
}

/* ipv6_find_hdr() finds the first one, also behind an authentication header. `raw` holds its first bytes. */
merlon_inline void merlon_routing_header(struct merlon_header_chain *chain, const __u8 *raw, __u32 offset)
{
	if (chain->rt_offset)
		return;
	chain->rt_offset = offset;
	chain->rt_type = raw[2];
}

/*
 * The first bytes of an extension header of a packet that ends at `end`, the rest of `raw` is 0. What ipv6_find_hdr()
 * needs of them: of a routing or fragment header four, else two. -1: they are not there.
 */
merlon_inline int merlon_read_extension(merlon_source *source, __u32 offset, __u32 end, __u8 next, __u8 raw[8])
{
	__u32 left = offset < end ? end - offset : 0;

	if (left >= 8)
		return merlon_read(source, offset, raw, 8);
	__builtin_memset(raw, 0, 8);
	if (left >= 4)
		return merlon_read(source, offset, raw, 4);
	if (left < 2 || next == MERLON_PROTO_ROUTING || next == MERLON_PROTO_FRAGMENT)
		return -1;
	return merlon_read(source, offset, raw, 2);
}

/*
 * Two bytes of a routing header are enough for ipv6_skip_exthdr(): the tracker goes on with a header of which there is
 * nothing. -1: it does not.
 */
merlon_inline int merlon_skip_cut_routing(merlon_source *source, __u32 end, struct merlon_header_chain *chain)
{
	__u32 offset = chain->ct_offset;
	__u8 raw[2];

	if (chain->ct_proto != MERLON_PROTO_ROUTING || offset >= end || end - offset < 2 || merlon_read(source, offset, raw, 2) ||
	    merlon_is_extension(raw[0]) || raw[0] == MERLON_PROTO_NONE)
		return -1;
	chain->ct_proto = raw[0];
	chain->ct_offset = offset + (raw[1] + 1) * 8;
	return 0;
}

/*
 * Walks the chain that starts with header `next` at `offset`, of a packet that ends at `end`. As ipv6_find_hdr() and ipv6_skip_exthdr() do: rules see
 * an authentication header as the transport, the tracker looks behind it. Returns 0, or -1: there are more
 * headers than are walked, and what a rule would see behind them is unknown.
 */
merlon_global int merlon_walk_chain(merlon_source *source, __u32 offset, __u32 end, __u8 next,
				    struct merlon_header_chain *chain)
{
	int ah = 0, broken = 1;
	__u8 raw[8];

	if (!chain)
		return -1;
	chain->flags = 0;
	chain->fragment_id = 0;
	chain->fragment_at = 0;
	chain->fragment_offset = 0;
	chain->rt_offset = 0;
	chain->l4proto = 0;
	chain->l4_offset = 0;
	MERLON_UNROLLED
	for (__u32 i = 0; i <= MERLON_EXTENSIONS; i++) {
		__u32 bytes;

		if (!merlon_is_extension(next)) {
			broken = 0;
			break;
		}
		if (i == MERLON_EXTENSIONS)
			return -1;
		if (merlon_read_extension(source, offset, end, next, raw))
			break;
		bytes = (raw[1] + 1) * 8;
		if (next == MERLON_PROTO_ROUTING)
			merlon_routing_header(chain, raw, offset);
		if (next == MERLON_PROTO_FRAGMENT) {
			if (merlon_fragment_header(chain, raw, offset, ah)) {
				chain->ct_offset = offset;
				if (!ah)
					chain->l4_offset = offset;
				return 0;
			}
			bytes = 8;
		} else if (next == MERLON_PROTO_AH) {
			if (!ah) {
				chain->l4proto = next;
				chain->l4_offset = offset;
				ah = 1;
			}
			bytes = (raw[1] + 2) * 4;
		}
		offset += bytes;
		next = raw[0];
	}
	chain->ct_proto = next;
	chain->ct_offset = offset;
	if ((broken && merlon_skip_cut_routing(source, end, chain)) || next == MERLON_PROTO_NONE)
		chain->flags |= MERLON_H_UNTRACKABLE;
	if (broken && !chain->rt_offset)
		chain->flags |= MERLON_H_BROKEN;
	if (ah)
		return 0;
	chain->l4proto = next;
	chain->l4_offset = offset;
	if (broken)
		chain->flags |= MERLON_H_NO_L4;
	return 0;
}

/* Fills what the first bytes of the transport header say. `raw` holds `n` of them. */
merlon_inline void merlon_take_transport(struct merlon_headers *h, const __u8 *raw, __u32 n)
{
	if (n < 4)
		return;
	__builtin_memcpy(&h->sport, raw, 2);
	__builtin_memcpy(&h->dport, raw + 2, 2);
	if (n >= 8) {
		__builtin_memcpy(&h->id, raw + 4, 2);
		__builtin_memcpy(&h->bytes67, raw + 6, 2);
		__builtin_memcpy(&h->sctp.tag, raw + 4, 4);
		h->udp_bytes = merlon_be16(raw + 4);
	}
	if (n >= MERLON_TCP_BYTES) {
		h->seq = merlon_be32(raw + 4);
		h->ack = merlon_be32(raw + 8);
		h->tcp_header = raw[12] >> 4 << 2;
		h->tcp_flags = raw[13];
		h->window = merlon_be16(raw + 14);
	}
}

#define MERLON_TCP_OPTIONS_BYTES 40
/* Kinds, RFC 9293 3.2, RFC 7323 2.2, RFC 2018. */
enum merlon_tcp_option {
	MERLON_TCP_OPTION_END,
	MERLON_TCP_OPTION_NOP,
	MERLON_TCP_OPTION_SCALE = 3,
	MERLON_TCP_OPTION_SACKS = 4,
	MERLON_TCP_OPTION_SACK = 5,
};

struct merlon_option_walk {
	__u8 raw[64];
	__u32 bytes;
	struct merlon_tcp_options *ret;	/* what changes is there: the verifier of 6.1 looks at one iteration only */
};

/* The option at ret->at. 1: the last one. */
static long merlon_option_step(__u32 i, struct merlon_option_walk *w)
{
	struct merlon_tcp_options *o = w->ret;
	__u32 at = o->at;
	__u8 kind, size;

	(void)i;
	if (at >= w->bytes)
		return 1;
	kind = w->raw[at & 63];
	if (kind == MERLON_TCP_OPTION_END)
		return 1;
	if (kind == MERLON_TCP_OPTION_NOP) {
		o->at = at + 1;
		return 0;
	}
	if (at + 1 >= w->bytes)
		return 1;
	size = w->raw[(at + 1) & 63];
	if (size < 2 || at + size > w->bytes)
		return 1;
	o->at = at + size;
	if (kind == MERLON_TCP_OPTION_SACKS && size == 2)
		o->flags |= MERLON_TCP_SACKS;
	if (kind == MERLON_TCP_OPTION_SCALE && size == 3) {
		o->flags |= MERLON_TCP_SCALES;
		o->scale = w->raw[(at + 2) & 63];
	}
	if (kind == MERLON_TCP_OPTION_SACK && size >= 10 && (size - 2) % 8 == 0 && !o->blocks) {
		o->blocks = (size - 2) / 8;
		o->blocks_at = at + 2;
	}
	return 0;
}

/* The right edge of a block of the SACK option. */
merlon_inline __u32 merlon_sack_edge(const struct merlon_option_walk *w, __u32 block)
{
	__u32 edge = 0, at = w->ret->blocks_at + 8 * block + 4;

	for (__u32 i = 0; i < 4; i++)
		edge = edge << 8 | w->raw[(at + i) & 63];
	return edge;
}

/*
 * Reads `bytes` of options, as tcp_options() and tcp_sack() of net/netfilter/nf_conntrack_proto_tcp.c do: up to the
 * first that makes no sense. `ret` is all 0 before.
 */
merlon_global int merlon_read_options(merlon_source *source, __u32 offset, __u32 bytes, struct merlon_tcp_options *ret)
{
	struct merlon_option_walk w = { .bytes = bytes, .ret = ret };
	__u32 words = bytes / 4 - 1;

	if (!ret || words >= MERLON_TCP_OPTIONS_BYTES / 4)
		return -1;
	/* what the verifier of 6.1 can follow: 4 to 64 bytes */
	merlon_opaque(words);
	words &= 15;
	if (merlon_read(source, offset, w.raw, (words + 1) * 4))
		return -1;
	ret->flags = MERLON_TCP_OPTIONS;
	merlon_repeat(MERLON_TCP_OPTIONS_BYTES, merlon_option_step, &w);
	/* RFC 7323 2.3: no larger one is used */
	if (ret->scale > 14)
		ret->scale = 14;
	MERLON_UNROLLED
	for (__u32 i = 0; i < 4; i++)
		if (i < ret->blocks)
			ret->edge[i] = merlon_sack_edge(&w, i);
	return 0;
}

struct merlon_chunk_walk {
	merlon_source *source;
	__u32 end;
	struct merlon_sctp_chunks *ret;	/* what changes is there, as above */
};

/* The chunk at ret->at. 1: the last one. */
static long merlon_chunk_step(__u32 i, struct merlon_chunk_walk *w)
{
	struct merlon_sctp_chunks *c = w->ret;
	__u32 at = c->at, bit, size;
	__u8 raw[MERLON_SCTP_CHUNK_BYTES];

	if (at >= w->end || w->end - at < MERLON_SCTP_CHUNK_BYTES || merlon_read(w->source, at, raw, sizeof(raw)))
		return 1;
	size = merlon_be16(raw + 2);
	bit = merlon_sctp_bit(raw[0]);
	if (!size || (i && ((bit & (MERLON_SCTP_FIRST | MERLON_SCTP_ALONE)) || c->types & MERLON_SCTP_ALONE)) ||
	    (bit & MERLON_SCTP_TURNING && c->n >= MERLON_SCTP_KEPT)) {
		c->refused = 1;
		return 1;
	}
	c->types |= bit;
	c->at = at + ((size + 3) & ~3U);
	if (!(bit & MERLON_SCTP_TURNING))
		return 0;
	if ((raw[0] == MERLON_SCTP_ABORT || raw[0] == MERLON_SCTP_SHUTDOWN_COMPLETE) && raw[1] & MERLON_SCTP_REFLECTED)
		raw[0] |= MERLON_SCTP_KEPT_REFLECTED;
	c->kept[c->n & (MERLON_SCTP_KEPT - 1)] = raw[0];
	c->n++;
	return 0;
}

/*
 * Reads the chunks of an SCTP packet that ends at `end`, as do_basic_checks() of net/netfilter/nf_conntrack_proto_sctp.c
 * does. `ret` is all 0 before, but for the tag.
 */
merlon_global int merlon_read_chunks(merlon_source *source, __u32 offset, __u32 end, struct merlon_sctp_chunks *ret)
{
	struct merlon_chunk_walk w = { source, end, ret };
	__u8 raw[MERLON_SCTP_INIT_BYTES];

	if (!ret)
		return -1;
	ret->at = offset;
	merlon_repeat(MERLON_SCTP_MOST_CHUNKS, merlon_chunk_step, &w);
	if (!ret->types)
		ret->refused = 1;
	if (!(ret->types & MERLON_SCTP_ALONE) || end < offset || end - offset < MERLON_SCTP_INIT_BYTES ||
	    merlon_read(source, offset, raw, sizeof(raw)))
		return 0;
	ret->has_init = 1;
	__builtin_memcpy(&ret->init_tag, raw + 4, 4);
	return 0;
}

/* Reads as much of the transport header as there is: 20, 14, 8, 4 or 2 bytes; the rest of `raw` is 0. */
merlon_inline __u32 merlon_read_transport(merlon_source *source, __u32 offset, __u32 bytes, __u8 raw[MERLON_TCP_BYTES])
{
	if (bytes >= MERLON_TCP_BYTES)
		return merlon_read(source, offset, raw, MERLON_TCP_BYTES) ? 0 : MERLON_TCP_BYTES;
	if (bytes >= 14)
		return merlon_read(source, offset, raw, 14) ? 0 : 14;
	if (bytes >= 8)
		return merlon_read(source, offset, raw, 8) ? 0 : 8;
	if (bytes >= 4)
		return merlon_read(source, offset, raw, 4) ? 0 : 4;
	if (bytes >= 2)
		return merlon_read(source, offset, raw, 2) ? 0 : 2;
	return 0;
}

merlon_inline int merlon_is_icmp(__u8 proto)
{
	return proto == MERLON_PROTO_ICMP || proto == MERLON_PROTO_ICMPV6;
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
	/* RFC 1858: a first fragment that hides the flags */
	if (h->flags & MERLON_H_FIRST && h->ct_proto == MERLON_PROTO_TCP && h->ct_bytes < MERLON_TCP_BYTES)
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
		h->flags |= MERLON_H_LATER | MERLON_H_UNTRACKABLE;
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
	if (merlon_walk_chain(source, MERLON_IPV6_BYTES, h->bytes, h->nexthdr, &chain))
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
