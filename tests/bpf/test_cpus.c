/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two CPUs work on one session at once: none of its packets is counted twice or not at all, no change of its state is
 * lost, and there is only one of it. MERLON_ROUNDS chooses how often what happens once in a session's life is tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bpf/tcp.h"
#include "tests/bpf/packet.h"
#include "tests/bpf/plane.h"

#define CPUS 2
#define LONG_RUN 200000
/* few: the table is emptied before each round */
#define SESSIONS 64

static struct plane plane;
static const struct flow flow = { "192.0.2.9", "192.0.2.1", 40000, 22 };

/* What one CPU sends: a frame, so often. */
struct work {
	struct frame frame;
	int repeat;
};

/* Two threads that wait for work, each on a CPU of its own. They spin, to begin together. */
static struct worker {
	pthread_t thread;
	int cpu;
	const struct work *work;
	atomic_int begun, done;
	int failed;
} worker[CPUS];
static atomic_int round_number, stop;

static void run(struct worker *w)
{
	struct __sk_buff context = { .ifindex = plane.veth, .ingress_ifindex = plane.veth };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = w->work->frame.data, .data_size_in = w->work->frame.bytes,
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = w->work->repeat);

	w->failed |= bpf_prog_test_run_opts(bpf_program__fd(plane.skel->progs.ingress), &opts) || (int)opts.retval != PLANE_PASS;
}

static void *work(void *context)
{
	struct worker *w = context;
	cpu_set_t set;
	int done = 0;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	w->failed = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	for (;;) {
		while (atomic_load(&round_number) == done && !atomic_load(&stop))
			sched_yield();
		if (atomic_load(&stop))
			return NULL;
		atomic_store(&w->begun, ++done);
		/* not for ever: the other one may have no CPU now */
		for (int i = 0; i < 100000 && atomic_load(&worker[w == worker].begun) != done; i++)
			;
		run(w);
		atomic_store(&w->done, done);
	}
}

/* Both send what they are given, at the same time. */
static void together(const struct work *a, const struct work *b)
{
	int number = atomic_load(&round_number) + 1;

	worker[0].work = a;
	worker[1].work = b;
	atomic_store(&round_number, number);
	for (int i = 0; i < CPUS; i++)
		while (atomic_load(&worker[i].done) != number)
			usleep(10);
	assert_false(worker[0].failed || worker[1].failed);
}

static int rounds(void)
{
	return getenv("MERLON_ROUNDS") ? atoi(getenv("MERLON_ROUNDS")) : 500;
}

static void send_one(const struct frame *f)
{
	assert_int_equal(plane_ingress(&plane, plane.veth, f->data, f->bytes), PLANE_PASS);
}

static struct frame segment(int from, uint8_t flags, uint32_t seq, uint32_t ack, size_t payload)
{
	const struct flow ends = from ? reversed(&flow) : flow;
	struct frame f = frame_tcp(&ends, flags, payload);

	put32(f.data + f.l4 + 4, seq);
	put32(f.data + f.l4 + 8, ack);
	return f;
}

static struct frame datagram(int from, size_t payload)
{
	const struct flow ends = from ? reversed(&flow) : flow;

	return frame_udp(&ends, payload);
}

/* Up to where the next ACK of the originator makes it an assured one. */
static void answer_syn(void)
{
	const struct frame syn = segment(0, F_SYN, 999, 0, 0), syn_ack = segment(1, F_SYN | F_ACK, 4999, 1000, 0);

	send_one(&syn);
	send_one(&syn_ack);
}

static void establish(void)
{
	const struct frame ack = segment(0, F_ACK, 1000, 5000, 0);

	answer_syn();
	send_one(&ack);
	send_one(&ack);
}

static uint64_t ip_bytes(const struct frame *f)
{
	return f->bytes - ETH;
}

/* A lock that a hypervisor's pause took away since it was last asked for: what such a round counts is not asserted. */
static bool lock_was_broken(void)
{
	static uint64_t known;
	uint64_t now = plane_stat(&plane, MERLON_STAT_LOCKS_BROKEN);
	bool broken = now != known;

	known = now;
	return broken;
}

