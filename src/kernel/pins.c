/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory of pins: where it may be, what is in it, what belongs together. */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "src/util/cleanup.h"

#define BPF_FS_MAGIC 0xcafe4a11

static const char *const state_map_name[MERLON_STATE_MAPS] = {
	[MERLON_MAP_CONTROL] = "control",
	[MERLON_MAP_ENTRY] = "entry",
	[MERLON_MAP_TRACKERS] = "trackers",
	[MERLON_MAP_STATS] = "stats",
	[MERLON_MAP_SESSIONS] = "sessions",
	[MERLON_MAP_SETS] = "sets",
	[MERLON_MAP_EVENTS] = "events",
	[MERLON_MAP_REJECTS] = "rejects",
	[MERLON_MAP_FILTERED] = "filtered",
	[MERLON_MAP_MARTIAN] = "martian",
	[MERLON_MAP_LAYOUT] = "layout",
};
const char *const merlon_policy_map_name[MERLON_POLICY_MAPS] = {
	[MERLON_MAP_IMAGE] = "image",
	[MERLON_MAP_COUNTERS] = "counters",
	[MERLON_MAP_LIMITS] = "limits",
	[MERLON_MAP_PATHS] = "paths",
	[MERLON_MAP_PATH_NEXT] = "path_next",
	[MERLON_MAP_DECISIONS] = "decisions",
	[MERLON_MAP_LONG_WAY] = "long_way",
	[MERLON_MAP_LEDGER] = "ledger",
};
const char *const merlon_prog_name[MERLON_PROGS] = { "ingress", "egress" };

int merlon_pin_path(const struct merlon_dataplane *dp, char *ret, const char *format, ...)
{
	int n = snprintf(ret, PATH_MAX, "%s/", dp->pin_dir), m;
	va_list args;

	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	va_start(args, format);
	m = vsnprintf(ret + n, PATH_MAX - n, format, args);
	va_end(args);
	return m < PATH_MAX - n ? 0 : -ENAMETOOLONG;
}

static void parent(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		strcpy(path, ".");
	else
		slash[slash == path] = 0;
}

static int check_bpffs(const char *pin_dir, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };
	char path[PATH_MAX];
	struct statfs fs;

	if (snprintf(path, sizeof(path), "%s", pin_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	/* The directory may not exist yet: its nearest ancestor says where it would be. */
	while (statfs(path, &fs) < 0) {
		if (errno != ENOENT || !strcmp(path, "/") || !strcmp(path, ".")) {
			int error = -errno;

			merlon_diag_add(diag, MERLON_ERROR, nowhere, "cannot look at %s: %s", pin_dir, strerror(-error));
			if (error == -EACCES || error == -EPERM)
				merlon_diag_cure(diag, "run as root: capabilities alone do not lead into a directory of root's");
			return error;
		}
		parent(path);
	}
	if ((unsigned long)fs.f_type == BPF_FS_MAGIC)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, nowhere, "%s is not on a BPF file system", pin_dir);
	merlon_diag_cure(diag, "mount one (mount -t bpf bpf /sys/fs/bpf), or choose another place with --pin-dir");
	return -ENODEV;
}

static int make_dirs(const char *pin_dir, struct merlon_diag *diag)
{
	static const char *const sub[] = { "", "/maps", "/progs", "/links" };
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sub); i++) {
		if (snprintf(path, sizeof(path), "%s%s", pin_dir, sub[i]) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		if (mkdir(path, 0700) < 0 && errno != EEXIST) {
			int error = -errno;

			merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot make %s: %s", path,
					strerror(-error));
			if (error == -EPERM || error == -EACCES)
				merlon_diag_cure(diag, "run as root, or choose another place with --pin-dir");
			else
				merlon_diag_cure(diag, "choose another place with --pin-dir");
			return error;
		}
	}
	return 0;
}

