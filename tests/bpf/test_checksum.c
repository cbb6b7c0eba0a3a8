/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums of transports against nf_conntrack with nf_conntrack_checksum=1: frames with right, wrong and missing ones
 * pass both, and both must find the same states. By ways in which nobody vouches for a checksum (packet sockets), the
 * sender has yet to fill it in (virtio-net headers) and the skb has the sum of the whole packet (behind a tunnel).
 * MERLON_PACKETS and MERLON_SEED choose length and seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bpf/crc32c.h"
#include "bpf/headers.h"
#include "src/kernel/dataplane.h"
#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"

#define IN (MERLON_BIT(MERLON_INPUT) | MERLON_BIT(MERLON_FORWARD))
#define N_STATES 4
#define VXLAN_PORT 4789
#define SCTP 132

static struct plane plane;
static int near_fd, far_fd;
static unsigned seed;

static const char *const meaning[N_STATES + 1] = { "nothing", "new", "established", "related", "invalid" };
static const struct plane_rule rules[] = {
	{ IN, 17, VXLAN_PORT, 0, 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ IN, -1, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ IN, -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ IN, -1, -1, STATES(RELATED), 0, 0, { 3 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ IN, -1, -1, STATES(INVALID), 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};
static const char ruleset[] =
	"table inet t { counter c1 { }; counter c2 { }; counter c3 { }; counter c4 { };"
	" chain count { ct state new counter name c1; ct state established counter name c2;"
	" ct state related counter name c3; ct state invalid counter name c4; }\n"
	" chain i { type filter hook input priority 0; udp dport 4789 accept; jump count; }\n"
	" chain f { type filter hook forward priority 0; jump count; }\n}";

enum way { WAY_NEAR, WAY_FAR, WAY_TUNNEL, WAYS };

static void run_command(const char *command)
{
	if (system(command)) {
		fprintf(stderr, "failed: %s\n", command);
		abort();
	}
}

static unsigned any(unsigned n)
{
	return rand_r(&seed) % n;
}

static int one_in(unsigned n)
{
	return !any(n);
}

static int packet_socket(const char *interface)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(interface) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;

	assert_true(fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof(at)));
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	return fd;
}

/* `partial`: offset of a checksum that is still to be filled in, from the transport header; 0: none. */
static void send_frame(int fd, const struct frame *f, size_t partial)
{
	struct virtio_net_hdr vnet = { 0 };
	struct iovec part[] = { { &vnet, sizeof(vnet) }, { (void *)f->data, f->bytes } };

	if (partial) {
		vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		vnet.csum_start = f->l4;
		vnet.csum_offset = partial;
	}
	assert_int_equal(writev(fd, part, 2), (ssize_t)(sizeof(vnet) + f->bytes));
}

/* Through the tunnel: its outer checksum makes the kernel add the whole packet up. */
static void send_tunnelled(const struct frame *inner)
{
	static const struct flow ends = { "198.51.100.9", "198.51.100.1", 40000, VXLAN_PORT };
	struct frame f = frame_udp(&ends, 8 + inner->bytes);
	uint8_t *p = f.data + f.l4 + 8;

	f.data[5] = 2;
	put32(p, 0x08000000);
	put32(p + 4, 7 << 8);
	memcpy(p + 8, inner->data, inner->bytes);
	p[8 + 5] = 3;
	frame_transport_sum(&f, 17);
	send_frame(far_fd, &f, 0);
}

static void kernel_counts(uint64_t ret[N_STATES + 1])
{
	FILE *nft = popen("nft list counters table inet t", "r");
	char line[256];
	int which = 0;

	assert_non_null(nft);
	while (fgets(line, sizeof(line), nft)) {
		sscanf(line, " counter c%d", &which);
		if (which >= 1 && which <= N_STATES)
			sscanf(line, " packets %lu", &ret[which]);
	}
	assert_int_equal(pclose(nft), 0);
}

static uint64_t answers(void)
{
	FILE *nft = popen("nft list counter inet r answers", "r");
	char line[256];
	uint64_t n = 0;

	assert_non_null(nft);
	while (fgets(line, sizeof(line), nft))
		sscanf(line, " packets %lu", &n);
	assert_int_equal(pclose(nft), 0);
	return n;
}

