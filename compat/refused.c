/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/refused.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "src/util/cleanup.h"

/* "REASON): RULE", and a reason may have parentheses of its own. */
static char *end_of_reason(char *text)
{
	unsigned depth = 1;
	char *p;

	for (p = text; *p; p++) {
		depth += *p == '(';
		if (*p == ')' && !--depth)
			break;
	}
	return *p && p[1] == ':' ? p : strstr(text, "):");
}

int merlon_refused_read(const char *p, const char *end, struct merlon_refused *ret)
{
	static const char head[] = "# refused (";
	_cleanup_free_ char *text = NULL;
	struct merlon_refused refused = { 0 };
	size_t n;
	char *at;

	if ((size_t)(end - p) < strlen(head) || strncmp(p, head, strlen(head)))
		return 0;
	p += strlen(head);
	text = strndup(p, end - p);
	if (!text)
		return -ENOMEM;
	n = strcspn(text, "\n");
	while (n && (text[n - 1] == '\r' || text[n - 1] == ' '))
		n--;
	text[n] = '\0';
	at = end_of_reason(text);
	if (!at)
		return 0;
	*at = '\0';
	at += 2;
	refused.reason = strdup(text);
	refused.rule = strdup(at + strspn(at, " "));
	if (!refused.reason || !refused.rule) {
		merlon_refused_clear(&refused);
		return -ENOMEM;
	}
	*ret = refused;
	return 1;
}

int merlon_refused_put(struct merlon_chain *chain, size_t index, const struct merlon_refused *refused)
{
	struct merlon_rule *rule = merlon_build_rule(chain), new = {
		.place = refused->place, .status = MERLON_REFUSED, .commented = true,
		.text = refused->rule[0] ? strdup(refused->rule) : NULL, .reason = strdup(refused->reason),
	};

	if (!rule || (refused->rule[0] && !new.text) || !new.reason) {
		chain->n -= rule != NULL;
		merlon_rule_clear(&new);
		return -ENOMEM;
	}
	memmove(&chain->rule[index + 1], &chain->rule[index], (chain->n - 1 - index) * sizeof(new));
	chain->rule[index] = new;
	return 0;
}

void merlon_refused_clear(struct merlon_refused *refused)
{
	free(refused->reason);
	free(refused->rule);
}