/* There is one session, with all packets of both, and those before. */
static void check_counts(const struct merlon_session *before, const struct work *a, const struct work *b)
{
	const struct work *each[] = { a, b };
	struct merlon_session got;
	uint64_t packets = 0, bytes = 0, got_packets = 0, got_bytes = 0;

	if (lock_was_broken())
		return;
	assert_true(plane_session(&plane, MERLON_IPV4, &got));
	for (int i = 0; i < 2; i++) {
		packets += before->stats[i].packets + each[i]->repeat;
		bytes += before->stats[i].bytes + each[i]->repeat * ip_bytes(&each[i]->frame);
		got_packets += got.stats[i].packets;
		got_bytes += got.stats[i].bytes;
	}
	assert_int_equal(got_packets, packets);
	assert_int_equal(got_bytes, bytes);
	assert_int_equal(got.owner & MERLON_LOCKED, 0);
}

static void flows_with(const struct work *a, const struct work *b)
{
	struct merlon_session before = { 0 };
	uint64_t hits = plane_stat(&plane, MERLON_STAT_HITS);

	assert_true(plane_session(&plane, MERLON_IPV4, &before));
	together(a, b);
	check_counts(&before, a, b);
	/* the first packet of each direction asks the rules */
	assert_true(plane_stat(&plane, MERLON_STAT_HITS) - hits > 2 * LONG_RUN - 10);
}

static void tcp_both_ways(void **state)
{
	const struct work a = { segment(0, F_ACK, 1000, 5000, 0), LONG_RUN }, b = { segment(1, F_ACK, 5000, 1000, 10), LONG_RUN };

	(void)state;
	establish();
	flows_with(&a, &b);
}

static void tcp_one_way(void **state)
{
	const struct work a = { segment(0, F_ACK, 1000, 5000, 0), LONG_RUN }, b = { segment(0, F_ACK, 1000, 5000, 20), LONG_RUN };

	(void)state;
	establish();
	flows_with(&a, &b);
}

static void udp_both_ways(void **state)
{
	const struct work a = { datagram(0, 3), LONG_RUN }, b = { datagram(1, 100), LONG_RUN };

	(void)state;
	send_one(&a.frame);
	send_one(&b.frame);
	send_one(&a.frame);
	flows_with(&a, &b);
}

static void udp_without_answer(void **state)
{
	const struct work a = { datagram(0, 3), LONG_RUN }, b = { datagram(0, 100), LONG_RUN };

	(void)state;
	send_one(&a.frame);
	flows_with(&a, &b);
}

/* Both CPUs send the first packets of a flow. */
static void begin_together(const struct work *a, const struct work *b)
{
	static const struct merlon_session none;
	uint64_t begun = plane_stat(&plane, MERLON_STAT_NEW_SESSIONS);

	for (int i = 0; i < rounds(); i++) {
		plane_forget(&plane);
		together(a, b);
		check_counts(&none, a, b);
		assert_int_equal(plane_stat(&plane, MERLON_STAT_NEW_SESSIONS), begun + i + 1);
	}
}

static void first_datagrams(void **state)
{
	const struct work a = { datagram(0, 3), 3 }, b = { datagram(0, 100), 3 };

	(void)state;
	begin_together(&a, &b);
}

static void first_segments(void **state)
{
	const struct work syn = { segment(0, F_SYN, 999, 0, 0), 3 };

	(void)state;
	begin_together(&syn, &syn);
}

/* Two ends that send first: whichever is second answers. */
static void first_of_both_ends(void **state)
{
	const struct work a = { datagram(0, 3), 5 }, b = { datagram(1, 100), 5 };

	(void)state;
	begin_together(&a, &b);
}

static unsigned established(void)
{
	return plane_established(&plane, MERLON_IPV4);
}

