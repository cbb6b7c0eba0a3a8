/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frames of which only what passes is compared:
 *  - Fragments. Where connections are tracked, nf_tables sees whole datagrams: counts, logs and answers are one for each,
 *    and what passes is cut again. Merlon judges fragments one by one.
 *  - What may be answered in one host only: nf_tables sends the answer to a socket that is bound to a device back through
 *    that device, merlon by the routes; and answers what the host sent from the address of a group, to which there is a
 *    route here (RFC 1122 3.2.2 forbids it). Before Linux 6.2: nf_tables answers no packet with a wrong checksum, and
 *    takes the whole payload of protocols that it does not know to have one (nf_reject_verify_csum()).
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/kernel.h"
#include "src/verify/run.h"

#define PATIENCE_MS 250		/* for what a softirq still has to do on a busy machine */

static bool is_fragment4(const uint8_t *ip, size_t bytes, bool *ret_last)
{
	unsigned word;

	if (bytes < sizeof(struct iphdr))
		return false;
	word = ip[6] << 8 | ip[7];
	*ret_last = !(word & IP_MF);
	return word & (IP_MF | IP_OFFMASK);
}

static bool is_later4(const uint8_t *ip)
{
	return (ip[6] << 8 | ip[7]) & IP_OFFMASK;
}

static bool is_fragment6(const uint8_t *ip, size_t bytes, bool *ret_last)
{
	size_t at = sizeof(struct ip6_hdr);
	uint8_t next = bytes > 6 ? ip[6] : 0;

	while (at + sizeof(struct ip6_frag) <= bytes && next != IPPROTO_FRAGMENT) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return false;
		next = ip[at];
		at += (ip[at + 1] + 1U) * 8;
	}
	if (next != IPPROTO_FRAGMENT || at + sizeof(struct ip6_frag) > bytes)
		return false;
	*ret_last = !(ip[at + 3] & 1);
	/* one that is all of its datagram is none (RFC 6946) */
	return ip[at + 2] || ip[at + 3];
}

