/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ruleset as merlon understands it: tables, chains and rules of nf_tables with their statements as typed values.
 * The reader (compat/) makes it, the compiler and the naive evaluator read it. Nothing in it is a guess: a rule that is not
 * understood exactly is MERLON_REFUSED with the reason, and has no statements that may be used.
 */
#ifndef MERLON_MODEL_RULESET_H
#define MERLON_MODEL_RULESET_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "bpf/abi.h"
#include "src/model/intervals.h"
#include "src/util/diag.h"

/* An interface as a rule names it. */
struct merlon_ifname {
	char name[IFNAMSIZ];	/* without the wildcard's `*` or `+` */
	bool prefix;		/* any interface whose name starts so */
	unsigned index;		/* not 0: matched by this index (nft's iif, oif), the name is for printing only */
};

enum merlon_statement_kind {
	MERLON_S_MATCH,		/* field in intervals */
	MERLON_S_INTERFACE,	/* iif or oif among names */
	MERLON_S_FAMILY,	/* meta nfproto */
	MERLON_S_COUNTER,
	MERLON_S_LIMIT,
	MERLON_S_LOG,
	MERLON_S_MARK,
	MERLON_S_ADDRTYPE,	/* what kind of address the routing tables say it is */
	MERLON_S_LOOKUP,	/* concatenation, map of verdicts, or set whose elements expire */
	MERLON_S_VERDICT,
};

enum merlon_rule_verdict {
	MERLON_V_ACCEPT,
	MERLON_V_DROP,
	MERLON_V_REJECT,
	MERLON_V_CONTINUE,
	MERLON_V_RETURN,
	MERLON_V_JUMP,
	MERLON_V_GOTO,
};

/* ICMP code of a reject for each family, as in nft's reject with icmp, icmpv6, icmpx. */
struct merlon_reject_with {
	enum merlon_reject type;
	uint8_t code[MERLON_FAMILIES];
};

struct merlon_limit {
	uint64_t rate;		/* packets or bytes */
	uint64_t per_s;		/* ... in so many seconds */
	uint32_t burst;
	bool bytes;
	bool over;		/* matches what exceeds the limit */
	bool xtables;		/* xt_limit: the first `burst` pass, then one each per_s / rate; same bucket, burst counts fully */
};

struct merlon_log {
	char prefix[128];
	int level;		/* of syslog(3), -1: not given */
	unsigned flags;		/* NF_LOG_* of linux/netfilter/nf_log.h */
	int group;		/* nfnetlink_log group, -1: syslog */
};

/* What one part of a lookup looks at. */
struct merlon_part {
	enum merlon_field field;	/* MERLON_F_IIF and MERLON_F_OIF: by name; any other is a number, see merlon_part_range */
	enum merlon_family family;	/* addresses: the family whose header is looked at */
};

/*
 * One part of one element: a closed interval of the field's values. Interfaces: lo == hi, an index into
 * merlon_lookup.name.
 */
struct merlon_part_range {
	merlon_value lo, hi;
};

struct merlon_lookup_element {
	uint64_t expires_ms;		/* after the ruleset was loaded; 0: never */
	uint64_t timeout_ms;		/* as declared, for printing; 0: none */
	uint64_t left_ms;		/* of an element that expires: to the millisecond, from merlon_ruleset.read_ns on */
	bool any;			/* the element `*`: taken when no other one is; its ranges do not count */
	/* maps: */
	enum merlon_rule_verdict verdict;	/* ACCEPT, DROP, CONTINUE, RETURN, JUMP, GOTO */
	char *chain;			/* of JUMP and GOTO, owned */
	uint32_t target;		/* index of that chain in merlon_ruleset.chain */
};

/*
 * Parts taken together and looked up among elements, as nft_lookup.c does: a packet that lacks one of the parts ends
 * the rule, negated or not. `map`: the element found gives the verdict and the statement is the rule's last; none found
 * ends the rule. Where several elements match, the first one counts; the reader refuses sets where that could matter
 * and the kernel's order is not known.
 */
struct merlon_lookup {
	struct merlon_part *part;		/* [n_parts], owned */
	size_t n_parts;				/* at least 1 */
	struct merlon_lookup_element *element;	/* [n], owned */
	struct merlon_part_range *range;	/* [n][n_parts], owned */
	size_t n;
	struct merlon_ifname *name;		/* [n_names], owned */
	size_t n_names;
	char *set;				/* name of the set or map, NULL: anonymous */
	bool map;
	bool negated;				/* not with `map` */
};

#define MERLON_HEADER_CHAIN 0xff

