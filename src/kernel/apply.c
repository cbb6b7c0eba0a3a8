/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A policy comes into force. Order matters, and so does a kill at any point:
 *   1. everything the new generation needs is filled where nothing looks yet;
 *   2. one step makes it the image in force (the pointer in map `image`, or the entry slots for a larger class);
 *   3. control.generation follows, which ends the cached decisions of the old one.
 * Killed before 2: nothing happened. Between 2 and 3: merlon_image_adopt() does step 3.
 */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/util/cleanup.h"
#include "src/util/power.h"

const struct merlon_class merlon_smallest_class = { .words = 1U << 17, .counters = 8192, .limits = 1024, .paths = 8192 };

#define MAX_COUNTERS (1U << 24)
#define MAX_LIMITS (1U << 20)

int merlon_control_write(struct merlon_dataplane *dp)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(dp->fd[MERLON_MAP_CONTROL], &zero, &dp->control, 0) < 0 ? -errno : 0;
}

static const struct merlon_ranges *in_force(const struct merlon_dataplane *dp)
{
	const struct merlon_ranges *ranges = &dp->policy.ledger.ranges[dp->control.generation & 1];

	return dp->control.generation && ranges->generation == dp->control.generation ? ranges : NULL;
}

/* The larger of the two gaps that the range in force leaves in [first, end). */
static uint32_t gap(uint32_t first, uint32_t end, uint32_t used_first, uint32_t used_n)
{
	if (!used_n || used_first < first)
		return first;
	return used_first - first >= end - (used_first + used_n) ? first : used_first + used_n;
}

void merlon_dataplane_prepare(struct merlon_dataplane *dp, struct merlon_compile_options *options)
{
	const struct merlon_ranges none = { 0 }, *now = in_force(dp);
	const struct merlon_class *class = &dp->policy.ledger.class;

	if (!now)
		now = &none;
	options->generation = merlon_dataplane_generation(dp) + 1;
	if (!options->generation)
		options->generation = 1;
	options->first_counter = gap(1, class->counters, now->first_counter, now->n_counters);
	options->first_limit = gap(0, class->limits, now->first_limit, now->n_limits);
	/* More than there is now: the next class makes room. */
	options->max_counters = MAX_COUNTERS;
	options->max_limits = MAX_LIMITS;
}

int merlon_dataplane_in_force(const struct merlon_dataplane *dp, struct merlon_compile_options *options)
{
	const struct merlon_ranges *now = in_force(dp), other = { .generation = merlon_dataplane_generation(dp), .first_counter = 1 };

	/* another layout has other numbers: nothing comes out the same */
	if (dp->before && !now)
		now = other.generation ? &other : NULL;
	else if (!dp->image)
		now = NULL;
	if (!now)
		return -ENOENT;
	options->generation = now->generation;
	options->first_counter = now->first_counter;
	options->first_limit = now->first_limit;
	options->max_counters = MAX_COUNTERS;
	options->max_limits = MAX_LIMITS;
	return 0;
}

static bool overlap(uint32_t first, uint32_t n, uint32_t used_first, uint32_t used_n)
{
	return n && used_n && first < used_first + used_n && used_first < first + n;
}

/* Whether the policy fits beside the one in force; if not, the class it needs. */
static bool fits(const struct merlon_dataplane *dp, const struct merlon_policy *policy, struct merlon_class *ret_class)
{
	const struct merlon_class *class = merlon_has_programs(dp) ? &dp->policy.ledger.class : &merlon_smallest_class;
	const struct merlon_ranges none = { 0 }, *now = in_force(dp);
	uint32_t counters = policy->first_counter + policy->n_counters, limits = policy->first_limit + policy->n_limits;

	if (!now)
		now = &none;
	if (policy->room <= class->words && counters <= class->counters && limits <= class->limits &&
	    !overlap(policy->first_counter, policy->n_counters, now->first_counter, now->n_counters) &&
	    !overlap(policy->first_limit, policy->n_limits, now->first_limit, now->n_limits)) {
		*ret_class = *class;
		return merlon_has_programs(dp);
	}
	*ret_class = *class;
	ret_class->words = merlon_power_of_two(class->words, policy->room);
	/* Twice, so that the next policy of this size fits beside it. */
	ret_class->counters = merlon_power_of_two(class->counters, 2 * counters);
	ret_class->limits = merlon_power_of_two(class->limits, 2 * limits);
	return false;
}

