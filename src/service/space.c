/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/space.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/magic.h>
#include <linux/netfilter/nfnetlink.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "compat/compat.h"
#include "compat/news.h"
#include "src/model/report.h"
#include "src/service/daemon.h"
#include "src/service/work.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/util/netns.h"

/* A program that makes many changes one by one is waited for so long. */
#define PAUSE_US 5000
#define HEARD_MOST (1 << 18)	/* bytes of notifications that are kept */
#define HEARD_LARGEST (1 << 16)	/* of one datagram */

struct mnl_socket *merlon_space_socket(int netns)
{
	int fd = merlon_netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), error;
	struct mnl_socket *netlink;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	netlink = mnl_socket_fdopen(fd);
	if (!netlink) {
		error = errno;
		close(fd);
		errno = error;
	}
	return netlink;
}

bool merlon_space_changed(struct merlon_daemon *d)
{
	uint32_t now = d->space.generation;

	return merlon_nft_generation(d->space.netlink, &now) == 0 && now != d->space.generation;
}

void merlon_space_agrees(struct merlon_daemon *d)
{
	json_decref(d->space.differs);
	d->space.differs = NULL;
}

void merlon_space_differs(struct merlon_daemon *d, const struct merlon_diag *why)
{
	merlon_space_agrees(d);
	d->space.differs = merlon_report_messages(why);
}

static void run_follow(struct merlon_daemon *d, struct merlon_job *job)
{
	(void)job;
	if (merlon_space_changed(d))
		merlon_policy_follow(d);
}

/* What others changed meanwhile: who has heard of it already is not woken again. */
static void follow_others(struct merlon_daemon *d)
{
	if (merlon_space_changed(d))
		merlon_work_do(d, run_follow);
}

/* What is more than is kept is read from the namespace instead. Lost messages (ENOBUFS) were changes, too. */
void merlon_space_hear(struct merlon_daemon *d)
{
	struct merlon_space_heard *h = &d->space.heard;
	char rest[1];
	ssize_t n;

	if (!h->messages)
		h->messages = malloc(HEARD_MOST);
	do {
		bool full = !h->messages || h->lost || HEARD_MOST - h->bytes < HEARD_LARGEST;

		n = recv(mnl_socket_get_fd(d->space.news), full ? rest : h->messages + h->bytes, full ? sizeof(rest) : HEARD_LARGEST,
			 MSG_DONTWAIT | MSG_TRUNC);
		h->lost |= n < 0 ? errno == ENOBUFS : full || n > HEARD_LARGEST;
		if (n > 0 && !h->lost)
			h->bytes += MNL_ALIGN(n);
	} while (n >= 0 || errno == ENOBUFS || errno == EINTR);
}

void merlon_space_followed(struct merlon_daemon *d, uint32_t generation)
{
	struct merlon_space_heard *h = &d->space.heard;
	size_t until = merlon_news_until(h->messages, h->bytes, generation);

	memmove(h->messages, h->messages + until, h->bytes - until);
	h->bytes -= until;
	d->space.generation = generation;
	follow_others(d);
}

static void forget_heard(struct merlon_daemon *d)
{
	merlon_space_hear(d);
	d->space.heard.bytes = 0;
	d->space.heard.lost = false;
}

void merlon_space_keep(struct merlon_daemon *d, struct merlon_snapshot *snapshot)
{
	struct merlon_snapshot before = d->space.snapshot;

	d->space.snapshot = *snapshot;
	*snapshot = (struct merlon_snapshot){ 0 };
	merlon_snapshot_clear(&before);
	forget_heard(d);
	merlon_space_agrees(d);
	follow_others(d);
}

static int be_told(struct mnl_socket *news, bool yes)
{
	int group = NFNLGRP_NFTABLES;

	return mnl_socket_setsockopt(news, yes ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, &group, sizeof(group)) < 0 ? -errno : 0;
}

