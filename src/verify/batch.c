/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "src/verify/oracle.h"

#define MESSAGE_MOST (1 << 17)

static int grow(struct merlon_nft_batch *b)
{
	size_t room = b->room ? 2 * b->room : 4 * MESSAGE_MOST;
	char *grown;

	if (b->used + MESSAGE_MOST <= b->room)
		return 0;
	grown = realloc(b->buffer, room);
	if (!grown)
		return -ENOMEM;
	b->buffer = grown;
	b->room = room;
	return 0;
}

int merlon_nft_begin(struct merlon_nft_batch *b, struct mnl_socket *socket)
{
	struct nlmsghdr *h;

	*b = (struct merlon_nft_batch){ .socket = socket };
	if (grow(b) < 0)
		return -ENOMEM;
	h = nftnl_batch_begin(b->buffer, b->sequence++);
	b->used = MNL_ALIGN(h->nlmsg_len);
	return 0;
}

struct nlmsghdr *merlon_nft_next(struct merlon_nft_batch *b, uint16_t type, uint16_t family, uint16_t flags)
{
	if (grow(b) < 0)
		return NULL;
	return nftnl_nlmsg_build_hdr(b->buffer + b->used, type, family, flags | NLM_F_ACK, b->sequence);
}

void merlon_nft_put(struct merlon_nft_batch *b, const struct nlmsghdr *h)
{
	b->used += MNL_ALIGN(h->nlmsg_len);
	b->sequence++;
}

int merlon_nft_put_table(struct merlon_nft_batch *b, uint16_t type, const char *name, uint32_t flags)
{
	struct nlmsghdr *h = merlon_nft_next(b, type, NFPROTO_INET, type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0);
	struct nftnl_table *table = nftnl_table_alloc();

	if (!h || !table)
		return -ENOMEM;
	nftnl_table_set_u32(table, NFTNL_TABLE_FAMILY, NFPROTO_INET);
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, name);
	if (flags)
		nftnl_table_set_u32(table, NFTNL_TABLE_FLAGS, flags);
	nftnl_table_nlmsg_build_payload(h, table);
	nftnl_table_free(table);
	merlon_nft_put(b, h);
	return 0;
}

int merlon_nft_put_chain(struct merlon_nft_batch *b, const char *table, const char *name, uint32_t hook, int32_t priority)
{
	struct nlmsghdr *h = merlon_nft_next(b, NFT_MSG_NEWCHAIN, NFPROTO_INET, NLM_F_CREATE);
	struct nftnl_chain *chain = nftnl_chain_alloc();

	if (!h || !chain)
		return -ENOMEM;
	nftnl_chain_set_u32(chain, NFTNL_CHAIN_FAMILY, NFPROTO_INET);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, table);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, "filter");
	nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, hook);
	nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, priority);
	nftnl_chain_nlmsg_build_payload(h, chain);
	nftnl_chain_free(chain);
	merlon_nft_put(b, h);
	return 0;
}

/* Every message but the first and the last is answered. */
static int read_answers(const struct merlon_nft_batch *b)
{
	static char answer[1 << 16];
	unsigned left = b->sequence - 1;
	int r = 0;

	while (left) {
		ssize_t n = mnl_socket_recvfrom(b->socket, answer, sizeof(answer));
		const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
		int bytes = n;

		if (n < 0)
			return -errno;
		for (; mnl_nlmsg_ok(h, bytes); h = mnl_nlmsg_next(h, &bytes)) {
			const struct nlmsgerr *error = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_type != NLMSG_ERROR || !left)
				continue;
			left--;
			if (error->error && !r)
				r = error->error;
			/* refused as a whole, or by its last message */
			if (!h->nlmsg_seq && error->error)
				left = 0;
		}
	}
	return r;
}

int merlon_nft_commit(struct merlon_nft_batch *b)
{
	int bytes = 1 << 26;
	struct nlmsghdr *h;

	if (b->sequence == 1)
		return 0;
	if (grow(b) < 0)
		return -ENOMEM;
	setsockopt(mnl_socket_get_fd(b->socket), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(mnl_socket_get_fd(b->socket), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	h = nftnl_batch_end(b->buffer + b->used, 0);
	if (mnl_socket_sendto(b->socket, b->buffer, b->used + MNL_ALIGN(h->nlmsg_len)) < 0)
		return -errno;
	return read_answers(b);
}

void merlon_nft_clear(struct merlon_nft_batch *b)
{
	free(b->buffer);
	*b = (struct merlon_nft_batch){ 0 };
}
