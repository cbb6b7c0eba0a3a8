/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The image under construction. Errors stick: after one every call returns 0 and changes nothing, and the caller looks
 * at `error` once at the end.
 */
#ifndef MERLON_COMPILE_BUILDER_H
#define MERLON_COMPILE_BUILDER_H

#include "bpf/image.h"
#include "src/compile/table.h"

struct merlon_builder {
	uint64_t *word;		/* [room], a power of two, zero from n on */
	uint32_t n, room, max;
	struct merlon_hash shared;
	int error;		/* 0, -ENOMEM, -E2BIG: more than `max` words */
};

/* Appends `n` words, zeroed if `words` is NULL, at a multiple of `align` (a power of two). Returns where. */
uint32_t merlon_builder_put(struct merlon_builder *b, const void *words, uint32_t n, uint32_t align);
/* The same for what must not change later: equal content is stored once, and not across cache lines if it fits one. */
uint32_t merlon_builder_share(struct merlon_builder *b, const uint64_t *words, uint32_t n);
void merlon_builder_clear(struct merlon_builder *b);

#endif
