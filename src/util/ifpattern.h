/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A choice of interfaces: "eth*,!eth3,wg0". A name is chosen if it matches one of the plain patterns (or there is none)
 * and none of those with `!`. Patterns are as in glob(7).
 */
#ifndef MERLON_UTIL_IFPATTERN_H
#define MERLON_UTIL_IFPATTERN_H

#include <stdbool.h>

struct merlon_ifpattern;

/* 0; -EINVAL: an empty pattern, or one longer than an interface's name can be; *ret is untouched then. */
int merlon_ifpattern_parse(const char *text, struct merlon_ifpattern **ret);
void merlon_ifpattern_free(struct merlon_ifpattern *pattern);
bool merlon_ifpattern_match(const struct merlon_ifpattern *pattern, const char *name);

#endif
