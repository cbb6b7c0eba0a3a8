/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/snapshot.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "compat/heard.h"
#include "compat/reader.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/netlink.h"

#define TRIES 20
#define ADDED 64		/* bytes that a request may have more than the message of the dump */
#define ACKNOWLEDGED 1		/* sequence number of the request whose acknowledgement tells that all is done */

/* One kind of object: what a dump of it asks, what makes it anew, and which of its attributes only the kernel can give. */
struct kind {
	uint16_t get, new;
	uint16_t flags;		/* of the request that makes it */
	uint32_t leave;		/* attributes, a bit each */
};

#define BIT(n) (1U << (n))

static const struct kind tables = { NFT_MSG_GETTABLE, NFT_MSG_NEWTABLE, 0, BIT(NFTA_TABLE_HANDLE) | BIT(NFTA_TABLE_USE) |
				    BIT(NFTA_TABLE_PAD) };
static const struct kind chains = { NFT_MSG_GETCHAIN, NFT_MSG_NEWCHAIN, 0, BIT(NFTA_CHAIN_HANDLE) | BIT(NFTA_CHAIN_USE) |
				    BIT(NFTA_CHAIN_PAD) | BIT(NFTA_CHAIN_ID) };
/* 19 and 20, NFTA_SET_TYPE and NFTA_SET_COUNT, only tell, and are refused in a request (Linux 6.16). */
static const struct kind sets = { NFT_MSG_GETSET, NFT_MSG_NEWSET, 0, BIT(NFTA_SET_HANDLE) | BIT(NFTA_SET_PAD) |
				  BIT(NFTA_SET_ID) | BIT(19) | BIT(20) };
static const struct kind objects = { NFT_MSG_GETOBJ, NFT_MSG_NEWOBJ, 0, BIT(NFTA_OBJ_HANDLE) | BIT(NFTA_OBJ_USE) | BIT(NFTA_OBJ_PAD) };
static const struct kind flowtables = { NFT_MSG_GETFLOWTABLE, NFT_MSG_NEWFLOWTABLE, 0,
					BIT(NFTA_FLOWTABLE_HANDLE) | BIT(NFTA_FLOWTABLE_USE) | BIT(NFTA_FLOWTABLE_PAD) };
static const struct kind elements = { NFT_MSG_GETSETELEM, NFT_MSG_NEWSETELEM, 0, 0 };
static const struct kind rules = { NFT_MSG_GETRULE, NFT_MSG_NEWRULE, NLM_F_APPEND, BIT(NFTA_RULE_HANDLE) | BIT(NFTA_RULE_POSITION) |
				   BIT(NFTA_RULE_PAD) | BIT(NFTA_RULE_ID) };

struct counted {
	uint8_t family;
	char *table;		/* owned */
	uint64_t handles;
};

struct taking {
	struct merlon_snapshot *snapshot;
	const struct kind *kind;
	struct merlon_heard *heard;	/* what is known of the rules, or NULL */
	size_t room, handles_room;
	uint32_t set_id, generation;
	struct counted *counted;	/* owned */
	size_t n_counted;
};

static void *reserve(struct taking *t, size_t bytes)
{
	struct merlon_snapshot *s = t->snapshot;
	size_t room = t->room ? t->room : 1 << 16;
	void *larger;

	while (room < s->bytes + bytes)
		room *= 2;
	if (room != t->room) {
		larger = realloc(s->messages, room);
		if (!larger)
			return NULL;
		s->messages = larger;
		t->room = room;
	}
	return (char *)s->messages + s->bytes;
}

uint32_t merlon_nft_generation_of(const struct nlmsghdr *message)
{
	const struct nlattr *id = merlon_nfnl_attribute(message, NFTA_GEN_ID);

	return id ? ntohl(mnl_attr_get_u32(id)) : 0;
}

static int parse_generation(const struct nlmsghdr *message, void *context)
{
	*(uint32_t *)context = merlon_nft_generation_of(message);
	return MNL_CB_STOP;
}

int merlon_nft_generation(struct mnl_socket *netlink, uint32_t *ret)
{
	char buffer[256];

	return merlon_netlink_dump(netlink, nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETGEN, AF_UNSPEC, 0, 0), parse_generation, ret);
}

