/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the verifier has to walk until all programs are loaded: what takes it too long, a start and a larger policy do, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <cmocka.h>
#include <unistd.h>

#include "tests/bpf/plane.h"

#define MOST_INSTRUCTIONS 300000	/* of all programs; it was 187,000 on Linux 6.18 */

static struct merlon_bpf *load_all(bool kern_ctx)
{
	struct merlon_bpf *skel = merlon_bpf__open();
	struct bpf_program *program;

	CHECK(skel);
	bpf_object__for_each_program(program, skel->obj)
		bpf_program__set_autoload(program, true);
	skel->rodata->merlon_have_kern_ctx = kern_ctx;
	CHECK(!merlon_bpf__load(skel));
	return skel;
}

static uint32_t walked(const struct merlon_bpf *skel)
{
	struct bpf_program *program;
	uint32_t sum = 0;

	bpf_object__for_each_program(program, skel->obj) {
		struct bpf_prog_info info = { 0 };
		uint32_t bytes = sizeof(info);

		CHECK(!bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &bytes));
		printf("# %s: %u instructions verified\n", bpf_program__name(program), info.verified_insns);
		assert_true(info.verified_insns > 0);
		sum += info.verified_insns;
	}
	return sum;
}

static void within(bool kern_ctx)
{
	struct merlon_bpf *skel = load_all(kern_ctx);
	uint32_t sum = walked(skel);

	merlon_bpf__destroy(skel);
	printf("# %u instructions verified\n", sum);
	assert_in_range(sum, 1, MOST_INSTRUCTIONS - 1);
}

/* Older kernels tell less (bpf/ours.h). */
static void as_6_1(void **state)
{
	(void)state;
	within(false);
}

static void as_newer(void **state)
{
	struct btf *kernel = btf__load_vmlinux_btf();
	bool has = kernel && btf__find_by_name_kind(kernel, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;

	(void)state;
	btf__free(kernel);
	if (!has)
		skip();
	within(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(as_6_1), cmocka_unit_test(as_newer) };

	return geteuid() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
