/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blobs of x_tables that no iptables of today would write: other revisions, cut short, odd contents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_iprange.h>
#include <linux/netfilter/xt_length.h>
#include <linux/netfilter/xt_limit.h>
#include <linux/netfilter/xt_mac.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_state.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ipt_REJECT.h>
#include <linux/netfilter_ipv4/ipt_ttl.h>
#include <linux/netfilter_ipv6/ip6t_rt.h>
#include <linux/rtnetlink.h>

#include "compat/reader.h"

static struct merlon_rule decode_of(int family, const char *name, uint32_t revision, const void *info, uint32_t len)
{
	struct merlon_rule rule = { 0 };
	struct merlon_eval eval = { .rule = &rule, .nfproto = family == MERLON_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6,
				    .family = family, .proto = IPPROTO_TCP };
	/* a copy of exactly this size: reading beyond it is seen by the sanitizer */
	void *copy = len ? malloc(len) : NULL;

	if (len)
		memcpy(copy, info, len);
	assert_int_equal(merlon_xt_match(&eval, name, revision, copy, len), 0);
	free(copy);
	return rule;
}

static struct merlon_rule decode(const char *name, uint32_t revision, const void *info, uint32_t len)
{
	return decode_of(MERLON_IPV4, name, revision, info, len);
}

static void drop(struct merlon_rule *rule)
{
	while (rule->n)
		merlon_statement_clear(&rule->statement[--rule->n]);
	free(rule->statement);
	free(rule->reason);
}

static void expect_refused(struct merlon_rule rule, const char *part)
{
	assert_int_equal(rule.status, MERLON_REFUSED);
	assert_non_null(rule.reason);
	if (!strstr(rule.reason, part))
		fail_msg("`%s` is not in `%s`", part, rule.reason);
	assert_int_equal(rule.n, 0);
	drop(&rule);
}

static void malformed(void **state)
{
	static const char *const names[] = { "conntrack", "state", "multiport", "limit", "icmp", "icmp6", "tcp", "udp",
					     "comment", "mark", "iprange", "length", "ttl", "hl", "tos", "dscp", "pkttype",
					     "addrtype", "mac" };
	unsigned char zero[64] = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		expect_refused(decode(names[i], 0, NULL, 0), names[i]);
		expect_refused(decode(names[i], 1, zero, 1), names[i]);
		expect_refused(decode(names[i], 77, zero, sizeof(zero)), "revision 77");
	}
	expect_refused(decode("unheard-of", 0, zero, sizeof(zero)), "match `unheard-of`: not supported yet");
}

static void states(void **state)
{
	struct xt_state_info info = { .statemask = XT_STATE_BIT(IP_CT_NEW) | XT_STATE_UNTRACKED };
	struct xt_conntrack_mtinfo1 one = { .match_flags = XT_CONNTRACK_STATE, .invert_flags = XT_CONNTRACK_STATE,
					    .state_mask = XT_CONNTRACK_STATE_INVALID };
	struct merlon_rule rule = decode("state", 0, &info, sizeof(info));

	(void)state;
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].match.in.n, 1);
	assert_true(rule.statement[0].match.in.v[0].lo == MERLON_CT_NEW);
	assert_true(rule.statement[0].match.in.v[0].hi == MERLON_CT_UNTRACKED);
	drop(&rule);
	/* of a reply, the bit is that of the state */
	assert_int_equal(XT_STATE_BIT(IP_CT_ESTABLISHED_REPLY), XT_STATE_BIT(IP_CT_ESTABLISHED));
	rule = decode("conntrack", 1, &one, sizeof(one));
	assert_int_equal(rule.n, 1);
	assert_true(rule.statement[0].match.in.v[0].lo == MERLON_CT_ESTABLISHED);
	assert_true(rule.statement[0].match.in.v[0].hi == MERLON_CT_UNTRACKED);
	drop(&rule);
	one.match_flags |= XT_CONNTRACK_STATUS;
	expect_refused(decode("conntrack", 1, &one, sizeof(one)), "--ctstatus");
	one.match_flags = XT_CONNTRACK_STATE | XT_CONNTRACK_DIRECTION;
	expect_refused(decode("conntrack", 1, &one, sizeof(one)), "--ctdir with --ctstate");
}

