/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/reader.h"

#include <errno.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define BUFFER 4096
#define NOISE_MS 2000

static int compare_sets(const void *a, const void *b)
{
	const struct merlon_named_set *x = a, *y = b;
	int r;

	if (x->nfproto != y->nfproto)
		return x->nfproto < y->nfproto ? -1 : 1;
	r = strcmp(x->table, y->table);
	return r ? r : strcmp(x->name, y->name);
}

static void free_set(void *p)
{
	struct merlon_named_set *set = p;

	free(set->table);
	free(set->name);
	free(set->refused);
	free(set->comment);
	while (set->n) {
		free(set->element[--set->n].chain);
		free(set->element[set->n].comment);
	}
	free(set->element);
	free(set->key);
	free(set);
}

void merlon_sets_free(struct merlon_reader *reader)
{
	tdestroy(reader->sets, free_set);
	reader->sets = NULL;
}

const struct merlon_named_set *merlon_sets_find(const struct merlon_reader *reader, uint8_t nfproto,
						const char *table, const char *name)
{
	struct merlon_named_set key = { .nfproto = nfproto, .table = (char *)table, .name = (char *)name };
	struct merlon_named_set **found = tfind(&key, &reader->sets, compare_sets);

	return found ? *found : NULL;
}

static void refuse(struct merlon_named_set *set, const char *why)
{
	if (!set->refused)
		set->refused = strdup(why);
}

static void judge(struct merlon_named_set *set, const struct nftnl_set *s)
{
	set->map = set->flags & NFT_SET_MAP && nftnl_set_get_u32(s, NFTNL_SET_DATA_TYPE) == NFT_DATA_VERDICT;
	if (set->flags & NFT_SET_MAP && !set->map)
		refuse(set, "map");
	if (set->flags & NFT_SET_OBJECT)
		refuse(set, "map of objects");
	if (set->flags & NFT_SET_EVAL)
		refuse(set, set->map ? "dynamic map" : "dynamic set");
	if (!set->key_len || set->key_len > NFT_DATA_VALUE_MAXLEN)
		refuse(set, "set with keys of this length");
	if (nftnl_set_is_set(s, NFTNL_SET_EXPR) || nftnl_set_is_set(s, NFTNL_SET_EXPRESSIONS))
		refuse(set, "set with stateful elements");
}

/* What nft only remembers, for its listings. 0 or -ENOMEM. */
static int read_remarks(struct merlon_named_set *set, const struct nftnl_set *s)
{
	_cleanup_free_ char *merge = NULL;
	uint32_t len = 0;
	const void *data = nftnl_set_get_data(s, NFTNL_SET_USERDATA, &len);

	if (merlon_udata_string(data, len, NFTNL_UDATA_SET_COMMENT, &set->comment) < 0)
		return -ENOMEM;
	if (merlon_udata_string(data, len, NFTNL_UDATA_SET_MERGE_ELEMENTS, &merge) < 0)
		return -ENOMEM;
	/* a number of the host's order, 0 or 1 */
	set->merge = merge && (merge[0] || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
	if (nftnl_set_is_set(s, NFTNL_SET_DESC_SIZE))
		set->size = nftnl_set_get_u32(s, NFTNL_SET_DESC_SIZE);
	if (nftnl_set_is_set(s, NFTNL_SET_GC_INTERVAL))
		set->gc_ms = nftnl_set_get_u32(s, NFTNL_SET_GC_INTERVAL);
	return 0;
}

static int add_set(const struct nlmsghdr *message, void *context)
{
	struct merlon_reader *reader = context;
	struct nftnl_set *s = nftnl_set_alloc();
	struct merlon_named_set *set = calloc(1, sizeof(*set));
	void *slot = NULL;

	if (s && set && nftnl_set_nlmsg_parse(message, s) == 0) {
		set->nfproto = nftnl_set_get_u32(s, NFTNL_SET_FAMILY);
		set->table = strdup(nftnl_set_get_str(s, NFTNL_SET_TABLE));
		set->name = strdup(nftnl_set_get_str(s, NFTNL_SET_NAME));
		set->flags = nftnl_set_get_u32(s, NFTNL_SET_FLAGS);
		set->key_type = nftnl_set_get_u32(s, NFTNL_SET_KEY_TYPE);
		set->key_len = nftnl_set_get_u32(s, NFTNL_SET_KEY_LEN);
		if (nftnl_set_is_set(s, NFTNL_SET_TIMEOUT))
			set->timeout_ms = nftnl_set_get_u64(s, NFTNL_SET_TIMEOUT);
		judge(set, s);
		if (read_remarks(set, s) == 0 && set->table && set->name)
			slot = tsearch(set, &reader->sets, compare_sets);
	}
	if (s)
		nftnl_set_free(s);
	if (!slot && set) {
		free(set->table);
		free(set->name);
		free(set->refused);
		free(set->comment);
		free(set);
	}
	if (!slot)
		errno = ENOMEM;
	return slot ? MNL_CB_OK : MNL_CB_ERROR;
}

/*
 * What is left of an element's time. A ruleset read right after it was loaded must be the same each time: up to
 * NOISE_MS less than the whole is the whole, else whole seconds. What is left exactly is told besides.
 */
static void read_times(const struct merlon_named_set *set, struct nftnl_set_elem *e, struct merlon_element *to)
{
	uint64_t left;

	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_TIMEOUT))
		to->timeout_ms = nftnl_set_elem_get_u64(e, NFTNL_SET_ELEM_TIMEOUT);
	else if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPIRATION))
		to->timeout_ms = set->timeout_ms;
	to->expires_ms = to->left_ms = to->timeout_ms;
	if (!to->timeout_ms || !nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPIRATION))
		return;
	left = nftnl_set_elem_get_u64(e, NFTNL_SET_ELEM_EXPIRATION);
	to->left_ms = left + set->late_ms;
	if (left + NOISE_MS < to->timeout_ms)
		to->expires_ms = left ? (left + 999) / 1000 * 1000 : 1000;
}

