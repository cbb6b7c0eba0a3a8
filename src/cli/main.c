/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config.h"
#include "src/cli/cli.h"
#include "src/util/slip.h"

static const struct merlon_command *const commands[] = {
	&merlon_check, &merlon_import, &merlon_apply, &merlon_status, &merlon_stats, &merlon_nft, &merlon_list, &merlon_sessions,
	&merlon_monitor, &merlon_perf, &merlon_why, &merlon_config_command, &merlon_flush, &merlon_stop, &merlon_verify,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	size_t i;

	fputs("usage: merlon COMMAND [OPTION]... [FILE]...\n\n", out);
	for (i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->does);
	fputs("\n`merlon COMMAND --help` tells more, `merlon --help` (-h) this, `merlon --version` the version.\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the ruleset has rules that merlon refuses,\n"
	      "4 verify found a difference.\n", out);
}

static const struct {
	unsigned takes;
	const char *text;
} help[] = {
	{ MERLON_TAKES_OUT, "  -o, --output FILE  write there instead of to standard output" },
	{ MERLON_TAKES_LIVE, "  --live             the ruleset that this host runs now" },
	{ MERLON_TAKES_FAMILY, "  --family ip|ip6    of iptables-save files that do not say it themselves" },
	{ MERLON_TAKES_AUDIT, "  --audit            judge and report, but let everything pass" },
	{ MERLON_TAKES_PARTIAL, "  --allow-partial    leave refused rules out where that lets no more traffic pass" },
	{ MERLON_TAKES_HOST, "  --host             also what on this host merlon would judge wrong" },
	{ MERLON_TAKES_PACKETS, "  --packets N        how many to send for each ruleset" },
	{ MERLON_TAKES_PACKETS, "  --seed S           of the random choices, to repeat a run" },
	{ MERLON_TAKES_PACKETS, "  --each             every file is a ruleset of its own" },
	{ MERLON_TAKES_WITH, "  --file FILE        ask this ruleset instead of the one in force" },
	{ MERLON_TAKES_CONFIGURED, "  --configured       as merlond's configuration says ([Policy]): what merlon.service does" },
	{ MERLON_TAKES_RELOAD, "  --reload           have merlond read its settings again instead" },
	{ MERLON_TAKES_FORCE, "  --force            without merlond: removes what is pinned, whatever it is" },
	{ MERLON_TAKES_FORCE, "  --pin-dir PATH     where, with --force (default /sys/fs/bpf/merlon)" },
	{ MERLON_TAKES_FORCE, "  --all              with --force: of every network namespace" },
	{ MERLON_TAKES_COUNT, "  --count N          end after N events" },
	{ MERLON_TAKES_PCAP, "  --pcap FILE        the packets, as a pcapng file; \"-\": to standard output" },
	{ MERLON_TAKES_PROMETHEUS, "  --prometheus       as OpenMetrics text, for Prometheus" },
	{ MERLON_TAKES_PROMETHEUS, "  --textfile FILE    write metrics there, for node_exporter" },
	{ MERLON_TAKES_INTERVAL, "  -i, --interface NAME  also what the kernel counts on this interface" },
	{ MERLON_TAKES_INTERVAL, "  -d, --duration S   end after so many seconds (default: by Ctrl-C)" },
	{ MERLON_TAKES_INTERVAL, "  -t, --interval S   seconds from one sample to the next (default 1)" },
	{ MERLON_TAKES_SOCKET, "  --socket PATH      of merlond (default " MERLON_BUS_SOCKET ", or $MERLON_SOCKET)" },
};

static void command_help(const struct merlon_command *command)
{
	size_t i;

	printf("usage: merlon %s [OPTION]...%s%s\n%s.\n\n", command->name, *command->usage ? " " : "", command->usage,
	       command->does);
	for (i = 0; i < sizeof(help) / sizeof(help[0]); i++)
		if (command->takes & help[i].takes)
			puts(help[i].text);
	puts("  --json             results as JSON on standard output\n  --help");
	if (command->more)
		printf("\n%s", command->more);
}

