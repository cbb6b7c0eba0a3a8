/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As test_conntrack, for all protocols but TCP: SCTP associations with right and wrong tags, GRE of both versions, UDP
 * and UDP-Lite, ICMP queries, protocols without a tracker, and ICMP errors about all of them, quoted wrong or cut off.
 * MERLON_PACKETS and MERLON_SEED choose length and seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "src/kernel/dataplane.h"
#include "tests/bpf/oracle.h"

#define FLOWS 8
#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum { ICMP = 1, IPIP = 4, UDP = 17, DCCP = 33, GRE = 47, ESP = 50, AH = 51, ICMPV6 = 58, OSPF = 89, PIM = 103, SCTP = 132,
       UDPLITE = 136, UNKNOWN = 253 };
enum { C_DATA, C_INIT, C_INIT_ACK, C_SACK, C_HEARTBEAT, C_HEARTBEAT_ACK, C_ABORT, C_SHUTDOWN, C_SHUTDOWN_ACK, C_ERROR,
       C_COOKIE_ECHO, C_COOKIE_ACK, C_ECNE, C_CWR, C_SHUTDOWN_COMPLETE };

static struct oracle oracle;
static int kernel_tracks_dccp;	/* a limit, `dccp`: merlon does not know its states */

static struct talk {
	char near[48], far[48];
	struct flow flow;
	uint8_t proto;
	uint32_t tag[2];	/* SCTP: which each end asked for */
	unsigned stage;		/* of an association: index of `opening`, or behind */
	unsigned moving;	/* it began anew on another path: heartbeats that are to come here */
	struct frame last[2];
	int has_last[2];
	char story[16384];	/* what happened so far, for the report of a difference */
} talks[FLOWS];

/* How an association usually goes. */
static const struct {
	uint8_t from, chunk;
} opening[] = { { 0, C_INIT }, { 1, C_INIT_ACK }, { 0, C_COOKIE_ECHO }, { 1, C_COOKIE_ACK } },
  moved[] = { { 0, C_DATA }, { 1, C_HEARTBEAT_ACK }, { 0, C_HEARTBEAT } },	/* the last comes first */
  closing[] = { { 0, C_SHUTDOWN }, { 1, C_SHUTDOWN_ACK }, { 0, C_SHUTDOWN_COMPLETE } };
#define STAGE_OPEN LENGTH(opening)
#define STAGE_CLOSING (STAGE_OPEN + 1)
#define STAGE_OVER (STAGE_CLOSING + LENGTH(closing))

static uint8_t some_chunk(struct talk *talk, unsigned *from)
{
	static const uint8_t running[] = { C_DATA, C_DATA, C_SACK, C_SACK, C_HEARTBEAT, C_HEARTBEAT_ACK, C_ERROR, C_CWR };
	unsigned at = talk->stage;

	if (talk->moving) {
		talk->moving--;
		*from = moved[talk->moving].from;
		return moved[talk->moving].chunk;
	}
	/* both open at once */
	if (at && at < STAGE_OPEN && one_in(5))
		return one_in(2) ? C_INIT : C_INIT_ACK;
	if (one_in(8))
		return any(16);
	if (one_in(40))
		return one_in(2) ? C_ABORT : any(256);
	if (at < STAGE_OPEN || (at >= STAGE_CLOSING && at < STAGE_OVER)) {
		*from = at < STAGE_OPEN ? opening[at].from : closing[at - STAGE_CLOSING].from;
		talk->stage++;
		return at < STAGE_OPEN ? opening[at].chunk : closing[at - STAGE_CLOSING].chunk;
	}
	if (one_in(15)) {
		talk->tag[0] = any32();
		talk->tag[1] = any32();
		talk->moving = LENGTH(moved);
	}
	if (at == STAGE_OVER || one_in(12))
		talk->stage = at == STAGE_OVER ? 0 : STAGE_CLOSING;
	return running[any(LENGTH(running))];
}

