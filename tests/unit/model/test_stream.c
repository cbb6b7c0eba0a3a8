/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/stream.h"

static void same(const char *a, const char *b)
{
	if (a && b)
		assert_string_equal(a, b);
	else
		assert_true(a == b);
}

static void there_and_back(struct merlon_event_origin origin)
{
	struct merlon_event_origin ret = { .chain = strdup("what was there before") };
	char *record = malloc(MERLON_STREAM_RECORD);
	struct merlon_stream_header header;
	size_t bytes = merlon_stream_origin_write(7, &origin, record);

	memcpy(&header, record, sizeof(header));
	assert_int_equal(header.bytes, bytes);
	assert_int_equal(header.type, MERLON_STREAM_ORIGIN);
	assert_int_equal(merlon_stream_origin_read(record, bytes, &ret), 0);
	same(ret.chain, origin.chain);
	same(ret.rule, origin.rule);
	same(ret.file, origin.file);
	same(ret.prefix, origin.prefix);
	assert_int_equal(ret.line, origin.line);
	assert_int_equal(ret.level, origin.level);
	merlon_event_origin_clear(&ret);
	free(record);
}

static void test_origins(void **state)
{
	(void)state;
	there_and_back((struct merlon_event_origin){ .level = -1 });
	there_and_back((struct merlon_event_origin){ .chain = (char *)"in", .level = -1 });
	there_and_back((struct merlon_event_origin){ (char *)"in", (char *)"tcp dport 22 drop", (char *)"a.nft", NULL, 3, -1 });
	/* an empty prefix is one */
	there_and_back((struct merlon_event_origin){ (char *)"in", (char *)"log", NULL, (char *)"", 0, 4 });
	there_and_back((struct merlon_event_origin){ .rule = (char *)"no \xff UTF-8\n", .prefix = (char *)"\"", .level = 7 });
}

static void test_long_strings_are_cut(void **state)
{
	struct merlon_event_origin ret = { 0 };
	char *record = malloc(MERLON_STREAM_RECORD), *text = malloc(MERLON_STREAM_RECORD * 2);
	size_t bytes;

	(void)state;
	memset(text, 'x', MERLON_STREAM_RECORD * 2 - 1);
	text[MERLON_STREAM_RECORD * 2 - 1] = 0;
	bytes = merlon_stream_origin_write(0, &(struct merlon_event_origin){ text, text, text, text, 1, 1 }, record);
	assert_in_range(bytes, MERLON_STREAM_RECORD / 2, MERLON_STREAM_RECORD);
	assert_int_equal(merlon_stream_origin_read(record, bytes, &ret), 0);
	assert_memory_equal(ret.prefix, text, strlen(ret.prefix));
	merlon_event_origin_clear(&ret);
	free(record);
	free(text);
}

static void test_broken_records(void **state)
{
	struct merlon_event_origin origin = { (char *)"chain", (char *)"rule", (char *)"file", (char *)"prefix", 1, 1 }, ret = { 0 };
	char record[256], slot[256];
	size_t bytes;

	(void)state;
	bytes = merlon_stream_origin_write(MERLON_STREAM_ORIGINS - 1, &origin, memset(record, 'x', sizeof(record)));
	for (size_t n = 0; n < bytes; n++) {
		/* so that the sanitizers see a read beyond its end */
		char *part = malloc(n + 1);

		memcpy(part, record, n);
		assert_int_equal(merlon_stream_origin_read(part, n, &ret), -EPROTO);
		free(part);
	}
	assert_null(ret.chain);
	merlon_stream_origin_write(MERLON_STREAM_ORIGINS, &origin, slot);
	assert_int_equal(merlon_stream_origin_read(slot, bytes, &ret), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_origins), cmocka_unit_test(test_long_strings_are_cut), cmocka_unit_test(test_broken_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
