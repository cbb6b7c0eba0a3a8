/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules of netfilter that this kernel may not take, blobs cut short, chains that lead in circles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <net/if.h>
#include <netinet/in.h>
#include <errno.h>
#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter_ipv4/ip_tables.h>

#include "src/host/chains.h"

/* An expression's data with up to three numbers, in a buffer of its own. */
struct pair {
	uint16_t type;
	uint32_t value;
};

static enum merlon_does does(uint8_t family, const char *name, const struct pair *pairs, size_t n)
{
	char buffer[128] __attribute__((aligned(8)));
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nlattr *nest = mnl_attr_nest_start(message, NFTA_EXPR_DATA);
	size_t i;

	for (i = 0; i < n; i++)
		mnl_attr_put_u32(message, pairs[i].type, htonl(pairs[i].value));
	mnl_attr_nest_end(message, nest);
	return merlon_expression_does(family, name, nest);
}
#define DOES(family, name, ...) \
	does(family, name, (const struct pair[]){ __VA_ARGS__ }, sizeof((const struct pair[]){ __VA_ARGS__ }) / sizeof(struct pair))

static enum merlon_does writes(uint8_t family, uint32_t base, uint32_t offset, uint32_t bytes)
{
	return DOES(family, "payload", { NFTA_PAYLOAD_SREG, 1 }, { NFTA_PAYLOAD_BASE, base }, { NFTA_PAYLOAD_OFFSET, offset },
		    { NFTA_PAYLOAD_LEN, bytes });
}

static void test_expressions(void **state)
{
	(void)state;
	assert_int_equal(DOES(NFPROTO_INET, "flow_offload", { 0, 0 }), MERLON_DOES_FLOWTABLE);
	assert_int_equal(DOES(NFPROTO_INET, "queue", { 0, 0 }), MERLON_DOES_QUEUE);
	assert_int_equal(DOES(NFPROTO_NETDEV, "fwd", { 0, 0 }), MERLON_DOES_COPY);
	assert_int_equal(DOES(NFPROTO_INET, "cmp", { 1, 1 }), MERLON_DOES_NOTHING);
	assert_int_equal(DOES(NFPROTO_INET, "meta", { NFTA_META_SREG, 1 }, { NFTA_META_KEY, NFT_META_MARK }), MERLON_DOES_MARK);
	assert_int_equal(DOES(NFPROTO_INET, "meta", { NFTA_META_DREG, 1 }, { NFTA_META_KEY, NFT_META_MARK }), MERLON_DOES_NOTHING);
	assert_int_equal(DOES(NFPROTO_BRIDGE, "meta", { NFTA_META_SREG, 1 }, { NFTA_META_KEY, 35 }), MERLON_DOES_RECEIVE);
	assert_int_equal(DOES(NFPROTO_INET, "objref", { NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_CT_HELPER }), MERLON_DOES_HELPER);
	assert_int_equal(DOES(NFPROTO_INET, "objref", { NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_CT_TIMEOUT }), MERLON_DOES_TIMEOUT);
	assert_int_equal(DOES(NFPROTO_INET, "objref", { NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER }), MERLON_DOES_NOTHING);
	assert_int_equal(merlon_expression_does(NFPROTO_INET, "target", NULL), MERLON_DOES_UNKNOWN);
	assert_int_equal(merlon_expression_does(NFPROTO_INET, "meta", NULL), MERLON_DOES_NOTHING);
}

