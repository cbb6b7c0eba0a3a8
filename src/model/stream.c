/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/stream.h"

#include <errno.h>
#include <string.h>

#define STRING_MOST (MERLON_STREAM_RECORD / 4 - 64)	/* four of them and the record's other parts fit */

static char *put(char *to, const char *string)
{
	size_t n = strnlen(string, STRING_MOST);

	memcpy(to, string, n);
	to[n] = 0;
	return to + n + 1;
}

size_t merlon_stream_origin_write(uint32_t slot, const struct merlon_event_origin *origin, void *ret)
{
	const char *const string[] = { origin->chain, origin->rule, origin->file, origin->prefix };
	struct merlon_stream_origin record = { .header.type = MERLON_STREAM_ORIGIN, .slot = slot, .line = origin->line,
					       .level = origin->level };
	char *to = (char *)ret + sizeof(record);

	for (unsigned i = 0; i < 4; i++)
		if (string[i]) {
			record.strings |= 1U << i;
			to = put(to, string[i]);
		}
	record.header.bytes = to - (char *)ret;
	memcpy(ret, &record, sizeof(record));
	return record.header.bytes;
}

int merlon_stream_origin_read(const void *from, size_t bytes, struct merlon_event_origin *ret)
{
	struct merlon_event_origin origin = { 0 };
	char **const string[] = { &origin.chain, &origin.rule, &origin.file, &origin.prefix };
	struct merlon_stream_origin record;
	const char *at = (const char *)from + sizeof(record), *end = (const char *)from + bytes;
	int r = 0;

	if (bytes < sizeof(record))
		return -EPROTO;
	memcpy(&record, from, sizeof(record));
	origin.line = record.line;
	origin.level = record.level;
	for (unsigned i = 0; i < 4 && !r; i++) {
		const char *zero;

		if (!(record.strings & 1U << i))
			continue;
		zero = memchr(at, 0, end - at);
		if (!zero)
			r = -EPROTO;
		else if (!(*string[i] = strdup(at)))
			r = -ENOMEM;
		else
			at = zero + 1;
	}
	if (record.slot >= MERLON_STREAM_ORIGINS)
		r = -EPROTO;
	if (r < 0) {
		merlon_event_origin_clear(&origin);
		return r;
	}
	merlon_event_origin_clear(ret);
	*ret = origin;
	return 0;
}
