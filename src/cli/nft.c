/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nft(8) on the policy: its options here, its language in the daemon, by libnftables both. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compat/compat.h"
#include "src/cli/cli.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"

static const char usage[] =
	"usage: merlon nft [OPTION]... COMMAND...\n"
	"       merlon nft [OPTION]... -f FILE\n"
	"Runs a command of nft(8) on the policy, and returns when the result is enforced.\n"
	"\n"
	"  -f FILE, -D NAME=VALUE, -I DIR, -c, -o,\n"
	"  -a, -j, -n, -N, -s, -S, -t, -T, -u, -y, -p, -e, -d LEVEL    as with nft\n"
	"  --socket PATH      of merlond (default " MERLON_BUS_SOCKET ", or $MERLON_SOCKET)\n"
	"  --help\n";

enum { OPT_SOCKET = 256 };
static const struct option long_options[] = {
	{ "file", required_argument, NULL, 'f' },
	{ "define", required_argument, NULL, 'D' },
	{ "includepath", required_argument, NULL, 'I' },
	{ "check", no_argument, NULL, 'c' },
	{ "optimize", no_argument, NULL, 'o' },
	{ "handle", no_argument, NULL, 'a' },
	{ "json", no_argument, NULL, 'j' },
	{ "numeric", no_argument, NULL, 'n' },
	{ "reversedns", no_argument, NULL, 'N' },
	{ "stateless", no_argument, NULL, 's' },
	{ "service", no_argument, NULL, 'S' },
	{ "terse", no_argument, NULL, 't' },
	{ "numeric-time", no_argument, NULL, 'T' },
	{ "guid", no_argument, NULL, 'u' },
	{ "numeric-priority", no_argument, NULL, 'y' },
	{ "numeric-protocol", no_argument, NULL, 'p' },
	{ "echo", no_argument, NULL, 'e' },
	{ "debug", required_argument, NULL, 'd' },
	{ "help", no_argument, NULL, 'h' },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ NULL, 0, NULL, 0 },
};

static const struct {
	int option;
	unsigned flag;
} output_flag[] = {
	{ 'a', NFT_CTX_OUTPUT_HANDLE }, { 'j', NFT_CTX_OUTPUT_JSON }, { 'n', NFT_CTX_OUTPUT_NUMERIC_ALL },
	{ 'N', NFT_CTX_OUTPUT_REVERSEDNS }, { 's', NFT_CTX_OUTPUT_STATELESS }, { 'S', NFT_CTX_OUTPUT_SERVICE },
	{ 't', NFT_CTX_OUTPUT_TERSE }, { 'T', NFT_CTX_OUTPUT_NUMERIC_TIME }, { 'u', NFT_CTX_OUTPUT_GUID },
	{ 'y', NFT_CTX_OUTPUT_NUMERIC_PRIO }, { 'p', NFT_CTX_OUTPUT_NUMERIC_PROTO }, { 'e', NFT_CTX_OUTPUT_ECHO },
};

struct command {
	const char *file;
	unsigned output, debug;
	bool check, optimize, spooled;
	json_t *include, *define;
};

static int take_debug(struct command *command, char *levels)
{
	static const struct {
		const char *name;
		unsigned level;
	} known[] = {
		{ "scanner", NFT_DEBUG_SCANNER }, { "parser", NFT_DEBUG_PARSER }, { "eval", NFT_DEBUG_EVALUATION },
		{ "netlink", NFT_DEBUG_NETLINK }, { "mnl", NFT_DEBUG_MNL }, { "proto-ctx", NFT_DEBUG_PROTO_CTX },
		{ "segtree", NFT_DEBUG_SEGTREE }, { "all", ~0U },
	};
	char *level, *rest;
	size_t i;

	for (level = strtok_r(levels, ",", &rest); level; level = strtok_r(NULL, ",", &rest)) {
		for (i = 0; i < ARRAY_SIZE(known) && strcmp(level, known[i].name); i++)
			;
		if (i == ARRAY_SIZE(known))
			return fprintf(stderr, "error: --debug knows no \"%s\"\n", level), -1;
		command->debug |= known[i].level;
	}
	return 0;
}

static int take_include(struct command *command, const char *dir)
{
	char path[PATH_MAX];

	if (!realpath(dir, path))
		return fprintf(stderr, "error: %s: %s\n", dir, strerror(errno)), -1;
	return json_array_append_new(command->include, json_string(path));
}

static int take(struct command *command, struct merlon_options *options, int option)
{
	size_t i;

	switch (option) {
	case 'f': command->file = optarg; return 0;
	case 'D': return json_array_append_new(command->define, json_string(optarg));
	case 'I': return take_include(command, optarg);
	case 'c': command->check = true; return 0;
	case 'o': command->optimize = true; return 0;
	case 'd': return take_debug(command, optarg);
	case OPT_SOCKET: options->socket = optarg; return 0;
	}
	for (i = 0; i < ARRAY_SIZE(output_flag); i++)
		if (output_flag[i].option == option) {
			command->output |= output_flag[i].flag;
			return 0;
		}
	return -1;
}

