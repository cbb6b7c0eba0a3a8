/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "src/model/print.h"
#include "src/util/cleanup.h"

static void print_address(FILE *out, enum merlon_notation notation, merlon_value v)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t bytes[16];
	unsigned i, n = notation == MERLON_AS_IPV4 ? 4 : 16;

	for (i = 0; i < n; i++)
		bytes[i] = (uint8_t)(v >> (n - 1 - i) * 8);
	fputs(inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)), out);
}

const char *merlon_print_protocol_name(merlon_value v)
{
	switch ((int)v) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "ipv6-icmp";
	case IPPROTO_SCTP:
		return "sctp";
	case IPPROTO_DCCP:
		return "dccp";
	case IPPROTO_UDPLITE:
		return "udplite";
	default:
		return NULL;
	}
}

/* As `nft describe icmp type` and `nft describe icmpv6 type` list them. */
static const char *icmp_type_name(merlon_value v)
{
	static const char *const name[] = {
		[0] = "echo-reply", [3] = "destination-unreachable", [4] = "source-quench", [5] = "redirect",
		[8] = "echo-request", [9] = "router-advertisement", [10] = "router-solicitation", [11] = "time-exceeded",
		[12] = "parameter-problem", [13] = "timestamp-request", [14] = "timestamp-reply", [15] = "info-request",
		[16] = "info-reply", [17] = "address-mask-request", [18] = "address-mask-reply",
	};

	return v < ARRAY_SIZE(name) ? name[v] : NULL;
}

static const char *icmpv6_type_name(merlon_value v)
{
	static const char *const error[] = {
		[1] = "destination-unreachable", [2] = "packet-too-big", [3] = "time-exceeded", [4] = "parameter-problem",
	};
	static const char *const query[] = {
		"echo-request", "echo-reply", "mld-listener-query", "mld-listener-report", "mld-listener-done",
		"nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-redirect",
		"router-renumbering",
	};

	if (v < ARRAY_SIZE(error))
		return error[v];
	return v >= 128 && v < 128 + ARRAY_SIZE(query) ? query[v - 128] : NULL;
}

static void print_tcp_flags(FILE *out, unsigned flags)
{
	static const char *const name[] = { "fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr" };
	const char *bar = "";

	for (unsigned i = 0; i < ARRAY_SIZE(name); i++)
		if (flags >> i & 1) {
			fprintf(out, "%s%s", bar, name[i]);
			bar = "|";
		}
	if (!*bar)
		fputs("0x0", out);
}

static const char *const ct_state_name[MERLON_CT_STATES] = {
	[MERLON_CT_INVALID] = "invalid", [MERLON_CT_ESTABLISHED] = "established", [MERLON_CT_RELATED] = "related",
	[MERLON_CT_NEW] = "new", [MERLON_CT_UNTRACKED] = "untracked",
};

static const char *name_of(enum merlon_notation notation, merlon_value v)
{
	static const char *const type[] = { "host", "broadcast", "multicast", "other" };	/* linux/if_packet.h */
	static const char *const direction[] = { "original", "reply" };
	static const char *const family[] = { "ipv4", "ipv6" };

	if (notation == MERLON_AS_PROTOCOL)
		return merlon_print_protocol_name(v);
	if (notation == MERLON_AS_ICMP_TYPE)
		return icmp_type_name(v);
	if (notation == MERLON_AS_ICMPV6_TYPE)
		return icmpv6_type_name(v);
	if (notation == MERLON_AS_PACKET_TYPE && v < ARRAY_SIZE(type))
		return type[v];
	if (notation == MERLON_AS_FAMILY && v < ARRAY_SIZE(family))
		return family[v];
	if (notation == MERLON_AS_CT_STATE && v < MERLON_CT_STATES)
		return ct_state_name[v];
	return notation == MERLON_AS_DIRECTION && v < ARRAY_SIZE(direction) ? direction[v] : NULL;
}

