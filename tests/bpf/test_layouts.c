/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a data plane of another layout: whose a packet is while sessions go over, and that all of many do. The other layout is
 * this one under another number; tests/e2e/layout.sh has one that is another.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "bpf/set.h"
#include "bpf/takeover_stage.h"
#include "src/kernel/internal.h"
#include "src/kernel/table.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"
#include "src/verify/plane.h"
#include "tests/bpf/packet.h"

#define PINS "/sys/fs/bpf/merlon-takeover"
#define OTHER_LAYOUT 5
#define FLOWS 100000U

static struct merlon_dataplane *dp;

static int set_up_group(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	return unshare(CLONE_NEWNET) < 0 ? -1 : merlon_plane_bpffs(&diag);
}

static int open_it(struct merlon_diag *diag)
{
	struct merlon_dataplane_options options = merlon_dataplane_defaults();

	options.pin_dir = PINS;
	return merlon_dataplane_open(&options, &dp, diag);
}

/* With programs, as behind a policy: a data plane that never had one is not taken over. */
static int set_up(void **state)
{
	struct merlon_diag diag = { 0 };
	uint32_t slot;
	int r = open_it(&diag);

	(void)state;
	if (!r)
		r = merlon_load_programs(dp, &merlon_smallest_class, "policy", &diag);
	if (!r)
		r = merlon_pins_open_policy(dp, "policy", &dp->policy);
	for (slot = 0; !r && slot < MERLON_PROGS; slot++)
		r = bpf_map_update_elem(dp->fd[MERLON_MAP_ENTRY], &slot, &dp->policy.prog[slot], 0);
	return r;
}

/* The table and the maps alone: programs take long to load. */
static int set_up_maps(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	return open_it(&diag);
}

static bool one_processor(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) < 2;
}

static int set_up_for_two(void **state)
{
	return one_processor() ? 0 : set_up(state);
}

static int tear_down(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	merlon_dataplane_close(dp);
	dp = NULL;
	merlon_dataplane_force_remove(PINS, &diag);
	merlon_diag_clear(&diag);
	return 0;
}

static struct merlon_flow a_flow(uint32_t i)
{
	struct merlon_flow flow = { 0 };

	merlon_tuple4_set(&flow.tuple, htonl(0xc6330000 + i), htonl(0xc0000201), merlon_pair16(htons(7), htons(80)),
			  merlon_tuple_tail(0, MERLON_PROTO_TCP));
	flow.session.state = MERLON_TCP_ESTABLISHED;
	flow.session.flags = MERLON_S_SEEN_REPLY | MERLON_S_ASSURED | MERLON_S_PROVED;
	flow.session.expires_ns = merlon_now_ns() + 3600000000000ULL;
	flow.session.created_ns = 1;
	flow.session.stats[MERLON_REPLY].bytes = i;
	flow.session.tcp.seen[MERLON_ORIGINAL].maxack = i;
	return flow;
}

static void enter(uint32_t n)
{
	struct merlon_flow_table table;
	uint32_t i;

	assert_int_equal(merlon_table_map(merlon_table_of(dp), &table), 0);
	for (i = 0; i < n; i++) {
		struct merlon_flow flow = a_flow(i);

		assert_int_equal(merlon_table_enter(&table, dp->control.seed, MERLON_IPV4, &flow, merlon_now_ns()), 0);
	}
	merlon_table_unmap(&table);
}

static void becomes_another(void)
{
	dp->control.version = OTHER_LAYOUT;
	assert_int_equal(merlon_control_write(dp), 0);
	merlon_dataplane_close(dp);
	dp = NULL;
}

static void check_flow(uint32_t i)
{
	struct merlon_flow was = a_flow(i);
	struct merlon_session session;

	assert_int_equal(merlon_dataplane_session(dp, MERLON_IPV4, &was.tuple, &session), 0);
	assert_int_equal(session.state, MERLON_TCP_ESTABLISHED);
	assert_int_equal(session.flags & ~MERLON_S_ESTABLISHED, was.session.flags);
	assert_int_equal(session.stats[MERLON_REPLY].bytes, i);
	assert_int_equal(session.tcp.seen[MERLON_ORIGINAL].maxack, i);
	assert_int_equal(session.owner & MERLON_LOCKED, 0);
}

