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
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/util/cleanup.h"

/* BPF_TCX_INGRESS, BPF_TCX_EGRESS of linux/bpf.h since 6.6; libbpf 1.1 hands them on as they are. */
#define TCX_INGRESS 46
#define TCX_EGRESS 47

#define TCX_BEFORE (1U << 3)	/* BPF_F_BEFORE */
#define TCX_PROGS 64		/* on one side of an interface, at most: BPF_MPROG_MAX of linux/bpf_mprog.h */

#define FILTER_HANDLE 0x6d6c
#define FILTER_PRIORITY 1

static const int tcx_type[MERLON_PROGS] = { TCX_INGRESS, TCX_EGRESS };
static const enum bpf_tc_attach_point tc_point[MERLON_PROGS] = { BPF_TC_INGRESS, BPF_TC_EGRESS };

static bool tcx_supported(int prog_fd)
{
	/* No interface has this index: -ENODEV says that the attach type is known. */
	int fd = bpf_link_create(prog_fd, INT_MAX, tcx_type[0], NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -ENODEV;
}

int merlon_link_path(const struct merlon_dataplane *dp, char *ret, unsigned ifindex, int side)
{
	return snprintf(ret, PATH_MAX, "%s/%u-%s", dp->links_dir, ifindex, merlon_prog_name[side]) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

uint32_t merlon_prog_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.id;
}

/*
 * A link outlives its interface. One whose interface was moved to another namespace may even name the index of a new
 * interface here: only the interface itself can tell.
 */
static bool is_on(const struct merlon_dataplane *dp, unsigned ifindex, int side)
{
	uint32_t id[TCX_PROGS], n = TCX_PROGS, ours = merlon_prog_id(dp->entry_prog[side]), i;

	if (!ours || bpf_prog_query(ifindex, tcx_type[side], 0, NULL, id, &n) < 0)
		return false;
	for (i = 0; i < n; i++)
		if (id[i] == ours)
			return true;
	return false;
}

/* At the head: a program in front that answers TC_ACT_OK would let packets by unseen. */
int merlon_link_attach(const struct merlon_dataplane *dp, unsigned ifindex, int side)
{
	LIBBPF_OPTS(bpf_link_create_opts, first, .flags = TCX_BEFORE);
	_cleanup_close_ int link = -1;
	char path[PATH_MAX];
	int r = merlon_link_path(dp, path, ifindex, side);

	if (r < 0)
		return r;
	link = bpf_obj_get(path);
	if (link >= 0) {
		if (is_on(dp, ifindex, side))
			return 0;
		close(link);
		if (unlink(path) < 0)
			return -errno;
	}
	link = bpf_link_create(dp->entry_prog[side], ifindex, tcx_type[side], &first);
	if (link < 0)
		return link;
	r = bpf_obj_pin(link, path);
	/* another thread was quicker; this link goes with its descriptor */
	if (r == -EEXIST) {
		_cleanup_close_ int theirs = bpf_obj_get(path);

		return theirs < 0 ? r : 0;
	}
	return r;
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
		return there == merlon_prog_id(dp->entry_prog[side]) ? 0 : -EBUSY;
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

/* So that what is routed to it is judged where it leaves, and not where it comes in, too. */
static int note_filtered(const struct merlon_dataplane *dp, unsigned ifindex)
{
	uint8_t value = merlon_filtered_value(ifindex);

	if (bpf_map_update_elem(dp->fd[MERLON_MAP_FILTERED], &ifindex, &value, 0) < 0 ||
	    (dp->before && dp->before->filtered >= 0 && bpf_map_update_elem(dp->before->filtered, &ifindex, &value, 0) < 0))
		return -errno;
	return 0;
}

int merlon_dataplane_attach(struct merlon_dataplane *dp, unsigned ifindex, struct merlon_diag *diag)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	int side, r = 0;

	for (side = 0; !r && side < MERLON_PROGS; side++)
		r = dp->tcx ? merlon_link_attach(dp, ifindex, side) : attach_clsact(dp, ifindex, side);
	libbpf_set_print(previous);
	if (!r)
		r = note_filtered(dp, ifindex);
	if (r < 0)
		say_why(ifindex, r, diag);
	return r;
}

static int count(const struct nlmsghdr *header, void *data)
{
	if (header->nlmsg_type == RTM_NEWTFILTER)
		++*(int *)data;
	return MNL_CB_OK;
}

/* Filters at one side of an interface's clsact; an error when that cannot be said. */
static int count_filters(unsigned ifindex, uint32_t minor)
{
	struct mnl_socket *rtnl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char buffer[32768];
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(header, sizeof(*tc));
	ssize_t bytes = -1;
	int n = 0, more = MNL_CB_OK;

	header->nlmsg_type = RTM_GETTFILTER;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = ifindex;
	tc->tcm_parent = TC_H_MAKE(TC_H_CLSACT, minor);
	if (rtnl && mnl_socket_bind(rtnl, 0, MNL_SOCKET_AUTOPID) == 0)
		bytes = mnl_socket_sendto(rtnl, header, header->nlmsg_len);
	while (bytes >= 0 && more == MNL_CB_OK) {
		bytes = mnl_socket_recvfrom(rtnl, buffer, sizeof(buffer));
		if (bytes >= 0)
			more = mnl_cb_run(buffer, bytes, 0, 0, count, &n);
	}
	if (rtnl)
		mnl_socket_close(rtnl);
	return bytes < 0 || more == MNL_CB_ERROR ? -EIO : n;
}

int merlon_detach_filter(unsigned ifindex, int side, uint32_t prog)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = tc_point[side]);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	int r;

	if (filter_prog(ifindex, side) != prog)
		return 0;
	r = bpf_tc_detach(&hook, &opts);
	/* The qdisc stays while it holds filters of others. */
	if (!r && !count_filters(ifindex, TC_H_MIN_INGRESS) && !count_filters(ifindex, TC_H_MIN_EGRESS)) {
		hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		bpf_tc_hook_destroy(&hook);
	}
	return r;
}

