/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random sequences of packets over a few flows, forwarded by the kernel, whose nf_conntrack state and direction nft
 * writes into the DSCP field, and given to merlon's egress program: both must see the same in every packet. Numbers,
 * windows and options of TCP are mostly right, often at the edge of it, and sometimes anything. MERLON_SEED chooses
 * others, MERLON_PACKETS how many each of the first two tests has (50,000, in a VM 10,000); the long form is
 * MERLON_PACKETS=5000000, 10,000,000 in all. --json: the figure as a line of JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "src/kernel/dataplane.h"
#include "tests/bpf/remains.h"
#include "tests/bpf/talk.h"

#define STRETCH 2000	/* packets between fresh starts */
#define TICK_NS 20000000	/* how far clocks may be apart */

static struct oracle oracle;
static unsigned n_compared, n_different;
enum { INVALID = 6 };

static void set_sysctl(const char *name, int value)
{
	char command[160];

	snprintf(command, sizeof(command), "echo %d >/proc/sys/net/netfilter/nf_conntrack_%s", value, name);
	assert_int_equal(system(command), 0);
}

/* As `conntrack -F`. */
static void flush_conntrack(void)
{
	char buffer[256];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct mnl_socket *socket = mnl_socket_open(NETLINK_NETFILTER);
	ssize_t n;

	message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	mnl_nlmsg_put_extra_header(message, sizeof(struct nfgenmsg));
	assert_true(socket && !mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID));
	assert_true(mnl_socket_sendto(socket, message, message->nlmsg_len) > 0);
	n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
	assert_true(n > 0 && mnl_cb_run(buffer, n, 0, mnl_socket_get_portid(socket), NULL, NULL) >= 0);
	mnl_socket_close(socket);
}

/* Both forget all connections: their tables do not fill up. Other settings hold from now on. */
static void begin_again(void)
{
	struct merlon_trackers trackers;

	for (int i = 0; i < TALKS; i++)
		talk_reset(i);
	flush_conntrack();
	plane_forget(&oracle.plane);
	set_sysctl("tcp_be_liberal", one_in(6));
	set_sysctl("tcp_loose", !one_in(4));
	set_sysctl("tcp_ignore_invalid_rst", one_in(4));
	merlon_trackers_read(&trackers);
	plane_trackers(&oracle.plane, &trackers);
}

/* `odd`: one in so many packets is; 0: none. */
static void compare(int packets, unsigned odd)
{
	for (int i = 0; i < packets; i++) {
		int which = any(TALKS), from, kernel, merlon;
		struct talk *talk = &talks[which];
		struct end before[2];
		struct frame f;

		if (i % STRETCH == 0)
			begin_again();
		if (one_in(80))
			talk_reset(which);
		from = talk->itself ? 0 : any(2);
		memcpy(before, talk->end, sizeof(before));
		f = talk_packet(talk, from);
		if (odd && one_in(odd))
			talk_make_odd(talk, from, &f);
		oracle_address(&f, from);
		kernel = oracle_kernel(&oracle, &f, from);
		merlon = oracle_merlon(&oracle, &f, from);
		talk_tell(talk, &f, from, kernel, merlon);
		if (kernel == INVALID)
			memcpy(talk->end, before, sizeof(before));
		n_compared++;
		if (oracle_same(&oracle, kernel, merlon))
			continue;
		n_different++;
		fprintf(stderr, "%s", talk->story);
		fail_msg("packet %d: the kernel says %s, merlon %s", i, oracle_meaning[kernel], oracle_meaning[merlon < 0 ? 0 : merlon]);
	}
}

static int length(void)
{
	/* emulated machines are slow */
	return oracle_packets(getenv("MERLON_IN_VM") ? 10000 : 50000);
}

static void states_and_directions(void **state)
{
	(void)state;
	oracle_rules(&oracle, 0);
	compare(length(), 0);
}

static void states_with_decisions_remembered(void **state)
{
	(void)state;
	oracle_rules(&oracle, 1);
	compare(length(), 0);
}

static void odd_packets(void **state)
{
	(void)state;
	oracle_rules(&oracle, 0);
	compare((length() + 4) / 5, 3);
}

