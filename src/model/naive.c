/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/naive.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_JUMPS 16		/* NFT_JUMP_STACK_SIZE of net/netfilter/nf_tables.h */
#define MAX_STEPS 10000000U	/* a loop of gotos, which nf_tables does not load */

struct evaluation {
	const struct merlon_naive_input *input;
	struct merlon_naive_result *result;
};

static merlon_value value_of(const struct evaluation *e, enum merlon_field field)
{
	const struct merlon_packet *p = e->input->packet;

	if (field <= MERLON_F_DADDR && p->family == MERLON_IPV6)
		return (merlon_value)p->addr6[field][0] << 64 | p->addr6[field][1];
	return field == MERLON_F_MARK ? e->result->mark : p->field[field];
}

static bool match(const struct evaluation *e, const struct merlon_statement *s)
{
	enum merlon_field field = s->match.field;
	merlon_value value = value_of(e, field);

	if (field <= MERLON_F_DADDR && e->input->packet->family != s->match.family)
		return false;
	if (!(e->input->packet->present & MERLON_BIT(field)))
		return false;
	if (field > MERLON_F_DADDR)
		value &= s->match.mask;
	if (s->match.either && e->input->packet->present & MERLON_BIT(MERLON_F_TH2) &&
	    merlon_intervals_contain(&s->match.in, value_of(e, MERLON_F_TH2)))
		return true;
	return merlon_intervals_contain(&s->match.in, value);
}

/* x_tables drops a packet whose transport header is cut off, where a match asks for it (`hotdrop`). */
static bool is_cut_off(const struct evaluation *e, const struct merlon_statement *s)
{
	const struct merlon_packet *p = e->input->packet;

	if (s->kind != MERLON_S_MATCH || !(p->present & MERLON_BIT(MERLON_F_TH_BYTES)))
		return false;
	return s->match.header_bytes == MERLON_HEADER_CHAIN ? p->field[MERLON_F_TH_BYTES] == MERLON_TH_NEVER :
							      p->field[MERLON_F_TH_BYTES] < s->match.header_bytes;
}

static bool is_named(const struct evaluation *e, enum merlon_field field, const struct merlon_ifname *wanted)
{
	bool in = field == MERLON_F_IIF;
	const char *name = in ? e->input->iif_name : e->input->oif_name;

	if (wanted->index)
		return wanted->index == (in ? e->input->packet->iif : e->input->packet->oif);
	if (wanted->prefix)
		return !strncmp(wanted->name, name, strlen(wanted->name));
	return !strcmp(wanted->name, name);
}

static bool match_interface(const struct evaluation *e, const struct merlon_statement *s)
{
	bool found = false;

	for (size_t i = 0; i < s->interface.n; i++)
		found |= is_named(e, s->interface.field, &s->interface.name[i]);
	return found != s->interface.negated;
}

static bool is_under(const uint8_t *address, const struct merlon_address *prefix)
{
	unsigned bytes = prefix->bits / 8, left = prefix->bits % 8;

	if (memcmp(address, prefix->address, bytes) != 0)
		return false;
	return !left || (address[bytes] ^ prefix->address[bytes]) >> (8 - left) == 0;
}

/* The type of the longest prefix in the routing table `local`, UNICAST if there is none. */
static unsigned routed_type(const struct evaluation *e, const uint8_t *address, int family, unsigned *ret_bits)
{
	unsigned type = RTN_UNICAST;

	*ret_bits = 0;
	for (size_t i = e->input->n_addresses; i-- > 0;) {
		const struct merlon_address *a = &e->input->address[i];

		if (a->family != family || a->bits < *ret_bits || !is_under(address, a))
			continue;
		type = a->type;
		*ret_bits = a->bits;
	}
	return type;
}

