/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random sequences of packets over a few flows, forwarded by the kernel, whose nf_conntrack state and direction nft
 * writes into the DSCP field, and given to merlon's egress program: both must see the same in every packet. Numbers,
 * windows and options of TCP are mostly right, often at the edge of it, and sometimes anything. MERLON_PACKETS and
 * MERLON_SEED choose length and seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bpf/packet.h"
#include "src/kernel/dataplane.h"
#include "tests/bpf/plane.h"
#include "tests/bpf/remains.h"

#define FLOWS 6
#define TICK_NS 20000000	/* how far clocks may be apart */

#define STATES(a) MERLON_BIT(MERLON_CT_##a)

static struct plane plane;
static int near_fd, far_fd;
static unsigned seed;

/* Counter i + 1 says what nft's DSCP value i + 1 says. */
static const char *const meaning[] = { "nothing", "new original", "established original", "established reply",
				       "related original", "related reply", "invalid", "untracked", "new reply" };
static const char ruleset[] =
	"table inet t { chain f { type filter hook forward priority 0;"
	" ct state new ct direction original jump s1; ct state established ct direction original jump s2;"
	" ct state established ct direction reply jump s3; ct state related ct direction original jump s4;"
	" ct state related ct direction reply jump s5; ct state invalid jump s6; ct state untracked jump s7;"
	" ct state new ct direction reply jump s8; }";