void merlon_dataplane_relax(struct merlon_dataplane *dp, void (*relax)(void *context, bool away), void *context)
{
	dp->relax = relax;
	dp->relaxed = context;
}

void merlon_relax(const struct merlon_dataplane *dp, bool away)
{
	if (dp->relax)
		dp->relax(dp->relaxed, away);
}

void merlon_dataplane_last(struct merlon_dataplane *dp, int (*last)(void *context, struct merlon_diag *diag), void *context)
{
	dp->last = last;
	dp->lasts = context;
}

#define BATCH 1024

/* As many entries of an array as are given, all the same value: so many at once, as there may be 2^24 of them. */
static int fill(int fd, uint32_t first, uint32_t n, const void *value, size_t bytes)
{
	uint32_t room = n < BATCH ? n : BATCH, key[BATCH], done, i;
	_cleanup_free_ char *values = malloc(room * bytes + 1);

	if (!values)
		return -ENOMEM;
	for (i = 0; i < room; i++)
		memcpy(values + i * bytes, value, bytes);
	for (done = 0; done < n; done += room) {
		room = n - done < BATCH ? n - done : BATCH;
		for (i = 0; i < room; i++)
			key[i] = first + done + i;
		if (bpf_map_update_batch(fd, key, values, &room, NULL) < 0)
			return -errno;
	}
	return 0;
}

static int zero_counters(int fd, uint32_t first, uint32_t n)
{
	unsigned cpus = merlon_possible_cpus();
	_cleanup_free_ struct merlon_counter *zero = calloc(cpus, sizeof(*zero));

	return zero ? fill(fd, first, n, zero, cpus * sizeof(*zero)) : -ENOMEM;
}

static int zero_limits(int fd, uint32_t first, uint32_t n)
{
	const uint64_t full = 0;

	return fill(fd, first, n, &full, sizeof(full));
}

/* Where the new generation counts. Its half of the path ids is the one that the generation in force does not use. */
static int take_ranges(const struct merlon_dataplane *dp, struct merlon_policy_maps *maps, const struct merlon_policy *policy)
{
	const struct merlon_class *class = &maps->ledger.class;
	uint32_t zero = 0, half = policy->generation & 1;
	struct merlon_ranges ranges = {
		.generation = policy->generation,
		.first_counter = policy->first_counter, .n_counters = policy->n_counters,
		.first_limit = policy->first_limit, .n_limits = policy->n_limits,
		.first_path = class->counters + half * class->paths,
		.end_path = class->counters + (half + 1) * class->paths,
	};
	int r = 0;

	/* the ledger is pinned with them, and told before anything counts: no generation has, and they are as they were made */
	if (maps->ledger.ranges[0].generation || maps->ledger.ranges[1].generation) {
		merlon_relax(dp, true);
		r = zero_counters(maps->fd[MERLON_MAP_COUNTERS], ranges.first_counter, ranges.n_counters);
		if (!r)
			r = zero_counters(maps->fd[MERLON_MAP_COUNTERS], ranges.first_path, class->paths);
		if (!r)
			r = zero_limits(maps->fd[MERLON_MAP_LIMITS], ranges.first_limit, ranges.n_limits);
		merlon_relax(dp, false);
	}
	if (r < 0)
		return r;
	maps->ledger.ranges[half] = ranges;
	if (bpf_map_update_elem(maps->fd[MERLON_MAP_LEDGER], &zero, &maps->ledger, 0) < 0)
		return -errno;
	return 0;
}

/*
 * The next id before its end: at no moment may a generation that is still running take ids from both halves. A packet
 * of the old generation that interns a path from now on gets an id of the new half, which dies with its generation.
 */
static int set_paths(const struct merlon_policy_maps *maps, uint32_t generation)
{
	const struct merlon_ranges *ranges = &maps->ledger.ranges[generation & 1];
	uint32_t next = MERLON_PATH_NEXT, end = MERLON_PATH_END;

	if (bpf_map_update_elem(maps->fd[MERLON_MAP_PATH_NEXT], &next, &ranges->first_path, 0) < 0 ||
	    bpf_map_update_elem(maps->fd[MERLON_MAP_PATH_NEXT], &end, &ranges->end_path, 0) < 0)
		return -errno;
	return 0;
}

