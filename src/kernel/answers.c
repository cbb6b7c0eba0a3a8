/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bounds: ICMP errors per destination by net.ipv4.icmp_ratelimit (net/ipv4/inetpeer.c: a burst of six) and by
 * icmp_msgs_per_sec for all; resets have no such limit in the kernel, so theirs can be left out.
 */
#include "src/kernel/answers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "src/kernel/reject.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

#define PEERS 1024
#define PEER_BURST 6
#define RESETS_PER_S 20000
#define KINDS 3			/* enum merlon_answer_kind */
_Static_assert(KINDS == MERLON_REJECT_SOCKETS, "each socket has its place in the map");

struct bucket {
	uint64_t empty_ns;	/* when it was empty, as far as the burst goes back */
};

struct merlon_answers {
	/* sockets that the data path knows: what they send belongs to the rejected packet */
	int related[MERLON_ANSWERS][KINDS];
	int plain[KINDS];	/* for packets that belong to nothing: tracked as any other, mostly invalid (nf_ct_attach()) */
	struct merlon_reject_limits limits;
	int router;			/* asks the kernel about addresses, sends nothing */
	uint64_t peer_cost_ns[MERLON_FAMILIES];
	uint64_t all_cost_ns;
	unsigned all_burst;
	struct bucket peer[PEERS], all, resets;
	bool bounded;		/* resets */
};

static bool take(struct bucket *bucket, uint64_t now, uint64_t cost_ns, unsigned burst)
{
	uint64_t most = cost_ns * burst;

	if (now - bucket->empty_ns > most)
		bucket->empty_ns = now - most;
	if (now - bucket->empty_ns < cost_ns)
		return false;
	bucket->empty_ns += cost_ns;
	return true;
}

static unsigned peer_of(const struct merlon_answer *answer, enum merlon_family family)
{
	const uint32_t *word = family == MERLON_IPV4 ? &answer->to4.s_addr : answer->to6.s6_addr32;
	unsigned i, n = family == MERLON_IPV4 ? 1 : 4;
	uint32_t hash = 0;

	for (i = 0; i < n; i++)
		hash = (hash ^ word[i]) * 0x9e3779b1U;
	return hash >> 22;
}

static bool within_limits(struct merlon_answers *a, const struct merlon_reject_event *event,
			  const struct merlon_answer *answer)
{
	uint64_t now = merlon_now_ns(), cost = a->peer_cost_ns[event->family];

	if (event->type == MERLON_REJECT_TCP_RST)
		return !a->bounded || take(&a->resets, now, 1000000000 / RESETS_PER_S, RESETS_PER_S);
	/* Packets of this host to itself are not limited (icmpv4_xrlim_allow(): loopback). */
	if (event->hook == MERLON_OUTPUT || event->iif == 1)
		return true;
	return take(&a->peer[peer_of(answer, event->family)], now, cost, PEER_BURST) &&
	       take(&a->all, now, a->all_cost_ns, a->all_burst);
}

static void send_answer(int fd, const struct merlon_answer *answer)
{
	struct sockaddr_in to4 = { .sin_family = AF_INET, .sin_addr = answer->to4 };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_addr = answer->to6, .sin6_scope_id = answer->scope };
	bool v4 = answer->kind == MERLON_ANSWER_IPV4;

	/* What can't be sent now is lost, as the kernel's own would be. */
	if (sendto(fd, answer->packet, answer->bytes, MSG_DONTWAIT,
		   v4 ? (struct sockaddr *)&to4 : (struct sockaddr *)&to6, v4 ? sizeof(to4) : sizeof(to6)) < 0)
		return;
}

/*
 * A packet to the broadcast address of a net is not answered, whoever sent it. Only the routes tell: connect() refuses
 * such an address. What is forwarded is to no net of this host's.
 */
static bool is_broadcast(const struct merlon_answers *a, const struct merlon_reject_event *event)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };

	if (event->family != MERLON_IPV4 || event->hook == MERLON_FORWARD || a->router < 0)
		return false;
	memcpy(&to.sin_addr, event->packet + offsetof(struct iphdr, daddr), sizeof(to.sin_addr));
	return connect(a->router, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == EACCES;
}

/* An answer goes the other way (nf_conntrack_attach()). TCP is related only if it is an answer itself. */
static enum merlon_answer_to answer_to(const struct merlon_reject_event *event)
{
	if (event->ct_state == MERLON_CT_RELATED && event->l4proto == IPPROTO_TCP)
		return MERLON_ANSWER_TO_RESET;
	return event->ct_direction == MERLON_REPLY ? MERLON_ANSWER_ORIGINAL : MERLON_ANSWER_REPLY;
}

