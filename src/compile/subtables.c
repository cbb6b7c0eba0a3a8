/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rules whose addresses tell them apart from nearly all others go into hash tables: a packet then looks at few of
 * them, and each costs a cache line, however many there are. Masks are chosen greedily: again and again those that
 * place the most of the rules which are left, where a rule is placed if its bucket is not crowded. What no masks place
 * (rules that do not ask for addresses, above all) is left to the planes.
 */
#include "src/compile/subtables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/compile/planes.h"
#include "src/util/power.h"

#define SPLITS 4U		/* boxes of one rule, at most */
#define MANY_SPLITS 32U		/* the same where few rules are more than SPLITS: planes for these alone would cost every packet */
#define MANY_BOXES (1U << 19)	/* of a list; where there are more, rules of several boxes go without: they take memory */
#define LEAST_PLACED 32U	/* rules that make a subtable worth its while */
#define NEARLY_ALL 8U		/* all but one of so many */
#define LENGTHS 5U

static const uint8_t length_of[MERLON_FAMILIES][LENGTHS] = {
	[MERLON_IPV4] = { 0, 8, 16, 24, 32 },
	[MERLON_IPV6] = { 0, 32, 48, 64, 128 },
};

/* A box, and how many leading bits all of its addresses have in common. */
struct box {
	merlon_value lo[2], hi[2];
	struct merlon_image_box image;
	uint16_t th2[2];
	uint8_t common[2];
	bool even;		/* both addresses are prefixes */
};

struct masks {
	uint8_t length[2];	/* of prefixes */
	bool th2;
};

struct boxes {
	enum merlon_family family;
	struct box *box;	/* [n], ascending by rule */
	uint32_t n, room;
	uint32_t *left;		/* those that have no place yet */
	uint32_t n_left;
	uint32_t *hash;		/* beside `left`; NO_HASH: the masks take away more than the box has in common */
	uint8_t *load;		/* [loads] boxes in a bucket, saturated */
	uint32_t loads;
	bool direct;		/* buckets are boxes themselves, of any number; else they are words, and a power of two */
};

#define NO_HASH UINT32_MAX

static uint8_t common_bits(merlon_value lo, merlon_value hi, unsigned bits)
{
	merlon_value differ = lo ^ hi;
	uint8_t n = bits;

	for (; differ; differ >>= 1)
		n--;
	return n;
}

/* The k-th interval of what a rule asks of a dimension, at most `max`. */
static struct merlon_interval interval_of(const struct merlon_compiler *compiler, const struct merlon_flat_rule *rule,
					  uint32_t dim, uint32_t k, merlon_value max)
{
	const struct merlon_intervals *set = &compiler->sets.set[rule->dim[dim]];
	struct merlon_interval v;

	if (rule->dim[dim] == MERLON_ANY)
		return (struct merlon_interval){ 0, max };
	v = set->v[k];
	if (v.hi > max)
		v.hi = max;
	return v;
}

static bool is_prefix(struct merlon_interval v)
{
	merlon_value differ = v.lo ^ v.hi;

	return !(differ & (differ + 1)) && !(v.lo & differ);
}

static uint8_t states_of(const struct merlon_compiler *compiler, uint32_t set)
{
	uint8_t states = 0;

	if (set == MERLON_ANY)
		return 0xff;
	for (unsigned state = 0; state < MERLON_CT_STATES; state++)
		states |= merlon_intervals_contain(&compiler->sets.set[set], state) << state;
	return states;
}

/* The greatest value that a dimension has in packets. */
static merlon_value most(uint32_t dim, enum merlon_family family)
{
	switch (dim) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
		return merlon_dim_max(dim, family);
	case MERLON_F_L4PROTO:
		return UINT8_MAX;
	default:
		return UINT16_MAX;
	}
}

/* How many boxes a rule is; 0: more than `most_boxes`, or it has none. */
static uint32_t count_boxes(const struct merlon_compiler *compiler, const struct merlon_flat_rule *rule,
			    enum merlon_family family, uint32_t most_boxes)
{
	uint32_t n = 1;

	for (uint32_t d = 0; d < MERLON_DIMS; d++) {
		const struct merlon_intervals *set = &compiler->sets.set[rule->dim[d]];

		if (rule->dim[d] == MERLON_ANY || d == MERLON_F_CT_STATE)
			continue;
		if (!set->n || set->n > most_boxes || set->v[set->n - 1].lo > most(d, family))
			return 0;
		n *= set->n;
	}
	return n <= most_boxes ? n : 0;
}

