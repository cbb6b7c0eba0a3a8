/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/kernel/layout.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/session.h"
#include "bpf/set.h"
#include "src/util/cleanup.h"

#define DEPTH 16	/* of types in types; more is none of ours, but perhaps a circle */
#define DEPTH_UNNAMED 4
#define NO_STATE 0xff
#define NO_OWNER UINT32_MAX
#define KNOWN_FLAGS (MERLON_S_ORIG_IS_A | MERLON_S_SEEN_REPLY | MERLON_S_ASSURED | MERLON_S_PROVED)

/* Copies a number, or several in a row that are alike in both. Of structs in memory, in bits. */
struct op {
	uint32_t from, to;
	uint32_t from_bits, to_bits;
};

struct plan {
	struct op *op;
	size_t n;
	bool whole;	/* nothing is missing */
};

/* A type, and where in the struct around it that is. */
struct place {
	const struct btf *btf;
	uint32_t type;
	uint32_t bit;
	uint32_t bits;	/* of a bit field; 0: it is none */
};

struct merlon_layout {
	uint32_t ways_bytes, set_bytes, control_bytes;
	uint32_t ways, way, way_bytes;	/* `way`: where the first one is */
	struct plan tag;		/* of the first one */
	uint32_t tag_bits;
	uint32_t owner;			/* where in a way; NO_OWNER */
	struct plan tuple[MERLON_FAMILIES], session, tcp, sctp, control;
	uint8_t tcp_state[256], sctp_state[256];
};

static const struct btf_type *type_of(const struct place *p, uint32_t *ret_id)
{
	const struct btf_type *t = btf__type_by_id(p->btf, p->type);
	uint32_t id = p->type;

	for (int i = 0; t && i < DEPTH && (btf_is_mod(t) || btf_is_typedef(t)); i++) {
		id = t->type;
		t = btf__type_by_id(p->btf, id);
	}
	if (ret_id)
		*ret_id = id;
	return t;
}

static const char *name_of(const struct place *p, const struct btf_member *m)
{
	const char *name = btf__str_by_offset(p->btf, m->name_off);

	return name ? name : "";
}

static struct place member_at(const struct place *p, const struct btf_type *t, uint32_t i)
{
	return (struct place){ .btf = p->btf, .type = btf_members(t)[i].type, .bit = p->bit + btf_member_bit_offset(t, i),
			       .bits = btf_member_bitfield_size(t, i) };
}

/* A member of a struct or union, also one of those without a name in it. */
static bool find_member(const struct place *p, const char *name, unsigned depth, struct place *ret)
{
	const struct btf_type *t = type_of(p, NULL);
	uint32_t i;

	if (!t || !btf_is_composite(t) || depth > DEPTH_UNNAMED)
		return false;
	for (i = 0; i < btf_vlen(t); i++) {
		const char *is = name_of(p, &btf_members(t)[i]);
		struct place at = member_at(p, t, i);

		if (!strcmp(is, name)) {
			*ret = at;
			return true;
		}
		if (!*is && find_member(&at, name, depth + 1, ret))
			return true;
	}
	return false;
}

static bool is_number(const struct btf_type *t)
{
	return (btf_is_int(t) && !(btf_int_encoding(t) & BTF_INT_SIGNED)) || btf_is_any_enum(t);
}

static uint32_t bits_of(const struct place *p, const struct btf_type *t)
{
	return p->bits ? p->bits : t->size * 8;
}

static bool is_bytes(const struct op *op)
{
	return op->from_bits == op->to_bits && !(op->from % 8) && !(op->to % 8) && !(op->from_bits % 8);
}

