/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole data plane, bpf/merlon.bpf.c, compiled for this machine, with maps and helpers of its own: what it does can be
 * counted by valgrind, instruction by instruction and cache line by cache line, the same each time. There is one of it.
 */
#ifndef MERLON_BENCH_NATIVE_H
#define MERLON_BENCH_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/abi.h"

#define NATIVE_PASS (-1)
#define NATIVE_IFINDEX 2
#define NATIVE_FRAME_MAX 2048

/* An image: `room` words, a power of two; it has to stay. `sets` of sessions, a power of two. Ends the process on failure. */
void native_open(const uint64_t *words, uint32_t room, uint32_t sets);
void native_close(void);
/* Where the frame at hand is, for NATIVE_FRAME_MAX bytes. */
uint8_t *native_frame(void);
/* What the program at TC ingress says of the first `bytes` there. */
int native_ingress(size_t bytes);
uint64_t native_stat(enum merlon_stat which);

#endif
