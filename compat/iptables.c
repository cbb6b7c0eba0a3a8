/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/iptables.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "compat/load.h"
#include "src/util/cleanup.h"

void merlon_ipt_first(struct merlon_ipt_line *line, const char *text, size_t size)
{
	*line = (struct merlon_ipt_line){ .next = text, .end = text + size };
}

bool merlon_ipt_next(struct merlon_ipt_line *line)
{
	const char *newline;

	/* COMMIT itself is the last line of its section */
	if (line->number && line->size >= 6 && strncmp(line->text, "COMMIT", 6) == 0 &&
	    (line->size == 6 || isspace((unsigned char)line->text[6])))
		line->section[0] = '\0';
	if (line->next >= line->end)
		return false;
	line->text = line->next;
	newline = memchr(line->text, '\n', line->end - line->text);
	line->size = (newline ? newline : line->end) - line->text;
	line->next = newline ? newline + 1 : line->end;
	line->number++;
	if (line->size && line->text[0] == '*') {
		size_t n = 0;

		while (n + 1 < line->size && n + 1 < sizeof(line->section) && line->text[n + 1] != ' ' &&
		       line->text[n + 1] != '\t') {
			line->section[n] = line->text[n + 1];
			n++;
		}
		line->section[n] = '\0';
	}
	return true;
}

bool merlon_ipt_is_kept(const char *section)
{
	return strcmp(section, "nat") == 0 || strcmp(section, "mangle") == 0 || strcmp(section, "raw") == 0 ||
	       strcmp(section, "security") == 0;
}

/* One word at *from, unquoted into *to; false at the end of the line. */
static bool next_word(const char **from, const char *end, char **to)
{
	bool quoted = false;
	const char *p = *from;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	if (p == end)
		return false;
	for (; p < end && (quoted || (*p != ' ' && *p != '\t')); p++) {
		if (quoted && *p == '\\' && p + 1 < end)
			*(*to)++ = *++p;
		else if (*p == '"')
			quoted = !quoted;
		else
			*(*to)++ = *p;
	}
	*(*to)++ = '\0';
	*from = p;
	return true;
}

int merlon_ipt_split(const struct merlon_ipt_line *line, struct merlon_ipt_words *ret)
{
	const char *p = line->text, *end = line->text + line->size;
	char *to;

	/* the words behind the last one are not there */
	ret->n = 0;
	ret->buffer = malloc(line->size + 2);
	if (!ret->buffer)
		return -ENOMEM;
	to = ret->buffer;
	if (p < end && *p == '[') {
		while (p < end && *p != ']')
			p++;
		p += p < end;
	}
	while (ret->n < MERLON_IPT_WORDS) {
		char *word = to;

		if (!next_word(&p, end, &to))
			break;
		ret->word[ret->n++] = word;
	}
	return 0;
}

const char *merlon_ipt_option(const struct merlon_ipt_words *words, const char *a, const char *b)
{
	size_t i, len = strlen(b);

	for (i = 0; i < words->n; i++) {
		if (words->word[i][0] != '-')
			continue;
		if (strncmp(words->word[i], b, len) == 0 && words->word[i][len] == '=')
			return words->word[i] + len + 1;
		if (i + 1 < words->n && (strcmp(words->word[i], a) == 0 || strcmp(words->word[i], b) == 0))
			return words->word[i + 1];
	}
	return NULL;
}

bool merlon_is_iptables(const struct merlon_text *text)
{
	struct merlon_ipt_line line;

	merlon_ipt_first(&line, text->text, text->size);
	while (merlon_ipt_next(&line)) {
		size_t i = 0;

		while (i < line.size && isspace((unsigned char)line.text[i]))
			i++;
		if (i < line.size && line.text[i] != '#')
			/* nothing in nft's language starts with a star */
			return line.text[i] == '*';
	}
	return false;
}

enum evidence { NOTHING = 0, FOUR = 1, SIX = 2 };

static enum evidence of_address(const char *word)
{
	size_t digits = strspn(word, "0123456789.");

	if (strchr(word, ':'))
		return SIX;
	return digits && strchr(word, '.') && (!word[digits] || strchr("/,", word[digits])) ? FOUR : NOTHING;
}

