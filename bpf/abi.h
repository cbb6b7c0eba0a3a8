/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one contract between the BPF programs and user space: what is in the maps. Everything here is plain data of
 * fixed layout, padded explicitly. A change of layout is a change of MERLON_ABI_VERSION (pinned maps outlive the
 * programs that made them).
 *
 * Another version takes the sessions over by the names of structs, members and states (src/kernel/layout.c). So
 * struct merlon_flow_set with `tag`, struct merlon_flow_ways with `way`, their flows and struct merlon_control may change in order, sizes and
 * numbers; what gets another meaning gets another name. The bits of MERLON_S_* and of tags keep theirs, and
 * merlon_control begins with `version`.
 *
 * Byte order is in the type: __be16 and __be32 are as on the wire, __u16, __u32, __u64 are host order.
 * Times are CLOCK_MONOTONIC nanoseconds as bpf_ktime_get_coarse_ns() gives them, or of the tick before (merlon_now()).
 */
#ifndef MERLON_ABI_H
#define MERLON_ABI_H

#include <linux/types.h>

/* MERLON_TEST_LAYOUT: another layout, for tests of the way from one to the other and back. */
#ifdef MERLON_TEST_LAYOUT
#define MERLON_ABI_VERSION 1012
#else
#define MERLON_ABI_VERSION 12
#endif

enum merlon_family {
	MERLON_IPV4,
	MERLON_IPV6,
	MERLON_FAMILIES,
};

/* The filter hooks of nf_tables that merlon enforces. */
enum merlon_hook {
	MERLON_INPUT,
	MERLON_FORWARD,
	MERLON_OUTPUT,
	MERLON_HOOKS,
};

/* State of one packet, as `ct state` of nft(8). */
enum merlon_ct_state {
	MERLON_CT_INVALID,
	MERLON_CT_ESTABLISHED,
	MERLON_CT_RELATED,
	MERLON_CT_NEW,
	MERLON_CT_UNTRACKED,
	MERLON_CT_STATES,
};

/* Direction of a packet in its session: the one of the packet that made the session, or the other. */
enum merlon_direction {
	MERLON_ORIGINAL,
	MERLON_REPLY,
	MERLON_DIRECTIONS,
};

enum merlon_verdict {
	MERLON_CONTINUE,	/* of a rule: go on at merlon_image_rule.next */
	MERLON_ACCEPT,
	MERLON_DROP,
	MERLON_REJECT,
	MERLON_ELSEWHERE,	/* of a cached decision at TC ingress: forwarded, the egress hook judges */
};

/* How a rejected packet is answered. */
enum merlon_reject {
	MERLON_REJECT_ICMP,	/* code: of ICMP or ICMPv6 destination unreachable, by the packet's family */
	MERLON_REJECT_TCP_RST,	/* other protocols than TCP are dropped without an answer, as nf_send_reset() does */
};

/*
 * What a rule can look at. The first MERLON_DIMS fields are the classifier's dimensions; rules that look at others
 * are decided packet by packet ("residual" matches). All values are host order; addresses of IPv6 are in
 * merlon_packet.addr6, everything else in merlon_packet.field[].
 */
