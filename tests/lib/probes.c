/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Derives probes from rulesets: connections that real programs can make (TCP connect, UDP question and answer, echo
 * request) and that land inside and just outside of each rule's matches. Prints one JSON object a line:
 *   {"hook","family","l4proto","iif","oif","saddr","daddr","dport","rule","inside"}
 * Addresses and interfaces that no rule fixes are null: the caller chooses.
 */
#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

#include "compat/compat.h"
#include "src/util/cleanup.h"

#define DEPTH 16
#define DIM_FIELDS (MERLON_F_L4PROTO + 1)
#define TCP_SYN 0x02

/* What a packet must be to reach a place in the ruleset. */
struct path {
	struct merlon_intervals in[DIM_FIELDS];	/* by field */
	bool bound[DIM_FIELDS];
	struct merlon_ifname iif, oif;		/* name "": any */
	bool impossible;			/* no program of ours sends such a packet as the first one of a flow */
};

struct walk {
	const struct merlon_ruleset *ruleset;
	enum merlon_hook hook;
	enum merlon_family family;
};

static const char *const hook_name[] = { "input", "forward", "output" };

static void path_clear(struct path *path)
{
	for (int f = 0; f < DIM_FIELDS; f++)
		merlon_intervals_clear(&path->in[f]);
}

static int path_copy(const struct path *from, struct path *ret)
{
	*ret = *from;
	memset(ret->in, 0, sizeof(ret->in));
	for (int f = 0; f < DIM_FIELDS; f++)
		if (merlon_intervals_copy(&from->in[f], &ret->in[f]) < 0)
			return -1;
	return 0;
}

static void narrow(struct path *path, enum merlon_field field, const struct merlon_intervals *in)
{
	struct merlon_intervals both = { 0 };

	if (!path->bound[field]) {
		merlon_intervals_copy(in, &path->in[field]);
	} else {
		merlon_intervals_intersect(&path->in[field], in, &both);
		merlon_intervals_clear(&path->in[field]);
		path->in[field] = both;
	}
	path->bound[field] = true;
	if (!path->in[field].n)
		path->impossible = true;
}

static void narrow_interface(struct path *path, const struct merlon_statement *s)
{
	struct merlon_ifname *have = s->interface.field == MERLON_F_IIF ? &path->iif : &path->oif;

	/* A negated name leaves it open: the caller's own interface is most probably another one. */
	if (s->interface.negated || !s->interface.n)
		return;
	if (have->name[0] && strcmp(have->name, s->interface.name[0].name))
		path->impossible = true;
	*have = s->interface.name[0];
	if (have->prefix && strlen(have->name) < IFNAMSIZ - 1)
		strcat(have->name, "0");
}

static void narrow_match(struct path *path, const struct merlon_statement *s, enum merlon_family family)
{
	merlon_value echo = family == MERLON_IPV4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;

	switch (s->match.field) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
		if (s->match.family != family)
			path->impossible = true;
		else
			narrow(path, s->match.field, &s->match.in);
		break;
	case MERLON_F_TH0:
	case MERLON_F_TH2:
	case MERLON_F_L4PROTO:
		narrow(path, s->match.either ? MERLON_F_TH2 : s->match.field, &s->match.in);
		break;
	case MERLON_F_ICMP_TYPE:
		path->impossible |= !merlon_intervals_contain(&s->match.in, echo);
		break;
	case MERLON_F_ICMP_CODE:
		path->impossible |= !merlon_intervals_contain(&s->match.in, 0);
		break;
	case MERLON_F_TCP_FLAGS:
		path->impossible |= !merlon_intervals_contain(&s->match.in, TCP_SYN & s->match.mask);
		break;
	case MERLON_F_CT_STATE:
		path->impossible |= !merlon_intervals_contain(&s->match.in, MERLON_CT_NEW);
		break;
	default:
		break;
	}
}

