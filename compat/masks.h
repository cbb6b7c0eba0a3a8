/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Undoing `(value & mask) ^ xor`. */
#ifndef MERLON_MASKS_H
#define MERLON_MASKS_H

#include "src/model/intervals.h"

#define MERLON_MASK_INTERVALS 4096	/* more than this are refused */

/*
 * Replaces a set of results by the set of all values `bits` wide that give one of them. 0, -ENOMEM, or -ERANGE if that
 * would take more than MERLON_MASK_INTERVALS intervals (or cannot be told with less work): `set` is unchanged then.
 */
int merlon_mask_undo(struct merlon_intervals *set, merlon_value mask, merlon_value xor, unsigned bits);

#endif
