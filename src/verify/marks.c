/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/util/cleanup.h"
#include "src/verify/mark.skel.h"
#include "src/verify/world.h"

#define TCX_EGRESS 47		/* BPF_TCX_EGRESS of linux/bpf.h since 6.6 */
#define FILTER_PRIORITY 0xffff	/* merlon's own is 1 */

struct merlon_marks {
	struct mark_bpf *skel;
	struct ring_buffer *ring;
	int link[MERLON_GROUND_DEVICES];
	struct merlon_ears *ears;
};

static int on_mark(void *context, void *data, size_t size)
{
	struct merlon_marks *m = context;

	if (size >= sizeof(struct merlon_marked))
		merlon_ears_marked(m->ears, data);
	return 0;
}

/* A filter goes with its device. */
static int attach_filter(int program, unsigned ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = FILTER_PRIORITY, .prog_fd = program);
	int r = bpf_tc_hook_create(&hook);

	if (r < 0 && r != -EEXIST)
		return r;
	hook.attach_point = BPF_TC_EGRESS;
	return bpf_tc_attach(&hook, &opts);
}

static int attach(struct merlon_marks *m, const struct merlon_ground *ground)
{
	int program = bpf_program__fd(m->skel->progs.mark), r = 0;
	unsigned i;

	for (i = MERLON_GROUND_LO + 1; i < ground->n_devices && r >= 0; i++) {
		r = bpf_link_create(program, ground->device[i].index, TCX_EGRESS, NULL);
		if (r >= 0)
			m->link[i] = r;
		else if (r == -EINVAL)
			r = attach_filter(program, ground->device[i].index);
	}
	return r < 0 ? r : 0;
}

int merlon_marks_open(const struct merlon_ground *ground, struct merlon_marks **ret)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct merlon_marks *m = calloc(1, sizeof(*m));
	unsigned i;
	int r = -ENOMEM;

	for (i = 0; m && i < MERLON_GROUND_DEVICES; i++)
		m->link[i] = -1;
	errno = ENOMEM;
	if (m && (m->skel = mark_bpf__open_and_load()))
		m->ring = ring_buffer__new(bpf_map__fd(m->skel->maps.marks), on_mark, m, NULL);
	r = m && m->ring ? attach(m, ground) : -errno;
	libbpf_set_print(previous);
	if (r < 0)
		merlon_marks_close(m);
	else
		*ret = m;
	return r;
}

void merlon_marks_close(struct merlon_marks *m)
{
	unsigned i;

	if (!m)
		return;
	for (i = 0; i < MERLON_GROUND_DEVICES; i++)
		merlon_closep(&m->link[i]);
	ring_buffer__free(m->ring);
	mark_bpf__destroy(m->skel);
	free(m);
}

int merlon_marks_hear(struct merlon_marks *m, struct merlon_ears *ears)
{
	int r;

	m->ears = ears;
	r = ring_buffer__consume(m->ring);
	return r < 0 ? r : 0;
}
