/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry programs on interfaces. TCX links (Linux 6.6) are pinned and die with their pin; clsact filters (before) stay
 * until they are deleted, under a handle and priority of their own.
 */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/util/cleanup.h"

/* BPF_TCX_INGRESS, BPF_TCX_EGRESS of linux/bpf.h since 6.6; libbpf 1.1 hands them on as they are. */
#define TCX_INGRESS 46
#define TCX_EGRESS 47

#define FILTER_HANDLE 0x6d6c
#define FILTER_PRIORITY 1

static const int tcx_type[MERLON_PROGS] = { TCX_INGRESS, TCX_EGRESS };
static const enum bpf_tc_attach_point tc_point[MERLON_PROGS] = { BPF_TC_INGRESS, BPF_TC_EGRESS };

bool merlon_tcx_supported(int prog_fd)
{
	/* No interface has this index: -ENODEV says that the attach type is known. */
	int fd = bpf_link_create(prog_fd, INT_MAX, tcx_type[0], NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -ENODEV;
}

static int link_path(const struct merlon_dataplane *dp, char *ret, unsigned ifindex, int side)
{
	return merlon_pin_path(dp, ret, "links/%u-%s", ifindex, merlon_prog_name[side]);
}

/* A link outlives its interface, with index 0. */
static bool link_is_on(int fd, unsigned ifindex)
{
	struct bpf_link_info info = { 0 };
	uint32_t size = sizeof(info);

	/* tcx.ifindex is where xdp.ifindex is */
	return !bpf_obj_get_info_by_fd(fd, &info, &size) && info.xdp.ifindex == ifindex;
}

static int attach_tcx(const struct merlon_dataplane *dp, unsigned ifindex, int side)
{
	_cleanup_close_ int link = -1;
	char path[PATH_MAX];
	int r = link_path(dp, path, ifindex, side);

	if (r < 0)
		return r;
	link = bpf_obj_get(path);
	if (link >= 0) {
		if (link_is_on(link, ifindex))
			return 0;
		close(link);
		if (unlink(path) < 0)
			return -errno;
	}
	link = bpf_link_create(dp->entry_prog[side], ifindex, tcx_type[side], NULL);
	if (link < 0)
		return link;
	return bpf_obj_pin(link, path);
}

static uint32_t prog_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.id;
}

static uint32_t filter_prog(unsigned ifindex, int side)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = tc_point[side]);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);

	return bpf_tc_query(&hook, &opts) < 0 ? 0 : opts.prog_id;
}

static int attach_clsact(const struct merlon_dataplane *dp, unsigned ifindex, int side)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY,
		    .prog_fd = dp->entry_prog[side]);
	uint32_t there = filter_prog(ifindex, side);
	int r;

	if (there)
		return there == prog_id(dp->entry_prog[side]) ? 0 : -EBUSY;
	r = bpf_tc_hook_create(&hook);
	if (r < 0 && r != -EEXIST)
		return r;
	hook.attach_point = tc_point[side];
	return bpf_tc_attach(&hook, &opts);
}

static void say_why(unsigned ifindex, int error, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };
	char name[IF_NAMESIZE] = "";

	if_indextoname(ifindex, name);
	if (error == -EBUSY || error == -EEXIST || error == -ERANGE) {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "%s: another program holds the place on this interface", name);
		merlon_diag_cure(diag, "see `bpftool net show dev %s` and `tc filter show dev %s ingress`, remove it, or leave the interface out with --interfaces", name, name);
		return;
	}
	merlon_diag_add(diag, MERLON_ERROR, nowhere, "%s (index %u): cannot attach: %s", name, ifindex, strerror(-error));
	if (error == -EPERM)
		merlon_diag_cure(diag, "run as root, or give CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
}

int merlon_dataplane_attach(struct merlon_dataplane *dp, unsigned ifindex, struct merlon_diag *diag)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	int side, r = 0;

	for (side = 0; !r && side < MERLON_PROGS; side++)
		r = dp->tcx ? attach_tcx(dp, ifindex, side) : attach_clsact(dp, ifindex, side);
	libbpf_set_print(previous);
	if (r < 0)
		say_why(ifindex, r, diag);
	return r;
}

static int detach_clsact(const struct merlon_dataplane *dp, unsigned ifindex, int side)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = tc_point[side]);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);

	if (filter_prog(ifindex, side) != prog_id(dp->entry_prog[side]))
		return 0;
	/* The qdisc stays: it may hold filters of others. */
	return bpf_tc_detach(&hook, &opts);
}

int merlon_dataplane_detach(struct merlon_dataplane *dp, unsigned ifindex)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	int side, one, r = 0;

	for (side = 0; side < MERLON_PROGS; side++) {
		char path[PATH_MAX];

		one = link_path(dp, path, ifindex, side);
		if (!one && unlink(path) < 0 && errno != ENOENT)
			one = -errno;
		if (!one && !dp->tcx)
			one = detach_clsact(dp, ifindex, side);
		if (one < 0 && one != -ENODEV && one != -ENOENT)
			r = one;
	}
	libbpf_set_print(previous);
	return r;
}

static size_t attached_tcx(const struct merlon_dataplane *dp, unsigned *ret, size_t max)
{
	char path[PATH_MAX];
	struct dirent *entry;
	size_t n = 0;
	DIR *d;

	if (merlon_pin_path(dp, path, "links") < 0 || !(d = opendir(path)))
		return 0;
	while (n < max && (entry = readdir(d))) {
		unsigned ifindex;
		char side[16];

		if (sscanf(entry->d_name, "%u-%15s", &ifindex, side) == 2 && !strcmp(side, merlon_prog_name[0]))
			ret[n++] = ifindex;
	}
	closedir(d);
	return n;
}

static size_t attached_clsact(const struct merlon_dataplane *dp, unsigned *ret, size_t max)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct if_nameindex *all = if_nameindex(), *i;
	uint32_t id = prog_id(dp->entry_prog[MERLON_PROG_INGRESS]);
	size_t n = 0;

	for (i = all; i && i->if_index && n < max; i++)
		if (filter_prog(i->if_index, MERLON_PROG_INGRESS) == id)
			ret[n++] = i->if_index;
	if_freenameindex(all);
	libbpf_set_print(previous);
	return n;
}

size_t merlon_dataplane_attached(const struct merlon_dataplane *dp, unsigned *ret, size_t max)
{
	return dp->tcx ? attached_tcx(dp, ret, max) : attached_clsact(dp, ret, max);
}
