/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules that events come from, in words, each made once: a flood of events is most often of a few rules. A slot that is
 * used anew has another serial, by which monitors know what they were told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/report.h"
#include "src/model/stream.h"
#include "src/service/daemon.h"

#define WAYS 4U		/* slots that one origin may be in */

struct key {
	uint32_t generation, rule, log;
	uint8_t hook, family, kind, pad;
};

struct merlon_event_origins {
	uint32_t serial;	/* the last one given */
	struct {
		struct key key;
		struct merlon_told_origin named;	/* serial 0: unused */
	} slot[MERLON_STREAM_ORIGINS];
};

static uint32_t hash(const struct key *key)
{
	uint32_t h = key->generation * 0x85ebca6bU + key->rule;

	h = h * 0xc2b2ae35U + key->log;
	h = h * 0xc2b2ae35U + (key->hook << 16 | key->family << 8 | key->kind);
	return h * 0x9e3779b1U >> 16;
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* Events of a generation that is gone by now have lost their rule. */
static void look_up(const struct merlon_daemon *d, const struct merlon_event *e, struct merlon_event_origin *ret)
{
	const struct merlon_policy *p = d->enforced.policy;
	const struct merlon_flat_origin *flat = merlon_policy_origin(p, e->generation, e->hook, e->family, e->rule);

	merlon_event_origin_clear(ret);
	if (flat && flat->rule) {
		ret->rule = merlon_rule_brief(flat->rule);
		ret->file = copy(flat->rule->place.file);
		ret->line = flat->rule->place.line;
	}
	if (flat && flat->chain < d->enforced.ruleset->n_chains)
		ret->chain = copy(d->enforced.ruleset->chain[flat->chain].name);
	if (p && e->generation == p->generation && e->kind == MERLON_EVENT_LOG && e->log < p->n_logs) {
		ret->prefix = copy(p->log[e->log]->prefix);
		ret->level = p->log[e->log]->level;
	}
}

const struct merlon_told_origin *merlon_event_origins_find(struct merlon_daemon *d, const struct merlon_event *e)
{
	struct merlon_event_origins *o = d->origins;
	struct key key = { e->generation, e->rule, e->kind == MERLON_EVENT_LOG ? e->log : 0, e->hook, e->family, e->kind, 0 };
	uint32_t first = hash(&key), at = first % MERLON_STREAM_ORIGINS;

	for (uint32_t i = 0; i < WAYS; i++) {
		uint32_t slot = (first + i) % MERLON_STREAM_ORIGINS;

		if (!o->slot[slot].named.serial) {
			at = slot;
			break;
		}
		if (!memcmp(&o->slot[slot].key, &key, sizeof(key)))
			return &o->slot[slot].named;
	}
	o->slot[at].key = key;
	o->slot[at].named.slot = at;
	o->slot[at].named.serial = ++o->serial ? o->serial : ++o->serial;
	look_up(d, e, &o->slot[at].named.origin);
	return &o->slot[at].named;
}

int merlon_event_origins_open(struct merlon_daemon *d)
{
	d->origins = calloc(1, sizeof(*d->origins));
	return d->origins ? 0 : -ENOMEM;
}

void merlon_event_origins_close(struct merlon_daemon *d)
{
	for (size_t i = 0; d->origins && i < MERLON_STREAM_ORIGINS; i++)
		merlon_event_origin_clear(&d->origins->slot[i].named.origin);
	free(d->origins);
	d->origins = NULL;
}
