/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rates: each limit's bucket is emptied by a packet that comes to it, and after a while the same packet comes again: as many
 * pass as there were tokens in that time. All waits end in the middle between two tokens, and what is played then is
 * done before the next one comes, or it is played again at a slower tempo.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/verify/run.h"

#define TOKEN_NS 40000000ULL	/* at the first try; twice as long at the next one */
#define TRIES 6
#define LIMITS_MOST 64
#define RUN_LEAST 5000		/* packets: a shorter run is meant to be quick */
#define FRAMES_TRIED 2000	/* to find some for each limit */
#define FRAMES_EACH 4		/* what is dropped elsewhere too shows nothing: another one may */
#define BURST_MOST 100		/* of a larger bucket no rate is seen */
#define PACKETS_MOST 400	/* at once */
#define BATCH 32
#define PATIENCE_MS 5

struct rate {
	size_t frame[FRAMES_EACH];	/* that come to the limit */
	unsigned n;
	uint64_t bucket;		/* as it was behind the last frame */
	bool seen;			/* something else came out when the bucket was empty */
};

struct rates {
	struct merlon_run *run;
	struct rate rate[LIMITS_MOST];
	uint32_t n;		/* limits that are looked at */
	unsigned round;		/* which frame of each it is now */
	uint32_t differs;	/* which one, of an outcome 0 */
};

/* When, in tokens and a half since the beginning, and how many packets then; first as many as empty the bucket. */
static const struct {
	unsigned tokens;
	uint32_t packets;
} phase[] = { { 0, 0 }, { 1, 3 }, { 4, 5 } };

static const struct merlon_rule *rule_of(const struct merlon_run *run, uint32_t i, const struct merlon_limit **ret)
{
	const struct merlon_counter_origin *from = &run->v->plane.policy->limit[i];

	*ret = &from->rule->statement[from->statement].limit;
	return from->rule;
}

static void clear_ears(struct merlon_run *run)
{
	merlon_ears_clear(&run->ears[0]);
	merlon_ears_clear(&run->ears[1]);
}

/* Notes to which limits frame `at`, just sent, has come. Returns how many limits want more frames. */
static unsigned note(struct rates *rates, size_t at)
{
	const struct merlon_plane *plane = &rates->run->v->plane;
	unsigned left = 0;
	uint32_t i;

	for (i = 0; i < rates->n; i++) {
		struct rate *rate = &rates->rate[i];
		uint64_t bucket = rate->bucket;

		if (rate->n == FRAMES_EACH)
			continue;
		if (!merlon_dataplane_bucket(plane->dp, plane->policy->first_limit + i, &bucket) && bucket != rate->bucket)
			rate->frame[rate->n++] = at;
		rate->bucket = bucket;
		left += rate->n < FRAMES_EACH;
	}
	return left;
}

static int find_frames(struct rates *rates)
{
	struct merlon_run *run = rates->run;
	size_t n = run->n_free < FRAMES_TRIED ? run->n_free : FRAMES_TRIED, i;
	int r = merlon_run_reset(run);

	rates->n = run->v->plane.policy->n_limits < LIMITS_MOST ? run->v->plane.policy->n_limits : LIMITS_MOST;
	for (i = 0; i < n && !r; i++) {
		merlon_run_send(run, &run->segment.frame[i]);
		if (i % BATCH == BATCH - 1)
			merlon_run_quiet(run);
		if (!note(rates, i))
			break;
	}
	return r;
}

static bool has_rate(const struct rates *rates, uint32_t i, uint32_t *ret_burst)
{
	const struct merlon_limit *limit;

	if (rates->rate[i].seen || rates->round >= rates->rate[i].n)
		return false;
	rule_of(rates->run, i, &limit);
	*ret_burst = limit->burst ? limit->burst : 5;	/* NFT_LIMIT_PKT_BURST_DEFAULT */
	return !limit->bytes && !limit->xtables && *ret_burst <= BURST_MOST;
}

/* As merlon_run_compare(), of `n` times the same packet; ret_heard: how much came out, by channel. */
static int play(struct merlon_run *run, size_t frame, uint32_t n, uint32_t ret_heard[MERLON_CHANNELS])
{
	int r;

	while (n--)
		merlon_run_send(run, &run->segment.frame[frame]);
	r = merlon_run_compare(run, PATIENCE_MS);
	memcpy(ret_heard, run->ears[MERLON_WHO_KERNEL].n, sizeof(run->ears[MERLON_WHO_KERNEL].n));
	clear_ears(run);
	return r;
}

