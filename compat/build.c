/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/build.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter_ipv4.h>
#include <stdarg.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"

/* Room for one more in an array that grows at powers of two: the new last element, zeroed. */
static void *append(void *array, size_t *n, size_t size)
{
	void **at = array;
	char *grown = *at;

	if ((*n & (*n - 1)) == 0) {
		grown = reallocarray(grown, *n ? *n * 2 : 1, size);
		if (!grown)
			return NULL;
		*at = grown;
	}
	return memset(grown + size * (*n)++, 0, size);
}

struct merlon_table *merlon_build_table(struct merlon_ruleset *ruleset, uint8_t family, const char *name)
{
	_cleanup_free_ char *copy = strdup(name);
	struct merlon_table *table = copy ? append(&ruleset->table, &ruleset->n_tables, sizeof(*table)) : NULL;

	if (table) {
		table->family = family;
		table->name = TAKE_PTR(copy);
	}
	return table;
}

struct merlon_chain *merlon_build_chain(struct merlon_ruleset *ruleset, uint32_t table, const char *name)
{
	_cleanup_free_ char *copy = strdup(name);
	struct merlon_chain *chain = copy ? append(&ruleset->chain, &ruleset->n_chains, sizeof(*chain)) : NULL;

	if (chain) {
		chain->table = table;
		chain->name = TAKE_PTR(copy);
	}
	return chain;
}

struct merlon_set *merlon_build_set(struct merlon_ruleset *ruleset, uint32_t table, const char *name)
{
	_cleanup_free_ char *copy = strdup(name);
	struct merlon_set *set = copy ? append(&ruleset->set, &ruleset->n_sets, sizeof(*set)) : NULL;

	if (set) {
		set->table = table;
		set->name = TAKE_PTR(copy);
	}
	return set;
}

struct merlon_rule *merlon_build_rule(struct merlon_chain *chain)
{
	return append(&chain->rule, &chain->n, sizeof(*chain->rule));
}

struct merlon_statement *merlon_build_statement(struct merlon_rule *rule, enum merlon_statement_kind kind)
{
	_cleanup_free_ struct merlon_log *log = kind == MERLON_S_LOG ? calloc(1, sizeof(*log)) : NULL;
	struct merlon_statement *statement = NULL;

	if (kind != MERLON_S_LOG || log)
		statement = append(&rule->statement, &rule->n, sizeof(*statement));
	if (!statement)
		return NULL;
	statement->kind = kind;
	if (log)
		statement->log = TAKE_PTR(log);
	return statement;
}

const char *merlon_build_file(struct merlon_ruleset *ruleset, const char *name)
{
	_cleanup_free_ char *copy = NULL;
	char **slot;
	size_t i;

	for (i = 0; i < ruleset->n_files; i++)
		if (strcmp(ruleset->file[i], name) == 0)
			return ruleset->file[i];
	copy = strdup(name);
	slot = copy ? append(&ruleset->file, &ruleset->n_files, sizeof(*slot)) : NULL;
	return slot ? (*slot = TAKE_PTR(copy)) : NULL;
}

void merlon_build_refuse(struct merlon_rule *rule, const char *format, ...)
{
	va_list args;

	if (rule->status == MERLON_REFUSED && rule->reason)
		return;
	rule->status = MERLON_REFUSED;
	va_start(args, format);
	if (vasprintf(&rule->reason, format, args) < 0)
		rule->reason = NULL;
	va_end(args);
}

/* Chains sorted by table and name, for finding what a jump leads to. */
static const struct merlon_chain *sort_base;

static int compare_chain(const struct merlon_chain *x, const struct merlon_chain *y)
{
	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
	return compare_chain(&sort_base[*(const uint32_t *)a], &sort_base[*(const uint32_t *)b]);
}

