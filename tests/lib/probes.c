/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Derives probes from rulesets: connections that real programs can make (TCP connect, UDP question and answer, echo
 * request) and that land inside and just outside of each rule's matches. Prints one JSON object a line:
 *   {"file","restore"}             an input file; "restore": the program that loads it, null: nft
 *   {"hook","family","l4proto","iif","oif","saddr","daddr","dport","place","rule","inside"}
 *   {"place","rule","without"}     a rule that there is no probe of, or not of all of it, and why
 * Addresses and interfaces that no rule fixes are null: the caller chooses. "place" is FILE:LINE or the chain.
 */
#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat/compat.h"
#include "compat/load.h"
#include "src/util/cleanup.h"

#define DEPTH 16
#define ELEMENTS 16	/* of a map or concatenation: the first ones */
#define PORTS 4		/* ranges of ports: the first ones */
#define DIM_FIELDS (MERLON_F_L4PROTO + 1)
#define TCP_SYN 0x02

/* What a packet must be to reach a place in the ruleset. */
struct path {
	struct merlon_intervals in[DIM_FIELDS];	/* by field */
	bool bound[DIM_FIELDS];
	struct merlon_ifname iif, oif;		/* name "": any */
	const char *impossible;			/* why no program of ours sends such a packet as the first one of a flow; NULL: one does */
};

static const char other_family[] = "it is of the other family";
static const char other_protocol[] = "it is not for TCP, UDP or echo requests";
static const char contradictory[] = "no packet meets all matches on the way to it";

/* What became of a rule. */
struct cover {
	unsigned probes;
	const char *without;	/* static: why there is no probe on some way to it */
	char *part;		/* owned: what there are no probes of, though there are some */
};

struct walk {
	const struct merlon_ruleset *ruleset;
	struct cover *cover;	/* by rule: those of the first chain, then those of the second, and so on */
	enum merlon_hook hook;
	enum merlon_family family;
};

/* A rule and where it stands. */
struct at {
	const struct walk *walk;
	const struct merlon_chain *chain;
	const struct merlon_rule *rule;		/* NULL: the policy */
	struct cover *cover;
	int depth;
};

static void walk_chain(const struct walk *walk, uint32_t chain_index, const struct path *path, int depth);

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
		path->impossible = contradictory;
}

static void narrow_interface(struct path *path, const struct merlon_statement *s)
{
	struct merlon_ifname *have = s->interface.field == MERLON_F_IIF ? &path->iif : &path->oif;

	/* A negated name leaves it open: the caller's own interface is most probably another one. */
	if (s->interface.negated || !s->interface.n)
		return;
	if (have->name[0] && strcmp(have->name, s->interface.name[0].name))
		path->impossible = contradictory;
	*have = s->interface.name[0];
	if (have->prefix && strlen(have->name) < IFNAMSIZ - 1)
		strcat(have->name, "0");
}

/* The path becomes impossible, for this reason, unless `possible`. */
static void demand(struct path *path, bool possible, const char *reason)
{
	if (!possible)
		path->impossible = reason;
}

static void narrow_match(struct path *path, const struct merlon_statement *s, enum merlon_family family)
{
	merlon_value echo = family == MERLON_IPV4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	const struct merlon_intervals *in = &s->match.in;

	switch (s->match.field) {
	case MERLON_F_SADDR:
	case MERLON_F_DADDR:
		if (s->match.family != family)
			path->impossible = other_family;
		else
			narrow(path, s->match.field, in);
		break;
	case MERLON_F_TH0:
	case MERLON_F_TH2:
	case MERLON_F_L4PROTO:
		narrow(path, s->match.either ? MERLON_F_TH2 : s->match.field, in);
		break;
	case MERLON_F_ICMP_TYPE:
		demand(path, merlon_intervals_contain(in, echo), "its ICMP is no echo request");
		break;
	case MERLON_F_ICMP_CODE:
		demand(path, merlon_intervals_contain(in, 0), "its ICMP is no echo request");
		break;
	case MERLON_F_TCP_FLAGS:
		demand(path, merlon_intervals_contain(in, TCP_SYN & s->match.mask), "no first segment has its TCP flags");
		break;
	case MERLON_F_CT_STATE:
		demand(path, merlon_intervals_contain(in, MERLON_CT_NEW), "no first packet has the ct state that it takes to come there");
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
		demand(path, s->family == family, other_family);
		break;
	default:
		break;
	}
}

