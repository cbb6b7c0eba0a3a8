/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define BATCH 32		/* frames between two comparisons */
#define SEGMENT 2000
#define SEGMENT_LARGE 10000	/* where reading the counters, or loading the rules, takes as long as thousands of frames */
#define MANY_COUNTERS 1000
#define PATIENCE_MS 250		/* for what a softirq still has to do on a busy machine */
#define SETTLE_MS 20
/*
 * A fence is behind what is under way in a softirq, but ahead of what that will send over the loopback device: an answer,
 * or an answer to the answer. Usually all of it is done at once, on a busy machine later.
 */
#define HOPS 8
#define SEGMENTS_MOST 8		/* that differ: then it is enough */

const char *merlon_verify_limit(enum merlon_frame_limit limit)
{
	static const char *const name[MERLON_FRAME_LIMITS] = {
		[MERLON_LIMIT_NONE] = "none",
		[MERLON_LIMIT_FRAGMENTS] = "fragments",
		[MERLON_LIMIT_DCCP] = "dccp",
		[MERLON_LIMIT_AFTER_ROUTING] = "forward-route",
		[MERLON_LIMIT_REJECT_CHECKSUM] = "reject-checksum",
		[MERLON_LIMIT_STACK_CHECKS] = "stack-checks",
		[MERLON_LIMIT_PARSER] = "parser",
	};

	return limit < MERLON_FRAME_LIMITS && name[limit] ? name[limit] : "other";
}

static int fail(struct merlon_diag *diag, int error, const char *what)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s: %s", what, strerror(-error));
	return error;
}

int merlon_verify_open(struct merlon_verify **ret, struct merlon_diag *diag)
{
	struct merlon_verify *v;
	int r;

	if (geteuid() != 0) {
		fail(diag, -EPERM, "verify makes network namespaces and loads programs into the kernel");
		merlon_diag_cure(diag, "run as root");
		return -EPERM;
	}
	r = merlon_plane_bpffs(diag);
	if (r < 0)
		return r;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (v->home < 0) {
		r = fail(diag, -errno, "/proc/thread-self/ns/net");
		free(v);
		return r;
	}
	*ret = v;
	return 0;
}

static void dismantle(struct merlon_verify *v)
{
	if (v->ready) {
		/* the attachments are removed where they are */
		if (!merlon_world_enter(&v->world[MERLON_WHO_MERLON]))
			merlon_plane_close(&v->plane);
		merlon_world_close(&v->world[MERLON_WHO_KERNEL]);
		merlon_world_close(&v->world[MERLON_WHO_MERLON]);
	}
	v->ready = false;
}

static int go_home(const struct merlon_verify *v)
{
	return setns(v->home, CLONE_NEWNET) < 0 ? -errno : 0;
}

void merlon_verify_close(struct merlon_verify *v)
{
	if (!v)
		return;
	dismantle(v);
	if (go_home(v) < 0)
		abort();	/* a descriptor of one's own namespace does not fail */
	close(v->home);
	free(v);
}

static bool same_devices(const struct merlon_ground *a, const struct merlon_ground *b)
{
	return a->n_devices == b->n_devices && !memcmp(a->device, b->device, a->n_devices * sizeof(a->device[0]));
}

/* The hosts are kept for the next ruleset if it asks for the same devices. */
static int prepare(struct merlon_verify *v, const struct merlon_ground *ground, struct merlon_diag *diag)
{
	int r;

	if (v->ready && same_devices(&v->world[0].ground, ground))
		return 0;
	dismantle(v);
	r = merlon_world_open(&v->world[MERLON_WHO_KERNEL], ground, diag);
	if (r < 0)
		return r;
	r = merlon_world_open(&v->world[MERLON_WHO_MERLON], ground, diag);
	if (r < 0) {
		merlon_world_close(&v->world[MERLON_WHO_KERNEL]);
		return r;
	}
	r = merlon_world_enter(&v->world[MERLON_WHO_MERLON]);
	if (!r)
		r = merlon_plane_open(&v->plane, diag);
	if (r < 0) {
		merlon_world_close(&v->world[MERLON_WHO_KERNEL]);
		merlon_world_close(&v->world[MERLON_WHO_MERLON]);
		return r;
	}
	v->ready = true;
	/* the host's reports on its groups, which rules of OUTPUT count too */
	poll(NULL, 0, SETTLE_MS);
	return 0;
}

