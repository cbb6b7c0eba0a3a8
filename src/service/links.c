/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interfaces come, go and are renamed; addresses and routes change: rtnetlink tells. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "src/service/daemon.h"
#include "src/service/work.h"
#include "src/util/cleanup.h"

/* By index, as they are sorted: it is asked for each event. */
static const struct merlon_interface *known(const struct merlon_daemon *d, unsigned index)
{
	size_t low = 0, n = d->n_interfaces;

	while (n > low) {
		size_t middle = low + (n - low) / 2;

		if (d->interface[middle].index < index)
			low = middle + 1;
		else
			n = middle;
	}
	return low < d->n_interfaces && d->interface[low].index == index ? &d->interface[low] : NULL;
}

const char *merlon_links_name(const struct merlon_daemon *d, unsigned index)
{
	const struct merlon_interface *interface = known(d, index);

	return interface ? interface->name : NULL;
}

/* A port's packets are judged at its bridge, bond or team; nf_tables does not see them at the port either. */
static bool is_chosen(const struct merlon_daemon *d, const struct merlon_interface *interface)
{
	return interface && !interface->port && merlon_ifpattern_match(d->settings.pattern, interface->name);
}

static bool is_listed(const struct merlon_interface *list, size_t n, unsigned index)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (list[i].index == index)
			return true;
	return false;
}

/* -ENOSPC: the image has no room for so many interfaces. */
static int bind_all(struct merlon_daemon *d, const struct merlon_interface *old, size_t n_old)
{
	uint64_t *image = merlon_dataplane_image(d->dp);
	int one, r = 0;
	size_t i;

	if (!image || !d->enforced.policy)
		return 0;
	for (i = 0; i < n_old; i++)
		if (!is_listed(d->interface, d->n_interfaces, old[i].index))
			merlon_policy_bind(d->enforced.policy, image, old[i].index, NULL);
	for (i = 0; i < d->n_interfaces; i++) {
		one = merlon_policy_bind(d->enforced.policy, image, d->interface[i].index, d->interface[i].name);
		if (one < 0)
			r = one;
	}
	return r;
}

void merlon_links_bind_coming(struct merlon_daemon *d)
{
	for (size_t i = 0; d->coming && i < d->n_interfaces; i++)
		merlon_policy_bind(d->coming, d->coming->image, d->interface[i].index, d->interface[i].name);
}

/* Indexes, the caller's; NULL without memory. */
static unsigned *list_chosen(const struct merlon_daemon *d, size_t *ret_n)
{
	unsigned *chosen = calloc(d->n_interfaces + 1, sizeof(*chosen));
	size_t i;

	*ret_n = 0;
	for (i = 0; chosen && i < d->n_interfaces; i++)
		if (is_chosen(d, &d->interface[i]))
			chosen[(*ret_n)++] = d->interface[i].index;
	return chosen;
}

/* The list is as it was: interfaces come and go while each link waits for RCU, and the loop is to go on. */
int merlon_links_attach(struct merlon_daemon *d, struct merlon_diag *diag)
{
	size_t i, n;
	_cleanup_free_ unsigned *chosen = list_chosen(d, &n);
	int r = chosen ? 0 : -ENOMEM;

	merlon_work_let_go(d);
	for (i = 0; i < n; i++) {
		struct merlon_diag one = { 0 };
		int error = merlon_dataplane_attach(d->dp, chosen[i], &one);

		/* one that has just gone is no error */
		if (error < 0 && error != -ENODEV) {
			merlon_diag_take(diag, &one);
			r = error;
		}
		merlon_diag_clear(&one);
	}
	merlon_work_take_back(d);
	return r;
}

void merlon_links_attach_ahead(struct merlon_daemon *d)
{
	size_t n;
	_cleanup_free_ unsigned *chosen = list_chosen(d, &n);

	merlon_dataplane_attach_ahead(d->dp, chosen, n);
}

