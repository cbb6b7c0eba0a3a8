/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The native classifier over the compiled image decides as the reference does: random rulesets, random packets.
 * usage: test_native [SECONDS [FIRST-SEED]]
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "tests/prop/compare.h"

#define PACKETS 400

static unsigned seconds = 4;
static uint64_t first_seed = 1;

static unsigned largest_plane(const struct trial *trial)
{
	unsigned most = 0;

	for (unsigned i = 0; i < MERLON_HOOKS * MERLON_FAMILIES; i++) {
		unsigned n = trial->policy->list[i / MERLON_FAMILIES][i % MERLON_FAMILIES].n;

		most = n > most ? n : most;
	}
	return most;
}

/* Whether the rule that decided was found in a subtable. */
static bool was_in_subtable(const struct merlon_walk *walk)
{
	for (unsigned i = 0; walk->rule != MERLON_NO_RULE && i < walk->n_buckets; i++)
		if (walk->exact >> i & 1 && walk->head[i] == walk->rule)
			return true;
	return false;
}

static void native_is_naive(void **state)
{
	time_t end = time(NULL) + seconds;
	uint64_t seed, packets = 0;
	unsigned refused = 0, direct = 0, large = 0, cacheable = 0, hashed = 0;

	(void)state;
	for (seed = first_seed; time(NULL) < end || seed < first_seed + 100; seed++) {
		struct trial trial;
		const char *differs = NULL;

		if (trial_begin(&trial, seed, seed % 10 ? 1500 : 15000)) {
			refused++;
			trial_end(&trial);
			continue;
		}
		direct += largest_plane(&trial) <= MERLON_DIRECT_RULES;
		large += largest_plane(&trial) > 4096;
		for (unsigned i = 0; i < PACKETS && !differs; i++, packets++) {
			differs = trial_packet(&trial);
			cacheable += trial.walk.cacheable;
			hashed += was_in_subtable(&trial.walk);
		}
		if (differs) {
			trial_describe(&trial);
			fail_msg("%s differs, seed %" PRIu64, differs, seed);
		}
		trial_end(&trial);
	}
	print_message("# seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " packets, %u cacheable, %u decided in subtables; rulesets: "
		      "%u without planes, %u of three levels, %u refused\n", first_seed, seed - 1, packets, cacheable, hashed, direct,
		      large, refused);
	assert_true(hashed * 1000ULL > packets);
	assert_true(refused * 5 < (seed - first_seed) * 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(native_is_naive) };

	if (argc > 1)
		seconds = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
