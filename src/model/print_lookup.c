/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lookups and address types in nft's language. What it has no words for is written so that nft refuses it. */
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/rtnetlink.h>

#include "src/model/print.h"
#include "src/util/cleanup.h"

/* Two parts that nft knows as one: the halves of the sender's Ethernet address. */
static bool is_ether(const struct merlon_lookup *lookup, size_t part)
{
	return part + 1 < lookup->n_parts && lookup->part[part].field == MERLON_F_ETHER_SADDR_HIGH &&
	       lookup->part[part + 1].field == MERLON_F_ETHER_SADDR_LOW;
}

static bool is_interface(enum merlon_field field)
{
	return field == MERLON_F_IIF || field == MERLON_F_OIF;
}

static void print_port(const struct merlon_printing *p, const char *which)
{
	fprintf(p->out, "%s %s", merlon_print_has_ports(p->proto) ? merlon_print_protocol_name(p->proto) : "th", which);
}

static const char *icmp_field(const struct merlon_printing *p, bool code)
{
	if (p->family == MERLON_IPV4 && p->proto == IPPROTO_ICMP)
		return code ? "icmp code" : "icmp type";
	if (p->family == MERLON_IPV6 && p->proto == IPPROTO_ICMPV6)
		return code ? "icmpv6 code" : "icmpv6 type";
	return code ? "@th,8,8" : "@th,0,8";
}

static void print_interface_part(const struct merlon_printing *p, const struct merlon_lookup *lookup, size_t part)
{
	bool by_index = lookup->n && !lookup->element[0].any && lookup->name[lookup->range[part].lo].index;

	fprintf(p->out, "%s%s", lookup->part[part].field == MERLON_F_IIF ? "iif" : "oif", by_index ? "" : "name");
}

static void print_part(const struct merlon_printing *p, const struct merlon_lookup *lookup, size_t part)
{
	bool six = lookup->part[part].family == MERLON_IPV6;
	const char *text = NULL;

	switch (lookup->part[part].field) {
	case MERLON_F_SADDR:
		text = six ? "ip6 saddr" : "ip saddr";
		break;
	case MERLON_F_DADDR:
		text = six ? "ip6 daddr" : "ip daddr";
		break;
	case MERLON_F_TH0:
		print_port(p, "sport");
		return;
	case MERLON_F_TH2:
		print_port(p, "dport");
		return;
	case MERLON_F_L4PROTO:
		text = "meta l4proto";
		break;
	case MERLON_F_IIF:
	case MERLON_F_OIF:
		print_interface_part(p, lookup, part);
		return;
	case MERLON_F_CT_STATE:
		text = "ct state";
		break;
	case MERLON_F_TCP_FLAGS:
		text = "tcp flags";
		break;
	case MERLON_F_ICMP_TYPE:
		text = icmp_field(p, false);
		break;
	case MERLON_F_ICMP_CODE:
		text = icmp_field(p, true);
		break;
	case MERLON_F_LENGTH:
		/* nft 1.0.6 gets its size wrong where it is one of several */
		text = lookup->n_parts == 1 ? "meta length" : NULL;
		break;
	case MERLON_F_TTL:
		text = six ? "ip6 hoplimit" : "ip ttl";
		break;
	case MERLON_F_TOS:
		text = six ? "@nh,4,8" : "@nh,8,8";
		break;
	case MERLON_F_NEXTHDR:
		text = six ? "ip6 nexthdr" : "ip protocol";
		break;
	case MERLON_F_RT_TYPE:
		text = "rt type";
		break;
	case MERLON_F_MARK:
		text = "meta mark";
		break;
	case MERLON_F_PKTTYPE:
		text = "meta pkttype";
		break;
	case MERLON_F_CT_DIRECTION:
		text = "ct direction";
		break;
	case MERLON_F_NFPROTO:
		text = "meta nfproto";
		break;
	case MERLON_F_ETHER_SADDR_HIGH:
		text = is_ether(lookup, part) ? "ether saddr" : NULL;
		break;
	default:
		break;
	}
	fputs(text ? text : "@unknown-field", p->out);
}