static uint32_t sum_words(const uint8_t *p, size_t bytes, uint32_t sum)
{
	for (; bytes > 1; bytes -= 2, p += 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	sum += bytes ? (uint32_t)p[0] << 8 : 0;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* From 6.2 on the data path knows who vouches for a packet's checksum (bpf/checksum.h). */
static bool verifies_checksums(void)
{
	return merlon_kernel_is(6, 2);
}

/* Of the protocols of nf_reject_verify_csum(): nothing is verified. */
static bool is_unverified(uint8_t protocol)
{
	return protocol == IPPROTO_ESP || protocol == IPPROTO_AH || protocol == IPPROTO_SCTP || protocol == IPPROTO_UDPLITE ||
	       protocol == IPPROTO_DCCP;
}

/* As nf_checksum() finds it. Where that is not plain, it may be. */
static bool may_be_wrong(const uint8_t *ip, size_t bytes)
{
	bool v4 = ip[0] >> 4 == 4;
	size_t header = v4 ? (ip[0] & 0xf) * 4U : sizeof(struct ip6_hdr), length;
	uint8_t protocol;

	if (bytes < (v4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr)))
		return true;
	protocol = v4 ? ip[9] : ip[6];
	length = v4 ? (size_t)(ip[2] << 8 | ip[3]) : (size_t)(ip[4] << 8 | ip[5]) + header;
	if (header < sizeof(struct iphdr) || length > bytes || length <= header)
		return true;
	if (is_unverified(protocol))
		return false;
	if (!v4 && protocol == IPPROTO_NONE)
		return true;	/* never answered: ipv6_skip_exthdr() */
	if (protocol == IPPROTO_UDP && length >= header + 8 && !ip[header + 6] && !ip[header + 7])
		return !v4;
	/* nf_ip_checksum(): of others than TCP and UDP without pseudo header; nf_ip6_checksum() has it always */
	if (v4 && protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return sum_words(ip + header, length - header, 0) != 0xffff;
	return sum_words(ip + header, length - header,
			 sum_words(ip + (v4 ? 12 : 8), v4 ? 8 : 32, protocol + (uint32_t)(length - header))) != 0xffff;
}

static size_t network_of(const struct merlon_run *run, const struct merlon_frame *f)
{
	bool bare = f->way == MERLON_FRAME_LOCAL || run->segment.ground.device[f->device].tun;

	return bare ? 0 : f->bytes < ETH_HLEN ? f->bytes : ETH_HLEN;
}

static bool is_fragment_of(const struct merlon_run *run, const struct merlon_frame *f, bool *ret_last)
{
	size_t at = network_of(run, f);

	*ret_last = true;
	if (f->bytes <= at)
		return false;
	return f->data[at] >> 4 == 6 ? is_fragment6(f->data + at, f->bytes - at, ret_last) :
				       is_fragment4(f->data + at, f->bytes - at, ret_last);
}

/*
 * Fragments that the two do not even see alike: a datagram has another length than each of its fragments, and another
 * next header; where only one family is tracked, merlon lets later fragments of the other follow their first, too; and
 * without conntrack nf_tables takes for the transport header of a later fragment its IPv6 header (ipv6_find_hdr() leaves
 * the offset at 0), or of IPv4 its first bytes (nft_payload_fast_eval() of net/netfilter/nf_tables_core.c does not ask
 * for an offset, as nft_payload_eval() does); seen on 6.18.
 */
static bool is_misread(const struct merlon_run *run, const struct merlon_frame *f)
{
	const bool *tracks = run->tracks;
	size_t at = network_of(run, f);
	bool last;

	if (!is_fragment_of(run, f, &last))
		return false;
	if (f->data[at] >> 4 == 4 && run->asks_transport && !tracks[MERLON_IPV4] && is_later4(f->data + at))
		return true;
	if (run->asks_length || tracks[MERLON_IPV4] != tracks[MERLON_IPV6])
		return true;
	return f->data[at] >> 4 == 6 && (run->asks_nexthdr || !tracks[MERLON_IPV6]);
}

/* Options that ip6_parse_tlv() takes or skips: padding of zeros, seven bytes at most, and what asks for no more. */
static bool are_options_sound(const uint8_t *option, size_t bytes)
{
	size_t i, length, padding = 0;

	for (; bytes; option += length, bytes -= length) {
		length = *option == 0 ? 1 : bytes < 2 ? bytes + 1 : option[1] + 2U;
		if (length > bytes || *option & 0xc0)
			return false;
		for (i = 2; *option == 1 && i < length; i++)
			if (option[i])
				return false;
		padding = *option <= 1 ? padding + length : 0;
		if (padding > 7)
			return false;
	}
	return true;
}

/* Hop-by-hop options that end behind the packet or that nobody understands: the stack discards it before it asks any hook. */
static bool is_cut_short(const struct merlon_run *run, const struct merlon_frame *f)
{
	size_t at = network_of(run, f), bytes = f->bytes - at, offset = sizeof(struct ip6_hdr), length;
	const uint8_t *ip = f->data + at;

	if (bytes < offset || ip[0] >> 4 != 6 || ip[6] != IPPROTO_HOPOPTS)
		return false;
	if (offset + 8 > bytes)
		return true;
	length = (ip[offset + 1] + 1U) * 8;
	return offset + length > bytes || !are_options_sound(ip + offset + 2, length - 2);
}

/* ip_route_input_slow(), ip_mc_validate_source(): addresses that no packet from outside has. */
static bool is_martian4(const uint8_t *from, const uint8_t *to)
{
	static const uint8_t nobody[4], all[4] = { 255, 255, 255, 255 };
	bool may_be_nobody = !memcmp(to, all, 4) || (to[0] == 224 && !to[1] && !to[2]) ||
			     (!memcmp(from, nobody, 4) && !memcmp(to, nobody, 4));

	if (from[0] == 127 || from[0] >> 4 == 14 || !memcmp(from, all, 4) || to[0] == 127)
		return true;
	return (!from[0] || !to[0]) && !may_be_nobody;
}

/* ip6_rcv_core(), and ip6_forward() of what nobody sent. */
static bool is_martian6(const uint8_t *from, const uint8_t *to)
{
	static const uint8_t nobody[16], loopback[16] = { [15] = 1 }, mapped[12] = { [10] = 0xff, 0xff };

	if (from[0] == 0xff || !memcmp(from, loopback, 16) || !memcmp(to, loopback, 16) || !memcmp(from, mapped, 12))
		return true;
	return (to[0] == 0xff && (to[1] & 0xf) <= 1) || (to[0] != 0xff && !memcmp(from, nobody, 16));
}

/* What the stack discards by its addresses before it asks any hook but the first. */
static bool is_martian(const struct merlon_run *run, const struct merlon_frame *f)
{
	size_t at = network_of(run, f), bytes = f->bytes - at;
	const uint8_t *ip = f->data + at;

	/* the host itself may send in the name of a group, but nothing takes that in over lo */
	if (f->way != MERLON_FRAME_DEVICE)
		return ip[0] >> 4 == 6 && bytes >= sizeof(struct ip6_hdr) && ip[8] == 0xff;
	if (ip[0] >> 4 == 4)
		return bytes >= sizeof(struct iphdr) && is_martian4(ip + 12, ip + 16);
	return bytes >= sizeof(struct ip6_hdr) && is_martian6(ip + 8, ip + 24);
}

static enum merlon_frame_limit limit_of(const struct merlon_run *run, const struct merlon_frame *f)
{
	enum merlon_frame_limit limit = f->limit;

	if (limit == MERLON_LIMIT_REJECT_CHECKSUM && verifies_checksums())
		limit = MERLON_LIMIT_NONE;
	if (f->bytes <= network_of(run, f) || limit != MERLON_LIMIT_NONE)
		return limit;
	if (is_misread(run, f))
		return MERLON_LIMIT_FRAGMENTS;
	if (is_cut_short(run, f) || is_martian(run, f))
		return MERLON_LIMIT_STACK_CHECKS;
	return MERLON_LIMIT_NONE;
}

bool merlon_run_is_piece(const struct merlon_run *run, const struct merlon_frame *f)
{
	bool last;

	return is_fragment_of(run, f, &last);
}

bool merlon_run_goes_on(const struct merlon_run *run, const struct merlon_frame *f)
{
	bool last;

	is_fragment_of(run, f, &last);
	return !last;
}

static bool is_from_group(const uint8_t *ip, size_t bytes)
{
	return bytes >= sizeof(struct iphdr) && ip[0] >> 4 == 4 && ip[12] >> 4 == 14;
}

static int part_of(const struct merlon_run *run, const struct merlon_frame *f)
{
	size_t at = network_of(run, f);
	bool last, partial = f->csum_start || f->csum_offset;

	if (f->limit == MERLON_LIMIT_REJECT_CHECKSUM)
		return 1;
	if (f->limit != MERLON_LIMIT_NONE)
		return 2;
	if (is_fragment_of(run, f, &last))
		return 1;
	if (!run->rejects || f->bytes <= at)
		return 0;
	if (f->way == MERLON_FRAME_LOCAL && (f->device != MERLON_FRAME_UNBOUND || is_from_group(f->data + at, f->bytes - at)))
		return 1;
	return !verifies_checksums() && !partial && may_be_wrong(f->data + at, f->bytes - at);
}

/* What differs in a later part must not make the earlier ones differ. The order within each stays. */
int merlon_run_part(struct merlon_run *run)
{
	struct merlon_segment *s = &run->segment;
	struct merlon_frame *ordered = calloc(s->n + 1, sizeof(*ordered));
	size_t n = 0, i, end[3];
	int part;

	if (!ordered)
		return -ENOMEM;
	for (i = 0; i < s->n; i++)
		s->frame[i].limit = limit_of(run, &s->frame[i]);
	for (part = 0; part < 3; part++) {
		for (i = 0; i < s->n; i++)
			if (part_of(run, &s->frame[i]) == part)
				ordered[n++] = s->frame[i];
		end[part] = n;
	}
	run->n_free = end[0];
	run->n_plain = end[1];
	memcpy(s->frame, ordered, n * sizeof(*ordered));
	free(ordered);
	return 0;
}

static void forget(struct merlon_run *run)
{
	merlon_ears_clear(&run->ears[0]);
	merlon_ears_clear(&run->ears[1]);
}

/* After each frame, but of a datagram after its last fragment: until then nf_tables may hold it back. */
int merlon_run_plain(struct merlon_run *run)
{
	size_t i;
	int r = 0;

	for (i = run->n_free; i < run->n_plain && r >= 0; i++) {
		const struct merlon_frame *f = &run->segment.frame[i];

		merlon_run_send(run, f);
		if (merlon_run_goes_on(run, f) && i + 1 < run->n_plain)
			continue;
		r = merlon_run_compare_plain(run, PATIENCE_MS);
		forget(run);
		run->result->limit[f->limit].packets += f->limit != MERLON_LIMIT_NONE;
		if (r)
			continue;
		r = merlon_run_replay(run, i + 1);
		forget(run);
		if (r == 0)
			return merlon_run_explain(run, i);
		run->result->unrepeatable++;
	}
	return r < 0 ? r : 0;
}
