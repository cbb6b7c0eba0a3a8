/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/limits.h"

#include <linux/netfilter.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/util/kernel.h"

/* What a ruleset has that makes a limit its concern. */
enum {
	HAS_STATE = 1,		/* asks for ct state or direction */
	HAS_REJECT = 2,
	HAS_OUTPUT = 4,		/* may deny there */
	HAS_FORWARD = 8,	/* may deny there */
	HAS_ANY = 16,
	HAS_NAT = 32,
	HAS_KEPT = 64,		/* rules in chains that are left to netfilter */
	HAS_SHORT = 128,	/* matches of x_tables that drop */
	HAS_FORGED = 256,	/* asks for ct state, and lets packets of IPv4 in */
	HAS_GROUP = 512,	/* logs for programs that listen to a group: ulogd */
	HAS_LENGTH = 1024,	/* asks for a packet's length, or limits bytes */
	HAS_WHOLE = 2048,	/* a hook where nf_tables sees datagrams, not fragments */
	HAS_PORTS = 4096,	/* asks for ports and the like where nf_tables sees IPv4 fragments */
	HAS_ORDER = 8192,	/* base chains of one hook and priority in several tables */
	HAS_LOGS = 16384,	/* more rules that log than one packet can have logged */
	HAS_INPUT = 32768,	/* may deny there */
	HAS_TRANSIT = 65536,	/* may deny in forward, and asks for ct state */
};

/* What the host must have, too. */
enum {
	ON_ANY = 1,
	ON_6_1 = 2,		/* a kernel that does not tell who vouches for a checksum */
	ON_DCCP = 4,		/* a tracker for it in nf_conntrack */
	ON_RP_FILTER = 8,
};

static const struct {
	const char *name, *text;
	unsigned concerns;	/* any of these */
	unsigned host;
} limits[] = {
	{ "nat", "packets are judged before DNAT and after SNAT: apply refuses a ruleset with NAT", HAS_NAT, ON_ANY },
	{ "kept-chains", "rules left to netfilter are not seen: what they mark, untrack or change is judged as it came in, and what "
	  "they drop may have begun a connection", HAS_KEPT, ON_ANY },
	{ "l4-checksum", "before Linux 6.2 checksums of TCP, UDP, ICMP and SCTP are not verified (as with nf_conntrack_checksum=0)",
	  HAS_STATE, ON_6_1 },
	{ "dccp", "DCCP is tracked by addresses and ports alone, without the states that nf_conntrack of older kernels has for it",
	  HAS_STATE, ON_DCCP },
	{ "sctp-chunks", "an SCTP packet with more than 16 chunks that change its association is invalid", HAS_STATE, ON_ANY },
	{ "reverse-path", "what rp_filter discards behind input has begun a connection: what the host sends to a forged source is "
	  "established", HAS_FORGED, ON_RP_FILTER },
	{ "fragments", "a fragmented datagram is judged, logged and counted by its first fragment; later ones follow it, and are dropped "
	  "ahead of it or over it; a wrong length or checksum of the whole is not seen", HAS_WHOLE, ON_ANY },
	{ "later-ports", "later fragments of IPv4 have no ports, flags or types in forward; nf_tables takes their first bytes for them",
	  HAS_PORTS, ON_ANY },
	{ "forward-cut", "a packet that this host itself cuts, to forward it into a smaller MTU, is judged in pieces, as fragments",
	  HAS_FORWARD, ON_ANY },
	{ "no-route", "what has no route, or is for another host where this one does not forward, is judged as input, and may be "
	  "answered or begin a connection", HAS_INPUT | HAS_TRANSIT, ON_ANY },
	{ "chain-order", "base chains of one hook and priority in several tables are taken in the order of the tables, the last one "
	  "first: nf_tables goes by when each was added", HAS_ORDER, ON_ANY },
	{ "many-logs", "of more than 16 rules that log one packet the others are not logged", HAS_LOGS, ON_ANY },
	{ "fragment-length", "the length of a fragmented datagram, also for limits of bytes, is that of its first fragment", HAS_LENGTH,
	  ON_ANY },
	{ "short-headers", "merlon drops what iptables drops for a cut off transport header (multiport, icmp, icmp6, rt); the nft text of "
	  "import has no word for that", HAS_SHORT, ON_ANY },
	{ "log-group", "what a rule logs to a group (log group, NFLOG) goes to merlond's journal: no program that listens to the group, "
	  "such as ulogd, hears of it", HAS_GROUP, ON_ANY },
	{ "reject-daemon", "rejects are answered by merlon-answers, or by merlond without --answers; while it does not run they are "
	  "silent drops", HAS_REJECT, ON_ANY },
	{ "reject-checksum", "before Linux 6.2 a packet with a wrong checksum is answered, too", HAS_REJECT, ON_6_1 },
	{ "output-errno", "a program whose packet is dropped in output gets no EPERM: the packet vanishes", HAS_OUTPUT, ON_ANY },
	{ "output-copies", "what the host sends to all or to a group has come back to its own programs before output judges it: "
	  "input judges that copy", HAS_OUTPUT, ON_ANY },
	{ "stack-checks", "what the kernel discards or rewrites ahead of its hooks (impossible addresses, IP options, wrong lengths) is "
	  "judged, counted, logged and answered as it came", HAS_ANY, ON_ANY },
	{ "parser", "ICMP of one byte, IPv6 with more than eight extension headers, first fragments without the whole transport header "
	  "and frames with several VLAN tags 0 are dropped as malformed, whatever the rules say", HAS_ANY, ON_ANY },
	{ "forward-route", "a packet is routed before forward judges it: the next hop's address may be asked for, a dead one "
	  "reported, and what dies on the way is tracked by nobody", HAS_FORWARD, ON_ANY },
};

