/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address types: nft's `fib saddr type` and x_tables' addrtype. For IPv4 both ask the table `local` alone
 * (net/ipv4/fib_frontend.c, inet_dev_addr_type). For IPv6 nft looks up a route (net/ipv6/netfilter/nft_fib_ipv6.c), and
 * x_tables has a logic of its own (net/netfilter/xt_addrtype.c, match_type6).
 */
#include <errno.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/rtnetlink.h>

#include "compat/build.h"
#include "compat/xt.h"

#define BIT(n) (1U << (n))
#define ALL_TYPES (BIT(RTN_MAX + 1) - 1)

/* What IPv6 says of an address that is neither local nor multicast depends on all routes: unicast, unreachable, ... */
#define BY_ROUTE (BIT(RTN_UNSPEC) | BIT(RTN_UNICAST) | BIT(RTN_ANYCAST) | BIT(RTN_BLACKHOLE) | BIT(RTN_UNREACHABLE) | \
		  BIT(RTN_PROHIBIT) | BIT(RTN_THROW))

static int add(struct merlon_eval *eval, enum merlon_field field, uint32_t types, bool negated)
{
	struct merlon_statement *s = merlon_build_statement(eval->rule, MERLON_S_ADDRTYPE);

	if (!s)
		return -ENOMEM;
	s->addrtype.field = field;
	s->addrtype.types = types & ALL_TYPES;
	s->addrtype.negated = negated;
	return 0;
}

int merlon_eval_addrtype(struct merlon_eval *eval, enum merlon_field field, uint32_t types, bool negated)
{
	uint32_t by_route = types & BY_ROUTE;

	if (eval->family != MERLON_IPV4 && by_route != 0 && by_route != BY_ROUTE) {
		merlon_build_refuse(eval->rule, "`fib %s type` of types that for IPv6 depend on more than local addresses: "
				    "not supported yet", field == MERLON_F_SADDR ? "saddr" : "daddr");
		return 0;
	}
	return add(eval, field, types, negated);
}

/* The addresses that ipv6_addr_type() calls unicast: neither multicast, `::` nor mapped IPv4 ones. */
static int unicast6(struct merlon_eval *eval, enum merlon_field field, bool invert)
{
	const merlon_value mapped = (merlon_value)0xffff << 32;
	struct merlon_intervals in = { 0 };

	if (merlon_intervals_add(&in, 1, mapped - 1) < 0 ||
	    merlon_intervals_add(&in, mapped + ((merlon_value)1 << 32), ((merlon_value)0xff << 120) - 1) < 0 ||
	    (invert && merlon_intervals_complement(&in, merlon_value_max(128)) < 0)) {
		merlon_intervals_clear(&in);
		return -ENOMEM;
	}
	return merlon_eval_field(eval, field, ~0U, &in, invert);
}

/* Several types are a conjunction for IPv6, except those that are looked up: one at a time is what rules ask for. */
static int type6(const struct merlon_blob *blob, enum merlon_field field, uint32_t types, bool invert)
{
	struct merlon_eval *eval = blob->eval;

	switch (types) {
	case XT_ADDRTYPE_LOCAL:
		return add(eval, field, invert ? ~BIT(RTN_LOCAL) : BIT(RTN_LOCAL), invert);
	case XT_ADDRTYPE_MULTICAST:
		return merlon_eval_range(eval, field, (merlon_value)0xff << 120, merlon_value_max(128), invert);
	case XT_ADDRTYPE_UNICAST:
		return unicast6(eval, field, invert);
	case XT_ADDRTYPE_UNSPEC:
		return merlon_eval_range(eval, field, 0, 0, invert);
	default:
		return merlon_xt_refuse(blob, "of other types than LOCAL, MULTICAST, UNICAST or UNSPEC alone for IPv6");
	}
}

static int type(const struct merlon_blob *blob, enum merlon_field field, uint32_t types, bool invert)
{
	if (!types)
		return 0;
	if (blob->eval->family == MERLON_IPV6)
		return type6(blob, field, types, invert);
	return add(blob->eval, field, invert ? ~types : types, invert);
}

int merlon_xt_addrtype(const struct merlon_blob *blob)
{
	const struct xt_addrtype_info *zero = blob->revision == 0 ? merlon_xt_take(blob, 0, 0, sizeof(*zero)) : NULL;
	const struct xt_addrtype_info_v1 *one = blob->revision ? merlon_xt_take(blob, 1, 1, sizeof(*one)) : NULL;
	bool invert_source, invert_dest;
	int r;

	if (!zero && !one)
		return 0;
	if (blob->eval->family < 0)
		return merlon_xt_refuse(blob, "of either family");
	if (one && one->flags & (XT_ADDRTYPE_LIMIT_IFACE_IN | XT_ADDRTYPE_LIMIT_IFACE_OUT))
		return merlon_xt_refuse(blob, "--limit-iface-in or --limit-iface-out");
	invert_source = zero ? zero->invert_source : one->flags & XT_ADDRTYPE_INVERT_SOURCE;
	invert_dest = zero ? zero->invert_dest : one->flags & XT_ADDRTYPE_INVERT_DEST;
	r = type(blob, MERLON_F_SADDR, zero ? zero->source : one->source, invert_source);
	return r < 0 ? r : type(blob, MERLON_F_DADDR, zero ? zero->dest : one->dest, invert_dest);
}
