/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This data plane takes the place of one whose maps have another layout: an upgrade, or a downgrade. It is made beside the
 * other, with the entry slots, entry programs and links of that one. When its policy is in force in its own maps:
 *
 *   1. the slots lead to programs that ask whose a flow is (bpf/takeover.h): all are the other's;
 *   2. the sessions are copied, flow by flow: from then on each is this one's;
 *   3. new flows begin here, and those that had begun there meanwhile are copied, too;
 *   4. the slots lead to this one's programs; what was on its way through the other's is copied;
 *   5. its pins take the place of the other's.
 *
 * A packet that changes a session in the other table while that is copied is found in the next pass: what has changed
 * since is entered into the session here, which may have gone on by then (reconcile()).
 * Killed before 1: the next daemon begins anew. Before 4 is done: it goes on from 1; each packet is judged by who knows its
 * flow, and what the killed one would have found in its next pass is made up for (catch_up()). Then: with 5, since flows may
 * have ended here that the other table still has.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/set.h"
#include "bpf/takeover_stage.h"
#include "src/kernel/internal.h"
#include "src/kernel/layout.h"
#include "src/kernel/table.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define MOST_PASSES 8
#define READ_TRIES 100	/* at least, and for at least so long */
#define READ_PATIENCE_NS 200000000

#ifdef MERLON_TEST_LAYOUT
void merlon_cut_here(int step)
{
	const char *at = getenv("MERLON_TEST_CUT");

	if (at && atoi(at) == step)
		raise(SIGKILL);
}
#endif

void merlon_before_free(struct merlon_before *before)
{
	int side;

	if (!before)
		return;
	merlon_layout_free(before->layout);
	merlon_closep(&before->table.sessions);
	merlon_closep(&before->table.sets);
	merlon_closep(&before->entry);
	merlon_closep(&before->filtered);
	for (side = 0; side < MERLON_PROGS; side++) {
		merlon_closep(&before->prog[side]);
		merlon_closep(&before->entry_prog[side]);
	}
	free(before->pin_dir);
	free(before);
}

/* The value of a map that has one. */
static int read_value(int fd, struct merlon_blob *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), zero = 0;
	_cleanup_free_ void *value = NULL;

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	value = info.key_size == sizeof(zero) && info.type == BPF_MAP_TYPE_ARRAY ? malloc(info.value_size) : NULL;
	if (!value || bpf_map_lookup_elem(fd, &zero, value) < 0)
		return -EUCLEAN;
	*ret = (struct merlon_blob){ TAKE_PTR(value), info.value_size };
	return 0;
}

static int read_pinned(const char *pin_dir, const char *name, struct merlon_blob *ret)
{
	_cleanup_close_ int fd = merlon_pin_get(pin_dir, "maps", name);

	return fd < 0 ? fd : read_value(fd, ret);
}

static uint32_t version_of(const char *pin_dir)
{
	struct merlon_blob control;
	uint32_t version = 0;

	if (read_pinned(pin_dir, "control", &control) < 0)
		return 0;
	if (control.bytes >= sizeof(version))
		memcpy(&version, control.data, sizeof(version));
	free((void *)control.data);
	return version;
}

static int set_slots(int entry, const int *prog)
{
	uint32_t slot;

	for (slot = 0; slot < MERLON_PROGS; slot++)
		if (bpf_map_update_elem(entry, &slot, &prog[slot], 0) < 0)
			return -errno;
	return 0;
}

/* How many slots lead to programs that are pinned in a directory of the one before; those are opened. */
static int slots_lead_to(struct merlon_before *b, const char *dir)
{
	uint32_t slot, id;
	int n = 0;

	for (slot = 0; slot < MERLON_PROGS; slot++) {
		merlon_closep(&b->prog[slot]);
		b->prog[slot] = merlon_pin_get(b->pin_dir, dir, merlon_prog_name[slot]);
		if (b->prog[slot] < 0)
			return 0;
		n += !bpf_map_lookup_elem(b->entry, &slot, &id) && id == merlon_prog_id(b->prog[slot]);
	}
	return n;
}

