/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/limits.h"
#include "src/util/cleanup.h"

json_t *merlon_report_text(const char *text)
{
	json_t *s = text ? json_string(text) : json_null();
	_cleanup_free_ char *copy = NULL;
	char *p;

	if (s || !(copy = strdup(text)))
		return s;
	for (p = copy; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return json_string(copy);
}

static json_t *describe(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, const struct merlon_rule *rule)
{
	const struct merlon_table *table = &ruleset->table[chain->table];
	const char *family = merlon_nfproto_name(table->family);
	_cleanup_free_ char *name = NULL;

	if (asprintf(&name, "%s %s", family ? family : "?", table->name) < 0)
		name = NULL;
	return json_pack("{s:o, s:i, s:I, s:o, s:s, s:o, s:o, s:b}", "file", merlon_report_text(rule->place.file),
			 "line", (int)rule->place.line, "handle", (json_int_t)rule->handle, "table", merlon_report_text(name),
			 "chain", chain->name, "rule", merlon_report_text(rule->text), "reason", merlon_report_text(rule->reason),
			 "comment", rule->commented);
}

static int add_refused(const struct merlon_ruleset *ruleset, json_t *list)
{
	size_t i, j;

	for (i = 0; i < ruleset->n_chains; i++) {
		const struct merlon_chain *chain = &ruleset->chain[i];

		for (j = 0; j < chain->n; j++)
			if (chain->rule[j].status == MERLON_REFUSED &&
			    json_array_append_new(list, describe(ruleset, chain, &chain->rule[j])) < 0)
				return -ENOMEM;
	}
	return 0;
}

json_t *merlon_report_left_out(const struct merlon_ruleset *ruleset)
{
	json_t *list = json_array();
	size_t i, j;

	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n_left_out; j++)
			json_array_append_new(list, describe(ruleset, &ruleset->chain[i], &ruleset->chain[i].left_out[j].rule));
	return list;
}

static void add_uncompared(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, json_t *list)
{
	const struct merlon_rule none = { 0 };
	size_t i;

	for (i = 0; i < chain->n || (!chain->n && chain->kept && !i); i++) {
		json_t *one = describe(ruleset, chain, chain->n ? &chain->rule[i] : &none);

		json_object_set_new(one, "reason", json_string(chain->kept ? "its chain is left to netfilter" :
							       "no base chain leads to its chain"));
		json_array_append_new(list, one);
	}
}

json_t *merlon_report_uncompared(const struct merlon_ruleset *ruleset)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; list && i < ruleset->n_chains; i++)
		if (ruleset->chain[i].kept || !ruleset->chain[i].reached)
			add_uncompared(ruleset, &ruleset->chain[i], list);
	return list;
}

/* Named sets and maps that the text of the policy does not have. */
static json_t *missing_sets(const struct merlon_ruleset *ruleset)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; list && i < ruleset->n_sets; i++) {
		const struct merlon_set *set = &ruleset->set[i];
		const char *family = merlon_nfproto_name(ruleset->table[set->table].family);

		if (!set->declaration && set->reason)
			json_array_append_new(list, json_pack("{s:o, s:o, s:o}",
				"table", json_sprintf("%s %s", family ? family : "?", ruleset->table[set->table].name),
				"set", merlon_report_text(set->name), "reason", merlon_report_text(set->reason)));
	}
	return list;
}

json_t *merlon_report(const struct merlon_ruleset *ruleset)
{
	struct merlon_totals totals = merlon_ruleset_totals(ruleset);
	json_t *refused = json_array();

	if (!refused || add_refused(ruleset, refused) < 0) {
		json_decref(refused);
		return NULL;
	}
	return json_pack("{s:i, s:i, s:i, s:o, s:o, s:o}", "rules", (int)totals.rules, "exact", (int)totals.exact,
			 "kept", (int)totals.kept, "refused", refused, "limits", merlon_limits(merlon_ruleset_concerns(ruleset)), "missing_sets", missing_sets(ruleset));
}

void merlon_report_name_file(json_t *report, const char *file)
{
	json_t *rule;
	size_t i;

	json_array_foreach(json_object_get(report, "refused"), i, rule)
		if (file && json_is_null(json_object_get(rule, "file")))
			json_object_set_new(rule, "file", merlon_report_text(file));
}

static const char *const severity_name[] = { "error", "warning", "note" };

json_t *merlon_report_messages(const struct merlon_diag *diag)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; list && i < diag->n; i++) {
		const struct merlon_message *m = &diag->message[i];

		json_array_append_new(list, json_pack("{s:s, s:o, s:i, s:o, s:o}", "severity", severity_name[m->severity],
						      "file", merlon_report_text(m->file), "line", (int)m->line,
						      "text", merlon_report_text(m->text), "cure", merlon_report_text(m->cure)));
	}
	return list;
}