void merlon_links_attach_ahead_end(struct merlon_daemon *d)
{
	merlon_work_let_go(d);
	merlon_dataplane_attach_ahead_end(d->dp, false);
	merlon_work_take_back(d);
}

void merlon_links_leave(struct merlon_daemon *d)
{
	if (merlon_dataplane_generation(d->dp))
		return;
	merlon_work_let_go(d);
	merlon_dataplane_detach_all(d->dp);
	merlon_work_take_back(d);
}

void merlon_links_warn(const struct merlon_daemon *d, struct merlon_diag *diag)
{
	unsigned attached;

	if (!merlon_dataplane_generation(d->dp) || merlon_dataplane_attached(d->dp, &attached, 1))
		return;
	if (merlon_dataplane_is_torn_out(d->dp)) {
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
				"nothing is filtered: the pins of the policy in %s were removed, as by `merlon stop --force`", d->settings.pin_dir);
		merlon_diag_cure(diag, "restart merlond (`systemctl restart merlond`), then apply the ruleset again");
		return;
	}
	merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
			"nothing is filtered: no interface of this network namespace matches \"%s\"", d->settings.interfaces);
	merlon_diag_cure(diag, "start merlond with --interfaces, or Interfaces= in its configuration, that names one; "
			 "an interface that matches is filtered from when it appears");
}

/* The journal hears of it once, until that has changed. */
static void tell_unfiltered(struct merlon_daemon *d, struct merlon_diag *diag)
{
	struct merlon_diag warning = { 0 };
	bool before = d->unfiltered;

	merlon_links_warn(d, &warning);
	d->unfiltered = warning.n;
	if (!before)
		merlon_diag_take(diag, &warning);
	merlon_diag_clear(&warning);
}

/* Without a policy there is nothing to judge by: interfaces are left alone. */
static void attach_all(struct merlon_daemon *d, struct merlon_diag *diag)
{
	unsigned attached[4096];
	size_t i, n;

	if (!merlon_dataplane_generation(d->dp))
		return;
	n = merlon_dataplane_attached(d->dp, attached, ARRAY_SIZE(attached));
	for (i = 0; i < n; i++) {
		if (!is_chosen(d, known(d, attached[i])))
			merlon_dataplane_detach(d->dp, attached[i]);
	}
	merlon_links_attach(d, diag);
}

void merlon_links_sync(struct merlon_daemon *d)
{
	_cleanup_free_ struct merlon_interface *old = d->interface;
	struct merlon_diag diag = { 0 };
	size_t n_old = d->n_interfaces;
	int r = merlon_interfaces(&d->interface, &d->n_interfaces);

	if (r < 0) {
		old = NULL;
		merlon_journal_note(3, "cannot list the interfaces: %s", strerror(-r));
		return;
	}
	/* What a new interface is to the rules must be known before it is judged. */
	r = bind_all(d, old, n_old);
	/* Decisions that were taken while an interface was something else to the rules. */
	merlon_dataplane_routes_changed(d->dp);
	/* A renewal comes back here. Without it, an interface that the rules do not know is still better than none. */
	if (r != -ENOSPC || !merlon_work_is_here(d) || merlon_enforce_renew(d, &diag) < 0)
		attach_all(d, &diag);
	if (r == -ENOSPC && !merlon_work_is_here(d))
		merlon_enforce_renew_later(d);
	tell_unfiltered(d, &diag);
	merlon_journal_diag(&diag);
	merlon_diag_clear(&diag);
}

static bool same_addresses(const struct merlon_address *a, size_t n_a, const struct merlon_address *b, size_t n_b)
{
	size_t i;

	if (n_a != n_b)
		return false;
	for (i = 0; i < n_a; i++)
		if (a[i].family != b[i].family || a[i].bits != b[i].bits || a[i].type != b[i].type ||
		    a[i].ifindex != b[i].ifindex || memcmp(a[i].address, b[i].address, sizeof(a[i].address)))
			return false;
	return true;
}

