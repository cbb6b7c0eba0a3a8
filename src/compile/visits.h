/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MERLON_COMPILE_VISITS_H
#define MERLON_COMPILE_VISITS_H

#include "src/compile/flat.h"

/* An upper bound of the rules that one packet touches in a list. 0 or -ENOMEM. */
int merlon_visits(const struct merlon_compiler *compiler, const struct merlon_flat *flat, uint32_t *ret);

#endif
