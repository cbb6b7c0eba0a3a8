/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/model/limits.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/verify/verify.h"

#define PACKETS 20000
#define BAR 40
#define FRAMES_SHOWN 12
#define BAR_AFTER_NS 1000000000ULL

static volatile sig_atomic_t interrupted;

struct bar {
	const char *name;
	unsigned long packets;
	uint64_t began_ns;
	bool wanted, shown;
};

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

/* Only where somebody looks, and only when it takes a while. */
static int progress(void *context, unsigned long done)
{
	struct bar *bar = context;
	int filled = (int)(done * BAR / bar->packets);

	if (bar->wanted && merlon_now_ns() - bar->began_ns > BAR_AFTER_NS) {
		filled = filled > BAR ? BAR : filled;
		fprintf(stderr, "\r%.*s%*s %3lu %% %s", filled, "########################################", BAR - filled, "",
			done * 100 / bar->packets, bar->name);
		fflush(stderr);
		bar->shown = true;
	}
	return interrupted;
}

static void end_bar(const struct bar *bar)
{
	if (bar->shown)
		fprintf(stderr, "\r\033[K");
}

static const char *plural(unsigned long long n)
{
	return n == 1 ? "" : "s";
}

static void print_outcome(const char *who, const json_t *list)
{
	const json_t *one;
	size_t i;

	if (!json_array_size(list))
		printf("    %s: nothing comes out\n", who);
	json_array_foreach(list, i, one)
		printf("    %s: %s\n", who, json_string_value(json_object_get(one, "text")));
}

static void print_counters(const json_t *list)
{
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one) {
		const json_t *kernel = json_object_get(one, "nf_tables"), *ours = json_object_get(one, "merlon");

		printf("    counted: nf_tables %lld packets, %lld bytes; merlon %lld packets, %lld bytes: %s\n",
		       (long long)json_integer_value(json_array_get(kernel, 0)), (long long)json_integer_value(json_array_get(kernel, 1)),
		       (long long)json_integer_value(json_array_get(ours, 0)), (long long)json_integer_value(json_array_get(ours, 1)),
		       json_string_value(json_object_get(one, "rule")));
	}
}

static void print_traces(const json_t *first)
{
	const json_t *one;
	const char *rule;
	size_t i;

	json_array_foreach(json_object_get(first, "nf_tables_trace"), i, one) {
		rule = json_string_value(json_object_get(one, "rule"));
		printf("    nf_tables: %s %s: %s: %s\n", json_string_value(json_object_get(one, "table")),
		       json_string_value(json_object_get(one, "chain")), rule ? rule : json_string_value(json_object_get(one, "step")),
		       json_string_value(json_object_get(one, "verdict")));
	}
	json_array_foreach(json_object_get(first, "merlon_denied"), i, one) {
		const char *file = json_string_value(json_object_get(one, "file"));
		int line = json_integer_value(json_object_get(one, "line"));

		rule = json_string_value(json_object_get(one, "rule"));
		printf("    merlon   : %s, state %s, chain %s: %s: %s", json_string_value(json_object_get(one, "hook")),
		       json_string_value(json_object_get(one, "state")), json_string_value(json_object_get(one, "chain")),
		       rule ? rule : "policy", json_string_value(json_object_get(one, "verdict")));
		if (file && line)
			printf(" (%s:%d)", file, line);
		putchar('\n');
	}
}

static void print_first(const json_t *first)
{
	const json_t *frames = json_object_get(first, "frames"), *one;
	const char *pcap = json_string_value(json_object_get(first, "pcap"));
	size_t i;

	printf("  first difference: packet %lld", (long long)json_integer_value(json_object_get(first, "number")));
	if (json_array_size(frames) > 1)
		printf(", with %zu before it%s", json_array_size(frames) - 1,
		       json_array_size(frames) > FRAMES_SHOWN ? ", of which the last are" : "");
	putchar('\n');
	json_array_foreach(frames, i, one) {
		const char *note = json_string_value(json_object_get(one, "note"));

		if (i + FRAMES_SHOWN < json_array_size(frames))
			continue;

		printf("    %s %s: %s%s%s%s\n", json_string_value(json_object_get(one, "way")),
		       json_string_value(json_object_get(one, "device")), json_string_value(json_object_get(one, "packet")),
		       note ? " (" : "", note ? note : "", note ? ")" : "");
		if (i + 1 == json_array_size(frames))
			printf("      %s\n", json_string_value(json_object_get(one, "hex")));
	}
	print_outcome("nf_tables", json_object_get(first, "nf_tables"));
	print_outcome("merlon   ", json_object_get(first, "merlon"));
	print_counters(json_object_get(first, "counters"));
	print_traces(first);
	if (pcap)
		printf("  the packets are in %s\n", pcap);
}