enum merlon_field {
	MERLON_F_SADDR,		/* IPv4 in field[], IPv6 in addr6[0] */
	MERLON_F_DADDR,		/* IPv4 in field[], IPv6 in addr6[1] */
	MERLON_F_TH0,		/* bytes 0-1 of the transport header: source port; ICMP: type << 8 | code */
	MERLON_F_TH2,		/* bytes 2-3 of the transport header: destination port */
	MERLON_F_L4PROTO,	/* last header, after the IPv6 extension headers, as nft's meta l4proto */
	MERLON_F_IIF,		/* interface class (merlon_image.ifaces), not an index */
	MERLON_F_OIF,
	MERLON_F_CT_STATE,	/* enum merlon_ct_state */
	MERLON_DIMS,
	MERLON_F_TCP_FLAGS = MERLON_DIMS,	/* byte 13 of the TCP header */
	MERLON_F_ICMP_TYPE,	/* byte 0 of the transport header */
	MERLON_F_ICMP_CODE,	/* byte 1 of the transport header */
	MERLON_F_LENGTH,	/* length of the IP packet in bytes, as nft's meta length */
	MERLON_F_TTL,		/* TTL or hop limit */
	MERLON_F_TOS,		/* TOS or traffic class, all eight bits */
	MERLON_F_NEXTHDR,	/* protocol field of the IPv4 header, next header field of the IPv6 header */
	MERLON_F_MARK,		/* skb->mark */
	MERLON_F_PKTTYPE,	/* PACKET_HOST, ... of linux/if_packet.h */
	MERLON_F_CT_DIRECTION,	/* enum merlon_direction; absent where nothing is tracked */
	MERLON_F_NFPROTO,	/* enum merlon_family; settled by the compiler, never asked of a packet */
	MERLON_F_ETHER_SADDR_HIGH,	/* first four bytes of the sender's Ethernet address */
	MERLON_F_ETHER_SADDR_LOW,	/* last two; both absent but at ingress of Ethernet devices */
	MERLON_F_RT_TYPE,	/* type of the first IPv6 routing header; absent without one */
	MERLON_F_TH_BYTES,	/* bytes from the transport header on, at most 65535; absent in later fragments; MERLON_TH_NEVER */
	MERLON_FIELDS = 24,	/* room for more without a change of layout */
};

/* Of MERLON_F_TH_BYTES: IPv6 extension headers break off before any routing header. */
#define MERLON_TH_NEVER 0x10000

#define MERLON_BIT(n) (1U << (n))

/*
 * A packet as parse.h reads it and as the rules see it. A field that the packet does not have (a port in a later
 * fragment, a TCP flag in UDP) has no bit in `present`: every match on it fails, negated ones too, as NFT_BREAK does
 * in net/netfilter/nft_payload.c.
 */
struct merlon_packet {
	__u32 field[MERLON_FIELDS];
	__u64 addr6[2][2];	/* IPv6 source, destination: high and low half, host order */
	__u32 present;		/* MERLON_BIT(enum merlon_field) */
	__u32 bytes;		/* length of the IP packet */
	__u16 l4_offset;	/* from the network header */
	__u16 l4_bytes;		/* bytes of transport header and payload */
	__u8 family;		/* enum merlon_family */
	__u8 hook;		/* enum merlon_hook */
	__u8 ct_state;
	__u8 ct_direction;
	__u32 iif;		/* interface indexes, 0: none */
	__u32 oif;
};
#ifndef __cplusplus
_Static_assert(sizeof(struct merlon_packet) == 96 + 32 + 8 + 8 + 8, "merlon_packet");
#endif

/*
 * Both directions of a flow have one tuple: the end with the lower (address, port) in memcmp order is `a`.
 * ICMP and ICMPv6 queries use the request's type << 8 | code as the port of the asking end, 0 as the other's, and the
 * identifier in `id`, so that request and reply meet in one tuple. Protocols without ports leave them 0.
 */
struct merlon_tuple4 {
	__be32 a, b;
	__be16 a_port, b_port;
	__be16 id;
	__u8 l4proto;
	__u8 pad;
};
struct merlon_tuple6 {
	__be32 a[4], b[4];
	__be16 a_port, b_port;
	__be16 id;
	__u8 l4proto;
	__u8 pad;
};
_Static_assert(sizeof(struct merlon_tuple4) == 16, "merlon_tuple4");
_Static_assert(sizeof(struct merlon_tuple6) == 40, "merlon_tuple6");
/* Both families' tuples, so that one place in memory serves for either. */
union merlon_tuple {
	struct merlon_tuple4 v4;
	struct merlon_tuple6 v6;
	__u64 word[5];
};

/*
 * What the rules said, and all that it depends on but the number of the routes. Sessions remember decisions by their
 * index in the map `decisions`; those of many sessions are the same one, whichever rules it was that let them in. If anything differs, the rules run again. Only
 * ACCEPT and ELSEWHERE are remembered: what is denied is judged, counted and reported packet by packet.
 * The map has two halves, used by odd and even generations in turn. In a half an entry of an earlier generation is free,
 * one of the generation in force never changes.
 */
