/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compiled as the BPF programs are (__bpf__): bit counts and loops are theirs. A map is an array, found by the address of
 * its definition, which the compiler knows; maps that are hashes are empty, and stay so.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/native.h"

/* From here on, not for libbpf: it has assembly for BPF. */
#define __bpf__ 1
#if defined(__x86_64__)
#define __TARGET_ARCH_x86
#endif
#undef SEC
#define SEC(name)
#undef __ksym
#define __ksym
#undef barrier
#define barrier() asm volatile("" ::: "memory")
#define merlon_kernel_bits(s, field) ((s)->field)
#undef bpf_core_type_id_kernel
#define bpf_core_type_id_kernel(type) 0

static __always_inline void *native_lookup(const void *map, const void *key);
static __always_inline long native_load(struct __sk_buff *skb, __u32 offset, void *to, __u32 n);
static int native_jump(struct __sk_buff *skb, const void *map, __u32 slot);

#define bpf_map_lookup_elem(map, key) native_lookup(map, key)
#define bpf_map_update_elem(map, key, value, flags) ((void)(map), (void)(key), (void)(value), -1L)
#define bpf_map_delete_elem(map, key) ((void)(map), (void)(key), -1L)
#define bpf_skb_load_bytes(skb, offset, to, n) native_load(skb, offset, to, n)
#define bpf_skb_load_bytes_relative(skb, offset, to, n, from) native_load(skb, (offset) + 14, to, n)
#define bpf_tail_call(skb, map, slot) return native_jump(skb, map, slot)
#define bpf_tail_call_static bpf_tail_call
#define bpf_jiffies64() 1
#define bpf_ktime_get_coarse_ns() 1000000000000ULL
#define bpf_ktime_get_ns() 1000000000000ULL
#define bpf_fib_lookup(skb, params, n, flags) ((void)(params), (long)BPF_FIB_LKUP_RET_NOT_FWDED)
#define bpf_redirect(ifindex, flags) TC_ACT_SHOT
#define bpf_csum_diff(from, from_bytes, to, to_bytes, seed) ((void)(to), (__s64)(seed))
#define bpf_get_socket_cookie(skb) 0ULL
#define bpf_get_socket_uid(skb) 0U
#define bpf_skb_cgroup_id(skb) 0ULL
#define bpf_sk_fullsock(sk) (sk)
#define bpf_ringbuf_reserve(ring, bytes, flags) ((void *)NULL)
#define bpf_ringbuf_submit(at, flags) ((void)(at))
#define bpf_ringbuf_discard(at, flags) ((void)(at))
#define bpf_loop(n, callback, context, flags) \
	({ \
		__u32 i_ = 0, n_ = (n); \
		while (i_ < n_ && !callback(i_, context)) \
			i_++; \
		(long)i_; \
	})

/* Of BPF programs no such things are asked. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#pragma GCC diagnostic ignored "-Wshadow"
#ifdef __clang__
#pragma GCC diagnostic ignored "-Wunknown-attributes"
#endif
#include "bpf/merlon.bpf.c"

#define SETS_MOST (1U << 15)
#define LOW ((void *)0x20000000UL)

static struct merlon_stats native_stats;
static struct merlon_scratch native_scratch;
static struct merlon_walk native_walk;
static struct merlon_counter native_counters[256];
static struct merlon_decision native_decisions[2U << 15];
static __u64 native_limits[16];
static __u32 native_path_next[MERLON_PATH_SLOTS];
static struct merlon_flow_ways *native_sessions;
static struct merlon_flow_set native_sets[SETS_MOST];
static const __u64 *native_image;

/* The kernel's own skb, as far as it is looked at. */
static struct net native_net;
static struct net_device native_device = { .nd_net = { &native_net }, .type = MERLON_ARPHRD_ETHER };
static struct sk_buff native_kernel = { .dev = &native_device, .ip_summed = MERLON_SUMMED_UNNECESSARY, .network_header = 14 };
static struct __sk_buff native_skb;
static uint8_t *frame;

void *bpf_cast_to_kern_ctx(void *skb)
{
	(void)skb;
	return &native_kernel;
}