/* How many boxes a rule of the list may be. */
static uint32_t splits_of(const struct merlon_compiler *compiler, const struct merlon_flat *flat)
{
	uint64_t n = 0, more = 0;

	for (uint32_t i = 0; i < flat->n; i++) {
		uint32_t boxes = count_boxes(compiler, &flat->rule[i], flat->family, MANY_SPLITS);

		n += boxes <= SPLITS ? boxes : 0;
		more += boxes > SPLITS ? boxes : 0;
	}
	if (n + more <= MANY_BOXES && more <= n / 8)
		return MANY_SPLITS;
	return n > MANY_BOXES ? 1 : SPLITS;
}

static int add_boxes(const struct merlon_compiler *compiler, const struct merlon_flat *flat, uint32_t rule,
		     const struct merlon_image_rule *is, uint32_t most_boxes, struct boxes *boxes)
{
	const struct merlon_flat_rule *r = &flat->rule[rule];
	uint32_t n = count_boxes(compiler, r, flat->family, most_boxes);

	for (uint32_t i = 0; i < n; i++) {
		struct merlon_interval v[MERLON_DIMS];
		struct box *box;
		uint32_t rest = i, asked = 0;

		if (merlon_grow(&boxes->box, boxes->n, &boxes->room, sizeof(*boxes->box)) < 0)
			return -ENOMEM;
		box = &boxes->box[boxes->n++];
		*box = (struct box){ .image = { .rule = rule, .is = *is }, .even = true };
		for (uint32_t d = 0; d < MERLON_DIMS; d++) {
			uint32_t sets = r->dim[d] == MERLON_ANY || d == MERLON_F_CT_STATE ? 1 : compiler->sets.set[r->dim[d]].n;

			if (r->dim[d] != MERLON_ANY)
				asked |= MERLON_BIT(d);
			if (d != MERLON_F_CT_STATE)
				v[d] = interval_of(compiler, r, d, rest % sets, most(d, flat->family));
			rest /= sets;
		}
		for (uint32_t end = 0; end < 2; end++) {
			box->lo[end] = v[MERLON_F_SADDR + end].lo;
			box->hi[end] = v[MERLON_F_SADDR + end].hi;
			box->common[end] = common_bits(box->lo[end], box->hi[end], flat->family == MERLON_IPV6 ? 128 : 32);
			box->even &= is_prefix(v[MERLON_F_SADDR + end]);
		}
		box->th2[0] = v[MERLON_F_TH2].lo;
		box->th2[1] = v[MERLON_F_TH2].hi;
		box->image.what = MERLON_BOX(asked, states_of(compiler, r->dim[MERLON_F_CT_STATE]), v[MERLON_F_L4PROTO].lo,
					     v[MERLON_F_L4PROTO].hi);
		box->image.lanes[0] = MERLON_BOX_LANES(v[MERLON_F_TH0].lo, v[MERLON_F_TH2].lo, v[MERLON_F_IIF].lo, v[MERLON_F_OIF].lo);
		box->image.lanes[1] = MERLON_BOX_LANES(v[MERLON_F_TH0].hi, v[MERLON_F_TH2].hi, v[MERLON_F_IIF].hi, v[MERLON_F_OIF].hi);
	}
	return 0;
}

/* The words of an address or a mask, as packets have them: IPv4 in the first. */
static void words_of(merlon_value value, enum merlon_family family, __u64 *to)
{
	to[0] = family == MERLON_IPV6 ? value >> 64 : value;
	to[1] = family == MERLON_IPV6 ? (uint64_t)value : 0;
}

static struct merlon_image_subtable subtable_of(const struct masks *masks, enum merlon_family family)
{
	unsigned bits = family == MERLON_IPV6 ? 128 : 32;
	struct merlon_image_subtable subtable = { .th2_mask = masks->th2 ? UINT16_MAX : 0 };

	for (uint32_t end = 0; end < 2; end++) {
		uint8_t length = masks->length[end];
		merlon_value mask = length ? merlon_value_max(bits) >> (bits - length) << (bits - length) : 0;

		words_of(mask, family, &subtable.mask[2 * end]);
	}
	return subtable;
}

static uint32_t hash_of(const struct boxes *boxes, const struct box *box, const struct masks *masks,
			const struct merlon_image_subtable *subtable)
{
	__u64 address[2][2];

	if (box->common[0] < masks->length[0] || box->common[1] < masks->length[1] ||
	    (masks->th2 && (box->th2[0] != box->th2[1] || !(box->image.what & MERLON_BIT(MERLON_F_TH2)))))
		return NO_HASH;
	words_of(box->lo[0], boxes->family, address[0]);
	words_of(box->lo[1], boxes->family, address[1]);
	return merlon_subtable_hash(subtable->mask, subtable->th2_mask, address[0], address[1], box->th2[0]);
}

static uint32_t bucket_of(const struct boxes *boxes, uint32_t hash)
{
	return boxes->direct ? merlon_subtable_slot(hash, boxes->loads) : hash & (boxes->loads - 1);
}

