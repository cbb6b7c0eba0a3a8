/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One rule of nf_tables, evaluated symbolically: registers hold where a value came from and what was done to it, a
 * comparison turns that into a statement of the model. What cannot be said exactly refuses the rule.
 */
#ifndef MERLON_EVAL_H
#define MERLON_EVAL_H

#include "src/model/ruleset.h"

#define MERLON_REGISTERS 20	/* 32-bit registers of nf_tables, and room for a 128-bit value in the last one */

enum merlon_source_kind {
	MERLON_FROM_NOTHING,
	MERLON_FROM_PAYLOAD,
	MERLON_FROM_META,
	MERLON_FROM_CT,
	MERLON_FROM_FIB,
	MERLON_FROM_ROUTING,	/* IPv6 routing header: its type, or whether there is one */
	MERLON_FROM_IMMEDIATE,
	MERLON_FROM_REFUSED,	/* something that already refused the rule */
};

/* What a register holds. */
struct merlon_operand {
	enum merlon_source_kind from;
	uint32_t key;		/* payload: enum nft_payload_bases; fib: its flags; routing: NFT_EXTHDR_F_*; else the meta or ct key */
	uint32_t offset;	/* payload */
	uint32_t len;		/* bytes */
	bool big;		/* most significant byte first; else in the byte order of this machine */
	bool masked;
	merlon_value mask, xor;	/* value = ((source & mask) ^ xor) >> shift, if masked */
	unsigned shift;
	merlon_value value;	/* MERLON_FROM_IMMEDIATE */
};

struct merlon_named_set;	/* compat/sets.h */

/* What nft asks ahead of a match on the Ethernet header, and the model's fields imply. */
enum merlon_ether {
	MERLON_ETHER_UNKNOWN,
	MERLON_ETHER_ASKED,	/* meta iiftype says so; no match on the header yet */
	MERLON_ETHER_MATCHED,	/* ... and there was one */
};

struct merlon_eval {
	struct merlon_rule *rule;	/* being made */
	uint8_t nfproto;		/* of the table */
	int family;			/* enum merlon_family that the packet is known to have, -1: either */
	int proto;			/* transport protocol that it is known to have, -1: any */
	enum merlon_ether ether;
	size_t lower_bound;		/* 1 + index of the statement that a `>=` just made, 0: none */
	merlon_value ether_first;	/* ... of Ethernet addresses: the value compared with */
	struct merlon_operand reg[MERLON_REGISTERS];
};

/* A comparison: the operand is in `in`, as an unsigned number of operand->len bytes. */
struct merlon_comparison {
	struct merlon_intervals in;	/* taken over */
	const char *set;		/* name of the named set, or NULL */
	bool negated;			/* as written */
	bool lower, upper;		/* >= and <=, which nft makes of a range */
	bool equal;			/* == one value: may span several fields */
};

/* What a number in a register is: a field of the packet, or that field with something done to it. */
struct merlon_meaning {
	enum merlon_field field;	/* MERLON_F_NFPROTO for what tells the family */
	unsigned bits;			/* of the field */
	bool is_tclass;			/* the field lies across two bytes: shifted left by four */
	struct merlon_operand operand;
};

/*
 * All of these return 0 (also when the rule was refused: its status says so) or -ENOMEM.
 */

/* Finds the meaning of a register. False: there is none that the model knows, and the rule was refused. */
bool merlon_eval_meaning(struct merlon_eval *eval, const struct merlon_operand *operand, struct merlon_meaning *ret);
/* Turns what the register holds into values of the field: undoes masks, takes state bits for states, and so on. */
int merlon_eval_values(struct merlon_eval *eval, const struct merlon_meaning *meaning, struct merlon_intervals *in);
/* The same, but with the mask still to be applied to the field. */
int merlon_eval_masked_values(const struct merlon_meaning *meaning, struct merlon_intervals *in);
/* What the register holds where its source is `raw`. */
merlon_value merlon_eval_result(const struct merlon_operand *operand, merlon_value raw);
/* Refuses the rule for the operand, by its name. Returns false. */
bool merlon_eval_refuse(struct merlon_eval *eval, const struct merlon_operand *operand);
/* The family that a match on this field names in the model. */
enum merlon_family merlon_eval_family(const struct merlon_eval *eval, enum merlon_field field);

/* Adds the statements for a comparison of a number. Takes over comparison->in. */
int merlon_eval_compare(struct merlon_eval *eval, const struct merlon_operand *operand,
			struct merlon_comparison *comparison);

/* A match that a xt blob or an expression states about a field directly. Takes over `in`. */
int merlon_eval_field(struct merlon_eval *eval, enum merlon_field field, uint32_t mask, struct merlon_intervals *in,
		      bool negated);
/* The same for one closed interval, negated or not. */
int merlon_eval_range(struct merlon_eval *eval, enum merlon_field field, merlon_value lo, merlon_value hi,
		      bool negated);

/* A match of iifname or oifname. The names are taken over. */
int merlon_eval_names(struct merlon_eval *eval, enum merlon_field field, struct merlon_ifname *name, size_t n,
		      const struct merlon_comparison *how);
bool merlon_eval_is_name(const struct merlon_operand *operand, enum merlon_field *ret_field);

/* The sender's Ethernet address, as a number of six bytes (negated as well). Takes over comparison->in. */
bool merlon_eval_is_ether_saddr(const struct merlon_operand *operand);
int merlon_eval_ether_saddr(struct merlon_eval *eval, struct merlon_comparison *comparison);

/*
 * One `!=` of several neighbouring fields, loaded whole: not all of them are so. nft (1.0.6) makes it of `!=` on each,
 * iptables-nft (1.8.9) of `! --sport 1 ! --dport 2`; what the kernel does then is what counts.
 */
int merlon_eval_not_all(struct merlon_eval *eval, const struct merlon_operand *operand, merlon_value value);

/*
 * Address types, bits of 1 << RTN_* (linux/rtnetlink.h) of what nft's `fib saddr type` and `fib daddr type` tell, of the
 * families that the packet may have. Refuses the rule where a type of IPv6 would depend on routes that the model lacks.
 */
int merlon_eval_addrtype(struct merlon_eval *eval, enum merlon_field field, uint32_t types, bool negated);

/* Whether nothing in the rule so far leaves a trace: counts, logs, marks. */
bool merlon_eval_is_traceless(const struct merlon_rule *rule);
/*
 * Where a register of nf_tables is in merlon_eval.reg: NFT_REG_1..4 are four 32-bit registers each, NFT_REG32_00.. one
 * (linux/netfilter/nf_tables.h, enum nft_registers).
 */
unsigned merlon_register(uint32_t reg);
/* Whether a register of `len` bytes can be compared; `ordered`: by more than equality. False: the rule is refused. */
bool merlon_eval_comparable(struct merlon_eval *eval, const struct merlon_operand *operand, uint32_t len, bool ordered);
/* The verdict of the kernel's number. False: the model has none, or a jump lacks its chain. */
bool merlon_eval_verdict(int number, const char *chain, enum merlon_rule_verdict *ret);

/* At the end of a rule: what was asked for and not used refuses it. */
void merlon_eval_finish(struct merlon_eval *eval);

/* The names of nft for what is not understood, for messages: "ip id", "meta skuid", "ct mark". Static storage. */
const char *merlon_eval_describe(const struct merlon_eval *eval, const struct merlon_operand *operand);

#endif
