/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends the answers to rejected packets, from raw sockets of the caller's namespace that the data path knows: what they
 * send is `related`. Bounded as the kernel bounds its own.
 */
#ifndef MERLON_KERNEL_ANSWERS_H
#define MERLON_KERNEL_ANSWERS_H

#include "src/kernel/dataplane.h"

struct merlon_answers;

/*
 * The sockets, made known to the data plane, which must outlive them. `bounded`: resets too, so that a flood of rejects
 * can't take the process. 0 or a negative errno with a diagnostic; *ret is the caller's to close.
 */
int merlon_answers_open(struct merlon_dataplane *dp, bool bounded, struct merlon_answers **ret, struct merlon_diag *diag);
void merlon_answers_close(struct merlon_answers *answers);
/* Answers a rejected packet, or not: what can't be sent now is lost, as the kernel's own answer would be. */
void merlon_answers_reject(struct merlon_answers *answers, const struct merlon_reject_event *event);

#endif
