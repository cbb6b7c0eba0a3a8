/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What two answers of merlond's Perf() come to: figures, and whether they are those of a healthy data plane. */
#ifndef MERLON_MODEL_PERF_H
#define MERLON_MODEL_PERF_H

#include <jansson.h>

/*
 * Figures of what was between two answers, `before` and `after`. The caller may have added to each "softirq_ns", a list of what
 * every CPU has spent there, and "timed": true if the kernel counted the runs of programs. The keys are those of
 * `merlon perf --json` in merlon(8), but for "findings" and "healthy". A new reference; NULL: no memory, or no time between them.
 */
json_t *merlon_perf_figures(const json_t *before, const json_t *after);

/*
 * Adds "findings", [{"about","healthy","text","cure"}], and "healthy" to figures. In a finding null means that it cannot be told,
 * and `text` says why; "healthy" of all is false if one is. 0 or -ENOMEM.
 */
int merlon_perf_judge(json_t *figures);

#endif