struct merlon_decision {
	__u32 generation;	/* of the policy; 0: empty, MERLON_DECISION_TAKEN: being written */
	__u32 iif, oif;
	__u32 path;		/* index into the counters map: what one more packet on this way counts */
	__u8 hook;
	__u8 ct_state;
	__u8 verdict;
	__u8 tos;		/* ELSEWHERE: the route's, MERLON_ROUTE_TOS */
	__u8 tcp_mask;		/* TCP flags that some rule on the way looked at ... */
	__u8 tcp_flags;		/* ... and what they were */
	__u8 pad[10];
};
_Static_assert(sizeof(struct merlon_decision) == 32, "merlon_decision");
#define MERLON_DECISION_TAKEN 0xffffffffU
#define MERLON_DECISION_PROBES 8	/* entries where a decision may be, from the one that its hash says on */

#define MERLON_WALK_LOGS 16	/* rules that one packet can have logged */

enum merlon_side { MERLON_INGRESS, MERLON_EGRESS, MERLON_SIDES };

/* Session flags. */
#define MERLON_S_ORIG_IS_A	0x01	/* the originator is end `a` of the tuple; where both ends are the same, it is `b` */
#define MERLON_S_SEEN_REPLY	0x02
#define MERLON_S_ASSURED	0x04	/* as IPS_ASSURED: for TCP both ends have gone on after an answer */
#define MERLON_S_PROVED		0x10	/* the originator went on after an answer: its address is not forged */
#define MERLON_S_ESTABLISHED	0x20	/* it keeps its place in the table until it expires */

/* What the TCP tracker knows of one end (bpf/tcp.h). Sequence numbers are host order. */
struct merlon_tcp_end {
	__u32 end;		/* behind the last byte that it sent */
	__u32 maxend;		/* how far it may send, as the other end's window allows */
	__u32 maxwin;		/* the largest window that it offered, in bytes; 0: nothing is known of it */
	__u32 maxack;		/* the highest number that it acknowledged, with MERLON_TCP_HAS_ACK */
#ifdef MERLON_TEST_LAYOUT
	__u16 flags;
	__u8 pad;
	__u8 scale;
#else
	__u8 scale;		/* of its windows: a shift */
	__u8 flags;		/* MERLON_TCP_* */
	__u16 pad;
#endif
};

/* Of the last segment: what may explain the next one. */
struct merlon_tcp {
	struct merlon_tcp_end seen[MERLON_DIRECTIONS];
	__u32 last_seq, last_ack, last_end;
	__u16 last_window;
	__u8 last_kind;		/* enum merlon_tcp_kind */
	__u8 last_direction;
	__u8 last_flags;	/* MERLON_TCP_* */
	__u8 last_scale;
	__u8 repeats;		/* how often the same ACK came again */
	__u8 pad;
};
_Static_assert(sizeof(struct merlon_tcp) == 60, "merlon_tcp");

/* What the SCTP tracker knows of an association (bpf/sctp.h). */
struct merlon_sctp {
	__be32 vtag[MERLON_DIRECTIONS];	/* verification tags, by the direction of the packets that carry them */
	__u8 last_direction;
	__u8 flags;		/* MERLON_SCTP_* */
	__u8 init[MERLON_DIRECTIONS];	/* an INIT came, and no COOKIE ACK yet */
	__u8 outcome;		/* of the packet in hand: enum merlon_sctp_outcome */
	__u8 pad[3];
};
_Static_assert(sizeof(struct merlon_sctp) == 16, "merlon_sctp");

#define MERLON_LOCKED 1U	/* in merlon_session.owner, and a set's lock: somebody changes it now */

/*
 * In the order of lines of memory, the first of which begins with the tuple (struct merlon_flow): whose it is and until when;
 * what a packet looks for and counts; what only TCP's and SCTP's look at.
 */
