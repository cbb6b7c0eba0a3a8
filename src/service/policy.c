/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `merlon apply`: from files to a policy in force. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "compat/compat.h"
#include "compat/there.h"
#include "src/host/host.h"
#include "src/model/event.h"
#include "src/model/limits.h"
#include "src/model/report.h"
#include "src/service/bus.h"
#include "src/service/daemon.h"
#include "src/service/work.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define MOST_FILES 64
#define LARGE_BYTES (1 << 19)	/* 10,000 rules or so: the programs that are loaded first would be too small */

static int read_request(const json_t *request, struct merlon_source *ret, size_t *ret_n, struct merlon_diag *diag)
{
	const char *family = json_string_value(json_object_get(request, "family"));
	const json_t *files = json_object_get(request, "files"), *f;
	struct merlon_place nowhere = { 0 };
	struct stat st;
	size_t i;

	if (!json_array_size(files) || json_array_size(files) > MOST_FILES) {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "a policy has 1 to %d files", MOST_FILES);
		return -EINVAL;
	}
	json_array_foreach(files, i, f) {
		const char *file = json_string_value(json_object_get(f, "file"));

		if (!file || file[0] != '/') {
			merlon_diag_add(diag, MERLON_ERROR, nowhere, "files are named by absolute paths");
			return -EINVAL;
		}
		/* it would be read more than once, and kept for the next request */
		if (stat(file, &st) == 0 && !S_ISREG(st.st_mode)) {
			merlon_cannot_read(file, -EMEDIUMTYPE, diag);
			return -EINVAL;
		}
		ret[i] = (struct merlon_source){ .file = file };
		if (family)
			ret[i].family = !strcmp(family, "ip6") ? AF_INET6 : AF_INET;
	}
	*ret_n = json_array_size(files);
	return 0;
}

/* What `file` is called in a report: as the user wrote it. */
static const char *name_of(const json_t *request, const char *file)
{
	const json_t *f;
	size_t i;

	json_array_foreach(json_object_get(request, "files"), i, f) {
		const char *name = json_string_value(json_object_get(f, "name"));

		if (name && !strcmp(json_string_value(json_object_get(f, "file")), file))
			return name;
	}
	return file;
}

/* Rules hold the ruleset's own string: every one that points to it is led to the new one. */
int merlon_policy_rename_file(struct merlon_ruleset *ruleset, size_t index, const char *name)
{
	char *old = ruleset->file[index], *new = strdup(name);
	size_t i, j;

	if (!new)
		return -ENOMEM;
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n; j++)
			if (ruleset->chain[i].rule[j].place.file == old)
				ruleset->chain[i].rule[j].place.file = new;
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n_left_out; j++)
			if (ruleset->chain[i].left_out[j].rule.place.file == old)
				ruleset->chain[i].left_out[j].rule.place.file = new;
	ruleset->file[index] = new;
	free(old);
	return 0;
}

static void use_names(struct merlon_ruleset *ruleset, const json_t *request)
{
	size_t i;

	for (i = 0; i < ruleset->n_files; i++) {
		const char *name = name_of(request, ruleset->file[i]);

		if (strcmp(name, ruleset->file[i]))
			merlon_policy_rename_file(ruleset, i, name);
	}
}

static void name_messages(struct merlon_diag *diag, const json_t *request)
{
	size_t i;

	for (i = 0; i < diag->n; i++) {
		const char *name = diag->message[i].file ? name_of(request, diag->message[i].file) : NULL;
		char *copy;

		if (name && name != diag->message[i].file && (copy = strdup(name))) {
			free(diag->message[i].file);
			diag->message[i].file = copy;
		}
	}
}

/* Where TC would judge wrong. 0, or an enum merlon_exit; the report gains what was found. */
static int settle_host(const struct merlon_daemon *d, const struct merlon_enforced *next, json_t *report,
		       struct merlon_diag *diag)
{
	const struct merlon_host_options options = {
		.policy = next->ruleset, .interfaces = d->settings.pattern, .unseen_refuses = true,
	};
	struct merlon_host host;
	int r;

	merlon_work_let_go(d);
	r = merlon_host_check(&options, &host);
	merlon_work_take_back(d);
	if (r < 0)
		return MERLON_EXIT_FAILED;
	json_object_set_new(report, "host", merlon_host_json(&host));
	merlon_host_explain(&host, next->audit, diag);
	r = merlon_host_refuses(&host) && !next->audit ? MERLON_EXIT_REFUSED : 0;
	merlon_host_clear(&host);
	return r;
}