/* The programs in force. A takeover that this version began and that was cut off goes on. */
static int find_programs(struct merlon_before *b, const char *next)
{
	if (slots_lead_to(b, "policy") || slots_lead_to(b, "policy-next"))
		return set_slots(b->entry, b->prog);
	if (version_of(next) != MERLON_ABI_VERSION)
		return -EUCLEAN;
	b->begun = true;
	b->settled = slots_lead_to(b, "next/policy") == MERLON_PROGS;
	slots_lead_to(b, "policy");
	return b->prog[MERLON_PROG_EGRESS] < 0 ? -EUCLEAN : 0;
}

/* The interfaces that are filtered, if it knows them as this version does: it has to hear of others while it judges. */
static int open_filtered(const char *pin_dir)
{
	_cleanup_close_ int fd = merlon_pin_get(pin_dir, "maps", "filtered");
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || info.type != BPF_MAP_TYPE_HASH ||
	    info.key_size != sizeof(uint32_t) || info.value_size != sizeof(uint8_t))
		return -1;
	return TAKE_FD(fd);
}

/* An array of such values that user space can map, and how many they are. */
static bool can_map(int fd, size_t bytes, uint32_t *ret_n)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return false;
	*ret_n = info.max_entries;
	return info.type == BPF_MAP_TYPE_ARRAY && info.map_flags & BPF_F_MMAPABLE && info.value_size == bytes;
}

static int read_before(struct merlon_before *b, const struct merlon_blob *ours, const char *next, struct merlon_diag *diag)
{
	struct merlon_blob theirs = { 0 }, control = { 0 };
	uint32_t flows;
	int side, r;

	b->version = version_of(b->pin_dir);
	b->entry = merlon_pin_get(b->pin_dir, "maps", "entry");
	b->table.sessions = merlon_pin_get(b->pin_dir, "maps", "sessions");
	b->table.sets = merlon_pin_get(b->pin_dir, "maps", "sets");
	for (side = 0; side < MERLON_PROGS; side++)
		b->entry_prog[side] = merlon_pin_get(b->pin_dir, "progs", merlon_prog_name[side]);
	if (b->entry < 0 || b->table.sessions < 0 || b->table.sets < 0 || b->entry_prog[0] < 0 || b->entry_prog[1] < 0)
		return -EUCLEAN;
	r = read_pinned(b->pin_dir, "layout", &theirs);
	if (!r)
		r = merlon_layout_new(&theirs, ours, &b->layout, diag);
	free((void *)theirs.data);
	if (!r)
		r = read_pinned(b->pin_dir, "control", &control);
	if (!r && control.bytes != merlon_layout_control_bytes(b->layout))
		r = -EUCLEAN;
	if (!r)
		merlon_layout_control(b->layout, control.data, &b->control);
	free((void *)control.data);
	if (!r && (!can_map(b->table.sessions, merlon_layout_ways_bytes(b->layout), &flows) ||
		   !can_map(b->table.sets, merlon_layout_set_bytes(b->layout), &b->sets) || flows != b->sets))
		r = -EUCLEAN;
	if (!r)
		b->filtered = open_filtered(b->pin_dir);
	return r < 0 ? r : find_programs(b, next);
}

static void explain(const struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };

	merlon_diag_add(diag, MERLON_ERROR, nowhere,
			"the data plane pinned in %s has layout %u, this merlon has %u, and cannot take it over", dp->pin_name, dp->before->version,
			MERLON_ABI_VERSION);
	merlon_diag_cure(diag, "it goes on enforcing; `merlon stop --force` ends it, whichever merlon made it, then start this one: "
			 "in between nothing is filtered");
}

