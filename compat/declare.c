/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named sets, declared in nft's language. */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/reader.h"
#include "src/model/print.h"
#include "src/util/cleanup.h"

#define TYPE_BITS 6		/* of each type in that of a concatenation (nftables include/datatype.h) */
#define COMMENT_MAX 127		/* nftables include/datatype.h */
#define PARTS_MAX 5		/* as many fit into 32 bits */

/* Types of set keys: nft's own numbers (nftables include/datatype.h, enum datatypes). */
enum {
	TYPE_CT_STATE = 26,
	TYPE_IFINDEX = 20,
	TYPE_NFPROTO = 2,
	TYPE_ETHER = 9,
	TYPE_IFNAME = 41,
};
static const struct key_type {
	uint32_t number;
	const char *name;
	enum merlon_notation notation;
	uint32_t len;	/* bytes */
	bool big;	/* of single values; intervals are always so */
} types[] = {
	{ TYPE_NFPROTO, "nf_proto", MERLON_AS_NUMBER, 1, true },
	{ 7, "ipv4_addr", MERLON_AS_IPV4, 4, true },
	{ 8, "ipv6_addr", MERLON_AS_IPV6, 16, true },
	{ TYPE_ETHER, "ether_addr", MERLON_AS_NUMBER, 6, true },
	{ 12, "inet_proto", MERLON_AS_PROTOCOL, 1, true },
	{ 13, "inet_service", MERLON_AS_NUMBER, 2, true },
	{ 14, "icmp_type", MERLON_AS_NUMBER, 1, true },
	{ 19, "mark", MERLON_AS_HEX, 4, false },
	{ TYPE_IFINDEX, "iface_index", MERLON_AS_NUMBER, 4, false },
	{ TYPE_CT_STATE, "ct_state", MERLON_AS_HEX, 4, false },
	{ 29, "icmpv6_type", MERLON_AS_NUMBER, 1, true },
	{ TYPE_IFNAME, "ifname", MERLON_AS_NUMBER, IFNAMSIZ, false },
};

/* The types of the parts. Returns their number, 0: one of them cannot be written, or they do not fill the key. */
static size_t types_of(const struct merlon_named_set *set, const struct key_type *ret[PARTS_MAX])
{
	uint32_t number = set->key_type, len = 0;
	size_t n = 0, i, t;

	while (number && n < PARTS_MAX) {
		n++;
		number >>= TYPE_BITS;
	}
	for (i = 0; i < n; i++) {
		uint32_t wanted = set->key_type >> (n - 1 - i) * TYPE_BITS & ((1U << TYPE_BITS) - 1);

		for (t = 0; t < ARRAY_SIZE(types) && types[t].number != wanted; t++)
			;
		if (t == ARRAY_SIZE(types))
			return 0;
		ret[i] = &types[t];
		len += n > 1 ? (types[t].len + 3) / 4 * 4 : types[t].len;
	}
	return len == set->key_len ? n : 0;
}

static void print_ether(FILE *out, merlon_value v)
{
	int shift;

	for (shift = 40; shift >= 0; shift -= 8)
		fprintf(out, "%02x%s", (unsigned)(v >> shift & 0xff), shift ? ":" : "");
}

static int print_name(FILE *out, const struct key_type *type, const uint8_t *first, const uint8_t *last, merlon_value v)
{
	struct merlon_ifname name = { 0 };

	if (type->number == TYPE_IFNAME && !merlon_set_name(first, last, &name))
		return -ERANGE;
	if (type->number == TYPE_IFINDEX) {
		name.index = (unsigned)v;
		if (!if_indextoname(name.index, name.name))
			snprintf(name.name, sizeof(name.name), "%u", name.index);
	}
	merlon_print_ifname(out, &name);
	return 0;
}

