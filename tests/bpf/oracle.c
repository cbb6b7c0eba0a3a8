/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bpf/oracle.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "src/kernel/internal.h"

#define PATIENCE_MS 500

/* Counter i says what nft's DSCP value i says. */
const char *const oracle_meaning[ORACLE_MEANINGS] = { "nothing", "new original", "established original",
						      "established reply", "related original", "related reply",
						      "invalid", "untracked", "new reply" };
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
/* Established packets of both directions count as 2, related ones as 4. */
static const struct plane_rule by_state[] = {
	{ 0, -1, -1, STATES(NEW), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(ESTABLISHED), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(RELATED), 0, 0, { 4 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(INVALID), 0, 0, { 6 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ 0, -1, -1, STATES(UNTRACKED), 0, 0, { 7 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};

static int packet_socket(const char *interface)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(0x0003) };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(0x0003));

	at.sll_ifindex = if_nametoindex(interface);
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof(at)));
	return fd;
}

static int load_ruleset(void)
{
	FILE *nft = popen("nft -f -", "w");

	if (!nft)
		return -1;
	fprintf(nft, "table inet t {\n");
	for (int i = 1; i < ORACLE_MEANINGS; i++)
		fprintf(nft, "chain s%d { meta nfproto ipv4 ip dscp set %d accept; ip6 dscp set %d accept; }\n", i, i, i);
	fprintf(nft, "}\n%s\n}\n", ruleset);
	return pclose(nft);
}

int oracle_open(struct oracle *oracle)
{
	static const char *const commands[] = {
		"ip neigh add " ORACLE_FAR " lladdr 02:00:00:00:00:99 dev m1",
		"ip neigh add " ORACLE_NEAR " lladdr 02:00:00:00:00:98 dev m0",
		"ip neigh add " ORACLE_FAR6 " lladdr 02:00:00:00:00:99 dev m1",
		"ip neigh add " ORACLE_NEAR6 " lladdr 02:00:00:00:00:98 dev m0",
		/* other hosts, behind the ends */
		"ip neigh add 198.51.100.10 lladdr 02:00:00:00:00:99 dev m1",
		"ip neigh add 192.0.2.201 lladdr 02:00:00:00:00:98 dev m0",
		"ip neigh add 2001:db8:1::10 lladdr 02:00:00:00:00:99 dev m1",
		"ip neigh add 2001:db8::201 lladdr 02:00:00:00:00:98 dev m0",
		"echo 0 >/proc/sys/net/netfilter/nf_conntrack_checksum",
	};
	struct merlon_trackers trackers;
	int r = plane_open(&oracle->plane, false);

	if (r)
		return r;
	if (load_ruleset()) {
		fprintf(stderr, "nft cannot load the rules that ask nf_conntrack here\n");
		exit(77);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		CHECK(!system(commands[i]));
	merlon_trackers_read(&trackers);
	plane_trackers(&oracle->plane, &trackers);
	oracle->near = packet_socket("m0p");
	oracle->far = packet_socket("m1p");
	return 0;
}

void oracle_close(struct oracle *oracle)
{
	close(oracle->near);
	close(oracle->far);
	plane_close(&oracle->plane);
}

void oracle_rules(struct oracle *oracle, int without_directions)
{
	oracle->by_state = without_directions;
	if (without_directions)
		plane_rules(&oracle->plane, by_state, sizeof(by_state) / sizeof(by_state[0]), MERLON_DROP);
	else
		plane_rules(&oracle->plane, by_direction, sizeof(by_direction) / sizeof(by_direction[0]), MERLON_DROP);
}

void oracle_address(struct frame *f, int from_far)
{
	f->data[5] = from_far ? 2 : 1;
}

static void drain(int fd)
{
	char data[FRAME_MAX];

	while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
}

/* Whether `got` is what became of `f`; the router sends packets of its own, too. */
static int is_same_packet(const struct frame *f, const uint8_t *got, ssize_t bytes)
{
	const uint8_t *ip = got + ETH;

	if (bytes != (ssize_t)f->bytes || memcmp(got + 12, f->data + 12, 2))
		return 0;
	return f->v6 ? !memcmp(ip + 8, f->data + ETH + 8, 32) : !memcmp(ip + 12, f->data + ETH + 12, 8);
}

int oracle_kernel(struct oracle *oracle, const struct frame *f, int from_far)
{
	int in = from_far ? oracle->far : oracle->near, out = from_far ? oracle->near : oracle->far;
	struct pollfd wait = { .fd = out, .events = POLLIN };
	uint8_t got[FRAME_MAX], *ip = got + ETH;

	CHECK(send(in, f->data, f->bytes, 0) == (ssize_t)f->bytes);
	for (;;) {
		ssize_t n = recv(out, got, sizeof(got), MSG_DONTWAIT);

		if (n < 0 && poll(&wait, 1, PATIENCE_MS) != 1)
			break;
		if (n > 0 && is_same_packet(f, got, n))
			return f->v6 ? (ip[0] << 4 | ip[1] >> 4) >> 2 & 0x3f : ip[1] >> 2;
	}
	drain(oracle->near);
	drain(oracle->far);
	return 0;
}

int oracle_merlon(struct oracle *oracle, const struct frame *f, int from_far)
{
	struct plane *plane = &oracle->plane;
	uint64_t now[ORACLE_MEANINGS];
	int found = 0, r;

	r = plane_egress(plane, from_far ? plane->far : plane->veth, from_far ? plane->veth : plane->far, f->data, f->bytes);
	plane_counters(plane, now, ORACLE_MEANINGS);
	for (unsigned i = 1; i < ORACLE_MEANINGS; i++)
		if (now[i] != oracle->counted[i])
			found = found ? -1 : (int)i;
	memcpy(oracle->counted, now, sizeof(now));
	return r == PLANE_PASS ? found : 0;
}

unsigned oracle_take_over(struct oracle *oracle)
{
	struct merlon_table_maps table = plane_table(&oracle->plane);
	struct merlon_dataplane dp = { .fd = { [MERLON_MAP_SESSIONS] = table.sessions, [MERLON_MAP_SETS] = table.sets } };
	unsigned n, left_out;
	uint32_t zero = 0;

	CHECK(!bpf_map_lookup_elem(bpf_map__fd(oracle->plane.skel->maps.data_control), &zero, &dp.control));
	CHECK(!merlon_dataplane_adopt(&dp, &n, &left_out) && !left_out);
	return n;
}

int oracle_same(const struct oracle *oracle, int kernel, int merlon)
{
	if (oracle->by_state && (kernel == 3 || kernel == 5))
		kernel--;
	return kernel == merlon;
}

int oracle_packets(int otherwise)
{
	return getenv("MERLON_PACKETS") ? atoi(getenv("MERLON_PACKETS")) : otherwise;
}

static unsigned seed;

unsigned oracle_seed(void)
{
	seed = getenv("MERLON_SEED") ? strtoul(getenv("MERLON_SEED"), NULL, 0) : 20260;
	return seed;
}

unsigned any(unsigned n)
{
	return rand_r(&seed) % n;
}

int one_in(unsigned n)
{
	return !any(n);
}

uint32_t any32(void)
{
	return rand_r(&seed);
}
