/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is heard while rules are loaded is, to the byte, what a dump has; where it might not be, it is not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>

#include "compat/heard.h"
#include "compat/load.h"
#include "compat/snapshot.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/netns.h"
#include "tests/lib/ruleset_equal.h"

#define TABLE(rules) "table inet t {\n\tchain c {\n" rules "\t}\n}\n"
#define MANY "\t\ttcp dport 1-9 ip saddr 10.0.0.0/8 accept\n\t\tudp dport { 1, 2, 53 } counter drop\n" \
	     "\t\tip saddr @s limit rate 3/second log prefix \"x\" comment \"why\"\n\t\tct state vmap { new : jump d, invalid : drop }\n"
#define SIXTEEN(x) x x x x x x x x x x x x x x x x

struct heard {
	const char *name;
	const char *text[2];	/* one transaction after the other */
	bool iptables, believed;
};

static const struct heard cases[] = {
	{ "nothing", { "" }, .believed = false },
	{ "no rules", { TABLE("") }, .believed = true },
	{ "one rule", { TABLE("\t\taccept\n") }, .believed = true },
	{ "two rules", { TABLE("\t\taccept\n\t\tdrop\n") }, .believed = true },
	{ "all kinds of rules", { "table inet t {\n\tset s {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 10.0.0.0/8, 192.0.2.1 }\n\t}\n"
		"\tchain d {\n\t\treturn\n\t}\n\tchain c {\n" MANY MANY "\t}\n\tchain e {\n\t\tgoto d\n\t}\n}\n" }, .believed = true },
	{ "chains in turns", { "add table ip a\nadd table ip6 a\nadd chain ip a c\nadd chain ip6 a c\nadd chain ip a d\n"
		SIXTEEN("add rule ip a d accept\nadd rule ip6 a c drop\nadd rule ip a c counter\n") }, .believed = true },
	{ "a ruleset flushed that was empty", { "flush ruleset\n" TABLE("\t\taccept\n\t\tdrop\n\t\tcounter\n") }, .believed = true },
	{ "iptables", { "*filter\n:INPUT DROP [3:4]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"
		"[5:6] -A INPUT -p tcp -m multiport --dports 1,2 -j own\n-A INPUT -m conntrack --ctstate NEW -j DROP\n"
		"-A own -s 10.0.0.0/8 -j REJECT --reject-with icmp-port-unreachable\n-A own -j LOG --log-prefix x\nCOMMIT\n" },
	  .iptables = true, .believed = true },
	{ "two of two inserted", { "add table ip t\nadd chain ip t c\nadd rule ip t c accept\ninsert rule ip t c drop\n" }, .believed = false },
	{ "one inserted before all", { TABLE("\t\taccept\n\t\tdrop\n\t\tcounter\n") "insert rule inet t c return\n" }, .believed = false },
	{ "one put amid others", { TABLE("\t\taccept\n\t\tdrop\n\t\tcounter\n") "add rule inet t c index 0 return\n" }, .believed = false },
	{ "one put behind the first of two", { TABLE("\t\taccept\n\t\tdrop\n") "add rule inet t c index 0 return\n" }, .believed = false },
	{ "rules taken away again", { TABLE("\t\taccept\n\t\tdrop\n") "flush chain inet t c\nadd rule inet t c counter\n" }, .believed = false },
	{ "a table taken away again", { TABLE("\t\taccept\n") "delete table inet t\n" TABLE("\t\tdrop\n") }, .believed = false },
	{ "more came later", { TABLE("\t\taccept\n"), "add rule inet t c drop\n" }, .believed = false },
	{ "the same again", { TABLE("\t\taccept\n"), "flush chain inet t c\nadd rule inet t c drop\n" }, .believed = false },
	{ "one that fits into no message", { "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\n"
		"-A INPUT " SIXTEEN("-m u32 --u32 0=1 ") "-j DROP\nCOMMIT\n" }, .iptables = true, .believed = false },
};

static void load(int netns, const struct heard *c, const char *words)
{
	struct merlon_text text = { .name = "words", .text = (char *)words, .size = strlen(words) };
	struct merlon_diag diag = { 0 };
	int r = c->iptables ? merlon_iptables_load(netns, &text, AF_INET, NULL, &diag) : merlon_nft_load(netns, &text, true, NULL, &diag);

	if (r < 0)
		fail_msg("%s: %s", c->name, diag.n ? diag.message[0].text : "?");
}

static struct mnl_socket *socket_in(int netns)
{
	int fd = merlon_netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct mnl_socket *netlink = fd < 0 ? NULL : mnl_socket_fdopen(fd);

	assert_non_null(netlink);
	return netlink;
}

/* Of rulesets that are equal else. */
static bool do_the_same(const struct merlon_ruleset *a, const struct merlon_ruleset *b)
{
	size_t i, j;

	for (i = 0; i < a->n_chains; i++)
		for (j = 0; j < a->chain[i].n; j++)
			if (a->chain[i].rule[j].does != b->chain[i].rule[j].does)
				return false;
	return true;
}

