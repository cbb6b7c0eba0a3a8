/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that no rule asks for: one kind after the other. */
#include "src/verify/odd.h"

#include <linux/if_packet.h>
#include <netinet/in.h>

#include "src/util/cleanup.h"

static merlon_odd_kind *const kinds[] = {
	merlon_odd_truncated, merlon_odd_icmp, merlon_odd_header4, merlon_odd_super, merlon_odd_extensions6, merlon_odd_groups,
	merlon_odd_icmp_errors, merlon_odd_short, merlon_odd_transport, merlon_odd_links, merlon_odd_options4, merlon_odd_fragments,
	merlon_odd_protocols, merlon_odd_header6, merlon_odd_sources, merlon_odd_tcp_flags, merlon_odd_partial, merlon_odd_hairpin,
	merlon_odd_same_flow6, merlon_odd_padded, merlon_odd_broken_fragments, merlon_odd_nowhere, merlon_odd_multicast_out,
	merlon_odd_flipped, merlon_odd_to_itself,
};

void merlon_odd(struct merlon_packets *p)
{
	kinds[p->odd++ % ARRAY_SIZE(kinds)](p);
}

bool merlon_odd_base(struct merlon_packets *p, int family, bool ethernet, struct merlon_intent *ret)
{
	static const uint8_t hooks[] = { MERLON_INPUT, MERLON_FORWARD };
	static const uint16_t inviting[] = { 22, 53, 80, 443, 8080 };

	for (unsigned tries = 0; tries < 12; tries++) {
		int chosen = family < 0 ? (int)merlon_odd_of(p, MERLON_FAMILIES) : family;

		*ret = merlon_opener(p, hooks[merlon_odd_of(p, 2)], chosen);
		/* now and then another protocol than the one that may pass */
		if (merlon_random_percent(&p->random, 20)) {
			static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP };

			ret->l4proto = protocols[merlon_odd_of(p, 3)];
			ret->th0 = 20000 + merlon_odd_of(p, 40000);
			ret->th2 = inviting[merlon_odd_of(p, ARRAY_SIZE(inviting))];
			if (ret->l4proto == IPPROTO_ICMP) {
				ret->l4proto = chosen == MERLON_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
				ret->th0 = (chosen == MERLON_IPV4 ? 8 : 128) << 8;
				ret->th2 = 0;
			}
		}
		ret->tcp_flags = ret->l4proto == IPPROTO_TCP ? MERLON_SYN : 0;
		ret->state = MERLON_CT_NEW;
		ret->direction = MERLON_ORIGINAL;
		ret->ttl = 63;
		ret->bytes = ret->nexthdr = ret->tos = 0;
		ret->pkttype = PACKET_HOST;
		if (ret->in == MERLON_NO_DEVICE || ret->in == MERLON_GROUND_LO || merlon_intent_limit(ret) != MERLON_LIMIT_NONE)
			continue;
		if (ret->l4proto != IPPROTO_TCP && ret->l4proto != IPPROTO_UDP && !merlon_is_icmp_protocol(ret->l4proto))
			continue;
		if (!merlon_settle(p, ret) || (ethernet && p->devices.device[ret->in].tun))
			continue;
		return true;
	}
	return false;
}

size_t merlon_odd_build(struct merlon_packets *p, const struct merlon_intent *intent)
{
	struct merlon_details d = { .seq = merlon_random_bits(&p->random), .id = ++p->next_id };

	return merlon_intent_build(intent, &d, p->ip);
}

void merlon_odd_send(struct merlon_packets *p, const struct merlon_intent *intent, size_t n, const char *note,
		     enum merlon_frame_limit limit)
{
	merlon_emit_bytes(p, intent, &(struct merlon_emission){ .note = note, .limit = limit }, n);
}
