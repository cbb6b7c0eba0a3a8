/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ruleset and a snapshot that follow nf_tables' notifications of elements, against what the kernel has in the end: they say the
 * same, compile to the same image, and the snapshot makes the same ruleset in another namespace.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "compat/asked.h"
#include "compat/compat.h"
#include "compat/news.h"
#include "src/compile/compile.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

#define ROUNDS 150
#define GIBBERISH 20000

static const char text[] =
	"table inet t {\n"
	"set a { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 10.0.2.0-10.0.2.7 }; }\n"
	"set b { type ipv4_addr; elements = { 10.1.0.1, 10.1.0.2 }; }\n"
	"set c { type ipv6_addr; flags interval; elements = { fd00::/64, fd00:1::1 }; }\n"
	"set m { type ipv4_addr; flags interval; auto-merge; elements = { 10.2.0.0/24, 10.2.9.0/24 }; }\n"
	"set p { type inet_service; elements = { 1, 2 }; }\n"
	"set e { type ipv4_addr; flags interval; elements = { 10.4.0.0/24, 10.4.2.0-10.4.2.7 }; }\n"
	"chain i { type filter hook input priority 0;\n"
	"ip saddr @a counter drop\n"
	"ip daddr != @a ip saddr @b accept\n"
	"ip saddr != @b tcp dport @p drop\n"
	"ip6 saddr @c drop\n"
	"ip saddr @m drop\n"
	"ip saddr != @e ip daddr @e drop\n"
	"}\n"
	"chain kept { type filter hook prerouting priority 0; ip daddr @a accept; }\n"
	"}\n";

struct space {
	int fd;
	struct mnl_socket *netlink, *news;
	char heard[1 << 17];
	size_t bytes;
	uint32_t generation;
	struct merlon_ruleset *ruleset;
	struct merlon_snapshot snapshot;
};

static struct mnl_socket *open_socket(int netns)
{
	int fd = merlon_netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct mnl_socket *netlink = fd < 0 ? NULL : mnl_socket_fdopen(fd);

	assert_non_null(netlink);
	return netlink;
}

static void read_all(struct space *s)
{
	struct merlon_diag diag = { 0 };

	merlon_ruleset_free(s->ruleset);
	merlon_snapshot_clear(&s->snapshot);
	assert_int_equal(merlon_snapshot_and_ruleset(s->netlink, &s->ruleset, &s->snapshot, &s->generation, &diag), 0);
}

static void run_nft(const struct space *s, const char *command)
{
	struct merlon_nft_command nft = { .text = command };
	_cleanup_free_ char *output = NULL;
	struct merlon_diag diag = { 0 };

	/* what nft refuses changes nothing */
	assert_true(merlon_nft_run(s->fd, &nft, &output, &diag) >= 0);
}

static int set_up(void **state)
{
	int group = NFNLGRP_NFTABLES, fd;
	struct merlon_diag diag = { 0 };
	struct space *s;

	if (merlon_policyns_new(&fd, &diag) < 0) {
		merlon_diag_clear(&diag);
		*state = NULL;
		return 0;
	}
	s = calloc(1, sizeof(*s));
	assert_non_null(s);
	s->fd = fd;
	s->netlink = open_socket(fd);
	s->news = open_socket(fd);
	assert_int_equal(mnl_socket_bind(s->news, 0, MNL_SOCKET_AUTOPID), 0);
	assert_int_equal(mnl_socket_setsockopt(s->news, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)), 0);
	run_nft(s, text);
	read_all(s);
	assert_int_equal(s->ruleset->n_sets, 6);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct space *s = *state;

	if (!s)
		return 0;
	merlon_ruleset_free(s->ruleset);
	merlon_snapshot_clear(&s->snapshot);
	mnl_socket_close(s->netlink);
	mnl_socket_close(s->news);
	close(s->fd);
	free(s);
	return 0;
}