static int add_op(struct plan *plan, struct op op)
{
	struct op *last = plan->n ? &plan->op[plan->n - 1] : NULL, *more;

	if (last && is_bytes(last) && is_bytes(&op) && last->from + last->from_bits == op.from &&
	    last->to + last->to_bits == op.to) {
		last->from_bits += op.from_bits;
		last->to_bits += op.to_bits;
		return 0;
	}
	more = realloc(plan->op, (plan->n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	more[plan->n++] = op;
	plan->op = more;
	return 0;
}

static int match(struct plan *plan, const struct place *theirs, const struct place *ours, unsigned depth);

static int match_members(struct plan *plan, const struct place *theirs, const struct place *ours, unsigned depth)
{
	const struct btf_type *t = type_of(ours, NULL);
	uint32_t i;
	int r = 0;

	for (i = 0; !r && i < btf_vlen(t); i++) {
		struct place at = member_at(ours, t, i), there;
		const char *name = name_of(ours, &btf_members(t)[i]);
		const struct btf_type *of = type_of(&at, NULL);

		/* what shares its place with others is matched where it is known which of them it is */
		if (!strcmp(name, "pad") || (!*name && of && btf_is_union(of)))
			continue;
		if (!*name && of && btf_is_struct(of))
			r = match_members(plan, theirs, &at, depth + 1);
		else if (find_member(theirs, name, 0, &there))
			r = match(plan, &there, &at, depth + 1);
		else
			plan->whole = false;
	}
	return r;
}

static int match_array(struct plan *plan, const struct place *theirs, const struct place *ours, unsigned depth)
{
	const struct btf_array *from = btf_array(type_of(theirs, NULL)), *to = btf_array(type_of(ours, NULL));
	int64_t from_bytes = btf__resolve_size(theirs->btf, from->type), to_bytes = btf__resolve_size(ours->btf, to->type);
	uint32_t i;
	int r = 0;

	if (from_bytes <= 0 || to_bytes <= 0 || from->nelems < to->nelems)
		plan->whole = false;
	for (i = 0; from_bytes > 0 && to_bytes > 0 && !r && i < from->nelems && i < to->nelems; i++) {
		struct place there = { theirs->btf, from->type, theirs->bit + i * from_bytes * 8, 0 };
		struct place here = { ours->btf, to->type, ours->bit + i * to_bytes * 8, 0 };

		r = match(plan, &there, &here, depth + 1);
	}
	return r;
}

/* Adds to the plan how the one becomes the other, as far as that can be. 0 or -ENOMEM. */
static int match(struct plan *plan, const struct place *theirs, const struct place *ours, unsigned depth)
{
	const struct btf_type *from = type_of(theirs, NULL), *to = type_of(ours, NULL);

	if (from && to && depth < DEPTH) {
		if (btf_is_composite(from) && btf_is_composite(to))
			return match_members(plan, theirs, ours, depth);
		if (btf_is_array(from) && btf_is_array(to))
			return match_array(plan, theirs, ours, depth);
		if (is_number(from) && is_number(to) && bits_of(theirs, from) <= 64 && bits_of(theirs, from) && bits_of(ours, to))
			return add_op(plan, (struct op){ theirs->bit, ours->bit, bits_of(theirs, from), bits_of(ours, to) });
	}
	plan->whole = false;
	return 0;
}

static uint32_t bit_at(uint32_t first, uint32_t bits, uint32_t i)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	(void)bits;
	return first + i;
#else
	return first + bits - 1 - i;
#endif
}

static uint8_t mask_of(uint32_t bit)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return 1U << bit % 8;
#else
	return 0x80U >> bit % 8;
#endif
}

/* False: a number does not fit. */
static bool carry_out(const struct plan *plan, const void *from, void *to)
{
	const uint8_t *f = from;
	uint8_t *t = to;
	bool fits = true;
	size_t i;

	for (i = 0; i < plan->n; i++) {
		const struct op *op = &plan->op[i];
		uint32_t bit;

		if (is_bytes(op)) {
			memcpy(t + op->to / 8, f + op->from / 8, op->from_bits / 8);
			continue;
		}
		for (bit = 0; bit < op->from_bits || bit < op->to_bits; bit++) {
			uint32_t at = bit_at(op->from, op->from_bits, bit), there = bit_at(op->to, op->to_bits, bit);
			bool is = bit < op->from_bits && f[at / 8] & mask_of(at);

			if (bit >= op->to_bits)
				fits &= !is;
			else
				t[there / 8] = (t[there / 8] & ~mask_of(there)) | (is ? mask_of(there) : 0);
		}
	}
	return fits;
}

/* Nothing beyond what there is of theirs, whatever their BTF says. */
static bool is_within(const struct plan *plan, uint32_t bytes)
{
	size_t i;

	for (i = 0; i < plan->n; i++)
		if ((uint64_t)plan->op[i].from + plan->op[i].from_bits > bytes * 8ULL)
			return false;
	return true;
}