struct merlon_statement {
	enum merlon_statement_kind kind;
	union {
		struct {
			enum merlon_field field;
			enum merlon_family family;	/* addresses: the family whose header is looked at */
			uint32_t mask;			/* applied before the comparison; ~0: none; addresses: ~0 */
			struct merlon_intervals in;	/* negation is already complemented */
			char *set;			/* NULL, or the name of the set the intervals came from */
			bool negated;			/* how it was written, for printing only */
			bool either;			/* field is TH0, and TH2 will do as well: either port; nothing counts ahead */
			/*
			 * First of all: a packet with less of a transport header is dropped (x_tables); MERLON_HEADER_CHAIN:
			 * one whose IPv6 extension headers break off before any routing header. 0: none is.
			 */
			uint8_t header_bytes;
		} match;
		struct {
			enum merlon_field field;	/* MERLON_F_IIF or MERLON_F_OIF */
			struct merlon_ifname *name;	/* owned */
			size_t n;
			bool negated;			/* none of them */
			char *set;
		} interface;
		enum merlon_family family;
		struct {
			uint64_t packets, bytes;	/* as in the input */
		} counter;
		struct merlon_limit limit;
		struct merlon_log *log;			/* owned; apart, as all others are a third of its size */
		struct {
			uint32_t mask, xor;		/* mark = (mark & mask) ^ xor */
		} mark;
		struct {
			enum merlon_field field;	/* MERLON_F_SADDR or MERLON_F_DADDR, of either family */
			uint32_t types;			/* 1 << RTN_LOCAL and so on (linux/rtnetlink.h); negation is already complemented */
			bool negated;			/* how it was written */
		} addrtype;
		struct merlon_lookup *lookup;		/* owned */
		struct {
			enum merlon_rule_verdict verdict;
			struct merlon_reject_with reject;
			char *chain;			/* of JUMP and GOTO */
			uint32_t target;		/* index of that chain in merlon_ruleset.chain */
		} verdict;
	};
};

enum merlon_rule_status {
	MERLON_EXACT,
	MERLON_KEPT,	/* in a chain that merlon leaves to netfilter */
	MERLON_REFUSED,
};

struct merlon_rule {
	uint64_t handle;		/* of nf_tables */
	struct merlon_place place;	/* file: a string of merlon_ruleset.file */
	struct merlon_statement *statement;	/* owned */
	size_t n;
	char *comment;			/* NULL: none */
	char *text;			/* the rule in nft's language; for refused ones the best description there is */
	enum merlon_rule_status status;
	char *reason;			/* REFUSED: why */
	bool commented;			/* REFUSED: the file has a comment of `merlon import` in its place, nf_tables has nothing */
	uint32_t does;			/* 1 << enum merlon_does (src/model/does.h): to packets, where netfilter runs it */
};

/* A refused rule that the policy does without, at its user's wish. */
struct merlon_left_out {
	struct merlon_rule rule;
	size_t at;			/* index in the chain of the rule that it stood before; the chain's `n`: none */
};

struct merlon_chain {
	char *name;
	char *comment;			/* NULL: none */
	uint32_t table;			/* index in merlon_ruleset.table */
	uint64_t handle;
	bool base;
	enum merlon_hook hook;		/* base chains that are enforced */
	int priority;
	bool drop;			/* policy */
	bool nat;			/* kept: it rewrites addresses */
	bool kept;			/* a base chain of another type or hook, or only reached from such: left to netfilter */
	bool reached;			/* some enforced base chain reaches it */
	bool in_output;			/* some enforced base chain of output reaches it */
	bool beside;			/* some kept base chain reaches it, too or instead: netfilter runs it where it is loaded */
	/* ... of hooks that a packet passes when input has judged it, before nf_conntrack takes up its connection */
	bool behind_input;
	struct merlon_rule *rule;	/* owned */
	size_t n;
	struct merlon_left_out *left_out;	/* owned, in their order */
	size_t n_left_out;
};

struct merlon_table {
	uint8_t family;			/* NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6; others are kept */
	char *name;
	uint64_t handle;		/* of nf_tables: a table that is made anew has another one, its rules may have the same */
	bool iptables;			/* managed by iptables-nft */
	char *comment;			/* NULL: none */
};

