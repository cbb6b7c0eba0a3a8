/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/sctp.h"
#include "bpf/tcp.h"
#include "src/kernel/dataplane.h"
#include "src/kernel/internal.h"
#include "src/util/cleanup.h"
#include "src/util/kernel.h"

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
	/* the kernel has no sysctl for it */
	{ MERLON_T_TCP + MERLON_TCP_SYN_SENT2, "tcp_timeout_syn_sent2", 120 },
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

/* The others are bytes of struct merlon_trackers, at most `most`. */
static const struct {
	size_t offset;
	const char *sysctl;
	unsigned otherwise, most;
} number[] = {
	{ offsetof(struct merlon_trackers, tcp_loose), "tcp_loose", 1, 1 },
	{ offsetof(struct merlon_trackers, tcp_liberal), "tcp_be_liberal", 0, 1 },
	{ offsetof(struct merlon_trackers, tcp_believe_resets), "tcp_ignore_invalid_rst", 0, 1 },
	{ offsetof(struct merlon_trackers, tcp_max_retrans), "tcp_max_retrans", 3, 255 },
	{ offsetof(struct merlon_trackers, checksum), "checksum", 1, 1 },
};

#define SECOND_NS 1000000000ULL
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

static __u8 *byte_of(struct merlon_trackers *trackers, size_t i)
{
	return (__u8 *)trackers + number[i].offset;
}

void merlon_trackers_read(struct merlon_trackers *ret)
{
	/* first: it loads nf_conntrack, whose sysctls follow */
	struct merlon_trackers t = { .tcp_reset_lasts = merlon_probe_reset_lasts() };
	unsigned value;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(timeout); i++)
		t.ns[timeout[i].index] = read_sysctl(timeout[i].sysctl, timeout[i].default_s) * SECOND_NS;
	for (i = 0; i < ARRAY_SIZE(number); i++) {
		value = read_sysctl(number[i].sysctl, number[i].otherwise);
		*byte_of(&t, i) = value < number[i].most ? value : number[i].most;
	}
	t.has_sctp = merlon_kernel_tracks("sctp_timeout_established");
	t.has_gre = merlon_kernel_tracks("gre_timeout");
	t.has_dccp = merlon_kernel_tracks("dccp_timeout_open");
	*ret = t;
}

/* Settings are named as the sysctls, with `-` for `_`; `timeout` may be left out. */
static bool is_named(const char *sysctl, const char *key)
{
	const char *part = strstr(sysctl, "_timeout");
	char name[2][64];
	int skipped = part ? part - sysctl : 0;

	snprintf(name[0], sizeof(name[0]), "%s", sysctl);
	snprintf(name[1], sizeof(name[1]), "%.*s%s", skipped, sysctl, part ? part + strlen("_timeout") : sysctl);
	for (size_t i = 0; i < 2; i++) {
		for (char *p = name[i]; *p; p++)
			if (*p == '_')
				*p = '-';
		if (!strcmp(name[i], key))
			return true;
	}
	return false;
}

/* "90", "90s", "1min 30s": seconds. */
static int read_span(const char *text, uint32_t *ret)
{
	static const struct {
		const char *name;
		uint32_t seconds;
	} unit[] = { { "s", 1 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 }, { "", 1 } };
	uint64_t total = 0, n;
	size_t length, i;
	char *end;

	do {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		errno = 0;
		n = strtoull(text, &end, 10);
		end += strspn(end, " ");
		length = strspn(end, "abcdefghijklmnopqrstuvwxyz");
		for (i = 0; i < ARRAY_SIZE(unit); i++)
			if (strlen(unit[i].name) == length && !strncmp(unit[i].name, end, length))
				break;
		if (errno || n > MERLON_TIMEOUT_MOST_S || i == ARRAY_SIZE(unit))
			return -EINVAL;
		total += n * unit[i].seconds;
		text = end + length + strspn(end + length, " ");
	} while (*text && total <= MERLON_TIMEOUT_MOST_S);
	if (!total || total > MERLON_TIMEOUT_MOST_S)
		return -EINVAL;
	*ret = total;
	return 0;
}

static int read_number(const char *text, unsigned most, uint32_t *ret)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on" };
	unsigned long n;
	char *end;

	for (size_t i = 0; most == 1 && i < ARRAY_SIZE(words); i++)
		if (!strcmp(text, words[i])) {
			*ret = i & 1;
			return 0;
		}
	if (*text < '0' || *text > '9')
		return -EINVAL;
	n = strtoul(text, &end, 10);
	if (*end || n > most)
		return -EINVAL;
	*ret = n;
	return 0;
}

static void explain(struct merlon_diag *diag, struct merlon_place place, const char *value, unsigned most)
{
	if (!most) {
		merlon_diag_add(diag, MERLON_ERROR, place, "\"%s\" is no time from 1 s to %u d", value,
				MERLON_TIMEOUT_MOST_S / 86400);
		merlon_diag_cure(diag, "give seconds, or a number with s, min, h or d");
	} else if (most == 1) {
		merlon_diag_add(diag, MERLON_ERROR, place, "\"%s\" is neither yes nor no", value);
	} else {
		merlon_diag_add(diag, MERLON_ERROR, place, "\"%s\" is no number from 0 to %u", value, most);
	}
}

/* All are tried: several states may share a sysctl. */
static int override_timeouts(struct merlon_tracker_overrides *o, const char *key, const char *value)
{
	uint32_t seconds;
	int r = 1;

	for (size_t i = 0; i < ARRAY_SIZE(timeout); i++) {
		if (!is_named(timeout[i].sysctl, key))
			continue;
		r = read_span(value, &seconds);
		if (r < 0)
			return r;
		o->seconds[timeout[i].index] = seconds;
	}
	return r;
}

int merlon_tracker_override(struct merlon_tracker_overrides *o, const char *key, const char *value, struct merlon_place place,
			    struct merlon_diag *diag)
{
	uint32_t n;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(number); i++) {
		if (!is_named(number[i].sysctl, key))
			continue;
		r = read_number(value, number[i].most, &n);
		if (r < 0) {
			explain(diag, place, value, number[i].most);
			return r;
		}
		o->numbers_given |= 1U << i;
		*byte_of(&o->numbers, i) = n;
		return 0;
	}
	r = override_timeouts(o, key, value);
	if (r < 0)
		explain(diag, place, value, 0);
	return r;
}

void merlon_trackers_override(struct merlon_trackers *trackers, const struct merlon_tracker_overrides *o)
{
	struct merlon_trackers numbers = o->numbers;
	size_t i;

	for (i = 0; i < MERLON_TIMEOUTS; i++)
		if (o->seconds[i])
			trackers->ns[i] = o->seconds[i] * SECOND_NS;
	for (i = 0; i < ARRAY_SIZE(number); i++)
		if (o->numbers_given >> i & 1)
			*byte_of(trackers, i) = *byte_of(&numbers, i);
}

bool merlon_tracker_setting(const struct merlon_trackers *trackers, size_t i, const char **ret_sysctl, uint64_t *ret_value)
{
	struct merlon_trackers t = *trackers;

	if (i < ARRAY_SIZE(timeout)) {
		*ret_sysctl = timeout[i].sysctl;
		*ret_value = t.ns[timeout[i].index] / SECOND_NS;
		return true;
	}
	i -= ARRAY_SIZE(timeout);
	if (i >= ARRAY_SIZE(number))
		return false;
	*ret_sysctl = number[i].sysctl;
	*ret_value = *byte_of(&t, i);
	return true;
}