void merlon_answers_reject(struct merlon_answers *a, const struct merlon_reject_event *event)
{
	enum merlon_answer_to to = answer_to(event);
	struct merlon_answer answer;
	bool belongs;
	int fd;

	if (merlon_reject_build(event, &a->limits, &answer) < 0)
		return;
	belongs = event->ct_state != MERLON_CT_INVALID && event->ct_state != MERLON_CT_UNTRACKED;
	fd = (belongs ? a->related[to] : a->plain)[answer.kind];
	if (fd >= 0 && !is_broadcast(a, event) && within_limits(a, event, &answer))
		send_answer(fd, &answer);
}

static unsigned sysctl_number(const char *path, unsigned otherwise)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	unsigned value;

	return f && fscanf(f, "%u", &value) == 1 ? value : otherwise;
}

static unsigned within(unsigned value, unsigned least, unsigned most)
{
	return value < least ? least : value > most ? most : value;
}

static void block_input(int fd)
{
	struct icmp6_filter none;

	ICMP6_FILTER_SETBLOCKALL(&none);
	setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &none, sizeof(none));
}

static void open_sockets(int fd[KINDS])
{
	int on = 1;

	fd[MERLON_ANSWER_IPV4] = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	/* the host may have sent from 127.255.255.255; from the network no packet comes with such a source (ip_rcv()) */
	if (fd[MERLON_ANSWER_IPV4] >= 0)
		setsockopt(fd[MERLON_ANSWER_IPV4], SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	/* IPPROTO_RAW implies IPV6_HDRINCL (net/ipv6/raw.c, rawv6_init_sk()). */
	fd[MERLON_ANSWER_IPV6] = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	fd[MERLON_ANSWER_ICMPV6] = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);
	if (fd[MERLON_ANSWER_ICMPV6] >= 0)
		block_input(fd[MERLON_ANSWER_ICMPV6]);
}

void merlon_answers_cookies(const struct merlon_answers *a, struct merlon_answer_cookies *ret)
{
	size_t to, i;

	*ret = (struct merlon_answer_cookies){ 0 };
	for (to = 0; to < MERLON_ANSWERS; to++) {
		uint64_t *cookie = ret->cookie[to];

		for (i = 0; i < KINDS; i++) {
			socklen_t size = sizeof(*cookie);

			if (a->related[to][i] >= 0 && !getsockopt(a->related[to][i], SOL_SOCKET, SO_COOKIE, cookie, &size))
				cookie++;
		}
	}
}

static int fill(struct merlon_answers *a, struct merlon_diag *diag)
{
	size_t i;

	for (i = 0; i < MERLON_ANSWERS; i++)
		open_sockets(a->related[i]);
	open_sockets(a->plain);
	a->router = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (a->related[MERLON_ANSWER_REPLY][MERLON_ANSWER_IPV4] < 0) {
		int error = -errno;

		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot open a raw socket for rejects: %s",
				strerror(-error));
		merlon_diag_cure(diag, "run as root, or give CAP_NET_RAW");
		return error;
	}
	a->limits.ttl = sysctl_number("/proc/sys/net/ipv4/ip_default_ttl", 64);
	a->limits.hop_limit = sysctl_number("/proc/sys/net/ipv6/conf/default/hop_limit", 64);
	a->peer_cost_ns[MERLON_IPV4] = sysctl_number("/proc/sys/net/ipv4/icmp_ratelimit", 1000) * 1000000ULL;
	a->all_cost_ns = 1000000000ULL / within(sysctl_number("/proc/sys/net/ipv4/icmp_msgs_per_sec", 1000), 1, 1000000000);
	a->all_burst = sysctl_number("/proc/sys/net/ipv4/icmp_msgs_burst", 50);
	a->peer_cost_ns[MERLON_IPV6] = sysctl_number("/proc/sys/net/ipv6/icmp/ratelimit", 1000) * 1000000ULL;
	return 0;
}

int merlon_answers_open(bool bounded, struct merlon_answers **ret, struct merlon_diag *diag)
{
	struct merlon_answers *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->bounded = bounded;
	r = fill(a, diag);
	if (r < 0) {
		merlon_answers_close(a);
		return r;
	}
	*ret = a;
	return 0;
}

void merlon_answers_close(struct merlon_answers *a)
{
	size_t i, to;

	if (!a)
		return;
	merlon_closep(&a->router);
	for (i = 0; i < KINDS; i++) {
		for (to = 0; to < MERLON_ANSWERS; to++)
			merlon_closep(&a->related[to][i]);
		merlon_closep(&a->plain[i]);
	}
	free(a);
}
