/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <bpf/bpf.h>
#include <errno.h>

#include "src/kernel/internal.h"
#include "src/kernel/table.h"
#include "src/util/clock.h"

struct view_context {
	int (*each)(void *context, const struct merlon_session_view *view);
	void *context;
};

static int view(void *context, enum merlon_family family, const struct merlon_flow *flow)
{
	const struct view_context *c = context;
	struct merlon_session_view v = { .family = family, .session = flow->session };

	if (family == MERLON_IPV4)
		v.tuple4 = flow->tuple.v4;
	else
		v.tuple6 = flow->tuple.v6;
	v.embryonic = !(v.session.flags & MERLON_S_ESTABLISHED);
	return c->each(c->context, &v);
}

int merlon_dataplane_sessions(const struct merlon_dataplane *dp,
			      int (*each)(void *context, const struct merlon_session_view *view), void *context)
{
	struct view_context c = { each, context };

	return merlon_table_each(dp->fd[MERLON_MAP_SESSIONS], view, &c);
}

int merlon_dataplane_session(const struct merlon_dataplane *dp, enum merlon_family family, const union merlon_tuple *tuple,
			     struct merlon_session *ret)
{
	struct merlon_session session;

	if (!merlon_table_find(dp->fd[MERLON_MAP_SESSIONS], dp->control.seed, family, tuple, &session) ||
	    session.expires_ns < merlon_now_ns())
		return -ENOENT;
	*ret = session;
	return 0;
}

bool merlon_dataplane_remembered(const struct merlon_dataplane *dp, const struct merlon_session *session,
				 enum merlon_direction direction, enum merlon_side side, struct merlon_decision *ret)
{
	uint32_t id = session->decision[direction][side];
	struct merlon_decision decision;

	if (!id || session->generation != dp->control.generation || session->routes != dp->control.routes ||
	    bpf_map_lookup_elem(dp->policy.fd[MERLON_MAP_DECISIONS], &id, &decision) < 0 ||
	    decision.generation != session->generation)
		return false;
	*ret = decision;
	return true;
}

int merlon_dataplane_flush_sessions(struct merlon_dataplane *dp)
{
	return merlon_table_flush(dp->fd[MERLON_MAP_SESSIONS]);
}
