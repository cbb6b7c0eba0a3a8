/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lookups and address types as they are read from the kernel: each rule and the statement that it makes, in short. */
#include <errno.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "compat/compat.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

static const char head[] =
	"table inet t {\n"
	" chain a { }\n chain b { }\n"
	" map hosts { type ipv4_addr . inet_service : verdict; elements = { 10.0.0.2 . 23 : jump b, 10.0.0.1 . 22 : goto a }; }\n"
	" map first { type ipv4_addr . inet_service : verdict; flags interval;\n"
	"  elements = { 10.0.0.9 . 9 : drop, 10.0.0.0/8 . 1-22 : accept, * : return }; }\n"
	" set timed { type ipv4_addr; timeout 1h; elements = { 10.0.0.1, 10.0.0.2 timeout 2h, 10.0.0.3 timeout 3h expires 30m }; }\n"
	" set ranges { type ipv4_addr; flags interval,timeout; elements = { 10.0.0.0/24, 10.0.2.0/24 timeout 2h }; }\n"
	" set stays { type ipv4_addr; flags timeout; elements = { 10.0.0.1 }; }\n"
	" set pairs { type ipv4_addr . inet_service; flags timeout; elements = { 10.0.0.1 . 22 timeout 1d }; }\n"
	" set none { type ipv4_addr . inet_service; flags interval; }\n"
	" map nothing { type ipv4_addr : verdict; }\n"
	" map every { type ipv4_addr : verdict; flags interval; elements = { 10.0.0.0-10.0.0.9 : drop, 10.0.0.10 : accept, * : jump a }; }\n"
	" map states { type ct_state : verdict; elements = { established : accept, 0xa : drop }; }\n"
	" set macs { type ether_addr; elements = { 02:00:00:00:00:01, 02:00:00:00:00:02 }; }\n"
	" set nics { type ifname . ipv4_addr; elements = { \"eth0\" . 10.0.0.1, \"eth1\" . 10.0.0.1 }; }\n"
	" map data { type ipv4_addr : mark; elements = { 10.0.0.1 : 5 }; }\n"
	" set classes { typeof ip dscp; flags timeout; elements = { cs1 timeout 1h }; }\n"
	" set kinds { type pkt_type; flags timeout; elements = { broadcast timeout 1h }; }\n"
	" set dyn { type ipv4_addr; flags dynamic,timeout; timeout 1h; }\n"
	" chain c {\n  type filter hook input priority 0; policy drop;\n";

