/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As test_conntrack, but every few packets merlon forgets what it knows and takes over what nf_conntrack knows, as the first
 * policy does: in whatever state connections are, all of them are there, live as long, and their next packets mean the
 * same. Windows are not told: neither checks them here. Nor is told of which number a reset would be believed, which end's
 * reset ended a connection, or that a SYN was let through amid one, which its answer would make a new one: what comes of
 * these may differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "bpf/tcp.h"
#include "src/kernel/dataplane.h"
#include "tests/bpf/remains.h"
#include "tests/bpf/talk.h"

#define STRETCH 1000

static struct oracle oracle;
static struct {
	bool reset;	/* since it was taken over */
	bool opened;	/* amid a connection */
} was[TALKS];
static unsigned differ, states[MERLON_TCP_STATES];
enum { NEW_ORIGINAL = 1, ESTABLISHED_ORIGINAL, INVALID = 6 };

static void set_sysctls(void)
{
	struct merlon_trackers trackers;
	char command[400];

	snprintf(command, sizeof(command), "cd /proc/sys/net/netfilter && echo 1 >nf_conntrack_tcp_be_liberal && "
		 "echo %d >nf_conntrack_tcp_loose && echo %d >nf_conntrack_tcp_ignore_invalid_rst", !one_in(4), one_in(4));
	assert_int_equal(system(command), 0);
	merlon_trackers_read(&trackers);
	plane_trackers(&oracle.plane, &trackers);
}

static void check_remains(void *context, const struct remains *r)
{
	int64_t difference = r->kernel_s - r->merlon_s;

	(void)context;
	if (r->l4proto == IPPROTO_TCP)
		states[r->state]++;
	/* the kernel tells whole seconds */
	if (r->kernel_s < 0 || difference < -2 || difference > 2)
		fail_msg("protocol %u, port %u, state %u: the kernel's has %lld s left, merlon's %lld s", r->l4proto, r->port, r->state,
			 (long long)r->kernel_s, (long long)r->merlon_s);
}

static void take_over(void)
{
	unsigned known = remains_kernel_count(false);

	plane_forget(&oracle.plane);
	assert_int_equal(oracle_take_over(&oracle), known);
	assert_int_equal(remains_each(&oracle.plane, 0, check_remains, NULL), known);
	for (int i = 0; i < TALKS; i++) {
		strcat(talks[i].story, "  taken over\n");
		was[i].reset = false;
	}
}

static bool may_differ(int which, const struct frame *f, int kernel, int merlon)
{
	uint8_t flags = f->data[f->l4 + 13];

	if (talks[which].proto != IPPROTO_TCP)
		return false;
	/* a connection that a reset has ended begins anew: the rules are asked */
	if ((flags & (F_SYN | F_ACK)) == F_SYN && kernel == ESTABLISHED_ORIGINAL && merlon == NEW_ORIGINAL)
		return true;
	return was[which].reset || was[which].opened;
}

static void begin_again(void)
{
	for (int i = 0; i < TALKS; i++)
		talk_reset(i);
	memset(was, 0, sizeof(was));
	remains_kernel_count(true);
	set_sysctls();
	take_over();
}

static void judge(int which, const struct frame *f, int kernel, int merlon)
{
	if (oracle_same(&oracle, kernel, merlon))
		return;
	if (!may_differ(which, f, kernel, merlon)) {
		fprintf(stderr, "%s", talks[which].story);
		fail_msg("the kernel says %s, merlon %s", oracle_meaning[kernel], oracle_meaning[merlon < 0 ? 0 : merlon]);
	}
	differ++;
	take_over();
}

static void one_packet(int which)
{
	struct talk *talk = &talks[which];
	int from = talk->itself ? 0 : any(2), kernel, merlon;
	struct frame f = talk_packet(talk, from);
	uint8_t flags = talk->proto == IPPROTO_TCP ? f.data[f.l4 + 13] : 0;

	oracle_address(&f, from);
	kernel = oracle_kernel(&oracle, &f, from);
	merlon = oracle_merlon(&oracle, &f, from);
	talk_tell(talk, &f, from, kernel, merlon);
	was[which].reset |= (flags & F_RST) != 0;
	judge(which, &f, kernel, merlon);
	if ((flags & (F_SYN | F_ACK)) == F_SYN && kernel != INVALID)
		was[which].opened = kernel != NEW_ORIGINAL;
}

static void next_packets(void **state)
{
	int packets = oracle_packets(getenv("MERLON_IN_VM") ? 2000 : 10000);

	(void)state;
	oracle_rules(&oracle, 0);
	for (int i = 0; i < packets; i++) {
		int which = any(TALKS);

		if (i % STRETCH == 0)
			begin_again();
		if (one_in(80)) {
			talk_reset(which);
			was[which].reset = was[which].opened = false;
		}
		if (one_in(20))
			take_over();
		one_packet(which);
	}
	print_message("# %u of %d packets differ by what was not told\n", differ, packets);
	assert_true(differ < (unsigned)packets / 50);
	for (int s = MERLON_TCP_SYN_SENT; s < MERLON_TCP_STATES; s++)
		assert_int_not_equal(states[s], 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(next_packets) };

	if (geteuid())
		return 77;
	print_message("# seed %u\n", oracle_seed());
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
