/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chains of netfilter as far as the host check needs them: what their rules do to packets, and which chains a packet can
 * reach. Rules are not kept, so that ten thousand of them cost milliseconds.
 */
#ifndef MERLON_HOST_CHAINS_H
#define MERLON_HOST_CHAINS_H

#include "compat/does.h"
#include "src/host/internal.h"

struct merlon_host_chain {
	const char *from;	/* "nf_tables", "iptables-legacy", ...; the policy's own: "" */
	char *table, *name;	/* owned */
	uint8_t family;		/* NFPROTO_* */
	bool base, reached;
	uint32_t hook;		/* of a base chain: NF_INET_*, of the family netdev NF_NETDEV_* */
	bool behind_input;	/* reached from hooks that a packet passes when input has judged it, before nf_conntrack takes up its connection */
	bool anywhere;		/* jumps by a map: to any chain of its table */
	unsigned rules;
	uint32_t does;		/* 1 << enum merlon_does */
	/* of the first rule that does it: its handle (nf_tables) or number from 1 on (x_tables, the policy's own) */
	uint64_t first[MERLON_DOES];
	const struct merlon_chain *own;	/* the policy's, NULL: the host's */
};

struct merlon_jump {
	size_t from, to;	/* indexes of chains */
};

struct merlon_chains {
	struct merlon_host_chain *chain;
	size_t n;
	struct merlon_jump *jump;
	size_t n_jumps;
};

/* A new chain with copies of the names; NULL without memory. It may move when the next one is added. */
struct merlon_host_chain *merlon_chains_add(struct merlon_chains *chains, const char *from, uint8_t family,
					    const char *table, const char *name);
/* Notes what a rule does: 1 << enum merlon_does. */
void merlon_chain_does(struct merlon_host_chain *chain, uint32_t does, uint64_t rule);
/* 0 or -ENOMEM; a jump that is the last one again is not kept twice. */
int merlon_chains_jump(struct merlon_chains *chains, size_t from, size_t to);
/* Marks what base chains lead to, and from behind input. 0 or -ENOMEM. */
int merlon_chains_reach(struct merlon_chains *chains);
/*
 * own.c: settles which base chains are behind input. Those that the policy itself has and enforces stop nothing that the policy
 * lets in; those of forward are, where it is judged at ingress.
 */
void merlon_own_settle(const struct merlon_host_view *view, struct merlon_chains *chains);
/* own.c: marks in `live` which chains of the policy are among these, reached, and stop packets there. */
void merlon_own_mark_live(const struct merlon_ruleset *policy, const struct merlon_chains *chains, bool *live);
void merlon_chains_clear(struct merlon_chains *chains);

/* nftables.c, xtables.c: add the chains of the caller's namespace. 0 or a negative errno, -EINTR: changed meanwhile. */
int merlon_chains_of_nftables(struct merlon_chains *chains);
int merlon_chains_of_xtables(struct merlon_chains *chains, bool ipv6);

/* xtables.c: reads what IPT_SO_GET_ENTRIES answered, which may be anything. 0, -EPROTO or -ENOMEM. */
struct merlon_xt_table {
	const char *name;
	bool ipv6;
	unsigned valid_hooks;
	unsigned hook_entry[5], underflow[5];	/* byte offsets, by NF_INET_* */
	const void *entries;
	size_t bytes;
};
int merlon_chains_of_blob(struct merlon_chains *chains, const struct merlon_xt_table *table);

/* managers.c: who makes such chains, if their names tell. NULL: nobody known. Static storage. */
struct merlon_manager {
	const char *name;
	const char *unit[4];	/* of systemd; up to NULL */
	const char *nat_cure;	/* how it is told to do without NAT; NULL: it makes none */
	const char *beside_cure;	/* how it works with merlon; NULL: it does not */
	bool firewall;		/* its rules are the host's firewall, and no other program's */
};
const struct merlon_manager *merlon_manager_by_chain(const char *table, const char *chain);
/* All of them, one after the other, up to NULL. */
const struct merlon_manager *merlon_manager(size_t index);

/* judge.c */
int merlon_chains_judge(struct merlon_host_view *view, const struct merlon_chains *chains);

#endif
