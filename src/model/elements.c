/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/elements.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/print.h"
#include "src/util/cleanup.h"

#define LONGEST 128		/* an element, as text */

const struct merlon_set *merlon_set_find(const struct merlon_ruleset *ruleset, uint8_t family, const char *table, const char *name)
{
	for (size_t i = 0; i < ruleset->n_sets; i++) {
		const struct merlon_table *t = &ruleset->table[ruleset->set[i].table];

		if (t->family == family && !strcmp(ruleset->set[i].name, name) && !strcmp(t->name, table))
			return &ruleset->set[i];
	}
	return NULL;
}

/* What is to be done to the declaration: `new` takes the place of `n` bytes at `at`. */
struct edit {
	size_t at, n;
	char new[LONGEST];
};

static bool value_at(const char *text, const struct merlon_set *set, merlon_value *ret)
{
	char word[INET6_ADDRSTRLEN] = "";
	uint8_t bytes[16] = { 0 };
	size_t n = strcspn(text, "-/, }");

	if (n >= sizeof(word))
		return false;
	memcpy(word, text, n);
	if (inet_pton(set->bits == 32 ? AF_INET : AF_INET6, word, bytes) != 1)
		return false;
	*ret = 0;
	for (uint32_t i = 0; i < set->bits / 8; i++)
		*ret = *ret << 8 | bytes[i];
	return true;
}

/* Where in [begin, end), a list of elements in ascending order, the first one from `value` on begins; `end`: there is none. */
static bool seek(const char *text, const struct merlon_set *set, size_t begin, size_t end, merlon_value value, size_t *ret)
{
	while (begin < end) {
		size_t mid = begin + (end - begin) / 2;
		merlon_value at;

		while (mid > begin && text[mid - 1] != ' ')
			mid--;
		if (!value_at(text + mid, set, &at))
			return false;
		if (at >= value) {
			end = mid;
		} else {
			mid += strcspn(text + mid, " ");
			begin = text[mid] && mid + 1 < end ? mid + 1 : end;
		}
	}
	*ret = end;
	return true;
}

static bool print(const struct merlon_set *set, const struct merlon_interval *element, char ret[LONGEST])
{
	FILE *out = fmemopen(ret, LONGEST, "w");

	if (!out)
		return false;
	merlon_print_interval(out, set->bits == 32 ? MERLON_AS_IPV4 : MERLON_AS_IPV6, element);
	return fclose(out) == 0;
}

/* -ERANGE also where the first one came, or the last one went: how the text is without any is the reader's to know. */
static int find_edit(const struct merlon_set *set, const struct merlon_element_change *change, struct edit *ret)
{
	static const char head[] = "elements = { ", tail[] = " }; }", comma[] = ", ";
	const char *text = set->declaration, *list = strstr(text, head);
	size_t begin, end = strlen(text), at, n;
	char element[LONGEST - sizeof(comma)];

	if (!list || strchr(text, '"') || end < strlen(tail) || strcmp(text + (end -= strlen(tail)), tail))
		return -ERANGE;
	begin = list + strlen(head) - text;
	if (!print(set, &change->element, ret->new))
		return -ENOMEM;
	n = strlen(ret->new);
	if (n >= sizeof(element) || !seek(text, set, begin, end, change->element.lo, &at))
		return -ERANGE;
	memcpy(element, ret->new, n + 1);
	if (change->add) {
		*ret = (struct edit){ .at = at };
		/* behind the last one the comma comes first */
		snprintf(ret->new, sizeof(ret->new), at == end ? ", %s" : "%s, ", element);
		return 0;
	}
	if (at + n > end || memcmp(text + at, element, n) || (at + n < end && text[at + n] != ',') || (at == begin && at + n == end))
		return -ERANGE;
	*ret = (struct edit){ .at = at + n == end ? at - strlen(comma) : at, .n = n + strlen(comma) };
	return 0;
}

static int change_text(struct merlon_set *set, const struct edit *edit)
{
	size_t size = strlen(set->declaration), added = strlen(edit->new);
	char *text = set->declaration;

	if (added > edit->n) {
		text = realloc(text, size - edit->n + added + 1);
		if (!text)
			return -ENOMEM;
		set->declaration = text;
	}
	memmove(text + edit->at + added, text + edit->at + edit->n, size + 1 - edit->at - edit->n);
	memcpy(text + edit->at, edit->new, added);
	return 0;
}

/* Calls `each` for every match that looks in the set, until one of them fails. */
static int each_match(struct merlon_ruleset *ruleset, const struct merlon_element_change *change,
		      int (*each)(struct merlon_intervals *set, bool in, merlon_value lo, merlon_value hi), uint32_t *ret_n)
{
	const struct merlon_set *set = &ruleset->set[change->set];
	int r = 0;

	*ret_n = 0;
	for (size_t c = 0; c < ruleset->n_chains; c++)
		for (size_t j = 0; j < ruleset->chain[c].n && ruleset->chain[c].table == set->table; j++)
			for (size_t k = 0; k < ruleset->chain[c].rule[j].n; k++) {
				struct merlon_statement *s = &ruleset->chain[c].rule[j].statement[k];

				if (s->kind != MERLON_S_MATCH || !s->match.set || strcmp(s->match.set, set->name))
					continue;
				++*ret_n;
				r = each(&s->match.in, change->add != s->match.negated, change->element.lo, change->element.hi);
				if (r < 0)
					return r;
			}
	return 0;
}

static int prepare(struct merlon_ruleset *ruleset, const struct merlon_element_change *change, struct edit *ret)
{
	const struct merlon_set *set = &ruleset->set[change->set];
	uint32_t n;
	int r;

	if (!set->bits || !set->declaration || set->n || set->n_lookups != set->n_plain)
		return -ERANGE;
	r = each_match(ruleset, change, merlon_intervals_may, &n);
	if (!r && n != set->n_plain)
		r = -ERANGE;
	if (!r)
		r = find_edit(set, change, ret);
	return r;
}

/* Nothing has changed on an error. */
static int change_one(struct merlon_ruleset *ruleset, const struct merlon_element_change *change)
{
	struct edit edit;
	uint32_t n;
	int r = prepare(ruleset, change, &edit);

	if (!r)
		r = change_text(&ruleset->set[change->set], &edit);
	return r < 0 ? r : each_match(ruleset, change, merlon_intervals_change, &n);
}

int merlon_elements_change(struct merlon_ruleset *ruleset, const struct merlon_element_change *changes, size_t n, bool back)
{
	struct merlon_element_change change;
	size_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++) {
		change = changes[back ? n - 1 - i : i];
		change.add = change.add != back;
		r = change_one(ruleset, &change);
	}
	/* the last one has done nothing */
	for (i = i ? i - 1 : 0; r < 0 && i > 0; i--) {
		change = changes[back ? n - i : i - 1];
		change.add = change.add == back;
		change_one(ruleset, &change);
	}
	return r;
}
