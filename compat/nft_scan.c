/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/nft_scan.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat/build.h"
#include "src/util/cleanup.h"

#define WORDS 8		/* of a statement's beginning: as many as tell what it is */
#define WORD MERLON_NFT_WORD
#define NO_CHAIN MERLON_NO_CHAIN
#define INCLUDES 16	/* as deep as nft goes (MAX_INCLUDE_DEPTH) */

/* Where one file is read. */
struct reading {
	const char *p, *end;
	struct merlon_place at;
};

struct scan {
	const char *p, *end;
	unsigned line;
	const char *file;	/* a string of the ruleset */
	const char *top;	/* the source's own file */
	struct merlon_ruleset *ruleset;
	const json_t *dirs;	/* more directories that includes may be in, or NULL */
	struct reading around[INCLUDES];	/* the files that include this one, outermost first */
	unsigned depth;
	char **text;		/* of included files, owned */
	size_t n_texts;
	size_t in;		/* the chain whose block is read, or NO_CHAIN */
	unsigned apart;		/* how deep in files that are read on their own */
	struct merlon_nft_scan got;
	int r;
};

/* The beginning of a statement, and how it ended. */
struct statement {
	char word[WORDS][WORD];
	size_t n;
	struct merlon_place at;
	const char *string;	/* the last one, or NULL; with its quotes */
	size_t string_size;
	char stop;		/* ';' or newline, '{' of a block, '}' of the block around it, 0: end of file */
};

static void add_refused(struct scan *s, struct merlon_refused refused)
{
	struct merlon_refused *grown = reallocarray(s->got.refused, s->got.n_refused + 1, sizeof(*grown));

	if (!grown) {
		merlon_refused_clear(&refused);
		s->r = -ENOMEM;
		return;
	}
	s->got.refused = grown;
	grown[s->got.n_refused++] = refused;
}

static void read_comment(struct scan *s)
{
	struct merlon_refused refused;
	int r = merlon_refused_read(s->p, s->end, &refused);

	if (r < 0)
		s->r = r;
	if (r <= 0)
		return;
	refused.place = (struct merlon_place){ s->file, s->line };
	refused.chain = s->in;
	refused.at = s->in == NO_CHAIN ? 0 : s->got.chain[s->in].n;
	add_refused(s, refused);
}

