/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The classifier in the kernel decides as the native one, which decides as the reference: random rulesets, random
 * packets. Needs root. usage: test_bpf [SECONDS [FIRST-SEED]]
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/bpf/classifier.h"
#include "tests/prop/compare.h"

#define PACKETS 300

static unsigned seconds = 5;
static uint64_t first_seed = 1;

static const char *packet_in_kernel(struct trial *trial, struct classifier *c)
{
	const char *differs = trial_packet(trial);

	if (differs)
		return differs;
	memset(c->walk, 0x5a, sizeof(*c->walk));
	c->walk->packet = trial->walk.packet;
	c->walk->now_ns = trial->walk.now_ns;
	if (classifier_one(c) < 0)
		return "run in the kernel";
	return compare_walks(&trial->walk, c->walk);
}

static void kernel_is_native(void **state)
{
	time_t end = time(NULL) + seconds;
	uint64_t seed, packets = 0, steps = 0;

	(void)state;
	for (seed = first_seed; time(NULL) < end || !packets; seed++) {
		const char *differs = NULL;
		struct classifier c;
		struct trial trial;
		int r;

		if (trial_begin(&trial, seed, seed % 10 ? 1500 : 15000)) {
			trial_end(&trial);
			continue;
		}
		r = classifier_open(&c, trial.policy, 1);
		if (r == -EPERM || r == -EACCES) {
			trial_end(&trial);
			skip();
		}
		assert_int_equal(r, 0);
		for (unsigned i = 0; i < PACKETS && !differs; i++, packets++) {
			differs = packet_in_kernel(&trial, &c);
			steps += trial.walk.steps;
		}
		if (differs) {
			trial_describe(&trial);
			fail_msg("%s differs, seed %" PRIu64, differs, seed);
		}
		classifier_close(&c);
		trial_end(&trial);
	}
	print_message("# seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " packets, %" PRIu64 " rules visited\n", first_seed,
		      seed - 1, packets, steps);
	assert_true(packets > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kernel_is_native) };

	if (argc > 1)
		seconds = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
