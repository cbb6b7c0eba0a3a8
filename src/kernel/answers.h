/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends the answers to rejected packets, from raw sockets of the caller's namespace that the data path knows: what they
 * send is `related`. Bounded as the kernel bounds its own.
 */
#ifndef MERLON_KERNEL_ANSWERS_H
#define MERLON_KERNEL_ANSWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/abi.h"
#include "src/util/diag.h"

struct merlon_answers;

/* The sockets by which the data path knows what belongs to rejected packets: merlon_dataplane_answers_by(). 0: no socket. */
struct merlon_answer_cookies {
	uint64_t cookie[MERLON_ANSWERS][MERLON_REJECT_SOCKETS];
};

/*
 * Opens the sockets. `bounded`: resets too, so that a flood of rejects can't take the process. 0 or a negative errno with a
 * diagnostic; *ret is the caller's to close.
 */
int merlon_answers_open(bool bounded, struct merlon_answers **ret, struct merlon_diag *diag);
void merlon_answers_close(struct merlon_answers *answers);
void merlon_answers_cookies(const struct merlon_answers *answers, struct merlon_answer_cookies *ret);
/* Answers a rejected packet, or not: what can't be sent now is lost, as the kernel's own answer would be. */
void merlon_answers_reject(struct merlon_answers *answers, const struct merlon_reject_event *event);

/*
 * Between merlond and the process that answers in its place (src/answers/), over a socket of packets: that sends its
 * struct merlon_answer_cookies; once the data path knows them, merlond sends this with the descriptor of the ring of rejected
 * packets (SCM_RIGHTS), which is read from then on, also when merlond is gone. Without a descriptor: the data plane is taken away.
 */
struct merlon_answers_ring {
	uint32_t bytes;		/* of the ring, a power of two */
};

#endif