/* Room for one more element and its key; both arrays grow at powers of two. */
static struct merlon_element *new_element(struct merlon_named_set *set)
{
	size_t room = set->n ? set->n * 2 : 1;
	void *grown;

	if ((set->n & (set->n - 1)) == 0) {
		grown = reallocarray(set->element, room, sizeof(*set->element));
		if (!grown)
			return NULL;
		set->element = grown;
		grown = reallocarray(set->key, room, 2 * (size_t)set->key_len);
		if (!grown)
			return NULL;
		set->key = grown;
	}
	set->element[set->n] = (struct merlon_element){ .number = set->n };
	return &set->element[set->n++];
}

static bool read_key(struct merlon_named_set *set, struct nftnl_set_elem *e, struct merlon_element *to)
{
	uint8_t *first = set->key + (size_t)to->number * 2 * set->key_len;
	uint32_t len, end_len = set->key_len;
	const void *key = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &len), *end = key;

	/* the element `*` has no key */
	memset(first, 0, 2 * (size_t)set->key_len);
	if (to->any)
		return true;
	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_KEY_END))
		end = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY_END, &end_len);
	if (!key || !end || len != set->key_len || end_len != set->key_len)
		return false;
	memcpy(first, key, len);
	memcpy(first + len, end, len);
	return true;
}

static int add_element(struct nftnl_set_elem *e, void *context)
{
	struct merlon_named_set *set = context;
	uint32_t flags = nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_FLAGS) ?
			 nftnl_set_elem_get_u32(e, NFTNL_SET_ELEM_FLAGS) : 0;
	const char *chain = nftnl_set_elem_get_str(e, NFTNL_SET_ELEM_CHAIN);
	struct merlon_element *to;
	const void *data;
	uint32_t len = 0;

	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPR) || nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPRESSIONS) ||
	    nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_OBJREF))
		refuse(set, "set with stateful elements");
	if (!set->key_len || set->key_len > NFT_DATA_VALUE_MAXLEN)
		return 0;
	to = new_element(set);
	if (!to)
		return -1;
	to->any = flags & NFT_SET_ELEM_CATCHALL;
	to->end = flags & NFT_SET_ELEM_INTERVAL_END;
	read_times(set, e, to);
	set->timed |= to->expires_ms != 0;
	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_VERDICT))
		to->verdict = (int)nftnl_set_elem_get_u32(e, NFTNL_SET_ELEM_VERDICT);
	if (chain && !(to->chain = strdup(chain)))
		return -1;
	data = nftnl_set_elem_get(e, NFTNL_SET_ELEM_USERDATA, &len);
	if (merlon_udata_string(data, len, NFTNL_UDATA_SET_ELEM_COMMENT, &to->comment) < 0)
		return -1;
	if (!read_key(set, e, to))
		refuse(set, "set with keys of this form");
	return 0;
}