/* The words as nft joins them. NULL: the reason was printed. */
static char *join(char **word, int n)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int i;

	if (!out)
		return NULL;
	for (i = 0; i < n; i++)
		fprintf(out, "%s%s", i ? " " : "", word[i]);
	if (fclose(out))
		return NULL;
	/* the daemon would have to wait for ever */
	if (!strncmp(text + strspn(text, " "), "monitor", 7)) {
		fputs("error: `merlon nft` does not monitor\n  `ip netns exec merlon nft monitor` does\n", stderr);
		return NULL;
	}
	return TAKE_PTR(text);
}

static int set_file(json_t *request, const char *file, bool *ret_spooled)
{
	char path[PATH_MAX], name[PATH_MAX];
	struct merlon_diag diag = { 0 };
	int error = merlon_daemon_path(file, path, name, ret_spooled);

	if (!error)
		error = merlon_daemon_may_read();
	if (error < 0) {
		merlon_cannot_read(file, error, &diag);
		merlon_diag_print(&diag, stderr);
		merlon_diag_clear(&diag);
		return MERLON_EXIT_FAILED;
	}
	json_object_set_new(request, "file", json_string(path));
	return 0;
}

/* 0, or an exit status when the reason is on stderr. */
static int make_request(struct command *command, char **word, int n, json_t **ret)
{
	_cleanup_free_ char *text = NULL;
	char cwd[PATH_MAX];
	json_t *request;
	int r = 0;

	if (!command->file == !n) {
		fputs(usage, stderr);
		return MERLON_EXIT_USAGE;
	}
	if (n && !(text = join(word, n)))
		return MERLON_EXIT_USAGE;
	request = json_pack("{s:i, s:I, s:b, s:b, s:O, s:O}", "output", (int)command->output, "debug", (json_int_t)command->debug,
			    "check", command->check, "optimize", command->optimize, "include", command->include,
			    "define", command->define);
	if (getcwd(cwd, sizeof(cwd)))
		json_object_set_new(request, "cwd", json_string(cwd));
	if (text)
		json_object_set_new(request, "text", json_string(text));
	else
		r = set_file(request, command->file, &command->spooled);
	if (r)
		json_decref(request);
	else
		*ret = request;
	return r;
}

/* `path` stands for `name` where it is not NULL. */
static void copy_out(int fd, FILE *to, const char *path, const char *name)
{
	_cleanup_fclose_ FILE *in = fd < 0 ? NULL : fdopen(fd, "r");
	_cleanup_free_ char *line = NULL;
	const char *p, *found;
	size_t room = 0;

	while (in && getline(&line, &room, in) >= 0) {
		for (p = line; path && (found = strstr(p, path)); p = found + strlen(path))
			fprintf(to, "%.*s%s", (int)(found - p), p, name);
		fputs(p, to);
	}
}

/* What is to be said in JSON, too: the report, with nft's own words as "output". */
static void print_failure(json_t *report, int fd)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *in = fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ? NULL : fdopen(dup(fd), "r");
	size_t room = 0;

	if (in && getdelim(&text, &room, 0, in) > 0)
		json_object_set_new(report, "output", json_string(text));
	/* it is read once more */
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	merlon_print_json(report);
}

static int ask(const struct merlon_options *options, json_t *request, const struct command *command)
{
	const char *path = command->spooled ? json_string_value(json_object_get(request, "file")) : NULL;
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	struct merlon_call call;
	size_t left_out;
	int r = text ? merlon_call(options, "Nft", text, &call) : MERLON_EXIT_FAILED;

	if (r)
		return r;
	if (options->json && call.status != MERLON_EXIT_DONE)
		print_failure(call.answer, call.file);
	/* what nft says when it fails belongs there */
	copy_out(call.file, call.status == MERLON_EXIT_DONE ? stdout : stderr, path, command->file);
	merlon_print_messages(call.answer, stderr);
	if (call.status == MERLON_EXIT_REFUSED) {
		if (json_integer_value(json_object_get(call.answer, "rules")))
			merlon_report_print(call.answer, stderr);
		merlon_print_unchanged(call.answer);
	}
	left_out = json_array_size(json_object_get(call.answer, "left_out"));
	if (call.status == MERLON_EXIT_DONE && left_out)
		fprintf(stderr, "note: the policy goes on without the %zu rule%s left out when it was applied\n"
			"  `merlon status` names %s\n", left_out, left_out > 1 ? "s" : "", left_out > 1 ? "them" : "it");
	json_decref(call.answer);
	return call.status;
}

static int run(const struct merlon_options *given)
{
	struct merlon_options options = *given;
	struct command command = { .include = json_array(), .define = json_array() };
	json_t *request = NULL;
	int option, r = 0;

	/* file[-1] is the command's own name, which getopt(3) takes for the program's */
	optind = 1;
	while (!r && (option = getopt_long(options.n_files + 1, options.file - 1, "+f:D:I:coajnNsStTuyped:h", long_options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			goto out;
		}
		if (option == '?' || take(&command, &options, option) < 0) {
			fputs("  `merlon nft --help` lists its options\n", stderr);
			r = MERLON_EXIT_USAGE;
		}
	}
	if (!r)
		r = make_request(&command, options.file - 1 + optind, options.n_files + 1 - optind, &request);
	if (!r)
		r = ask(&options, request, &command);
out:
	json_decref(request);
	json_decref(command.include);
	json_decref(command.define);
	return r;
}

const struct merlon_command merlon_nft = {
	.name = "nft",
	.usage = "COMMAND...",
	.does = "runs a command of nft on the policy, and enforces the result",
	.takes = MERLON_TAKES_ALL,
	.run = run,
};
