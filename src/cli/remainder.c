/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stays with netfilter, written beside the imported policy: nft text for nft, and the other sections as they are for
 * iptables-save, whose targets need not have an nft form.
 */
#include <errno.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat/compat.h"
#include "src/cli/cli.h"
#include "src/model/ruleset.h"
#include "src/util/cleanup.h"

struct remainder {
	const struct merlon_options *options;
	const struct merlon_ruleset *ruleset;
	FILE *file[2];		/* sections of IPv4, IPv6 */
	unsigned rules[2];
};

static bool is_iptables_save(const char *text)
{
	return text[0] == '*' || strstr(text, "\n*");
}

/* As the reader found it: by the tables that the file's rules went to. */
static bool is_ipv6(const struct remainder *r, const char *file)
{
	size_t i, j;

	for (i = 0; i < r->ruleset->n_chains; i++)
		for (j = 0; j < r->ruleset->chain[i].n; j++) {
			const char *from = r->ruleset->chain[i].rule[j].place.file;

			if (from && !strcmp(from, file))
				return r->ruleset->table[r->ruleset->chain[i].table].family == NFPROTO_IPV6;
		}
	return r->options->family == AF_INET6;
}

static int write_section(struct remainder *r, bool ipv6, const char *text, unsigned rules)
{
	char path[PATH_MAX];

	if (!r->file[ipv6]) {
		snprintf(path, sizeof(path), "%s.remainder.v%d", r->options->out, ipv6 ? 6 : 4);
		r->file[ipv6] = fopen(path, "we");
		if (!r->file[ipv6])
			return -errno;
	}
	r->rules[ipv6] += rules;
	return fputs(text, r->file[ipv6]) < 0 ? -errno : 0;
}

/* A policy other than ACCEPT does something without any rule. */
static bool is_strict_chain(const char *line)
{
	const char *policy = line[0] == ':' ? strchr(line, ' ') : NULL;

	return policy && strncmp(policy, " ACCEPT", 7) && strncmp(policy, " -", 2);
}

/* The lines of one section, from `*table` to its COMMIT. */
static int copy_section(struct remainder *r, FILE *in, const char *first, bool ipv6)
{
	_cleanup_free_ char *line = NULL, *text = NULL;
	size_t room = 0, size;
	FILE *section = open_memstream(&text, &size);
	bool strict = false, more = true;
	unsigned rules = 0;

	if (!section)
		return -ENOMEM;
	fputs(first, section);
	while (more && getline(&line, &room, in) >= 0) {
		fputs(line, section);
		rules += !strncmp(line, "-A", 2) || !strncmp(line, "-I", 2) || line[0] == '[';
		strict |= is_strict_chain(line);
		more = strncmp(line, "COMMIT", 6) != 0;
	}
	if (fclose(section))
		return -ENOMEM;
	return rules || strict ? write_section(r, ipv6, text, rules) : 0;
}

static int copy_sections(struct remainder *r, FILE *in, bool ipv6)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	int error = 0;

	while (!error && getline(&line, &room, in) >= 0)
		if (line[0] == '*' && strncmp(line, "*filter", 7))
			error = copy_section(r, in, line, ipv6);
	return error;
}

static int sections_of_file(struct remainder *r, const char *file, struct merlon_source *nft, size_t *n_nft)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *in = NULL;
	struct merlon_diag diag = { 0 };
	size_t size;
	int error = merlon_input_read(file, &text, &size, &diag);

	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	if (error < 0)
		return error;
	if (!is_iptables_save(text)) {
		nft[(*n_nft)++] = (struct merlon_source){ .file = file };
		return 0;
	}
	in = fmemopen(text, size, "r");
	return in ? copy_sections(r, in, is_ipv6(r, strcmp(file, "-") ? file : "<stdin>")) : -errno;
}

static int sections_of_files(struct remainder *r, struct merlon_source *nft, size_t *n_nft)
{
	int i, error = 0;

	for (i = 0; !error && i < r->options->n_files; i++)
		error = sections_of_file(r, r->options->file[i], nft, n_nft);
	return error;
}

static int sections_live(struct remainder *r)
{
	static const char *const tool[] = { "iptables-save 2>/dev/null", "ip6tables-save 2>/dev/null" };
	int i, error = 0;

	for (i = 0; !error && i < 2; i++) {
		FILE *in = popen(tool[i], "re");

		if (!in)
			continue;
		error = copy_sections(r, in, i);
		pclose(in);
	}
	return error;
}

