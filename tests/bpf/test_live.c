/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Real traffic over loopback and a veth pair, through attached entry programs. Built twice: with what kernels tell from
 * 6.2 on, and as on 6.1 (PLANE_KERN_CTX 0).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bpf/tcp.h"
#include "tests/bpf/live.h"
#include "tests/bpf/group.h"
#include "tests/bpf/packet.h"

#ifndef PLANE_KERN_CTX
#define PLANE_KERN_CTX 1
#endif

/* Counters by hook and state; port 9 is closed going out, port 10 coming in. */
static const struct plane_rule rules[] = {
	{ HOOK(OUTPUT), -1, 9, 0, 0, 0, { 9 }, 0, MERLON_DROP, 0, 0, 0 },
	{ HOOK(INPUT), -1, 10, 0, 0, 0, { 10 }, 0, MERLON_DROP, 0, 0, 0 },
	{ HOOK(OUTPUT), -1, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(OUTPUT), -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(OUTPUT), -1, -1, STATES(RELATED), 0, 0, { 3, 7 }, 0, MERLON_ACCEPT, 0, 0, 1 + MERLON_ORIGINAL },
	{ HOOK(OUTPUT), -1, -1, STATES(RELATED), 0, 0, { 3, 8 }, 0, MERLON_ACCEPT, 0, 0, 1 + MERLON_REPLY },
	{ HOOK(INPUT), -1, -1, STATES(NEW), 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(INPUT), -1, -1, STATES(ESTABLISHED), 0, 0, { 5 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(INPUT), -1, -1, STATES(RELATED), 0, 0, { 6 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};

/* The programs attached by TCX where the kernel has it; the answer to a denied packet must not differ. */
static int attach_tcx(int ifindex, int prog, unsigned type)
{
	union bpf_attr attr = { .link_create = { .prog_fd = prog, .target_ifindex = ifindex, .attach_type = type } };

	return syscall(__NR_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
}

static int set_up(void **state)
{
	(void)state;
	plane_forget(&plane);
	return 0;
}

struct counts {
	uint64_t n[11];
};

static struct counts counts(void)
{
	struct counts c = { 0 };

	for (unsigned i = 1; i <= 10; i++)
		c.n[i] = plane_counter(&plane, i);
	return c;
}

static void assert_counted(const struct counts *before, unsigned which, unsigned n)
{
	assert_int_equal(plane_counter(&plane, which) - before->n[which], n);
}

static void udp_over_loopback(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "::1" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int server = bound(hosts[i], SOCK_DGRAM, 5000), asker = bound(hosts[i], SOCK_DGRAM, 5001);
		struct counts before = counts();
		struct merlon_session session;
		char c;

		send_to(asker, hosts[i], 5000);
		assert_true(arrives(server));
		send_to(asker, hosts[i], 5000);
		send_to(server, hosts[i], 5001);
		assert_true(arrives(asker));
		for (int j = 0; j < 3; j++)
			send_to(asker, hosts[i], 5000);
		/* a busy kernel brings them later */
		for (int j = 0; j < 5; j++)
			assert_true(arrives(server) && recv(server, &c, 1, 0) == 1);
		/* the second hook sees the state that the first one found, and does not change it again */
		assert_counted(&before, 1, 2);
		assert_counted(&before, 4, 2);
		assert_counted(&before, 2, 4);
		assert_counted(&before, 5, 4);
		assert_true(plane_session(&plane, i, &session));
		assert_int_equal(session.stats[0].packets, 5);
		assert_int_equal(session.stats[1].packets, 1);
		close(server);
		close(asker);
	}
}

static void tcp_over_loopback(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "::1" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		socklen_t bytes;
		struct sockaddr_storage to = address(hosts[i], 5002, &bytes);
		int listener = bound(hosts[i], SOCK_STREAM, 5002), client = socket(to.ss_family, SOCK_STREAM, 0), server;
		struct counts before = counts();
		struct merlon_session session;
		char c;

		assert_int_equal(listen(listener, 1), 0);
		assert_int_equal(connect(client, (struct sockaddr *)&to, bytes), 0);
		server = accept(listener, NULL, NULL);
		assert_true(server >= 0);
		assert_int_equal(write(client, "x", 1), 1);
		assert_int_equal(read(server, &c, 1), 1);
		assert_true(plane_session(&plane, i, &session));
		assert_int_equal(session.state, MERLON_TCP_ESTABLISHED);
		close(client);
		assert_int_equal(read(server, &c, 1), 0);
		close(server);
		close(listener);
		usleep(50000);
		assert_counted(&before, 1, 1);
		assert_counted(&before, 4, 1);
		assert_int_equal(plane_counter(&plane, 2) - before.n[2], plane_counter(&plane, 5) - before.n[5]);
		assert_true(plane_session(&plane, i, &session));
		/* one FIN of each end: counted twice, it would be LAST_ACK after the first */
		assert_int_equal(session.state, MERLON_TCP_TIME_WAIT);
	}
}

/* What TCP sends is not in one piece: headers and the quote for an answer are read all the same. */
static void packets_in_pieces(void **state)
{
	static const struct plane_rule reject = { 0, 6, -1, 0, 0, 0, { 0 }, 0, MERLON_REJECT, MERLON_REJECT_ICMP, 3, 0 };
	socklen_t bytes;
	struct sockaddr_storage to = address("127.0.0.1", 5003, &bytes);
	int listener = bound("127.0.0.1", SOCK_STREAM, 5003), client = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t malformed = plane_stat(&plane, MERLON_STAT_MALFORMED);
	struct merlon_reject_event event;
	char data[2000];

	(void)state;
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&to, bytes), 0);
	plane_rejects(&plane, &event);
	plane_rules(&plane, &reject, 1, MERLON_DROP);
	memset(data, 'q', sizeof(data));
	assert_int_equal(write(client, data, sizeof(data)), (ssize_t)sizeof(data));
	assert_true(plane_rejects(&plane, &event) > 0);
	assert_int_equal(event.snap_bytes, 576);
	assert_int_equal(event.packet[0], 0x45);
	for (size_t i = 60; i < 576; i++)
		assert_int_equal(event.packet[i], 'q');
	assert_int_equal(plane_stat(&plane, MERLON_STAT_MALFORMED), malformed);
	plane_rules(&plane, rules, sizeof(rules) / sizeof(rules[0]), MERLON_DROP);
	close(client);
	close(listener);
}

