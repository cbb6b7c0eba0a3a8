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

merlon_inline __u16 merlon_be16(const __u8 *p)
{
	return (__u16)(p[0] << 8 | p[1]);
}

merlon_inline __u32 merlon_be32(const __u8 *p)
{
	return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | p[3];
}

#endif
