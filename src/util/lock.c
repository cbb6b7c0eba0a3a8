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

int merlon_lock_dir(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat ours, there;
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
	if (fstat(fd, &ours) < 0 || stat(path, &there) < 0 || ours.st_ino != there.st_ino || ours.st_dev != there.st_dev)
		return -ESTALE;
	return TAKE_FD(fd);
}
