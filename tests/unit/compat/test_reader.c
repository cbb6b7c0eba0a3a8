/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reader against the kernel: each rule of tests/golden is loaded into nf_tables in a namespace, read back, and
 * compared with what is expected; then all that is printed is loaded again and must mean the same.
 * MERLON_GOLDEN_PRINT=1 prints the lines as they would be right now.
 */
#include <errno.h>
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
#include "tests/lib/ruleset_equal.h"

#define CASES 512

struct golden {
	char *text, *mode;
	char *declaration[32];
	size_t n_declarations;
	struct {
		char *rule, *status, *expected;
	} c[CASES];
	size_t n;
};

static bool can_unshare(void)
{
	int fd;

	if (merlon_netns_new(&fd) < 0)
		return false;
	close(fd);
	return true;
}

static char *slurp(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;

	if (!f || getdelim(&text, &size, -1, f) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return text;
}

static void golden_read(struct golden *g, const char *name)
{
	const char *top = getenv("MERLON_TOP_SRCDIR");
	char path[512], *line, *rest;

	snprintf(path, sizeof(path), "%s/tests/golden/%s", top ? top : ".", name);
	memset(g, 0, sizeof(*g));
	g->text = slurp(path);
	for (line = strtok_r(g->text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *semicolon;

		if (*line == '#')
			continue;
		if (*line == '=') {
			g->mode = line + 2;
		} else if (*line == '+') {
			assert_true(g->n_declarations < ARRAY_SIZE(g->declaration));
			g->declaration[g->n_declarations++] = line + 2;
		} else {
			assert_true(g->n < CASES);
			g->c[g->n].rule = line;
			semicolon = strstr(line, " ; ");
			if (semicolon) {
				*semicolon = '\0';
				g->c[g->n].status = semicolon + 3;
				semicolon = strstr(semicolon + 3, " ; ");
				assert_non_null(semicolon);
				*semicolon = '\0';
				g->c[g->n].expected = semicolon + 3;
			}
			g->n++;
		}
	}
}

/* The whole golden file as one ruleset, a rule a line; returns the line of the first rule. */
static unsigned golden_write(const struct golden *g, FILE *out)
{
	bool nft = strncmp(g->mode, "nft ", 4) == 0;
	unsigned first = 4;
	size_t i;

	if (nft) {
		fprintf(out, "table %s t {\n", g->mode + 4);
		for (i = 0; i < g->n_declarations; i++, first++)
			fprintf(out, "%s\n", g->declaration[i]);
		fputs("chain RULES {\n\n", out);
	} else {
		fputs("*filter\n:RULES - [0:0]\n:OTHER - [0:0]\n", out);
	}
	for (i = 0; i < g->n; i++)
		fprintf(out, "%s%s\n", nft ? "" : "-A RULES ", g->c[i].rule);
	fputs(nft ? "}\n}\n" : "COMMIT\n", out);
	return first;
}

/* Loads a file and removes it, whatever comes. */
static struct merlon_ruleset *load(const char *file, int family)
{
	struct merlon_source source = { .file = file, .family = family };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	int r = merlon_read_files(&source, 1, &ruleset, &diag);

	unlink(file);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	assert_int_equal(r, 0);
	return ruleset;
}

/* No hook leads there: what a rule means at which is another question. */
static struct merlon_chain *rules_chain(struct merlon_ruleset *ruleset)
{
	size_t i;

	for (i = 0; i < ruleset->n_chains; i++)
		if (!strcmp(ruleset->chain[i].name, "RULES"))
			return &ruleset->chain[i];
	fail_msg("no chain of rules");
	return NULL;
}

static void round_trip(struct merlon_ruleset *ruleset)
{
	char file[] = "/tmp/merlon-golden-XXXXXX";
	FILE *out = fdopen(mkstemp(file), "w");
	struct merlon_ruleset *again;
	const char *difference;

	merlon_ruleset_print(ruleset, out);
	fclose(out);
	again = load(file, AF_UNSPEC);
	difference = ruleset_difference(ruleset, again);
	merlon_ruleset_free(again);
	if (difference)
		fail_msg("printed and read again: %s", difference);
}

static unsigned compare(const struct golden *g, size_t i, const struct merlon_rule *rule, unsigned line)
{
	const char *status = rule->status == MERLON_EXACT ? "ok" : rule->status == MERLON_REFUSED ? "refused" : "kept";
	const char *got = rule->status == MERLON_REFUSED ? rule->reason : rule->text;

	if (getenv("MERLON_GOLDEN_PRINT")) {
		fprintf(stderr, "%s ; %s ; %s\n", g->c[i].rule, status, got);
		return 0;
	}
	if (!g->c[i].status || strcmp(g->c[i].status, status) != 0 || strcmp(g->c[i].expected, got) != 0) {
		fprintf(stderr, "# %s\n#   expected: %s ; %s\n#   got:      %s ; %s\n", g->c[i].rule,
			g->c[i].status ? g->c[i].status : "-", g->c[i].expected ? g->c[i].expected : "-", status, got);
		return 1;
	}
	if (rule->place.line != line) {
		fprintf(stderr, "# %s: line %u instead of %u\n", g->c[i].rule, rule->place.line, line);
		return 1;
	}
	return 0;
}

static void golden(void **state)
{
	char file[] = "/tmp/merlon-golden-XXXXXX";
	struct merlon_ruleset *ruleset;
	struct merlon_chain *chain;
	unsigned wrong = 0, first;
	struct golden g;
	FILE *out;
	size_t i;

	if (!can_unshare())
		skip();
	golden_read(&g, *state);
	out = fdopen(mkstemp(file), "w");
	first = golden_write(&g, out);
	fclose(out);
	ruleset = load(file, strcmp(g.mode, "iptables") == 0 ? AF_INET : strcmp(g.mode, "ip6tables") == 0 ? AF_INET6 : 0);
	chain = rules_chain(ruleset);
	assert_int_equal(chain->n, g.n);
	for (i = 0; i < g.n; i++)
		wrong += compare(&g, i, &chain->rule[i], first + i);
	assert_int_equal(wrong, 0);
	round_trip(ruleset);
	merlon_ruleset_free(ruleset);
	free(g.text);
}

/* A file in /tmp with this text, removed by the caller. */
static void write_temp(char *name, const char *text)
{
	FILE *out = fdopen(mkstemp(name), "w");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static int try_load(const char *text, int family, struct merlon_ruleset **ret, struct merlon_diag *diag)
{
	char file[] = "/tmp/merlon-reader-XXXXXX";
	struct merlon_source source = { .file = file, .family = family };
	int r;

	write_temp(file, text);
	r = merlon_read_files(&source, 1, ret, diag);
	unlink(file);
	return r;
}

static void expect_error(const char *text, unsigned line, const char *part)
{
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };

	assert_int_equal(try_load(text, AF_UNSPEC, &ruleset, &diag), -EINVAL);
	assert_null(ruleset);
	assert_true(diag.n >= 1);
	assert_int_equal(diag.message[0].line, line);
	if (!strstr(diag.message[0].text, part))
		fail_msg("`%s` is not in `%s`", part, diag.message[0].text);
	merlon_diag_clear(&diag);
}

static void errors(void **state)
{
	(void)state;
	if (!can_unshare())
		skip();
	expect_error("table inet t {\n chain c {\n  tcp dprt 22 accept\n }\n}\n", 3, "\n      ^^^^");
	expect_error("table inet t {\n chain c {\n  jump nowhere\n }\n}\n", 3, "No such file or directory");
	expect_error("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 --nonsense\nCOMMIT\n", 3, "nonsense");
	/* blanked sections keep the numbers of the lines */
	expect_error("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -s 1.1.1.1 -j ACCEPT\nCOMMIT\n*filter\n-A NOPE -j DROP\nCOMMIT\n", 6,
		     "No chain");
	expect_error("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n", 0, "IPv4 or IPv6");
	expect_error("*filter\n-A INPUT -s ::1 -j ACCEPT\n-A INPUT -s 1.1.1.1 -j ACCEPT\nCOMMIT\n", 0, "both");
}

static void unreadable(void **state)
{
	struct merlon_source source = { .file = "/nonexistent/ruleset" };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };

	(void)state;
	if (!can_unshare())
		skip();
	assert_int_equal(merlon_read_files(&source, 1, &ruleset, &diag), -ENOENT);
	assert_int_equal(diag.n, 1);
	assert_string_equal(diag.message[0].file, source.file);
	merlon_diag_clear(&diag);
}

/* Lists of addresses make several rules of a line; -I goes before; other sections are kept. */
static void iptables_lines(void **state)
{
	static const char text[] =
		"# Generated by iptables-save\n"
		"*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
		"*filter\n:INPUT ACCEPT [0:0]\n"
		"[5:300] -A INPUT -s 10.0.0.1,10.0.0.2 -d 10.1.0.1,10.1.0.2 -j ACCEPT\n"
		"-A INPUT -m comment --comment \"-s 1,2\" -j DROP\n"
		"-I INPUT 2 -i lo -j ACCEPT\n"
		"COMMIT";
	static const unsigned expected[] = { 8, 10, 8, 8, 8, 9 };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	const struct merlon_chain *chain = NULL;
	struct merlon_totals totals;
	size_t i;

	(void)state;
	if (!can_unshare())
		skip();
	if (try_load(text, AF_UNSPEC, &ruleset, &diag) < 0)
		fail_msg("%s", diag.message[0].text);
	totals = merlon_ruleset_totals(ruleset);
	assert_int_equal(totals.rules, 7);
	assert_int_equal(totals.exact, 6);
	assert_int_equal(totals.kept, 1);
	for (i = 0; i < ruleset->n_chains; i++)
		if (strcmp(ruleset->chain[i].name, "INPUT") == 0 && !ruleset->chain[i].kept)
			chain = &ruleset->chain[i];
	assert_non_null(chain);
	assert_int_equal(chain->n, ARRAY_SIZE(expected));
	for (i = 0; i < chain->n; i++)
		assert_int_equal(chain->rule[i].place.line, expected[i]);
	assert_int_equal(chain->rule[0].statement[2].counter.packets, 5);
	assert_string_equal(chain->rule[5].comment, "-s 1,2");
	merlon_ruleset_free(ruleset);
	merlon_diag_clear(&diag);
}

/* Lines of nft text: comments, strings, braces over several lines, flat commands; none where it is not certain. */
static void nft_lines(void **state)
{
	static const char text[] =
		"flush ruleset\n"			/* 1 */
		"define web = { 80,\n  443 }\n"
		"table inet t {\n"			/* 4 */
		"  set s { type ipv4_addr\n    elements = { 10.0.0.1 } }\n"
		"  chain c { type filter hook input priority 0; policy drop;\n"
		"    # a } comment\n"			/* 8 */
		"    tcp dport $web accept; udp dport 53 accept\n"
		"    tcp dport { 1,\n      2 } accept comment \"} { ;\"\n"	/* 10 */
		"    ip saddr 10.0.0.1 \\\n      accept; }\n"	/* 12 */
		"}\n"
		"add rule inet t c drop\n"		/* 15 */
		"insert rule inet t c ct state established accept\n"
		"table ip u {\n  chain c {\n    accept\n  }\n}\n"	/* 17 */
		"add rule ip u c index 0 drop\n";
	static const unsigned expected[] = { 16, 9, 9, 10, 12, 15 };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	size_t i;

	(void)state;
	if (!can_unshare())
		skip();
	if (try_load(text, AF_UNSPEC, &ruleset, &diag) < 0)
		fail_msg("%s", diag.message[0].text);
	assert_int_equal(ruleset->n_chains, 2);
	assert_int_equal(ruleset->chain[0].n, ARRAY_SIZE(expected));
	for (i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(ruleset->chain[0].rule[i].place.line, expected[i]);
	/* put at an index: the order is not that of the text */
	assert_int_equal(ruleset->chain[1].n, 2);
	assert_int_equal(ruleset->chain[1].rule[0].place.line, 0);
	merlon_ruleset_free(ruleset);
	merlon_diag_clear(&diag);
}

/* Other families, types and hooks are kept, with the chains that only they reach; both files make one ruleset. */
static void kept(void **state)
{
	static const char text[] =
		"table ip nat {\n chain only { counter; }\n"
		" chain p { type nat hook postrouting priority 100; ip saddr 10.0.0.1 masquerade; jump only; }\n}\n"
		"table arp a {\n chain i { type filter hook input priority 0; accept; }\n}\n"
		"table inet f {\n chain shared { counter; }\n chain unused { ct mark 5 accept; }\n"
		" chain pre { type filter hook prerouting priority -300; jump shared; }\n"
		" chain in { type filter hook input priority 0; jump shared; }\n}\n";
	char v4[] = "/tmp/merlon-reader-XXXXXX", v6[] = "/tmp/merlon-reader-XXXXXX", nft[] = "/tmp/merlon-reader-XXXXXX";
	struct merlon_source sources[] = { { .file = v4 }, { .file = v6 }, { .file = nft } };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	struct merlon_totals totals;
	uint32_t chain[8];
	int r;

	(void)state;
	if (!can_unshare())
		skip();
	write_temp(v4, "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.1 -j ACCEPT\nCOMMIT\n");
	write_temp(v6, "*filter\n:INPUT DROP [0:0]\n-A INPUT -s ::1 -j ACCEPT\nCOMMIT\n");
	write_temp(nft, text);
	r = merlon_read_files(sources, ARRAY_SIZE(sources), &ruleset, &diag);
	unlink(v4);
	unlink(v6);
	unlink(nft);
	merlon_diag_print(&diag, stderr);
	assert_int_equal(r, 0);
	totals = merlon_ruleset_totals(ruleset);
	assert_int_equal(totals.rules, 10);
	assert_int_equal(totals.kept, 5);
	assert_int_equal(totals.exact, 4);
	assert_int_equal(totals.refused, 1);
	assert_int_equal(merlon_ruleset_base(ruleset, MERLON_INPUT, MERLON_IPV4, chain, 8), 2);
	assert_int_equal(merlon_ruleset_base(ruleset, MERLON_INPUT, MERLON_IPV6, chain, 8), 2);
	assert_int_equal(merlon_ruleset_base(ruleset, MERLON_OUTPUT, MERLON_IPV4, chain, 8), 0);
	merlon_ruleset_free(ruleset);
	merlon_diag_clear(&diag);
}

/* Lower priorities first; of equal ones the chain that was made last. Before tracking, nothing is known of a connection. */
static void base_chains(void **state)
{
	static const char text[] =
		"table inet t {\n chain a { type filter hook output priority 0; accept; }\n"
		" chain b { type filter hook output priority 0; accept; }\n"
		" chain c { type filter hook output priority -300; ct state new jump d; }\n"
		" chain d { ct direction reply drop; }\n"
		" chain e { type filter hook output priority -100; ct state new accept; }\n"
		" chain f { type filter hook input priority -300; ct state new accept; }\n}\n";
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	uint32_t chain[8];

	(void)state;
	if (!can_unshare())
		skip();
	assert_int_equal(try_load(text, AF_UNSPEC, &ruleset, &diag), 0);
	assert_int_equal(merlon_ruleset_base(ruleset, MERLON_OUTPUT, MERLON_IPV6, chain, 8), 4);
	assert_string_equal(ruleset->chain[chain[0]].name, "c");
	assert_string_equal(ruleset->chain[chain[1]].name, "e");
	assert_string_equal(ruleset->chain[chain[2]].name, "b");
	assert_string_equal(ruleset->chain[chain[3]].name, "a");
	assert_int_equal(merlon_ruleset_base(ruleset, MERLON_OUTPUT, MERLON_IPV6, chain, 2), 2);
	assert_string_equal(ruleset->chain[chain[0]].name, "c");
	assert_int_equal(ruleset->chain[2].rule[0].status, MERLON_REFUSED);
	assert_int_equal(ruleset->chain[3].rule[0].status, MERLON_REFUSED);
	assert_int_equal(merlon_ruleset_totals(ruleset).refused, 2);
	assert_int_equal(merlon_ruleset_totals(ruleset).exact, 4);
	merlon_ruleset_free(ruleset);
	merlon_diag_clear(&diag);
}

static void ethernet_addresses(void **state)
{
	char file[] = "/tmp/merlon-test-XXXXXX";
	struct merlon_ruleset *ruleset;
	FILE *out;

	(void)state;
	if (!can_unshare())
		skip();
	out = fdopen(mkstemp(file), "w");
	fputs("table inet t {\n chain a { type filter hook input priority 0; ether saddr 02:00:00:00:00:01 accept; }\n"
	      " chain b { ether saddr 02:00:00:00:00:01 accept; }\n"
	      " chain c { type filter hook forward priority 0; tcp dport 1 accept; jump b; }\n"
	      " chain d { type filter hook output priority 0; ether saddr . tcp dport { 02:00:00:00:00:01 . 1 } accept; }\n"
	      "}\n", out);
	fclose(out);
	ruleset = load(file, 0);
	assert_int_equal(ruleset->chain[0].rule[0].status, MERLON_EXACT);
	assert_int_equal(ruleset->chain[1].rule[0].status, MERLON_REFUSED);
	assert_non_null(strstr(ruleset->chain[1].rule[0].reason, "forwarded"));
	assert_int_equal(ruleset->chain[2].rule[0].status, MERLON_EXACT);
	assert_int_equal(ruleset->chain[3].rule[0].status, MERLON_REFUSED);
	assert_non_null(strstr(ruleset->chain[3].rule[0].reason, "sends"));
	merlon_ruleset_free(ruleset);
}

/* In a namespace of its own: 0 if what runs there is read, whatever brought it in. */
static int read_live(void *context)
{
	static const char setup[] =
		"PATH=$PATH:/usr/sbin:/sbin; nft add table inet t && "
		"nft 'add chain inet t c { type filter hook input priority 0; }' && nft add rule inet t c ct mark 5 accept && "
		"iptables-nft -A INPUT -p tcp -m multiport --dports 1,3 -j DROP && "
		"iptables-legacy -A INPUT -p udp --dport 53 -j ACCEPT";
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_diag diag = { 0 };
	struct merlon_totals totals;
	int r = 0;

	if (merlon_netns_enter(*(int *)context) < 0 || system(setup) != 0)
		return 77;
	if (merlon_read_live(&ruleset, &diag) < 0) {
		merlon_diag_print(&diag, stderr);
		return 1;
	}
	totals = merlon_ruleset_totals(ruleset);
	if (totals.rules != 3 || totals.exact != 2 || totals.refused != 1)
		r = 2;
	if (ruleset->n_tables != 3 || strcmp(ruleset->table[2].name, "filter_legacy") != 0)
		r = 3;
	if (strcmp(ruleset->chain[0].rule[0].text, "ct mark 0x00000005 accept") != 0)
		r = 4;
	merlon_ruleset_print(ruleset, stdout);
	merlon_ruleset_free(ruleset);
	merlon_diag_clear(&diag);
	return r;
}

static void live(void **state)
{
	char *output = NULL;
	int netns, r;
	size_t size;

	(void)state;
	if (merlon_netns_new(&netns) < 0)
		skip();
	r = merlon_child(read_live, &netns, &output, &size);
	close(netns);
	if (r == 77) {
		free(output);
		skip();
	}
	if (r != 0 || !strstr(output, "udp dport 53"))
		fail_msg("%d: %s", r, output);
	free(output);
}

int main(void)
{
	static char inet[] = "nft-inet.t", ip[] = "nft-ip.t", ip6[] = "nft-ip6.t", v4[] = "iptables.t", v6[] = "ip6tables.t";
	const struct CMUnitTest tests[] = {
		{ inet, golden, NULL, NULL, inet },
		{ ip, golden, NULL, NULL, ip },
		{ ip6, golden, NULL, NULL, ip6 },
		{ v4, golden, NULL, NULL, v4 },
		{ v6, golden, NULL, NULL, v6 },
		cmocka_unit_test(errors),
		cmocka_unit_test(unreadable),
		cmocka_unit_test(iptables_lines),
		cmocka_unit_test(nft_lines),
		cmocka_unit_test(kept),
		cmocka_unit_test(base_chains),
		cmocka_unit_test(live),
		cmocka_unit_test(ethernet_addresses),
	};

	return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