static void narrow_by(struct path *path, const struct merlon_statement *s, enum merlon_family family)
{
	switch (s->kind) {
	case MERLON_S_MATCH:
		narrow_match(path, s, family);
		break;
	case MERLON_S_INTERFACE:
		narrow_interface(path, s);
		break;
	case MERLON_S_FAMILY:
		path->impossible |= s->family != family;
		break;
	default:
		break;
	}
}

static json_t *address(merlon_value value, enum merlon_family family)
{
	unsigned char bytes[16];
	char text[INET6_ADDRSTRLEN];
	int n = family == MERLON_IPV4 ? 4 : 16;

	for (int i = n - 1; i >= 0; i--, value >>= 8)
		bytes[i] = value & 0xff;
	inet_ntop(family == MERLON_IPV4 ? AF_INET : AF_INET6, bytes, text, sizeof(text));
	return json_string(text);
}

/* Whether an address can be given to a host of a test network. */
static bool usable(merlon_value v, enum merlon_family family)
{
	if (family == MERLON_IPV4)
		return v >> 24 && v >> 24 != 127 && v >> 28 < 14 && (v & 0xff) && (v & 0xff) != 0xff;
	return v >> 125 == 1;
}

/* A usable address of the set, `salt` further in where it is wide enough; 0: none. */
static merlon_value pick(const struct merlon_intervals *in, unsigned salt, enum merlon_family family)
{
	for (size_t i = 0; i < in->n; i++) {
		merlon_value width = in->v[i].hi - in->v[i].lo;
		merlon_value v = in->v[i].lo + (width > salt ? salt : width);

		for (int k = 0; k < 3 && v <= in->v[i].hi; k++, v++)
			if (usable(v, family))
				return v;
	}
	return 0;
}

struct probe {
	const struct walk *walk;
	const struct path *path;
	const struct merlon_rule *rule;
	uint8_t l4proto;
	merlon_value saddr, daddr;	/* 0: any */
	uint16_t dport;
	bool inside;
};

static void print_probe(const struct probe *p)
{
	enum merlon_family family = p->walk->family;
	json_t *o = json_object();

	json_object_set_new(o, "hook", json_string(hook_name[p->walk->hook]));
	json_object_set_new(o, "family", json_integer(family == MERLON_IPV4 ? 4 : 6));
	json_object_set_new(o, "l4proto", json_string(p->l4proto == IPPROTO_TCP ? "tcp" : p->l4proto == IPPROTO_UDP ? "udp" : "ping"));
	json_object_set_new(o, "iif", p->path->iif.name[0] ? json_string(p->path->iif.name) : json_null());
	json_object_set_new(o, "oif", p->path->oif.name[0] ? json_string(p->path->oif.name) : json_null());
	json_object_set_new(o, "saddr", p->saddr ? address(p->saddr, family) : json_null());
	json_object_set_new(o, "daddr", p->daddr ? address(p->daddr, family) : json_null());
	json_object_set_new(o, "dport", json_integer(p->dport));
	json_object_set_new(o, "rule", json_string(p->rule && p->rule->text ? p->rule->text : "policy"));
	json_object_set_new(o, "inside", json_boolean(p->inside));
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
}

static void print_ports(struct probe *p)
{
	const struct merlon_intervals *in = &p->path->in[MERLON_F_TH2];

	if (p->l4proto != IPPROTO_TCP && p->l4proto != IPPROTO_UDP) {
		print_probe(p);
		return;
	}
	if (!p->path->bound[MERLON_F_TH2]) {
		p->dport = 4242;
		print_probe(p);
		return;
	}
	for (size_t i = 0; i < in->n && i < 4; i++) {
		p->dport = in->v[i].lo ? (uint16_t)in->v[i].lo : 1;
		print_probe(p);
		if (in->v[i].hi == in->v[i].lo)
			continue;
		p->dport = in->v[i].hi;
		print_probe(p);
	}
	if (in->n && in->v[in->n - 1].hi < 65535) {
		p->inside = false;
		p->dport = in->v[in->n - 1].hi + 1;
		print_probe(p);
		p->inside = true;
	}
}

