/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Solving: field by field, a value out of one need that suits the others on the same field. Fields that depend on each
 * other (protocol, ICMP type, state) are chosen in this order, and the whole is checked at the end.
 */
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/needs.h"

#define TRIES 24
#define ROUNDS 6
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

struct solver {
	struct merlon_packets *p;
	const struct merlon_needs *needs;
	const struct merlon_intent *hint;
	struct merlon_intent *ret;
};

static bool asked(const struct solver *s, enum merlon_field field)
{
	for (unsigned i = 0; i < s->needs->n; i++)
		if (s->needs->v[i].field == field)
			return true;
	return false;
}

static uint32_t mask_of(const struct merlon_need *need)
{
	if (need->s)
		return need->s->kind == MERLON_S_MATCH && need->field > MERLON_F_DADDR ? need->s->match.mask : ~0U;
	return need->mask ? need->mask : ~0U;
}

/* Whether a value suits what is asked of the field, as far as numbers tell. */
static bool suits(const struct solver *s, enum merlon_field field, merlon_value value)
{
	for (unsigned i = 0; i < s->needs->n; i++) {
		const struct merlon_need *need = &s->needs->v[i];
		merlon_value masked = field > MERLON_F_DADDR ? value & mask_of(need) : value;

		if (need->field != field || (need->s && need->s->kind != MERLON_S_MATCH))
			continue;
		if (need->s ? merlon_intervals_contain(&need->s->match.in, masked) == need->not :
			      masked < need->lo || masked > need->hi)
			return false;
	}
	return true;
}

static merlon_value within(struct merlon_random *r, merlon_value lo, merlon_value hi)
{
	merlon_value span = hi - lo;
	unsigned kind = merlon_random_below(r, 8);

	if (!span || kind == 0)
		return lo;
	if (kind == 1)
		return hi;
	/* near either end as likely as anywhere */
	if (kind < 5 && span > 16)
		return kind & 1 ? lo + 1 + merlon_random_below(r, 8) : hi - 1 - merlon_random_below(r, 8);
	if (span + 1 == 0)
		return (merlon_value)merlon_random_bits(r) << 64 | merlon_random_bits(r);
	return lo + ((merlon_value)merlon_random_bits(r) << 64 | merlon_random_bits(r)) % (span + 1);
}

/* The range that the single intervals among the needs leave; false: none. */
static bool range_of(const struct solver *s, enum merlon_field field, merlon_value *lo, merlon_value *hi)
{
	*lo = 0;
	*hi = merlon_value_max(merlon_field_bits(field, s->needs->family));
	for (unsigned i = 0; i < s->needs->n; i++) {
		const struct merlon_need *need = &s->needs->v[i];
		merlon_value from = need->lo, to = need->hi;

		if (need->field != field || need->not || mask_of(need) != ~0U || (need->s && need->s->kind != MERLON_S_MATCH))
			continue;
		if (need->s) {
			from = need->s->match.in.v[0].lo;
			to = need->s->match.in.v[need->s->match.in.n - 1].hi;
		}
		*lo = from > *lo ? from : *lo;
		*hi = to < *hi ? to : *hi;
	}
	return *lo <= *hi;
}

