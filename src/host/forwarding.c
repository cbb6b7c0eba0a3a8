/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the kernel forwards IPv6 where bpf_fib_lookup() says that it does not: ip6_forward() goes by conf.all.forwarding or the
 * interface's force_forwarding (Linux 6.17), bpf_ipv6_fib_lookup() by the interface's own forwarding. Of IPv4 both ask the
 * interface: what comes in where it is off, but is for another host, is judged as input and may begin a connection; where
 * another interface forwards, the other end's packets belong to that.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

#define LOOPBACK 1	/* LOOPBACK_IFINDEX of net/flow.h */

/* net.`family`.conf.`of`.`name`: 1 or 0, as also where there is no such thing; or a negative errno. */
static int is_on(const char *family, const char *of, const char *name)
{
	_cleanup_close_ int fd = -1;
	char path[96], value = '0';

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, of, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (read(fd, &value, 1) < 0)
		return -errno;
	return value != '0';
}

/* A port's packets come in by its bridge, bond or team. */
static bool takes_in(const struct merlon_link *link)
{
	return link->index != LOOPBACK && !(link->master && (!strcmp(link->slave_kind, "bridge") ||
							     !strcmp(link->slave_kind, "bond") || !strcmp(link->slave_kind, "team")));
}

/* 1: the kernel forwards what comes in there, and the look-up does not; 0, or a negative errno. */
static int disagrees(const char *name, bool all)
{
	int own = is_on("ipv6", name, "forwarding"), off = is_on("ipv6", name, "disable_ipv6"),
	    forced = is_on("ipv6", name, "force_forwarding");

	if (own < 0 || off < 0 || forced < 0)
		return own < 0 ? own : off < 0 ? off : forced;
	return !own && !off && (all || forced);
}

static int look_at_ipv6(struct merlon_host_view *view, const struct merlon_links *links)
{
	static const struct merlon_finding finding = {
		.what = "forwarding",
		.rule = "input by exclusion",
		.why = "the kernel forwards IPv6 that comes in here, but says at TC that it does not: merlon would judge it by the rules "
		       "for input",
		.cure = "sysctl net.ipv6.conf.NAME.forwarding=1 (with accept_ra=2, if it listens to routers), or leave the interface "
			"out: merlond --interfaces '*,!NAME'",
		.severity = MERLON_HOST_REFUSE,
	};
	int all = is_on("ipv6", "all", "forwarding"), r = all < 0 ? all : 0;
	const char *first = NULL;
	unsigned more = 0;
	char others[40] = "";
	size_t i;

	for (i = 0; i < links->n && r >= 0; i++) {
		const struct merlon_link *link = &links->link[i];

		if (!takes_in(link) || !merlon_host_filters(view, link->name))
			continue;
		r = disagrees(link->name, all);
		if (r == 1 && first)
			more++;
		else if (r == 1)
			first = link->name;
	}
	if (r < 0)
		return merlon_finding_unseen(view, "forwarding of IPv6", r);
	if (!first)
		return 0;
	if (more)
		snprintf(others, sizeof(others), ", and %u more interface%s", more, more > 1 ? "s" : "");
	return merlon_finding_add(view, &finding, "net.ipv6.conf.%s.forwarding=0, %s=1%s", first,
				  all ? "net.ipv6.conf.all.forwarding" : "force_forwarding", others);
}

static int look_at_ipv4(struct merlon_host_view *view, const struct merlon_links *links)
{
	struct merlon_finding finding = {
		.what = "forwarding",
		.rule = "input by exclusion",
		.why = "some interfaces forward IPv4 and this one does not: what comes in here for other hosts is judged as input and may "
		       "begin a connection, to which the answers that the others forward would belong",
		.cure = "set net.ipv4.conf.*.forwarding to the same, or leave the interface out: merlond --interfaces '*,!NAME'",
		.severity = merlon_host_concern(view, MERLON_ASKS_FORWARD | MERLON_ASKS_STATE),
	};
	const char *off = NULL, *on = NULL;
	size_t i;

	for (i = 0; i < links->n; i++) {
		const struct merlon_link *link = &links->link[i];
		int r = is_on("ipv4", link->name, "forwarding");

		if (r < 0)
			return merlon_finding_unseen(view, "forwarding of IPv4", r);
		if (r && link->index != LOOPBACK)
			on = link->name;
		else if (!r && !off && takes_in(link) && merlon_host_filters(view, link->name))
			off = link->name;
	}
	if (!on || !off || finding.severity == MERLON_HOST_NOTE)
		return 0;
	return merlon_finding_add(view, &finding, "net.ipv4.conf.%s.forwarding=0, net.ipv4.conf.%s.forwarding=1", off, on);
}

int merlon_host_forwarding(struct merlon_host_view *view, const struct merlon_links *links)
{
	int r = look_at_ipv6(view, links);

	return r == 0 ? look_at_ipv4(view, links) : r;
}