static void ports(void **state)
{
	struct xt_multiport old = { .flags = XT_MULTIPORT_DESTINATION, .count = 2, .ports = { 80, 22 } };
	struct xt_multiport_v1 new = { .flags = XT_MULTIPORT_SOURCE, .count = 3, .ports = { 5, 9, 7 }, .pflags = { 1 },
				       .invert = 1 };
	struct merlon_rule rule = decode("multiport", 0, &old, sizeof(old));

	(void)state;
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].match.field, MERLON_F_TH2);
	assert_int_equal(rule.statement[0].match.in.n, 2);
	assert_true(rule.statement[0].match.in.v[0].lo == 22);
	assert_int_equal(rule.statement[0].match.header_bytes, 4);
	drop(&rule);
	rule = decode("multiport", 1, &new, sizeof(new));
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].match.field, MERLON_F_TH0);
	assert_int_equal(rule.statement[0].match.in.n, 2);
	assert_true(rule.statement[0].match.in.v[0].hi == 4 && rule.statement[0].match.in.v[1].lo == 10);
	drop(&rule);
	/* source or destination: one match that says so; neither of them: two */
	old.flags = XT_MULTIPORT_EITHER;
	rule = decode("multiport", 0, &old, sizeof(old));
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].match.field, MERLON_F_TH0);
	assert_true(rule.statement[0].match.either);
	assert_int_equal(rule.statement[0].match.in.n, 2);
	drop(&rule);
	new.flags = XT_MULTIPORT_EITHER;
	rule = decode("multiport", 1, &new, sizeof(new));
	assert_int_equal(rule.n, 2);
	assert_false(rule.statement[0].match.either || rule.statement[1].match.either);
	assert_true(rule.statement[0].match.header_bytes == 4 && !rule.statement[1].match.header_bytes);
	drop(&rule);
	new.flags = XT_MULTIPORT_SOURCE;
	/* a range that ends where the list does, and a count beyond the array */
	new.pflags[2] = 1;
	rule = decode("multiport", 1, &new, sizeof(new));
	assert_int_equal(rule.status, MERLON_EXACT);
	drop(&rule);
	new.count = XT_MULTI_PORTS + 1;
	expect_refused(decode("multiport", 1, &new, sizeof(new)), "multiport");
}

/* A match that asks for nothing still wants the header. */
static void headers(void **state)
{
	struct xt_tcp any = { .spts = { 0, 0xffff }, .dpts = { 0, 0xffff } };
	struct merlon_rule rule = decode("tcp", 0, &any, sizeof(any));

	(void)state;
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].match.field, MERLON_F_TH0);
	assert_int_equal(rule.statement[0].match.header_bytes, 20);
	drop(&rule);
	any.dpts[0] = any.dpts[1] = 80;
	rule = decode("tcp", 0, &any, sizeof(any));
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].match.field, MERLON_F_TH2);
	assert_int_equal(rule.statement[0].match.header_bytes, 20);
	drop(&rule);
}

static void limits(void **state)
{
	static const struct {
		uint32_t average;
		uint64_t rate, per_s;
	} c[] = { { 3333, 3, 1 }, { 200000, 3, 60 }, { 10000, 1, 1 }, { 864000000, 1, 86400 }, { 3, 3333, 1 },
		  { 9999, 86408, 86400 } };
	struct merlon_rule rule;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(c) / sizeof(*c); i++) {
		struct xt_rateinfo info = { .avg = c[i].average, .burst = 5 };

		rule = decode("limit", 0, &info, sizeof(info));
		assert_int_equal(rule.n, 1);
		assert_int_equal(rule.statement[0].limit.rate, c[i].rate);
		assert_int_equal(rule.statement[0].limit.per_s, c[i].per_s);
		assert_int_equal(rule.statement[0].limit.burst, 5);
		drop(&rule);
	}
	expect_refused(decode("limit", 0, &(struct xt_rateinfo){ 0 }, sizeof(struct xt_rateinfo)), "limit");
}

static void expect_types(struct merlon_rule rule, enum merlon_field field, uint32_t types)
{
	assert_int_equal(rule.status, MERLON_EXACT);
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].kind, MERLON_S_ADDRTYPE);
	assert_int_equal(rule.statement[0].addrtype.field, field);
	assert_int_equal(rule.statement[0].addrtype.types, types);
	drop(&rule);
}

