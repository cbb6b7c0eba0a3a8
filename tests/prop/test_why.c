/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `merlon why` says the same of the policy in force, asked in the kernel, and of the same policy asked natively; both
 * end where the reference ends (trace_complete); and nothing comes of asking. Random rulesets, random questions. Needs
 * root. usage: test_why [SECONDS [FIRST-SEED]]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "src/compile/explain.h"
#include "src/kernel/dataplane.h"
#include "src/util/clock.h"
#include "tests/prop/random.h"

#define PIN_DIR "/sys/fs/bpf/merlon-test-why"
#define QUESTIONS 200
#define LOOPBACK 1
#define DEVICE "why0"
#define DEVICE_MAC "\x02\x00\x00\x00\x00\x01"

static unsigned seconds = 5;
static uint64_t first_seed = 1;
static struct merlon_dataplane *dp;
static uint64_t loaded_ns;	/* some elements have expired, others have not */

static void put_address(const struct merlon_packet *p, unsigned end, uint8_t *to)
{
	unsigned n = p->family == MERLON_IPV4 ? 4 : 16;

	for (unsigned i = 0; i < n; i++) {
		if (n == 4)
			to[i] = p->field[MERLON_F_SADDR + end] >> (8 * (3 - i));
		else
			to[i] = p->addr6[end][i / 8] >> (8 * (7 - i % 8));
	}
}

/* A question that is near what the rules look at. */
static void make_question(struct random *r, struct merlon_question *q, struct random_packet *from)
{
	static const uint8_t usual[] = { 6, 6, 6, 17, 17, 1, 58, 132, 47 };
	const struct merlon_packet *p = &from->packet;
	uint8_t headers[MERLON_QUESTION_BYTES];
	size_t least;

	random_packet(r, from);
	*q = (struct merlon_question){ .family = p->family, .proto = usual[random_below(r, sizeof(usual))] };
	put_address(p, 0, q->saddr);
	put_address(p, 1, q->daddr);
	q->sport = p->field[MERLON_F_TH0];
	q->dport = p->field[MERLON_F_TH2];
	q->icmp_type = random_percent(r, 50) ? (int)(p->field[MERLON_F_TH0] >> 8 & 255) : MERLON_QUESTION_ANY;
	q->icmp_code = p->field[MERLON_F_TH0] & 255;
	q->flags = random_percent(r, 50) ? (int)random_below(r, 256) : MERLON_QUESTION_ANY;
	q->hook = p->hook;
	q->state = random_percent(r, 70) ? p->ct_state : MERLON_QUESTION_ANY;
	q->direction = q->state == MERLON_QUESTION_ANY ? MERLON_QUESTION_ANY : p->ct_direction & 1;
	q->mark = p->field[MERLON_F_MARK];
	for (unsigned i = 0; i < sizeof(q->mac); i++)
		q->mac[i] = i < 5 ? 2 * !i : random_below(r, 4);
	q->ttl = p->field[MERLON_F_TTL];
	q->tos = p->field[MERLON_F_TOS];
	q->pkttype = PACKET_HOST;
	least = merlon_question_packet(q, headers);
	q->length = p->bytes >= least && p->bytes < 65536 ? p->bytes : 0;
	merlon_question_assume(q, false);
}

static json_t *ask_kernel(const struct merlon_explain *explain, const struct merlon_question *q, struct merlon_why *why)
{
	uint8_t frame[ETH_HLEN + MERLON_QUESTION_BYTES] = { 0 };
	bool lo = !strcmp(explain->iif, "lo");
	struct merlon_why_frame f = { frame, ETH_HLEN + merlon_question_packet(q, frame + ETH_HLEN), q->mark,
				      lo ? LOOPBACK : if_nametoindex(DEVICE) };
	struct merlon_explain with = *explain;
	struct merlon_diag diag = { 0 };
	json_t *answer = NULL;

	if (!lo)
		memcpy(frame, DEVICE_MAC, ETH_ALEN);
	memcpy(frame + ETH_ALEN, q->mac, ETH_ALEN);
	frame[12] = q->family == MERLON_IPV4 ? 0x08 : 0x86;
	frame[13] = q->family == MERLON_IPV4 ? 0x00 : 0xdd;
	if (!merlon_dataplane_why(dp, &f, why, &with.limits, &diag)) {
		for (uint32_t i = 0; i < explain->policy->n_limits; i++)
			assert_int_equal(with.limits[i], 0);
		answer = merlon_explain(&with, why);
	}
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	free(with.limits);
	return answer;
}

