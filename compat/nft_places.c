/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which line of an nft source a rule stands on. nf_tables does not keep it, so a scanner that knows only statements,
 * braces, strings and comments notes where each rule of a chain begins; where their number is the kernel's, they are
 * the same rules in the same order. What it is not sure of has no lines: never a wrong one. Where there are includes, what has no
 * line has no file either.
 */
#include <ctype.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat/build.h"
#include "compat/load.h"
#include "src/util/cleanup.h"

#define WORDS 8		/* of a statement's beginning: as many as tell what it is */
#define WORD 128
#define INCLUDES 16	/* as deep as nft goes (MAX_INCLUDE_DEPTH) */

struct chain_lines {
	uint8_t family;
	char table[WORD], chain[WORD];
	struct merlon_place *place;
	size_t n, room;
	bool uncertain;
};

/* Where one file is read. */
struct reading {
	const char *p, *end;
	struct merlon_place at;
};

struct scan {
	const char *p, *end;
	unsigned line;
	const char *file;	/* a string of the ruleset */
	struct merlon_ruleset *ruleset;
	struct reading around[INCLUDES];	/* the files that include this one, outermost first */
	unsigned depth;
	char **text;		/* of included files, owned */
	size_t n_texts;
	struct chain_lines *chain;
	size_t n;
	bool includes, uncertain;	/* of the whole file */
	unsigned removals;	/* statements that take something away */
	struct merlon_removal removal;	/* the one that all would go by, else the first one */
	int r;
};

/* The beginning of a statement, and how it ended. */
struct statement {
	char word[WORDS][WORD];
	size_t n;
	struct merlon_place at;
	char stop;		/* ';' or newline, '{' of a block, '}' of the block around it, 0: end of file */
};

/* Moves behind what is no text: blanks, comments, continued lines. */
static void skip_blank(struct scan *s)
{
	while (s->p < s->end) {
		if (*s->p == '#') {
			while (s->p < s->end && *s->p != '\n')
				s->p++;
		} else if (*s->p == '\\' && s->p + 1 < s->end && s->p[1] == '\n') {
			s->p += 2;
			s->line++;
		} else if (*s->p == ' ' || *s->p == '\t' || *s->p == '\r') {
			s->p++;
		} else {
			return;
		}
	}
}

static void skip_string(struct scan *s)
{
	s->p++;
	while (s->p < s->end && *s->p != '"')
		s->line += *s->p++ == '\n';
	s->p += s->p < s->end;
}

/* Behind the brace that closes the one at s->p. */
static void skip_block(struct scan *s)
{
	unsigned depth = 0;

	while (s->p < s->end) {
		skip_blank(s);
		if (s->p == s->end)
			return;
		if (*s->p == '"') {
			skip_string(s);
			continue;
		}
		if (*s->p == '{')
			depth++;
		s->line += *s->p == '\n';
		if (*s->p++ == '}' && --depth == 0)
			return;
	}
	s->uncertain = true;
}

static void take_word(struct scan *s, struct statement *st)
{
	const char *from = s->p;
	size_t n;

	if (*s->p == '"') {
		skip_string(s);
	} else {
		while (s->p < s->end && !isspace((unsigned char)*s->p) && !strchr("{};\"#\\", *s->p))
			s->p++;
		s->p += s->p == from;
	}
	n = s->p - from;
	if (st->n < WORDS && n < WORD) {
		memcpy(st->word[st->n], from, n);
		st->word[st->n][n] = '\0';
	} else if (st->n < WORDS) {
		st->word[st->n][0] = '\0';
		s->uncertain = true;
	}
	st->n++;
}

static bool is_word(const struct statement *st, size_t i, const char *word)
{
	return i < st->n && i < WORDS && strcmp(st->word[i], word) == 0;
}

/* `table`, `chain` and what else has a block of its own, also behind `add` and `create`. */
static bool opens_block(const struct statement *st)
{
	static const char *const words[] = { "table", "chain", "set", "map", "flowtable", "counter", "quota", "limit",
					     "secmark", "synproxy" };
	size_t at = is_word(st, 0, "add") || is_word(st, 0, "create"), i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (is_word(st, at, words[i]))
			return st->n - at <= 4;
	return is_word(st, at, "ct") && st->n - at <= 4;
}

