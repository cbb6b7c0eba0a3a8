/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lists of flattened rules, and what the stages of the compiler share. */
#ifndef MERLON_COMPILE_FLAT_H
#define MERLON_COMPILE_FLAT_H

#include "src/compile/builder.h"
#include "src/compile/compile.h"
#include "src/compile/sets.h"

/* An op before it is laid out; `arg` of a MATCH is the number of its set, of an UNTIL the low half, `mask` the high one. */
struct merlon_flat_op {
	uint8_t kind, field;
	bool invert;
	uint32_t mask, arg;
};

/*
 * A rule applies to packets that meet its condition in every dimension. `next` and `fail` are labels while a list is
 * being flattened, indexes afterwards.
 */
struct merlon_flat_rule {
	uint32_t dim[MERLON_DIMS];	/* numbers of sets, MERLON_ANY: no condition */
	uint32_t op;			/* first one in merlon_flat.op */
	uint32_t next, fail;
	uint32_t way;		/* of the rules of one such number a packet goes through one at most; 0: on its own */
	uint8_t n_ops, verdict, reject, reject_code;
};

struct merlon_flat {
	enum merlon_hook hook;
	enum merlon_family family;
	struct merlon_flat_rule *rule;
	struct merlon_flat_origin *origin;	/* beside the rules */
	uint32_t n, room, origin_room;
	struct merlon_flat_op *op;
	uint32_t n_ops, ops_room;
};

struct merlon_compiler {
	const struct merlon_ruleset *ruleset;
	const struct merlon_compile_options *options;
	struct merlon_diag *diag;
	struct merlon_policy *policy;
	struct merlon_sets sets;
	struct merlon_hash seen;	/* statement (and family) -> its set, counter, limit or log */
	uint32_t limits_room, counters_room, logs_room;
	bool plain;			/* no subtables: they are quick, and take several times the room */
	struct merlon_builder builder;
};

/* Flattens all base chains of flat->hook and flat->family. 0, or an error with a diagnostic. */
int merlon_flatten(struct merlon_compiler *compiler, struct merlon_flat *flat);
void merlon_flat_clear(struct merlon_flat *flat);

/*
 * What a statement looks at: a field, the set of its values and the mask before. 0 and *ret_set, MERLON_NEVER if no
 * packet of this family meets it, -ENOMEM, or -ERANGE as merlon_addrtype() has it. The set is empty if nothing meets it.
 */
#define MERLON_NEVER 1
struct merlon_condition {
	uint8_t field;
	uint32_t mask, set;
};
int merlon_condition(struct merlon_compiler *compiler, const struct merlon_statement *s, enum merlon_family family,
		     struct merlon_condition *ret);
/* The set of the classes of interfaces that a name fits. 0 or -ENOMEM. */
int merlon_condition_name(struct merlon_compiler *compiler, const struct merlon_ifname *name, uint32_t *ret_set);
/* All that a match on a field that is not an address leaves out. */
int merlon_condition_not(struct merlon_compiler *compiler, const struct merlon_statement *s,
			 struct merlon_condition *ret);
/* The set of TH0 values for a set of ICMP types or codes. */
int merlon_condition_th0(struct merlon_compiler *compiler, const struct merlon_condition *icmp, uint32_t *ret_set);

/* Numbers of a statement's state, the same wherever its chain is inlined. 0 or an error with a diagnostic. */
int merlon_state_counter(struct merlon_compiler *compiler, const struct merlon_rule *rule, size_t statement,
			 uint32_t *ret);
int merlon_state_limit(struct merlon_compiler *compiler, const struct merlon_rule *rule, size_t statement,
		       uint32_t *ret);
int merlon_state_log(struct merlon_compiler *compiler, const struct merlon_rule *rule, size_t statement, uint32_t *ret);

/* Lays a list out in the image; returns its word (0: the builder has the error). */
uint32_t merlon_emit_list(struct merlon_compiler *compiler, const struct merlon_flat *flat);

#endif