/* __inet_dev_addr_type() of net/ipv4/fib_frontend.c, nft_fib6_eval_type() of net/ipv6/netfilter/nft_fib_ipv6.c */
static unsigned address_type(const struct evaluation *e, enum merlon_field field)
{
	bool six = e->input->packet->family == MERLON_IPV6;
	merlon_value value = value_of(e, field);
	unsigned n = six ? 16 : 4, bits, type;
	uint8_t address[16], low = 0;

	for (unsigned i = 0; i < n; i++)
		address[i] = (uint8_t)(value >> (n - 1 - i) * 8);
	if (!six && (address[0] == 0 || value == 0xffffffff))
		return RTN_BROADCAST;
	if (six ? address[0] == 0xff : address[0] >> 4 == 14)
		return RTN_MULTICAST;
	type = routed_type(e, address, six ? AF_INET6 : AF_INET, &bits);
	if (six ? type != RTN_LOCAL : type > RTN_MULTICAST)
		return RTN_UNICAST;
	for (unsigned i = bits; i < 8 * n; i++)
		low |= address[i / 8] & 0x80 >> i % 8;
	/* the first address of a subnet (ipv6_anycast_destination()) */
	return six && bits < 127 && !low ? RTN_ANYCAST : type;
}

static bool is_present(const struct evaluation *e, const struct merlon_part *part)
{
	const struct merlon_packet *p = e->input->packet;

	if (part->field == MERLON_F_IIF || part->field == MERLON_F_OIF || part->field == MERLON_F_NFPROTO)
		return true;
	if (part->field <= MERLON_F_DADDR && p->family != part->family)
		return false;
	return p->present & MERLON_BIT(part->field);
}

static bool is_in_part(const struct evaluation *e, const struct merlon_lookup *lookup, size_t part,
		       const struct merlon_part_range *range)
{
	enum merlon_field field = lookup->part[part].field;
	merlon_value value;

	if (field == MERLON_F_IIF || field == MERLON_F_OIF)
		return is_named(e, field, &lookup->name[range->lo]);
	value = field == MERLON_F_NFPROTO ? e->input->packet->family : value_of(e, field);
	return value >= range->lo && value <= range->hi;
}

/*
 * nft_lookup_eval() of net/netfilter/nft_lookup.c, and the loads before it: a part that is not there breaks. Returns
 * whether the rule goes on; *ret_element: what was found, NULL in a set.
 */
static bool look_up(const struct evaluation *e, const struct merlon_lookup *lookup,
		    const struct merlon_lookup_element **ret_element)
{
	const struct merlon_lookup_element *found = NULL;

	for (size_t p = 0; p < lookup->n_parts; p++)
		if (!is_present(e, &lookup->part[p]))
			return false;
	for (size_t i = 0; i < lookup->n && (!found || found->any); i++) {
		const struct merlon_lookup_element *element = &lookup->element[i];
		bool fits = !element->expires_ms || e->input->age_ms < element->expires_ms;

		for (size_t p = 0; p < lookup->n_parts && fits && !element->any; p++)
			fits = is_in_part(e, lookup, p, &lookup->range[i * lookup->n_parts + p]);
		if (fits && (!element->any || !found))
			found = element;
	}
	*ret_element = lookup->map ? found : NULL;
	return (found != NULL) != lookup->negated;
}

static bool limit(const struct evaluation *e, const struct merlon_rule *rule, const struct merlon_statement *s)
{
	bool token = !e->input->take || e->input->take(e->input->context, rule, s);

	return token != s->limit.over;
}

static void touch(const struct merlon_rule **list, size_t *n, const struct merlon_rule *rule)
{
	if (*n < MERLON_NAIVE_TOUCHED)
		list[(*n)++] = rule;
}

/* A statement other than a verdict; false: the rule ends here. */
static bool pass(const struct evaluation *e, const struct merlon_rule *rule, const struct merlon_statement *s)
{
	switch (s->kind) {
	case MERLON_S_MATCH:
		return match(e, s);
	case MERLON_S_INTERFACE:
		return match_interface(e, s);
	case MERLON_S_FAMILY:
		return s->family == e->input->packet->family;
	case MERLON_S_LIMIT:
		return limit(e, rule, s);
	case MERLON_S_COUNTER:
		touch(e->result->counted, &e->result->n_counted, rule);
		return true;
	case MERLON_S_LOG:
		touch(e->result->logged, &e->result->n_logged, rule);
		return true;
	case MERLON_S_MARK:
		e->result->mark = (e->result->mark & s->mark.mask) ^ s->mark.xor;
		return true;
	case MERLON_S_ADDRTYPE:
		return s->addrtype.types >> address_type(e, s->addrtype.field) & 1;
	case MERLON_S_LOOKUP:
	case MERLON_S_VERDICT:
		break;
	}
	return true;
}

