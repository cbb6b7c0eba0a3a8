/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/packets.h"

#define PLAIN_DEVICES 2		/* that no rule names */
#define PLAIN_ADDRESSES 6	/* of each device and family */
#define FIRST_INDEX 100		/* of devices that no rule names by index */

/* Interfaces that rules ask for, by name or index. */
struct wish {
	char name[IFNAMSIZ];
	unsigned index;
};

struct wishes {
	struct wish *v;
	size_t n, room;
};

bool merlon_ifname_is(const struct merlon_ifname *wanted, const struct merlon_ground_device *device)
{
	if (wanted->index)
		return wanted->index == device->index;
	if (wanted->prefix)
		return !strncmp(wanted->name, device->name, strlen(wanted->name));
	return !strcmp(wanted->name, device->name);
}

/* As dev_valid_name() of net/core/dev.c has it. */
static bool valid(const char *name)
{
	size_t n = strlen(name);

	if (!n || n >= IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	return !name[strcspn(name, "/: \t\n\v\f\r")];
}

static int wish(struct wishes *w, const char *name, unsigned index)
{
	if (!index && !valid(name))
		return 0;
	if (!strcmp(name, "lo") || index == 1 || index > INT32_MAX)
		return 0;
	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 16;
		struct wish *grown = reallocarray(w->v, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		w->v = grown;
		w->room = room;
	}
	memset(&w->v[w->n], 0, sizeof(*w->v));
	if (valid(name))
		strcpy(w->v[w->n].name, name);
	w->v[w->n++].index = index;
	return 0;
}

/* What a name stands for: itself; a prefix also for names longer and shorter, and for one that just misses it. */
static int wish_name(struct wishes *w, const struct merlon_ifname *name)
{
	char text[IFNAMSIZ + 2];
	size_t n = strlen(name->name);
	int r;

	if (name->index || !name->prefix)
		return wish(w, name->name, name->index);
	if (!n || n + 1 >= IFNAMSIZ)
		return 0;
	snprintf(text, sizeof(text), "%s0", name->name);
	r = wish(w, text, 0);
	if (r < 0)
		return r;
	text[n - 1]++;
	r = wish(w, text, 0);
	return r < 0 ? r : wish(w, name->name, 0);
}

static int wish_rule(struct wishes *w, const struct merlon_rule *rule)
{
	int r = 0;

	for (size_t i = 0; i < rule->n && r == 0; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_INTERFACE)
			for (size_t k = 0; k < s->interface.n && r == 0; k++)
				r = wish_name(w, &s->interface.name[k]);
		if (s->kind == MERLON_S_LOOKUP)
			for (size_t k = 0; k < s->lookup->n_names && r == 0; k++)
				r = wish_name(w, &s->lookup->name[k]);
	}
	return r;
}

static int collect(const struct merlon_ruleset *ruleset, struct wishes *w)
{
	for (size_t c = 0; c < ruleset->n_chains; c++) {
		const struct merlon_chain *chain = &ruleset->chain[c];

		for (size_t i = 0; chain->reached && i < chain->n; i++)
			if (chain->rule[i].status == MERLON_EXACT && wish_rule(w, &chain->rule[i]) < 0)
				return -ENOMEM;
	}
	return 0;
}

/* By name; of one name those with an index first. */
static int by_name(const void *a, const void *b)
{
	const struct wish *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : (y->index > x->index) - (y->index < x->index);
}

/* One device answers for a name and an index that go together. */
static void unite(struct wishes *w)
{
	size_t n = 0;

	if (w->n)
		qsort(w->v, w->n, sizeof(*w->v), by_name);
	for (size_t i = 0; i < w->n; i++) {
		const struct wish *last = n ? &w->v[n - 1] : NULL;

		if (last && w->v[i].name[0] && !strcmp(last->name, w->v[i].name) && (!w->v[i].index || w->v[i].index == last->index))
			continue;
		w->v[n++] = w->v[i];
	}
	w->n = n;
}

static bool taken(const struct merlon_ground *g, const char *name, unsigned index)
{
	for (unsigned i = 0; i < g->n_devices; i++)
		if ((index && g->device[i].index == index) || !strcmp(g->device[i].name, name))
			return true;
	return false;
}

static void add(struct merlon_packets *p, const char *name, unsigned index, bool tun)
{
	struct merlon_ground *g = &p->devices;
	unsigned n = g->n_devices;
	struct merlon_ground_device *d = &g->device[n];
	uint8_t mac[6] = { 2, 0x6d, 0, 0, n, 1 };

	if (name[0] && !taken(g, name, 0))
		strcpy(d->name, name);
	else
		snprintf(d->name, sizeof(d->name), "other%u", n);
	d->index = index;
	d->tun = tun;
	memcpy(d->mac, mac, 6);
	mac[5] = 2;
	memcpy(d->peer_mac, mac, 6);
	g->n_devices++;
}

static bool tunnel_name(const char *name)
{
	return !strncmp(name, "tun", 3) || !strncmp(name, "wg", 2) || !strncmp(name, "ppp", 3);
}

static void number(struct merlon_ground *g)
{
	unsigned next = FIRST_INDEX;

	for (unsigned i = 1; i < g->n_devices; i++) {
		while (!g->device[i].index && taken(g, "", next))
			next++;
		if (!g->device[i].index)
			g->device[i].index = next;
	}
}

