/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "src/util/cleanup.h"

#define BATCH 1024

unsigned merlon_possible_cpus(void)
{
	int n = libbpf_num_possible_cpus();

	return n > 0 ? (unsigned)n : 1;
}

struct walk {
	size_t key_size, value_size;
	int (*each)(void *context, const void *key, const void *value);
	void *context;
};

static int one_by_one(int fd, const struct walk *walk)
{
	_cleanup_free_ char *key = calloc(2, walk->key_size), *value = malloc(walk->value_size);
	char *next;
	int r = 0;

	if (!key || !value)
		return -ENOMEM;
	next = key + walk->key_size;
	if (bpf_map_get_next_key(fd, NULL, next) < 0)
		return errno == ENOENT ? 0 : -errno;
	for (;;) {
		int end;

		memcpy(key, next, walk->key_size);
		end = bpf_map_get_next_key(fd, key, next) < 0 ? errno : 0;
		if (!bpf_map_lookup_elem(fd, key, value))
			r = walk->each(walk->context, key, value);
		if (r)
			return r;
		if (end)
			return end == ENOENT ? 0 : -end;
	}
}

static int hand_out(const struct walk *walk, const char *keys, const char *values, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		int r = walk->each(walk->context, keys + i * walk->key_size, values + i * walk->value_size);

		if (r)
			return r;
	}
	return 0;
}

/* -ENOSPC from the kernel: a bucket holds more than there is room for. */
static int in_batches(int fd, const struct walk *walk, uint32_t room, bool *started)
{
	_cleanup_free_ char *keys = malloc(room * walk->key_size), *values = malloc(room * walk->value_size);
	/* Opaque to user space, at most a key wide; hash maps keep a bucket number in it. */
	_cleanup_free_ char *position = calloc(1, walk->key_size + sizeof(uint64_t));
	void *in = NULL;

	if (!keys || !values || !position)
		return -ENOMEM;
	for (;;) {
		uint32_t n = room;
		int end = bpf_map_lookup_batch(fd, in, position, keys, values, &n, NULL) < 0 ? errno : 0;
		int r;

		if (end && end != ENOENT)
			return -end;
		*started = true;
		r = hand_out(walk, keys, values, n);
		if (r)
			return r;
		if (end)
			return 0;
		in = position;
	}
}

int merlon_map_each(int fd, size_t key_size, size_t value_size,
		    int (*each)(void *context, const void *key, const void *value), void *context)
{
	struct walk walk = { key_size, value_size, each, context };
	bool started = false;
	int r;

	r = in_batches(fd, &walk, BATCH, &started);
	if (r < 0 && !started)
		return one_by_one(fd, &walk);
	return r;
}

/* Storing into a map of maps waits (maybe_wait_bpf_programs()). */
int merlon_wait_for_programs(void)
{
	const uint32_t bytes = sizeof(uint32_t);
	_cleanup_close_ int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "merlon_wait", bytes, bytes, 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = inner);
	_cleanup_close_ int outer = inner < 0 ? -1 : bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "merlon_wait", bytes, bytes, 1, &options);
	uint32_t zero = 0;

	if (outer < 0 || bpf_map_update_elem(outer, &zero, &inner, 0) < 0)
		return -errno;
	return 0;
}