static void load(const char *text)
{
	FILE *nft = popen("nft -f -", "w");

	assert_true(nft && fputs(text, nft) >= 0 && !pclose(nft));
}

static void merlon_counts(uint64_t ret[N_STATES + 1])
{
	for (unsigned i = 1; i <= N_STATES; i++)
		ret[i] = plane_counter(&plane, i);
}

/* Which one counter went up by one; 0: none; -1: something else happened. */
static int which_rose(const uint64_t *before, const uint64_t *after)
{
	int which = 0;

	for (int i = 1; i <= N_STATES; i++)
		if (after[i] != before[i])
			which = which || after[i] != before[i] + 1 ? -1 : i;
	return which;
}

struct seen {
	int kernel, merlon;
};

static struct seen seen(const struct frame *f, enum way way, size_t partial)
{
	static uint64_t kernel[2][N_STATES + 1], merlon[2][N_STATES + 1];
	struct seen result;

	if (way == WAY_TUNNEL)
		send_tunnelled(f);
	else
		send_frame(way == WAY_NEAR ? near_fd : far_fd, f, partial);
	kernel_counts(kernel[1]);
	merlon_counts(merlon[1]);
	result = (struct seen){ which_rose(kernel[0], kernel[1]), which_rose(merlon[0], merlon[1]) };
	memcpy(kernel[0], kernel[1], sizeof(kernel[0]));
	memcpy(merlon[0], merlon[1], sizeof(merlon[0]));
	return result;
}

/* What one of the random frames is. */
struct pick {
	uint8_t proto;
	enum way way;
	enum { RIGHT, WRONG, MISSING, OTHER_PSEUDO, LOST_BYTE, PARTIAL, SUMS } sum;
	int v6;
	size_t payload, padding;
};

/* From the near side on to the far one or to the router, from there back. The tunnel's are from the near side, too. */
static struct flow some_flow(const struct pick *pick)
{
	static const char *const ends[2][3] = { { "192.0.2.200", "198.51.100.9", "192.0.2.1" },
						{ "2001:db8::200", "2001:db8:1::9", "2001:db8::1" } };
	struct flow flow = { ends[pick->v6][0], ends[pick->v6][any(4) ? 1 : 2], 1024 + any(4), 80 };

	return pick->way == WAY_FAR ? (struct flow){ ends[pick->v6][1], ends[pick->v6][0], 80, flow.sport } : flow;
}

static struct frame some_transport(struct pick *pick, const struct flow *flow)
{
	static const uint8_t flags[] = { F_SYN, F_SYN | F_ACK, F_ACK, F_ACK, F_ACK | F_PSH, F_RST };
	static const uint8_t icmp6[] = { 128, 128, 129, 135, 136, 200 }, icmp4[] = { 8, 8, 0, 13, 40 };
	struct frame f;

	switch (pick->proto) {
	case 6:
		return frame_tcp(flow, flags[any(sizeof(flags))], pick->payload);
	case 17:
		return frame_udp(flow, pick->payload);
	case 136:
		f = frame_udp(flow, pick->payload);
		f.data[ETH + (f.v6 ? 6 : 9)] = 136;
		put16(f.data + f.l4 + 4, one_in(2) ? 0 : 8 + any(pick->payload + 1));
		return f;
	case 1:
		pick->proto = pick->v6 ? 58 : 1;
		return frame_icmp(flow, pick->v6 ? icmp6[any(sizeof(icmp6))] : icmp4[any(sizeof(icmp4))], 0, pick->payload);
	case SCTP:
		/* an INIT, whatever is in it */
		f = frame_ip(flow, SCTP, 12 + 4 + (pick->payload < 16 ? 16 : pick->payload));
		put16(f.data + f.l4, flow->sport);
		put16(f.data + f.l4 + 2, flow->dport);
		f.data[f.l4 + 12] = 1;
		put16(f.data + f.l4 + 14, f.bytes - f.l4 - 12);
		return f;
	default:
		return frame_ip(flow, pick->proto, pick->payload);
	}
}

