/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/heard.h"

#include <endian.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat/snapshot.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/netns.h"

#define ROOM (1 << 29)		/* bytes that may wait in the socket, of which the kernel makes twice as many */
#define PAUSE_MS 1		/* what comes one by one is taken together */
#define LARGEST (1 << 16)	/* one datagram: the kernel collects what fits into a page (nft_commit_notify()) */

/* A rule, and what tells where it stands. */
struct told {
	size_t at;		/* of its message */
	uint64_t handle, behind;	/* 0: it was told to be the first or the last */
	uint32_t chain;		/* index in the ruleset */
	bool appended;
};

struct merlon_heard {
	int fd;
	char *data;		/* owned: the datagrams, one behind the other */
	size_t size, room;
	bool told, lost;	/* a transaction's end; not all could be received */
	bool taken, doubtful;
	unsigned generations;	/* how many were told, and the last */
	uint32_t generation;
	struct told *rule;	/* owned: in the order that they were told, then chain by chain */
	size_t n, rule_room;
};

struct merlon_heard *merlon_heard_new(int netns)
{
	struct merlon_heard *heard = calloc(1, sizeof(*heard));
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int group = NFNLGRP_NFTABLES, room = ROOM;

	if (!heard)
		return NULL;
	heard->fd = merlon_netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (heard->fd < 0 || setsockopt(heard->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0 ||
	    bind(heard->fd, (struct sockaddr *)&self, sizeof(self)) < 0 ||
	    setsockopt(heard->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0) {
		merlon_heard_free(heard);
		return NULL;
	}
	return heard;
}

void merlon_heard_free(struct merlon_heard *heard)
{
	if (!heard)
		return;
	merlon_closep(&heard->fd);
	free(heard->data);
	free(heard->rule);
	free(heard);
}

void merlon_heard_freep(struct merlon_heard **heard)
{
	merlon_heard_free(*heard);
}

/* At least `bytes` behind what is there. */
static int make_room(struct merlon_heard *heard, size_t bytes)
{
	size_t room = heard->room ? heard->room : 1 << 20;
	char *larger;

	while (room < heard->size + bytes)
		room *= 2;
	if (room == heard->room)
		return 0;
	larger = realloc(heard->data, room);
	if (!larger)
		return -ENOMEM;
	heard->data = larger;
	heard->room = room;
	return 0;
}

/* A generation is told apart from what made it (nf_tables_gen_notify()). */
static bool is_generation(const void *datagram, size_t bytes)
{
	const struct nlmsghdr *message = datagram;

	return bytes >= MNL_NLMSG_HDRLEN && message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN);
}

static int receive_all(struct merlon_heard *heard)
{
	struct sockaddr_nl from;
	struct iovec part;
	struct msghdr message = { .msg_name = &from, .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	for (;;) {
		if (make_room(heard, LARGEST) < 0)
			return -ENOMEM;
		part = (struct iovec){ heard->data + heard->size, LARGEST };
		message.msg_namelen = sizeof(from);
		n = recvmsg(heard->fd, &message, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (message.msg_flags & MSG_TRUNC || from.nl_pid || (size_t)n != (size_t)MNL_ALIGN(n))
			return -EPROTO;
		heard->told |= is_generation(part.iov_base, n);
		heard->size += n;
	}
}

/* All that waits in the socket. What could not be told there, or did not fit, is an error of it (ENOBUFS). */
static int receive(struct merlon_heard *heard)
{
	int r = heard->lost ? -ENOBUFS : receive_all(heard);

	heard->lost |= r < 0;
	return r;
}

bool merlon_heard_transaction(struct merlon_heard *heard, int child, uint64_t end_ns)
{
	struct pollfd wait[2] = { { child, POLLIN, 0 }, { heard->fd, POLLIN, 0 } };
	uint64_t now;

	while (!heard->told && (now = merlon_now_ns()) < end_ns) {
		if (poll(wait, ARRAY_SIZE(wait), (end_ns - now) / 1000000 + 1) < 0 && errno != EINTR)
			return false;
		if (receive(heard) < 0 || wait[0].revents)
			return false;
		if (!heard->told)
			poll(wait, 1, PAUSE_MS);
	}
	return heard->told;
}

bool merlon_heard_more(struct merlon_heard *heard)
{
	size_t before = heard->size;

	return receive(heard) < 0 || heard->size != before;
}

static bool find_chain(const struct merlon_ruleset *rs, uint8_t family, const char *table, const char *name, uint32_t *ret)
{
	size_t i;

	/* one that follows another is most often of the same chain, or of the next */
	for (i = 0; i < rs->n_chains; i++) {
		uint32_t at = (*ret + i) % rs->n_chains;
		const struct merlon_table *t = &rs->table[rs->chain[at].table];

		if (t->family == family && !strcmp(rs->chain[at].name, name) && !strcmp(t->name, table)) {
			*ret = at;
			return true;
		}
	}
	return false;
}

static int note_rule(struct merlon_heard *heard, const struct nlmsghdr *message, const struct merlon_ruleset *ruleset)
{
	const struct nfgenmsg *gen = mnl_nlmsg_get_payload(message);
	const char *table = NULL, *chain = NULL;
	struct told rule = { .at = (const char *)message - heard->data, .chain = heard->n ? heard->rule[heard->n - 1].chain : 0,
			     .appended = message->nlmsg_flags & NLM_F_APPEND };
	const struct nlattr *attr;

	mnl_attr_for_each(attr, message, sizeof(*gen)) {
		uint16_t type = mnl_attr_get_type(attr);

		if (type == NFTA_RULE_TABLE)
			table = mnl_attr_get_str(attr);
		else if (type == NFTA_RULE_CHAIN)
			chain = mnl_attr_get_str(attr);
		else if (type == NFTA_RULE_HANDLE)
			rule.handle = be64toh(mnl_attr_get_u64(attr));
		else if (type == NFTA_RULE_POSITION)
			rule.behind = be64toh(mnl_attr_get_u64(attr));
	}
	if (!table || !chain || !rule.handle || !find_chain(ruleset, gen->nfgen_family, table, chain, &rule.chain))
		return -ENOENT;
	if (heard->n == heard->rule_room) {
		size_t room = heard->rule_room ? 2 * heard->rule_room : 1024;
		struct told *larger = reallocarray(heard->rule, room, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		heard->rule = larger;
		heard->rule_room = room;
	}
	heard->rule[heard->n++] = rule;
	return 0;
}

/* 0 or a negative errno: what was told is not a list of rules, one behind the other. */
static int note(struct merlon_heard *heard, const struct nlmsghdr *message, const struct merlon_ruleset *ruleset)
{
	if (message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || message->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg))
		return -EPROTO;
	switch (message->nlmsg_type & 255) {
	case NFT_MSG_NEWRULE:
		/* a transaction ends with its generation */
		return heard->generations ? -EBUSY : note_rule(heard, message, ruleset);
	case NFT_MSG_NEWTABLE:
	case NFT_MSG_NEWCHAIN:
	case NFT_MSG_NEWSET:
	case NFT_MSG_NEWSETELEM:
	case NFT_MSG_NEWOBJ:
	case NFT_MSG_NEWFLOWTABLE:
		return 0;
	case NFT_MSG_NEWGEN:
		heard->generations++;
		heard->generation = merlon_nft_generation_of(message);
		return 0;
	default:
		return -EPROTO;
	}
}

static int by_chain(const void *a, const void *b)
{
	const struct told *x = a, *y = b;

	if (x->chain != y->chain)
		return x->chain < y->chain ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

/*
 * Of each rule the kernel tells behind which other it stands, unless it is the first or the last when all are there
 * (nf_tables_rule_notify()). So a chain of three or more is in order if each but these two names the one before it; of two
 * rules, the second was added at the end, or behind the first. Kernels that name none are not believed.
 */
static bool in_order(const struct told *rule, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!rule[i].appended || rule[i].behind != (i && i + 1 < n ? rule[i - 1].handle : 0))
			return false;
	return true;
}

static bool are_in_order(const struct merlon_heard *heard)
{
	size_t i, end;

	for (i = 0; i < heard->n; i = end) {
		for (end = i + 1; end < heard->n && heard->rule[end].chain == heard->rule[i].chain;)
			end++;
		if (!in_order(heard->rule + i, end - i))
			return false;
	}
	return true;
}

static int take(struct merlon_heard *heard, const struct merlon_ruleset *ruleset)
{
	const struct nlmsghdr *message;
	size_t at;
	int left, r = receive(heard);

	for (at = 0; at < heard->size && r == 0; at += MNL_ALIGN(message->nlmsg_len)) {
		message = (void *)(heard->data + at);
		left = heard->size - at > INT32_MAX ? INT32_MAX : (int)(heard->size - at);
		r = mnl_nlmsg_ok(message, left) ? note(heard, message, ruleset) : -EPROTO;
	}
	if (r == 0 && heard->n)
		qsort(heard->rule, heard->n, sizeof(*heard->rule), by_chain);
	return r;
}

bool merlon_heard_all(struct merlon_heard *heard, uint32_t generation, const struct merlon_ruleset *ruleset)
{
	if (!heard->taken) {
		heard->taken = true;
		heard->doubtful = take(heard, ruleset) < 0 || heard->generations != 1 || !are_in_order(heard);
	}
	return !heard->doubtful && heard->generation == generation;
}

size_t merlon_heard_count(const struct merlon_heard *heard)
{
	return heard->n;
}

int merlon_heard_run(const struct merlon_heard *heard, mnl_cb_t parse, void *context)
{
	size_t i;

	for (i = 0; i < heard->n; i++)
		if (parse((void *)(heard->data + heard->rule[i].at), context) < 0)
			return -errno;
	return 0;
}
