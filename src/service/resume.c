/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A restarted daemon finds a policy in force and makes out what it was made from. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "compat/build.h"
#include "compat/load.h"
#include "src/host/host.h"
#include "src/model/report.h"
#include "src/model/times.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define MOST_FILES 64

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

/* The sources as they were applied, in a namespace of their own. */
static int read_sources(const struct merlon_enforced *saved, struct merlon_snapshot *ret_snapshot, struct merlon_ruleset **ret,
			struct merlon_diag *diag)
{
	struct merlon_source source[MOST_FILES];
	struct merlon_ruleset *ruleset;
	const json_t *s;
	size_t i, j;
	int r;

	json_array_foreach(saved->sources, i, s) {
		const char *family = json_string_value(json_object_get(s, "family"));

		if (i == MOST_FILES)
			return -E2BIG;
		source[i] = (struct merlon_source){ .file = json_string_value(json_object_get(s, "copy")) };
		if (family)
			source[i].family = !strcmp(family, "ip6") ? AF_INET6 : AF_INET;
	}
	r = merlon_read_files_and(source, i, &ruleset, ret_snapshot, diag);
	if (r < 0)
		return r;
	for (j = 0; j < ruleset->n_files; j++)
		json_array_foreach(saved->sources, i, s)
			if (!strcmp(ruleset->file[j], json_string_value(json_object_get(s, "copy")))) {
				merlon_policy_rename_file(ruleset, j, json_string_value(json_object_get(s, "file")));
				break;
			}
	*ret = ruleset;
	return 0;
}

static struct merlon_chain *find_chain(struct merlon_ruleset *ruleset, const json_t *of)
{
	const char *table = json_string_value(json_object_get(of, "table")), *chain = json_string_value(json_object_get(of, "chain"));
	json_int_t family = json_integer_value(json_object_get(of, "family"));
	size_t i;

	for (i = 0; table && chain && i < ruleset->n_chains; i++) {
		const struct merlon_table *t = &ruleset->table[ruleset->chain[i].table];

		if (t->family == family && !strcmp(t->name, table) && !strcmp(ruleset->chain[i].name, chain))
			return &ruleset->chain[i];
	}
	return NULL;
}

/* Both are in the order of the rules. */
static void place_rules(struct merlon_ruleset *ruleset, struct merlon_chain *chain, const json_t *list)
{
	const json_t *item;
	size_t i, at = 0;

	json_array_foreach(list, i, item) {
		uint64_t handle = json_integer_value(json_array_get(item, 0));
		const char *file = json_string_value(json_array_get(item, 1));

		while (at < chain->n && chain->rule[at].handle < handle)
			at++;
		if (at == chain->n)
			return;
		if (chain->rule[at].handle != handle || !file)
			continue;
		chain->rule[at].place.file = merlon_build_file(ruleset, file);
		chain->rule[at].place.line = json_integer_value(json_array_get(item, 2));
	}
}

/* Which rules of a chain were left out, while they are gone through. */
struct left_out {
	const json_t *list;
	size_t at, next;
};

static bool was_left_out(void *context, const struct merlon_rule *rule)
{
	struct left_out *l = context;
	const json_t *item;
	bool is;

	while (json_is_true(json_object_get(json_array_get(l->list, l->next), "comment")))
		l->next++;
	item = json_array_get(l->list, l->next);
	is = item && (size_t)json_integer_value(json_object_get(item, "at")) == l->at++;

	l->next += is;
	return is && rule->status == MERLON_REFUSED;
}