int merlon_pins_prepare(const char *pin_dir, struct merlon_diag *diag)
{
	int r = check_bpffs(pin_dir, diag);

	return r < 0 ? r : make_dirs(pin_dir, diag);
}

int merlon_pins_are_there(const char *pin_dir, struct merlon_diag *diag)
{
	int r;

	if (access(pin_dir, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = check_bpffs(pin_dir, diag);
	return r < 0 ? r : 1;
}

/* What a pin of a map that is ours leads to; a value is not read before, which would be as large as another wants it. */
#define ANY_SIZE 0xffffffffU
struct shape {
	uint32_t type, key_size, value_size;
};

static const struct shape state_shape[MERLON_STATE_MAPS] = {
	[MERLON_MAP_CONTROL] = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct merlon_control) },
	[MERLON_MAP_ENTRY] = { BPF_MAP_TYPE_PROG_ARRAY, 4, 4 },
	[MERLON_MAP_TRACKERS] = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct merlon_trackers) },
	[MERLON_MAP_STATS] = { BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct merlon_stats) },
	[MERLON_MAP_SESSIONS] = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct merlon_flow_ways) },
	[MERLON_MAP_SETS] = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct merlon_flow_set) },
	[MERLON_MAP_EVENTS] = { BPF_MAP_TYPE_RINGBUF, 0, 0 },
	[MERLON_MAP_REJECTS] = { BPF_MAP_TYPE_RINGBUF, 0, 0 },
	[MERLON_MAP_FILTERED] = { BPF_MAP_TYPE_HASH, 4, 1 },
	[MERLON_MAP_MARTIAN] = { BPF_MAP_TYPE_HASH, 4, 1 },
	[MERLON_MAP_LAYOUT] = { BPF_MAP_TYPE_ARRAY, 4, ANY_SIZE },
};
static const struct shape policy_shape[MERLON_POLICY_MAPS] = {
	[MERLON_MAP_IMAGE] = { BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4 },
	[MERLON_MAP_COUNTERS] = { BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct merlon_counter) },
	[MERLON_MAP_LIMITS] = { BPF_MAP_TYPE_ARRAY, 4, 8 },
	[MERLON_MAP_PATHS] = { BPF_MAP_TYPE_HASH, sizeof(struct merlon_path), 4 },
	[MERLON_MAP_PATH_NEXT] = { BPF_MAP_TYPE_ARRAY, 4, 4 },
	[MERLON_MAP_DECISIONS] = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct merlon_decision) },
	[MERLON_MAP_LONG_WAY] = { BPF_MAP_TYPE_PROG_ARRAY, 4, 4 },
	[MERLON_MAP_LEDGER] = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct merlon_ledger) },
};

int merlon_pin_get(const char *pin_dir, const char *dir, const char *name)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s/%s", pin_dir, dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return bpf_obj_get(path);
}

static int get(const struct merlon_dataplane *dp, const char *dir, const char *name)
{
	return merlon_pin_get(dp->pin_dir, dir, name);
}

static int get_map(const struct merlon_dataplane *dp, const char *dir, const char *name, const struct shape *shape)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	_cleanup_close_ int fd = get(dp, dir, name);

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || info.type != shape->type || info.key_size != shape->key_size ||
	    (shape->value_size != ANY_SIZE && info.value_size != shape->value_size))
		return -EUCLEAN;
	return TAKE_FD(fd);
}

static int get_prog(const struct merlon_dataplane *dp, const char *dir, const char *name, const char *is_called)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);
	_cleanup_close_ int fd = get(dp, dir, name);

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || info.type != BPF_PROG_TYPE_SCHED_CLS || strcmp(info.name, is_called))
		return -EUCLEAN;
	return TAKE_FD(fd);
}

void merlon_policy_maps_close(struct merlon_policy_maps *maps)
{
	size_t i;

	for (i = 0; i < MERLON_POLICY_MAPS; i++)
		merlon_closep(&maps->fd[i]);
	for (i = 0; i < MERLON_PROGS; i++)
		merlon_closep(&maps->prog[i]);
	memset(maps, 0xff, sizeof(*maps));
	maps->ledger = (struct merlon_ledger){ 0 };
}

