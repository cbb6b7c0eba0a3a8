/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a classification costs in the kernel, by bpf/classify.h as the data plane has it, in a program around it:
 *
 *   classify_FAMILY_RULES_IP_shuffled_ns   mean over distinct packets in random order, one pass
 *   classify_FAMILY_RULES_IP_warm_ns       mean over packets each of which is judged again and again
 *   classify_FAMILY_RULES_IP_p99_ns        of the packets of the first, each timed alone
 *
 * usage: classify [--json] [--rounds N] [--packets N] [--build DIR] [--classbench FILE]... [FAMILY_RULES_IP]...
 *        classify --print FAMILY_RULES_IP   the rules as nft text
 *   FAMILY: few, many or mixed wildcards (rulegen.h); RULES: 500, 100k, ...; IP: v4, v6. Default: 1k, 100k and 400k rules
 *   of all families. Needs root.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/model/naive.h"
#include "tests/bench/rulegen.h"
#include "tests/bpf/classifier.h"

#define MOST_ROUNDS 31
#define CHECKED 200
#define WARM_PACKETS 64
#define WARM_TIMES 2000
#define QUANTILES 100

static struct {
	bool json, print;
	int rounds;
	uint32_t packets;
} arguments = { .rounds = 7, .packets = 100000 };

struct bench {
	char name[64];
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy;
	struct classifier c;
	double shuffled[MOST_ROUNDS], warm[MOST_ROUNDS];
	uint16_t *ns;	/* [packets][rounds] */
	double *typical;	/* [packets], ascending when done */
	double compile_s;
};

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

static double median(double *value, size_t n)
{
	qsort(value, n, sizeof(*value), by_value);
	return n % 2 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
}

/* An interface as the rules know it. */
static uint32_t class_of(const struct bench *b, uint32_t index)
{
	return index ? merlon_policy_iface_class(b->policy, index, rulegen_interface[index - 1].name) : 0;
}

static void make_packets(struct bench *b)
{
	uint64_t seed = 42;

	for (uint32_t i = 0; i < arguments.packets; i++) {
		struct merlon_packet *p = &b->c.packet[i];

		rulegen_packet(b->ruleset, &seed, p);
		p->field[MERLON_F_IIF] = class_of(b, p->iif);
		p->field[MERLON_F_OIF] = class_of(b, p->oif);
	}
}

/* Figures of a classifier that decides wrongly are worth nothing. */
static int check(struct bench *b)
{
	static struct merlon_naive_result naive;
	const struct merlon_chain *chain = b->ruleset->chain;
	struct merlon_walk *walk = b->c.walk;

	for (unsigned i = 0; i < CHECKED; i++) {
		const struct merlon_packet *p = &b->c.packet[i * 97 % arguments.packets];
		struct merlon_naive_input input = { .ruleset = b->ruleset, .packet = p,
						    .iif_name = p->iif ? rulegen_interface[p->iif - 1].name : "",
						    .oif_name = p->oif ? rulegen_interface[p->oif - 1].name : "" };
		const struct merlon_flat_origin *origin;

		walk->packet = *p;
		if (merlon_naive(&input, &naive) < 0 || classifier_one(&b->c) < 0 || walk->verdict != naive.verdict)
			return -EBADMSG;
		origin = merlon_policy_origin(b->policy, walk->generation, chain->hook, p->family, walk->rule);
		if (!origin || origin->rule != naive.rule)
			return -EBADMSG;
	}
	return 0;
}

static int measure_shuffled(struct bench *b, int round)
{
	int64_t full = classifier_many(&b->c, arguments.packets, false);
	int64_t empty = classifier_empty(&b->c, arguments.packets, false);

	b->shuffled[round] = (double)(full - empty) / arguments.packets;
	return full < 0 || empty < 0 ? -EIO : 0;
}

static int measure_warm(struct bench *b, int round)
{
	struct merlon_packet first = b->c.packet[0];
	double sum = 0;
	int64_t full, empty = classifier_empty(&b->c, WARM_TIMES, true);

	for (unsigned i = 0; i < WARM_PACKETS && empty >= 0; i++) {
		b->c.packet[0] = i ? b->c.packet[i * 7919U % arguments.packets] : first;
		full = classifier_many(&b->c, WARM_TIMES, true);
		empty = full < 0 ? full : empty;
		sum += (double)(full - empty) / WARM_TIMES;
	}
	b->c.packet[0] = first;
	b->warm[round] = sum / WARM_PACKETS;
	return empty < 0 ? -EIO : 0;
}

