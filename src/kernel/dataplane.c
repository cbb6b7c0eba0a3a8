/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/kernel/dataplane.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "src/kernel/internal.h"
#include "src/kernel/table.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/kernel.h"
#include "src/util/lock.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

struct merlon_dataplane_options merlon_dataplane_defaults(void)
{
	return (struct merlon_dataplane_options){
		.pin_dir = "/sys/fs/bpf/merlon",
		.max_sessions = 1U << 18,
		.events_bytes = 1U << 20,
		.create = true,
	};
}

static int check_kernel(struct merlon_diag *diag)
{
	struct utsname name;

	if (merlon_kernel_is(6, 1) || uname(&name) < 0)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "kernel %s is too old", name.release);
	merlon_diag_cure(diag, "merlon needs Linux 6.1 or newer");
	return -EOPNOTSUPP;
}

static uint64_t netns_cookie(void)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0)
		return 0;
	return cookie;
}

int merlon_check_netns(const char *pin_name, const struct merlon_control *control, struct merlon_diag *diag)
{
	uint64_t cookie = netns_cookie();

	if (!control->netns_cookie || !cookie || control->netns_cookie == cookie)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "the data plane pinned in %s filters another network namespace",
			pin_name);
	merlon_diag_cure(diag, "give each namespace a place of its own with --pin-dir");
	return -EBUSY;
}

static int adopt(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r = merlon_pins_open(dp, diag);

	if (!r)
		r = merlon_check_netns(dp->pin_name, &dp->control, diag);
	if (r < 0)
		return r;
	r = merlon_image_adopt(dp);
	if (r < 0) {
		merlon_diag_errno(diag, r, "cannot read the pinned policy");
		return r;
	}
	dp->control.netns_cookie = netns_cookie();
	/* who asked for packets has gone with the process before */
	dp->control.flags &= ~MERLON_C_PACKETS;
	return merlon_control_write(dp);
}

static void *probe(void *context)
{
	merlon_probe_reset_lasts();
	return context;
}

/* Maps and entry programs; the others are loaded for the first policy. */
static int create(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r = merlon_pins_remove_rest(dp, diag);

	if (!r)
		r = merlon_pins_prepare(dp->pin_dir, diag);
	if (r < 0)
		return r;
	if (!merlon_may_load()) {
		merlon_diag_errno(diag, -EPERM, "the kernel would not take the BPF programs");
		return -EPERM;
	}
	dp->has_sessions = false;
	/* the answer takes long, and is wanted with the first policy */
	dp->probes = !pthread_create(&dp->probe, NULL, probe, NULL);
	return merlon_load_state(dp, diag);
}

/* Two writers would each undo what the other knows: the generation in force is one of the things. */
static int lock_pins(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r;

	do {
		r = merlon_pins_prepare(dp->pin_dir, diag);
		if (!r)
			dp->lock = r = merlon_lock_dir(dp->pin_dir);
	} while (r == -ESTALE || r == -ENOENT);
	if (r == -EBUSY) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"another merlond has the data plane pinned in %s", dp->pin_name);
		merlon_diag_cure(diag, "stop it first, or give this one places of its own with --socket, --pin-dir and --state-dir");
	} else if (r < 0 && !diag->n) {
		merlon_diag_errno(diag, r, "cannot lock the data plane's pins");
	}
	return r < 0 ? r : 0;
}

/* One of another layout goes on enforcing until the new one does, with the same policy (merlon_dataplane_hand_over()). */
static int replace(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r = merlon_takeover_prepare(dp, diag);

	if (!r)
		r = adopt(dp, diag);
	/* nothing is in force, or it was cut off when the policy was */
	if (!r && (!dp->before->control.generation || (dp->before->begun && dp->control.generation)))
		r = merlon_takeover(dp, diag);
	return r;
}

static int open_or_create(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r = check_kernel(diag);

	if (!r)
		r = lock_pins(dp, diag);
	if (!r && (r = merlon_pins_tidy(dp->pin_dir)) < 0)
		merlon_diag_errno(diag, r, "cannot put the data plane's pins in order");
	if (!r)
		r = adopt(dp, diag);
	if (r == -EPROTO && !merlon_takeover_is_needless(dp))
		return replace(dp, diag);
	if (r == -EPROTO) {
		/* the lock goes with the directory */
		r = merlon_dataplane_force_remove(dp->pin_dir, diag);
		merlon_closep(&dp->lock);
		dp->lock = -1;
		return r < 0 ? r : open_or_create(dp, diag);
	}
	if (r != -ENOENT)
		return r;
	if (!dp->options.create)
		return r;
	r = create(dp, diag);
	if (r < 0)
		return r;
	r = adopt(dp, diag);
	if (r == -ENOENT)
		merlon_diag_errno(diag, r, "the data plane vanished while it was made");
	return r;
}

int merlon_dataplane_open(const struct merlon_dataplane_options *options, struct merlon_dataplane **ret,
			  struct merlon_diag *diag)
{
	struct merlon_dataplane *dp = calloc(1, sizeof(*dp));
	int r;

