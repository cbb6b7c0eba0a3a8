/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a packet's bytes come from: an skb in BPF programs, a buffer natively. */
#ifndef MERLON_READ_H
#define MERLON_READ_H

#include "bpf/abi.h"
#include "bpf/env.h"

#ifdef __bpf__
/* A function that the verifier looks at once, with any arguments, and not at each call. */
#define merlon_global __attribute__((noinline))
typedef struct __sk_buff merlon_source;

/*
 * Defined by the program: reads what need not be in the linear part of the skb. The relative load of hot.h is quicker,
 * but fails there.
 */
static int merlon_read(merlon_source *skb, __u32 offset, void *to, __u32 n);
#else
#include <string.h>

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

/*
 * A field as it lies there, where packets and maps have it: not on the stack, unless it begins at a multiple of its size.
 * On machines that load such words anywhere (x86-64, arm64) the kernel lets BPF do it, too; by bytes it takes several times
 * as long.
 */
#ifdef __bpf__
#define merlon_field(type, p) (*(const type *)(p))
#else
#define merlon_field(type, p) \
	({ \
		type field_; \
		memcpy(&field_, (p), sizeof(field_)); \
		field_; \
	})
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define merlon_ntoh16(v) __builtin_bswap16(v)
#define merlon_ntoh32(v) __builtin_bswap32(v)
#define merlon_ntoh64(v) __builtin_bswap64(v)
/* Two fields that follow each other, as one. */
#define merlon_pair16(first, second) ((__u32)(first) | (__u32)(second) << 16)
#define merlon_pair32(first, second) ((__u64)(first) | (__u64)(second) << 32)
#define merlon_pair8(first, second) ((__u16)((first) | (second) << 8))
#else
#define merlon_ntoh16(v) (v)
#define merlon_ntoh32(v) (v)
#define merlon_ntoh64(v) (v)
#define merlon_pair16(first, second) ((__u32)(first) << 16 | (__u32)(second))
#define merlon_pair32(first, second) ((__u64)(first) << 32 | (__u64)(second))
#define merlon_pair8(first, second) ((__u16)((first) << 8 | (second)))
#endif

merlon_inline __u16 merlon_be16(const __u8 *p)
{
	return (__u16)(p[0] << 8 | p[1]);
}

merlon_inline __u32 merlon_be32(const __u8 *p)
{
	return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | p[3];
}

#endif
