/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams in random fragments to two hosts of the same policy: one filters with nf_tables and connection tracking,
 * which puts them together first, the other with merlon, whose stack puts together what was let in. What comes out
 * there has to come out of the other one, too; of pieces that contradict each other it may also be what the transport
 * discards, or the pieces that agree, of a datagram that is allowed. Of whole datagrams in order it is the same.
 * MERLON_SEED, MERLON_PACKETS (datagrams, 3,000).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <time.h>

#include "src/kernel/dataplane.h"
#include "tests/bpf/live.h"
#include "tests/bpf/group.h"
#include "tests/bpf/oracle.h"
#include "tests/bpf/packet.h"

#define OPEN_PORT 53
#define MOST_PIECES 24
#define MOST_DELIVERED 8
#define PATIENCE_MS 10	/* what was sent is there, mostly */

static const char ruleset[] =
	"table inet t { chain i { type filter hook input priority 0; policy drop; ct state invalid drop;"
	" meta l4proto { 6, 17 } th dport 53 accept; meta l4proto { 1, 58 } accept; }\n}";
#define IN HOOK(INPUT)
static const struct plane_rule rules[] = {
	{ IN, -1, -1, STATES(INVALID), 0, 0, { 0 }, 0, MERLON_DROP, 0, 0, 0 },
	{ IN, 17, OPEN_PORT, 0, 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ IN, 6, OPEN_PORT, 0, 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ IN, 1, -1, 0, 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	{ IN, 58, -1, 0, 0, 0, { 0 }, 0, MERLON_ACCEPT, 0, 0, 0 },
};

/* What is done to the pieces of a datagram. */
enum kind {
	IN_ORDER, TINY_FIRST, SHUFFLED, DUPLICATE, OTHER_DUPLICATE, OVER_FIRST, OVER_LATER, MISSING, MORE_AT_END, END_IN_MIDDLE,
	ODD_LENGTH, EMPTY, TWO_FIRSTS, BEYOND, KINDS
};
static const char *const kind_name[KINDS] = {
	"in order", "tiny first", "shuffled", "duplicate", "duplicate of other content", "overlaps the first", "overlaps a later one",
	"one is missing", "the last says more", "one in the middle is the last", "odd length", "empty one", "two firsts", "beyond 64 KiB",
};

struct piece {
	size_t offset, bytes;
	int more;
	uint8_t data[FRAME_MAX];
};

struct datagram {
	uint8_t proto;
	int v6, open;
	enum kind kind;
	struct frame whole;
	struct piece piece[MOST_PIECES];
	size_t n;
	uint32_t id;
};

/* A transport header and payload as a raw socket got it. */
struct delivered {
	uint8_t proto;
	size_t bytes;
	uint8_t data[FRAME_MAX * 2];
};

struct host {
	int link;	/* a packet socket at the other end of its interface */
	int raw[6];	/* UDP, TCP, ICMP of both families */
	struct delivered got[MOST_DELIVERED];
	size_t n;
};
static const uint8_t protos[6] = { 17, 6, 1, 17, 6, 58 };
static struct host kernel, merlon;
static unsigned n_delivered[KINDS], n_fewer[KINDS], n_broken[KINDS], n_others[KINDS];

static void open_host(struct host *host)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("m0p") };

	host->link = socket(AF_PACKET, SOCK_RAW, 0);
	assert_true(host->link >= 0 && !bind(host->link, (struct sockaddr *)&at, sizeof(at)));
	for (int i = 0; i < 6; i++) {
		int much = 1 << 20;

		host->raw[i] = socket(i < 3 ? AF_INET : AF_INET6, SOCK_RAW, protos[i]);
		assert_true(host->raw[i] >= 0);
		setsockopt(host->raw[i], SOL_SOCKET, SO_RCVBUF, &much, sizeof(much));
	}
}

/* Neighbour discovery is none of the datagrams, nor are errors. */
static int is_ours(const struct delivered *d)
{
	return (d->proto != 58 && d->proto != 1) || d->data[0] == (d->proto == 58 ? 128 : 8);
}

