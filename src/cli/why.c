/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/compile/explain.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* "rules.v4:12 in filter/INPUT: tcp dport 22 accept" */
static void print_place(const json_t *place)
{
	const char *file = json_string_value(json_object_get(place, "file"));
	bool is_rule = number_of(place, "handle") || file;

	if (file && number_of(place, "line"))
		printf("%s:%lld in ", file, number_of(place, "line"));
	else if (is_rule)
		printf("rule %lld of ", number_of(place, "handle"));
	printf("%s/%s: %s", text_of(place, "table"), text_of(place, "chain"), text_of(place, "rule"));
}

static void print_reject(const json_t *reject)
{
	if (!json_is_object(reject))
		return;
	printf(" (%s", text_of(reject, "type"));
	if (json_object_get(reject, "code"))
		printf(" code %lld", number_of(reject, "code"));
	putchar(')');
}

static void print_where(const json_t *answer)
{
	const char *iif = text_of(answer, "iif"), *oif = text_of(answer, "oif"), *state = text_of(answer, "state");

	printf(" (%s", text_of(answer, "hook"));
	if (*iif)
		printf(" from %s", iif);
	if (*oif)
		printf(" to %s", oif);
	if (*state)
		printf(", ct state %s", state);
	puts(")");
}

/* One judgement: the verdict and its rule, then what the packet met before it. */
static void print_judgement(const json_t *answer)
{
	const json_t *trace = json_object_get(answer, "trace"), *met;
	size_t i;

	printf("%s", text_of(answer, "verdict"));
	print_reject(json_object_get(answer, "reject"));
	if (json_is_string(json_object_get(answer, "chain"))) {
		fputs(" by ", stdout);
		print_place(answer);
	} else if (json_is_false(json_object_get(answer, "rules_known"))) {
		fputs(": the daemon does not know the rules in force, apply them again", stdout);
	} else if (!json_is_false(json_object_get(answer, "judged"))) {
		fputs(": no chain at this hook", stdout);
	}
	print_where(answer);
	if (json_is_true(json_object_get(answer, "failed")))
		puts("  the rules could not be followed to their end");
	json_array_foreach(trace, i, met) {
		printf("  %s ", i ? "     " : "after");
		print_place(met);
		putchar('\n');
	}
	if (json_is_false(json_object_get(answer, "trace_complete")))
		puts("  (of the rules before, only those that count or log)");
	if (json_is_true(json_object_get(answer, "cached")))
		printf("  a session remembers: %s\n", text_of(json_object_get(answer, "decision"), "verdict"));
}

static void print_route(const json_t *route)
{
	const char *iif_by = text_of(route, "iif_by"), *oif_by = text_of(route, "oif_by");

	if (*iif_by && strcmp(iif_by, "as given"))
		printf("  it comes in by %s: %s\n", text_of(route, "iif"), iif_by);
	if (*oif_by && strcmp(oif_by, "as given"))
		printf("  it leaves by %s: %s\n", text_of(route, "oif"), oif_by);
}

static void print(const json_t *answer)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(answer, "judged_at"), i, one)
		print_judgement(one);
	print_route(json_object_get(answer, "route"));
	if (json_is_true(json_object_get(answer, "audit")) && strcmp(text_of(answer, "verdict"), "accept"))
		puts("  audit: it passes all the same");
	json_array_foreach(json_object_get(answer, "notes"), i, one)
		printf("  %s\n", json_string_value(one));
}

static int ask_daemon(const struct merlon_options *options)
{
	_cleanup_free_ char *text = NULL;
	struct merlon_diag diag = { 0 };
	json_t *words = json_array();

	for (int i = 0; i < options->n_files; i++)
		json_array_append_new(words, json_string(options->file[i]));
	text = json_dumps(words, JSON_COMPACT);
	json_decref(words);
	if (!text) {
		merlon_diag_add(&diag, MERLON_ERROR, (struct merlon_place){ 0 }, "the words are no UTF-8");
		return merlon_fail(options, &diag), MERLON_EXIT_USAGE;
	}
	return merlon_show(options, "Why", text, print);
}

