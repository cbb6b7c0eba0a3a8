/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From files to a policy in force. Until the last step nothing of the old one is touched. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "compat/compat.h"
#include "src/host/host.h"
#include "src/model/limits.h"
#include "src/model/report.h"
#include "src/service/bus.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"

#define MOST_FILES 64

void merlon_enforced_clear(struct merlon_enforced *enforced)
{
	merlon_policy_free(enforced->policy);
	merlon_ruleset_free(enforced->ruleset);
	json_decref(enforced->sources);
	*enforced = (struct merlon_enforced){ 0 };
}

static int read_request(const json_t *request, struct merlon_source *ret, size_t *ret_n, struct merlon_diag *diag)
{
	const char *family = json_string_value(json_object_get(request, "family"));
	const json_t *files = json_object_get(request, "files"), *f;
	struct merlon_place nowhere = { 0 };
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
static int rename_file(struct merlon_ruleset *ruleset, size_t index, const char *name)
{
	char *old = ruleset->file[index], *new = strdup(name);
	size_t i, j;

	if (!new)
		return -ENOMEM;
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n; j++)
			if (ruleset->chain[i].rule[j].place.file == old)
				ruleset->chain[i].rule[j].place.file = new;
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
			rename_file(ruleset, i, name);
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

/* 0, an exit status, or an error; the report gains what was refused or left out. */
static int settle_refusals(struct merlon_ruleset *ruleset, bool allow_partial, json_t *report, struct merlon_diag *diag)
{
	json_t *left_out;

	if (!json_array_size(json_object_get(report, "refused")))
		return 0;
	if (!allow_partial)
		return MERLON_EXIT_REFUSED;
	left_out = json_array();
	if (merlon_ruleset_leave_out(ruleset, left_out, diag) != 0) {
		json_decref(left_out);
		return MERLON_EXIT_REFUSED;
	}
	json_object_set_new(report, "left_out", left_out);
	json_object_set_new(report, "refused", json_array());
	return 0;
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

	if (merlon_host_check(&options, &host) < 0)
		return MERLON_EXIT_FAILED;
	json_object_set_new(report, "host", merlon_host_json(&host));
	merlon_host_explain(&host, next->audit, diag);
	r = merlon_host_refuses(&host) && !next->audit ? MERLON_EXIT_REFUSED : 0;
	merlon_host_clear(&host);
	return r;
}

/* What must not be enforced as it is. 0, or an enum merlon_exit. */
static int settle_scope(const struct merlon_daemon *d, const struct merlon_enforced *next, json_t *report,
			struct merlon_diag *diag)
{
	const struct merlon_place nowhere = { 0 };

	if (!merlon_ruleset_filters(next->ruleset)) {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "nothing to enforce: there is no filter chain at input, forward or output");
		merlon_diag_cure(diag, "everything would pass; `merlon stop` is the way to that");
		return MERLON_EXIT_FAILED;
	}
	if (!merlon_ruleset_translates(next->ruleset) || next->audit)
		return settle_host(d, next, report, diag);
	merlon_diag_add(diag, MERLON_ERROR, nowhere, "the ruleset rewrites addresses (NAT): merlon would judge packets before DNAT and "
			"after SNAT, and could pass what nf_tables drops");
	merlon_diag_cure(diag, "merlon is not for hosts with NAT yet; --audit judges without dropping");
	return MERLON_EXIT_REFUSED;
}

static struct merlon_compile_options compile_options(const struct merlon_daemon *d)
{
	return (struct merlon_compile_options){ .interface = d->interface, .n_interfaces = d->n_interfaces };
}

static uint64_t realtime_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void refresh_timeouts(struct merlon_daemon *d)
{
	struct merlon_timeouts timeouts;
	bool loose;

	merlon_timeouts_read(&timeouts, &loose);
	merlon_dataplane_timeouts(d->dp, &timeouts, loose);
}