/* Of this change nobody need be told here: the kernel would make a message of each rule that goes and of each that comes. */
static int restore(struct merlon_daemon *d, const struct merlon_snapshot *snapshot, const uint32_t *generation)
{
	struct merlon_space *s = &d->space;
	uint32_t now = s->generation;
	int r, told;

	merlon_work_let_go(d);
	be_told(s->news, false);
	r = merlon_snapshot_restore(s->netlink, snapshot, generation);
	if (!r)
		r = merlon_nft_generation(s->netlink, &now);
	told = be_told(s->news, true);
	merlon_work_take_back(d);
	s->generation = now;
	follow_others(d);
	return r ? r : told;
}

int merlon_space_put(struct merlon_daemon *d, struct merlon_snapshot *snapshot, const uint32_t *generation,
		     struct merlon_diag *diag)
{
	struct merlon_space *s = &d->space;
	int r;

	merlon_snapshot_age(snapshot, merlon_tick_ns());
	r = restore(d, snapshot, generation);
	if (!r && d->enforced.ruleset && snapshot->n_handles)
		r = merlon_snapshot_handles(s->netlink, snapshot, d->enforced.ruleset);
	if (r < 0) {
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
				"the policy namespace does not hold what is in force: %s",
				r == -ERESTART ? "others changed it meanwhile" : strerror(-r));
		merlon_diag_cure(diag, "apply the ruleset again; until then, `merlon nft` has nothing to work on");
		merlon_space_differs(d, diag);
	}
	return r;
}

int merlon_space_hold(struct merlon_daemon *d, struct merlon_snapshot *snapshot, const uint32_t *generation,
		      struct merlon_diag *diag)
{
	int r = merlon_space_put(d, snapshot, generation, diag);
	size_t i;

	if (r < 0)
		return r;
	/* put back once more, it would give the same handles again */
	for (i = 0; i < snapshot->n_handles; i++)
		snapshot->handle[i].was = snapshot->handle[i].becomes;
	merlon_space_keep(d, snapshot);
	return 0;
}

struct merlon_space_sending {
	pthread_t thread;
	struct mnl_socket *netlink;
	struct merlon_snapshot *requests;
	uint32_t generation;
	bool ended;
	int r;
};

static void *send_requests(void *context)
{
	struct merlon_space_sending *sending = context;

	sending->r = merlon_snapshot_request(sending->netlink, sending->requests, &sending->generation);
	return NULL;
}

int merlon_space_send(struct merlon_daemon *d, struct merlon_snapshot *requests)
{
	struct merlon_space *s = &d->space;
	struct merlon_space_sending *sending = malloc(sizeof(*sending));
	int r;

	if (!sending)
		return -ENOMEM;
	*sending = (struct merlon_space_sending){ .netlink = s->netlink, .requests = requests, .generation = s->generation };
	r = pthread_create(&sending->thread, NULL, send_requests, sending);
	if (r)
		free(sending);
	else
		s->sending = sending;
	return -r;
}

int merlon_space_sent(struct merlon_daemon *d)
{
	struct merlon_space_sending *sending = d->space.sending;

	if (!sending)
		return 0;
	if (!sending->ended) {
		merlon_work_let_go(d);
		pthread_join(sending->thread, NULL);
		merlon_work_take_back(d);
		sending->ended = true;
	}
	return sending->r;
}

int merlon_space_send_end(struct merlon_daemon *d)
{
	int r = merlon_space_sent(d);

	free(d->space.sending);
	d->space.sending = NULL;
	return r;
}

static int on_pause(sd_event_source *source, uint64_t due_us, void *context)
{
	(void)source;
	(void)due_us;
	merlon_work_do(context, run_follow);
	return 0;
}

static int on_news(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct merlon_daemon *d = context;

	(void)source;
	(void)fd;
	(void)events;
	merlon_space_hear(d);
	if (sd_event_source_get_enabled(d->space.pause, NULL) > 0)
		return 0;
	sd_event_source_set_time(d->space.pause, merlon_now_ns() / 1000 + PAUSE_US);
	return sd_event_source_set_enabled(d->space.pause, SD_EVENT_ONESHOT);
}