static uint32_t some_tag(const struct talk *talk, unsigned from, uint8_t chunk, uint8_t flags)
{
	uint32_t right = chunk == C_INIT ? 0 : talk->tag[flags & 1 ? from : !from];

	switch (any(16)) {
	case 0:
		return talk->tag[from];
	case 1:
		return one_in(3) ? 0 : one_in(2) ? any32() : talk->tag[!from];
	default:
		return right;
	}
}

/* Writes a chunk; returns its bytes, padding included. */
static size_t put_chunk(uint8_t *p, struct talk *talk, unsigned from, uint8_t type, uint8_t flags)
{
	size_t bytes = type == C_INIT || type == C_INIT_ACK ? 20 : 4 + any(12);
	uint32_t tag = talk->tag[from];

	memset(p, 0, 24);
	p[0] = type;
	p[1] = flags;
	put16(p + 2, one_in(60) ? any(40) : bytes);
	if (type != C_INIT && type != C_INIT_ACK)
		return (bytes + 3) & ~(size_t)3;
	/* an end that begins anew mostly asks for another tag */
	if (type == C_INIT && one_in(3))
		tag = talk->tag[from] = any32();
	put32(p + 4, one_in(6) ? any32() & 3 : tag);
	return bytes;
}

static struct frame some_sctp(struct talk *talk, unsigned *from)
{
	static const uint8_t bundled[] = { C_DATA, C_SACK, C_HEARTBEAT, C_HEARTBEAT_ACK, C_ERROR, C_SHUTDOWN, C_SHUTDOWN_ACK, C_ABORT };
	uint8_t type = some_chunk(talk, from), flags = one_in(4), chunks[512];
	struct flow flow = *from ? reversed(&talk->flow) : talk->flow;
	size_t n = 0, more = one_in(4) ? any(one_in(4) ? 10 : 3) : 0;
	uint32_t tag = some_tag(talk, *from, type, type == C_ABORT || type == C_SHUTDOWN_COMPLETE ? flags : 0);
	struct frame f;

	n += put_chunk(chunks, talk, *from, type, flags);
	for (; more; more--)
		n += put_chunk(chunks + n, talk, *from, any(10) ? bundled[any(LENGTH(bundled))] : any(16), one_in(4));
	f = frame_ip(&flow, SCTP, 12 + n);
	put16(f.data + f.l4, flow.sport);
	put16(f.data + f.l4 + 2, flow.dport);
	put32(f.data + f.l4 + 4, tag);
	memcpy(f.data + f.l4 + 12, chunks, n);
	return f;
}

/* Plain, with a key, or the enhanced one of PPTP, whose call is 0 in both directions now and then. */
static struct frame some_gre(const struct talk *talk, unsigned from)
{
	struct flow flow = from ? reversed(&talk->flow) : talk->flow;
	struct frame f = frame_ip(&flow, GRE, one_in(6) ? any(9) : 8 + any(12));
	uint8_t *p = f.data + f.l4;

	put16(p + 2, 0x0800);
	if (one_in(3))
		return f;
	if (one_in(3)) {
		p[0] = 0x20;
		put32(p + 4, any(3));
		return f;
	}
	p[0] = 0x30;
	p[1] = one_in(12) ? any(8) : 1;
	put16(p + 2, one_in(6) ? 0x0800 : 0x880b);
	put16(p + 6, one_in(3) ? 0 : talk->flow.sport + (from ? 1 : 0));
	return f;
}

static struct frame some_datagram(const struct talk *talk, unsigned from)
{
	struct flow flow = from ? reversed(&talk->flow) : talk->flow;
	size_t payload = any(30);
	struct frame f = frame_udp(&flow, payload);

	if (talk->proto == UDPLITE) {
		f.data[ETH + (f.v6 ? 6 : 9)] = UDPLITE;
		frame_checksum(&f);
		put16(f.data + f.l4 + 4, one_in(4) ? 0 : one_in(4) ? 8 : 8 + payload);
		put16(f.data + f.l4 + 6, !one_in(20));
	}
	if (one_in(20))
		put16(f.data + f.l4 + 4, any(50));
	return f;
}

