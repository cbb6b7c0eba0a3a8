/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/print.h"

#include <ctype.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_log.h>
#include <string.h>

#include "src/util/cleanup.h"

/* Longest texts that nft takes (nftables include/datatype.h and rule.h; NF_LOG_PREFIXLEN). */
#define COMMENT_MAX 127
#define PREFIX_MAX 126

/* What nft (1.0.6, by trial) does not take as the name of a chain. */
static bool is_keyword(const char *name)
{
	static const char words[] =
		" accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter"
		" cpu create ct day dccp define delete describe device devices dnat drop dst dup dynamic ecn"
		" element elements eq esp ether exists expires export exthdr fib flags flow flowtable flush frag"
		" fwd gc-interval ge get goto gt handle hbh hook hour ibriport ibrname icmp icmpv6 igmp iif"
		" iifgroup iifname iiftype import include index inet insert interval ip ip6 ipsec jhash jump le"
		" limit list log lshift lt map mark masquerade meta meter mh missing monitor ne netdev nftrace"
		" not notrack numgen obriport obrname offload oif oifgroup oifname oiftype or osf pkttype policy"
		" position priority queue quota random redefine redirect reject rename replace reset return"
		" rshift rt rt0 rt2 rtclassid rule ruleset sctp secmark set size skgid skuid snat socket srh"
		" symhash synproxy table tcp th time timeout tproxy type typeof udp udplite undefine update vlan"
		" vmap xor xt ";
	char word[64];

	if (strlen(name) > sizeof(word) - 3)
		return false;
	snprintf(word, sizeof(word), " %s ", name);
	return strstr(words, word);
}

/* Chains of iptables may have names that nft has no way to write. */
static void print_chain_name(FILE *out, const struct merlon_ruleset *ruleset, const struct merlon_chain *chain)
{
	const char *name = chain->name;
	size_t n = strlen(name), i;
	bool changed = false;

	if (!isalpha((unsigned char)name[0])) {
		fputs("c_", out);
		changed = true;
	}
	for (i = 0; i < n; i++) {
		bool fits = isalnum((unsigned char)name[i]) || strchr("-_./", name[i]);

		fputc(fits ? name[i] : '_', out);
		changed |= !fits;
	}
	/* the chain's number keeps two of them apart */
	if (changed || is_keyword(name))
		fprintf(out, "_%zu", (size_t)(chain - ruleset->chain));
}

static void print_interface(const struct merlon_printing *p, const struct merlon_statement *s)
{
	bool by_index = s->interface.n && s->interface.name[0].index;
	const char *field = s->interface.field == MERLON_F_IIF ? "iif" : "oif";
	size_t i;

	fprintf(p->out, "%s%s %s", field, by_index ? "" : "name", s->interface.negated ? "!= " : "");
	if (s->interface.set && merlon_print_has_set(p, s->interface.set)) {
		fprintf(p->out, "@%s", s->interface.set);
		return;
	}
	fputs(s->interface.n == 1 ? "" : "{ ", p->out);
	for (i = 0; i < s->interface.n; i++) {
		fputs(i ? ", " : "", p->out);
		merlon_print_ifname(p->out, &s->interface.name[i]);
	}
	fputs(s->interface.n == 1 ? "" : " }", p->out);
}

static void print_limit(FILE *out, const struct merlon_limit *limit)
{
	static const struct {
		uint64_t s;
		const char *name;
	} unit[] = { { 1, "second" }, { 60, "minute" }, { 3600, "hour" }, { 86400, "day" }, { 604800, "week" } };
	size_t i, n = ARRAY_SIZE(unit);

	for (i = 0; i < n; i++)
		if (unit[i].s == limit->per_s)
			break;
	/* a rate of x_tables that is in none of nft's units: the nearest that is */
	for (i = i < n ? i : 0; i < n - 1 && limit->rate * unit[i].s < limit->per_s * 1000 &&
	     limit->rate * unit[i].s % limit->per_s; i++)
		;
	fprintf(out, "limit rate %s%llu%s%s", limit->over ? "over " : "",
		(unsigned long long)((limit->rate * unit[i].s + limit->per_s / 2) / (limit->per_s ? limit->per_s : 1)),
		limit->bytes ? " bytes/" : "/", unit[i].name);
	if (!limit->bytes || limit->burst)
		fprintf(out, " burst %u %s", limit->burst, limit->bytes ? "bytes" : "packets");
}

