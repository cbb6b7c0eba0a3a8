/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of embryonic flows as user space sees it: mapped. */
#include "src/kernel/embryonic.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>

#include "bpf/embryonic.h"

struct table {
	struct merlon_embryos *set;
	size_t n;
};

static int map_table(int fd, struct table *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	void *at;

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	at = mmap(NULL, info.max_entries * sizeof(struct merlon_embryos), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret = (struct table){ at, info.max_entries };
	return 0;
}

static void unmap_table(const struct table *table)
{
	munmap(table->set, table->n * sizeof(struct merlon_embryos));
}

int merlon_embryonic_each(int fd, int (*each)(void *context, enum merlon_family family, const struct merlon_embryo *embryo),
			  void *context)
{
	struct table table;
	int r = map_table(fd, &table);
	size_t i, way;

	if (r < 0)
		return r;
	for (i = 0; !r && i < table.n; i++)
		for (way = 0; !r && way < MERLON_WAYS; way++) {
			uint16_t tag = *(volatile uint16_t *)&table.set[i].tag[way];
			struct merlon_embryo copy;

			if (!tag)
				continue;
			copy = table.set[i].way[way];
			r = each(context, tag & MERLON_TAG_IPV6 ? MERLON_IPV6 : MERLON_IPV4, &copy);
		}
	unmap_table(&table);
	return r;
}

bool merlon_embryonic_find(int fd, uint64_t seed, enum merlon_family family, const union merlon_tuple *tuple,
			   struct merlon_session *ret)
{
	uint64_t hash = merlon_tuple_hash(seed, family, tuple);
	struct table table;
	uint32_t way;

	if (map_table(fd, &table) < 0)
		return false;
	way = merlon_embryos_way(&table.set[hash & (table.n - 1)], family, tuple, merlon_tag_of(family, hash));
	if (way < MERLON_WAYS)
		*ret = table.set[hash & (table.n - 1)].way[way].session;
	unmap_table(&table);
	return way < MERLON_WAYS;
}

/*
 * Without any lock, which the data path would have to wait for if this process was stopped: to it a way without a tag is
 * empty. Somebody who has just found the session there counts one more packet in it, as if that had come before.
 */
static void flush_set(struct merlon_embryos *set)
{
	for (size_t way = 0; way < MERLON_WAYS; way++)
		*(volatile uint16_t *)&set->tag[way] = 0;
}

int merlon_embryonic_flush(int fd)
{
	struct table table;
	int r = map_table(fd, &table);
	size_t i;

	if (r < 0)
		return r;
	for (i = 0; i < table.n; i++)
		flush_set(&table.set[i]);
	unmap_table(&table);
	return 0;
}
