/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the verifier went through for the programs of a pinned data plane, and for those that are only loaded when they are
 * needed (for `merlon why`, and to take another layout's sessions over), which are loaded here for it. And whether they are
 * the programs of this build, which the other benchmarks load: by their tags, hashes of their instructions.
 *
 * usage: programs [--json] PIN-DIR      exit status 1: they are others
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/abi.h"
#include "bpf/why.h"
#include "bpf/merlon.skel.h"

#define PINNED 5

static int info(int fd, struct bpf_prog_info *ret)
{
	__u32 bytes = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return fd < 0 ? -1 : bpf_obj_get_info_by_fd(fd, ret, &bytes);
}

static const char *tag_text(const struct bpf_prog_info *i, char text[17])
{
	for (int b = 0; b < 8; b++)
		snprintf(text + 2 * b, 3, "%02x", i->tag[b]);
	return text;
}

static void say(bool json, const char *name, const struct bpf_prog_info *i)
{
	char tag[17];

	if (json)
		printf("{\"program\": \"%s\", \"tag\": \"%s\", \"verified_insns\": %u, \"bytes\": %u}\n", name,
		       tag_text(i, tag), i->verified_insns, i->jited_prog_len);
	else
		printf("%-16s %s %7u instructions verified, %6u bytes\n", name, tag_text(i, tag), i->verified_insns,
		       i->jited_prog_len);
}

static void figure(bool json, const char *name, unsigned value)
{
	if (json)
		printf("{\"figure\": \"%s\", \"value\": %u, \"unit\": \"instructions\"}\n", name, value);
	else
		printf("%-40s %12u\n", name, value);
}

/* All of the build's, with tables of no size that matters to the verifier. */
static struct merlon_bpf *load(void)
{
	struct merlon_bpf *skel = merlon_bpf__open();
	struct btf *kernel = btf__load_vmlinux_btf();
	struct bpf_program *program;

	if (!skel)
		return NULL;
	skel->rodata->merlon_have_kern_ctx = kernel && btf__find_by_name_kind(kernel, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
	btf__free(kernel);
	bpf_object__for_each_program(program, skel->obj)
		bpf_program__set_autoload(program, true);
	if (merlon_bpf__load(skel)) {
		merlon_bpf__destroy(skel);
		return NULL;
	}
	return skel;
}

int main(int argc, char **argv)
{
	static const char *const path[PINNED] = { "policy/ingress", "policy/egress", "policy/cold", "progs/ingress", "progs/egress" };
	static const char *const name[PINNED] = { "ingress", "egress", "cold", "ingress_entry", "egress_entry" };
	bool json = argc > 1 && !strcmp(argv[1], "--json");
	unsigned all = 0, most = 0;
	struct bpf_prog_info built, pinned;
	struct bpf_program *program;
	struct merlon_bpf *skel;
	int r = 0;

	if (argc != 2 + json) {
		fprintf(stderr, "usage: programs [--json] PIN-DIR\n");
		return 2;
	}
	skel = load();
	if (!skel) {
		fprintf(stderr, "programs: cannot load the build's programs\n");
		return 1;
	}
	bpf_object__for_each_program(program, skel->obj) {
		const char *called = bpf_program__name(program);

		if (info(bpf_program__fd(program), &built))
			return 1;
		for (int i = 0; i < PINNED; i++) {
			char pin[4096];
			int fd;

			if (strcmp(called, name[i]) != 0)
				continue;
			snprintf(pin, sizeof(pin), "%s/%s", argv[1 + json], path[i]);
			fd = bpf_obj_get(pin);
			if (info(fd, &pinned) || memcmp(pinned.tag, built.tag, sizeof(built.tag)) != 0) {
				fprintf(stderr, "programs: %s is not that of this build\n", pin);
				r = 1;
			}
			built = pinned;
			close(fd);
		}
		say(json, called, &built);
		all += built.verified_insns;
		most = built.verified_insns > most ? built.verified_insns : most;
	}
	figure(json, "verified_insns_max", most);
	figure(json, "verified_insns_all", all);
	merlon_bpf__destroy(skel);
	return r;
}
