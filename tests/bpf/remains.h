/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long the sessions in a plane's tables still live, beside the kernel's connections with the same tuples. */
#ifndef TESTS_BPF_REMAINS_H
#define TESTS_BPF_REMAINS_H

#include "tests/bpf/oracle.h"

struct remains {
	uint8_t family, l4proto;	/* enum merlon_family */
	uint16_t port;			/* the tuple's `a_port` or `b_port`, or the identifier of ICMP; host order */
	uint8_t state;			/* as merlon has it */
	int64_t kernel_s, merlon_s;	/* kernel_s: -1: it knows no such connection */
	uint64_t age_ns;
};

/* Gives `each` the sessions that have this port at an end, or as identifier; 0: all. Returns how many there were. */
unsigned remains_each(const struct plane *plane, uint16_t port, void (*each)(void *context, const struct remains *r), void *context);
/* How many connections the kernel has in this namespace, after it was asked to forget all if `flush`. */
unsigned remains_kernel_count(bool flush);
/* Gives each nf_conntrack timeout another value, at random out of some that lie far from each other. */
void remains_shuffle(void);

#endif