static int listen_for_news(struct merlon_daemon *d)
{
	struct merlon_space *s = &d->space;
	int r;

	s->news = merlon_space_socket(s->fd);
	/* bound first: one that has no address of its own is told nothing */
	if (!s->news || mnl_socket_bind(s->news, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    (r = be_told(s->news, true)) < 0)
		return -errno;
	r = sd_event_add_io(d->event, &s->source, mnl_socket_get_fd(s->news), EPOLLIN, on_news, d);
	if (r >= 0)
		r = sd_event_add_time(d->event, &s->pause, CLOCK_MONOTONIC, 0, 1000, on_pause, d);
	return r < 0 ? r : sd_event_source_set_enabled(s->pause, SD_EVENT_OFF);
}

/* What a daemon that was killed left there, or ip-netns(8) made: a file, perhaps with a namespace mounted on it. */
static int clear_mount_point(const char *path)
{
	struct stat st;
	struct statfs fs;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISLNK(st.st_mode))
		return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	if (!S_ISREG(st.st_mode) || statfs(path, &fs) < 0)
		return -EEXIST;
	while (fs.f_type == NSFS_MAGIC) {
		if (umount2(path, MNT_DETACH) < 0)
			return -errno;
		if (statfs(path, &fs) < 0)
			return -errno;
	}
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/*
 * A mount needs CAP_SYS_ADMIN, and stays in a service's own mount namespace. A link to the descriptor of this process does
 * for whoever opens the path, ip-netns(8) among them.
 */
static int link_at(const char *path, int netns)
{
	char to[64];

	snprintf(to, sizeof(to), "/proc/%d/fd/%d", (int)getpid(), netns);
	return symlink(to, path) < 0 ? -errno : 0;
}

static int mount_at(const char *path, int netns)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL, from[64];
	int fd, r;

	if (!slash)
		return -EINVAL;
	*slash = 0;
	if (*dir && mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	r = clear_mount_point(path);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	close(fd);
	snprintf(from, sizeof(from), "/proc/self/fd/%d", netns);
	if (mount(from, path, "none", MS_BIND, NULL) < 0) {
		r = -errno;
		unlink(path);
		if (r == -EPERM)
			r = link_at(path, netns);
	}
	return r;
}

int merlon_space_open(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_space *s = &d->space;
	const char *path = d->settings.policy_netns;
	int r = merlon_policyns_new(&s->fd, diag);

	if (r < 0)
		return r;
	s->netlink = merlon_space_socket(s->fd);
	r = s->netlink ? listen_for_news(d) : -errno;
	if (r >= 0)
		r = merlon_nft_generation(s->netlink, &s->generation);
	if (r < 0) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot follow the policy namespace: %s", strerror(-r));
		return r;
	}
	if (!path)
		return 0;
	r = mount_at(path, s->fd);
	s->mounted = !r;
	if (r < 0) {
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 }, "cannot name the policy namespace %s: %s", path,
				strerror(-r));
		merlon_diag_cure(diag, "`merlon nft` works; for other programs choose a place with --policy-netns");
	}
	return 0;
}

void merlon_space_close(struct merlon_daemon *d)
{
	struct merlon_space *s = &d->space;

	sd_event_source_unref(s->source);
	sd_event_source_unref(s->pause);
	if (s->news)
		mnl_socket_close(s->news);
	if (s->netlink)
		mnl_socket_close(s->netlink);
	/* Nobody follows it any more: programs that change it must see that. */
	if (s->mounted) {
		umount2(d->settings.policy_netns, MNT_DETACH);
		unlink(d->settings.policy_netns);
	}
	merlon_closep(&s->fd);
	merlon_snapshot_clear(&s->snapshot);
	free(s->heard.messages);
	json_decref(s->differs);
	*s = (struct merlon_space){ .fd = -1 };
}
