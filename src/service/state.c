/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * STATE_DIR/policy-GENERATION.json and the sources it names, copied, or, when the policy was edited, what nf_tables of the
 * policy namespace held: written before a generation comes into force and removed when another has. The pinned data plane
 * says which generation counts, so no step in between can mislead.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat/compat.h"
#include "src/model/times.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/lock.h"

static int cannot(struct merlon_diag *diag, int error, const char *what, const char *path)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = path }, "cannot %s: %s", what, strerror(-error));
	if (error == -ENOSPC || error == -EDQUOT || error == -EROFS || error == -EACCES)
		merlon_diag_cure(diag, "let merlond write there, or choose another place with --state-dir");
	return error;
}

/* Whether it may include a file, also amid a line; rules of iptables cannot. */
static bool is_include(const char *line)
{
	const char *p = line;

	if (*line == '-')
		return false;
	while ((p = strstr(p, "include"))) {
		bool begins = p == line || strchr(" \t;{}", p[-1]);

		p += strlen("include");
		if (begins && *p && strchr(" \t\"'\\", *p))
			return true;
	}
	return false;
}

/* Copies a source; 1: it includes other files, so that the copy alone would not do. */
static int copy_source(const char *from, const char *to)
{
	_cleanup_fclose_ FILE *in = fopen(from, "re"), *out = NULL;
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	ssize_t bytes;
	int includes = 0;

	if (!in)
		return -errno;
	out = fopen(to, "we");
	if (!out)
		return -errno;
	while ((bytes = getline(&line, &room, in)) >= 0) {
		includes |= is_include(line);
		if (fwrite(line, 1, bytes, out) != (size_t)bytes)
			return -errno;
	}
	if (ferror(in) || fflush(out))
		return -errno;
	return includes;
}

void merlon_state_snapshot_path(const struct merlon_daemon *d, uint32_t generation, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%s/ruleset-%u", d->settings.state_dir, generation);
}

/* 1: one of them includes other files, and a copy of it would not do. */
static int save_sources(const struct merlon_daemon *d, struct merlon_enforced *enforced, struct merlon_diag *diag)
{
	char path[PATH_MAX];
	json_t *s;
	size_t i;

	json_array_foreach(enforced->sources, i, s) {
		const char *from = json_string_value(json_object_get(s, "copy"));
		int r;

		snprintf(path, sizeof(path), "%s/source-%u-%zu%s", d->settings.state_dir, enforced->policy->generation, i,
			 merlon_iptables_suffix(from));
		r = copy_source(from, path);
		if (r < 0)
			return cannot(diag, r, "keep a copy for restarts", path);
		if (r > 0)
			return 1;
		json_object_set_new(s, "copy", json_string(path));
	}
	return 0;
}

int merlon_state_open(struct merlon_daemon *d, struct merlon_diag *diag)
{
	const char *dir = d->settings.state_dir;

	/* What else is wrong with it is said when something is to be kept there. */
	d->own_state_dir = mkdir(dir, 0755) == 0;
	if (!d->own_state_dir && errno != EEXIST)
		return 0;
	d->state_lock = merlon_lock_dir(dir);
	if (d->state_lock != -EBUSY)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "another merlond keeps its policy in %s", dir);
	merlon_diag_cure(diag, geteuid() ? "run as root, and stop it first, or give this one places of its own with --socket, --pin-dir and --state-dir" :
			 "stop it first, or give this one places of its own with --socket, --pin-dir and --state-dir");
	return -EBUSY;
}

void merlon_state_close(struct merlon_daemon *d)
{
	/* with the lock of the directory held, for nobody to have taken it over in between */
	if (d->state_lock >= 0)
		merlon_daemon_remove_dir(d->settings.state_dir, d->own_state_dir);
	merlon_closep(&d->state_lock);
	d->state_lock = -1;
}

