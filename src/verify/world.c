/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/util/cleanup.h"
#include "src/util/kernel.h"
#include "src/util/netns.h"

#define QUEUE 4096		/* packets that a device holds until they are read */
#define FRAME_MOST (65536 + 256)

/* A quiet host in which every packet is treated as if it were the only one. */
static const struct {
	const char *path, *value;
	bool must;		/* else: not on every kernel */
} sysctl[] = {
	{ "ipv4/ip_forward", "1", true },
	{ "ipv4/conf/all/rp_filter", "0", true },
	{ "ipv4/conf/default/rp_filter", "0", true },
	{ "ipv4/conf/all/accept_local", "1", true },
	{ "ipv4/conf/all/send_redirects", "0", true },
	{ "ipv4/conf/default/send_redirects", "0", true },
	{ "ipv4/conf/all/accept_redirects", "0", true },
	{ "ipv4/conf/default/accept_redirects", "0", true },
	{ "ipv4/conf/all/accept_source_route", "0", true },
	{ "ipv4/conf/default/accept_source_route", "0", true },
	{ "ipv4/icmp_ratelimit", "0", true },
	{ "ipv4/icmp_msgs_per_sec", "1000000000", false },
	{ "ipv4/icmp_msgs_burst", "1000000000", false },
	{ "ipv4/igmp_link_local_mcast_reports", "0", true },
	/* datagrams that never become whole stay: none is reported while frames are compared */
	{ "ipv4/ipfrag_time", "86400", true },
	{ "ipv4/ipfrag_high_thresh", "1000000000", true },
	{ "ipv6/ip6frag_time", "86400", false },
	{ "ipv6/ip6frag_high_thresh", "1000000000", false },
	{ "ipv6/conf/all/forwarding", "1", false },
	{ "ipv6/conf/default/forwarding", "1", false },
	{ "ipv6/conf/all/accept_redirects", "0", false },
	{ "ipv6/conf/default/accept_redirects", "0", false },
	{ "ipv6/conf/default/accept_ra", "0", false },
	{ "ipv6/conf/default/accept_dad", "0", false },
	{ "ipv6/conf/default/dad_transmits", "0", false },
	{ "ipv6/conf/default/router_solicitations", "0", false },
	/* no address of the link: no neighbour discovery, and no redirects, which have no switch */
	{ "ipv6/conf/default/addr_gen_mode", "1", false },
	/* what is to be said of groups is said at once */
	{ "ipv6/conf/default/mldv1_unsolicited_report_interval", "1", false },
	{ "ipv6/conf/default/mldv2_unsolicited_report_interval", "1", false },
	{ "ipv6/icmp/ratelimit", "0", false },
	{ "ipv6/icmp/ratemask", "", false },
	{ "ipv6/auto_flowlabels", "0", false },
	{ "netfilter/nf_conntrack_frag6_timeout", "86400", false },
	{ "netfilter/nf_conntrack_frag6_high_thresh", "1000000000", false },
};

/* No connection ends between a frame in the one host and the same in the other, however slow the machine is. */
static const char *const lasting[] = {
	"tcp_timeout_syn_sent", "tcp_timeout_syn_recv", "tcp_timeout_fin_wait", "tcp_timeout_close_wait",
	"tcp_timeout_last_ack", "tcp_timeout_time_wait", "tcp_timeout_close", "tcp_timeout_unacknowledged",
	"tcp_timeout_max_retrans", "sctp_timeout_closed", "sctp_timeout_cookie_wait", "sctp_timeout_cookie_echoed",
	"sctp_timeout_established", "sctp_timeout_shutdown_sent", "sctp_timeout_shutdown_recd",
	"sctp_timeout_shutdown_ack_sent", "sctp_timeout_heartbeat_sent", "udp_timeout", "udp_timeout_stream",
	"icmp_timeout", "icmpv6_timeout", "gre_timeout", "gre_timeout_stream", "generic_timeout",
};

int merlon_world_enter(const struct merlon_world *w)
{
	return setns(w->netns, CLONE_NEWNET) < 0 ? -errno : 0;
}