enum { OPT_JSON = 256, OPT_HELP, OPT_SOCKET, OPT_FAMILY, OPT_PARTIAL, OPT_LIVE, OPT_AUDIT, OPT_HOST, OPT_PACKETS,
       OPT_SEED, OPT_EACH, OPT_WITH, OPT_CONFIGURED, OPT_RELOAD, OPT_FORCE, OPT_PIN_DIR, OPT_ALL, OPT_COUNT, OPT_PCAP, OPT_PROMETHEUS, OPT_TEXTFILE };
static const struct option long_options[] = {
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "family", required_argument, NULL, OPT_FAMILY },
	{ "allow-partial", no_argument, NULL, OPT_PARTIAL },
	{ "live", no_argument, NULL, OPT_LIVE },
	{ "audit", no_argument, NULL, OPT_AUDIT },
	{ "host", no_argument, NULL, OPT_HOST },
	{ "packets", required_argument, NULL, OPT_PACKETS },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "each", no_argument, NULL, OPT_EACH },
	{ "file", required_argument, NULL, OPT_WITH },
	{ "configured", no_argument, NULL, OPT_CONFIGURED },
	{ "reload", no_argument, NULL, OPT_RELOAD },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "all", no_argument, NULL, OPT_ALL },
	{ "pin-dir", required_argument, NULL, OPT_PIN_DIR },
	{ "count", required_argument, NULL, OPT_COUNT },
	{ "pcap", required_argument, NULL, OPT_PCAP },
	{ "prometheus", no_argument, NULL, OPT_PROMETHEUS },
	{ "textfile", required_argument, NULL, OPT_TEXTFILE },
	{ "output", required_argument, NULL, 'o' },
	{ "interface", required_argument, NULL, 'i' },
	{ "duration", required_argument, NULL, 'd' },
	{ "interval", required_argument, NULL, 't' },
	{ NULL, 0, NULL, 0 },
};

static const char *name_of(int option)
{
	static char name[32];
	const struct option *o = long_options;

	while (o->name && o->val != option)
		o++;
	if (option < OPT_JSON)
		snprintf(name, sizeof(name), "-%c, --%s", option, o->name ? o->name : "?");
	else
		snprintf(name, sizeof(name), "--%s", o->name ? o->name : "?");
	return name;
}

static unsigned needed_for(int option)
{
	switch (option) {
	case OPT_SOCKET: return MERLON_TAKES_SOCKET;
	case OPT_FAMILY: return MERLON_TAKES_FAMILY;
	case OPT_PARTIAL: return MERLON_TAKES_PARTIAL;
	case OPT_LIVE: return MERLON_TAKES_LIVE;
	case OPT_AUDIT: return MERLON_TAKES_AUDIT;
	case OPT_HOST: return MERLON_TAKES_HOST;
	case OPT_PACKETS: case OPT_SEED: case OPT_EACH: return MERLON_TAKES_PACKETS;
	case OPT_WITH: return MERLON_TAKES_WITH;
	case OPT_CONFIGURED: return MERLON_TAKES_CONFIGURED;
	case OPT_RELOAD: return MERLON_TAKES_RELOAD;
	case OPT_FORCE: case OPT_PIN_DIR: case OPT_ALL: return MERLON_TAKES_FORCE;
	case OPT_COUNT: return MERLON_TAKES_COUNT;
	case OPT_PCAP: return MERLON_TAKES_PCAP;
	case OPT_PROMETHEUS: case OPT_TEXTFILE: return MERLON_TAKES_PROMETHEUS;
	case 'o': return MERLON_TAKES_OUT;
	case 'i': case 'd': case 't': return MERLON_TAKES_INTERVAL;
	}
	return 0;
}