/*
 * Chains, sets, objects and rules of a table share one counter of handles, which begins with the table
 * (nf_tables_alloc_handle()): so the handles that come of a restore are known before.
 */
static uint64_t next_handle(struct taking *t, const struct nlmsghdr *message)
{
	const struct nfgenmsg *gen = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr = merlon_nfnl_attribute(message, NFTA_RULE_TABLE);	/* the first of all these kinds */
	const char *name = attr ? mnl_attr_get_str(attr) : "";
	struct counted *larger;
	size_t i;

	for (i = 0; i < t->n_counted; i++)
		if (t->counted[i].family == gen->nfgen_family && !strcmp(t->counted[i].table, name))
			return ++t->counted[i].handles;
	larger = reallocarray(t->counted, t->n_counted + 1, sizeof(*larger));
	if (!larger)
		return 0;
	t->counted = larger;
	larger[t->n_counted] = (struct counted){ .family = gen->nfgen_family, .table = strdup(name), .handles = 1 };
	return larger[t->n_counted].table ? larger[t->n_counted++].handles : 0;
}

static void forget_counted(struct taking *t)
{
	while (t->n_counted)
		free(t->counted[--t->n_counted].table);
	free(t->counted);
	t->counted = NULL;
}

static uint32_t hash_chain(uint8_t family, const char *table, const char *chain)
{
	uint32_t hash = family;

	for (; *table; table++)
		hash = hash * 31 + (unsigned char)*table;
	for (hash = hash * 31; *chain; chain++)
		hash = hash * 31 + (unsigned char)*chain;
	return hash;
}

static int take_handle(struct taking *t, const struct nlmsghdr *message)
{
	const struct nlattr *attr = merlon_nfnl_attribute(message, NFTA_RULE_HANDLE), *table = merlon_nfnl_attribute(message, NFTA_RULE_TABLE);
	const struct nlattr *chain = merlon_nfnl_attribute(message, NFTA_RULE_CHAIN);
	const struct nfgenmsg *gen = mnl_nlmsg_get_payload(message);
	struct merlon_snapshot *s = t->snapshot;
	uint64_t becomes = next_handle(t, message);

	if (!becomes)
		return -ENOMEM;
	if (t->kind != &rules || !attr || !table || !chain)
		return 0;
	if (s->n_handles == t->handles_room) {
		size_t room = t->handles_room ? 2 * t->handles_room : 64;
		struct merlon_rehandled *larger = reallocarray(s->handle, room, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		s->handle = larger;
		t->handles_room = room;
	}
	s->handle[s->n_handles++] = (struct merlon_rehandled){
		.was = be64toh(mnl_attr_get_u64(attr)), .becomes = becomes,
		.chain = hash_chain(gen->nfgen_family, mnl_attr_get_str(table), mnl_attr_get_str(chain)),
	};
	return 0;
}

/*
 * Matches and targets of x_tables want to know which protocol their rule asks for. The kernel takes that from the request
 * that makes the rule (NFTA_RULE_COMPAT) and does not keep it; iptables-nft derives it from the `-p` of the rule, which
 * is the first comparison of meta l4proto (iptables/nft-shared.c, add_proto).
 */
bool merlon_snapshot_compat(struct nftnl_rule *rule, uint32_t *ret_proto, uint32_t *ret_flags)
{
	struct nftnl_expr_iter *iter = nftnl_expr_iter_create(rule);
	uint32_t proto = 0, flags = 0, len, reg = 0;
	bool needed = false;
	struct nftnl_expr *e;

	while (iter && (e = nftnl_expr_iter_next(iter))) {
		const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
		const uint8_t *data;

		needed |= !strcmp(name, "match") || !strcmp(name, "target");
		if (!strcmp(name, "meta") && nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY) == NFT_META_L4PROTO) {
			reg = nftnl_expr_get_u32(e, NFTNL_EXPR_META_DREG);
		} else if (!proto && reg && !strcmp(name, "cmp") && nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_SREG) == reg &&
			   (data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len)) && len) {
			proto = *data;
			flags = nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_OP) == NFT_CMP_NEQ ? NFT_RULE_COMPAT_F_INV : 0;
		}
	}
	if (iter)
		nftnl_expr_iter_destroy(iter);
	if (!needed || !proto)
		return false;
	*ret_proto = proto;
	*ret_flags = flags;
	return true;
}