/* Least significant byte first, RFC 9260 appendix A. */
static void put_crc(struct frame *f, const struct pick *pick)
{
	uint8_t *field = f->data + f->l4 + MERLON_SCTP_SUM;
	size_t bytes = f->bytes - f->l4;
	uint32_t crc;

	put32(field, 0);
	crc = ~merlon_crc_add(MERLON_CRC_NONE, f->data + f->l4, bytes, bytes);
	put32(field, pick->sum == OTHER_PSEUDO ? crc : __builtin_bswap32(crc));
	if (pick->sum == WRONG)
		field[any(4)] ^= 1 << any(8);
	if (pick->sum == MISSING)
		put32(field, 0);
	if (pick->sum == LOST_BYTE)
		f->data[f->l4 + any(bytes)] ^= 1 << any(8);
}

static size_t covered_by(const struct pick *pick, const struct frame *f)
{
	size_t bytes = f->data[f->l4 + 4] << 8 | f->data[f->l4 + 5];

	return pick->proto == 136 && bytes ? bytes : f->bytes - f->l4;
}

static void put_sum(struct frame *f, const struct pick *pick)
{
	size_t at = frame_sum_at(pick->proto), covered = covered_by(pick, f);
	uint8_t *field = f->data + f->l4 + at;

	if (pick->proto == SCTP)
		put_crc(f, pick);
	if (!at)
		return;
	frame_sum(f, at, covered, pick->proto == 1 ? 0 : frame_pseudo(f, pick->proto));
	switch (pick->sum) {
	case WRONG:
		field[any(2)] ^= 1 << any(8);
		break;
	case MISSING:
		put16(field, 0);
		break;
	case OTHER_PSEUDO:
		frame_sum(f, at, covered, pick->proto == 1 ? frame_pseudo(f, 1) : pick->proto == 58 ? 0 : frame_pseudo(f, 17));
		break;
	case LOST_BYTE:
		f->data[f->bytes - 1] ^= 1 << any(8);
		break;
	case PARTIAL:
		put16(field, frame_pseudo(f, pick->proto));
		break;
	default:
		break;
	}
}

static struct pick some_pick(void)
{
	static const uint8_t protos[] = { 6, 6, 17, 17, 17, 1, 1, 136, 253, SCTP, SCTP };
	static const size_t sizes[] = { 0, 1, 2, 3, 7, 100, 115, 116, 117, 244, 502, 503, 504, 505, 510, 512, 1000, 1016, 1017 };
	struct pick pick = { .proto = protos[any(sizeof(protos))], .way = any(WAYS), .sum = any(3) ? RIGHT : any(SUMS),
			     .v6 = any(2), .payload = sizes[any(sizeof(sizes) / sizeof(sizes[0]))],
			     .padding = one_in(3) ? any(20) : 0 };

	if (pick.sum == PARTIAL && (pick.way == WAY_TUNNEL || (pick.proto != 6 && pick.proto != 17 && pick.proto != SCTP)))
		pick.sum = RIGHT;
	return pick;
}

static size_t partial_of(const struct pick *pick)
{
	return pick->sum != PARTIAL ? 0 : pick->proto == SCTP ? MERLON_SCTP_SUM : frame_sum_at(pick->proto);
}

static struct frame some_frame(struct pick *pick)
{
	struct flow flow = some_flow(pick);
	struct frame f = some_transport(pick, &flow);

	f.data[5] = pick->way == WAY_FAR ? 2 : 1;
	for (size_t i = 0; i < pick->payload; i++)
		f.data[f.bytes - 1 - i] = any(256);
	if (one_in(8))
		frame_insert(&f, f.v6 ? "\0\0\1\4\0\0\0\0" : "\1\1\1\0", f.v6 ? 8 : 4);
	if (f.v6 && f.l4 > ETH + 40) {
		f.data[f.l4 - 8] = f.data[ETH + 6];
		f.data[ETH + 6] = 60;
	} else if (f.l4 > ETH + 20 && !f.v6) {
		f.data[ETH] = 0x46;
		frame_checksum(&f);
	}
	put_sum(&f, pick);
	for (size_t i = 0; i < pick->padding; i++)
		f.data[f.bytes++] = any(256);
	return f;
}