static int fail(struct merlon_diag *diag, int error, const char *what)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot make a scratch host: %s: %s", what,
			strerror(-error));
	return error;
}

static int set_sysctl(const char *name, const char *value)
{
	_cleanup_close_ int fd = -1;
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, *value ? value : "\n", strlen(value) + !*value) < 0 ? -errno : 0;
}

static int set_sysctls(struct merlon_diag *diag)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sysctl); i++) {
		int r = set_sysctl(sysctl[i].path, sysctl[i].value);

		if (r < 0 && sysctl[i].must) {
			fail(diag, r, sysctl[i].path);
			merlon_diag_cure(diag, "/proc/sys/net must be writable");
			return -EROFS;
		}
	}
	for (i = 0; i < ARRAY_SIZE(lasting); i++) {
		char path[64];

		snprintf(path, sizeof(path), "netfilter/nf_conntrack_%s", lasting[i]);
		set_sysctl(path, "86400");
	}
	/* what merlon does not do there, and says so: see merlon(8) */
	if (!merlon_kernel_is(6, 2))
		set_sysctl("netfilter/nf_conntrack_checksum", "0");
	return 0;
}

static int set_up(const struct merlon_ground_device *d, const struct ifreq *name)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = *name;

	if (fd < 0)
		return -errno;
	if (!d->tun) {
		request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(request.ifr_hwaddr.sa_data, d->mac, sizeof(d->mac));
		if (ioctl(fd, SIOCSIFHWADDR, &request) < 0)
			return -errno;
	}
	request.ifr_qlen = QUEUE;
	if (ioctl(fd, SIOCSIFTXQLEN, &request) < 0)
		return -errno;
	request.ifr_flags = IFF_UP | IFF_BROADCAST | IFF_MULTICAST;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int open_device(const struct merlon_ground_device *d)
{
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct ifreq request = { 0 };
	unsigned index = d->index;
	int r;

	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, d->name, sizeof(request.ifr_name));
	request.ifr_flags = (d->tun ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFINDEX, &index) < 0 || ioctl(fd, TUNSETIFF, &request) < 0 ||
	    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) < 0)
		return -errno;
#if defined(TUN_F_USO4) && defined(TUN_F_USO6)
	/* 6.2: super-packets of UDP stay whole */
	if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6) < 0)
		errno = 0;
#endif
	r = set_up(d, &request);
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_devices(struct merlon_world *w, struct merlon_diag *diag)
{
	unsigned i;
	int r;

	for (i = MERLON_GROUND_LO + 1; i < w->ground.n_devices; i++) {
		const struct merlon_ground_device *d = &w->ground.device[i];

		w->device[i] = open_device(d);
		if (w->device[i] < 0) {
			merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot make a device %s (index %u): %s",
					d->name, d->index, strerror(-w->device[i]));
			if (w->device[i] == -ENOENT || w->device[i] == -ENODEV)
				merlon_diag_cure(diag, "verify needs /dev/net/tun (CONFIG_TUN; modprobe tun)");
			return w->device[i];
		}
		r = d->tun ? 0 : merlon_route_gateway(w->route, &w->ground, i);
		if (r < 0)
			return fail(diag, r, "the neighbours of a device");
	}
	return 0;
}

static int open_sender(uint8_t family, const char *device)
{
	int af = family == MERLON_IPV4 ? AF_INET : AF_INET6, one = 1, fd;

	fd = socket(af, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	if (fd < 0)
		return -errno;
	/* broadcast addresses too */
	if (setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)) < 0 ||
	    (*device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device)) < 0)) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

static int open_senders(struct merlon_world *w)
{
	uint8_t family;
	unsigned i;

	for (family = 0; family < MERLON_FAMILIES; family++)
		for (i = 0; i <= w->ground.n_devices; i++) {
			bool bound = i < w->ground.n_devices;
			int fd = open_sender(family, bound ? w->ground.device[i].name : "");

			if (fd < 0)
				return fd;
			w->sender[family][bound ? i : MERLON_GROUND_DEVICES] = fd;
		}
	return 0;
}

