/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rates: each limit's bucket is emptied by a packet that comes to it, and after a while the same packet comes again: as many
 * pass as there were tokens in that time. All waits end in the middle between two tokens, and what is played then is
 * done before the next one comes, or it is played again at a slower tempo.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/verify/run.h"

#define TOKEN_NS 40000000ULL	/* at the first try; twice as long at the next one */
#define TRIES 4
#define LIMITS_MOST 64
#define FRAMES_TRIED 2000	/* to find one for each limit */
#define BURST_MOST 100		/* of a larger bucket no rate is seen */
#define PACKETS_MOST 400	/* at once */
#define BATCH 32
#define PATIENCE_MS 5

struct rates {
	struct merlon_run *run;
	uint32_t n;		/* limits that are looked at */
	size_t frame[LIMITS_MOST];	/* that comes to it; SIZE_MAX: none does */
	uint32_t differs;	/* which one, of an outcome 0 */
};

/* When, in tokens and a half since the beginning, and how many packets more than the burst or the tokens since. */
static const struct {
	unsigned tokens;
	uint32_t packets;
} phase[] = { { 0, 2 }, { 1, 3 }, { 4, 5 } };

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

/* Notes which limits frame `at`, just sent, was the first to come to. Returns how many are left without one. */
static unsigned note(struct rates *rates, size_t at)
{
	const struct merlon_plane *plane = &rates->run->v->plane;
	unsigned left = 0;
	uint32_t i;

	for (i = 0; i < rates->n; i++) {
		uint64_t bucket = 0;

		if (rates->frame[i] != SIZE_MAX)
			continue;
		if (!merlon_dataplane_bucket(plane->dp, plane->policy->first_limit + i, &bucket) && bucket)
			rates->frame[i] = at;
		else
			left++;
	}
	return left;
}

static int find_frames(struct rates *rates)
{
	struct merlon_run *run = rates->run;
	size_t n = run->n_free < FRAMES_TRIED ? run->n_free : FRAMES_TRIED, i;
	uint32_t l;
	int r = merlon_run_reset(run);

	rates->n = run->v->plane.policy->n_limits < LIMITS_MOST ? run->v->plane.policy->n_limits : LIMITS_MOST;
	for (l = 0; l < rates->n; l++)
		rates->frame[l] = SIZE_MAX;
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

	rule_of(rates->run, i, &limit);
	*ret_burst = limit->burst ? limit->burst : 5;	/* NFT_LIMIT_PKT_BURST_DEFAULT */
	return rates->frame[i] != SIZE_MAX && !limit->bytes && !limit->xtables && *ret_burst <= BURST_MOST;
}

/* 1: the same in both; 0: not, limit rates->differs; a negative errno. */
static int play_phase(struct rates *rates, unsigned p)
{
	struct merlon_run *run = rates->run;
	uint32_t i, burst, sent = 0;
	int r = 1;

	for (i = 0; i < rates->n && r > 0 && sent < PACKETS_MOST; i++) {
		uint32_t n;

		if (!has_rate(rates, i, &burst))
			continue;
		n = phase[p].packets + (p ? 0 : burst);
		sent += n;
		while (n--)
			merlon_run_send(run, &run->segment.frame[rates->frame[i]]);
		r = merlon_run_compare(run, PATIENCE_MS);
		rates->differs = i;
		clear_ears(run);
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
		r = play_phase(rates, p);
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

/* Twice in a row it is no chance. */
static int judge(struct rates *rates)
{
	unsigned try, differs = 0;
	int r = 0;

	for (try = 0; try < TRIES; try++) {
		rates->run->token_ns = TOKEN_NS << try;
		r = merlon_run_reset(rates->run);
		if (!r)
			r = play_phases(rates);
		if (r == -EAGAIN)
			continue;
		if (r)
			break;
		if (++differs == 2) {
			report(rates);
			break;
		}
	}
	rates->run->rates_seen |= try < TRIES;
	return r < 0 && r != -EAGAIN ? r : 0;
}

int merlon_run_rates(struct merlon_run *run)
{
	struct rates rates = { .run = run };
	int r = find_frames(&rates);

	if (!r)
		r = judge(&rates);
	run->token_ns = 0;
	return r;
}
