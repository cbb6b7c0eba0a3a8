/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * footprint: what the data plane is to the kernel, of the size that merlond makes it, with a policy of 10,000 rules. A line
 * of JSON for each program's verified instructions, for those of what is always loaded, and for the bytes of its maps and of
 * each that has over a percent. Works in mount and network namespaces of its own; ends with 77 where that cannot be.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/kernel/internal.h"
#include "src/util/cleanup.h"
#include "src/verify/plane.h"
#include "tests/bench/rulegen.h"

#define PINS "/sys/fs/bpf/footprint"
#define RULES 10000
#define PROGRAMS 32
#define MAPS 64

struct program {
	uint32_t id, verified;
	char name[BPF_OBJ_NAME_LEN];
};
struct map {
	uint32_t id;
	uint64_t bytes;
	char name[BPF_OBJ_NAME_LEN];
};
static struct {
	struct program program[PROGRAMS];
	struct map map[MAPS];
	unsigned n_programs, n_maps;
} all;

static int fail(const char *what)
{
	fprintf(stderr, "footprint: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t from_fdinfo(int fd, const char *format)
{
	unsigned long long value = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		fail(path);
	while (fgets(line, sizeof(line), f) && sscanf(line, format, &value) != 1)
		;
	fclose(f);
	return value;
}

static bool is_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static void add_program(int fd);

/* Programs that are only reached by a tail call. */
static void add_slots(int fd, uint32_t n)
{
	for (uint32_t slot = 0, id; slot < n; slot++) {
		_cleanup_close_ int program = -1;

		if (bpf_map_lookup_elem(fd, &slot, &id))
			continue;
		program = bpf_prog_get_fd_by_id(id);
		if (program >= 0)
			add_program(program);
	}
}

/* Bytes as the kernel accounts them, but those of one CPU. */
static void add_map(uint32_t id)
{
	_cleanup_close_ int fd = bpf_map_get_fd_by_id(id);
	struct bpf_map_info info = { 0 };
	uint32_t bytes = sizeof(info);
	struct map *map = &all.map[all.n_maps];

	for (unsigned i = 0; i < all.n_maps; i++)
		if (all.map[i].id == id)
			return;
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &bytes) || all.n_maps == MAPS)
		fail("map");
	all.n_maps++;
	map->id = id;
	map->bytes = is_per_cpu(info.type) ? (uint64_t)info.max_entries * ((info.value_size + 7) & ~7U) : from_fdinfo(fd, "memlock: %llu");
	memcpy(map->name, info.name, sizeof(map->name));
	if (info.type == BPF_MAP_TYPE_PROG_ARRAY)
		add_slots(fd, info.max_entries);
	if (info.type == BPF_MAP_TYPE_ARRAY_OF_MAPS) {
		uint32_t slot = 0, inner;

		if (!bpf_map_lookup_elem(fd, &slot, &inner))
			add_map(inner);
	}
}

static void add_program(int fd)
{
	uint32_t map_ids[MAPS], bytes = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .nr_map_ids = MAPS, .map_ids = (uintptr_t)map_ids };
	struct program *program = &all.program[all.n_programs];

	if (bpf_obj_get_info_by_fd(fd, &info, &bytes))
		fail("program");
	for (unsigned i = 0; i < all.n_programs; i++)
		if (all.program[i].id == info.id)
			return;
	if (all.n_programs == PROGRAMS)
		fail("too many programs");
	all.n_programs++;
	*program = (struct program){ .id = info.id, .verified = info.verified_insns };
	memcpy(program->name, info.name, sizeof(program->name));
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS; i++)
		add_map(map_ids[i]);
}

/* All programs that this process has open, and what they lead to. */
static void look(void)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		fail("/proc/self/fd");
	while ((entry = readdir(dir))) {
		char target[64] = "";

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0 && !strcmp(target, "anon_inode:bpf-prog"))
			add_program(atoi(entry->d_name));
	}
	closedir(dir);
}

static void print(const char *what, const char *name, uint64_t value, const char *unit)
{
	printf("{\"figure\": \"%s%s%s\", \"value\": %ju, \"unit\": \"%s\"}\n", what, *name ? "_" : "", name, (uintmax_t)value, unit);
}

static void print_programs(unsigned from, bool in_all)
{
	uint64_t verified = 0;

	for (unsigned i = from; i < all.n_programs; i++) {
		print("verified", all.program[i].name, all.program[i].verified, "instructions");
		verified += all.program[i].verified;
	}
	if (in_all)
		print("verified", "in_all", verified, "instructions");
}

static void print_maps(void)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < all.n_maps; i++)
		bytes += all.map[i].bytes;
	for (unsigned i = 0; i < all.n_maps; i++)
		if (all.map[i].bytes > bytes / 100)
			print("map", all.map[i].name, all.map[i].bytes, "bytes");
	print("maps", "in_all", bytes, "bytes");
}

static int apply(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	struct merlon_compile_options options = { 0 };
	struct merlon_ruleset *ruleset = rulegen(RULEGEN_FEW, MERLON_IPV4, RULES, 1);
	_cleanup_(merlon_policy_freep) struct merlon_policy *policy = NULL;
	int r;

	if (!ruleset)
		return -ENOMEM;
	merlon_dataplane_prepare(dp, &options);
	r = merlon_compile(ruleset, &options, &policy, diag);
	if (!r)
		r = merlon_dataplane_apply(dp, policy, false, diag);
	merlon_ruleset_free(ruleset);
	return r;
}

static int measure(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	struct merlon_asking asking = { 0 };
	struct merlon_taking taking = { 0 };
	unsigned n;
	int r = apply(dp, diag);

	if (r < 0)
		return r;
	look();
	print_programs(0, true);
	print_maps();
	n = all.n_programs;
	r = merlon_asking_open(dp, &asking, diag);
	if (!r)
		r = merlon_taking_open(dp, &taking, diag);
	if (!r) {
		look();
		print_programs(n, false);
	}
	merlon_asking_close(&asking);
	merlon_taking_close(&taking);
	return r;
}

int main(void)
{
	struct merlon_dataplane_options options = merlon_dataplane_defaults();
	struct merlon_dataplane *dp = NULL;
	struct merlon_diag diag = { 0 };
	int r;

	if (geteuid() || unshare(CLONE_NEWNET)) {
		fprintf(stderr, "footprint: needs root\n");
		return 77;
	}
	options.pin_dir = PINS;
	options.create = true;
	r = merlon_plane_bpffs(&diag);
	if (!r)
		r = merlon_dataplane_open(&options, &dp, &diag);
	if (!r)
		r = measure(dp, &diag);
	if (r < 0)
		merlon_diag_print(&diag, stderr);
	if (dp) {
		merlon_dataplane_remove(dp, &diag);
		merlon_dataplane_close(dp);
	}
	merlon_diag_clear(&diag);
	return r < 0;
}
