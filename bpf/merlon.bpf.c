/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data plane at TC. `ingress_entry` and `egress_entry` are what interfaces have attached, for good; they jump to
 * the programs that are in force. Those take the short way (hot.h) for packets of established connections whose
 * verdict is known, and jump to `cold`, the long one (cold.h), for all others.
 */
#include "bpf/maps.h"

#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>

#include "bpf/cold.h"
#include "bpf/hot.h"
#include "bpf/ours.h"
#include "bpf/takeover.h"
#include "bpf/why.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tc")
int ingress(struct __sk_buff *skb)
{
	__u32 carried = 0;
	int r;

	if (!control.generation)
		return MERLON_PASS;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) {
		if (!skb->vlan_present || !merlon_ours_ingress(skb) || !merlon_hides_packet(skb))
			return merlon_not_judged();
		merlon_stat_packet(MERLON_STAT_MALFORMED, MERLON_INPUT, skb->len);
		return control.flags & MERLON_C_AUDIT ? MERLON_PASS : merlon_drop(MERLON_INGRESS);
	}
	/* what the loopback device brings was tracked when it left; elsewhere the field could be anyone's */
	if (skb->ifindex == MERLON_LOOPBACK && merlon_is_carried(skb->tc_index))
		carried = skb->tc_index;
	skb->tc_index = 0;
	if (!merlon_ours_ingress(skb))
		return merlon_not_judged();
	r = merlon_hot(skb, MERLON_INGRESS, carried);
	return r >= MERLON_COLD ? merlon_go_cold(skb, MERLON_INGRESS | carried << 1, r) : r;
}

SEC("tc")
int egress(struct __sk_buff *skb)
{
	__u32 carried = 0;
	int r;

	if (!control.generation)
		return MERLON_PASS;
	if (skb->tc_index == MERLON_CARRY_BAD && merlon_came_filtered(skb->ingress_ifindex))
		carried = MERLON_CARRY_BAD;
	if (skb->ifindex == MERLON_LOOPBACK)
		skb->tc_index = 0;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return merlon_not_judged();
	if (!merlon_ours_egress(skb))
		return merlon_not_judged();
	if (carried)
		skb->tc_index = 0;
	r = merlon_hot(skb, MERLON_EGRESS, carried);
	return r >= MERLON_COLD ? merlon_go_cold(skb, MERLON_EGRESS | carried << 1, r) : r;
}

SEC("tc")
int cold(struct __sk_buff *skb)
{
	struct merlon_scratch *s = merlon_only(scratch);

	return s ? merlon_cold(skb, s->where, s->reason) : TC_ACT_SHOT;
}

/*
 * An empty slot lets everything pass: nothing is in force. bpf_tail_call_static() would keep its arguments in registers that
 * are to be saved; that they are constants, which makes a direct jump of the call, clang sees here without it.
 */
SEC("tc")
int ingress_entry(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &entry, MERLON_ENTRY_INGRESS);
	return MERLON_PASS;
}

SEC("tc")
int egress_entry(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &entry, MERLON_ENTRY_EGRESS);
	return MERLON_PASS;
}

/* Attached nowhere: user space runs it over a packet of its own making (src/kernel/why.c), and loads it for that only. */
SEC("?tc")
int why(struct __sk_buff *skb)
{
	return merlon_why(skb);
}

/* In the slots of `entry` while sessions go from a data plane of another layout to this one. */
SEC("?tc")
int ingress_takeover(struct __sk_buff *skb)
{
	return merlon_take_over(skb, MERLON_INGRESS);
}

SEC("?tc")
int egress_takeover(struct __sk_buff *skb)
{
	return merlon_take_over(skb, MERLON_EGRESS);
}