static void unreachable_over_loopback(void **state)
{
	int asker = bound("127.0.0.1", SOCK_DGRAM, 5001);
	struct counts before = counts();

	(void)state;
	send_to(asker, "127.0.0.1", 5999);
	usleep(50000);
	assert_counted(&before, 3, 1);
	assert_counted(&before, 6, 1);
	close(asker);
}

static void denied_is_silent(void **state)
{
	int server = bound("127.0.0.1", SOCK_DGRAM, 9), asker = bound("127.0.0.1", SOCK_DGRAM, 5001);
	int inner = bound("127.0.0.1", SOCK_DGRAM, 10);
	struct counts before = counts();

	(void)state;
	assert_int_equal(send_to(asker, "127.0.0.1", 9), 1);
	assert_false(arrives(server));
	assert_counted(&before, 9, 1);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 0);
	assert_int_equal(send_to(asker, "127.0.0.1", 10), 1);
	assert_false(arrives(inner));
	assert_counted(&before, 10, 1);
	assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 1);
	close(server);
	close(asker);
	close(inner);
}

/* Packet sockets send past the IP layer: nf_tables does not see it, nor does merlon. */
static void packet_sockets_are_not_judged(void **state)
{
	struct flow flow = { "192.0.2.1", "192.0.2.200", 1, 9 };
	struct frame f = frame_udp(&flow, 10);
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = plane.veth, .sll_halen = 6,
				  .sll_protocol = htons(0x0800) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	struct counts before = counts();

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(sendto(fd, f.data, f.bytes, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)f.bytes);
	assert_counted(&before, 9, 0);
	close(fd);
}

