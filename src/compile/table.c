/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/compile/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	return x ^ x >> 32;
}

uint64_t merlon_hash_words(const uint64_t *word, size_t n)
{
	uint64_t hash = n;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ word[i]) * 0x9fb21c651e98df25ULL, hash ^= hash >> 29;
	return mix(hash);
}

static struct merlon_hash_slot *find(const struct merlon_hash *table, uint64_t a, uint64_t b)
{
	size_t i = mix(a ^ mix(b)) & (table->room - 1);

	while (table->slot[i].used && (table->slot[i].a != a || table->slot[i].b != b))
		i = (i + 1) & (table->room - 1);
	return &table->slot[i];
}

bool merlon_hash_get(const struct merlon_hash *table, uint64_t a, uint64_t b, uint32_t *ret)
{
	const struct merlon_hash_slot *slot;

	if (!table->room)
		return false;
	slot = find(table, a, b);
	if (slot->used)
		*ret = slot->value;
	return slot->used;
}

static int enlarge(struct merlon_hash *table)
{
	struct merlon_hash larger = { .room = table->room ? table->room * 2 : 64, .n = table->n };

	larger.slot = calloc(larger.room, sizeof(*larger.slot));
	if (!larger.slot)
		return -ENOMEM;
	for (size_t i = 0; i < table->room; i++)
		if (table->slot[i].used)
			*find(&larger, table->slot[i].a, table->slot[i].b) = table->slot[i];
	free(table->slot);
	*table = larger;
	return 0;
}

int merlon_hash_put(struct merlon_hash *table, uint64_t a, uint64_t b, uint32_t value)
{
	if (table->n * 4 >= table->room * 3 && enlarge(table) < 0)
		return -ENOMEM;
	*find(table, a, b) = (struct merlon_hash_slot){ .a = a, .b = b, .value = value, .used = true };
	table->n++;
	return 0;
}

void merlon_hash_clear(struct merlon_hash *table)
{
	free(table->slot);
	*table = (struct merlon_hash){ 0 };
}

int merlon_reserve(void *array, uint32_t n, uint32_t *room, size_t size)
{
	void *old, *grown;
	uint32_t wanted = *room ? *room * 2 : 16;

	if (n <= *room)
		return 0;
	if (wanted < n)
		wanted = n;
	memcpy(&old, array, sizeof(old));
	grown = reallocarray(old, wanted, size);
	if (!grown)
		return -ENOMEM;
	memcpy(array, &grown, sizeof(grown));
	*room = wanted;
	return 0;
}

int merlon_grow(void *array, uint32_t n, uint32_t *room, size_t size)
{
	return merlon_reserve(array, n + 1, room, size);
}

void merlon_sort(void *array, size_t n, size_t size, int (*compare)(const void *a, const void *b))
{
	const char *item = array;

	for (size_t i = 1; i < n; i++)
		if (compare(item + (i - 1) * size, item + i * size) > 0) {
			qsort(array, n, size, compare);
			return;
		}
}