/* A flow becomes one that keeps its place while packets of it come. */
static void promoted(const struct work *a, const struct work *b, void (*prepare)(void))
{
	struct merlon_session before = { 0 };

	for (int i = 0; i < rounds(); i++) {
		plane_forget(&plane);
		prepare();
		assert_true(plane_session(&plane, MERLON_IPV4, &before));
		assert_int_equal(established(), 0);
		together(a, b);
		check_counts(&before, a, b);
		assert_int_equal(established(), 1);
	}
}

static void promoted_tcp(void **state)
{
	const struct work a = { segment(0, F_ACK, 1000, 5000, 0), 4 }, b = { segment(1, F_ACK, 5000, 1000, 10), 4 };

	(void)state;
	promoted(&a, &a, answer_syn);
	promoted(&a, &b, answer_syn);
}

static void answered_datagram(void)
{
	const struct frame a = datagram(0, 3), b = datagram(1, 3);

	send_one(&a);
	send_one(&b);
}

static void promoted_udp(void **state)
{
	const struct work a = { datagram(0, 3), 4 }, b = { datagram(1, 100), 4 };

	(void)state;
	promoted(&a, &a, answered_datagram);
	promoted(&a, &b, answered_datagram);
}

/* What a new connection is after both CPUs had their work with it. */
static struct merlon_session amid_connection(const struct work *a, const struct work *b)
{
	struct merlon_session before, after;

	plane_forget(&plane);
	establish();
	assert_true(plane_session(&plane, MERLON_IPV4, &before));
	together(a, b);
	check_counts(&before, a, b);
	assert_true(plane_session(&plane, MERLON_IPV4, &after));
	return after;
}

/* One end closes while the other goes on. */
static void closed_meanwhile(void **state)
{
	const struct work a = { segment(0, F_ACK, 1000, 5000, 0), 10 }, b = { segment(1, F_FIN | F_ACK, 5000, 1000, 0), 1 };
	struct merlon_session after;

	(void)state;
	for (int i = 0; i < rounds(); i++) {
		after = amid_connection(&a, &b);
		assert_true(after.state == MERLON_TCP_FIN_WAIT || after.state == MERLON_TCP_CLOSE_WAIT);
	}
}

/* Both ends close at once: whichever FIN is second, neither is lost. */
static void closed_by_both(void **state)
{
	const struct work a = { segment(0, F_FIN | F_ACK, 1000, 5000, 0), 1 }, b = { segment(1, F_FIN | F_ACK, 5000, 1000, 0), 1 };
	struct merlon_session after;

	(void)state;
	for (int i = 0; i < rounds() / 4; i++) {
		after = amid_connection(&a, &b);
		assert_int_equal(after.state, MERLON_TCP_LAST_ACK);
		assert_int_equal(after.tcp.seen[0].end, 1001);
		assert_int_equal(after.tcp.seen[1].end, 5001);
	}
}

/* A reset while data flow the other way, which may not bring the connection back. */
static void reset_meanwhile(void **state)
{
	const struct work a = { segment(0, F_ACK, 1000, 5000, 30), 10 }, b = { segment(1, F_RST | F_ACK, 5000, 1000, 0), 1 };
	struct merlon_session after;

	(void)state;
	for (int i = 0; i < rounds() / 4; i++) {
		after = amid_connection(&a, &b);
		assert_int_equal(after.state, MERLON_TCP_CLOSE);
		assert_int_equal(after.tcp.seen[0].end, 1030);
	}
}

/* The answer to a datagram comes while more of them go: the flow is answered, and assured to stay. */
static void answered_meanwhile(void **state)
{
	const struct work a = { datagram(0, 3), 10 }, b = { datagram(1, 100), 1 };
	struct merlon_session before, after;

	(void)state;
	for (int i = 0; i < rounds() / 4; i++) {
		plane_forget(&plane);
		send_one(&a.frame);
		assert_true(plane_session(&plane, MERLON_IPV4, &before));
		together(&a, &b);
		check_counts(&before, &a, &b);
		assert_true(plane_session(&plane, MERLON_IPV4, &after));
		assert_true(after.flags & MERLON_S_SEEN_REPLY);
		send_one(&a.frame);
		assert_true(plane_session(&plane, MERLON_IPV4, &after));
		assert_true(after.flags & MERLON_S_PROVED);
	}
}