/* The file that nft takes for this name; NULL: several could be meant, or there is none. The caller frees it. */
static char *find_include(const struct scan *s, const char *name)
{
	const char *top = s->depth ? s->around[0].at.file : s->file, *slash = strrchr(top, '/');
	_cleanup_free_ char *in_etc = NULL, *beside = NULL;
	bool etc, here;

	if (strpbrk(name, "*?[\\$"))
		return NULL;
	if (name[0] == '/' || !strncmp(name, "./", 2) || !strncmp(name, "../", 3))
		return strdup(name);
	/* include paths: the default one, and in newer releases the directory of the file that is loaded */
	if (asprintf(&in_etc, "/etc/%s", name) < 0 || asprintf(&beside, "%.*s%s", slash ? (int)(slash + 1 - top) : 0, top, name) < 0)
		return NULL;
	etc = !access(in_etc, R_OK);
	here = !access(beside, R_OK);
	if (etc == here)
		return NULL;
	return etc ? TAKE_PTR(in_etc) : TAKE_PTR(beside);
}

static int read_include(struct scan *s, const char *path, char **ret, size_t *ret_size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char **grown = reallocarray(s->text, s->n_texts + 1, sizeof(*grown)), *text = NULL;
	size_t room = 0;
	struct stat st;
	ssize_t n;

	if (!grown)
		return -ENOMEM;
	s->text = grown;
	n = f && !fstat(fileno(f), &st) && S_ISREG(st.st_mode) ? getdelim(&text, &room, -1, f) : -1;
	s->text[s->n_texts++] = text;
	*ret = text;
	*ret_size = n < 0 ? 0 : n;
	/* an empty file is none to getdelim(3) */
	return n < 0 && (!f || !feof(f)) ? -EIO : 0;
}

/* include "NAME": goes on in that file, whose end is not the end of what it is included in. */
static void enter(struct scan *s, const struct statement *st)
{
	_cleanup_free_ char *path = NULL;
	char name[WORD] = "", *text;
	const char *file;
	size_t size;

	s->includes = true;
	/* behind `include "NAME" }` it would not be clear which brace is next */
	if (st->stop != '}' && st->n == 2 && st->word[1][0] == '"' && strlen(st->word[1]) > 2)
		memcpy(name, st->word[1] + 1, strlen(st->word[1]) - 2);
	path = name[0] ? find_include(s, name) : NULL;
	if (!path || s->depth == INCLUDES || read_include(s, path, &text, &size) < 0 || !(file = merlon_build_file(s->ruleset, path))) {
		s->uncertain = true;
		return;
	}
	s->around[s->depth++] = (struct reading){ s->p, s->end, { s->file, s->line } };
	s->p = text ? text : "";
	s->end = s->p + size;
	s->file = file;
	s->line = 1;
}

static void leave(struct scan *s)
{
	const struct reading *around = &s->around[--s->depth];

	s->p = around->p;
	s->end = around->end;
	s->file = around->at.file;
	s->line = around->at.line;
}

/* Reads one statement; `in_chain`: every block in it is a set. */
static bool next_statement(struct scan *s, struct statement *st, bool in_chain)
{
	st->n = 0;
	st->at = (struct merlon_place){ 0 };
	for (;;) {
		skip_blank(s);
		st->stop = s->p < s->end ? *s->p : '\0';
		/* the end of an included file does not end a statement */
		if (!st->stop && s->depth) {
			leave(s);
			continue;
		}
		if (!st->stop)
			return st->n > 0;
		if (st->stop == '\n' || st->stop == ';') {
			s->line += st->stop == '\n';
			s->p++;
			if (st->n)
				return true;
			continue;
		}
		if (st->stop == '}') {
			/* closes the block around: left for whoever reads that */
			return true;
		}
		if (!st->n)
			st->at = (struct merlon_place){ s->file, s->line };
		if (st->stop == '{' && !in_chain && opens_block(st)) {
			s->p++;
			return true;
		}
		if (st->stop == '{')
			skip_block(s);
		else
			take_word(s, st);
	}
}

static uint8_t family_of(const char *word)
{
	if (strcmp(word, "ip") == 0)
		return NFPROTO_IPV4;
	if (strcmp(word, "ip6") == 0)
		return NFPROTO_IPV6;
	if (strcmp(word, "inet") == 0)
		return NFPROTO_INET;
	if (strcmp(word, "arp") == 0)
		return NFPROTO_ARP;
	if (strcmp(word, "bridge") == 0)
		return NFPROTO_BRIDGE;
	return strcmp(word, "netdev") == 0 ? NFPROTO_NETDEV : NFPROTO_UNSPEC;
}

