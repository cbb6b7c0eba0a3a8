/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/plane.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define BPFFS "/sys/fs/bpf"
#define PINS BPFFS "/merlon-verify"
#define FLOWS (1U << 17)	/* more than a segment can have */
#define EVENTS_BYTES (1U << 22)

static int fail(struct merlon_diag *diag, int error, const char *what, const char *cure)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s: %s", what, strerror(-error));
	if (cure)
		merlon_diag_cure(diag, "%s", cure);
	return error;
}

int merlon_plane_bpffs(struct merlon_diag *diag)
{
	if (unshare(CLONE_NEWNS) < 0)
		return fail(diag, -errno, "cannot make a mount namespace", "run as root");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail(diag, -errno, "cannot make the mounts private", NULL);
	if (mount("bpf", BPFFS, "bpf", 0, "mode=700") < 0)
		return fail(diag, -errno, "cannot mount a BPF file system on " BPFFS,
			    "the kernel needs CONFIG_BPF_SYSCALL, and /sys must be there");
	return 0;
}

static void on_event(void *context, const struct merlon_event *e, const struct merlon_event_packet *with)
{
	struct merlon_plane *p = context;
	struct merlon_logged logged = { .hook = e->hook, .family = e->family, .iif = e->iif, .oif = e->oif,
					.bytes = e->bytes, .mark = e->mark };
	size_t bytes = e->family == MERLON_IPV4 ? 4 : 16;

	(void)with;
	if (e->kind != MERLON_EVENT_LOG) {
		if (p->denied)
			p->denied(p->context, e);
		return;
	}
	if (!p->ears || !p->policy || e->generation != p->policy->generation || e->log >= p->policy->n_logs)
		return;
	memcpy(logged.source, e->saddr, bytes);
	memcpy(logged.destination, e->daddr, bytes);
	memcpy(logged.prefix, p->policy->log[e->log]->prefix, sizeof(logged.prefix));
	merlon_ears_logged(p->ears, &logged);
}

static void on_reject(void *context, const struct merlon_reject_event *event)
{
	struct merlon_plane *p = context;

	merlon_answers_reject(p->answers, event);
}

int merlon_plane_open(struct merlon_plane *ret, struct merlon_diag *diag)
{
	struct merlon_dataplane_options options = merlon_dataplane_defaults();
	struct merlon_dataplane_events handler = { on_event, on_reject, ret };
	struct merlon_answer_cookies cookies;
	struct merlon_trackers trackers;
	int r;

	*ret = (struct merlon_plane){ 0 };
	options.pin_dir = PINS;
	options.max_sessions = FLOWS;
	options.events_bytes = EVENTS_BYTES;
	r = merlon_dataplane_open(&options, &ret->dp, diag);
	if (!r)
		r = merlon_answers_open(false, &ret->answers, diag);
	if (r < 0)
		goto failed;
	merlon_answers_cookies(ret->answers, &cookies);
	merlon_trackers_read(&trackers);
	r = merlon_dataplane_events_open(ret->dp, &handler);
	if (!r)
		r = merlon_dataplane_answers_by(ret->dp, &cookies);
	if (!r)
		r = merlon_dataplane_trackers(ret->dp, &trackers);
	if (!r)
		return 0;
	fail(diag, r, "cannot read the data plane's events", NULL);
failed:
	merlon_plane_close(ret);
	return r;
}

void merlon_plane_close(struct merlon_plane *p)
{
	struct merlon_diag ignored = { 0 };

	merlon_answers_close(p->answers);
	if (p->dp) {
		merlon_dataplane_remove(p->dp, &ignored);
		merlon_dataplane_close(p->dp);
	}
	merlon_diag_clear(&ignored);
	merlon_policy_free(p->policy);
	free(p->interface);
	*p = (struct merlon_plane){ 0 };
}

static int attach(struct merlon_plane *p, struct merlon_diag *diag)
{
	size_t i;
	int r;

	free(p->interface);
	p->interface = NULL;
	r = merlon_interfaces(&p->interface, &p->n_interfaces);
	if (r < 0)
		return fail(diag, r, "cannot list the interfaces", NULL);
	for (i = 0; i < p->n_interfaces && !r; i++)
		r = merlon_dataplane_attach(p->dp, p->interface[i].index, diag);
	return r;
}

/* As things are in the host now. */
static int compile(struct merlon_plane *p, const struct merlon_ruleset *ruleset, struct merlon_diag *diag)
{
	struct merlon_compile_options options = { .interface = p->interface, .n_interfaces = p->n_interfaces,
						  .loaded_ns = p->loaded_ns };
	_cleanup_(merlon_policy_freep) struct merlon_policy *policy = NULL;
	_cleanup_free_ struct merlon_address *address = NULL;
	int r = merlon_addresses(&address, &options.n_addresses);

	if (r < 0)
		return fail(diag, r, "cannot list the addresses", NULL);
	options.address = address;
	merlon_dataplane_prepare(p->dp, &options);
	r = merlon_compile(ruleset, &options, &policy, diag);
	if (!r)
		r = merlon_dataplane_own(p->dp, address, options.n_addresses);
	if (!r) {
		merlon_tempo_policy(policy, p->token_ns);
		r = merlon_dataplane_apply(p->dp, policy, false, diag);
	}
	if (r < 0)
		return r;
	merlon_policy_free(p->policy);
	p->policy = TAKE_PTR(policy);
	p->ruleset = ruleset;
	return 0;
}

int merlon_plane_apply(struct merlon_plane *p, const struct merlon_ruleset *ruleset, uint64_t token_ns,
		       struct merlon_diag *diag)
{
	int r = attach(p, diag);

	p->token_ns = token_ns;
	p->loaded_ns = merlon_now_ns();
	return r < 0 ? r : compile(p, ruleset, diag);
}

int merlon_plane_renew(struct merlon_plane *p, struct merlon_diag *diag)
{
	return p->policy->uses_addresses ? compile(p, p->ruleset, diag) : 0;
}

bool merlon_plane_serve(struct merlon_plane *p)
{
	bool any = false;

	while (merlon_dataplane_events_consume(p->dp) > 0)
		any = true;
	return any;
}

int merlon_plane_forget(struct merlon_plane *p)
{
	int r = merlon_dataplane_flush_sessions(p->dp);

	return r < 0 ? r : merlon_dataplane_routes_changed(p->dp);
}