static const uint32_t *find_chain(const struct merlon_ruleset *ruleset, const uint32_t *sorted, uint32_t table,
				  const char *name)
{
	struct merlon_chain key = { .table = table, .name = (char *)name };
	size_t lo = 0, hi = ruleset->n_chains;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = compare_chain(&ruleset->chain[sorted[mid]], &key);

		if (order == 0)
			return &sorted[mid];
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Where a statement leads to: a jump or goto of its own, or of each element of a map of verdicts. */
struct lead {
	const char *chain;
	uint32_t *target;
};

static bool leads(enum merlon_rule_verdict verdict)
{
	return verdict == MERLON_V_JUMP || verdict == MERLON_V_GOTO;
}

/* The next one of a statement, from `*at` on, which starts at 0. False: there is none. */
static bool next_lead(struct merlon_statement *s, size_t *at, struct lead *ret)
{
	if (s->kind == MERLON_S_VERDICT && leads(s->verdict.verdict) && (*at)++ == 0) {
		*ret = (struct lead){ s->verdict.chain, &s->verdict.target };
		return true;
	}
	if (s->kind != MERLON_S_LOOKUP || !s->lookup || !s->lookup->map)
		return false;
	while (*at < s->lookup->n) {
		struct merlon_lookup_element *e = &s->lookup->element[(*at)++];

		if (leads(e->verdict)) {
			*ret = (struct lead){ e->chain, &e->target };
			return true;
		}
	}
	return false;
}

static void resolve_rule(const struct merlon_ruleset *ruleset, const uint32_t *sorted, uint32_t table,
			 struct merlon_rule *rule)
{
	struct lead lead;
	size_t i, at;

	for (i = 0; i < rule->n; i++)
		for (at = 0; next_lead(&rule->statement[i], &at, &lead);) {
			const uint32_t *target = find_chain(ruleset, sorted, table, lead.chain);

			if (target)
				*lead.target = *target;
			else
				merlon_build_refuse(rule, "chain `%s` does not exist", lead.chain);
		}
}

static int resolve_jumps(struct merlon_ruleset *ruleset)
{
	_cleanup_free_ uint32_t *sorted = reallocarray(NULL, ruleset->n_chains + 1, sizeof(*sorted));
	size_t i, j;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < ruleset->n_chains; i++)
		sorted[i] = i;
	sort_base = ruleset->chain;
	qsort(sorted, ruleset->n_chains, sizeof(*sorted), by_name);

	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n; j++)
			resolve_rule(ruleset, sorted, ruleset->chain[i].table, &ruleset->chain[i].rule[j]);
	return 0;
}

static void reach_target(uint32_t target, bool *seen, uint32_t *stack, size_t *depth)
{
	if (seen[target])
		return;
	seen[target] = true;
	stack[(*depth)++] = target;
}

/* Marks what can be reached from chain `start` in `seen`, with a stack of its own: chains may nest deeply. */
static void reach(const struct merlon_ruleset *ruleset, uint32_t start, bool *seen, uint32_t *stack)
{
	size_t depth = 0, j, k, at;
	struct lead lead;

	reach_target(start, seen, stack, &depth);
	while (depth) {
		const struct merlon_chain *chain = &ruleset->chain[stack[--depth]];

		for (j = 0; j < chain->n; j++)
			for (k = 0; k < chain->rule[j].n; k++)
				for (at = 0; next_lead(&chain->rule[j].statement[k], &at, &lead);)
					reach_target(*lead.target, seen, stack, &depth);
	}
}

static bool is_tracking(enum merlon_field field)
{
	return field == MERLON_F_CT_STATE || field == MERLON_F_CT_DIRECTION;
}

static bool asks_tracking(const struct merlon_rule *rule)
{
	size_t i, j;

	for (i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_MATCH && is_tracking(s->match.field))
			return true;
		for (j = 0; s->kind == MERLON_S_LOOKUP && s->lookup && j < s->lookup->n_parts; j++)
			if (is_tracking(s->lookup->part[j].field))
				return true;
	}
	return false;
}

/*
 * An output chain at the priority of connection tracking or before sees no connection yet: there every packet is
 * `ct state invalid` (NF_IP_PRI_CONNTRACK of linux/netfilter_ipv4.h).
 */
static int refuse_early_tracking(struct merlon_ruleset *ruleset)
{
	_cleanup_free_ bool *early = calloc(ruleset->n_chains + 1, sizeof(*early));
	_cleanup_free_ uint32_t *stack = calloc(ruleset->n_chains + 1, sizeof(*stack));
	size_t i, j;

	if (!early || !stack)
		return -ENOMEM;
	for (i = 0; i < ruleset->n_chains; i++)
		if (ruleset->chain[i].base && !ruleset->chain[i].kept && ruleset->chain[i].hook == MERLON_OUTPUT &&
		    ruleset->chain[i].priority <= NF_IP_PRI_CONNTRACK)
			reach(ruleset, i, early, stack);
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; early[i] && j < ruleset->chain[i].n; j++)
			if (asks_tracking(&ruleset->chain[i].rule[j]))
				merlon_build_refuse(&ruleset->chain[i].rule[j],
						    "`ct` in an output chain before connection tracking: not supported yet");
	return 0;
}

static bool asks_ethernet(const struct merlon_rule *rule)
{
	size_t i, j;

	for (i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_MATCH && s->match.field == MERLON_F_ETHER_SADDR_HIGH)
			return true;
		if (s->kind == MERLON_S_MATCH && s->match.field == MERLON_F_ETHER_SADDR_LOW)
			return true;
		for (j = 0; s->kind == MERLON_S_LOOKUP && s->lookup && j < s->lookup->n_parts; j++)
			if (s->lookup->part[j].field == MERLON_F_ETHER_SADDR_HIGH)
				return true;
	}
	return false;
}