static int take_family(struct merlon_options *options, const char *value)
{
	if (!strcmp(value, "ip") || !strcmp(value, "ip4"))
		options->family = AF_INET;
	else if (!strcmp(value, "ip6"))
		options->family = AF_INET6;
	else
		return fprintf(stderr, "error: --family is ip or ip6, not \"%s\"\n", value), -1;
	return 0;
}

static int take_number(const char *option, const char *value, unsigned long long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(value, &end, 0);
	if (errno == ERANGE)
		return fprintf(stderr, "error: %s: %s is too large\n", option, value), -1;
	if (errno || end == value || *end || value[0] == '-')
		return fprintf(stderr, "error: %s is a number, not \"%s\"\n", option, value), -1;
	return 0;
}

static int take_packets(struct merlon_options *options, const char *value)
{
	unsigned long long number;

	if (take_number("--packets", value, &number) < 0)
		return -1;
	if (!number || number > 1000000000)
		return fputs("error: --packets is from 1 to 1000000000\n", stderr), -1;
	options->packets = number;
	return 0;
}

static int take_count(struct merlon_options *options, const char *value)
{
	if (take_number("--count", value, &options->count) < 0)
		return -1;
	return options->count ? 0 : (fputs("error: --count is 1 or more\n", stderr), -1);
}

#define SECONDS_LEAST 0.1
#define SECONDS_MOST (366 * 86400.0)

static int take_seconds(const char *option, const char *value, double *ret)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !(seconds >= SECONDS_LEAST && seconds <= SECONDS_MOST))
		return fprintf(stderr, "error: %s is a number of seconds from %g to %.0f, not \"%s\"\n", option, SECONDS_LEAST,
			       SECONDS_MOST, value), -1;
	*ret = seconds;
	return 0;
}

static int take(struct merlon_options *options, int option)
{
	switch (option) {
	case OPT_JSON: options->json = true; return 0;
	case OPT_SOCKET: options->socket = optarg; return 0;
	case OPT_FAMILY: return take_family(options, optarg);
	case OPT_PARTIAL: options->allow_partial = true; return 0;
	case OPT_LIVE: options->live = true; return 0;
	case OPT_AUDIT: options->audit = true; return 0;
	case OPT_HOST: options->host = true; return 0;
	case OPT_EACH: options->each = true; return 0;
	case OPT_PACKETS: return take_packets(options, optarg);
	case OPT_SEED: options->has_seed = true; return take_number("--seed", optarg, &options->seed);
	case OPT_WITH: options->with = optarg; return 0;
	case OPT_CONFIGURED: options->configured = true; return 0;
	case OPT_RELOAD: options->reload = true; return 0;
	case OPT_FORCE: options->force = true; return 0;
	case OPT_ALL: options->all = true; return 0;
	case OPT_PIN_DIR: options->pin_dir = optarg; return 0;
	case OPT_COUNT: return take_count(options, optarg);
	case OPT_PCAP: options->pcap = optarg; return 0;
	case OPT_PROMETHEUS: options->prometheus = true; return 0;
	case OPT_TEXTFILE: options->textfile = optarg; return 0;
	case 'o': options->out = optarg; return 0;
	case 'i': options->interface = optarg; return 0;
	case 'd': return take_seconds("--duration", optarg, &options->duration_s);
	case 't': return take_seconds("--interval", optarg, &options->interval_s);
	}
	return -1;
}

static int wrong_option(const struct merlon_command *command)
{
	fprintf(stderr, "  `merlon %s --help` lists its options\n", command->name);
	return MERLON_EXIT_USAGE + 1;
}

