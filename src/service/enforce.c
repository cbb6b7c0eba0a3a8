/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a ruleset to a policy in force. Until the last step nothing of the old one is touched. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/model/limits.h"
#include "src/service/daemon.h"
#include "src/service/work.h"
#include "src/util/cleanup.h"

void merlon_enforced_clear(struct merlon_enforced *enforced)
{
	merlon_policy_free(enforced->policy);
	merlon_ruleset_free(enforced->ruleset);
	json_decref(enforced->sources);
	free(enforced->carried);
	*enforced = (struct merlon_enforced){ 0 };
}

void merlon_enforced_count(struct merlon_enforced *enforced)
{
	enforced->totals = merlon_ruleset_totals(enforced->ruleset);
	enforced->concerns = merlon_ruleset_concerns(enforced->ruleset);
}

int merlon_enforce_options(struct merlon_daemon *d, const struct merlon_enforced *next, struct merlon_compile_options *ret,
			   struct merlon_diag *diag)
{
	int r = merlon_links_addresses(d);

	if (r < 0) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot list the addresses: %s", strerror(-r));
		return r;
	}
	*ret = (struct merlon_compile_options){
		.interface = d->interface, .n_interfaces = d->n_interfaces,
		.address = d->address, .n_addresses = d->n_addresses,
		.loaded_ns = next->loaded_ns,
	};
	return 0;
}

/* Never NULL for want of anything to copy. */
static void *copy_of(const void *what, size_t bytes)
{
	void *copy = malloc(bytes + 1);

	if (copy && bytes)
		memcpy(copy, what, bytes);
	return copy;
}

static uint64_t realtime_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void merlon_enforce_trackers(struct merlon_daemon *d)
{
	merlon_trackers_read(&d->trackers);
	merlon_trackers_override(&d->trackers, &d->settings.trackers);
	merlon_dataplane_trackers(d->dp, &d->trackers);
}

static int swap(struct merlon_daemon *d, struct merlon_enforced *next, bool carry, struct merlon_diag *diag)
{
	struct merlon_handover handover = { 0 };
	int r = 0;

	carry &= d->enforced.policy != NULL;
	if (carry)
		r = merlon_carry_prepare(&d->enforced, next->policy, &handover);
	if (!r) {
		d->coming = next->policy;
		merlon_links_bind_coming(d);
		r = merlon_dataplane_hand_over(d->dp, next->policy, next->audit, carry ? &handover : NULL, diag);
		d->coming = NULL;
	}
	if (!r && carry) {
		next->carried = merlon_carry_counts(&d->enforced, next->policy, &handover);
		if (!next->carried)
			merlon_journal_note(4, "generation %u counts from zero: what was counted before could not be read",
					    next->policy->generation);
	}
	merlon_carry_clear(&handover);
	return r;
}

/* Whether nf_conntrack has any entries here. */
static bool has_connections(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/net/netfilter/nf_conntrack_count", "re");
	unsigned n = 0;

	return f && fscanf(f, "%u", &n) == 1 && n;
}

/* The first policy finds the connections that are open. */
static void adopt(struct merlon_daemon *d, struct merlon_diag *diag)
{
	unsigned left_out = 0;
	int r;

	merlon_work_let_go(d);
	r = has_connections() ? merlon_dataplane_adopt(d->dp, &d->adopted, &left_out) : 0;
	merlon_work_take_back(d);
	if (d->adopted)
		merlon_journal_note(5, "%u connections that nf_conntrack knows were taken over", d->adopted);
	if (r < 0) {
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
				"connections that are open now may be cut: nf_conntrack cannot be asked for them: %s", strerror(-r));
		merlon_diag_cure(diag, "load the module nf_conntrack_netlink before the first apply");
	} else if (left_out) {
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
				"%u connections that are open now may be cut: there is no room for them", left_out);
		merlon_diag_cure(diag, "raise [Sessions] Max= in merlond's configuration, `merlon stop`, and apply again");
	}
}