/* The first interval that ends at `v` or later. */
static size_t first_from(const struct merlon_intervals *in, merlon_value v)
{
	size_t from = 0, to = in->n;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (in->v[middle].hi < v)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

/* A value of one need. */
static merlon_value candidate(struct merlon_random *r, const struct merlon_need *need, merlon_value lo, merlon_value hi)
{
	const struct merlon_intervals *in;
	uint32_t mask = mask_of(need);
	size_t from, to;

	if (!need->s)
		return mask == ~0U ? within(r, lo, hi) : (need->lo & mask) | (merlon_random_bits(r) & ~mask & hi);
	in = &need->s->match.in;
	if (!in->n)
		return within(r, lo, hi);
	if (need->not || mask != ~0U) {
		const struct merlon_interval *v = &in->v[merlon_random_below(r, in->n)];

		if (need->not)
			return merlon_random_percent(r, 50) ? v->lo - 1 : v->hi + 1;
		return (within(r, v->lo, v->hi) & mask) | (merlon_random_bits(r) & ~mask & hi);
	}
	from = first_from(in, lo);
	to = hi == ~(merlon_value)0 ? in->n : first_from(in, hi + 1);
	to += to < in->n && in->v[to].lo <= hi;
	if (from >= to)
		return lo;
	from += merlon_random_below(r, to - from);
	return within(r, in->v[from].lo > lo ? in->v[from].lo : lo, in->v[from].hi < hi ? in->v[from].hi : hi);
}

/* A value that suits. 1; 0: nothing is asked of the field; -1: there is none. */
static int choose(const struct solver *s, enum merlon_field field, merlon_value *ret)
{
	unsigned list[MERLON_NEEDS], n = 0;
	merlon_value lo, hi, max = merlon_value_max(merlon_field_bits(field, s->needs->family));

	for (unsigned i = 0; i < s->needs->n; i++)
		if (s->needs->v[i].field == field && (!s->needs->v[i].s || s->needs->v[i].s->kind == MERLON_S_MATCH))
			list[n++] = i;
	if (!n)
		return 0;
	if (!range_of(s, field, &lo, &hi))
		return -1;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		const struct merlon_need *need = &s->needs->v[list[merlon_random_below(&s->p->random, n)]];
		merlon_value v = candidate(&s->p->random, need, lo, hi);

		v = tries % 8 == 7 ? within(&s->p->random, lo, hi) : v;
		if (v > max || !suits(s, field, v))
			continue;
		*ret = v;
		return 1;
	}
	return -1;
}

/* Chooses among a few values in a random order. */
static int choose_of(const struct solver *s, enum merlon_field field, const uint8_t *list, size_t n)
{
	size_t start = merlon_random_below(&s->p->random, n);

	for (size_t i = 0; i < n; i++)
		if (suits(s, field, list[(start + i) % n]))
			return list[(start + i) % n];
	return -1;
}

static bool solve_state(const struct solver *s)
{
	static const uint8_t states[] = { MERLON_CT_NEW, MERLON_CT_ESTABLISHED, MERLON_CT_RELATED, MERLON_CT_INVALID, MERLON_CT_UNTRACKED };
	static const uint8_t directions[] = { MERLON_ORIGINAL, MERLON_REPLY };
	int state = MERLON_CT_NEW, direction = -1;

	if (s->hint && suits(s, MERLON_F_CT_STATE, s->hint->state)) {
		s->ret->state = s->hint->state;
		s->ret->direction = s->hint->direction;
		return suits(s, MERLON_F_CT_DIRECTION, s->hint->direction);
	}
	/* new where it may be: anything else takes a flow to be accepted before */
	if (!suits(s, MERLON_F_CT_STATE, MERLON_CT_NEW) || merlon_random_percent(&s->p->random, 15))
		state = choose_of(s, MERLON_F_CT_STATE, states, ARRAY_SIZE(states));
	direction = choose_of(s, MERLON_F_CT_DIRECTION, directions, 2);
	if (state < 0 || direction < 0)
		return false;
	if (direction == MERLON_REPLY && state == MERLON_CT_NEW) {
		if (!suits(s, MERLON_F_CT_DIRECTION, MERLON_ORIGINAL) && !suits(s, MERLON_F_CT_STATE, MERLON_CT_ESTABLISHED))
			return false;
		if (!suits(s, MERLON_F_CT_DIRECTION, MERLON_ORIGINAL))
			state = MERLON_CT_ESTABLISHED;
		else
			direction = MERLON_ORIGINAL;
	}
	s->ret->state = state;
	s->ret->direction = direction;
	return true;
}