static enum evidence of_name(const char *option, const char *word)
{
	static const struct {
		const char *option, *word;
		enum evidence means;
	} known[] = {
		{ "-p", "icmp", FOUR }, { "-p", "1", FOUR }, { "-p", "ipv6-icmp", SIX }, { "-p", "icmpv6", SIX },
		{ "-p", "58", SIX }, { "-m", "icmp", FOUR }, { "-m", "icmp6", SIX }, { "-m", "icmpv6", SIX },
		{ "-m", "ttl", FOUR }, { "-m", "hl", SIX }, { "-m", "rt", SIX }, { "-m", "frag", SIX },
		{ "-m", "hbh", SIX }, { "-m", "dst", SIX }, { "-m", "mh", SIX }, { "-m", "eui64", SIX },
		{ "-m", "ipv6header", SIX }, { "-m", "realm", FOUR },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (option[1] == known[i].option[1] && !option[2] && strcmp(word, known[i].word) == 0)
			return known[i].means;
	if (strcmp(option, "--reject-with") == 0) {
		/* "icmp-..." of IPv4; "icmp6-..." and names without icmp of IPv6 */
		if (strncmp(word, "icmp6", 5) == 0 || strcmp(word, "no-route") == 0 || strcmp(word, "adm-prohibited") == 0)
			return SIX;
		return strncmp(word, "icmp-", 5) == 0 ? FOUR : NOTHING;
	}
	return NOTHING;
}

static enum evidence of_words(const struct merlon_ipt_words *words)
{
	static const char *const addresses[] = { "-s", "--source", "--src", "-d", "--destination", "--dst",
						 "--src-range", "--dst-range", "--to-destination", "--to-source",
						 "--ctorigdst", "--ctorigsrc" };
	enum evidence found = NOTHING;
	size_t i, j;

	for (i = 0; i < words->n; i++) {
		const char *option = words->word[i], *word;

		if (option[0] != '-')
			continue;
		if (strcmp(option, "--icmp-type") == 0)
			found |= FOUR;
		if (strcmp(option, "--icmpv6-type") == 0)
			found |= SIX;
		if (i + 1 == words->n)
			break;
		word = words->word[i + 1];
		if (strcmp(word, "!") == 0 && i + 2 < words->n)
			word = words->word[i + 2];
		for (j = 0; j < ARRAY_SIZE(addresses); j++)
			if (strcmp(option, addresses[j]) == 0)
				/* a NAT address may have a port behind a colon */
				found |= strncmp(option, "--to-", 5) == 0 && strchr(word, '.') ? FOUR : of_address(word);
		if (strcmp(option, "--protocol") == 0)
			option = "-p";
		if (strcmp(option, "--match") == 0)
			option = "-m";
		found |= of_name(option, word);
	}
	return found;
}

/* "# Generated by ip6tables-save v1.8.9 ..." */
static enum evidence of_header(const struct merlon_ipt_line *line)
{
	static const char by[] = "# Generated by ";
	size_t n = sizeof(by) - 1;

	if (line->size < n + 8 || strncmp(line->text, by, n) != 0)
		return NOTHING;
	if (strncmp(line->text + n, "ip6tables", 9) == 0)
		return SIX;
	return strncmp(line->text + n, "iptables", 8) == 0 ? FOUR : NOTHING;
}

const char *merlon_iptables_suffix(const char *file)
{
	static const char *const suffix[] = { ".v4", ".v6" };	/* as netfilter-persistent names its files */
	size_t n = strlen(file), i;

	for (i = 0; i < ARRAY_SIZE(suffix); i++)
		if (n > 3 && !strcmp(file + n - 3, suffix[i]))
			return suffix[i];
	return "";
}

static enum evidence of_file(const char *file)
{
	const char *suffix = merlon_iptables_suffix(file);

	return !*suffix ? NOTHING : suffix[2] == '4' ? FOUR : SIX;
}

int merlon_iptables_family(const struct merlon_text *text, struct merlon_diag *diag)
{
	struct merlon_place place = { .file = text->name };
	enum evidence rules = NOTHING, header = NOTHING;
	struct merlon_ipt_line line;

	merlon_ipt_first(&line, text->text, text->size);
	while (merlon_ipt_next(&line)) {
		struct merlon_ipt_words words;

		header |= of_header(&line);
		if (!line.size || line.text[0] == '#' || !line.section[0])
			continue;
		if (merlon_ipt_split(&line, &words) < 0)
			return -ENOMEM;
		rules |= of_words(&words);
		free(words.buffer);
	}
	if (rules == NOTHING)
		rules = header;
	if (rules == NOTHING)
		rules = of_file(text->name);
	if (rules == FOUR)
		return AF_INET;
	if (rules == SIX)
		return AF_INET6;
	merlon_diag_add(diag, MERLON_ERROR, place, rules == NOTHING ?
			"nothing in this iptables-save file tells whether it is of IPv4 or IPv6" :
			"this iptables-save file has rules of both IPv4 and IPv6");
	merlon_diag_cure(diag, "say which with --family ip or --family ip6");
	return -EINVAL;
}
