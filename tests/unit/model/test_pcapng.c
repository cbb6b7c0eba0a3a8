/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/pcapng.h"

#define COMMENT_MOST 65532

static uint32_t word(const char *block, size_t i)
{
	uint32_t v;

	memcpy(&v, block + 4 * i, sizeof(v));
	return v;
}

/* Type, and the length at both ends. */
static void assert_block(const char *block, const char *end, uint32_t type)
{
	assert_int_equal(word(block, 0), type);
	assert_int_equal(word(block, 1), end - block);
	assert_int_equal((end - block) % 4, 0);
	assert_int_equal(word(end - 4, 0), end - block);
}

/* Of the options from `at` on: its value, or NULL; all must be within the block. */
static const char *option(const char *at, const char *end, uint16_t wanted, uint16_t *ret_bytes)
{
	const char *found = NULL;

	for (;;) {
		uint16_t head[2];

		assert_true(end - at >= (ptrdiff_t)sizeof(head));
		memcpy(head, at, sizeof(head));
		at += sizeof(head);
		if (!head[0])
			break;
		assert_true(end - at >= head[1]);
		if (head[0] == wanted) {
			assert_null(found);
			found = at;
			*ret_bytes = head[1];
		}
		at += (head[1] + 3) / 4 * 4;
	}
	assert_ptr_equal(at, end);
	return found;
}

static void test_heads(void **state)
{
	char block[MERLON_PCAPNG_HEAD];
	char *end = merlon_pcapng_section(block);
	uint16_t bytes = 0;

	(void)state;
	assert_true(end - block <= MERLON_PCAPNG_HEAD);
	assert_block(block, end, 0x0a0d0d0a);
	assert_int_equal(word(block, 2), 0x1a2b3c4d);
	assert_memory_equal(option(block + 24, end - 4, 4, &bytes), "merlon ", 7);
	end = merlon_pcapng_interface(block, "a234567890bcdef", 128);
	assert_true(end - block <= MERLON_PCAPNG_HEAD);
	assert_block(block, end, 1);
	assert_int_equal(word(block, 2), 101);
	assert_int_equal(word(block, 3), 128);
	assert_memory_equal(option(block + 16, end - 4, 2, &bytes), "a234567890bcdef", 15);
	assert_int_equal(bytes, 15);
	assert_memory_equal(option(block + 16, end - 4, 9, &bytes), "\x09", 1);
}

static void packet(const struct merlon_pcapng_packet *p, uint16_t comment_bytes)
{
	char *block = malloc(merlon_pcapng_room(p)), *end = merlon_pcapng_packet(block, p);
	const char *options = block + 28 + (p->bytes + 3) / 4 * 4, *found;
	uint16_t bytes = 0;

	assert_true((size_t)(end - block) <= merlon_pcapng_room(p));
	assert_block(block, end, 6);
	assert_int_equal(word(block, 2), p->interface);
	assert_int_equal((uint64_t)word(block, 3) << 32 | word(block, 4), p->time_ns);
	assert_int_equal(word(block, 5), p->bytes);
	assert_int_equal(word(block, 6), p->whole);
	if (p->bytes)
		assert_memory_equal(block + 28, p->data, p->bytes);
	found = option(options, end - 4, 1, &bytes);
	if (comment_bytes) {
		assert_int_equal(bytes, comment_bytes);
		assert_memory_equal(found, p->comment, bytes);
	} else {
		assert_null(found);
	}
	assert_int_equal(word(option(options, end - 4, 2, &bytes), 0), p->direction);
	found = option(options, end - 4, 4, &bytes);
	assert_int_equal(!!found, !!p->lost);
	if (found)
		assert_memory_equal(found, &p->lost, sizeof(p->lost));
	free(block);
}

static void test_packets(void **state)
{
	const char data[] = "0123456789abcdef";

	(void)state;
	for (uint32_t n = 0; n <= 16; n++)
		for (size_t comment = 0; comment < 5; comment++)
			packet(&(struct merlon_pcapng_packet){ .interface = n, .time_ns = 1795000000123456789ULL, .data = data, .bytes = n,
							       .whole = 1500, .direction = MERLON_PCAPNG_OUT, .lost = n & 1,
							       .comment = data, .comment_bytes = comment }, comment);
}

static void test_long_comments_are_cut_between_characters(void **state)
{
	char *text = malloc(100000);
	struct merlon_pcapng_packet p = { .direction = MERLON_PCAPNG_IN, .comment = text, .comment_bytes = 100000 };

	(void)state;
	memset(text, 'x', 100000);
	packet(&p, COMMENT_MOST);
	memcpy(text + COMMENT_MOST - 1, "\xe2\x82\xac", 3);
	packet(&p, COMMENT_MOST - 1);
	memset(text, 'x', 100000);
	memcpy(text + COMMENT_MOST - 3, "\xe2\x82\xac", 3);
	packet(&p, COMMENT_MOST);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads), cmocka_unit_test(test_packets),
		cmocka_unit_test(test_long_comments_are_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