static void check_slots(void)
{
	uint32_t slot, id;

	for (slot = 0; slot < MERLON_PROGS; slot++) {
		assert_int_equal(bpf_map_lookup_elem(dp->fd[MERLON_MAP_ENTRY], &slot, &id), 0);
		assert_int_equal(id, merlon_prog_id(dp->policy.prog[slot]));
	}
}

static void takes_all(void **state)
{
	struct merlon_diag diag = { 0 };
	uint32_t established, embryonic, i;
	char path[PATH_MAX];
	uint64_t seed;

	(void)state;
	enter(FLOWS);
	seed = dp->control.seed;
	becomes_another();
	assert_int_equal(open_it(&diag), 0);
	assert_int_equal(diag.n, 1);
	printf("# %s\n", diag.message[0].text);
	merlon_diag_clear(&diag);
	assert_null(dp->before);
	assert_int_equal(dp->control.version, MERLON_ABI_VERSION);
	assert_int_not_equal(dp->control.seed, seed);
	merlon_dataplane_count_sessions(dp, &established, &embryonic);
	assert_int_equal(established + embryonic, FLOWS);
	for (i = 0; i < FLOWS; i += 97)
		check_flow(i);
	check_slots();
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", PINS, i ? "after" : "next");
		assert_int_equal(access(path, F_OK), -1);
	}
	merlon_dataplane_close(dp);
	dp = NULL;
	assert_int_equal(open_it(&diag), 0);
	check_flow(1);
}

/* Of a data plane that answers by a number. */
static int says(int32_t answer)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = answer },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, NULL, "GPL", code, ARRAY_SIZE(code), NULL);

	assert_true(fd >= 0);
	return fd;
}

/* Flow 0 as it was copied amid a packet, and another connection between the ends of flow 1. */
static void enter_copies(const uint32_t end[2], uint64_t created_ns)
{
	struct merlon_flow_table table;
	uint32_t i;

	assert_int_equal(merlon_table_map(merlon_table_of(dp), &table), 0);
	for (i = 0; i < 2; i++) {
		struct merlon_flow flow = a_flow(i);

		flow.session.created_ns = i ? created_ns : 1;
		flow.session.tcp.seen[MERLON_REPLY].end = end[i];
		assert_int_equal(merlon_table_enter(&table, dp->control.seed, MERLON_IPV4, &flow, merlon_now_ns()), 0);
	}
	merlon_table_unmap(&table);
}

/* A takeover that was cut off when flows were here: what it had not seen of one is made up for. */
static void goes_on(void **state)
{
	struct merlon_dataplane_options options = merlon_dataplane_defaults();
	struct merlon_diag diag = { 0 };
	struct merlon_session session;
	struct merlon_flow flow;
	uint32_t i;
	int entry;

	(void)state;
	enter_copies((uint32_t[]){ 1000, 1000 }, 1);
	becomes_another();
	options.pin_dir = PINS "/next";
	assert_int_equal(merlon_dataplane_open(&options, &dp, &diag), 0);
	assert_int_equal(merlon_load_programs(dp, &merlon_smallest_class, "policy", &diag), 0);
	enter_copies((uint32_t[]){ 995, 5 }, 2);
	merlon_dataplane_close(dp);
	dp = NULL;
	/* what asks whose a flow is: of a takeover, neither data plane's */
	entry = bpf_obj_get(PINS "/maps/entry");
	assert_true(entry >= 0);
	for (i = 0; i < MERLON_PROGS; i++) {
		_cleanup_close_ int fd = says(-1);

		assert_int_equal(bpf_map_update_elem(entry, &i, &fd, 0), 0);
	}
	close(entry);
	assert_int_equal(open_it(&diag), 0);
	merlon_diag_clear(&diag);
	assert_null(dp->before);
	for (i = 0; i < 2; i++) {
		flow = a_flow(i);
		assert_int_equal(merlon_dataplane_session(dp, MERLON_IPV4, &flow.tuple, &session), 0);
		assert_int_equal(session.tcp.seen[MERLON_REPLY].end, i ? 5 : 1000);
		assert_int_equal(session.owner & MERLON_LOCKED, 0);
	}
}