int merlon_pins_open_policy(const struct merlon_dataplane *dp, const char *dir, struct merlon_policy_maps *ret)
{
	struct merlon_policy_maps maps;
	uint32_t zero = 0;
	size_t i;
	int r = 0;

	memset(&maps, 0xff, sizeof(maps));
	for (i = 0; !r && i < MERLON_POLICY_MAPS; i++) {
		maps.fd[i] = get_map(dp, dir, merlon_policy_map_name[i], &policy_shape[i]);
		if (maps.fd[i] < 0)
			r = maps.fd[i];
	}
	for (i = 0; !r && i < MERLON_PROGS; i++) {
		maps.prog[i] = get_prog(dp, dir, merlon_prog_name[i], merlon_prog_name[i]);
		if (maps.prog[i] < 0)
			r = maps.prog[i];
	}
	if (!r && bpf_map_lookup_elem(maps.fd[MERLON_MAP_LEDGER], &zero, &maps.ledger) < 0)
		r = -errno;
	if (r < 0) {
		merlon_policy_maps_close(&maps);
		return r;
	}
	*ret = maps;
	return 0;
}

int merlon_pins_remove_dir(const struct merlon_dataplane *dp, const char *dir)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *d;
	int r = merlon_pin_path(dp, path, "%s", dir);

	if (r < 0)
		return r;
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.' && unlinkat(dirfd(d), entry->d_name, 0) < 0 && errno != ENOENT)
			r = -errno;
	closedir(d);
	if (rmdir(path) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

/* How many of the entry slots lead to the programs that are pinned beside these maps. */
static unsigned slots_of(const struct merlon_dataplane *dp, const struct merlon_policy_maps *maps)
{
	unsigned n = 0;
	uint32_t i;

	for (i = 0; i < MERLON_PROGS; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info), id = 0;

		if (!bpf_map_lookup_elem(dp->fd[MERLON_MAP_ENTRY], &i, &id) &&
		    !bpf_obj_get_info_by_fd(maps->prog[i], &info, &size) && info.id == id)
			n++;
	}
	return n;
}

/* A kill between the two slots leaves each with a policy of its own; the newer one is in `policy` already. */
static int finish_swap(const struct merlon_dataplane *dp)
{
	uint32_t i;

	for (i = 0; i < MERLON_PROGS; i++)
		if (bpf_map_update_elem(dp->fd[MERLON_MAP_ENTRY], &i, &dp->policy.prog[i], 0) < 0)
			return -errno;
	merlon_wait_for_programs();
	return 0;
}

bool merlon_entry_is_empty(int entry)
{
	uint32_t slot, id;

	for (slot = 0; slot < MERLON_PROGS; slot++)
		if (!bpf_map_lookup_elem(entry, &slot, &id) || errno != ENOENT)
			return false;
	return true;
}

/* A kill between the exchange of the directories and of the entry slots leaves them crossed: the slots decide. */
static int open_policy(struct merlon_dataplane *dp)
{
	char policy[PATH_MAX], next[PATH_MAX];
	unsigned slots;
	int r;

	/* before the first policy; there may be the rest of one that was cut off */
	if (!dp->control.generation && merlon_entry_is_empty(dp->fd[MERLON_MAP_ENTRY])) {
		r = merlon_pins_remove_dir(dp, "policy");
		return r < 0 ? r : merlon_pins_remove_dir(dp, "policy-next");
	}
	r = merlon_pins_open_policy(dp, "policy", &dp->policy);
	slots = r ? 0 : slots_of(dp, &dp->policy);
	if (slots) {
		r = slots < MERLON_PROGS ? finish_swap(dp) : 0;
		return r < 0 ? r : merlon_pins_remove_dir(dp, "policy-next");
	}
	merlon_policy_maps_close(&dp->policy);
	r = merlon_pins_open_policy(dp, "policy-next", &dp->policy);
	if (r < 0)
		return r;
	if (slots_of(dp, &dp->policy) < MERLON_PROGS)
		return -EUCLEAN;
	if (merlon_pin_path(dp, policy, "policy") < 0 || merlon_pin_path(dp, next, "policy-next") < 0)
		return -ENAMETOOLONG;
	if (renameat2(AT_FDCWD, next, AT_FDCWD, policy, RENAME_EXCHANGE) < 0 &&
	    renameat2(AT_FDCWD, next, AT_FDCWD, policy, 0) < 0)
		return -errno;
	return merlon_pins_remove_dir(dp, "policy-next");
}