static const struct plane_rule by_direction[] = {
	{ 0, -1, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 1 + MERLON_ORIGINAL },
	{ 0, -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 1 + MERLON_ORIGINAL },
	{ 0, -1, -1, STATES(ESTABLISHED), 0, 0, { 3 }, 0, MERLON_ACCEPT, 0, 0, 1 + MERLON_REPLY },
	{ 0, -1, -1, STATES(RELATED), 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 1 + MERLON_ORIGINAL },
	{ 0, -1, -1, STATES(RELATED), 0, 0, { 5 }, 0, MERLON_ACCEPT, 0, 0, 1 + MERLON_REPLY },
	{ 0, -1, -1, STATES(INVALID), 0, 0, { 6 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(UNTRACKED), 0, 0, { 7 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};
/* The same without directions: decisions are remembered. Established packets of both directions count as 2. */
static const struct plane_rule by_state[] = {
	{ 0, -1, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(RELATED), 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(INVALID), 0, 0, { 6 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(UNTRACKED), 0, 0, { 7 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};

/* What one end of a TCP connection has sent, and would accept. */
struct end {
	uint32_t next;		/* behind what it sent */
	uint32_t acked;		/* the highest number that it acknowledged */
	uint16_t window;	/* as it last offered it */
	uint8_t scale;
	int opened;		/* it has sent a SYN */
};

static struct talk {
	struct flow flow;
	uint8_t proto;
	struct end end[2];
	struct frame last[2];
	int has_last[2];
	char story[32768];	/* what happened so far, for the report of a difference */
} talks[FLOWS];

static int packet_socket(const char *interface)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(0x0003) };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(0x0003));

	at.sll_ifindex = if_nametoindex(interface);
	assert_true(fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof(at)));
	return fd;
}

static void run_command(const char *command)
{
	if (system(command)) {
		fprintf(stderr, "failed: %s\n", command);
		abort();
	}
}

static int load_ruleset(void)
{
	FILE *nft = popen("nft -f -", "w");

	if (!nft)
		return -1;
	fprintf(nft, "table inet t {\n");
	for (int i = 1; i <= 8; i++)
		fprintf(nft, "chain s%d { meta nfproto ipv4 ip dscp set %d accept; ip6 dscp set %d accept; }\n", i, i, i);
	fprintf(nft, "}\n%s\n}\n", ruleset);
	return pclose(nft);
}

static void drain(int fd)
{
	char data[FRAME_MAX];

	while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
}

/* What nf_conntrack saw in a frame that is sent at one side: the DSCP it has on the other. 0: it did not come. */
static int kernel_sees(const struct frame *f, int from_far)
{
	int in = from_far ? far_fd : near_fd, out = from_far ? near_fd : far_fd;
	struct pollfd wait = { .fd = out, .events = POLLIN };
	struct frame got;

	drain(out);
	assert_int_equal(send(in, f->data, f->bytes, 0), (ssize_t)f->bytes);
	while (poll(&wait, 1, 500) == 1) {
		const uint8_t *ip = got.data + ETH;
		ssize_t n = recv(out, got.data, sizeof(got.data), 0);

		if (n != (ssize_t)f->bytes || memcmp(got.data + 12, f->data + 12, 2))
			continue;
		if (f->v6 ? memcmp(ip + 8, f->data + ETH + 8, 32) : memcmp(ip + 12, f->data + ETH + 12, 8))
			continue;
		return f->v6 ? (ip[0] << 4 | ip[1] >> 4) >> 2 & 0x3f : ip[1] >> 2;
	}
	return 0;
}

static int merlon_sees(const struct frame *f, int from_far)
{
	uint64_t before[9];
	int found = 0, r;

	for (unsigned i = 1; i <= 8; i++)
		before[i] = plane_counter(&plane, i);
	r = plane_egress(&plane, from_far ? plane.far : plane.veth, from_far ? plane.veth : plane.far, f->data, f->bytes);
	assert_int_equal(r, PLANE_PASS);
	for (unsigned i = 1; i <= 8; i++)
		if (plane_counter(&plane, i) != before[i])
			found = found ? -1 : (int)i;
	return found;
}

static unsigned any(unsigned n)
{
	return rand_r(&seed) % n;
}

static int one_in(unsigned n)
{
	return !any(n);
}

/* What a connection does next, more or less, and now and then anything. */
static uint8_t some_flags(const struct talk *talk, int from)
{
	static const uint8_t likely[] = { F_SYN, F_SYN | F_ACK, F_ACK, F_ACK, F_ACK | F_PSH, F_FIN | F_ACK, F_FIN | F_ACK,
					  F_RST, F_RST | F_ACK };
	const struct end *me = &talk->end[from], *peer = &talk->end[!from];

	if (one_in(60))
		return any(64);
	if (one_in(4))
		return likely[any(sizeof(likely))];
	if (!me->opened)
		return peer->opened ? F_SYN | F_ACK : F_SYN;
	return peer->opened && one_in(12) ? F_FIN | F_ACK : F_ACK;
}

/* A number at some edge that a tracker could look at. */
static uint32_t near(uint32_t n)
{
	static const uint32_t far[] = { 0, 1, 2, 10, 100, 1000, 8192, 65535, 65536, 66000, 66001, 1U << 20, 1U << 30, 1U << 31 };
	uint32_t distance = far[any(sizeof(far) / sizeof(far[0]))] + any(3) - 1;

	return any(2) ? n + distance : n - distance;
}

static uint32_t some_seq(const struct talk *talk, int from)
{
	const struct end *me = &talk->end[from], *peer = &talk->end[!from];
	uint32_t edge = peer->acked + ((uint32_t)peer->window << peer->scale);

	switch (any(16)) {
	case 0:
		return near(me->next);
	case 1:
		return near(edge);
	case 2:
		return edge - any(3);
	case 3:
		return peer->acked;
	case 4:
		return one_in(4) ? (uint32_t)rand_r(&seed) : one_in(3) ? 0 : me->next - any(100);
	default:
		return me->next;
	}
}

static uint32_t some_ack(const struct talk *talk, int from)
{
	const struct end *me = &talk->end[from], *peer = &talk->end[!from];

	switch (any(16)) {
	case 0:
		return near(peer->next);
	case 1:
		return near(me->acked);
	case 2:
		return one_in(4) ? (uint32_t)rand_r(&seed) : one_in(3) ? 0 : peer->next + 1;
	default:
		return peer->next;
	}
}

static uint16_t some_window(const struct end *me)
{
	static const uint16_t windows[] = { 0, 1, 10, 1000, 8192, 60000, 65535 };

	return me->opened && any(4) ? me->window : windows[any(sizeof(windows) / sizeof(windows[0]))];
}

/* Options; those of a SYN are remembered. Returns their bytes. */
static size_t some_options(uint8_t *p, struct talk *talk, int from, int syn, uint32_t ack)
{
	size_t n = 0;

	if (any(2))
		return 0;
	if (syn && any(2)) {
		talk->end[from].scale = any(16);
		memcpy(p + n, "\1\3\3", 3);
		p[n + 3] = talk->end[from].scale;
		n += 4;
	}
	if (syn && any(2)) {
		memcpy(p + n, "\4\2\1\1", 4);
		n += 4;
	}
	if (!syn && one_in(3)) {
		unsigned blocks = 1 + any(3);

		memcpy(p + n, "\1\1\5", 3);
		p[n + 3] = 2 + 8 * blocks;
		n += 4;
		for (unsigned i = 0; i < blocks; i++, n += 8) {
			put32(p + n, ack + any(500));
			put32(p + n + 4, any(4) ? ack + any(3000) : near(ack));
		}
	} else if (any(2)) {
		memcpy(p + n, "\1\1\10\12tttteeee", 12);
		n += 12;
	}
	if (n && one_in(10))
		p[any(n)] = any(12);
	return n;
}

static void remember(struct talk *talk, int from, uint8_t flags, uint32_t seq, uint32_t ack, uint16_t window, size_t payload)
{
	struct end *me = &talk->end[from];
	uint32_t end = seq + payload + !!(flags & F_SYN) + !!(flags & F_FIN);

	if (flags & F_RST)
		return;
	if ((int32_t)(end - me->next) > 0 && end - me->next < 100000)
		me->next = end;
	if (flags & F_ACK)
		me->acked = ack;
	if (flags & F_SYN)
		me->opened = 1;
	me->window = window;
}

static struct frame some_tcp(struct talk *talk, int from, const struct flow *flow)
{
	static const size_t sizes[] = { 0, 0, 0, 1, 10, 100, 1300 };
	uint8_t flags = some_flags(talk, from), options[64];
	size_t payload = flags & (F_SYN | F_RST) && any(20) ? 0 : sizes[any(7)], n;
	uint16_t window = some_window(&talk->end[from]);
	uint32_t seq, ack = flags & F_ACK || one_in(20) ? some_ack(talk, from) : 0;
	struct frame f;

	/* an end that starts again, mostly with a higher number */
	if (flags == F_SYN && one_in(3))
		talk->end[from].next = one_in(3) ? (uint32_t)rand_r(&seed) : talk->end[from].next + any(100000);
	seq = some_seq(talk, from);
	if (flags & F_RST && any(2))
		seq = talk->end[!from].acked;
	n = some_options(options, talk, from, flags & F_SYN, ack);
	f = frame_tcp(flow, flags, payload + n);
	memcpy(f.data + f.l4 + 20, options, n);
	f.data[f.l4 + 12] = (5 + n / 4) << 4;
	put32(f.data + f.l4 + 4, seq);
	put32(f.data + f.l4 + 8, ack);
	put16(f.data + f.l4 + 14, window);
	remember(talk, from, flags, seq, ack, window, payload);
	return f;
}

static struct frame some_icmp(const struct talk *talk, const struct flow *flow)
{
	static const uint8_t v4[] = { 8, 8, 8, 0, 0, 0, 13, 14, 15, 17, 9, 42 }, v6[] = { 128, 128, 128, 129, 129, 129, 139, 140, 144 };
	struct flow asked = *flow;

	asked.sport = talk->flow.sport;
	return strchr(flow->saddr, ':') ? frame_icmp(&asked, v6[any(sizeof(v6))], !any(10), 8) :
					  frame_icmp(&asked, v4[any(sizeof(v4))], !any(10), 8);
}

/* About a packet that went the other way. */
static struct frame some_error(const struct talk *talk, int from, const struct flow *flow)
{
	static const uint8_t v4[] = { 3, 11, 12 }, v6[] = { 1, 2, 3, 4 };
	const struct frame *inner = &talk->last[!from];
	uint8_t type = inner->v6 ? v6[any(sizeof(v6))] : v4[any(sizeof(v4))];
	size_t most = inner->bytes - ETH, header = inner->l4 - ETH;
	size_t quoted = any(4) ? (most < header + 8 ? most : header + 8) : most;

	return frame_error(flow, type, inner, quoted);
}

static struct frame some_packet(struct talk *talk, int from)
{
	struct flow flow = from ? reversed(&talk->flow) : talk->flow;
	struct frame f;

	if (talk->has_last[!from] && one_in(12))
		return some_error(talk, from, &flow);
	/* once more */
	if (talk->has_last[from] && one_in(10))
		return talk->last[from];
	if (talk->proto == 6)
		f = some_tcp(talk, from, &flow);
	else if (talk->proto == 17)
		f = frame_udp(&flow, any(30));
	else
		f = some_icmp(talk, &flow);
	talk->last[from] = f;
	talk->has_last[from] = 1;
	return f;
}

static void reset_talk(int i)
{
	static const char *const ends[2][2] = { { "192.0.2.200", "198.51.100.9" }, { "2001:db8::200", "2001:db8:1::9" } };
	static const uint8_t protos[] = { 6, 6, 17, 1 };
	static uint16_t port = 1024;
	struct talk *talk = &talks[i];

	memset(talk, 0, sizeof(*talk));
	talk->flow = (struct flow){ ends[i & 1][0], ends[i & 1][1], ++port, 80 + i };
	talk->proto = protos[any(4)];
	for (int e = 0; e < 2; e++)
		talk->end[e].next = one_in(4) ? -any(3000) : (uint32_t)rand_r(&seed) * 2;
}

/* The Ethernet destination is the router. */
static void to_router(struct frame *f, int from_far)
{
	f->data[5] = from_far ? 2 : 1;
}

static int same(int kernel, int merlon, int cached)
{
	if (cached && (kernel == 3 || kernel == 5))
		kernel--;
	return kernel == merlon;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void tell(struct talk *talk, const struct frame *f, int from, int kernel, int merlon)
{
	size_t n = strlen(talk->story);
	const uint8_t *p = f->data + f->l4;

	if (n > sizeof(talk->story) - 200)
		n = 0;
	snprintf(talk->story + n, sizeof(talk->story) - n, "  %s proto %d bytes %02x%02x flags %02x seq %u ack %u win %u, %zu of %d: %s | %s\n",
		 from ? "<" : ">", f->v6 ? f->data[ETH + 6] : f->data[ETH + 9], p[0], p[1], p[13], get32(p + 4),
		 get32(p + 8), p[14] << 8 | p[15], f->bytes - f->l4, p[12] >> 4 << 2, meaning[kernel],
		 merlon < 0 ? "several" : meaning[merlon]);
}

static void compare(int packets, int cached)
{
	for (int i = 0; i < FLOWS; i++)
		reset_talk(i);
	for (int i = 0; i < packets; i++) {
		int which = any(FLOWS), from = any(2), kernel, merlon;
		struct frame f;

		if (one_in(80))
			reset_talk(which);
		f = some_packet(&talks[which], from);
		to_router(&f, from);
		kernel = kernel_sees(&f, from);
		merlon = merlon_sees(&f, from);
		tell(&talks[which], &f, from, kernel, merlon);
		if (same(kernel, merlon, cached))
			continue;
		fprintf(stderr, "%s", talks[which].story);
		fail_msg("packet %d: the kernel says %s, merlon %s", i, meaning[kernel], meaning[merlon < 0 ? 0 : merlon]);
	}
}

static int length(void)
{
	return getenv("MERLON_PACKETS") ? atoi(getenv("MERLON_PACKETS")) : 3000;
}

static void states_and_directions(void **state)
{
	(void)state;
	plane_rules(&plane, by_direction, sizeof(by_direction) / sizeof(by_direction[0]), MERLON_DROP);
	compare(length(), 0);
}

static void states_with_decisions_remembered(void **state)
{
	(void)state;
	plane_rules(&plane, by_state, sizeof(by_state) / sizeof(by_state[0]), MERLON_DROP);
	compare(length(), 1);
}

/* What came of a packet: the sessions that it may have touched live as long as the kernel's. */
struct checked {
	const struct talk *talk;
	uint64_t since_ns;	/* when it was sent */
	int unclear;		/* a stream begins after two seconds: which of the clocks ticked first? */
	unsigned differences;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void check_remains(void *context, const struct remains *r)
{
	struct checked *checked = context;
	int64_t difference = r->kernel_s - r->merlon_s;
	const uint64_t begins = 2000000000;

	if (r->kernel_s >= 0 && difference >= -2 && difference <= 2)
		return;
	if (checked->talk && r->l4proto == IPPROTO_UDP && r->age_ns > begins - TICK_NS &&
	    r->age_ns < begins + TICK_NS + (now_ns() - checked->since_ns)) {
		checked->unclear = 1;
		return;
	}
	checked->differences++;
	fprintf(stderr, "%sprotocol %u, port %u, state %u: the kernel's has %lld s left, merlon's %lld s\n",
		checked->talk ? checked->talk->story : "", r->l4proto, r->port, r->state, (long long)r->kernel_s,
		(long long)r->merlon_s);
}

/* Other timeouts now and then: what does not prolong a session leaves it with one of those before. */
static void other_timeouts(void)
{
	struct merlon_trackers trackers;

	remains_shuffle(&seed);
	merlon_trackers_read(&trackers);
	plane_trackers(&plane, &trackers);
}

/* A connection as it should be, with a closed window now and then and with repeats; `*from` sends. */
static struct frame proper_tcp(struct talk *talk, int *from)
{
	static const size_t sizes[] = { 0, 0, 0, 10, 1300 };
	int opened = talk->end[0].opened + talk->end[1].opened;
	uint8_t flags = opened == 0 ? F_SYN : opened == 1 ? F_SYN | F_ACK : one_in(60) ? F_FIN | F_ACK : F_ACK;
	size_t payload = opened == 2 ? sizes[any(5)] : 0;
	uint16_t window = one_in(8) ? 0 : 8192;
	struct flow flow;
	struct frame f;

	if (opened < 2)
		*from = opened;
	if (opened == 2 && talk->has_last[*from] && talk->last[*from].data[talk->last[*from].l4 + 13] == F_ACK && one_in(3))
		return talk->last[*from];
	flow = *from ? reversed(&talk->flow) : talk->flow;
	f = frame_tcp(&flow, flags, payload);
	put32(f.data + f.l4 + 4, talk->end[*from].next);
	put32(f.data + f.l4 + 8, opened ? talk->end[!*from].next : 0);
	put16(f.data + f.l4 + 14, window);
	remember(talk, *from, flags, talk->end[*from].next, talk->end[!*from].next, window, payload);
	talk->last[*from] = f;
	talk->has_last[*from] = 1;
	return f;
}

/* Most connections of all others never get far: every other flow is mostly a proper one. */
static struct frame next_packet(struct talk *talk, int *from)
{
	if (talk->proto != IPPROTO_TCP || talk->flow.sport & 1 || one_in(60))
		return some_packet(talk, *from);
	return proper_tcp(talk, from);
}

static void follow_timeouts(int packets)
{
	struct checked checked = { 0 };

	plane_forget(&plane);
	remains_kernel_count(true);
	for (int i = 0; i < FLOWS; i++)
		reset_talk(i);
	for (int i = 0; i < packets && !checked.differences; i++) {
		struct talk *talk = &talks[any(FLOWS)];
		int from = any(2), kernel, merlon;
		struct frame f;

		if (i % 40 == 0)
			other_timeouts();
		/* datagrams of a flow that is younger than two seconds, a little younger, and older */
		if (i == packets / 3 || i == packets / 3 * 2)
			usleep(1150000);
		if (one_in(talk->proto == IPPROTO_UDP ? 400 : 80)) {
			reset_talk(talk - talks);
			/* two ends with the same numbers */
			if (one_in(6))
				talk->end[1].next = talk->end[0].next;
		}
		f = next_packet(talk, &from);
		to_router(&f, from);
		do {
			checked = (struct checked){ .talk = talk, .since_ns = now_ns() };
			kernel = kernel_sees(&f, from);
			merlon = merlon_sees(&f, from);
			tell(talk, &f, from, kernel, merlon);
			remains_each(&plane, talk->flow.sport, check_remains, &checked);
		} while (checked.unclear);
		/* kernel and merlon did not see it at the same time: a flow that began with it has two ages */
		if (now_ns() - checked.since_ns > TICK_NS)
			reset_talk(talk - talks);
	}
	checked.talk = NULL;
	assert_int_equal(remains_each(&plane, 0, check_remains, &checked), remains_kernel_count(false));
	assert_int_equal(checked.differences, 0);
}

static void timeouts(void **state)
{
	(void)state;
	plane_rules(&plane, by_state, sizeof(by_state) / sizeof(by_state[0]), MERLON_DROP);
	for (int left = length(); left > 0; left -= 50000)
		follow_timeouts(left < 50000 ? left : 50000);
}

static int group_set_up(void **state)
{
	static const char *const commands[] = {
		"ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:99 dev m1", "ip neigh add 192.0.2.200 lladdr 02:00:00:00:00:98 dev m0",
		"ip neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:99 dev m1",
		"ip neigh add 2001:db8::200 lladdr 02:00:00:00:00:98 dev m0",
		"echo 0 >/proc/sys/net/netfilter/nf_conntrack_checksum",
	};
	struct merlon_trackers trackers;
	int r = plane_open(&plane, false);

	(void)state;
	if (r)
		return r;
	run_command(commands[0]);
	if (load_ruleset()) {
		print_message("nft cannot load the rules that ask nf_conntrack here\n");
		exit(77);
	}
	for (size_t i = 1; i < sizeof(commands) / sizeof(commands[0]); i++)
		run_command(commands[i]);
	merlon_trackers_read(&trackers);
	plane_trackers(&plane, &trackers);
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
		cmocka_unit_test(states_and_directions), cmocka_unit_test(states_with_decisions_remembered),
		cmocka_unit_test(timeouts),
	};

	if (geteuid())
		return 77;
	seed = getenv("MERLON_SEED") ? strtoul(getenv("MERLON_SEED"), NULL, 0) : 20260;
	print_message("# seed %u\n", seed);
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