static void print_value(FILE *out, enum merlon_notation notation, merlon_value v)
{
	switch (notation) {
	case MERLON_AS_IPV4:
	case MERLON_AS_IPV6:
		print_address(out, notation, v);
		break;
	case MERLON_AS_HEX:
		fprintf(out, "0x%llx", (unsigned long long)v);
		break;
	case MERLON_AS_TCP_FLAGS:
		print_tcp_flags(out, v);
		break;
	case MERLON_AS_PROTOCOL:
	case MERLON_AS_PACKET_TYPE:
	case MERLON_AS_ICMP_TYPE:
	case MERLON_AS_ICMPV6_TYPE:
	case MERLON_AS_DIRECTION:
	case MERLON_AS_FAMILY:
	case MERLON_AS_CT_STATE:
	case MERLON_AS_NUMBER:
		if (name_of(notation, v))
			fputs(name_of(notation, v), out);
		else
			fprintf(out, "%llu", (unsigned long long)v);
		break;
	}
}

/* The length of the prefix that an interval is, or -1. */
static int prefix_length(const struct merlon_interval *i, unsigned bits)
{
	merlon_value host = i->lo ^ i->hi;
	int length = (int)bits;

	if (host & (host + 1) || i->lo & host)
		return -1;
	for (; host; host >>= 1)
		length--;
	return length;
}

void merlon_print_interval(FILE *out, enum merlon_notation notation, const struct merlon_interval *interval)
{
	int length = -1;

	/* names make no ranges: nft reads the dash as a part of them */
	if (interval->lo != interval->hi &&
	    (notation == MERLON_AS_ICMP_TYPE || notation == MERLON_AS_ICMPV6_TYPE || notation == MERLON_AS_PROTOCOL ||
	     notation == MERLON_AS_PACKET_TYPE))
		notation = MERLON_AS_NUMBER;
	print_value(out, notation, interval->lo);
	if (interval->lo == interval->hi)
		return;
	if (notation == MERLON_AS_IPV4 || notation == MERLON_AS_IPV6)
		length = prefix_length(interval, notation == MERLON_AS_IPV4 ? 32 : 128);
	if (length >= 0) {
		fprintf(out, "/%d", length);
	} else {
		fputc('-', out);
		print_value(out, notation, interval->hi);
	}
}

void merlon_print_intervals(FILE *out, enum merlon_notation notation, const struct merlon_intervals *in)
{
	size_t i;

	if (in->n == 1) {
		merlon_print_interval(out, notation, &in->v[0]);
		return;
	}
	fputs("{ ", out);
	for (i = 0; i < in->n; i++) {
		fputs(i ? ", " : "", out);
		merlon_print_interval(out, notation, &in->v[i]);
	}
	fputs(" }", out);
}

void merlon_print_string(FILE *out, const char *text, size_t max)
{
	size_t i;

	fputc('"', out);
	for (i = 0; text[i] && i < max; i++)
		fputc(text[i] == '"' ? '\'' : text[i] == '\n' ? ' ' : text[i], out);
	fputc('"', out);
}

void merlon_print_ifname(FILE *out, const struct merlon_ifname *name)
{
	size_t n = strlen(name->name);
	bool star = n && name->name[n - 1] == '*' && !name->prefix;

	/* an index that belongs to no interface now */
	if (name->index && strspn(name->name, "0123456789") == n)
		fprintf(out, "%u", name->index);
	else
		fprintf(out, "\"%.*s%s%s\"", (int)(n - star), name->name, star ? "\\*" : "", name->prefix ? "*" : "");
}

bool merlon_print_has_set(const struct merlon_printing *p, const char *name)
{
	size_t i;

	for (i = 0; name && i < p->ruleset->n_sets; i++)
		if (p->ruleset->set[i].table == p->chain->table && p->ruleset->set[i].declaration &&
		    strcmp(p->ruleset->set[i].name, name) == 0)
			return true;
	return false;
}

bool merlon_print_has_ports(int proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == IPPROTO_DCCP ||
	       proto == IPPROTO_UDPLITE;
}

static bool is_icmp(const struct merlon_printing *p)
{
	return (p->family == MERLON_IPV4 && p->proto == IPPROTO_ICMP) ||
	       (p->family == MERLON_IPV6 && p->proto == IPPROTO_ICMPV6);
}

/* Whether a match on the traffic class can be written as one on its upper six bits. */
static bool is_dscp(const struct merlon_statement *s)
{
	size_t i;

	if (s->match.field != MERLON_F_TOS || s->match.mask != 0xfc)
		return false;
	for (i = 0; i < s->match.in.n && !s->match.negated; i++)
		if (s->match.in.v[i].lo != s->match.in.v[i].hi || s->match.in.v[i].lo & 3)
			return false;
	return true;
}

