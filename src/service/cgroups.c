/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of control groups. The data plane tells a group's id, which is the inode number of its directory. To open it by
 * that takes CAP_DAC_READ_SEARCH: so the tree is read when an id comes that is not known, and seldom enough to cost little.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define CGROUP2_MAGIC 0x63677270	/* CGROUP2_SUPER_MAGIC of linux/magic.h */
#define MOST_GROUPS 65536
#define MOST_DEPTH 64
#define PAUSE 20	/* times as long as the last reading took, until the next one */

struct group {
	uint64_t id;
	char *path;		/* owned; NULL: it was not there when it was looked for */
};

struct merlon_cgroups {
	struct group *group;	/* by id */
	size_t n, room;
	uint64_t next_ns;	/* CLOCK_MONOTONIC: no reading before */
};

static void clear(struct merlon_cgroups *c)
{
	while (c->n)
		free(c->group[--c->n].path);
}

static int add(struct merlon_cgroups *c, uint64_t id, const char *path)
{
	char *copy = path ? strdup(path) : NULL;

	if (path && !copy)
		return -ENOMEM;
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		struct group *more = c->n < MOST_GROUPS ? reallocarray(c->group, room, sizeof(*more)) : NULL;

		if (!more) {
			free(copy);
			return -ENOMEM;
		}
		c->group = more;
		c->room = room;
	}
	c->group[c->n++] = (struct group){ id, copy };
	return 0;
}

/* What is below the directory `at`, which it closes. `path` [PATH_MAX] is its own, of `bytes`, no slash at its end. */
static int read_below(struct merlon_cgroups *c, int at, char *path, size_t bytes, unsigned depth)
{
	DIR *dir = fdopendir(at);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		close(at);
		return -errno;
	}
	while (!r && depth < MOST_DEPTH && (entry = readdir(dir))) {
		size_t length = strlen(entry->d_name);
		int below;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' || bytes + length + 2 > PATH_MAX)
			continue;
		path[bytes] = '/';
		memcpy(path + bytes + 1, entry->d_name, length + 1);
		r = add(c, entry->d_ino, path);
		/* one that has gone meanwhile has nothing below */
		below = r ? -1 : openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (below >= 0)
			r = read_below(c, below, path, bytes + length + 1, depth + 1);
	}
	closedir(dir);
	return r;
}

/* The root of the unified hierarchy; -ENOENT: there is none. */
static int open_root(void)
{
	static const char *const place[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs fs;

	for (size_t i = 0; i < ARRAY_SIZE(place); i++)
		if (!statfs(place[i], &fs) && (unsigned long)fs.f_type == CGROUP2_MAGIC)
			return open(place[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return -ENOENT;
}

static int by_id(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static const struct group *find(const struct merlon_cgroups *c, uint64_t id)
{
	return c->n ? bsearch(&(struct group){ .id = id }, c->group, c->n, sizeof(c->group[0]), by_id) : NULL;
}

static void read_all(struct merlon_cgroups *c, uint64_t wanted)
{
	char path[PATH_MAX] = "/";
	uint64_t begin_ns = merlon_now_ns();
	int root = open_root();
	struct stat st;

	clear(c);
	if (root >= 0 && !fstat(root, &st))
		add(c, st.st_ino, path);
	if (root >= 0)
		read_below(c, root, path, 0, 0);
	qsort(c->group, c->n, sizeof(c->group[0]), by_id);
	/* gone, or outside of this namespace: it is not looked for again and again */
	if (!find(c, wanted) && !add(c, wanted, NULL))
		qsort(c->group, c->n, sizeof(c->group[0]), by_id);
	c->next_ns = begin_ns + (PAUSE + 1) * (merlon_now_ns() - begin_ns);
}

const char *merlon_cgroup_path(struct merlon_daemon *d, uint64_t id)
{
	const struct group *group = find(d->cgroups, id);

	if (!group && merlon_now_ns() >= d->cgroups->next_ns) {
		read_all(d->cgroups, id);
		group = find(d->cgroups, id);
	}
	return group ? group->path : NULL;
}

int merlon_cgroups_open(struct merlon_daemon *d)
{
	d->cgroups = calloc(1, sizeof(*d->cgroups));
	return d->cgroups ? 0 : -ENOMEM;
}

void merlon_cgroups_close(struct merlon_daemon *d)
{
	if (!d->cgroups)
		return;
	clear(d->cgroups);
	free(d->cgroups->group);
	free(d->cgroups);
	d->cgroups = NULL;
}