static void test_payload(void **state)
{
	const uint32_t ip = NFT_PAYLOAD_NETWORK_HEADER;

	(void)state;
	assert_int_equal(writes(NFPROTO_IPV4, ip, 8, 2), MERLON_DOES_ALTER);
	assert_int_equal(writes(NFPROTO_IPV4, ip, 12, 4), MERLON_DOES_REWRITE);
	assert_int_equal(writes(NFPROTO_IPV4, ip, 16, 4), MERLON_DOES_REWRITE);
	assert_int_equal(writes(NFPROTO_IPV4, ip, 20, 4), MERLON_DOES_ALTER);
	assert_int_equal(writes(NFPROTO_IPV6, ip, 6, 2), MERLON_DOES_ALTER);
	assert_int_equal(writes(NFPROTO_IPV6, ip, 8, 4), MERLON_DOES_REWRITE);
	assert_int_equal(writes(NFPROTO_INET, ip, 8, 2), MERLON_DOES_ALTER);
	assert_int_equal(writes(NFPROTO_INET, ip, 8, 16), MERLON_DOES_REWRITE);
	assert_int_equal(writes(NFPROTO_INET, ip, 24, 16), MERLON_DOES_REWRITE);
	assert_int_equal(writes(NFPROTO_INET, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2), MERLON_DOES_REWRITE);
	assert_int_equal(writes(NFPROTO_INET, NFT_PAYLOAD_TRANSPORT_HEADER, 12, 2), MERLON_DOES_ALTER);
	assert_int_equal(writes(NFPROTO_NETDEV, NFT_PAYLOAD_LL_HEADER, 0, 6), MERLON_DOES_ALTER);
}

static void test_targets(void **state)
{
	struct xt_ct_target_info_v1 ct = { 0 };
	struct xt_connmark_tginfo1 one = { .mode = XT_CONNMARK_RESTORE };
	struct xt_connmark_tginfo2 two = { .mode = XT_CONNMARK_SAVE };

	(void)state;
	assert_int_equal(merlon_target_does("CT", 1, &ct, sizeof(ct)), MERLON_DOES_NOTHING);
	strcpy(ct.helper, "ftp");
	assert_int_equal(merlon_target_does("CT", 1, &ct, sizeof(ct)), MERLON_DOES_HELPER);
	strcpy(ct.timeout, "long");
	assert_int_equal(merlon_target_does("CT", 1, &ct, sizeof(ct)), MERLON_DOES_TIMEOUT);
	ct.flags = XT_CT_ZONE_MARK;
	assert_int_equal(merlon_target_does("CT", 2, &ct, sizeof(ct)), MERLON_DOES_ZONE);
	ct.flags = XT_CT_NOTRACK;
	assert_int_equal(merlon_target_does("CT", 2, &ct, sizeof(ct)), MERLON_DOES_UNTRACK);
	assert_int_equal(merlon_target_does("CT", 2, &ct, 8), MERLON_DOES_UNKNOWN);
	assert_int_equal(merlon_target_does("CONNMARK", 1, &one, sizeof(one)), MERLON_DOES_MARK);
	assert_int_equal(merlon_target_does("CONNMARK", 2, &two, sizeof(two)), MERLON_DOES_NOTHING);
	two.mode = XT_CONNMARK_RESTORE;
	assert_int_equal(merlon_target_does("CONNMARK", 2, &two, sizeof(two)), MERLON_DOES_MARK);
	assert_int_equal(merlon_target_does("CONNMARK", 3, &two, sizeof(two)), MERLON_DOES_UNKNOWN);
	assert_int_equal(merlon_target_does("NFQUEUE", 3, "", 0), MERLON_DOES_QUEUE);
	assert_int_equal(merlon_target_does("LOG", 0, "", 0), MERLON_DOES_NOTHING);
	assert_int_equal(merlon_target_does("FROBNICATE", 0, "", 0), MERLON_DOES_UNKNOWN);
}

/* One entry without matches: a target of that name, for the standard one with a verdict. */
struct entry {
	struct ipt_entry entry;
	struct xt_entry_target target;
	union {
		int verdict;
		char error[XT_FUNCTION_MAXNAMELEN];
	};
} __attribute__((aligned(8)));

static void fill(struct entry *e, const char *name, int verdict)
{
	*e = (struct entry){ .entry = { .target_offset = offsetof(struct entry, target), .next_offset = sizeof(*e) } };
	e->target.u.target_size = sizeof(*e) - offsetof(struct entry, target);
	strcpy(e->target.u.user.name, name);
	e->verdict = verdict;
}

enum { JUMP, POLICY, HEAD, MASQUERADE, RETURN, END, ENTRIES };