static const struct {
	const char *rule, *expected;
} cases[] = {
	/* maps of verdicts */
	{ "ip saddr . tcp dport vmap @hosts", "@hosts saddr.th2 {a000001 16:goto a,a000002 17:jump b}" },
	{ "ip saddr . tcp dport vmap @first", "@first saddr.th2 {a000009 9:drop,a000000-affffff 1-16:accept,*:return}" },
	{ "ip saddr vmap { 10.0.0.1 : accept, 10.0.0.0 : continue }", "saddr {a000000:continue,a000001:accept}" },
	{ "ip saddr vmap @nothing", "@nothing saddr {}" },
	{ "ip saddr vmap @every", "@every saddr {a000000-a000009:drop,a00000a:accept,*:jump a}" },
	{ "ct state vmap { established : accept, related : accept, invalid : drop, new : jump a }",
	  "ct {0:drop,1:accept,2:accept,3:jump a}" },
	{ "ct state vmap @states", "@states ct {1:accept}" },
	{ "ct direction vmap { original : accept, reply : drop }", "dir {0:accept,1:drop}" },
	{ "meta l4proto vmap { tcp : jump a, udp : goto b, 50 : accept }", "l4 {6:jump a,11:goto b,32:accept}" },
	{ "meta nfproto vmap { ipv4 : jump a, ipv6 : jump b }", "family {0:jump a,1:jump b}" },
	{ "meta protocol vmap { ip : jump a, ip6 : jump b, arp : drop }", "family {0:jump a,1:jump b}" },
	{ "meta mark vmap { 1 : accept, 5-7 : drop }", "mark {1:accept,5-7:drop}" },
	{ "meta mark vmap { 1 : accept, 7 : drop }", "mark {1:accept,7:drop}" },
	{ "iif vmap { lo : accept }", "iif {#1:accept}" },
	{ "iifname vmap { \"eth0\" : accept, lo : jump a }", "iif {eth0:accept,lo:jump a}" },
	{ "oifname vmap { \"eth*\" : accept, \"wg0\" : jump a }", "oif {eth+:accept,wg0:jump a}" },
	{ "icmp type vmap { echo-request : accept, 3-4 : drop }", "icmp {3-4:drop,8:accept}" },
	{ "icmpv6 type vmap { echo-request : accept, 133 : drop }", "icmp {80:accept,85:drop}" },
	{ "tcp flags vmap { syn : accept, syn|ack : drop }", "flags {2:accept,12:drop}" },
	{ "tcp flags & (syn|ack) vmap { syn : accept }", "flags {2-3:accept,6-7:accept,a-b:accept,e-f:accept,22-23:accept,26-27:accept,2a-2b:accept,2e-2f:accept,42-43:accept,46-47:accept,4a-4b:accept,4e-4f:accept,62-63:accept,66-67:accept,6a-6b:accept,6e-6f:accept,82-83:accept,86-87:accept,8a-8b:accept,8e-8f:accept,a2-a3:accept,a6-a7:accept,aa-ab:accept,ae-af:accept,c2-c3:accept,c6-c7:accept,ca-cb:accept,ce-cf:accept,e2-e3:accept,e6-e7:accept,ea-eb:accept,ee-ef:accept}" },
	{ "ip dscp vmap { cs1 : accept }", "tos {20-23:accept}" },
	{ "ip6 dscp vmap { cs1 : accept, cs2 : drop }", "tos {20-23:accept,40-43:drop}" },
	{ "tcp dport vmap { 22 : accept, 80-90 : drop }", "th2 {16:accept,50-5a:drop}" },
	{ "ip6 daddr vmap { ::1 : accept, 2001:db8::/126 : drop }",
	  "daddr6 {1:accept,20010db8000000000000000000000000-20010db8000000000000000000000003:drop}" },
	{ "ip saddr & 255.255.255.0 vmap { 10.0.0.0 : accept }", "saddr {a000000-a0000ff:accept}" },
	{ "ip ttl vmap { 1 : drop }", "ttl {1:drop}" },
	{ "ip dscp . ip saddr { cs1 . 10.0.0.1 } accept", "tos.saddr {20-23 a000001}" },
	/* concatenations */
	{ "ip saddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2 . 80 } accept", "saddr.th2 {a000001 16,a000002 50}" },
	{ "ip saddr . tcp dport != { 10.0.0.1 . 22 } accept", "not saddr.th2 {a000001 16}" },
	{ "ip saddr . ip daddr { 10.0.0.0/8 . 10.0.0.1-10.0.0.9 } accept", "saddr.daddr {a000000-affffff a000001-a000009}" },
	{ "ip6 saddr . udp dport { 2001:db8::/32 . 53 } accept",
	  "saddr6.th2 {20010db8000000000000000000000000-20010db8ffffffffffffffffffffffff 35}" },
	{ "ip saddr . tcp dport @none accept", "@none saddr.th2 {}" },
	{ "iifname . ip saddr @nics accept", "@nics iif.saddr {eth0 a000001,eth1 a000001}" },
	{ "iifname . ip saddr { \"eth*\" . 10.0.0.1, lo . 127.0.0.1 } accept", "iif.saddr {eth+ a000001,lo 7f000001}" },
	{ "iif . tcp dport { lo . 22 } accept", "iif.th2 {#1 16}" },
	{ "ct state . ip saddr { established . 10.0.0.0/8 } accept", "ct.saddr {1 a000000-affffff}" },
	{ "meta l4proto . th dport { tcp . 53, udp . 53 } accept", "l4.th2 {6 35,11 35}" },
	{ "meta nfproto . th dport { ipv4 . 53 } accept", "family.th2 {0 35}" },
	{ "ip saddr . meta mark { 10.0.0.1 . 1-7 } accept", "saddr.mark {a000001 1-7}" },
	{ "icmp type . ip saddr { echo-request . 10.0.0.1 } accept", "icmp.saddr {8 a000001}" },
	{ "ip saddr . ip protocol . th sport . th dport { 10.0.0.1 . tcp . 1-2 . 3-4 } accept",
	  "saddr.l4.th0.th2 {a000001 6 1-2 3-4}" },
	/* either port, as iptables' --ports is written */
	{ "tcp sport . tcp dport { 22 . 0-65535, 0-21 . 22, 23-65535 . 22 } accept", "either {16}" },
	{ "tcp sport . tcp dport { 22 . 0-65535, 0-21 . 22 } accept", "th0.th2 {16 0-ffff,0-15 16}" },
	{ "counter tcp sport . tcp dport { 22 . 0-65535, 0-21 . 22, 23-65535 . 22 } accept",
	  "th0.th2 {16 0-ffff,0-15 16,17-ffff 16}" },
	/* timeouts */
	{ "ip saddr @timed accept", "@timed saddr {a000001~3600000/3600000,a000002~7200000/7200000,a000003~1800000/10800000}" },
	{ "ip saddr != @timed accept", "not @timed saddr {a000001~3600000/3600000,a000002~7200000/7200000,a000003~1800000/10800000}" },
	{ "ip saddr @ranges accept", "@ranges saddr {a000000-a0000ff,a000200-a0002ff~7200000/7200000}" },
	{ "ip saddr . tcp dport @pairs accept", "@pairs saddr.th2 {a000001 16~86400000/86400000}" },
	{ "ip saddr @stays accept", "match" },
	/* Ethernet addresses */
	{ "ether saddr 02:00:00:00:00:01 accept", "mac1.mac2 {2000000 1}" },
	{ "ether saddr != 02:00:00:00:00:01 accept", "not mac1.mac2 {2000000 1}" },
	{ "ether saddr @macs accept", "@macs mac1.mac2 {2000000 1-2}" },
	{ "ether saddr { 02:00:00:00:00:01-02:00:00:02:00:03, 04:00:00:00:00:00 } accept",
	  "mac1.mac2 {2000000 1-ffff,2000001 0-ffff,2000002 0-3,4000000 0}" },
	{ "ether saddr . ip saddr { 02:00:00:00:00:01 . 10.0.0.1 } accept", "mac1.mac2.saddr {2000000 1 a000001}" },
	{ "ether saddr 02:00:00:00:00:01 ip saddr 10.0.0.1 accept", "mac1.mac2 {2000000 1}" },
	{ "ether saddr vmap { 02:00:00:00:00:01 : drop }", "mac1.mac2 {2000000 1:drop}" },
	/* address types */
	{ "fib daddr type local accept", "daddr types 4" },
	{ "fib saddr type { local, broadcast, multicast } drop", "saddr types 2c" },
	{ "fib daddr type != local drop", "not daddr types ffb" },
	{ "meta nfproto ipv4 fib saddr type unicast accept", "saddr types 2" },
	/* refused by name */
	{ "fib daddr type unicast accept", "refused: depend on more" },
	{ "fib daddr type anycast accept", "refused: depend on more" },
	{ "fib saddr . iif type local accept", "refused: `fib saddr . iif type`" },
	{ "fib daddr type vmap { local : accept }", "refused: `fib daddr type`" },
	{ "fib daddr type . tcp dport { local . 22 } accept", "refused: `fib daddr type`" },
	{ "ip saddr vmap { 10.0.0.1 : continue } counter", "refused: behind a verdict map" },
	{ "meta mark set ip saddr map @data", "refused: map `data`" },
	{ "ip saddr @dyn accept", "refused: dynamic set `dyn`" },
	{ "ip dscp @classes accept", "refused: a mask before a set with timeouts" },
	{ "meta pkttype @kinds accept", "refused: a set with timeouts of this type" },
	{ "add @dyn { ip saddr }", "refused: add or update of a set" },
	{ "ip6 dscp . ip6 saddr { cs1 . ::1 } accept", "refused: bitwise shift" },
	{ "meta skuid . tcp dport { 0 . 22 } accept", "refused: `meta skuid`" },
	{ "meta mark & 0xff vmap { 1 : accept }", "refused: mask of more than 4096" },
	{ "meta iiftype ether accept", "refused: `meta iiftype`" },
	{ "meta iiftype ppp accept", "refused: `meta iiftype`" },
	{ "ether daddr 02:00:00:00:00:01 accept", "refused: raw payload" },
};