#define CHANGING 2048U	/* flows, two to a way */

struct change {
	struct merlon_flow_table table;
	struct merlon_flow flow[CHANGING];
	atomic_bool over;
};

/* As the data path puts flows into ways of others. */
static void *change_ways(void *context)
{
	struct change *c = context;

	/* who has a lock is not put aside, as no softirq is */
	setpriority(PRIO_PROCESS, 0, -20);
	for (uint32_t i = 0; !c->over; i = (i + 1) % CHANGING) {
		const struct merlon_flow *flow = &c->flow[i];
		const struct merlon_set_ref set = { &c->table.sets[i / 2 / MERLON_WAYS], &c->table.flows[i / 2 / MERLON_WAYS] };
		uint64_t hash = merlon_tuple_hash(0, MERLON_IPV4, &flow->tuple);
		struct merlon_session session = flow->session, *entered;

		session.owner = merlon_owner_of(hash) | MERLON_LOCKED;
		if (!merlon_set_put(&set, i / 2 % MERLON_WAYS, MERLON_IPV4, &flow->tuple, merlon_tag_of(MERLON_IPV4, hash), 0, &session, &entered))
			__atomic_store_n(&entered->owner, merlon_owner_of(hash), __ATOMIC_RELEASE);
	}
	return NULL;
}

static int is_whole(void *context, enum merlon_family family, const struct merlon_flow *flow)
{
	unsigned *n = context;
	uint32_t i = flow->session.stats[MERLON_REPLY].bytes;

	(void)family;
	++*n;
	return i >= CHANGING || flow->tuple.v4.a + flow->tuple.v4.b != htonl(0xc6330000 + i) + htonl(0xc0000201) ||
	       flow->session.tcp.seen[MERLON_ORIGINAL].maxack != i;
}

/* A way becomes another flow's while it is copied: no session goes over with another one's tuple. */
static void ways_that_change(void **state)
{
	struct merlon_diag diag = { 0 };
	struct change *c;
	pthread_t thread;
	unsigned n = 0;

	(void)state;
	/* which the thread would have for itself */
	if (one_processor())
		skip();
	c = calloc(1, sizeof(*c));
	assert_non_null(c);
	assert_int_equal(merlon_table_map(merlon_table_of(dp), &c->table), 0);
	for (uint32_t i = 0; i < CHANGING; i++)
		c->flow[i] = a_flow(i);
	becomes_another();
	assert_int_equal(pthread_create(&thread, NULL, change_ways, c), 0);
	assert_int_equal(open_it(&diag), 0);
	c->over = true;
	pthread_join(thread, NULL);
	merlon_diag_clear(&diag);
	assert_int_equal(merlon_table_each(merlon_table_of(dp), is_whole, &n), 0);
	assert_in_range(n, CHANGING / 2, CHANGING);
	merlon_table_unmap(&c->table);
	free(c);
}

/* Of a process that was killed: they are taken from it. */
static void locks_that_stay(void **state)
{
	struct merlon_flow flow[] = { a_flow(0), a_flow(1) };
	struct merlon_flow_table table;
	struct merlon_session *session;

	(void)state;
	assert_int_equal(merlon_table_map(merlon_table_of(dp), &table), 0);
	for (size_t i = 0; i < ARRAY_SIZE(flow); i++) {
		uint64_t hash = merlon_tuple_hash(dp->control.seed, MERLON_IPV4, &flow[i].tuple);
		uint32_t at = i ? merlon_second_set(hash) : merlon_first_set(hash), *lock = &table.sets[at & (table.n - 1)].lock;

		*lock = MERLON_LOCKED;
		assert_int_equal(merlon_table_enter(&table, dp->control.seed, MERLON_IPV4, &flow[i], merlon_now_ns()), 0);
		/* who waits for no other set's leaves that to those who wait for it */
		assert_int_equal(*lock, i ? MERLON_LOCKED : 0);
		*lock = 0;
		check_flow(i);
	}
	session = merlon_table_lock(&table, dp->control.seed, MERLON_IPV4, &flow[0].tuple);
	assert_non_null(session);
	assert_int_equal(session->owner & MERLON_LOCKED, MERLON_LOCKED);
	assert_ptr_equal(merlon_table_lock(&table, dp->control.seed, MERLON_IPV4, &flow[0].tuple), session);
	merlon_table_unlock(session);
	check_flow(0);
	merlon_table_unmap(&table);
}

