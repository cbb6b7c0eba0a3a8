/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/hear.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#define MLD2_REPORT 143

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

static uint64_t hash_bytes(uint64_t hash, const uint8_t *data, size_t bytes)
{
	uint64_t word;

	for (hash = mix(hash, bytes); bytes >= 8; bytes -= 8, data += 8) {
		memcpy(&word, data, 8);
		hash = mix(hash, word);
	}
	word = 0;
	memcpy(&word, data, bytes);
	return mix(hash, word);
}

void merlon_ears_clear(struct merlon_ears *ears)
{
	size_t i;

	for (i = 0; i < ears->n_arrivals; i++)
		free(ears->arrival[i].data);
	free(ears->arrival);
	*ears = (struct merlon_ears){ .keep = ears->keep };
}

bool merlon_ears_equal(const struct merlon_ears *a, const struct merlon_ears *b)
{
	return !memcmp(a->sum, b->sum, sizeof(a->sum)) && !memcmp(a->n, b->n, sizeof(a->n));
}

bool merlon_ears_as_many(const struct merlon_ears *a, const struct merlon_ears *b)
{
	int i;

	for (i = 0; i < MERLON_CHANNEL_LOGGED; i++)
		if (a->n[i] - a->answers[i] != b->n[i] - b->answers[i])
			return false;
	return true;
}

/* Without memory a packet is counted but not kept: the comparison stays right. */
static void keep(struct merlon_ears *ears, const struct merlon_arrival *arrival, const void *data)
{
	struct merlon_arrival *grown, *at;

	if (ears->n_arrivals == ears->room) {
		size_t room = ears->room ? 2 * ears->room : 16;

		grown = realloc(ears->arrival, room * sizeof(*grown));
		if (!grown)
			return;
		ears->arrival = grown;
		ears->room = room;
	}
	at = &ears->arrival[ears->n_arrivals];
	*at = *arrival;
	at->data = malloc(arrival->bytes + 1);
	if (!at->data)
		return;
	memcpy(at->data, data, arrival->bytes);
	ears->n_arrivals++;
}

static void take(struct merlon_ears *ears, struct merlon_arrival *arrival, const void *data)
{
	uint64_t hash = mix(arrival->channel, (uint64_t)arrival->mark << 32 | arrival->iif);

	hash = mix(hash, (uint64_t)arrival->gso_size << 16 | arrival->gso_type << 8 | arrival->wrong);
	arrival->hash = hash_bytes(hash, data, arrival->bytes);
	ears->sum[arrival->channel] += arrival->hash;
	ears->n[arrival->channel]++;
	if (ears->keep)
		keep(ears, arrival, data);
}

