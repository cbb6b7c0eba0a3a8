/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include "src/model/why.h"

/* Reads words that are separated by blanks; 0 or an error whose text contains `says`. */
static int ask(const char *text, struct merlon_question *ret, const char *says)
{
	struct merlon_diag diag = { 0 };
	const char *word[32];
	char copy[256], *save = NULL;
	size_t n = 0;
	int r;

	strcpy(copy, text);
	for (char *one = strtok_r(copy, " ", &save); one; one = strtok_r(NULL, " ", &save))
		word[n++] = one;
	r = merlon_question_read(word, n, ret, &diag);
	if (r < 0) {
		assert_int_equal(diag.n, 1);
		if (!strstr(diag.message[0].text, says) && !(diag.message[0].cure && strstr(diag.message[0].cure, says)))
			fail_msg("\"%s\" is not in: %s (%s)", says, diag.message[0].text,
				 diag.message[0].cure ? diag.message[0].cure : "");
	} else {
		assert_int_equal(diag.n, 0);
	}
	merlon_diag_clear(&diag);
	return r;
}

static void words_are_read(void **state)
{
	struct merlon_question q;

	(void)state;
	assert_int_equal(ask("tcp 192.0.2.1:4242 192.0.2.2:22 iif eth0 oif eth1 state established direction reply flags "
			     "syn,ack mark 0x10 length 100 ttl 3 tos 4 mac 02:00:00:00:00:0a", &q, ""), 0);
	assert_int_equal(q.family, MERLON_IPV4);
	assert_int_equal(q.proto, IPPROTO_TCP);
	assert_memory_equal(q.saddr, "\xc0\x00\x02\x01", 4);
	assert_memory_equal(q.daddr, "\xc0\x00\x02\x02", 4);
	assert_int_equal(q.sport, 4242);
	assert_int_equal(q.dport, 22);
	assert_string_equal(q.iif, "eth0");
	assert_string_equal(q.oif, "eth1");
	assert_int_equal(q.state, MERLON_CT_ESTABLISHED);
	assert_int_equal(q.direction, MERLON_REPLY);
	assert_int_equal(q.flags, 0x12);
	assert_int_equal(q.mark, 16);
	assert_int_equal(q.length, 100);
	assert_int_equal(q.ttl, 3);
	assert_int_equal(q.tos, 4);
	assert_memory_equal(q.mac, "\x02\x00\x00\x00\x00\x0a", 6);
	assert_int_equal(ask("udp [2001:db8::1]:53 [ff02::1]:5353", &q, ""), 0);
	assert_int_equal(q.family, MERLON_IPV6);
	assert_int_equal(q.pkttype, PACKET_MULTICAST);
	assert_int_equal(q.hook, MERLON_QUESTION_ANY);
	assert_int_equal(ask("icmp 192.0.2.1 255.255.255.255 type time-exceeded code 1 id 7 hook input", &q, ""), 0);
	assert_int_equal(q.icmp_type, 11);
	assert_int_equal(q.icmp_code, 1);
	assert_int_equal(q.pkttype, PACKET_BROADCAST);
	assert_int_equal(q.hook, MERLON_INPUT);
	assert_non_null(merlon_question_doubt(&q));
	q.state = MERLON_CT_RELATED;
	assert_null(merlon_question_doubt(&q));
	assert_int_equal(ask("icmpv6 2001:db8::1 [2001:db8::2] type nd-neighbor-solicit", &q, ""), 0);
	assert_int_equal(q.icmp_type, 135);
	assert_int_equal(ask("47 192.0.2.1 192.0.2.2", &q, ""), 0);
	assert_int_equal(q.proto, IPPROTO_GRE);
}