/* What came since the namespace was read or followed last. */
static uint32_t hear(struct space *s)
{
	uint32_t now;
	size_t until;
	ssize_t n;

	s->bytes = 0;
	while ((n = recv(mnl_socket_get_fd(s->news), s->heard + s->bytes, sizeof(s->heard) - s->bytes, MSG_DONTWAIT)) > 0)
		s->bytes += MNL_ALIGN(n);
	until = merlon_news_until(s->heard, s->bytes, s->generation);
	memmove(s->heard, s->heard + until, s->bytes - until);
	s->bytes -= until;
	assert_int_equal(merlon_nft_generation(s->netlink, &now), 0);
	return now;
}

/* Whether the change was followed; else the namespace has been read. */
static bool follow(struct space *s)
{
	struct merlon_news news = { 0 };
	uint32_t now;
	int r;

	now = hear(s);
	r = merlon_news_read(s->heard, s->bytes, s->generation, now, s->ruleset, &news);
	if (!r)
		r = merlon_elements_change(s->ruleset, news.change, news.n, false);
	if (!r)
		r = merlon_snapshot_follow(&s->snapshot, s->heard, s->bytes, s->generation, now);
	merlon_news_clear(&news);
	if (r < 0)
		read_all(s);
	s->generation = now;
	return r == 0;
}

static char *print(const struct merlon_ruleset *ruleset)
{
	char *printed = NULL;
	size_t size;
	FILE *out = open_memstream(&printed, &size);

	assert_non_null(out);
	merlon_ruleset_print(ruleset, out);
	assert_int_equal(fclose(out), 0);
	return printed;
}

static void assert_same(const struct merlon_ruleset *a, const struct merlon_ruleset *b)
{
	_cleanup_free_ char *x = print(a), *y = print(b);
	const struct merlon_compile_options options = { .generation = 1, .first_counter = 1, .max_counters = 1 << 16, .max_limits = 16 };
	struct merlon_policy *p, *q;
	struct merlon_diag diag = { 0 };

	assert_string_equal(x, y);
	assert_int_equal(merlon_compile(a, &options, &p, &diag), 0);
	assert_int_equal(merlon_compile(b, &options, &q, &diag), 0);
	assert_int_equal(p->words, q->words);
	assert_memory_equal(p->image, q->image, p->words * sizeof(*p->image));
	merlon_policy_free(p);
	merlon_policy_free(q);
}

/* What is kept is what a reading gives, here and where the snapshot is put. */
static void assert_kept(const struct space *s)
{
	struct merlon_ruleset *now, *again;
	struct merlon_diag diag = { 0 };
	struct mnl_socket *other;
	int fd;

	assert_int_equal(merlon_read_netlink(s->netlink, &now, &diag), 0);
	assert_same(s->ruleset, now);
	assert_int_equal(merlon_policyns_new(&fd, &diag), 0);
	other = open_socket(fd);
	assert_int_equal(merlon_snapshot_restore(other, &s->snapshot, NULL), 0);
	assert_int_equal(merlon_read_netlink(other, &again, &diag), 0);
	assert_same(s->ruleset, again);
	merlon_ruleset_free(now);
	merlon_ruleset_free(again);
	mnl_socket_close(other);
	close(fd);
}

static void random_element(char name, char *to, size_t size)
{
	int host = rand() % 24, net = rand() % 4, family = name == 'a' ? 0 : name == 'b' ? 1 : name == 'e' ? 4 : 2;

	if (name == 'c' && rand() % 2)
		snprintf(to, size, "fd00:%d::%d", net, host);
	else if (name == 'c')
		snprintf(to, size, "fd00:%d:%d::/48", 2 + net, host);
	else if (name == 'b' || rand() % 2)
		snprintf(to, size, "10.%d.%d.%d", family, net, host);
	else if (rand() % 2)
		snprintf(to, size, "10.%d.%d.%d/30", family, net, host & ~3);
	else
		snprintf(to, size, "10.%d.%d.%d-10.%d.%d.%d", family, net, host, family, net, host + 1 + rand() % 9);
}