static struct frame some_query(const struct talk *talk, unsigned from)
{
	static const uint8_t v4[] = { 8, 8, 0, 0, 13, 14, 15, 16, 17, 18 }, v6[] = { 128, 128, 129, 129, 139, 140 };
	struct flow flow = from ? reversed(&talk->flow) : talk->flow;
	int is6 = !!strchr(flow.saddr, ':');
	uint8_t type = is6 ? v6[any(LENGTH(v6))] : v4[any(LENGTH(v4))];

	flow.sport = talk->flow.sport + one_in(10);
	if (one_in(10))
		type = is6 ? 128 + any(one_in(4) ? 128 : 26) : any(one_in(4) ? 256 : 20);
	return frame_icmp(&flow, type, one_in(6) ? any(3) : 0, any(60));
}

static struct frame some_other(const struct talk *talk, unsigned from)
{
	struct flow flow = from ? reversed(&talk->flow) : talk->flow;
	struct frame f = frame_ip(&flow, talk->proto, 12 + any(30));
	uint8_t *p = f.data + f.l4;

	for (size_t i = f.l4; i < f.bytes; i++)
		f.data[i] = any(256);
	/* of IPv6, it is an extension header */
	if (talk->proto == AH) {
		p[0] = one_in(2) ? UNKNOWN : ESP;
		p[1] = 1;
	}
	return f;
}

/* Extension headers, the last of which goes on with `next`; returns their bytes, and the first one's type. */
static size_t some_extensions(uint8_t *to, uint8_t *first, uint8_t next)
{
	static const uint8_t types[] = { 0, 43, 44, 51, 60 };
	size_t n = 1 + any(3), bytes = 0;
	uint8_t type = types[any(LENGTH(types))];

	*first = type;
	for (; n; n--) {
		uint8_t then = n > 1 ? types[any(LENGTH(types))] : next;
		size_t size = type == 51 ? 12 : 8;

		memset(to + bytes, 0, size);
		to[bytes] = then;
		if (type == 51)
			to[bytes + 1] = 1;
		else if (type == 44)
			put16(to + bytes + 2, one_in(10) ? any(3) << 3 : any(2));
		else if (type == 43)
			to[bytes + 2] = 4;
		else
			to[bytes + 2] = 1, to[bytes + 3] = 4;
		bytes += size;
		type = then;
	}
	return bytes;
}

/* What an error quotes is sometimes not what was sent. */
static void spoil(struct frame *inner)
{
	uint8_t *ip = inner->data + ETH, extensions[64], first;

	if (inner->v6 && one_in(3)) {
		size_t n = some_extensions(extensions, &first, ip[6]);

		ip[6] = first;
		frame_insert(inner, extensions, n);
	}
	if (one_in(3))
		return;
	switch (any(8)) {
	case 0:
		ip[(inner->v6 ? 8 : 12) + any(inner->v6 ? 32 : 8)] ^= 1 << any(8);
		break;
	case 1:
		ip[inner->v6 ? 6 : 9] = any(3) ? UDP : any(256);
		break;
	case 2:
		ip[0] = inner->v6 ? any(256) : 0x40 | any(16);
		break;
	case 3:
		if (!inner->v6)
			put16(ip + 6, any(4) << any(16));
		break;
	case 4:
		ip[4] = any(256);
		break;
	case 5:
		inner->data[inner->l4 + any(8)] ^= 1 << any(8);
		break;
	}
}

/* About a packet that went the other way, mostly; to its sender, mostly. */
static struct frame some_error(const struct talk *talk, unsigned from)
{
	static const uint8_t v4[] = { 3, 4, 5, 11, 12 }, v6[] = { 0, 1, 2, 3, 4, 5, 100, 127 };
	struct flow flow = from ? reversed(&talk->flow) : talk->flow;
	struct frame inner = talk->last[talk->has_last[from] && one_in(12) ? from : !from], f;
	size_t most, header, quoted;

