/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A packet is tracked once by each instance that it meets, and by what that instance knows: over loopback, beside nft's
 * own chains, between two namespaces that each have an instance, and with a forged skb->tc_index, which survives the
 * way through a veth pair.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/time.h>
#include <unistd.h>

#include "bpf/session.h"
#include "tests/bpf/live.h"
#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"

#define REFUSED_PORT 10

/* The host, and another one behind a veth pair: h0 is the host's, 203.0.113.1 and 2001:db8:2::1, o0 the other's, 2. */
static struct plane host, other;
static int host_ns, other_ns;

/* Counters by hook and state: */
enum { OUT_NEW = 1, OUT_ESTABLISHED, IN_NEW, IN_ESTABLISHED, IN_INVALID, FORWARD_NEW, FORWARD_OTHER, IN_REFUSED, COUNTERS };
static const struct plane_rule rules[] = {
	{ HOOK(INPUT), 17, REFUSED_PORT, 0, 0, 0, { IN_REFUSED }, 0, MERLON_DROP, 0, 0, 0 },
	/* neighbour discovery */
	{ 0, 58, -1, STATES(UNTRACKED), 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(OUTPUT), -1, -1, STATES(NEW), 0, 0, { OUT_NEW }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(OUTPUT), -1, -1, STATES(ESTABLISHED), 0, 0, { OUT_ESTABLISHED }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(INPUT), -1, -1, STATES(NEW), 0, 0, { IN_NEW }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(INPUT), -1, -1, STATES(ESTABLISHED), 0, 0, { IN_ESTABLISHED }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(INPUT), -1, -1, STATES(INVALID), 0, 0, { IN_INVALID }, 0, MERLON_DROP, 0, 0, 0 },
	{ HOOK(FORWARD), -1, -1, STATES(NEW), 0, 0, { FORWARD_NEW }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ HOOK(FORWARD), -1, -1, STATES(ESTABLISHED) | STATES(INVALID) | STATES(RELATED), 0, 0, { FORWARD_OTHER }, 0,
	  MERLON_ACCEPT, 0, 0, 0 },
};

/* nft's chains on the host, where loopback's packets come by a second time; it marks and counts them. */
static const char nft_rules[] =
	"table inet t {\n"
	"	counter sent_new {}\n	counter sent_established {}\n	counter came_new {}\n	counter came_established {}\n"
	"	chain out { type filter hook output priority mangle; oif != lo return; meta mark set 3;\n"
	"		ct state new counter name sent_new; ct state established counter name sent_established; }\n"
	"	chain pre { type filter hook prerouting priority mangle; iif != lo return; meta mark set 4;\n"
	"		ct state new counter name came_new; ct state established counter name came_established; }\n"
	"}\n";

static void command(const char *text)
{
	if (system(text))
		fail_msg("%s", text);
}

static void into(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static void nft_load(const char *text)
{
	FILE *nft = popen("nft -f -", "w");

	assert_non_null(nft);
	fputs(text, nft);
	assert_int_equal(pclose(nft), 0);
}

/* Packets of a counter of nft's. */
static uint64_t nft_counted(const char *name)
{
	unsigned long long packets = 0;
	char text[128];
	FILE *nft;
	int n = 0;

	snprintf(text, sizeof(text), "nft list counter inet t %s", name);
	nft = popen(text, "r");
	assert_non_null(nft);
	while (fgets(text, sizeof(text), nft))
		n += sscanf(text, " packets %llu", &packets) == 1;
	assert_int_equal(pclose(nft), 0);
	assert_int_equal(n, 1);
	return packets;
}

struct counts {
	uint64_t n[COUNTERS];
};

static struct counts counts(const struct plane *plane)
{
	struct counts c = { 0 };

	for (unsigned i = 1; i < COUNTERS; i++)
		c.n[i] = plane_counter(plane, i);
	return c;
}

static uint64_t counted(const struct plane *plane, const struct counts *before, unsigned which)
{
	return plane_counter(plane, which) - before->n[which];
}

static int set_up(void **state)
{
	(void)state;
	/* a test that failed may have been in the other one */
	into(host_ns);
	plane_forget(&host);
	plane_forget(&other);
	return 0;
}

/* A TCP connection with some data either way, closed by its client first, then by its server. */
struct talk {
	const char *server;
	int client_ns, server_ns;
	uint16_t port;
};

/* A connection that does not come about fails the test in time. */
static void be_patient(int fd)
{
	struct timeval seconds = { .tv_sec = 5 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &seconds, sizeof(seconds)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &seconds, sizeof(seconds)), 0);
}

