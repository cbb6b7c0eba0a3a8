/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/boundary.h"

#include <linux/rtnetlink.h>

#define INTERVALS 16		/* more of them are sampled */
#define ELEMENTS 32		/* of a lookup */
#define NAMES 16		/* of interfaces */
#define CORNERS 4		/* lo, hi, one below, one above */
#define ADDRESS_TYPES 4
#define PLAIN 2			/* packets inside all matches */

static size_t at_most(size_t n, size_t most)
{
	return n < most ? n : most;
}

static unsigned of_statement(const struct merlon_statement *s)
{
	switch (s->kind) {
	case MERLON_S_MATCH:
		if (s->match.field == MERLON_F_MARK)
			return 0;
		if (s->match.field == MERLON_F_CT_STATE)
			return MERLON_CT_STATES;
		return at_most(s->match.in.n, INTERVALS) * CORNERS;
	case MERLON_S_INTERFACE:
		return at_most(s->interface.n, NAMES) + 2;
	case MERLON_S_ADDRTYPE:
		return ADDRESS_TYPES;
	case MERLON_S_LOOKUP:
		return at_most(s->lookup->n, ELEMENTS) * (1 + s->lookup->n_parts * CORNERS);
	default:
		return 0;
	}
}

unsigned merlon_boundaries(const struct merlon_rule *rule)
{
	unsigned n = PLAIN;

	for (size_t i = 0; i < rule->n; i++)
		n += of_statement(&rule->statement[i]);
	return at_most(n, UINT16_MAX - 1);
}

/* Corner `which` of [lo, hi]; false: there is none, or it is another one. */
static bool corner(unsigned which, merlon_value lo, merlon_value hi, merlon_value max, merlon_value *ret)
{
	*ret = which == 0 ? lo : which == 1 ? hi : which == 2 ? lo - 1 : hi + 1;
	return !((which == 1 && lo == hi) || (which == 2 && !lo) || (which == 3 && hi >= max));
}

static bool match_at(struct merlon_packets *p, const struct merlon_statement *s, unsigned number, struct merlon_boundary *ret)
{
	const struct merlon_intervals *in = &s->match.in;
	merlon_value max = merlon_value_max(merlon_field_bits(s->match.field, s->match.family)), v;
	size_t which = in->n > INTERVALS ? merlon_random_below(&p->random, in->n) : number / CORNERS;
	uint32_t mask = s->match.field > MERLON_F_DADDR ? s->match.mask : ~0U;

	ret->need.field = s->match.field;
	if (s->match.either && merlon_random_percent(&p->random, 50))
		ret->need.field = MERLON_F_TH2;
	if (s->match.field == MERLON_F_CT_STATE) {
		v = number;
	} else if (mask != ~0U && number % CORNERS >= 2) {
		uint32_t bit;

		if (!mask)
			return false;
		do
			bit = 1U << merlon_random_below(&p->random, 32);
		while (!(bit & mask));
		v = (in->v[which].lo & mask) ^ bit;
	} else if (!corner(number % CORNERS, in->v[which].lo, in->v[which].hi, max, &v)) {
		return false;
	}
	ret->need.mask = mask;
	ret->need.lo = ret->need.hi = v;
	ret->inside = merlon_intervals_contain(in, v);
	return true;
}

static bool interface_at(struct merlon_packets *p, const struct merlon_statement *s, unsigned number, struct merlon_boundary *ret)
{
	unsigned start = merlon_random_below(&p->random, p->devices.n_devices);
	size_t names = at_most(s->interface.n, NAMES);
	const struct merlon_ifname *wanted = NULL;

	if (number < names)
		wanted = &s->interface.name[s->interface.n > NAMES ? merlon_random_below(&p->random, s->interface.n) : number];
	ret->need.field = s->interface.field;
	for (unsigned i = 0; i < p->devices.n_devices; i++) {
		unsigned k = (start + i) % p->devices.n_devices;
		bool found = false;

		if (wanted)
			found = merlon_ifname_is(wanted, &p->devices.device[k]);
		for (size_t m = 0; m < s->interface.n && !wanted && !found; m++)
			found = merlon_ifname_is(&s->interface.name[m], &p->devices.device[k]);
		if (found != !!wanted)
			continue;
		ret->need.device = k + 1;
		ret->inside = found != s->interface.negated;
		return true;
	}
	return false;
}