struct merlon_session {
#ifdef MERLON_TEST_LAYOUT
	__u8 added[24];
#endif
	__u64 expires_ns;
	__u32 owner;		/* whose it is, by the tuple's hash; 0: nobody's, it left its table. Or MERLON_LOCKED (bpf/lock.h) */
#ifdef MERLON_TEST_LAYOUT
	__u16 flags;
	__u8 state : 6;
	__u8 moved : 2;
	__u8 pad;
#else
	__u8 state;		/* of the connection: enum merlon_tcp_state, enum merlon_sctp_state; 0 for others */
	__u8 flags;		/* MERLON_S_* */
	__u16 pad;
#endif
	/* what the policy said: indexes of the map `decisions`, 0: nothing; all of one policy and of the same routes */
	__u32 generation;
	__u32 routes;		/* merlon_control.routes */
	__u32 decision[MERLON_DIRECTIONS][MERLON_SIDES];
	struct {
		__u64 packets, bytes;
	} stats[MERLON_DIRECTIONS];
	__u64 created_ns;
	__u16 checked_s[MERLON_DIRECTIONS];	/* ELSEWHERE: when the route was looked up, in units of 2^29 ns, modulo 65536 */
	/* for reports: the rule that let the first packet in; after a change of the policy, that lets its originator go on */
	__u32 admitted_generation;
	__u32 admitted;		/* MERLON_ADMITTED() */
	union {
		struct merlon_tcp tcp;
		struct merlon_sctp sctp;
	};
};
#define MERLON_ADMITTED(hook, rule) ((__u32)(hook) << 30 | ((rule) & 0x3fffffff))
#ifndef MERLON_TEST_LAYOUT
_Static_assert(sizeof(struct merlon_session) == 152, "merlon_session");
#endif

/*
 * The table of sessions, of both families: set-associative. By its hash a tuple may be in two sets, first of all in one way
 * of the first one; what has no room takes the place of an embryonic flow, one that has not proved itself: of the one
 * that has been unused for longest. So a flood costs what it is worth, and no established flow (bpf/set.h).
 *
 * What is in a set, and the flows themselves, are in maps of their own: the one takes a 24th of the memory, and is in nearer caches.
 * So a packet that has no session hardly waits to know it.
 */
#ifdef MERLON_TEST_LAYOUT
#define MERLON_WAYS 4
#else
#define MERLON_WAYS 8
#endif
#define MERLON_WAYS_ESTABLISHED (MERLON_WAYS - 1)	/* the other one is for those who come */
struct merlon_flow {
	union merlon_tuple tuple;
	struct merlon_session session;
};
struct merlon_flow_ways {
	struct merlon_flow way[MERLON_WAYS];
};
struct merlon_flow_set {
	__u32 lock;		/* of all but the sessions, which have their own */
	__u16 tag[MERLON_WAYS];	/* family and bits of the hash of what is in a way; 0: it is empty */
	__u32 used[MERLON_WAYS];	/* when it was last looked for, while embryonic: MERLON_USED() */
	__u8 pad[60 - 6 * MERLON_WAYS];
};
#define MERLON_USED(ns) ((__u32)((ns) >> 20))
#ifndef MERLON_TEST_LAYOUT
_Static_assert(sizeof(struct merlon_flow) == 192, "merlon_flow: three lines");
_Static_assert(__builtin_offsetof(struct merlon_flow, session.decision) == 64, "the second one begins");
_Static_assert(__builtin_offsetof(struct merlon_flow, session.admitted) == 128, "the third one begins");
#endif
_Static_assert(sizeof(struct merlon_flow_set) == 64, "a line of its own");

/* What the map `filtered` says of an interface. */
#define MERLON_IS_FILTERED	1
#define MERLON_ACCEPTS_OWN	2	/* accept_local: what comes from an address of this host is taken in */

/* One counter of packets and IP bytes, per CPU. */
struct merlon_counter {
	__u64 packets, bytes;
};

/*
 * A way through the rules that touches several counters, interned by the data path. One packet on this way adds one
 * to the counter `path id`; user space adds path ids up to the counters named here. A way that touches one counter
 * uses that counter's own index, one that touches none uses 0.
 */
#define MERLON_PATH_COUNTERS 15
struct merlon_path {
	__u32 generation;
	__u32 counter[MERLON_PATH_COUNTERS];	/* in the order of the rules, 0-terminated if shorter */
};
_Static_assert(sizeof(struct merlon_path) == 64, "merlon_path");
/* Entries of the map `path_next`: the next id to give out, and the one behind the last. User space sets both. */
enum merlon_path_slot { MERLON_PATH_NEXT, MERLON_PATH_END, MERLON_PATH_SLOTS };

