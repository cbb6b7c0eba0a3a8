/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/addrtype.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#define TYPE(t) (1U << (t))
#define NESTED_MAX 130	/* prefixes of different lengths around one address, and the universe */

/* The types of IPv6 addresses that nothing but other tables tell; there is no BROADCAST, NAT or XRESOLVE. */
#define ROUTED6 (TYPE(RTN_UNSPEC) | TYPE(RTN_UNICAST) | TYPE(RTN_ANYCAST) | TYPE(RTN_BLACKHOLE) | TYPE(RTN_UNREACHABLE) | \
		 TYPE(RTN_PROHIBIT) | TYPE(RTN_THROW))

struct prefix {
	merlon_value lo, hi;
	uint8_t type;
	size_t place;	/* in the list */
};

struct sweep {
	struct prefix open[NESTED_MAX];	/* around the position, the innermost last */
	size_t n_open;
	merlon_value at;
	bool done;	/* past the greatest address */
	uint32_t types;
	struct merlon_intervals *ret;
};

static int by_place(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;

	if (x->lo != y->lo)
		return x->lo < y->lo ? -1 : 1;
	if (x->hi != y->hi)
		return x->hi > y->hi ? -1 : 1;
	return (x->place > y->place) - (x->place < y->place);
}

/* All up to `hi` is of the innermost prefix's type. */
static int advance(struct sweep *s, merlon_value hi)
{
	int r = 0;

	if (s->types & TYPE(s->open[s->n_open - 1].type))
		r = merlon_intervals_add(s->ret, s->at, hi);
	s->at = hi + 1;
	s->done = hi == s->open[0].hi;
	return r;
}

static int close_before(struct sweep *s, merlon_value lo)
{
	int r = 0;

	while (s->n_open > 1 && s->open[s->n_open - 1].hi < lo && !r) {
		if (!s->done && s->at <= s->open[s->n_open - 1].hi)
			r = advance(s, s->open[s->n_open - 1].hi);
		s->n_open--;
	}
	return r;
}

/* Longest prefix first: prefixes lie within each other or apart, never across. */
static int sweep(struct sweep *s, const struct prefix *prefix, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++) {
		const struct prefix *p = &prefix[i];

		r = close_before(s, p->lo);
		if (!r && p->lo > s->at)
			r = advance(s, p->lo - 1);
		if (p->lo != s->open[s->n_open - 1].lo || p->hi != s->open[s->n_open - 1].hi || s->n_open == 1)
			s->open[s->n_open++] = *p;
	}
	for (; !r && !s->done; s->n_open--)
		if (s->at <= s->open[s->n_open - 1].hi)
			r = advance(s, s->open[s->n_open - 1].hi);
	return r;
}

static bool is_within(const struct prefix *p, const struct prefix *outer)
{
	return p->lo >= outer->lo && p->hi <= outer->hi;
}

/* What is settled before any table is asked: ipv4_is_zeronet(), _is_lbcast(), _is_multicast(), ipv6_addr_type(). */
static const struct prefix fixed4[] = {
	{ 0, 0x00ffffff, RTN_BROADCAST, 0 },
	{ 0xe0000000, 0xefffffff, RTN_MULTICAST, 0 },
	{ 0xffffffff, 0xffffffff, RTN_BROADCAST, 0 },
};
static const struct prefix fixed6[] = {
	{ (merlon_value)0xff << 120, ~(merlon_value)0, RTN_MULTICAST, 0 },
};

static size_t enter(struct prefix *to, struct prefix p, enum merlon_family family)
{
	const struct prefix *fixed = family == MERLON_IPV4 ? fixed4 : fixed6;
	size_t n = family == MERLON_IPV4 ? sizeof(fixed4) / sizeof(*fixed4) : sizeof(fixed6) / sizeof(*fixed6);

	for (size_t i = 0; i < n; i++)
		if (is_within(&p, &fixed[i]))
			return 0;
	*to = p;
	return 1;
}

static size_t enter_address(struct prefix *to, const struct merlon_address *a, size_t place, enum merlon_family family)
{
	unsigned bytes = family == MERLON_IPV4 ? 4 : 16, host = bytes * 8 - a->bits;
	merlon_value v = 0, mask = host ? merlon_value_max(host) : 0;
	struct prefix p;
	size_t n;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | a->address[i];
	p = (struct prefix){ v & ~mask, v | mask, a->type, place };
	/* a route that is an error (fib_props[] of net/ipv4/fib_semantics.c) is none */
	if (family == MERLON_IPV4 && a->type > RTN_MULTICAST)
		p.type = RTN_UNICAST;
	n = enter(to, p, family);
	/* ipv6_anycast_destination(): the first address of a prefix of less than 127 bits is not this host's alone */
	if (n && family == MERLON_IPV6 && a->bits < 127) {
		p.hi = p.lo;
		p.type = RTN_ANYCAST;
		p.place = SIZE_MAX;	/* an entry for this address alone goes before */
		n += enter(to + n, p, family);
	}
	return n;
}

int merlon_addrtype(const struct merlon_address *address, size_t n, enum merlon_family family, uint32_t types,
		    struct merlon_intervals *ret)
{
	const struct prefix *fixed = family == MERLON_IPV4 ? fixed4 : fixed6;
	size_t n_fixed = family == MERLON_IPV4 ? sizeof(fixed4) / sizeof(*fixed4) : sizeof(fixed6) / sizeof(*fixed6);
	struct sweep s = { .n_open = 1, .types = types, .ret = ret };
	struct prefix *prefix;
	size_t used = 0;
	int r;

	*ret = (struct merlon_intervals){ 0 };
	if (family == MERLON_IPV6 && types & ROUTED6 && (types & ROUTED6) != ROUTED6)
		return -ERANGE;
	prefix = calloc(2 * n + n_fixed, sizeof(*prefix));
	if (!prefix)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if ((address[i].family == AF_INET6) == (family == MERLON_IPV6))
			used += enter_address(&prefix[used], &address[i], i, family);
	}
	for (size_t i = 0; i < n_fixed; i++)
		prefix[used++] = fixed[i];
	qsort(prefix, used, sizeof(*prefix), by_place);
	s.open[0] = (struct prefix){ 0, merlon_value_max(family == MERLON_IPV4 ? 32 : 128), RTN_UNICAST, 0 };
	r = sweep(&s, prefix, used);
	free(prefix);
	if (r < 0)
		merlon_intervals_clear(ret);
	else
		merlon_intervals_normalise(ret);
	return r;
}
