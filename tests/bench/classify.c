/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a classification costs in the kernel: warm (one packet again and again) and over distinct packets in random
 * order, less what the loop around it costs. Needs root.
 * usage: classify [--json] [acl|mixed|fw RULES]...
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/model/naive.h"
#include "tests/bench/rulegen.h"
#include "tests/bpf/classifier.h"

#define PACKETS 100000U
#define ROUNDS 7
#define CHECKED 200

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median over rounds of nanoseconds per packet, the empty loop taken off; negative on failure. */
static double measure(struct classifier *c, bool warm)
{
	double ns[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		int64_t full, empty;

		if (warm)
			c->packet[0] = c->packet[(i * 7919 + 1) % PACKETS];
		full = classifier_many(c, PACKETS, warm);
		empty = classifier_empty(c, PACKETS, warm);
		if (full < 0 || empty < 0)
			return -1;
		ns[i] = (double)(full - empty) / PACKETS;
	}
	qsort(ns, ROUNDS, sizeof(*ns), by_value);
	return ns[ROUNDS / 2];
}

/* Figures of a classifier that decides wrongly are worth nothing. */
static int check(struct classifier *c, const struct merlon_ruleset *ruleset)
{
	static struct merlon_naive_result naive;

	for (unsigned i = 0; i < CHECKED; i++) {
		struct merlon_naive_input input = { .ruleset = ruleset, .packet = &c->packet[i * 97 % PACKETS],
						    .iif_name = "", .oif_name = "" };

		c->walk->packet = *input.packet;
		if (merlon_naive(&input, &naive) < 0 || classifier_one(c) < 0 || c->walk->verdict != naive.verdict ||
		    c->walk->rule != (naive.rule ? (size_t)(naive.rule - ruleset->chain[0].rule) : ruleset->chain[0].n))
			return -1;
	}
	return 0;
}

static int bench(enum rulegen_kind kind, uint32_t n, bool json)
{
	struct merlon_compile_options options = { .generation = 1, .first_counter = 1, .first_limit = 1 };
	struct merlon_ruleset *ruleset = rulegen(kind, n, 1);
	struct merlon_policy *policy = NULL;
	struct merlon_diag diag = { 0 };
	struct classifier c = { 0 };
	double start = now_s(), compile_s, shuffled, warm;
	uint64_t seed = 42;
	int r = ruleset ? merlon_compile(ruleset, &options, &policy, &diag) : -ENOMEM;

	compile_s = now_s() - start;
	if (!r)
		r = classifier_open(&c, policy, PACKETS);
	for (uint32_t i = 0; i < PACKETS && !r; i++)
		rulegen_packet(ruleset, &seed, &c.packet[i]);
	if (!r)
		r = check(&c, ruleset);
	if (r < 0) {
		merlon_diag_print(&diag, stderr);
		fprintf(stderr, "%s %u: failed (%d)\n", rulegen_name(kind), n, r);
	} else {
		shuffled = measure(&c, false);
		warm = measure(&c, true);
		if (json)
			printf("{\"figure\": \"classify_%s_%u_shuffled_ns\", \"value\": %.0f, \"unit\": \"ns\"}\n",
			       rulegen_name(kind), n, shuffled);
		else
			printf("%-5s %6u rules: shuffled %5.0f ns, warm %4.0f ns, image %6.2f MB (%3u bytes a rule), %2u "
			       "subtables, %2u planes, compiled in %.3f s, %u instructions verified\n", rulegen_name(kind), n, shuffled,
			       warm, policy->words / 131072.0, policy->words * 8 / n, policy->n_subtables, policy->n_planes, compile_s,
			       c.verified);
		classifier_close(&c);
	}
	merlon_diag_clear(&diag);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
	return r;
}

static int bench_named(const char *name, const char *n, bool json)
{
	for (int kind = RULEGEN_ACL; kind <= RULEGEN_FW; kind++)
		if (!strcmp(name, rulegen_name(kind)) && atoi(n) > 0)
			return bench(kind, atoi(n), json);
	fprintf(stderr, "usage: classify [--json] [acl|mixed|fw RULES]...\n");
	return -EINVAL;
}

int main(int argc, char **argv)
{
	static const char *const usual[] = { "1000", "10000", "100000" };
	bool json = argc > 1 && !strcmp(argv[1], "--json");
	int i = 1 + json, r = 0;

	for (; i + 1 < argc && !r; i += 2)
		r = bench_named(argv[i], argv[i + 1], json);
	if (argc < 2 + json)
		for (int k = 0; k < 9 && !r; k++)
			r = bench(k % 3, atoi(usual[k / 3]), json);
	return r < 0;
}
