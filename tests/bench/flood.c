/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets of many flows from one core, and what each took; see usage below. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "tests/bench/flood.h"
#include "tests/bench/flood.skel.h"
#include "tests/bench/frame.h"

#define BATCH 64U
#define MAX_FRAME 1514U

static const char usage[] =
	"usage: flood [OPTION]... IFACE MAC ADDRESS\n"
	"Sends IPv4 frames from one core to MAC, which has ADDRESS or the way there, and prints a line of JSON:\n"
	"sent, delivered (with --sink), ns (of a packet, on the clock; live: from the first to the last one), times (with --times).\n"
	"  --way packet|live  packet (default): AF_PACKET, out of IFACE; on a veth pair the receiver's work is done in the\n"
	"                     sender's time. live: XDP live frames come in at IFACE, a veth, as if its wire had brought them\n"
	"  --proto udp|tcp|syn  UDP (default), bare ACKs or SYNs\n"
	"  --flows N          as many flows (1); their sources are 4,096 addresses from --base on, and ports from 1024 on\n"
	"  --first N          number of the first flow (0): others than those of an earlier call are new\n"
	"  --in-turn          one flow after the other, not in an order that no cache foresees\n"
	"  --base ADDRESS     source of flow 0 (10.0.0.2)\n"
	"  --port N           destination port (7000)\n"
	"  --answers          the flows' other direction: from ADDRESS and --port to them\n"
	"  --size BYTES       of a frame, with its FCS (64)\n"
	"  --packets N        how many (100000)\n"
	"  --pps N            not more than so many a second\n"
	"  --sink NETNS       reads what is delivered from a UDP socket at --port in that namespace (a path); live: at the end,\n"
	"                     and most of it found no room\n"
	"  --echo             ... and answers each of it from there\n"
	"  --times            live: a histogram of single packets' times, [[ns, packets], ...]; those packets come singly\n"
	"  --cpu N            on that core, before everything else that runs there\n";

struct options {
	const char *iface, *sink;
	unsigned char mac[6];
	struct in_addr daddr, base;
	unsigned flows, first, port, size;
	unsigned long long packets, pps;
	int cpu;
	bool live, tcp, syn, answers, echo, times, in_turn;
};

