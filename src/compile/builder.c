/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/compile/builder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int reserve(struct merlon_builder *b, uint32_t n)
{
	uint32_t room = b->room ? b->room : 1024;
	uint64_t *grown;

	if (n > b->max)
		return -E2BIG;
	if (n <= b->room)
		return 0;
	while (room < n)
		room *= 2;
	grown = reallocarray(b->word, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + b->room, 0, (room - b->room) * sizeof(*grown));
	b->word = grown;
	b->room = room;
	return 0;
}

uint32_t merlon_builder_put(struct merlon_builder *b, const void *words, uint32_t n, uint32_t align)
{
	uint32_t at = (b->n + align - 1) & -align;

	if (b->error)
		return 0;
	b->error = n > b->max ? -E2BIG : reserve(b, at + n);
	if (b->error)
		return 0;
	if (words)
		memcpy(b->word + at, words, n * sizeof(*b->word));
	b->n = at + n;
	return at;
}

uint32_t merlon_builder_share(struct merlon_builder *b, const uint64_t *words, uint32_t n)
{
	uint64_t hash = merlon_hash_words(words, n), same = 0;
	uint32_t at, offset = b->n % MERLON_LINE_WORDS;

	if (b->error)
		return 0;
	for (; merlon_hash_get(&b->shared, hash, same << 32 | n, &at); same++)
		if (!memcmp(b->word + at, words, n * sizeof(*words)))
			return at;
	at = merlon_builder_put(b, words, n,
				n <= MERLON_LINE_WORDS && offset + n > MERLON_LINE_WORDS ? MERLON_LINE_WORDS : 1);
	if (!b->error)
		b->error = merlon_hash_put(&b->shared, hash, same << 32 | n, at);
	return at;
}

void merlon_builder_clear(struct merlon_builder *b)
{
	free(b->word);
	merlon_hash_clear(&b->shared);
	*b = (struct merlon_builder){ 0 };
}
