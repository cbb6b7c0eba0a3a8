/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy is changed where it is kept, in nf_tables of the policy namespace, and follows: what is there now is read,
 * compiled and put in force as one generation. `merlon nft` changes it by way of the daemon, which puts the namespace back
 * where the result cannot be enforced; other programs change it directly, and are told in the journal.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <string.h>

#include "compat/command.h"
#include "compat/compat.h"
#include "compat/load.h"
#include "src/model/limits.h"
#include "src/model/report.h"
#include "src/model/times.h"
#include "src/service/bus.h"
#include "src/service/daemon.h"
#include "src/service/work.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/netns.h"

#define READER_S 10	/* for what others than root have listed */

/* A policy whose rules nobody here knows is not what a change of an empty namespace is about. */
static int is_known(const struct merlon_daemon *d, struct merlon_diag *diag)
{
	if (!merlon_dataplane_generation(d->dp) || d->enforced.ruleset)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "the rules of the policy in force are not known to this daemon");
	merlon_diag_cure(diag, "apply the ruleset again, then change it");
	return MERLON_EXIT_FAILED;
}

static int settle_and_enforce(struct merlon_daemon *d, struct merlon_enforced *next, struct merlon_snapshot *snapshot,
			      json_t **report, struct merlon_diag *diag)
{
	int r;

	merlon_work_let_go(d);
	merlon_nft_texts(d->space.fd, next->ruleset);
	merlon_work_take_back(d);
	if (d->enforced.ruleset && (merlon_carry_places(d->enforced.ruleset, next->ruleset) < 0 ||
				    merlon_carry_sources(d->enforced.ruleset, next->ruleset, next->sources) < 0 ||
				    merlon_carry_left_out(d->enforced.ruleset, next->ruleset) < 0))
		return MERLON_EXIT_FAILED;
	json_decref(*report);
	*report = merlon_report(next->ruleset);
	if (merlon_ruleset_totals(next->ruleset).left_out)
		json_object_set_new(*report, "left_out", merlon_report_left_out(next->ruleset));
	r = merlon_policy_settle(d, next, *report, diag);
	if (r)
		return r;
	r = merlon_enforce(d, next, snapshot, true, diag);
	/* what the data plane has no way or no room for is refused as much as what the reader does not understand */
	return !r ? MERLON_EXIT_DONE : r == -EINVAL && !next->policy ? MERLON_EXIT_REFUSED : MERLON_EXIT_FAILED;
}

/* Applied, such a ruleset would be refused; an edit may well begin by it. */
static void warn_of_nothing(const struct merlon_daemon *d, bool filtered, struct merlon_diag *diag)
{
	if (!filtered || merlon_ruleset_filters(d->enforced.ruleset))
		return;
	merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
			"nothing is enforced any more: the policy has no filter chain at input, forward or output, everything passes");
	merlon_diag_cure(diag, "`merlon apply FILE` enforces a ruleset again");
}

/* What the namespace holds becomes the policy. An enum merlon_exit. */
static int take_over(struct merlon_daemon *d, json_t **report, struct merlon_diag *diag)
{
	struct merlon_enforced next = { .audit = d->enforced.audit, .partial = d->enforced.partial, .edited = true };
	bool filtered = d->enforced.ruleset && merlon_ruleset_filters(d->enforced.ruleset);
	struct merlon_snapshot snapshot = { 0 };
	uint32_t generation;
	int r = is_known(d, diag);

	if (r)
		return r;
	if (merlon_policy_elements(d, report, diag))
		return MERLON_EXIT_DONE;
	next.sources = d->enforced.sources ? json_deep_copy(d->enforced.sources) : json_array();
	merlon_work_let_go(d);
	r = merlon_snapshot_and_ruleset(d->space.netlink, &next.ruleset, &snapshot, &generation, diag) < 0 ? MERLON_EXIT_FAILED : 0;
	merlon_work_take_back(d);
	if (!r) {
		next.loaded_ns = next.ruleset->read_ns;
		merlon_times_exact(next.ruleset);
		/* also what is refused need not be read again */
		d->space.generation = generation;
		r = settle_and_enforce(d, &next, &snapshot, report, diag);
	}
	if (r == MERLON_EXIT_DONE) {
		merlon_space_keep(d, &snapshot);
		warn_of_nothing(d, filtered, diag);
	}
	merlon_snapshot_clear(&snapshot);
	merlon_enforced_clear(&next);
	return r;
}

static void put_refusals(const json_t *report, struct merlon_diag *diag)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(report, "refused"), i, item) {
		const char *text = json_string_value(json_object_get(item, "rule"));
		const char *reason = json_string_value(json_object_get(item, "reason"));
		struct merlon_place place = { json_string_value(json_object_get(item, "file")),
					      json_integer_value(json_object_get(item, "line")) };

		merlon_diag_add(diag, MERLON_ERROR, place, "refused: %s (table %s, chain %s, handle %lld): %s", text ? text : "a rule",
				json_string_value(json_object_get(item, "table")),
				json_string_value(json_object_get(item, "chain")),
				(long long)json_integer_value(json_object_get(item, "handle")), reason ? reason : "");
	}
}

