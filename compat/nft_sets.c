/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named sets and maps that no enforced rule can look in (dynamic, with counters, of marks ...), as nft itself declares them. */
#include <ctype.h>
#include <errno.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/load.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

#define MARK "# merlon set "	/* in front of the listing of each, with its index */

struct work {
	int netns;
	const struct merlon_ruleset *ruleset;
};

static bool looks_in(const struct merlon_statement *s, const char *name)
{
	const char *set = s->kind == MERLON_S_MATCH ? s->match.set : s->kind == MERLON_S_INTERFACE ? s->interface.set :
			  s->kind == MERLON_S_LOOKUP ? s->lookup->set : NULL;

	return set && strcmp(set, name) == 0;
}

/* An enforced rule looks in it, and is written with its elements: the set itself has no form that is sure to fit the rule. */
static bool is_written_out(const struct merlon_ruleset *ruleset, const struct merlon_set *set)
{
	size_t i, j, k;

	for (i = 0; i < ruleset->n_chains; i++) {
		const struct merlon_chain *chain = &ruleset->chain[i];

		for (j = 0; j < chain->n && chain->table == set->table; j++)
			for (k = 0; k < chain->rule[j].n; k++)
				if (looks_in(&chain->rule[j].statement[k], set->name))
					return true;
	}
	return false;
}

static bool is_wanted(const struct merlon_ruleset *ruleset, const struct merlon_set *set)
{
	const struct merlon_table *table = &ruleset->table[set->table];

	return !set->declaration && !set->reason && merlon_table_is_written(ruleset, set->table) &&
	       (merlon_table_has_family(table, MERLON_IPV4) || merlon_table_has_family(table, MERLON_IPV6));
}

static int run_list(void *context)
{
	const struct work *work = context;
	const struct merlon_ruleset *ruleset = work->ruleset;
	struct nft_ctx *ctx = merlon_nft_context(work->netns);
	size_t i;

	if (!ctx)
		return 1;
	nft_ctx_buffer_error(ctx);
	nft_ctx_set_output(ctx, stdout);
	for (i = 0; i < ruleset->n_sets; i++) {
		const struct merlon_set *set = &ruleset->set[i];
		const struct merlon_table *table = &ruleset->table[set->table];
		char command[1024];

		if (!is_wanted(ruleset, set))
			continue;
		printf(MARK "%zu\n", i);
		snprintf(command, sizeof(command), "list set %s %s %s", merlon_nfproto_name(table->family), table->name, set->name);
		if (nft_run_cmd_from_buffer(ctx, command) == 0)
			continue;
		snprintf(command, sizeof(command), "list map %s %s %s", merlon_nfproto_name(table->family), table->name, set->name);
		nft_run_cmd_from_buffer(ctx, command);
	}
	fflush(stdout);
	return 0;
}

struct writing {
	FILE *out;
	bool timeless;		/* without what is left of the elements' time: they begin with the text */
	bool quoted, started;
	int depth;		/* of braces */
};

/* One line of nft's listing, behind its indentation, as a part of the declaration in one line. */
static void write_line(struct writing *w, const char *line)
{
	static const char expires[] = " expires ";
	char last = 0;

	if (w->started)
		fputc(' ', w->out);
	w->started = true;
	for (; *line; line++) {
		if (!w->quoted && w->timeless && strncmp(line, expires, strlen(expires)) == 0) {
			line += strlen(expires);
			line += strcspn(line, " ,}") - 1;
			continue;
		}
		w->quoted ^= *line == '"';
		if (!w->quoted && (*line == '{' || *line == '}'))
			w->depth += *line == '{' ? 1 : -1;
		last = *line;
		fputc(*line, w->out);
	}
	if (w->depth == 1 && last != '{')
		fputc(';', w->out);
}

/* The listing of one: "table FAMILY NAME {", the set's lines, "}". NULL: it has none. Lines end in zeros instead of newlines. */
static char *declaration_of(char *listing, bool timeless)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	struct writing w = { .out = open_memstream(&text, &size), .timeless = timeless };
	char *line, *rest;

	if (!w.out)
		return NULL;
	for (line = strtok_r(listing, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (line[0] == '\t')
			write_line(&w, line + strspn(line, "\t "));
	if (fclose(w.out) != 0)
		return NULL;
	return w.started && !w.depth && !w.quoted ? TAKE_PTR(text) : NULL;
}

static void declare(struct merlon_ruleset *ruleset, struct merlon_set *set, char *listing, bool timeless)
{
	_cleanup_free_ char *text = declaration_of(listing, timeless);

	if (!text)
		set->reason = strdup("nft does not list it");
	else if (is_written_out(ruleset, set))
		set->reason = strdup("the rules that look in it are written with its elements");
	/* that is with its chains, in what stays with netfilter */
	else if (!merlon_build_leads_to_kept(ruleset, set->table, text))
		set->declaration = TAKE_PTR(text);
}

void merlon_nft_sets(int netns, struct merlon_ruleset *ruleset)
{
	struct work work = { netns, ruleset };
	_cleanup_free_ char *output = NULL;
	bool wanted = false;
	char *at, *next;
	size_t size, i;

	for (i = 0; i < ruleset->n_sets; i++)
		wanted |= is_wanted(ruleset, &ruleset->set[i]);
	if (!wanted || merlon_child(run_list, &work, &output, &size) != 0)
		return;
	for (at = strstr(output, MARK); at; at = next) {
		i = strtoul(at + strlen(MARK), &at, 10);
		next = strstr(at, "\n" MARK);
		if (next)
			*next++ = '\0';
		if (i < ruleset->n_sets)
			declare(ruleset, &ruleset->set[i], at, netns >= 0);
	}
}