/* 0: run it; otherwise the exit status + 1. */
static int read_options(const struct merlon_command *command, int argc, char **argv, struct merlon_options *options)
{
	int option;

	if (command->takes & MERLON_TAKES_ALL) {
		options->file = argv + 1;
		options->n_files = argc - 1;
		return 0;
	}
	while ((option = getopt_long(argc, argv, "o:i:d:t:", long_options, NULL)) != -1) {
		if (option == OPT_HELP) {
			command_help(command);
			return MERLON_EXIT_DONE + 1;
		}
		if (option == '?' || (needed_for(option) & ~command->takes)) {
			if (option != '?')
				fprintf(stderr, "error: `merlon %s` has no such option as %s\n", command->name,
					name_of(option));
			return wrong_option(command);
		}
		if (take(options, option) < 0)
			return wrong_option(command);
	}
	options->file = argv + optind;
	options->n_files = argc - optind;
	return 0;
}

static int inputs(const struct merlon_options *options)
{
	int i, n = 0;

	for (i = 0; i < options->n_files; i++)
		n += !strcmp(options->file[i], "-");
	return n;
}

static int check_files(const struct merlon_command *command, const struct merlon_options *options)
{
	const char *wrong = NULL;

	if (command->takes & (MERLON_TAKES_WORDS | MERLON_TAKES_ALL))
		return 0;
	if (!(command->takes & MERLON_TAKES_FILES) && options->n_files)
		wrong = "takes no files";
	else if (options->live && options->n_files)
		wrong = "takes files or --live, not both";
	else if (options->configured && options->n_files)
		wrong = "takes files or --configured, not both";
	else if (options->configured && options->force)
		wrong = "takes --configured or --force, not both";
	else if (options->pin_dir && !options->force)
		wrong = "takes --pin-dir with --force";
	else if (options->all && (!options->force || options->pin_dir))
		wrong = "takes --all with --force, and without --pin-dir";
	else if (inputs(options) > 1)
		wrong = "takes the standard input, \"-\", once";
	else if ((command->takes & MERLON_TAKES_FILES) && !options->n_files && !options->live && !options->host && !options->configured)
		wrong = "needs a file";
	if (!wrong)
		return 0;
	fprintf(stderr, "error: `merlon %s` %s\nusage: merlon %s [OPTION]...%s%s\n", command->name, wrong, command->name,
		*command->usage ? " " : "", command->usage);
	return -1;
}

static int run(const struct merlon_command *command, int argc, char **argv)
{
	struct merlon_options options = { .socket = getenv("MERLON_SOCKET"), .family = AF_UNSPEC };
	char name[32];
	int r;

	/* getopt(3) begins its messages by it */
	snprintf(name, sizeof(name), "merlon %s", command->name);
	argv[0] = name;
	if (!options.socket || !*options.socket)
		options.socket = MERLON_BUS_SOCKET;
	r = read_options(command, argc, argv, &options);
	if (r)
		return r - 1;
	if (check_files(command, &options) < 0)
		return MERLON_EXIT_USAGE;
	r = command->run(&options);
	/* A full disk or a closed pipe must not pass for an answer. */
	if (fflush(stdout) && r == MERLON_EXIT_DONE) {
		perror("error: standard output");
		return MERLON_EXIT_FAILED;
	}
	return r;
}

static int no_command(const char *name)
{
	const char *meant = NULL;
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		meant = merlon_slip(name, meant, commands[i]->name);
	fprintf(stderr, "error: there is no command \"%s\"", name);
	if (meant)
		fprintf(stderr, ": did you mean %s?", meant);
	fputs("\n  `merlon --help` lists the commands\n", stderr);
	return MERLON_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
		usage(stdout);
		return MERLON_EXIT_DONE;
	}
	if (argc >= 2 && !strcmp(argv[1], "--version")) {
		puts("merlon " PACKAGE_VERSION);
		return MERLON_EXIT_DONE;
	}
	for (i = 0; argc >= 2 && i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i]->name))
			return run(commands[i], argc - 1, argv + 1);
	if (argc >= 2)
		return no_command(argv[1]);
	usage(stderr);
	return MERLON_EXIT_USAGE;
}
