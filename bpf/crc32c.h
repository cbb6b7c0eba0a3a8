/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CRC32c (RFC 9260 appendix A; the polynomial 0x1edc6f41, its bits reflected), four bytes at a time. Pure: also compiled
 * natively. The remainder of a byte is the sum of those of its bits, so that tables need but 32 constants: bit 7 of the
 * last byte of four leaves the polynomial, each bit before it one step more.
 */
#ifndef MERLON_CRC32C_H
#define MERLON_CRC32C_H

#include "bpf/abi.h"
#include "bpf/env.h"

#define MERLON_CRC_BITS(b, k0, k1, k2, k3, k4, k5, k6, k7)                                                          \
	(((b) & 1 ? k0 : 0) ^ ((b) & 2 ? k1 : 0) ^ ((b) & 4 ? k2 : 0) ^ ((b) & 8 ? k3 : 0) ^ ((b) & 16 ? k4 : 0) ^  \
	 ((b) & 32 ? k5 : 0) ^ ((b) & 64 ? k6 : 0) ^ ((b) & 128 ? k7 : 0))
#define MERLON_CRC_4(b, ...)                                                                                        \
	MERLON_CRC_BITS(b, __VA_ARGS__), MERLON_CRC_BITS((b) + 1, __VA_ARGS__), MERLON_CRC_BITS((b) + 2, __VA_ARGS__), \
		MERLON_CRC_BITS((b) + 3, __VA_ARGS__)
#define MERLON_CRC_16(b, ...)                                                                                       \
	MERLON_CRC_4(b, __VA_ARGS__), MERLON_CRC_4((b) + 4, __VA_ARGS__), MERLON_CRC_4((b) + 8, __VA_ARGS__),       \
		MERLON_CRC_4((b) + 12, __VA_ARGS__)
#define MERLON_CRC_64(b, ...)                                                                                       \
	MERLON_CRC_16(b, __VA_ARGS__), MERLON_CRC_16((b) + 16, __VA_ARGS__), MERLON_CRC_16((b) + 32, __VA_ARGS__),  \
		MERLON_CRC_16((b) + 48, __VA_ARGS__)
#define MERLON_CRC_256(...)                                                                                         \
	{ MERLON_CRC_64(0, __VA_ARGS__), MERLON_CRC_64(64, __VA_ARGS__), MERLON_CRC_64(128, __VA_ARGS__),           \
	  MERLON_CRC_64(192, __VA_ARGS__) }

/* By how many bytes follow in a word of four. */
static const __u32 merlon_crc_table[4][256] = {
	MERLON_CRC_256(0xf26b8303U, 0xe13b70f7U, 0xc79a971fU, 0x8ad958cfU, 0x105ec76fU, 0x20bd8edeU, 0x417b1dbcU, 0x82f63b78U),
	MERLON_CRC_256(0x13a29877U, 0x274530eeU, 0x4e8a61dcU, 0x9d14c3b8U, 0x3fc5f181U, 0x7f8be302U, 0xff17c604U, 0xfbc3faf9U),
	MERLON_CRC_256(0xa541927eU, 0x4f6f520dU, 0x9edea41aU, 0x38513ec5U, 0x70a27d8aU, 0xe144fb14U, 0xc76580d9U, 0x8b277743U),
	MERLON_CRC_256(0xdd45aab8U, 0xbf672381U, 0x7b2231f3U, 0xf64463e6U, 0xe964b13dU, 0xd725148bU, 0xaba65fe7U, 0x52a0c93fU),
};

#define MERLON_CRC_NONE 0xffffffffU	/* of no bytes; the checksum is the complement of what comes out */

merlon_inline __u32 merlon_crc_byte(__u32 crc, __u8 byte)
{
	return crc >> 8 ^ merlon_crc_table[0][(crc ^ byte) & 0xff];
}

merlon_inline __u32 merlon_crc_word(__u32 crc, const __u8 *p)
{
	crc ^= p[0] | p[1] << 8 | p[2] << 16 | (__u32)p[3] << 24;
	return merlon_crc_table[3][crc & 0xff] ^ merlon_crc_table[2][crc >> 8 & 0xff] ^ merlon_crc_table[1][crc >> 16 & 0xff] ^
	       merlon_crc_table[0][crc >> 24];
}

/* Goes on with the first n of `most` bytes at p. */
merlon_inline __u32 merlon_crc_add(__u32 crc, const __u8 *p, __u32 n, __u32 most)
{
	__u32 i;

	for (i = 0; i + 4 <= most && i + 4 <= n; i += 4)
		crc = merlon_crc_word(crc, p + i);
	for (; i < most && i < n; i++)
		crc = merlon_crc_byte(crc, p[i]);
	return crc;
}

#endif