int merlon_run_load(struct merlon_run *run)
{
	const struct merlon_verify_request *request = run->request;
	struct merlon_oracle_request oracle = { request->source, request->n_sources, request->ruleset, run->token_ns };
	struct merlon_verify *v = run->v;
	/* where `check` looked up the names in iif and oif: the devices have these indexes, if not all of them a device */
	int r = go_home(v);

	if (!r)
		r = merlon_oracle_load(&v->world[MERLON_WHO_KERNEL], &oracle, run->diag);
	if (!r)
		r = merlon_world_enter(&v->world[MERLON_WHO_MERLON]);
	return r ? r : merlon_plane_apply(&v->plane, request->ruleset, run->token_ns, run->diag);
}

/* A segment has its own addresses, and what an address is may be what rules ask; and its own tokens. */
static int renew(struct merlon_run *run)
{
	int r;

	if (!run->stateful && !run->v->plane.policy->uses_addresses)
		return 0;
	r = run->stateful ? merlon_run_load(run) : merlon_plane_renew(&run->v->plane, run->diag);
	if (!r)
		r = merlon_run_counters(run);
	merlon_run_rebase(run);
	return r < 0 ? r : 0;
}

int merlon_run_reset(struct merlon_run *run)
{
	struct merlon_verify *v = run->v;
	int r = 0, i;

	for (i = 0; i < MERLON_WHOS && !r; i++)
		r = merlon_world_settle(&v->world[i], &run->segment.ground, run->diag);
	if (!r) {
		r = merlon_oracle_forget(&v->world[MERLON_WHO_KERNEL]);
		/* without nf_conntrack there is nothing to forget */
		if (r == -EOPNOTSUPP || r == -EINVAL || r == -ENOENT)
			r = 0;
		if (!r)
			r = merlon_plane_forget(&v->plane);
		if (r < 0)
			fail(run->diag, r, "cannot forget the connections");
	}
	if (!r)
		r = renew(run);
	if (!r)
		merlon_run_quiet(run);
	return r;
}

void merlon_run_send(struct merlon_run *run, const struct merlon_frame *frame)
{
	/* in turns: neither is the later one, in whose buckets there is more */
	int first = run->sent++ & 1;

	merlon_world_send(&run->v->world[first], frame);
	merlon_world_send(&run->v->world[!first], frame);
	do
		merlon_fence(&run->fence);
	while (merlon_plane_serve(&run->v->plane));
}

static int hear(struct merlon_run *run)
{
	int r = 0, i;

	merlon_plane_serve(&run->v->plane);
	for (i = 0; i < MERLON_WHOS && !r; i++)
		r = merlon_world_hear(&run->v->world[i], &run->ears[i]);
	return r < 0 ? fail(run->diag, r, "cannot hear all that comes out of a scratch host") : 0;
}

static void clear_ears(struct merlon_run *run)
{
	merlon_ears_clear(&run->ears[0]);
	merlon_ears_clear(&run->ears[1]);
}

/* What was said before counts no more. */
void merlon_run_quiet(struct merlon_run *run)
{
	hear(run);
	clear_ears(run);
}

typedef bool (*same_t)(const struct merlon_ears *a, const struct merlon_ears *b);

static int compare(struct merlon_run *run, int patience_ms, same_t same)
{
	int r = hear(run);

	for (; r == 0 && patience_ms > 0 && !same(&run->ears[0], &run->ears[1]); patience_ms--) {
		poll(NULL, 0, 1);
		r = hear(run);
	}
	return r < 0 ? r : same(&run->ears[0], &run->ears[1]);
}

int merlon_run_compare(struct merlon_run *run, int patience_ms)
{
	return compare(run, patience_ms, merlon_ears_equal);
}

int merlon_run_compare_plain(struct merlon_run *run, int patience_ms)
{
	return compare(run, patience_ms, merlon_ears_as_many);
}

/* Compiled for other addresses, the same ruleset may have more counters. */
static int make_room(struct merlon_run *run, uint32_t n)
{
	int i;

	for (i = 0; i < MERLON_WHOS && n > run->room; i++) {
		struct merlon_counter *base = calloc(n, sizeof(*base)), *now = calloc(n, sizeof(*now));

		free(run->base[i]);
		free(run->now[i]);
		run->base[i] = base;
		run->now[i] = now;
		if (!base || !now)
			return -ENOMEM;
	}
	if (n > run->room)
		run->room = n;
	return 0;
}