/* POSTROUTING jumps to `mine`, which masquerades. */
static void fill_all(struct entry *e)
{
	fill(&e[JUMP], "", 3 * sizeof(*e));
	fill(&e[POLICY], "", -NF_ACCEPT - 1);
	fill(&e[HEAD], "ERROR", 0);
	strcpy(e[HEAD].error, "mine");
	fill(&e[MASQUERADE], "MASQUERADE", 0);
	fill(&e[RETURN], "", XT_RETURN);
	fill(&e[END], "ERROR", 0);
	strcpy(e[END].error, "ERROR");
}

static struct merlon_xt_table table_of(const void *entries, size_t bytes)
{
	return (struct merlon_xt_table){
		.name = "nat", .valid_hooks = 1 << NF_INET_POST_ROUTING, .hook_entry = { [NF_INET_POST_ROUTING] = 0 },
		.underflow = { [NF_INET_POST_ROUTING] = POLICY * sizeof(struct entry) }, .entries = entries, .bytes = bytes,
	};
}

static void test_blob(void **state)
{
	struct entry e[ENTRIES];
	struct merlon_xt_table table = table_of(e, sizeof(e));
	struct merlon_chains chains = { 0 };

	(void)state;
	fill_all(e);
	assert_int_equal(merlon_chains_of_blob(&chains, &table), 0);
	assert_int_equal(merlon_chains_reach(&chains), 0);
	assert_int_equal(chains.n, 2);
	assert_string_equal(chains.chain[0].name, "POSTROUTING");
	assert_int_equal(chains.chain[0].rules, 1);
	assert_string_equal(chains.chain[1].name, "mine");
	assert_int_equal(chains.chain[1].rules, 1);
	assert_true(chains.chain[1].reached);
	assert_int_equal(chains.chain[1].does, 1 << MERLON_DOES_NAT);
	assert_int_equal(chains.chain[1].first[MERLON_DOES_NAT], 1);
	merlon_chains_clear(&chains);
}

/* Whatever the bytes are, nothing beyond them is read; a copy of exactly the size lets the sanitizer see. */
static void test_bad_blobs(void **state)
{
	struct entry e[ENTRIES];
	size_t bytes, at;

	(void)state;
	fill_all(e);
	for (bytes = 0; bytes < sizeof(e); bytes += 4) {
		void *copy = malloc(bytes + !bytes);
		struct merlon_xt_table table = table_of(copy, bytes);
		struct merlon_chains chains = { 0 };

		memcpy(copy, e, bytes);
		if (bytes % sizeof(*e))
			assert_int_equal(merlon_chains_of_blob(&chains, &table), -EPROTO);
		merlon_chains_clear(&chains);
		free(copy);
	}
	for (at = 0; at < sizeof(e); at += 2) {
		struct entry broken[ENTRIES];
		struct merlon_xt_table table = table_of(broken, sizeof(broken));
		struct merlon_chains chains = { 0 };

		memcpy(broken, e, sizeof(e));
		memset((char *)broken + at, 0xff, 2);
		merlon_chains_of_blob(&chains, &table);
		merlon_chains_clear(&chains);
	}
}

static void test_circle(void **state)
{
	struct merlon_chains chains = { 0 };

	(void)state;
	assert_non_null(merlon_chains_add(&chains, "nf_tables", NFPROTO_IPV4, "t", "base"));
	assert_non_null(merlon_chains_add(&chains, "nf_tables", NFPROTO_IPV4, "t", "a"));
	assert_non_null(merlon_chains_add(&chains, "nf_tables", NFPROTO_IPV4, "t", "b"));
	assert_non_null(merlon_chains_add(&chains, "nf_tables", NFPROTO_IPV4, "t", "lost"));
	chains.chain[0].base = true;
	merlon_chains_jump(&chains, 3, 1);
	merlon_chains_jump(&chains, 1, 2);
	merlon_chains_jump(&chains, 2, 1);
	merlon_chains_jump(&chains, 0, 1);
	assert_int_equal(merlon_chains_reach(&chains), 0);
	assert_true(chains.chain[1].reached && chains.chain[2].reached);
	assert_false(chains.chain[3].reached);
	merlon_chains_clear(&chains);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expressions), cmocka_unit_test(test_payload), cmocka_unit_test(test_targets),
		cmocka_unit_test(test_blob), cmocka_unit_test(test_bad_blobs), cmocka_unit_test(test_circle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