static void print_log(FILE *out, const struct merlon_log *log)
{
	static const char *const level[] = { "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug" };
	static const struct {
		unsigned bit;
		const char *text;
	} flag[] = {
		{ NF_LOG_TCPSEQ, "tcp sequence" }, { NF_LOG_TCPOPT, "tcp options" }, { NF_LOG_IPOPT, "ip options" },
		{ NF_LOG_UID, "skuid" }, { NF_LOG_MACDECODE, "ether" },
	};
	size_t i;

	fputs("log", out);
	if (log->prefix[0]) {
		fputs(" prefix ", out);
		merlon_print_string(out, log->prefix, PREFIX_MAX);
	}
	if (log->group >= 0)
		fprintf(out, " group %d", log->group);
	if (log->level >= 0 && log->level < (int)ARRAY_SIZE(level))
		fprintf(out, " level %s", level[log->level]);
	for (i = 0; i < ARRAY_SIZE(flag); i++)
		if (log->flags & flag[i].bit)
			fprintf(out, " flags %s", flag[i].text);
}

static void print_mark(FILE *out, uint32_t mask, uint32_t xor)
{
	fputs("meta mark set ", out);
	if (mask == 0) {
		fprintf(out, "0x%x", xor);
		return;
	}
	fputs("meta mark", out);
	if (mask != ~0U)
		fprintf(out, " & 0x%x", mask);
	if (xor)
		fprintf(out, " ^ 0x%x", xor);
}

/* Codes as nft names them; NULL: it has no name. */
static const char *icmp_code(enum merlon_family family, uint8_t code)
{
	static const char *const v4[16] = {
		[0] = "net-unreachable", [1] = "host-unreachable", [2] = "prot-unreachable", [3] = "port-unreachable",
		[9] = "net-prohibited", [10] = "host-prohibited", [13] = "admin-prohibited",
	};
	static const char *const v6[16] = {
		[0] = "no-route", [1] = "admin-prohibited", [3] = "addr-unreachable", [4] = "port-unreachable",
		[5] = "policy-fail", [6] = "reject-route",
	};

	return code < 16 ? (family == MERLON_IPV4 ? v4 : v6)[code] : NULL;
}

static void print_reject(const struct merlon_printing *p, const struct merlon_reject_with *with)
{
	static const struct {
		uint8_t code[MERLON_FAMILIES];
		const char *name;
	} icmpx[] = {
		{ { 3, 4 }, "port-unreachable" }, { { 0, 0 }, "no-route" }, { { 1, 3 }, "host-unreachable" },
		{ { 13, 1 }, "admin-prohibited" },
	};
	bool inet = p->ruleset->table[p->chain->table].family == NFPROTO_INET;
	enum merlon_family family = p->family == MERLON_IPV6 ? MERLON_IPV6 : MERLON_IPV4;
	const char *name;
	size_t i;

	if (with->type == MERLON_REJECT_TCP_RST) {
		fputs("reject with tcp reset", p->out);
		return;
	}
	for (i = 0; inet && i < ARRAY_SIZE(icmpx); i++)
		if (memcmp(with->code, icmpx[i].code, sizeof(with->code)) == 0) {
			fprintf(p->out, "reject with icmpx %s", icmpx[i].name);
			return;
		}
	name = icmp_code(family, with->code[family]);
	fprintf(p->out, "reject with %s ", family == MERLON_IPV4 ? "icmp" : "icmpv6");
	if (name)
		fputs(name, p->out);
	else
		fprintf(p->out, "%u", with->code[family]);
}

void merlon_print_verdict(const struct merlon_printing *p, enum merlon_rule_verdict verdict, uint32_t target)
{
	static const char *const word[] = {
		[MERLON_V_ACCEPT] = "accept", [MERLON_V_DROP] = "drop", [MERLON_V_CONTINUE] = "continue",
		[MERLON_V_RETURN] = "return", [MERLON_V_JUMP] = "jump ", [MERLON_V_GOTO] = "goto ",
	};

	fputs(word[verdict], p->out);
	if (verdict == MERLON_V_JUMP || verdict == MERLON_V_GOTO)
		print_chain_name(p->out, p->ruleset, &p->ruleset->chain[target]);
}

/* The one protocol that a match asks for, or -1. */
static int single_proto(const struct merlon_statement *s)
{
	if (s->kind != MERLON_S_MATCH || (s->match.field != MERLON_F_L4PROTO && s->match.field != MERLON_F_NEXTHDR) ||
	    s->match.in.n != 1 || s->match.in.v[0].lo != s->match.in.v[0].hi)
		return -1;
	return (int)s->match.in.v[0].lo;
}

/*
 * nft asks for the family and the protocol itself where a match needs them. A statement that does just that, right
 * before such a match, is not printed: `tcp dport 22`, not `meta l4proto tcp tcp dport 22`.
 */
