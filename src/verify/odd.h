/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What kinds of odd packets begin with. Each kind is a function that sends some frames of flows of its own. */
#ifndef MERLON_VERIFY_ODD_H
#define MERLON_VERIFY_ODD_H

#include "src/verify/flows.h"

/*
 * A packet of TCP (SYN), UDP or echo from a device, for the host or through it, of a flow that most probably may
 * pass. `family` < 0: any. `ethernet`: not from a tunnel. False: none now.
 */
bool merlon_odd_base(struct merlon_packets *p, int family, bool ethernet, struct merlon_intent *ret);
static inline uint32_t merlon_odd_of(struct merlon_packets *p, uint32_t n)
{
	return merlon_random_below(&p->random, n);
}
/* Builds it into p->ip with an id of its own; returns its length. */
size_t merlon_odd_build(struct merlon_packets *p, const struct merlon_intent *intent);
void merlon_odd_send(struct merlon_packets *p, const struct merlon_intent *intent, size_t n, const char *note,
		     enum merlon_frame_limit limit);

typedef void merlon_odd_kind(struct merlon_packets *p);
/* odd_header.c */
merlon_odd_kind merlon_odd_truncated, merlon_odd_short, merlon_odd_header4, merlon_odd_header6, merlon_odd_transport, merlon_odd_flipped;
/* odd_options.c */
merlon_odd_kind merlon_odd_options4, merlon_odd_extensions6, merlon_odd_same_flow6, merlon_odd_fragments,
	merlon_odd_broken_fragments;
/* odd_ways.c */
merlon_odd_kind merlon_odd_groups, merlon_odd_sources, merlon_odd_links, merlon_odd_hairpin, merlon_odd_nowhere, merlon_odd_super,
	merlon_odd_partial, merlon_odd_padded;
/* odd_protocols.c */
merlon_odd_kind merlon_odd_icmp, merlon_odd_icmp_errors, merlon_odd_to_itself, merlon_odd_protocols, merlon_odd_tcp_flags,
	merlon_odd_multicast_out;

#endif