	if (one_in(3))
		spoil(&inner);
	most = inner.bytes - ETH;
	header = inner.l4 - ETH;
	quoted = any(4) ? (most < header + 8 ? most : header + 8) : any(4) ? most : any(most + 1);
	/* an error of a node between the ends */
	if (one_in(3))
		flow.saddr = strchr(flow.saddr, ':') ? (from ? "2001:db8:2::77" : "2001:db8:3::77") :
						       (from ? "203.0.113.77" : "198.18.0.77");
	f = frame_error(&flow, inner.v6 ? v6[any(LENGTH(v6))] : v4[any(LENGTH(v4))], &inner, quoted);
	if (one_in(20))
		f.data[ETH + (f.v6 ? 39 : 19)] ^= 1;
	frame_checksum(&f);
	return f;
}

static struct frame some_packet(struct talk *talk, unsigned *from)
{
	struct frame f;

	if (talk->has_last[!*from] && one_in(4))
		return some_error(talk, *from);
	/* once more */
	if (talk->has_last[*from] && one_in(12))
		return talk->last[*from];
	switch (talk->proto) {
	case SCTP:
		f = some_sctp(talk, from);
		break;
	case GRE:
		f = some_gre(talk, *from);
		break;
	case UDP:
	case UDPLITE:
		f = some_datagram(talk, *from);
		break;
	case ICMP:
		f = some_query(talk, *from);
		break;
	default:
		f = some_other(talk, *from);
	}
	/* cut off, but never where no host would take it */
	if (one_in(40) && talk->proto != ICMP && talk->proto != AH)
		frame_length(&f, f.l4 + any(f.bytes - f.l4 < 20 ? f.bytes - f.l4 + 1 : 20));
	talk->last[*from] = f;
	talk->has_last[*from] = 1;
	return f;
}

static void reset_talk(int i)
{
	static const uint8_t protos[] = { SCTP, SCTP, SCTP, SCTP, GRE, GRE, UDP, UDPLITE, ICMP, ICMP, IPIP, DCCP, ESP, AH, OSPF, PIM, UNKNOWN };
	static unsigned serial;
	struct talk *talk = &talks[i];
	unsigned ends = serial++ / 2;

	memset(talk, 0, sizeof(*talk));
	if (i & 1) {
		snprintf(talk->near, sizeof(talk->near), "2001:db8:2::%x", 0x100 + ends);
		snprintf(talk->far, sizeof(talk->far), "2001:db8:3::%x", 0x100 + ends);
	} else {
		snprintf(talk->near, sizeof(talk->near), "198.18.%u.%u", 1 + (ends >> 7) % 200, 1 + ends % 128);
		snprintf(talk->far, sizeof(talk->far), "203.0.113.%u", 1 + ends % 64);
	}
	talk->flow = (struct flow){ talk->near, talk->far, 1024 + serial, 80 + i };
	if (one_in(2))
		talk->flow = (struct flow){ talk->near, talk->far, 80 + i, 1024 + serial };
	do
		talk->proto = protos[any(LENGTH(protos))];
	while (talk->proto == DCCP && kernel_tracks_dccp);
	for (int e = 0; e < 2; e++)
		talk->tag[e] = any32();
	/* an association whose opening was not seen, perhaps another path of it */
	if (one_in(3))
		talk->stage = any(STAGE_OVER);
}

static void tell(struct talk *talk, const struct frame *f, unsigned from, int kernel, int merlon)
{
	size_t n = strlen(talk->story);
	char hex[128] = "";

	if (n > sizeof(talk->story) - 300)
		n = 0;
	for (size_t i = f->l4; i < f->bytes && i < f->l4 + 48; i++)
		snprintf(hex + strlen(hex), sizeof(hex) - strlen(hex), "%02x%s", f->data[i], i % 4 == (f->l4 + 3) % 4 ? " " : "");
	snprintf(talk->story + n, sizeof(talk->story) - n, "  %s proto %d %zu bytes: %s: %s | %s\n", from ? "<" : ">",
		 f->v6 ? f->data[ETH + 6] : f->data[ETH + 9], f->bytes - f->l4, hex, oracle_meaning[kernel],
		 merlon < 0 ? "several" : oracle_meaning[merlon]);
}

static unsigned seen[ORACLE_MEANINGS];