static json_t *limits_json(const struct merlon_verify_result *result)
{
	json_t *limits = json_object();
	int i;

	for (i = 1; i < MERLON_FRAME_LIMITS; i++)
		if (result->limit[i].packets)
			json_object_set_new(limits, merlon_verify_limit(i),
					    json_pack("{s:I, s:I, s:s?}", "packets", (json_int_t)result->limit[i].packets,
						      "differences", (json_int_t)result->limit[i].differences,
						      "text", merlon_limit_text(merlon_verify_limit(i))));
	return limits;
}

struct total {
	json_t *files;			/* with --each */
	json_t *messages;
	json_t *first;
	unsigned long rulesets, packets, differences, unrepeatable;
	double seconds;
	json_t *limits;
	json_t *unverified;		/* [[name, outcome]] */
	bool stopped;
};

static void add_limits(json_t *to, const json_t *from)
{
	const char *name;
	json_t *one, *there;

	json_object_foreach((json_t *)from, name, one) {
		there = json_object_get(to, name);
		if (!there) {
			json_object_set(to, name, one);
			continue;
		}
		json_object_set_new(there, "packets", json_integer(json_integer_value(json_object_get(there, "packets")) +
								   json_integer_value(json_object_get(one, "packets"))));
		json_object_set_new(there, "differences", json_integer(json_integer_value(json_object_get(there, "differences")) +
								       json_integer_value(json_object_get(one, "differences"))));
	}
}

/* What of the ruleset the packets say nothing about, a new list. */
static json_t *left_out(const struct merlon_loaded *loaded)
{
	json_t *list = merlon_report_uncompared(loaded->ruleset);

	json_array_extend(list, json_object_get(loaded->report, "left_out"));
	return list;
}

static void add(struct total *t, const char *name, const struct merlon_verify_result *result, const struct merlon_loaded *loaded)
{
	json_t *limits = limits_json(result);

	t->rulesets++;
	t->packets += result->packets;
	t->differences += result->differences;
	t->unrepeatable += result->unrepeatable;
	t->seconds += result->seconds;
	t->stopped |= result->stopped;
	json_array_append_new(t->files, json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:O?, s:o}", "file", name,
						  "outcome", result->differences || result->unrepeatable ? "different" : "same",
						  "packets", (json_int_t)result->packets,
						  "differences", (json_int_t)result->differences,
						  "unrepeatable", (json_int_t)result->unrepeatable,
						  "rates_left_out", result->rates_left_out,
						  "first_difference", result->first,
						  "left_out", left_out(loaded)));
	if (result->first && !t->first)
		t->first = json_incref(result->first);
	add_limits(t->limits, limits);
	json_decref(limits);
}

/* What could not be compared at all; `report` NULL: it was not even begun. */
static void add_failed(struct total *t, const char *name, int status, json_t *report)
{
	const char *outcome = !report ? "not begun" : status == MERLON_EXIT_REFUSED ? "refused" : "failed";

	json_array_append_new(t->unverified, json_pack("[s, s]", name, outcome));
	json_array_append_new(t->files, json_pack("{s:s, s:s, s:i, s:O?}", "file", name, "outcome", outcome,
						  "status", status, "report", report));
	json_array_extend(t->messages, json_object_get(report, "messages"));
}

static void print_one(const struct merlon_options *options, const char *name, const struct merlon_verify_result *result,
		      const struct merlon_loaded *loaded)
{
	json_t *uncompared;
	char packets[32], rate[32];

	if (options->json)
		return;
	uncompared = merlon_report_uncompared(loaded->ruleset);
	merlon_report_print_uncompared(uncompared, stdout);
	json_decref(uncompared);
	merlon_report_print_left_out(json_object_get(loaded->report, "left_out"), stdout);
	printf("%s: %s packets, %lu difference%s, %s packets/s\n", name, merlon_thousands(result->packets, packets),
	       result->differences, plural(result->differences),
	       merlon_thousands(result->seconds > 0 ? (long long)(result->packets / result->seconds) : 0, rate));
	if (result->first)
		print_first(result->first);
	if (result->unrepeatable)
		printf("  %lu more did not happen a second time\n", result->unrepeatable);
	if (result->rates_left_out)
		puts("  rates of limits were not compared: this machine is too busy for it, try again when it is less so");
}

