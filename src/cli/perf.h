/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How `merlon perf` shows its figures, which are those of src/model/perf.h. */
#ifndef MERLON_CLI_PERF_H
#define MERLON_CLI_PERF_H

#include <jansson.h>

/* A table of several lines, and what is unhealthy, for people. */
void merlon_perf_table(const json_t *figures);
/* One line, and one for each thing that is unhealthy. */
void merlon_perf_line(const json_t *figures);

#endif