/* A flow comes back on both CPUs after its session has expired. */
static void back_together(void **state)
{
	static const struct merlon_session none;
	const struct work a = { datagram(0, 3), 3 }, syn = { segment(0, F_SYN, 999, 0, 0), 3 };

	(void)state;
	for (int i = 0; i < rounds(); i++) {
		const struct work *w = i & 2 ? &a : &syn;

		plane_forget(&plane);
		if (i & 2) {
			answered_datagram();
			if (i & 1)
				send_one(&a.frame);
		} else {
			answer_syn();
			if (i & 1)
				establish();
		}
		/* as if its time had come */
		plane_the_session(&plane)->expires_ns = 1;
		together(w, w);
		check_counts(&none, w, w);
	}
}

/*
 * What is found at the place of a flow may be another one's by the time that it is locked. Here it is so from the
 * beginning: the short way and the long one leave it alone.
 */
static void of_another_owner(void **state)
{
	const struct frame ack = segment(0, F_ACK, 1000, 5000, 7), other = segment(0, F_ACK, 1007, 5000, 0);
	struct merlon_session *session, foreign;

	(void)state;
	establish();
	send_one(&ack);
	session = plane_the_session(&plane);
	assert_non_null(session);
	session->owner ^= 4;
	foreign = *session;
	send_one(&ack);
	send_one(&other);
	assert_memory_equal(&foreign, session, sizeof(foreign));
	/* its own again */
	session->owner ^= 4;
	send_one(&ack);
	assert_int_equal(session->stats[MERLON_ORIGINAL].packets, foreign.stats[MERLON_ORIGINAL].packets + 1);
}

static int forget(void **state)
{
	(void)state;
	plane_forget(&plane);
	return 0;
}

static int group_set_up(void **state)
{
	static const struct plane_rule rules[] = {
		{ 0, -1, -1, MERLON_BIT(MERLON_CT_ESTABLISHED), 0, 0, { 1 }, 0, MERLON_ACCEPT, 0, 0, 0 },
		{ 0, -1, -1, MERLON_BIT(MERLON_CT_NEW), 0, 0, { 2 }, 0, MERLON_ACCEPT, 0, 0, 0 },
	};
	int r = plane_open_for(&plane, true, SESSIONS), cpu = 0;
	cpu_set_t set;

	(void)state;
	if (r)
		return r;
	plane_rules(&plane, rules, 2, MERLON_DROP);
	if (sched_getaffinity(0, sizeof(set), &set) || CPU_COUNT(&set) < CPUS)
		return 77;
	for (int i = 0; i < CPUS; i++) {
		while (!CPU_ISSET(cpu, &set))
			cpu++;
		worker[i].cpu = cpu++;
		if (pthread_create(&worker[i].thread, NULL, work, &worker[i]))
			return -1;
	}
	return 0;
}

static int group_tear_down(void **state)
{
	(void)state;
	atomic_store(&stop, 1);
	for (int i = 0; i < CPUS; i++)
		pthread_join(worker[i].thread, NULL);
	print_message("# locks taken away: %llu\n", (unsigned long long)plane_stat(&plane, MERLON_STAT_LOCKS_BROKEN));
	plane_close(&plane);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(tcp_both_ways, forget), cmocka_unit_test_setup(tcp_one_way, forget),
		cmocka_unit_test_setup(udp_both_ways, forget), cmocka_unit_test_setup(udp_without_answer, forget),
		cmocka_unit_test(first_datagrams), cmocka_unit_test(first_segments), cmocka_unit_test(first_of_both_ends),
		cmocka_unit_test(promoted_tcp), cmocka_unit_test(promoted_udp), cmocka_unit_test(closed_meanwhile),
		cmocka_unit_test(closed_by_both), cmocka_unit_test(reset_meanwhile), cmocka_unit_test(answered_meanwhile),
		cmocka_unit_test(back_together), cmocka_unit_test_setup(of_another_owner, forget),
	};

	if (geteuid() || sysconf(_SC_NPROCESSORS_ONLN) < CPUS)
		return 77;
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
