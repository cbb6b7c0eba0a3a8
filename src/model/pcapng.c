/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/pcapng.h"

#include <string.h>

#include "config.h"

#define SECTION 0x0a0d0d0aU
#define INTERFACE 1U
#define PACKET 6U
#define BYTE_ORDER_MAGIC 0x1a2b3c4dU
#define LINKTYPE_RAW 101
#define COMMENT_MOST 65532	/* an option's length has 16 bits */

enum option { END, COMMENT, INTERFACE_NAME = 2, PACKET_FLAGS = 2, PROGRAM = 4, DROP_COUNT = 4, TIME_RESOLUTION = 9 };

static char *put(char *to, const void *from, size_t bytes)
{
	if (bytes)
		memcpy(to, from, bytes);
	return to + bytes;
}

static char *put16(char *to, uint16_t v)
{
	return put(to, &v, sizeof(v));
}

static char *put32(char *to, uint32_t v)
{
	return put(to, &v, sizeof(v));
}

/* Up to the next multiple of four. */
static char *put_padded(char *to, const void *from, size_t bytes)
{
	static const char zero[4];

	return put(put(to, from, bytes), zero, -bytes & 3);
}

static char *put_option(char *to, enum option option, const void *from, uint16_t bytes)
{
	return put_padded(put16(put16(to, option), bytes), from, bytes);
}

static char *begin(char *to, uint32_t type)
{
	return put32(put32(to, type), 0);
}

/* The length is behind the type and at the end. */
static char *end(char *block, char *to)
{
	uint32_t bytes = to - block + sizeof(bytes);

	put32(block + sizeof(uint32_t), bytes);
	return put32(to, bytes);
}

char *merlon_pcapng_section(char *block)
{
	static const char program[] = "merlon " PACKAGE_VERSION;
	const int64_t unknown = -1;
	char *to = put32(begin(block, SECTION), BYTE_ORDER_MAGIC);

	to = put(put16(put16(to, 1), 0), &unknown, sizeof(unknown));
	to = put_option(to, PROGRAM, program, sizeof(program) - 1);
	return end(block, put_option(to, END, NULL, 0));
}

char *merlon_pcapng_interface(char *block, const char *name, uint32_t snap)
{
	const uint8_t nanoseconds = 9;
	char *to = put32(put16(put16(begin(block, INTERFACE), LINKTYPE_RAW), 0), snap);

	to = put_option(to, INTERFACE_NAME, name, strnlen(name, 64));
	to = put_option(to, TIME_RESOLUTION, &nanoseconds, sizeof(nanoseconds));
	return end(block, put_option(to, END, NULL, 0));
}

/* Of UTF-8: no character is cut apart. */
static uint16_t cut(const char *text, size_t bytes)
{
	if (bytes <= COMMENT_MOST)
		return bytes;
	bytes = COMMENT_MOST;
	while (bytes && ((unsigned char)text[bytes] & 0xc0) == 0x80)
		bytes--;
	return bytes;
}

size_t merlon_pcapng_room(const struct merlon_pcapng_packet *p)
{
	return MERLON_PCAPNG_HEAD + p->bytes + p->comment_bytes;
}

char *merlon_pcapng_packet(char *block, const struct merlon_pcapng_packet *p)
{
	const uint32_t flags = p->direction;
	char *to = put32(begin(block, PACKET), p->interface);

	to = put32(put32(to, p->time_ns >> 32), (uint32_t)p->time_ns);
	to = put_padded(put32(put32(to, p->bytes), p->whole), p->data, p->bytes);
	if (p->comment_bytes)
		to = put_option(to, COMMENT, p->comment, cut(p->comment, p->comment_bytes));
	to = put_option(to, PACKET_FLAGS, &flags, sizeof(flags));
	if (p->lost)
		to = put_option(to, DROP_COUNT, &p->lost, sizeof(p->lost));
	return end(block, put_option(to, END, NULL, 0));
}