static void *map_image(int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int pin_inner(const struct merlon_dataplane *dp, const char *dir, int fd, uint32_t generation)
{
	char path[PATH_MAX];
	int r = merlon_pin_path(dp, path, "%s/inner-%u", dir, generation & 1);

	if (r < 0)
		return r;
	/* The generation before the one in force may still have its pin here. */
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	return bpf_obj_pin(fd, path);
}

static int new_image(size_t bytes, uint64_t **ret)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	_cleanup_close_ int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "merlon_image", sizeof(uint32_t), bytes, 1, &options);
	uint64_t *image;

	if (fd < 0)
		return fd;
	image = map_image(fd, bytes);
	if (!image)
		return -errno;
	*ret = image;
	return TAKE_FD(fd);
}

static void fill_image(const struct merlon_policy *policy, uint64_t *image)
{
	memcpy(image, policy->image, policy->words * sizeof(uint64_t));
}

static void forget_inner(const struct merlon_dataplane *dp, uint32_t generation)
{
	char path[PATH_MAX];

	if (!merlon_pin_path(dp, path, "policy/inner-%u", generation & 1))
		unlink(path);
}

static int is_of_another_generation(void *context, const void *key, const void *value)
{
	const struct merlon_dataplane *dp = context;
	const struct merlon_path *path = key;

	(void)value;
	if (path->generation != dp->control.generation)
		bpf_map_delete_elem(dp->policy.fd[MERLON_MAP_PATHS], key);
	return 0;
}

static void forget_paths(struct merlon_dataplane *dp)
{
	merlon_map_each(dp->policy.fd[MERLON_MAP_PATHS], sizeof(struct merlon_path), sizeof(uint32_t),
			is_of_another_generation, dp);
}

static int set_generation(struct merlon_dataplane *dp, uint32_t generation, bool audit)
{
	struct merlon_control before = dp->control;
	int r;

	dp->control.generation = generation;
	dp->control.flags = (dp->control.flags & ~MERLON_C_AUDIT) | (audit ? MERLON_C_AUDIT : 0);
	r = merlon_control_write(dp);
	if (r < 0)
		dp->control = before;
	return r;
}

int merlon_dataplane_set_packets(struct merlon_dataplane *dp, bool packets)
{
	int r;

	dp->control.flags = (dp->control.flags & ~MERLON_C_PACKETS) | (packets ? MERLON_C_PACKETS : 0);
	r = merlon_control_write(dp);
	/* the next write, whatever it is for, ends it, and does not begin it */
	if (r < 0)
		dp->control.flags &= ~MERLON_C_PACKETS;
	return r;
}

int merlon_dataplane_set_audit(struct merlon_dataplane *dp, bool audit)
{
	return set_generation(dp, dp->control.generation, audit);
}

static void take_image(struct merlon_dataplane *dp, uint64_t *image, size_t bytes)
{
	if (dp->image)
		munmap(dp->image, dp->image_bytes);
	dp->image = image;
	dp->image_bytes = bytes;
}

/* Full buckets of the new policy become what the old one's are now. A packet of this moment may be missed. */
static int hand_over_limits(const struct merlon_policy_maps *from, const struct merlon_policy_maps *to,
			    const struct merlon_handover *handover)
{
	uint64_t bucket;
	size_t i;

	for (i = 0; handover && i < handover->n_slots; i++)
		if (bpf_map_lookup_elem(from->fd[MERLON_MAP_LIMITS], &handover->slot[i].from, &bucket) < 0 ||
		    bpf_map_update_elem(to->fd[MERLON_MAP_LIMITS], &handover->slot[i].to, &bucket, 0) < 0)
			return -errno;
	return 0;
}

/*
 * The new policy is in force; packets that had taken a decision of the old one may still be counting. When they are through the
 * counts are final.
 */
static void hand_over_counters(const struct merlon_policy_maps *from, uint32_t generation, struct merlon_handover *handover)
{
	if (!handover || !handover->n_counters)
		return;
	handover->error = merlon_wait_for_programs();
	if (!handover->error)
		handover->error = merlon_counters_sum(from, generation, handover->first_counter, handover->n_counters,
						      handover->last);
}

/* Its image, to be filled. */
static int prepare_image(struct merlon_dataplane *dp, const struct merlon_policy *policy, uint64_t **ret)
{
	int r;

	/* or packets might be on their way that met the generation before that in force, whose ranges these were */
	merlon_relax(dp, true);
	merlon_image_store_end(dp);
	merlon_relax(dp, false);
	r = take_ranges(dp, &dp->policy, policy);
	return r < 0 ? r : new_image(dp->policy.ledger.class.words * sizeof(uint64_t), ret);
}

