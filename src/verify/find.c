/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A segment differed: which frame does, and which frames before it are needed for that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/model/print.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"
#include "src/verify/run.h"

#define PATIENCE_MS 20
#define PATIENT_FRAMES 16	/* then it is not chance */
#define REPLAYS_MOST 300	/* while frames are left out */
#define RELOADS_MOST 60		/* where each replay loads the rules */

/* Some frames of a segment, by number. */
struct frames {
	size_t *index;		/* owned */
	size_t n;
};

static void clear_ears(struct merlon_run *run)
{
	merlon_ears_clear(&run->ears[0]);
	merlon_ears_clear(&run->ears[1]);
}

/* Plays the segment up to `end`, frame by frame. Counts those that differ; *ret_first: the first one, `end`: none. */
static int step(struct merlon_run *run, size_t end, unsigned long *ret_differ, size_t *ret_first)
{
	unsigned long differ = 0;
	size_t first = end, i;
	int r = merlon_run_reset(run);

	for (i = 0; i < end && !r; i++) {
		merlon_run_send(run, &run->segment.frame[i]);
		r = merlon_run_compare(run, differ < PATIENT_FRAMES ? PATIENCE_MS : 0);
		clear_ears(run);
		if (r < 0)
			return r;
		if (!r) {
			first = differ ? first : i;
			differ++;
		}
		r = 0;
	}
	*ret_differ = differ;
	*ret_first = first;
	return r;
}

/* Plays some frames and compares after the last: 1: the same in both, 0: not. What it said is left in the ears. */
static int play_some(struct merlon_run *run, const struct frames *frames)
{
	size_t i;
	int r = merlon_run_reset(run);

	for (i = 0; i < frames->n && !r; i++) {
		const struct merlon_frame *f = &run->segment.frame[frames->index[i]];
		bool last = i + 1 == frames->n, whole = !merlon_run_goes_on(run, f);

		run->ears[0].keep = run->ears[1].keep = last || !whole;
		merlon_run_send(run, f);
		if (last)
			r = frames->index[i] < run->n_free ? merlon_run_compare(run, PATIENCE_MS) :
							     merlon_run_compare_plain(run, PATIENCE_MS);
		else if (whole && (i % 16 == 15 || i + 2 == frames->n))
			merlon_run_quiet(run);
	}
	run->ears[0].keep = run->ears[1].keep = false;
	return r;
}

/* Whether the frames still make the counters differ. */
static int count_some(struct merlon_run *run, const struct frames *frames)
{
	size_t i;
	int r = merlon_run_reset(run);

	if (r < 0 || (r = merlon_run_counters(run)) < 0)
		return r;
	merlon_run_rebase(run);
	for (i = 0; i < frames->n; i++) {
		merlon_run_send(run, &run->segment.frame[frames->index[i]]);
		if (i % 16 == 15)
			merlon_run_quiet(run);
	}
	merlon_run_quiet(run);
	return merlon_run_counters(run);
}

typedef int (*replay_t)(struct merlon_run *run, const struct frames *frames);

static int without(const struct frames *from, size_t at, size_t n, struct frames *ret)
{
	struct frames less = { calloc(from->n, sizeof(*less.index)), from->n - n };

	if (!less.index)
		return -ENOMEM;
	memcpy(less.index, from->index, at * sizeof(*less.index));
	memcpy(less.index + at, from->index + at + n, (from->n - at - n) * sizeof(*less.index));
	*ret = less;
	return 0;
}

static bool has_piece(const struct merlon_run *run, const struct frames *frames, size_t at, size_t n)
{
	size_t i;

	for (i = at; i < at + n; i++)
		if (merlon_run_is_piece(run, &run->segment.frame[frames->index[i]]))
			return true;
	return false;
}

/*
 * Leaves out frames ahead of the last one, in ever smaller pieces, as long as the last one still differs (the
 * complements of Zeller and Hildebrandt's ddmin, TSE 2002).
 */
static int shrink(struct merlon_run *run, struct frames *frames, replay_t replay)
{
	size_t piece = frames->n - 1, at;
	unsigned replays = run->stateful ? REPLAYS_MOST - RELOADS_MOST : 0;

	for (; piece; piece /= 2)
		for (at = 0; at + piece < frames->n && replays < REPLAYS_MOST; replays++) {
			struct frames less;
			int r;

			if (has_piece(run, frames, at, piece)) {
				at += piece;
				continue;
			}
			r = without(frames, at, piece, &less);
			if (!r)
				r = replay(run, &less);
			if (r < 0)
				return r;
			clear_ears(run);
			if (r) {
				free(less.index);
				at += piece;
				continue;
			}
			free(frames->index);
			*frames = less;
		}
	return 0;
}