/* What the test run does not take: frames that end in the IP header. The far end of the pair sends them in. */
static void short_frames(void **state)
{
	struct flow flow = { "192.0.2.9", "192.0.2.1", 1, 2 };
	struct frame f = frame_udp(&flow, 10);
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("m0p"), .sll_halen = 6,
				  .sll_protocol = htons(0x0800) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	uint64_t malformed = plane_stat(&plane, MERLON_STAT_MALFORMED);

	(void)state;
	for (size_t bytes = ETH + 1; bytes < f.bytes; bytes++)
		assert_int_equal(sendto(fd, f.data, bytes, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)bytes);
	usleep(20000);
	assert_int_equal(plane_stat(&plane, MERLON_STAT_MALFORMED) - malformed, f.bytes - ETH - 1);
	close(fd);
}

static void answers_of_the_daemon_are_related(void **state)
{
	struct merlon_control control;
	uint32_t zero = 0;
	int fd = bpf_map__fd(plane.skel->maps.data_control), raw[MERLON_DIRECTIONS];
	socklen_t bytes = sizeof(control.reject_cookie[0][0]);

	(void)state;
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &control), 0);
	for (int d = 0; d < MERLON_DIRECTIONS; d++) {
		raw[d] = socket(AF_INET, SOCK_RAW, 6);
		assert_true(raw[d] >= 0);
		assert_int_equal(getsockopt(raw[d], SOL_SOCKET, SO_COOKIE, &control.reject_cookie[d][0], &bytes), 0);
	}
	assert_int_equal(bpf_map_update_elem(fd, &zero, &control, 0), 0);
	for (int d = 0; d < MERLON_DIRECTIONS; d++) {
		struct counts before = counts();

		send_to(raw[d], "127.0.0.1", 0);
		assert_counted(&before, 3, 1);
		assert_counted(&before, 6, 1);
		assert_counted(&before, 7, d == MERLON_ORIGINAL);
		assert_counted(&before, 8, d == MERLON_REPLY);
		close(raw[d]);
	}
}

static void tcx_drops_alike(void **state)
{
	int out = bpf_program__fd(plane.skel->progs.egress_entry), link = attach_tcx(plane.far, out, 47);
	int asker = bound("198.51.100.1", SOCK_DGRAM, 5001);
	struct counts before = counts();
	char command[64];

	(void)state;
	if (link < 0) {
		close(asker);
		skip();
	}
	snprintf(command, sizeof(command), "ip neigh replace 198.51.100.9 lladdr 02:00:00:00:00:77 dev m1");
	assert_int_equal(system(command), 0);
	assert_int_equal(send_to(asker, "198.51.100.9", 9), 1);
	assert_counted(&before, 9, 1);
	assert_int_equal(send_to(asker, "198.51.100.9", 11), 1);
	assert_counted(&before, 1, 1);
	close(link);
	close(asker);
}

/* A device that has moved to another namespace takes the programs along: they let everything pass there. */
static void elsewhere_everything_passes(void **state)
{
	struct merlon_control control;
	uint32_t zero = 0;
	int fd = bpf_map__fd(plane.skel->maps.data_control), asker = bound("127.0.0.1", SOCK_DGRAM, 5001);
	uint64_t unjudged = plane_stat(&plane, MERLON_STAT_UNJUDGED);
	struct counts before = counts();

	(void)state;
	if (!plane.skel->rodata->merlon_have_kern_ctx) {
		close(asker);
		skip();
	}
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &control), 0);
	control.netns_cookie++;
	assert_int_equal(bpf_map_update_elem(fd, &zero, &control, 0), 0);
	assert_int_equal(send_to(asker, "127.0.0.1", 9), 1);
	control.netns_cookie--;
	assert_int_equal(bpf_map_update_elem(fd, &zero, &control, 0), 0);
	assert_counted(&before, 9, 0);
	assert_true(plane_stat(&plane, MERLON_STAT_UNJUDGED) > unjudged);
	close(asker);
}

/* Sent in by the far end of the pair. */
static void comes_in(const struct frame *f)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("m0p"), .sll_halen = 6 };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	assert_int_equal(sendto(fd, f->data, f->bytes, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)f->bytes);
	usleep(20000);
	close(fd);
}

/*
 * The stack says that the first packet of a flow came too far to be forwarded: nf_conntrack has the error related, to a
 * packet that was invalid itself it is invalid. A program's error about a flow that nobody knows is invalid, too.
 */
