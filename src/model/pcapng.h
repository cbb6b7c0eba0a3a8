/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks of a pcapng file (draft-ietf-opsawg-pcapng) of IP packets without link headers, in the byte order of the host. */
#ifndef MERLON_MODEL_PCAPNG_H
#define MERLON_MODEL_PCAPNG_H

#include <stddef.h>
#include <stdint.h>

#define MERLON_PCAPNG_HEAD 128	/* bytes of a section's or an interface's block at most */

enum merlon_pcapng_direction { MERLON_PCAPNG_IN = 1, MERLON_PCAPNG_OUT = 2 };

struct merlon_pcapng_packet {
	uint32_t interface;		/* the number of its block, from 0 on */
	uint64_t time_ns;		/* CLOCK_REALTIME */
	const void *data;		/* from the IP header on */
	uint32_t bytes, whole;		/* of `data`; of the packet */
	enum merlon_pcapng_direction direction;
	uint64_t lost;			/* packets that should have come before it */
	const char *comment;		/* UTF-8, not ended by 0 */
	size_t comment_bytes;		/* what does not fit into an option is cut */
};

/* They write a block and return its end. The section's comes first, and an interface's before its packets. */
char *merlon_pcapng_section(char *to);
/* `name`: below 64 bytes. `snap`: bytes that packets have at most. */
char *merlon_pcapng_interface(char *to, const char *name, uint32_t snap);
/* The most bytes that the packet's block takes. */
size_t merlon_pcapng_room(const struct merlon_pcapng_packet *packet);
char *merlon_pcapng_packet(char *to, const struct merlon_pcapng_packet *packet);

#endif