/* Without a host there are no routes to ask: the interfaces say which way the packet goes. */
static int hook_of(const struct merlon_question *q, enum merlon_hook *ret, struct merlon_diag *diag)
{
	int hook = q->hook;

	if (hook == MERLON_QUESTION_ANY && *q->iif)
		hook = *q->oif ? MERLON_FORWARD : MERLON_INPUT;
	else if (hook == MERLON_QUESTION_ANY && *q->oif)
		hook = MERLON_OUTPUT;
	if (hook == MERLON_QUESTION_ANY) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "a ruleset in a file knows no routes: where is the packet?");
		merlon_diag_cure(diag, "say iif X (it comes in), oif X (it is sent), both (it is forwarded), or hook input|forward|output");
		return -EINVAL;
	}
	*ret = hook;
	return 0;
}

static int answer_by_file(const struct merlon_options *options, const struct merlon_question *q, enum merlon_hook hook,
			  const struct merlon_loaded *loaded)
{
	struct merlon_explain explain = { .policy = loaded->policy, .address = loaded->address,
					  .n_addresses = loaded->n_addresses, .iif = q->iif, .oif = q->oif };
	struct merlon_why why;
	json_t *answer, *judged, *notes;

	merlon_why_ask(q, hook, &why);
	answer = merlon_why_native(&explain, q, &why) < 0 ? NULL : merlon_explain(&explain, &why);
	if (!answer)
		return merlon_fail(options, &(struct merlon_diag){ 0 });
	judged = json_pack("[o]", json_deep_copy(answer));
	json_object_set_new(answer, "judged_at", judged);
	notes = json_array();
	if (merlon_question_doubt(q))
		json_array_append_new(notes, json_string(merlon_question_doubt(q)));
	json_object_set_new(answer, "notes", notes);
	if (options->json)
		merlon_print_json(answer);
	else
		print(answer);
	json_decref(answer);
	return MERLON_EXIT_DONE;
}

static int ask_file(const struct merlon_options *options, struct merlon_question *q)
{
	struct merlon_options load = *options;
	struct merlon_diag diag = { 0 };
	struct merlon_loaded loaded;
	enum merlon_hook hook;
	int status;

	if (hook_of(q, &hook, &diag) < 0)
		return merlon_fail(options, &diag), MERLON_EXIT_USAGE;
	merlon_question_assume(q, false);
	load.file = (char *[]){ (char *)options->with };
	load.n_files = 1;
	status = merlon_load_local(&load, true, &loaded);
	if (status == MERLON_EXIT_DONE)
		status = answer_by_file(options, q, hook, &loaded);
	else if (options->json)
		merlon_print_json(loaded.report);
	else if (status == MERLON_EXIT_REFUSED)
		merlon_report_print(loaded.report, stderr);
	merlon_loaded_clear(&loaded);
	return status;
}

static int run(const struct merlon_options *options)
{
	struct merlon_diag diag = { 0 };
	struct merlon_question q;
	int r = merlon_question_read((const char *const *)options->file, options->n_files, &q, &diag);

	if (r < 0)
		return merlon_fail(options, &diag), MERLON_EXIT_USAGE;
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	return options->with ? ask_file(options, &q) : ask_daemon(options);
}

const struct merlon_command merlon_why = {
	.name = "why",
	.usage = "PROTO SRC:PORT DST:PORT [WORD VALUE]...",
	.does = "says which rule decides about a packet, and what it meets before",
	.takes = MERLON_TAKES_WORDS | MERLON_TAKES_WITH | MERLON_TAKES_FAMILY | MERLON_TAKES_PARTIAL | MERLON_TAKES_SOCKET,
	.run = run,
};