/* NULL, or what is wrong. */
static const char *one_question(struct random *r, const struct merlon_policy *policy)
{
	struct merlon_explain explain = { .policy = policy, .address = random_address, .n_addresses = random_addresses,
					  .loaded_ns = loaded_ns };
	struct merlon_why why, native;
	struct merlon_question q;
	struct random_packet from;
	const char *wrong = NULL;
	json_t *a, *b;

	make_question(r, &q, &from);
	merlon_why_ask(&q, q.hook, &why);
	why.iif = from.packet.iif;
	why.oif = from.packet.oif;
	explain.iif = from.iif_name;
	explain.oif = from.oif_name;
	native = why;
	a = ask_kernel(&explain, &q, &why);
	native.now_ns = why.now_ns;
	b = merlon_why_native(&explain, &q, &native) < 0 ? NULL : merlon_explain(&explain, &native);
	if (!a || !b)
		wrong = "no answer";
	else if (!json_equal(a, b))
		wrong = "the kernel's answer differs from the native one";
	else if (!json_is_true(json_object_get(a, "trace_complete")))
		wrong = "the way through the ruleset ends elsewhere";
	if (wrong && a && b) {
		json_dumpf(a, stderr, JSON_COMPACT);
		fputs("\n", stderr);
		json_dumpf(b, stderr, JSON_COMPACT);
		fputs("\n", stderr);
	}
	json_decref(a);
	json_decref(b);
	return wrong;
}

static void nothing_happened(const struct merlon_policy *policy)
{
	struct merlon_counter *counter = calloc(policy->n_counters + 1, sizeof(*counter));
	uint32_t established, embryonic;
	struct merlon_stats stats;

	assert_int_equal(merlon_dataplane_stats(dp, &stats), 0);
	for (unsigned i = 0; i < MERLON_STATS; i++)
		assert_int_equal(stats.count[i], 0);
	assert_int_equal(merlon_dataplane_counters(dp, policy->first_counter, policy->n_counters, counter), 0);
	for (uint32_t i = 0; i < policy->n_counters; i++)
		assert_int_equal(counter[i].packets, 0);
	merlon_dataplane_count_sessions(dp, &established, &embryonic);
	assert_int_equal(established + embryonic, 0);
	free(counter);
}

/* Puts a random policy in force. NULL: it is beyond a limit of the data plane. */
static struct merlon_policy *put_in_force(struct random *r, struct merlon_ruleset **ret_ruleset)
{
	struct merlon_compile_options options = { .interface = random_interface, .n_interfaces = random_interfaces,
						  .max_flat_rules = 60000 };
	struct random_style style = { .rules = 1 + random_below(r, random_percent(r, 50) ? 40 : 1000) };
	struct merlon_policy *policy = NULL;
	struct merlon_diag diag = { 0 };
	int applied;

	*ret_ruleset = random_ruleset(r, &style);
	options.address = random_address;
	options.n_addresses = random_addresses;
	options.loaded_ns = loaded_ns;
	merlon_dataplane_prepare(dp, &options);
	if (merlon_compile(*ret_ruleset, &options, &policy, &diag) < 0) {
		merlon_diag_clear(&diag);
		return NULL;
	}
	applied = merlon_dataplane_apply(dp, policy, false, &diag);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	assert_int_equal(applied, 0);
	return policy;
}