int merlon_links_addresses(struct merlon_daemon *d)
{
	struct merlon_address *address;
	size_t n;
	int r = merlon_addresses(&address, &n), own;

	if (r < 0)
		return r;
	r = !same_addresses(address, n, d->address, d->n_addresses);
	d->addresses += r;
	free(d->address);
	d->address = address;
	d->n_addresses = n;
	own = merlon_dataplane_own(d->dp, address, n);
	return own < 0 ? own : r;
}

/* Rules that ask what kind of address something is have the answers in their image. */
static void renew_addresses(struct merlon_daemon *d)
{
	int r = merlon_links_addresses(d);

	if (r >= 0)
		merlon_enforce_check_addresses(d);
	else
		merlon_journal_note(3, "cannot list the addresses: %s", strerror(-r));
}

struct batch {
	struct merlon_daemon *d;
	bool links, routes;
};

static void on_link(struct batch *batch, const struct nlmsghdr *header)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
	const struct merlon_interface *before = known(batch->d, info->ifi_index);
	struct merlon_interface now;

	/* Bridges report their ports' changes in messages of their own family: those are no interfaces. */
	if (info->ifi_family != AF_UNSPEC)
		return;
	if (header->nlmsg_type == RTM_DELLINK) {
		/* At once: its index may come back with another interface. */
		merlon_dataplane_detach(batch->d->dp, info->ifi_index);
		batch->links = true;
		return;
	}
	if (merlon_interface_read(header, &now) < 0 || !before || before->port != now.port ||
	    strcmp(before->name, now.name))
		batch->links = true;
}

static int on_message(const struct nlmsghdr *header, void *data)
{
	struct batch *batch = data;

	switch (header->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		on_link(batch, header);
		break;
	default:
		batch->routes = true;
	}
	return MNL_CB_OK;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct batch batch = { .d = context };
	char buffer[32768];	/* what netlink sends at once, at most (libmnl.h) */
	int i;

	(void)source;
	(void)fd;
	(void)events;
	for (i = 0; i < 256; i++) {
		ssize_t n = mnl_socket_recvfrom(batch.d->rtnl, buffer, sizeof(buffer));

		if (n < 0) {
			/* Something was lost: look at everything. */
			if (errno == ENOBUFS)
				batch.links = batch.routes = true;
			break;
		}
		mnl_cb_run(buffer, n, 0, 0, on_message, &batch);
	}
	if (batch.links)
		merlon_links_sync(batch.d);
	if (batch.routes)
		renew_addresses(batch.d);
	if (batch.routes || batch.links)
		merlon_dataplane_routes_changed(batch.d->dp);
	return 0;
}

static int join_groups(struct mnl_socket *rtnl)
{
	static const int groups[] = {
		RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
		RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(groups); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(rtnl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return -errno;
	}
	return 0;
}

int merlon_links_open(struct merlon_daemon *d, struct merlon_diag *diag)
{
	int r = 0;

	d->rtnl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!d->rtnl || mnl_socket_bind(d->rtnl, 0, MNL_SOCKET_AUTOPID) < 0)
		r = -errno;
	if (!r)
		r = join_groups(d->rtnl);
	/* Listed after joining: nothing can come in between. */
	if (!r)
		r = merlon_interfaces(&d->interface, &d->n_interfaces);
	if (!r)
		r = sd_event_add_io(d->event, NULL, mnl_socket_get_fd(d->rtnl), EPOLLIN, on_readable, d);
	if (r < 0)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot follow the interfaces: %s",
				strerror(-r));
	return r;
}

void merlon_links_close(struct merlon_daemon *d)
{
	if (d->rtnl)
		mnl_socket_close(d->rtnl);
	free(d->interface);
	free(d->address);
	d->rtnl = NULL;
	d->interface = NULL;
	d->address = NULL;
	d->n_interfaces = 0;
}
