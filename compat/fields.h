/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which field of a packet some bytes of a header are, given what is known about the packet. */
#ifndef MERLON_FIELDS_H
#define MERLON_FIELDS_H

#include "compat/eval.h"

#define MERLON_NO_FIELD (-1)

/* Offsets in a frame of Ethernet (linux/if_ether.h, struct ethhdr). */
#define MERLON_ETHER_SADDR 6
#define MERLON_ETHER_TYPE 12

struct merlon_header_field {
	uint8_t base;		/* enum nft_payload_bases */
	uint8_t offset, len;	/* bytes */
	int field;		/* enum merlon_field, or MERLON_NO_FIELD: known by name only */
	const char *name;
};

/* The field that starts at a byte, or NULL. */
const struct merlon_header_field *merlon_header_field(const struct merlon_eval *eval, uint32_t base, uint32_t offset);

const char *merlon_meta_name(uint32_t key);
const char *merlon_ct_name(uint32_t key);

#endif
