/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The only file that knows the skeleton: programs are loaded for a class of sizes, beside maps that exist already. */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef MERLON_TEST_LAYOUT
#include "bpf/layout.skel.h"
#else
#include "bpf/merlon.skel.h"
#endif
#include "src/kernel/layout.h"
#include "src/util/cleanup.h"
#include "src/util/kernel.h"
#include "src/util/power.h"

/* libbpf and the verifier talk at length; the end of it is what explains a failure. */
static _Thread_local char log_tail[16384];
static _Thread_local size_t log_bytes;
#define LOG_LINES 6

__attribute__((format(printf, 2, 0)))
static int keep_log(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[4096];
	int n = vsnprintf(line, sizeof(line), format, args);
	size_t bytes;

	if (level == LIBBPF_DEBUG || n <= 0)
		return 0;
	bytes = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;
	if (log_bytes + bytes >= sizeof(log_tail)) {
		size_t keep = sizeof(log_tail) / 2;

		if (log_bytes > keep) {
			memmove(log_tail, log_tail + log_bytes - keep, keep);
			log_bytes = keep;
		}
	}
	memcpy(log_tail + log_bytes, line, bytes);
	log_bytes += bytes;
	log_tail[log_bytes] = 0;
	return 0;
}

void merlon_diag_errno(struct merlon_diag *diag, int error, const char *what)
{
	struct merlon_place nowhere = { 0 };

	merlon_diag_add(diag, MERLON_ERROR, nowhere, "%s: %s", what, strerror(-error));
	if (error == -EPERM || error == -EACCES)
		merlon_diag_cure(diag, "run as root, or give CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
	else if (error == -ENOMEM)
		merlon_diag_cure(diag, "the kernel has no memory for maps of this size; lower [Sessions] Max= in merlond's configuration");
}

/*
 * A function that the kernel does not have is looked for in its modules, too. libbpf 1.1 gives up where that takes
 * CAP_SYS_ADMIN, even for a weak one. It looks once an object: now, for what no kernel has, where failing does no harm.
 */
static void look_into_modules(struct merlon_bpf *skel)
{
	bpf_program__set_attach_target(skel->progs.ingress_entry, 0, "merlon_nothing");
}

/* By what it has, not by its version: distributions backport. */
static bool kernel_has[4];

static void find_names(void)
{
	static const char *const name[] = { "bpf_cast_to_kern_ctx", "bpf_rdonly_cast", "bpf_skb_cgroup_id", "nf_ct_set_closing" };

	/* where it cannot be told */
	kernel_has[2] = true;
	kernel_has[3] = merlon_kernel_is(6, 3);
	merlon_kernel_names(name, ARRAY_SIZE(name), kernel_has);
}

static void look_for_names(void)
{
	static pthread_once_t found = PTHREAD_ONCE_INIT;

	pthread_once(&found, find_names);
}

static void look_at_kernel(struct merlon_bpf *skel)
{
	look_for_names();
	skel->rodata->merlon_have_kern_ctx = kernel_has[0] && kernel_has[1];
	skel->rodata->merlon_have_cgroups = kernel_has[2];
	skel->rodata->merlon_reset_closes = kernel_has[3];
	skel->rodata->merlon_have_mrdisc = merlon_kernel_is(6, 10);
	skel->rodata->merlon_reject_sums_dccp = merlon_kernel_is(6, 17);
	if (!skel->rodata->merlon_have_kern_ctx)
		look_into_modules(skel);
}

/* A half of the map `decisions`: what they count tells most of them apart, and a policy has half of the counters at most. */
static uint32_t decisions_of(const struct merlon_class *class)
{
	return merlon_power_of_two(1U << 15, class->counters);
}

static int size_policy_maps(struct merlon_bpf *skel, const struct merlon_class *class)
{
	struct bpf_map *inner = bpf_map__inner_map(skel->maps.image);

	if (!inner || bpf_map__set_value_size(inner, class->words * sizeof(uint64_t)) < 0 ||
	    bpf_map__set_max_entries(skel->maps.counters, class->counters + 2 * class->paths) < 0 ||
	    bpf_map__set_max_entries(skel->maps.limits, class->limits) < 0 ||
	    bpf_map__set_max_entries(skel->maps.decisions, 2 * decisions_of(class)) < 0 ||
	    bpf_map__set_max_entries(skel->maps.paths, 2 * class->paths) < 0)
		return -EINVAL;
	skel->rodata->merlon_image_mask = class->words - 1;
	skel->rodata->merlon_decisions_mask = decisions_of(class) - 1;
	look_at_kernel(skel);
	return 0;
}

/* For at least so many flows; bpf/set.h takes no more bits of the hash than these. */
static uint32_t sets_of(uint32_t max_sessions)
{
	const uint32_t most = 1U << 23;

	return max_sessions / MERLON_WAYS < most ? merlon_power_of_two(1, (max_sessions + MERLON_WAYS - 1) / MERLON_WAYS) : most;
}

uint32_t merlon_sessions_room(uint32_t max_sessions)
{
	return sets_of(max_sessions) * MERLON_WAYS;
}

static int size_state_maps(struct merlon_bpf *skel, const struct merlon_dataplane_options *options)
{
	if (bpf_map__set_max_entries(skel->maps.sessions, sets_of(options->max_sessions)) < 0 ||
	    bpf_map__set_max_entries(skel->maps.sets, sets_of(options->max_sessions)) < 0 ||
	    bpf_map__set_max_entries(skel->maps.events, options->events_bytes) < 0 ||
	    bpf_map__set_max_entries(skel->maps.rejects, options->events_bytes) < 0)
		return -EINVAL;
	return 0;
}

static bool belongs_to_policy(const struct bpf_map *map)
{
	size_t i;

	for (i = 0; i < MERLON_POLICY_MAPS; i++)
		if (!strcmp(bpf_map__name(map), merlon_policy_map_name[i]))
			return true;
	return false;
}

/* The name of a map's pin; NULL: it is of one load alone, and has none. */
static const char *pin_name(const struct bpf_map *map)
{
	const char *name = bpf_map__name(map);

	if (!bpf_map__is_internal(map))
		return name;
	return strncmp(name, MERLON_VARIABLE, strlen(MERLON_VARIABLE)) ? NULL : name + strlen(MERLON_VARIABLE);
}

/* Maps that are pinned already go on: sessions outlive the programs that made them. */
static int reuse_state_maps(const struct merlon_dataplane *dp, struct merlon_bpf *skel)
{
	struct bpf_map *map;
	char path[PATH_MAX];

	bpf_object__for_each_map(map, skel->obj) {
		const char *name = pin_name(map);
		_cleanup_close_ int fd = -1;
		int r;

		if (!name || belongs_to_policy(map))
			continue;
		r = merlon_pin_path(dp, path, "maps/%s", name);
		if (r < 0)
			return r;
		fd = bpf_obj_get(path);
		if (fd == -ENOENT)
			continue;
		if (fd < 0)
			return fd;
		r = bpf_map__reuse_fd(map, fd);
		if (r < 0)
			return r;
	}
	return 0;
}

static int pin(const struct merlon_dataplane *dp, int fd, const char *dir, const char *name)
{
	char path[PATH_MAX];
	int r = merlon_pin_path(dp, path, "%s/%s", dir, name);

	if (r < 0)
		return r;
	r = bpf_obj_pin(fd, path);
	return r == -EEXIST ? 0 : r;
}

static int pin_ledger(const struct merlon_dataplane *dp, const struct merlon_class *class, const char *dir)
{
	struct merlon_ledger ledger = { .class = *class };
	_cleanup_close_ int fd = -1;
	uint32_t zero = 0;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "merlon_ledger", sizeof(zero), sizeof(ledger), 1, NULL);
	if (fd < 0)
		return fd;
	if (bpf_map_update_elem(fd, &zero, &ledger, 0) < 0)
		return -errno;
	return pin(dp, fd, dir, merlon_policy_map_name[MERLON_MAP_LEDGER]);
}