static void compare(int frames)
{
	for (int i = 0; i < frames; i++) {
		struct pick pick = some_pick();
		struct frame f = some_frame(&pick);
		struct seen s = seen(&f, pick.way, partial_of(&pick));

		if (getenv("MERLON_VERBOSE"))
			print_message("# %d: proto %d v%d way %d sum %d payload %zu padding %zu: %s\n", i, pick.proto, pick.v6 ? 6 : 4,
				      pick.way, pick.sum, pick.payload, pick.padding, s.kernel < 0 ? "several" : meaning[s.kernel]);
		if (s.kernel == s.merlon && s.kernel >= 0)
			continue;
		fail_msg("frame %d, protocol %d, IPv%d, way %d, sum %d, %zu bytes, padding %zu: the kernel says %s, merlon %s", i, pick.proto,
			 pick.v6 ? 6 : 4, pick.way, pick.sum, pick.payload, pick.padding, s.kernel < 0 ? "several" : meaning[s.kernel],
			 s.merlon < 0 ? "several" : meaning[s.merlon]);
	}
}

static int length(void)
{
	/* nft is asked about each: emulated machines are slow */
	return getenv("MERLON_PACKETS") ? atoi(getenv("MERLON_PACKETS")) : getenv("MERLON_IN_VM") ? 200 : 300;
}

/* Both sides of an interface, or none. */
static void filter(const char *interface, int on)
{
	static const enum bpf_tc_attach_point points[] = { BPF_TC_INGRESS, BPF_TC_EGRESS };
	uint32_t ifindex = if_nametoindex(interface);
	int fd = bpf_map__fd(plane.skel->maps.filtered);
	uint8_t value = 1;
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	if (!on) {
		assert_int_equal(bpf_map_delete_elem(fd, &ifindex), 0);
		assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
		return;
	}
	assert_int_equal(bpf_map_update_elem(fd, &ifindex, &value, 0), 0);
	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	for (int i = 0; i < 2; i++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(i ? plane.skel->progs.egress_entry :
									      plane.skel->progs.ingress_entry));

		hook.attach_point = points[i];
		assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	}
}

/* Forwarded packets are judged where they leave. */
static void judged_at_egress(void **state)
{
	(void)state;
	compare(length());
}

/* Forwarded packets are judged where they come in if they leave there, and verified where they leave if they came in there. */
static void far_side_is_not_filtered(void **state)
{
	(void)state;
	filter("m1", 0);
	plane_routes_changed(&plane);
	compare(length() / 2);
}

/* Established, on the short way: a wrong sum neither counts nor changes anything. */
static void wrong_ones_leave_sessions_alone(void **state)
{
	static const struct flow flows[] = { { "192.0.2.200", "198.51.100.9", 2000, 2001 }, { "2001:db8::200", "2001:db8:1::9", 2000, 2001 } };

	(void)state;
	plane_forget(&plane);
	filter("m1", 1);
	for (int v = 0; v < 2; v++) {
		struct flow back = reversed(&flows[v]);
		struct frame there = frame_udp(&flows[v], 1001), here = frame_udp(&back, 3);
		struct merlon_session before, after;
		struct seen s;

		there.data[5] = 1;
		here.data[5] = 2;
		frame_transport_sum(&there, 17);
		frame_transport_sum(&here, 17);
		seen(&there, WAY_NEAR, 0);
		seen(&here, WAY_FAR, 0);
		for (int i = 0; i < 3; i++) {
			uint64_t hits = plane_stat(&plane, MERLON_STAT_HITS);

			s = seen(&there, WAY_NEAR, 0);
			assert_int_equal(s.kernel, 2);
			assert_int_equal(s.merlon, 2);
			assert_true(i < 2 || plane_stat(&plane, MERLON_STAT_HITS) == hits + 1);
		}
		assert_true(plane_session(&plane, v, &before));
		there.data[there.bytes - 1] ^= 1;
		s = seen(&there, WAY_NEAR, 0);
		assert_int_equal(s.kernel, 4);
		assert_int_equal(s.merlon, 4);
		assert_true(plane_session(&plane, v, &after));
		assert_memory_equal(&before, &after, sizeof(before));
	}
}

