/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a packet must be to match, or not to match, statements; and packets that are so. */
#ifndef MERLON_VERIFY_NEEDS_H
#define MERLON_VERIFY_NEEDS_H

#include "src/verify/packets.h"

#define MERLON_NEEDS 128

struct merlon_need {
	const struct merlon_statement *s;	/* MATCH, INTERFACE, ADDRTYPE, negated LOOKUP; NULL: field in [lo, hi], or `name` */
	bool not;				/* it must not match; s only */
	uint8_t either;				/* MATCH of either port: the one that is meant, as an enum merlon_field */
	uint8_t device;				/* 1 + the device that IIF or OIF must be */
	enum merlon_field field;
	uint32_t mask;				/* 0 is as ~0 */
	merlon_value lo, hi;
	const struct merlon_ifname *name;
};

struct merlon_needs {
	struct merlon_need v[MERLON_NEEDS];
	unsigned n;
	uint8_t hook, family;
	bool impossible;		/* no packet of this family at this hook */
};

/*
 * Adds what the statement asks for; of a lookup one element's ranges, `element` or with SIZE_MAX any. What asks for
 * nothing adds nothing.
 */
void merlon_needs_statement(struct merlon_random *random, struct merlon_needs *needs, const struct merlon_statement *s,
			    size_t element);
void merlon_needs_add(struct merlon_needs *needs, const struct merlon_need *need);

/*
 * A packet that has all of this, else `hint`'s values where they are given (NULL: none), else any. State and direction
 * are what they must be by the needs, NEW where it is free. False: none found.
 */
bool merlon_needs_solve(struct merlon_packets *p, const struct merlon_needs *needs, const struct merlon_intent *hint,
			struct merlon_intent *ret);
/* Whether the packet has all of this. The mark is not asked: it is what rules on the way make it. */
bool merlon_needs_hold(struct merlon_packets *p, const struct merlon_needs *needs, const struct merlon_intent *intent);

#endif