/* For other versions, which know other layouts. */
static int pin_layout(const struct merlon_dataplane *dp, const struct merlon_bpf *skel)
{
	uint32_t bytes = 0, zero = 0;
	const void *raw = btf__raw_data(bpf_object__btf(skel->obj), &bytes);
	_cleanup_close_ int fd = -1;

	if (!raw)
		return -ENOMEM;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "layout", sizeof(zero), bytes, 1, NULL);
	if (fd < 0)
		return fd;
	if (bpf_map_update_elem(fd, &zero, raw, 0) < 0)
		return -errno;
	return pin(dp, fd, "maps", "layout");
}

static int pin_programs(const struct merlon_dataplane *dp, const struct merlon_bpf *skel, const struct merlon_class *class,
			const char *dir)
{
	int r;

	if ((r = pin(dp, bpf_program__fd(skel->progs.ingress), dir, "ingress")) < 0 ||
	    (r = pin(dp, bpf_program__fd(skel->progs.egress), dir, "egress")) < 0 ||
	    (r = pin(dp, bpf_program__fd(skel->progs.cold), dir, "cold")) < 0)
		return r;
	return pin_ledger(dp, class, dir);
}

/* Maps and entry programs; `dir` NULL: there are none of a policy. The map `control` comes last: where it is pinned, everything is. */
static int pin_maps(const struct merlon_dataplane *dp, const struct merlon_bpf *skel, const char *dir)
{
	struct bpf_map *map;
	int r;

	if ((r = pin(dp, bpf_program__fd(skel->progs.ingress_entry), "progs", "ingress")) < 0 ||
	    (r = pin(dp, bpf_program__fd(skel->progs.egress_entry), "progs", "egress")) < 0 || (r = pin_layout(dp, skel)) < 0)
		return r;
	bpf_object__for_each_map(map, skel->obj) {
		const char *name = pin_name(map);

		if (!name || map == skel->maps.data_control || !bpf_map__autocreate(map))
			continue;
		r = pin(dp, bpf_map__fd(map), belongs_to_policy(map) ? dir : "maps", name);
		if (r < 0)
			return r;
	}
	return pin(dp, bpf_map__fd(skel->maps.data_control), "maps", "control");
}

