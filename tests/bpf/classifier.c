/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bpf/classifier.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bpf/classify.skel.h"

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static void *map_memory(const struct bpf_map *map, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static uint32_t verified_insns(int fd)
{
	struct bpf_prog_info info = { 0 };
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.verified_insns;
}

static int fill(struct classifier *c, const struct merlon_policy *policy)
{
	c->image = map_memory(c->skeleton->maps.first_image, c->image_bytes);
	c->walk = map_memory(c->skeleton->maps.walks, sizeof(*c->walk));
	c->packet = map_memory(c->skeleton->maps.packets, c->n_packets * sizeof(*c->packet));
	c->ns = map_memory(c->skeleton->maps.times, c->n_packets * sizeof(*c->ns));
	if (!c->image || !c->walk || !c->packet || !c->ns)
		return -errno;
	memcpy(c->image, policy->image, c->image_bytes);
	c->verified = verified_insns(bpf_program__fd(c->skeleton->progs.classify_one));
	return 0;
}

int classifier_open(struct classifier *c, const struct merlon_policy *policy, uint32_t n_packets)
{
	struct classify_bpf *s;
	int r;

	libbpf_set_print(silent);
	*c = (struct classifier){ .n_packets = n_packets ? n_packets : 1,
				  .image_bytes = (size_t)policy->room * sizeof(uint64_t) };
	s = classify_bpf__open();
	if (!s)
		return -errno;
	c->skeleton = s;
	s->rodata->merlon_image_mask = policy->room - 1;
	r = bpf_map__set_value_size(s->maps.first_image, c->image_bytes);
	if (!r)
		r = bpf_map__set_value_size(bpf_map__inner_map(s->maps.image), c->image_bytes);
	if (!r)
		r = bpf_map__set_max_entries(s->maps.packets, c->n_packets);
	if (!r)
		r = bpf_map__set_max_entries(s->maps.times, c->n_packets);
	if (!r)
		r = bpf_map__set_max_entries(s->maps.limits, policy->first_limit + policy->n_limits + 1);
	if (!r)
		r = bpf_map__set_max_entries(s->maps.counters, policy->first_counter + policy->n_counters + 1);
	if (!r)
		r = classify_bpf__load(s);
	if (!r)
		r = fill(c, policy);
	if (r)
		classifier_close(c);
	return r;
}

void classifier_close(struct classifier *c)
{
	if (c->image)
		munmap(c->image, c->image_bytes);
	if (c->walk)
		munmap(c->walk, sizeof(*c->walk));
	if (c->packet)
		munmap(c->packet, c->n_packets * sizeof(*c->packet));
	if (c->ns)
		munmap(c->ns, c->n_packets * sizeof(*c->ns));
	classify_bpf__destroy(c->skeleton);
	*c = (struct classifier){ 0 };
}

static int64_t run(const struct bpf_program *program)
{
	unsigned char frame[64] = { [12] = 8, [14] = 0x45 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame), .repeat = 1);
	int r = bpf_prog_test_run_opts(bpf_program__fd(program), &opts);

	if (r < 0)
		return r;
	return (int)opts.retval < 0 ? -EIO : (int64_t)opts.duration;
}

int classifier_one(struct classifier *c)
{
	int64_t r = run(c->skeleton->progs.classify_one);

	return r < 0 ? r : 0;
}

int64_t classifier_many(struct classifier *c, uint32_t count, bool warm)
{
	c->skeleton->bss->count = count;
	c->skeleton->bss->warm = warm;
	return run(c->skeleton->progs.classify_many);
}

int64_t classifier_empty(struct classifier *c, uint32_t count, bool warm)
{
	c->skeleton->bss->count = count;
	c->skeleton->bss->warm = warm;
	return run(c->skeleton->progs.pass_over);
}

int classifier_timed(struct classifier *c, uint32_t count, bool judge)
{
	const struct bpf_program *program = judge ? c->skeleton->progs.classify_timed : c->skeleton->progs.pass_timed;
	int64_t r;

	c->skeleton->bss->count = count;
	c->skeleton->bss->warm = 0;
	r = run(program);
	return r < 0 ? r : 0;
}
