/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "src/cli/cli.h"

static const char *member(const json_t *setting, const char *name)
{
	const char *text = json_string_value(json_object_get(setting, name));

	return text ? text : "";
}

static void print(const json_t *list)
{
	int width[3] = { 0 };
	const json_t *s;
	size_t i;

	json_array_foreach(list, i, s) {
		int n[3] = { strlen(member(s, "section")), strlen(member(s, "key")), strlen(member(s, "value")) }, c;

		for (c = 0; c < 3; c++)
			width[c] = n[c] > width[c] ? n[c] : width[c];
	}
	json_array_foreach(list, i, s)
		printf("%-*s  %-*s  %-*s  %s\n", width[0], member(s, "section"), width[1], member(s, "key"), width[2],
		       member(s, "value"), member(s, "from"));
}

const char *merlon_configured(const json_t *list, const char *section, const char *key)
{
	const json_t *s;
	size_t i;

	json_array_foreach(list, i, s)
		if (!strcmp(member(s, "section"), section) && !strcmp(member(s, "key"), key))
			return member(s, "value");
	return "";
}

static int reload(const struct merlon_options *options)
{
	return merlon_change(options, "Reload", "merlond has read its settings again",
			     "nothing was changed: the settings stay as they were");
}

static int run(const struct merlon_options *options)
{
	return options->reload ? reload(options) : merlon_show(options, "Config", NULL, print);
}

const struct merlon_command merlon_config_command = {
	.name = "config",
	.usage = "",
	.does = "the settings of merlond, and where each value comes from",
	.takes = MERLON_TAKES_SOCKET | MERLON_TAKES_RELOAD,
	.run = run,
};