static int add_compat(const struct nlmsghdr *from, struct nlmsghdr *to)
{
	struct nftnl_rule *rule;
	uint32_t proto, flags;
	struct nlattr *nest;
	bool needed;

	/* most rules have none of them, and need no parsing */
	if (!memmem(from, from->nlmsg_len, "match", sizeof("match")) && !memmem(from, from->nlmsg_len, "target", sizeof("target")))
		return 0;
	rule = nftnl_rule_alloc();
	if (!rule)
		return -ENOMEM;
	needed = nftnl_rule_nlmsg_parse(from, rule) == 0 && merlon_snapshot_compat(rule, &proto, &flags);
	nftnl_rule_free(rule);
	if (!needed)
		return 0;
	nest = mnl_attr_nest_start(to, NFTA_RULE_COMPAT);
	mnl_attr_put_u32(to, NFTA_RULE_COMPAT_PROTO, htonl(proto));
	mnl_attr_put_u32(to, NFTA_RULE_COMPAT_FLAGS, htonl(flags));
	mnl_attr_nest_end(to, nest);
	return 0;
}

/* The message of a dump becomes the request that makes the same thing. */
static int take_message(const struct nlmsghdr *from, void *context)
{
	struct taking *t = context;
	struct nlmsghdr *to = reserve(t, from->nlmsg_len + ADDED);
	const struct nlattr *attr;

	errno = ENOMEM;
	if (!to)
		return MNL_CB_ERROR;
	memcpy(to, from, MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg));
	to->nlmsg_len = MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct nfgenmsg));
	to->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | t->kind->new;
	to->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | t->kind->flags;
	to->nlmsg_seq = to->nlmsg_pid = 0;
	((struct nfgenmsg *)mnl_nlmsg_get_payload(to))->res_id = 0;
	mnl_attr_for_each(attr, from, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(attr) < 32 && t->kind->leave & BIT(mnl_attr_get_type(attr)))
			continue;
		memcpy(mnl_nlmsg_get_payload_tail(to), attr, attr->nla_len);
		memset((char *)mnl_nlmsg_get_payload_tail(to) + attr->nla_len, 0, MNL_ALIGN(attr->nla_len) - attr->nla_len);
		to->nlmsg_len += MNL_ALIGN(attr->nla_len);
	}
	/* nf_tables_newset() insists on a number; names lead to the set all the same, also to an anonymous one. */
	if (t->kind == &sets)
		mnl_attr_put_u32(to, NFTA_SET_ID, htonl(++t->set_id));
	if (t->kind == &sets && merlon_nfnl_attribute(from, NFTA_SET_FLAGS) &&
	    ntohl(mnl_attr_get_u32(merlon_nfnl_attribute(from, NFTA_SET_FLAGS))) & NFT_SET_TIMEOUT)
		t->snapshot->ages = true;
	if (t->kind != &tables && t->kind != &elements && take_handle(t, from) < 0)
		return MNL_CB_ERROR;
	if (t->kind == &rules && add_compat(from, to) < 0)
		return MNL_CB_ERROR;
	t->snapshot->bytes += MNL_ALIGN(to->nlmsg_len);
	return MNL_CB_OK;
}

static int take_all(struct mnl_socket *netlink, struct taking *t, const struct kind *kind)
{
	char buffer[256];

	t->kind = kind;
	return merlon_netlink_dump(netlink, nftnl_nlmsg_build_hdr(buffer, kind->get, AF_UNSPEC, NLM_F_DUMP, 0), take_message, t);
}

static void age_element(const struct nlattr *element, int64_t ms)
{
	struct nlattr *attr;
	int64_t left;

	mnl_attr_for_each_nested(attr, element)
		if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_EXPIRATION && mnl_attr_get_payload_len(attr) == sizeof(left)) {
			left = (int64_t)be64toh(mnl_attr_get_u64(attr)) - ms;
			/* 0 would be one that never ends */
			left = (int64_t)htobe64(left > 1 ? left : 1);
			memcpy(mnl_attr_get_payload(attr), &left, sizeof(left));
		}
}