static void mistakes_are_explained(void **state)
{
	static const struct {
		const char *words, *says;
	} wrong[] = {
		{ "", "the protocol of the packet is missing" },
		{ "tcp", "the source of the packet is missing" },
		{ "tcp 192.0.2.1:1", "the destination of the packet is missing" },
		{ "tpc 192.0.2.1:1 192.0.2.2:2", "name or number" },
		{ "256 192.0.2.1 192.0.2.2", "name or number" },
		{ "tcp 192.0.2.1 192.0.2.2:2", "192.0.2.1:PORT" },
		{ "tcp 2001:db8::1 [2001:db8::2]:2", "[2001:db8::1]:PORT" },
		{ "tcp 192.0.2.1:1 192.0.2.2:65536", "0 to 65535" },
		{ "tcp 192.0.2.1:1 192.0.2.2:ssh", "the port of the destination is a number" },
		{ "tcp 192.0.2.1:1 [2001:db8::1]:2", "same family" },
		{ "tcp host:1 192.0.2.2:2", "names are not looked up" },
		{ "tcp [2001:db8::1:1 192.0.2.2:2", "ADDRESS:PORT" },
		{ "icmp 192.0.2.1:8 192.0.2.2", "no ports" },
		{ "icmp 2001:db8::1 2001:db8::2", "say icmpv6" },
		{ "icmpv6 192.0.2.1 192.0.2.2", "say icmp" },
		{ "44 2001:db8::1 2001:db8::2", "extension header" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 iff eth0", "there are: iif, oif" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 iif", "has no value" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 iif eth0 iif eth1", "twice" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 iif a-name-that-is-too-long", "name of an interface" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 state open", "established" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 hook prerouting", "input, forward, output" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 flags syn,fine", "fin, syn" },
		{ "udp 192.0.2.1:1 192.0.2.2:2 flags syn", "only tcp" },
		{ "udp 192.0.2.1:1 192.0.2.2:2 type 8", "of icmp" },
		{ "icmp 192.0.2.1 192.0.2.2 type 256", "0 to 255" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 length 39", "40 to 65535" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 ttl -1", "0 to 255" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 mac 02:00:00:00:00", "Ethernet address" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 mac 02:00:00:00:00:001", "Ethernet address" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 direction reply", "state established" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 hook output iif eth0", "no iif" },
		{ "tcp 192.0.2.1:1 192.0.2.2:2 hook input oif eth0", "no oif" },
	};
	struct merlon_question q;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(ask(wrong[i].words, &q, wrong[i].says), -EINVAL);
}

static void packets_have_their_headers(void **state)
{
	uint8_t packet[MERLON_QUESTION_BYTES];
	struct merlon_question q;

	(void)state;
	assert_int_equal(ask("tcp 192.0.2.1:4242 192.0.2.2:22 tos 8", &q, ""), 0);
	assert_int_equal(merlon_question_packet(&q, packet), 40);
	assert_memory_equal(packet, "\x45\x08\x00\x28\x00\x00\x00\x00\x40\x06", 10);
	assert_memory_equal(packet + 10, "\xf6\xc4", 2);
	assert_memory_equal(packet + 12, "\xc0\x00\x02\x01\xc0\x00\x02\x02\x10\x92\x00\x16", 12);
	assert_int_equal(packet[33], 0x02);
	q.state = MERLON_CT_ESTABLISHED;
	merlon_question_assume(&q, false);
	merlon_question_packet(&q, packet);
	assert_int_equal(packet[33], 0x10);
	assert_int_equal(ask("udp [2001:db8::1]:1 [2001:db8::2]:2", &q, ""), 0);
	assert_int_equal(merlon_question_packet(&q, packet), 48);
	assert_memory_equal(packet, "\x60\x00\x00\x00\x00\x08\x11\x40", 8);
	assert_int_equal(ask("icmpv6 2001:db8::1 2001:db8::2 id 258", &q, ""), 0);
	assert_int_equal(merlon_question_packet(&q, packet), 48);
	assert_memory_equal(packet + 40, "\x80\x00\x00\x00\x01\x02\x00\x00", 8);
	assert_int_equal(ask("gre 192.0.2.1 192.0.2.2", &q, ""), 0);
	assert_int_equal(merlon_question_packet(&q, packet), 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_read),
		cmocka_unit_test(mistakes_are_explained),
		cmocka_unit_test(packets_have_their_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