/* Those that the file had as comments are in no namespace. */
static int note_comments(struct merlon_ruleset *ruleset, struct merlon_chain *chain, const json_t *list)
{
	const json_t *item;
	size_t i;
	int r = 0;

	json_array_foreach(list, i, item) {
		const char *text = json_string_value(json_object_get(item, "rule"));
		const char *file = json_string_value(json_object_get(item, "file"));
		const char *reason = json_string_value(json_object_get(item, "reason"));
		struct merlon_rule rule = { .status = MERLON_REFUSED, .commented = true };

		if (!json_is_true(json_object_get(item, "comment")))
			continue;
		rule.text = text ? strdup(text) : NULL;
		rule.reason = reason ? strdup(reason) : NULL;
		rule.place.file = file ? merlon_build_file(ruleset, file) : NULL;
		rule.place.line = json_integer_value(json_object_get(item, "line"));
		r = merlon_chain_note_left_out(chain, rule, json_integer_value(json_object_get(item, "at")));
		if (r < 0) {
			merlon_rule_clear(&rule);
			break;
		}
	}
	return r;
}

/* Now as then; what is understood by now is enforced. */
static int leave_out(struct merlon_ruleset *ruleset, struct merlon_chain *chain, const json_t *list)
{
	struct left_out l = { .list = list };
	const json_t *item;
	size_t i, j = 0;
	int r = merlon_chain_leave_out(chain, was_left_out, &l);

	for (i = 0; i < chain->n_left_out && !r; i++) {
		struct merlon_rule *rule = &chain->left_out[i].rule;
		const char *file, *text;

		while ((item = json_array_get(list, j++)) &&
		       (json_is_true(json_object_get(item, "comment")) ||
			(size_t)json_integer_value(json_object_get(item, "at")) < chain->left_out[i].at + i))
			;
		file = json_string_value(json_object_get(item, "file"));
		text = json_string_value(json_object_get(item, "rule"));
		if (text) {
			free(rule->text);
			rule->text = strdup(text);
		}
		if (file) {
			rule->place.file = merlon_build_file(ruleset, file);
			rule->place.line = json_integer_value(json_object_get(item, "line"));
		}
		r = (text && !rule->text) || (file && !rule->place.file) ? -ENOMEM : 0;
	}
	return r ? r : note_comments(ruleset, chain, list);
}

/* Loads what the policy namespace held when it was saved. */
static int load_snapshot(int netns, const char *path)
{
	struct merlon_snapshot snapshot = { 0 };
	struct mnl_socket *netlink = merlon_space_socket(netns);
	int r = netlink ? merlon_snapshot_read(path, &snapshot) : -errno;

	if (!r)
		r = merlon_snapshot_restore(netlink, &snapshot, NULL);
	if (netlink)
		mnl_socket_close(netlink);
	merlon_snapshot_clear(&snapshot);
	return r;
}

static int read_snapshot(const char *path, const json_t *places, struct merlon_snapshot *ret_snapshot, struct merlon_ruleset **ret,
			 struct merlon_diag *diag)
{
	_cleanup_close_ int netns = -1;
	struct merlon_chain *chain;
	const json_t *p;
	size_t i;
	int r = merlon_policyns_new(&netns, diag);

	if (r < 0)
		return r;
	r = load_snapshot(netns, path);
	if (r < 0)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = path }, "cannot load what was in force: %s", strerror(-r));
	else
		r = merlon_read_namespace(netns, ret, ret_snapshot, diag);
	if (r < 0)
		return r;
	json_array_foreach(places, i, p)
		if (!r && (chain = find_chain(*ret, p))) {
			place_rules(*ret, chain, json_object_get(p, "rules"));
			r = leave_out(*ret, chain, json_object_get(p, "left_out"));
		}
	merlon_nft_texts(netns, *ret);
	return r;
}

static int read_saved(struct merlon_daemon *d, uint32_t generation, struct merlon_snapshot *ret_snapshot,
		      struct merlon_enforced *saved, struct merlon_diag *diag)
{
	char path[PATH_MAX];
	json_t *state = NULL;
	int r = merlon_state_load(d, generation, saved, &state, diag);