static int fill_long_way(const struct merlon_bpf *skel)
{
	uint32_t zero = 0, fd = bpf_program__fd(skel->progs.cold);

	return bpf_map_update_elem(bpf_map__fd(skel->maps.long_way), &zero, &fd, 0) < 0 ? -errno : 0;
}

static int init_control(const struct merlon_bpf *skel)
{
	struct merlon_control control = { .version = MERLON_ABI_VERSION };
	uint32_t zero = 0;

	if (getrandom(&control.seed, sizeof(control.seed), 0) != sizeof(control.seed))
		return -errno;
	return bpf_map_update_elem(bpf_map__fd(skel->maps.data_control), &zero, &control, 0) < 0 ? -errno : 0;
}

static int init_trackers(const struct merlon_bpf *skel)
{
	struct merlon_trackers trackers;
	uint32_t zero = 0;

	merlon_trackers_read(&trackers);
	return bpf_map_update_elem(bpf_map__fd(skel->maps.data_trackers), &zero, &trackers, 0) < 0 ? -errno : 0;
}

/* The last lines of the log say what the verifier stumbled on; all of it with MERLON_BPF_LOG set. */
static const char *log_end(void)
{
	const char *p = log_tail + log_bytes;
	int lines = 0;

	if (getenv("MERLON_BPF_LOG"))
		return log_tail;
	while (p > log_tail && lines < LOG_LINES)
		lines += *--p == '\n';
	return *p == '\n' ? p + 1 : p;
}

