/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "src/cli/cli.h"

static const char *text_of(const json_t *of, const char *key)
{
	const char *text = json_string_value(json_object_get(of, key));

	return text ? text : "";
}

static void print_rule(const json_t *rule)
{
	const char *status = text_of(rule, "status"), *file = text_of(rule, "file");
	long long handle = json_integer_value(json_object_get(rule, "handle"));
	long long line = json_integer_value(json_object_get(rule, "line"));

	fputs("\t\t", stdout);
	if (!strcmp(status, "refused") || !strcmp(status, "left out"))
		printf("# %s (%s): ", status, text_of(rule, "reason"));
	fputs(text_of(rule, "rule"), stdout);
	if (handle)
		printf(" # handle %lld", handle);
	if (*file && line)
		printf("%s %s:%lld", handle ? "," : " #", file, line);
	putchar('\n');
}

static void print_chain(const json_t *chain)
{
	const char *hook = text_of(chain, "hook");
	const json_t *rule;
	size_t i;

	printf("\tchain %s { # handle %lld\n", text_of(chain, "chain"),
	       (long long)json_integer_value(json_object_get(chain, "handle")));
	if (*hook)
		printf("\t\ttype filter hook %s priority %lld; policy %s;\n", hook,
		       (long long)json_integer_value(json_object_get(chain, "priority")), text_of(chain, "policy"));
	json_array_foreach(json_object_get(chain, "rules"), i, rule)
		print_rule(rule);
	puts("\t}");
}

static void print_table(const json_t *table)
{
	const json_t *item;
	size_t i;

	printf("table %s %s {\n", text_of(table, "family"), text_of(table, "table"));
	json_array_foreach(json_object_get(table, "sets"), i, item)
		printf("\t%s\n", json_string_value(item));
	json_array_foreach(json_object_get(table, "chains"), i, item)
		if (!json_is_true(json_object_get(item, "kept")))
			print_chain(item);
	puts("}");
}

static void print(const json_t *list)
{
	const json_t *tables = json_object_get(list, "tables"), *table;
	size_t i;

	if (!json_is_true(json_object_get(list, "policy_known")))
		fputs("the rules in force are not known to this daemon; apply the ruleset again\n", stderr);
	json_array_foreach(tables, i, table)
		print_table(table);
}

static int run(const struct merlon_options *options)
{
	return merlon_show(options, "List", NULL, print);
}

const struct merlon_command merlon_list = {
	.name = "list",
	.usage = "",
	.does = "shows the policy in force as nft text, with what each rule counted",
	.takes = MERLON_TAKES_SOCKET,
	.run = run,
};
