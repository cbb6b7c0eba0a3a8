/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The socket that clients connect to: the service manager's, or one of our own. */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "src/service/daemon.h"
#include "src/util/cleanup.h"

/* Since Linux 6.16: a client that sends descriptors would have us run out of them. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* Whether somebody listens. The children of a daemon that was killed hold its socket until they are gone, too. */
static bool is_served(const struct sockaddr_un *address)
{
	int tries;

	for (tries = 0; tries < 10; tries++) {
		_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno != EAGAIN)
			return false;
		usleep(50000);
	}
	return true;
}

static int cannot_listen(const char *path, int error, struct merlon_diag *diag)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot listen on %s: %s", path, strerror(-error));
	if (error == -EACCES || error == -EPERM)
		merlon_diag_cure(diag, "run as root");
	else if (error == -ENOENT)
		merlon_diag_cure(diag, "run as root, who may make its directory, or name a place that is there with --socket");
	return error;
}

/* Another daemon may serve there; a socket that nobody listens on is the rest of one that was killed. */
static int clear_stale(const struct sockaddr_un *address, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };
	struct stat st;

	if (lstat(address->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "%s is there and is no socket", address->sun_path);
		return -EEXIST;
	}
	if (!is_served(address))
		return unlink(address->sun_path) < 0 && errno != ENOENT ? cannot_listen(address->sun_path, -errno, diag) : 0;
	merlon_diag_add(diag, MERLON_ERROR, nowhere, "another merlond listens on %s", address->sun_path);
	merlon_diag_cure(diag, "stop it first, or give this one places of its own with --socket, --pin-dir and --state-dir");
	return -EADDRINUSE;
}

/* Reading is for the group merlon, where there is one; what may be changed is decided by uid. */
static void give_to_group(const char *path)
{
	const struct group *group = getgrnam("merlon");

	if (group && chown(path, 0, group->gr_gid) == 0)
		chmod(path, 0660);
}

/* NULL: it is the root, the current one, or there is no memory. The caller's. */
static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash != path ? strndup(path, slash - path) : NULL;
}

static void make_parent(struct merlon_daemon *d)
{
	_cleanup_free_ char *dir = parent_of(d->settings.socket);

	d->own_socket_dir = dir && mkdir(dir, 0755) == 0;
}

static void remove_socket(struct merlon_daemon *d)
{
	_cleanup_free_ char *dir = parent_of(d->settings.socket);

	unlink(d->settings.socket);
	if (dir)
		merlon_daemon_remove_dir(dir, d->own_socket_dir);
}

static int listen_on(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = d->settings.socket;
	_cleanup_close_ int fd = -1;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(address.sun_path)) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s is too long for a socket", path);
		return -ENAMETOOLONG;
	}
	strcpy(address.sun_path, path);
	make_parent(d);
	r = clear_stale(&address, diag);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return cannot_listen(path, r, diag);
	give_to_group(path);
	d->own_socket = true;
	d->listener = TAKE_FD(fd);
	return 0;
}

/*
 * The socket that the service manager listens on, by what it is called (FileDescriptorName=, else the name of its unit) and
 * what it is. -1: none was passed. What is not known is closed and named.
 */
static int passed_socket(struct merlon_diag *diag)
{
	char **name = NULL;
	int n = sd_listen_fds_with_names(1, &name), listener = -1, i;

	for (i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (listener < 0 && (!strcmp(name[i], "control") || !strcmp(name[i], "unknown")) &&
		    sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0) {
			listener = fd;
		} else {
			merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
					"a descriptor was passed that is no socket to listen on called \"control\": \"%s\"", name[i]);
			close(fd);
		}
		free(name[i]);
	}
	free(name);
	return listener;
}

int merlon_listen(struct merlon_daemon *d, struct merlon_diag *diag)
{
	int r;

	d->listener = passed_socket(diag);
	if (d->listener < 0 && (r = listen_on(d, diag)) < 0)
		return r;
	/* what is accepted has it, too; older kernels do not know it */
	setsockopt(d->listener, SOL_SOCKET, SO_PASSRIGHTS, &(int){ 0 }, sizeof(int));
	return 0;
}

void merlon_listen_end(struct merlon_daemon *d)
{
	if (d->own_socket)
		remove_socket(d);
	merlon_closep(&d->listener);
	d->listener = -1;
}
