/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/answers/ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int merlon_ring_open(int fd, uint32_t bytes, struct merlon_ring *ret)
{
	void *consumed, *produced;
	int r;

	if (!bytes || bytes & (bytes - 1) || bytes % page()) {
		close(fd);
		return -EINVAL;
	}
	consumed = mmap(NULL, page(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	produced = consumed == MAP_FAILED ? MAP_FAILED :
		   mmap(NULL, page() + 2 * (size_t)bytes, PROT_READ, MAP_SHARED, fd, (off_t)page());
	if (produced == MAP_FAILED) {
		r = -errno;
		if (consumed != MAP_FAILED)
			munmap(consumed, page());
		close(fd);
		return r;
	}
	*ret = (struct merlon_ring){ fd, bytes, consumed, produced, (const uint8_t *)produced + page() };
	return 0;
}

void merlon_ring_close(struct merlon_ring *ring)
{
	if (ring->fd < 0)
		return;
	munmap(ring->consumed, page());
	munmap((void *)ring->produced, page() + 2 * (size_t)ring->bytes);
	close(ring->fd);
	*ring = MERLON_RING_NONE;
}

void merlon_ring_read(struct merlon_ring *ring, unsigned most, void (*each)(void *context, const void *record, size_t bytes),
		      void *context)
{
	unsigned long at = __atomic_load_n(ring->consumed, __ATOMIC_ACQUIRE);

	for (; most; most--) {
		const uint8_t *record = ring->data + (at & (ring->bytes - 1));
		uint32_t header, bytes;

		if (at >= __atomic_load_n(ring->produced, __ATOMIC_ACQUIRE))
			return;
		/* its length comes last: until then it is being written */
		header = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
		if (header & BPF_RINGBUF_BUSY_BIT)
			return;
		bytes = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		if (!(header & BPF_RINGBUF_DISCARD_BIT))
			each(context, record + BPF_RINGBUF_HDR_SZ, bytes);
		at += (bytes + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
		__atomic_store_n(ring->consumed, at, __ATOMIC_RELEASE);
	}
}