static bool lookup_at(struct merlon_packets *p, const struct merlon_statement *s, unsigned number, struct merlon_boundary *ret)
{
	const struct merlon_lookup *lookup = s->lookup;
	unsigned each = 1 + lookup->n_parts * CORNERS;
	const struct merlon_part_range *range;
	enum merlon_field field;
	merlon_value v;

	ret->element = lookup->n > ELEMENTS ? merlon_random_below(&p->random, lookup->n) : number / each;
	ret->inside = !lookup->negated;
	if (number % each == 0)
		return true;
	ret->part = (number % each - 1) / CORNERS;
	range = &lookup->range[ret->element * lookup->n_parts + ret->part];
	field = lookup->part[ret->part].field;
	ret->need.field = field;
	if (field == MERLON_F_IIF || field == MERLON_F_OIF) {
		/* that interface, or any */
		ret->need.device = 1 + merlon_random_below(&p->random, p->devices.n_devices);
		ret->inside = false;
		return (number % each - 1) % CORNERS < 2;
	}
	if (!corner((number % each - 1) % CORNERS, range->lo, range->hi,
		    merlon_value_max(merlon_field_bits(field, lookup->part[ret->part].family)), &v))
		return false;
	ret->need.lo = ret->need.hi = v;
	ret->inside = (v >= range->lo && v <= range->hi) != lookup->negated;
	return true;
}

static bool addrtype_at(const struct merlon_statement *s, unsigned number, struct merlon_boundary *ret)
{
#define WANTED(f, t) { .kind = MERLON_S_ADDRTYPE, .addrtype = { .field = f, .types = 1U << (t) } }
#define EACH(f) { WANTED(f, RTN_LOCAL), WANTED(f, RTN_UNICAST), WANTED(f, RTN_BROADCAST), WANTED(f, RTN_MULTICAST) }
	static const struct merlon_statement wanted[2][ADDRESS_TYPES] = { EACH(MERLON_F_SADDR), EACH(MERLON_F_DADDR) };
#undef EACH
#undef WANTED

	ret->need.s = &wanted[s->addrtype.field == MERLON_F_DADDR][number];
	ret->need.field = s->addrtype.field;
	ret->inside = s->addrtype.types & ret->need.s->addrtype.types;
	return true;
}

bool merlon_boundary_at(struct merlon_packets *p, const struct merlon_rule *rule, unsigned number, struct merlon_boundary *ret)
{
	*ret = (struct merlon_boundary){ .statement = SIZE_MAX, .element = SIZE_MAX, .part = SIZE_MAX, .inside = true };
	if (number < PLAIN)
		return true;
	number -= PLAIN;
	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];
		unsigned n = of_statement(s);

		if (number >= n) {
			number -= n;
			continue;
		}
		ret->statement = i;
		switch (s->kind) {
		case MERLON_S_MATCH:
			return match_at(p, s, number, ret);
		case MERLON_S_INTERFACE:
			return interface_at(p, s, number, ret);
		case MERLON_S_LOOKUP:
			return lookup_at(p, s, number, ret);
		default:
			return addrtype_at(s, number, ret);
		}
	}
	return false;
}

void merlon_boundary_needs(struct merlon_random *random, struct merlon_needs *needs, const struct merlon_statement *s,
			   const struct merlon_boundary *boundary)
{
	const struct merlon_lookup *lookup = s->kind == MERLON_S_LOOKUP ? s->lookup : NULL;
	struct merlon_statement taken = *s;
	struct merlon_lookup positive;

	if (!lookup) {
		/* addresses are of one family */
		if (s->kind == MERLON_S_MATCH && s->match.field <= MERLON_F_DADDR && s->match.family != needs->family)
			needs->impossible = true;
		merlon_needs_add(needs, &boundary->need);
		return;
	}
	/* the element's other parts, whether the rule wants it in the set or not */
	positive = *lookup;
	positive.negated = false;
	taken.lookup = &positive;
	if (boundary->part == SIZE_MAX) {
		merlon_needs_statement(random, needs, &taken, boundary->element);
		return;
	}
	for (size_t i = 0; i < lookup->n_parts; i++) {
		const struct merlon_part_range *range = &lookup->range[boundary->element * lookup->n_parts + i];
		struct merlon_need need = { .field = lookup->part[i].field, .lo = range->lo, .hi = range->hi };

		if (need.field <= MERLON_F_DADDR && lookup->part[i].family != needs->family)
			needs->impossible = true;
		if (i == boundary->part)
			need = boundary->need;
		else if (need.field == MERLON_F_IIF || need.field == MERLON_F_OIF)
			need.name = &lookup->name[range->lo];
		if (i == boundary->part || !lookup->element[boundary->element].any)
			merlon_needs_add(needs, &need);
	}
}