/* Until the bucket of limit `i` is empty; whether that is to be seen. */
static int empty(struct rates *rates, uint32_t i, uint32_t burst)
{
	size_t frame = rates->rate[i].frame[rates->round];
	uint32_t full[MERLON_CHANNELS], heard[MERLON_CHANNELS];
	int r = play(rates->run, frame, 1, full);

	if (r > 0)
		r = play(rates->run, frame, burst, heard);
	if (r > 0)
		r = play(rates->run, frame, 1, heard);
	rates->rate[i].seen = r > 0 && memcmp(full, heard, sizeof(full));
	return r;
}

/* 1: the same in both; 0: not, limit rates->differs; a negative errno. */
static int play_phase(struct rates *rates, unsigned p, bool played[LIMITS_MOST])
{
	uint32_t i, burst, sent = 0, heard[MERLON_CHANNELS];
	int r = 1;

	for (i = 0; i < rates->n && r > 0 && sent < PACKETS_MOST; i++) {
		if (p ? !played[i] : !has_rate(rates, i, &burst))
			continue;
		played[i] = true;
		r = p ? play(rates->run, rates->rate[i].frame[rates->round], phase[p].packets, heard) : empty(rates, i, burst);
		sent += p ? phase[p].packets : burst;
		rates->differs = i;
	}
	return r;
}

static void wait_until(uint64_t ns)
{
	uint64_t now;

	while ((now = merlon_now_ns()) < ns)
		poll(NULL, 0, 1 + (int)((ns - now) / 1000000));
}

/* As play_phase(); -EAGAIN: too slow for this tempo, nothing was learnt. */
static int play_phases(struct rates *rates)
{
	uint64_t token = rates->run->token_ns, began, since;
	bool played[LIMITS_MOST] = { false };
	unsigned p;
	int r;

	merlon_run_quiet(rates->run);
	began = merlon_now_ns();
	for (p = 0; p < ARRAY_SIZE(phase); p++) {
		if (p)
			wait_until(began + phase[p].tokens * token + token / 2);
		since = merlon_now_ns();
		if (p && since > began + phase[p].tokens * token + token * 5 / 8)
			return -EAGAIN;
		r = play_phase(rates, p, played);
		if (r < 0)
			return r;
		if (merlon_now_ns() - since > token / 4)
			return -EAGAIN;
		if (r == 0)
			return 0;
	}
	return 1;
}

static void report(struct rates *rates)
{
	const struct merlon_limit *limit;
	const struct merlon_rule *rule = rule_of(rates->run, rates->differs, &limit);

	rates->run->result->differences++;
	if (!rates->run->result->first)
		rates->run->result->first =
			json_pack("{s:s, s:I, s:s?, s:s?, s:i, s:[]}", "note", "a rate limit lets more pass in one than in the other",
				  "number", (json_int_t)rates->run->result->packets, "rule", rule->text, "file", rule->place.file,
				  "line", (int)rule->place.line, "frames");
}

static void forget_seen(struct rates *rates, const bool before[LIMITS_MOST])
{
	uint32_t i;

	for (i = 0; i < rates->n; i++)
		rates->rate[i].seen = before[i];
}

/* Twice it is no chance. 1: a rate differs. */
static int judge(struct rates *rates)
{
	bool before[LIMITS_MOST];
	unsigned try, differs = 0;
	uint32_t i;
	int r;

	for (i = 0; i < rates->n; i++)
		before[i] = rates->rate[i].seen;
	for (try = 0; try < TRIES; try++) {
		forget_seen(rates, before);
		rates->run->token_ns = TOKEN_NS << try;
		r = merlon_run_reset(rates->run);
		if (!r)
			r = play_phases(rates);
		if (r == -EAGAIN)
			continue;
		if (r)
			return r < 0 ? r : 0;
		if (++differs == 2) {
			report(rates);
			return 1;
		}
	}
	return -EAGAIN;
}

static bool some_left(const struct rates *rates)
{
	uint32_t i, burst;

	for (i = 0; i < rates->n; i++)
		if (has_rate(rates, i, &burst))
			return true;
	return false;
}

int merlon_run_rates(struct merlon_run *run)
{
	struct rates rates = { .run = run };
	int r;

	run->rates_seen = true;
	if (run->request->packets < RUN_LEAST)
		return 0;
	r = find_frames(&rates);
	for (; !r && rates.round < FRAMES_EACH; rates.round++)
		if (some_left(&rates))
			r = judge(&rates);
	run->token_ns = 0;
	/* on a machine that is too busy now, with the next segment */
	run->rates_seen = r != -EAGAIN;
	return r < 0 && r != -EAGAIN ? r : 0;
}
