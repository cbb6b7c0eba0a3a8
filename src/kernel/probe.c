/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this kernel's nf_conntrack does where neither BTF nor the version tells: a connection is led through it, in a
 * namespace that lives no longer.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/kernel/internal.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

/* Exit statuses of the child. */
enum { NO = 0, YES = 1, CANNOT = 2 };

/* The stack of the namespace answers nothing. What a reset leaves to the connection is more than CLOSE's 10 s, or not. */
static const char rules[] =
	"table ip probe {\n"
	"counter tracked { }\n"
	"counter lasts { }\n"
	"chain out { type filter hook output priority 0; ct state established counter name tracked; }\n"
	"chain in { type filter hook prerouting priority 0;"
	" tcp flags & rst == rst ct state established ct expiration > 1m counter name lasts; drop; }\n"
	"}";

struct segment {
	struct iphdr ip;
	struct tcphdr tcp;
};

static int set_up_loopback(int fd)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	return ioctl(fd, SIOCSIFFLAGS, &request);
}

/* Between two addresses of loopback; the kernel fills in what is left out of the IPv4 header. */
static int send_segment(int fd, bool reply, struct tcphdr tcp)
{
	const uint32_t ends[2] = { htonl(INADDR_LOOPBACK), htonl(INADDR_LOOPBACK + 1) };
	struct segment s = { .ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP }, .tcp = tcp };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = ends[!reply] };

	s.ip.saddr = ends[reply];
	s.ip.daddr = ends[!reply];
	s.ip.tot_len = htons(sizeof(s));
	s.tcp.source = htons(reply ? 2 : 1);
	s.tcp.dest = htons(reply ? 1 : 2);
	s.tcp.doff = sizeof(s.tcp) / 4;
	s.tcp.window = htons(8192);
	return sendto(fd, &s, sizeof(s), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(s) ? 0 : -1;
}

/* A connection, and a reset in the window which is not where it is expected (RFC 5961 3.2). */
static int send_connection(int fd)
{
	const struct {
		bool reply;
		struct tcphdr tcp;
	} segments[] = {
		{ false, { .seq = htonl(1000), .syn = 1 } },
		{ true, { .seq = htonl(2000), .ack_seq = htonl(1001), .syn = 1, .ack = 1 } },
		{ false, { .seq = htonl(1001), .ack_seq = htonl(2001), .ack = 1 } },
		{ false, { .seq = htonl(1101), .rst = 1 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		if (send_segment(fd, segments[i].reply, segments[i].tcp) < 0)
			return -1;
	return 0;
}

static bool has_counted(struct nft_ctx *ctx, const char *counter, const char *packets)
{
	return !nft_run_cmd_from_buffer(ctx, counter) && strstr(nft_ctx_get_output_buffer(ctx), packets);
}

static int lead_connection(void *context)
{
	_cleanup_close_ int fd = -1;
	struct nft_ctx *ctx;
	int r = CANNOT;

	if (merlon_netns_enter(*(int *)context) < 0)
		return CANNOT;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	if (fd < 0 || !ctx)
		return CANNOT;
	nft_ctx_buffer_error(ctx);
	nft_ctx_buffer_output(ctx);
	if (set_up_loopback(fd) == 0 && !nft_run_cmd_from_buffer(ctx, rules) && send_connection(fd) == 0 &&
	    has_counted(ctx, "list counter ip probe tracked", "packets 3"))
		r = has_counted(ctx, "list counter ip probe lasts", "packets 1") ? YES : NO;
	nft_ctx_free(ctx);
	return r;
}

bool merlon_probe_reset_lasts(void)
{
	static int answer = -1;
	_cleanup_close_ int netns = -1;
	_cleanup_free_ char *output = NULL;
	size_t bytes;

	if (answer < 0)
		answer = merlon_netns_new(&netns) < 0 ? CANNOT : merlon_child(lead_connection, &netns, &output, &bytes);
	return answer == YES;
}