/* EACCES comes from the verifier, EPERM from missing privileges (kernel/bpf/verifier.c, kernel/bpf/syscall.c). */
static void say_why(int error, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };

	merlon_diag_add(diag, MERLON_ERROR, nowhere, "the kernel does not take the BPF programs: %s", strerror(-error));
	if (error == -EPERM)
		merlon_diag_cure(diag, "run as root, or give CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
	else if (error == -ENOMEM)
		merlon_diag_cure(diag, "there is no memory for tables of this size; lower [Sessions] Max= in merlond's configuration");
	else
		merlon_diag_cure(diag, "this is a fault of merlon on this kernel; please report it with what MERLON_BPF_LOG=1 shows");
	if (log_bytes)
		merlon_diag_add(diag, MERLON_NOTE, nowhere, "%s", log_end());
}

static int load_into_kernel(struct merlon_bpf *skel, struct merlon_diag *diag)
{
	int r;

	log_bytes = 0;
	r = merlon_bpf__load(skel);
	if (r < 0)
		say_why(r, diag);
	return r;
}

static struct merlon_bpf *open_skeleton(struct merlon_diag *diag)
{
	struct merlon_bpf *skel = merlon_bpf__open();

	if (!skel)
		merlon_diag_errno(diag, -errno, "cannot open the BPF programs");
	return skel;
}

/* The largest map by far, made beside all else: the kernel clears its memory. */
struct largest {
	pthread_t thread;
	uint32_t sets;
	int fd;
};

static void *make_largest(void *context)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	struct largest *largest = context;

	largest->fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "sessions", sizeof(uint32_t), sizeof(struct merlon_flow_ways), largest->sets, &options);
	return NULL;
}

/* `sessions`: that map; -1: it is made with the others, or the error is told. */
static int load_state(struct merlon_dataplane *dp, struct merlon_bpf *skel, int sessions, struct merlon_diag *diag)
{
	struct bpf_program *program;
	struct bpf_map *map;
	int r;

	bpf_object__for_each_program(program, skel->obj)
		bpf_program__set_autoload(program, program == skel->progs.ingress_entry || program == skel->progs.egress_entry);
	bpf_object__for_each_map(map, skel->obj)
		if (belongs_to_policy(map) || map == skel->maps.takers || map == skel->maps.noted)
			bpf_map__set_autocreate(map, false);
	look_at_kernel(skel);
	r = size_state_maps(skel, &dp->options);
	if (!r && sessions >= 0)
		r = bpf_map__reuse_fd(skel->maps.sessions, sessions);
	if (r < 0) {
		merlon_diag_errno(diag, r, "cannot set up the maps of the data plane");
		return r;
	}
	return load_into_kernel(skel, diag);
}

bool merlon_may_load(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return true;
	return data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN) ||
	       data[CAP_TO_INDEX(CAP_PERFMON)].effective & CAP_TO_MASK(CAP_PERFMON);
}

int merlon_load_state(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	libbpf_print_fn_t previous = libbpf_set_print(keep_log);
	struct largest largest = { .sets = sets_of(dp->options.max_sessions), .fd = -1 };
	bool made = !pthread_create(&largest.thread, NULL, make_largest, &largest);
	struct merlon_bpf *skel = open_skeleton(diag);
	int r;

	look_for_names();
	if (made)
		pthread_join(largest.thread, NULL);
	r = skel ? load_state(dp, skel, largest.fd, diag) : -EINVAL;
	merlon_closep(&largest.fd);
	if (!r && ((r = init_control(skel)) < 0 || (r = pin_maps(dp, skel, NULL)) < 0))
		merlon_diag_errno(diag, r, "cannot pin the data plane");
	merlon_bpf__destroy(skel);
	libbpf_set_print(previous);
	return r;
}

static int load(struct merlon_dataplane *dp, struct merlon_bpf *skel, const struct merlon_class *class,
		struct merlon_diag *diag)
{
	int r;