/* By where they stand in the chain as nf_tables has it. */
static json_t *chain_left_out(const struct merlon_chain *chain)
{
	json_t *list = json_array();
	size_t i, there = 0;

	for (i = 0; i < chain->n_left_out; i++) {
		const struct merlon_rule *rule = &chain->left_out[i].rule;

		json_array_append_new(list, json_pack("{s:I, s:s*, s:s*, s:i, s:b, s:s*}", "at",
						      (json_int_t)(chain->left_out[i].at + there), "rule", rule->text,
						      "file", rule->place.file, "line", (int)rule->place.line,
						      "comment", rule->commented, "reason", rule->commented ? rule->reason : NULL));
		there += !rule->commented;
	}
	return list;
}

/* The lines that the rules of a chain come from, by the handles they get when the snapshot is put back. */
static json_t *chain_places(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, const uint64_t *handle)
{
	const struct merlon_table *t = &ruleset->table[chain->table];
	json_t *rules = json_array();
	size_t j;

	for (j = 0; j < chain->n; j++)
		if (chain->rule[j].place.file)
			json_array_append_new(rules, json_pack("[I, s, i]", (json_int_t)handle[j], chain->rule[j].place.file,
							       (int)chain->rule[j].place.line));
	return json_pack("{s:i, s:s, s:s, s:o, s:o}", "family", t->family, "table", t->name, "chain", chain->name, "rules", rules,
			 "left_out", chain_left_out(chain));
}

static json_t *places(const struct merlon_ruleset *ruleset, const struct merlon_snapshot *snapshot)
{
	json_t *list = json_array();
	size_t i, at = 0;

	for (i = 0; i < ruleset->n_chains; i++) {
		const struct merlon_chain *chain = &ruleset->chain[i];
		_cleanup_free_ uint64_t *handle = calloc(chain->n + 1, sizeof(*handle));

		/* places are a help and no part of the policy: where they cannot be told, there are none */
		if (!handle || (!chain->n && !chain->n_left_out) || merlon_snapshot_becomes(snapshot, ruleset, chain, &at, handle) < 0)
			continue;
		json_array_append_new(list, chain_places(ruleset, chain, handle));
	}
	return list;
}

/* Which boot CLOCK_MONOTONIC belongs to. */
static void read_boot_id(char ret[64])
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!f || fscanf(f, "%63s", ret) != 1)
		*ret = 0;
}

static int write_json(const json_t *json, const char *path)
{
	_cleanup_fclose_ FILE *out = fopen(path, "we");

	return !out || json_dumpf(json, out, JSON_COMPACT) || fflush(out) ? -errno : 0;
}

static int save(struct merlon_daemon *d, struct merlon_enforced *enforced, const struct merlon_snapshot *snapshot,
		struct merlon_diag *diag)
{
	char path[PATH_MAX], boot_id[64];
	json_t *state;
	int r;

	if (mkdir(d->settings.state_dir, 0755) < 0 && errno != EEXIST)
		return cannot(diag, -errno, "make the directory", d->settings.state_dir);
	if (!enforced->edited && !enforced->as_snapshot) {
		r = save_sources(d, enforced, diag);
		if (r < 0)
			return r;
		enforced->as_snapshot = r;
	}
	merlon_state_snapshot_path(d, enforced->policy->generation, path);
	if ((enforced->edited || enforced->as_snapshot) && (r = merlon_snapshot_write(snapshot, path)) < 0)
		return cannot(diag, r, "keep a copy for restarts", path);
	read_boot_id(boot_id);
	snprintf(path, sizeof(path), "%s/policy-%u.json", d->settings.state_dir, enforced->policy->generation);
	state = json_pack("{s:i, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:s, s:O, s:o*, s:o*}", "generation", (int)enforced->policy->generation,
			  "audit", enforced->audit, "partial", enforced->partial, "edited", enforced->edited,
			  "snapshot", enforced->as_snapshot, "since_us", (json_int_t)enforced->since_us, "loaded_ns", (json_int_t)enforced->loaded_ns,
			  "taken_ns", (json_int_t)snapshot->taken_ns, "boot_id", boot_id, "sources", enforced->sources,
			  "places", enforced->edited || enforced->as_snapshot ? places(enforced->ruleset, snapshot) : NULL,
			  "times", merlon_times_list(enforced->ruleset));
	r = state ? write_json(state, path) : -ENOMEM;
	json_decref(state);
	return r < 0 ? cannot(diag, r, "write", path) : 0;
}