static uint8_t *load_of(const struct boxes *boxes, uint32_t hash)
{
	return &boxes->load[bucket_of(boxes, hash)];
}

/* Hashes all boxes that are left; returns how many of them the masks place. */
static uint32_t try(struct boxes *boxes, const struct masks *masks)
{
	struct merlon_image_subtable subtable = subtable_of(masks, boxes->family);
	uint32_t placed = 0;

	memset(boxes->load, 0, boxes->loads);
	for (uint32_t i = 0; i < boxes->n_left; i++) {
		uint32_t hash = hash_of(boxes, &boxes->box[boxes->left[i]], masks, &subtable);

		boxes->hash[i] = hash;
		if (hash != NO_HASH && *load_of(boxes, hash) <= MERLON_BUCKET_BOXES)
			++*load_of(boxes, hash);
	}
	for (uint32_t i = 0; i < boxes->n_left; i++)
		placed += boxes->hash[i] != NO_HASH && *load_of(boxes, boxes->hash[i]) <= MERLON_BUCKET_BOXES;
	return placed;
}

/* How many boxes have as many bits in common as the masks leave. */
static uint32_t eligible(const struct boxes *boxes, const struct masks *masks)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < boxes->n_left; i++) {
		const struct box *box = &boxes->box[boxes->left[i]];

		n += box->common[0] >= masks->length[0] && box->common[1] >= masks->length[1];
	}
	return n;
}

/* The masks that place the most; returns how many. */
static uint32_t choose(struct boxes *boxes, struct masks *best)
{
	uint32_t most_placed = 0;

	/* without the port first: of masks that do the same the shorter ones are as good */
	for (uint32_t i = 1; i < LENGTHS * LENGTHS * 2; i++) {
		const uint8_t *length = length_of[boxes->family];
		struct masks masks = { { length[i % LENGTHS], length[i / LENGTHS % LENGTHS] }, i >= LENGTHS * LENGTHS };
		uint32_t placed;

		if (eligible(boxes, &masks) <= most_placed)
			continue;
		placed = try(boxes, &masks);
		if (placed > most_placed) {
			most_placed = placed;
			*best = masks;
		}
	}
	return most_placed;
}

static void put_box(struct merlon_builder *b, uint32_t at, const struct box *box, enum merlon_family family, bool last)
{
	struct merlon_image_box6 image = { .box = box->image };
	merlon_value second[2];	/* beside the least address */

	for (unsigned end = 0; end < 2; end++)
		second[end] = box->even ? ~(box->lo[end] ^ box->hi[end]) : box->hi[end];
	image.box.flags = (last ? MERLON_BOX_LAST : 0) | (box->even ? 0 : MERLON_BOX_UNEVEN);
	if (family == MERLON_IPV6) {
		for (uint32_t k = 0; k < 2; k++) {
			words_of(k ? second[0] : box->lo[0], family, image.saddr[k]);
			words_of(k ? second[1] : box->lo[1], family, image.daddr[k]);
		}
	} else {
		image.box.pair[0] = MERLON_BOX_PAIR((uint32_t)box->lo[0], (uint32_t)box->lo[1]);
		image.box.pair[1] = MERLON_BOX_PAIR((uint32_t)second[0], (uint32_t)second[1]);
	}
	memcpy(b->word + at, &image, family == MERLON_IPV6 ? sizeof(image) : sizeof(image.box));
}

static uint32_t box_words(const struct boxes *boxes)
{
	return (boxes->family == MERLON_IPV6 ? sizeof(struct merlon_image_box6) : sizeof(struct merlon_image_box)) / 8;
}

static void empty_slots(struct merlon_builder *b, const struct merlon_image_subtable *subtable, uint32_t words)
{
	for (uint32_t i = 0; i < subtable->slots && !b->error; i++)
		((struct merlon_image_box *)(b->word + subtable->buckets + i * words))->rule = MERLON_NO_RULE;
}

/* The place of a bucket's next box, which the bucket then knows of; *next: where those are that stand outside of slots. */
static uint32_t next_place(struct merlon_builder *b, const struct merlon_image_subtable *subtable, uint32_t bucket, uint32_t words,
			   uint32_t *next)
{
	uint32_t at = subtable->buckets + bucket * words;
	struct merlon_image_box *slot = (struct merlon_image_box *)(b->word + at);

	if (subtable->slots && slot->rule == MERLON_NO_RULE)
		return at;
	at = *next;
	*next += words;
	if (subtable->slots && !slot->more)
		slot->more = at / MERLON_LINE_WORDS;
	return at;
}

/* Lays out what the last try places, in buckets of boxes that stand together; takes it off what is left. */
static int place(struct merlon_builder *b, struct boxes *boxes, const struct masks *masks,
		 struct merlon_image_subtable *subtable)
{
	uint32_t words = box_words(boxes), *next = calloc(boxes->loads, sizeof(*next)), n = 0, n_left = 0, at;