	if ((r = size_state_maps(skel, &dp->options)) < 0 || (r = size_policy_maps(skel, class)) < 0 ||
	    (r = reuse_state_maps(dp, skel)) < 0) {
		merlon_diag_errno(diag, r, "cannot set up the maps of the data plane");
		return r;
	}
	/* as it is, which may be pinned since other settings */
	skel->rodata->merlon_sets_mask = bpf_map__max_entries(skel->maps.sessions) - 1;
	bpf_map__set_autocreate(skel->maps.takers, false);
	bpf_map__set_autocreate(skel->maps.noted, false);
	return load_into_kernel(skel, diag);
}

int merlon_load_programs(struct merlon_dataplane *dp, const struct merlon_class *class, const char *dir,
			 struct merlon_diag *diag)
{
	libbpf_print_fn_t previous = libbpf_set_print(keep_log);
	struct merlon_bpf *skel = open_skeleton(diag);
	char path[PATH_MAX];
	int r = skel ? load(dp, skel, class, diag) : -EINVAL;

	if (r < 0)
		goto out;
	r = merlon_pins_remove_dir(dp, dir);
	if (!r)
		r = merlon_pin_path(dp, path, "%s", dir);
	if (!r && mkdir(path, 0700) < 0)
		r = -errno;
	if (!r)
		r = fill_long_way(skel);
	/* what is to take another's place is made in one go */
	if (!r && dp->fd[MERLON_MAP_CONTROL] < 0)
		r = init_control(skel);
	if (!r && !merlon_has_programs(dp))
		r = init_trackers(skel);
	if (!r)
		r = pin_programs(dp, skel, class, dir);
	if (!r)
		r = pin_maps(dp, skel, dir);
	if (r < 0)
		merlon_diag_errno(diag, r, "cannot pin the data plane");
out:
	merlon_bpf__destroy(skel);
	libbpf_set_print(previous);
	return r;
}

struct shared_map {
	struct bpf_map *map;
	int fd;
};

/*
 * What programs of a load of their own share with the data path. They have `n_own` maps that are theirs alone; those that
 * they do not use are not made.
 */
static int share_maps(struct merlon_bpf *skel, struct bpf_map *const *own, size_t n_own, const struct shared_map *shared, size_t n_shared)
{
	struct bpf_map *map;
	size_t i;
	int r;

	bpf_object__for_each_map(map, skel->obj) {
		bool used = bpf_map__is_internal(map);

		for (i = 0; i < n_own; i++)
			used |= map == own[i];
		for (i = 0; i < n_shared; i++)
			used |= map == shared[i].map;
		r = used ? 0 : bpf_map__set_autocreate(map, false);
		if (r < 0)
			return r;
	}
	for (i = 0; i < n_shared; i++)
		if ((r = bpf_map__reuse_fd(shared[i].map, shared[i].fd)) < 0)
			return r;
	return 0;
}

static int load_asked(const struct merlon_dataplane *dp, struct merlon_bpf *skel, struct merlon_diag *diag)
{
	struct bpf_map *const own[] = { skel->maps.walk, skel->maps.scratch, skel->maps.limits, skel->maps.counters };
	const struct shared_map shared[] = {
		{ skel->maps.image, dp->policy.fd[MERLON_MAP_IMAGE] },
		{ skel->maps.data_control, dp->fd[MERLON_MAP_CONTROL] },
		{ skel->maps.data_trackers, dp->fd[MERLON_MAP_TRACKERS] },
	};
	struct bpf_program *program;
	int r;

	bpf_object__for_each_program(program, skel->obj)
		bpf_program__set_autoload(program, program == skel->progs.why);
	r = size_policy_maps(skel, &dp->policy.ledger.class);
	if (!r)
		r = bpf_map__set_max_entries(skel->maps.counters, 1);
	if (!r)
		r = share_maps(skel, own, ARRAY_SIZE(own), shared, ARRAY_SIZE(shared));
	if (r < 0) {
		merlon_diag_errno(diag, r, "cannot set up the program that asks the data plane");
		return r;
	}
	return load_into_kernel(skel, diag);
}

