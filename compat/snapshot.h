/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All that nf_tables of a namespace holds, as netlink says it: put back, it is the same to the last byte, also what
 * libnftables could not print (iptables-nft's blobs). Only handles are new, and nf_tables' own names of anonymous sets.
 * `netlink` is everywhere an mnl_socket of NETLINK_NETFILTER that was opened in the namespace.
 */
#ifndef MERLON_SNAPSHOT_H
#define MERLON_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "src/model/ruleset.h"

#define MERLON_SNAPSHOT_LARGEST (1U << 30)	/* bytes of one that is read from a file */

struct merlon_heard;
struct nlmsghdr;
struct mnl_socket;
struct nftnl_rule;

struct merlon_snapshot {
	void *messages;		/* owned: the requests that make it, one behind the other */
	size_t bytes;
	/* of its rules, in their order: the handle where it was taken, and the one it gets; owned; NULL in one that was read */
	struct merlon_rehandled {
		uint64_t was, becomes;
		uint32_t chain;		/* a hash of its names: handles are of a table */
	} *handle;
	size_t n_handles;
	bool ages;		/* has elements whose time runs on, so that it is only true for a while */
	uint64_t taken_ns;	/* CLOCK_MONOTONIC: when that was */
};

/* The number that a message of NFT_MSG_NEWGEN tells; 0: it tells none. */
uint32_t merlon_nft_generation_of(const struct nlmsghdr *message);
/* nf_tables' number of the ruleset, which every change raises. 0 or a negative errno. */
int merlon_nft_generation(struct mnl_socket *netlink, uint32_t *ret);

/* 0; -EAGAIN: it kept changing; or another negative errno. */
int merlon_snapshot_take(struct mnl_socket *netlink, struct merlon_snapshot *ret);
/*
 * The ruleset as merlon_read_netlink() has it, and the snapshot, both of one generation, which *ret_generation says. 0; or a
 * negative errno with a diagnostic.
 */
int merlon_snapshot_and_ruleset(struct mnl_socket *netlink, struct merlon_ruleset **ret_ruleset, struct merlon_snapshot *ret,
				uint32_t *ret_generation, struct merlon_diag *diag);
/* The same where rules were heard (compat/heard.h); `heard` NULL: none were. */
int merlon_snapshot_and_heard(struct mnl_socket *netlink, struct merlon_heard *heard, struct merlon_ruleset **ret_ruleset,
			      struct merlon_snapshot *ret, struct merlon_diag *diag);
void merlon_snapshot_clear(struct merlon_snapshot *snapshot);
/*
 * Replaces whatever the namespace holds, in one transaction: on an error nothing was changed. With `generation` not
 * NULL only if that is still the namespace's, else -ERESTART; 0 or another negative errno.
 */
int merlon_snapshot_restore(struct mnl_socket *netlink, const struct merlon_snapshot *snapshot, const uint32_t *generation);

/* Makes what these requests ask for besides what is there, likewise. */
int merlon_snapshot_request(struct mnl_socket *netlink, struct merlon_snapshot *requests, const uint32_t *generation);

/* What a rule as it was dumped needs in NFTA_RULE_COMPAT to be made again. False, and nothing given: it needs none. */
bool merlon_snapshot_compat(struct nftnl_rule *rule, uint32_t *ret_proto, uint32_t *ret_flags);

/* Of requests for the elements of one set: leaves ends of intervals out that have expired. 0 or -ENOMEM. */
int merlon_snapshot_leave_orphans(char *messages, size_t *bytes);
/* Likewise, behind that: those of intervals in the order in which a request must have them. */
int merlon_snapshot_upwards(char *messages, size_t bytes);

/*
 * Makes its elements as old as they are `now_ns`, when it is to be put back; those whose time is over end as soon as they
 * are there.
 */
void merlon_snapshot_age(struct merlon_snapshot *snapshot, uint64_t now_ns);

/* To a file and back; what is read is not trusted. 0 or a negative errno. */
int merlon_snapshot_write(const struct merlon_snapshot *snapshot, const char *path);
int merlon_snapshot_read(const char *path, struct merlon_snapshot *ret);

/*
 * The handles that the rules of a chain will have when it is put back, into ret[chain->n]; *at is 0 for the first chain and
 * goes on through the others in their order. -ESTALE: the ruleset is not this one.
 */
int merlon_snapshot_becomes(const struct merlon_snapshot *snapshot, const struct merlon_ruleset *ruleset,
			    const struct merlon_chain *chain, size_t *at, uint64_t *ret);

/*
 * After `snapshot` was put back: gives the tables, chains and rules of `ruleset`, which was read where it was taken, the handles
 * that they have now. 0; -ESTALE: the namespace holds something else; the handles are wrong then.
 */
int merlon_snapshot_handles(struct mnl_socket *netlink, const struct merlon_snapshot *snapshot, struct merlon_ruleset *ruleset);

#endif
