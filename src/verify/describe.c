/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets in words, for reports. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/run.h"

static unsigned word(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static void describe_tcp(FILE *out, const uint8_t *l4, size_t bytes)
{
	static const char flag[] = "FSRPAUEC";
	unsigned i;

	fputs(" flags ", out);
	for (i = 0; bytes > 13 && i < 8; i++)
		if (l4[13] & 1U << i)
			fputc(flag[i], out);
	if (bytes >= sizeof(struct tcphdr))
		fprintf(out, " seq %u ack %u", word(l4 + 4) << 16 | word(l4 + 6), word(l4 + 8) << 16 | word(l4 + 10));
}

static void describe_l4(FILE *out, uint8_t protocol, const uint8_t *l4, size_t bytes)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		if (bytes >= 4)
			fprintf(out, " %s %u > %u", protocol == IPPROTO_TCP ? "tcp" : "udp", word(l4), word(l4 + 2));
		if (protocol == IPPROTO_TCP)
			describe_tcp(out, l4, bytes);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (bytes >= 2)
			fprintf(out, " %s type %u code %u", protocol == IPPROTO_ICMP ? "icmp" : "icmpv6", l4[0], l4[1]);
		break;
	default:
		fprintf(out, " protocol %u", protocol);
	}
	fprintf(out, ", %zu bytes", bytes);
}

static void describe4(FILE *out, const uint8_t *ip, size_t bytes)
{
	char source[INET_ADDRSTRLEN], destination[INET_ADDRSTRLEN];
	size_t header = (ip[0] & 0xf) * 4U, length = word(ip + 2);
	unsigned fragment = word(ip + 6);

	inet_ntop(AF_INET, ip + 12, source, sizeof(source));
	inet_ntop(AF_INET, ip + 16, destination, sizeof(destination));
	fprintf(out, "%s > %s ttl %u tos 0x%02x", source, destination, ip[8], ip[1]);
	if (fragment & 0x3fff)
		fprintf(out, " fragment at %u%s", (fragment & 0x1fff) * 8, fragment & 0x2000 ? ", more follow" : "");
	if (length != bytes)
		fprintf(out, " (header says %zu bytes, there are %zu)", length, bytes);
	if (header >= sizeof(struct iphdr) && header <= bytes && !(fragment & 0x1fff))
		describe_l4(out, ip[9], ip + header, bytes - header);
	else
		fprintf(out, " protocol %u", ip[9]);
}

static void describe6(FILE *out, const uint8_t *ip, size_t bytes)
{
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
	size_t at = sizeof(struct ip6_hdr);
	uint8_t next = ip[6];

	inet_ntop(AF_INET6, ip + 8, source, sizeof(source));
	inet_ntop(AF_INET6, ip + 24, destination, sizeof(destination));
	fprintf(out, "%s > %s hop limit %u", source, destination, ip[7]);
	if (word(ip + 4) + at != bytes)
		fprintf(out, " (header says %zu bytes, there are %zu)", word(ip + 4) + at, bytes);
	while (at + 8 <= bytes && (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
				   next == IPPROTO_FRAGMENT)) {
		fprintf(out, " +%u", next);
		if (next == IPPROTO_FRAGMENT && word(ip + at + 2) & 0xfff8) {
			fprintf(out, " fragment at %u", word(ip + at + 2) & 0xfff8);
			return;
		}
		next = ip[at];
		at += next != IPPROTO_FRAGMENT && ip[at + 1] ? (ip[at + 1] + 1U) * 8 : 8;
	}
	if (at <= bytes)
		describe_l4(out, next, ip + at, bytes - at);
}

char *merlon_describe(const uint8_t *ip, size_t bytes)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (bytes >= sizeof(struct iphdr) && ip[0] >> 4 == 4)
		describe4(out, ip, bytes);
	else if (bytes >= sizeof(struct ip6_hdr) && ip[0] >> 4 == 6)
		describe6(out, ip, bytes);
	else
		fprintf(out, "no whole IP header, %zu bytes", bytes);
	fclose(out);
	return text;
}

char *merlon_hex(const uint8_t *data, size_t bytes)
{
	char *text = malloc(2 * bytes + 1);
	size_t i;

	for (i = 0; text && i < bytes; i++)
		sprintf(text + 2 * i, "%02x", data[i]);
	if (text)
		text[2 * bytes] = 0;
	return text;
}

static const char *name_of(const struct merlon_ground *ground, uint32_t index)
{
	unsigned i;

	for (i = 0; i < ground->n_devices; i++)
		if (ground->device[i].index == index)
			return ground->device[i].name;
	return index == 1 ? "lo" : "-";
}

static void describe_logged(FILE *out, const struct merlon_logged *l, const struct merlon_ground *ground)
{
	static const char *const hook[MERLON_HOOKS] = { "input", "forward", "output" };
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
	int af = l->family == MERLON_IPV4 ? AF_INET : AF_INET6;

	inet_ntop(af, l->source, source, sizeof(source));
	inet_ntop(af, l->destination, destination, sizeof(destination));
	fprintf(out, "logged \"%s\" in %s: %s > %s, %u bytes, in by %s, out by %s, mark 0x%x", l->prefix, hook[l->hook % MERLON_HOOKS],
		source, destination, l->bytes, name_of(ground, l->iif), name_of(ground, l->oif), l->mark);
}

static char *describe_arrival(const struct merlon_arrival *a, const struct merlon_ground *ground)
{
	_cleanup_free_ char *packet = NULL;
	const struct merlon_marked *marked = (const void *)a->data;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (a->channel == MERLON_CHANNEL_LOGGED) {
		describe_logged(out, (const void *)a->data, ground);
	} else if (a->channel == MERLON_CHANNEL_MARKED) {
		fprintf(out, "mark 0x%x on %u bytes out by %s", marked->mark, marked->bytes, name_of(ground, marked->ifindex));
	} else {
		packet = merlon_describe(a->data + a->network, a->bytes - a->network);
		if (a->channel == MERLON_CHANNEL_DELIVERED)
			fprintf(out, "delivered, in by %s", name_of(ground, a->iif));
		else
			fprintf(out, "out by %s", ground->device[a->channel].name);
		if (a->mark)
			fprintf(out, ", mark 0x%x", a->mark);
		fprintf(out, "%s%s: %s", a->gso_type ? ", super-packet" : "", a->wrong ? ", wrong header checksum" : "",
			packet ? packet : "");
	}
	fclose(out);
	return text;
}

json_t *merlon_describe_ears(const struct merlon_ears *ears, const struct merlon_ground *ground)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < ears->n_arrivals; i++) {
		_cleanup_free_ char *text = describe_arrival(&ears->arrival[i], ground);
		_cleanup_free_ char *hex = merlon_hex(ears->arrival[i].data, ears->arrival[i].bytes);

		json_array_append_new(list, json_pack("{s:s?, s:s?}", "text", text, "hex", hex));
	}
	return list;
}