/* Programs beside those in force, which `load_it` loads. */
static int open_beside(const struct merlon_dataplane *dp,
		       int (*load_it)(const struct merlon_dataplane *dp, struct merlon_bpf *skel, struct merlon_diag *diag),
		       struct merlon_bpf **ret, struct merlon_diag *diag)
{
	libbpf_print_fn_t previous = libbpf_set_print(keep_log);
	struct merlon_bpf *skel = merlon_bpf__open();
	int r;

	if (skel) {
		r = load_it(dp, skel, diag);
	} else {
		r = -errno;
		merlon_diag_errno(diag, r, "cannot open the BPF programs");
	}
	libbpf_set_print(previous);
	if (r < 0)
		merlon_bpf__destroy(skel);
	else
		*ret = skel;
	return r;
}

int merlon_asking_open(const struct merlon_dataplane *dp, struct merlon_asking *ret, struct merlon_diag *diag)
{
	struct merlon_bpf *skel;
	int r = open_beside(dp, load_asked, &skel, diag);

	if (r < 0)
		return r;
	*ret = (struct merlon_asking){ .skel = skel, .prog = bpf_program__fd(skel->progs.why),
				       .limits = bpf_map__fd(skel->maps.limits), .why = &skel->bss->merlon_asked };
	return 0;
}

void merlon_asking_close(struct merlon_asking *asking)
{
	if (asking->skel)
		merlon_bpf__destroy(asking->skel);
	*asking = (struct merlon_asking){ 0 };
}

int merlon_load_layout(struct merlon_blob *ret)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct merlon_bpf *skel = merlon_bpf__open();
	uint32_t bytes = 0;
	const void *raw = skel ? btf__raw_data(bpf_object__btf(skel->obj), &bytes) : NULL;
	void *copy = raw ? malloc(bytes) : NULL;

	if (copy)
		*ret = (struct merlon_blob){ memcpy(copy, raw, bytes), bytes };
	merlon_bpf__destroy(skel);
	libbpf_set_print(previous);
	return copy ? 0 : -ENOMEM;
}

static int load_taking(const struct merlon_dataplane *dp, struct merlon_bpf *skel, struct merlon_diag *diag)
{
	struct bpf_map *const own[] = { skel->maps.scratch, skel->maps.stats, skel->maps.takers, skel->maps.noted };
	const struct shared_map shared[] = {
		{ skel->maps.sessions, dp->fd[MERLON_MAP_SESSIONS] },
		{ skel->maps.sets, dp->fd[MERLON_MAP_SETS] },
		{ skel->maps.data_control, dp->fd[MERLON_MAP_CONTROL] },
		{ skel->maps.data_trackers, dp->fd[MERLON_MAP_TRACKERS] },
	};
	struct bpf_program *program;
	int r;

	bpf_object__for_each_program(program, skel->obj)
		bpf_program__set_autoload(program, program == skel->progs.ingress_takeover || program == skel->progs.egress_takeover);
	look_at_kernel(skel);
	r = share_maps(skel, own, ARRAY_SIZE(own), shared, ARRAY_SIZE(shared));
	if (r < 0) {
		merlon_diag_errno(diag, r, "cannot set up the programs that take the sessions over");
		return r;
	}
	skel->rodata->merlon_sets_mask = bpf_map__max_entries(skel->maps.sessions) - 1;
	return load_into_kernel(skel, diag);
}

int merlon_taking_open(const struct merlon_dataplane *dp, struct merlon_taking *ret, struct merlon_diag *diag)
{
	struct merlon_bpf *skel;
	int r = open_beside(dp, load_taking, &skel, diag);

	if (r < 0)
		return r;
	*ret = (struct merlon_taking){ .skel = skel, .takers = bpf_map__fd(skel->maps.takers), .stage = &skel->bss->merlon_takeover_stage,
				       .prog = { bpf_program__fd(skel->progs.ingress_takeover), bpf_program__fd(skel->progs.egress_takeover) } };
	return 0;
}

void merlon_taking_close(struct merlon_taking *taking)
{
	if (taking->skel)
		merlon_bpf__destroy(taking->skel);
	*taking = (struct merlon_taking){ 0 };
}
