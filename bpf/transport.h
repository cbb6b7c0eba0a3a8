/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transport headers, the options of TCP and the chunks of SCTP. */
#ifndef MERLON_TRANSPORT_H
#define MERLON_TRANSPORT_H

#include "bpf/headers.h"
#include "bpf/read.h"

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
	merlon_loop(MERLON_TCP_OPTIONS_BYTES, merlon_option_step, &w);
	/* RFC 7323 2.3: no larger one is used */
	if (ret->scale > 14)
		ret->scale = 14;
	merlon_unroll
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
	merlon_loop(MERLON_SCTP_MOST_CHUNKS, merlon_chunk_step, &w);
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

#endif