static enum merlon_notation notation_of(const struct merlon_printing *p, const struct merlon_part *part)
{
	switch (part->field) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
		return part->family == MERLON_IPV6 ? MERLON_AS_IPV6 : MERLON_AS_IPV4;
	case MERLON_F_L4PROTO:
	case MERLON_F_NEXTHDR:
		return MERLON_AS_PROTOCOL;
	case MERLON_F_CT_STATE:
		return MERLON_AS_CT_STATE;
	case MERLON_F_ICMP_TYPE:
		if (p->family == MERLON_IPV4 && p->proto == IPPROTO_ICMP)
			return MERLON_AS_ICMP_TYPE;
		if (p->family == MERLON_IPV6 && p->proto == IPPROTO_ICMPV6)
			return MERLON_AS_ICMPV6_TYPE;
		return MERLON_AS_NUMBER;
	case MERLON_F_TCP_FLAGS:
	case MERLON_F_TOS:
	case MERLON_F_MARK:
		return MERLON_AS_HEX;
	case MERLON_F_PKTTYPE:
		return MERLON_AS_PACKET_TYPE;
	case MERLON_F_CT_DIRECTION:
		return MERLON_AS_DIRECTION;
	case MERLON_F_NFPROTO:
		return MERLON_AS_FAMILY;
	default:
		return MERLON_AS_NUMBER;
	}
}

static void print_ether(FILE *out, merlon_value high, merlon_value low)
{
	uint64_t address = (uint64_t)high << 16 | (uint64_t)low;

	for (int shift = 40; shift >= 0; shift -= 8)
		fprintf(out, "%02x%s", (unsigned)(address >> shift & 0xff), shift ? ":" : "");
}

static void print_key(const struct merlon_printing *p, const struct merlon_lookup *lookup,
		      const struct merlon_part_range *range)
{
	for (size_t i = 0; i < lookup->n_parts; i++) {
		const struct merlon_part *part = &lookup->part[i];

		fputs(i ? " . " : "", p->out);
		if (is_interface(part->field)) {
			merlon_print_ifname(p->out, &lookup->name[range[i].lo]);
		} else if (is_ether(lookup, i)) {
			print_ether(p->out, range[i].lo, range[i + 1].lo);
			if (range[i].lo != range[i].hi || range[i + 1].lo != range[i + 1].hi) {
				fputc('-', p->out);
				print_ether(p->out, range[i].hi, range[i + 1].hi);
			}
			i++;
		} else {
			merlon_print_interval(p->out, notation_of(p, part),
					      &(struct merlon_interval){ range[i].lo, range[i].hi });
		}
	}
}

static void print_elements(const struct merlon_printing *p, const struct merlon_lookup *lookup)
{
	fputs("{ ", p->out);
	for (size_t i = 0; i < lookup->n; i++) {
		const struct merlon_lookup_element *element = &lookup->element[i];

		fputs(i ? ", " : "", p->out);
		if (element->any)
			fputc('*', p->out);
		else
			print_key(p, lookup, &lookup->range[i * lookup->n_parts]);
		if (!lookup->map)
			continue;
		fputs(" : ", p->out);
		merlon_print_verdict(p, element->verdict, element->target);
	}
	fputs(" }", p->out);
}

void merlon_print_lookup(const struct merlon_printing *p, const struct merlon_lookup *lookup)
{
	for (size_t i = 0; i < lookup->n_parts; i++) {
		fputs(i ? " . " : "", p->out);
		print_part(p, lookup, i);
		i += is_ether(lookup, i);
	}
	fputs(lookup->map ? " vmap " : lookup->negated ? " != " : " ", p->out);
	/* a set of that name is declared, or else nft says so: elements alone would lose their times to live */
	if (lookup->set)
		fprintf(p->out, "@%s", lookup->set);
	else
		print_elements(p, lookup);
}

enum need { NEEDS_NOTHING, NEEDS_FAMILY, NEEDS_PROTO, NEEDS_BOTH };