static int read_counters(struct merlon_run *run)
{
	const struct merlon_policy *policy = run->v->plane.policy;
	uint32_t i;
	int r;

	r = merlon_oracle_counters(&run->v->world[MERLON_WHO_KERNEL], policy, run->now[MERLON_WHO_KERNEL], run->diag);
	if (r < 0)
		return r;
	r = merlon_dataplane_counters(run->v->plane.dp, policy->first_counter, policy->n_counters, run->now[MERLON_WHO_MERLON]);
	if (r < 0)
		return fail(run->diag, r, "cannot read merlon's counters");
	for (i = 0; i < policy->n_counters; i++)
		if (run->now[0][i].packets - run->base[0][i].packets != run->now[1][i].packets - run->base[1][i].packets ||
		    run->now[0][i].bytes - run->base[0][i].bytes != run->now[1][i].bytes - run->base[1][i].bytes)
			return 0;
	return 1;
}

int merlon_run_counters(struct merlon_run *run)
{
	uint32_t n = run->v->plane.policy->n_counters;
	int r = n ? make_room(run, n) : 0;

	if (r < 0 || !n)
		return r < 0 ? r : 1;
	for (unsigned i = 0; i < HOPS; i++)
		merlon_fence(&run->fence);
	return read_counters(run);
}

void merlon_run_rebase(struct merlon_run *run)
{
	uint32_t n = run->v->plane.policy->n_counters;
	int i;

	for (i = 0; n && i < MERLON_WHOS; i++)
		memcpy(run->base[i], run->now[i], n * sizeof(*run->base[i]));
}

/* 1: the same; 0: not, before *ret_end. */
static int play_free(struct merlon_run *run, size_t *ret_end)
{
	size_t i;
	int r;

	for (i = 0; i < run->n_free; i++) {
		merlon_run_send(run, &run->segment.frame[i]);
		if ((i + 1) % BATCH && i + 1 < run->n_free)
			continue;
		r = merlon_run_compare(run, PATIENCE_MS);
		clear_ears(run);
		if (r <= 0) {
			*ret_end = i + 1;
			return r;
		}
	}
	return 1;
}

static int play_limited(struct merlon_run *run)
{
	size_t i;

	for (i = run->n_plain; i < run->segment.n; i++) {
		const struct merlon_frame *f = &run->segment.frame[i];
		int r;

		merlon_run_send(run, f);
		r = merlon_run_compare(run, 0);
		clear_ears(run);
		if (r < 0)
			return r;
		run->result->limit[f->limit].packets++;
		run->result->limit[f->limit].differences += !r;
	}
	return 0;
}

/* The counters are read before and after the frames whose counters need not agree. */
static int play_segment(struct merlon_run *run)
{
	bool counters = false;
	size_t end = 0;
	int r;

	r = merlon_run_reset(run);
	if (!r)
		r = play_free(run, &end);
	if (r > 0) {
		r = merlon_run_counters(run);
		counters = r == 0;
	}
	if (r == 0)
		r = merlon_run_find(run, counters ? run->n_free : end, counters);
	if (r < 0)
		return r;
	r = merlon_run_plain(run);
	if (!r)
		r = play_limited(run);
	if (!r && (run->n_free < run->segment.n || run->result->differences || run->result->unrepeatable))
		r = merlon_run_counters(run);
	if (r < 0)
		return r;
	merlon_run_rebase(run);
	run->result->packets += run->segment.n;
	return run->stateful && !run->rates_seen && !run->result->first ? merlon_run_rates(run) : 0;
}