/* That is not the same as no room. */
static void ways_that_stay_locked(void **state)
{
	struct merlon_flow flow = a_flow(0);
	uint64_t hash = merlon_tuple_hash(dp->control.seed, MERLON_IPV4, &flow.tuple);
	struct merlon_flow_table table;

	(void)state;
	assert_int_equal(merlon_table_map(merlon_table_of(dp), &table), 0);
	for (size_t i = 0; i < MERLON_WAYS; i++) {
		table.flows[merlon_first_set(hash) & (table.n - 1)].way[i].session.owner = MERLON_LOCKED;
		table.flows[merlon_second_set(hash) & (table.n - 1)].way[i].session.owner = MERLON_LOCKED;
	}
	assert_int_equal(merlon_table_enter(&table, dp->control.seed, MERLON_IPV4, &flow, merlon_now_ns()), -EBUSY);
	for (size_t i = 0; i < MERLON_WAYS; i++)
		table.sets[merlon_first_set(hash) & (table.n - 1)].tag[i] = table.sets[merlon_second_set(hash) & (table.n - 1)].tag[i] =
			MERLON_TAG_USED | MERLON_TAG_ESTABLISHED;
	assert_int_equal(merlon_table_enter(&table, dp->control.seed, MERLON_IPV4, &flow, merlon_now_ns()), -ENOSPC);
	merlon_table_unmap(&table);
}

/* No packet asks it anything. */
static int apply(uint32_t generation, bool larger, struct merlon_diag *diag)
{
	struct merlon_image image = { .generation = generation };
	struct merlon_policy policy = { .image = (uint64_t *)&image, .words = sizeof(image) / 8, .room = 1U << (larger ? 18 : 10),
					.generation = generation, .first_counter = 1 };

	return merlon_dataplane_apply(dp, &policy, false, diag);
}

/* A child that reads them has the data plane as it was when that began. */
static void counters_of_what_ended(void **state)
{
	struct merlon_diag diag = { 0 };
	struct merlon_counter counter;
	struct merlon_dataplane of_child;

	(void)state;
	assert_int_equal(apply(1, false, &diag), 0);
	of_child = *dp;
	assert_int_equal(merlon_dataplane_counters(&of_child, 1, 1, &counter), 0);
	assert_int_equal(apply(2, false, &diag), 0);
	assert_int_equal(merlon_dataplane_counters(&of_child, 1, 1, &counter), -ESTALE);
	assert_int_equal(merlon_dataplane_counters(dp, 1, 1, &counter), 0);
	merlon_diag_clear(&diag);
}

/* The policy is in force all the same; and no other comes into force beside the wrong pins. */
static void pins_that_stay(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	enter(3);
	dp->control.generation = 1;
	becomes_another();
	assert_int_equal(open_it(&diag), 0);
	assert_int_equal(diag.n, 0);
	assert_null(merlon_dataplane_image(dp));
	assert_int_equal(mkdir(PINS "/after", 0700), 0);
	assert_int_equal(mkdir(PINS "/after/another", 0700), 0);
	assert_int_equal(apply(2, false, &diag), 0);
	assert_int_equal(diag.n, 2);
	assert_non_null(strstr(diag.message[1].text, "not yet where"));
	merlon_diag_clear(&diag);
	assert_non_null(dp->before);
	assert_int_equal(merlon_dataplane_generation(dp), 2);
	assert_non_null(merlon_dataplane_image(dp));
	check_slots();
	check_flow(1);

	assert_int_equal(apply(3, true, &diag), -ENOTEMPTY);
	merlon_diag_clear(&diag);
	assert_int_equal(merlon_dataplane_generation(dp), 2);
	check_slots();

	assert_int_equal(rmdir(PINS "/after/another"), 0);
	assert_int_equal(apply(3, true, &diag), 0);
	assert_int_equal(diag.n, 0);
	assert_null(dp->before);
	assert_int_equal(access(PINS "/next", F_OK), -1);
	check_slots();
	merlon_dataplane_close(dp);
	dp = NULL;
	assert_int_equal(open_it(&diag), 0);
	assert_int_equal(merlon_dataplane_generation(dp), 3);
	check_slots();
	check_flow(1);
}