/* Per-CPU statistics of the data plane: an index of the `stats` map. */
enum merlon_stat {
	MERLON_STAT_PACKETS,		/* judged, all hooks; what MERLON_STAT_HOOKS has is not in here */
	MERLON_STAT_BYTES,
	MERLON_STAT_HITS,		/* answered from a session's cached decision */
	MERLON_STAT_MISSES,		/* the rules ran */
	MERLON_STAT_NEW_SESSIONS,
	MERLON_STAT_ACCEPTED,		/* other than hits, which are as well; user space adds them */
	MERLON_STAT_DROPPED,		/* by verdict drop */
	MERLON_STAT_REJECTED,		/* by verdict reject (also counted in no other) */
	MERLON_STAT_EVENTS,
	MERLON_STAT_EVENTS_LOST,	/* the ring buffer was full */
	MERLON_STAT_REJECTS_LOST,	/* rejected, but the answer could not be queued */
	MERLON_STAT_MALFORMED,		/* dropped: headers that the stack discards too */
	MERLON_STAT_SESSIONS_FULL,	/* there was no place in the table: for a new flow, or for one to be kept */
	MERLON_STAT_FAILED,		/* dropped because the data path could not go on (a map lookup failed) */
	MERLON_STAT_INVALID,		/* packets with ct state invalid */
	MERLON_STAT_LOCKS_BROKEN,	/* a session's lock was not given back in time (bpf/lock.h) */
	MERLON_STAT_UNJUDGED,		/* passed: no IP, another host's, not ours to judge */
	MERLON_STAT_COLD,		/* went the long way */
	MERLON_STAT_TIMED,		/* of these, one in MERLON_TIMED_EVERY */
	MERLON_STAT_TIMED_NS,		/* how long that took in all */
	MERLON_STAT_HOOKS,		/* of each enum merlon_hook the packets, then the bytes, that were judged */
	MERLON_STATS = 32,
};
#define MERLON_TIMED_EVERY 61	/* a prime: connections have cold packets in patterns */
_Static_assert(MERLON_STAT_HOOKS + 8 <= MERLON_STATS, "a hook is two bits");
struct merlon_stats {
	__u64 count[MERLON_STATS];
	__u64 tick, tick_ns;	/* what merlon_now() knows */
};

/* Written by user space only; one entry. */
#define MERLON_REJECT_SOCKETS 3
/* What the daemon's own answers are, by their sockets: their direction, or ICMP errors for resets that were such answers. */
enum merlon_answer_to { MERLON_ANSWER_ORIGINAL, MERLON_ANSWER_REPLY, MERLON_ANSWER_TO_RESET, MERLON_ANSWERS };
struct merlon_control {
	__u32 version;		/* MERLON_ABI_VERSION */
	__u32 generation;	/* of the policy in force; 0: none, everything passes */
	__u32 routes;		/* raised at every change of addresses or routes */
	__u32 flags;		/* MERLON_C_* */
	/* sockets of the daemon's own answers, which are `related`; filled from [0] on */
	__u64 reject_cookie[MERLON_ANSWERS][MERLON_REJECT_SOCKETS];
	__u64 netns_cookie;	/* of the namespace that is filtered; 0: not checked */
	__u64 seed;		/* of the hash that says where sessions are: random, for as long as there are any */
	__u64 martians;		/* 1 << merlon_martian_bit() of each address in the map `martian` */
};
_Static_assert(sizeof(struct merlon_control) == 112, "merlon_control");
/* Nearly all addresses have a bit that none in the map has, and are spared the map. */
static inline __u32 merlon_martian_bit(__be32 address)
{
	return address * 0x9e3779b1U >> 26;
}
#define MERLON_C_AUDIT		0x01	/* judge, count and report, but let everything pass */
#define MERLON_C_PACKETS	0x02	/* events bring the packet along: struct merlon_event_packet */