/* Without its pin a link filters on as long as somebody holds it open, and until the kernel comes to it (bpf_link_put()). */
void merlon_detach_link(const char *path)
{
	_cleanup_close_ int link = bpf_obj_get(path);

	if (link >= 0)
		bpf_link_detach(link);
}

int merlon_dataplane_detach(struct merlon_dataplane *dp, unsigned ifindex)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	int side, one, r = 0;

	bpf_map_delete_elem(dp->fd[MERLON_MAP_FILTERED], &ifindex);
	if (dp->before && dp->before->filtered >= 0)
		bpf_map_delete_elem(dp->before->filtered, &ifindex);
	for (side = 0; side < MERLON_PROGS; side++) {
		char path[PATH_MAX];

		one = merlon_link_path(dp, path, ifindex, side);
		if (!one)
			merlon_detach_link(path);
		if (!one && unlink(path) < 0 && errno != ENOENT)
			one = -errno;
		if (!one && !dp->tcx)
			one = merlon_detach_filter(ifindex, side, merlon_prog_id(dp->entry_prog[side]));
		if (one < 0 && one != -ENODEV && one != -ENOENT)
			r = one;
	}
	libbpf_set_print(previous);
	return r;
}

struct noted {
	const struct merlon_dataplane *dp;
	unsigned gone[256];
	size_t n;
};

static int is_filtered_no_more(void *context, const void *key, const void *value)
{
	struct noted *noted = context;
	unsigned ifindex = *(const unsigned *)key;
	int side = MERLON_PROG_EGRESS;

	(void)value;
	if (noted->dp->tcx ? !is_on(noted->dp, ifindex, side) : filter_prog(ifindex, side) != merlon_prog_id(noted->dp->entry_prog[side]))
		noted->gone[noted->n++] = ifindex;
	return noted->n == ARRAY_SIZE(noted->gone);
}

void merlon_filtered_settle(struct merlon_dataplane *dp)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct noted noted = { .dp = dp };

	do {
		noted.n = 0;
		merlon_map_each(dp->fd[MERLON_MAP_FILTERED], sizeof(unsigned), sizeof(uint8_t), is_filtered_no_more, &noted);
		for (size_t i = 0; i < noted.n; i++)
			bpf_map_delete_elem(dp->fd[MERLON_MAP_FILTERED], &noted.gone[i]);
	} while (noted.n == ARRAY_SIZE(noted.gone));
	libbpf_set_print(previous);
}

static size_t attached_tcx(const struct merlon_dataplane *dp, unsigned *ret, size_t max)
{
	struct dirent *entry;
	size_t n = 0;
	DIR *d = opendir(dp->links_dir);

	if (!d)
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
	uint32_t id = merlon_prog_id(dp->entry_prog[MERLON_PROG_INGRESS]);
	size_t n = 0;

	for (i = all; i && i->if_index && n < max; i++)
		if (filter_prog(i->if_index, MERLON_PROG_INGRESS) == id)
			ret[n++] = i->if_index;
	if_freenameindex(all);
	libbpf_set_print(previous);
	return n;
}

/* Attached both ways at once, a packet would be judged twice. */
int merlon_attach_choose(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	bool has_tcx = tcx_supported(dp->entry_prog[MERLON_PROG_INGRESS]);
	unsigned one;

	if (!has_tcx && dp->options.attach == MERLON_ATTACH_TCX) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "this kernel has no TCX to attach by");
		merlon_diag_cure(diag, "TCX is there since Linux 6.6; [Network] Attach=auto takes clsact before");
		return -EOPNOTSUPP;
	}
	if (!has_tcx || attached_clsact(dp, &one, 1))
		dp->tcx = false;
	else
		dp->tcx = dp->options.attach != MERLON_ATTACH_CLSACT || attached_tcx(dp, &one, 1);
	return 0;
}

size_t merlon_dataplane_attached(const struct merlon_dataplane *dp, unsigned *ret, size_t max)
{
	return dp->tcx ? attached_tcx(dp, ret, max) : attached_clsact(dp, ret, max);
}

int merlon_dataplane_detach_all(struct merlon_dataplane *dp)
{
	unsigned attached[1024];
	int r = 0, one;
	size_t n, i;

	merlon_dataplane_attach_ahead_end(dp, true);
	/* what cannot be detached would be met again */
	do {
		n = merlon_dataplane_attached(dp, attached, ARRAY_SIZE(attached));
		for (i = 0; i < n; i++)
			if ((one = merlon_dataplane_detach(dp, attached[i])) < 0)
				r = one;
	} while (!r && n == ARRAY_SIZE(attached));
	return r;
}