int merlon_ground_devices(struct merlon_packets *p)
{
	_cleanup_free_ struct wish *owned = NULL;
	struct wishes w = { 0 };
	int r = collect(p->ruleset, &w);
	struct merlon_ground *g = &p->devices;

	owned = w.v;
	if (r < 0)
		return r;
	unite(&w);
	strcpy(g->device[0].name, "lo");
	g->device[0].index = 1;
	g->n_devices = 1;
	for (size_t i = w.n; i > 1; i--) {
		size_t k = merlon_random_below(&p->random, i);
		struct wish swap = w.v[i - 1];

		w.v[i - 1] = w.v[k];
		w.v[k] = swap;
	}
	for (size_t i = 0; i < w.n; i++) {
		if (g->n_devices >= MERLON_GROUND_DEVICES - PLAIN_DEVICES - 1 || (w.v[i].index && taken(g, "", w.v[i].index))) {
			p->left_out++;
			continue;
		}
		add(p, w.v[i].name, w.v[i].index, tunnel_name(w.v[i].name) || merlon_random_percent(&p->random, 12));
	}
	add(p, "plain0", 0, false);
	add(p, "plain1", 0, false);
	add(p, "plaintun", 0, true);
	number(g);
	return 0;
}

static size_t hash(const struct merlon_packets *p, uint8_t family, const uint8_t *address)
{
	uint64_t words[2], h = family;

	memcpy(words, address, 16);
	h = (h ^ words[0]) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 32 ^ words[1]) * 0xbf58476d1ce4e5b9ULL;
	return (h ^ h >> 29) & (p->place_room - 1);
}

static uint32_t *slot(const struct merlon_packets *p, uint8_t family, const uint8_t *address)
{
	const struct merlon_ground_address *list = p->segment->ground.address;
	size_t i = hash(p, family, address);

	for (; p->place[i]; i = (i + 1) & (p->place_room - 1)) {
		const struct merlon_ground_address *a = &list[p->place[i] - 1];

		if (a->family == family && !memcmp(a->address, address, 16))
			break;
	}
	return &p->place[i];
}

const struct merlon_ground_address *merlon_ground_find(const struct merlon_packets *p, uint8_t family, const uint8_t *address)
{
	uint32_t i = p->place_room ? *slot(p, family, address) : 0;

	return i ? &p->segment->ground.address[i - 1] : NULL;
}

void merlon_ground_begin(struct merlon_packets *p)
{
	struct merlon_ground *g = &p->segment->ground;

	if (!p->place_room)
		return;
	memset(p->place, 0, p->place_room * sizeof(*p->place));
	g->address = calloc(p->place_room / 2, sizeof(*g->address));
	if (!g->address)
		p->error = -ENOMEM;
}

/* Twice as much room, for the hash and the list. */
static int grow(struct merlon_packets *p)
{
	struct merlon_ground *g = &p->segment->ground;
	size_t room = p->place_room ? 2 * p->place_room : 256;
	struct merlon_ground_address *list = reallocarray(g->address, room / 2, sizeof(*list));
	uint32_t *place;

	if (!list)
		return -ENOMEM;
	g->address = list;
	place = calloc(room, sizeof(*place));
	if (!place)
		return -ENOMEM;
	free(p->place);
	p->place = place;
	p->place_room = room;
	for (size_t i = 0; i < g->n_addresses; i++)
		*slot(p, list[i].family, list[i].address) = i + 1;
	return 0;
}

bool merlon_ground_place(struct merlon_packets *p, uint8_t family, const uint8_t *address, enum merlon_place_kind kind,
			 uint8_t device)
{
	struct merlon_ground *g = &p->segment->ground;
	enum merlon_address_kind what = merlon_address_kind(address, family);
	const struct merlon_ground_address *known;

	if (what != MERLON_ADDRESS_UNICAST)
		return kind == (what == MERLON_ADDRESS_LOOPBACK ? MERLON_PLACE_LOCAL : MERLON_PLACE_NOWHERE);
	known = merlon_ground_find(p, family, address);
	if (known)
		return known->kind == kind && (kind != MERLON_PLACE_BEHIND || known->device == device);
	if (g->n_addresses >= p->place_room / 2) {
		p->error = grow(p);
		if (p->error)
			return false;
	}
	*slot(p, family, address) = g->n_addresses + 1;
	g->address[g->n_addresses] = (struct merlon_ground_address){ .family = family, .kind = kind, .device = device };
	memcpy(g->address[g->n_addresses++].address, address, 16);
	return true;
}

void merlon_ground_plain(struct merlon_packets *p, uint8_t family, uint8_t device, bool local, uint8_t ret[16])
{
	uint8_t n = local ? 1 : 2 + merlon_random_below(&p->random, PLAIN_ADDRESSES);
	bool private = merlon_random_percent(&p->random, 50);

	memset(ret, 0, 16);
	if (family == MERLON_IPV4) {
		const uint8_t v4[2][4] = { { 45, 77, device, n }, { 10, 100 + device, 0, n } };

		memcpy(ret, v4[private], 4);
		return;
	}
	ret[0] = private ? 0xfd : 0x20;
	ret[1] = private ? 0x77 : 0x01;
	ret[2] = 0x0d;
	ret[3] = 0xb8;
	ret[5] = 100 + device;
	ret[15] = n;
}

uint8_t merlon_ground_any(struct merlon_packets *p)
{
	return 1 + merlon_random_below(&p->random, p->devices.n_devices - 1);
}
