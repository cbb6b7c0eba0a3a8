/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/compile/ifclass.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/compile/table.h"

/* What the rules name, each once. Name 0 stands for names that nothing fits, index 0 for all other indexes. */
struct named {
	struct merlon_ifclass *name;
	uint32_t n_names, names_room;
	unsigned *index;
	uint32_t n_indexes, indexes_room;
};

static int add_name(struct named *named, const struct merlon_ifname *wanted)
{
	for (uint32_t i = 0; i < named->n_names; i++)
		if (named->name[i].prefix == wanted->prefix && !strcmp(named->name[i].name, wanted->name))
			return 0;
	if (merlon_grow(&named->name, named->n_names, &named->names_room, sizeof(*named->name)) < 0)
		return -ENOMEM;
	named->name[named->n_names] = (struct merlon_ifclass){ .prefix = wanted->prefix };
	memcpy(named->name[named->n_names++].name, wanted->name, IFNAMSIZ);
	return 0;
}

static int add_index(struct named *named, unsigned index)
{
	for (uint32_t i = 0; i < named->n_indexes; i++)
		if (named->index[i] == index)
			return 0;
	if (merlon_grow(&named->index, named->n_indexes, &named->indexes_room, sizeof(*named->index)) < 0)
		return -ENOMEM;
	named->index[named->n_indexes++] = index;
	return 0;
}

static int collect_names(struct named *named, const struct merlon_ifname *name, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++) {
		/* the empty name is that of "no interface", class 0 */
		if (name[i].index)
			r = add_index(named, name[i].index);
		else if (name[i].name[0])
			r = add_name(named, &name[i]);
	}
	return r;
}

static int collect_rule(struct named *named, const struct merlon_rule *rule)
{
	int r = 0;

	for (size_t i = 0; i < rule->n && !r; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_INTERFACE)
			r = collect_names(named, s->interface.name, s->interface.n);
		else if (s->kind == MERLON_S_LOOKUP)
			r = collect_names(named, s->lookup->name, s->lookup->n_names);
	}
	return r;
}

static int collect(struct named *named, const struct merlon_ruleset *ruleset)
{
	struct merlon_ifname none = { .prefix = true };
	int r = add_name(named, &none);

	if (!r)
		r = add_index(named, 0);
	for (size_t i = 0; i < ruleset->n_chains && !r; i++) {
		const struct merlon_chain *chain = &ruleset->chain[i];

		if (chain->kept)
			continue;
		for (size_t j = 0; j < chain->n && !r; j++)
			if (chain->rule[j].status == MERLON_EXACT)
				r = collect_rule(named, &chain->rule[j]);
	}
	return r;
}

int merlon_ifclass_build(struct merlon_policy *policy, struct merlon_diag *diag)
{
	struct named named = { 0 };
	int r = collect(&named, policy->ruleset);

	if (!r && (uint64_t)named.n_names * named.n_indexes >= MERLON_MAX_IFCLASSES) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"the rules tell %u interface names and %u interface indexes apart: %u kinds of "
				"interfaces, the data plane knows %u", named.n_names - 1, named.n_indexes - 1,
				named.n_names * named.n_indexes, MERLON_MAX_IFCLASSES - 1);
		r = -EINVAL;
	}
	if (!r) {
		policy->ifclass = calloc(1 + named.n_names * named.n_indexes, sizeof(*policy->ifclass));
		r = policy->ifclass ? 0 : -ENOMEM;
	}
	if (!r) {
		policy->n_ifclasses = 1;	/* MERLON_IFACE_NONE: no index, no name */
		for (uint32_t i = 0; i < named.n_indexes; i++) {
			for (uint32_t j = 0; j < named.n_names; j++) {
				policy->ifclass[policy->n_ifclasses] = named.name[j];
				policy->ifclass[policy->n_ifclasses++].index = named.index[i];
			}
		}
	}
	free(named.name);
	free(named.index);
	return r;
}

bool merlon_ifclass_fits(const struct merlon_policy *policy, uint32_t class, const struct merlon_ifname *wanted)
{
	const struct merlon_ifclass *c = &policy->ifclass[class];
	size_t length = strlen(wanted->name);

	if (wanted->index)
		return c->index == wanted->index;
	if (wanted->prefix)
		return !strncmp(c->name, wanted->name, length);
	return !c->prefix && !strcmp(c->name, wanted->name);
}

/* How well a class's name fits: 0 not at all, more the longer a prefix it is, most if it is the name itself. */
static size_t fit(const struct merlon_ifclass *c, const char *name)
{
	size_t length = strlen(c->name);

	if (!c->prefix)
		return strcmp(c->name, name) ? 0 : IFNAMSIZ + 1;
	return strncmp(c->name, name, length) ? 0 : length + 1;
}

uint32_t merlon_policy_iface_class(const struct merlon_policy *policy, unsigned index, const char *name)
{
	uint32_t best = MERLON_IFACE_OTHER;
	size_t best_fit = 0;
	unsigned known = 0;

	if (!index)
		return MERLON_IFACE_NONE;
	for (uint32_t c = 1; c < policy->n_ifclasses; c++)
		if (policy->ifclass[c].index == index)
			known = index;
	for (uint32_t c = 1; c < policy->n_ifclasses; c++) {
		if (policy->ifclass[c].index == known && fit(&policy->ifclass[c], name) > best_fit) {
			best_fit = fit(&policy->ifclass[c], name);
			best = c;
		}
	}
	return best;
}

int merlon_policy_bind(const struct merlon_policy *policy, uint64_t *image, unsigned index, const char *name)
{
	const struct merlon_image *head = (const struct merlon_image *)image;
	uint32_t class = name ? merlon_policy_iface_class(policy, index, name) : MERLON_IFACE_OTHER;
	uint64_t *free_slot = NULL;

	if (!index || !head->ifaces)
		return 0;
	for (uint32_t i = 0; i < MERLON_IFACE_PROBES; i++) {
		uint64_t *slot = &image[head->ifaces + ((merlon_image_iface_slot(index) + i) & head->ifaces_mask)];

		if (*slot >> 32 == index) {
			__atomic_store_n(slot, (uint64_t)index << 32 | class, __ATOMIC_RELAXED);
			return 0;
		}
		/* an entry of class 1 says no more than none would, but other chains may lead over it */
		if (!free_slot && (!*slot || (uint32_t)*slot == MERLON_IFACE_OTHER))
			free_slot = slot;
		if (!*slot)
			break;
	}
	if (class == MERLON_IFACE_OTHER)
		return 0;
	if (!free_slot)
		return -ENOSPC;
	__atomic_store_n(free_slot, (uint64_t)index << 32 | class, __ATOMIC_RELAXED);
	return 0;
}