static void receive(struct host *host, size_t expected)
{
	struct pollfd poll_fd[6];

	host->n = 0;
	do {
		for (int i = 0; i < 6; i++) {
			uint8_t packet[65536];
			ssize_t n;

			poll_fd[i] = (struct pollfd){ .fd = host->raw[i], .events = POLLIN };
			while ((n = recv(host->raw[i], packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
				size_t header = i < 3 ? (packet[0] & 15) * 4U : 0;
				struct delivered *d = &host->got[host->n];

				assert_true(host->n < MOST_DELIVERED && n - header <= sizeof(d->data));
				d->proto = protos[i];
				d->bytes = n - header;
				memcpy(d->data, packet + header, d->bytes);
				host->n += is_ours(d);
			}
		}
	} while (host->n < expected && poll(poll_fd, 6, PATIENCE_MS) > 0);
}

static struct datagram some_datagram(void)
{
	static uint32_t id = 1;
	static uint16_t port;
	struct datagram d = { .proto = protos[any(6)], .open = any(4) != 0, .kind = any(KINDS), .id = id++ };
	struct flow flow;
	size_t payload = 16 + any(1200);

	d.v6 = d.proto == 58 || (d.proto != 1 && any(2));
	flow = (struct flow){ d.v6 ? "2001:db8::200" : "192.0.2.200", d.v6 ? "2001:db8::1" : "192.0.2.1", 1024 + port++ % 60000,
			      d.open ? OPEN_PORT : OPEN_PORT + 1 };
	if (d.proto == 17)
		d.whole = frame_udp(&flow, payload);
	else if (d.proto == 6)
		d.whole = frame_tcp(&flow, F_SYN, payload);
	else
		d.whole = frame_icmp(&flow, d.v6 ? 128 : 8, 0, payload);
	for (size_t i = 0; i < payload; i++)
		d.whole.data[d.whole.bytes - 1 - i] = any(256);
	frame_transport_sum(&d.whole, d.proto);
	return d;
}

static struct piece *put_piece(struct datagram *d, size_t at, size_t offset, size_t bytes, int more)
{
	struct piece *p;

	assert_true(d->n < MOST_PIECES && at <= d->n);
	memmove(&d->piece[at + 1], &d->piece[at], (d->n - at) * sizeof(*p));
	d->n++;
	p = &d->piece[at];
	p->offset = offset;
	p->bytes = bytes;
	p->more = more;
	memset(p->data, 0, sizeof(p->data));
	for (size_t i = 0; i < bytes; i++)
		p->data[i] = offset + i < d->whole.bytes - d->whole.l4 ? d->whole.data[d->whole.l4 + offset + i] : 0;
	return p;
}

static void spoil(struct piece *p)
{
	for (size_t i = 0; i < p->bytes; i++)
		p->data[i] ^= any(256);
}

static void cut(struct datagram *d)
{
	size_t total = d->whole.bytes - d->whole.l4, at = 0, header = d->proto == 6 ? 24 : 8, bytes;

	while (at < total) {
		bytes = (at ? 8 : d->kind == TINY_FIRST ? 8 : header) + any(d->kind == TINY_FIRST && !at ? 1 : 40) * 8;
		/* two at least, and not too many */
		if (!at && bytes >= total)
			bytes = total > 16 && header <= 8 ? 8 : header;
		if (d->n >= 10 || bytes > total - at)
			bytes = total - at;
		put_piece(d, d->n, at, bytes, at + bytes < total);
		at += bytes;
	}
}

static void shuffle(struct datagram *d)
{
	for (size_t i = d->n - 1; i; i--) {
		size_t other = any(i + 1);
		struct piece was = d->piece[i];

		d->piece[i] = d->piece[other];
		d->piece[other] = was;
	}
}

static void remove_piece(struct datagram *d, size_t i)
{
	memmove(&d->piece[i], &d->piece[i + 1], (--d->n - i) * sizeof(d->piece[0]));
}

static void distort(struct datagram *d)
{
	size_t i = any(d->n), later = d->n > 1 ? 1 + any(d->n - 1) : 0, where = any(d->n + 1);
	struct piece *p = &d->piece[i], *q = &d->piece[later];

	switch (d->kind) {
	case SHUFFLED:
		shuffle(d);
		break;
	case DUPLICATE:
		put_piece(d, where, p->offset, p->bytes, p->more);
		break;
	case OTHER_DUPLICATE:
		spoil(put_piece(d, where, q->offset, q->bytes, q->more));
		break;
	case OVER_FIRST:
		spoil(put_piece(d, 1 + any(d->n), any(d->piece[0].bytes / 8) * 8, 8 + any(8) * 8, 1));
		break;
	case OVER_LATER:
		spoil(put_piece(d, where, q->offset + any(q->bytes / 8 + 1) * 8, 8 + any(8) * 8, 1));
		break;
	case MISSING:
		remove_piece(d, i);
		break;
	case MORE_AT_END:
		d->piece[d->n - 1].more = 1;
		break;
	case END_IN_MIDDLE:
		p->more = 0;
		break;
	case ODD_LENGTH:
		p->bytes -= p->bytes > 1 + any(7);
		break;
	case EMPTY:
		put_piece(d, where, q->offset, 0, any(2));
		break;
	case TWO_FIRSTS:
		p = put_piece(d, any(2), 0, d->piece[0].bytes, 1);
		put16(p->data + 2, d->open ? OPEN_PORT + 1 : OPEN_PORT);
		break;
	case BEYOND:
		put_piece(d, where, 65528 - any(2) * 8, 8 + any(3) * 8, any(2));
		break;
	default:
		break;
	}
	if (d->kind > DUPLICATE && one_in(6))
		shuffle(d);
}

static struct frame frame_of(const struct datagram *d, const struct piece *p)
{
	struct frame f = d->whole;
	uint8_t *ip = f.data + ETH;

	f.data[5] = 1;
	if (d->v6) {
		uint8_t *header = ip + 40;

		ip[6] = 44;
		memset(header, 0, 8);
		header[0] = d->proto;
		put16(header + 2, p->offset | p->more);
		put32(header + 4, d->id);
		memcpy(header + 8, p->data, p->bytes);
		frame_length(&f, ETH + 48 + p->bytes);
	} else {
		put16(ip + 4, d->id);
		put16(ip + 6, p->offset / 8 | (p->more ? 0x2000 : 0));
		memcpy(ip + 20, p->data, p->bytes);
		frame_length(&f, ETH + 20 + p->bytes);
	}
	return f;
}

static void send_pieces(const struct host *host, const struct datagram *d)
{
	for (size_t i = 0; i < d->n; i++) {
		struct frame f = frame_of(d, &d->piece[i]);

		assert_int_equal(send(host->link, f.data, f.bytes, 0), f.bytes);
	}
}

static int was_delivered(const struct host *host, const struct delivered *d)
{
	for (size_t i = 0; i < host->n; i++)
		if (host->got[i].proto == d->proto && host->got[i].bytes == d->bytes &&
		    !memcmp(host->got[i].data, d->data, d->bytes))
			return 1;
	return 0;
}

static int is_allowed(const struct delivered *d)
{
	return d->proto == 1 || d->proto == 58 || (d->bytes >= 4 && !d->data[2] && d->data[3] == OPEN_PORT);
}

/*
 * Whether the receiver's transport discards it: its length or its checksum is wrong. The datagram is nowhere whole for
 * merlon to see that.
 */
static int is_broken(const struct datagram *sent, const struct delivered *d)
{
	static const uint8_t sums[] = { [1] = 0, [6] = 1, [17] = 1, [58] = 1 };
	uint32_t sum = 0;

	if (d->proto == 17 && (d->bytes < 8 || (size_t)(d->data[4] << 8 | d->data[5]) != d->bytes))
		return 1;
	if (sums[d->proto])
		sum = frame_add(sent->whole.data + ETH + (sent->v6 ? 8 : 12), sent->v6 ? 32 : 8, d->proto + (uint32_t)d->bytes);
	return frame_add(d->data, d->bytes, sum) != 0xffff;
}

/* What spoils the datagram for nf_tables, or takes another one's place, merlon may have kept back: what is left is good. */
static int may_be_another(const struct datagram *d)
{
	return d->kind >= OTHER_DUPLICATE;
}

static void tell(const struct datagram *d)
{
	for (size_t i = 0; i < d->n; i++)
		fprintf(stderr, "  %zu+%zu%s\n", d->piece[i].offset, d->piece[i].bytes, d->piece[i].more ? ", more" : "");
}

static void compare(const struct datagram *d, int i)
{
	/* a TCP header that is cut is malformed to merlon, RFC 1858 */
	int exact = d->kind == IN_ORDER || (d->kind == TINY_FIRST && d->proto != 6);

	n_delivered[d->kind] += merlon.n;
	n_fewer[d->kind] += kernel.n > merlon.n ? kernel.n - merlon.n : 0;
	for (size_t k = 0; k < merlon.n; k++) {
		const struct delivered *got = &merlon.got[k];
		int broken = is_broken(d, got);

		if (was_delivered(&kernel, got))
			continue;
		n_broken[d->kind] += broken;
		n_others[d->kind] += !broken;
		if (is_allowed(got) && may_be_another(d))
			continue;
		tell(d);
		fail_msg("datagram %d, protocol %d, IPv%d, %s, %zu bytes: merlon lets through %zu bytes that nf_tables does not", i, d->proto,
			 d->v6 ? 6 : 4, kind_name[d->kind], d->whole.bytes - d->whole.l4, got->bytes);
	}
	if (exact && kernel.n != merlon.n) {
		tell(d);
		fail_msg("datagram %d, protocol %d, IPv%d, %s, %zu bytes: %zu came through nf_tables, %zu through merlon", i, d->proto,
			 d->v6 ? 6 : 4, kind_name[d->kind], d->whole.bytes - d->whole.l4, kernel.n, merlon.n);
	}
	assert_true(!exact || kernel.n == (d->open || d->proto == 1 || d->proto == 58));
}

static void random_fragments(void **state)
{
	int datagrams = oracle_packets(getenv("MERLON_IN_VM") ? 500 : 3000);

	(void)state;
	for (int i = 0; i < datagrams; i++) {
		struct datagram d = some_datagram();

		cut(&d);
		distort(&d);
		send_pieces(&kernel, &d);
		send_pieces(&merlon, &d);
		receive(&kernel, 0);
		receive(&merlon, kernel.n);
		compare(&d, i);
	}
	for (int k = 0; k < KINDS; k++)
		print_message("# %s: %u came through, %u more through nf_tables; not there %u that are broken, %u others\n", kind_name[k],
			      n_delivered[k], n_fewer[k], n_broken[k], n_others[k]);
}

static void run_command(const char *command)
{
	if (system(command))
		fail_msg("%s", command);
}

static void open_kernel(void)
{
	static const char *const commands[] = {
		"ip link add m0 address 02:00:00:00:00:01 type veth peer name m0p", "ip link set m0 up", "ip link set m0p up",
		"ip addr add 192.0.2.1/24 dev m0", "ip addr add 2001:db8::1/64 dev m0 nodad",
	};
	FILE *nft;

	assert_false(unshare(CLONE_NEWNET));
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		run_command(commands[i]);
	nft = popen("nft -f -", "w");
	if (!nft || fputs(ruleset, nft) < 0 || pclose(nft)) {
		print_message("nft cannot load the rules that ask nf_conntrack here\n");
		exit(77);
	}
	open_host(&kernel);
}

static int group_set_up(void **state)
{
	struct merlon_trackers trackers;
	int r;

	open_kernel();
	r = open_plane_kern_ctx(state);
	if (r)
		return r;
	merlon_trackers_read(&trackers);
	plane_trackers(&plane, &trackers);
	RULES(rules, MERLON_DROP);
	attach(&plane, plane.veth);
	open_host(&merlon);
	/* addresses that were just added */
	usleep(300000);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_fragments) };

	print_message("# seed %u\n", oracle_seed());
	return RUN_GROUP(tests, group_set_up, close_plane);
}
