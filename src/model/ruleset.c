/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/ruleset.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>

struct merlon_ruleset *merlon_ruleset_new(void)
{
	return calloc(1, sizeof(struct merlon_ruleset));
}

static void lookup_free(struct merlon_lookup *lookup)
{
	if (!lookup)
		return;
	for (size_t i = 0; i < lookup->n; i++)
		free(lookup->element[i].chain);
	free(lookup->part);
	free(lookup->element);
	free(lookup->range);
	free(lookup->name);
	free(lookup->set);
	free(lookup);
}

void merlon_statement_clear(struct merlon_statement *statement)
{
	switch (statement->kind) {
	case MERLON_S_MATCH:
		merlon_intervals_clear(&statement->match.in);
		free(statement->match.set);
		statement->match.set = NULL;
		break;
	case MERLON_S_INTERFACE:
		free(statement->interface.name);
		free(statement->interface.set);
		statement->interface.name = NULL;
		statement->interface.set = NULL;
		statement->interface.n = 0;
		break;
	case MERLON_S_LOG:
		free(statement->log);
		statement->log = NULL;
		break;
	case MERLON_S_LOOKUP:
		lookup_free(statement->lookup);
		statement->lookup = NULL;
		break;
	case MERLON_S_VERDICT:
		free(statement->verdict.chain);
		statement->verdict.chain = NULL;
		break;
	default:
		break;
	}
}

void merlon_rule_clear(struct merlon_rule *rule)
{
	size_t i;

	for (i = 0; i < rule->n; i++)
		merlon_statement_clear(&rule->statement[i]);
	free(rule->statement);
	free(rule->comment);
	free(rule->text);
	free(rule->reason);
}

void merlon_ruleset_free(struct merlon_ruleset *ruleset)
{
	size_t i, j;

	if (!ruleset)
		return;
	for (i = 0; i < ruleset->n_tables; i++) {
		free(ruleset->table[i].name);
		free(ruleset->table[i].comment);
	}
	for (i = 0; i < ruleset->n_chains; i++) {
		for (j = 0; j < ruleset->chain[i].n; j++)
			merlon_rule_clear(&ruleset->chain[i].rule[j]);
		for (j = 0; j < ruleset->chain[i].n_left_out; j++)
			merlon_rule_clear(&ruleset->chain[i].left_out[j].rule);
		free(ruleset->chain[i].left_out);
		free(ruleset->chain[i].rule);
		free(ruleset->chain[i].name);
		free(ruleset->chain[i].comment);
	}
	for (i = 0; i < ruleset->n_sets; i++) {
		free(ruleset->set[i].name);
		free(ruleset->set[i].declaration);
		free(ruleset->set[i].reason);
		free(ruleset->set[i].element);
	}
	for (i = 0; i < ruleset->n_files; i++)
		free(ruleset->file[i]);
	free(ruleset->table);
	free(ruleset->chain);
	free(ruleset->set);
	free(ruleset->file);
	free(ruleset);
}

static bool is_ct(enum merlon_field field)
{
	return field == MERLON_F_CT_STATE || field == MERLON_F_CT_DIRECTION;
}

bool merlon_rule_asks_ct(const struct merlon_rule *rule)
{
	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_MATCH && is_ct(s->match.field))
			return true;
		for (size_t p = 0; s->kind == MERLON_S_LOOKUP && p < s->lookup->n_parts; p++)
			if (is_ct(s->lookup->part[p].field))
				return true;
	}
	return false;
}

const char *merlon_nfproto_name(uint8_t nfproto)
{
	switch (nfproto) {
	case NFPROTO_INET: return "inet";
	case NFPROTO_IPV4: return "ip";
	case NFPROTO_IPV6: return "ip6";
	case NFPROTO_ARP: return "arp";
	case NFPROTO_BRIDGE: return "bridge";
	case NFPROTO_NETDEV: return "netdev";
	}
	return NULL;
}

bool merlon_nfproto_is_behind_input(uint8_t family, uint32_t hook)
{
	switch (family) {
	case NFPROTO_NETDEV:
		return hook == NF_NETDEV_INGRESS;
	case NFPROTO_INET:
	case NFPROTO_IPV4:
	case NFPROTO_IPV6:
		return hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_IN || hook == NF_INET_INGRESS;
	default:
		return false;
	}
}