static void hop_limit_ends_here(void **state)
{
	static const struct flow flows[] = { { "192.0.2.200", "198.51.100.9", 7, 8 }, { "2001:db8::200", "2001:db8:1::9", 7, 8 } };
	int filtered = bpf_map__fd(plane.skel->maps.filtered);
	struct counts before;
	uint8_t yes = 1;

	(void)state;
	/* judged where it would have left */
	assert_int_equal(bpf_map_update_elem(filtered, &plane.far, &yes, 0), 0);
	assert_int_equal(system("ip neigh replace 192.0.2.200 lladdr 02:00:00:00:00:98 dev m0;"
				"ip neigh replace 2001:db8::200 lladdr 02:00:00:00:00:98 dev m0"), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct frame udp = frame_udp(&flows[i], 10), reset = frame_tcp(&flows[i], F_RST, 0), segment = frame_tcp(&flows[i], F_ACK, 0);
		struct frame *each[] = { &udp, &segment, &reset };

		for (unsigned n = 0; n < 3; n++) {
			each[n]->data[ETH + (i ? 7 : 8)] = 1;
			frame_checksum(each[n]);
			before = counts();
			comes_in(each[n]);
			assert_counted(&before, 8, plane.skel->rodata->merlon_have_kern_ctx && n < 2);
		}
	}
	bpf_map_delete_elem(filtered, &plane.far);
}

static void forged_errors_are_invalid(void **state)
{
	struct flow flow = { "192.0.2.200", "198.51.100.9", 17, 18 }, back = { "192.0.2.1", "192.0.2.200", 0, 0 };
	struct frame udp = frame_udp(&flow, 10), error = frame_error(&back, 11, &udp, 28);
	struct counts before = counts();
	struct sockaddr_storage to;
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	socklen_t bytes;

	(void)state;
	to = address("192.0.2.200", 0, &bytes);
	assert_true(fd >= 0);
	sendto(fd, error.data + error.l4, error.bytes - error.l4, 0, (struct sockaddr *)&to, bytes);
	usleep(20000);
	assert_counted(&before, 3, 0);
	close(fd);
}

static int group_set_up(void **state)
{
	int r = plane_open(&plane, PLANE_KERN_CTX);

	(void)state;
	if (r)
		return r;
	plane_rules(&plane, rules, sizeof(rules) / sizeof(rules[0]), MERLON_DROP);
	attach(&plane, PLANE_LO);
	attach(&plane, plane.veth);
	return 0;
}

/* A limit, reverse-path: what rp_filter discards behind TC has begun a session, of which nf_conntrack confirms none. */
static void reverse_path(void **state)
{
	static const struct flow flow = { "198.51.100.9", "192.0.2.1", 7, 5000 };
	struct frame f = frame_udp(&flow, 1);
	int server = bound("192.0.2.1", SOCK_DGRAM, 5000);
	struct counts before;

	(void)state;
	attach(&plane, plane.far);
	assert_int_equal(system("ip neigh replace 198.51.100.9 lladdr 02:00:00:00:00:77 dev m1"), 0);
	for (int filter = 1; filter >= 0; filter--) {
		char command[128];

		snprintf(command, sizeof(command), "for i in all m0; do echo %d >/proc/sys/net/ipv4/conf/$i/rp_filter; done", filter);
		assert_int_equal(system(command), 0);
		plane_forget(&plane);
		before = counts();
		comes_in(&f);
		assert_int_equal(arrives(server), !filter);
		assert_counted(&before, 4, 1);
		assert_int_equal(plane_embryonic(&plane, MERLON_IPV4), 1);
		assert_int_equal(send_to(server, "198.51.100.9", 7), 1);
		assert_counted(&before, 2, 1);
	}
	close(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(udp_over_loopback), TEST(tcp_over_loopback), TEST(packets_in_pieces), TEST(unreachable_over_loopback),
		TEST(denied_is_silent), TEST(packet_sockets_are_not_judged), TEST(short_frames), TEST(answers_of_the_daemon_are_related),
		TEST(tcx_drops_alike), TEST(hop_limit_ends_here), TEST(forged_errors_are_invalid),
		TEST(elsewhere_everything_passes), TEST(reverse_path),
	};

	return RUN_GROUP(tests, group_set_up, close_plane);
}