/* The one before has to know what is filtered, or it judges at both ends what is routed there. */
static void interfaces_that_come(void **state)
{
	const uint32_t ifindex = 1;	/* the loopback interface */
	struct merlon_diag diag = { 0 };
	uint8_t value;
	int before;

	(void)state;
	dp->control.generation = 1;
	becomes_another();
	assert_int_equal(open_it(&diag), 0);
	before = bpf_obj_get(PINS "/maps/filtered");
	assert_true(before >= 0);
	assert_int_equal(merlon_dataplane_attach(dp, ifindex, &diag), 0);
	assert_int_equal(bpf_map_lookup_elem(before, &ifindex, &value), 0);
	assert_int_equal(bpf_map_lookup_elem(dp->fd[MERLON_MAP_FILTERED], &ifindex, &value), 0);
	assert_int_equal(merlon_dataplane_detach(dp, ifindex), 0);
	assert_int_equal(bpf_map_lookup_elem(before, &ifindex, &value), -ENOENT);
	assert_int_equal(bpf_map_lookup_elem(dp->fd[MERLON_MAP_FILTERED], &ifindex, &value), -ENOENT);
	close(before);
}

/* A packet that is being denied while the counts are read has not been accepted: what is counted for metrics may not fall. */
static void counts_do_not_fall(void **state)
{
	struct merlon_stats *count = calloc(merlon_possible_cpus(), sizeof(*count)), sum;
	uint32_t zero = 0;

	(void)state;
	assert_non_null(count);
	count->count[MERLON_STAT_HITS] = 5;
	count->count[MERLON_STAT_ACCEPTED] = 2;
	count->count[MERLON_STAT_DROPPED] = 3;
	count->count[MERLON_STAT_HOOKS + 2 * MERLON_INPUT] = 5 + 2 + 3 + 1;
	assert_int_equal(bpf_map_update_elem(dp->fd[MERLON_MAP_STATS], &zero, count, 0), 0);
	assert_int_equal(merlon_dataplane_stats(dp, &sum), 0);
	assert_int_equal(sum.count[MERLON_STAT_PACKETS], 11);
	assert_int_equal(sum.count[MERLON_STAT_ACCEPTED], 7);
	free(count);
}

static void without_description(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	becomes_another();
	assert_int_equal(unlink(PINS "/maps/layout"), 0);
	assert_int_equal(open_it(&diag), -EPROTO);
	assert_int_equal(diag.n, 1);
	assert_non_null(strstr(diag.message[0].text, "layout 5"));
	merlon_diag_clear(&diag);
	assert_int_equal(access(PINS "/maps/sessions", F_OK), 0);
}

enum { BEFORE = 71, NEXT = 72 };

static struct merlon_taking open_taking(void)
{
	struct merlon_diag diag = { 0 };
	struct merlon_taking taking;
	uint32_t slot;

	assert_int_equal(merlon_taking_open(dp, &taking, &diag), 0);
	for (slot = 0; slot < MERLON_TAKERS; slot++) {
		_cleanup_close_ int fd = says(slot < MERLON_TAKER_NEXT ? BEFORE : NEXT);

		assert_int_equal(bpf_map_update_elem(taking.takers, &slot, &fd, 0), 0);
	}
	return taking;
}