static bool is_implied(const struct merlon_printing *p, size_t i)
{
	const struct merlon_statement *s = &p->rule->statement[i], *next = s + 1;
	size_t left = p->rule->n - i - 1;
	int proto;

	if (!left)
		return false;
	if (merlon_print_lookup_implies(p, i))
		return true;
	if (s->kind == MERLON_S_FAMILY) {
		if (p->ruleset->table[p->chain->table].family != NFPROTO_INET)
			return false;
		if (merlon_print_implies_family(p, next, s->family, -1))
			return true;
		/* icmp brings both along */
		proto = next->kind == MERLON_S_MATCH && next->match.field == MERLON_F_L4PROTO ? single_proto(next) : -1;
		return left > 1 && proto >= 0 && merlon_print_implies_family(p, next + 1, s->family, proto) &&
		       next[1].match.field != MERLON_F_SADDR && next[1].match.field != MERLON_F_DADDR &&
		       next[1].match.field != MERLON_F_TTL && next[1].match.field != MERLON_F_TOS &&
		       next[1].match.field != MERLON_F_NEXTHDR && next[1].match.field != MERLON_F_RT_TYPE;
	}
	if (s->kind != MERLON_S_MATCH || s->match.field != MERLON_F_L4PROTO)
		return false;
	proto = single_proto(s);
	return proto >= 0 && merlon_print_implies_proto(p, next, proto);
}

static void print_statement(struct merlon_printing *p, size_t i)
{
	const struct merlon_statement *s = &p->rule->statement[i];
	bool implied = is_implied(p, i);

	if (s->kind == MERLON_S_FAMILY)
		p->family = s->family;
	if (single_proto(s) >= 0)
		p->proto = single_proto(s);
	if (implied)
		return;
	fputs(p->space, p->out);
	p->space = " ";
	switch (s->kind) {
	case MERLON_S_MATCH:
		merlon_print_match(p, s);
		break;
	case MERLON_S_INTERFACE:
		print_interface(p, s);
		break;
	case MERLON_S_FAMILY:
		/* nft takes nfproto in tables of both families only */
		if (p->ruleset->table[p->chain->table].family == NFPROTO_INET)
			fprintf(p->out, "meta nfproto %s", s->family == MERLON_IPV4 ? "ipv4" : "ipv6");
		else
			fprintf(p->out, "meta protocol %s", s->family == MERLON_IPV4 ? "ip" : "ip6");
		break;
	case MERLON_S_COUNTER:
		fputs("counter", p->out);
		if (s->counter.packets || s->counter.bytes)
			fprintf(p->out, " packets %llu bytes %llu", (unsigned long long)s->counter.packets,
				(unsigned long long)s->counter.bytes);
		break;
	case MERLON_S_LIMIT:
		print_limit(p->out, &s->limit);
		break;
	case MERLON_S_LOG:
		print_log(p->out, s->log);
		break;
	case MERLON_S_MARK:
		print_mark(p->out, s->mark.mask, s->mark.xor);
		break;
	case MERLON_S_ADDRTYPE:
		merlon_print_addrtype(p, s);
		break;
	case MERLON_S_LOOKUP:
		merlon_print_lookup(p, s->lookup);
		break;
	case MERLON_S_VERDICT:
		if (s->verdict.verdict == MERLON_V_REJECT)
			print_reject(p, &s->verdict.reject);
		else
			merlon_print_verdict(p, s->verdict.verdict, s->verdict.target);
		break;
	}
}

void merlon_rule_print(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain,
		       const struct merlon_rule *rule, FILE *out)
{
	uint8_t family = ruleset->table[chain->table].family;
	struct merlon_printing p = {
		.out = out, .ruleset = ruleset, .chain = chain, .rule = rule, .proto = -1, .space = "",
		.family = family == NFPROTO_IPV4 ? MERLON_IPV4 : family == NFPROTO_IPV6 ? MERLON_IPV6 : -1,
	};
	size_t i;

	if (rule->status != MERLON_EXACT) {
		for (i = 0; rule->text && rule->text[i]; i++)
			fputc(rule->text[i] == '\n' ? ' ' : rule->text[i], out);
		return;
	}
	for (i = 0; i < rule->n; i++)
		print_statement(&p, i);
	/* a rule that does nothing at all is still a rule */
	if (!*p.space && !rule->comment)
		fputs("continue", out);
	if (rule->comment && rule->comment[0]) {
		fprintf(out, "%s%scomment ", p.space, rule->n ? "" : "continue ");
		merlon_print_string(out, rule->comment, COMMENT_MAX);
	}
}