static uint32_t sum_words(const uint8_t *p, size_t bytes)
{
	uint64_t sum = 0;

	for (; bytes > 1; bytes -= 2, p += 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	if (bytes)
		sum += (uint32_t)p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* As skb_checksum_help() does it. */
static void complete(uint8_t *data, size_t bytes, const struct merlon_partial *partial)
{
	size_t at = (size_t)partial->csum_start + partial->csum_offset;
	uint16_t sum;

	if (!partial->partial || partial->csum_start >= bytes || at + 2 > bytes)
		return;
	sum = ~sum_words(data + partial->csum_start, bytes - partial->csum_start);
	data[at] = sum >> 8;
	data[at + 1] = sum;
}

/*
 * An ICMP error that quotes a reset: the kernel's own resets have a partial checksum, which nothing tells of a quotation.
 * `header`: of both IP headers, in bytes. Before it goes, the error's own checksum is looked at (IPv4: it covers no more).
 */
static void blank_quote(struct merlon_arrival *arrival, uint8_t *ip, size_t bytes, size_t header, bool v4)
{
	uint8_t *icmp = ip + header, *quote = icmp + sizeof(struct icmp6_hdr), *tcp = quote + header;
	size_t least = 2 * header + sizeof(struct icmp6_hdr) + sizeof(struct tcphdr);

	if (bytes < least || quote[v4 ? 9 : 6] != IPPROTO_TCP || !(tcp[13] & TH_RST))
		return;
	if (v4)
		arrival->wrong |= sum_words(icmp, bytes - header) != 0xffff;
	memset(icmp + offsetof(struct icmp6_hdr, icmp6_cksum), 0, 2);
	memset(tcp + offsetof(struct tcphdr, check), 0, 2);
}

/* The host chooses identifications; by them the header's checksum changes. */
static void blank4(struct merlon_arrival *arrival, uint8_t *ip, size_t bytes)
{
	size_t header = (ip[0] & 0xf) * 4U;

	if (bytes < sizeof(struct iphdr) || header < sizeof(struct iphdr) || header > bytes)
		return;
	arrival->wrong |= sum_words(ip, header) != 0xffff;
	memset(ip + offsetof(struct iphdr, id), 0, 2);
	memset(ip + offsetof(struct iphdr, check), 0, 2);
	/* A reset of the host's own stays partial on its way over lo, where nothing tells it. */
	if (arrival->channel == MERLON_CHANNEL_DELIVERED && ip[9] == IPPROTO_TCP && header + sizeof(struct tcphdr) <= bytes &&
	    ip[header + 13] & TH_RST)
		memset(ip + header + offsetof(struct tcphdr, check), 0, 2);
	if (ip[9] == IPPROTO_ICMP && header == sizeof(struct iphdr) && bytes > header && ip[header] == ICMP_DEST_UNREACH)
		blank_quote(arrival, ip, bytes, header, true);
}

static void blank6(struct merlon_arrival *arrival, uint8_t *ip, size_t bytes)
{
	if (bytes < sizeof(struct ip6_hdr) + sizeof(struct ip6_frag))
		return;
	/* a datagram that is cut again gets another identification */
	if (ip[6] == IPPROTO_FRAGMENT)
		memset(ip + sizeof(struct ip6_hdr) + offsetof(struct ip6_frag, ip6f_ident), 0, 4);
	if (arrival->channel == MERLON_CHANNEL_DELIVERED && ip[6] == IPPROTO_TCP &&
	    bytes >= sizeof(struct ip6_hdr) + sizeof(struct tcphdr) && ip[sizeof(struct ip6_hdr) + 13] & TH_RST)
		memset(ip + sizeof(struct ip6_hdr) + offsetof(struct tcphdr, check), 0, 2);
	if (ip[6] == IPPROTO_ICMPV6 && ip[sizeof(struct ip6_hdr)] == ICMP6_DST_UNREACH)
		blank_quote(arrival, ip, bytes, sizeof(struct ip6_hdr), false);
}

/* A host reports the groups it is in whenever its timers say so; it has no address of the link to do it from. */
static bool is_group_report(const uint8_t *ip, size_t bytes)
{
	static const uint8_t unspecified[16];

	return bytes > 48 && ip[0] >> 4 == 6 && ip[6] == IPPROTO_HOPOPTS && ip[40] == IPPROTO_ICMPV6 && ip[48] == MLD2_REPORT &&
	       !memcmp(ip + 8, unspecified, 16);
}

/* What the host may have said of its own. */
static bool is_answer(const uint8_t *ip, size_t bytes)
{
	size_t header = bytes >= sizeof(struct iphdr) && ip[0] >> 4 == 4 ? (ip[0] & 0xf) * 4U : sizeof(struct ip6_hdr);
	uint8_t protocol;

	if (bytes < header + 1)
		return false;
	protocol = ip[0] >> 4 == 4 ? ip[9] : ip[6];
	if (protocol == IPPROTO_TCP)
		return bytes >= header + sizeof(struct tcphdr) && ip[header + 13] & TH_RST;
	return (protocol == IPPROTO_ICMP && ip[header] == ICMP_DEST_UNREACH) ||
	       (protocol == IPPROTO_ICMPV6 && ip[header] == ICMP6_DST_UNREACH);
}

/* IPv6 fragments are delivered one by one where nobody has put them together before: the first one counts. */
static bool is_later6(const struct merlon_arrival *arrival, const uint8_t *ip, size_t bytes)
{
	return arrival->channel == MERLON_CHANNEL_DELIVERED && bytes >= sizeof(struct ip6_hdr) + sizeof(struct ip6_frag) &&
	       ip[0] >> 4 == 6 && ip[6] == IPPROTO_FRAGMENT && (ip[42] || ip[43] & 0xf8);
}

void merlon_ears_packet(struct merlon_ears *ears, const struct merlon_arrival *from, uint8_t *data,
			const struct merlon_partial *partial)
{
	struct merlon_arrival arrival = *from;
	uint8_t *ip = data + arrival.network;
	size_t bytes = arrival.bytes > arrival.network ? arrival.bytes - arrival.network : 0;

	if (arrival.channel != MERLON_CHANNEL_DELIVERED && is_group_report(ip, bytes))
		return;
	complete(data, arrival.bytes, partial);
	if (bytes && ip[0] >> 4 == 4)
		blank4(&arrival, ip, bytes);
	else if (bytes && ip[0] >> 4 == 6)
		blank6(&arrival, ip, bytes);
	ears->answers[arrival.channel] += is_answer(ip, bytes) || is_later6(&arrival, ip, bytes);
	take(ears, &arrival, data);
}

void merlon_ears_logged(struct merlon_ears *ears, const struct merlon_logged *logged)
{
	struct merlon_arrival arrival = { .channel = MERLON_CHANNEL_LOGGED, .bytes = sizeof(*logged) };

	take(ears, &arrival, logged);
}

void merlon_ears_marked(struct merlon_ears *ears, const struct merlon_marked *marked)
{
	struct merlon_arrival arrival = { .channel = MERLON_CHANNEL_MARKED, .bytes = sizeof(*marked) };

	take(ears, &arrival, marked);
}