static void random_command(char *to, size_t size)
{
	char name = "abcme"[rand() % 5], first[80], second[80];

	random_element(name, first, sizeof(first));
	*second = 0;
	if (rand() % 2)
		random_element(name, second, sizeof(second));
	snprintf(to, size, "%s element inet t %c { %s%s%s }", rand() % 3 ? "add" : "delete", name, first, *second ? ", " : "", second);
}

static void random_changes(void **state)
{
	struct space *s = *state;
	unsigned followed = 0;
	char command[512];

	if (!s)
		skip();
	srand(1);
	for (unsigned i = 0; i < ROUNDS; i++) {
		random_command(command, sizeof(command));
		run_nft(s, command);
		followed += follow(s);
		if (i % 5 == 4)
			assert_kept(s);
	}
	assert_kept(s);
	/* or the test is about nothing */
	assert_true(followed > ROUNDS / 2);
}

/* What nft makes of a command, in a namespace that holds the same. NULL: it refuses it. */
static struct merlon_ruleset *as_nft(const struct space *s, const struct space *other, const char *text_of)
{
	struct merlon_nft_command command = { .text = text_of };
	_cleanup_free_ char *output = NULL;
	struct merlon_diag diag = { 0 };
	struct merlon_ruleset *made;
	int r;

	assert_int_equal(merlon_snapshot_restore(other->netlink, &s->snapshot, NULL), 0);
	r = merlon_nft_run(other->fd, &command, &output, &diag);
	assert_true(r >= 0);
	if (r)
		return NULL;
	assert_int_equal(merlon_read_netlink(other->netlink, &made, &diag), 0);
	return made;
}

/* Whether the command was understood without nft, which does the same then. */
static bool ask(struct space *s, const struct space *other, const char *text_of)
{
	struct merlon_nft_command command = { .text = text_of };
	struct merlon_ruleset *made;
	struct merlon_asked asked;

	if (merlon_asked_read(&command, s->ruleset, &asked) < 0)
		return false;
	assert_true(asked.news.n);
	if (merlon_elements_change(s->ruleset, asked.news.change, asked.news.n, false) < 0) {
		merlon_asked_clear(&asked);
		return false;
	}
	made = as_nft(s, other, text_of);
	if (!made)
		fail_msg("nft refuses it: %s", text_of);
	/* there and back, and there, here and in the snapshot */
	assert_int_equal(merlon_elements_change(s->ruleset, asked.news.change, asked.news.n, true), 0);
	assert_int_equal(merlon_elements_change(s->ruleset, asked.news.change, asked.news.n, false), 0);
	assert_int_equal(merlon_snapshot_change(&s->snapshot, &asked.requests), 0);
	merlon_snapshot_change_back(&s->snapshot, &asked.requests);
	assert_int_equal(merlon_snapshot_change(&s->snapshot, &asked.requests), 0);
	assert_int_equal(merlon_snapshot_request(s->netlink, &asked.requests, &s->generation), 0);
	assert_int_equal(hear(s), s->generation + 1);
	s->generation++;
	assert_same(s->ruleset, made);
	merlon_ruleset_free(made);
	merlon_asked_clear(&asked);
	return true;
}

static void open_other(struct space *other)
{
	struct merlon_diag diag = { 0 };

	assert_int_equal(merlon_policyns_new(&other->fd, &diag), 0);
	other->netlink = open_socket(other->fd);
}

static void close_other(struct space *other)
{
	mnl_socket_close(other->netlink);
	close(other->fd);
}

