/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "compat/build.h"
#include "compat/does.h"
#include "compat/iptables.h"
#include "compat/load.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

/* Stands in for a rule that cannot be loaded here, and that is refused afterwards. */
#define STAND_IN "-m comment --comment merlon:refused"

/* ipset's sets are not in the policy namespace: iptables-restore would refuse the whole file for them. */
static bool cannot_load(const struct merlon_ipt_words *words)
{
	const char *target = merlon_ipt_option(words, "-j", "--jump");
	size_t i;

	for (i = 0; i + 1 < words->n; i++)
		if ((strcmp(words->word[i], "-m") == 0 || strcmp(words->word[i], "--match") == 0) &&
		    strcmp(words->word[i + 1], "set") == 0)
			return true;
	return target && strcmp(target, "SET") == 0;
}

/* -A CHAIN or -I CHAIN NUMBER as the first words. */
static bool is_rule(const struct merlon_ipt_words *words, bool *ret_insert)
{
	if (words->n < 2)
		return false;
	*ret_insert = strcmp(words->word[0], "-I") == 0 || strcmp(words->word[0], "--insert") == 0;
	return *ret_insert || strcmp(words->word[0], "-A") == 0 || strcmp(words->word[0], "--append") == 0;
}

static bool has(const struct merlon_ipt_line *line, const char *what)
{
	return memmem(line->text, line->size, what, strlen(what));
}

/* False: it is certain that cannot_load() says no. */
static bool may_be_refused(const struct merlon_ipt_line *line)
{
	return has(line, "set") || has(line, "SET") || has(line, "\"");
}

static int write_line(FILE *out, const struct merlon_ipt_line *line)
{
	struct merlon_ipt_words words;
	bool insert;
	int r;

	/* blanked, so that the line numbers of messages stay */
	if (merlon_ipt_is_kept(line->section))
		return fputc('\n', out) < 0 ? -ENOMEM : 0;
	words.n = 0;
	words.buffer = NULL;
	r = may_be_refused(line) ? merlon_ipt_split(line, &words) : 0;
	if (r < 0)
		return r;
	if (is_rule(&words, &insert) && cannot_load(&words)) {
		fprintf(out, "%s %s %s\n", words.word[0], words.word[1], STAND_IN);
	} else {
		fwrite(line->text, 1, line->size, out);
		if (line->next < line->end || line->text[line->size] == '\n')
			fputc('\n', out);
	}
	free(words.buffer);
	return 0;
}

/* The text for iptables-restore, in a file in memory. */
static int filter_only(const struct merlon_text *text)
{
	_cleanup_close_ int fd = memfd_create("merlon-rules", MFD_CLOEXEC);
	_cleanup_fclose_ FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");
	struct merlon_ipt_line line;
	int r = out ? 0 : -errno;

	merlon_ipt_first(&line, text->text, text->size);
	while (r == 0 && merlon_ipt_next(&line))
		r = write_line(out, &line);
	if (r == 0 && fflush(out) != 0)
		r = -errno;
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return TAKE_FD(fd);
}

struct restore {
	int netns, input;
	const char *program;
};

#define NOT_FOUND 126

static int run_restore(void *context)
{
	const struct restore *restore = context;
	const char *path = getenv("PATH");
	char *with_sbin;

	if (merlon_netns_enter(restore->netns) < 0 || dup2(restore->input, STDIN_FILENO) < 0)
		return NOT_FOUND + 1;
	/* a user's PATH often lacks the directories of these tools */
	if (asprintf(&with_sbin, "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin") > 0)
		setenv("PATH", with_sbin, 1);
	setenv("LC_ALL", "C", 1);
	execlp(restore->program, restore->program, "--counters", (char *)NULL);
	return errno == ENOENT ? NOT_FOUND : NOT_FOUND + 1;
}

/* "Error occurred at line: 3", "line 2 failed", "COMMIT expected at line 3" */
static unsigned line_in(const char *message)
{
	const char *p = message;

	while ((p = strstr(p, "line"))) {
		char *end;
		unsigned long n;

		p += 4;
		p += strspn(p, ": ");
		n = strtoul(p, &end, 10);
		if (end > p)
			return (unsigned)n;
	}
	return 0;
}