static int add_elements(const struct nlmsghdr *message, void *context)
{
	struct nftnl_set *s = nftnl_set_alloc();
	int r = MNL_CB_ERROR;

	errno = ENOMEM;
	if (s && nftnl_set_elems_nlmsg_parse(message, s) == 0 && nftnl_set_elem_foreach(s, add_element, context) == 0)
		r = MNL_CB_OK;
	if (s)
		nftnl_set_free(s);
	return r;
}

/* By key; at the same one an end comes before a start (nft_set_rbtree.c), `*` behind all. */
static int by_key(const void *a, const void *b, void *context)
{
	const struct merlon_element *x = a, *y = b;
	const struct merlon_named_set *set = context;
	int r;

	if (x->any != y->any)
		return x->any - y->any;
	r = memcmp(merlon_set_first(set, x), merlon_set_first(set, y), set->key_len);
	return r ? r : y->end - x->end;
}

/* The greatest key below `key`, most significant byte first; keys of 0 have none, and no interval ends before them. */
static void decrement(uint8_t *key, uint32_t len)
{
	while (len-- && key[len]-- == 0)
		;
}

/*
 * nft_set_rbtree has starts and ends as elements of their own, the end being the first key that is not in; an interval
 * up to the greatest key has none. Makes them closed intervals.
 */
static void close_intervals(struct merlon_named_set *set)
{
	size_t i, n = 0;

	for (i = 0; i < set->n; i++) {
		const struct merlon_element *next = &set->element[i + 1];
		uint8_t *last = set->key + ((size_t)set->element[i].number * 2 + 1) * set->key_len;

		if (set->element[i].end) {
			free(set->element[i].comment);
			continue;
		}
		if (!set->element[i].any && i + 1 < set->n && !next->any) {
			memcpy(last, merlon_set_first(set, next), set->key_len);
			decrement(last, set->key_len);
		} else {
			memset(last, 0xff, set->key_len);
		}
		set->element[n++] = set->element[i];
	}
	set->n = n;
}

/*
 * Elements of a concatenation with intervals may overlap: the one inserted first counts, which is the order of the dump
 * (nft_set_pipapo.c). The order of the others says nothing: it is made the same each time.
 */
static void settle_elements(struct merlon_named_set *set)
{
	struct merlon_element any;
	size_t i;

	if (!set->n)
		return;
	if (!(set->flags & NFT_SET_CONCAT && set->flags & NFT_SET_INTERVAL)) {
		qsort_r(set->element, set->n, sizeof(*set->element), by_key, set);
		if (set->flags & NFT_SET_INTERVAL)
			close_intervals(set);
	}
	/* what is left of a concatenation's order: `*` goes last */
	for (i = 0; i + 1 < set->n; i++)
		if (set->element[i].any) {
			any = set->element[i];
			memmove(&set->element[i], &set->element[i + 1], (set->n - i - 1) * sizeof(any));
			set->element[set->n - 1] = any;
			break;
		}
}

static int read_elements(struct merlon_reader *reader, struct merlon_named_set *set)
{
	char buffer[BUFFER];
	struct nlmsghdr *request;
	struct nftnl_set *s = nftnl_set_alloc();
	int r;

	if (!s)
		return -ENOMEM;
	request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, set->nfproto, NLM_F_DUMP, 0);
	nftnl_set_set_str(s, NFTNL_SET_TABLE, set->table);
	nftnl_set_set_str(s, NFTNL_SET_NAME, set->name);
	nftnl_set_elems_nlmsg_build_payload(request, s);
	nftnl_set_free(s);
	set->late_ms = (merlon_tick_ns() - reader->ruleset->read_ns) / 1000000;
	r = merlon_netlink_dump(reader->netlink, request, add_elements, set);
	if (r == 0)
		settle_elements(set);
	return r;
}

/* twalk(3) has no argument of its own before glibc 2.30's twalk_r(3). */
struct walk {
	struct merlon_reader *reader;
	int r;
};