/* Lets time pass, or takes it back, for the elements among these requests. */
static void age_elements(char *messages, size_t bytes, int64_t ms)
{
	const struct nlattr *list, *element;
	size_t at;

	for (at = 0; at < bytes;) {
		const struct nlmsghdr *message = (void *)(messages + at);

		at += MNL_ALIGN(message->nlmsg_len);
		if ((message->nlmsg_type & 255) != NFT_MSG_NEWSETELEM)
			continue;
		list = merlon_nfnl_attribute(message, NFTA_SET_ELEM_LIST_ELEMENTS);
		if (list)
			mnl_attr_for_each_nested(element, list)
				age_element(element, ms);
	}
}

/* The elements of the sets that stand in [from, to) of the snapshot, with what was left of their time at its taken_ns. */
static int take_elements(struct mnl_socket *netlink, struct taking *t, size_t from, size_t to)
{
	size_t begin, taken;
	char buffer[1024];
	int64_t late_ms;
	int r = 0;

	t->kind = &elements;
	while (from < to && r == 0) {
		const struct nlmsghdr *set = (void *)((char *)t->snapshot->messages + from);
		const struct nfgenmsg *gen = mnl_nlmsg_get_payload(set);
		const struct nlattr *table = merlon_nfnl_attribute(set, NFTA_SET_TABLE), *name = merlon_nfnl_attribute(set, NFTA_SET_NAME);
		struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, elements.get, gen->nfgen_family, NLM_F_DUMP, 0);

		from += MNL_ALIGN(set->nlmsg_len);
		if (!table || !name)
			return -EPROTO;
		mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, mnl_attr_get_str(table));
		mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, mnl_attr_get_str(name));
		begin = t->snapshot->bytes;
		late_ms = (int64_t)(merlon_tick_ns() - t->snapshot->taken_ns) / 1000000;
		r = merlon_netlink_dump(netlink, request, take_message, t);
		taken = t->snapshot->bytes - begin;
		if (!r && taken)
			r = merlon_snapshot_leave_orphans((char *)t->snapshot->messages + begin, &taken);
		if (!r && taken)
			r = merlon_snapshot_upwards((char *)t->snapshot->messages + begin, taken);
		if (!r && t->snapshot->ages)
			age_elements((char *)t->snapshot->messages + begin, taken, -late_ms);
		t->snapshot->bytes = begin + taken;
	}
	return r;
}

static int take_rules(struct mnl_socket *netlink, struct taking *t, struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag)
{
	const struct merlon_along along = { t->heard, take_message, t };

	if (!ret_ruleset)
		return take_all(netlink, t, &rules);
	t->kind = &rules;
	return merlon_read_along(netlink, &along, ret_ruleset, diag);
}

/* `ret_ruleset` NULL: it is not asked for. */
static int take_once(struct mnl_socket *netlink, struct taking *t, struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag)
{
	uint32_t before = 0, after = 0;
	size_t from, to;
	int r;

	t->snapshot->bytes = t->snapshot->n_handles = 0;
	t->snapshot->ages = false;
	t->snapshot->taken_ns = merlon_tick_ns();
	t->set_id = 0;
	forget_counted(t);
	if ((r = merlon_nft_generation(netlink, &before)) < 0 || (r = take_all(netlink, t, &tables)) < 0 ||
	    (r = take_all(netlink, t, &chains)) < 0)
		return r;
	from = t->snapshot->bytes;
	if ((r = take_all(netlink, t, &sets)) < 0)
		return r;
	to = t->snapshot->bytes;
	if ((r = take_all(netlink, t, &objects)) < 0 || (r = take_all(netlink, t, &flowtables)) < 0 ||
	    (r = take_elements(netlink, t, from, to)) < 0 || (r = take_rules(netlink, t, ret_ruleset, diag)) < 0 ||
	    (r = merlon_nft_generation(netlink, &after)) < 0)
		return r == -ENOENT ? -EINTR : r;
	t->generation = after;
	return before == after ? 0 : -EINTR;
}

