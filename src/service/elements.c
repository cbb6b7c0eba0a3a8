/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Most changes of a policy are of elements of its sets. They are made in the ruleset in force and in its snapshot, as nf_tables'
 * notifications say; then it is compiled and put in force as ever, but nothing is read back. The ruleset is the same object before
 * and after: who lists it while it is compiled has the elements a moment before they are in force. Whatever is not certain leads to
 * a reading of the namespace.
 */
#include <errno.h>

#include "compat/asked.h"
#include "compat/compat.h"
#include "compat/news.h"
#include "src/model/report.h"
#include "src/service/daemon.h"
#include "src/service/work.h"

/* The same ruleset, with other elements. */
static int enforce(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_enforced next = d->enforced;
	int r;

	next.policy = NULL;
	next.carried = NULL;
	next.edited = true;
	next.sources = json_deep_copy(d->enforced.sources);
	r = next.sources ? merlon_enforce(d, &next, &d->space.snapshot, true, diag) : -ENOMEM;
	if (r < 0) {
		next.ruleset = NULL;
		merlon_enforced_clear(&next);
	}
	return r;
}

/* `bytes`: what was heard up to generation `now`; more may be heard meanwhile. */
static int follow(struct merlon_daemon *d, const struct merlon_news *news, size_t bytes, uint32_t now, struct merlon_diag *diag)
{
	struct merlon_space *s = &d->space;
	int r = merlon_elements_change(d->enforced.ruleset, news->change, news->n, false);

	if (r < 0)
		return r;
	r = merlon_snapshot_follow(&s->snapshot, s->heard.messages, bytes, s->generation, now);
	if (!r) {
		r = enforce(d, diag);
		if (r < 0)
			merlon_snapshot_unfollow(&s->snapshot, s->heard.messages, bytes, s->generation, now);
	}
	if (r < 0)
		merlon_elements_change(d->enforced.ruleset, news->change, news->n, true);
	return r;
}

static bool may_follow(const struct merlon_daemon *d)
{
	const struct merlon_space *s = &d->space;

	/* what ages is not in the snapshot as it is now */
	return d->enforced.ruleset && d->enforced.policy && !s->differs && s->snapshot.bytes && !s->snapshot.ages;
}

bool merlon_policy_elements(struct merlon_daemon *d, json_t **report, struct merlon_diag *diag)
{
	struct merlon_space *s = &d->space;
	struct merlon_diag found = { 0 };
	struct merlon_news news;
	uint32_t now;
	size_t bytes;
	int r;

	if (!may_follow(d) || merlon_nft_generation(s->netlink, &now) < 0)
		return false;
	merlon_space_hear(d);
	bytes = s->heard.bytes;
	if (s->heard.lost || merlon_news_read(s->heard.messages, bytes, s->generation, now, d->enforced.ruleset, &news) < 0)
		return false;
	r = follow(d, &news, bytes, now, &found);
	merlon_news_clear(&news);
	if (r < 0) {
		merlon_diag_clear(&found);
		return false;
	}
	merlon_diag_take(diag, &found);
	merlon_space_followed(d, now);
	json_decref(*report);
	*report = merlon_report(d->enforced.ruleset);
	return true;
}

/*
 * nf_tables needs 10 ms and more to commit a change of a large set, the compiler likewise: both work at the same time. The policy is
 * put in force when the namespace has the elements (merlon_enforce_last()). *ret_done: it has them.
 */
static int change(struct merlon_daemon *d, struct merlon_asked *asked, bool *ret_done, struct merlon_diag *diag)
{
	struct merlon_space *s = &d->space;
	int r = merlon_elements_change(d->enforced.ruleset, asked->news.change, asked->news.n, false);

	if (r < 0)
		return r;
	r = merlon_snapshot_change(&s->snapshot, &asked->requests);
	if (!r) {
		r = merlon_space_send(d, &asked->requests);
		if (!r) {
			r = enforce(d, diag);
			*ret_done = !merlon_space_send_end(d);
		}
		if (r < 0)
			merlon_snapshot_change_back(&s->snapshot, &asked->requests);
	}
	if (r < 0)
		merlon_elements_change(d->enforced.ruleset, asked->news.change, asked->news.n, true);
	return r;
}

bool merlon_policy_asked(struct merlon_daemon *d, const struct merlon_nft_command *command, json_t **report, struct merlon_diag *diag)
{
	struct merlon_space *s = &d->space;
	struct merlon_diag found = { 0 };
	struct merlon_asked asked;
	bool done = false;
	int r;

	if (!may_follow(d) || merlon_asked_read(command, d->enforced.ruleset, &asked) < 0)
		return false;
	r = change(d, &asked, &done, &found);
	merlon_asked_clear(&asked);
	if (r < 0) {
		merlon_diag_clear(&found);
		return done;
	}
	merlon_diag_take(diag, &found);
	merlon_space_hear(d);
	merlon_space_followed(d, s->generation + 1);
	json_decref(*report);
	*report = merlon_report(d->enforced.ruleset);
	return true;
}