bool merlon_print_implies_family(const struct merlon_printing *p, const struct merlon_statement *match,
				 enum merlon_family family, int proto)
{
	(void)p;
	if (match->kind != MERLON_S_MATCH)
		return false;
	switch (match->match.field) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
	case MERLON_F_TTL:
		return match->match.family == family;
	case MERLON_F_NEXTHDR:
	case MERLON_F_RT_TYPE:
		return family == MERLON_IPV6;
	case MERLON_F_TOS:
		return match->match.family == family && is_dscp(match);
	case MERLON_F_ICMP_TYPE:
	case MERLON_F_ICMP_CODE:
		return proto == (family == MERLON_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	default:
		return false;
	}
}

bool merlon_print_implies_proto(const struct merlon_printing *p, const struct merlon_statement *match, int proto)
{
	if (match->kind != MERLON_S_MATCH)
		return false;
	switch (match->match.field) {
	case MERLON_F_TH0:
	case MERLON_F_TH2:
		return merlon_print_has_ports(proto);
	case MERLON_F_TCP_FLAGS:
		return proto == IPPROTO_TCP;
	case MERLON_F_ICMP_TYPE:
	case MERLON_F_ICMP_CODE:
		return (p->family == MERLON_IPV4 && proto == IPPROTO_ICMP) ||
		       (p->family == MERLON_IPV6 && proto == IPPROTO_ICMPV6);
	default:
		return false;
	}
}

struct look {
	const char *name;	/* as nft writes it, NULL: not as a name */
	enum merlon_notation notation;
	bool bitmask;		/* nft takes a bare value as a test of bits: say == */
};

static const char *port_name(const struct merlon_printing *p, char *buffer, size_t size, const char *which)
{
	snprintf(buffer, size, "%s %s", merlon_print_has_ports(p->proto) ? merlon_print_protocol_name(p->proto) : "th", which);
	return buffer;
}

static struct look look_of(const struct merlon_printing *p, const struct merlon_statement *s, char *buffer, size_t size)
{
	bool six = s->match.family == MERLON_IPV6;

	switch (s->match.field) {
	case MERLON_F_SADDR:
		return (struct look){ six ? "ip6 saddr" : "ip saddr", six ? MERLON_AS_IPV6 : MERLON_AS_IPV4, false };
	case MERLON_F_DADDR:
		return (struct look){ six ? "ip6 daddr" : "ip daddr", six ? MERLON_AS_IPV6 : MERLON_AS_IPV4, false };
	case MERLON_F_TH0:
		if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)
			return (struct look){ "@th,0,16", MERLON_AS_HEX, false };
		return (struct look){ port_name(p, buffer, size, "sport"), MERLON_AS_NUMBER, false };
	case MERLON_F_TH2:
		return (struct look){ port_name(p, buffer, size, "dport"), MERLON_AS_NUMBER, false };
	case MERLON_F_L4PROTO:
		return (struct look){ "meta l4proto", MERLON_AS_PROTOCOL, false };
	case MERLON_F_TCP_FLAGS:
		return (struct look){ "tcp flags", MERLON_AS_TCP_FLAGS, true };
	case MERLON_F_ICMP_TYPE:
		if (!is_icmp(p))
			return (struct look){ "@th,0,8", MERLON_AS_NUMBER, false };
		return p->proto == IPPROTO_ICMP ? (struct look){ "icmp type", MERLON_AS_ICMP_TYPE, false } :
						  (struct look){ "icmpv6 type", MERLON_AS_ICMPV6_TYPE, false };
	case MERLON_F_ICMP_CODE:
		return (struct look){ !is_icmp(p) ? "@th,8,8" : p->proto == IPPROTO_ICMP ? "icmp code" : "icmpv6 code",
				      MERLON_AS_NUMBER, false };
	case MERLON_F_LENGTH:
		return (struct look){ "meta length", MERLON_AS_NUMBER, false };
	case MERLON_F_TTL:
		return (struct look){ six ? "ip6 hoplimit" : "ip ttl", MERLON_AS_NUMBER, false };
	case MERLON_F_TOS:
		if (is_dscp(s))
			return (struct look){ six ? "ip6 dscp" : "ip dscp", MERLON_AS_HEX, false };
		/* nft 1.0.6 shifts the byte that lies across two when it masks it, and mistakes the order of the two */
		if (six && s->match.mask != ~0U)
			return (struct look){ "@nh,0,16", MERLON_AS_HEX, false };
		return (struct look){ six ? "@nh,4,8" : "@nh,8,8", MERLON_AS_HEX, false };
	case MERLON_F_NEXTHDR:
		return (struct look){ "ip6 nexthdr", MERLON_AS_PROTOCOL, false };
	case MERLON_F_RT_TYPE:
		return (struct look){ "rt type", MERLON_AS_NUMBER, false };
	case MERLON_F_MARK:
		return (struct look){ "meta mark", MERLON_AS_HEX, false };
	case MERLON_F_PKTTYPE:
		return (struct look){ "meta pkttype", MERLON_AS_PACKET_TYPE, false };
	case MERLON_F_CT_DIRECTION:
		return (struct look){ "ct direction", MERLON_AS_DIRECTION, false };
	default:
		return (struct look){ NULL, MERLON_AS_NUMBER, false };
	}
}

