/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the matches of a rule begin and end. */
#ifndef MERLON_VERIFY_BOUNDARY_H
#define MERLON_VERIFY_BOUNDARY_H

#include "src/verify/needs.h"

struct merlon_boundary {
	size_t statement;	/* of the rule; SIZE_MAX: none, the packet matches the rule as it likes */
	size_t element;		/* of a lookup; SIZE_MAX: of no lookup */
	size_t part;		/* of that element, whose range `need` replaces; SIZE_MAX: none */
	struct merlon_need need;
	bool inside;		/* the packet still matches */
};

/* How many there are; at most some hundreds, of large sets a sample. */
unsigned merlon_boundaries(const struct merlon_rule *rule);
/* The one with this number. False: there is none with it. Of large sets it is another one each time. */
bool merlon_boundary_at(struct merlon_packets *p, const struct merlon_rule *rule, unsigned number, struct merlon_boundary *ret);
/* What `s`, the boundary's statement, asks for then. */
void merlon_boundary_needs(struct merlon_random *random, struct merlon_needs *needs, const struct merlon_statement *s,
			   const struct merlon_boundary *boundary);

#endif