static void describe_element(FILE *out, const struct merlon_lookup *l, size_t i)
{
	static const char *const verdict[] = { "accept", "drop", "reject", "continue", "return", "jump", "goto" };
	const struct merlon_lookup_element *e = &l->element[i];
	size_t p;

	if (e->any)
		fputc('*', out);
	for (p = 0; p < l->n_parts && !e->any; p++) {
		const struct merlon_part_range *range = &l->range[i * l->n_parts + p];
		bool named = l->part[p].field == MERLON_F_IIF || l->part[p].field == MERLON_F_OIF;

		fputs(p ? " " : "", out);
		if (named && l->name[range->lo].index)
			fprintf(out, "#%u", l->name[range->lo].index);
		else if (named)
			fprintf(out, "%s%s", l->name[range->lo].name, l->name[range->lo].prefix ? "+" : "");
		else if (range->lo >> 64)
			fprintf(out, "%llx%016llx-%llx%016llx", (unsigned long long)(range->lo >> 64), (unsigned long long)range->lo,
				(unsigned long long)(range->hi >> 64), (unsigned long long)range->hi);
		else
			fprintf(out, "%llx", (unsigned long long)range->lo);
		if (!named && !(range->lo >> 64) && range->lo != range->hi)
			fprintf(out, "-%llx", (unsigned long long)range->hi);
	}
	if (e->expires_ms)
		fprintf(out, "~%llu/%llu", (unsigned long long)e->expires_ms, (unsigned long long)e->timeout_ms);
	if (l->map)
		fprintf(out, ":%s%s%s", verdict[e->verdict], e->chain ? " " : "", e->chain ? e->chain : "");
}