static void asked_at_random(void **state)
{
	struct space *s = *state, other;
	unsigned added = 0, deleted = 0;
	char text_of[512], last[256] = "";

	if (!s)
		skip();
	open_other(&other);
	srand(2);
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		random_command(text_of, sizeof(text_of));
		if (*last && i % 3 == 2) {
			snprintf(text_of, sizeof(text_of), "delete element %s", last);
			deleted += ask(s, &other, text_of);
			*last = 0;
		} else if (ask(s, &other, text_of)) {
			added++;
			sscanf(text_of, "%*s element %255[^\n]", last);
		}
		if (i % 10 == 9)
			assert_kept(s);
	}
	assert_true(added > ROUNDS / 4);
	assert_true(deleted > ROUNDS / 10);
	close_other(&other);
}

/* Each is understood as nft understands it, or not at all; `plain`: it is. */
static void asked_oddly(void **state)
{
	static const struct {
		const char *text;
		bool plain;
	} command[] = {
		{ "add element inet t e { 10.9.0.0/16 }", true },
		{ "add element inet t e {10.8.0.1-10.8.0.9,10.7.0.1}", true },
		{ "  create element inet t e { 10.8.1.0/31 , 10.8.2.0/32 }", true },
		{ "delete element inet t e { 10.8.2.0, 10.8.1.0/31 }", true },
		{ "add element inet t b { 10.1.7.1, 10.1.7.2 }", false },	/* neighbours */
		{ "add element inet t b { 10.1.7.1, 10.1.7.3 }", true },
		{ "add element inet t c { fd00:7::/127, ::ffff:a00:1 }", true },
		{ "add element inet t c { ::ffff:10.0.0.1 }", false },
		{ "add element inet t c { fd00:5::ffff:1.2.3.4 }", false },
		{ "add element inet t c { FD00:8::1-fd00:8::FFFF }", true },
		{ "add element inet t c { fd00:9::1/128 }", true },
		{ "add element inet t e { 1.2.3.4 - 1.2.3.9 }", false },
		{ "add element inet t e { 10.1 }", false },
		{ "add element inet t e { 010.0.0.9 }", false },
		{ "add element inet t e { 172.16.0.1/16 }", false },
		{ "add element inet t e { 172.16.0.0/016 }", false },
		{ "add element inet t e { 172.16.0.0/33 }", false },
		{ "add element inet t e { 172.16.0.9-172.16.0.9 }", false },
		{ "add element inet t e { 172.16.0.9-172.16.0.1 }", false },
		{ "add element inet t e { 172.16.0.0/16, 172.16.7.1 }", false },
		{ "add element inet t e { 172.16.0.0/16, 172.17.0.0/16 }", false },
		{ "add element inet t e { 0.0.0.0/1 }", false },
		{ "add element inet t e { 255.255.255.255 }", false },
		{ "add element inet t e { 172.16.0.1, }", false },
		{ "add element inet t e { }", false },
		{ "add element inet t e { 172.16.0.1 } ; add element inet t e { 172.16.0.3 }", false },
		{ "add element inet t e { fd00::77 }", false },
		{ "add element inet t e { localhost }", false },
		{ "add element inet t b { 172.16.0.0/31 }", false },
		{ "add element inet t b { 10.1.0.1 }", false },
		{ "add element inet t a { 172.16.0.1 }", false },	/* what is kept looks in it, too */
		{ "add element inet t m { 172.16.0.1 }", false },
		{ "add element inet t p { 7 }", false },
		{ "add element inet t nothing { 172.16.0.1 }", false },
		{ "add element inet t e { 172.16.0.1 timeout 1m }", false },
		{ "delete element inet t e { 172.16.0.1 }", false },
		{ "destroy element inet t e { 10.4.0.0/24 }", false },
		{ "get element inet t e { 10.4.0.0/24 }", false },
	};
	struct space *s = *state, other;

	if (!s)
		skip();
	open_other(&other);
	for (size_t i = 0; i < ARRAY_SIZE(command); i++)
		if (ask(s, &other, command[i].text) != command[i].plain)
			fail_msg("%s: %s", command[i].plain ? "not understood" : "understood", command[i].text);
	assert_kept(s);
	close_other(&other);
}