/* Whose INIT it was, and that a HEARTBEAT was doubted, is not told: more is refused then, an INIT ACK amid others' may pass. */
static int may_differ(const struct frame *f, int kernel, int merlon)
{
	enum { INVALID = 6 };

	return f->data[ETH + (f->v6 ? 6 : 9)] == SCTP && (merlon == INVALID || (kernel == INVALID && f->data[f->l4 + 12] == C_INIT_ACK));
}

/* merlon forgets what it knows, and takes over what nf_conntrack does; all of it. */
static void take_over(void)
{
	char count[16] = "";
	FILE *f = fopen("/proc/sys/net/netfilter/nf_conntrack_count", "r");

	assert_true(f && fgets(count, sizeof(count), f));
	fclose(f);
	plane_forget(&oracle.plane);
	assert_int_equal(oracle_take_over(&oracle), atoi(count));
	for (int i = 0; i < FLOWS; i++)
		strcat(talks[i].story, "  taken over\n");
}

/* `each`: one in so many packets finds what was taken over just before; 0: none. */
static void compare(int packets, unsigned each)
{
	unsigned differ = 0;

	for (int i = 0; i < FLOWS; i++)
		reset_talk(i);
	for (int i = 0; i < packets; i++) {
		int which = any(FLOWS), kernel, merlon;
		unsigned from = any(2);
		struct frame f;

		if (one_in(60))
			reset_talk(which);
		if (each && one_in(each))
			take_over();
		f = some_packet(&talks[which], &from);
		oracle_address(&f, from);
		kernel = oracle_kernel(&oracle, &f, from);
		merlon = oracle_merlon(&oracle, &f, from);
		tell(&talks[which], &f, from, kernel, merlon);
		seen[kernel]++;
		if (oracle_same(&oracle, kernel, merlon))
			continue;
		if (each && may_differ(&f, kernel, merlon)) {
			differ++;
			take_over();
			continue;
		}
		fprintf(stderr, "%s", talks[which].story);
		fail_msg("packet %d: the kernel says %s, merlon %s", i, oracle_meaning[kernel],
			 oracle_meaning[merlon < 0 ? 0 : merlon]);
	}
	for (int i = 0; i < ORACLE_MEANINGS; i++)
		print_message("# %u %s\n", seen[i], oracle_meaning[i]);
	assert_true(differ < (unsigned)packets / 50);
}

static void states_and_directions(void **state)
{
	(void)state;
	oracle_rules(&oracle, 0);
	compare(oracle_packets(3000), 0);
}

static void taken_over(void **state)
{
	(void)state;
	oracle_rules(&oracle, 0);
	compare(oracle_packets(3000), 30);
}

static void states_with_decisions_remembered(void **state)
{
	(void)state;
	oracle_rules(&oracle, 1);
	compare(oracle_packets(3000), 0);
}

/* Time is no part of this: nothing ends while the sequences go on. */
static int set_timeouts(void)
{
	return system("for f in /proc/sys/net/netfilter/nf_conntrack_*_timeout* /proc/sys/net/netfilter/nf_conntrack_*timeout_*;"
		      " do echo 3600 >$f || exit 1; done");
}

static int group_set_up(void **state)
{
	struct merlon_trackers trackers;
	int r = oracle_open(&oracle);

	(void)state;
	if (r)
		return r;
	if (set_timeouts() || system("ip route add 198.18.0.0/16 via " ORACLE_NEAR " && ip route add 203.0.113.0/24 via " ORACLE_FAR
				     " && ip route add 2001:db8:2::/64 via " ORACLE_NEAR6
				     " && ip route add 2001:db8:3::/64 via " ORACLE_FAR6))
		return -1;
	kernel_tracks_dccp = !access("/proc/sys/net/netfilter/nf_conntrack_dccp_timeout_open", F_OK);
	merlon_trackers_read(&trackers);
	plane_trackers(&oracle.plane, &trackers);
	return 0;
}

static int group_tear_down(void **state)
{
	(void)state;
	oracle_close(&oracle);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_and_directions), cmocka_unit_test(states_with_decisions_remembered),
		cmocka_unit_test(taken_over),
	};

	if (geteuid())
		return 77;
	print_message("# seed %u\n", oracle_seed());
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