static void compare(const struct heard *c, struct mnl_socket *netlink, struct merlon_heard *heard)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *dumped = NULL, *told = NULL;
	struct merlon_snapshot of_dump = { 0 }, of_told = { 0 };
	struct merlon_diag diag = { 0 };
	const char *difference;
	uint32_t generation;
	size_t i;

	assert_int_equal(merlon_snapshot_and_ruleset(netlink, &dumped, &of_dump, &generation, &diag), 0);
	assert_int_equal(merlon_snapshot_and_heard(netlink, heard, &told, &of_told, &diag), 0);
	if (merlon_heard_all(heard, generation, told) != c->believed)
		fail_msg("%s: %s", c->name, c->believed ? "not believed" : "believed");
	assert_false(merlon_heard_all(heard, generation + 1, told));
	difference = ruleset_difference(dumped, told);
	if (difference)
		fail_msg("%s: %s", c->name, difference);
	assert_true(do_the_same(dumped, told));
	assert_int_equal(of_dump.n_handles, of_told.n_handles);
	for (i = 0; i < of_dump.n_handles; i++)
		assert_memory_equal(&of_dump.handle[i], &of_told.handle[i], offsetof(struct merlon_rehandled, chain) + 4);
	assert_int_equal(of_dump.bytes, of_told.bytes);
	assert_memory_equal(of_dump.messages, of_told.messages, of_dump.bytes);
	merlon_snapshot_clear(&of_dump);
	merlon_snapshot_clear(&of_told);
}

static void one(const struct heard *c)
{
	_cleanup_(merlon_heard_freep) struct merlon_heard *heard = NULL;
	_cleanup_close_ int netns = -1;
	struct mnl_socket *netlink;
	size_t i;

	assert_int_equal(merlon_netns_new(&netns), 0);
	heard = merlon_heard_new(netns);
	assert_non_null(heard);
	for (i = 0; i < ARRAY_SIZE(c->text) && c->text[i]; i++)
		load(netns, c, c->text[i]);
	netlink = socket_in(netns);
	compare(c, netlink, heard);
	mnl_socket_close(netlink);
}

static void all(void **state)
{
	size_t i;

	(void)state;
	if (geteuid())
		skip();
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		one(&cases[i]);
}

/* So many that two threads read them, of two chains and a table that is dormant, which do all kinds of things. */
static void many(void **state)
{
	struct heard c = { "many", { NULL }, .iptables = false, .believed = true };
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out;
	unsigned i;

	(void)state;
	if (geteuid())
		skip();
	out = open_memstream(&text, &size);
	fprintf(out, "table ip sleeps {\n\tflags dormant\n\tchain c {\n\t\tmeta mark set 1\n\t\tdrop\n\t}\n}\n"
		"table ip t {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1 }\n\t}\n\tchain d {\n");
	for (i = 0; i < 6000; i++) {
		if (i == 1500)
			fprintf(out, "\t}\n\tchain c {\n");
		fprintf(out, "\t\tip saddr 10.0.%u.%u %s\n", i >> 8, i & 255, i % 7 == 3 ? "ip daddr @s drop" : i % 7 == 5 ?
			"@th,0,8 1 accept comment \"x\"" : i % 11 == 1 ? "meta mark set 3" : "tcp dport { 1, 2 } counter accept");
	}
	fprintf(out, "\t}\n}\n");
	fclose(out);
	c.text[0] = text;
	one(&c);
}

static bool is_told(struct merlon_heard *heard, int child, unsigned ms)
{
	return merlon_heard_transaction(heard, child, merlon_now_ns() + ms * 1000000ULL);
}

/* A transaction is heard before its process has ended, one that fails is not, and what comes later is noticed. */
static void ends(void **state)
{
	static const struct heard words = { "ends", { TABLE("\t\taccept\n\t\tdrop\n"), "add rule inet t c counter\n" }, .believed = false };
	_cleanup_(merlon_heard_freep) struct merlon_heard *heard = NULL;
	_cleanup_close_ int netns = -1, ended = -1, runs = -1;
	int both[2];

	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(pipe(both), 0);
	ended = both[0];
	runs = both[1];
	assert_int_equal(merlon_netns_new(&netns), 0);
	heard = merlon_heard_new(netns);
	assert_non_null(heard);
	assert_false(is_told(heard, ended, 20));
	close(TAKE_FD(runs));
	assert_false(is_told(heard, ended, 60000));
	assert_false(merlon_heard_more(heard));
	load(netns, &words, words.text[0]);
	assert_true(is_told(heard, -1, 60000));
	assert_false(merlon_heard_more(heard));
	load(netns, &words, words.text[1]);
	assert_true(merlon_heard_more(heard));
	assert_false(merlon_heard_more(heard));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(all), cmocka_unit_test(many), cmocka_unit_test(ends) };

	return cmocka_run_group_tests_name("heard", tests, NULL, NULL);
}