/* FORWARD is judged where the packet leaves, with the Ethernet header it leaves with. */
static int refuse_ethernet(struct merlon_ruleset *ruleset, enum merlon_hook hook, const char *why)
{
	_cleanup_free_ bool *reached = calloc(ruleset->n_chains + 1, sizeof(*reached));
	_cleanup_free_ uint32_t *stack = calloc(ruleset->n_chains + 1, sizeof(*stack));
	size_t i, j;

	if (!reached || !stack)
		return -ENOMEM;
	for (i = 0; i < ruleset->n_chains; i++)
		if (ruleset->chain[i].base && !ruleset->chain[i].kept && ruleset->chain[i].hook == hook)
			reach(ruleset, i, reached, stack);
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; reached[i] && j < ruleset->chain[i].n; j++)
			if (asks_ethernet(&ruleset->chain[i].rule[j]))
				merlon_build_refuse(&ruleset->chain[i].rule[j], "%s: ask for it in chains of hook input", why);
	return 0;
}

/*
 * A chain that only kept base chains lead to is kept as well. One that nothing leads to is not: its rules are
 * reported as what they are.
 */
static int settle_chains(struct merlon_ruleset *ruleset)
{
	_cleanup_free_ bool *enforced = calloc(ruleset->n_chains + 1, sizeof(*enforced));
	_cleanup_free_ bool *kept = calloc(ruleset->n_chains + 1, sizeof(*kept));
	_cleanup_free_ bool *behind = calloc(ruleset->n_chains + 1, sizeof(*behind));
	_cleanup_free_ bool *output = calloc(ruleset->n_chains + 1, sizeof(*output));
	_cleanup_free_ uint32_t *stack = calloc(ruleset->n_chains + 1, sizeof(*stack));
	size_t i;

	if (!enforced || !kept || !behind || !output || !stack)
		return -ENOMEM;
	for (i = 0; i < ruleset->n_chains; i++) {
		const struct merlon_chain *chain = &ruleset->chain[i];

		if (chain->base || chain->kept)
			reach(ruleset, i, chain->kept ? kept : enforced, stack);
		if (chain->kept && chain->behind_input)
			reach(ruleset, i, behind, stack);
		if (chain->base && !chain->kept && chain->hook == MERLON_OUTPUT)
			reach(ruleset, i, output, stack);
	}
	for (i = 0; i < ruleset->n_chains; i++) {
		ruleset->chain[i].reached = enforced[i];
		ruleset->chain[i].in_output = output[i];
		ruleset->chain[i].beside = kept[i];
		ruleset->chain[i].behind_input = behind[i];
		if (kept[i] && !enforced[i])
			ruleset->chain[i].kept = true;
	}
	return 0;
}

/* One stream for all rules. */
struct writing {
	FILE *out;
	char *text;
	size_t size;
};

static int write_text(struct writing *w, const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, struct merlon_rule *rule)
{
	if (rule->text)
		return 0;
	rewind(w->out);
	merlon_rule_print(ruleset, chain, rule, w->out);
	rule->text = fflush(w->out) == 0 && !ferror(w->out) ? strndup(w->text, w->size) : NULL;
	return rule->text ? 0 : -ENOMEM;
}

/* What is enforced has its text, and nothing else has statements. */
static int settle_rules(struct merlon_ruleset *ruleset)
{
	struct writing w = { .out = NULL };
	size_t i, j;
	int r = 0;

	w.out = open_memstream(&w.text, &w.size);
	if (!w.out)
		return -ENOMEM;
	__fsetlocking(w.out, FSETLOCKING_BYCALLER);
	for (i = 0; i < ruleset->n_chains && r == 0; i++)
		for (j = 0; j < ruleset->chain[i].n && r == 0; j++) {
			struct merlon_rule *rule = &ruleset->chain[i].rule[j];

			if (ruleset->chain[i].kept) {
				rule->status = MERLON_KEPT;
				free(rule->reason);
				rule->reason = NULL;
			}
			if (rule->status == MERLON_EXACT)
				r = write_text(&w, ruleset, &ruleset->chain[i], rule);
			while (rule->status != MERLON_EXACT && rule->n)
				merlon_statement_clear(&rule->statement[--rule->n]);
		}
	fclose(w.out);
	free(w.text);
	return r;
}

static bool uses_set(const struct merlon_rule *rule, const char *name)
{
	size_t i;

	for (i = 0; i < rule->n; i++)
		if (rule->statement[i].kind == MERLON_S_LOOKUP && rule->statement[i].lookup->set &&
		    strcmp(rule->statement[i].lookup->set, name) == 0)
			return true;
	return false;
}

