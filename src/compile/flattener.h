/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the flattening share: rules that are being put together, and where they lead. */
#ifndef MERLON_COMPILE_FLATTENER_H
#define MERLON_COMPILE_FLATTENER_H

#include "src/compile/flat.h"

#define MERLON_LABEL_NEXT 0U	/* the label of "the rule behind this one" */

/* The last rule that drops what has less than so many bytes of a transport header; 0: there is none in this chain. */
struct merlon_dropped {
	uint32_t dim[MERLON_DIMS];
	uint8_t bytes;
};

struct merlon_flattener {
	struct merlon_compiler *compiler;
	struct merlon_flat *flat;
	uint32_t *label;	/* index that each label stands for */
	uint32_t n_labels, labels_room;
	uint32_t n_lookups;	/* numbers for merlon_flat_rule.way */
	unsigned jumps, nesting;
	/* the chain that is being flattened */
	uint32_t chain;
	uint32_t on_return;	/* label */
	uint32_t on_accept;	/* label of the next base chain, MERLON_LABEL_NEXT in the last one */
	struct merlon_dropped dropped;
};

/* A rule that is being put together. */
struct merlon_draft {
	const struct merlon_rule *rule;
	uint32_t dim[MERLON_DIMS];	/* of the rule itself */
	uint32_t inner[MERLON_DIMS];	/* also what its ops test: holds for all that comes after it */
	uint32_t first_op;
	uint32_t behind;		/* label of where a packet goes on that is not decided, MERLON_LABEL_NEXT */
	uint32_t way;			/* as in merlon_flat_rule */
	bool traced;			/* a statement that leaves a trace was met */
	bool never;			/* no packet gets any further */
	bool second;			/* of the two ways of a match on either port */
	bool whole;			/* all packets that meet `inner` come here */
	uint8_t header_bytes;		/* of the transport header are there: all that goes on has them */
};

/* All of these: 0, or an error with a diagnostic (-ENOMEM without). */
int merlon_flatten_label(struct merlon_flattener *f, uint32_t *ret);
int merlon_flatten_op(struct merlon_flattener *f, struct merlon_flat_op op);
/* Appends a rule with the draft's dimensions and ops; of `rule` only verdict, reject and labels count. */
int merlon_flatten_add(struct merlon_flattener *f, const struct merlon_draft *d, const struct merlon_flat_rule *rule);
/* One more condition; what can be no dimension is an op. */
int merlon_flatten_narrow(struct merlon_flattener *f, struct merlon_draft *d, struct merlon_condition c);
/* The end of a draft. */
int merlon_flatten_call(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_statement *s);
int merlon_flatten_verdict(struct merlon_flattener *f, struct merlon_draft *d, const struct merlon_statement *s);
/* What follows in the rule from statement `i` on, under what the draft asks for. */
int merlon_flatten_from(struct merlon_flattener *f, struct merlon_draft *d, size_t i);
/* The same where statement `i` is a lookup. */
int merlon_flatten_lookup(struct merlon_flattener *f, struct merlon_draft *d, size_t i);

#endif
