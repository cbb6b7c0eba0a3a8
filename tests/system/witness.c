/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts what reaches the IP layers of this machine, by raw sockets: behind TC and netfilter, whether or not anybody listens.
 * Denied are UDP and TCP port 9 and echo requests, allowed is TCP port 80, where it listens; and it sends what may not leave,
 * UDP port 9 to everyone on eth0, from when the interface is up. Writes a line of JSON to its argument ten times a second.
 */
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DENIED = 9, ALLOWED = 80, ECHO = 8, ECHO6 = 128 };

static const struct kind {
	const char *name;
	int family, protocol;
} kinds[] = {
	{ "udp4", AF_INET, IPPROTO_UDP }, { "tcp4", AF_INET, IPPROTO_TCP }, { "icmp4", AF_INET, IPPROTO_ICMP },
	{ "udp6", AF_INET6, IPPROTO_UDP }, { "tcp6", AF_INET6, IPPROTO_TCP }, { "icmp6", AF_INET6, IPPROTO_ICMPV6 },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static unsigned long denied[KINDS], allowed[2], missed;
static long first_ms;

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What was delivered before there was a witness, by the kernel's own counters. */
static unsigned long delivered(void)
{
	static const char *const path[] = { "/proc/net/snmp", "/proc/net/snmp6" };
	unsigned long sum = 0, n;
	char line[1024];
	int i;

	for (i = 0; i < 2; i++) {
		FILE *in = fopen(path[i], "r");

		while (in && fgets(line, sizeof(line), in))
			if (sscanf(line, "Ip: %*u %*u %*u %*u %*u %*u %*u %*u %lu", &n) == 1 || sscanf(line, "Ip6InDelivers %lu", &n) == 1)
				sum += n;
		if (in)
			fclose(in);
	}
	return sum;
}

static void count(int which, int fd)
{
	unsigned char data[2048];
	int v6 = kinds[which].family == AF_INET6;
	ssize_t n;

	while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		/* IPv4 comes with its header. */
		ssize_t at = v6 ? 0 : (data[0] & 15) * 4;
		int port, is_icmp = which % 3 == 2;

		if (n < at + 4)
			continue;
		port = data[at + 2] << 8 | data[at + 3];
		if (is_icmp ? data[at] == (v6 ? ECHO6 : ECHO) : port == DENIED) {
			denied[which]++;
			first_ms = first_ms ? first_ms : now_ms();
		} else if (!is_icmp && port == ALLOWED) {
			allowed[v6]++;
		}
	}
}

static void listen_at(int port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	/* Nothing is accepted: a SYN is answered, or not. */
	if (fd < 0 || bind(fd, (void *)&any, sizeof(any)) < 0 || listen(fd, 4096) < 0)
		perror("witness: listen");
}

static void send_out(int udp4, int udp6)
{
	struct sockaddr_in all = { .sin_family = AF_INET, .sin_port = htons(DENIED), .sin_addr.s_addr = INADDR_BROADCAST };
	struct sockaddr_in6 all6 = { .sin6_family = AF_INET6, .sin6_port = htons(DENIED), .sin6_addr = { { { 0xff, 2, [15] = 1 } } } };
	int index = if_nametoindex("eth0");

	if (!index)
		return;
	all6.sin6_scope_id = index;
	setsockopt(udp4, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5);
	sendto(udp4, "witness", 7, MSG_DONTWAIT, (void *)&all, sizeof(all));
	sendto(udp6, "witness", 7, MSG_DONTWAIT, (void *)&all6, sizeof(all6));
}

static void tell(FILE *out)
{
	int i;

	fprintf(out, "{\"at_ms\":%ld,\"missed\":%lu,\"first_ms\":%ld,\"allowed4\":%lu,\"allowed6\":%lu", now_ms(), missed, first_ms,
		allowed[0], allowed[1]);
	for (i = 0; i < KINDS; i++)
		fprintf(out, ",\"%s\":%lu", kinds[i].name, denied[i]);
	fputs("}\n", out);
	fflush(out);
}

int main(int argc, char **argv)
{
	struct pollfd poll_of[KINDS];
	int one = 1, big = 8 << 20, udp4 = socket(AF_INET, SOCK_DGRAM, 0), udp6 = socket(AF_INET6, SOCK_DGRAM, 0), i;
	FILE *out = argc == 2 ? fopen(argv[1], "w") : NULL;
	long told = 0, sent = 0;

	if (!out)
		return 2;
	for (i = 0; i < KINDS; i++) {
		poll_of[i] = (struct pollfd){ .fd = socket(kinds[i].family, SOCK_RAW, kinds[i].protocol), .events = POLLIN };
		if (poll_of[i].fd < 0)
			return 1;
		setsockopt(poll_of[i].fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	}
	missed = delivered();
	setsockopt(udp4, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
	listen_at(DENIED);
	listen_at(ALLOWED);
	fputs("start\n", out);
	for (;;) {
		poll(poll_of, KINDS, 10);
		for (i = 0; i < KINDS; i++)
			count(i, poll_of[i].fd);
		if (now_ms() - sent >= 10) {
			send_out(udp4, udp6);
			sent = now_ms();
		}
		if (now_ms() - told >= 100) {
			tell(out);
			told = now_ms();
		}
	}
}
