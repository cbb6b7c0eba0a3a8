/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a BPF ring buffer of which only the descriptor is there (Documentation/bpf/ringbuf.rst). libbpf's reader asks bpf(2)
 * about it, which this process may not call.
 */
#ifndef MERLON_ANSWERS_RING_H
#define MERLON_ANSWERS_RING_H

#include <stddef.h>
#include <stdint.h>

/* fd -1: none. To be polled for POLLIN. */
struct merlon_ring {
	int fd;				/* owned */
	uint32_t bytes;			/* of the data, a power of two */
	unsigned long *consumed;	/* mapped, positions that only grow */
	const unsigned long *produced;
	const uint8_t *data;		/* mapped twice, so that no record is in pieces */
};

#define MERLON_RING_NONE ((struct merlon_ring){ .fd = -1 })

/* Maps it and owns the descriptor, also on an error: a negative errno. There must be one reader at a time. */
int merlon_ring_open(int fd, uint32_t bytes, struct merlon_ring *ret);
void merlon_ring_close(struct merlon_ring *ring);
/* Hands out at most `most` records. */
void merlon_ring_read(struct merlon_ring *ring, unsigned most, void (*each)(void *context, const void *record, size_t bytes),
		      void *context);

#endif