static bool is_transport(enum merlon_field field)
{
	return field == MERLON_F_TH0 || field == MERLON_F_TH2 || field == MERLON_F_TCP_FLAGS || field == MERLON_F_ICMP_TYPE ||
	       field == MERLON_F_ICMP_CODE;
}

static unsigned concerns_of_rule(const struct merlon_rule *rule)
{
	unsigned has = merlon_rule_asks_ct(rule) ? HAS_STATE : 0;

	for (size_t i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_MATCH && s->match.header_bytes)
			has |= HAS_SHORT;
		if ((s->kind == MERLON_S_MATCH && s->match.field == MERLON_F_LENGTH) || (s->kind == MERLON_S_LIMIT && s->limit.bytes))
			has |= HAS_LENGTH;
		for (size_t p = 0; s->kind == MERLON_S_LOOKUP && p < s->lookup->n_parts; p++)
			has |= s->lookup->part[p].field == MERLON_F_LENGTH ? HAS_LENGTH :
			       is_transport(s->lookup->part[p].field) ? HAS_PORTS : 0;
		if (s->kind == MERLON_S_LOG)
			has |= s->log->group >= 0 ? HAS_GROUP | HAS_LOGS : HAS_LOGS;
		if (s->kind == MERLON_S_MATCH && is_transport(s->match.field))
			has |= HAS_PORTS;
		if (s->kind == MERLON_S_VERDICT && s->verdict.verdict == MERLON_V_REJECT)
			has |= HAS_REJECT;
	}
	return has;
}

static unsigned concerns_of_base(const struct merlon_ruleset *ruleset, const struct merlon_chain *chain)
{
	bool of_ipv4 = merlon_table_has_family(&ruleset->table[chain->table], MERLON_IPV4);

	switch (chain->hook) {
	case MERLON_OUTPUT:
		return HAS_WHOLE | (merlon_chain_may_deny(chain) ? HAS_OUTPUT : 0);
	case MERLON_FORWARD:
		return merlon_chain_may_deny(chain) ? HAS_FORWARD : 0;
	default:
		return (of_ipv4 ? HAS_WHOLE | HAS_FORGED : 0) | (merlon_chain_may_deny(chain) ? HAS_INPUT : 0);
	}
}

static bool share_families(const struct merlon_table *a, const struct merlon_table *b)
{
	return a->family == b->family || a->family == NFPROTO_INET || b->family == NFPROTO_INET;
}

static bool has_ambiguous_order(const struct merlon_ruleset *ruleset)
{
	for (size_t i = 0; i < ruleset->n_chains; i++) {
		const struct merlon_chain *a = &ruleset->chain[i];

		for (size_t j = 0; a->base && !a->kept && j < i; j++) {
			const struct merlon_chain *b = &ruleset->chain[j];

			if (b->base && !b->kept && a->hook == b->hook && a->priority == b->priority && a->table != b->table &&
			    share_families(&ruleset->table[a->table], &ruleset->table[b->table]))
				return true;
		}
	}
	return false;
}

