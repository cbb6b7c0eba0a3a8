/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>

#include <cmocka.h>

#include "src/kernel/reject.h"

static const struct merlon_reject_limits limits = { .ttl = 64, .hop_limit = 64 };

/* RFC 1071 over whatever a checksum covers, itself included: 0 when it is right. */
static uint16_t check(const void *a, size_t a_bytes, const void *b, size_t b_bytes, uint32_t sum)
{
	const uint8_t *p;

	for (p = a; a_bytes > 1; a_bytes -= 2, p += 2)
		sum += p[0] << 8 | p[1];
	for (p = b; b_bytes > 1; b_bytes -= 2, p += 2)
		sum += p[0] << 8 | p[1];
	if (b_bytes)
		sum += p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static struct merlon_reject_event event4(uint8_t protocol, const void *l4, size_t l4_bytes, size_t data)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 9, .tos = 0xb9, .protocol = protocol,
			    .saddr = htonl(0x0a000001), .daddr = htonl(0x0a000002) };
	struct merlon_reject_event e = { .family = MERLON_IPV4, .hook = MERLON_INPUT, .type = MERLON_REJECT_ICMP,
					 .code = ICMP_PORT_UNREACH, .l4_offset = 20, .l4proto = protocol };

	e.bytes = 20 + l4_bytes + data;
	e.snap_bytes = e.bytes < sizeof(e.packet) ? e.bytes : sizeof(e.packet);
	ip.tot_len = htons(e.bytes);
	memset(e.packet, 0x5a, sizeof(e.packet));
	memcpy(e.packet, &ip, 20);
	memcpy(e.packet + 20, l4, l4_bytes);
	return e;
}

static struct tcphdr reset_of(const struct tcphdr *tcp, size_t data, const struct iphdr **ret_ip, struct merlon_answer *a)
{
	struct merlon_reject_event e = event4(IPPROTO_TCP, tcp, sizeof(*tcp), data);
	struct tcphdr rst;

	e.type = MERLON_REJECT_TCP_RST;
	assert_int_equal(merlon_reject_build(&e, &limits, a), 0);
	assert_int_equal(a->kind, MERLON_ANSWER_IPV4);
	assert_int_equal(a->bytes, 40);
	*ret_ip = (const struct iphdr *)a->packet;
	assert_int_equal((*ret_ip)->saddr, htonl(0x0a000002));
	assert_int_equal((*ret_ip)->daddr, htonl(0x0a000001));
	assert_int_equal((*ret_ip)->ttl, 64);
	assert_int_equal((*ret_ip)->tos, 0);
	assert_int_equal((*ret_ip)->frag_off, htons(IP_DF));
	assert_int_equal(check(&(*ret_ip)->saddr, 8, a->packet + 20, 20, IPPROTO_TCP + 20), 0);
	memcpy(&rst, a->packet + 20, sizeof(rst));
	return rst;
}

static void test_reset_of_syn(void **state)
{
	struct tcphdr tcp = { .source = htons(4000), .dest = htons(22), .seq = htonl(0xfffffffe), .syn = 1, .doff = 5 }, rst;
	const struct iphdr *ip;
	struct merlon_answer a;

	(void)state;
	rst = reset_of(&tcp, 7, &ip, &a);
	assert_int_equal(rst.source, htons(22));
	assert_int_equal(rst.dest, htons(4000));
	assert_int_equal(rst.rst, 1);
	assert_int_equal(rst.ack, 1);
	assert_int_equal(rst.seq, 0);
	assert_int_equal(ntohl(rst.ack_seq), 6);	/* SYN and seven bytes, around the end */
	assert_int_equal(rst.window, 0);
}

static void test_reset_of_ack(void **state)
{
	struct tcphdr tcp = { .source = htons(4000), .dest = htons(22), .seq = htonl(5), .ack_seq = htonl(77), .ack = 1,
			      .doff = 5 }, rst;
	const struct iphdr *ip;
	struct merlon_answer a;

	(void)state;
	rst = reset_of(&tcp, 100, &ip, &a);
	assert_int_equal(rst.ack, 0);
	assert_int_equal(ntohl(rst.seq), 77);
	assert_int_equal(rst.ack_seq, 0);
}

static void test_unreachable(void **state)
{
	struct merlon_reject_event e;
	struct merlon_answer a;
	uint8_t udp[8] = { 1 };
	struct iphdr ip;

	(void)state;
	e = event4(IPPROTO_UDP, udp, sizeof(udp), 1000);
	assert_int_equal(merlon_reject_build(&e, &limits, &a), 0);
	assert_int_equal(a.bytes, 576);
	memcpy(&ip, a.packet, sizeof(ip));
	assert_int_equal(ip.saddr, htonl(0x0a000002));
	assert_int_equal(ip.tos, 0xd8);		/* the original's TOS bits, precedence internetwork control */
	assert_int_equal(a.packet[20], ICMP_DEST_UNREACH);
	assert_int_equal(a.packet[21], ICMP_PORT_UNREACH);
	assert_int_equal(check(NULL, 0, a.packet + 20, a.bytes - 20, 0), 0);
	assert_memory_equal(a.packet + 28, e.packet, 548);

	e = event4(IPPROTO_UDP, udp, sizeof(udp), 3);	/* odd length */
	e.hook = MERLON_FORWARD;
	assert_int_equal(merlon_reject_build(&e, &limits, &a), 0);
	assert_int_equal(a.bytes, 28 + 31);
	assert_int_equal(check(NULL, 0, a.packet + 20, a.bytes - 20, 0), 0);
	memcpy(&ip, a.packet, sizeof(ip));
	assert_int_equal(ip.saddr, 0);		/* the kernel's choice */
}

