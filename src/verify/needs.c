/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/needs.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>

#define LOOKED_THROUGH 4096	/* elements of a lookup that are looked at to see whether one matches */

void merlon_needs_add(struct merlon_needs *needs, const struct merlon_need *need)
{
	if (needs->n < MERLON_NEEDS)
		needs->v[needs->n++] = *need;
	else
		needs->impossible = true;
}

static bool is_address(enum merlon_field field)
{
	return field <= MERLON_F_DADDR;
}

static void add_element(struct merlon_needs *needs, const struct merlon_lookup *lookup, size_t element)
{
	for (size_t i = 0; i < lookup->n_parts && !lookup->element[element].any; i++) {
		const struct merlon_part_range *range = &lookup->range[element * lookup->n_parts + i];
		struct merlon_need need = { .field = lookup->part[i].field, .lo = range->lo, .hi = range->hi };

		if (need.field == MERLON_F_IIF || need.field == MERLON_F_OIF)
			need.name = &lookup->name[range->lo];
		merlon_needs_add(needs, &need);
	}
}

void merlon_needs_statement(struct merlon_random *random, struct merlon_needs *needs, const struct merlon_statement *s,
			    size_t element)
{
	struct merlon_need need = { .s = s };

	switch (s->kind) {
	case MERLON_S_FAMILY:
		needs->impossible |= s->family != needs->family;
		break;
	case MERLON_S_MATCH:
		need.field = s->match.field;
		if (is_address(need.field) && s->match.family != needs->family)
			needs->impossible = true;
		if (s->match.either) {
			need.either = merlon_random_percent(random, 50) ? MERLON_F_TH0 : MERLON_F_TH2;
			need.field = need.either;
		}
		needs->impossible |= !s->match.in.n;
		merlon_needs_add(needs, &need);
		break;
	case MERLON_S_INTERFACE:
		need.field = s->interface.field;
		merlon_needs_add(needs, &need);
		break;
	case MERLON_S_ADDRTYPE:
		need.field = s->addrtype.field;
		merlon_needs_add(needs, &need);
		break;
	case MERLON_S_LOOKUP:
		for (size_t i = 0; i < s->lookup->n_parts; i++)
			if (is_address(s->lookup->part[i].field) && s->lookup->part[i].family != needs->family)
				needs->impossible = true;
		need.field = MERLON_FIELDS;
		if (s->lookup->negated)
			merlon_needs_add(needs, &need);
		else if (!s->lookup->n)
			needs->impossible = true;
		else
			add_element(needs, s->lookup, element < s->lookup->n ? element : merlon_random_below(random, s->lookup->n));
		break;
	default:
		break;
	}
}

/* The packet as statements see it. */
struct view {
	struct merlon_packet packet;
	const struct merlon_ground_device *device[2];	/* NULL: none */
	uint32_t type[2];				/* 1 << RTN_* of source and destination */
};

static uint32_t address_type(const struct merlon_intent *intent, int which)
{
	bool local = which == MERLON_DESTINATION ? intent->hook == MERLON_INPUT || intent->out == MERLON_GROUND_LO :
						   intent->hook == MERLON_OUTPUT || intent->in == MERLON_GROUND_LO || intent->own_source;

	switch (merlon_address_kind(intent->address[which], intent->family)) {
	case MERLON_ADDRESS_MULTICAST:
		return 1U << RTN_MULTICAST;
	case MERLON_ADDRESS_BROADCAST:
		return 1U << RTN_BROADCAST;
	case MERLON_ADDRESS_LOOPBACK:
		return 1U << RTN_LOCAL;
	default:
		return local ? 1U << RTN_LOCAL : 1U << RTN_UNICAST;
	}
}

static void view_of(const struct merlon_packets *p, const struct merlon_intent *intent, struct view *ret)
{
	merlon_intent_packet(intent, &p->devices, &ret->packet);
	ret->device[0] = intent->in == MERLON_NO_DEVICE ? NULL : &p->devices.device[intent->in];
	ret->device[1] = intent->out == MERLON_NO_DEVICE ? NULL : &p->devices.device[intent->out];
	for (int i = 0; i < 2; i++)
		ret->type[i] = address_type(intent, i);
}

