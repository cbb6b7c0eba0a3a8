/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking the data plane without a trace. The program `why` runs over a packet of our own by BPF_PROG_TEST_RUN. Of the
 * maps in force it has those that it only reads; buckets are copied for it, and so is the packet's session, by the
 * syscall, which leaves the table's order of use alone (a program's look-up would not).
 *
 * It is loaded with the first question and stays until the policy's size class changes: nobody who does not ask pays.
 */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/util/clock.h"

static uint32_t map_id(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.id;
}

static int open_asking(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	uint32_t id = map_id(dp->policy.fd[MERLON_MAP_IMAGE]);
	int r;

	if (dp->asking.skel && dp->asking.image_id == id)
		return 0;
	merlon_asking_close(&dp->asking);
	r = merlon_asking_open(dp, &dp->asking, diag);
	if (!r)
		dp->asking.image_id = id;
	return r;
}

/* The buckets of the generation in force, from its first on. */
static int copy_limits(const struct merlon_dataplane *dp, uint64_t *copy)
{
	const struct merlon_ranges *ranges = &dp->policy.ledger.ranges[dp->control.generation & 1];
	uint32_t i;

	for (i = 0; i < ranges->n_limits; i++) {
		uint32_t slot = ranges->first_limit + i;

		if (bpf_map_lookup_elem(dp->policy.fd[MERLON_MAP_LIMITS], &slot, &copy[i]) < 0 ||
		    bpf_map_update_elem(dp->asking.limits, &slot, &copy[i], 0) < 0)
			return -errno;
	}
	return 0;
}

int merlon_dataplane_why(struct merlon_dataplane *dp, const struct merlon_why_frame *frame, struct merlon_why *why,
			 uint64_t **ret_limits, struct merlon_diag *diag)
{
	const struct merlon_ranges *ranges = &dp->policy.ledger.ranges[dp->control.generation & 1];
	_cleanup_free_ uint64_t *limits = calloc(ranges->n_limits + 1, sizeof(*limits));
	struct __sk_buff context = { .mark = frame->mark, .ifindex = frame->ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame->data, .data_size_in = frame->bytes, .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = 1);
	int r;

	if (!limits)
		return -ENOMEM;
	if (!dp->control.generation)
		return -ENOENT;
	r = open_asking(dp, diag);
	if (r < 0)
		return r;
	r = copy_limits(dp, limits);
	*dp->asking.why = *why;
	if (!r && bpf_prog_test_run_opts(dp->asking.prog, &run) < 0)
		r = -errno;
	if (!r && !dp->asking.why->judged)
		r = -EIO;
	if (r < 0) {
		merlon_diag_errno(diag, r, "cannot run the program that asks the data plane");
		return r;
	}
	*why = *dp->asking.why;
	*ret_limits = TAKE_PTR(limits);
	return 0;
}
