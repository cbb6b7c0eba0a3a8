/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/util/cleanup.h"

#define TRIES 10
#define PAUSE_US 50000

bool merlon_lock_is_of(int fd, const char *path)
{
	struct stat ours, there;

	return !fstat(fd, &ours) && !stat(path, &there) && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

int merlon_lock_dir(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int tries;

	if (fd < 0)
		return -errno;
	/* The children of an owner that was killed hold its lock until they are gone, too. */
	for (tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (tries == TRIES)
			return -EBUSY;
		usleep(PAUSE_US);
	}
	if (!merlon_lock_is_of(fd, path))
		return -ESTALE;
	return TAKE_FD(fd);
}
