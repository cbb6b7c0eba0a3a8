/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What somebody may have meant who typed something else. */
#ifndef MERLON_UTIL_SLIP_H
#define MERLON_UTIL_SLIP_H

/*
 * The nearer one to `word` of `best` (NULL: none yet) and `other`, `best` where `other` is not near: up to two letters are wrong,
 * missing or too many, but fewer than half of its own. Upper case or lower does not matter.
 */
const char *merlon_slip(const char *word, const char *best, const char *other);

#endif