static double timer_ns(struct bench *b)
{
	uint32_t n = arguments.packets;
	double *value = calloc(n, sizeof(*value)), r = NAN;

	if (value && classifier_timed(&b->c, n, false) == 0) {
		for (uint32_t i = 0; i < n; i++)
			value[i] = b->c.ns[i];
		r = median(value, n);
	}
	free(value);
	return r;
}

/*
 * Each packet is timed alone, in a pass of its own over all of them: cold as in the other one. The clock is read twice
 * (bpf_ktime_get_ns(), some 25 ns, with a fence that lets nothing overlap it), and what reading it costs with nothing in
 * between is taken off, at its median. What a packet took is the median of its times over the rounds: an interrupt, or
 * the hypervisor, comes to some packets of a pass, but not to the same ones in most.
 */
static int measure_alone(struct bench *b, int round)
{
	double timer = timer_ns(b);

	if (isnan(timer) || classifier_timed(&b->c, arguments.packets, true) < 0)
		return -EIO;
	for (uint32_t i = 0; i < arguments.packets; i++) {
		double ns = b->c.ns[i] > timer ? b->c.ns[i] - timer : 0;

		b->ns[(size_t)i * arguments.rounds + round] = ns < UINT16_MAX ? ns : UINT16_MAX;
	}
	return 0;
}

/* What 99 of a hundred packets took at most, in all rounds or (`only` >= 0) in one; b->typical then has all, ascending. */
static double p99(struct bench *b, int only)
{
	double time[MOST_ROUNDS];

	for (uint32_t i = 0; i < arguments.packets; i++) {
		for (int r = 0; r < arguments.rounds; r++)
			time[r] = b->ns[(size_t)i * arguments.rounds + r];
		b->typical[i] = only < 0 ? median(time, arguments.rounds) : time[only];
	}
	qsort(b->typical, arguments.packets, sizeof(*b->typical), by_value);
	return b->typical[(uint64_t)arguments.packets * 99 / 100];
}

static void print(const char *name, const char *what, const double *value, double typical)
{
	double low = typical, high = typical;

	for (int i = 0; i < arguments.rounds; i++) {
		low = value[i] < low ? value[i] : low;
		high = value[i] > high ? value[i] : high;
	}
	if (arguments.json)
		printf("{\"figure\": \"classify_%s_%s_ns\", \"value\": %.1f, \"unit\": \"ns\", "
		       "\"low\": %.1f, \"high\": %.1f}\n", name, what, typical, low, high);
	else
		printf("%-16s %-8s %7.1f ns (%.1f to %.1f)\n", name, what, typical, low, high);
}

static void report(struct bench *b)
{
	double alone[MOST_ROUNDS], typical;
	uint32_t rules = b->ruleset->chain->n;

	for (int i = 0; i < arguments.rounds; i++)
		alone[i] = p99(b, i);
	typical = p99(b, -1);
	print(b->name, "shuffled", b->shuffled, median(b->shuffled, arguments.rounds));
	print(b->name, "warm", b->warm, median(b->warm, arguments.rounds));
	print(b->name, "p99", alone, typical);
	if (!arguments.json) {
		printf("%-16s %u rules: image %.2f MB (%.0f bytes a rule), %u subtables, %u planes, "
		       "compiled in %.3f s, %u instructions verified\n", b->name, rules, b->policy->words / 131072.0,
		       b->policy->words * 8.0 / rules, b->policy->n_subtables, b->policy->n_planes, b->compile_s, b->c.verified);
		return;
	}
	for (int q = 1; q < QUANTILES; q++)
		printf("{\"series\": \"latency\", \"system\": \"%s\", \"x\": %.2f, \"y\": %.0f}\n", b->name,
		       (double)q / QUANTILES, b->typical[(uint64_t)arguments.packets * q / QUANTILES]);
}

static void progress(const char *name, int round)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (round)
		fprintf(stderr, "\r  round %d/%d: %-24s", round, arguments.rounds, name);
	else
		fprintf(stderr, "\r%48s\r", "");
}

static int measure(struct bench *b)
{
	int r = 0;

	b->ns = calloc((size_t)arguments.packets * arguments.rounds, sizeof(*b->ns));
	b->typical = calloc(arguments.packets, sizeof(*b->typical));
	if (!b->ns || !b->typical)
		return -ENOMEM;
	for (int round = 0; round < arguments.rounds && !r; round++) {
		progress(b->name, round + 1);
		r = measure_shuffled(b, round);
		r = r ? r : measure_warm(b, round);
		r = r ? r : measure_alone(b, round);
	}
	progress("", 0);
	return r;
}