static int whose(const struct merlon_taking *taking, const struct frame *f)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->bytes, .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(taking->prog[MERLON_PROG_INGRESS], &opts), 0);
	return opts.retval;
}

static const struct flow known = { "198.51.0.3", "192.0.2.1", 7, 80 };	/* a_flow(3) */
static const struct flow noted = { "198.51.100.1", "192.0.2.1", 7, 80 }, late = { "198.51.100.2", "192.0.2.1", 7, 80 };

static void flow_by_flow(void **state)
{
	struct merlon_taking taking = open_taking();
	const struct flow back = reversed(&known);
	struct frame f, first = frame_tcp(&known, 0x10, 0), second = frame_tcp(&noted, 0x02, 0), third = frame_tcp(&late, 0x02, 0);

	(void)state;
	assert_int_equal(whose(&taking, &first), BEFORE);
	enter(4);
	assert_int_equal(whose(&taking, &first), NEXT);
	f = frame_tcp(&back, 0x10, 0);
	assert_int_equal(whose(&taking, &f), NEXT);
	assert_int_equal(whose(&taking, &second), BEFORE);
	*taking.stage = MERLON_TAKEOVER_SETTLING;
	assert_int_equal(whose(&taking, &first), NEXT);
	assert_int_equal(whose(&taking, &second), BEFORE);
	assert_int_equal(whose(&taking, &third), NEXT);
	merlon_taking_close(&taking);
}

/* As the error's packet: it says whose the flow is that it is about. */
static void errors(void **state)
{
	struct merlon_taking taking = open_taking();
	const struct flow from = { "192.0.2.1", "198.51.0.3", 0, 0 };
	const struct flow *about[] = { &known, &noted };

	(void)state;
	enter(4);
	for (size_t i = 0; i < ARRAY_SIZE(about); i++) {
		struct flow error = from;
		struct frame inside = frame_tcp(about[i], 0x10, 0), f;

		error.daddr = about[i]->saddr;
		f = frame_icmp(&error, 3, 1, 28);
		memcpy(f.data + 14 + 20 + 8, inside.data + 14, 28);
		assert_int_equal(whose(&taking, &f), i ? BEFORE : NEXT);
	}
	merlon_taking_close(&taking);
}

/* Later fragments follow the first one, of which alone can be said whose the flow is. */
static void fragments(void **state)
{
	static const struct flow *const of[] = { &known, &noted };
	struct merlon_taking taking = open_taking();

	(void)state;
	enter(4);
	for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
		struct frame first = frame_tcp(of[i], 0x10, 12), later = first;

		put16(first.data + 14 + 6, 0x2000);
		frame_checksum(&first);
		put16(later.data + 14 + 6, 4);
		frame_checksum(&later);
		assert_int_equal(whose(&taking, &later), BEFORE);
		assert_int_equal(whose(&taking, &first), i ? BEFORE : NEXT);
		assert_int_equal(whose(&taking, &later), i ? BEFORE : NEXT);
	}
	merlon_taking_close(&taking);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(counters_of_what_ended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pins_that_stay, set_up, tear_down),
		cmocka_unit_test_setup_teardown(interfaces_that_come, set_up, tear_down),
		cmocka_unit_test_setup_teardown(counts_do_not_fall, set_up_maps, tear_down),
		cmocka_unit_test_setup_teardown(ways_that_change, set_up_for_two, tear_down),
		cmocka_unit_test_setup_teardown(locks_that_stay, set_up_maps, tear_down),
		cmocka_unit_test_setup_teardown(ways_that_stay_locked, set_up_maps, tear_down),
		cmocka_unit_test_setup_teardown(without_description, set_up, tear_down),
		cmocka_unit_test_setup_teardown(flow_by_flow, set_up_maps, tear_down),
		cmocka_unit_test_setup_teardown(errors, set_up_maps, tear_down),
		cmocka_unit_test_setup_teardown(fragments, set_up_maps, tear_down),
	};

	return geteuid() ? 77 : cmocka_run_group_tests(tests, set_up_group, NULL);
}