void *bpf_rdonly_cast(const void *object, __u32 type)
{
	(void)type;
	return (void *)object;
}

#define ONE(map) \
	if (at == (const void *)&(map)) \
		return &native_##map
#define MANY(map, n) \
	if (at == (const void *)&(map)) \
		return *(const __u32 *)key < (n) ? &native_##map[*(const __u32 *)key] : NULL

static __always_inline void *native_lookup(const void *at, const void *key)
{
	ONE(stats);
	ONE(scratch);
	ONE(walk);
	ONE(image);
	if (at == (const void *)&native_image)
		return (void *)native_image;
	MANY(sessions, SETS_MOST);
	MANY(sets, SETS_MOST);
	MANY(decisions, 2U << 15);
	MANY(counters, 256);
	MANY(limits, 16);
	MANY(path_next, MERLON_PATH_SLOTS);
	return NULL;
}

static __always_inline long native_load(struct __sk_buff *skb, __u32 offset, void *to, __u32 n)
{
	if (offset > skb->len || skb->len - offset < n)
		return -1;
	memcpy(to, frame + offset, n);
	return 0;
}

static int native_jump(struct __sk_buff *skb, const void *map, __u32 slot)
{
	if (map == (const void *)&entry && slot == MERLON_ENTRY_INGRESS)
		return ingress(skb);
	if (map == (const void *)&long_way)
		return cold(skb);
	fprintf(stderr, "native: a tail call that tests/bench/native.c does not know\n");
	exit(1);
}

/* What the loader sets before the programs are loaded. */
static void set(const volatile void *constant, const void *value, size_t bytes)
{
	uintptr_t page = sysconf(_SC_PAGESIZE), at = (uintptr_t)constant & ~(page - 1);

	if (mprotect((void *)at, (uintptr_t)constant + bytes - at, PROT_READ | PROT_WRITE))
		exit(1);
	memcpy((void *)(uintptr_t)constant, value, bytes);
}

void native_open(const uint64_t *words, uint32_t room, uint32_t sets)
{
	const __u32 image_mask = room - 1, sets_mask = sets - 1;
	const __u8 yes = 1;

	set(&merlon_image_mask, &image_mask, sizeof(image_mask));
	set(&merlon_sets_mask, &sets_mask, sizeof(sets_mask));
	set(&merlon_have_kern_ctx, &yes, sizeof(yes));
	native_image = (const __u64 *)words;
	native_sessions = aligned_alloc(4096, sets * sizeof(*native_sessions));
	/* what programs see of a packet is 32 bits of its address */
	frame = mmap(LOW, NATIVE_FRAME_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sets > SETS_MOST || !native_sessions || frame != LOW) {
		fprintf(stderr, "native: no memory\n");
		exit(1);
	}
	memset(native_sessions, 0, sets * sizeof(*native_sessions));
	memset(native_sets, 0, sizeof(native_sets));
	control = (struct merlon_control){ .version = MERLON_ABI_VERSION, .generation = 1, .routes = 1 };
	trackers = (struct merlon_trackers){ .tcp_loose = 1, .tcp_max_retrans = 3 };
	for (int i = 0; i < MERLON_TIMEOUTS; i++)
		trackers.ns[i] = 60000000000ULL;
}

void native_close(void)
{
	free(native_sessions);
	munmap(frame, NATIVE_FRAME_MAX);
}

uint8_t *native_frame(void)
{
	return frame;
}

int native_ingress(size_t bytes)
{
	native_skb.len = bytes;
	native_skb.data = (__u32)(uintptr_t)frame;
	native_skb.data_end = native_skb.data + bytes;
	native_skb.protocol = frame[14] >> 4 == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	native_skb.ifindex = native_skb.ingress_ifindex = NATIVE_IFINDEX;
	native_skb.pkt_type = PACKET_HOST;
	native_kernel.len = bytes;
	native_kernel.head = native_kernel.data = frame;
	return ingress_entry(&native_skb);
}

uint64_t native_stat(enum merlon_stat which)
{
	return native_stats.count[which];
}