void merlon_report_read_messages(const json_t *messages, struct merlon_diag *diag)
{
	const json_t *m;
	size_t i;

	json_array_foreach(messages, i, m) {
		const char *severity = json_string_value(json_object_get(m, "severity"));
		const char *text = json_string_value(json_object_get(m, "text"));
		const char *cure = json_string_value(json_object_get(m, "cure"));
		struct merlon_place place = {
			.file = json_string_value(json_object_get(m, "file")),
			.line = json_integer_value(json_object_get(m, "line")),
		};
		enum merlon_severity s = MERLON_ERROR;

		if (severity && !strcmp(severity, "warning"))
			s = MERLON_WARNING;
		else if (severity && !strcmp(severity, "note"))
			s = MERLON_NOTE;
		merlon_diag_add(diag, s, place, "%s", text ? text : "");
		if (cure)
			merlon_diag_cure(diag, "%s", cure);
	}
}

static void print_rules(const json_t *list, const char *what, FILE *out)
{
	bool refused = !strcmp(what, "refused");
	const json_t *rule;
	size_t i;

	json_array_foreach(list, i, rule) {
		const char *file = json_string_value(json_object_get(rule, "file"));
		const char *text = json_string_value(json_object_get(rule, "rule"));
		const char *reason = json_string_value(json_object_get(rule, "reason"));
		const char *stays = json_string_value(json_object_get(rule, "stays"));
		int line = json_integer_value(json_object_get(rule, "line"));

		if (file && line)
			fprintf(out, "%s:%d: ", file, line);
		else if (file)
			fprintf(out, "%s: ", file);
		fprintf(out, "%s: %s\n", what, text ? text : "(no text)");
		if (!file || !line)
			fprintf(out, "  table %s, chain %s, handle %lld\n", json_string_value(json_object_get(rule, "table")),
				json_string_value(json_object_get(rule, "chain")),
				(long long)json_integer_value(json_object_get(rule, "handle")));
		fprintf(out, "  %s\n", reason ? reason : "(no reason)");
		if (stays)
			fprintf(out, "  cannot be left out: %s\n", stays);
		if (refused && json_is_true(json_object_get(rule, "comment")))
			fputs("  `merlon import` wrote this comment in its place: to do without the rule, delete the line\n", out);
	}
}

static bool same_chain(const json_t *a, const json_t *b)
{
	return json_equal(json_object_get(a, "table"), json_object_get(b, "table")) &&
	       json_equal(json_object_get(a, "chain"), json_object_get(b, "chain"));
}

void merlon_report_print_uncompared(const json_t *uncompared, FILE *out)
{
	size_t n = json_array_size(uncompared), i, next;

	for (i = 0; i < n; i = next) {
		const json_t *first = json_array_get(uncompared, i);
		size_t rules = json_is_null(json_object_get(first, "rule")) ? 0 : 1;

		for (next = i + 1; next < n && same_chain(first, json_array_get(uncompared, next)); next++)
			rules++;
		fprintf(out, "not compared: table %s, chain %s, %zu rule%s: %s\n", json_string_value(json_object_get(first, "table")),
			json_string_value(json_object_get(first, "chain")), rules, rules == 1 ? "" : "s",
			json_string_value(json_object_get(first, "reason")));
	}
}

void merlon_report_print_left_out(const json_t *left_out, FILE *out)
{
	print_rules(left_out, "left out", out);
}

static void print_missing_sets(const json_t *list, FILE *out)
{
	const json_t *set;
	size_t i;

	json_array_foreach(list, i, set)
		fprintf(out, "left out: set or map `%s` of table %s: %s\n", json_string_value(json_object_get(set, "set")),
			json_string_value(json_object_get(set, "table")), json_string_value(json_object_get(set, "reason")));
}

void merlon_report_print(const json_t *report, FILE *out)
{
	size_t left_out = json_array_size(json_object_get(report, "left_out"));
	long long rules = json_integer_value(json_object_get(report, "rules"));

	print_rules(json_object_get(report, "refused"), "refused", out);
	merlon_report_print_left_out(json_object_get(report, "left_out"), out);
	print_missing_sets(json_object_get(report, "missing_sets"), out);
	fprintf(out, "%lld rule%s: %lld enforced exactly, %lld kept by netfilter, %zu refused",
		rules, rules == 1 ? "" : "s",
		(long long)json_integer_value(json_object_get(report, "exact")),
		(long long)json_integer_value(json_object_get(report, "kept")),
		json_array_size(json_object_get(report, "refused")));
	if (left_out)
		fprintf(out, ", %zu left out", left_out);
	fputc('\n', out);
	if (json_array_size(json_object_get(report, "refused")))
		fputs("merlon-ruleset(5) says which words to use instead; --allow-partial leaves refused rules out where that lets no more traffic "
		      "pass\n", out);
	if (json_integer_value(json_object_get(report, "kept")))
		fputs("merlon does not load what is kept: netfilter enforces it where it has it\n", out);
}

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* Length of " packets N bytes N" at the start of the text, 0: it is not there. */
static size_t counter_values(const char *text)
{
	const char *p = text;

	if (strncmp(p, " packets ", 9) || !digits(p + 9))
		return 0;
	p += 9 + digits(p + 9);
	if (strncmp(p, " bytes ", 7) || !digits(p + 7))
		return 0;
	return p + 7 + digits(p + 7) - text;
}

