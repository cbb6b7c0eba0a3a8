/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named sets, declared in nft's language. */
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "compat/build.h"
#include "compat/reader.h"
#include "src/model/print.h"
#include "src/util/cleanup.h"

/* Types of set keys: nft's own numbers (nftables include/datatype.h, enum datatypes). */
static const struct key_type {
	uint32_t number;
	const char *name;
	enum merlon_notation notation;
	bool big;
} types[] = {
	{ 7, "ipv4_addr", MERLON_AS_IPV4, true },
	{ 8, "ipv6_addr", MERLON_AS_IPV6, true },
	{ 12, "inet_proto", MERLON_AS_PROTOCOL, true },
	{ 13, "inet_service", MERLON_AS_NUMBER, true },
	{ 14, "icmp_type", MERLON_AS_NUMBER, true },
	{ 19, "mark", MERLON_AS_HEX, false },
	{ 29, "icmpv6_type", MERLON_AS_NUMBER, true },
	{ 41, "ifname", MERLON_AS_NUMBER, false },
};

static int print_names(FILE *out, const struct merlon_named_set *set)
{
	_cleanup_free_ struct merlon_ifname *name = NULL;
	size_t i, n;
	int r = merlon_set_names(set, &name, &n);

	for (i = 0; r == 0 && i < n; i++) {
		fputs(i ? ", " : "", out);
		merlon_print_ifname(out, &name[i]);
	}
	return r;
}

static int print_numbers(FILE *out, const struct merlon_named_set *set, const struct key_type *type)
{
	struct merlon_intervals in;
	size_t i;
	int r = merlon_set_numbers(set, type->big, &in);

	/* without intervals, each value is an element of its own */
	for (i = 0; r == 0 && i < in.n; i++) {
		struct merlon_interval one = in.v[i];

		fputs(i ? ", " : "", out);
		while (!(set->flags & NFT_SET_INTERVAL) && one.lo < in.v[i].hi) {
			one.hi = one.lo;
			merlon_print_interval(out, type->notation, &one);
			fputs(", ", out);
			one.hi = in.v[i].hi;
			one.lo++;
		}
		merlon_print_interval(out, type->notation, &one);
	}
	merlon_intervals_clear(&in);
	return r;
}

/* The declaration, or NULL for one that cannot be written: matches on it are printed with their elements then. */
static char *declare(const struct merlon_named_set *set)
{
	const struct key_type *type = NULL;
	char *text = NULL;
	size_t i, size;
	FILE *out;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].number == set->key_type)
			type = &types[i];
	if (!type || set->refused || set->catchall)
		return NULL;
	out = open_memstream(&text, &size);
	if (!out)
		return NULL;
	fprintf(out, "set %s { type %s; ", set->name, type->name);
	if (set->flags & NFT_SET_INTERVAL)
		fputs("flags interval; ", out);
	if (set->n) {
		fputs("elements = { ", out);
		r = type->number == 41 ? print_names(out, set) : print_numbers(out, set, type);
		fputs(" }; ", out);
	}
	fputc('}', out);
	if (fclose(out) != 0 || r < 0) {
		free(text);
		return NULL;
	}
	return text;
}

struct walk {
	struct merlon_reader *reader;
	int r;
};

static void visit(const void *node, VISIT order, void *context)
{
	struct walk *walk = context;
	const struct merlon_named_set *set = *(const struct merlon_named_set *const *)node;
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
		if (!to)
			walk->r = -ENOMEM;
		else
			to->declaration = declare(set);
	}
}

int merlon_sets_declare(struct merlon_reader *reader)
{
	struct walk walk = { .reader = reader };

	twalk_r(reader->sets, visit, &walk);
	return walk.r;
}
