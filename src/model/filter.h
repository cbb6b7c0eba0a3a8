/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which events `merlon monitor` shows: pairs of words that must all hold. */
#ifndef MERLON_MODEL_FILTER_H
#define MERLON_MODEL_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "src/model/event.h"
#include "src/util/diag.h"

struct merlon_filter;

/*
 * Reads [WORD VALUE]...; the strings must stay. No word at all is a filter that lets all pass. 0 and *ret, to be freed;
 * -EINVAL with a diagnostic that says what is wrong and what it could be; -ENOMEM.
 */
int merlon_filter_read(const char *const *word, size_t n, struct merlon_filter **ret, struct merlon_diag *diag);
void merlon_filter_free(struct merlon_filter *filter);
bool merlon_filter_match(const struct merlon_filter *filter, const struct merlon_event_report *report);

#endif