bool merlon_table_has_family(const struct merlon_table *table, enum merlon_family family)
{
	return table->family == NFPROTO_INET || table->family == (family == MERLON_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
}

bool merlon_chain_may_deny(const struct merlon_chain *chain)
{
	bool may = chain->drop;

	for (size_t r = 0; r < chain->n && !may; r++)
		for (size_t i = 0; i < chain->rule[r].n && !may; i++) {
			const struct merlon_statement *s = &chain->rule[r].statement[i];

			may = s->kind == MERLON_S_VERDICT && s->verdict.verdict != MERLON_V_ACCEPT &&
			      s->verdict.verdict != MERLON_V_CONTINUE && s->verdict.verdict != MERLON_V_RETURN;
			may |= s->kind == MERLON_S_LOOKUP && s->lookup->map;
		}
	return may;
}

size_t merlon_ruleset_base(const struct merlon_ruleset *ruleset, enum merlon_hook hook, enum merlon_family family,
			   uint32_t *ret_chains, size_t max)
{
	size_t i, j, n = 0;

	for (i = 0; i < ruleset->n_chains; i++) {
		const struct merlon_chain *chain = &ruleset->chain[i];

		if (!chain->base || chain->kept || chain->hook != hook ||
		    !merlon_table_has_family(&ruleset->table[chain->table], family))
			continue;
		/* a hook of the same priority goes before those that are there (net/netfilter/core.c, nf_hook_entries_grow) */
		for (j = n; j > 0 && ruleset->chain[ret_chains[j - 1]].priority >= chain->priority; j--)
			if (j < max)
				ret_chains[j] = ret_chains[j - 1];
		if (j < max)
			ret_chains[j] = i;
		n += n < max;
	}
	return n;
}

/* Room for one more; the array grows at powers of two. */
static struct merlon_left_out *new_left_out(struct merlon_chain *chain)
{
	size_t n = chain->n_left_out;
	struct merlon_left_out *larger;

	if ((n & (n - 1)) == 0) {
		larger = reallocarray(chain->left_out, n ? 2 * n : 1, sizeof(*larger));
		if (!larger)
			return NULL;
		chain->left_out = larger;
	}
	return &chain->left_out[chain->n_left_out++];
}

int merlon_chain_leave_out(struct merlon_chain *chain, bool (*choose)(void *context, const struct merlon_rule *rule),
			   void *context)
{
	struct merlon_left_out *slot;
	size_t from, to = 0;
	int r = 0;

	for (from = 0; from < chain->n; from++) {
		struct merlon_rule rule = chain->rule[from];

		if (!choose(context, &rule)) {
			chain->rule[to++] = rule;
			continue;
		}
		slot = new_left_out(chain);
		if (slot)
			*slot = (struct merlon_left_out){ rule, to };
		else
			merlon_rule_clear(&rule);
		r = slot ? r : -ENOMEM;
	}
	chain->n = to;
	return r;
}

int merlon_chain_note_left_out(struct merlon_chain *chain, struct merlon_rule rule, size_t at)
{
	size_t i = chain->n_left_out;

	if (!new_left_out(chain))
		return -ENOMEM;
	at = at < chain->n ? at : chain->n;
	for (; i && chain->left_out[i - 1].at > at; i--)
		chain->left_out[i] = chain->left_out[i - 1];
	chain->left_out[i] = (struct merlon_left_out){ rule, at };
	return 0;
}

struct merlon_totals merlon_ruleset_totals(const struct merlon_ruleset *ruleset)
{
	struct merlon_totals totals = { 0 };
	size_t i, j;

	for (i = 0; i < ruleset->n_chains; i++) {
		totals.rules += ruleset->chain[i].n_left_out;
		totals.left_out += ruleset->chain[i].n_left_out;
		for (j = 0; j < ruleset->chain[i].n; j++) {
			totals.rules++;
			switch (ruleset->chain[i].rule[j].status) {
			case MERLON_EXACT:
				totals.exact++;
				break;
			case MERLON_KEPT:
				totals.kept++;
				break;
			case MERLON_REFUSED:
				totals.refused++;
				break;
			}
		}
	}
	return totals;
}

unsigned merlon_field_bits(enum merlon_field field, enum merlon_family family)
{
	switch (field) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
		return family == MERLON_IPV4 ? 32 : 128;
	case MERLON_F_TH0:
	case MERLON_F_TH2:
	case MERLON_F_ETHER_SADDR_LOW:
		return 16;
	case MERLON_F_TH_BYTES:
	case MERLON_F_ETHER_SADDR_HIGH:
	case MERLON_F_LENGTH:
	case MERLON_F_MARK:
	case MERLON_F_IIF:
	case MERLON_F_OIF:
		return 32;
	default:
		return 8;
	}
}