static merlon_value value_of(const struct view *v, enum merlon_field field)
{
	if (is_address(field) && v->packet.family == MERLON_IPV6)
		return (merlon_value)v->packet.addr6[field][0] << 64 | v->packet.addr6[field][1];
	return v->packet.field[field];
}

static bool has(const struct view *v, enum merlon_field field)
{
	return field == MERLON_F_IIF || field == MERLON_F_OIF || v->packet.present & MERLON_BIT(field);
}

static bool name_is(const struct merlon_ifname *name, const struct merlon_ground_device *device)
{
	static const struct merlon_ground_device none;

	return merlon_ifname_is(name, device ? device : &none);
}

static bool match_holds(const struct merlon_statement *s, const struct view *v)
{
	merlon_value value = value_of(v, s->match.field);

	if (!has(v, s->match.field) || (is_address(s->match.field) && s->match.family != v->packet.family))
		return false;
	if (!is_address(s->match.field))
		value &= s->match.mask;
	if (s->match.either && has(v, MERLON_F_TH2) && merlon_intervals_contain(&s->match.in, value_of(v, MERLON_F_TH2)))
		return true;
	return merlon_intervals_contain(&s->match.in, value);
}

static bool interface_holds(const struct merlon_statement *s, const struct view *v)
{
	bool found = false;

	for (size_t i = 0; i < s->interface.n && !found; i++)
		found = name_is(&s->interface.name[i], v->device[s->interface.field == MERLON_F_OIF]);
	return found != s->interface.negated;
}

static bool lookup_holds(const struct merlon_lookup *lookup, const struct view *v)
{
	bool found = false;

	for (size_t i = 0; i < lookup->n_parts; i++)
		if (!has(v, lookup->part[i].field) ||
		    (is_address(lookup->part[i].field) && lookup->part[i].family != v->packet.family))
			return false;
	for (size_t e = 0; e < lookup->n && e < LOOKED_THROUGH && !found; e++) {
		found = true;
		for (size_t i = 0; i < lookup->n_parts && found && !lookup->element[e].any; i++) {
			const struct merlon_part_range *range = &lookup->range[e * lookup->n_parts + i];
			enum merlon_field field = lookup->part[i].field;

			if (field == MERLON_F_IIF || field == MERLON_F_OIF)
				found = name_is(&lookup->name[range->lo], v->device[field == MERLON_F_OIF]);
			else
				found = value_of(v, field) >= range->lo && value_of(v, field) <= range->hi;
		}
	}
	return found != lookup->negated;
}

static bool statement_holds(const struct merlon_statement *s, const struct view *v)
{
	switch (s->kind) {
	case MERLON_S_MATCH:
		return s->match.field == MERLON_F_MARK || match_holds(s, v);
	case MERLON_S_INTERFACE:
		return interface_holds(s, v);
	case MERLON_S_ADDRTYPE:
		return s->addrtype.types & v->type[s->addrtype.field == MERLON_F_DADDR];
	case MERLON_S_LOOKUP:
		return lookup_holds(s->lookup, v);
	default:
		return true;
	}
}

static bool need_holds(const struct merlon_packets *p, const struct merlon_need *need, const struct view *v)
{
	merlon_value value;

	if (need->s && need->s->kind == MERLON_S_MATCH && need->field == MERLON_F_MARK)
		return true;
	if (need->s)
		return statement_holds(need->s, v) != need->not;
	if (need->device)
		return v->device[need->field == MERLON_F_OIF] == &p->devices.device[need->device - 1];
	if (need->name)
		return name_is(need->name, v->device[need->field == MERLON_F_OIF]);
	if (need->field == MERLON_F_MARK)
		return true;
	value = value_of(v, need->field);
	if (need->mask)
		value &= need->mask;
	return has(v, need->field) && value >= need->lo && value <= need->hi;
}

bool merlon_needs_hold(struct merlon_packets *p, const struct merlon_needs *needs, const struct merlon_intent *intent)
{
	struct view v;

	view_of(p, intent, &v);
	for (unsigned i = 0; i < needs->n; i++)
		if (!need_holds(p, &needs->v[i], &v))
			return false;
	return true;
}
