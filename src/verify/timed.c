/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rulesets with rate limits. A packet reaches the two hosts some microseconds apart, and a bucket may fill in between. So a frame
 * that differs counts only if it differs again each time that the frames up to it are played with full buckets; a wrong
 * burst does. What does not is weighed: by chance either host lets more through, with a wrong rate it is always the same.
 */
#include "src/verify/run.h"

#define TRIES 3
#define CHANCES_MOST 16		/* in a segment; the rest of it is only weighed */
#define SKEW_S 0.001		/* between the hosts, on a machine that does other things as well */

static long heard(const struct merlon_ears *ears)
{
	long n = 0;
	int i;

	for (i = 0; i < MERLON_CHANNEL_LOGGED; i++)
		n += ears->n[i];
	return n;
}

static void clear_ears(struct merlon_run *run)
{
	merlon_ears_clear(&run->ears[0]);
	merlon_ears_clear(&run->ears[1]);
}

/* 1: with fresh buckets, some time, frame `at` is the same in both; and both are then behind that frame. */
static int by_chance(struct merlon_run *run, size_t at)
{
	int try, r = 0;

	for (try = 0; try < TRIES && r == 0; try++) {
		r = merlon_run_replay(run, at + 1);
		clear_ears(run);
	}
	return r;
}

/* No verdicts any more, only how much comes out. */
static int weigh_rest(struct merlon_run *run, size_t from)
{
	size_t i;
	int r = 0;

	for (i = from; i < run->n_free && r >= 0; i++) {
		merlon_run_send(run, &run->segment.frame[i]);
		r = merlon_run_compare(run, 0);
		run->balance += heard(&run->ears[0]) - heard(&run->ears[1]);
		run->chances += r == 0;
		clear_ears(run);
	}
	return r < 0 ? r : 0;
}

int merlon_run_timed(struct merlon_run *run, bool *ret_clean)
{
	unsigned chances = 0;
	size_t i;

	for (i = 0; i < run->n_free; i++) {
		long balance;
		int r;

		merlon_run_send(run, &run->segment.frame[i]);
		r = merlon_run_compare(run, 0);
		balance = heard(&run->ears[0]) - heard(&run->ears[1]);
		clear_ears(run);
		if (r == 0) {
			r = by_chance(run, i);
			if (r == 0)
				return merlon_run_explain(run, i);
			run->balance += balance;
			run->chances++;
			chances++;
		}
		if (r < 0)
			return r;
		if (chances == CHANCES_MOST) {
			*ret_clean = false;
			return weigh_rest(run, i + 1);
		}
	}
	*ret_clean = !chances;
	return 0;
}

/* How many packets more one host may let through in all. */
static double margin(const struct merlon_ruleset *rs)
{
	double packets = 1;
	size_t c, i, j;

	for (c = 0; c < rs->n_chains; c++)
		for (i = 0; i < rs->chain[c].n; i++)
			for (j = 0; j < rs->chain[c].rule[i].n; j++) {
				const struct merlon_statement *s = &rs->chain[c].rule[i].statement[j];

				if (s->kind == MERLON_S_LIMIT)
					packets += 1 + SKEW_S * s->limit.rate / (s->limit.per_s ? s->limit.per_s : 1);
			}
	return packets;
}

void merlon_run_weigh(struct merlon_run *run)
{
	long more = run->balance < 0 ? -run->balance : run->balance;
	double over = more - margin(run->request->ruleset);

	run->result->timed.packets = run->chances;
	run->result->timed.balance = run->balance;
	/* three standard deviations of as many tosses of a coin */
	if (over <= 0 || over * over <= 9.0 * run->chances)
		return;
	run->result->differences += more;
	if (!run->result->first)
		run->result->first = json_pack("{s:s, s:I, s:I, s:I, s:[]}",
					       "note", "a rate limit lets more pass in one than in the other",
					       "number", (json_int_t)run->result->packets, "balance", (json_int_t)run->balance,
					       "chances", (json_int_t)run->chances, "frames");
}