/* What came of a packet: the sessions that it may have touched live as long as the kernel's. */
struct checked {
	const struct talk *talk;
	uint64_t since_ns;	/* when it was sent */
	int unclear;		/* a stream begins after two seconds: which of the clocks ticked first? */
	unsigned differences;
	unsigned over;		/* sessions whose time is over, for both: a slow machine takes longer than the shortest of them */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void check_remains(void *context, const struct remains *r)
{
	struct checked *checked = context;
	int64_t difference = r->kernel_s - r->merlon_s;
	const uint64_t begins = 2000000000;

	if (r->kernel_s >= 0 && difference >= -2 && difference <= 2)
		return;
	if (r->kernel_s < 0 && r->merlon_s <= 2) {
		checked->over++;
		return;
	}
	if (checked->talk && r->l4proto == IPPROTO_UDP && r->age_ns > begins - TICK_NS &&
	    r->age_ns < begins + TICK_NS + (now_ns() - checked->since_ns)) {
		checked->unclear = 1;
		return;
	}
	checked->differences++;
	fprintf(stderr, "%sprotocol %u, port %u, state %u: the kernel's has %lld s left, merlon's %lld s\n",
		checked->talk ? checked->talk->story : "", r->l4proto, r->port, r->state, (long long)r->kernel_s,
		(long long)r->merlon_s);
}

/* Other timeouts now and then: what does not prolong a session leaves it with one of those before. */
static void other_timeouts(void)
{
	struct merlon_trackers trackers;

	remains_shuffle();
	merlon_trackers_read(&trackers);
	plane_trackers(&oracle.plane, &trackers);
}

/* Most connections of all others never get far: every other flow is mostly a proper one. */
static struct frame next_packet(struct talk *talk, int *from)
{
	if (talk->proto != IPPROTO_TCP || talk->flow.sport & 1 || one_in(60))
		return talk_packet(talk, *from);
	return talk_proper(talk, from);
}

static void follow_timeouts(int packets)
{
	struct checked checked = { 0 };
	unsigned known;

	plane_forget(&oracle.plane);
	remains_kernel_count(true);
	for (int i = 0; i < TALKS; i++)
		talk_reset(i);
	for (int i = 0; i < packets && !checked.differences; i++) {
		struct talk *talk = &talks[any(TALKS)];
		int from = any(2), kernel, merlon;
		struct frame f;

		if (i % 40 == 0)
			other_timeouts();
		/* datagrams of a flow that is younger than two seconds, a little younger, and older */
		if (i == packets / 3 || i == packets / 3 * 2)
			usleep(1150000);
		if (one_in(talk->proto == IPPROTO_UDP ? 400 : 80)) {
			talk_reset(talk - talks);
			/* two ends with the same numbers */
			if (one_in(6))
				talk->end[1].next = talk->end[0].next;
		}
		f = next_packet(talk, &from);
		oracle_address(&f, from);
		do {
			checked = (struct checked){ .talk = talk, .since_ns = now_ns() };
			kernel = oracle_kernel(&oracle, &f, from);
			merlon = oracle_merlon(&oracle, &f, from);
			talk_tell(talk, &f, from, kernel, merlon);
			remains_each(&oracle.plane, talk->flow.sport, check_remains, &checked);
		} while (checked.unclear);
		/* kernel and merlon did not see it at the same time: a flow that began with it has two ages */
		if (now_ns() - checked.since_ns > TICK_NS)
			talk_reset(talk - talks);
	}
	checked.talk = NULL;
	checked.over = 0;
	/* the kernel removes those that are over when it is asked for them */
	known = remains_each(&oracle.plane, 0, check_remains, &checked);
	assert_int_equal(checked.differences, 0);
	assert_int_equal(known - checked.over, remains_kernel_count(false));
}

static void timeouts(void **state)
{
	(void)state;
	oracle_rules(&oracle, 1);
	/* each costs two dumps */
	for (int left = (length() + 9) / 10; left > 0; left -= 50000)
		follow_timeouts(left < 50000 ? left : 50000);
}

static int group_set_up(void **state)
{
	(void)state;
	return oracle_open(&oracle);
}

static int group_tear_down(void **state)
{
	(void)state;
	oracle_close(&oracle);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_and_directions), cmocka_unit_test(states_with_decisions_remembered),
		cmocka_unit_test(timeouts), cmocka_unit_test(odd_packets),
	};
	int r;

	if (geteuid())
		return 77;
	print_message("# seed %u\n", oracle_seed());
	r = cmocka_run_group_tests(tests, group_set_up, group_tear_down);
	if (argc > 1 && !strcmp(argv[1], "--json"))
		printf("{\"figure\": \"ct_state_differences\", \"value\": %u, \"unit\": \"packets\"}\n", n_different);
	else
		printf("# figure: ct_state_differences %u of %u packets\n", n_different, n_compared);
	return r;
}