/* A ruleset is for its owner's eyes. */
int merlon_state_save(struct merlon_daemon *d, struct merlon_enforced *enforced, const struct merlon_snapshot *snapshot,
		      struct merlon_diag *diag)
{
	mode_t mask = umask(0077);
	int r = save(d, enforced, snapshot, diag);

	umask(mask);
	return r;
}

static void counts_path(const struct merlon_daemon *d, uint32_t generation, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%s/counts-%u", d->settings.state_dir, generation);
}

void merlon_state_save_counts(const struct merlon_daemon *d, const struct merlon_enforced *enforced)
{
	_cleanup_fclose_ FILE *out = NULL;
	char path[PATH_MAX];
	mode_t mask;

	if (!enforced->carried)
		return;
	counts_path(d, enforced->policy->generation, path);
	mask = umask(0077);
	out = fopen(path, "we");
	umask(mask);
	if (!out || fwrite(enforced->carried, sizeof(*enforced->carried), enforced->policy->n_counters, out) !=
	    enforced->policy->n_counters)
		merlon_journal_note(4, "cannot write %s: a restarted daemon would count from this change on", path);
}

struct merlon_counter *merlon_state_load_counts(const struct merlon_daemon *d, const struct merlon_policy *policy)
{
	_cleanup_free_ struct merlon_counter *carried = calloc(policy->n_counters + 1, sizeof(*carried));
	_cleanup_fclose_ FILE *in = NULL;
	char path[PATH_MAX];

	counts_path(d, policy->generation, path);
	in = fopen(path, "re");
	if (!carried || !in || fread(carried, sizeof(*carried), policy->n_counters, in) != policy->n_counters)
		return NULL;
	return TAKE_PTR(carried);
}

/* Times of another boot mean nothing in this one: times to live start anew, as they do with nft -f. */
uint64_t merlon_state_time(const json_t *state, const char *name)
{
	const char *of = json_string_value(json_object_get(state, "boot_id"));
	char boot_id[64];

	read_boot_id(boot_id);
	return of && !strcmp(of, boot_id) ? (uint64_t)json_integer_value(json_object_get(state, name)) : merlon_now_ns();
}

int merlon_state_load(const struct merlon_daemon *d, uint32_t generation, struct merlon_enforced *ret, json_t **ret_state,
		      struct merlon_diag *diag)
{
	char path[PATH_MAX];
	json_error_t error;
	json_t *state, *sources, *s;
	size_t i;

	snprintf(path, sizeof(path), "%s/policy-%u.json", d->settings.state_dir, generation);
	state = json_load_file(path, 0, &error);
	sources = json_object_get(state, "sources");
	if (!json_is_array(sources) || (!json_array_size(sources) && !json_is_true(json_object_get(state, "edited")))) {
		json_decref(state);
		return cannot(diag, -ENOENT, "read what was applied", path);
	}
	json_array_foreach(sources, i, s)
		if (!json_is_string(json_object_get(s, "file")) || !json_is_string(json_object_get(s, "copy"))) {
			json_decref(state);
			return cannot(diag, -EINVAL, "read what was applied", path);
		}
	*ret = (struct merlon_enforced){
		.audit = json_is_true(json_object_get(state, "audit")),
		.partial = json_is_true(json_object_get(state, "partial")),
		.edited = json_is_true(json_object_get(state, "edited")),
		.as_snapshot = json_is_true(json_object_get(state, "snapshot")),
		.loaded_ns = merlon_state_time(state, "loaded_ns"),
		.since_us = json_integer_value(json_object_get(state, "since_us")),
		.sources = json_incref(sources),
	};
	*ret_state = state;
	return 0;
}

void merlon_state_keep_only(const struct merlon_daemon *d, uint32_t generation)
{
	struct dirent *entry;
	DIR *dir = opendir(d->settings.state_dir);

	while (dir && (entry = readdir(dir))) {
		unsigned of;

		if ((sscanf(entry->d_name, "policy-%u.json", &of) == 1 || sscanf(entry->d_name, "source-%u-", &of) == 1 ||
		     sscanf(entry->d_name, "ruleset-%u", &of) == 1 || sscanf(entry->d_name, "counts-%u", &of) == 1) &&
		    (of != generation || !generation))
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
}
