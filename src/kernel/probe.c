/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this kernel's nf_conntrack does where neither BTF nor the version tells: a connection is led through it, in a
 * namespace that lives no longer. It is entered by ctnetlink, and its segments come in by a program that is run on them:
 * merlond may not open a socket of IP.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <nftables/libnftables.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/kernel/internal.h"
#include "src/kernel/reject.h"
#include "src/util/cleanup.h"
#include "src/util/netlink.h"
#include "src/util/netns.h"

/* Exit statuses of the child. */
enum { NO = 0, YES = 1, CANNOT = 2 };

/* What a reset leaves to the connection is more than CLOSE's 10 s, or not. No packet gets further than here. */
static const char rules[] =
	"table ip probe {\n"
	"counter tracked { }\n"
	"counter lasts { }\n"
	"chain in { type filter hook prerouting priority 0; ct state established counter name tracked;"
	" tcp flags & rst == rst ct state established ct expiration > 1m counter name lasts; drop; }\n"
	"}";

struct probe {
	int netns, inject;
};

struct segment {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static in_addr_t address(bool second)
{
	return htonl(INADDR_LOOPBACK + second);
}

static in_port_t port(bool second)
{
	return htons(1 + second);
}

/* Run on a frame it lets that come in by loopback, whose index is 1 everywhere. */
static int load_inject(void)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 1 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = BPF_F_INGRESS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_clone_redirect },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "merlon_inject", "GPL", program, ARRAY_SIZE(program), NULL);
}

static int set_up_loopback(void)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	return fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &request);
}

static int send_segment(int inject, bool reply, struct tcphdr tcp)
{
	struct segment s = { .ethernet.h_proto = htons(ETH_P_IP), .tcp = tcp,
			     .ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .saddr = address(reply),
				     .daddr = address(!reply), .tot_len = htons(sizeof(s) - sizeof(s.ethernet)) } };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = &s, .data_size_in = sizeof(s));
	const in_addr_t ends[2] = { address(reply), address(!reply) };

	tcp.source = port(reply);
	tcp.dest = port(!reply);
	tcp.doff = sizeof(tcp) / 4;
	tcp.window = htons(8192);
	tcp.check = merlon_transport_checksum(ends, sizeof(ends), IPPROTO_TCP, &tcp, sizeof(tcp));
	s.tcp = tcp;
	s.ip.check = merlon_checksum(&s.ip, sizeof(s.ip));
	return bpf_prog_test_run_opts(inject, &run) < 0 || run.retval ? -1 : 0;
}

/* Both ends are heard, then a reset in the window which is not where it is expected (RFC 5961 3.2). */
static int send_connection(int inject)
{
	const struct {
		bool reply;
		struct tcphdr tcp;
	} segments[] = {
		{ false, { .seq = htonl(1001), .ack_seq = htonl(2001), .ack = 1 } },
		{ true, { .seq = htonl(2001), .ack_seq = htonl(1001), .ack = 1 } },
		{ false, { .seq = htonl(1101), .rst = 1 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		if (send_segment(inject, segments[i].reply, segments[i].tcp) < 0)
			return -1;
	return 0;
}

static void put_tuple(struct nlmsghdr *message, uint16_t type, bool reply)
{
	struct nlattr *tuple = mnl_attr_nest_start(message, type), *part = mnl_attr_nest_start(message, CTA_TUPLE_IP);

	mnl_attr_put_u32(message, CTA_IP_V4_SRC, address(reply));
	mnl_attr_put_u32(message, CTA_IP_V4_DST, address(!reply));
	mnl_attr_nest_end(message, part);
	part = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(message, CTA_PROTO_NUM, IPPROTO_TCP);
	mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, port(reply));
	mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, port(!reply));
	mnl_attr_nest_end(message, part);
	mnl_attr_nest_end(message, tuple);
}

static int enter_connection(void)
{
	char buffer[512] = { 0 };
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct nlattr *protocol, *tcp;

	message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
	header->nfgen_family = AF_INET;
	put_tuple(message, CTA_TUPLE_ORIG, false);
	put_tuple(message, CTA_TUPLE_REPLY, true);
	mnl_attr_put_u32(message, CTA_STATUS, htonl(IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED));
	mnl_attr_put_u32(message, CTA_TIMEOUT, htonl(3600));
	protocol = mnl_attr_nest_start(message, CTA_PROTOINFO);
	tcp = mnl_attr_nest_start(message, CTA_PROTOINFO_TCP);
	mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
	mnl_attr_nest_end(message, tcp);
	mnl_attr_nest_end(message, protocol);
	return merlon_netlink_exchange(NETLINK_NETFILTER, message, false, NULL, NULL);
}

static bool has_counted(struct nft_ctx *ctx, const char *counter, const char *packets)
{
	return !nft_run_cmd_from_buffer(ctx, counter) && strstr(nft_ctx_get_output_buffer(ctx), packets);
}

static int lead_connection(void *context)
{
	const struct probe *probe = context;
	struct nft_ctx *ctx;
	int r = CANNOT;

	if (merlon_netns_enter(probe->netns) < 0)
		return CANNOT;
	ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!ctx)
		return CANNOT;
	nft_ctx_buffer_error(ctx);
	nft_ctx_buffer_output(ctx);
	if (set_up_loopback() == 0 && !nft_run_cmd_from_buffer(ctx, rules) && enter_connection() == 0 &&
	    send_connection(probe->inject) == 0 && has_counted(ctx, "list counter ip probe tracked", "packets 3"))
		r = has_counted(ctx, "list counter ip probe lasts", "packets 1") ? YES : NO;
	nft_ctx_free(ctx);
	return r;
}

static int answer = CANNOT;

static void ask(void)
{
	_cleanup_close_ int netns = -1, inject = load_inject();
	_cleanup_free_ char *output = NULL;
	size_t bytes;

	if (inject >= 0 && merlon_netns_new(&netns) == 0) {
		struct probe probe = { netns, inject };

		answer = merlon_child(lead_connection, &probe, &output, &bytes);
	}
}

bool merlon_probe_reset_lasts(void)
{
	static pthread_once_t asked = PTHREAD_ONCE_INIT;

	pthread_once(&asked, ask);
	return answer == YES;
}