/* Takes over *next. */
static int enforce(struct merlon_daemon *d, struct merlon_enforced *next, struct merlon_diag *diag)
{
	struct merlon_compile_options options = compile_options(d);
	int r;

	merlon_dataplane_prepare(d->dp, &options);
	r = merlon_compile(next->ruleset, &options, &next->policy, diag);
	if (r < 0)
		return r;
	next->since_us = realtime_us();
	r = merlon_state_save(d, next, diag);
	if (r < 0)
		return r;
	refresh_timeouts(d);
	r = merlon_links_attach(d, diag);
	if (!r)
		r = merlon_dataplane_apply(d->dp, next->policy, next->audit, NULL, diag);
	if (r < 0) {
		merlon_state_keep_only(d, merlon_dataplane_generation(d->dp));
		return r;
	}
	merlon_enforced_clear(&d->enforced);
	d->enforced = *next;
	*next = (struct merlon_enforced){ 0 };
	merlon_state_keep_only(d, merlon_dataplane_generation(d->dp));
	merlon_links_sync(d);
	return 0;
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

static int load_and_enforce(struct merlon_daemon *d, const json_t *request, json_t **report, struct merlon_diag *diag)
{
	struct merlon_source source[MOST_FILES];
	struct merlon_enforced next = { .audit = json_is_true(json_object_get(request, "audit")) };
	size_t n;
	int r = read_request(request, source, &n, diag);

	if (!r)
		r = merlon_read_files(source, n, &next.ruleset, diag);
	if (r < 0)
		return MERLON_EXIT_FAILED;
	use_names(next.ruleset, request);
	next.sources = sources_of(request);
	json_decref(*report);
	*report = merlon_report(next.ruleset);
	r = settle_refusals(next.ruleset, json_is_true(json_object_get(request, "allow_partial")), *report, diag);
	if (!r)
		r = settle_scope(d, &next, *report, diag);
	if (!r)
		r = enforce(d, &next, diag) < 0 ? MERLON_EXIT_FAILED : MERLON_EXIT_DONE;
	merlon_enforced_clear(&next);
	return r;
}

int merlon_policy_apply(struct merlon_daemon *d, const json_t *request, json_t **ret_report)
{
	struct merlon_diag diag = { 0 };
	json_t *report = json_pack("{s:i, s:i, s:i, s:[]}", "rules", 0, "exact", 0, "kept", 0, "refused");
	struct merlon_dataplane_info info;
	int status = load_and_enforce(d, request, &report, &diag);

	name_messages(&diag, request);
	json_object_set_new(report, "generation", json_integer(merlon_dataplane_generation(d->dp)));
	if (d->enforced.policy && !merlon_dataplane_info(d->dp, &info)) {
		json_object_set_new(report, "ns_estimate", json_integer(d->enforced.policy->ns_estimate));
		json_object_set_new(report, "memory_bytes", json_integer(d->enforced.policy->words * 8LL));
		json_object_set_new(report, "flat_rules", json_integer(d->enforced.policy->n_flat));
		json_object_set_new(report, "interfaces", json_integer(info.attached));
	}
	json_object_set_new(report, "messages", merlon_report_messages(&diag));
	if (status == MERLON_EXIT_DONE)
		merlon_journal_note(5, "generation %u is in force: %lld rules", merlon_dataplane_generation(d->dp),
				    (long long)json_integer_value(json_object_get(report, "rules")));
	else
		merlon_journal_note(4, "a new policy was not applied; generation %u stays in force",
				    merlon_dataplane_generation(d->dp));
	merlon_diag_clear(&diag);
	*ret_report = report;
	return status;
}

int merlon_policy_renew(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_enforced next = d->enforced;
	int r;

	if (!next.ruleset)
		return -ENOENT;
	/* Moved, not copied: the old policy refers to the same ruleset. */
	next.policy = NULL;
	next.sources = json_incref(d->enforced.sources);
	d->enforced.ruleset = NULL;
	r = enforce(d, &next, diag);
	if (r < 0) {
		d->enforced.ruleset = TAKE_PTR(next.ruleset);
		merlon_enforced_clear(&next);
	}
	return r;
}

/* Equal but for the table of interfaces, which follows the host and not the ruleset. */
static bool same_image(const struct merlon_policy *policy, const uint64_t *image)
{
	const struct merlon_image *ours = (const void *)policy->image, *theirs = (const void *)image;
	size_t first = ours->ifaces, after = ours->ifaces + ours->ifaces_mask + 1ULL;

	if (ours->words != theirs->words || ours->ifaces != theirs->ifaces || ours->ifaces_mask != theirs->ifaces_mask ||
	    after > policy->words)
		return false;
	return !memcmp(policy->image, image, first * 8) &&
	       !memcmp(policy->image + after, image + after, (policy->words - after) * 8);
}

static int read_saved(const struct merlon_enforced *saved, struct merlon_ruleset **ret, struct merlon_diag *diag)
{
	struct merlon_source source[MOST_FILES];
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = NULL;
	const json_t *s;
	size_t i, j;
	bool partial = false;
	int r;

	json_array_foreach(saved->sources, i, s) {
		const char *family = json_string_value(json_object_get(s, "family"));

		if (i == MOST_FILES)
			return -E2BIG;
		partial |= json_is_true(json_object_get(s, "partial"));
		source[i] = (struct merlon_source){ .file = json_string_value(json_object_get(s, "copy")) };
		if (family)
			source[i].family = !strcmp(family, "ip6") ? AF_INET6 : AF_INET;
	}
	r = merlon_read_files(source, i, &ruleset, diag);
	if (r < 0)
		return r;
	for (j = 0; j < ruleset->n_files; j++)
		json_array_foreach(saved->sources, i, s)
			if (!strcmp(ruleset->file[j], json_string_value(json_object_get(s, "copy")))) {
				rename_file(ruleset, j, json_string_value(json_object_get(s, "file")));
				break;
			}
	if (partial) {
		json_t *left_out = json_array();

		merlon_ruleset_leave_out(ruleset, left_out, diag);
		json_decref(left_out);
	}
	*ret = TAKE_PTR(ruleset);
	return 0;
}

static int resume(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_compile_options options = compile_options(d);
	struct merlon_enforced saved = { 0 };
	int r;

	if (merlon_dataplane_in_force(d->dp, &options) < 0)
		return 0;
	r = merlon_state_load(d, options.generation, &saved, diag);
	if (!r)
		r = read_saved(&saved, &saved.ruleset, diag);
	if (!r)
		r = merlon_compile(saved.ruleset, &options, &saved.policy, diag);
	if (r < 0) {
		merlon_enforced_clear(&saved);
		return r;
	}
	if (same_image(saved.policy, merlon_dataplane_image(d->dp))) {
		/* A daemon that was killed while it put the policy in force may have left the one before's mode. */
		r = merlon_dataplane_set_audit(d->dp, saved.audit);
		if (r < 0) {
			merlon_enforced_clear(&saved);
			return r;
		}
		d->enforced = saved;
		merlon_journal_note(5, "took up generation %u as it is", options.generation);
		return 0;
	}
	/* Another compiler made it. The sources are what the administrator applied. */
	merlon_policy_free(saved.policy);
	saved.policy = NULL;
	r = enforce(d, &saved, diag);
	merlon_enforced_clear(&saved);
	if (!r)
		merlon_journal_note(5, "compiled generation %u anew as generation %u", options.generation,
				    merlon_dataplane_generation(d->dp));
	return r;
}

/* What was applied stays in force; what the host has become meanwhile is told. */
static void tell_host(const struct merlon_daemon *d, struct merlon_diag *diag)
{
	const struct merlon_host_options options = { .policy = d->enforced.ruleset, .interfaces = d->settings.pattern };
	struct merlon_host host;

	if (!d->enforced.ruleset || merlon_host_check(&options, &host) < 0)
		return;
	merlon_host_explain(&host, true, diag);
	merlon_journal_diag(diag);
	merlon_host_clear(&host);
}

void merlon_policy_resume(struct merlon_daemon *d)
{
	struct merlon_diag diag = { 0 };

	refresh_timeouts(d);
	if (resume(d, &diag) < 0) {
		merlon_journal_diag(&diag);
		merlon_journal_note(4, "generation %u stays in force, but the rules behind it are not known here: apply the ruleset again to see them in reports",
				    merlon_dataplane_generation(d->dp));
	} else {
		tell_host(d, &diag);
	}
	merlon_diag_clear(&diag);
}