static struct mnl_socket *open_netlink(int protocol)
{
	struct mnl_socket *s = mnl_socket_open2(protocol, SOCK_CLOEXEC);

	if (s && mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(s);
		return NULL;
	}
	return s;
}

static void close_netlink(struct mnl_socket *s)
{
	if (s)
		mnl_socket_close(s);
}

/* In the host's namespace. */
static int furnish(struct merlon_world *w, struct merlon_diag *diag)
{
	int r;

	w->route = open_netlink(NETLINK_ROUTE);
	w->netfilter = open_netlink(NETLINK_NETFILTER);
	w->log = open_netlink(NETLINK_NETFILTER);
	w->observer = open_netlink(NETLINK_NETFILTER);
	if (!w->route || !w->netfilter || !w->log || !w->observer)
		return fail(diag, -errno, "netlink");
	r = set_sysctls(diag);
	if (r < 0)
		return r;
	r = merlon_observe(w->observer, w->log);
	if (r < 0) {
		fail(diag, r, "nf_tables and nfnetlink_log");
		merlon_diag_cure(diag, "the kernel needs CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_LOG and CONFIG_NETFILTER_NETLINK_LOG");
		return r;
	}
	r = merlon_route_loopback(w->route);
	if (r < 0)
		return fail(diag, r, "lo");
	r = open_devices(w, diag);
	if (r < 0)
		return r;
	r = merlon_route_groups(w->route, &w->ground);
	if (r < 0)
		return fail(diag, r, "the route of groups");
	r = merlon_marks_open(&w->ground, &w->marks);
	if (r < 0)
		return fail(diag, r, "a program at the devices");
	r = open_senders(w);
	return r < 0 ? fail(diag, r, "raw sockets") : 0;
}

int merlon_world_open(struct merlon_world *ret, const struct merlon_ground *ground, struct merlon_diag *diag)
{
	_cleanup_close_ int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct merlon_world w = { .netns = -1, .ground = *ground };
	int r;

	w.ground.address = NULL;
	w.ground.n_addresses = 0;
	memset(w.device, 0xff, sizeof(w.device));
	memset(w.sender, 0xff, sizeof(w.sender));
	r = back < 0 ? -errno : merlon_netns_new(&w.netns);
	if (!r)
		r = merlon_world_enter(&w);
	if (r < 0) {
		fail(diag, r, "a network namespace");
		if (r == -EPERM)
			merlon_diag_cure(diag, "run as root");
		merlon_world_close(&w);
		return r;
	}
	r = furnish(&w, diag);
	if (setns(back, CLONE_NEWNET) < 0 && !r)
		r = fail(diag, -errno, "the way back");
	if (r < 0)
		merlon_world_close(&w);
	else
		*ret = w;
	return r;
}

void merlon_world_close(struct merlon_world *w)
{
	size_t i, j;

	for (i = 0; i < MERLON_GROUND_DEVICES; i++)
		merlon_closep(&w->device[i]);
	for (i = 0; i < MERLON_FAMILIES; i++)
		for (j = 0; j <= MERLON_GROUND_DEVICES; j++)
			merlon_closep(&w->sender[i][j]);
	merlon_marks_close(w->marks);
	close_netlink(w->route);
	close_netlink(w->netfilter);
	close_netlink(w->log);
	close_netlink(w->observer);
	merlon_closep(&w->netns);
	free(w->address);
}

int merlon_world_settle(struct merlon_world *w, const struct merlon_ground *ground, struct merlon_diag *diag)
{
	struct merlon_ground_address *copy = calloc(ground->n_addresses + 1, sizeof(*copy));
	int r;

	if (!copy)
		return -ENOMEM;
	if (ground->n_addresses)
		memcpy(copy, ground->address, ground->n_addresses * sizeof(*copy));
	r = merlon_route_places(w->route, &w->ground, w->address, w->n_addresses, true);
	if (!r)
		r = merlon_route_places(w->route, &w->ground, copy, ground->n_addresses, false);
	free(w->address);
	w->address = copy;
	w->n_addresses = ground->n_addresses;
	return r < 0 ? fail(diag, r, "the routes") : 0;
}