/* The shortest beginning that makes the counters differ. 1: there is none. */
static int first_counted(struct merlon_run *run, size_t end, struct frames *frames)
{
	size_t low = 0, high = end;
	int r;

	frames->n = end;
	r = count_some(run, frames);
	while (r == 0 && high - low > 1) {
		frames->n = low + (high - low) / 2;
		r = count_some(run, frames);
		if (r < 0)
			return r;
		if (r)
			low = frames->n;
		else
			high = frames->n;
		r = 0;
	}
	frames->n = high;
	return r;
}

static json_t *counters(struct merlon_run *run)
{
	const struct merlon_policy *policy = run->v->plane.policy;
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < policy->n_counters; i++) {
		const struct merlon_rule *rule = policy->counter[i].rule;
		uint64_t packets[MERLON_WHOS], bytes[MERLON_WHOS];
		int who;

		for (who = 0; who < MERLON_WHOS; who++) {
			packets[who] = run->now[who][i].packets - run->base[who][i].packets;
			bytes[who] = run->now[who][i].bytes - run->base[who][i].bytes;
		}
		if (packets[0] != packets[1] || bytes[0] != bytes[1])
			json_array_append_new(list, json_pack("{s:s?, s:s?, s:i, s:[I,I], s:[I,I]}", "rule", rule->text,
							      "file", rule->place.file, "line", (int)rule->place.line,
							      "nf_tables", (json_int_t)packets[0], (json_int_t)bytes[0],
							      "merlon", (json_int_t)packets[1], (json_int_t)bytes[1]));
	}
	return list;
}

static json_t *tell_frame(const struct merlon_run *run, const struct merlon_frame *f)
{
	const struct merlon_ground *ground = &run->segment.ground;
	bool bare = f->way == MERLON_FRAME_LOCAL || ground->device[f->device].tun;
	size_t network = bare ? 0 : f->bytes < 14 ? f->bytes : 14;
	_cleanup_free_ char *text = merlon_describe(f->data + network, f->bytes - network);
	_cleanup_free_ char *hex = merlon_hex(f->data, f->bytes);

	return json_pack("{s:s?, s:s, s:s, s:s?, s:s?, s:i, s:i}", "note", f->note, "way", f->way == MERLON_FRAME_LOCAL ? "sent by the host" : "comes in",
			 "device", f->device == MERLON_FRAME_UNBOUND ? "by route" : ground->device[f->device].name,
			 "packet", text, "hex", hex, "gso_type", (int)f->gso_type, "gso_size", (int)f->gso_size);
}

static json_t *tell_frames(const struct merlon_run *run, const struct frames *frames)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < frames->n; i++)
		json_array_append_new(list, tell_frame(run, &run->segment.frame[frames->index[i]]));
	return list;
}

static json_t *write_pcap(const struct merlon_run *run, const struct frames *frames)
{
	char name[64];
	int r;

	snprintf(name, sizeof(name), "merlon-verify-%llu.pcap", (unsigned long long)run->request->seed);
	r = merlon_pcap_write(name, &run->segment, frames->index, frames->n);
	if (r < 0)
		merlon_diag_add(run->diag, MERLON_WARNING, (struct merlon_place){ .file = name }, "cannot write: %s", strerror(-r));
	return r < 0 ? json_null() : json_string(name);
}

/* What merlon says of what it denies. */
static void on_denied(void *context, const struct merlon_event *e)
{
	static const char *const hook[MERLON_HOOKS] = { "input", "forward", "output" };
	static const char *const state[MERLON_CT_STATES] = { "invalid", "established", "related", "new", "untracked" };
	const struct merlon_run *run = ((void **)context)[0];
	const struct merlon_flat_origin *origin = merlon_policy_origin(run->v->plane.policy, e->generation, e->hook, e->family, e->rule);
	const struct merlon_rule *rule = origin ? origin->rule : NULL;
	const struct merlon_chain *chain = origin ? &run->request->ruleset->chain[origin->chain] : NULL;

	if (e->hook < MERLON_HOOKS && e->ct_state < MERLON_CT_STATES)
		json_array_append_new(((void **)context)[1], json_pack("{s:s, s:s?, s:s?, s:s?, s:i, s:s, s:s}", "hook", hook[e->hook],
				      "chain", chain ? chain->name : NULL, "rule", rule ? rule->text : NULL,
				      "file", rule ? rule->place.file : NULL, "line", rule ? (int)rule->place.line : 0,
				      "state", state[e->ct_state], "verdict", e->verdict == MERLON_REJECT ? "reject" : "drop"));
}