/* What both have: where packets come in. */
static int share_pins(const struct merlon_before *b, const char *next)
{
	const struct {
		int fd;
		const char *name;
	} pins[] = {
		{ b->entry, "maps/entry" },
		{ b->entry_prog[MERLON_PROG_INGRESS], "progs/ingress" },
		{ b->entry_prog[MERLON_PROG_EGRESS], "progs/egress" },
	};
	char path[PATH_MAX];
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(pins); i++) {
		if (snprintf(path, sizeof(path), "%s/%s", next, pins[i].name) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		r = bpf_obj_pin(pins[i].fd, path);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_next(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r = merlon_pins_remove_below(dp->before->pin_dir, "next");

	if (!r)
		r = merlon_pins_prepare(dp->pin_dir, diag);
	if (!r)
		r = share_pins(dp->before, dp->pin_dir);
	return r ? r : merlon_load_programs(dp, &merlon_smallest_class, "policy", diag);
}

bool merlon_takeover_is_needless(const struct merlon_dataplane *dp)
{
	_cleanup_close_ int entry = merlon_pin_get(dp->pin_dir, "maps", "entry"), prog = merlon_pin_get(dp->pin_dir, "policy", "ingress");

	return prog == -ENOENT && merlon_entry_is_empty(entry);
}

int merlon_takeover_prepare(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	struct merlon_before *b = malloc(sizeof(*b));
	struct merlon_blob ours = { 0 };
	int r = -ENOMEM;

	if (!b)
		return -ENOMEM;
	*b = (struct merlon_before){ .table = { -1, -1 }, .entry = -1, .filtered = -1, .prog = { -1, -1 }, .entry_prog = { -1, -1 }, .pin_dir = dp->pin_dir };
	dp->before = b;
	if (asprintf(&dp->pin_dir, "%s/next", b->pin_dir) < 0)
		dp->pin_dir = NULL;
	else
		r = merlon_load_layout(&ours);
	if (!r)
		r = read_before(b, &ours, dp->pin_dir, diag);
	free((void *)ours.data);
	if (r < 0) {
		explain(dp, diag);
		return -EPROTO;
	}
	r = merlon_check_netns(dp->pin_name, &b->control, diag);
	if (r < 0)
		return r;
	if (b->begun)
		return 0;
	r = make_next(dp, diag);
	merlon_cut_here(1);
	if (r < 0 && !diag->n)
		merlon_diag_errno(diag, r, "cannot make a data plane beside the one of another layout");
	return r;
}

/* A session as it was entered here last, by what it was in the other table then. */
struct copied {
	uint64_t hash;
	struct merlon_session session;
};

struct takeover {
	struct merlon_dataplane *dp;
	struct merlon_flow_table to;
	const uint8_t *from, *heads;
	size_t sets, stride, heads_stride;
	unsigned ways;
	uint32_t *copy_of;	/* by their places: 1 + the index of a copy, 0: none */
	struct copied *copy;
	size_t n, room;
	uint64_t now_ns;
	const volatile uint32_t *stage;
	unsigned news;		/* of this pass: what was entered or had changed, or could not be now */
	unsigned taken, left_out, unknown;
	unsigned busy;		/* likewise */
	int last;		/* what the last pass came to: 0 or a negative errno */
};

/* What a value takes in an array. */
static size_t in_map(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

static int open_tables(struct takeover *t)
{
	const struct merlon_before *b = t->dp->before;
	void *at;

	t->stride = in_map(merlon_layout_ways_bytes(b->layout));
	t->heads_stride = in_map(merlon_layout_set_bytes(b->layout));
	t->sets = b->sets;
	t->ways = merlon_layout_ways(b->layout);
	t->copy_of = calloc(t->sets * t->ways, sizeof(*t->copy_of));
	if (!t->copy_of)
		return -ENOMEM;
	at = mmap(NULL, t->sets * t->stride, PROT_READ, MAP_SHARED, b->table.sessions, 0);
	if (at == MAP_FAILED)
		return -errno;
	t->from = at;
	at = mmap(NULL, t->sets * t->heads_stride, PROT_READ, MAP_SHARED, b->table.sets, 0);
	if (at == MAP_FAILED)
		return -errno;
	t->heads = at;
	return merlon_table_map(merlon_table_of(t->dp), &t->to);
}

static void close_tables(struct takeover *t)
{
	if (t->to.n)
		merlon_table_unmap(&t->to);
	if (t->from)
		munmap((void *)t->from, t->sets * t->stride);
	if (t->heads)
		munmap((void *)t->heads, t->sets * t->heads_stride);
	free(t->copy_of);
	free(t->copy);
}

static bool is_later(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* Both have gone on: the highest numbers are the ones that count. */
static void reconcile_end(struct merlon_tcp_end *here, const struct merlon_tcp_end *there)
{
	if (is_later(there->end, here->end))
		here->end = there->end;
	if (is_later(there->maxend, here->maxend))
		here->maxend = there->maxend;
	if (there->flags & MERLON_TCP_HAS_ACK && (!(here->flags & MERLON_TCP_HAS_ACK) || is_later(there->maxack, here->maxack)))
		here->maxack = there->maxack;
	if (there->maxwin > here->maxwin)
		here->maxwin = there->maxwin;
	here->flags |= there->flags & (MERLON_TCP_HAS_ACK | MERLON_TCP_CLOSED);
}

static void reconcile_ends(struct merlon_tcp *here, const struct merlon_tcp *there)
{
	unsigned d;

	for (d = 0; d < MERLON_DIRECTIONS; d++)
		reconcile_end(&here->seen[d], &there->seen[d]);
}

/* The session here, the one there as it is now and as it was copied. */
static void reconcile(struct merlon_session *here, const struct merlon_session *there, const struct merlon_session *was,
		      uint8_t l4proto)
{
	unsigned d;

	for (d = 0; d < MERLON_DIRECTIONS; d++) {
		here->stats[d].packets += there->stats[d].packets - was->stats[d].packets;
		here->stats[d].bytes += there->stats[d].bytes - was->stats[d].bytes;
	}
	/* what ends a connection may leave it less time than it had */
	if (here->expires_ns == was->expires_ns || (here->state == was->state && there->expires_ns > here->expires_ns))
		here->expires_ns = there->expires_ns;
	if (here->state == was->state)
		here->state = there->state;
	here->flags |= there->flags & ~MERLON_S_ESTABLISHED;	/* whether its place is kept is this table's business */
	if (l4proto == MERLON_PROTO_TCP && !memcmp(&here->tcp, &was->tcp, sizeof(here->tcp)))
		here->tcp = there->tcp;
	else if (l4proto == MERLON_PROTO_TCP)
		reconcile_ends(&here->tcp, &there->tcp);
	else if (l4proto == MERLON_PROTO_SCTP && !memcmp(&here->sctp, &was->sctp, sizeof(here->sctp)))
		here->sctp = there->sctp;
}

static void look_again(struct takeover *t, enum merlon_family family, const struct merlon_flow *flow, struct copied *copy)
{
	struct merlon_session *here;

	if (!memcmp(&copy->session, &flow->session, sizeof(flow->session)))
		return;
	t->news++;
	here = merlon_table_lock(&t->to, t->dp->control.seed, family, &flow->tuple);
	/* it has ended here: with that it is over */
	if (here) {
		reconcile(here, &flow->session, &copy->session, merlon_flow_l4proto(family, flow));
		merlon_table_unlock(here);
	}
	copy->session = flow->session;
}

/*
 * A session that is here since before this daemon was. It is further on than the other one, but for a packet that was on its
 * way there when it was copied: without it, what answers that packet would acknowledge what was never sent.
 */
static void catch_up(const struct takeover *t, enum merlon_family family, const struct merlon_flow *flow)
{
	struct merlon_session *here = merlon_table_lock(&t->to, t->dp->control.seed, family, &flow->tuple);

	if (!here)
		return;
	/* or it is another connection between the same ends */
	if (merlon_flow_l4proto(family, flow) == MERLON_PROTO_TCP && here->created_ns == flow->session.created_ns)
		reconcile_ends(&here->tcp, &flow->session.tcp);
	merlon_table_unlock(here);
}

static int keep_copy(struct takeover *t, size_t place, uint64_t hash, const struct merlon_flow *flow)
{
	struct copied *more;

	if (t->n == t->room) {
		more = realloc(t->copy, (t->room * 2 + 1024) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->copy = more;
		t->room = t->room * 2 + 1024;
	}
	t->copy[t->n++] = (struct copied){ hash, flow->session };
	t->copy_of[place] = t->n;
	return 0;
}

static int take_flow(struct takeover *t, size_t place, enum merlon_family family, const struct merlon_flow *flow)
{
	uint64_t hash = merlon_tuple_hash(t->dp->control.seed, family, &flow->tuple);
	struct copied *copy = t->copy_of[place] ? &t->copy[t->copy_of[place] - 1] : NULL;
	struct merlon_flow entered;
	int r;

	if (copy && copy->hash == hash) {
		look_again(t, family, flow, copy);
		return 0;
	}
	entered = *flow;
	if (!entered.session.created_ns)
		entered.session.created_ns = t->now_ns;
	r = merlon_table_enter(&t->to, t->dp->control.seed, family, &entered, t->now_ns);
	t->taken += r == 0;
	t->left_out += r == -ENOSPC;
	t->busy += r == -EBUSY;
	if (r == -EEXIST)
		catch_up(t, family, flow);
	t->news += r == 0 || r == -EBUSY;
	/* the next pass tries again */
	return r == -EBUSY ? 0 : keep_copy(t, place, hash, flow);
}

/* Packets go on: a way may become another flow's while it is read. A lock that stays is left behind, as packets take it. */
static enum merlon_layout_flow read_flow(const struct takeover *t, size_t set, unsigned way, enum merlon_family *family,
					 struct merlon_flow *ret)
{
	const struct merlon_layout *layout = t->dp->before->layout;
	const uint8_t *at = t->from + set * t->stride, *head = t->heads + set * t->heads_stride;
	enum merlon_layout_flow found = MERLON_LAYOUT_EMPTY;
	uint64_t began_ns = 0;
	unsigned tries;

	for (tries = 0; tries < READ_TRIES || merlon_now_ns() - began_ns < READ_PATIENCE_NS; tries++) {
		uint32_t owner = merlon_layout_owner(layout, at, way);
		enum merlon_family as;
		struct merlon_flow again;

		found = merlon_layout_flow(layout, head, at, way, t->now_ns, family, ret);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (found == MERLON_LAYOUT_EMPTY)
			break;
		/* twice: who was put aside meanwhile finds the owner that was there before, whoever came in between */
		if (merlon_layout_flow(layout, head, at, way, t->now_ns, &as, &again) == found && as == *family && !memcmp(&again, ret, sizeof(again)) &&
		    !(owner & MERLON_LOCKED)) {
			__atomic_thread_fence(__ATOMIC_ACQUIRE);
			if (merlon_layout_owner(layout, at, way) == owner)
				break;
		}
		if (!began_ns)
			began_ns = merlon_now_ns();
		sched_yield();
	}
	return found;
}

static int pass(struct takeover *t)
{
	enum merlon_family family = MERLON_IPV4;
	struct merlon_flow flow;
	size_t set;
	unsigned way;
	int r = 0;

	t->news = t->unknown = t->busy = 0;
	t->now_ns = merlon_now_ns();
	for (set = 0; !r && set < t->sets; set++) {
		if (set == t->sets / 2)
			merlon_cut_here(*t->stage == MERLON_TAKEOVER_MOVING ? 3 : 4);
		for (way = 0; !r && way < t->ways; way++)
			switch (read_flow(t, set, way, &family, &flow)) {
			case MERLON_LAYOUT_FLOW:
				r = take_flow(t, set * t->ways + way, family, &flow);
				break;
			case MERLON_LAYOUT_UNKNOWN:
				t->unknown++;
				break;
			default:
				break;
			}
	}
	return r;
}

/* Those of takeovers that were cut off stay until their programs are out of the slots: with the directory. */
static int pin_takers(const struct merlon_dataplane *dp, const struct merlon_taking *taking)
{
	char path[PATH_MAX];
	int r = merlon_pin_path(dp, path, "takers-%u", merlon_prog_id(taking->prog[0]));

	return r < 0 ? r : bpf_obj_pin(taking->takers, path);
}

static int lead_to_takers(const struct merlon_dataplane *dp, const struct merlon_taking *taking)
{
	uint32_t side;
	int r = pin_takers(dp, taking);

	if (r < 0)
		return r;

	for (side = 0; side < MERLON_PROGS; side++) {
		uint32_t before = MERLON_TAKER_BEFORE + side, next = MERLON_TAKER_NEXT + side;

		if (bpf_map_update_elem(taking->takers, &before, &dp->before->prog[side], 0) < 0 ||
		    bpf_map_update_elem(taking->takers, &next, &dp->policy.prog[side], 0) < 0)
			return -errno;
	}
	r = set_slots(dp->before->entry, taking->prog);
	if (r < 0 && !dp->before->begun)
		set_slots(dp->before->entry, dp->before->prog);
	return r;
}

/*
 * Steps 1 to 4. Whatever fails, each packet is judged by who knows its flow. With the slots there is no way back: flows may
 * end here from then on that the other table still has.
 */
static int take_all(struct takeover *t, const struct merlon_taking *taking)
{
	int i, r = lead_to_takers(t->dp, taking);

	if (r < 0)
		return r;
	t->dp->before->begun = true;
	merlon_cut_here(2);
	r = merlon_wait_for_programs();
	if (!r)
		r = pass(t);
	if (r < 0)
		return r;
	*taking->stage = MERLON_TAKEOVER_SETTLING;
	for (i = 0; !r && i < MOST_PASSES && (!i || t->news); i++) {
		r = merlon_wait_for_programs();
		if (!r)
			r = pass(t);
	}
	if (!r)
		r = set_slots(t->dp->before->entry, t->dp->policy.prog);
	merlon_cut_here(5);
	if (r < 0)
		return r;
	t->dp->before->settled = true;
	t->last = merlon_wait_for_programs();
	if (!t->last)
		t->last = pass(t);
	return 0;
}

static void report(const struct takeover *t, uint64_t ms, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };

	if (t->taken)
		merlon_diag_add(diag, MERLON_NOTE, nowhere, "%u session%s of a data plane of layout %u taken over in %" PRIu64 " ms", t->taken,
				t->taken == 1 ? "" : "s", t->dp->before->version, ms);
	if (t->left_out) {
		merlon_diag_add(diag, MERLON_WARNING, nowhere, "%u sessions had no room, and begin anew", t->left_out);
		merlon_diag_cure(diag, "raise [Sessions] Max= in merlond's configuration");
	}
	if (t->busy)
		merlon_diag_add(diag, MERLON_WARNING, nowhere, "%u sessions could not be entered beside what was worked on, and begin anew",
				t->busy);
	if (t->last < 0)
		merlon_diag_add(diag, MERLON_WARNING, nowhere, "sessions that began in the last moment may be missing, and begin anew: %s",
				strerror(-t->last));
	if (t->unknown)
		merlon_diag_add(diag, MERLON_WARNING, nowhere, "%u sessions are in states that this version does not know, and begin anew",
				t->unknown);
}

/* Step 5: what the one before had is let go. Until it succeeds, both have pins. */
static int commit(struct merlon_dataplane *dp)
{
	int r = merlon_pins_commit(dp->before->pin_dir);

	if (r < 0)
		return r;
	free(dp->pin_dir);
	dp->pin_dir = TAKE_PTR(dp->before->pin_dir);
	merlon_before_free(dp->before);
	dp->before = NULL;
	return 0;
}

static int take_sessions(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	struct merlon_taking taking = { 0 };
	struct takeover t = { .dp = dp };
	uint64_t began_ns;
	int r;

	merlon_relax(dp, true);
	r = merlon_taking_open(dp, &taking, diag);
	t.stage = taking.stage;
	if (!r)
		r = open_tables(&t);
	began_ns = merlon_now_ns();
	if (!r)
		r = take_all(&t, &taking);
	merlon_taking_close(&taking);
	close_tables(&t);
	merlon_relax(dp, false);
	if (!r)
		report(&t, (merlon_now_ns() - began_ns) / 1000000, diag);
	return r;
}

int merlon_takeover(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r = dp->before->settled ? 0 : take_sessions(dp, diag);

	if (r < 0) {
		merlon_diag_errno(diag, r, "cannot take the place of the data plane of another layout");
		return r;
	}
	r = commit(dp);
	if (r < 0) {
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ 0 },
				"the policy is in force, but its pins are not yet where those of the data plane of another layout are: %s",
				strerror(-r));
		merlon_diag_cure(diag, "the next apply, or start of merlond, moves them");
	}
	return 0;
}

int merlon_takeover_end(struct merlon_dataplane *dp, struct merlon_diag *diag)
{
	int r = dp->before && dp->before->settled ? commit(dp) : 0;

	if (r < 0)
		merlon_diag_errno(diag, r, "cannot move the pins to where those of the data plane of another layout are");
	return r;
}