static int swap_image(struct merlon_dataplane *dp, const struct merlon_policy *policy, int inner, uint64_t *image, bool audit,
		      struct merlon_handover *handover)
{
	size_t bytes = dp->policy.ledger.class.words * sizeof(uint64_t);
	uint32_t previous = dp->control.generation;
	int r;

	fill_image(policy, image);
	if ((r = hand_over_limits(&dp->policy, &dp->policy, handover)) < 0 ||
	    (r = pin_inner(dp, "policy", inner, policy->generation)) < 0 ||
	    (r = set_paths(&dp->policy, policy->generation)) < 0)
		goto failed;
	r = merlon_image_store(dp, dp->policy.fd[MERLON_MAP_IMAGE], inner);
	if (r < 0)
		goto failed;
	take_image(dp, image, bytes);
	r = set_generation(dp, policy->generation, audit);
	if (r < 0)
		return r;
	forget_inner(dp, previous);
	hand_over_counters(&dp->policy, previous, handover);
	forget_paths(dp);
	return 0;
failed:
	munmap(image, bytes);
	return r;
}

/* Before the first policy there is only what comes. */
static int exchange_dirs(const struct merlon_dataplane *dp)
{
	char policy[PATH_MAX], next[PATH_MAX];

	if (merlon_pin_path(dp, policy, "policy") < 0 || merlon_pin_path(dp, next, "policy-next") < 0)
		return -ENAMETOOLONG;
	return renameat2(AT_FDCWD, next, AT_FDCWD, policy, merlon_has_programs(dp) ? RENAME_EXCHANGE : 0) < 0 ? -errno : 0;
}

static int swap_slots(struct merlon_dataplane *dp, const struct merlon_policy_maps *maps)
{
	uint32_t slot;

	for (slot = 0; slot < MERLON_PROGS; slot++)
		if (bpf_map_update_elem(dp->fd[MERLON_MAP_ENTRY], &slot, &maps->prog[slot], 0) < 0)
			return -errno;
	return 0;
}

static void swap_back(struct merlon_dataplane *dp)
{
	uint32_t slot;

	if (merlon_has_programs(dp)) {
		swap_slots(dp, &dp->policy);
		exchange_dirs(dp);
		return;
	}
	for (slot = 0; slot < MERLON_PROGS; slot++)
		bpf_map_delete_elem(dp->fd[MERLON_MAP_ENTRY], &slot);
	merlon_pins_remove_dir(dp, "policy");
}

static int swap_class(struct merlon_dataplane *dp, const struct merlon_policy *policy, struct merlon_policy_maps *next,
		      bool audit, struct merlon_handover *handover)
{
	struct merlon_policy_maps before = dp->policy;
	size_t bytes = next->ledger.class.words * sizeof(uint64_t);
	uint32_t previous = dp->control.generation;
	uint64_t *image = NULL;
	_cleanup_close_ int inner = new_image(bytes, &image);
	int r;

	if (inner < 0)
		return inner;
	fill_image(policy, image);
	if ((r = take_ranges(dp, next, policy)) < 0 ||
	    (r = hand_over_limits(&dp->policy, next, handover)) < 0 ||
	    (r = pin_inner(dp, "policy-next", inner, policy->generation)) < 0)
		goto failed;
	if ((r = merlon_image_store(dp, next->fd[MERLON_MAP_IMAGE], inner)) < 0 ||
	    (r = set_paths(next, policy->generation)) < 0 || (r = exchange_dirs(dp)) < 0)
		goto failed;
	/* or merlon_takeover() does it */
	r = dp->before ? 0 : swap_slots(dp, next);
	if (r < 0) {
		swap_back(dp);
		goto failed;
	}
	dp->policy = *next;
	memset(next, 0xff, sizeof(*next));
	take_image(dp, image, bytes);
	r = set_generation(dp, policy->generation, audit);
	if (!r)
		hand_over_counters(&before, previous, handover);
	merlon_policy_maps_close(&before);
	return r;
failed:
	munmap(image, bytes);
	return r;
}

static int do_last(const struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	return dp->last ? dp->last(dp->lasts, diag) : 0;
}