int merlon_snapshot_take(struct mnl_socket *netlink, struct merlon_snapshot *ret)
{
	struct merlon_snapshot snapshot = { 0 };
	struct taking t = { .snapshot = &snapshot };
	int r = -EINTR, tries;

	for (tries = 0; tries < TRIES && r == -EINTR; tries++)
		r = take_once(netlink, &t, NULL, NULL);
	forget_counted(&t);
	if (r < 0) {
		merlon_snapshot_clear(&snapshot);
		return r == -EINTR ? -EAGAIN : r;
	}
	*ret = snapshot;
	return 0;
}

/* `t` has what was heard, and gets the generation. */
static int take_both(struct mnl_socket *netlink, struct taking *t, struct merlon_ruleset **ret_ruleset, struct merlon_snapshot *ret,
		     struct merlon_diag *diag)
{
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_snapshot snapshot = { 0 };
	int r = -EINTR, tries;

	t->snapshot = &snapshot;

	for (tries = 0; tries < TRIES && r == -EINTR; tries++) {
		merlon_ruleset_free(ruleset);
		ruleset = NULL;
		r = take_once(netlink, t, &ruleset, diag);
	}
	forget_counted(t);
	if (r < 0) {
		merlon_ruleset_free(ruleset);
		merlon_snapshot_clear(&snapshot);
		if (!diag->n)
			merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot read nf_tables: %s",
					r == -EINTR ? "it kept changing" : strerror(-r));
		return r == -EINTR ? -EAGAIN : r;
	}
	*ret_ruleset = ruleset;
	*ret = snapshot;
	return 0;
}

int merlon_snapshot_and_ruleset(struct mnl_socket *netlink, struct merlon_ruleset **ret_ruleset, struct merlon_snapshot *ret,
				uint32_t *ret_generation, struct merlon_diag *diag)
{
	struct taking t = { 0 };
	int r = take_both(netlink, &t, ret_ruleset, ret, diag);

	if (r == 0)
		*ret_generation = t.generation;
	return r;
}

int merlon_snapshot_and_heard(struct mnl_socket *netlink, struct merlon_heard *heard, struct merlon_ruleset **ret_ruleset,
			      struct merlon_snapshot *ret, struct merlon_diag *diag)
{
	struct taking t = { .heard = heard };

	return take_both(netlink, &t, ret_ruleset, ret, diag);
}

void merlon_snapshot_clear(struct merlon_snapshot *snapshot)
{
	free(snapshot->messages);
	free(snapshot->handle);
	*snapshot = (struct merlon_snapshot){ 0 };
}

/* A transaction that is larger than the socket's buffer is refused as a whole (-EMSGSIZE). */
static void make_room(struct mnl_socket *netlink, size_t bytes)
{
	int fd = mnl_socket_get_fd(netlink), room = bytes > MERLON_SNAPSHOT_LARGEST / 2 ? (int)MERLON_SNAPSHOT_LARGEST : (int)bytes + 65536;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

/* Errors and the acknowledgement come when all is done (nfnetlink_rcv_batch()), which is before sendmsg() returns. */
static int read_outcome(struct mnl_socket *netlink)
{
	_cleanup_free_ char *buffer = malloc(1 << 16);
	int r = -EIO;
	bool failed = false;

	if (!buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(netlink), buffer, 1 << 16, MSG_DONTWAIT);
		const struct nlmsghdr *message = (void *)buffer;
		int left = (int)n;

		if (n < 0 && errno == ENOBUFS)
			continue;
		if (n < 0)
			return errno == EAGAIN ? r : -errno;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);

			if (message->nlmsg_type != NLMSG_ERROR || failed)
				continue;
			if (error->error || message->nlmsg_seq == ACKNOWLEDGED)
				r = error->error;
			failed = error->error;
		}
	}
}