/* One ruleset may be several files. The caller's to free. */
static char *name_of(const struct merlon_options *options)
{
	char *name = NULL;
	size_t bytes;
	FILE *out = open_memstream(&name, &bytes);

	for (int i = 0; out && i < options->n_files; i++)
		fprintf(out, "%s%s", i ? " " : "", options->file[i]);
	return out && !fclose(out) ? name : NULL;
}

struct comparison {
	const struct merlon_options *options;
	json_t *messages;
	const char *name;
	unsigned long long seed;
};

static void say(json_t *messages, struct merlon_diag *diag)
{
	json_t *more = merlon_report_messages(diag);

	merlon_diag_print(diag, stderr);
	json_array_extend(messages, more);
	json_decref(more);
	merlon_diag_clear(diag);
}

/* An exit status; the reason is on stderr when it failed. */
static int compare(struct merlon_verify *verify, const struct comparison *c, const struct merlon_loaded *loaded,
		   struct merlon_verify_result *ret)
{
	const struct merlon_options *options = c->options;
	_cleanup_free_ struct merlon_source *source = calloc(options->n_files, sizeof(*source));
	struct merlon_verify_request request = { .source = source, .n_sources = options->n_files, .seed = c->seed,
						 .packets = options->packets ? options->packets : PACKETS, .progress = progress };
	struct bar bar = { c->name, request.packets, merlon_now_ns(), isatty(STDERR_FILENO) && !options->json, false };
	struct merlon_diag diag = { 0 };
	int i, r;

	if (!merlon_ruleset_filters(loaded->ruleset)) {
		merlon_diag_add(&diag, MERLON_WARNING, (struct merlon_place){ .file = c->name }, "%s: this compares nothing",
				merlon_unfit_empty.text);
		say(c->messages, &diag);
	}
	if (!source || !c->name)
		return fputs("error: out of memory\n", stderr), MERLON_EXIT_FAILED;
	for (i = 0; i < options->n_files; i++)
		source[i] = (struct merlon_source){ .file = options->file[i], .family = options->family };
	request.ruleset = loaded->ruleset;
	request.context = &bar;
	r = merlon_verify_run(verify, &request, ret, &diag);
	end_bar(&bar);
	if (r < 0 && !diag.n)
		merlon_diag_add(&diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s", strerror(-r));
	say(c->messages, &diag);
	if (r < 0)
		return MERLON_EXIT_FAILED;
	return ret->differences || ret->unrepeatable ? MERLON_EXIT_DIFFERS : MERLON_EXIT_DONE;
}

static int verify_one(struct merlon_verify *verify, const struct merlon_options *options, unsigned long long seed,
		      struct total *total)
{
	_cleanup_free_ char *name = name_of(options);
	const struct comparison comparison = { options, total->messages, name, seed };
	struct merlon_verify_result result = { 0 };
	struct merlon_loaded loaded;
	int status = merlon_load_local(options, false, &loaded);

	if (status == MERLON_EXIT_DONE)
		status = compare(verify, &comparison, &loaded, &result);
	else if (status == MERLON_EXIT_REFUSED && !options->json)
		merlon_report_print(loaded.report, stderr);
	if (status == MERLON_EXIT_DONE || status == MERLON_EXIT_DIFFERS) {
		print_one(options, name, &result, &loaded);
		add(total, name, &result, &loaded);
	} else {
		add_failed(total, name ? name : "", status, loaded.report);
	}
	json_decref(result.first);
	merlon_loaded_clear(&loaded);
	return status;
}

/* What matters most: a difference, then what could not be compared. */
static int worse(int a, int b)
{
	static const int order[] = { MERLON_EXIT_DIFFERS, MERLON_EXIT_FAILED, MERLON_EXIT_REFUSED };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(order); i++)
		if (a == order[i] || b == order[i])
			return order[i];
	return MERLON_EXIT_DONE;
}

static int verify_all(struct merlon_verify *verify, const struct merlon_options *options, unsigned long long seed,
		      struct total *total)
{
	struct merlon_options one = *options;
	int status = MERLON_EXIT_DONE, i;