static void describe_lookup(FILE *out, const struct merlon_lookup *l)
{
	static const char *const field[MERLON_FIELDS] = {
		[MERLON_F_SADDR] = "saddr", [MERLON_F_DADDR] = "daddr", [MERLON_F_TH0] = "th0", [MERLON_F_TH2] = "th2",
		[MERLON_F_L4PROTO] = "l4", [MERLON_F_IIF] = "iif", [MERLON_F_OIF] = "oif", [MERLON_F_CT_STATE] = "ct",
		[MERLON_F_TCP_FLAGS] = "flags", [MERLON_F_ICMP_TYPE] = "icmp", [MERLON_F_TTL] = "ttl", [MERLON_F_TOS] = "tos",
		[MERLON_F_MARK] = "mark", [MERLON_F_CT_DIRECTION] = "dir", [MERLON_F_NFPROTO] = "family",
		[MERLON_F_ETHER_SADDR_HIGH] = "mac1", [MERLON_F_ETHER_SADDR_LOW] = "mac2",
	};
	size_t i;

	fprintf(out, "%s%s%s%s", l->negated ? "not " : "", l->set ? "@" : "", l->set ? l->set : "", l->set ? " " : "");
	for (i = 0; i < l->n_parts; i++)
		fprintf(out, "%s%s%s", i ? "." : "", field[l->part[i].field] ? field[l->part[i].field] : "?",
			l->part[i].field <= MERLON_F_DADDR && l->part[i].family == MERLON_IPV6 ? "6" : "");
	fputs(" {", out);
	for (i = 0; i < l->n; i++) {
		fputs(i ? "," : "", out);
		describe_element(out, l, i);
	}
	fputc('}', out);
}

static void describe(FILE *out, const struct merlon_rule *rule)
{
	size_t i;

	if (rule->status == MERLON_REFUSED) {
		fprintf(out, "refused: %s", rule->reason);
		return;
	}
	for (i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_LOOKUP) {
			describe_lookup(out, s->lookup);
			return;
		}
		if (s->kind == MERLON_S_ADDRTYPE) {
			fprintf(out, "%s%s types %x", s->addrtype.negated ? "not " : "",
				s->addrtype.field == MERLON_F_SADDR ? "saddr" : "daddr", s->addrtype.types);
			return;
		}
		if (s->kind == MERLON_S_MATCH && s->match.either) {
			fprintf(out, "either {%llx}", (unsigned long long)s->match.in.v[0].lo);
			return;
		}
	}
	fputs("match", out);
}

static struct merlon_ruleset *load(const char *text)
{
	char file[] = "/tmp/merlon-lookup-XXXXXX";
	struct merlon_source source = { .file = file };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	FILE *out = fdopen(mkstemp(file), "w");
	int r, fd;

	if (merlon_netns_new(&fd) < 0) {
		unlink(file);
		fclose(out);
		skip();
	}
	close(fd);
	fputs(text, out);
	fclose(out);
	r = merlon_read_files(&source, 1, &ruleset, &diag);
	unlink(file);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	assert_int_equal(r, 0);
	return ruleset;
}

static struct merlon_chain *find_chain(struct merlon_ruleset *ruleset, const char *name)
{
	size_t i;

	for (i = 0; i < ruleset->n_chains; i++)
		if (strcmp(ruleset->chain[i].name, name) == 0)
			return &ruleset->chain[i];
	fail_msg("no chain %s", name);
	return NULL;
}