/* "Chain 'x' does not exist" is said of the line with COMMIT. Returns the first one that jumps there, or 0. */
static unsigned line_of_jump(const struct merlon_text *text, const char *message)
{
	_cleanup_free_ char *chain = NULL;
	struct merlon_ipt_words words;
	struct merlon_ipt_line line;
	unsigned found = 0;
	int end = 0;

	message = strstr(message, "Chain '");
	if (!message || sscanf(message, "Chain '%m[^']' does not exist%n", &chain, &end) != 1 || !end)
		return 0;
	merlon_ipt_first(&line, text->text, text->size);
	while (!found && merlon_ipt_next(&line)) {
		const char *jump, *go;

		if (merlon_ipt_is_kept(line.section) || merlon_ipt_split(&line, &words) < 0)
			continue;
		jump = merlon_ipt_option(&words, "-j", "--jump");
		go = merlon_ipt_option(&words, "-g", "--goto");
		if ((jump && !strcmp(jump, chain)) || (go && !strcmp(go, chain)))
			found = line.number;
		free(words.buffer);
	}
	return found;
}

static void report(const struct merlon_text *text, char *output, struct merlon_diag *diag)
{
	unsigned jump = line_of_jump(text, output);
	struct merlon_place place = { .file = text->name, .line = jump ? jump : line_in(output) };
	size_t n;

	/* not its advice to call it with -h, nor the line once more */
	for (const char **tail = (const char *[]){ "\nTry `", "\nError occurred at line", NULL }; *tail; tail++) {
		char *at = strstr(output, *tail);

		if (at)
			*at = '\0';
	}
	n = strlen(output);
	while (n && output[n - 1] == '\n')
		output[--n] = '\0';
	merlon_diag_add(diag, MERLON_ERROR, place, "%s", n ? output : "iptables-restore failed without a word");
}

int merlon_iptables_load(int netns, const struct merlon_text *text, int family, const struct merlon_meanwhile *meanwhile,
			 struct merlon_diag *diag)
{
	_cleanup_close_ int input = filter_only(text);
	struct restore restore = { netns, input, family == AF_INET6 ? "ip6tables-nft-restore" : "iptables-nft-restore" };
	struct merlon_place place = { .file = text->name };
	_cleanup_free_ char *output = NULL;
	size_t size;
	int r;

	if (input < 0)
		return input;
	r = merlon_child_and(run_restore, &restore, meanwhile, &output, &size);
	if (r == 0)
		return 0;
	if (r == NOT_FOUND) {
		merlon_diag_add(diag, MERLON_ERROR, place, "%s is needed to read iptables rules, and is not installed",
				restore.program);
		merlon_diag_cure(diag, "install the package iptables (Debian) or iptables-nft (Fedora)");
		return -ENOENT;
	}
	if (r < 0 || r > NOT_FOUND)
		return merlon_tool_failed(text->name, restore.program, r < 0 ? r : -EPERM, diag);
	report(text, output, diag);
	return merlon_is_too_long(output, diag) ? -EMSGSIZE : -EINVAL;
}

/* The rules of one chain in the order that they will have. */
struct chain_lines {
	char *section, *chain;
	struct line {
		unsigned number;
		char *text;		/* owned; NULL: a further rule of the line before */
		bool refused;
		enum merlon_does does;
	} *line;
	size_t n, room;
	bool drop;		/* its policy */
};

struct all_lines {
	struct chain_lines *chain;
	size_t n;
	bool uncertain;		/* rules are deleted, replaced, chains renamed */
};

static struct chain_lines *lines_of(struct all_lines *all, const char *section, const char *chain)
{
	struct chain_lines *grown;
	size_t i;

	/* the same chain as the last one, mostly */
	for (i = all->n; i-- > 0;)
		if (strcmp(all->chain[i].chain, chain) == 0 && strcmp(all->chain[i].section, section) == 0)
			return &all->chain[i];
	grown = reallocarray(all->chain, all->n + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	all->chain = grown;
	grown = &all->chain[all->n];
	*grown = (struct chain_lines){ .section = strdup(section), .chain = strdup(chain) };
	if (!grown->section || !grown->chain) {
		free(grown->section);
		free(grown->chain);
		return NULL;
	}
	all->n++;
	return grown;
}

static void free_lines(struct all_lines *all)
{
	size_t i, j;

	for (i = 0; i < all->n; i++) {
		for (j = 0; j < all->chain[i].n; j++)
			free(all->chain[i].line[j].text);
		free(all->chain[i].line);
		free(all->chain[i].section);
		free(all->chain[i].chain);
	}
	free(all->chain);
}

static int insert_line(struct chain_lines *lines, size_t at, struct line line)
{
	if (lines->n == lines->room) {
		size_t room = lines->room ? lines->room * 2 : 8;
		struct line *grown = reallocarray(lines->line, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		lines->line = grown;
		lines->room = room;
	}
	if (at > lines->n)
		at = lines->n;
	memmove(&lines->line[at + 1], &lines->line[at], (lines->n - at) * sizeof(*lines->line));
	lines->line[at] = line;
	lines->n++;
	return 0;
}

static size_t list_size(const char *list)
{
	size_t n = 1;

	for (; list && *list; list++)
		n += *list == ',';
	return n;
}

static char *trimmed(const struct merlon_ipt_line *line)
{
	const char *p = line->text, *end = line->text + line->size;

	if (p < end && *p == '[') {
		while (p < end && *p != ']')
			p++;
		p += p < end;
	}
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == '\r' || end[-1] == ' '))
		end--;
	return strndup(p, end - p);
}