	if (!next)
		return -ENOMEM;
	*subtable = subtable_of(masks, boxes->family);
	subtable->slots = boxes->direct ? boxes->loads : 0;
	subtable->buckets_mask = boxes->loads - 1;
	subtable->buckets = merlon_builder_put(b, NULL, boxes->loads * (boxes->direct ? words : 1), 2 * MERLON_LINE_WORDS);
	empty_slots(b, subtable, words);
	for (uint32_t i = 0; i < boxes->loads; i++) {
		uint32_t outside = boxes->load[i] <= MERLON_BUCKET_BOXES ? boxes->load[i] : 0;

		outside -= boxes->direct && outside;
		next[i] = n * words;
		n += outside;
	}
	at = merlon_builder_put(b, NULL, n * words, words);
	for (uint32_t i = 0; i < boxes->loads; i++)
		next[i] += at;
	for (uint32_t i = 0; i < boxes->n_left && !b->error; i++) {
		uint32_t hash = boxes->hash[i], box = boxes->left[i], bucket, to;
		uint64_t *word;

		if (hash == NO_HASH || *load_of(boxes, hash) > MERLON_BUCKET_BOXES) {
			boxes->left[n_left++] = box;
			continue;
		}
		bucket = bucket_of(boxes, hash);
		to = next_place(b, subtable, bucket, words, &next[bucket]);
		put_box(b, to, &boxes->box[box], boxes->family, !--boxes->load[bucket]);
		if (boxes->direct)
			continue;
		word = &b->word[subtable->buckets + bucket];
		if (!*word)
			*word = MERLON_BUCKET(boxes->box[box].image.rule, 0, to / MERLON_LINE_WORDS);
		*word |= MERLON_BUCKET(0, 1U << MERLON_BUCKET_TAG(hash), 0);
	}
	boxes->n_left = n_left;
	free(next);
	return 0;
}

static int place_all(struct merlon_builder *b, struct boxes *boxes, struct merlon_image_subtable *subtable,
		     uint32_t *ret_n)
{
	struct masks masks;
	int r = 0;

	while (*ret_n < MERLON_SUBTABLES && !r && !b->error) {
		uint32_t placed;

		boxes->loads = merlon_power_of_two(16, boxes->n_left);
		boxes->direct = false;
		placed = choose(boxes, &masks);
		if (placed < LEAST_PLACED)
			return 0;
		boxes->direct = !*ret_n && placed >= boxes->n - boxes->n / NEARLY_ALL;
		boxes->loads = boxes->direct ? placed : merlon_power_of_two(16, placed + placed / 2);
		if (try(boxes, &masks) < LEAST_PLACED)
			return 0;
		r = place(b, boxes, &masks, &subtable[(*ret_n)++]);
	}
	return r;
}

int merlon_subtables_emit(struct merlon_compiler *compiler, const struct merlon_flat *flat, const struct merlon_image_rule *rule,
			  struct merlon_image_list *list, bool *placed)
{
	struct merlon_image_subtable subtable[MERLON_SUBTABLES];
	struct boxes boxes = { .family = flat->family };
	bool fit = flat->n <= MERLON_BUCKET_RULES && compiler->policy->n_ifclasses <= UINT16_MAX;
	uint32_t n = 0, n_rules = fit ? flat->n : 0, splits = splits_of(compiler, flat);
	int r = 0;

	for (uint32_t i = 0; i < n_rules && !r; i++)
		if (!placed[i])
			r = add_boxes(compiler, flat, i, &rule[i], splits, &boxes);
	boxes.left = calloc(boxes.n + 1, sizeof(*boxes.left));
	boxes.hash = calloc(boxes.n + 1, sizeof(*boxes.hash));
	boxes.load = calloc(merlon_power_of_two(16, 2 * boxes.n), sizeof(*boxes.load));
	if (!r && (!boxes.left || !boxes.hash || !boxes.load))
		r = -ENOMEM;
	for (uint32_t i = 0; i < boxes.n && !r; i++)
		boxes.left[boxes.n_left++] = i;
	if (!r)
		r = place_all(&compiler->builder, &boxes, subtable, &n);
	for (uint32_t i = 0; i < boxes.n && !r; i++)
		placed[boxes.box[i].image.rule] = true;
	for (uint32_t i = 0; i < boxes.n_left && !r; i++)
		placed[boxes.box[boxes.left[i]].image.rule] = false;
	list->n_subtables = n;
	if (n)
		list->subtables = merlon_builder_put(&compiler->builder, subtable, n * (sizeof(*subtable) / 8),
						     MERLON_LINE_WORDS);
	free(boxes.box);
	free(boxes.left);
	free(boxes.hash);
	free(boxes.load);
	return r;
}
