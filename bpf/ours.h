/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which packets are judged, and how long they are: what only the kernel's own skb tells. From 6.2 on it is read
 * through bpf_cast_to_kern_ctx(); on 6.1 less is known, and what is unknown is judged:
 *  - a device that was moved to another namespace goes on being filtered by the policy of the old one;
 *  - at egress, packets that another device hands down (macvlan, bond, bridge) are judged a second time.
 */
#ifndef MERLON_OURS_H
#define MERLON_OURS_H

#include <bpf/bpf_core_read.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "bpf/maps.h"

#define MERLON_LOOPBACK 1	/* LOOPBACK_IFINDEX of net/flow.h: the first device of every namespace */
#define MERLON_AF_PACKET 17
#define MERLON_ARPHRD_ETHER 1	/* linux/if_arp.h does not compile for BPF */

/* As much of the kernel's structs as is read here; offsets are relocated when the programs are loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct net {
	__u64 net_cookie;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct net_device {
	possible_net_t nd_net;
	unsigned short type;
};
struct dst_entry {
	struct net_device *dev;
};
struct sock {
	unsigned char sk_kern_sock : 1;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned int len;
	__u32 csum;
	__u8 ip_summed : 2;
	__u16 network_header;
	unsigned char *head, *data;
};
#pragma clang attribute pop

extern void *bpf_cast_to_kern_ctx(void *) __ksym __weak;
extern void *bpf_rdonly_cast(const void *, __u32) __ksym __weak;

/*
 * A bit-field among bytes, none of which crosses one. BPF_CORE_READ_BITFIELD() asks how wide it is: four branches, three of
 * which the verifier has to take out.
 */
#ifndef merlon_kernel_bits
#define merlon_kernel_bits(s, field) \
	((__u64)*((const __u8 *)(s) + __builtin_preserve_field_info((s)->field, BPF_FIELD_BYTE_OFFSET)) \
			 << __builtin_preserve_field_info((s)->field, BPF_FIELD_LSHIFT_U64) \
		 >> __builtin_preserve_field_info((s)->field, BPF_FIELD_RSHIFT_U64))
#endif

#define MERLON_DST_PTRMASK (~1UL)	/* SKB_DST_PTRMASK of linux/skbuff.h */

/* Where the IP header is, by the kernel's word (merlon_have_kern_ctx). */
merlon_inline __u32 merlon_network_offset_known(struct __sk_buff *skb)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	__u64 at = kernel->data - kernel->head;

	return kernel->network_header - (__u32)at;
}

/*
 * The same. Without the kernel's word for it: where the bytes at the header are found. One that is wrong by an accident of
 * the bytes makes the packet too short, and it is dropped.
 */
merlon_inline __u32 merlon_network_offset(struct __sk_buff *skb)
{
	__u64 header[2] = { 0 }, there[2] = { 0 };

	if (merlon_have_kern_ctx)
		return merlon_network_offset_known(skb);
	if (bpf_skb_load_bytes_relative(skb, 0, header, sizeof(header), BPF_HDR_START_NET) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, there, sizeof(there)))
		return 0;
	return header[0] == there[0] && header[1] == there[1] ? ETH_HLEN : 0;
}

/* Whether the packet's device has Ethernet headers (loopback has them, too, but is of another type). */
merlon_inline int merlon_is_ethernet(struct __sk_buff *skb)
{
	struct sk_buff *kernel;

	if (!merlon_have_kern_ctx)
		return skb->ifindex != MERLON_LOOPBACK;
	kernel = bpf_cast_to_kern_ctx(skb);
	return kernel->dev->type == MERLON_ARPHRD_ETHER;
}

/* The programs travel with a device that is moved to another namespace; that one's packets are not ours. */
merlon_inline int merlon_in_netns(struct __sk_buff *skb)
{
	struct sk_buff *kernel;

	if (!merlon_have_kern_ctx || !control.netns_cookie)
		return 1;
	kernel = bpf_cast_to_kern_ctx(skb);
	return kernel->dev->nd_net.net->net_cookie == control.netns_cookie;
}

/*
 * Frames for others, and frames of a VLAN, which another device receives once the tag is off; those for VLAN 0 are
 * for this device (IEEE 802.1Q priority tags).
 */
merlon_inline int merlon_ours_ingress(struct __sk_buff *skb)
{
	if (skb->pkt_type == PACKET_OTHERHOST)
		return 0;
	if (skb->vlan_present && skb->vlan_tci & 0xfff)
		return 0;
	return merlon_in_netns(skb);
}

#define MERLON_TAGS 4

/*
 * Behind a priority tag there may be another, which the stack takes off after this hook, for this device again if it is for
 * VLAN 0 as well (__netif_receive_skb_core(), since Linux 5.8): nobody sends that, and it would be judged by nobody.
 */
merlon_inline int merlon_hides_packet(struct __sk_buff *skb)
{
	__be16 tag[2] = { 0, skb->protocol };

	merlon_unroll
	for (__u32 i = 0; i < MERLON_TAGS; i++) {
		if (tag[1] != bpf_htons(ETH_P_8021Q) && tag[1] != bpf_htons(ETH_P_8021AD))
			return tag[1] == bpf_htons(ETH_P_IP) || tag[1] == bpf_htons(ETH_P_IPV6);
		if (bpf_skb_load_bytes_relative(skb, i * 4, tag, sizeof(tag), BPF_HDR_START_NET))
			return 0;
		if (tag[0] & bpf_htons(0xfff))
			return 0;
	}
	return 1;
}

/* The kernel's own socket sends it, no program's: an answer of the stack. What is unknown on 6.1 is none. */
merlon_inline int merlon_is_stacks_own(struct __sk_buff *skb)
{
	struct sk_buff *kernel;
	struct sock *sk;

	if (!merlon_have_kern_ctx)
		return 0;
	kernel = bpf_cast_to_kern_ctx(skb);
	sk = kernel->sk;
	return sk && merlon_kernel_bits(sk, sk_kern_sock);
}

/*
 * What the IP layer sends through this very device. What a device below another one carries has been judged above,
 * and what packet sockets send has no route (nf_tables does not see it either).
 */
merlon_inline int merlon_ours_egress(struct __sk_buff *skb)
{
	if (merlon_have_kern_ctx) {
		struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
		struct dst_entry *dst = bpf_rdonly_cast((void *)(kernel->_skb_refdst & MERLON_DST_PTRMASK),
							bpf_core_type_id_kernel(struct dst_entry));

		if (dst->dev != kernel->dev)
			return 0;
	} else if (skb->vlan_present && skb->vlan_tci & 0xfff) {
		return 0;
	} else {
		struct bpf_sock *sk = skb->sk;

		if (sk && sk->family == MERLON_AF_PACKET)
			return 0;
	}
	return merlon_in_netns(skb);
}

#endif