static bool find_struct(const struct btf *btf, const char *name, struct place *ret, uint32_t *ret_bytes)
{
	int32_t id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT) : -ENOENT;
	int64_t bytes = id > 0 ? btf__resolve_size(btf, id) : 0;

	if (bytes <= 0 || bytes > 1 << 16)
		return false;
	*ret = (struct place){ .btf = btf, .type = id };
	if (ret_bytes)
		*ret_bytes = bytes;
	return true;
}

/* States that both have, by their names: *ret[theirs] is ours. */
static void match_states(const struct btf *theirs, const struct btf *ours, const char *name, unsigned n, uint8_t *ret)
{
	int32_t from_id = btf__find_by_name_kind(theirs, name, BTF_KIND_ENUM);
	int32_t to_id = btf__find_by_name_kind(ours, name, BTF_KIND_ENUM);
	const struct btf_type *from = from_id > 0 ? btf__type_by_id(theirs, from_id) : NULL;
	const struct btf_type *to = to_id > 0 ? btf__type_by_id(ours, to_id) : NULL;
	uint32_t i, j;

	memset(ret, NO_STATE, 256);
	for (i = 0; from && to && i < btf_vlen(from); i++)
		for (j = 0; j < btf_vlen(to); j++) {
			const char *is = btf__str_by_offset(theirs, btf_enum(from)[i].name_off);
			const char *as = btf__str_by_offset(ours, btf_enum(to)[j].name_off);
			uint32_t value = btf_enum(from)[i].val;

			if (is && as && !strcmp(is, as) && value < 256 && (uint32_t)btf_enum(to)[j].val < n)
				ret[value] = btf_enum(to)[j].val;
		}
}

static bool find_path(const struct place *from, const char *first, const char *second, struct place *ret)
{
	struct place at;

	if (!find_member(from, first, 0, &at))
		return false;
	if (!second) {
		*ret = at;
		return true;
	}
	return find_member(&at, second, 0, ret);
}

/* The plan for the member of a struct that both have. False: they have not. */
static bool plan_member(const struct place *theirs, const struct place *ours, const char *first, const char *second,
			struct plan *ret)
{
	struct place from, to;

	*ret = (struct plan){ .whole = true };
	return find_path(theirs, first, second, &from) && find_path(ours, first, second, &to) && !match(ret, &from, &to, 0);
}

static bool plan_ways(struct merlon_layout *layout, const struct place *set, const struct place *ways_of, struct place *ret_flow)
{
	struct place tag, way;
	const struct btf_type *tags, *ways, *number, *flow;
	struct place element;

	if (!find_member(set, "tag", 0, &tag) || !find_member(ways_of, "way", 0, &way))
		return false;
	tags = type_of(&tag, NULL);
	ways = type_of(&way, NULL);
	if (!tags || !ways || !btf_is_array(tags) || !btf_is_array(ways) || btf_array(tags)->nelems < btf_array(ways)->nelems ||
	    way.bit % 8)
		return false;
	element = (struct place){ set->btf, btf_array(tags)->type, tag.bit, 0 };
	*ret_flow = (struct place){ ways_of->btf, btf_array(ways)->type, 0, 0 };
	number = type_of(&element, NULL);
	flow = type_of(ret_flow, NULL);
	if (!number || !flow || !is_number(number) || number->size > 4 || !number->size || !btf_is_struct(flow))
		return false;
	layout->tag_bits = number->size * 8;
	layout->ways = btf_array(ways)->nelems;
	layout->way = way.bit / 8;
	layout->way_bytes = flow->size;
	return layout->ways && !add_op(&layout->tag, (struct op){ element.bit, 0, layout->tag_bits, 32 }) &&
	       (uint64_t)layout->way + (uint64_t)layout->ways * layout->way_bytes <= layout->ways_bytes &&
	       tag.bit + (uint64_t)layout->ways * layout->tag_bits <= layout->set_bytes * 8ULL;
}

/* A word that can be read at once. */
static uint32_t find_owner(const struct merlon_layout *layout, const struct place *session)
{
	struct place at;
	const struct btf_type *t = find_member(session, "owner", 0, &at) ? type_of(&at, NULL) : NULL;

	return t && is_number(t) && t->size == 4 && !at.bits && !(at.bit % 32) && !(layout->way % 4) && !(layout->way_bytes % 4) &&
		       at.bit / 8 + 4ULL <= layout->way_bytes ? at.bit / 8 : NO_OWNER;
}

