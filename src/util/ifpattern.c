/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/ifpattern.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"

#define LONGEST 64	/* IFNAMSIZ and room for brackets */

struct merlon_ifpattern {
	struct entry {
		bool negated;
		char glob[LONGEST];
	} *entry;
	size_t n;
	bool any_plain;
};

void merlon_ifpattern_free(struct merlon_ifpattern *pattern)
{
	if (pattern)
		free(pattern->entry);
	free(pattern);
}

static int add(struct merlon_ifpattern *pattern, const char *text)
{
	struct entry *grown;
	bool negated = text[0] == '!';

	text += negated;
	if (!*text || strlen(text) >= LONGEST || strchr(text, '/') || strchr(text, '!'))
		return -EINVAL;
	grown = reallocarray(pattern->entry, pattern->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	pattern->entry = grown;
	grown[pattern->n].negated = negated;
	strcpy(grown[pattern->n++].glob, text);
	pattern->any_plain |= !negated;
	return 0;
}

int merlon_ifpattern_parse(const char *text, struct merlon_ifpattern **ret)
{
	struct merlon_ifpattern *pattern = calloc(1, sizeof(*pattern));
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *part;
	int r = pattern && copy ? 0 : -ENOMEM;

	while (!r && (part = strsep(&rest, ","))) {
		part += strspn(part, " \t");
		part[strcspn(part, " \t")] = 0;
		r = add(pattern, part);
	}
	if (r < 0) {
		merlon_ifpattern_free(pattern);
		return r;
	}
	*ret = pattern;
	return 0;
}

bool merlon_ifpattern_match(const struct merlon_ifpattern *pattern, const char *name)
{
	bool chosen = !pattern->any_plain;
	size_t i;

	for (i = 0; i < pattern->n; i++) {
		if (fnmatch(pattern->entry[i].glob, name, 0))
			continue;
		if (pattern->entry[i].negated)
			return false;
		chosen = true;
	}
	return chosen;
}