static void talk(const struct talk *t)
{
	struct sockaddr_storage to;
	int listener, client, server;
	socklen_t bytes;
	char c;

	into(t->server_ns);
	listener = bound(t->server, SOCK_STREAM, t->port);
	assert_int_equal(listen(listener, 1), 0);
	be_patient(listener);	/* who is accepted inherits it */
	into(t->client_ns);
	to = address(t->server, t->port, &bytes);
	client = socket(to.ss_family, SOCK_STREAM, 0);
	assert_true(client >= 0);
	be_patient(client);
	assert_int_equal(connect(client, (struct sockaddr *)&to, bytes), 0);
	server = accept(listener, NULL, NULL);
	assert_true(server >= 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(write(client, "x", 1), 1);
		assert_int_equal(read(server, &c, 1), 1);
		assert_int_equal(write(server, "y", 1), 1);
		assert_int_equal(read(client, &c, 1), 1);
	}
	close(client);
	assert_int_equal(read(server, &c, 1), 0);
	close(server);
	close(listener);
	usleep(50000);
	into(host_ns);
}

/* The only session of a connection that is over; how many packets it has seen. */
static uint64_t packets_of_closed(const struct plane *plane, enum merlon_family family)
{
	struct merlon_session session;

	assert_true(plane_session(plane, family, &session));
	/* counted twice, the client's FIN alone would have made it LAST_ACK, and its ACK CLOSE */
	assert_int_equal(session.state, MERLON_TCP_TIME_WAIT);
	return session.stats[MERLON_ORIGINAL].packets + session.stats[MERLON_REPLY].packets;
}

static void loopback(const char *address, enum merlon_family family)
{
	struct talk t = { address, host_ns, host_ns, 5010 };
	struct counts before = counts(&host);
	uint64_t packets;

	talk(&t);
	packets = packets_of_closed(&host, family);
	assert_int_equal(counted(&host, &before, OUT_NEW), 1);
	assert_int_equal(counted(&host, &before, IN_NEW), 1);
	assert_int_equal(counted(&host, &before, OUT_ESTABLISHED), packets - 1);
	assert_int_equal(counted(&host, &before, IN_ESTABLISHED), packets - 1);
	assert_int_equal(counted(&host, &before, IN_INVALID), 0);
}

static void once_over_loopback(void **state)
{
	(void)state;
	loopback("127.0.0.1", MERLON_IPV4);
	loopback("::1", MERLON_IPV6);
	plane_forget(&host);
	/* an address of another device is reached over loopback as well */
	loopback("192.0.2.1", MERLON_IPV4);
}

static void once_beside_nft(void **state)
{
	static const char *const address[] = { "127.0.0.1", "::1" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		uint64_t packets;

		nft_load(nft_rules);
		plane_forget(&host);
		loopback(address[i], i ? MERLON_IPV6 : MERLON_IPV4);
		packets = packets_of_closed(&host, i ? MERLON_IPV6 : MERLON_IPV4);
		assert_int_equal(nft_counted("sent_new"), 1);
		assert_int_equal(nft_counted("came_new"), 1);
		assert_int_equal(nft_counted("sent_established"), packets - 1);
		assert_int_equal(nft_counted("came_established"), packets - 1);
		nft_load("delete table inet t\n");
	}
}