static enum need need_of(const struct merlon_part *part, int family, int proto)
{
	switch (part->field) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
	case MERLON_F_TTL:
	case MERLON_F_NEXTHDR:
	case MERLON_F_RT_TYPE:
		return family == (int)part->family ? NEEDS_FAMILY : NEEDS_NOTHING;
	case MERLON_F_TH0:
	case MERLON_F_TH2:
		return merlon_print_has_ports(proto) ? NEEDS_PROTO : NEEDS_NOTHING;
	case MERLON_F_TCP_FLAGS:
		return proto == IPPROTO_TCP ? NEEDS_PROTO : NEEDS_NOTHING;
	case MERLON_F_ICMP_TYPE:
	case MERLON_F_ICMP_CODE:
		if ((family == MERLON_IPV4 && proto == IPPROTO_ICMP) || (family == MERLON_IPV6 && proto == IPPROTO_ICMPV6))
			return NEEDS_BOTH;
		return NEEDS_NOTHING;
	default:
		return NEEDS_NOTHING;
	}
}

static bool asks_one_proto(const struct merlon_statement *s)
{
	return s->kind == MERLON_S_MATCH && s->match.field == MERLON_F_L4PROTO && s->match.in.n == 1 &&
	       s->match.in.v[0].lo == s->match.in.v[0].hi && s->match.mask == ~0U;
}

bool merlon_print_lookup_implies(const struct merlon_printing *p, size_t i)
{
	const struct merlon_rule *rule = p->rule;
	bool inet = p->ruleset->table[p->chain->table].family == NFPROTO_INET;
	enum need run[2], needed[2];
	size_t n_run = 0, n_needed = 0, at = i;
	int family = p->family, proto = p->proto;

	for (; at < rule->n && n_run < 2 && rule->statement[at].kind != MERLON_S_LOOKUP; at++) {
		const struct merlon_statement *s = &rule->statement[at];

		if (s->kind != MERLON_S_FAMILY && !asks_one_proto(s))
			return false;
		run[n_run++] = s->kind == MERLON_S_FAMILY ? NEEDS_FAMILY : NEEDS_PROTO;
		if (s->kind == MERLON_S_FAMILY)
			family = s->family;
		else
			proto = (int)s->match.in.v[0].lo;
	}
	if (!n_run || at == rule->n || rule->statement[at].kind != MERLON_S_LOOKUP ||
	    (n_run == 2 && run[0] == run[1]) || (!inet && (run[0] == NEEDS_FAMILY || (n_run == 2 && run[1] == NEEDS_FAMILY))))
		return false;
	for (size_t k = 0; k < rule->statement[at].lookup->n_parts; k++) {
		enum need need = need_of(&rule->statement[at].lookup->part[k], family, proto);

		for (enum need one = NEEDS_FAMILY; one <= NEEDS_PROTO; one++) {
			bool in_run = run[0] == one || (n_run == 2 && run[1] == one);
			bool known = n_needed && (needed[0] == one || n_needed == 2);

			if (need & one && in_run && !known)
				needed[n_needed++] = one;
		}
	}
	return n_needed == n_run && needed[0] == run[0] && (n_run == 1 || needed[1] == run[1]);
}

void merlon_print_addrtype(const struct merlon_printing *p, const struct merlon_statement *s)
{
	static const char *const name[] = {
		[RTN_UNSPEC] = "unspec", [RTN_UNICAST] = "unicast", [RTN_LOCAL] = "local", [RTN_BROADCAST] = "broadcast",
		[RTN_ANYCAST] = "anycast", [RTN_MULTICAST] = "multicast", [RTN_BLACKHOLE] = "blackhole",
		[RTN_UNREACHABLE] = "unreachable", [RTN_PROHIBIT] = "prohibit",
	};
	uint32_t all = (1U << ARRAY_SIZE(name)) - 1, types = s->addrtype.types & all;
	bool negated = s->addrtype.negated || !types;
	const char *comma = "";

	if (negated)
		types = ~types & all;
	fprintf(p->out, "fib %s type %s", s->addrtype.field == MERLON_F_SADDR ? "saddr" : "daddr", negated ? "!= " : "");
	fputs(types & (types - 1) ? "{ " : "", p->out);
	for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
		if (types >> i & 1) {
			fprintf(p->out, "%s%s", comma, name[i]);
			comma = ", ";
		}
	}
	fputs(types & (types - 1) ? " }" : "", p->out);
}
