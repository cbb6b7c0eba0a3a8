/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Growing a merlon_lookup row by row, and the Ethernet addresses that take two of its parts. */
#ifndef MERLON_ROWS_H
#define MERLON_ROWS_H

#include "compat/eval.h"

/* What one part of one element stands for: any of these, each one range or, for an Ethernet address, two. */
struct merlon_choices {
	struct merlon_part_range (*v)[2];	/* owned */
	size_t n;
};

/* The lookup of a new statement of the rule, or NULL without memory. */
struct merlon_lookup *merlon_lookup_new(struct merlon_rule *rule);
/* One more part; all of them come before the first row. 0 or -ENOMEM. */
int merlon_lookup_part(struct merlon_lookup *lookup, enum merlon_field field, enum merlon_family family);
/* The two parts of an Ethernet address. 0 or -ENOMEM. */
int merlon_lookup_ether(struct merlon_lookup *lookup);
/* A copy of the element, its chain too; its ranges, zeroed, to be filled in, or NULL without memory. */
struct merlon_part_range *merlon_lookup_row(struct merlon_lookup *lookup, const struct merlon_lookup_element *element);

/* 0 or -ENOMEM. `second` counts for Ethernet addresses only. */
int merlon_choices_add(struct merlon_choices *choices, struct merlon_part_range first, struct merlon_part_range second);
/* An interval of Ethernet addresses as ranges of their first four and last two bytes. 0 or -ENOMEM. */
int merlon_choices_ether(struct merlon_choices *choices, merlon_value lo, merlon_value hi);

/*
 * Whether the rule has asked for an Ethernet device. Others have other headers, which nft reads as well if it was not;
 * then the rule is refused.
 */
bool merlon_eval_is_ethernet(struct merlon_eval *eval);

#endif
