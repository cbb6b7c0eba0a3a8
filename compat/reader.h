/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the reader share: one reading of nf_tables over netlink. */
#ifndef MERLON_READER_H
#define MERLON_READER_H

#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>

#include "compat/eval.h"
#include "src/model/ruleset.h"

/* An element of a set: its key as the kernel has it. */
struct merlon_element {
	uint8_t key[16];
	bool end;		/* the first value behind an interval */
};

struct merlon_named_set {
	uint8_t nfproto;
	char *table, *name;
	uint32_t flags;		/* NFT_SET_* */
	uint32_t key_type;	/* nft's number of the type, for printing */
	uint32_t key_len;
	bool catchall;		/* holds an element that stands for all values */
	char *refused;		/* why matches on it are refused, or NULL */
	char **chain;		/* verdict map: the chains it leads to */
	size_t n_chains;
	struct merlon_element *element;
	size_t n;
};

struct merlon_reader {
	struct mnl_socket *netlink;
	struct merlon_ruleset *ruleset;
	void *sets;		/* tsearch(3) tree of struct merlon_named_set */
	bool *dormant;		/* of each table of the ruleset */
	uint32_t chain;		/* where the last rule went: rules come chain by chain */
};

/* Reads all sets and their elements. 0 or a negative errno (-EINTR: changed meanwhile). */
int merlon_sets_read(struct merlon_reader *reader);
/* Writes the declarations of the named sets into the ruleset. 0 or -ENOMEM. */
int merlon_sets_declare(struct merlon_reader *reader);
void merlon_sets_free(struct merlon_reader *reader);
const struct merlon_named_set *merlon_sets_find(const struct merlon_reader *reader, uint8_t nfproto,
						const char *table, const char *name);
/* The elements as numbers. `big`: as the register that is looked up has it. 0 or -ENOMEM. */
int merlon_set_numbers(const struct merlon_named_set *set, bool big, struct merlon_intervals *ret);
/* The elements as interface names; -ERANGE if they are not names and wildcards. */
int merlon_set_names(const struct merlon_named_set *set, struct merlon_ifname **ret, size_t *ret_n);

/* Evaluates one expression of a rule of reader->chain. 0 or -ENOMEM; not understood: the rule is refused. */
int merlon_expr_read(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e);

/* Expressions of iptables-nft that carry a structure of x_tables. 0 or -ENOMEM; not understood: the rule is refused. */
int merlon_xt_match(struct merlon_eval *eval, const char *name, uint32_t revision, const void *info, uint32_t len);
int merlon_xt_target(struct merlon_eval *eval, const char *name, uint32_t revision, const void *info, uint32_t len);

/* Sends a request and runs `parse` on each message of the answer. 0, -EINTR if the dump was interrupted, or an errno. */
int merlon_netlink_dump(struct mnl_socket *netlink, struct nlmsghdr *request, mnl_cb_t parse, void *context);

/* A number of `len` bytes (up to 16). */
merlon_value merlon_number(const uint8_t *bytes, uint32_t len, bool big);

#endif