static void address_types(void **state)
{
	const uint32_t all = (1U << (RTN_MAX + 1)) - 1;
	struct xt_addrtype_info zero = { .source = XT_ADDRTYPE_LOCAL | XT_ADDRTYPE_BROADCAST };
	struct xt_addrtype_info_v1 one = { .dest = XT_ADDRTYPE_LOCAL };
	struct merlon_rule rule;

	(void)state;
	expect_types(decode("addrtype", 0, &zero, sizeof(zero)), MERLON_F_SADDR, 1 << RTN_LOCAL | 1 << RTN_BROADCAST);
	zero.invert_source = 1;
	expect_types(decode("addrtype", 0, &zero, sizeof(zero)), MERLON_F_SADDR, all & ~(1 << RTN_LOCAL | 1 << RTN_BROADCAST));
	expect_types(decode("addrtype", 1, &one, sizeof(one)), MERLON_F_DADDR, 1 << RTN_LOCAL);
	one.flags = XT_ADDRTYPE_INVERT_DEST;
	expect_types(decode_of(MERLON_IPV6, "addrtype", 1, &one, sizeof(one)), MERLON_F_DADDR, all & ~(1 << RTN_LOCAL));
	one.source = XT_ADDRTYPE_UNICAST;
	rule = decode("addrtype", 1, &one, sizeof(one));
	assert_int_equal(rule.n, 2);
	drop(&rule);
	one.flags = XT_ADDRTYPE_LIMIT_IFACE_IN;
	expect_refused(decode("addrtype", 1, &one, sizeof(one)), "--limit-iface");
	expect_refused(decode_of(-1, "addrtype", 1, &one, sizeof(one)), "either family");
}

/* xt_addrtype.c: several types of IPv6 must all be so. */
static void address_types6(void **state)
{
	static const uint16_t refused[] = {
		XT_ADDRTYPE_ANYCAST, XT_ADDRTYPE_UNREACHABLE, XT_ADDRTYPE_LOCAL | XT_ADDRTYPE_MULTICAST,
		XT_ADDRTYPE_LOCAL | XT_ADDRTYPE_ANYCAST, XT_ADDRTYPE_BROADCAST,
	};
	const merlon_value mapped = (merlon_value)0xffff << 32;
	struct xt_addrtype_info_v1 one = { .source = XT_ADDRTYPE_MULTICAST };
	struct merlon_rule rule = decode_of(MERLON_IPV6, "addrtype", 1, &one, sizeof(one));
	const struct merlon_intervals *in;
	size_t i;

	(void)state;
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].kind, MERLON_S_MATCH);
	assert_true(rule.statement[0].match.in.v[0].lo == (merlon_value)0xff << 120);
	assert_true(rule.statement[0].match.in.v[0].hi == merlon_value_max(128));
	drop(&rule);
	one.source = XT_ADDRTYPE_UNICAST;
	rule = decode_of(MERLON_IPV6, "addrtype", 1, &one, sizeof(one));
	in = &rule.statement[0].match.in;
	assert_true(!merlon_intervals_contain(in, 0) && merlon_intervals_contain(in, 1));
	assert_true(!merlon_intervals_contain(in, mapped) && !merlon_intervals_contain(in, mapped | 0xffffffff));
	assert_true(merlon_intervals_contain(in, mapped - 1) && merlon_intervals_contain(in, mapped + 0x100000000));
	assert_true(merlon_intervals_contain(in, ((merlon_value)0xff << 120) - 1));
	assert_false(merlon_intervals_contain(in, (merlon_value)0xff << 120));
	drop(&rule);
	for (i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		one.source = refused[i];
		expect_refused(decode_of(MERLON_IPV6, "addrtype", 1, &one, sizeof(one)), "for IPv6");
	}
}

static void mac(void **state)
{
	struct xt_mac_info info = { .srcaddr = { 2, 0, 0, 1, 2, 3 } };
	struct merlon_rule rule = decode("mac", 0, &info, sizeof(info));
	const struct merlon_lookup *lookup = rule.statement[0].lookup;

	(void)state;
	assert_int_equal(rule.n, 1);
	assert_int_equal(rule.statement[0].kind, MERLON_S_LOOKUP);
	assert_int_equal(lookup->n_parts, 2);
	assert_int_equal(lookup->part[0].field, MERLON_F_ETHER_SADDR_HIGH);
	assert_int_equal(lookup->part[1].field, MERLON_F_ETHER_SADDR_LOW);
	assert_int_equal(lookup->n, 1);
	assert_true(lookup->range[0].lo == 0x02000001 && lookup->range[0].hi == 0x02000001);
	assert_true(lookup->range[1].lo == 0x0203 && lookup->range[1].hi == 0x0203);
	assert_false(lookup->negated || lookup->map);
	drop(&rule);
	info.invert = 1;
	rule = decode("mac", 0, &info, sizeof(info));
	assert_true(rule.statement[0].lookup->negated);
	assert_int_equal(rule.statement[0].lookup->n, 1);
	drop(&rule);
}

static void expect_range(struct merlon_rule rule, enum merlon_field field, merlon_value inside, merlon_value outside)
{
	assert_int_equal(rule.status, MERLON_EXACT);
	assert_true(rule.n >= 1);
	assert_int_equal(rule.statement[rule.n - 1].match.field, field);
	assert_true(merlon_intervals_contain(&rule.statement[rule.n - 1].match.in, inside));
	assert_false(merlon_intervals_contain(&rule.statement[rule.n - 1].match.in, outside));
	drop(&rule);
}