unsigned merlon_ruleset_concerns(const struct merlon_ruleset *ruleset)
{
	unsigned has = has_ambiguous_order(ruleset) ? HAS_ORDER : 0;
	size_t logs = 0;

	for (size_t c = 0; c < ruleset->n_chains; c++) {
		const struct merlon_chain *chain = &ruleset->chain[c];

		if (chain->kept && chain->n)
			has |= chain->nat ? HAS_NAT : HAS_KEPT;
		if (chain->reached)
			has |= HAS_ANY | (chain->base ? concerns_of_base(ruleset, chain) : 0);
		for (size_t r = 0; r < chain->n && (chain->reached || !chain->kept); r++) {
			unsigned of_rule = concerns_of_rule(&chain->rule[r]);

			has |= of_rule & HAS_STATE && !chain->kept ? HAS_WHOLE : 0;
			has |= chain->reached ? of_rule : 0;
			logs += chain->reached && of_rule & HAS_LOGS;
		}
	}
	if (logs <= MERLON_WALK_LOGS)
		has &= ~HAS_LOGS;
	/* there alone nf_tables sees fragments, where no rule asks for state */
	if (!(has & HAS_FORWARD) || has & HAS_STATE)
		has &= ~HAS_PORTS;
	if (!(has & HAS_STATE))
		has &= ~HAS_FORGED;
	if (has & HAS_FORWARD && has & HAS_STATE)
		has |= HAS_TRANSIT;
	if (!(has & HAS_WHOLE))
		has &= ~HAS_LENGTH;
	return has;
}

bool merlon_ruleset_translates(const struct merlon_ruleset *ruleset)
{
	for (size_t c = 0; c < ruleset->n_chains; c++)
		if (ruleset->chain[c].kept && ruleset->chain[c].n && ruleset->chain[c].nat)
			return true;
	return false;
}

bool merlon_ruleset_filters(const struct merlon_ruleset *ruleset)
{
	for (size_t c = 0; c < ruleset->n_chains; c++)
		if (ruleset->chain[c].base && !ruleset->chain[c].kept)
			return true;
	return false;
}

const struct merlon_unfit merlon_unfit_translates = {
	"the ruleset rewrites addresses (NAT): merlon would judge packets before DNAT and after SNAT, and could pass what nf_tables drops",
	"merlon is not for hosts with NAT yet; --audit judges without dropping",
};
const struct merlon_unfit merlon_unfit_empty = {
	"nothing to enforce: there is no filter chain at input, forward or output",
	"everything would pass; `merlon flush` is the way to that",
};

const struct merlon_unfit *merlon_ruleset_unfit(const struct merlon_ruleset *ruleset)
{
	if (merlon_ruleset_translates(ruleset))
		return &merlon_unfit_translates;
	return merlon_ruleset_filters(ruleset) ? NULL : &merlon_unfit_empty;
}

static unsigned host_has(void)
{
	return ON_ANY | (merlon_kernel_is(6, 2) ? 0 : ON_6_1) |	/* bpf_cast_to_kern_ctx() */
	       (merlon_kernel_tracks("dccp_timeout_open") ? ON_DCCP : 0) | (merlon_kernel_filters_sources() ? ON_RP_FILTER : 0);
}

json_t *merlon_limits(unsigned concerns)
{
	unsigned host = host_has();
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (limits[i].concerns & concerns && limits[i].host & host)
			json_array_append_new(list, json_pack("{s:s, s:s}", "limit", limits[i].name, "text", limits[i].text));
	return list;
}

const char *merlon_limit_text(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (!strcmp(limits[i].name, name))
			return limits[i].text;
	return NULL;
}

void merlon_limits_print(const json_t *list, FILE *out)
{
	const json_t *one;
	size_t i;

	if (json_array_size(list))
		fputs("not yet as nf_tables does it (merlon(8), LIMITS):\n", out);
	json_array_foreach(list, i, one)
		fprintf(out, "  %-16s %s\n", json_string_value(json_object_get(one, "limit")),
			json_string_value(json_object_get(one, "text")));
}