enum merlon_timeout {
	/* TCP states come first, in the order of enum merlon_tcp_state */
	MERLON_T_TCP = 0,
	MERLON_T_TCP_UNACK = 14,
	MERLON_T_TCP_RETRANS = 15,
	/* SCTP's are next, in the order of enum merlon_sctp_state */
	MERLON_T_SCTP = 16,
	MERLON_T_UDP = 26,
	MERLON_T_UDP_STREAM,
	MERLON_T_ICMP,
	MERLON_T_ICMPV6,
	MERLON_T_GRE,
	MERLON_T_GRE_STREAM,
	MERLON_T_GENERIC,
	MERLON_TIMEOUTS = 40,
};
/* The trackers' settings, as the nf_conntrack sysctls have them; written by user space. */
struct merlon_trackers {
	__u64 ns[MERLON_TIMEOUTS];	/* by enum merlon_timeout */
	__u8 tcp_loose;			/* pick up running connections */
	__u8 tcp_liberal;		/* nothing is outside of the window */
	__u8 tcp_believe_resets;	/* nf_conntrack_tcp_ignore_invalid_rst: also those below what was acknowledged */
	__u8 tcp_max_retrans;
	__u8 checksum;			/* what has a wrong one is invalid */
	__u8 has_sctp, has_gre;		/* this kernel has these trackers; without, the generic one does it */
	__u8 has_dccp : 1;
	__u8 tcp_reset_lasts : 1;	/* a reset that does not end the connection leaves it its time, MERLON_T_TCP_UNACK at most */
	__u8 pad : 6;
};

/*
 * Ring buffer records, for denied and logged packets only. They only grow at the end: programs that are pinned may be of an
 * older version, whose records lack what was added since (it reads as 0).
 */
#define MERLON_NO_UID 0xffffffffU
enum merlon_event_kind { MERLON_EVENT_VERDICT, MERLON_EVENT_LOG };
struct merlon_event {
	__u64 time_ns;
	__u32 generation;
	__u32 rule;		/* index in the list of (hook, family) */
	__u32 log;		/* MERLON_EVENT_LOG: index of the log statement */
	__u32 bytes;
	__u32 iif, oif;
	__be32 saddr[4], daddr[4];	/* IPv4 in [0] */
	__be16 sport, dport;	/* ICMP: sport = type << 8 | code, host order value stored big-endian */
	__u32 mark;
	__u32 uid;		/* of the local sender; MERLON_NO_UID: unknown */
	__u8 kind;
	__u8 family;
	__u8 hook;
	__u8 verdict;
	__u8 l4proto;
	__u8 ct_state;
	__u8 ct_direction;
	__u8 tcp_flags;
	__u8 audit;		/* it passed: only audited */
	__u8 ttl;
	__u8 pad[2];
	__u64 cgroup;		/* of the local sender, its id in the unified hierarchy; 0: unknown */
};
_Static_assert(sizeof(struct merlon_event) == 96, "merlon_event");
#define MERLON_EVENT_BYTES_LEAST 88	/* of the first version */

#define MERLON_EVENT_SNAP 128	/* all headers that are not long on purpose, and some data */
struct merlon_event_packet {
	struct merlon_event event;
	__u32 bytes;		/* of `packet` that are filled, from the IP header on */
	__u32 pad;
	__u8 packet[MERLON_EVENT_SNAP];
};
_Static_assert(sizeof(struct merlon_event_packet) == 96 + 8 + MERLON_EVENT_SNAP, "merlon_event_packet");

/*
 * A rejected packet, to be answered from a raw socket (src/kernel/answers.h). Rejects have a ring buffer of their own, so that a
 * flood of events does not silence answers.
 */
#define MERLON_REJECT_SNAP 1280	/* RFC 4443 2.4 (c): as much as fits in the minimum MTU; RFC 1812 4.3.2.3: 576 for IPv4 */
struct merlon_reject_event {
	__u32 iif, oif;
	__u32 snap_bytes;	/* bytes of `packet` that are filled, from the IP header on */
	__u32 bytes;		/* length of the whole packet */
	__u8 family;
	__u8 hook;
	__u8 type;		/* enum merlon_reject */
	__u8 code;
	__u16 l4_offset;
	__u8 l4proto;
	__u8 ct_state;		/* enum merlon_ct_state, of the rejected packet */
	__u8 ct_direction;	/* of the rejected packet, where its state has one */
	__u8 pad[3];
	__u8 packet[MERLON_REJECT_SNAP];
};
_Static_assert(sizeof(struct merlon_reject_event) == 28 + MERLON_REJECT_SNAP, "merlon_reject_event");

#endif