/* What a rule says of a packet; CONTINUE also where it has no verdict, or did not match. */
struct outcome {
	enum merlon_rule_verdict verdict;
	uint32_t target;
	const struct merlon_reject_with *reject;
};

static struct outcome apply(const struct evaluation *e, const struct merlon_rule *rule)
{
	const struct outcome nothing = { .verdict = MERLON_V_CONTINUE };
	const struct merlon_lookup_element *element = NULL;
	struct outcome outcome = nothing;

	for (size_t i = 0; i < rule->n && !element; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_VERDICT) {
			outcome = (struct outcome){ s->verdict.verdict, s->verdict.target, &s->verdict.reject };
			break;
		}
		if (is_cut_off(e, s)) {
			outcome.verdict = MERLON_V_DROP;
			break;
		}
		if (s->kind == MERLON_S_LOOKUP ? !look_up(e, s->lookup, &element) : !pass(e, rule, s))
			return nothing;
	}
	if (element)
		outcome = (struct outcome){ element->verdict, element->target, NULL };
	if (e->input->met)
		e->input->met(e->input->context, rule);
	return outcome;
}

static void decide(const struct evaluation *e, const struct outcome *outcome)
{
	struct merlon_naive_result *result = e->result;

	switch (outcome->verdict) {
	case MERLON_V_ACCEPT:
		result->verdict = MERLON_ACCEPT;
		break;
	case MERLON_V_REJECT:
		result->verdict = MERLON_REJECT;
		result->reject = outcome->reject->type;
		result->reject_code = outcome->reject->code[e->input->packet->family];
		break;
	default:
		result->verdict = MERLON_DROP;
		break;
	}
}

struct position {
	const struct merlon_chain *chain;
	size_t rule;
};

/* One base chain: fills the verdict. */
static int run(const struct evaluation *e, const struct merlon_chain *base)
{
	struct position stack[MAX_JUMPS], at = { base, 0 };
	unsigned depth = 0;

	for (unsigned steps = 0; steps < MAX_STEPS; steps++) {
		const struct merlon_rule *rule;
		struct outcome o;

		if (at.rule >= at.chain->n) {
			if (!depth)
				break;
			at = stack[--depth];
			continue;
		}
		rule = &at.chain->rule[at.rule++];
		o = apply(e, rule);
		if (o.verdict == MERLON_V_CONTINUE)
			continue;
		if (o.verdict == MERLON_V_RETURN) {
			at.rule = at.chain->n;
		} else if (o.verdict == MERLON_V_JUMP || o.verdict == MERLON_V_GOTO) {
			if (o.verdict == MERLON_V_JUMP) {
				if (depth == MAX_JUMPS)
					return -ELOOP;
				stack[depth++] = at;
			}
			at = (struct position){ &e->input->ruleset->chain[o.target], 0 };
		} else {
			e->result->chain = at.chain;
			e->result->rule = rule;
			e->result->ended[e->result->n_ended++] = rule;
			decide(e, &o);
			return 0;
		}
	}
	if (at.rule < at.chain->n)
		return -ELOOP;
	e->result->chain = base;
	e->result->rule = NULL;
	e->result->ended[e->result->n_ended++] = NULL;
	e->result->verdict = base->drop ? MERLON_DROP : MERLON_ACCEPT;
	return 0;
}

int merlon_naive(const struct merlon_naive_input *input, struct merlon_naive_result *ret)
{
	struct evaluation e = { input, ret };
	uint32_t base[MERLON_NAIVE_BASES];
	size_t n = merlon_ruleset_base(input->ruleset, input->packet->hook, input->packet->family, base, MERLON_NAIVE_BASES);

	ret->verdict = MERLON_ACCEPT;
	ret->reject = 0;
	ret->reject_code = 0;
	ret->chain = NULL;
	ret->rule = NULL;
	ret->n_counted = 0;
	ret->n_logged = 0;
	ret->n_ended = 0;
	ret->mark = input->packet->field[MERLON_F_MARK];
	for (size_t i = 0; i < n; i++) {
		int r = run(&e, &input->ruleset->chain[base[i]]);

		if (r < 0)
			return r;
		if (ret->verdict != MERLON_ACCEPT)
			return 0;
	}
	return 0;
}