int merlon_enforce_compile(struct merlon_daemon *d, struct merlon_enforced *next, struct merlon_diag *diag)
{
	_cleanup_free_ struct merlon_interface *interface = NULL;
	_cleanup_free_ struct merlon_address *address = NULL;
	struct merlon_compile_options options;
	int r = merlon_enforce_options(d, next, &options, diag);

	if (r < 0)
		return r;
	merlon_dataplane_prepare(d->dp, &options);
	/* the loop has its own, which may become others meanwhile; interfaces that come are bound when the policy is in force */
	next->addresses = d->addresses;
	interface = copy_of(options.interface, options.n_interfaces * sizeof(*interface));
	address = copy_of(options.address, options.n_addresses * sizeof(*address));
	if (!interface || !address)
		return -ENOMEM;
	options.interface = interface;
	options.address = address;
	merlon_work_let_go(d);
	r = merlon_compile(next->ruleset, &options, &next->policy, diag);
	merlon_enforced_count(next);
	merlon_work_take_back(d);
	return r;
}

int merlon_enforce_last(void *context, struct merlon_diag *diag)
{
	struct merlon_daemon *d = context;
	/* nothing is in force that the policy namespace has not */
	int r = merlon_space_sent(d);

	if (r < 0)
		return r;
	merlon_enforce_trackers(d);
	merlon_links_attach_ahead_end(d);
	r = merlon_links_attach(d, diag);
	if (!r && !merlon_dataplane_generation(d->dp))
		adopt(d, diag);
	/* some may have come meanwhile */
	merlon_links_bind_coming(d);
	return r;
}

static int save(struct merlon_daemon *d, struct merlon_enforced *next, const struct merlon_snapshot *snapshot, struct merlon_diag *diag)
{
	int r;

	merlon_work_let_go(d);
	r = merlon_state_save(d, next, snapshot, diag);
	merlon_work_take_back(d);
	return r;
}

/* `next` is what is in force from now on. */
static void replace(struct merlon_daemon *d, struct merlon_enforced *next)
{
	struct merlon_enforced before = d->enforced;

	d->enforced = *next;
	*next = (struct merlon_enforced){ 0 };
	if (before.ruleset == d->enforced.ruleset)
		before.ruleset = NULL;
	merlon_work_let_go(d);
	merlon_enforced_clear(&before);
	merlon_work_take_back(d);
}

int merlon_enforce(struct merlon_daemon *d, struct merlon_enforced *next, const struct merlon_snapshot *snapshot, bool carry,
		   struct merlon_diag *diag)
{
	int r = merlon_enforce_compile(d, next, diag);

	if (r < 0)
		return r;
	next->since_us = realtime_us();
	r = merlon_dataplane_is_there(d->dp, diag);
	if (!r)
		r = save(d, next, snapshot, diag);
	if (!r)
		r = swap(d, next, carry, diag);
	if (r < 0) {
		merlon_links_leave(d);
		merlon_state_keep_only(d, merlon_dataplane_generation(d->dp));
		return r;
	}
	replace(d, next);
	merlon_state_save_counts(d, &d->enforced);
	merlon_state_keep_only(d, merlon_dataplane_generation(d->dp));
	merlon_links_sync(d);
	merlon_enforce_check_addresses(d);
	return 0;
}

int merlon_enforce_renew(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_enforced next = d->enforced;
	int r;

	if (!next.ruleset)
		return -ENOENT;
	/* Shared, not copied: both policies refer to the same ruleset. */
	next.policy = NULL;
	next.carried = NULL;
	next.sources = json_deep_copy(d->enforced.sources);
	r = merlon_enforce(d, &next, &d->space.snapshot, true, diag);
	if (r < 0) {
		next.ruleset = NULL;
		merlon_enforced_clear(&next);
	}
	return r;
}

static void run_renew(struct merlon_daemon *d, struct merlon_job *job)
{
	struct merlon_diag diag = { 0 };
	int r;

	(void)job;
	d->renew_waits = false;
	r = merlon_enforce_renew(d, &diag);
	merlon_journal_diag(&diag);
	if (r < 0 && r != -ENOENT)
		merlon_journal_note(3, "interfaces or addresses have changed, and the policy could not follow: generation %u judges by those before: %s",
				    merlon_dataplane_generation(d->dp), strerror(-r));
	merlon_diag_clear(&diag);
}

void merlon_enforce_renew_later(struct merlon_daemon *d)
{
	if (d->renew_waits)
		return;
	d->renew_waits = true;
	merlon_work_do(d, run_renew);
}

void merlon_enforce_check_addresses(struct merlon_daemon *d)
{
	if (d->enforced.policy && d->enforced.policy->uses_addresses && d->enforced.addresses != d->addresses)
		merlon_enforce_renew_later(d);
}
