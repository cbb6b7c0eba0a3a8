/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <unistd.h>

#include "bpf/sctp.h"
#include "bpf/tcp.h"
#include "src/kernel/dataplane.h"
#include "src/util/cleanup.h"

/* Seconds, as net/netfilter/nf_conntrack_proto_{tcp,udp,icmp,icmpv6,gre,generic}.c of Linux 6.18 has them. */
static const struct {
	unsigned index;
	const char *sysctl;
	unsigned default_s;
} timeout[] = {
	{ MERLON_T_TCP + MERLON_TCP_NONE, "tcp_timeout_syn_sent", 120 },
	{ MERLON_T_TCP + MERLON_TCP_SYN_SENT, "tcp_timeout_syn_sent", 120 },
	{ MERLON_T_TCP + MERLON_TCP_SYN_RECV, "tcp_timeout_syn_recv", 60 },
	{ MERLON_T_TCP + MERLON_TCP_ESTABLISHED, "tcp_timeout_established", 432000 },
	{ MERLON_T_TCP + MERLON_TCP_FIN_WAIT, "tcp_timeout_fin_wait", 120 },
	{ MERLON_T_TCP + MERLON_TCP_CLOSE_WAIT, "tcp_timeout_close_wait", 60 },
	{ MERLON_T_TCP + MERLON_TCP_LAST_ACK, "tcp_timeout_last_ack", 30 },
	{ MERLON_T_TCP + MERLON_TCP_TIME_WAIT, "tcp_timeout_time_wait", 120 },
	{ MERLON_T_TCP + MERLON_TCP_CLOSE, "tcp_timeout_close", 10 },
	{ MERLON_T_TCP + MERLON_TCP_SYN_SENT2, "tcp_timeout_syn_sent", 120 },
	{ MERLON_T_TCP_UNACK, "tcp_timeout_unacknowledged", 300 },
	{ MERLON_T_TCP_RETRANS, "tcp_timeout_max_retrans", 300 },
	{ MERLON_T_SCTP + MERLON_SCTP_CLOSED, "sctp_timeout_closed", 10 },
	{ MERLON_T_SCTP + MERLON_SCTP_COOKIE_WAIT, "sctp_timeout_cookie_wait", 3 },
	{ MERLON_T_SCTP + MERLON_SCTP_COOKIE_ECHOED, "sctp_timeout_cookie_echoed", 3 },
	{ MERLON_T_SCTP + MERLON_SCTP_ESTABLISHED, "sctp_timeout_established", 210 },
	{ MERLON_T_SCTP + MERLON_SCTP_SHUTDOWN_SENT, "sctp_timeout_shutdown_sent", 3 },
	{ MERLON_T_SCTP + MERLON_SCTP_SHUTDOWN_RECEIVED, "sctp_timeout_shutdown_recd", 3 },
	{ MERLON_T_SCTP + MERLON_SCTP_SHUTDOWN_ACK_SENT, "sctp_timeout_shutdown_ack_sent", 3 },
	{ MERLON_T_SCTP + MERLON_SCTP_HEARTBEAT_SENT, "sctp_timeout_heartbeat_sent", 30 },
	{ MERLON_T_UDP, "udp_timeout", 30 },
	{ MERLON_T_UDP_STREAM, "udp_timeout_stream", 120 },
	{ MERLON_T_ICMP, "icmp_timeout", 30 },
	{ MERLON_T_ICMPV6, "icmpv6_timeout", 30 },
	{ MERLON_T_GRE, "gre_timeout", 30 },
	{ MERLON_T_GRE_STREAM, "gre_timeout_stream", 180 },
	{ MERLON_T_GENERIC, "generic_timeout", 600 },
};

#define SYSCTLS "/proc/sys/net/netfilter/"

static unsigned read_sysctl(const char *name, unsigned otherwise)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[128];
	unsigned value;

	snprintf(path, sizeof(path), SYSCTLS "nf_conntrack_%s", name);
	f = fopen(path, "re");
	return f && fscanf(f, "%u", &value) == 1 ? value : otherwise;
}

/* A tracker that the kernel was built without has no sysctls; while nf_conntrack is not loaded none has. */
static bool has_tracker(const char *sysctl)
{
	return read_sysctl(sysctl, 0) || access(SYSCTLS "nf_conntrack_generic_timeout", F_OK) < 0;
}

void merlon_trackers_read(struct merlon_trackers *ret)
{
	struct merlon_trackers t = { 0 };
	unsigned retrans = read_sysctl("tcp_max_retrans", 3);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(timeout); i++)
		t.ns[timeout[i].index] = read_sysctl(timeout[i].sysctl, timeout[i].default_s) * 1000000000ULL;
	t.tcp_loose = read_sysctl("tcp_loose", 1) != 0;
	t.tcp_liberal = read_sysctl("tcp_be_liberal", 0) != 0;
	t.tcp_believe_resets = read_sysctl("tcp_ignore_invalid_rst", 0) != 0;
	t.tcp_max_retrans = retrans < 255 ? retrans : 255;
	t.checksum = read_sysctl("checksum", 1) != 0;
	t.has_sctp = has_tracker("sctp_timeout_established");
	t.has_gre = has_tracker("gre_timeout");
	t.has_dccp = has_tracker("dccp_timeout_open");
	*ret = t;
}