static int play(struct merlon_run *run, struct merlon_packets *packets)
{
	size_t most = run->v->plane.policy->n_counters > MANY_COUNTERS || run->stateful ? SEGMENT_LARGE : SEGMENT;
	unsigned long left = run->request->packets;
	uint64_t began = merlon_now_ns();
	unsigned differing = 0;
	int r = 0;

	while (left && !r && !run->result->stopped) {
		unsigned long before = run->result->differences + run->result->unrepeatable;

		merlon_segment_clear(&run->segment);
		r = merlon_packets_next(packets, left < most ? left : most, &run->segment);
		if (!r)
			r = merlon_run_part(run);
		if (!r)
			r = play_segment(run);
		left -= run->segment.n < left ? run->segment.n : left;
		differing += run->result->differences + run->result->unrepeatable > before;
		if (run->request->progress && run->request->progress(run->request->context, run->result->packets))
			run->result->stopped = true;
		run->result->stopped |= differing >= SEGMENTS_MOST && left;
	}
	run->result->seconds = (merlon_now_ns() - began) / 1e9;
	run->result->rates_left_out = run->stateful && !run->rates_seen && !run->result->first && !run->result->stopped;
	return r;
}

static bool asks(const struct merlon_statement *s, enum merlon_field field)
{
	bool found = s->kind == MERLON_S_MATCH && s->match.field == field;
	size_t i;

	for (i = 0; s->kind == MERLON_S_LOOKUP && i < s->lookup->n_parts; i++)
		found |= s->lookup->part[i].field == field;
	return found;
}

static void look_at(struct merlon_run *run, const struct merlon_table *table, const struct merlon_statement *s)
{
	bool tracks = asks(s, MERLON_F_CT_STATE) || asks(s, MERLON_F_CT_DIRECTION);
	int family;

	for (family = 0; tracks && family < MERLON_FAMILIES; family++)
		run->tracks[family] |= merlon_table_has_family(table, family);
	run->stateful |= s->kind == MERLON_S_LIMIT;
	run->asks_length |= asks(s, MERLON_F_LENGTH) || (s->kind == MERLON_S_LIMIT && s->limit.bytes);
	run->asks_nexthdr |= asks(s, MERLON_F_NEXTHDR);
	run->asks_transport |= asks(s, MERLON_F_TH0) || asks(s, MERLON_F_TH2) || asks(s, MERLON_F_TCP_FLAGS) ||
			       asks(s, MERLON_F_ICMP_TYPE) || asks(s, MERLON_F_ICMP_CODE);
	run->rejects |= s->kind == MERLON_S_VERDICT && s->verdict.verdict == MERLON_V_REJECT;
}

/* What the rules ask of the comparison. */
static void look_at_rules(struct merlon_run *run)
{
	const struct merlon_ruleset *rs = run->request->ruleset;
	size_t c, i, j;

	for (c = 0; c < rs->n_chains; c++)
		for (i = 0; i < rs->chain[c].n; i++)
			for (j = 0; j < rs->chain[c].rule[i].n; j++)
				look_at(run, &rs->table[rs->chain[c].table], &rs->chain[c].rule[i].statement[j]);
}

static int begin_counters(struct merlon_run *run)
{
	int r = merlon_run_counters(run);

	if (r < 0)
		return r;
	merlon_run_rebase(run);
	return 0;
}

static void end_run(struct merlon_run *run)
{
	int i;

	for (i = 0; i < MERLON_WHOS; i++) {
		merlon_ears_clear(&run->ears[i]);
		free(run->base[i]);
		free(run->now[i]);
	}
	merlon_segment_clear(&run->segment);
}

int merlon_verify_run(struct merlon_verify *v, const struct merlon_verify_request *request,
		      struct merlon_verify_result *ret, struct merlon_diag *diag)
{
	struct merlon_run run = { .v = v, .request = request, .result = ret, .diag = diag,
				  .fence = { .socket = -1 } };
	struct merlon_packets *packets = NULL;
	int r;

	*ret = (struct merlon_verify_result){ 0 };
	look_at_rules(&run);
	r = merlon_packets_new(request->ruleset, request->seed, &packets);
	if (!r)
		r = prepare(v, merlon_packets_devices(packets), diag);
	if (!r) {
		v->plane.ears = &run.ears[MERLON_WHO_MERLON];
		r = merlon_run_load(&run);
	}
	if (!r)
		r = begin_counters(&run);
	if (!r) {
		r = merlon_fence_open(&run.fence);
		if (r < 0)
			fail(diag, r, "cannot keep the order of packets");
	}
	if (!r)
		r = play(&run, packets);
	merlon_fence_close(&run.fence);
	v->plane.ears = NULL;
	end_run(&run);
	merlon_packets_free(packets);
	if (go_home(v) < 0 && !r)
		r = fail(diag, -errno, "cannot go back to the network namespace");
	return r;
}