/* Whether a packet takes the short way: its session answers, and not the long one's program for it. */
static int short_way(const struct frame *f)
{
	uint64_t before = plane_stat(&plane, MERLON_STAT_HITS), cold = plane_stat(&plane, MERLON_STAT_COLD);

	plane_ingress(&plane, plane.veth, f->data, f->bytes);
	return plane_stat(&plane, MERLON_STAT_HITS) == before + 1 && plane_stat(&plane, MERLON_STAT_COLD) == cold;
}

/* The short way sums packets in pieces of its own: whatever their length, a right one takes it, one with a bit turned does not. */
static void sums_of_all_lengths(void **state)
{
	static const struct flow flows[] = { { "192.0.2.9", "192.0.2.1", 40000, 22 }, { "2001:db8::9", "2001:db8::1", 40000, 22 } };

	(void)state;
	plane_forget(&plane);
	for (int v = 0; v < 2; v++)
		for (unsigned payload = 0; payload <= 1200; payload += payload < 140 || any(2) ? 1 : 1 + any(40)) {
			struct flow back = reversed(&flows[v]);
			struct frame there = frame_udp(&flows[v], payload), here = frame_udp(&back, payload);

			for (unsigned i = 0; i < payload; i++)
				there.data[there.bytes - 1 - i] = any(256);
			frame_transport_sum(&there, 17);
			frame_transport_sum(&here, 17);
			if (!payload)
				for (int i = 0; i < 3; i++)
					plane_ingress(&plane, plane.veth, (i == 1 ? here : there).data, there.bytes);
			if (!short_way(&there))
				fail_msg("IPv%d, %u bytes: a right sum takes the long way", v ? 6 : 4, payload);
			for (int i = 0; i < 4; i++) {
				/* not the length nor a sum of 0, of which there need be none */
				unsigned at = there.l4 + (payload && i < 3 ? 8 + any(payload) : any(4));
				uint8_t bit = 1 << any(8);

				there.data[at] ^= bit;
				if (short_way(&there))
					fail_msg("IPv%d, %u bytes, byte %u: a wrong sum takes the short way", v ? 6 : 4, payload, at - (unsigned)there.l4);
				there.data[at] ^= bit;
			}
			/* the last one, which is of an odd length */
			there.data[there.bytes - 1] ^= 0x80;
			assert_false(short_way(&there));
		}
}