/* A line with lists of addresses makes a rule of each pair of them. */
static int add_rule_line(struct all_lines *all, const struct merlon_ipt_line *line,
			 const struct merlon_ipt_words *words, bool insert)
{
	struct chain_lines *lines = lines_of(all, line->section, words->word[1]);
	const char *source = merlon_ipt_option(words, "-s", "--source"), *to = merlon_ipt_option(words, "-d", "--destination");
	size_t i, rules, at;
	int r = 0;

	if (!lines)
		return -ENOMEM;
	source = source ? source : merlon_ipt_option(words, "-s", "--src");
	to = to ? to : merlon_ipt_option(words, "-d", "--dst");
	rules = cannot_load(words) ? 1 : list_size(source) * list_size(to);
	at = lines->n;
	if (insert)
		at = words->n > 2 && atoi(words->word[2]) > 0 ? (size_t)atoi(words->word[2]) - 1 : 0;
	for (i = 0; i < rules && r == 0; i++) {
		struct line new = { .number = line->number, .text = trimmed(line), .refused = cannot_load(words),
				    .does = merlon_words_do(words) };

		r = new.text ? insert_line(lines, at + i, new) : -ENOMEM;
		if (r < 0)
			free(new.text);
	}
	return r;
}

/* A section that comes again replaces what the first one had, as iptables-restore does without --noflush. */
static void begin_section(struct all_lines *all, const char *section)
{
	size_t i, j;

	for (i = 0; i < all->n; i++) {
		struct chain_lines *lines = &all->chain[i];

		for (j = 0; j < lines->n && !strcmp(lines->section, section); j++)
			free(lines->line[j].text);
		if (!strcmp(lines->section, section)) {
			lines->n = 0;
			lines->drop = false;
		}
	}
}

/* ":CHAIN POLICY [COUNTERS]" of what stays with netfilter: a policy stops packets without any rule. */
static int add_policy(struct all_lines *all, const struct merlon_ipt_line *line)
{
	struct chain_lines *lines;
	struct merlon_ipt_words words;
	int r = merlon_ipt_split(line, &words);

	if (r < 0)
		return r;
	if (words.n > 1 && strcmp(words.word[1], "DROP") == 0) {
		lines = lines_of(all, line->section, words.word[0] + 1);
		r = lines ? 0 : -ENOMEM;
		if (lines)
			lines->drop = true;
	}
	free(words.buffer);
	return r;
}

static int collect(const struct merlon_text *text, struct all_lines *all)
{
	struct merlon_ipt_line line;
	int r = 0;

	merlon_ipt_first(&line, text->text, text->size);
	while (r == 0 && merlon_ipt_next(&line)) {
		struct merlon_ipt_words words;
		bool insert;

		if (line.size && line.text[0] == '*')
			begin_section(all, line.section);
		if (line.size && line.text[0] == ':' && merlon_ipt_is_kept(line.section))
			r = add_policy(all, &line);
		if (!line.section[0] || !line.size || strchr("#:*", line.text[0]))
			continue;
		r = merlon_ipt_split(&line, &words);
		if (r < 0)
			break;
		if (is_rule(&words, &insert))
			r = add_rule_line(all, &line, &words, insert);
		else if (words.n && (words.word[0][0] == '-' && strchr("DRFXE", words.word[0][1]) && words.word[0][1]))
			all->uncertain = true;
		else if (words.n && strncmp(words.word[0], "--", 2) == 0)
			all->uncertain = true;
		free(words.buffer);
	}
	return r;
}