/* `empty`: what the namespace holds goes first. */
static int send_all(struct mnl_socket *netlink, const struct merlon_snapshot *snapshot, const uint32_t *generation, bool empty)
{
	char head[256], tail[256];
	struct nlmsghdr *begin = nftnl_batch_begin(head, 0), *all, *end;
	struct iovec part[3] = { { .iov_base = head }, { snapshot->messages, snapshot->bytes }, { .iov_base = tail } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct msghdr message = { .msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = part, .msg_iovlen = 3 };

	if (generation)
		mnl_attr_put_u32(begin, NFNL_BATCH_GENID, htonl(*generation));
	part[0].iov_len = MNL_ALIGN(begin->nlmsg_len);
	if (empty) {
		/* all tables of all families (nf_tables_deltable(), without a name) */
		all = nftnl_nlmsg_build_hdr(head + part[0].iov_len, NFT_MSG_DELTABLE, AF_UNSPEC, NLM_F_ACK, ACKNOWLEDGED);
		part[0].iov_len += MNL_ALIGN(all->nlmsg_len);
	}
	end = nftnl_batch_end(tail, 0);
	part[2].iov_len = MNL_ALIGN(end->nlmsg_len);
	make_room(netlink, part[0].iov_len + snapshot->bytes + part[2].iov_len);
	if (sendmsg(mnl_socket_get_fd(netlink), &message, 0) < 0)
		return -errno;
	return read_outcome(netlink);
}

int merlon_snapshot_restore(struct mnl_socket *netlink, const struct merlon_snapshot *snapshot, const uint32_t *generation)
{
	return send_all(netlink, snapshot, generation, true);
}

int merlon_snapshot_request(struct mnl_socket *netlink, struct merlon_snapshot *requests, const uint32_t *generation)
{
	struct nlmsghdr *last = NULL;
	size_t at;

	for (at = 0; at < requests->bytes; at += MNL_ALIGN(last->nlmsg_len))
		last = (void *)((char *)requests->messages + at);
	if (!last)
		return -EINVAL;
	last->nlmsg_flags |= NLM_F_ACK;
	last->nlmsg_seq = ACKNOWLEDGED;
	return send_all(netlink, requests, generation, false);
}

void merlon_snapshot_age(struct merlon_snapshot *snapshot, uint64_t now_ns)
{
	/* whole milliseconds; what is less counts the next time */
	int64_t ms = (int64_t)(now_ns - snapshot->taken_ns) / 1000000;

	snapshot->taken_ns += ms * 1000000;
	if (snapshot->ages)
		age_elements(snapshot->messages, snapshot->bytes, ms);
}

static int number_chain(const struct nlmsghdr *message, void *context)
{
	const struct nfgenmsg *gen = mnl_nlmsg_get_payload(message);
	const struct nlattr *table = merlon_nfnl_attribute(message, NFTA_CHAIN_TABLE), *name = merlon_nfnl_attribute(message, NFTA_CHAIN_NAME);
	const struct nlattr *handle = merlon_nfnl_attribute(message, NFTA_CHAIN_HANDLE);
	struct merlon_ruleset *rs = context;
	size_t i;

	for (i = 0; table && name && handle && i < rs->n_chains; i++) {
		const struct merlon_table *t = &rs->table[rs->chain[i].table];

		if (t->family == gen->nfgen_family && !strcmp(rs->chain[i].name, mnl_attr_get_str(name)) &&
		    !strcmp(t->name, mnl_attr_get_str(table)))
			rs->chain[i].handle = be64toh(mnl_attr_get_u64(handle));
	}
	return MNL_CB_OK;
}

static int number_table(const struct nlmsghdr *message, void *context)
{
	const struct nfgenmsg *gen = mnl_nlmsg_get_payload(message);
	const struct nlattr *name = merlon_nfnl_attribute(message, NFTA_TABLE_NAME), *handle = merlon_nfnl_attribute(message, NFTA_TABLE_HANDLE);
	struct merlon_ruleset *rs = context;
	size_t i;

	for (i = 0; name && handle && i < rs->n_tables; i++)
		if (rs->table[i].family == gen->nfgen_family && !strcmp(rs->table[i].name, mnl_attr_get_str(name)))
			rs->table[i].handle = be64toh(mnl_attr_get_u64(handle));
	return MNL_CB_OK;
}

static int found(const struct nlmsghdr *message, void *context)
{
	(void)message;
	*(bool *)context = true;
	return MNL_CB_STOP;
}

/* Handles only grow: if the last rule of a chain has the one that was foreseen, all have. */
static int check_last(struct mnl_socket *netlink, const struct merlon_ruleset *rs, const struct merlon_chain *chain)
{
	const struct merlon_table *t = &rs->table[chain->table];
	char buffer[1024];
	struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETRULE, t->family, 0, 0);
	bool is = false;
	int r;

	mnl_attr_put_strz(request, NFTA_RULE_TABLE, t->name);
	mnl_attr_put_strz(request, NFTA_RULE_CHAIN, chain->name);
	mnl_attr_put_u64(request, NFTA_RULE_HANDLE, htobe64(chain->rule[chain->n - 1].handle));
	r = merlon_netlink_dump(netlink, request, found, &is);
	return r == -ENOENT || (r == 0 && !is) ? -ESTALE : r;
}