/* The same packet from just outside of the rule's source. */
static void print_outside(struct probe *p)
{
	const struct merlon_intervals *in = &p->path->in[MERLON_F_SADDR];

	if (!p->path->bound[MERLON_F_SADDR] || !in->n)
		return;
	p->saddr = in->v[in->n - 1].hi + 2;
	if (!usable(p->saddr, p->walk->family) || merlon_intervals_contain(in, p->saddr))
		return;
	p->inside = false;
	print_ports(p);
	p->inside = true;
}

static bool speaks(const struct path *path, uint8_t l4proto)
{
	if (path->bound[MERLON_F_TH0])	/* a source port: our programs let the kernel choose theirs */
		return false;
	if (path->bound[MERLON_F_TH2] && l4proto != IPPROTO_TCP && l4proto != IPPROTO_UDP)
		return false;
	return !path->bound[MERLON_F_L4PROTO] || merlon_intervals_contain(&path->in[MERLON_F_L4PROTO], l4proto);
}

static void print_path(const struct walk *walk, const struct path *path, const struct merlon_rule *rule)
{
	const uint8_t l4proto[] = {
		IPPROTO_TCP, IPPROTO_UDP, walk->family == MERLON_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
	};
	struct probe p = { .walk = walk, .path = path, .rule = rule, .inside = true };

	if (path->impossible)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(l4proto); i++) {
		if (!speaks(path, l4proto[i]))
			continue;
		p.l4proto = l4proto[i];
		p.dport = 4242;
		p.saddr = p.daddr = 0;
		if (path->bound[MERLON_F_SADDR] && !(p.saddr = pick(&path->in[MERLON_F_SADDR], 3 + walk->hook, walk->family)))
			continue;
		if (path->bound[MERLON_F_DADDR] && !(p.daddr = pick(&path->in[MERLON_F_DADDR], 20 + walk->hook, walk->family)))
			continue;
		print_ports(&p);
		print_outside(&p);
	}
}

static void walk_chain(const struct walk *walk, uint32_t chain_index, const struct path *path, int depth)
{
	const struct merlon_chain *chain = &walk->ruleset->chain[chain_index];

	for (size_t r = 0; r < chain->n; r++) {
		const struct merlon_rule *rule = &chain->rule[r];
		struct path here;

		if (rule->status != MERLON_EXACT || path_copy(path, &here) < 0)
			continue;
		for (size_t s = 0; s < rule->n; s++)
			narrow_by(&here, &rule->statement[s], walk->family);
		for (size_t s = 0; s < rule->n; s++) {
			const struct merlon_statement *st = &rule->statement[s];

			if (st->kind == MERLON_S_VERDICT && depth < DEPTH &&
			    (st->verdict.verdict == MERLON_V_JUMP || st->verdict.verdict == MERLON_V_GOTO))
				walk_chain(walk, st->verdict.target, &here, depth + 1);
		}
		print_path(walk, &here, rule);
		path_clear(&here);
	}
}

static void walk_ruleset(const struct merlon_ruleset *ruleset)
{
	for (int hook = 0; hook < MERLON_HOOKS; hook++)
		for (int family = 0; family < MERLON_FAMILIES; family++) {
			struct walk walk = { .ruleset = ruleset, .hook = hook, .family = family };
			struct path any = { 0 };
			uint32_t base[64];
			size_t n = merlon_ruleset_base(ruleset, hook, family, base, ARRAY_SIZE(base));

			for (size_t i = 0; i < n; i++)
				walk_chain(&walk, base[i], &any, 0);
			if (n)
				print_path(&walk, &any, NULL);
		}
}

int main(int argc, char **argv)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = NULL;
	_cleanup_free_ struct merlon_source *source = calloc(argc, sizeof(*source));
	struct merlon_diag diag = { 0 };
	int r;

	if (argc < 2 || !source) {
		fprintf(stderr, "usage: probes RULESET...\n");
		return 2;
	}
	for (int i = 1; i < argc; i++)
		source[i - 1].file = argv[i];
	r = merlon_read_files(source, argc - 1, &ruleset, &diag);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	if (r < 0)
		return 1;
	walk_ruleset(ruleset);
	return 0;
}