static json_t *no_report(void)
{
	return json_pack("{s:i, s:i, s:i, s:[]}", "rules", 0, "exact", 0, "kept", 0, "refused");
}

void merlon_policy_follow(struct merlon_daemon *d)
{
	struct merlon_diag diag = { 0 };
	json_t *report = no_report();
	int status = take_over(d, &report, &diag);

	if (status != MERLON_EXIT_DONE) {
		put_refusals(report, &diag);
		merlon_journal_diag(&diag);
		merlon_journal_note(3, "the policy namespace was changed into what cannot be enforced: it differs from generation %u, "
				    "which stays in force", merlon_dataplane_generation(d->dp));
		merlon_space_differs(d, &diag);
	} else {
		merlon_journal_diag(&diag);
	}
	merlon_policy_report(d, status, report, &diag);
	json_decref(report);
	merlon_diag_clear(&diag);
}

/* What the namespace holds before a command, to be put back after one that is refused. */
static int remember(struct merlon_daemon *d, struct merlon_snapshot *ret, struct merlon_diag *diag)
{
	int r;

	if (d->space.snapshot.handle && !d->space.snapshot.ages && !d->space.differs && !merlon_space_changed(d))
		return 0;
	merlon_work_let_go(d);
	r = merlon_snapshot_take(d->space.netlink, ret);
	merlon_work_take_back(d);
	if (r < 0)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot read the policy namespace: %s", strerror(-r));
	return r;
}

/* `before` without messages: it was what is in force, and what is known of that will do. */
static void put_back(struct merlon_daemon *d, struct merlon_snapshot *before, struct merlon_diag *diag)
{
	uint32_t generation = d->space.generation;
	struct merlon_snapshot known;

	if (before->messages && d->space.differs) {
		merlon_space_put(d, before, &generation, diag);
		return;
	}
	if (before->messages) {
		merlon_space_hold(d, before, &generation, diag);
		return;
	}
	known = d->space.snapshot;
	d->space.snapshot = (struct merlon_snapshot){ 0 };
	if (merlon_space_hold(d, &known, &generation, diag) < 0)
		d->space.snapshot = known;
}

static bool is_refused(void *context, const struct merlon_rule *rule)
{
	(void)context;
	return rule->status == MERLON_REFUSED;
}

/* What the scratch namespace holds before the command: rules that are refused there are those that were left out. */
static int read_before(struct merlon_daemon *d, int netns, struct merlon_ruleset **ret, struct merlon_diag *diag)
{
	struct merlon_snapshot now = { 0 };
	struct mnl_socket *netlink = merlon_space_socket(netns);
	int r = netlink ? merlon_snapshot_take(d->space.netlink, &now) : -errno;
	size_t i;

	if (!r)
		r = merlon_snapshot_restore(netlink, &now, NULL);
	if (r < 0)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot copy the policy namespace: %s", strerror(-r));
	if (!r)
		r = merlon_read_netlink(netlink, ret, diag);
	for (i = 0; !r && i < (*ret)->n_chains && d->enforced.partial && !d->space.differs; i++)
		r = merlon_chain_leave_out(&(*ret)->chain[i], is_refused, NULL);
	if (netlink)
		mnl_socket_close(netlink);
	merlon_snapshot_clear(&now);
	return r;
}

/* Whether what the namespace holds after the command could be put in force, short of doing it. */
static int judge(struct merlon_daemon *d, int netns, const struct merlon_ruleset *before, json_t **report, struct merlon_diag *diag)
{
	struct merlon_enforced next = { .audit = d->enforced.audit, .partial = d->enforced.partial, .edited = true,
					.loaded_ns = merlon_now_ns() };
	int r;

	merlon_work_let_go(d);
	r = merlon_read_namespace(netns, &next.ruleset, NULL, diag);
	if (!r)
		r = merlon_carry_left_out(before, next.ruleset);
	if (!r)
		merlon_nft_texts(netns, next.ruleset);
	merlon_work_take_back(d);
	if (!r) {
		json_decref(*report);
		*report = merlon_report(next.ruleset);
		r = merlon_policy_settle(d, &next, *report, diag);
	}
	if (!r) {
		r = merlon_enforce_compile(d, &next, diag);
		r = r == -EINVAL ? MERLON_EXIT_REFUSED : r;
	}
	merlon_enforced_clear(&next);
	return r < 0 ? MERLON_EXIT_FAILED : r;
}

/*
 * A check of nft changes nothing, and so says nothing of what merlon would make of the result: it is made in a copy of the
 * namespace. Handles are others there, so that a command which names one cannot be tried.
 */