static int print_part(FILE *out, const struct merlon_named_set *set, const struct key_type *type, const uint8_t *first,
		      const uint8_t *last)
{
	bool big = type->big || set->flags & NFT_SET_INTERVAL;
	struct merlon_interval one = { merlon_number(first, type->len, big), merlon_number(last, type->len, big) };

	switch (type->number) {
	case TYPE_IFNAME:
	case TYPE_IFINDEX:
		if (type->number == TYPE_IFINDEX && one.lo != one.hi)
			return -ERANGE;
		return print_name(out, type, first, last, one.lo);
	case TYPE_ETHER:
		print_ether(out, one.lo);
		if (one.lo != one.hi) {
			fputc('-', out);
			print_ether(out, one.hi);
		}
		return 0;
	case TYPE_NFPROTO:
		if (one.lo != one.hi || (one.lo != NFPROTO_IPV4 && one.lo != NFPROTO_IPV6))
			return -ERANGE;
		fputs(one.lo == NFPROTO_IPV4 ? "ipv4" : "ipv6", out);
		return 0;
	default:
		merlon_print_interval(out, type->notation, &one);
		return 0;
	}
}

static void print_verdict(FILE *out, const struct merlon_element *e)
{
	static const char *const word[] = {
		[MERLON_V_ACCEPT] = "accept", [MERLON_V_DROP] = "drop", [MERLON_V_CONTINUE] = "continue",
		[MERLON_V_RETURN] = "return", [MERLON_V_JUMP] = "jump ", [MERLON_V_GOTO] = "goto ",
	};
	enum merlon_rule_verdict v = MERLON_V_CONTINUE;

	merlon_eval_verdict(e->verdict, e->chain, &v);
	fprintf(out, " : %s%s", word[v], v == MERLON_V_JUMP || v == MERLON_V_GOTO ? e->chain : "");
}

static void print_comment(FILE *out, const char *word, const char *comment)
{
	fputs(word, out);
	merlon_print_string(out, comment, COMMENT_MAX);
}

/* `ret`: where what it printed is in the text. */
static int print_element(FILE *out, const struct merlon_named_set *set, const struct merlon_element *e,
			 const struct key_type *const *type, struct merlon_set_element *ret)
{
	uint32_t offset = 0;
	size_t i;
	int r = 0;

	*ret = (struct merlon_set_element){ .begin = ftell(out), .timeout_ms = e->timeout_ms, .expires_ms = e->expires_ms,
					     .left_ms = e->left_ms };
	if (e->any)
		fputc('*', out);
	for (i = 0; type[i] && r == 0 && !e->any; i++) {
		fputs(i ? " . " : "", out);
		r = print_part(out, set, type[i], merlon_set_first(set, e) + offset, merlon_set_last(set, e) + offset);
		offset += (type[i]->len + 3) / 4 * 4;
	}
	if (e->timeout_ms && e->timeout_ms != set->timeout_ms)
		merlon_print_time(out, " timeout", e->timeout_ms);
	ret->time = ftell(out);
	if (e->expires_ms != e->timeout_ms)
		merlon_print_time(out, " expires", e->expires_ms);
	ret->behind = ftell(out);
	if (e->comment)
		print_comment(out, " comment ", e->comment);
	if (set->map)
		print_verdict(out, e);
	ret->end = ftell(out);
	return r;
}

static void print_head(FILE *out, const struct merlon_named_set *set, const struct key_type *const *type, size_t n)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} flags[] = { { NFT_SET_CONSTANT, "constant" }, { NFT_SET_INTERVAL, "interval" }, { NFT_SET_TIMEOUT, "timeout" } };
	const char *before = "; flags ";
	size_t i;

	fprintf(out, "%s %s { type ", set->map ? "map" : "set", set->name);
	for (i = 0; i < n; i++)
		fprintf(out, "%s%s", i ? " . " : "", type[i]->name);
	fputs(set->map ? " : verdict" : "", out);
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (set->flags & flags[i].bit) {
			fprintf(out, "%s%s", before, flags[i].name);
			before = ",";
		}
	fputs("; ", out);
	if (set->size)
		fprintf(out, "size %u; ", set->size);
	if (set->timeout_ms) {
		merlon_print_time(out, "timeout", set->timeout_ms);
		fputs("; ", out);
	}
	if (set->gc_ms) {
		merlon_print_time(out, "gc-interval", set->gc_ms);
		fputs("; ", out);
	}
	fputs(set->merge ? "auto-merge; " : "", out);
	if (set->comment) {
		print_comment(out, "comment ", set->comment);
		fputs("; ", out);
	}
}