static struct merlon_reject_event event6(uint8_t protocol, const void *l4, size_t l4_bytes, size_t data)
{
	struct ip6_hdr ip = { .ip6_vfc = 0x60, .ip6_nxt = protocol, .ip6_hlim = 3 };
	struct merlon_reject_event e = { .family = MERLON_IPV6, .hook = MERLON_INPUT, .type = MERLON_REJECT_ICMP,
					 .code = ICMP6_DST_UNREACH_ADMIN, .l4_offset = 40, .l4proto = protocol, .iif = 7 };

	inet_pton(AF_INET6, "fe80::1", &ip.ip6_src);
	inet_pton(AF_INET6, "fd00::2", &ip.ip6_dst);
	e.bytes = 40 + l4_bytes + data;
	e.snap_bytes = e.bytes < sizeof(e.packet) ? e.bytes : sizeof(e.packet);
	memset(e.packet, 0x5a, sizeof(e.packet));
	memcpy(e.packet, &ip, 40);
	memcpy(e.packet + 40, l4, l4_bytes);
	return e;
}

static void test_ipv6(void **state)
{
	struct tcphdr tcp = { .source = htons(1), .dest = htons(2), .seq = htonl(10), .syn = 1, .doff = 5 }, rst;
	struct merlon_reject_event e = event6(IPPROTO_TCP, &tcp, sizeof(tcp), 0);
	struct merlon_answer a;
	uint8_t udp[8] = { 0 };

	(void)state;
	e.type = MERLON_REJECT_TCP_RST;
	assert_int_equal(merlon_reject_build(&e, &limits, &a), 0);
	assert_int_equal(a.kind, MERLON_ANSWER_IPV6);
	assert_int_equal(a.scope, 7);
	assert_int_equal(a.bytes, 60);
	assert_int_equal(check(a.packet + 8, 32, a.packet + 40, 20, IPPROTO_TCP + 20), 0);
	memcpy(&rst, a.packet + 40, sizeof(rst));
	assert_int_equal(ntohl(rst.ack_seq), 11);

	e = event6(IPPROTO_UDP, udp, sizeof(udp), 2000);
	assert_int_equal(merlon_reject_build(&e, &limits, &a), 0);
	assert_int_equal(a.bytes, 1280);
	assert_int_equal(a.packet[40], ICMP6_DST_UNREACH);
	assert_int_equal(check(a.packet + 8, 32, a.packet + 40, 1240, IPPROTO_ICMPV6 + 1240), 0);
	e.hook = MERLON_FORWARD;
	assert_int_equal(merlon_reject_build(&e, &limits, &a), 0);
	assert_int_equal(a.kind, MERLON_ANSWER_ICMPV6);
	assert_int_equal(a.bytes, 1240);
	assert_memory_equal(a.packet + 8, e.packet, 1232);
}

static void refused(struct merlon_reject_event e)
{
	struct merlon_answer a;

	assert_int_equal(merlon_reject_build(&e, &limits, &a), -EINVAL);
}

static void test_never_answered(void **state)
{
	struct tcphdr tcp = { .rst = 1, .doff = 5 };
	uint8_t icmp[8] = { ICMP_DEST_UNREACH }, icmp6[8] = { ICMP6_TIME_EXCEEDED }, udp[8] = { 0 };
	struct merlon_reject_event e = event4(IPPROTO_TCP, &tcp, sizeof(tcp), 0);

	(void)state;
	e.type = MERLON_REJECT_TCP_RST;
	refused(e);				/* a reset */
	tcp = (struct tcphdr){ .syn = 1, .doff = 5 };
	e = event4(IPPROTO_TCP, &tcp, sizeof(tcp), 0);
	e.type = MERLON_REJECT_TCP_RST;
	e.snap_bytes = 39;
	refused(e);				/* cut off */
	e = event4(IPPROTO_UDP, udp, sizeof(udp), 0);
	e.type = MERLON_REJECT_TCP_RST;
	refused(e);				/* no TCP */
	refused(event4(IPPROTO_ICMP, icmp, sizeof(icmp), 0));
	refused(event6(IPPROTO_ICMPV6, icmp6, sizeof(icmp6), 0));
	e = event4(IPPROTO_UDP, udp, sizeof(udp), 0);
	e.packet[7] = 1;
	refused(e);				/* a later fragment */
	e = event4(IPPROTO_UDP, udp, sizeof(udp), 0);
	e.packet[16] = 0xe0;
	refused(e);				/* to a group */
	e = event4(IPPROTO_UDP, udp, sizeof(udp), 0);
	memset(e.packet + 12, 0, 4);
	refused(e);				/* from nobody */
	e = event6(IPPROTO_UDP, udp, sizeof(udp), 0);
	e.packet[24] = 0xff;
	refused(e);
	e.snap_bytes = 39;
	refused(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_of_syn), cmocka_unit_test(test_reset_of_ack), cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_ipv6), cmocka_unit_test(test_never_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
