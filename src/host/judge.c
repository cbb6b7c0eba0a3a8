/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rules that run beside merlon mean for it. */
#include <linux/netfilter.h>
#include <string.h>

#include "src/host/chains.h"
#include "src/util/cleanup.h"

#define AUDIT "; --audit judges without dropping"

/*
 * `asks`: it only concerns a policy that asks for this, and the severity follows; 0: any policy. No severity given: REFUSE.
 * `does`: any of these; 0: as the entry's place says.
 */
struct meaning {
	struct merlon_finding finding;
	unsigned asks;
	uint32_t does;
	bool of_host;		/* not of the policy's own kept chains */
	bool behind_input;	/* only of chains that are reached from there */
};
static const struct meaning meaning[] = {
	[MERLON_DOES_NAT] = { {
		.what = "nat", .rule = "kept chains",
		.why = "addresses are translated (NAT): merlon would judge packets before DNAT and after SNAT, and could pass what "
		       "nf_tables stops",
		.cure = "remove the NAT rules, or keep this host on nf_tables" AUDIT } },
	[MERLON_DOES_TPROXY] = { {
		.what = "tproxy", .rule = "input by exclusion",
		.why = "packets for foreign addresses are given to local sockets: merlon would take them for forwarded",
		.cure = "remove the tproxy rules, or keep this host on nf_tables" AUDIT } },
	[MERLON_DOES_REWRITE] = { {
		.what = "rewrite", .rule = "kept chains",
		.why = "addresses or ports are rewritten: merlon would judge packets as they came in and as they leave",
		.cure = "remove these rules, or keep this host on nf_tables" AUDIT } },
	[MERLON_DOES_FLOWTABLE] = { {
		.what = "flowtable", .rule = "egress after routing",
		.why = "flows that a flowtable has taken over leave without a route of their own, and are not judged",
		.cure = "remove the rules with `flow add`" AUDIT } },
	[MERLON_DOES_RECEIVE] = { {
		.what = "receive", .rule = "one judgement per packet",
		.why = "packets for another host are taken in after TC ingress let them by as not ours",
		.cure = "remove the rules that set pkttype or broute" AUDIT } },
	[MERLON_DOES_MARK] = { {
		.what = "marks", .rule = "kept chains",
		.why = "marks are set that a rule of merlon would see too late or not at all, where the policy matches on marks",
		.cure = "match on what the mark stands for" AUDIT }, MERLON_ASKS_MARK },
	[MERLON_DOES_UNTRACK] = { {
		.what = "notrack", .rule = "kept chains",
		.why = "connections are exempt from tracking: `untracked` in nf_tables, but tracked by merlon, where the policy asks "
		       "for ct state",
		.cure = "remove the notrack rules" AUDIT }, MERLON_ASKS_STATE },
	[MERLON_DOES_ZONE] = { {
		.what = "zones", .rule = "kept chains",
		.why = "conntrack zones keep equal connections apart, merlon takes them for one, where the policy asks for ct state",
		.cure = "remove the rules that set a zone" AUDIT }, MERLON_ASKS_STATE },
	[MERLON_DOES_TIMEOUT] = { {
		.what = "timeouts", .rule = "kept chains",
		.why = "some connections have timeouts of their own, after which merlon may still know them, where the policy asks "
		       "for ct state",
		.cure = "set net.netfilter.nf_conntrack_*_timeout instead, which merlon takes over" AUDIT }, MERLON_ASKS_STATE },
	[MERLON_DOES_HELPER] = { {
		.what = "helpers", .rule = "kept chains",
		.why = "what a conntrack helper expects is `related` in nf_tables, but new to merlon, which may stop it",
		.cure = "accept these connections by their ports", .severity = MERLON_HOST_WARN } },
	[MERLON_DOES_ALTER] = { {
		.what = "alter", .rule = "kept chains",
		.why = "TTL, TOS or other headers are changed that merlon sees as they came in, where the policy matches on them",
		.cure = "match on what the change stands for" AUDIT }, MERLON_ASKS_HEADER },
	[MERLON_DOES_QUEUE] = { {
		.what = "queue", .rule = "kept chains",
		.why = "a program decides on packets, and may change them, behind or in front of merlon",
		.severity = MERLON_HOST_WARN } },
	[MERLON_DOES_COPY] = { {
		.what = "copies", .rule = "one judgement per packet",
		.why = "packets are sent on or copied by a rule: neither nf_tables nor merlon judges where they go",
		.severity = MERLON_HOST_NOTE } },
	[MERLON_DOES_UNKNOWN] = { {
		.what = "unknown-target", .rule = "kept chains",
		.why = "merlon does not know what this target of x_tables does to packets",
		.cure = "if it changes addresses, marks or tracking, keep this host on nf_tables", .severity = MERLON_HOST_WARN } },
	[MERLON_DOES_STOP] = { {
		.what = "begun", .rule = "kept chains",
		.why = "what is dropped behind merlon's input has begun a connection for merlon: what this host sends to its source is "
		       "established, ICMP errors about that are related",
		.cure = "let rules in the policy's input chains drop this, too, and remove these" AUDIT }, MERLON_ASKS_BEGINNING,
		.behind_input = true },
	[MERLON_DOES_STOP_STRAY] = { {
		.what = "filters",
		.why = "these rules filter beside merlon: a packet passes if both let it",
		.cure = "remove them when merlon's policy has replaced them (merlon import --live takes them over)",
		.severity = MERLON_HOST_NOTE }, .does = MERLON_STOPS, .of_host = true },
};