	if (r < 0)
		return r;
	merlon_state_snapshot_path(d, generation, path);
	r = saved->edited || saved->as_snapshot ? read_snapshot(path, json_object_get(state, "places"), ret_snapshot, &saved->ruleset, diag) :
			    read_sources(saved, ret_snapshot, &saved->ruleset, diag);
	/* the times as they are in force; elements have aged, which the namespace that they were read in does not know */
	if (!r && !merlon_times_set(saved->ruleset, json_object_get(state, "times"))) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"how long elements of the policy in force live is kept for others than it has");
		r = -EINVAL;
	}
	if (!r)
		ret_snapshot->taken_ns = saved->edited || saved->as_snapshot ? merlon_state_time(state, "taken_ns") : saved->loaded_ns;
	json_decref(state);
	if (!r && saved->partial && !saved->edited && !saved->as_snapshot) {
		json_t *left_out = json_array();

		merlon_ruleset_leave_out(saved->ruleset, NULL, left_out);
		json_decref(left_out);
	}
	return r;
}

static void hold(struct merlon_daemon *d, struct merlon_snapshot *snapshot)
{
	struct merlon_diag diag = { 0 };

	merlon_space_hold(d, snapshot, NULL, &diag);
	merlon_journal_diag(&diag);
	merlon_diag_clear(&diag);
}

/* Takes over *saved. */
static int take_up(struct merlon_daemon *d, struct merlon_enforced *saved, const struct merlon_snapshot *snapshot, struct merlon_diag *diag)
{
	struct merlon_compile_options options;
	int r = merlon_enforce_options(d, saved, &options, diag);

	if (r < 0)
		return r;
	merlon_dataplane_in_force(d->dp, &options);
	r = merlon_compile(saved->ruleset, &options, &saved->policy, diag);
	if (r < 0)
		return r;
	if (!merlon_dataplane_image(d->dp) || !same_image(saved->policy, merlon_dataplane_image(d->dp))) {
		/* Another compiler made it, for another layout perhaps, or other addresses. The sources are what the administrator applied. */
		merlon_policy_free(saved->policy);
		saved->policy = NULL;
		r = merlon_enforce(d, saved, snapshot, false, diag);
		if (!r)
			merlon_journal_note(5, "compiled generation %u anew as generation %u", options.generation,
					    merlon_dataplane_generation(d->dp));
		return r;
	}
	/* A daemon that was killed while it put the policy in force may have left the one before's mode. */
	r = merlon_dataplane_set_audit(d->dp, saved->audit);
	if (r < 0)
		return r;
	merlon_enforced_count(saved);
	d->enforced = *saved;
	*saved = (struct merlon_enforced){ 0 };
	d->enforced.carried = merlon_state_load_counts(d, d->enforced.policy);
	merlon_journal_note(5, "took up generation %u as it is", options.generation);
	return 0;
}

static int resume(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_compile_options options = { 0 };
	struct merlon_enforced saved = { 0 };
	struct merlon_snapshot snapshot = { 0 };
	int r;

	if (merlon_dataplane_in_force(d->dp, &options) < 0)
		return 0;
	r = read_saved(d, options.generation, &snapshot, &saved, diag);
	if (!r)
		r = take_up(d, &saved, &snapshot, diag);
	if (!r)
		hold(d, &snapshot);
	merlon_snapshot_clear(&snapshot);
	merlon_enforced_clear(&saved);
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
	int r;

	merlon_enforce_trackers(d);
	r = resume(d, &diag);
	if (r < 0) {
		if (!diag.n)
			merlon_diag_add(&diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot read what was applied: %s", strerror(-r));
		merlon_journal_diag(&diag);
		merlon_journal_note(4, "generation %u stays in force, but the rules behind it are not known here: apply the ruleset again to see them in reports, and to have those that name interfaces match on interfaces that come",
				    merlon_dataplane_generation(d->dp));
		merlon_space_differs(d, &diag);
	} else {
		tell_host(d, &diag);
	}
	merlon_diag_clear(&diag);
}