/* Of the first rule that translates addresses; of none where only the chain is there. */
static struct merlon_place place_of_nat(const struct merlon_ruleset *ruleset)
{
	size_t i;

	for (i = 0; i < ruleset->n_chains; i++)
		if (ruleset->chain[i].kept && ruleset->chain[i].nat && ruleset->chain[i].n)
			return ruleset->chain[i].rule[0].place;
	return (struct merlon_place){ 0 };
}

/* What is refused or would be judged wrong. 0, or an enum merlon_exit. */
int merlon_policy_settle(const struct merlon_daemon *d, const struct merlon_enforced *next, json_t *report,
			 struct merlon_diag *diag)
{
	json_t *refused = json_object_get(report, "refused");

	if (json_array_size(refused)) {
		json_t *left_out;

		/* what an edit adds was not there to be left out when the user said so */
		if (!next->partial || next->edited)
			return MERLON_EXIT_REFUSED;
		left_out = json_array();
		if (merlon_ruleset_leave_out(next->ruleset, refused, left_out) != 0) {
			json_decref(left_out);
			return MERLON_EXIT_REFUSED;
		}
		json_object_set_new(report, "left_out", left_out);
		json_object_set_new(report, "refused", json_array());
	}
	if (!merlon_ruleset_translates(next->ruleset) || next->audit)
		return settle_host(d, next, report, diag);
	merlon_diag_add(diag, MERLON_ERROR, place_of_nat(next->ruleset), "%s", merlon_unfit_translates.text);
	merlon_diag_cure(diag, "%s", merlon_unfit_translates.cure);
	return MERLON_EXIT_REFUSED;
}

/* The file that a policy is from; NULL: there are several. */
static const char *only_file(const json_t *sources)
{
	return json_array_size(sources) == 1 ? json_string_value(json_object_get(json_array_get(sources, 0), "file")) : NULL;
}

/* A file without a filter chain is a mistake more likely than a wish. */
static int is_something(const struct merlon_enforced *next, struct merlon_diag *diag)
{
	if (merlon_ruleset_filters(next->ruleset))
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = only_file(next->sources) }, "%s", merlon_unfit_empty.text);
	merlon_diag_cure(diag, "%s", merlon_unfit_empty.cure);
	return MERLON_EXIT_FAILED;
}

static json_t *sources_of(const json_t *request)
{
	json_t *list = json_array();
	const json_t *f;
	size_t i;

	json_array_foreach(json_object_get(request, "files"), i, f) {
		const char *file = json_string_value(json_object_get(f, "file"));
		const json_t *family = json_object_get(request, "family");

		json_array_append_new(list, json_pack("{s:s, s:s, s:O, s:b}", "file", name_of(request, file), "copy", file,
						      "family", family ? family : json_null(), "partial",
						      json_is_true(json_object_get(request, "allow_partial"))));
	}
	return list;
}

static int settle_and_enforce(struct merlon_daemon *d, struct merlon_enforced *next, struct merlon_snapshot *snapshot,
			      json_t *report, struct merlon_diag *diag)
{
	int r = merlon_policy_settle(d, next, report, diag);
	bool edited;

	if (!r)
		r = is_something(next, diag);
	if (r)
		return r;
	edited = d->enforced.edited && d->enforced.ruleset && merlon_ruleset_totals(d->enforced.ruleset).rules;
	r = merlon_enforce(d, next, snapshot, false, diag);
	if (!r && edited) {
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
				"what `merlon nft` had changed in the policy before is not in this one, unless the files have it");
		merlon_diag_cure(diag, "`merlon list` before an apply writes the policy with these changes");
	}
	if (!r) {
		merlon_space_hold(d, snapshot, NULL, diag);
		merlon_links_warn(d, diag);
	}
	return r < 0 ? MERLON_EXIT_FAILED : MERLON_EXIT_DONE;
}

/* Relative includes are those that check and nft -f find: in the caller's directory, "/" where it names none. */
static int read_there(const struct merlon_daemon *d, const json_t *request, const struct merlon_source *source, size_t n,
		      struct merlon_enforced *next, struct merlon_snapshot *ret_snapshot, struct merlon_diag *diag)
{
	const char *there = json_string_value(json_object_get(request, "cwd"));
	_cleanup_close_ int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *file[MOST_FILES];
	int r = here < 0 ? -errno : 0;
	size_t i;

