/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking a data plane away whose daemon is gone or does not answer, and whose maps may be of another layout. */
#include "src/kernel/internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/util/cleanup.h"
#include "src/util/lock.h"

static void detach_links(const char *pin_dir)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	if (snprintf(path, sizeof(path), "%s/links", pin_dir) >= (int)sizeof(path) || !(dir = opendir(path)))
		return;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' &&
		    snprintf(path, sizeof(path), "%s/links/%s", pin_dir, entry->d_name) < (int)sizeof(path))
			merlon_detach_link(path);
	closedir(dir);
}

static void detach_filters(const char *pin_dir)
{
	uint32_t id[MERLON_PROGS] = { 0 };
	struct if_nameindex *all, *i;
	char path[PATH_MAX];
	int side;

	for (side = 0; side < MERLON_PROGS; side++) {
		_cleanup_close_ int prog = -1;

		if (snprintf(path, sizeof(path), "%s/progs/%s", pin_dir, merlon_prog_name[side]) < (int)sizeof(path))
			prog = bpf_obj_get(path);
		id[side] = prog < 0 ? 0 : merlon_prog_id(prog);
	}
	all = if_nameindex();
	for (i = all; i && i->if_index; i++)
		for (side = 0; side < MERLON_PROGS; side++)
			if (id[side])
				merlon_detach_filter(i->if_index, side, id[side]);
	if_freenameindex(all);
}

/* What is in a directory, and in its directories. */
static int remove_below(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), r = 0, one;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT)
			continue;
		one = errno == EISDIR || errno == EPERM ? remove_below(dirfd(dir), entry->d_name) : -errno;
		if (!one && unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) < 0)
			one = -errno;
		if (one < 0)
			r = one;
	}
	closedir(dir);
	return r;
}

int merlon_pins_remove_below(const char *pin_dir, const char *dir)
{
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", pin_dir, dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = remove_below(AT_FDCWD, path);
	if (!r && rmdir(path) < 0)
		r = -errno;
	return r == -ENOENT ? 0 : r;
}

/* In this namespace. Generation and flags have had their places in the map from the first layout on. */
static bool enforces(const char *pin_dir)
{
	_cleanup_close_ int control = merlon_pin_get(pin_dir, "maps", "control");
	struct bpf_map_info info = { 0 };
	struct merlon_control *value;
	struct merlon_diag diag = { 0 };
	uint32_t size = sizeof(info), zero = 0;
	bool yes;

	if (control < 0 || bpf_obj_get_info_by_fd(control, &info, &size) < 0 || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.key_size != sizeof(zero) || !(value = calloc(1, info.value_size + sizeof(*value))))
		return false;
	yes = !bpf_map_lookup_elem(control, &zero, value) && value->generation && !(value->flags & MERLON_C_AUDIT) &&
	      !merlon_check_netns(pin_dir, value, &diag);
	merlon_diag_clear(&diag);
	free(value);
	return yes;
}

char *merlon_dataplane_enforced_on(const char *pin_dir)
{
	_cleanup_close_ int entry = merlon_pin_get(pin_dir, "progs", merlon_prog_name[MERLON_PROG_INGRESS]);
	char links[PATH_MAX], *text = NULL, name[IF_NAMESIZE];
	struct merlon_dataplane dp = { .links_dir = links, .tcx = true };
	unsigned attached[1024];
	size_t i, n, bytes;
	FILE *out;

	dp.entry_prog[MERLON_PROG_INGRESS] = entry;
	if (snprintf(links, sizeof(links), "%s/links", pin_dir) >= (int)sizeof(links) || !enforces(pin_dir))
		return NULL;
	n = merlon_dataplane_attached(&dp, attached, ARRAY_SIZE(attached));
	dp.tcx = false;
	if (!n && entry >= 0)
		n = merlon_dataplane_attached(&dp, attached, ARRAY_SIZE(attached));
	if (!n || !(out = open_memstream(&text, &bytes)))
		return NULL;
	for (i = 0; i < n; i++)
		if (if_indextoname(attached[i], name))
			fprintf(out, "%s%s", ftell(out) ? ", " : "", name);
	if (fclose(out) || !*text) {
		free(text);
		return NULL;
	}
	return text;
}

bool merlon_dataplane_is_served(const char *pin_dir)
{
	_cleanup_close_ int lock = merlon_lock_dir(pin_dir);

	return lock == -EBUSY;
}

int merlon_dataplane_force_remove(const char *pin_dir, struct merlon_diag *diag)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	int r = merlon_pins_are_there(pin_dir, diag);

	if (r > 0) {
		detach_links(pin_dir);
		detach_filters(pin_dir);
		merlon_wait_for_programs();
		r = remove_below(AT_FDCWD, pin_dir);
		if (!r && rmdir(pin_dir) < 0 && errno != ENOENT && errno != EBUSY)
			r = -errno;
		if (r < 0)
			merlon_diag_errno(diag, r, "cannot remove the whole data plane");
		else
			r = 1;
	}
	libbpf_set_print(previous);
	return r;
}
