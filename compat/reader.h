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

/* An element of a set or map. Its key is in merlon_named_set.key. */
struct merlon_element {
	uint32_t number;	/* where its key is */
	bool end;		/* while reading: the first value behind an interval */
	bool any;		/* the element `*`; it has no key */
	uint64_t timeout_ms;	/* 0: it stays */
	uint64_t expires_ms;	/* what was left of it when it was read, see merlon_lookup_element */
	uint64_t left_ms;	/* exactly, likewise */
	int verdict;		/* verdict maps: the kernel's number */
	char *chain;		/* verdict maps: where it jumps or goes to, or NULL */
	char *comment;		/* or NULL */
};

struct merlon_named_set {
	uint8_t nfproto;
	char *table, *name;
	uint32_t flags;		/* NFT_SET_* */
	uint32_t key_type;	/* nft's number of the type, for printing; concatenations have six bits a part */
	uint32_t key_len;	/* bytes; the parts of a concatenation are padded to four each */
	uint64_t timeout_ms;	/* of elements that have none of their own, 0: they stay */
	uint64_t late_ms;	/* its elements were asked for so long after merlon_ruleset.read_ns */
	uint32_t size;		/* most elements, 0: not said */
	uint32_t gc_ms;		/* interval of the garbage collection, 0: not said */
	bool merge;		/* nft's auto-merge */
	char *comment;		/* or NULL */
	bool map;		/* of verdicts */
	bool timed;		/* some element expires */
	bool declared;		/* by merlon_sets_declare(): it can be said in nft's language, with its times */
	bool named;		/* likewise: it is merlon_ruleset.set[index] */
	size_t index;
	char *refused;		/* why matches on it are refused, or NULL */
	struct merlon_element *element;
	uint8_t *key;		/* first and last key of each interval, key_len bytes each; equal where there are no intervals */
	size_t n;
};

struct merlon_reader {
	struct mnl_socket *netlink;
	struct merlon_ruleset *ruleset;
	void *sets;		/* tsearch(3) tree of struct merlon_named_set */
	bool *dormant;		/* of each table of the ruleset */
	uint32_t chain;		/* where the last rule went: rules come chain by chain */
	const struct merlon_along *along;	/* NULL: nothing */
	bool beside;		/* what rules do and `along` wants is done by another thread */
};

/* What else there is to a reading: large rulesets take the kernel long to say. */
struct merlon_along {
	struct merlon_heard *heard;	/* what was heard of the rules when they were loaded; NULL: nothing was */
	mnl_cb_t each_rule;	/* is handed the messages of the rules, too, by another thread if they are many; NULL: nobody */
	void *context;
};

/* merlon_read_netlink(). When the ruleset changes meanwhile, the rules all come once more. */
int merlon_read_along(struct mnl_socket *netlink, const struct merlon_along *along, struct merlon_ruleset **ret_ruleset,
		      struct merlon_diag *diag);

/*
 * The string of type `type` in user data of nft: type, length, value (libnftnl/udata.h). *ret is NULL where there is none, else
 * the caller's. 0 or -ENOMEM.
 */
int merlon_udata_string(const void *data, uint32_t len, uint8_t type, char **ret);

/* Reads all sets and their elements. 0 or a negative errno (-EINTR: changed meanwhile). */
int merlon_sets_read(struct merlon_reader *reader);
/* Writes the declarations of the named sets into the ruleset. 0 or -ENOMEM. */
int merlon_sets_declare(struct merlon_reader *reader);
void merlon_sets_free(struct merlon_reader *reader);
const struct merlon_named_set *merlon_sets_find(const struct merlon_reader *reader, uint8_t nfproto,
						const char *table, const char *name);
/* The first and the last key of an element, key_len bytes each, as the registers hold them. */
static inline const uint8_t *merlon_set_first(const struct merlon_named_set *set, const struct merlon_element *element)
{
	return set->key + (size_t)element->number * 2 * set->key_len;
}
static inline const uint8_t *merlon_set_last(const struct merlon_named_set *set, const struct merlon_element *element)
{
	return merlon_set_first(set, element) + set->key_len;
}

/* The elements as numbers. `big`: as the register that is looked up has it. 0 or -ENOMEM. */
int merlon_set_numbers(const struct merlon_named_set *set, bool big, struct merlon_intervals *ret);
/* The elements as interface names; -ERANGE if they are not names and wildcards. */
int merlon_set_names(const struct merlon_named_set *set, struct merlon_ifname **ret, size_t *ret_n);
/* One interface name or wildcard, from the first and last key of IFNAMSIZ bytes. False: it is neither. */
bool merlon_set_name(const uint8_t *first, const uint8_t *last, struct merlon_ifname *ret);

/* Evaluates one expression of a rule of reader->chain. 0 or -ENOMEM; not understood: the rule is refused. */
int merlon_expr_read(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e);

/* The expression `lookup`, in a set or a map. 0 or -ENOMEM; not understood: the rule is refused. */
int merlon_lookup_read(struct merlon_reader *reader, struct merlon_eval *eval, const struct nftnl_expr *e);

/* Expressions of iptables-nft that carry a structure of x_tables. 0 or -ENOMEM; not understood: the rule is refused. */
int merlon_xt_match(struct merlon_eval *eval, const char *name, uint32_t revision, const void *info, uint32_t len);
int merlon_xt_target(struct merlon_eval *eval, const char *name, uint32_t revision, const void *info, uint32_t len);

/* Sends a request and runs `parse` on each message of the answer. 0, -EINTR if the dump was interrupted, or an errno. */
int merlon_netlink_dump(struct mnl_socket *netlink, struct nlmsghdr *request, mnl_cb_t parse, void *context);

/* A number of `len` bytes (up to 16). */
merlon_value merlon_number(const uint8_t *bytes, uint32_t len, bool big);

#endif