/* A timeout of its own is all that an element can have: none in a set that has one stays longer than that. */
static bool is_sayable(const struct merlon_named_set *set)
{
	size_t i;

	for (i = 0; i < set->n; i++)
		if (set->timeout_ms && !set->element[i].timeout_ms)
			return false;
	return true;
}

/*
 * The declaration, into `to`, which has none for a set that cannot be written: matches on it are printed with their elements
 * then. 0 or -ENOMEM.
 */
static int declare(const struct merlon_named_set *set, struct merlon_set *to)
{
	const struct key_type *type[PARTS_MAX + 1] = { 0 };
	_cleanup_free_ struct merlon_set_element *element = NULL;
	_cleanup_free_ char *text = NULL;
	size_t i, size, n = types_of(set, type);
	FILE *out;
	int r = 0;

	if (!n || set->refused || !is_sayable(set))
		return 0;
	element = calloc(set->n + 1, sizeof(*element));
	out = element ? open_memstream(&text, &size) : NULL;
	if (!out)
		return -ENOMEM;
	print_head(out, set, type, n);
	for (i = 0; i < set->n && r == 0; i++) {
		fputs(i ? ", " : "elements = { ", out);
		r = print_element(out, set, &set->element[i], type, &element[i]);
	}
	fputs(set->n ? " }; }" : "}", out);
	if (fclose(out) != 0)
		return -ENOMEM;
	if (r < 0)
		return 0;
	to->declaration = TAKE_PTR(text);
	to->element = set->timed ? TAKE_PTR(element) : NULL;
	to->n = set->timed ? set->n : 0;
	return 0;
}

/* Addresses, and nothing else to be told of them. */
static bool is_bare(const struct merlon_named_set *set)
{
	const struct key_type *type[PARTS_MAX + 1] = { 0 };
	size_t i;

	if (!set->declared || set->flags & ~NFT_SET_INTERVAL || set->timeout_ms || types_of(set, type) != 1 ||
	    (type[0]->notation != MERLON_AS_IPV4 && type[0]->notation != MERLON_AS_IPV6))
		return false;
	for (i = 0; i < set->n && !set->element[i].comment && !set->element[i].any && !set->element[i].timeout_ms; i++)
		;
	return i == set->n;
}

struct walk {
	struct merlon_reader *reader;
	int r;
};

static void visit(const void *node, VISIT order, void *context)
{
	struct walk *walk = context;
	struct merlon_named_set *set = *(struct merlon_named_set *const *)node;
	struct merlon_ruleset *rs = walk->reader->ruleset;
	struct merlon_set *to;
	size_t i;

	/* nft's own sets have names that begin so, or are flagged */
	if ((order != postorder && order != leaf) || walk->r < 0 || set->flags & NFT_SET_ANONYMOUS)
		return;
	for (i = 0; i < rs->n_tables; i++) {
		if (rs->table[i].family != set->nfproto || strcmp(rs->table[i].name, set->table) != 0)
			continue;
		to = merlon_build_set(rs, i, set->name);
		if (!to) {
			walk->r = -ENOMEM;
			return;
		}
		walk->r = declare(set, to);
		if (walk->r == 0 && set->flags & NFT_SET_OBJECT && !(to->reason = strdup("map of named objects, which merlon does not have")))
			walk->r = -ENOMEM;
		set->declared = to->declaration;
		set->named = true;
		set->index = rs->n_sets - 1;
		to->bits = is_bare(set) ? set->key_len * 8 : 0;
		to->interval = set->flags & NFT_SET_INTERVAL;
		to->merge = set->merge;
	}
}

int merlon_sets_declare(struct merlon_reader *reader)
{
	struct walk walk = { .reader = reader };

	twalk_r(reader->sets, visit, &walk);
	return walk.r;
}