static unsigned differs(const struct merlon_rule *rule, const char *text, const char *expected)
{
	char *got = NULL;
	size_t size;
	FILE *out = open_memstream(&got, &size);
	bool same;

	describe(out, rule);
	fclose(out);
	same = strncmp(expected, "refused: ", 9) == 0 ? strncmp(got, expected, 9) == 0 && strstr(got, expected + 9) :
	       strcmp(got, expected) == 0;
	if (!same)
		fprintf(stderr, "# %s\n#   expected: %s\n#   got:      %s\n", text, expected, got);
	free(got);
	return !same;
}

static void statements(void **state)
{
	struct merlon_ruleset *ruleset;
	struct merlon_chain *chain;
	char *text = NULL;
	unsigned wrong = 0;
	size_t size, i;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	fputs(head, out);
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		fprintf(out, "%s\n", cases[i].rule);
	fputs(" }\n}\n", out);
	fclose(out);
	ruleset = load(text);
	chain = find_chain(ruleset, "c");
	assert_int_equal(chain->n, ARRAY_SIZE(cases));
	for (i = 0; i < chain->n; i++)
		wrong += differs(&chain->rule[i], cases[i].rule, cases[i].expected);
	assert_int_equal(wrong, 0);
	/* where maps lead to is reached */
	assert_true(find_chain(ruleset, "a")->reached);
	assert_true(find_chain(ruleset, "b")->reached);
	assert_int_equal(chain->rule[0].n && chain->rule[0].statement[chain->rule[0].n - 1].lookup->element[0].target,
			 find_chain(ruleset, "a") - ruleset->chain);
	merlon_ruleset_free(ruleset);
	free(text);
}

/* Declarations load again and say the same; a map whose chains are not printed is not either. */
static void declarations(void **state)
{
	static const char text[] =
		"table ip t {\n chain a { accept; }\n chain n { snat to 10.0.0.1; }\n"
		" map used { type ipv4_addr . ifname . mark : verdict; flags interval,timeout; timeout 1h;\n"
		"  elements = { 10.0.0.0/8 . \"eth*\" . 1-5 timeout 2h : jump a, * : drop }; }\n"
		" map kept { type ipv4_addr : verdict; elements = { 10.0.0.1 : jump n }; }\n"
		" map unused { type ipv4_addr : verdict; elements = { 10.0.0.1 : jump a }; }\n"
		" set macs { type ether_addr . inet_proto; flags interval; elements = { 02:00:00:00:00:01-02:00:00:00:00:09 . tcp }; }\n"
		" set odd { typeof ip id; elements = { 5 }; }\n"
		" chain p { type nat hook postrouting priority 100; ip saddr vmap @kept; }\n"
		" chain i { type filter hook input priority 0; ip saddr . iifname . meta mark vmap @used; }\n}\n";
	static const char *const expected[] = {
		"kept", NULL,
		"unused", "map unused { type ipv4_addr : verdict; elements = { 10.0.0.1 : jump a }; }",
		"odd", "set odd { typeof ip id; elements = { 5 }; }",
		"used", "map used { type ipv4_addr . ifname . mark : verdict; flags interval,timeout; timeout 3600s; "
			"elements = { 10.0.0.0/8 . \"eth*\" . 0x1-0x5 timeout 7200s : jump a, * : drop }; }",
		"macs", "set macs { type ether_addr . inet_proto; flags interval; "
			"elements = { 02:00:00:00:00:01-02:00:00:00:00:09 . tcp }; }",
	};
	struct merlon_ruleset *ruleset;
	size_t i, j;

	(void)state;
	ruleset = load(text);
	for (i = 0; i < ARRAY_SIZE(expected); i += 2) {
		for (j = 0; j < ruleset->n_sets && strcmp(ruleset->set[j].name, expected[i]) != 0; j++)
			;
		assert_true(j < ruleset->n_sets);
		if (expected[i + 1])
			assert_string_equal(ruleset->set[j].declaration, expected[i + 1]);
		else
			assert_null(ruleset->set[j].declaration);
	}
	assert_true(find_chain(ruleset, "a")->reached);
	assert_true(find_chain(ruleset, "n")->kept);
	merlon_ruleset_free(ruleset);
}

/* Maps ask for connections as matches do. */
static void early(void **state)
{
	struct merlon_ruleset *ruleset;

	(void)state;
	ruleset = load("table ip t {\n chain o { type filter hook output priority -300; ct state vmap { new : drop }\n"
		       "  ip saddr . ct state { 10.0.0.1 . new } drop\n }\n}\n");
	assert_int_equal(merlon_ruleset_totals(ruleset).refused, 2);
	merlon_ruleset_free(ruleset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statements),
		cmocka_unit_test(declarations),
		cmocka_unit_test(early),
	};

	return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