/* The first word of the map `control`, whatever its size; 0: it is no such map. */
static uint32_t version_of(int control)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), zero = 0, version = 0;
	_cleanup_free_ char *value = NULL;

	if (bpf_obj_get_info_by_fd(control, &info, &size) < 0 || info.type != BPF_MAP_TYPE_ARRAY || info.key_size != 4 ||
	    info.value_size < sizeof(version) || strcmp(info.name, MERLON_VARIABLE "control"))
		return 0;
	value = malloc(info.value_size);
	if (value && !bpf_map_lookup_elem(control, &zero, value))
		memcpy(&version, value, sizeof(version));
	return version;
}

/* Before the other maps are looked for: another layout has others. */
static int check_layout(const struct merlon_dataplane *dp)
{
	_cleanup_close_ int control = get(dp, "maps", state_map_name[MERLON_MAP_CONTROL]);
	uint32_t version = control < 0 ? 0 : version_of(control);

	if (control == -ENOENT)
		return -ENOENT;
	if (!version)
		return -EUCLEAN;
	return version == MERLON_ABI_VERSION ? 0 : -EPROTO;
}

static bool is_there(const char *pin_dir, const char *name)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/%s", pin_dir, name) < (int)sizeof(path) && !access(path, F_OK);
}

void merlon_pins_close(struct merlon_dataplane *dp)
{
	size_t i;

	for (i = 0; i < MERLON_STATE_MAPS; i++)
		merlon_closep(&dp->fd[i]);
	for (i = 0; i < MERLON_PROGS; i++)
		merlon_closep(&dp->entry_prog[i]);
	memset(dp->fd, 0xff, sizeof(dp->fd));
	memset(dp->entry_prog, 0xff, sizeof(dp->entry_prog));
	merlon_policy_maps_close(&dp->policy);
}

static int say_broken(const struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	if (is_there(dp->pin_dir, "next")) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"the data plane pinned in %s was about to be taken over by another version", dp->pin_name);
		merlon_diag_cure(diag, "start that version once more, which ends it; it goes on enforcing meanwhile");
		return -EUCLEAN;
	}
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
			"the pins in %s are not a whole data plane of merlon's", dp->pin_name);
	merlon_diag_cure(diag, "if they are merlon's, `merlon stop --force --pin-dir %s` removes them, and what they enforce, and a new start "
			 "makes new ones; else choose another place with --pin-dir", dp->pin_name);
	return -EUCLEAN;
}

/* Whether a pin may be the rest of a start that was cut off: a map or program of merlon's under its own name. */
static bool is_rest(const struct merlon_dataplane *dp, const char *dir, const char *name)
{
	_cleanup_close_ int fd = get(dp, dir, name);
	struct bpf_prog_info prog = { 0 };
	struct bpf_map_info map = { 0 };
	uint32_t prog_size = sizeof(prog), map_size = sizeof(map);

	if (fd == -ENOENT)
		return true;
	if (fd < 0)
		return false;
	if (!strcmp(name, merlon_prog_name[MERLON_PROG_INGRESS]) || !strcmp(name, merlon_prog_name[MERLON_PROG_EGRESS]) ||
	    !strcmp(name, "cold"))
		return !bpf_obj_get_info_by_fd(fd, &prog, &prog_size) && !strncmp(prog.name, name, strlen(name));
	return !bpf_obj_get_info_by_fd(fd, &map, &map_size) &&
	       (!strcmp(map.name, name) || (!strcmp(name, "ledger") && !strcmp(map.name, "merlon_ledger")));
}