/* What a session cannot do without. */
static bool has_session(const struct place *session)
{
	static const char *const needed[] = { "expires_ns", "state", "flags" };
	struct place at;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(needed); i++)
		if (!find_member(session, needed[i], 0, &at))
			return false;
	return true;
}

static bool plan_all(struct merlon_layout *layout, const struct btf *theirs, const struct btf *ours)
{
	struct place set, ways, our_flow, flow, control, our_control, session;

	if (!find_struct(theirs, "merlon_flow_ways", &ways, &layout->ways_bytes) ||
	    !find_struct(theirs, "merlon_flow_set", &set, &layout->set_bytes) ||
	    !find_struct(theirs, "merlon_control", &control, &layout->control_bytes) ||
	    !find_struct(ours, "merlon_flow", &our_flow, NULL) || !find_struct(ours, "merlon_control", &our_control, NULL) ||
	    !plan_ways(layout, &set, &ways, &flow) || !find_member(&flow, "session", 0, &session) || !has_session(&session) ||
	    !plan_member(&flow, &our_flow, "tuple", "v4", &layout->tuple[MERLON_IPV4]) ||
	    !plan_member(&flow, &our_flow, "tuple", "v6", &layout->tuple[MERLON_IPV6]) ||
	    !layout->tuple[MERLON_IPV4].whole || !layout->tuple[MERLON_IPV6].whole ||
	    !plan_member(&flow, &our_flow, "session", NULL, &layout->session))
		return false;
	layout->owner = find_owner(layout, &session);
	if (!plan_member(&flow, &our_flow, "session", "tcp", &layout->tcp))
		layout->tcp.whole = false;
	if (!plan_member(&flow, &our_flow, "session", "sctp", &layout->sctp))
		layout->sctp.whole = false;
	/* without these nothing would seem to be in force */
	if (!find_member(&control, "generation", 0, &session) || !find_member(&control, "flags", 0, &session))
		return false;
	layout->control.whole = true;
	if (match(&layout->control, &control, &our_control, 0))
		return false;
	match_states(theirs, ours, "merlon_tcp_state", MERLON_TCP_STATES, layout->tcp_state);
	match_states(theirs, ours, "merlon_sctp_state", MERLON_SCTP_STATES, layout->sctp_state);
	return is_within(&layout->tuple[MERLON_IPV4], layout->way_bytes) && is_within(&layout->tuple[MERLON_IPV6], layout->way_bytes) &&
	       is_within(&layout->session, layout->way_bytes) && is_within(&layout->tcp, layout->way_bytes) &&
	       is_within(&layout->sctp, layout->way_bytes) && is_within(&layout->control, layout->control_bytes);
}

int merlon_layout_new(const struct merlon_blob *theirs, const struct merlon_blob *ours, struct merlon_layout **ret,
		      struct merlon_diag *diag)
{
	struct merlon_layout *layout = calloc(1, sizeof(*layout));
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct btf *from = btf__new(theirs->data, theirs->bytes), *to = btf__new(ours->data, ours->bytes);
	bool can = layout && from && to && plan_all(layout, from, to);
	int r = 0;

	libbpf_set_print(previous);
	if (!layout) {
		r = -ENOMEM;
	} else if (can) {
		*ret = layout;
	} else {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s",
				from ? "sessions of the other layout cannot be read: something is missing of what tells flows apart" :
				       "sessions of the other layout cannot be read: the description of its maps is damaged");
		r = -EPROTO;
	}
	btf__free(from);
	btf__free(to);
	if (r < 0)
		merlon_layout_free(layout);
	return r;
}

void merlon_layout_free(struct merlon_layout *layout)
{
	if (!layout)
		return;
	free(layout->tag.op);
	free(layout->tuple[MERLON_IPV4].op);
	free(layout->tuple[MERLON_IPV6].op);
	free(layout->session.op);
	free(layout->tcp.op);
	free(layout->sctp.op);
	free(layout->control.op);
	free(layout);
}

