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

static bool is_iptables_save(const char *file)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;

	while (f && getline(&line, &room, f) >= 0)
		if (line[0] == '*')
			return true;
	return false;
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

static int write_line(struct remainder *r, bool ipv6, const char *line)
{
	char path[PATH_MAX];

	if (!r->file[ipv6]) {
		snprintf(path, sizeof(path), "%s.remainder.v%d", r->options->out, ipv6 ? 6 : 4);
		r->file[ipv6] = fopen(path, "we");
		if (!r->file[ipv6])
			return -errno;
	}
	r->rules[ipv6] += !strncmp(line, "-A", 2) || !strncmp(line, "-I", 2) || line[0] == '[';
	return fputs(line, r->file[ipv6]) < 0 ? -errno : 0;
}

/* A section is all from its `*table` to its COMMIT. */
static int copy_sections(struct remainder *r, FILE *in, bool ipv6)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	bool in_section = false;
	int error = 0;

	while (!error && getline(&line, &room, in) >= 0) {
		if (line[0] == '*')
			in_section = strncmp(line, "*filter", 7) != 0;
		if (in_section)
			error = write_line(r, ipv6, line);
		if (!strncmp(line, "COMMIT", 6))
			in_section = false;
	}
	return error;
}

static int sections_of_files(struct remainder *r, struct merlon_source *nft, size_t *n_nft)
{
	int i, error = 0;

	for (i = 0; !error && i < r->options->n_files; i++) {
		const char *file = r->options->file[i];
		_cleanup_fclose_ FILE *in = NULL;

		/* Standard input was read already and is no more. */
		if (!strcmp(file, "-"))
			continue;
		if (!is_iptables_save(file)) {
			nft[(*n_nft)++] = (struct merlon_source){ .file = file };
			continue;
		}
		in = fopen(file, "re");
		error = in ? copy_sections(r, in, is_ipv6(r, file)) : -errno;
	}
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
		fprintf(stderr, "%s.remainder.v%d: %u rules that stay with netfilter; load it with `%s`\n", r->options->out,
			i ? 6 : 4, r->rules[i], i ? "ip6tables-restore" : "iptables-restore");
	}
	return error;
}

int merlon_write_remainder(const struct merlon_options *options, const struct merlon_ruleset *ruleset)
{
	struct remainder r = { .options = options, .ruleset = ruleset };
	_cleanup_free_ struct merlon_source *nft = calloc(options->n_files + 1, sizeof(*nft));
	_cleanup_free_ char *text = NULL;
	struct merlon_diag diag = { 0 };
	size_t n_nft = 0;
	int error = nft ? 0 : -ENOMEM, one;

	if (!error)
		error = options->live ? sections_live(&r) : sections_of_files(&r, nft, &n_nft);
	one = close_sections(&r);
	error = error ? error : one;
	if (!error && (n_nft || options->live)) {
		error = merlon_remainder(nft, n_nft, &text, &diag);
		if (!error && text)
			error = write_nft(options, text);
	}
	if (error && !diag.n)
		fprintf(stderr, "error: cannot write what stays with netfilter: %s\n", strerror(-error));
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	return error;
}