/* What OUTPUT remembers of loopback's packets is no answer in INPUT, and the other way round. */
static void hooks_of_loopback(void **state)
{
	int asker = bound("127.0.0.1", SOCK_DGRAM, 5001), server = bound("127.0.0.1", SOCK_DGRAM, REFUSED_PORT);
	struct counts before = counts(&host);

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(send_to(asker, "127.0.0.1", REFUSED_PORT), 1);
	assert_false(arrives(server));
	assert_int_equal(counted(&host, &before, OUT_NEW), 4);
	assert_int_equal(counted(&host, &before, IN_REFUSED), 4);
	close(asker);
	close(server);
}

/* Two instances, each with maps of its own, on the two ends of one cable: each sees all packets, once. */
static void each_for_itself(void **state)
{
	static const char *const address[] = { "203.0.113.2", "2001:db8:2::2" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct talk t = { address[i], host_ns, other_ns, 5011 };
		struct counts here = counts(&host), there = counts(&other);
		enum merlon_family family = i ? MERLON_IPV6 : MERLON_IPV4;
		struct merlon_session mine, theirs;
		uint64_t packets;

		talk(&t);
		packets = packets_of_closed(&host, family);
		assert_int_equal(packets_of_closed(&other, family), packets);
		assert_true(plane_session(&host, family, &mine) && plane_session(&other, family, &theirs));
		assert_memory_equal(mine.stats, theirs.stats, sizeof(mine.stats));
		assert_int_equal(counted(&host, &here, OUT_NEW) + counted(&host, &here, OUT_ESTABLISHED),
				 mine.stats[MERLON_ORIGINAL].packets);
		assert_int_equal(counted(&host, &here, IN_ESTABLISHED), mine.stats[MERLON_REPLY].packets);
		assert_int_equal(counted(&other, &there, IN_NEW), 1);
		assert_int_equal(counted(&other, &there, IN_NEW) + counted(&other, &there, IN_ESTABLISHED),
				 mine.stats[MERLON_ORIGINAL].packets);
		assert_int_equal(counted(&other, &there, OUT_ESTABLISHED), mine.stats[MERLON_REPLY].packets);
	}
}

/* What forges skb->tc_index where packets leave the far end of a pair, and what looks whether it came through. */
enum { FORGED, SEEN };
static int forgery, forger, looker;

static int load(const struct bpf_insn *insn, size_t n)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "forge", "GPL", insn, n, &opts);

	assert_true(fd >= 0);
	return fd;
}

/* r2 = a member of the array's only value, r1 being the context. */
#define VALUE(member) \
	{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = forgery }, \
	{ .imm = (member) * 4 }
#define READ(to, from, at) { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to, .src_reg = from, .off = at }
#define WRITE(to, from, at) { .code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = to, .src_reg = from, .off = at }
#define GO_ON { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = -1 }, { .code = BPF_JMP | BPF_EXIT }
#define TC_INDEX offsetof(struct __sk_buff, tc_index)

static void load_forgery(void)
{
	forgery = bpf_map_create(BPF_MAP_TYPE_ARRAY, "forgery", 4, 8, 1, NULL);
	assert_true(forgery >= 0);

	const struct bpf_insn forge[] = { VALUE(FORGED), READ(3, 2, 0), WRITE(1, 3, TC_INDEX), GO_ON };
	const struct bpf_insn look[] = { VALUE(SEEN), READ(3, 1, TC_INDEX), WRITE(2, 3, 0), GO_ON };

	forger = load(forge, sizeof(forge) / sizeof(forge[0]));
	looker = load(look, sizeof(look) / sizeof(look[0]));
}

/* At one hook of a device, ahead of what is attached there already. */
static void attach_first(const char *device, enum bpf_tc_attach_point point, int prog, bool has_others)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(device), .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog, .priority = 1, .handle = 1);

	if (!has_others)
		assert_int_equal(bpf_tc_hook_create(&hook), 0);
	hook.attach_point = point;
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
}