static struct chain_lines *lines_of(struct scan *s, uint8_t family, const char *table, const char *chain)
{
	struct chain_lines *grown;
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->chain[i].family == family && strcmp(s->chain[i].table, table) == 0 &&
		    strcmp(s->chain[i].chain, chain) == 0)
			return &s->chain[i];
	grown = reallocarray(s->chain, s->n + 1, sizeof(*grown));
	if (!grown) {
		s->r = -ENOMEM;
		return NULL;
	}
	s->chain = grown;
	grown = &s->chain[s->n++];
	*grown = (struct chain_lines){ .family = family };
	snprintf(grown->table, sizeof(grown->table), "%s", table);
	snprintf(grown->chain, sizeof(grown->chain), "%s", chain);
	return grown;
}

static void note(struct scan *s, struct chain_lines *lines, struct merlon_place at, bool first)
{
	if (!lines)
		return;
	if (lines->n == lines->room) {
		size_t room = lines->room ? lines->room * 2 : 8;
		struct merlon_place *grown = reallocarray(lines->place, room, sizeof(*grown));

		if (!grown) {
			s->r = -ENOMEM;
			return;
		}
		lines->place = grown;
		lines->room = room;
	}
	if (first)
		memmove(lines->place + 1, lines->place, lines->n * sizeof(*lines->place));
	lines->place[first ? 0 : lines->n] = at;
	lines->n++;
}

/* What may stand in a chain and is no rule. */
static bool is_no_rule(const struct statement *st)
{
	return is_word(st, 0, "type") || is_word(st, 0, "policy") || is_word(st, 0, "define") ||
	       is_word(st, 0, "redefine") || is_word(st, 0, "undefine") || is_word(st, 0, "device") ||
	       is_word(st, 0, "devices") || is_word(st, 0, "flags") || (is_word(st, 0, "comment") && st->n == 2);
}

static void scan_chain(struct scan *s, uint8_t family, const char *table, const char *chain)
{
	struct chain_lines *lines = lines_of(s, family, table, chain);
	struct statement st;

	while (s->r == 0 && next_statement(s, &st, true)) {
		if (is_word(&st, 0, "include"))
			enter(s, &st);
		else if (st.n && !is_no_rule(&st))
			note(s, lines, st.at, false);
		if (st.stop == '}') {
			s->p++;
			return;
		}
	}
	s->uncertain = true;
}

static void scan_table(struct scan *s, uint8_t family, const char *table)
{
	struct statement st;

	while (s->r == 0 && next_statement(s, &st, false)) {
		if (is_word(&st, 0, "include")) {
			enter(s, &st);
		} else if (st.stop == '{' && is_word(&st, 0, "chain") && st.n == 2) {
			scan_chain(s, family, table, st.word[1]);
		} else if (st.stop == '{') {
			s->p--;
			skip_block(s);
		} else if (st.stop == '}') {
			s->p++;
			return;
		}
	}
	s->uncertain = true;
}

/* "[add] rule [FAMILY] TABLE CHAIN ...", "insert rule ..." */
static void scan_rule(struct scan *s, const struct statement *st)
{
	bool insert = is_word(st, 0, "insert");
	size_t at = is_word(st, 0, "rule") ? 1 : 2;
	uint8_t family = at < st->n ? family_of(st->word[at]) : 0;
	struct chain_lines *lines;

	if (family != NFPROTO_UNSPEC)
		at++;
	else
		family = NFPROTO_IPV4;
	if (at + 2 > st->n || at + 2 > WORDS || strchr(st->word[at], '$') || strchr(st->word[at + 1], '$')) {
		s->uncertain = true;
		return;
	}
	lines = lines_of(s, family, st->word[at], st->word[at + 1]);
	if (lines && (is_word(st, at + 2, "position") || is_word(st, at + 2, "handle") || is_word(st, at + 2, "index")))
		lines->uncertain = true;
	note(s, lines, st->at, insert);
}

/* "table [FAMILY] NAME {", "[add] chain [FAMILY] TABLE NAME {" */
static void scan_block(struct scan *s, const struct statement *st)
{
	size_t at = is_word(st, 0, "add") || is_word(st, 0, "create");
	uint8_t family = at + 1 < st->n ? family_of(st->word[at + 1]) : NFPROTO_UNSPEC;
	size_t name = at + 1 + (family != NFPROTO_UNSPEC);

	if (family == NFPROTO_UNSPEC)
		family = NFPROTO_IPV4;
	if (is_word(st, at, "table") && st->n == name + 1) {
		scan_table(s, family, st->word[name]);
	} else if (is_word(st, at, "chain") && st->n == name + 2) {
		scan_chain(s, family, st->word[name], st->word[name + 1]);
	} else {
		s->p--;
		skip_block(s);
	}
}