static void kernel_native_and_reference(void **state)
{
	time_t end = time(NULL) + seconds;
	uint64_t seed, asked = 0;

	(void)state;
	for (seed = first_seed; time(NULL) < end || !asked; seed++) {
		struct random r = random_seed(seed);
		struct merlon_ruleset *ruleset;
		struct merlon_policy *policy = put_in_force(&r, &ruleset);
		const char *wrong = NULL;

		for (unsigned i = 0; policy && i < QUESTIONS && !wrong; i++, asked++)
			wrong = one_question(&r, policy);
		if (wrong)
			fail_msg("%s, seed %" PRIu64, wrong, seed);
		if (policy)
			nothing_happened(policy);
		merlon_policy_free(policy);
		merlon_ruleset_free(ruleset);
	}
	print_message("# seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " questions\n", first_seed, seed - 1, asked);
	assert_true(asked > 0);
}

/* A session's copy is asked about: its state, its decision, and what becomes of neither. */
static void sessions_are_copies(void **state)
{
	static const char *const words[] = { "tcp", "192.0.2.1:4000", "192.0.2.2:22", "flags", "ack" };
	struct random r = random_seed(first_seed);
	struct merlon_ruleset *ruleset;
	struct merlon_policy *policy = put_in_force(&r, &ruleset);
	struct merlon_explain explain = { .iif = "lo", .oif = "" };
	struct merlon_diag diag = { 0 };
	struct merlon_question q;
	union merlon_tuple tuple;
	struct merlon_why why;
	json_t *answer;

	(void)state;
	while (!policy) {
		merlon_ruleset_free(ruleset);
		policy = put_in_force(&r, &ruleset);
	}
	explain.policy = policy;
	assert_int_equal(merlon_question_read(words, 5, &q, &diag), 0);
	assert_int_equal(merlon_why_tuple(&q, &tuple), 0);
	assert_int_equal(merlon_dataplane_session(dp, MERLON_IPV4, &tuple, &why.session), -ENOENT);
	merlon_why_ask(&q, MERLON_INPUT, &why);
	why.iif = LOOPBACK;
	why.has_session = 1;
	why.session = (struct merlon_session){ .state = MERLON_TCP_ESTABLISHED, .flags = MERLON_S_ORIG_IS_A |
					       MERLON_S_SEEN_REPLY | MERLON_S_ASSURED | MERLON_S_PROVED, .expires_ns = ~0ULL };
	why.remembered[MERLON_ORIGINAL][MERLON_INGRESS] = (struct merlon_decision){
		.generation = merlon_dataplane_generation(dp), .iif = LOOPBACK, .hook = MERLON_INPUT,
		.ct_state = MERLON_CT_ESTABLISHED, .verdict = MERLON_ACCEPT,
	};
	answer = ask_kernel(&explain, &q, &why);
	assert_non_null(answer);
	assert_string_equal(json_string_value(json_object_get(answer, "state")), "established");
	assert_true(json_is_true(json_object_get(answer, "cached")));
	assert_string_equal(json_string_value(json_object_get(json_object_get(answer, "decision"), "verdict")), "accept");
	assert_int_equal(why.session.stats[MERLON_ORIGINAL].packets, 1);
	json_decref(answer);
	why.iif = 7;
	why.given_state = MERLON_CT_STATES;
	answer = ask_kernel(&explain, &q, &why);
	assert_true(json_is_false(json_object_get(answer, "cached")));
	json_decref(answer);
	nothing_happened(policy);
	merlon_policy_free(policy);
	merlon_ruleset_free(ruleset);
}

static int begin(void **state)
{
	struct merlon_dataplane_options options = merlon_dataplane_defaults();
	struct merlon_diag diag = { 0 };
	int r;

	(void)state;
	options.pin_dir = PIN_DIR;
	loaded_ns = merlon_now_ns() - 1000000000;
	options.max_sessions = 1024;
	r = unshare(CLONE_NEWNET) < 0 ? -errno : 0;
	if (!r && system("ip link add " DEVICE " address 02:00:00:00:00:01 type veth peer name why1"))
		r = -ENODEV;
	if (!r)
		r = merlon_dataplane_open(&options, &dp, &diag);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	return r < 0 ? -1 : 0;
}

static int finish(void **state)
{
	struct merlon_diag diag = { 0 };
	int r = dp ? merlon_dataplane_remove(dp, &diag) : 0;

	(void)state;
	merlon_dataplane_close(dp);
	merlon_diag_clear(&diag);
	return r;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_native_and_reference),
		cmocka_unit_test(sessions_are_copies),
	};

	if (argc > 1)
		seconds = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, begin, finish);
}