static uint8_t icmp_of(const struct solver *s)
{
	return s->needs->family == MERLON_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

/* The protocol that other fields than itself call for; 0: any. */
static uint8_t implied(const struct solver *s)
{
	if (s->ret->state == MERLON_CT_RELATED || s->ret->state == MERLON_CT_UNTRACKED)
		return icmp_of(s);
	if (asked(s, MERLON_F_TCP_FLAGS))
		return IPPROTO_TCP;
	if (asked(s, MERLON_F_ICMP_TYPE) || asked(s, MERLON_F_ICMP_CODE))
		return icmp_of(s);
	return 0;
}

/* 1: there is to be a routing header; 0: nothing calls for one; -1: it cannot be. */
static int solve_routing(const struct solver *s)
{
	bool wanted = false;
	merlon_value v;

	s->ret->nexthdr = 0;
	for (unsigned i = 0; i < s->needs->n; i++)
		wanted |= s->needs->v[i].field == MERLON_F_RT_TYPE && !s->needs->v[i].not;
	if (!wanted)
		return 0;
	if (s->needs->family != MERLON_IPV6 || choose(s, MERLON_F_RT_TYPE, &v) <= 0 || !suits(s, MERLON_F_NEXTHDR, IPPROTO_ROUTING))
		return -1;
	s->ret->nexthdr = IPPROTO_ROUTING + 1;
	s->ret->rt_type = v;
	return 1;
}

static bool solve_protocol(const struct solver *s)
{
	static const uint8_t extensions[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT, IPPROTO_DSTOPTS };
	uint8_t usual[] = { IPPROTO_TCP, IPPROTO_UDP, icmp_of(s) };
	uint8_t wanted = implied(s);
	int r, routing = solve_routing(s);
	merlon_value v;

	if (routing < 0)
		return false;
	if (s->hint && !wanted && suits(s, MERLON_F_L4PROTO, s->hint->l4proto) &&
	    (routing || suits(s, MERLON_F_NEXTHDR, s->hint->l4proto))) {
		s->ret->l4proto = s->hint->l4proto;
		return true;
	}
	if (!wanted) {
		r = choose_of(s, MERLON_F_L4PROTO, usual, merlon_random_percent(&s->p->random, 60) ? 1 : 3);
		if (r < 0 || (asked(s, MERLON_F_L4PROTO) && merlon_random_percent(&s->p->random, 20))) {
			r = choose(s, MERLON_F_L4PROTO, &v);
			if (r < 0)
				return false;
			r = (int)v;
		}
		wanted = r;
	}
	if (!routing && asked(s, MERLON_F_NEXTHDR) && !suits(s, MERLON_F_NEXTHDR, wanted)) {
		r = s->needs->family == MERLON_IPV6 ? choose_of(s, MERLON_F_NEXTHDR, extensions, ARRAY_SIZE(extensions)) : -1;
		if (r >= 0) {
			s->ret->nexthdr = r + 1;
		} else {
			if (choose(s, MERLON_F_NEXTHDR, &v) < 0)
				return false;
			wanted = v;
		}
	}
	s->ret->l4proto = wanted;
	/* of IPv6 these are headers before the transport, never the transport */
	for (size_t i = 0; s->needs->family == MERLON_IPV6 && i < ARRAY_SIZE(extensions); i++)
		if (wanted == extensions[i])
			return false;
	return suits(s, MERLON_F_L4PROTO, wanted);
}

static bool device_suits(const struct solver *s, enum merlon_field field, uint8_t device)
{
	const struct merlon_ground_device *d = &s->p->devices.device[device];

	for (unsigned i = 0; i < s->needs->n; i++) {
		const struct merlon_need *need = &s->needs->v[i];
		bool found = false;

		if (need->field != field)
			continue;
		if (need->device && need->device != device + 1)
			return false;
		if (need->name && !merlon_ifname_is(need->name, d))
			return false;
		if (!need->s || need->s->kind != MERLON_S_INTERFACE)
			continue;
		for (size_t k = 0; k < need->s->interface.n && !found; k++)
			found = merlon_ifname_is(&need->s->interface.name[k], d);
		if ((found != need->s->interface.negated) == need->not)
			return false;
	}
	return true;
}

static int solve_device(const struct solver *s, enum merlon_field field, bool lo, uint8_t hint)
{
	uint8_t list[MERLON_GROUND_DEVICES], n = 0;
	bool ether = field == MERLON_F_IIF && asked(s, MERLON_F_ETHER_SADDR_HIGH);

	if (hint != MERLON_NO_DEVICE && (lo || hint != MERLON_GROUND_LO) && device_suits(s, field, hint) && !ether)
		return hint;
	for (unsigned i = lo ? 0 : 1; i < s->p->devices.n_devices; i++)
		if (device_suits(s, field, i) && !(ether && (s->p->devices.device[i].tun || !i)))
			list[n++] = i;
	if (!n)
		return -1;
	/* the loopback device is one of the others only where something asks for an interface */
	if (n > 1 && list[0] == MERLON_GROUND_LO && merlon_random_percent(&s->p->random, asked(s, field) ? 70 : 88))
		return list[1 + merlon_random_below(&s->p->random, n - 1U)];
	return list[merlon_random_below(&s->p->random, n)];
}

static bool solve_devices(const struct solver *s)
{
	int in = MERLON_NO_DEVICE, out = MERLON_NO_DEVICE;

	if (s->needs->hook != MERLON_OUTPUT)
		in = solve_device(s, MERLON_F_IIF, s->needs->hook == MERLON_INPUT, s->hint ? s->hint->in : MERLON_NO_DEVICE);
	if (s->needs->hook != MERLON_INPUT)
		out = solve_device(s, MERLON_F_OIF, s->needs->hook == MERLON_OUTPUT, s->hint ? s->hint->out : MERLON_NO_DEVICE);
	if (in < 0 || out < 0)
		return false;
	s->ret->in = in;
	s->ret->out = out;
	return true;
}

static bool wants_type(const struct solver *s, enum merlon_field field, unsigned type)
{
	bool wanted = false;

	for (unsigned i = 0; i < s->needs->n; i++) {
		const struct merlon_need *need = &s->needs->v[i];

		if (!need->s || need->s->kind != MERLON_S_ADDRTYPE || need->field != field)
			continue;
		if (!(need->s->addrtype.types >> type & 1) == !need->not)
			return false;
		wanted |= !need->not;
	}
	return wanted;
}

/* The ends of the groups and those in the middle that no host is in, and the unicast addresses beside them. */
static bool solve_edge(const struct solver *s, uint8_t ret[16])
{
	static const uint32_t group4[] = { 0xe0000002, 0xe7ffffff, 0xe8000000, 0xefffffff }, beside4[] = { 0xdfffffff, 0xf0000000 };
	bool v4 = s->needs->family == MERLON_IPV4, multicast = wants_type(s, MERLON_F_DADDR, RTN_MULTICAST);
	uint32_t at = merlon_random_below(&s->p->random, multicast ? ARRAY_SIZE(group4) : ARRAY_SIZE(beside4));
	merlon_value v = multicast ? (merlon_value)(at & 1 ? 0xff0e : 0xff3e) << 112 | 0x4d4c : ((merlon_value)0xfe << 120) - 1;

	if (s->ret->out == MERLON_GROUND_LO || wants_type(s, MERLON_F_DADDR, RTN_LOCAL))
		return false;
	if (multicast ? s->needs->hook != MERLON_OUTPUT :
	    !wants_type(s, MERLON_F_DADDR, RTN_UNICAST) || !merlon_random_percent(&s->p->random, 40))
		return false;
	if (v4)
		v = multicast ? group4[at] : beside4[at];
	merlon_address_bytes(v, s->needs->family, ret);
	return suits(s, MERLON_F_DADDR, v);
}

/* Addresses that only a packet for the host itself may have. */
static bool solve_group(const struct solver *s, uint8_t ret[16])
{
	bool v4 = s->needs->family == MERLON_IPV4;
	bool broadcast = wants_type(s, MERLON_F_DADDR, RTN_BROADCAST), multicast = wants_type(s, MERLON_F_DADDR, RTN_MULTICAST);

	if (s->needs->hook != MERLON_INPUT || s->ret->in == MERLON_GROUND_LO || wants_type(s, MERLON_F_DADDR, RTN_LOCAL))
		return false;
	if (!broadcast && !multicast && !suits(s, MERLON_F_PKTTYPE, PACKET_HOST)) {
		broadcast = v4 && suits(s, MERLON_F_PKTTYPE, PACKET_BROADCAST);
		multicast = suits(s, MERLON_F_PKTTYPE, PACKET_MULTICAST);
	}
	if (!v4 && multicast)
		merlon_address_bytes((merlon_value)0xff02 << 112 | 1, MERLON_IPV6, ret);
	else if (v4 && (broadcast || multicast))
		merlon_address_bytes(broadcast ? 0xffffffff : 0xe0000001, MERLON_IPV4, ret);
	else
		return false;
	return suits(s, MERLON_F_DADDR, merlon_address_value(ret, s->needs->family));
}

/* Anything goes: what rules name elsewhere, or a plain one. */
static void free_address(const struct solver *s, int which, uint8_t ret[16])
{
	const struct merlon_pool *pool = &s->p->pool[MERLON_F_SADDR + which][s->needs->family];
	bool local = which == MERLON_SOURCE ? s->needs->hook == MERLON_OUTPUT : s->needs->hook == MERLON_INPUT;
	uint8_t device = which == MERLON_SOURCE ? s->ret->in : s->ret->out;

	if (which == MERLON_SOURCE && s->ret->own_source) {
		merlon_ground_plain(s->p, s->needs->family, merlon_ground_any(s->p), true, ret);
		return;
	}
	if (s->hint) {
		memcpy(ret, s->hint->address[which], 16);
		return;
	}
	if (pool->n && merlon_random_percent(&s->p->random, 35)) {
		merlon_address_bytes(pool->v[merlon_random_below(&s->p->random, pool->n)], s->needs->family, ret);
		if (merlon_address_kind(ret, s->needs->family) == MERLON_ADDRESS_UNICAST)
			return;
	}
	if (device == MERLON_NO_DEVICE)
		device = which == MERLON_SOURCE ? s->ret->out : s->ret->in;
	merlon_ground_plain(s->p, s->needs->family, device, local || device == MERLON_GROUND_LO, ret);
}

static bool solve_address(const struct solver *s, int which)
{
	uint8_t *ret = s->ret->address[which];
	merlon_value v;

	if (which == MERLON_DESTINATION && (s->needs->hook == MERLON_INPUT ? solve_group(s, ret) : solve_edge(s, ret)))
		return true;
	if (which == MERLON_SOURCE)
		s->ret->own_source = s->needs->hook != MERLON_OUTPUT && s->ret->in != MERLON_GROUND_LO &&
				     wants_type(s, MERLON_F_SADDR, RTN_LOCAL) && !wants_type(s, MERLON_F_SADDR, RTN_UNICAST);
	for (unsigned tries = 0; tries < 4; tries++) {
		int r = choose(s, MERLON_F_SADDR + which, &v);

		if (r < 0)
			return false;
		if (!r) {
			free_address(s, which, ret);
			return true;
		}
		if (s->hint && !tries && suits(s, MERLON_F_SADDR + which, merlon_address_value(s->hint->address[which], s->needs->family))) {
			memcpy(ret, s->hint->address[which], 16);
			return true;
		}
		merlon_address_bytes(v, s->needs->family, ret);
		if (merlon_address_kind(ret, s->needs->family) == MERLON_ADDRESS_UNICAST)
			return true;
	}
	return true;
}

static int errors_of(const struct solver *s, const uint8_t **ret)
{
	static const uint8_t v4[] = { 3, 11, 12 }, v6[] = { 1, 2, 3, 4 };

	*ret = s->needs->family == MERLON_IPV4 ? v4 : v6;
	return s->needs->family == MERLON_IPV4 ? ARRAY_SIZE(v4) : ARRAY_SIZE(v6);
}

/* Type and code by the state the packet is to be in. */
static bool solve_icmp(const struct solver *s)
{
	static const uint8_t untracked[] = { 133, 134, 135, 136, 130, 131, 132, 143 }, odd4[] = { 0, 14, 16, 18 }, odd6[] = { 129, 140 };
	bool v4 = s->needs->family == MERLON_IPV4;
	const uint8_t *list;
	merlon_value v;
	int type = -1, n;

	if (s->ret->state == MERLON_CT_RELATED) {
		n = errors_of(s, &list);
		type = choose_of(s, MERLON_F_ICMP_TYPE, list, n);
	} else if (s->ret->state == MERLON_CT_UNTRACKED) {
		type = v4 ? -1 : choose_of(s, MERLON_F_ICMP_TYPE, untracked, merlon_random_percent(&s->p->random, 70) ? 4 : 8);
	} else if (s->ret->state == MERLON_CT_INVALID) {
		type = choose_of(s, MERLON_F_ICMP_TYPE, v4 ? odd4 : odd6, v4 ? 4 : 2);
	} else {
		type = v4 ? 8 : 128;
		type += s->ret->direction == MERLON_REPLY ? v4 ? -8 : 1 : 0;
		if (!suits(s, MERLON_F_ICMP_TYPE, type))
			type = -1;
	}
	if (type < 0) {
		n = choose(s, MERLON_F_ICMP_TYPE, &v);
		if (n <= 0)
			return false;
		type = (int)v;
	}
	n = choose(s, MERLON_F_ICMP_CODE, &v);
	if (n < 0)
		return false;
	s->ret->th0 = type << 8 | (n ? (int)v : 0);
	s->ret->th2 = 0;
	/* whatever asks for these bytes as a port */
	n = choose(s, MERLON_F_TH0, &v);
	if (n > 0 && !suits(s, MERLON_F_TH0, s->ret->th0))
		s->ret->th0 = v;
	return n >= 0;
}

static uint16_t free_port(const struct solver *s, enum merlon_field field)
{
	static const uint16_t usual[] = { 22, 53, 80, 123, 443, 8080, 1, 65535 };
	const struct merlon_pool *pool = &s->p->pool[field][MERLON_IPV4];

	if (s->hint && !merlon_is_icmp_protocol(s->hint->l4proto))
		return field == MERLON_F_TH0 ? s->hint->th0 : s->hint->th2;
	if (field == MERLON_F_TH0 && !merlon_random_percent(&s->p->random, 10)) {
		s->p->next_port = s->p->next_port >= 60000 ? 20000 : s->p->next_port + 1;
		return s->p->next_port;
	}
	if (pool->n && merlon_random_percent(&s->p->random, 70))
		return pool->v[merlon_random_below(&s->p->random, pool->n)];
	return usual[merlon_random_below(&s->p->random, ARRAY_SIZE(usual))];
}

static bool solve_ports(const struct solver *s)
{
	for (int i = 0; i < 2; i++) {
		merlon_value v;
		int r = choose(s, MERLON_F_TH0 + i, &v);
		uint16_t *port = i ? &s->ret->th2 : &s->ret->th0;

		if (r < 0)
			return false;
		if (r && s->hint && suits(s, MERLON_F_TH0 + i, i ? s->hint->th2 : s->hint->th0))
			r = 0;
		*port = r ? (uint16_t)v : free_port(s, MERLON_F_TH0 + i);
	}
	return true;
}

static bool solve_flags(const struct solver *s)
{
	static const uint8_t opening[] = { TCP_SYN }, going[] = { TCP_ACK, TCP_PSH | TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST };
	static const uint8_t invalid[] = { 0, TCP_SYN | TCP_FIN, TCP_SYN | TCP_RST, TCP_FIN | TCP_PSH | TCP_URG, TCP_RST | TCP_ACK, TCP_RST };
	merlon_value v;
	int r;

	if (s->ret->state == MERLON_CT_NEW)
		r = choose_of(s, MERLON_F_TCP_FLAGS, opening, 1);
	else if (s->ret->state == MERLON_CT_INVALID)
		r = choose_of(s, MERLON_F_TCP_FLAGS, invalid, ARRAY_SIZE(invalid));
	else
		r = choose_of(s, MERLON_F_TCP_FLAGS, going, merlon_random_percent(&s->p->random, 80) ? 2 : ARRAY_SIZE(going));
	if (r < 0) {
		if (choose(s, MERLON_F_TCP_FLAGS, &v) <= 0)
			return false;
		r = (int)v;
	}
	s->ret->tcp_flags = r;
	return true;
}

static bool solve_transport(const struct solver *s)
{
	s->ret->tcp_flags = 0;
	if (merlon_is_icmp_protocol(s->ret->l4proto))
		return solve_icmp(s);
	if (!solve_ports(s))
		return false;
	return s->ret->l4proto != IPPROTO_TCP || solve_flags(s);
}

/* What the headers have besides. */
static bool solve_rest(const struct solver *s)
{
	static const uint8_t tos[] = { 0, 0, 0, 0x10, 0xb8, 0xff };
	merlon_value v;
	int r = choose(s, MERLON_F_TTL, &v);

	s->ret->ttl = r > 0 ? (uint8_t)v : s->ret->state == MERLON_CT_UNTRACKED && s->needs->hook != MERLON_FORWARD ? 255 : 63;
	if (r < 0 || (s->needs->hook == MERLON_FORWARD && s->ret->ttl == 255))
		return false;
	r = choose(s, MERLON_F_TOS, &v);
	if (r < 0)
		return false;
	s->ret->tos = r ? (uint8_t)v : tos[merlon_random_below(&s->p->random, ARRAY_SIZE(tos))];
	r = choose(s, MERLON_F_LENGTH, &v);
	if (r < 0 || (r && (v < merlon_intent_least(s->ret) || v > 65535)))
		return false;
	s->ret->bytes = r ? (uint32_t)v : 0;
	r = choose(s, MERLON_F_ETHER_SADDR_HIGH, &v);
	s->ret->has_ether = r > 0;
	if (r > 0) {
		for (int i = 0; i < 4; i++)
			s->ret->ether[i] = (uint8_t)(v >> (24 - 8 * i));
		r = choose(s, MERLON_F_ETHER_SADDR_LOW, &v);
		v = r > 0 ? v : merlon_random_below(&s->p->random, 0x10000);
		s->ret->ether[4] = v >> 8;
		s->ret->ether[5] = v;
	}
	return r >= 0;
}

static bool solve_pkttype(const struct solver *s)
{
	static const uint8_t types[] = { PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST };
	bool group = s->needs->hook == MERLON_INPUT && s->ret->in != MERLON_GROUND_LO && !s->p->devices.device[s->ret->in].tun;
	enum merlon_address_kind kind = merlon_address_kind(s->ret->address[MERLON_DESTINATION], s->needs->family);
	uint8_t natural = kind == MERLON_ADDRESS_BROADCAST ? PACKET_BROADCAST :
			  kind == MERLON_ADDRESS_MULTICAST ? PACKET_MULTICAST : PACKET_HOST;
	int r = suits(s, MERLON_F_PKTTYPE, natural) && (group || natural == PACKET_HOST) ? natural :
		choose_of(s, MERLON_F_PKTTYPE, types, group ? 3 : 1);

	s->ret->pkttype = r;
	return r >= 0;
}

bool merlon_needs_solve(struct merlon_packets *p, const struct merlon_needs *needs, const struct merlon_intent *hint,
			struct merlon_intent *ret)
{
	struct solver s = { p, needs, hint, ret };

	for (unsigned round = 0; round < ROUNDS && !needs->impossible; round++) {
		memset(ret, 0, sizeof(*ret));
		ret->hook = needs->hook;
		ret->family = needs->family;
		if (solve_state(&s) && solve_protocol(&s) && solve_devices(&s) && solve_address(&s, MERLON_SOURCE) &&
		    solve_address(&s, MERLON_DESTINATION) && solve_transport(&s) && solve_rest(&s) && solve_pkttype(&s) &&
		    merlon_needs_hold(p, needs, ret))
			return true;
	}
	return false;
}