	for (i = 0; i < n; i++)
		file[i] = source[i].file;
	if (!r)
		r = merlon_there(there ? there : "/", &(struct merlon_texts){ .file = file, .n = n }, diag);
	if (r < 0)
		return r;
	merlon_work_let_go(d);
	r = merlon_read_files_and(source, n, &next->ruleset, ret_snapshot, diag);
	merlon_work_take_back(d);
	if (fchdir(here) < 0)
		merlon_journal_note(4, "cannot change back to the working directory: %s", strerror(errno));
	return r;
}

static off_t bytes_of(const struct merlon_source *source, size_t n)
{
	off_t bytes = 0;
	struct stat st;
	size_t i;

	for (i = 0; i < n; i++)
		bytes += stat(source[i].file, &st) == 0 ? st.st_size : 0;
	return bytes;
}

static int load_and_enforce(struct merlon_daemon *d, const json_t *request, json_t **report, struct merlon_diag *diag)
{
	struct merlon_source source[MOST_FILES];
	struct merlon_enforced next = {
		.audit = json_is_true(json_object_get(request, "audit")),
		.partial = json_is_true(json_object_get(request, "allow_partial")),
	};
	struct merlon_snapshot snapshot = { 0 };
	size_t n;
	int r = read_request(request, source, &n, diag);

	if (r < 0)
		return MERLON_EXIT_FAILED;
	merlon_links_attach_ahead(d);
	if (bytes_of(source, n) < LARGE_BYTES)
		merlon_dataplane_load_ahead(d->dp);
	r = read_there(d, request, source, n, &next, &snapshot, diag);
	if (r < 0) {
		merlon_links_leave(d);
		return MERLON_EXIT_FAILED;
	}
	next.loaded_ns = merlon_now_ns();
	use_names(next.ruleset, request);
	next.sources = sources_of(request);
	json_decref(*report);
	*report = merlon_report(next.ruleset);
	merlon_report_name_file(*report, only_file(next.sources));
	r = settle_and_enforce(d, &next, &snapshot, *report, diag);
	merlon_links_leave(d);
	merlon_snapshot_clear(&snapshot);
	merlon_enforced_clear(&next);
	return r;
}

void merlon_policy_report(struct merlon_daemon *d, int status, json_t *report, struct merlon_diag *diag)
{
	long long rules = json_integer_value(json_object_get(report, "rules"));
	unsigned attached[4096];

	json_object_set_new(report, "generation", json_integer(merlon_dataplane_generation(d->dp)));
	/* what stays in force is not what was asked about */
	if (status == MERLON_EXIT_DONE && d->enforced.policy) {
		json_object_set_new(report, "ns_estimate", json_integer(d->enforced.policy->ns_estimate));
		json_object_set_new(report, "memory_bytes", json_integer(d->enforced.policy->words * 8LL));
		json_object_set_new(report, "flat_rules", json_integer(d->enforced.policy->n_flat));
		json_object_set_new(report, "interfaces", json_integer(merlon_dataplane_attached(d->dp, attached, ARRAY_SIZE(attached))));
		json_object_set_new(report, "adopted", json_integer(d->adopted));
		d->adopted = 0;
	}
	json_object_set_new(report, "messages", merlon_report_messages(diag));
	if (status == MERLON_EXIT_DONE)
		merlon_journal_tell(d, MERLON_MESSAGE_IN_FORCE, LOG_NOTICE, "generation %u is in force: %lld rule%s",
				    merlon_dataplane_generation(d->dp), rules, rules == 1 ? "" : "s");
	else if (merlon_dataplane_generation(d->dp))
		merlon_journal_tell(d, MERLON_MESSAGE_NOT_APPLIED, LOG_WARNING,
				    "a new policy was not applied; generation %u stays in force", merlon_dataplane_generation(d->dp));
	else
		merlon_journal_tell(d, MERLON_MESSAGE_NOT_APPLIED, LOG_WARNING, "a new policy was not applied; none is in force");
	d->untold = true;
}

int merlon_policy_apply(struct merlon_daemon *d, const json_t *request, json_t **ret_report)
{
	struct merlon_diag diag = { 0 };
	json_t *report = json_pack("{s:i, s:i, s:i, s:[]}", "rules", 0, "exact", 0, "kept", 0, "refused");
	int status = load_and_enforce(d, request, &report, &diag);

	name_messages(&diag, request);
	merlon_policy_report(d, status, report, &diag);
	merlon_diag_clear(&diag);
	*ret_report = report;
	return status;
}