/* What an element of a lookup asks for, as the matches that would say the same. */
static void narrow_by_element(struct path *path, const struct merlon_lookup *lookup, size_t element, enum merlon_family family)
{
	for (size_t i = 0; i < lookup->n_parts && !lookup->element[element].any; i++) {
		const struct merlon_part *part = &lookup->part[i];
		const struct merlon_part_range *range = &lookup->range[element * lookup->n_parts + i];
		struct merlon_interval interval = { range->lo, range->hi };
		struct merlon_statement s = { .kind = MERLON_S_MATCH };

		if (part->field == MERLON_F_IIF || part->field == MERLON_F_OIF) {
			s.kind = MERLON_S_INTERFACE;
			s.interface.field = part->field;
			s.interface.name = &lookup->name[range->lo];
			s.interface.n = 1;
		} else {
			s.match.field = part->field;
			s.match.family = part->family;
			s.match.mask = ~0U;
			s.match.in.v = &interval;
			s.match.in.n = 1;
		}
		narrow_by(path, &s, family);
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
	const struct at *at;
	const struct path *path;
	uint8_t l4proto;
	merlon_value saddr, daddr;	/* 0: any */
	uint16_t dport;
	bool inside;
};

static void print_line(json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
}

/* Which rule it is, for people. */
static json_t *place_of(const struct merlon_chain *chain, const struct merlon_rule *rule)
{
	if (!rule || !rule->place.file || !rule->place.line)
		return json_string(chain->name);
	return json_sprintf("%s:%u", rule->place.file, rule->place.line);
}

static json_t *text_of(const struct merlon_rule *rule)
{
	json_t *text = json_string(rule ? rule->text : "policy");

	return text ? text : json_string("(no text)");
}

static void print_probe(const struct probe *p)
{
	enum merlon_family family = p->at->walk->family;
	json_t *o = json_object();

	if (p->at->cover)
		p->at->cover->probes++;
	json_object_set_new(o, "hook", json_string(hook_name[p->at->walk->hook]));
	json_object_set_new(o, "family", json_integer(family == MERLON_IPV4 ? 4 : 6));
	json_object_set_new(o, "l4proto", json_string(p->l4proto == IPPROTO_TCP ? "tcp" : p->l4proto == IPPROTO_UDP ? "udp" : "ping"));
	json_object_set_new(o, "iif", p->path->iif.name[0] ? json_string(p->path->iif.name) : json_null());
	json_object_set_new(o, "oif", p->path->oif.name[0] ? json_string(p->path->oif.name) : json_null());
	json_object_set_new(o, "saddr", p->saddr ? address(p->saddr, family) : json_null());
	json_object_set_new(o, "daddr", p->daddr ? address(p->daddr, family) : json_null());
	json_object_set_new(o, "dport", json_integer(p->dport));
	json_object_set_new(o, "place", place_of(p->at->chain, p->at->rule));
	json_object_set_new(o, "rule", text_of(p->at->rule));
	json_object_set_new(o, "inside", json_boolean(p->inside));
	print_line(o);
}

static void only_some(struct cover *cover, size_t some, size_t all, const char *what)
{
	if (cover && !cover->part && some < all &&
	    asprintf(&cover->part, "probes of the first %zu of its %zu %s only", some, all, what) < 0)
		cover->part = NULL;
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
	only_some(p->at->cover, PORTS, in->n, "ranges of ports");
	for (size_t i = 0; i < in->n && i < PORTS; i++) {
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
	if (!usable(p->saddr, p->at->walk->family) || merlon_intervals_contain(in, p->saddr))
		return;
	p->inside = false;
	print_ports(p);
	p->inside = true;
}

/* NULL, or why our programs do not speak so. */
static const char *why_not(const struct path *path, uint8_t l4proto)
{
	if (path->impossible)
		return path->impossible;
	if (path->bound[MERLON_F_TH0])
		return "the probes' source ports are chosen by the kernel";
	if (path->bound[MERLON_F_L4PROTO] && !merlon_intervals_contain(&path->in[MERLON_F_L4PROTO], l4proto))
		return other_protocol;
	if (path->bound[MERLON_F_TH2] && l4proto != IPPROTO_TCP && l4proto != IPPROTO_UDP)
		return "it asks for a port of a protocol that has none";
	return NULL;
}

static void print_path(const struct at *at, const struct path *path)
{
	const struct walk *walk = at->walk;
	const uint8_t l4proto[] = {
		IPPROTO_TCP, IPPROTO_UDP, walk->family == MERLON_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
	};
	struct probe p = { .at = at, .path = path, .inside = true };

	for (size_t i = 0; i < ARRAY_SIZE(l4proto); i++) {
		const char *why = why_not(path, l4proto[i]);

		p.l4proto = l4proto[i];
		p.dport = 4242;
		p.saddr = p.daddr = 0;
		if ((!why && path->bound[MERLON_F_SADDR] && !(p.saddr = pick(&path->in[MERLON_F_SADDR], 3 + walk->hook, walk->family))) ||
		    (!why && path->bound[MERLON_F_DADDR] && !(p.daddr = pick(&path->in[MERLON_F_DADDR], 20 + walk->hook, walk->family))))
			why = "its addresses are none that hosts of this network can have";
		if (!why) {
			print_ports(&p);
			print_outside(&p);
		} else if (at->cover && (!at->cover->without || at->cover->without == other_family || at->cover->without == other_protocol)) {
			at->cover->without = why;
		}
	}
}

static void walk_rule(const struct at *at, size_t statement, const struct path *path);

/* A lookup leads on once for each element; a negated one by what is none, and probes are made of the elements all the same. */
static void walk_lookup(const struct at *at, size_t statement, const struct path *path)
{
	const struct merlon_lookup *lookup = at->rule->statement[statement].lookup;

	only_some(at->cover, ELEMENTS, lookup->n, "elements");
	for (size_t e = 0; e < lookup->n && e < ELEMENTS; e++) {
		const struct merlon_lookup_element *element = &lookup->element[e];
		struct path here;

		if (path_copy(path, &here) < 0)
			continue;
		narrow_by_element(&here, lookup, e, at->walk->family);
		if (!lookup->map && !lookup->negated)
			walk_rule(at, statement + 1, &here);
		else
			print_path(at, &here);
		if (lookup->map && (element->verdict == MERLON_V_JUMP || element->verdict == MERLON_V_GOTO))
			walk_chain(at->walk, element->target, &here, at->depth + 1);
		path_clear(&here);
	}
	if (lookup->negated)
		walk_rule(at, statement + 1, path);
}

/* The rule's statements from this one on. */
static void walk_rule(const struct at *at, size_t statement, const struct path *path)
{
	const struct merlon_statement *s = statement < at->rule->n ? &at->rule->statement[statement] : NULL;
	struct path here;

	if (!s) {
		print_path(at, path);
		return;
	}
	if (s->kind == MERLON_S_LOOKUP) {
		walk_lookup(at, statement, path);
		return;
	}
	if (path_copy(path, &here) < 0)
		return;
	narrow_by(&here, s, at->walk->family);
	if (s->kind == MERLON_S_VERDICT && (s->verdict.verdict == MERLON_V_JUMP || s->verdict.verdict == MERLON_V_GOTO))
		walk_chain(at->walk, s->verdict.target, &here, at->depth + 1);
	walk_rule(at, statement + 1, &here);
	path_clear(&here);
}

static struct cover *cover_of(const struct walk *walk, size_t chain)
{
	struct cover *cover = walk->cover;

	for (size_t c = 0; c < chain; c++)
		cover += walk->ruleset->chain[c].n;
	return cover;
}

static void walk_chain(const struct walk *walk, uint32_t chain_index, const struct path *path, int depth)
{
	const struct merlon_chain *chain = &walk->ruleset->chain[chain_index];
	struct at at = { .walk = walk, .chain = chain, .cover = cover_of(walk, chain_index), .depth = depth };

	if (depth > DEPTH)
		return;
	for (size_t r = 0; r < chain->n; r++, at.cover++) {
		at.rule = &chain->rule[r];
		if (at.rule->status == MERLON_EXACT)
			walk_rule(&at, 0, path);
	}
}

static void walk_ruleset(const struct merlon_ruleset *ruleset, struct cover *cover)
{
	for (int hook = 0; hook < MERLON_HOOKS; hook++)
		for (int family = 0; family < MERLON_FAMILIES; family++) {
			struct walk walk = { .ruleset = ruleset, .cover = cover, .hook = hook, .family = family };
			struct path any = { 0 };
			uint32_t base[64];
			size_t n = merlon_ruleset_base(ruleset, hook, family, base, ARRAY_SIZE(base));

			for (size_t i = 0; i < n; i++)
				walk_chain(&walk, base[i], &any, 0);
			if (n)
				print_path(&(struct at){ .walk = &walk, .chain = &ruleset->chain[base[n - 1]] }, &any);
		}
}

static void print_uncovered(const struct merlon_ruleset *ruleset, struct cover *cover)
{
	for (size_t c = 0; c < ruleset->n_chains; c++)
		for (size_t r = 0; r < ruleset->chain[c].n; r++, cover++) {
			const struct merlon_chain *chain = &ruleset->chain[c];
			const struct merlon_rule *rule = &chain->rule[r];
			const char *without = cover->without ? cover->without : "no way to it is short enough to follow";

			if (chain->reached && rule->status == MERLON_EXACT && (!cover->probes || cover->part))
				print_line(json_pack("{s:o, s:o, s:s}", "place", place_of(chain, rule), "rule", text_of(rule),
						     "without", cover->probes ? cover->part : without));
			free(cover->part);
		}
}

/* A file that was read once already. */
static void print_file(const struct merlon_source *source)
{
	_cleanup_fclose_ FILE *f = fopen(source->file, "re");
	_cleanup_free_ char *data = NULL;
	char none[1] = "";
	struct merlon_text text = { .name = source->file };
	struct merlon_diag diag = { 0 };
	const char *restore = NULL;
	int family = source->family;
	size_t room = 0;
	ssize_t n = f ? getdelim(&data, &room, '\0', f) : -1;

	text.text = n < 0 ? none : data;
	text.size = n < 0 ? 0 : n;
	if (merlon_is_iptables(&text)) {
		if (family == AF_UNSPEC)
			family = merlon_iptables_family(&text, &diag);
		restore = family == AF_INET6 ? "ip6tables-nft-restore" : "iptables-nft-restore";
	}
	merlon_diag_clear(&diag);
	print_line(json_pack("{s:s, s:s?}", "file", source->file, "restore", restore));
}

int main(int argc, char **argv)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = NULL;
	_cleanup_free_ struct merlon_source *source = calloc(argc, sizeof(*source));
	_cleanup_free_ struct cover *cover = NULL;
	struct merlon_diag diag = { 0 };
	int n = 0, family = AF_UNSPEC, first = 1, r;

	if (argc > 3 && !strcmp(argv[1], "--family")) {
		family = !strcmp(argv[2], "ip6") ? AF_INET6 : AF_INET;
		first = 3;
	}
	if (argc <= first || !source) {
		fprintf(stderr, "usage: probes [--family ip|ip6] RULESET...\n");
		return 2;
	}
	for (int i = first; i < argc; i++)
		source[n++] = (struct merlon_source){ .file = argv[i], .family = family };
	r = merlon_read_files(source, n, &ruleset, &diag);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	if (r < 0)
		return 1;
	cover = calloc(merlon_ruleset_totals(ruleset).rules + 1, sizeof(*cover));
	if (!cover)
		return 1;
	for (int i = 0; i < n; i++)
		print_file(&source[i]);
	walk_ruleset(ruleset, cover);
	print_uncovered(ruleset, cover);
	return 0;
}