/* Moves behind what is no text: blanks, comments, continued lines. */
static void skip_blank(struct scan *s)
{
	while (s->p < s->end) {
		if (*s->p == '#') {
			read_comment(s);
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
		/* a set's elements may be in another file */
		s->got.relative |= !strncmp(s->p, "include", 7) && (isspace((unsigned char)s->p[7]) || s->p[7] == '"');
		if (*s->p == '{')
			depth++;
		s->line += *s->p == '\n';
		if (*s->p++ == '}' && --depth == 0)
			return;
	}
	s->got.uncertain = true;
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
	if (*from == '"') {
		st->string = from;
		st->string_size = n;
	}
	if (st->n < WORDS && n < WORD) {
		memcpy(st->word[st->n], from, n);
		st->word[st->n][n] = '\0';
	} else if (st->n < WORDS) {
		st->word[st->n][0] = '\0';
		s->got.uncertain = true;
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

/* nft looks for it where it runs. */
static bool is_relative(const char *name)
{
	return !strncmp(name, "./", 2) || !strncmp(name, "../", 3);
}

/* What nft may take for this name, one or two; the caller frees them. Returns their number, 0: no memory. */
static size_t include_paths(const struct scan *s, const char *name, char *ret[2])
{
	const char *slash = strrchr(s->top, '/');

	ret[0] = ret[1] = NULL;
	if (name[0] == '/' || is_relative(name))
		return (ret[0] = strdup(name)) != NULL;
	/* include paths: the default one, and in newer releases the directory of the file that is loaded */
	if (asprintf(&ret[0], "/etc/%s", name) < 0)
		return 0;
	return asprintf(&ret[1], "%.*s%s", slash ? (int)(slash + 1 - s->top) : 0, s->top, name) < 0 ? 1 : 2;
}

/* The file that nft takes for this name; NULL: several could be meant, or there is none. The caller frees it. */
static char *find_include(const struct scan *s, const char *name)
{
	char *path[2];
	size_t n = strpbrk(name, "*?[\\$") || json_array_size(s->dirs) ? 0 : include_paths(s, name, path);
	bool etc, here;

	if (n < 2)
		return n ? path[0] : NULL;
	etc = !access(path[0], R_OK);
	here = !access(path[1], R_OK);
	if (etc || !here)
		free(path[1]);
	if (here || !etc)
		free(path[0]);
	return etc == here ? NULL : etc ? path[0] : path[1];
}

static int read_include(struct scan *s, const char *path, char **ret, size_t *ret_size)
{
	/* of a pipe it is not waited for somebody who writes to it */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
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

/* All that this name may stand for. */
static void look_into(struct scan *s, const char *name);

/* include "NAME": goes on in that file, whose end is not the end of what it is included in. */
static void enter(struct scan *s, const struct statement *st)
{
	_cleanup_free_ char *path = NULL, *name = NULL;
	const char *file;
	size_t size;
	char *text;

	s->got.includes = true;
	name = st->string && st->string_size > 2 ? strndup(st->string + 1, st->string_size - 2) : NULL;
	s->got.relative |= name && is_relative(name);
	/* behind `include "NAME" }` it would not be clear which brace is next */
	path = name && st->stop != '}' && st->n == 2 ? find_include(s, name) : NULL;
	if (!path || s->depth == INCLUDES || read_include(s, path, &text, &size) < 0 || !(file = merlon_build_file(s->ruleset, path))) {
		s->got.uncertain = true;
		if (name)
			look_into(s, name);
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
	st->string = NULL;
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

static struct merlon_nft_lines *lines_of(struct scan *s, uint8_t family, const char *table, const char *chain)
{
	struct merlon_nft_lines *grown;
	size_t i;

	for (i = 0; i < s->got.n; i++)
		if (s->got.chain[i].family == family && strcmp(s->got.chain[i].table, table) == 0 &&
		    strcmp(s->got.chain[i].chain, chain) == 0)
			return &s->got.chain[i];
	grown = reallocarray(s->got.chain, s->got.n + 1, sizeof(*grown));
	if (!grown) {
		s->r = -ENOMEM;
		return NULL;
	}
	s->got.chain = grown;
	grown = &s->got.chain[s->got.n++];
	*grown = (struct merlon_nft_lines){ .family = family };
	snprintf(grown->table, sizeof(grown->table), "%s", table);
	snprintf(grown->chain, sizeof(grown->chain), "%s", chain);
	return grown;
}

static void note(struct scan *s, struct merlon_nft_lines *lines, struct merlon_place at, bool first)
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
	struct merlon_nft_lines *lines = lines_of(s, family, table, chain);
	struct statement st;

	s->in = lines ? (size_t)(lines - s->got.chain) : NO_CHAIN;
	while (s->r == 0 && next_statement(s, &st, true)) {
		if (is_word(&st, 0, "include"))
			enter(s, &st);
		else if (st.n && !is_no_rule(&st))
			note(s, lines, st.at, false);
		if (st.stop == '}') {
			s->p++;
			s->in = NO_CHAIN;
			return;
		}
		lines = &s->got.chain[s->in];
	}
	s->got.uncertain = true;
	s->in = NO_CHAIN;
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
	s->got.uncertain = true;
}

/* "[add] rule [FAMILY] TABLE CHAIN ...", "insert rule ..." */
static void scan_rule(struct scan *s, const struct statement *st)
{
	bool insert = is_word(st, 0, "insert");
	size_t at = is_word(st, 0, "rule") ? 1 : 2;
	uint8_t family = at < st->n ? family_of(st->word[at]) : 0;
	struct merlon_nft_lines *lines;

	if (family != NFPROTO_UNSPEC)
		at++;
	else
		family = NFPROTO_IPV4;
	if (at + 2 > st->n || at + 2 > WORDS || strchr(st->word[at], '$') || strchr(st->word[at + 1], '$')) {
		s->got.uncertain = true;
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

	s->got.removals++;
	if (s->got.removal.all || (s->got.removals > 1 && !all))
		return;
	removal.all = all;
	for (i = 0; i < st->n && i < 4; i++)
		snprintf(removal.text + strlen(removal.text), sizeof(removal.text) - strlen(removal.text), "%s%s", i ? " " : "",
			 st->word[i]);
	s->got.removal = removal;
}

static void scan_top(struct scan *s)
{
	struct statement st;
	size_t i;

	/* what it is not certain of it reads all the same, for refused rules */
	while (s->r == 0 && next_statement(s, &st, false)) {
		bool any = false;

		if (removes(&st))
			note_removal(s, &st);
		for (i = 0; i < s->got.n; i++)
			any |= s->got.chain[i].n > 0;
		if (st.stop == '}') {
			s->got.uncertain = true;
			s->p++;
		} else if (is_word(&st, 0, "include")) {
			enter(s, &st);
		} else if (st.stop == '{') {
			scan_block(s, &st);
		} else if (is_word(&st, 0, "rule") || ((is_word(&st, 0, "add") || is_word(&st, 0, "insert")) &&
						       is_word(&st, 1, "rule"))) {
			scan_rule(s, &st);
		} else if (is_word(&st, 0, "flush") && is_word(&st, 1, "ruleset") && st.n == 2) {
			for (i = 0; i < s->got.n; i++)
				s->got.chain[i].n = 0;
		} else if (any && (removes(&st) || is_word(&st, 0, "rename"))) {
			s->got.uncertain = true;
		}
	}
}

void merlon_nft_scan_clear(struct merlon_nft_scan *scan)
{
	size_t i;

	for (i = 0; i < scan->n; i++)
		free(scan->chain[i].place);
	free(scan->chain);
	for (i = 0; i < scan->n_refused; i++)
		merlon_refused_clear(&scan->refused[i]);
	free(scan->refused);
	*scan = (struct merlon_nft_scan){ 0 };
}

static void free_texts(struct scan *s)
{
	size_t i;

	for (i = 0; i < s->n_texts; i++)
		free(s->text[i]);
	free(s->text);
}

/* Refused rules of a file that was read on its own; outside of its own chains they are of the one around it. */
static void take_refused(struct scan *s, struct scan *from)
{
	size_t i;

	for (i = 0; i < from->got.n_refused && s->r == 0; i++) {
		struct merlon_refused refused = from->got.refused[i];
		const struct merlon_nft_lines *lines = refused.chain == NO_CHAIN ? NULL : &from->got.chain[refused.chain];

		lines = lines ? lines_of(s, lines->family, lines->table, lines->chain) : NULL;
		refused.chain = lines ? (size_t)(lines - s->got.chain) : s->in;
		from->got.refused[i] = (struct merlon_refused){ 0 };
		add_refused(s, refused);
	}
}

/* A file of which it is not certain that it is included, or where. */
static void scan_apart(struct scan *s, const char *path)
{
	struct scan apart = { .line = 1, .file = merlon_build_file(s->ruleset, path), .top = s->top, .ruleset = s->ruleset, .dirs = s->dirs,
			      .in = NO_CHAIN, .apart = s->apart + 1 };
	char *text = NULL;
	size_t size = 0;

	if (s->apart < INCLUDES && read_include(&apart, path, &text, &size) == 0 && text) {
		apart.p = text;
		apart.end = text + size;
		scan_top(&apart);
		take_refused(s, &apart);
		s->got.relative |= apart.got.relative;
		s->r = s->r ? s->r : apart.r;
	}
	merlon_nft_scan_clear(&apart.got);
	free_texts(&apart);
}

static void look_at(struct scan *s, const char *pattern)
{
	glob_t found;
	size_t i;

	if (glob(pattern, 0, NULL, &found))
		return;
	for (i = 0; i < found.gl_pathc; i++)
		scan_apart(s, found.gl_pathv[i]);
	globfree(&found);
}

static void look_into(struct scan *s, const char *name)
{
	char *path[2];
	size_t n = include_paths(s, name, path), i;
	const json_t *dir;

	for (i = 0; i < n; i++) {
		look_at(s, path[i]);
		free(path[i]);
	}
	if (n < 2)
		return;
	json_array_foreach(s->dirs, i, dir) {
		_cleanup_free_ char *there = NULL;

		if (asprintf(&there, "%s/%s", json_string_value(dir), name) < 0)
			s->r = -ENOMEM;
		else
			look_at(s, there);
	}
}

int merlon_nft_scan(struct merlon_ruleset *ruleset, const struct merlon_text *text, struct merlon_nft_scan *ret)
{
	return merlon_nft_scan_with(ruleset, text, NULL, ret);
}

int merlon_nft_scan_with(struct merlon_ruleset *ruleset, const struct merlon_text *text, const json_t *dirs,
			 struct merlon_nft_scan *ret)
{
	const char *file = merlon_build_file(ruleset, text->name);
	struct scan s = { .p = text->text, .end = text->text + text->size, .line = 1, .file = file, .top = file,
			  .dirs = dirs, .ruleset = ruleset, .in = NO_CHAIN, .got.file = file, .r = file ? 0 : -ENOMEM };

	if (s.r == 0)
		scan_top(&s);
	free_texts(&s);
	if (s.r < 0)
		merlon_nft_scan_clear(&s.got);
	else
		*ret = s.got;
	return s.r;
}
