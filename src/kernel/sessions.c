/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "src/kernel/internal.h"
#include "src/kernel/table.h"
#include "src/util/addresses.h"
#include "src/util/clock.h"
#include "src/util/kernel.h"

struct view_context {
	int (*each)(void *context, const struct merlon_session_view *view);
	void *context;
};

static int view(void *context, enum merlon_family family, const struct merlon_flow *flow)
{
	const struct view_context *c = context;
	struct merlon_session_view v = { .family = family, .session = flow->session };

	if (family == MERLON_IPV4)
		v.tuple4 = flow->tuple.v4;
	else
		v.tuple6 = flow->tuple.v6;
	v.embryonic = !(v.session.flags & MERLON_S_ESTABLISHED);
	return c->each(c->context, &v);
}

int merlon_dataplane_sessions(const struct merlon_dataplane *dp,
			      int (*each)(void *context, const struct merlon_session_view *view), void *context)
{
	struct view_context c = { each, context };

	return merlon_table_each(merlon_table_of(dp), view, &c);
}

int merlon_dataplane_session(const struct merlon_dataplane *dp, enum merlon_family family, const union merlon_tuple *tuple,
			     struct merlon_session *ret)
{
	struct merlon_session session;

	if (!merlon_table_find(merlon_table_of(dp), dp->control.seed, family, tuple, &session) ||
	    session.expires_ns < merlon_now_ns())
		return -ENOENT;
	*ret = session;
	return 0;
}

bool merlon_dataplane_remembered(const struct merlon_dataplane *dp, const struct merlon_session *session,
				 enum merlon_direction direction, enum merlon_side side, struct merlon_decision *ret)
{
	uint32_t id = session->decision[direction][side];
	struct merlon_decision decision;

	if (!id || session->generation != dp->control.generation || session->routes != dp->control.routes ||
	    bpf_map_lookup_elem(dp->policy.fd[MERLON_MAP_DECISIONS], &id, &decision) < 0 ||
	    decision.generation != session->generation)
		return false;
	*ret = decision;
	return true;
}

/* What no packet from the network comes from, whatever rp_filter says. Prefixes of more than one address are left out. */
static bool is_martian(const struct merlon_address *address)
{
	return address->family == AF_INET && address->bits == 32 && (address->type == RTN_BROADCAST || address->type == RTN_LOCAL);
}

static bool is_among(uint32_t key, const struct merlon_address *address, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (is_martian(&address[i]) && !memcmp(address[i].address, &key, sizeof(key)))
			return true;
	return false;
}

uint8_t merlon_filtered_value(unsigned ifindex)
{
	char name[IF_NAMESIZE];

	return if_indextoname(ifindex, name) && merlon_kernel_accepts_own(name) ? MERLON_IS_FILTERED | MERLON_ACCEPTS_OWN :
										  MERLON_IS_FILTERED;
}

static void note_accepting(int fd)
{
	uint32_t ifindex, next;
	int end;

	for (end = bpf_map_get_next_key(fd, NULL, &next); !end;) {
		uint8_t value;

		ifindex = next;
		end = bpf_map_get_next_key(fd, &ifindex, &next);
		value = merlon_filtered_value(ifindex);
		bpf_map_update_elem(fd, &ifindex, &value, BPF_EXIST);
	}
}

/* Before they are in the map: who has no bit is not looked for there. */
static int note_bits(struct merlon_dataplane *dp, const struct merlon_address *address, size_t n)
{
	uint64_t before = dp->control.martians, bits = 0;
	uint32_t key;
	int r;

	for (size_t i = 0; i < n; i++) {
		memcpy(&key, address[i].address, sizeof(key));
		if (is_martian(&address[i]))
			bits |= 1ULL << merlon_martian_bit(key);
	}
	if (bits == before)
		return 0;
	dp->control.martians = bits;
	r = merlon_control_write(dp);
	if (r < 0)
		dp->control.martians = before;
	return r;
}

int merlon_dataplane_own(struct merlon_dataplane *dp, const struct merlon_address *address, size_t n)
{
	int fd = dp->fd[MERLON_MAP_MARTIAN], end, r = note_bits(dp, address, n);
	uint32_t key, next;
	size_t i;

	if (r < 0)
		return r;
	for (end = bpf_map_get_next_key(fd, NULL, &next); !end;) {
		key = next;
		end = bpf_map_get_next_key(fd, &key, &next);
		if (!is_among(key, address, n))
			bpf_map_delete_elem(fd, &key);
	}
	for (i = 0; i < n; i++) {
		memcpy(&key, address[i].address, sizeof(key));
		if (is_martian(&address[i]) && bpf_map_update_elem(fd, &key, &(uint8_t){ 1 }, 0) < 0)
			return -errno;
	}
	note_accepting(dp->fd[MERLON_MAP_FILTERED]);
	return 0;
}

int merlon_dataplane_flush_sessions(struct merlon_dataplane *dp)
{
	return merlon_table_flush(merlon_table_of(dp));
}
