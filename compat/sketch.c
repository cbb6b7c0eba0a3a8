/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/sketch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat/reader.h"
#include "src/util/cleanup.h"

#define NAME "%63[A-Za-z0-9_./-]"

/* "add element inet t s { 10.0.0.0/8, 192.0.2.1 }" */
struct wanted {
	bool add;
	uint8_t family;
	char table[64], set[64];
	const char *elements;	/* from the brace on */
};

static const char *const family_name[] = { [NFPROTO_INET] = "inet", [NFPROTO_IPV4] = "ip", [NFPROTO_IPV6] = "ip6" };

/* What has a name, a time to live or a comment, or is more than one command, is nft's alone to understand. */
static bool understand(const struct merlon_nft_command *command, struct wanted *ret)
{
	char verb[8], family[8] = "ip", rest[2];
	int begin = 0;

	if (!command->text || command->output || command->debug || command->check || command->optimize)
		return false;
	*ret = (struct wanted){ 0 };
	if (sscanf(command->text, " %7[a-z] element %7[a-z0-9] " NAME " " NAME " %n%1[{]", verb, family, ret->table, ret->set, &begin,
		   rest) != 5)
		return false;
	ret->add = !strcmp(verb, "add") || !strcmp(verb, "create");
	if (!ret->add && strcmp(verb, "delete"))
		return false;
	while (ret->family < ARRAY_SIZE(family_name) && (!family_name[ret->family] || strcmp(family_name[ret->family], family)))
		ret->family++;
	ret->elements = command->text + begin;
	begin = (int)(1 + strspn(ret->elements + 1, "0123456789abcdefABCDEF.:/-, "));
	return ret->family < ARRAY_SIZE(family_name) && !strcmp(ret->elements + begin, "}");
}

static const char *name_of(const struct nlmsghdr *message, uint16_t type)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, message, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(attr) == type)
			return mnl_attr_get_str(attr);
	return "";
}

/* The requests that make the table and the set; -ERANGE: it has not both. */
static int copy_frame(const struct merlon_snapshot *from, const struct wanted *wanted, struct merlon_snapshot *ret)
{
	size_t at, n = 0;

	ret->messages = malloc(from->bytes);
	if (!ret->messages)
		return -ENOMEM;
	for (at = 0; at < from->bytes && n < 2;) {
		const struct nlmsghdr *message = (void *)((char *)from->messages + at);
		const struct nfgenmsg *gen = mnl_nlmsg_get_payload(message);
		unsigned type = message->nlmsg_type & 255;

		at += MNL_ALIGN(message->nlmsg_len);
		if (gen->nfgen_family != wanted->family ||
		    !(type == NFT_MSG_NEWTABLE ? !strcmp(name_of(message, NFTA_TABLE_NAME), wanted->table) :
		      type == NFT_MSG_NEWSET && !strcmp(name_of(message, NFTA_SET_TABLE), wanted->table) &&
		      !strcmp(name_of(message, NFTA_SET_NAME), wanted->set)))
			continue;
		memcpy((char *)ret->messages + ret->bytes, message, MNL_ALIGN(message->nlmsg_len));
		ret->bytes += MNL_ALIGN(message->nlmsg_len);
		n++;
	}
	return n == 2 ? 0 : -ERANGE;
}

static int run(const struct merlon_sketch *sketch, const struct merlon_nft_command *command, const struct wanted *wanted)
{
	_cleanup_free_ char *text = NULL, *output = NULL;
	struct merlon_nft_command add = *command;
	struct merlon_diag diag = { 0 };
	int r;

	if (asprintf(&text, "add element %s %s %s %s", family_name[wanted->family], wanted->table, wanted->set, wanted->elements) < 0)
		return -ENOMEM;
	add.text = text;
	r = merlon_nft_run(sketch->fd, &add, &output, &diag);
	merlon_diag_clear(&diag);
	/* a warning is to be seen, too */
	return !r && output && *output ? -ERANGE : r > 0 ? -ERANGE : r;
}

static int take(const struct nlmsghdr *message, void *context)
{
	errno = ENOMEM;
	return merlon_snapshot_add(context, message) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int read_back(const struct merlon_sketch *sketch, const struct wanted *wanted, struct merlon_snapshot *ret)
{
	char buffer[1024];
	struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, wanted->family, NLM_F_DUMP, 0);

	mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, wanted->table);
	mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, wanted->set);
	return merlon_netlink_dump(sketch->netlink, request, take, ret);
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
static int make_requests(const struct wanted *wanted, const struct merlon_set *set, struct merlon_sketched *sketched)
{
	uint16_t type = wanted->add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM;
	char buffer[1024];
	size_t i;
	int r = 0;

	for (i = 0; i < sketched->news.n && !r; i++) {
		struct merlon_element_change *change = &sketched->news.change[i];
		struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, type, wanted->family, wanted->add ? NLM_F_CREATE | NLM_F_EXCL : 0, 0);
		struct nlattr *list;

		change->add = wanted->add;
		mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, wanted->table);
		mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, wanted->set);
		list = mnl_attr_nest_start(request, NFTA_SET_ELEM_LIST_ELEMENTS);
		put_element(request, set, change->element.lo, false);
		put_element(request, set, change->element.hi + 1, true);
		mnl_attr_nest_end(request, list);
		r = merlon_snapshot_append(&sketched->requests, request);
	}
	return r;
}

int merlon_sketch_command(const struct merlon_sketch *sketch, const struct merlon_nft_command *command,
			  const struct merlon_snapshot *snapshot, const struct merlon_ruleset *ruleset, struct merlon_sketched *ret)
{
	struct merlon_sketched sketched = { 0 };
	struct merlon_snapshot frame = { 0 }, elements = { 0 };
	const struct merlon_set *set;
	struct wanted wanted;
	int r = -ERANGE;

	if (!understand(command, &wanted))
		return -ERANGE;
	/* nft merges what it adds to the one kind; of a set without intervals it reads nothing */
	set = merlon_set_find(ruleset, wanted.family, wanted.table, wanted.set);
	if (!set || !set->bits || !set->interval || set->merge)
		return -ERANGE;
	r = copy_frame(snapshot, &wanted, &frame);
	if (!r)
		r = merlon_snapshot_restore(sketch->netlink, &frame, NULL);
	if (!r)
		r = run(sketch, command, &wanted);
	if (!r)
		r = read_back(sketch, &wanted, &elements);
	if (!r)
		r = merlon_news_of_set(elements.messages, elements.bytes, ruleset, &sketched.news);
	if (!r)
		r = make_requests(&wanted, set, &sketched);
	merlon_snapshot_clear(&frame);
	merlon_snapshot_clear(&elements);
	if (r < 0) {
		merlon_sketched_clear(&sketched);
		return r;
	}
	*ret = sketched;
	return 0;
}

void merlon_sketched_clear(struct merlon_sketched *sketched)
{
	merlon_snapshot_clear(&sketched->requests);
	merlon_news_clear(&sketched->news);
}
