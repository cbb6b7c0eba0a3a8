/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <bpf/bpf.h>
#include <errno.h>
#include <time.h>

#include "src/kernel/embryonic.h"
#include "src/kernel/internal.h"
#include "src/util/clock.h"

struct table {
	enum merlon_map map;
	enum merlon_family family;
};
static const struct table table[] = {
	{ MERLON_MAP_SESSIONS4, MERLON_IPV4 },
	{ MERLON_MAP_SESSIONS6, MERLON_IPV6 },
};
#define TABLES (sizeof(table) / sizeof(table[0]))

static size_t key_size(const struct table *t)
{
	return t->family == MERLON_IPV4 ? sizeof(struct merlon_tuple4) : sizeof(struct merlon_tuple6);
}

struct view_context {
	enum merlon_family family;
	int (*each)(void *context, const struct merlon_session_view *view);
	void *context;
};

static int view(void *context, const void *key, const void *value)
{
	const struct view_context *c = context;
	struct merlon_session_view v = { .family = c->family };

	if (v.family == MERLON_IPV4)
		v.tuple4 = *(const struct merlon_tuple4 *)key;
	else
		v.tuple6 = *(const struct merlon_tuple6 *)key;
	v.session = *(const struct merlon_session *)value;
	return c->each(c->context, &v);
}

static int view_embryo(void *context, enum merlon_family family, const struct merlon_embryo *embryo)
{
	const struct view_context *c = context;
	struct merlon_session_view v = { .family = family, .session = embryo->session, .embryonic = true };

	if (family == MERLON_IPV4)
		v.tuple4 = embryo->tuple.v4;
	else
		v.tuple6 = embryo->tuple.v6;
	return c->each(c->context, &v);
}

int merlon_dataplane_sessions(const struct merlon_dataplane *dp,
			      int (*each)(void *context, const struct merlon_session_view *view), void *context)
{
	struct view_context c = { .each = each, .context = context };
	size_t i;
	int r = 0;

	for (i = 0; !r && i < TABLES; i++) {
		c.family = table[i].family;
		r = merlon_map_each(dp->fd[table[i].map], key_size(&table[i]), sizeof(struct merlon_session), view, &c);
	}
	return r ? r : merlon_embryonic_each(dp->fd[MERLON_MAP_EMBRYONIC], view_embryo, &c);
}

int merlon_dataplane_session(const struct merlon_dataplane *dp, enum merlon_family family, const union merlon_tuple *tuple,
			     struct merlon_session *ret)
{
	struct merlon_session session;

	if (bpf_map_lookup_elem(dp->fd[table[family].map], tuple, &session) < 0) {
		if (errno != ENOENT)
			return -errno;
		if (!merlon_embryonic_find(dp->fd[MERLON_MAP_EMBRYONIC], dp->control.seed, family, tuple, &session))
			return -ENOENT;
	}
	if (session.expires_ns < merlon_now_ns())
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

struct sweep_context {
	int fd;
	uint64_t now_ns;
	int swept;
};

/*
 * Between the batch and now the flow may have come back: the data path then made its session anew. One more look
 * leaves a window of a system call, in which an expired flow that comes back just then starts as a new one once more.
 */
static int sweep(void *context, const void *key, const void *value)
{
	const struct merlon_session *session = value;
	struct sweep_context *c = context;
	struct merlon_session now;

	if (session->expires_ns > c->now_ns)
		return 0;
	if (bpf_map_lookup_elem(c->fd, key, &now) < 0 || now.expires_ns > c->now_ns)
		return 0;
	if (!bpf_map_delete_elem(c->fd, key))
		c->swept++;
	return 0;
}

/* The data path's clock. */
static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int sweep_until(struct merlon_dataplane *dp, uint64_t until_ns)
{
	int swept = 0;
	size_t i;

	for (i = 0; i < TABLES; i++) {
		struct sweep_context c = { dp->fd[table[i].map], until_ns, 0 };
		int r = merlon_map_each(c.fd, key_size(&table[i]), sizeof(struct merlon_session), sweep, &c);

		if (r < 0)
			return r;
		swept += c.swept;
	}
	return swept;
}

int merlon_dataplane_sweep(struct merlon_dataplane *dp)
{
	return sweep_until(dp, now_ns());
}

int merlon_dataplane_flush_sessions(struct merlon_dataplane *dp)
{
	int swept = sweep_until(dp, UINT64_MAX), r = swept < 0 ? swept : merlon_embryonic_flush(dp->fd[MERLON_MAP_EMBRYONIC]);

	return r < 0 ? r : swept;
}