static void print_ct_state(FILE *out, const struct merlon_intervals *in)
{
	const char *comma = "";
	unsigned i;

	fputs("ct state ", out);
	for (i = 0; i < MERLON_CT_STATES; i++)
		if (merlon_intervals_contain(in, i)) {
			fprintf(out, "%s%s", comma, ct_state_name[i]);
			comma = ",";
		}
	/* a bit that no packet has */
	if (!*comma)
		fputs("0x80", out);
}

/* Single values: where nft does not take ranges. */
static int singles(const struct merlon_intervals *in, unsigned shift, struct merlon_intervals *ret)
{
	size_t i;
	merlon_value v;

	*ret = (struct merlon_intervals){ 0 };
	for (i = 0; i < in->n; i++)
		for (v = in->v[i].lo; v <= in->v[i].hi && v <= 0xff; v++)
			if (merlon_intervals_add(ret, v >> shift, v >> shift) < 0)
				return -1;
	return 0;
}

static bool is_one_negated(const struct merlon_statement *s)
{
	/* one value is left out: two intervals, or one that ends beside the least or greatest */
	merlon_value max = merlon_value_max(merlon_field_bits(s->match.field, s->match.family)), left = max + 1;

	if (s->kind != MERLON_S_MATCH || !s->match.negated || s->match.mask != ~0U || s->match.set)
		return false;
	for (size_t i = 0; i < s->match.in.n; i++)
		left -= s->match.in.v[i].hi - s->match.in.v[i].lo + 1;
	return left == 1;
}

/*
 * nft joins `!=` on neighbouring fields into one comparison of both, which means "not both" (1.0.6, by trial). It
 * leaves ranges alone.
 */
static bool would_be_joined(const struct merlon_printing *p, const struct merlon_statement *s)
{
	static const enum merlon_field pair[][2] = {
		{ MERLON_F_TH0, MERLON_F_TH2 }, { MERLON_F_ICMP_TYPE, MERLON_F_ICMP_CODE }, { MERLON_F_NEXTHDR, MERLON_F_TTL },
	};
	size_t i, j;

	for (i = 0; is_one_negated(s) && i < p->rule->n; i++)
		for (j = 0; j < ARRAY_SIZE(pair); j++) {
			const struct merlon_statement *other = &p->rule->statement[i];

			if (other->kind == MERLON_S_MATCH && is_one_negated(other) &&
			    ((s->match.field == pair[j][0] && other->match.field == pair[j][1]) ||
			     (s->match.field == pair[j][1] && other->match.field == pair[j][0])))
				return true;
		}
	return false;
}

static void print_in(struct merlon_printing *p, const struct merlon_statement *s, const struct look *look,
		     struct merlon_intervals *in, bool negated)
{
	bool masked = s->match.mask != ~0U && !is_dscp(s);
	bool narrow = s->match.field == MERLON_F_TCP_FLAGS || s->match.field == MERLON_F_TOS ||
		      s->match.field == MERLON_F_PKTTYPE || s->match.field == MERLON_F_CT_DIRECTION;
	unsigned up = masked && s->match.field == MERLON_F_TOS && s->match.family == MERLON_IPV6 ? 4 : 0;
	struct merlon_intervals one_by_one = { 0 };
	size_t i;

