/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lines of an nft source for the rules that came of it: where the number of those in a chain is the kernel's, they are
 * the same rules in the same order. What is not certain has no lines: never a wrong one. Where there are includes, what has no
 * line has no file either.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "compat/build.h"
#include "compat/nft_scan.h"
#include "src/util/cleanup.h"

/* The lines of a chain, where they are certain: as many as it has rules of this source. */
static const struct merlon_nft_lines *certain_lines(const struct merlon_nft_scan *s, const struct merlon_table *table,
					       const struct merlon_chain *chain, size_t rules)
{
	size_t i;

	for (i = 0; i < s->n && !s->uncertain; i++) {
		const struct merlon_nft_lines *lines = &s->chain[i];

		if (lines->family == table->family && !strcmp(lines->table, table->name) &&
		    !strcmp(lines->chain, chain->name))
			return lines->uncertain || lines->n != rules ? NULL : lines;
	}
	return NULL;
}

static void assign(struct merlon_ruleset *ruleset, const struct merlon_nft_scan *s, const struct merlon_share *share)
{
	size_t i, j, next;

	for (i = 0; i < ruleset->n_chains; i++) {
		struct merlon_chain *chain = &ruleset->chain[i];
		const struct merlon_table *table = &ruleset->table[chain->table];
		const struct merlon_nft_lines *lines = certain_lines(s, table, chain, merlon_share_count(share, table, chain));

		for (j = next = 0; j < chain->n; j++) {
			struct merlon_rule *rule = &chain->rule[j];

			if (!merlon_share_has(share, table, rule))
				continue;
			if (lines)
				rule->place = lines->place[next++];
			else if (!s->includes && !rule->place.file)
				rule->place.file = s->file;
		}
	}
}

static struct merlon_chain *find_chain(struct merlon_ruleset *ruleset, const struct merlon_nft_lines *lines)
{
	size_t i;

	for (i = 0; i < ruleset->n_chains; i++) {
		const struct merlon_table *table = &ruleset->table[ruleset->chain[i].table];

		if (table->family == lines->family && !strcmp(table->name, lines->table) &&
		    !strcmp(ruleset->chain[i].name, lines->chain))
			return &ruleset->chain[i];
	}
	return NULL;
}

/* Where in a chain the rule stands before which there are so many of this source. */
static size_t index_of(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, const struct merlon_share *share,
		       size_t at)
{
	size_t i;

	for (i = 0; i < chain->n; i++)
		if (merlon_share_has(share, &ruleset->table[chain->table], &chain->rule[i]) && !at--)
			return i;
	return chain->n;
}

/* From the last one back, so that they keep their order among each other. */
static int put_refused(struct merlon_ruleset *ruleset, const struct merlon_nft_scan *s, const struct merlon_share *share,
		       struct merlon_diag *diag)
{
	size_t i;
	int r = 0;

	for (i = s->n_refused; i-- && r != -ENOMEM;) {
		const struct merlon_refused *refused = &s->refused[i];
		struct merlon_chain *chain = refused->chain == MERLON_NO_CHAIN ? NULL : find_chain(ruleset, &s->chain[refused->chain]);

		if (chain) {
			int e = merlon_refused_put(chain, index_of(ruleset, chain, share, refused->at), refused);

			r = e ? e : r;
			continue;
		}
		merlon_diag_add(diag, MERLON_ERROR, refused->place, "a rule that `merlon import` refused stands here as a comment, "
				"and its chain cannot be told: %s", refused->rule);
		merlon_diag_cure(diag, "to do without the rule, delete the line");
		r = -EINVAL;
	}
	return r;
}

int merlon_nft_places(struct merlon_ruleset *ruleset, const struct merlon_text *text, const struct merlon_share *share,
		      struct merlon_diag *diag)
{
	struct merlon_nft_scan s;
	int r = merlon_nft_scan(ruleset, text, &s);

	if (r < 0)
		return r;
	assign(ruleset, &s, share);
	r = put_refused(ruleset, &s, share, diag);
	merlon_nft_scan_clear(&s);
	return r;
}

bool merlon_nft_removal(struct merlon_ruleset *ruleset, const struct merlon_text *text, struct merlon_removal *ret)
{
	struct merlon_nft_scan s;
	bool certain;

	if (merlon_nft_scan(ruleset, text, &s) < 0)
		return false;
	certain = !s.uncertain && (s.removal.all || s.removals == 1);
	if (certain)
		*ret = s.removal;
	merlon_nft_scan_clear(&s);
	return certain;
}

int merlon_nft_includes_here(const struct merlon_text *text, const json_t *dirs)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *files = merlon_ruleset_new();
	struct merlon_nft_scan s = { 0 };
	int r = files ? merlon_nft_scan_with(files, text, dirs, &s) : -ENOMEM;

	r = r ? r : s.relative;
	merlon_nft_scan_clear(&s);
	return r;
}

static int report_refusals(const struct merlon_text *text, const json_t *dirs, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *files = merlon_ruleset_new();
	struct merlon_nft_scan s = { 0 };
	size_t i;
	int r = files ? merlon_nft_scan_with(files, text, dirs, &s) : -ENOMEM;

	for (i = 0; i < s.n_refused; i++) {
		merlon_diag_add(diag, MERLON_ERROR, s.refused[i].place, "a rule that `merlon import` refused stands here as a comment: "
				"%s (%s)", s.refused[i].rule, s.refused[i].reason);
		merlon_diag_cure(diag, "to do without the rule, delete the line");
	}
	r = r ? r : (int)s.n_refused;
	merlon_nft_scan_clear(&s);
	return r;
}

int merlon_nft_refusals(const char *file, const json_t *dirs, struct merlon_diag *diag)
{
	struct merlon_text text = { .name = file };
	struct merlon_diag unread = { 0 };
	struct stat st;
	int r;

	/* of what cannot be read nft itself will tell, and what can be read but once is for it */
	if (stat(file, &st) < 0 || !S_ISREG(st.st_mode) || merlon_text_read(file, &text, &unread) < 0) {
		merlon_diag_clear(&unread);
		return 0;
	}
	r = report_refusals(&text, dirs, diag);
	free(text.text);
	return r;
}

int merlon_nft_text_refusals(const char *words, const json_t *dirs, struct merlon_diag *diag)
{
	const struct merlon_text text = { .name = "<cmdline>", .text = (char *)words, .size = strlen(words) };

	return report_refusals(&text, dirs, diag);
}