/* What nf_tables answers when it rejects, merlon hands to the daemon, and nothing else. */
static void wrong_ones_get_no_answer(void **state)
{
	static const char reject[] =
		"table inet r { counter answers { };"
		" chain i { type filter hook input priority 10; reject with icmpx admin-prohibited; }\n"
		" chain f { type filter hook forward priority 10; reject with icmpx admin-prohibited; }\n"
		" chain o { type filter hook output priority 0; icmp type destination-unreachable counter name answers;"
		" icmpv6 type destination-unreachable counter name answers; }\n}";
	static const struct plane_rule rule = { IN, -1, -1, 0, 0, 0, { 9 }, 0, MERLON_REJECT, MERLON_REJECT_ICMP, 13, 0 };
	static const uint8_t more[] = { 33, 47, 50, 132, 253 };
	enum { FRAMES = 200 };
	static struct frame frames[FRAMES];
	static struct pick picks[FRAMES];
	static uint64_t answered[FRAMES];
	struct merlon_reject_event event;

	(void)state;
	load(reject);
	plane_rules(&plane, rules, sizeof(rules) / sizeof(rules[0]), MERLON_ACCEPT);
	for (int i = 0; i < FRAMES; i++) {
		uint64_t before = answers();

		picks[i] = some_pick();
		picks[i].way = any(2) ? WAY_NEAR : WAY_FAR;
		/*
		 * nf_conntrack leaves the sum with the packet (__skb_checksum_complete()), and of such nf_ip_checksum() takes ICMP's
		 * with a pseudo header, too, when the packet is rejected in INPUT: an accident.
		 */
		if (picks[i].proto == 1 && picks[i].sum == OTHER_PSEUDO)
			picks[i].sum = WRONG;
		if (one_in(4))
			picks[i].proto = more[any(sizeof(more))];
		frames[i] = some_frame(&picks[i]);
		send_frame(picks[i].way == WAY_NEAR ? near_fd : far_fd, &frames[i], partial_of(&picks[i]));
		answered[i] = answers() - before;
		/* on a busy machine ksoftirqd has it first */
		if (!answered[i]) {
			usleep(5000);
			answered[i] = answers() - before;
		}
	}
	load("delete table inet r\n");
	plane_rejects(&plane, &event);
	plane_rules(&plane, &rule, 1, MERLON_ACCEPT);
	for (int i = 0; i < FRAMES; i++) {
		unsigned ours;

		send_frame(picks[i].way == WAY_NEAR ? near_fd : far_fd, &frames[i], partial_of(&picks[i]));
		ours = plane_rejects(&plane, &event);
		if (answered[i] != ours)
			fail_msg("frame %d, protocol %d, IPv%d, way %d, sum %d, %zu bytes, padding %zu: the kernel gives %lu answers, merlon %u", i,
				 picks[i].proto, picks[i].v6 ? 6 : 4, picks[i].way, picks[i].sum, picks[i].payload, picks[i].padding, answered[i], ours);
	}
}

static int group_set_up(void **state)
{
	static const char *const commands[] = {
		"ip link add vx address 02:00:00:00:00:03 type vxlan id 7 dstport 4789 dev m1 udpcsum", "ip link set vx up",
		"ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:99 dev m1", "ip neigh add 192.0.2.200 lladdr 02:00:00:00:00:98 dev m0",
		"ip neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:99 dev m1", "ip neigh add 2001:db8::200 lladdr 02:00:00:00:00:98 dev m0",
		"for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done",
		"echo 0 >/proc/sys/net/ipv4/icmp_ratelimit", "echo 0 >/proc/sys/net/ipv6/icmp/ratelimit",
		"echo 1 >/proc/sys/net/netfilter/nf_conntrack_checksum", "echo 1 >/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal",
		"echo 1 >/proc/sys/net/netfilter/nf_conntrack_tcp_ignore_invalid_rst",
	};
	struct merlon_trackers trackers;
	FILE *nft;
	int r = plane_open(&plane, true);

	(void)state;
	if (r)
		return r;
	if (!plane.skel->rodata->merlon_have_kern_ctx)
		exit(77);
	nft = popen("nft -f -", "w");
	if (!nft || fputs(ruleset, nft) < 0 || pclose(nft)) {
		print_message("nft cannot load the rules that ask nf_conntrack here\n");
		exit(77);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		run_command(commands[i]);
	merlon_trackers_read(&trackers);
	assert_int_equal(trackers.checksum, 1);
	plane_trackers(&plane, &trackers);
	plane_rules(&plane, rules, sizeof(rules) / sizeof(rules[0]), MERLON_ACCEPT);
	filter("m0", 1);
	filter("m1", 1);
	filter("vx", 1);
	near_fd = packet_socket("m0p");
	far_fd = packet_socket("m1p");
	return 0;
}

static int group_tear_down(void **state)
{
	(void)state;
	close(near_fd);
	close(far_fd);
	plane_close(&plane);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(judged_at_egress), cmocka_unit_test(far_side_is_not_filtered),
		cmocka_unit_test(wrong_ones_leave_sessions_alone), cmocka_unit_test(sums_of_all_lengths),
		cmocka_unit_test(wrong_ones_get_no_answer),
	};

	if (geteuid())
		return 77;
	seed = getenv("MERLON_SEED") ? strtoul(getenv("MERLON_SEED"), NULL, 0) : 20260;
	print_message("# seed %u\n", seed);
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