int merlon_snapshot_becomes(const struct merlon_snapshot *snapshot, const struct merlon_ruleset *ruleset,
			    const struct merlon_chain *chain, size_t *at, uint64_t *ret)
{
	const struct merlon_table *t = &ruleset->table[chain->table];
	uint32_t hash = hash_chain(t->family, t->name, chain->name);
	size_t j;

	for (j = 0; j < chain->n; j++) {
		/* rules that were left out of the ruleset are in the namespace all the same */
		while (*at < snapshot->n_handles &&
		       (snapshot->handle[*at].was != chain->rule[j].handle || snapshot->handle[*at].chain != hash))
			++*at;
		if (*at == snapshot->n_handles)
			return -ESTALE;
		ret[j] = snapshot->handle[(*at)++].becomes;
	}
	return 0;
}

static int rehandle(const struct merlon_snapshot *snapshot, const struct merlon_ruleset *ruleset, struct merlon_chain *chain,
		    size_t *at)
{
	_cleanup_free_ uint64_t *handle = calloc(chain->n, sizeof(*handle));
	int r = handle ? merlon_snapshot_becomes(snapshot, ruleset, chain, at, handle) : -ENOMEM;
	size_t j;

	for (j = 0; j < chain->n && r == 0; j++)
		chain->rule[j].handle = handle[j];
	return r;
}

/* They stand in no order that could be followed along, and are few. */
static int rehandle_left_out(const struct merlon_snapshot *snapshot, const struct merlon_ruleset *ruleset, struct merlon_chain *chain)
{
	const struct merlon_table *t = &ruleset->table[chain->table];
	uint32_t hash = hash_chain(t->family, t->name, chain->name);
	size_t i, at;

	for (i = 0; i < chain->n_left_out; i++) {
		struct merlon_rule *rule = &chain->left_out[i].rule;

		if (rule->commented)
			continue;
		for (at = 0; at < snapshot->n_handles; at++)
			if (snapshot->handle[at].was == rule->handle && snapshot->handle[at].chain == hash)
				break;
		if (at == snapshot->n_handles)
			return -ESTALE;
		rule->handle = snapshot->handle[at].becomes;
	}
	return 0;
}

int merlon_snapshot_handles(struct mnl_socket *netlink, const struct merlon_snapshot *snapshot, struct merlon_ruleset *ruleset)
{
	char buffer[256];
	size_t i, at = 0;
	int r = merlon_netlink_dump(netlink, nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETTABLE, AF_UNSPEC, NLM_F_DUMP, 0),
				    number_table, ruleset);

	if (r == 0)
		r = merlon_netlink_dump(netlink, nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETCHAIN, AF_UNSPEC, NLM_F_DUMP, 0),
					number_chain, ruleset);

	for (i = 0; i < ruleset->n_chains && r == 0; i++) {
		struct merlon_chain *chain = &ruleset->chain[i];

		r = rehandle_left_out(snapshot, ruleset, chain);
		/* chains that iptables-save files name beside those of the filter table are in no namespace */
		if (r < 0 || !chain->n || !chain->rule[0].handle)
			continue;
		r = rehandle(snapshot, ruleset, chain, &at);
		if (r == 0)
			r = check_last(netlink, ruleset, chain);
	}
	return r;
}