char *merlon_rule_brief(const struct merlon_rule *rule)
{
	char *brief = strdup(rule->text ? rule->text : ""), *to = brief;
	const char *from = rule->text ? rule->text : "";
	bool quoted = false;

	if (!brief)
		return NULL;
	while (*from) {
		quoted ^= *from == '"';
		if (!quoted && to - brief >= 7 && !memcmp(to - 7, "counter", 7))
			from += counter_values(from);
		if (*from)
			*to++ = *from++;
	}
	*to = 0;
	return brief;
}

/* Whether the text ends in this word, which is not part of a longer one. */
static bool ends_in(const char *text, const char *word)
{
	size_t n = strlen(text), m = strlen(word);

	while (n && (text[n - 1] == ' ' || text[n - 1] == '\n'))
		n--;
	return n > m && !memcmp(text + n - m, word, m) && text[n - m - 1] == ' ';
}

/* Quoted text may say anything; a statement that changes a set or a mark may feed a rule that drops. */
static bool is_doubtful(const char *text)
{
	return strpbrk(text, "\"'") || strstr(text, "add @") || strstr(text, "update @") || strstr(text, "delete @") ||
	       strstr(text, " set ") || strstr(text, "jump ") || strstr(text, "goto ");
}

/*
 * A rule that was not understood is known to accept only by its text: nft's ends in `accept`; iptables' says
 * `-j ACCEPT`, once, and no quoted string (a comment) that could say so instead.
 */
static bool only_accepts(const struct merlon_rule *rule)
{
	const char *jump;

	if (!rule->text || is_doubtful(rule->text))
		return false;
	if (strncmp(rule->text, "-A ", 3) && strncmp(rule->text, "-I ", 3))
		return ends_in(rule->text, "accept") && !strstr(rule->text, " vmap ");
	jump = strstr(rule->text, " -j ");
	if (!jump || strstr(jump + 4, " -j ") || strstr(rule->text, " -g "))
		return false;
	return !strncmp(jump + 4, "ACCEPT", 6) && (!jump[10] || jump[10] == ' ' || jump[10] == '\n');
}

/* Why a refused rule cannot go, though the verdict it has, if any, is not an accept that would go with it. */
static const char *why_it_stays(const struct merlon_rule *rule)
{
	const char *text = rule->text ? rule->text : "";
	bool iptables = !strncmp(text, "-A ", 3) || !strncmp(text, "-I ", 3);

	if (iptables && !strpbrk(text, "\"'") && !strstr(text, " -j ") && !strstr(text, " -g "))
		return "it has no verdict, but another rule, here or of netfilter, may drop by what it remembers";
	return "more traffic could pass without it";
}

struct leaving_out {
	const struct merlon_ruleset *ruleset;
	const struct merlon_chain *chain;
	json_t *refused;	/* NULL, or the report's: in the order of the rules */
	size_t at;		/* in it */
	json_t *list;
	int remain;
};

static bool may_be_left_out(void *context, const struct merlon_rule *rule)
{
	struct leaving_out *l = context;
	json_t *told = rule->status == MERLON_REFUSED ? json_array_get(l->refused, l->at++) : NULL;

	if (rule->status != MERLON_REFUSED)
		return false;
	if (only_accepts(rule)) {
		json_array_append_new(l->list, describe(l->ruleset, l->chain, rule));
		return true;
	}
	json_object_set_new(told, "stays", json_string(why_it_stays(rule)));
	l->remain++;
	return false;
}

int merlon_ruleset_leave_out(struct merlon_ruleset *ruleset, json_t *refused, json_t *ret_left_out)
{
	struct leaving_out l = { .ruleset = ruleset, .refused = refused, .list = ret_left_out };
	size_t i;

	for (i = 0; i < ruleset->n_chains; i++) {
		l.chain = &ruleset->chain[i];
		if (merlon_chain_leave_out(&ruleset->chain[i], may_be_left_out, &l) < 0)
			return -ENOMEM;
	}
	return l.remain;
}