/* Sends a frame from the far end `device`, with this tc_index; it did come through. */
static void send_forged(const char *device, const struct frame *f, uint32_t tc_index)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device), .sll_halen = 6 };
	uint32_t zero = 0, value[2] = { tc_index, 0 };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	assert_true(fd >= 0 && to.sll_ifindex);
	assert_int_equal(bpf_map_update_elem(forgery, &zero, value, 0), 0);
	assert_int_equal(sendto(fd, f->data, f->bytes, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)f->bytes);
	usleep(20000);
	assert_int_equal(bpf_map_lookup_elem(forgery, &zero, value), 0);
	assert_int_equal(value[SEEN], tc_index);
	close(fd);
}

/* All that merlon writes there, the wrong checksum's among them. */
#define FORGERIES (MERLON_CT_STATES * MERLON_DIRECTIONS)
static uint32_t forged(unsigned i)
{
	return merlon_carry(i / MERLON_DIRECTIONS, i % MERLON_DIRECTIONS);
}

static const struct flow to_host[] = { { "192.0.2.200", "192.0.2.1", 7000, 7001 }, { "2001:db8::200", "2001:db8::1", 7000, 7001 } };

/* A datagram of no flow is new, a segment of none that cannot begin one invalid, whatever they claim. */
static void forged_to_the_host(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FORGERIES * 2; i++) {
		struct frame udp = frame_udp(&to_host[i & 1], 10), reset = frame_tcp(&to_host[i & 1], F_RST, 0);
		struct counts before = counts(&host);

		frame_transport_sum(&udp, 17);
		frame_transport_sum(&reset, 6);
		plane_forget(&host);
		send_forged("m0p", &udp, forged(i / 2));
		assert_int_equal(counted(&host, &before, IN_NEW), 1);
		send_forged("m0p", &reset, forged(i / 2));
		assert_int_equal(counted(&host, &before, IN_INVALID), 1);
		assert_int_equal(counted(&host, &before, IN_NEW), 1);
		assert_int_equal(counted(&host, &before, IN_ESTABLISHED), 0);
	}
}

/* On the short way, too: the packet of a known flow changes its session, and is what the session says. */
static void forged_in_a_known_flow(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FORGERIES * 2; i++) {
		struct frame udp = frame_udp(&to_host[i & 1], 10);
		struct merlon_session session;
		struct counts before;

		frame_transport_sum(&udp, 17);
		plane_forget(&host);
		send_forged("m0p", &udp, 0);
		before = counts(&host);
		send_forged("m0p", &udp, forged(i / 2));
		assert_int_equal(counted(&host, &before, IN_NEW), 1);
		assert_true(plane_session(&host, i & 1 ? MERLON_IPV6 : MERLON_IPV4, &session));
		assert_int_equal(session.stats[MERLON_ORIGINAL].packets, 2);
	}
}

/* Through the host: by a filtered interface, and by m2, which nothing filters, so that nothing clears the field there. */
static void forged_through_the_host(void **state)
{
	static const struct flow through[] = {
		{ "192.0.2.200", "198.51.100.9", 7000, 7001 }, { "2001:db8::200", "2001:db8:1::9", 7000, 7001 },
		{ "203.0.113.130", "198.51.100.9", 7000, 7001 }, { "2001:db8:3::200", "2001:db8:1::9", 7000, 7001 },
	};

	(void)state;
	for (unsigned i = 0; i < FORGERIES * 4; i++) {
		struct frame udp = frame_udp(&through[i & 3], 10);
		struct counts before = counts(&host);

		frame_transport_sum(&udp, 17);
		plane_forget(&host);
		send_forged(i & 2 ? "m2p" : "m0p", &udp, forged(i / 4));
		assert_int_equal(counted(&host, &before, FORWARD_NEW), 1);
		assert_int_equal(counted(&host, &before, FORWARD_OTHER), 0);
	}
}