	if (masked && s->match.field == MERLON_F_TCP_FLAGS) {
		fputs(" & (", p->out);
		print_tcp_flags(p->out, s->match.mask);
		fputc(')', p->out);
	} else if (masked) {
		fprintf(p->out, " & 0x%x", s->match.mask << up);
	}
	if (negated)
		fputs(" != ", p->out);
	else
		fputs(masked || look->bitmask ? " == " : " ", p->out);
	if (negated && in->n == 1 && would_be_joined(p, s)) {
		fprintf(p->out, "%u-%u", (unsigned)in->v[0].lo, (unsigned)in->v[0].hi);
	} else if (!narrow || singles(in, is_dscp(s) ? 2 : 0, &one_by_one) < 0) {
		merlon_print_intervals(p->out, look->notation, in);
	} else if (one_by_one.n == 256 && !up) {
		fputs("0x0-0xff", p->out);
	} else {
		for (i = 0; i < one_by_one.n; i++) {
			one_by_one.v[i].lo <<= up;
			one_by_one.v[i].hi <<= up;
		}
		merlon_print_intervals(p->out, look->notation, &one_by_one);
	}
	merlon_intervals_clear(&one_by_one);
}

/* One rule cannot say "or", but a set of pairs can; pairs that overlap are not taken by nft. */
static void print_either(struct merlon_printing *p, const struct merlon_intervals *in)
{
	struct merlon_intervals out = { 0 };
	char source[32], destination[32];
	const char *comma = "";

	if (merlon_intervals_copy(in, &out) < 0 || merlon_intervals_complement(&out, 0xffff) < 0)
		return;
	fprintf(p->out, "%s . %s { ", port_name(p, source, sizeof(source), "sport"),
		port_name(p, destination, sizeof(destination), "dport"));
	for (size_t i = 0; i < in->n; i++, comma = ", ") {
		fputs(comma, p->out);
		merlon_print_interval(p->out, MERLON_AS_NUMBER, &in->v[i]);
		fputs(" . 0-65535", p->out);
	}
	for (size_t o = 0; o < out.n; o++)
		for (size_t i = 0; i < in->n; i++) {
			fputs(", ", p->out);
			merlon_print_interval(p->out, MERLON_AS_NUMBER, &out.v[o]);
			fputs(" . ", p->out);
			merlon_print_interval(p->out, MERLON_AS_NUMBER, &in->v[i]);
		}
	fputs(" }", p->out);
	merlon_intervals_clear(&out);
}

void merlon_print_match(struct merlon_printing *p, const struct merlon_statement *s)
{
	merlon_value max = merlon_value_max(merlon_field_bits(s->match.field, s->match.family));
	struct merlon_intervals in;
	bool negated = s->match.negated;
	char buffer[32];
	struct look look;

	if (s->match.field == MERLON_F_CT_STATE) {
		print_ct_state(p->out, &s->match.in);
		return;
	}
	if (s->match.field == MERLON_F_RT_TYPE && s->match.in.n == 1 && s->match.in.v[0].hi - s->match.in.v[0].lo == max) {
		fputs("exthdr rt exists", p->out);
		return;
	}
	if (s->match.either) {
		print_either(p, &s->match.in);
		return;
	}
	look = look_of(p, s, buffer, sizeof(buffer));
	fputs(look.name ? look.name : "# unknown field", p->out);
	if (s->match.set && s->match.mask == ~0U && merlon_print_has_set(p, s->match.set)) {
		fprintf(p->out, " %s@%s", negated ? "!= " : "", s->match.set);
		return;
	}
	if (merlon_intervals_copy(&s->match.in, &in) < 0)
		return;
	/* nothing at all is "not everything" */
	if ((negated || !in.n) && merlon_intervals_complement(&in, max) == 0)
		negated = true;
	if (negated && !in.n) {
		merlon_intervals_clear(&in);
		merlon_intervals_add(&in, 0, max);
		negated = false;
	}
	print_in(p, s, &look, &in, negated);
	merlon_intervals_clear(&in);
}