/* Both ends and their neighbours, inverted and not. */
static void ranges(void **state)
{
	struct xt_iprange_mtinfo range = { .flags = IPRANGE_SRC | IPRANGE_DST | IPRANGE_DST_INV };
	struct xt_length_info length = { .min = 40, .max = 100 };
	struct ipt_ttl_info ttl = { .mode = IPT_TTL_NE, .ttl = 64 };
	struct ip6t_rt rt = { .segsleft = { 0, ~0U } };

	(void)state;
	range.src_min.ip = htonl(10);
	range.src_max.ip = htonl(20);
	range.dst_min.ip = htonl(30);
	range.dst_max.ip = htonl(40);
	expect_range(decode("iprange", 1, &range, sizeof(range)), MERLON_F_DADDR, 29, 30);
	expect_range(decode("iprange", 1, &range, sizeof(range)), MERLON_F_DADDR, 41, 40);
	range.flags = IPRANGE_SRC;
	expect_range(decode("iprange", 1, &range, sizeof(range)), MERLON_F_SADDR, 10, 9);
	expect_range(decode("iprange", 1, &range, sizeof(range)), MERLON_F_SADDR, 20, 21);
	expect_range(decode("length", 0, &length, sizeof(length)), MERLON_F_LENGTH, 40, 39);
	length.invert = 1;
	expect_range(decode("length", 0, &length, sizeof(length)), MERLON_F_LENGTH, 0xffffff, 100);
	expect_range(decode("ttl", 0, &ttl, sizeof(ttl)), MERLON_F_TTL, 65, 64);
	ttl.mode = IPT_TTL_LT;
	expect_range(decode("hl", 0, &ttl, sizeof(ttl)), MERLON_F_TTL, 63, 64);
	ttl.mode = IPT_TTL_GT;
	expect_range(decode("hl", 0, &ttl, sizeof(ttl)), MERLON_F_TTL, 65, 64);
	expect_range(decode("rt", 0, &rt, sizeof(rt)), MERLON_F_RT_TYPE, 255, -1);
	rt.flags = IP6T_RT_TYP;
	rt.rt_type = 4;
	expect_range(decode("rt", 0, &rt, sizeof(rt)), MERLON_F_RT_TYPE, 4, 5);
	rt.invflags = IP6T_RT_INV_TYP;
	expect_range(decode("rt", 0, &rt, sizeof(rt)), MERLON_F_RT_TYPE, 5, 4);
	rt.rt_type = 256;
	expect_range(decode("rt", 0, &rt, sizeof(rt)), MERLON_F_RT_TYPE, 0, -1);
	rt.segsleft[1] = 254;
	expect_refused(decode("rt", 0, &rt, sizeof(rt)), "--rt-segsleft");
	ttl.mode = 9;
	expect_refused(decode("ttl", 0, &ttl, sizeof(ttl)), "mode");
}

static void rejects(void **state)
{
	struct ipt_reject_info info = { .with = IPT_ICMP_ECHOREPLY };
	struct merlon_rule rule = { 0 };
	struct merlon_eval eval = { .rule = &rule, .nfproto = NFPROTO_IPV4, .family = MERLON_IPV4, .proto = -1 };

	(void)state;
	assert_int_equal(merlon_xt_target(&eval, "REJECT", 0, &info, sizeof(info)), 0);
	expect_refused(rule, "REJECT");
	rule = (struct merlon_rule){ 0 };
	info.with = 1000;
	assert_int_equal(merlon_xt_target(&eval, "REJECT", 0, &info, sizeof(info)), 0);
	expect_refused(rule, "REJECT");
	rule = (struct merlon_rule){ 0 };
	assert_int_equal(merlon_xt_target(&eval, "REJECT", 0, &info, 1), 0);
	expect_refused(rule, "REJECT");
	rule = (struct merlon_rule){ 0 };
	assert_int_equal(merlon_xt_target(&eval, NULL, 0, NULL, 0), 0);
	expect_refused(rule, "target");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed), cmocka_unit_test(states), cmocka_unit_test(ports), cmocka_unit_test(limits),
		cmocka_unit_test(rejects), cmocka_unit_test(address_types), cmocka_unit_test(address_types6),
		cmocka_unit_test(mac), cmocka_unit_test(ranges), cmocka_unit_test(headers),
	};

	return cmocka_run_group_tests_name("xt", tests, NULL, NULL);
}