/* Whether the declaration of a map has an element that leads to this chain. */
static bool map_leads_to(const char *declaration, const char *chain)
{
	static const char *const word[] = { " : jump ", " : goto " };
	size_t n = strlen(chain), i;

	for (i = 0; i < ARRAY_SIZE(word); i++) {
		const char *p = declaration;

		while ((p = strstr(p, word[i]))) {
			p += strlen(word[i]);
			if (strncmp(p, chain, n) == 0 && strchr(", }", p[n]))
				return true;
		}
	}
	return false;
}

bool merlon_build_leads_to_kept(const struct merlon_ruleset *ruleset, uint32_t table, const char *declaration)
{
	size_t i;

	for (i = 0; i < ruleset->n_chains; i++)
		if (ruleset->chain[i].table == table && ruleset->chain[i].kept &&
		    map_leads_to(declaration, ruleset->chain[i].name))
			return true;
	return false;
}

/*
 * A map of verdicts that no enforced rule looks in may lead to chains that are left to netfilter: then it is, too, and would not
 * load without them.
 */
static void drop_unused_maps(struct merlon_ruleset *ruleset)
{
	size_t i, j, k;

	for (i = 0; i < ruleset->n_sets; i++) {
		struct merlon_set *set = &ruleset->set[i];
		bool used = !set->declaration || strncmp(set->declaration, "map ", 4) != 0 ||
			    !merlon_build_leads_to_kept(ruleset, set->table, set->declaration);

		for (j = 0; j < ruleset->n_chains && !used; j++)
			for (k = 0; ruleset->chain[j].table == set->table && !ruleset->chain[j].kept &&
				    k < ruleset->chain[j].n && !used; k++)
				used = ruleset->chain[j].rule[k].status == MERLON_EXACT &&
				       uses_set(&ruleset->chain[j].rule[k], set->name);
		if (!used) {
			free(set->declaration);
			set->declaration = NULL;
		}
	}
}

int merlon_build_settle(struct merlon_ruleset *ruleset)
{
	int r = resolve_jumps(ruleset);

	if (r == 0)
		r = settle_chains(ruleset);
	if (r == 0)
		r = refuse_early_tracking(ruleset);
	if (r == 0)
		r = refuse_ethernet(ruleset, MERLON_FORWARD,
				    "the sender's Ethernet address is not known when a packet is forwarded");
	if (r == 0)
		r = refuse_ethernet(ruleset, MERLON_OUTPUT,
				    "a packet that this host sends has no sender's Ethernet address yet");
	drop_unused_maps(ruleset);
	return r ? r : settle_rules(ruleset);
}

/* The place strings of `from` become strings of `to`, whose array of names takes them over. */
static int join_files(struct merlon_ruleset *to, struct merlon_ruleset *from)
{
	size_t i;

	for (i = 0; i < from->n_files; i++) {
		char **slot = append(&to->file, &to->n_files, sizeof(*slot));

		if (!slot)
			return -ENOMEM;
		*slot = TAKE_PTR(from->file[i]);
	}
	from->n_files = 0;
	return 0;
}

static int join_chains(struct merlon_ruleset *to, struct merlon_ruleset *from, uint32_t tables, uint32_t chains)
{
	size_t i, j, k, at;
	struct lead lead;

	for (i = 0; i < from->n_chains; i++) {
		struct merlon_chain *slot = append(&to->chain, &to->n_chains, sizeof(*slot));

		if (!slot)
			return -ENOMEM;
		*slot = from->chain[i];
		from->chain[i] = (struct merlon_chain){ 0 };
		slot->table += tables;
		for (j = 0; j < slot->n; j++)
			for (k = 0; k < slot->rule[j].n; k++)
				for (at = 0; next_lead(&slot->rule[j].statement[k], &at, &lead);)
					*lead.target += chains;
	}
	from->n_chains = 0;
	return 0;
}

int merlon_build_join(struct merlon_ruleset *to, struct merlon_ruleset *from)
{
	uint32_t tables = to->n_tables, chains = to->n_chains;
	size_t i;
	int r = join_files(to, from);

	if (r == 0)
		r = join_chains(to, from, tables, chains);
	for (i = 0; i < from->n_tables && r == 0; i++) {
		struct merlon_table *slot = append(&to->table, &to->n_tables, sizeof(*slot));

		if (!slot)
			return -ENOMEM;
		*slot = from->table[i];
		from->table[i] = (struct merlon_table){ 0 };
	}
	for (i = 0; i < from->n_sets && r == 0; i++) {
		struct merlon_set *slot = append(&to->set, &to->n_sets, sizeof(*slot));

		if (!slot)
			return -ENOMEM;
		*slot = from->set[i];
		from->set[i] = (struct merlon_set){ 0 };
		slot->table += tables;
	}
	return r;
}