	if (!dp)
		return -ENOMEM;
	dp->lock = -1;
	dp->has_sessions = true;
	memset(dp->fd, 0xff, sizeof(dp->fd));
	memset(dp->entry_prog, 0xff, sizeof(dp->entry_prog));
	memset(dp->policy.fd, 0xff, sizeof(dp->policy.fd));
	memset(dp->policy.prog, 0xff, sizeof(dp->policy.prog));
	dp->options = *options;
	dp->pin_dir = strdup(options->pin_dir);
	dp->pin_name = strdup(options->pin_name ? options->pin_name : options->pin_dir);
	if (asprintf(&dp->links_dir, "%s/links", options->pin_dir) < 0)
		dp->links_dir = NULL;
	r = dp->pin_dir && dp->pin_name && dp->links_dir ? open_or_create(dp, diag) : -ENOMEM;
	if (!r)
		r = merlon_attach_choose(dp, diag);
	if (r < 0) {
		merlon_dataplane_close(dp);
		return r;
	}
	merlon_filtered_settle(dp);
	*ret = dp;
	return 0;
}

int merlon_dataplane_is_there(const struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	if (merlon_lock_is_of(dp->lock, dp->before ? dp->before->pin_dir : dp->pin_dir))
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
			"the data plane is not pinned in %s any more: the directory was removed, or its file system unmounted", dp->pin_name);
	merlon_diag_cure(diag, "restart merlond (`systemctl restart merlond`), with a BPF file system mounted there, and apply again; "
			 "what is in force goes on at most until then");
	return -ESTALE;
}

bool merlon_dataplane_is_torn_out(const struct merlon_dataplane *dp)
{
	struct merlon_diag diag = { 0 };
	unsigned attached;
	bool torn = merlon_dataplane_generation(dp) && !merlon_dataplane_attached(dp, &attached, 1) &&
		    merlon_dataplane_is_there(dp, &diag) < 0;

	merlon_diag_clear(&diag);
	return torn;
}

void merlon_dataplane_close(struct merlon_dataplane *dp)
{
	if (!dp)
		return;
	ring_buffer__free(dp->ring);
	merlon_asking_close(&dp->asking);
	merlon_dataplane_attach_ahead_end(dp, false);
	merlon_load_ahead_end(dp);
	merlon_image_store_end(dp);
	if (dp->probes)
		pthread_join(dp->probe, NULL);
	if (dp->image)
		munmap(dp->image, dp->image_bytes);
	merlon_pins_close(dp);
	merlon_before_free(dp->before);
	merlon_closep(&dp->lock);
	free(dp->links_dir);
	free(dp->pin_dir);
	free(dp->pin_name);
	free(dp);
}

int merlon_dataplane_remove(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	static const char *const dirs[] = { "links", "policy-next", "policy", "progs", "maps" };
	int r, one;
	size_t i;

	/* so that nobody attaches meanwhile */
	dp->control.generation = 0;
	if (dp->before)
		dp->before->control.generation = 0;
	merlon_load_ahead_end(dp);
	r = merlon_dataplane_detach_all(dp);
	for (i = 0; i < ARRAY_SIZE(dirs); i++)
		if ((one = merlon_pins_remove_dir(dp, dirs[i])) < 0)
			r = one;
	if (dp->before && (one = merlon_dataplane_force_remove(dp->before->pin_dir, diag)) < 0)
		r = one;
	if (rmdir(dp->pin_dir) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EBUSY && errno != EPERM)
		r = -errno;
	if (r < 0)
		merlon_diag_errno(diag, r, "cannot remove the whole data plane");
	return r;
}

uint32_t merlon_dataplane_generation(const struct merlon_dataplane *dp)
{
	return dp->control.generation || !dp->before ? dp->control.generation : dp->before->control.generation;
}

uint64_t *merlon_dataplane_image(struct merlon_dataplane *dp)
{
	return merlon_before_judges(dp) ? NULL : dp->image;
}

/* The kernel's own account, in /proc/self/fdinfo (kernel/bpf/syscall.c, bpf_map_show_fdinfo). */
static uint64_t map_memory(int fd)
{
	char path[64], line[256];
	_cleanup_fclose_ FILE *f = NULL;
	unsigned long long bytes = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	return bytes;
}

static uint32_t max_entries(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.max_entries;
}

bool merlon_dataplane_audits(const struct merlon_dataplane *dp)
{
	return (merlon_before_judges(dp) ? dp->before->control.flags : dp->control.flags) & MERLON_C_AUDIT;
}

void merlon_dataplane_count_sessions(const struct merlon_dataplane *dp, uint32_t *ret_established, uint32_t *ret_embryonic)
{
	*ret_established = *ret_embryonic = 0;
	merlon_table_count(merlon_table_of(dp), merlon_now_ns(), ret_established, ret_embryonic);
}

int merlon_dataplane_info(const struct merlon_dataplane *dp, struct merlon_dataplane_info *ret)
{
	struct merlon_dataplane_info info = { .tcx = dp->tcx };
	unsigned attached[1024];
	size_t i;

	for (i = 0; i < MERLON_STATE_MAPS; i++)
		info.memory_bytes += map_memory(dp->fd[i]);
	for (i = 0; i < MERLON_POLICY_MAPS; i++)
		info.memory_bytes += map_memory(dp->policy.fd[i]);
	info.memory_bytes += dp->image_bytes;
	info.max_sessions = max_entries(dp->fd[MERLON_MAP_SESSIONS]) * MERLON_WAYS;
	info.image_words = dp->policy.ledger.class.words;
	info.attached = merlon_dataplane_attached(dp, attached, ARRAY_SIZE(attached));
	info.audit = merlon_dataplane_audits(dp);
	*ret = info;
	return 0;
}