static int rehearse(struct merlon_daemon *d, const struct merlon_nft_command *command, json_t **report, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *before = NULL;
	struct merlon_nft_command done = *command;
	_cleanup_free_ char *output = NULL;
	_cleanup_close_ int netns = -1;
	int r, ran = -1;

	done.check = false;
	merlon_work_let_go(d);
	r = merlon_policyns_new(&netns, diag);
	if (!r)
		r = read_before(d, netns, &before, diag);
	if (!r)
		ran = merlon_nft_run(netns, &done, &output, diag);
	merlon_work_take_back(d);
	if (r < 0 || ran < 0)
		return MERLON_EXIT_FAILED;
	if (!ran)
		return judge(d, netns, before, report, diag);
	merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
			"only nft's own check was made: a command that names handles cannot be tried in a copy");
	merlon_diag_cure(diag, "without --check it is refused, and nothing changed, if merlon cannot enforce the result");
	return MERLON_EXIT_DONE;
}

static int run_nft(struct merlon_daemon *d, const struct merlon_nft_command *command, char **ret_output, struct merlon_diag *diag)
{
	int r;

	merlon_work_let_go(d);
	r = merlon_nft_run(d->space.fd, command, ret_output, diag);
	merlon_work_take_back(d);
	return r;
}

static int change(struct merlon_daemon *d, const struct merlon_nft_command *command, json_t **report, char **ret_output,
		  struct merlon_diag *diag)
{
	struct merlon_snapshot before = { 0 };
	int r, status;

	/* What others changed before comes first, on its own account. */
	if (merlon_space_changed(d))
		merlon_policy_follow(d);
	if (is_known(d, diag) || remember(d, &before, diag) < 0)
		return MERLON_EXIT_FAILED;
	r = merlon_policy_asked(d, command, report, diag) ? 0 : run_nft(d, command, ret_output, diag);
	status = r == MERLON_NFT_REFUSED ? MERLON_EXIT_REFUSED : r ? MERLON_EXIT_FAILED : MERLON_EXIT_DONE;
	if (command->check && !r)
		status = rehearse(d, command, report, diag);
	if (merlon_space_changed(d)) {
		status = take_over(d, report, diag);
		if (status != MERLON_EXIT_DONE)
			put_back(d, &before, diag);
	}
	merlon_snapshot_clear(&before);
	return status;
}

int merlon_policy_nft(struct merlon_daemon *d, const json_t *request, bool trusted, json_t **ret_report, char **ret_output)
{
	struct merlon_diag diag = { 0 };
	struct merlon_nft_command command;
	uint32_t generation = merlon_dataplane_generation(d->dp);
	json_t *report = no_report();
	int status = MERLON_EXIT_FAILED;

	*ret_output = NULL;
	/* who may only read keeps others from their turn no longer */
	merlon_child_limit(trusted ? 0 : READER_S);
	if (merlon_nft_command_read(request, &command) < 0)
		merlon_diag_add(&diag, MERLON_ERROR, (struct merlon_place){ 0 }, "the request is not understood");
	else if (merlon_nft_only_lists(&command))
		status = run_nft(d, &command, ret_output, &diag) ? MERLON_EXIT_FAILED : MERLON_EXIT_DONE;
	else if (!trusted)
		merlon_diag_add(&diag, MERLON_ERROR, (struct merlon_place){ 0 }, "only root may do more than list");
	else
		status = change(d, &command, &report, ret_output, &diag);
	merlon_child_limit(0);
	merlon_nft_command_clear(&command);
	if (merlon_dataplane_generation(d->dp) != generation)
		merlon_policy_report(d, status, report, &diag);
	else
		json_object_set_new(report, "messages", merlon_report_messages(&diag));
	json_object_set_new(report, "generation", json_integer(merlon_dataplane_generation(d->dp)));
	merlon_diag_clear(&diag);
	*ret_report = report;
	return status;
}

int merlon_policy_flush(struct merlon_daemon *d, json_t **ret_report)
{
	struct merlon_diag diag = { 0 };
	struct merlon_snapshot nothing = { 0 };
	struct merlon_enforced next = { .edited = true, .sources = json_array(), .ruleset = merlon_ruleset_new(),
					.loaded_ns = merlon_now_ns() };
	json_t *report = no_report();
	int status = MERLON_EXIT_FAILED;

	if (!merlon_dataplane_generation(d->dp))
		status = MERLON_EXIT_DONE;
	else if (next.ruleset && merlon_enforce(d, &next, &nothing, false, &diag) == 0)
		status = MERLON_EXIT_DONE;
	if (status == MERLON_EXIT_DONE && merlon_space_hold(d, &nothing, NULL, &diag) < 0)
		status = MERLON_EXIT_FAILED;
	merlon_enforced_clear(&next);
	merlon_policy_report(d, status, report, &diag);
	merlon_diag_clear(&diag);
	*ret_report = report;
	return status;
}