static bool removes(const struct statement *st)
{
	return is_word(st, 0, "flush") || is_word(st, 0, "delete") || is_word(st, 0, "destroy") || is_word(st, 0, "replace");
}

static void note_removal(struct scan *s, const struct statement *st)
{
	bool all = is_word(st, 0, "flush") && is_word(st, 1, "ruleset");
	struct merlon_removal removal = { .place = st->at };
	size_t i;

	s->removals++;
	if (s->removal.all || (s->removals > 1 && !all))
		return;
	removal.all = all;
	for (i = 0; i < st->n && i < 4; i++)
		snprintf(removal.text + strlen(removal.text), sizeof(removal.text) - strlen(removal.text), "%s%s", i ? " " : "",
			 st->word[i]);
	s->removal = removal;
}

static void scan_top(struct scan *s)
{
	struct statement st;
	size_t i;

	while (s->r == 0 && !s->uncertain && next_statement(s, &st, false)) {
		bool any = false;

		if (removes(&st))
			note_removal(s, &st);
		for (i = 0; i < s->n; i++)
			any |= s->chain[i].n > 0;
		if (st.stop == '}') {
			s->uncertain = true;
		} else if (is_word(&st, 0, "include")) {
			enter(s, &st);
		} else if (st.stop == '{') {
			scan_block(s, &st);
		} else if (is_word(&st, 0, "rule") || ((is_word(&st, 0, "add") || is_word(&st, 0, "insert")) &&
						       is_word(&st, 1, "rule"))) {
			scan_rule(s, &st);
		} else if (is_word(&st, 0, "flush") && is_word(&st, 1, "ruleset") && st.n == 2) {
			for (i = 0; i < s->n; i++)
				s->chain[i].n = 0;
		} else if (any && (removes(&st) || is_word(&st, 0, "rename"))) {
			s->uncertain = true;
		}
	}
}

/* The lines of a chain, where they are certain: as many as it has rules of this source. */
static const struct chain_lines *certain_lines(const struct scan *s, const struct merlon_table *table,
					       const struct merlon_chain *chain, size_t rules)
{
	size_t i;

	for (i = 0; i < s->n && !s->uncertain; i++) {
		const struct chain_lines *lines = &s->chain[i];

		if (lines->family == table->family && !strcmp(lines->table, table->name) &&
		    !strcmp(lines->chain, chain->name))
			return lines->uncertain || lines->n != rules ? NULL : lines;
	}
	return NULL;
}

static void assign(struct merlon_ruleset *ruleset, const struct scan *s, const struct merlon_share *share)
{
	size_t i, j, next;

	for (i = 0; i < ruleset->n_chains; i++) {
		struct merlon_chain *chain = &ruleset->chain[i];
		const struct merlon_table *table = &ruleset->table[chain->table];
		const struct chain_lines *lines = certain_lines(s, table, chain, merlon_share_count(share, table, chain));

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

static struct scan scan(struct merlon_ruleset *ruleset, const struct merlon_text *text)
{
	const char *file = merlon_build_file(ruleset, text->name);
	struct scan s = { .p = text->text, .end = text->text + text->size, .line = 1, .file = file,
			  .ruleset = ruleset, .r = file ? 0 : -ENOMEM };

	if (s.r == 0)
		scan_top(&s);
	return s;
}

static void clear(struct scan *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		free(s->chain[i].place);
	free(s->chain);
	for (i = 0; i < s->n_texts; i++)
		free(s->text[i]);
	free(s->text);
}

int merlon_nft_places(struct merlon_ruleset *ruleset, const struct merlon_text *text, const struct merlon_share *share)
{
	struct scan s = scan(ruleset, text);

	if (s.r == 0)
		assign(ruleset, &s, share);
	clear(&s);
	return s.r;
}

bool merlon_nft_removal(struct merlon_ruleset *ruleset, const struct merlon_text *text, struct merlon_removal *ret)
{
	struct scan s = scan(ruleset, text);
	bool certain = s.r == 0 && !s.uncertain && (s.removal.all || s.removals == 1);

	if (certain)
		*ret = s.removal;
	clear(&s);
	return certain;
}