/* What bridges and ARP do to frames is done before TC sees the packet, or after. */
static uint32_t concerning(const struct merlon_host_chain *chain)
{
	const uint32_t bridged = 1U << MERLON_DOES_RECEIVE | 1U << MERLON_DOES_UNTRACK | 1U << MERLON_DOES_ZONE |
				 1U << MERLON_DOES_QUEUE | 1U << MERLON_DOES_UNKNOWN;

	if (!chain->reached || chain->family == NFPROTO_ARP)
		return 0;
	return chain->family == NFPROTO_BRIDGE ? chain->does & bridged : chain->does;
}

static const struct merlon_manager *manager_of(const struct merlon_chains *chains, const struct merlon_host_chain *chain)
{
	const struct merlon_manager *manager = merlon_manager_by_chain(chain->table, chain->name);
	size_t i;

	/* A base chain's name tells nothing, but the chains beside it do. */
	for (i = 0; i < chains->n && !manager; i++)
		if (chains->chain[i].family == chain->family && !strcmp(chains->chain[i].table, chain->table))
			manager = merlon_manager_by_chain(chain->table, chains->chain[i].name);
	return manager;
}

static const char *family_name(uint8_t family)
{
	switch (family) {
	case NFPROTO_INET: return "inet ";
	case NFPROTO_IPV4: return "ip ";
	case NFPROTO_IPV6: return "ip6 ";
	case NFPROTO_BRIDGE: return "bridge ";
	case NFPROTO_NETDEV: return "netdev ";
	case NFPROTO_ARP: return "arp ";
	default: return "";
	}
}

static bool is_meant(const struct meaning *m, uint32_t does, const struct merlon_host_chain *chain)
{
	return concerning(chain) & does && !(m->of_host && chain->own) && !(m->behind_input && !chain->behind_input);
}

/* How many chains are meant; *ret_first is the first of them. */
static unsigned count(const struct merlon_chains *chains, const struct meaning *m, uint32_t does,
		      const struct merlon_host_chain **ret_first)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < chains->n; i++)
		if (is_meant(m, does, &chains->chain[i]) && !n++)
			*ret_first = &chains->chain[i];
	return n;
}

/* What is known of the first rule that does it: by its handle or number. "policy drop" where no rule does. */
static void name_rule(const struct merlon_host_chain *chain, uint32_t does, struct merlon_finding *finding, char ret[32])
{
	unsigned long long rule = chain->first[__builtin_ctz(chain->does & does)];
	bool handle = !strcmp(chain->from, "nf_tables");

	if (chain->own && rule) {
		finding->place = chain->own->rule[rule - 1].place;
		handle = chain->own->rule[rule - 1].handle;
		rule = handle ? chain->own->rule[rule - 1].handle : rule;
	}
	if (rule)
		snprintf(ret, 32, "%s %llu", handle ? "handle" : "rule", rule);
	else
		strcpy(ret, "policy drop");
}

static int judge_one(struct merlon_host_view *view, const struct merlon_chains *chains, const struct meaning *m)
{
	uint32_t does = m->does ? m->does : 1U << (m - meaning);
	struct merlon_finding finding = m->finding;
	const struct merlon_host_chain *first = NULL;
	const struct merlon_manager *manager;
	unsigned n = count(chains, m, does, &first);
	char others[32] = "", rule[32];
	bool family;

	/* that somebody filters beside a policy which does not mind is said by another entry */
	if (!n || (m->behind_input && !(view->options->policy && view->asks & (m->asks | MERLON_ASKS_STATE))))
		return 0;
	manager = manager_of(chains, first);
	if (m->asks)
		finding.severity = merlon_host_concern(view, m->asks);
	/* where only input asks for the state, ICMP errors may pass about connections that nf_conntrack does not know */
	if (m->behind_input && finding.severity == MERLON_HOST_NOTE)
		finding.severity = MERLON_HOST_WARN;
	if (m == &meaning[MERLON_DOES_NAT] && manager && manager->nat_cure)
		finding.cure = manager->nat_cure;
	if (n > 1)
		snprintf(others, sizeof(others), ", and %u more chain%s", n - 1, n > 2 ? "s" : "");
	name_rule(first, does, &finding, rule);
	family = first->own || !strcmp(first->from, "nf_tables");
	return merlon_finding_add(view, &finding, "%s%stable %s%s, chain %s, %s%s%s%s%s", first->from, first->own ? "" : ": ",
				  family ? family_name(first->family) : "", first->table, first->name, rule, others,
				  manager ? " (" : "", manager ? manager->name : "", manager ? ")" : "");
}

static int judge_managers(struct merlon_host_view *view, const struct merlon_chains *chains)
{
	struct merlon_finding finding = {
		.what = "service",
		.why = "it loads and changes rules of the host's netfilter, not of merlon's policy",
		.severity = MERLON_HOST_WARN,
	};
	const struct merlon_manager *seen[8];
	size_t i, j, n = 0;
	int r = 0;

	for (i = 0; i < chains->n && r == 0 && n < ARRAY_SIZE(seen); i++) {
		const struct merlon_host_chain *chain = &chains->chain[i];
		const struct merlon_manager *manager = merlon_manager_by_chain(chain->table, chain->name);

		for (j = 0; j < n && seen[j] != manager; j++)
			;
		if (!manager || j < n || chain->own)
			continue;
		seen[n++] = manager;
		finding.cure = manager->beside_cure ? manager->beside_cure :
			       "stop it when merlon's policy has replaced its rules, or check this host again when they change";
		r = merlon_finding_add(view, &finding, "%s: chain %s of %s table %s", manager->name, chain->name, chain->from,
				       chain->table);
	}
	return r;
}

int merlon_chains_judge(struct merlon_host_view *view, const struct merlon_chains *chains)
{
	size_t i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(meaning) && r == 0; i++)
		r = judge_one(view, chains, &meaning[i]);
	return r == 0 ? judge_managers(view, chains) : r;
}