struct last {
	struct merlon_run *run;
	const struct merlon_frame *frame;
	json_t *denied;
};

static int play_last(void *context)
{
	struct last *last = context;
	struct merlon_run *run = last->run;
	void *listener[] = { run, last->denied };

	run->v->plane.denied = on_denied;
	run->v->plane.context = listener;
	merlon_run_send(run, last->frame);
	merlon_run_quiet(run);
	run->v->plane.denied = NULL;
	return 0;
}

/* Once more, with both asked for their reasons; what they have to say about the last frame. */
static int add_traces(struct merlon_run *run, const struct frames *frames, json_t *to)
{
	struct frames before = { frames->index, frames->n - 1 };
	struct last last = { run, &run->segment.frame[frames->index[frames->n - 1]], json_array() };
	int r = play_some(run, &before);

	merlon_run_quiet(run);
	if (r >= 0)
		json_object_set_new(to, "nf_tables_trace", merlon_trace(run, play_last, &last));
	json_object_set_new(to, "merlon_denied", last.denied);
	return r < 0 ? r : 0;
}

static int explain(struct merlon_run *run, struct frames *frames, bool by_counters)
{
	const struct merlon_ground *ground = &run->segment.ground;
	replay_t replay = by_counters ? count_some : play_some;
	size_t number = run->result->packets + frames->index[frames->n - 1];
	json_t *first;
	int r = shrink(run, frames, replay);

	if (r < 0 || (r = replay(run, frames)) < 0)
		return r;
	first = json_pack("{s:I, s:o, s:o}", "number", (json_int_t)number, "frames", tell_frames(run, frames),
			  "pcap", write_pcap(run, frames));
	if (by_counters) {
		json_object_set_new(first, "counters", counters(run));
	} else {
		json_object_set_new(first, "nf_tables", merlon_describe_ears(&run->ears[MERLON_WHO_KERNEL], ground));
		json_object_set_new(first, "merlon", merlon_describe_ears(&run->ears[MERLON_WHO_MERLON], ground));
	}
	json_object_set_new(first, "repeats", json_boolean(r == 0));
	clear_ears(run);
	run->result->first = first;
	return add_traces(run, frames, first);
}

static int all_frames(size_t n, struct frames *ret)
{
	size_t i;

	ret->index = calloc(n + 1, sizeof(*ret->index));
	ret->n = n;
	for (i = 0; ret->index && i < n; i++)
		ret->index[i] = i;
	return ret->index ? 0 : -ENOMEM;
}

static int find_counted(struct merlon_run *run, size_t end)
{
	struct frames frames;
	int r = all_frames(end, &frames);

	if (!r)
		r = first_counted(run, end, &frames);
	if (r > 0)
		run->result->unrepeatable++;
	if (r == 0) {
		run->result->differences++;
		if (!run->result->first)
			r = explain(run, &frames, true);
	}
	free(frames.index);
	return r < 0 ? r : 0;
}

int merlon_run_replay(struct merlon_run *run, size_t n)
{
	struct frames frames;
	int r = all_frames(n, &frames);

	if (!r)
		r = play_some(run, &frames);
	free(frames.index);
	return r;
}

int merlon_run_explain(struct merlon_run *run, size_t at)
{
	struct frames frames;
	int r;

	run->result->differences++;
	if (run->result->first)
		return 0;
	r = all_frames(at + 1, &frames);
	if (!r)
		r = explain(run, &frames, false);
	free(frames.index);
	return r;
}

int merlon_run_find(struct merlon_run *run, size_t end, bool by_counters)
{
	unsigned long differ = 0;
	size_t first;
	int r;

	if (by_counters)
		return find_counted(run, end);
	r = step(run, end, &differ, &first);
	if (r < 0)
		return r;
	run->result->unrepeatable += !differ;
	run->result->differences += differ ? differ - 1 : 0;
	return differ ? merlon_run_explain(run, first) : 0;
}