static int place_chain(struct merlon_ruleset *ruleset, struct merlon_chain *chain, struct chain_lines *lines,
		       const struct merlon_share *share, const char *file)
{
	const struct merlon_table *table = &ruleset->table[chain->table];
	bool certain = merlon_share_count(share, table, chain) == lines->n;
	size_t i, next = 0;

	for (i = 0; i < chain->n; i++) {
		struct merlon_rule *rule = &chain->rule[i];
		struct line *line;

		if (!merlon_share_has(share, table, rule))
			continue;
		/* also when the counts differ it is known which file it was */
		rule->place.file = file;
		if (!certain)
			continue;
		line = &lines->line[next++];
		rule->place.line = line->number;
		if (line->refused && !chain->kept) {
			merlon_build_refuse(rule, "match or target `set` (ipset): not supported yet");
			free(rule->text);
			rule->text = NULL;
			free(rule->comment);
			rule->comment = NULL;
		}
		if (!rule->text)
			rule->text = TAKE_PTR(line->text);
	}
	return 0;
}

/* Where chains of the user are reached from is not known here. */
static bool may_be_behind_input(const char *chain)
{
	return strcmp(chain, "FORWARD") != 0 && strcmp(chain, "OUTPUT") != 0 && strcmp(chain, "POSTROUTING") != 0;
}

static int keep_chain(struct merlon_ruleset *ruleset, uint32_t table, struct chain_lines *lines, const char *file)
{
	struct merlon_chain *chain = merlon_build_chain(ruleset, table, lines->chain);
	size_t i;

	if (!chain)
		return -ENOMEM;
	chain->kept = chain->beside = true;
	chain->behind_input = may_be_behind_input(lines->chain);
	chain->nat = strcmp(lines->section, "nat") == 0;
	chain->drop = lines->drop;
	for (i = 0; i < lines->n; i++) {
		struct merlon_rule *rule = merlon_build_rule(chain);

		if (!rule)
			return -ENOMEM;
		rule->status = MERLON_KEPT;
		rule->text = TAKE_PTR(lines->line[i].text);
		rule->does = lines->line[i].does == MERLON_DOES_NOTHING ? 0 : 1U << lines->line[i].does;
		rule->place = (struct merlon_place){ file, lines->line[i].number };
	}
	return 0;
}

static int table_index(struct merlon_ruleset *ruleset, uint8_t family, const char *name, bool make, uint32_t *ret)
{
	struct merlon_table *table;
	size_t i;

	for (i = 0; i < ruleset->n_tables; i++)
		if (ruleset->table[i].family == family && strcmp(ruleset->table[i].name, name) == 0) {
			*ret = i;
			return 0;
		}
	if (!make)
		return -ENOENT;
	table = merlon_build_table(ruleset, family, name);
	if (!table)
		return -ENOMEM;
	table->iptables = true;
	*ret = ruleset->n_tables - 1;
	return 0;
}

struct placing {
	uint8_t nfproto;
	const char *file;
	const struct merlon_share *share;
	bool uncertain;
};

static int place_lines(struct merlon_ruleset *ruleset, const struct placing *p, struct chain_lines *lines)
{
	bool keep = merlon_ipt_is_kept(lines->section);
	uint32_t table;
	size_t i;
	int r = table_index(ruleset, p->nfproto, lines->section, keep, &table);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	ruleset->table[table].iptables = true;
	if (keep)
		return keep_chain(ruleset, table, lines, p->file);
	for (i = 0; i < ruleset->n_chains && !p->uncertain; i++)
		if (ruleset->chain[i].table == table && strcmp(ruleset->chain[i].name, lines->chain) == 0)
			return place_chain(ruleset, &ruleset->chain[i], lines, p->share, p->file);
	return 0;
}

int merlon_iptables_places(struct merlon_ruleset *ruleset, const struct merlon_text *text, int family,
			   const struct merlon_share *share)
{
	struct placing placing = {
		.nfproto = family == AF_INET6 ? NFPROTO_IPV6 : NFPROTO_IPV4, .share = share,
		.file = merlon_build_file(ruleset, text->name),
	};
	struct all_lines all = { 0 };
	size_t i;
	int r = placing.file ? collect(text, &all) : -ENOMEM;

	placing.uncertain = all.uncertain;
	for (i = 0; i < all.n && r == 0; i++)
		r = place_lines(ruleset, &placing, &all.chain[i]);
	free_lines(&all);
	return r;
}