static int write_nft(const struct merlon_options *options, const char *text)
{
	char path[PATH_MAX];
	_cleanup_fclose_ FILE *out = NULL;

	snprintf(path, sizeof(path), "%s.remainder.nft", options->out);
	out = fopen(path, "we");
	if (!out || fputs(text, out) < 0 || fflush(out))
		return -errno;
	fprintf(stderr, "%s: what stays with nf_tables; load it with `nft -f`\n", path);
	return 0;
}

static int close_sections(struct remainder *r)
{
	int i, error = 0;

	for (i = 0; i < 2; i++) {
		if (!r->file[i])
			continue;
		if (fclose(r->file[i]))
			error = -errno;
		fprintf(stderr, "%s.remainder.v%d: %u rule%s that stay%s with netfilter; load it with `%s`\n", r->options->out,
			i ? 6 : 4, r->rules[i], r->rules[i] == 1 ? "" : "s", r->rules[i] == 1 ? "s" : "", i ? "ip6tables-restore" : "iptables-restore");
	}
	return error;
}

/* What an earlier import left there belongs to another ruleset: to load it would bring back what is no more. */
static int remove_stale(const struct merlon_options *options, const bool written[3])
{
	static const char *const suffix[] = { "v4", "v6", "nft" };
	char path[PATH_MAX];
	int i;

	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s.remainder.%s", options->out, suffix[i]);
		if (written[i] || access(path, F_OK) < 0)
			continue;
		if (unlink(path) < 0)
			return -errno;
		fprintf(stderr, "%s: removed, it was of an earlier import\n", path);
	}
	return 0;
}

static bool is_same(const struct stat *out, const char *file)
{
	struct stat in;

	return (strcmp(file, "-") ? stat(file, &in) : fstat(STDIN_FILENO, &in)) == 0 && in.st_dev == out->st_dev &&
	       in.st_ino == out->st_ino;
}

/* Of what was read, files and what they include, the one that writing there would be the end of, or NULL. */
static const char *lost_by(const struct merlon_options *options, const struct merlon_ruleset *ruleset, const char *out)
{
	struct stat st;
	size_t i;

	if (stat(out, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	for (i = 0; i < (size_t)options->n_files; i++)
		if (is_same(&st, options->file[i]))
			return options->file[i];
	for (i = 0; i < ruleset->n_files; i++)
		if (is_same(&st, ruleset->file[i]))
			return ruleset->file[i];
	return NULL;
}

int merlon_out_is_free(const struct merlon_options *options, const struct merlon_ruleset *ruleset, struct merlon_diag *diag)
{
	static const char *const suffix[] = { "", ".remainder.v4", ".remainder.v6", ".remainder.nft" };
	char path[PATH_MAX];
	const char *lost;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(suffix); i++) {
		snprintf(path, sizeof(path), "%s%s", options->out, suffix[i]);
		lost = lost_by(options, ruleset, path);
		if (!lost)
			continue;
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = path }, "cannot write: it is the same file as %s, "
				"which is imported", lost);
		merlon_diag_cure(diag, "give another name with -o");
		return -EEXIST;
	}
	return 0;
}

int merlon_write_remainder(const struct merlon_options *options, const struct merlon_ruleset *ruleset)
{
	struct remainder r = { .options = options, .ruleset = ruleset };
	bool kept = merlon_ruleset_totals(ruleset).kept, written[3] = { 0 };
	_cleanup_free_ struct merlon_source *nft = calloc(options->n_files + 1, sizeof(*nft));
	_cleanup_free_ char *text = NULL;
	struct merlon_diag diag = { 0 };
	size_t n_nft = 0;
	int error = nft ? 0 : -ENOMEM, one;

	/* also a policy without a rule may be something to keep */
	if (!error)
		error = options->live ? sections_live(&r) : sections_of_files(&r, nft, &n_nft);
	written[0] = r.file[0];
	written[1] = r.file[1];
	one = close_sections(&r);
	error = error ? error : one;
	if (!error && kept && (n_nft || options->live)) {
		error = merlon_remainder(nft, n_nft, &text, &diag);
		if (!error && text)
			error = write_nft(options, text);
		written[2] = text;
	}
	if (!error)
		error = remove_stale(options, written);
	if (error && !diag.n)
		fprintf(stderr, "error: cannot write what stays with netfilter: %s\n", strerror(-error));
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	return error;
}