size_t merlon_layout_ways_bytes(const struct merlon_layout *layout)
{
	return layout->ways_bytes;
}

size_t merlon_layout_set_bytes(const struct merlon_layout *layout)
{
	return layout->set_bytes;
}

unsigned merlon_layout_ways(const struct merlon_layout *layout)
{
	return layout->ways;
}

size_t merlon_layout_control_bytes(const struct merlon_layout *layout)
{
	return layout->control_bytes;
}

void merlon_layout_control(const struct merlon_layout *layout, const void *control, struct merlon_control *ret)
{
	memset(ret, 0, sizeof(*ret));
	carry_out(&layout->control, control, ret);
}

/* As if it was picked up, with all that may be said of its windows. */
static void forget_windows(struct merlon_tcp *tcp)
{
	uint8_t closed[MERLON_DIRECTIONS] = { tcp->seen[0].flags & MERLON_TCP_CLOSED, tcp->seen[1].flags & MERLON_TCP_CLOSED };

	memset(tcp, 0, sizeof(*tcp));
	for (unsigned d = 0; d < MERLON_DIRECTIONS; d++)
		tcp->seen[d].flags = MERLON_TCP_SACKS | MERLON_TCP_LIBERAL | closed[d];
	tcp->last_kind = MERLON_TCP_KIND_OTHER;
}

/* Of a protocol that has states. */
static bool take_state(const struct merlon_layout *layout, const void *way, uint8_t l4proto, struct merlon_flow *ret)
{
	struct merlon_session *session = &ret->session;
	uint8_t state = session->state;

	if (l4proto == MERLON_PROTO_TCP) {
		if (!carry_out(&layout->tcp, way, ret) || layout->tcp_state[state] == NO_STATE)
			return false;
		session->state = layout->tcp_state[state];
		if (!layout->tcp.whole)
			forget_windows(&session->tcp);
		/* without what ended it, a SYN that opens it anew would be taken for an old one */
		return layout->tcp.whole || session->state != MERLON_TCP_CLOSE;
	}
	if (l4proto != MERLON_PROTO_SCTP || !state)
		return true;
	if (!layout->sctp.whole || !carry_out(&layout->sctp, way, ret) || layout->sctp_state[state] == NO_STATE)
		return false;
	session->state = layout->sctp_state[state];
	return true;
}

/* What belongs to its table, to the policy and to the routes. */
static void forget_surroundings(struct merlon_session *session)
{
	session->owner = 0;
	session->generation = session->routes = 0;
	memset(session->decision, 0, sizeof(session->decision));
	memset(session->checked_s, 0, sizeof(session->checked_s));
	session->flags &= KNOWN_FLAGS;
}

uint32_t merlon_layout_owner(const struct merlon_layout *layout, const void *ways, unsigned way)
{
	const uint8_t *at = (const uint8_t *)ways + layout->way + (size_t)way * layout->way_bytes;

	return layout->owner == NO_OWNER ? 0 : __atomic_load_n((const uint32_t *)(const void *)(at + layout->owner), __ATOMIC_ACQUIRE);
}

enum merlon_layout_flow merlon_layout_flow(const struct merlon_layout *layout, const void *set, const void *ways, unsigned way,
					   uint64_t now_ns, enum merlon_family *ret_family, struct merlon_flow *ret)
{
	const uint8_t *at = (const uint8_t *)ways + layout->way + (size_t)way * layout->way_bytes;
	uint32_t tag = 0;

	carry_out(&layout->tag, (const uint8_t *)set + way * (layout->tag_bits / 8), &tag);
	if (!tag)
		return MERLON_LAYOUT_EMPTY;
	*ret_family = tag & MERLON_TAG_IPV6 ? MERLON_IPV6 : MERLON_IPV4;
	memset(ret, 0, sizeof(*ret));
	if (!carry_out(&layout->tuple[*ret_family], at, ret) || !carry_out(&layout->session, at, ret))
		return MERLON_LAYOUT_UNKNOWN;
	forget_surroundings(&ret->session);
	if (ret->session.expires_ns < now_ns)
		return MERLON_LAYOUT_EMPTY;
	return take_state(layout, at, merlon_flow_l4proto(*ret_family, ret), ret) ? MERLON_LAYOUT_FLOW : MERLON_LAYOUT_UNKNOWN;
}