/* Takes the ruleset. */
static int bench(struct merlon_ruleset *ruleset, const char *name)
{
	struct merlon_compile_options options = { .generation = 1, .first_counter = 1, .first_limit = 1,
						  .interface = rulegen_interface, .n_interfaces = RULEGEN_INTERFACES };
	struct bench b = { .ruleset = ruleset };
	struct merlon_diag diag = { 0 };
	double start = now_s();
	int r;

	if (ruleset && arguments.print) {
		merlon_ruleset_print(ruleset, stdout);
		merlon_ruleset_free(ruleset);
		return 0;
	}
	r = ruleset ? merlon_compile(ruleset, &options, &b.policy, &diag) : -ENOMEM;
	snprintf(b.name, sizeof(b.name), "%s", name);
	b.compile_s = now_s() - start;
	if (!r)
		r = classifier_open(&b.c, b.policy, arguments.packets);
	if (!r) {
		make_packets(&b);
		r = check(&b);
		if (!r)
			r = measure(&b);
		if (!r)
			report(&b);
		classifier_close(&b.c);
	}
	if (r < 0) {
		merlon_diag_print(&diag, stderr);
		fprintf(stderr, "classify: %s: %s\n", name, r == -EBADMSG ? "not what a linear search finds" : strerror(-r));
	}
	free(b.ns);
	free(b.typical);
	merlon_diag_clear(&diag);
	merlon_policy_free(b.policy);
	merlon_ruleset_free(ruleset);
	fflush(stdout);
	return r;
}

static int bench_named(const char *name)
{
	char family[16], ip[4];
	uint32_t rules;
	char k[2] = "";

	if (sscanf(name, "%15[a-z]_%u%1[k]_%3s", family, &rules, k, ip) != 4 &&
	    sscanf(name, "%15[a-z]_%u_%3s", family, &rules, ip) != 3)
		return -EINVAL;
	if (!rules || (strcmp(ip, "v4") != 0 && strcmp(ip, "v6") != 0))
		return -EINVAL;
	rules *= *k ? 1000 : 1;
	for (int kind = 0; kind < RULEGEN_KINDS; kind++)
		if (!strcmp(family, rulegen_name(kind)))
			return bench(rulegen(kind, ip[1] == '4' ? MERLON_IPV4 : MERLON_IPV6, rules, 1), name);
	return -EINVAL;
}

static int bench_classbench(const char *file)
{
	const char *name = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	struct merlon_ruleset *ruleset = rulegen_classbench(file);

	if (ruleset)
		return bench(ruleset, name);
	fprintf(stderr, "classify: %s: no filter set of ClassBench\n", file);
	return -ENOENT;
}

static int bench_usual(void)
{
	static const char *const rules[] = { "1k", "100k", "400k" };
	char name[32];
	int r = 0;

	for (int i = 0; i < 3 * RULEGEN_KINDS * 2 && !r; i++) {
		snprintf(name, sizeof(name), "%s_%s_v%d", rulegen_name(i / 2 % 3), rules[i / 6], i % 2 ? 6 : 4);
		r = bench_named(name);
	}
	return r;
}

int main(int argc, char **argv)
{
	bool named = false;
	int i = 1, r = 0;

	for (; i < argc && !r && argv[i][0] == '-'; i++) {
		bool more = i + 1 < argc;

		if (!strcmp(argv[i], "--json"))
			arguments.json = true;
		else if (!strcmp(argv[i], "--print"))
			arguments.print = true;
		else if (!strcmp(argv[i], "--rounds") && more)
			arguments.rounds = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--packets") && more)
			arguments.packets = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--build") && more)
			i++;
		else if (!strcmp(argv[i], "--classbench") && more)
			named = !(r = bench_classbench(argv[++i]));
		else
			r = -EINVAL;
	}
	if (arguments.rounds < 1 || arguments.rounds > MOST_ROUNDS || arguments.packets < WARM_PACKETS)
		r = -EINVAL;
	if (i == argc && !named && !r)
		r = bench_usual();
	for (; i < argc && !r; i++)
		r = bench_named(argv[i]);
	if (r == -EINVAL)
		fprintf(stderr, "usage: classify [--json] [--rounds N] [--packets N] [--build DIR] [--classbench FILE]... "
				"[FAMILY_RULES_IP]...\n"
				"       classify --print FAMILY_RULES_IP\n");
	return r == -EINVAL ? 2 : r < 0;
}