static void send_local(const struct merlon_world *w, const struct merlon_frame *f)
{
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	uint8_t family = f->bytes && f->data[0] >> 4 == 6 ? MERLON_IPV6 : MERLON_IPV4;
	unsigned at = f->device == MERLON_FRAME_UNBOUND ? MERLON_GROUND_DEVICES : f->device;
	bool v4 = family == MERLON_IPV4;
	ssize_t sent;

	if (f->bytes < (v4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr)) || at > MERLON_GROUND_DEVICES)
		return;
	memcpy(&to4.sin_addr, f->data + offsetof(struct iphdr, daddr), 4);
	if (!v4)
		memcpy(&to6.sin6_addr, f->data + offsetof(struct ip6_hdr, ip6_dst), 16);
	/* nf_tables' drop in OUTPUT is an error to the sender, TC's is not: rule 8 of the design */
	sent = sendto(w->sender[family][at], f->data, f->bytes, 0, v4 ? (struct sockaddr *)&to4 : (struct sockaddr *)&to6,
		      v4 ? sizeof(to4) : sizeof(to6));
	(void)sent;
}

void merlon_world_send(const struct merlon_world *w, const struct merlon_frame *f)
{
	struct virtio_net_hdr vnet = { .gso_type = f->gso_type, .gso_size = f->gso_size, .hdr_len = f->header_bytes };
	struct iovec iov[] = { { &vnet, sizeof(vnet) }, { f->data, f->bytes } };
	ssize_t sent;

	if (f->way == MERLON_FRAME_LOCAL) {
		send_local(w, f);
		return;
	}
	if (f->csum_start || f->csum_offset) {
		vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		vnet.csum_start = f->csum_start;
		vnet.csum_offset = f->csum_offset;
	}
	/* what is too short for a frame is refused in both hosts */
	sent = writev(w->device[f->device], iov, ARRAY_SIZE(iov));
	(void)sent;
}

static uint32_t network_of(size_t bytes, bool tun)
{
	return tun ? 0 : bytes < ETH_HLEN ? bytes : ETH_HLEN;
}

static int hear_device(const struct merlon_world *w, unsigned device, struct merlon_ears *ears)
{
	static uint8_t data[FRAME_MOST] __attribute__((aligned(8)));
	struct virtio_net_hdr vnet;
	struct iovec iov[] = { { &vnet, sizeof(vnet) }, { data, sizeof(data) } };
	ssize_t n;

	while ((n = readv(w->device[device], iov, ARRAY_SIZE(iov))) >= (ssize_t)sizeof(vnet)) {
		struct merlon_arrival arrival = { .channel = device, .gso_type = vnet.gso_type, .gso_size = vnet.gso_size,
						  .bytes = n - sizeof(vnet) };
		struct merlon_partial partial = { vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, vnet.csum_start, vnet.csum_offset };

		arrival.network = network_of(arrival.bytes, w->ground.device[device].tun);
		merlon_ears_packet(ears, &arrival, data, &partial);
	}
	return n < 0 && errno != EAGAIN ? -errno : 0;
}

int merlon_world_hear(const struct merlon_world *w, struct merlon_ears *ears)
{
	struct pollfd ready[MERLON_GROUND_DEVICES] = { { .fd = mnl_socket_get_fd(w->log), .events = POLLIN } };
	unsigned i;
	int r = 0;

	for (i = MERLON_GROUND_LO + 1; i < w->ground.n_devices; i++)
		ready[i] = (struct pollfd){ .fd = w->device[i], .events = POLLIN };
	if (poll(ready, w->ground.n_devices, 0) < 0)
		return errno == EINTR ? 0 : -errno;
	for (i = 0; i < w->ground.n_devices && !r; i++) {
		if (!ready[i].revents)
			continue;
		r = i == MERLON_GROUND_LO ? merlon_observe_read(w->log, ears) : hear_device(w, i, ears);
	}
	return r ? r : merlon_marks_hear(w->marks, ears);
}