/* In policy-next. */
static int load(struct merlon_dataplane *dp, const struct merlon_class *class, struct merlon_diag *diag)
{
	int r;

	merlon_relax(dp, true);
	r = merlon_load_ahead_end(dp);
	if (r < 0 || memcmp(class, &merlon_smallest_class, sizeof(*class)))
		r = merlon_load_programs(dp, class, "policy-next", diag);
	merlon_relax(dp, false);
	return r;
}

static int apply_larger(struct merlon_dataplane *dp, const struct merlon_policy *policy, const struct merlon_class *class,
			bool audit, struct merlon_handover *handover, struct merlon_diag *diag)
{
	struct merlon_policy_maps next;
	int r = load(dp, class, diag);

	if (!r)
		r = do_last(dp, diag);
	if (!r) {
		r = merlon_pins_open_policy(dp, "policy-next", &next);
		if (!r) {
			r = swap_class(dp, policy, &next, audit, handover);
			merlon_policy_maps_close(&next);
			/* those that were in force have pins until now */
			merlon_wait_for_programs();
		}
		if (r < 0)
			merlon_diag_errno(diag, r, "cannot put the policy in force");
	}
	merlon_pins_remove_dir(dp, "policy-next");
	return r;
}

static int put_in_force(struct merlon_dataplane *dp, const struct merlon_policy *policy, bool audit,
			struct merlon_handover *handover, struct merlon_diag *diag)
{
	_cleanup_close_ int inner = -1;
	struct merlon_class class;
	uint64_t *image;
	int r;

	if (!fits(dp, policy, &class))
		return apply_larger(dp, policy, &class, audit, handover, diag);
	inner = r = prepare_image(dp, policy, &image);
	if (r >= 0) {
		/* which lets others go on: they may tell the policy of interfaces until it is copied */
		r = do_last(dp, diag);
		if (r < 0) {
			munmap(image, class.words * sizeof(uint64_t));
			return r;
		}
		r = swap_image(dp, policy, inner, image, audit, handover);
	}
	if (r < 0)
		merlon_diag_errno(diag, r, "cannot put the policy in force");
	return r;
}

int merlon_dataplane_hand_over(struct merlon_dataplane *dp, const struct merlon_policy *policy, bool audit,
			       struct merlon_handover *handover, struct merlon_diag *diag)
{
	/* or a larger policy would be put beside the wrong one */
	int r = merlon_takeover_end(dp, diag);

	if (!r)
		r = put_in_force(dp, policy, audit, handover, diag);
	if (!r && dp->before) {
		r = merlon_takeover(dp, diag);
		/* that of the one before still is, for all flows */
		if (r < 0 && dp->before && !dp->before->begun)
			set_generation(dp, 0, audit);
	}
	return r;
}

int merlon_dataplane_apply(struct merlon_dataplane *dp, const struct merlon_policy *policy, bool audit,
			   struct merlon_diag *diag)
{
	return merlon_dataplane_hand_over(dp, policy, audit, NULL, diag);
}

/* Finds the pin of the image that the pointer leads to: opening it by its id would take CAP_SYS_ADMIN. */
static int open_inner(const struct merlon_dataplane *dp, uint32_t id)
{
	char path[PATH_MAX];
	uint32_t i;

	for (i = 0; i < 2; i++) {
		_cleanup_close_ int fd = -1;
		struct bpf_map_info info = { 0 };
		uint32_t size = sizeof(info);

		if (merlon_pin_path(dp, path, "policy/inner-%u", i) < 0)
			return -ENAMETOOLONG;
		fd = bpf_obj_get(path);
		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && info.id == id)
			return TAKE_FD(fd);
	}
	return -ENOENT;
}

int merlon_image_adopt(struct merlon_dataplane *dp)
{
	size_t bytes = dp->policy.ledger.class.words * sizeof(uint64_t);
	const struct merlon_image *image;
	_cleanup_close_ int inner = -1;
	uint32_t zero = 0, id = 0;

	if (bpf_map_lookup_elem(dp->policy.fd[MERLON_MAP_IMAGE], &zero, &id) < 0 || !id)
		return 0;
	inner = open_inner(dp, id);
	if (inner < 0)
		return inner;
	dp->image = map_image(inner, bytes);
	if (!dp->image)
		return -errno;
	dp->image_bytes = bytes;
	image = (const struct merlon_image *)dp->image;
	if (dp->control.generation == image->generation)
		return 0;
	return set_generation(dp, image->generation, dp->control.flags & MERLON_C_AUDIT);
}