/* `without`: what became of it if it is refused. */
static void print_rule(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, const struct merlon_rule *rule,
		       const char *without, FILE *out)
{
	fputs("\t\t", out);
	if (rule->status == MERLON_REFUSED)
		fprintf(out, "# %s (%s): ", without, rule->reason ? rule->reason : "?");
	merlon_rule_print(ruleset, chain, rule, out);
	fputc('\n', out);
}

/* nft's comment of a table or chain. */
static void print_remark(FILE *out, const char *indent, const char *comment)
{
	if (!comment)
		return;
	fprintf(out, "%scomment ", indent);
	merlon_print_string(out, comment, COMMENT_MAX);
	fputc('\n', out);
}

static void print_chain(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain, FILE *out)
{
	static const char *const hook[] = { "input", "forward", "output" };
	size_t i, left = 0;

	fputs("\tchain ", out);
	print_chain_name(out, ruleset, chain);
	fputs(" {\n", out);
	print_remark(out, "\t\t", chain->comment);
	if (chain->base)
		fprintf(out, "\t\ttype filter hook %s priority %d; policy %s;\n", hook[chain->hook], chain->priority,
			chain->drop ? "drop" : "accept");
	for (i = 0; i <= chain->n; i++) {
		for (; left < chain->n_left_out && chain->left_out[left].at == i; left++)
			print_rule(ruleset, chain, &chain->left_out[left].rule, "left out", out);
		if (i < chain->n)
			print_rule(ruleset, chain, &chain->rule[i], "refused", out);
	}
	fputs("\t}\n", out);
}

static void print_set(const struct merlon_set *set, FILE *out)
{
	if (!set->declaration && !set->reason)
		return;
	fputc('\t', out);
	if (set->declaration)
		merlon_set_print(set, 0, out);
	else
		fprintf(out, "# left out (%s): %s", set->reason, set->name);
	fputc('\n', out);
}

bool merlon_table_is_written(const struct merlon_ruleset *ruleset, uint32_t t)
{
	bool chains = false, sets = false;
	size_t i;

	for (i = 0; i < ruleset->n_chains; i++) {
		if (ruleset->chain[i].table != t)
			continue;
		if (!ruleset->chain[i].kept)
			return true;
		chains = true;
	}
	for (i = 0; i < ruleset->n_sets; i++)
		sets |= ruleset->set[i].table == t;
	return !chains && sets;
}

static void print_table(const struct merlon_ruleset *ruleset, uint32_t t, FILE *out)
{
	const struct merlon_table *table = &ruleset->table[t];
	const char *family = table->family == NFPROTO_INET ? "inet" : table->family == NFPROTO_IPV4 ? "ip" : "ip6";
	size_t i;

	if (!merlon_table_has_family(table, MERLON_IPV4) && !merlon_table_has_family(table, MERLON_IPV6))
		return;
	if (!merlon_table_is_written(ruleset, t))
		return;
	fprintf(out, "table %s %s {\n", family, table->name);
	print_remark(out, "\t", table->comment);
	for (i = 0; i < ruleset->n_sets; i++)
		if (ruleset->set[i].table == t)
			print_set(&ruleset->set[i], out);
	for (i = 0; i < ruleset->n_chains; i++)
		if (ruleset->chain[i].table == t && !ruleset->chain[i].kept)
			print_chain(ruleset, &ruleset->chain[i], out);
	fputs("}\n", out);
}

void merlon_print_time(FILE *out, const char *word, uint64_t ms)
{
	fprintf(out, "%s %llus", word, (unsigned long long)(ms / 1000));
	if (ms % 1000)
		fprintf(out, "%llums", (unsigned long long)(ms % 1000));
}

void merlon_set_print(const struct merlon_set *set, uint64_t age_ms, FILE *out)
{
	static const char first[] = "elements = { ";
	const char *text = set->declaration, *before = first;
	size_t i;

	if (!set->n) {
		fputs(text, out);
		return;
	}
	fwrite(text, 1, set->element[0].begin - strlen(first), out);
	for (i = 0; i < set->n; i++) {
		const struct merlon_set_element *e = &set->element[i];
		uint64_t left = e->expires_ms - age_ms;

		if (e->expires_ms && e->expires_ms <= age_ms)
			continue;
		fputs(before, out);
		before = ", ";
		fwrite(text + e->begin, 1, e->time - e->begin, out);
		if (e->expires_ms && left != e->timeout_ms)
			merlon_print_time(out, " expires", left);
		fwrite(text + e->behind, 1, e->end - e->behind, out);
	}
	fputs(before == first ? "}" : " }; }", out);
}

void merlon_ruleset_print(const struct merlon_ruleset *ruleset, FILE *out)
{
	uint32_t t;

	for (t = 0; t < ruleset->n_tables; t++)
		print_table(ruleset, t, out);
}
