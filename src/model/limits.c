/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/limits.h"

#include <string.h>

#include "src/util/cleanup.h"
#include "src/util/kernel.h"

/* What a ruleset has that makes a limit its concern. */
enum {
	HAS_STATE = 1,		/* asks for ct state or direction */
	HAS_REJECT = 2,
	HAS_OUTPUT = 4,
	HAS_FORWARD = 8,
	HAS_ANY = 16,
	HAS_NAT = 32,
	HAS_KEPT = 64,		/* rules in chains that are left to netfilter */
	HAS_SHORT = 128,	/* matches of x_tables that drop */
	ON_6_1 = 256,		/* with the others: only where the kernel does not tell who vouches for a checksum */
	HAS_GROUP = 512,	/* logs for programs that listen to a group: ulogd */
	HAS_LENGTH = 1024,	/* asks for a packet's length, or limits bytes */
};

static const struct {
	const char *name, *text;
	unsigned concerns;	/* any of these */
} limits[] = {
	{ "nat", "packets are judged before DNAT and after SNAT, unlike in nf_tables: apply refuses a ruleset with NAT", HAS_NAT },
	{ "kept-chains", "rules left to netfilter are not seen: what they mark, untrack or change is judged as it came in", HAS_KEPT },
	{ "l4-checksum", "checksums of TCP, UDP, ICMP and SCTP are not verified before Linux 6.2 (as with nf_conntrack_checksum=0)",
	  HAS_STATE | ON_6_1 },
	{ "dccp", "DCCP is tracked by addresses and ports alone, without the states that nf_conntrack of older kernels has for it", HAS_STATE },
	{ "sctp-chunks", "an SCTP packet with more than 16 chunks that change its association is invalid", HAS_STATE },
	{ "reverse-path", "a packet that rp_filter discards behind input has begun a connection for merlon, and none for nf_conntrack: what "
	  "the host itself sends to that forged source is established", HAS_STATE },
	{ "fragments", "fragments are not reassembled, also those of what the host itself sends: each is judged, counted and logged alone, "
	  "with its own length; later ones follow the first, and are dropped if they overlap it; before it they are dropped where "
	  "a rule asks for ct state; that the whole has a wrong length or checksum is not seen", HAS_ANY },
	{ "fragment-length", "nf_tables sees a fragmented datagram as one packet, merlon as one of each fragment: a length above the MTU "
	  "never matches, a smaller one may match a fragment, and limits and counters of bytes count the headers of each",
	  HAS_LENGTH },
	{ "short-headers", "iptables drops a packet whose transport header is cut off where multiport, icmp, icmp6 or rt look for it, and "
	  "so does merlon; the nft text that import writes has no word for that: there it goes on to the next rule", HAS_SHORT },
	{ "log-group", "what a rule logs to an nfnetlink_log group (log group, NFLOG) goes to merlond's journal as every log does: no program "
	  "that listens to the group, such as ulogd, hears of it", HAS_GROUP },
	{ "reject-daemon", "rejects are answered by merlond; while it does not run they are silent drops", HAS_REJECT },
	{ "reject-checksum", "before Linux 6.2 a packet with a wrong checksum is answered, too", HAS_REJECT | ON_6_1 },
	{ "output-errno", "a program whose packet is dropped in output gets no EPERM: the packet vanishes", HAS_OUTPUT },
	{ "output-copies", "what the host sends to all or to a group has come back to its own programs before output judges it: "
	  "input judges that copy", HAS_OUTPUT },
	{ "stack-checks", "what the kernel discards or rewrites ahead of its hooks (impossible addresses, IP options, wrong lengths) is "
	  "judged, counted, logged and answered as it came", HAS_ANY },
	{ "parser", "ICMP of one byte and IPv6 with more than eight extension headers are dropped as malformed, whatever the rules say",
	  HAS_ANY },
	{ "forward-route", "a packet is routed before forward judges it: the next hop's address may be asked for, a dead one "
	  "reported", HAS_FORWARD },
};

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
			has |= s->lookup->part[p].field == MERLON_F_LENGTH ? HAS_LENGTH : 0;
		if (s->kind == MERLON_S_LOG && s->log.group >= 0)
			has |= HAS_GROUP;
		if (s->kind == MERLON_S_VERDICT && s->verdict.verdict == MERLON_V_REJECT)
			has |= HAS_REJECT;
	}
	return has;
}

static unsigned concerns(const struct merlon_ruleset *ruleset)
{
	unsigned has = 0;

	for (size_t c = 0; c < ruleset->n_chains; c++) {
		const struct merlon_chain *chain = &ruleset->chain[c];

		if (chain->kept && chain->n)
			has |= chain->nat ? HAS_NAT : HAS_KEPT;
		if (!chain->reached)
			continue;
		has |= HAS_ANY;
		if (chain->base && chain->hook == MERLON_OUTPUT)
			has |= HAS_OUTPUT;
		if (chain->base && chain->hook == MERLON_FORWARD)
			has |= HAS_FORWARD;
		for (size_t r = 0; r < chain->n; r++)
			has |= concerns_of_rule(&chain->rule[r]);
	}
	return has;
}

bool merlon_ruleset_translates(const struct merlon_ruleset *ruleset)
{
	return concerns(ruleset) & HAS_NAT;
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

json_t *merlon_limits(const struct merlon_ruleset *ruleset)
{
	unsigned has = concerns(ruleset);
	bool tells = merlon_kernel_is(6, 2);	/* bpf_cast_to_kern_ctx() */
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (limits[i].concerns & has && !(limits[i].concerns & ON_6_1 && tells))
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
		fputs("not yet as nf_tables does it:\n", out);
	json_array_foreach(list, i, one)
		fprintf(out, "  %-16s %s\n", json_string_value(json_object_get(one, "limit")),
			json_string_value(json_object_get(one, "text")));
}