	if (!options->each)
		return verify_one(verify, options, seed, total);
	for (i = 0; i < options->n_files; i++) {
		one.file = &options->file[i];
		one.n_files = 1;
		if (interrupted)
			add_failed(total, options->file[i], MERLON_EXIT_FAILED, NULL);
		else
			status = worse(status, verify_one(verify, &one, seed, total));
	}
	return status;
}

static void print_json(const struct total *t, unsigned long long seed)
{
	json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:O?, s:I, s:f, s:O, s:O}", "rulesets", (json_int_t)t->rulesets,
				 "packets", (json_int_t)t->packets, "differences", (json_int_t)t->differences,
				 "seed", (json_int_t)seed, "first_difference", t->first,
				 "unrepeatable", (json_int_t)t->unrepeatable,
				 "packets_per_s", t->seconds > 0 ? t->packets / t->seconds : 0.0,
				 "limits", t->limits, "files", t->files);

	json_object_set_new(json, "unverified", json_integer(json_array_size(t->unverified)));
	json_object_set_new(json, "stopped", json_boolean(t->stopped));
	json_object_set(json, "messages", t->messages);
	merlon_print_json(json);
	json_decref(json);
}

static void print_unverified(const struct total *t)
{
	size_t n = json_array_size(t->unverified), i;
	const json_t *one;

	if (n)
		printf("%zu of %zu file%s not verified:", n, json_array_size(t->files), plural(json_array_size(t->files)));
	json_array_foreach(t->unverified, i, one)
		printf("%s %s (%s)", i ? "," : "", json_string_value(json_array_get(one, 0)),
		       json_string_value(json_array_get(one, 1)));
	if (n)
		putchar('\n');
}

static void print_total(const struct total *t, unsigned long long seed)
{
	char sent[32];
	const char *name;
	json_t *one;

	if (json_array_size(t->files) > 1)
		printf("%lu ruleset%s, %s packet%s, %lu difference%s\n", t->rulesets, plural(t->rulesets),
		       merlon_thousands(t->packets, sent), plural(t->packets), t->differences, plural(t->differences));
	if (json_object_size(t->limits))
		puts("packets under a limit, where the two need not agree (merlon(8), LIMITS):");
	json_object_foreach(t->limits, name, one) {
		const char *text = json_string_value(json_object_get(one, "text"));

		long long packets = json_integer_value(json_object_get(one, "packets"));
		long long differences = json_integer_value(json_object_get(one, "differences"));

		printf("  %s: %lld packet%s, of which %lld differ%s\n", name, packets, plural(packets), differences,
		       differences == 1 ? "s" : "");
		if (text)
			printf("      %s\n", text);
	}
	printf("seed %llu\n", seed);
	if (json_array_size(t->files) > 1)
		print_unverified(t);
}

static int run(const struct merlon_options *options)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct total total = { .files = json_array(), .messages = json_array(), .limits = json_object(), .unverified = json_array() };
	struct merlon_verify *verify = NULL;
	struct merlon_diag diag = { 0 };
	unsigned long long seed = options->seed;
	int status = MERLON_EXIT_FAILED;

	/* 53 bits: what every reader of JSON takes as it is */
	if (!options->has_seed && getrandom(&seed, sizeof(seed), 0) == sizeof(seed))
		seed >>= 11;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (merlon_verify_open(&verify, &diag) >= 0)
		status = verify_all(verify, options, seed, &total);
	say(total.messages, &diag);
	merlon_verify_close(verify);
	if (options->json)
		print_json(&total, seed);
	else if (total.rulesets || json_array_size(total.files) > 1)
		print_total(&total, seed);
	json_decref(total.files);
	json_decref(total.messages);
	json_decref(total.first);
	json_decref(total.limits);
	json_decref(total.unverified);
	if (interrupted)
		fputs("error: interrupted\n", stderr);
	return interrupted && status == MERLON_EXIT_DONE ? MERLON_EXIT_FAILED : status;
}

const struct merlon_command merlon_verify = {
	.name = "verify",
	.usage = "FILE...",
	.does = "sends the same packets through nf_tables and through merlon, and compares",
	.takes = MERLON_TAKES_FILES | MERLON_TAKES_FAMILY | MERLON_TAKES_PARTIAL | MERLON_TAKES_PACKETS,
	.run = run,
};