/* A named set; its elements are in the matches that use it, this is for printing and for counting. */
struct merlon_set {
	uint32_t table;
	char *name;
	char *declaration;		/* the set in nft's language, "set NAME { type ... }"; NULL: it has no such form */
	char *reason;			/* why it is in no text, nor with what stays with netfilter; or NULL */
	/*
	 * Of addresses, declared, its elements have nothing but their values: in bits, 32 or 128; else 0. How many rules look in it,
	 * and how many of them by a match that has its elements as they are (or, negated, all others).
	 */
	uint32_t bits, n_lookups, n_plain;
	bool interval, merge;		/* nft joins what touches */
	/* of a set with elements that expire: where in the declaration each is, and how long it lives; else NULL */
	struct merlon_set_element {
		size_t begin, time, behind, end;	/* of its text; what is left of its time stands in [time, behind) */
		uint64_t timeout_ms;		/* 0: none */
		uint64_t expires_ms;		/* after the ruleset was loaded; 0: never */
		uint64_t left_ms;		/* as of struct merlon_lookup_element */
	} *element;
	size_t n;
};

struct merlon_ruleset {
	struct merlon_table *table;
	size_t n_tables;
	struct merlon_chain *chain;	/* in the order of the kernel's dump; base chains of a hook are ordered by merlon_ruleset_base() */
	size_t n_chains;
	struct merlon_set *set;
	size_t n_sets;
	char **file;			/* names of the input files, owned */
	size_t n_files;
	uint64_t read_ns;		/* CLOCK_MONOTONIC: when its sets were read */
};

struct merlon_ruleset *merlon_ruleset_new(void);
void merlon_ruleset_free(struct merlon_ruleset *ruleset);
static inline void merlon_ruleset_freep(struct merlon_ruleset **ruleset)
{
	merlon_ruleset_free(*ruleset);
}
/* Clears a statement's own storage, not the struct. */
void merlon_statement_clear(struct merlon_statement *statement);
/* Clears all that a rule owns, not the struct. */
void merlon_rule_clear(struct merlon_rule *rule);

/* Whether packets may end in a base chain otherwise than accepted; what it leads to is not looked at. */
bool merlon_chain_may_deny(const struct merlon_chain *chain);

/*
 * The enforced base chains of a hook and family in the order in which a packet meets them, as indexes into
 * ruleset->chain: by priority; of equal priority the one created last comes first, which within a table is the last of
 * the dump. Returns their number, at most `max`.
 */
size_t merlon_ruleset_base(const struct merlon_ruleset *ruleset, enum merlon_hook hook, enum merlon_family family,
			   uint32_t *ret_chains, size_t max);

/* NFPROTO_* as nft writes it, NULL: it has no tables. */
const char *merlon_nfproto_name(uint8_t nfproto);

/* Whether the rule matches by ct state or direction. */
bool merlon_rule_asks_ct(const struct merlon_rule *rule);

/* Whether a packet that TC ingress has let in may still be dropped at a hook before nf_conntrack confirms its connection. */
bool merlon_nfproto_is_behind_input(uint8_t family, uint32_t hook);
/* Whether packets of `family` meet the chains of this table. */
bool merlon_table_has_family(const struct merlon_table *table, enum merlon_family family);

/*
 * Takes the rules that `choose` chooses out of a chain that has left out none so far. 0 or -ENOMEM, and then some may be
 * neither here nor there.
 */
int merlon_chain_leave_out(struct merlon_chain *chain, bool (*choose)(void *context, const struct merlon_rule *rule),
			   void *context);

/* Puts a rule that is in no namespace, now the chain's, among those that are left out, before the rule `at`. 0 or -ENOMEM. */
int merlon_chain_note_left_out(struct merlon_chain *chain, struct merlon_rule rule, size_t at);

struct merlon_totals {
	unsigned rules, exact, kept, refused, left_out;	/* rules: all of the others together */
};
struct merlon_totals merlon_ruleset_totals(const struct merlon_ruleset *ruleset);

/* Width of a field in bits: what negation complements in. Addresses: 32 or 128 by `family`. */
unsigned merlon_field_bits(enum merlon_field field, enum merlon_family family);

/*
 * The ruleset, or one rule, in nft's language. What is printed loads again and means the same; refused rules, also left
 * out ones, become comments with their reason, kept chains are left out. merlon_rule_print() writes one line without a newline.
 */
/* Whether the text has this table: not one that stays with netfilter, all of its chains being kept, nor an empty one. */
bool merlon_table_is_written(const struct merlon_ruleset *ruleset, uint32_t table);
void merlon_ruleset_print(const struct merlon_ruleset *ruleset, FILE *out);
void merlon_rule_print(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain,
		       const struct merlon_rule *rule, FILE *out);
/*
 * A declaration, which there must be, as it is `age_ms` after the ruleset was loaded: without elements that have expired, the
 * others with what is left of their time. One line without a newline.
 */
void merlon_set_print(const struct merlon_set *set, uint64_t age_ms, FILE *out);

#endif
