/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends frames into an interface from one core and prints nanoseconds per packet. On a veth pair all of the
 * receiver's work up to the socket is done in the sender's time, so the figure is the cost of the whole way.
 *
 * usage: send IFACE DST-MAC FILE PACKETS [PER-S]   FILE: lines "udp|tcp SADDR SPORT DADDR DPORT", sent in its order, again
 * and again until PACKETS are sent; TCP frames are bare ACKs, both are 64 bytes without the FCS; IPv4. PER-S: not more
 * than so many a second.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/frame.h"

#define FRAME 60
#define BATCH 64

struct frame {
	unsigned char bytes[FRAME];
};

static int build(struct frame *f, const char *line, const unsigned char *mac)
{
	char proto[8], saddr[32], daddr[32];
	unsigned sport, dport, l4;
	struct iphdr *ip = (void *)(f->bytes + ETH_HLEN);
	unsigned char *th = f->bytes + ETH_HLEN + sizeof(*ip);
	size_t l4_bytes = FRAME - ETH_HLEN - sizeof(*ip);
	unsigned short check;

	if (sscanf(line, "%7s %31s %u %31s %u", proto, saddr, &sport, daddr, &dport) != 5)
		return -1;
	l4 = !strcmp(proto, "tcp") ? IPPROTO_TCP : IPPROTO_UDP;
	memset(f, 0, sizeof(*f));
	memcpy(f->bytes, mac, 6);
	f->bytes[6] = 2;
	f->bytes[12] = 8;
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = htons(FRAME - ETH_HLEN);
	ip->ttl = 64;
	ip->protocol = l4;
	if (inet_pton(AF_INET, saddr, &ip->saddr) != 1 || inet_pton(AF_INET, daddr, &ip->daddr) != 1)
		return -1;
	ip->check = htons(frame_fold(frame_add(ip, sizeof(*ip), 0)));
	th[0] = sport >> 8, th[1] = sport;
	th[2] = dport >> 8, th[3] = dport;
	if (l4 == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)th;

		tcp->doff = 5;
		tcp->ack = 1;
		tcp->window = htons(1000);
	} else {
		th[4] = 0, th[5] = l4_bytes;
	}
	check = frame_fold(frame_add(th, l4_bytes, frame_add(&ip->saddr, 8, l4 + l4_bytes)));
	memcpy(th + (l4 == IPPROTO_TCP ? 16 : 6), &(unsigned short){ htons(check) }, 2);
	return 0;
}

static struct frame *read_frames(const char *file, const unsigned char *mac, size_t *ret_n)
{
	struct frame *frames = NULL;
	size_t n = 0, room = 0;
	char line[160];
	FILE *in = fopen(file, "r");

	if (!in)
		return NULL;
	while (fgets(line, sizeof(line), in)) {
		if (n == room) {
			room = room ? room * 2 : 1024;
			frames = reallocarray(frames, room, sizeof(*frames));
			if (!frames)
				break;
		}
		if (build(&frames[n], line, mac) == 0)
			n++;
	}
	fclose(in);
	*ret_n = n;
	return frames;
}

static int open_interface(const char *name)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || !ll.sll_ifindex || bind(fd, (void *)&ll, sizeof(ll)) < 0)
		return -1;
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &(int){ 1 }, sizeof(int));
	return fd;
}

/* Until so many may be sent since t0. */
static void wait_turn(const struct timespec *t0, size_t sent, size_t per_s)
{
	unsigned long long ns = t0->tv_sec * 1000000000ULL + t0->tv_nsec + sent * 1000000000ULL / per_s;
	struct timespec turn = { ns / 1000000000, ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &turn, NULL) == EINTR)
		;
}

int main(int argc, char **argv)
{
	struct mmsghdr msg[BATCH] = { 0 };
	struct iovec iov[BATCH];
	unsigned char mac[6];
	struct timespec t0, t1;
	struct frame *frames;
	size_t n = 0, sent = 0, packets, per_s;
	int fd;

	if (argc < 5 || argc > 6 || sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
		fprintf(stderr, "usage: send IFACE DST-MAC FILE PACKETS [PER-S]\n");
		return 2;
	}
	packets = strtoull(argv[4], NULL, 10);
	per_s = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
	frames = read_frames(argv[3], mac, &n);
	fd = open_interface(argv[1]);
	if (!n || fd < 0) {
		fprintf(stderr, "send: %s: %s\n", n ? argv[1] : argv[3], strerror(errno));
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	while (sent < packets) {
		int k = 0, r;

		if (per_s)
			wait_turn(&t0, sent, per_s);
		for (; k < BATCH && sent + k < packets; k++) {
			iov[k] = (struct iovec){ frames[(sent + k) % n].bytes, FRAME };
			msg[k].msg_hdr.msg_iov = &iov[k];
			msg[k].msg_hdr.msg_iovlen = 1;
		}
		r = sendmmsg(fd, msg, k, 0);
		if (r < 0 && errno != ENOBUFS) {
			perror("send");
			return 1;
		}
		sent += r > 0 ? r : 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("%.1f\n", ((t1.tv_sec - t0.tv_sec) * 1e9 + (t1.tv_nsec - t0.tv_nsec)) / sent);
	return 0;
}
