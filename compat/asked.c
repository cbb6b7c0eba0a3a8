/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/asked.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"

#define NAME "%63[A-Za-z0-9_./-]"
#define MOST 256	/* elements of one command */

/* "add element inet t s { 10.0.0.0/8, 192.0.2.1 }" */
struct words {
	bool add;
	uint8_t family;
	char table[64], set[64];
	const char *elements;	/* from behind the brace on */
};

static const char *const family_name[] = { [NFPROTO_INET] = "inet", [NFPROTO_IPV4] = "ip", [NFPROTO_IPV6] = "ip6" };

static bool read_words(const struct merlon_nft_command *command, struct words *ret)
{
	char verb[8], family[8] = "ip", rest[2];
	int begin = 0;

	if (!command->text || command->output || command->debug || command->check || command->optimize)
		return false;
	*ret = (struct words){ 0 };
	if (sscanf(command->text, " %7[a-z] element %7[a-z0-9] " NAME " " NAME " %1[{]%n", verb, family, ret->table, ret->set, rest,
		   &begin) != 5)
		return false;
	ret->add = !strcmp(verb, "add") || !strcmp(verb, "create");
	if (!ret->add && strcmp(verb, "delete"))
		return false;
	while (ret->family < ARRAY_SIZE(family_name) && (!family_name[ret->family] || strcmp(family_name[ret->family], family)))
		ret->family++;
	ret->elements = command->text + begin;
	return ret->family < ARRAY_SIZE(family_name);
}

static bool read_address(const struct merlon_set *set, const char **at, merlon_value *ret)
{
	/* nft takes dots in some IPv6 addresses and not in others */
	size_t n = strspn(*at, set->bits == 32 ? "0123456789." : "0123456789abcdefABCDEF:");
	char word[INET6_ADDRSTRLEN] = "";
	uint8_t bytes[16] = { 0 };

	if (n >= sizeof(word))
		return false;
	memcpy(word, *at, n);
	if (inet_pton(set->bits == 32 ? AF_INET : AF_INET6, word, bytes) != 1)
		return false;
	*ret = 0;
	for (uint32_t i = 0; i < set->bits / 8; i++)
		*ret = *ret << 8 | bytes[i];
	*at += n;
	return true;
}

static bool read_length(const struct merlon_set *set, const char **at, merlon_value *ret_hosts)
{
	size_t n = strspn(*at, "0123456789");
	uint32_t length = atoi(*at);

	if (!n || n > 3 || **at == '0' || length > set->bits)
		return false;
	*at += n;
	*ret_hosts = length < set->bits ? merlon_value_max(set->bits) >> length : 0;
	return true;
}

/* Nothing that nft would have to make another value of, or to refuse: no prefix with bits behind it, no range that is none. */
static bool read_element(const struct merlon_set *set, const char **at, struct merlon_interval *ret)
{
	merlon_value hosts = 0;

	if (!read_address(set, at, &ret->lo))
		return false;
	ret->hi = ret->lo;
	if (**at == '-' && set->interval) {
		++*at;
		if (!read_address(set, at, &ret->hi) || ret->hi <= ret->lo)
			return false;
	} else if (**at == '/' && set->interval) {
		++*at;
		if (!read_length(set, at, &hosts) || ret->lo & hosts)
			return false;
		ret->hi |= hosts;
	}
	/* where nothing ends, or an interval has no end, nf_tables has other elements */
	return !set->interval || (ret->lo && ret->hi < merlon_value_max(set->bits));
}

static int by_lo(const void *a, const void *b)
{
	const struct merlon_element_change *x = a, *y = b;

	return (x->element.lo > y->element.lo) - (x->element.lo < y->element.lo);
}

/* -ERANGE also for some that overlap or touch: of two that nft may make one. */
static int read_elements(const struct words *words, const struct merlon_ruleset *ruleset, const struct merlon_set *set,
			 struct merlon_news *news)
{
	const char *at = words->elements;

	news->change = calloc(MOST, sizeof(*news->change));
	if (!news->change)
		return -ENOMEM;
	do {
		struct merlon_element_change *change = &news->change[news->n];

		*change = (struct merlon_element_change){ .set = set - ruleset->set, .add = words->add };
		at += strspn(at, " ");
		if (++news->n == MOST || !read_element(set, &at, &change->element))
			return -ERANGE;
		at += strspn(at, " ");
	} while (*at == ',' && at++);
	if (strcmp(at, "}"))
		return -ERANGE;
	qsort(news->change, news->n, sizeof(*news->change), by_lo);
	for (size_t i = 1; i < news->n; i++)
		if (news->change[i].element.lo <= news->change[i - 1].element.hi + 1)
			return -ERANGE;
	return 0;
}

static void put_element(struct nlmsghdr *request, const struct merlon_set *set, merlon_value at, bool end)
{
	struct nlattr *element = mnl_attr_nest_start(request, NFTA_LIST_ELEM), *key;
	uint8_t bytes[16];
	uint32_t i;

	for (i = 0; i < set->bits / 8; i++)
		bytes[i] = at >> (set->bits - 8 * (i + 1));
	if (end)
		mnl_attr_put_u32(request, NFTA_SET_ELEM_FLAGS, htonl(NFT_SET_ELEM_INTERVAL_END));
	key = mnl_attr_nest_start(request, NFTA_SET_ELEM_KEY);
	mnl_attr_put(request, NFTA_DATA_VALUE, set->bits / 8, bytes);
	mnl_attr_nest_end(request, key);
	mnl_attr_nest_end(request, element);
}

/* A start goes before its end: the other way round they are taken for a part of another interval (nft_set_rbtree.c). */
static int make_requests(const struct words *words, const struct merlon_set *set, struct merlon_asked *asked)
{
	uint16_t type = words->add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM;
	char buffer[1024];
	size_t i;
	int r = 0;

	for (i = 0; i < asked->news.n && !r; i++) {
		const struct merlon_interval *element = &asked->news.change[i].element;
		struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, type, words->family, words->add ? NLM_F_CREATE | NLM_F_EXCL : 0, 0);
		struct nlattr *list;

		mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, words->table);
		mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, words->set);
		list = mnl_attr_nest_start(request, NFTA_SET_ELEM_LIST_ELEMENTS);
		put_element(request, set, element->lo, false);
		if (set->interval)
			put_element(request, set, element->hi + 1, true);
		mnl_attr_nest_end(request, list);
		r = merlon_snapshot_append(&asked->requests, request);
	}
	return r;
}

int merlon_asked_read(const struct merlon_nft_command *command, const struct merlon_ruleset *ruleset, struct merlon_asked *ret)
{
	struct merlon_asked asked = { 0 };
	const struct merlon_set *set;
	struct words words;
	int r;

	if (!read_words(command, &words))
		return -ERANGE;
	set = merlon_set_find(ruleset, words.family, words.table, words.set);
	/* nft merges what it adds to the one kind */
	if (!set || !set->bits || set->merge)
		return -ERANGE;
	r = read_elements(&words, ruleset, set, &asked.news);
	if (!r)
		r = make_requests(&words, set, &asked);
	if (r < 0)
		merlon_asked_clear(&asked);
	else
		*ret = asked;
	return r;
}

void merlon_asked_clear(struct merlon_asked *asked)
{
	merlon_snapshot_clear(&asked->requests);
	merlon_news_clear(&asked->news);
}
