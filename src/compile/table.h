/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A hash table from two 64-bit words to one 32-bit value, for the compiler's lookups. Zeroed memory is an empty one. */
#ifndef MERLON_COMPILE_TABLE_H
#define MERLON_COMPILE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merlon_hash_slot {
	uint64_t a, b;
	uint32_t value;
	bool used;
};

struct merlon_hash {
	struct merlon_hash_slot *slot;
	size_t n, room;		/* room: a power of two, or 0 */
};

bool merlon_hash_get(const struct merlon_hash *table, uint64_t a, uint64_t b, uint32_t *ret);
/* Enters what is not in the table yet. 0 or -ENOMEM. */
int merlon_hash_put(struct merlon_hash *table, uint64_t a, uint64_t b, uint32_t value);
void merlon_hash_clear(struct merlon_hash *table);

/* A hash of `n` words. */
uint64_t merlon_hash_words(const uint64_t *word, size_t n);

/* Makes room for one more element in an array that doubles; 0 or -ENOMEM. `array` is the address of a pointer. */
int merlon_grow(void *array, uint32_t n, uint32_t *room, size_t size);

/* Makes room for `n` elements in all, and for some more than there was; likewise. */
int merlon_reserve(void *array, uint32_t n, uint32_t *room, size_t size);

/* qsort(3), but what is in its order already, as a large set's elements are, is only looked through. */
void merlon_sort(void *array, size_t n, size_t size, int (*compare)(const void *a, const void *b));

#endif