static void visit(const void *node, VISIT order, void *context)
{
	struct walk *walk = context;
	struct merlon_named_set *set = *(struct merlon_named_set *const *)node;

	if ((order == postorder || order == leaf) && walk->r == 0 && (!set->refused || set->flags & NFT_SET_MAP))
		walk->r = read_elements(walk->reader, set);
}

int merlon_sets_read(struct merlon_reader *reader)
{
	char buffer[BUFFER];
	struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSET, NFPROTO_UNSPEC, NLM_F_DUMP, 0);
	struct walk walk = { .reader = reader };

	reader->ruleset->read_ns = merlon_tick_ns();
	walk.r = merlon_netlink_dump(reader->netlink, request, add_set, reader);
	if (walk.r == 0)
		twalk_r(reader->sets, visit, &walk);
	return walk.r;
}

merlon_value merlon_number(const uint8_t *bytes, uint32_t len, bool big)
{
	merlon_value v = 0;
	uint32_t i;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	big = true;
#endif
	for (i = 0; i < len && i < sizeof(v); i++)
		v = v << 8 | bytes[big ? i : len - 1 - i];
	return v;
}

int merlon_set_numbers(const struct merlon_named_set *set, bool big, struct merlon_intervals *ret)
{
	merlon_value max = merlon_value_max(set->key_len * 8);
	size_t i;
	int r = 0;

	*ret = (struct merlon_intervals){ 0 };
	/* keys of intervals are compared byte by byte */
	big |= (set->flags & NFT_SET_INTERVAL) != 0;
	for (i = 0; i < set->n && r == 0; i++) {
		const struct merlon_element *e = &set->element[i];

		r = e->any ? merlon_intervals_add(ret, 0, max) :
		    merlon_intervals_add(ret, merlon_number(merlon_set_first(set, e), set->key_len, big),
					 merlon_number(merlon_set_last(set, e), set->key_len, big));
	}
	if (r < 0)
		merlon_intervals_clear(ret);
	merlon_intervals_normalise(ret);
	return r;
}

/*
 * nft stores a wildcard as the interval of all names that start so: "eth", then zeros, up to "eti", then zeros, which
 * is not in. A whole name ends at itself plus one.
 */
static bool name_of(merlon_value lo, merlon_value hi, struct merlon_ifname *name)
{
	merlon_value differ = lo ^ hi;
	unsigned i, same = IFNAMSIZ;

	*name = (struct merlon_ifname){ .prefix = lo != hi };
	while (differ) {
		differ >>= 8;
		same--;
	}
	if (name->prefix && (lo & merlon_value_max((IFNAMSIZ - same) * 8) ||
			     ~hi & merlon_value_max((IFNAMSIZ - same) * 8)))
		return false;
	for (i = 0; i < same; i++)
		name->name[i] = (char)(lo >> (IFNAMSIZ - 1 - i) * 8);
	if (name->prefix)
		return strnlen(name->name, IFNAMSIZ) == same && same > 0;
	return name->name[IFNAMSIZ - 1] == '\0' && name->name[0];
}

static int by_ifname(const void *a, const void *b)
{
	return strcmp(((const struct merlon_ifname *)a)->name, ((const struct merlon_ifname *)b)->name);
}

bool merlon_set_name(const uint8_t *first, const uint8_t *last, struct merlon_ifname *ret)
{
	return name_of(merlon_number(first, IFNAMSIZ, true), merlon_number(last, IFNAMSIZ, true), ret);
}

int merlon_set_names(const struct merlon_named_set *set, struct merlon_ifname **ret, size_t *ret_n)
{
	_cleanup_free_ struct merlon_ifname *name = NULL;
	size_t i;

	if (set->key_len != IFNAMSIZ)
		return -ERANGE;
	name = calloc(set->n + 1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	for (i = 0; i < set->n; i++)
		if (set->element[i].any || !merlon_set_name(merlon_set_first(set, &set->element[i]),
							    merlon_set_last(set, &set->element[i]), &name[i]))
			return -ERANGE;
	/* the kernel's order is that of a hash */
	qsort(name, set->n, sizeof(*name), by_ifname);
	*ret_n = set->n;
	*ret = TAKE_PTR(name);
	return 0;
}
