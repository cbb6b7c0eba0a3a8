/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of sessions as user space sees it: mapped. */
#include "src/kernel/table.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>

#include "bpf/set.h"
#include "src/util/cleanup.h"

struct table {
	struct merlon_flow_set *set;
	size_t n;
};

static int map_table(int fd, struct table *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	void *at;

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	at = mmap(NULL, info.max_entries * sizeof(struct merlon_flow_set), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret = (struct table){ at, info.max_entries };
	return 0;
}

static void unmap_table(const struct table *table)
{
	munmap(table->set, table->n * sizeof(struct merlon_flow_set));
}

int merlon_table_each(int fd, int (*each)(void *context, enum merlon_family family, const struct merlon_flow *flow),
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
			struct merlon_flow copy;

			if (!tag)
				continue;
			copy = table.set[i].way[way];
			r = each(context, tag & MERLON_TAG_IPV6 ? MERLON_IPV6 : MERLON_IPV4, &copy);
		}
	unmap_table(&table);
	return r;
}

bool merlon_table_find(int fd, uint64_t seed, enum merlon_family family, const union merlon_tuple *tuple,
			   struct merlon_session *ret)
{
	uint64_t hash = merlon_tuple_hash(seed, family, tuple);
	uint32_t at[] = { merlon_first_set(hash), merlon_second_set(hash) };
	struct table table;
	bool found = false;

	if (map_table(fd, &table) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(at) && !found; i++) {
		const struct merlon_flow_set *set = &table.set[at[i] & (table.n - 1)];
		uint32_t way = merlon_set_find(set, family, tuple, merlon_tag_of(family, hash));

		found = way < MERLON_WAYS;
		if (found)
			*ret = set->way[way].session;
	}
	unmap_table(&table);
	return found;
}

/*
 * Without any lock, which the data path would have to wait for if this process was stopped: each session is taken from its
 * owner, as merlon_forget() does it, and who holds its lock still gives that back.
 */
static void flush_set(struct merlon_flow_set *set)
{
	for (size_t way = 0; way < MERLON_WAYS; way++) {
		__atomic_fetch_and(&set->way[way].session.owner, MERLON_LOCKED, __ATOMIC_SEQ_CST);
		*(volatile uint16_t *)&set->tag[way] = 0;
	}
}

int merlon_table_flush(int fd)
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