/* Words out of what addresses are made of: most are none. */
static void asked_in_gibberish(void **state)
{
	static const char *const part[] = { "10", "0", "1", "255", "256", ".", ".", ".", ".0.0", ".1.1", "::", ":", "fd00", "a", "/", "/24", "/9", "-", ",", " " };
	struct space *s = *state, other;
	unsigned done = 0;

	if (!s)
		skip();
	open_other(&other);
	srand(3);
	for (unsigned i = 0; i < GIBBERISH; i++) {
		char text_of[256], word[128] = "";

		for (int n = 2 + rand() % 8; n; n--)
			strcat(word, part[rand() % ARRAY_SIZE(part)]);
		snprintf(text_of, sizeof(text_of), "add element inet t %c { %s }", "bce"[rand() % 3], word);
		done += ask(s, &other, text_of);
	}
	assert_true(done > 10);
	assert_kept(s);
	close_other(&other);
}

/* What is no change of bare elements, or not known whole, is for a reading. */
static void others(void **state)
{
	static const char *const command[] = {
		"add rule inet t i tcp dport 7 accept",
		"add element inet t p { 3 }",
		"add element inet t a { 255.0.0.0-255.255.255.255 }",
		"add element inet t a { 10.0.99.1 comment \"x\" }",
		"add set inet t d { type ipv4_addr; }",
		"flush set inet t b",
		"add table ip u",
		"delete table ip u",
	};
	struct space *s = *state;
	struct merlon_news news;
	uint32_t now;

	if (!s)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(command); i++) {
		run_nft(s, command[i]);
		if (follow(s))
			fail_msg("followed: %s", command[i]);
		assert_kept(s);
	}
	read_all(s);
	run_nft(s, "add element inet t b { 10.1.9.1 }");
	run_nft(s, "add element inet t b { 10.1.9.2 }");
	now = hear(s);
	assert_int_equal(now, s->generation + 2);
	assert_int_equal(merlon_news_read(s->heard, s->bytes, s->generation, now, s->ruleset, &news), 0);
	assert_int_equal(news.n, 2);
	merlon_news_clear(&news);
	/* one is missing at the end, or at the beginning */
	assert_int_equal(merlon_news_read(s->heard, s->bytes, s->generation, now + 1, s->ruleset, &news), -ERANGE);
	assert_int_equal(merlon_news_read(s->heard, s->bytes, s->generation - 1, now, s->ruleset, &news), -ERANGE);
	assert_int_equal(merlon_news_read(s->heard, merlon_news_until(s->heard, s->bytes, now - 1), s->generation, now, s->ruleset, &news), -ERANGE);
}

/* There and back. */
static void undone(void **state)
{
	struct space *s = *state;
	struct merlon_news news;
	uint32_t now;

	if (!s)
		skip();
	run_nft(s, "delete element inet t a { 10.0.0.0/24 }");
	run_nft(s, "add element inet t c { fd00:9::/48, fd00:8::8 }");
	now = hear(s);
	assert_int_equal(merlon_news_read(s->heard, s->bytes, s->generation, now, s->ruleset, &news), 0);
	assert_int_equal(merlon_snapshot_follow(&s->snapshot, s->heard, s->bytes, s->generation, now), 0);
	merlon_snapshot_unfollow(&s->snapshot, s->heard, s->bytes, s->generation, now);
	merlon_news_clear(&news);
	/* the kernel goes back, too */
	run_nft(s, "add element inet t a { 10.0.0.0/24 }");
	run_nft(s, "delete element inet t c { fd00:9::/48, fd00:8::8 }");
	assert_kept(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_changes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(asked_at_random, set_up, tear_down),
		cmocka_unit_test_setup_teardown(asked_oddly, set_up, tear_down),
		cmocka_unit_test_setup_teardown(asked_in_gibberish, set_up, tear_down),
		cmocka_unit_test_setup_teardown(others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(undone, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("news", tests, NULL, NULL);
}