/*
 * Of a start that was cut off some maps and programs are left and no links: interfaces come when all is whole. With links
 * there is something in force.
 */
int merlon_pins_remove_rest(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	static const char *const dirs[] = { "policy-next", "policy", "progs", "maps", "links" };
	char path[PATH_MAX];
	struct dirent *entry;
	bool rest = true;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		DIR *d = merlon_pin_path(dp, path, "%s", dirs[i]) < 0 ? NULL : opendir(path);

		while (d && (entry = readdir(d)))
			if (entry->d_name[0] != '.')
				rest &= strcmp(dirs[i], "links") && is_rest(dp, dirs[i], entry->d_name);
		if (d)
			closedir(d);
	}
	if (!rest)
		return say_broken(dp, diag);
	for (i = 0; i < ARRAY_SIZE(dirs); i++)
		merlon_pins_remove_dir(dp, dirs[i]);
	return 0;
}

int merlon_pins_open(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	static const char *const entry_name[MERLON_PROGS] = { "ingress_entry", "egress_entry" };
	uint32_t zero = 0;
	size_t i;
	int r = check_layout(dp);

	if (r == -ENOENT || r == -EPROTO)
		return r;
	for (i = 0; r >= 0 && i < MERLON_STATE_MAPS; i++)
		r = dp->fd[i] = get_map(dp, "maps", state_map_name[i], &state_shape[i]);
	for (i = 0; r >= 0 && i < MERLON_PROGS; i++)
		r = dp->entry_prog[i] = get_prog(dp, "progs", merlon_prog_name[i], entry_name[i]);
	if (r >= 0 && bpf_map_lookup_elem(dp->fd[MERLON_MAP_CONTROL], &zero, &dp->control) < 0)
		r = -errno;
	/* what is to take another's place is not reached by any packet yet */
	if (r >= 0)
		r = dp->before ? merlon_pins_open_policy(dp, "policy", &dp->policy) : open_policy(dp);
	if (r >= 0)
		return dp->before ? 0 : merlon_pins_remove_below(dp->pin_dir, "next");
	return say_broken(dp, diag);
}

static int move(const char *pin_dir, const char *from, const char *to)
{
	char a[PATH_MAX], b[PATH_MAX];

	if (snprintf(a, sizeof(a), "%s/%s", pin_dir, from) >= (int)sizeof(a) ||
	    snprintf(b, sizeof(b), "%s/%s", pin_dir, to) >= (int)sizeof(b))
		return -ENAMETOOLONG;
	return rename(a, b) < 0 ? -errno : 0;
}

int merlon_pins_tidy(const char *pin_dir)
{
	static const char *const dirs[][3] = {
		{ "maps", "after/maps", "after/maps-before" },
		{ "policy", "after/policy", "after/policy-before" },
	};
	size_t i;
	int r;

	if (!is_there(pin_dir, "after"))
		return 0;
	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (!is_there(pin_dir, dirs[i][1]))
			continue;
		r = is_there(pin_dir, dirs[i][0]) ? move(pin_dir, dirs[i][0], dirs[i][2]) : 0;
		if (!r)
			r = move(pin_dir, dirs[i][1], dirs[i][0]);
		if (r < 0)
			return r;
	}
	return merlon_pins_remove_below(pin_dir, "after");
}

int merlon_pins_commit(const char *pin_dir)
{
	/* or it was, and what comes then failed */
	int r = is_there(pin_dir, "next") ? move(pin_dir, "next", "after") : 0;

	merlon_cut_here(6);
	return r < 0 ? r : merlon_pins_tidy(pin_dir);
}
