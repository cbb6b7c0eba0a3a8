/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What clients get as files: listings can be larger than a message may be. Their memory counts as merlond's for as long as
 * anybody holds them, so of those that whoever may only read got, the oldest are emptied when all together are too much.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "src/service/daemon.h"

#define MOST_BYTES (256LL << 20)	/* but the last one is whole, whatever it takes */
#define MOST 32

struct merlon_listings {
	int fd[MOST];			/* the oldest first */
	unsigned n;
};

static long long bytes_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_size;
}

static void empty_oldest(struct merlon_listings *l)
{
	/* who has it cannot forbid that: a memfd without MFD_ALLOW_SEALING takes no seals */
	if (ftruncate(l->fd[0], 0) < 0)
		merlon_journal_note(LOG_WARNING, "cannot empty a listing: %s", strerror(errno));
	close(l->fd[0]);
	memmove(l->fd, l->fd + 1, --l->n * sizeof(l->fd[0]));
}

int merlon_listings_keep(struct merlon_daemon *d, int fd)
{
	struct merlon_listings *l = d->listings;
	long long bytes = bytes_of(fd);
	unsigned i;
	int mine;

	if (!l && !(l = d->listings = calloc(1, sizeof(*l))))
		return -ENOMEM;
	mine = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (mine < 0)
		return -errno;
	for (i = 0; i < l->n; i++)
		bytes += bytes_of(l->fd[i]);
	while (l->n == MOST || (l->n && bytes > MOST_BYTES)) {
		bytes -= bytes_of(l->fd[0]);
		empty_oldest(l);
	}
	l->fd[l->n++] = mine;
	return 0;
}

void merlon_listings_close(struct merlon_daemon *d)
{
	struct merlon_listings *l = d->listings;

	while (l && l->n)
		close(l->fd[--l->n]);
	free(l);
	d->listings = NULL;
}
