/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kept chains as nft text: loaded once more, all that merlon enforces taken out, the rest listed. */
#include <errno.h>
#include <linux/netfilter.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>

#include "compat/compat.h"
#include "compat/load.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

struct work {
	int netns;		/* -1: list the caller's own tables as they are, but for those of iptables-nft */
	const struct merlon_ruleset *ruleset;
};

/* The tables that iptables-nft makes have these names and base chains in capitals (iptables/nft.c, xtables_ipv4). */
static bool is_of_iptables(const struct merlon_table *table, const struct merlon_chain *chain)
{
	static const char *const name[] = { "filter", "nat", "mangle", "raw", "security" };
	size_t i;

	if (table->family != NFPROTO_IPV4 && table->family != NFPROTO_IPV6)
		return false;
	for (i = 0; i < ARRAY_SIZE(name); i++)
		if (!strcmp(table->name, name[i]))
			return chain->base && !chain->name[strcspn(chain->name, "abcdefghijklmnopqrstuvwxyz")];
	return false;
}

static bool is_kept_in(const struct work *work, uint32_t table)
{
	const struct merlon_ruleset *ruleset = work->ruleset;
	bool kept = false;
	size_t i;

	if (ruleset->table[table].iptables || !merlon_nfproto_name(ruleset->table[table].family))
		return false;
	for (i = 0; i < ruleset->n_chains; i++) {
		if (ruleset->chain[i].table != table)
			continue;
		if (work->netns < 0 && is_of_iptables(&ruleset->table[table], &ruleset->chain[i]))
			return false;
		kept |= ruleset->chain[i].kept;
	}
	return kept;
}

/* `first`, and then `second` or NULL, of a table or of what it has by that name: both of them happen or none. */
static bool run(struct nft_ctx *ctx, const char *first, const char *second, const struct merlon_table *table,
		const char *name)
{
	char object[256], command[1024];

	snprintf(object, sizeof(object), "%s %s%s%s", merlon_nfproto_name(table->family), table->name, name ? " " : "", name ? name : "");
	snprintf(command, sizeof(command), "%s %s\n%s %s\n", first, object, second ? second : "", second ? object : "");
	return !nft_run_cmd_from_buffer(ctx, command);
}

/*
 * Takes out one chain after the other until none can be: a chain goes with its rules or stays as it is, since a kept
 * chain may lead to it as well. Maps that led enforced rules on go before, they hold on to their chains.
 */
static void take_out(struct nft_ctx *ctx, const struct work *work)
{
	const struct merlon_ruleset *ruleset = work->ruleset;
	_cleanup_free_ bool *gone = calloc(ruleset->n_chains + 1, sizeof(*gone));
	bool more = gone != NULL;
	size_t i;

	while (more) {
		more = false;
		for (i = 0; i < ruleset->n_sets; i++)
			if (is_kept_in(work, ruleset->set[i].table) && ruleset->set[i].declaration &&
			    strncmp(ruleset->set[i].declaration, "map ", 4) == 0)
				run(ctx, "delete map", NULL, &ruleset->table[ruleset->set[i].table], ruleset->set[i].name);
		for (i = 0; i < ruleset->n_chains; i++) {
			const struct merlon_chain *chain = &ruleset->chain[i];

			if (gone[i] || chain->kept || !is_kept_in(work, chain->table))
				continue;
			gone[i] = run(ctx, "flush chain", "delete chain", &ruleset->table[chain->table], chain->name);
			more |= gone[i];
		}
	}
}

static int list_kept(void *context)
{
	const struct work *work = context;
	struct nft_ctx *ctx = merlon_nft_context(work->netns);
	bool good = true;
	size_t i;

	if (!ctx)
		return 1;
	nft_ctx_buffer_error(ctx);
	if (work->netns >= 0) {
		nft_ctx_buffer_output(ctx);
		take_out(ctx, work);
		nft_ctx_unbuffer_output(ctx);
	}
	nft_ctx_set_output(ctx, stdout);
	for (i = 0; i < work->ruleset->n_tables; i++)
		if (is_kept_in(work, i))
			good &= run(ctx, "list table", NULL, &work->ruleset->table[i], NULL);
	fflush(stdout);
	return good ? 0 : 1;
}

static int list(const struct work *work, char **ret_text, struct merlon_diag *diag)
{
	struct merlon_place nowhere = { 0 };
	bool any = false;
	size_t i, bytes;
	int r;

	for (i = 0; i < work->ruleset->n_tables; i++)
		any |= is_kept_in(work, i);
	if (!any) {
		*ret_text = NULL;
		return 0;
	}
	r = merlon_child(list_kept, (void *)(uintptr_t)work, ret_text, &bytes);
	if (!r)
		return 0;
	if (r > 0)
		free(*ret_text);
	merlon_diag_add(diag, MERLON_ERROR, nowhere, "cannot list the tables that stay with netfilter");
	return r < 0 ? r : -EIO;
}

static int remainder_of(const struct merlon_source *sources, size_t n, char **ret_text, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = NULL;
	_cleanup_close_ int netns = -1;
	struct work work;
	int r = merlon_policyns_new(&netns, diag);

	if (!r)
		r = merlon_load(netns, sources, n, &ruleset, diag);
	if (r < 0)
		return r;
	work = (struct work){ netns, ruleset };
	return list(&work, ret_text, diag);
}

/* The live tables are copied first: nothing may be taken out of them. */
static int remainder_live(char **ret_text, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = NULL;
	_cleanup_free_ char *all = NULL;
	char path[] = "/tmp/merlon-live-XXXXXX";
	struct merlon_source source = { .file = path, .format = MERLON_FORMAT_NFT };
	struct work work;
	int r = merlon_read_live(&ruleset, diag), fd;

	if (r < 0)
		return r;
	work = (struct work){ -1, ruleset };
	r = list(&work, &all, diag);
	if (r < 0 || !all) {
		*ret_text = NULL;
		return r;
	}
	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	r = write(fd, all, strlen(all)) == (ssize_t)strlen(all) ? remainder_of(&source, 1, ret_text, diag) : -EIO;
	close(fd);
	unlink(path);
	return r;
}

int merlon_remainder(const struct merlon_source *sources, size_t n_sources, char **ret_text, struct merlon_diag *diag)
{
	return n_sources ? remainder_of(sources, n_sources, ret_text, diag) : remainder_live(ret_text, diag);
}