struct sender {
	const struct options *o;
	struct flood *flood;
	struct flood_bpf *skel;		/* live */
	int fd, sink;			/* -1: there is none */
	unsigned ifindex;
	unsigned long long sent, delivered;
};

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void parse(int argc, char **argv, struct options *o)
{
	enum { WAY = 256, PROTO, FLOWS, FIRST, IN_TURN, BASE, PORT, ANSWERS, SIZE, PACKETS, PPS, SINK, ECHO_BACK, TIMES, CPU, HELP };
	static const struct option option[] = {
		{ "way", 1, NULL, WAY }, { "proto", 1, NULL, PROTO }, { "flows", 1, NULL, FLOWS }, { "first", 1, NULL, FIRST },
		{ "in-turn", 0, NULL, IN_TURN }, { "base", 1, NULL, BASE }, { "port", 1, NULL, PORT },
		{ "answers", 0, NULL, ANSWERS }, { "size", 1, NULL, SIZE }, { "packets", 1, NULL, PACKETS },
		{ "pps", 1, NULL, PPS }, { "sink", 1, NULL, SINK }, { "echo", 0, NULL, ECHO_BACK }, { "times", 0, NULL, TIMES },
		{ "cpu", 1, NULL, CPU }, { "help", 0, NULL, HELP }, { 0 },
	};
	int c, ok = 1;

	inet_pton(AF_INET, "10.0.0.2", &o->base);
	while ((c = getopt_long(argc, argv, "", option, NULL)) != -1) {
		switch (c) {
		case WAY: o->live = !strcmp(optarg, "live"); ok &= o->live || !strcmp(optarg, "packet"); break;
		case PROTO:
			o->syn = !strcmp(optarg, "syn");
			o->tcp = o->syn || !strcmp(optarg, "tcp");
			ok &= o->tcp || !strcmp(optarg, "udp");
			break;
		case FLOWS: o->flows = strtoul(optarg, NULL, 10); break;
		case FIRST: o->first = strtoul(optarg, NULL, 10); break;
		case IN_TURN: o->in_turn = true; break;
		case BASE: ok &= inet_pton(AF_INET, optarg, &o->base) == 1; break;
		case PORT: o->port = strtoul(optarg, NULL, 10); break;
		case ANSWERS: o->answers = true; break;
		case SIZE: o->size = strtoul(optarg, NULL, 10) - ETHER_CRC_LEN; break;
		case PACKETS: o->packets = strtoull(optarg, NULL, 10); break;
		case PPS: o->pps = strtoull(optarg, NULL, 10); break;
		case SINK: o->sink = optarg; break;
		case ECHO_BACK: o->echo = true; break;
		case TIMES: o->times = true; break;
		case CPU: o->cpu = atoi(optarg); break;
		case HELP: fputs(usage, stdout); exit(0);
		default: ok = 0;
		}
	}
	ok = ok && optind + 3 == argc && o->flows && o->packets && o->port - 1 < 65535 && o->size >= 60 && o->size <= MAX_FRAME &&
	     sscanf(argv[optind + 1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", o->mac, o->mac + 1, o->mac + 2, o->mac + 3, o->mac + 4,
		    o->mac + 5) == 6 && inet_pton(AF_INET, argv[optind + 2], &o->daddr) == 1 && (!o->times || o->live) &&
	     (o->sink || !o->echo);
	if (!ok) {
		fputs(usage, stderr);
		exit(2);
	}
	o->iface = argv[optind];
}

/* What the flows of a flood have in common. */
static void prepare(const struct options *o, struct flood *f)
{
	unsigned char *frame = (unsigned char *)f->header, *th = frame + ETH_HLEN + sizeof(struct iphdr);
	struct iphdr *ip = (void *)(frame + ETH_HLEN);
	unsigned l4_bytes = o->size - ETH_HLEN - sizeof(*ip);

	memcpy(frame, o->mac, 6);
	frame[6] = 2;
	frame[12] = 8;
	*ip = (struct iphdr){ .version = 4, .ihl = 5, .tot_len = htons(o->size - ETH_HLEN), .ttl = 64,
			      .protocol = o->tcp ? IPPROTO_TCP : IPPROTO_UDP };
	memcpy(o->answers ? &ip->saddr : &ip->daddr, &o->daddr, 4);
	memcpy(th + (o->answers ? 0 : 2), &(unsigned short){ htons(o->port) }, 2);
	if (o->tcp) {
		struct tcphdr *tcp = (void *)th;

		tcp->doff = 5;
		tcp->syn = o->syn;
		tcp->ack = !o->syn;
		tcp->window = htons(1000);
	} else {
		memcpy(th + 4, &(unsigned short){ htons(l4_bytes) }, 2);
	}
	f->l4_check = o->tcp ? 50 : 40;
	f->answers = o->answers;
	f->ip_sum = frame_add(ip, sizeof(*ip), 0);
	f->l4_sum = frame_add(th, 8 * FLOOD_WORDS - ETH_HLEN - sizeof(*ip),
			      frame_add(&ip->saddr, 8, (o->tcp ? IPPROTO_TCP : IPPROTO_UDP) + l4_bytes));
	f->base = ntohl(o->base.s_addr);
	f->flows = o->flows;
	f->first = o->first;
	f->stride = o->in_turn ? 1 : o->flows % 999983 ? 999983 : 999979;
}

/* The UDP socket that is sent to, in a namespace of its own. */
static int open_sink(const struct options *o)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(o->port) };
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(o->sink, O_RDONLY | O_CLOEXEC), fd;

	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET))
		die(o->sink);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (void *)&at, sizeof(at)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ o->live ? 0 : 16 << 20 }, sizeof(int)) || setns(here, CLONE_NEWNET))
		die("sink");
	close(here);
	close(there);
	return fd;
}

static void drain(struct sender *s)
{
	static char data[BATCH][MAX_FRAME];
	static struct sockaddr_in from[BATCH];
	static struct iovec iov[BATCH];
	static struct mmsghdr msg[BATCH];
	int n;

	if (s->sink < 0)
		return;
	do {
		for (unsigned i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ data[i], MAX_FRAME };
			msg[i].msg_hdr = (struct msghdr){ .msg_name = s->o->echo ? &from[i] : NULL, .msg_iov = &iov[i], .msg_iovlen = 1,
							  .msg_namelen = s->o->echo ? sizeof(from[i]) : 0 };
		}
		n = recvmmsg(s->sink, msg, BATCH, MSG_DONTWAIT, NULL);
		if (n < 0 && errno != EAGAIN)
			die("recvmmsg");
		for (int i = 0; i < n && s->o->echo; i++)
			if (sendto(s->sink, data[i], msg[i].msg_len, 0, (void *)&from[i], sizeof(from[i])) < 0)
				die("echo");
		s->delivered += n > 0 ? n : 0;
	} while (n == (int)BATCH);
}

