/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IPv6 extension headers (RFC 8200 4), as the kernel walks them for rules and for its tracker. */
#ifndef MERLON_EXTENSIONS_H
#define MERLON_EXTENSIONS_H

#include "bpf/headers.h"
#include "bpf/read.h"

#define MERLON_EXTENSIONS 8	/* extension headers that are walked; nobody sends as many */

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
	__u8 cut;		/* a first fragment that does not have them all: to be discarded (RFC 8200 4.5) */
	__u8 pad[3];
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
	if (!(offset & 1))
		chain->flags |= MERLON_H_LAST;
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
	chain->cut = 0;
	chain->l4proto = 0;
	chain->l4_offset = 0;
	merlon_unroll
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
	chain->cut = chain->flags & MERLON_H_FIRST && (broken || (offset >= end && next != MERLON_PROTO_NONE));
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

#endif
