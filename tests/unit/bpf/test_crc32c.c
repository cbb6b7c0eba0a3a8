/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC32c against known remainders, and against itself bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/crc32c.h"

static uint32_t sum(const void *data, size_t n)
{
	return ~merlon_crc_add(MERLON_CRC_NONE, data, n, n);
}

static uint32_t bit_by_bit(const uint8_t *data, size_t n)
{
	uint32_t crc = MERLON_CRC_NONE;

	for (size_t i = 0; i < n; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* RFC 3720 B.4, and the usual check value. */
static void known(void **state)
{
	uint8_t data[32];

	(void)state;
	assert_int_equal(sum("123456789", 9), 0xe3069283);
	memset(data, 0, sizeof(data));
	assert_int_equal(sum(data, sizeof(data)), 0x8a9136aa);
	memset(data, 0xff, sizeof(data));
	assert_int_equal(sum(data, sizeof(data)), 0x62a8ab43);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i;
	assert_int_equal(sum(data, sizeof(data)), 0x46dd794e);
}

/* In pieces as the data path has them: all but the last are whole words. */
static void pieces(void **state)
{
	unsigned seed = 1;
	uint8_t data[600];

	(void)state;
	for (size_t n = 0; n < sizeof(data); n++) {
		size_t first = n / 3 & ~(size_t)3;
		uint32_t crc;

		for (size_t i = 0; i < n; i++)
			data[i] = rand_r(&seed);
		crc = merlon_crc_add(MERLON_CRC_NONE, data, first, sizeof(data));
		crc = merlon_crc_add(crc, data + first, n - first, sizeof(data));
		assert_int_equal(~crc, bit_by_bit(data, n));
		assert_int_equal(sum(data, n), bit_by_bit(data, n));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(known), cmocka_unit_test(pieces) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