static void open_packet(struct sender *s)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_ifindex = s->ifindex };

	/* protocol 0: what comes in at IFACE is not copied to this socket */
	s->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (s->fd < 0 || bind(s->fd, (void *)&ll, sizeof(ll)))
		die(s->o->iface);
	setsockopt(s->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &(int){ 1 }, sizeof(int));
}

static void open_live(struct sender *s)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);

	s->skel = flood_bpf__open_and_load();
	if (!s->skel)
		die("cannot load the generator");
	s->flood = &s->skel->bss->flood_frames;
	s->skel->bss->timed = s->o->times;
	/* the link ends with this process */
	if (bpf_link_create(bpf_program__fd(s->skel->progs.pass), s->ifindex, BPF_XDP, &opts) < 0)
		die("cannot attach to the interface (XDP)");
}

static void send_packet(struct sender *s, unsigned n)
{
	static unsigned char frame[BATCH][MAX_FRAME + 8] __attribute__((aligned(8)));
	static struct iovec iov[BATCH];
	static struct mmsghdr msg[BATCH];
	int r;

	for (unsigned i = 0; i < n; i++) {
		flood_write(s->flood, s->sent + i, (__u64 *)frame[i]);
		iov[i] = (struct iovec){ frame[i], s->o->size };
		msg[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	r = sendmmsg(s->fd, msg, n, 0);
	if (r < 0 && errno != ENOBUFS)
		die("send");
	s->sent += r > 0 ? r : 0;
}

static void send_live(struct sender *s, unsigned n)
{
	static unsigned char frame[MAX_FRAME];
	struct xdp_md context = { .data_end = s->o->size, .ingress_ifindex = s->ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = s->o->size, .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = n, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = s->o->times ? 1 : BATCH);

	s->skel->bss->turns = s->sent + n;
	s->skel->bss->last_ns = 0;
	if (bpf_prog_test_run_opts(bpf_program__fd(s->skel->progs.flood), &opts))
		die("live frames");
	s->sent += n;
}

/* Until so many may be sent since t0. */
static void wait_turn(const struct timespec *t0, unsigned long long sent, unsigned long long pps)
{
	unsigned long long ns = t0->tv_sec * 1000000000ULL + t0->tv_nsec + sent * 1000000000ULL / pps;
	struct timespec turn = { ns / 1000000000, ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &turn, NULL) == EINTR)
		;
}

static double between(const struct timespec *a, const struct timespec *b)
{
	return (b->tv_sec - a->tv_sec) * 1e9 + (b->tv_nsec - a->tv_nsec);
}

static void print_times(const struct sender *s)
{
	const char *comma = "";

	printf(", \"times\": [");
	for (unsigned i = 0; i < FLOOD_BUCKETS; i++)
		if (s->skel->bss->times[i]) {
			printf("%s[%llu, %llu]", comma, flood_bucket_ns(i), s->skel->bss->times[i]);
			comma = ", ";
		}
	printf("]");
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("--cpu");
	/* where this is not allowed, it runs as everything does */
	sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = 1 });
}

int main(int argc, char **argv)
{
	struct options o = { .flows = 1, .port = 7000, .size = 60, .packets = 100000, .cpu = -1 };
	struct sender s = { .o = &o, .fd = -1, .sink = -1 };
	struct timespec t0, t1;
	double ns;
	struct flood own = { 0 };

	parse(argc, argv, &o);
	s.flood = &own;
	s.ifindex = if_nametoindex(o.iface);
	if (!s.ifindex)
		die(o.iface);
	if (o.live)
		open_live(&s);
	else
		open_packet(&s);
	if (o.sink)
		s.sink = open_sink(&o);
	prepare(&o, s.flood);
	pin(o.cpu);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	while (s.sent < o.packets) {
		unsigned long long n = o.packets - s.sent;

		/* live frames cost 20 ms to begin with */
		if (n > BATCH && (!o.live || o.pps))
			n = o.live ? n < o.pps / 10 ? n : o.pps / 10 + 1 : BATCH;
		if (o.pps)
			wait_turn(&t0, s.sent, o.pps);
		(o.live ? send_live : send_packet)(&s, n);
		drain(&s);
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	ns = o.live && !o.pps ? s.skel->bss->end_ns - s.skel->bss->begin_ns : between(&t0, &t1);
	printf("{\"sent\": %llu, \"ns\": %.1f", s.sent, ns / s.sent);
	if (o.sink)
		printf(", \"delivered\": %llu", s.delivered);
	if (o.times)
		print_times(&s);
	printf("}\n");
	flood_bpf__destroy(s.skel);
	return 0;
}
