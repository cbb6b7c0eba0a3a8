/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of iptables-save: lines, sections, the words of a rule. */
#ifndef MERLON_IPTABLES_H
#define MERLON_IPTABLES_H

#include <stdbool.h>
#include <stddef.h>

#define MERLON_IPT_WORDS 256

struct merlon_ipt_line {
	const char *text;	/* not terminated */
	size_t size;
	unsigned number;
	char section[32];	/* the table it stands in, "" outside of all */
	/* private */
	const char *next, *end;
};

/* Starts before the first line; merlon_ipt_next() goes on, false at the end. */
void merlon_ipt_first(struct merlon_ipt_line *line, const char *text, size_t size);
bool merlon_ipt_next(struct merlon_ipt_line *line);

/* A section that merlon leaves to netfilter: anything of another name goes to iptables-restore, which judges it. */
bool merlon_ipt_is_kept(const char *section);

struct merlon_ipt_words {
	char *word[MERLON_IPT_WORDS];	/* into `buffer` */
	size_t n;
	char *buffer;			/* owned */
};

/* Splits a line as iptables-restore does: blanks, "quotes", \escapes; without the counters. 0 or -ENOMEM. */
int merlon_ipt_split(const struct merlon_ipt_line *line, struct merlon_ipt_words *ret);
/* The word that follows one of two options, or NULL. */
const char *merlon_ipt_option(const struct merlon_ipt_words *words, const char *a, const char *b);

#endif
