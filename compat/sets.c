/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/reader.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "src/util/cleanup.h"

#define BUFFER 4096

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
	free(set->element);
	while (set->n_chains)
		free(set->chain[--set->n_chains]);
	free(set->chain);
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
	if (set->flags & NFT_SET_MAP)
		refuse(set, nftnl_set_get_u32(s, NFTNL_SET_DATA_TYPE) == 0xffffff00 ? "verdict map" : "map");
	if (set->flags & NFT_SET_OBJECT)
		refuse(set, "map of objects");
	if (set->flags & NFT_SET_TIMEOUT)
		refuse(set, "set with timeouts");
	if (set->flags & NFT_SET_EVAL)
		refuse(set, "dynamic set");
	/* a concatenation has one six-bit type after the other (nftables include/datatype.h, TYPE_BITS) */
	if (set->flags & NFT_SET_CONCAT || set->key_len > sizeof(set->element->key) || set->key_type > 0x3f)
		refuse(set, "set of concatenations");
	if (nftnl_set_is_set(s, NFTNL_SET_EXPR) || nftnl_set_is_set(s, NFTNL_SET_EXPRESSIONS))
		refuse(set, "set with stateful elements");
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
		judge(set, s);
		if (set->table && set->name)
			slot = tsearch(set, &reader->sets, compare_sets);
	}
	if (s)
		nftnl_set_free(s);
	if (!slot && set) {
		free(set->table);
		free(set->name);
		free(set->refused);
		free(set);
	}
	if (!slot)
		errno = ENOMEM;
	return slot ? MNL_CB_OK : MNL_CB_ERROR;
}

static int add_target(struct merlon_named_set *set, struct nftnl_set_elem *e)
{
	const char *name = nftnl_set_elem_get_str(e, NFTNL_SET_ELEM_CHAIN);
	char **grown;

	if (!name)
		return 0;
	grown = reallocarray(set->chain, set->n_chains + 1, sizeof(*grown));
	if (!grown)
		return -1;
	set->chain = grown;
	grown[set->n_chains] = strdup(name);
	return grown[set->n_chains++] ? 0 : -1;
}

static int add_element(struct nftnl_set_elem *e, void *context)
{
	struct merlon_named_set *set = context;
	uint32_t flags = nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_FLAGS) ?
			 nftnl_set_elem_get_u32(e, NFTNL_SET_ELEM_FLAGS) : 0;
	struct merlon_element *to;
	const void *key;
	uint32_t len;

	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_CHAIN))
		return add_target(set, e);
	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPR) || nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPRESSIONS) ||
	    nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_OBJREF))
		refuse(set, "set with stateful elements");
	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_TIMEOUT))
		refuse(set, "set with timeouts");
	if (flags & NFT_SET_ELEM_CATCHALL) {
		set->catchall = true;
		return 0;
	}
	key = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &len);
	if (!key || len != set->key_len || len > sizeof(to->key)) {
		refuse(set, "set of concatenations");
		return 0;
	}
	if ((set->n & (set->n - 1)) == 0) {
		to = reallocarray(set->element, set->n ? set->n * 2 : 1, sizeof(*to));
		if (!to)
			return -1;
		set->element = to;
	}
	to = &set->element[set->n++];
	memcpy(to->key, key, len);
	to->end = flags & NFT_SET_ELEM_INTERVAL_END;
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

static int read_elements(struct merlon_reader *reader, struct merlon_named_set *set)
{
	char buffer[BUFFER];
	struct nlmsghdr *request;
	struct nftnl_set *s = nftnl_set_alloc();

	if (!s)
		return -ENOMEM;
	request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, set->nfproto, NLM_F_DUMP, 0);
	nftnl_set_set_str(s, NFTNL_SET_TABLE, set->table);
	nftnl_set_set_str(s, NFTNL_SET_NAME, set->name);
	nftnl_set_elems_nlmsg_build_payload(request, s);
	nftnl_set_free(s);
	return merlon_netlink_dump(reader->netlink, request, add_elements, set);
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

/* nft_set_rbtree: starts and ends, compared byte by byte; an end comes before a start at the same value. */
static int by_key(const void *a, const void *b)
{
	const struct merlon_element *x = a, *y = b;
	int r = memcmp(x->key, y->key, sizeof(x->key));

	return r ? r : y->end - x->end;
}

static int interval_numbers(const struct merlon_named_set *set, struct merlon_intervals *ret)
{
	_cleanup_free_ struct merlon_element *sorted = calloc(set->n + 1, sizeof(*sorted));
	merlon_value start = 0;
	bool open = false;
	size_t i;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < set->n; i++) {
		memcpy(sorted[i].key, set->element[i].key, set->key_len);
		sorted[i].end = set->element[i].end;
	}
	qsort(sorted, set->n, sizeof(*sorted), by_key);
	for (i = 0; i < set->n; i++) {
		merlon_value v = merlon_number(sorted[i].key, set->key_len, true);

		if (open && v > start && merlon_intervals_add(ret, start, v - 1) < 0)
			return -ENOMEM;
		open = !sorted[i].end;
		start = v;
	}
	/* an interval up to the greatest value has no end */
	if (open && merlon_intervals_add(ret, start, merlon_value_max(set->key_len * 8)) < 0)
		return -ENOMEM;
	return 0;
}

int merlon_set_numbers(const struct merlon_named_set *set, bool big, struct merlon_intervals *ret)
{
	size_t i;
	int r = 0;

	*ret = (struct merlon_intervals){ 0 };
	if (set->catchall)
		return merlon_intervals_add(ret, 0, merlon_value_max(set->key_len * 8));
	if (set->flags & NFT_SET_INTERVAL) {
		r = interval_numbers(set, ret);
	} else {
		for (i = 0; i < set->n && r == 0; i++) {
			merlon_value v = merlon_number(set->element[i].key, set->key_len, big);

			r = merlon_intervals_add(ret, v, v);
		}
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

int merlon_set_names(const struct merlon_named_set *set, struct merlon_ifname **ret, size_t *ret_n)
{
	_cleanup_free_ struct merlon_ifname *name = NULL;
	struct merlon_intervals in;
	size_t i;
	int r;

	if (set->key_len != IFNAMSIZ || set->catchall)
		return -ERANGE;
	/* without normalising: neighbouring names must not become one interval */
	in = (struct merlon_intervals){ 0 };
	r = set->flags & NFT_SET_INTERVAL ? interval_numbers(set, &in) : 0;
	for (i = 0; !(set->flags & NFT_SET_INTERVAL) && i < set->n && r == 0; i++) {
		merlon_value v = merlon_number(set->element[i].key, IFNAMSIZ, true);

		r = merlon_intervals_add(&in, v, v);
	}
	name = calloc(in.n + 1, sizeof(*name));
	if (!name)
		r = -ENOMEM;
	for (i = 0; i < in.n && r == 0; i++)
		if (!name_of(in.v[i].lo, in.v[i].hi, &name[i]))
			r = -ERANGE;
	/* the kernel's order is that of a hash */
	if (r == 0)
		qsort(name, in.n, sizeof(*name), by_ifname);
	*ret_n = in.n;
	merlon_intervals_clear(&in);
	if (r == 0)
		*ret = TAKE_PTR(name);
	return r;
}
