/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of values as unions of closed intervals, in normal form: ascending, disjoint, no two adjacent. A value is up to
 * 128 bits wide, host order (an IPv4 address, a port, an IPv6 address with the first byte most significant).
 */
#ifndef MERLON_MODEL_INTERVALS_H
#define MERLON_MODEL_INTERVALS_H

#include <stdbool.h>
#include <stddef.h>

__extension__ typedef unsigned __int128 merlon_value;

struct merlon_interval {
	merlon_value lo, hi;	/* lo <= hi, both in */
};

struct merlon_intervals {
	struct merlon_interval *v;	/* owned */
	size_t n, room;
};

/* The greatest value of a field `bits` wide (1..128). */
merlon_value merlon_value_max(unsigned bits);

/* Appends an interval in any order; call merlon_intervals_normalise() before anything else. 0 or -ENOMEM. */
int merlon_intervals_add(struct merlon_intervals *set, merlon_value lo, merlon_value hi);
void merlon_intervals_normalise(struct merlon_intervals *set);
/* All values from 0 to `max` that are not in `set`. 0 or -ENOMEM (set unchanged). */
int merlon_intervals_complement(struct merlon_intervals *set, merlon_value max);
/* ret = a and b; ret is overwritten (it must not own anything) and is neither a nor b. */
int merlon_intervals_intersect(const struct merlon_intervals *a, const struct merlon_intervals *b,
			       struct merlon_intervals *ret);
int merlon_intervals_copy(const struct merlon_intervals *from, struct merlon_intervals *ret);
bool merlon_intervals_contain(const struct merlon_intervals *set, merlon_value value);
bool merlon_intervals_equal(const struct merlon_intervals *a, const struct merlon_intervals *b);
void merlon_intervals_clear(struct merlon_intervals *set);

/*
 * Of a normalised set, which stays so: takes in what it has nothing of, or takes out what it has all of. 0, -ERANGE if that is not
 * so, or -ENOMEM; nothing has changed then. merlon_intervals_may() tells beforehand and makes room: then there is no error.
 */
int merlon_intervals_may(struct merlon_intervals *set, bool in, merlon_value lo, merlon_value hi);
int merlon_intervals_change(struct merlon_intervals *set, bool in, merlon_value lo, merlon_value hi);

#endif