/* From the other namespace, past its own instance, into a connection between both. */
static void forged_between_instances(void **state)
{
	static const char *const address[] = { "203.0.113.1", "2001:db8:2::1" };
	const uint32_t zero = 0, value[2] = { merlon_carry(MERLON_CT_ESTABLISHED, MERLON_ORIGINAL), 0 };

	(void)state;
	assert_int_equal(bpf_map_update_elem(forgery, &zero, value, 0), 0);
	into(other_ns);
	attach_first("o0", BPF_TC_EGRESS, forger, true);
	into(host_ns);
	for (int i = 0; i < 2; i++) {
		struct talk t = { address[i], other_ns, host_ns, 5012 };
		enum merlon_family family = i ? MERLON_IPV6 : MERLON_IPV4;
		struct counts before = counts(&host);

		talk(&t);
		assert_int_equal(packets_of_closed(&host, family), packets_of_closed(&other, family));
		assert_int_equal(counted(&host, &before, IN_NEW), 1);
	}
}

/* The only device whose word is taken is each namespace's own loopback device: no other one gets its index. */
static void nobody_else_is_loopback(void **state)
{
	(void)state;
	assert_int_equal(if_nametoindex("lo"), PLANE_LO);
	assert_int_not_equal(system("ip link add m9 index 1 type veth peer name m9p 2>/dev/null"), 0);
}

static void cable(void)
{
	char text[256];

	snprintf(text, sizeof(text), "ip link add h0 type veth peer name o0 netns /proc/%d/fd/%d", getpid(), other_ns);
	command(text);
	command("ip link set h0 up; ip addr add 203.0.113.1/25 dev h0; ip addr add 2001:db8:2::1/64 dev h0 nodad");
	into(other_ns);
	command("ip link set o0 up; ip addr add 203.0.113.2/25 dev o0; ip addr add 2001:db8:2::2/64 dev o0 nodad");
	into(host_ns);
}

/* Where what is forwarded comes from and goes to; m2 is not filtered. */
static void ways_through_the_host(void)
{
	uint8_t yes = 1;

	command("ip link add m2 address 02:00:00:00:00:01 type veth peer name m2p && ip link set m2 up && ip link set m2p up &&"
		" ip addr add 203.0.113.129/25 dev m2 && ip addr add 2001:db8:3::1/64 dev m2 nodad");
	command("ip neigh replace 198.51.100.9 lladdr 02:00:00:00:00:99 dev m1;"
		" ip neigh replace 2001:db8:1::9 lladdr 02:00:00:00:00:99 dev m1");
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(host.skel->maps.filtered), &host.veth, &yes, 0), 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(host.skel->maps.filtered), &host.far, &yes, 0), 0);
	attach(&host, host.far);
	load_forgery();
	attach_first("m0p", BPF_TC_EGRESS, forger, false);
	attach_first("m2p", BPF_TC_EGRESS, forger, false);
	attach_first("m0", BPF_TC_INGRESS, looker, true);
	attach_first("m2", BPF_TC_INGRESS, looker, false);
}

static int group_set_up(void **state)
{
	int r = plane_open(&other, true);

	(void)state;
	if (r)
		return r;
	other_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	r = plane_open(&host, true);
	if (r)
		return r;
	host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(other_ns >= 0 && host_ns >= 0);
	plane_rules(&host, rules, sizeof(rules) / sizeof(rules[0]), MERLON_DROP);
	plane_rules(&other, rules, sizeof(rules) / sizeof(rules[0]), MERLON_DROP);
	cable();
	attach(&host, PLANE_LO);
	attach(&host, host.veth);
	attach(&host, if_nametoindex("h0"));
	ways_through_the_host();
	into(other_ns);
	attach(&other, if_nametoindex("o0"));
	into(host_ns);
	return 0;
}

static int group_tear_down(void **state)
{
	(void)state;
	plane_close(&host);
	plane_close(&other);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(once_over_loopback), TEST(once_beside_nft), TEST(hooks_of_loopback), TEST(each_for_itself),
		TEST(forged_to_the_host), TEST(forged_in_a_known_flow), TEST(forged_through_the_host),
		TEST(forged_between_instances), TEST(nobody_else_is_loopback),
	};

	if (geteuid())
		return 77;
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
