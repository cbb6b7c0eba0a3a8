/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How values look in nft's language: shared by the printer and by whoever writes declarations of sets. */
#ifndef MERLON_MODEL_PRINT_H
#define MERLON_MODEL_PRINT_H

#include <stdio.h>

#include "src/model/ruleset.h"

enum merlon_notation {
	MERLON_AS_NUMBER,
	MERLON_AS_HEX,
	MERLON_AS_IPV4,
	MERLON_AS_IPV6,
	MERLON_AS_PROTOCOL,
	MERLON_AS_PACKET_TYPE,
	MERLON_AS_DIRECTION,
	MERLON_AS_TCP_FLAGS,	/* "syn|ack" */
	MERLON_AS_ICMP_TYPE,
	MERLON_AS_ICMPV6_TYPE,
	MERLON_AS_FAMILY,	/* enum merlon_family: "ipv4", "ipv6" */
	MERLON_AS_CT_STATE,
};

/* "7", "7-9", "10.0.0.0/8" */
void merlon_print_interval(FILE *out, enum merlon_notation notation, const struct merlon_interval *interval);
/* One interval bare, others as { ... }. */
void merlon_print_intervals(FILE *out, enum merlon_notation notation, const struct merlon_intervals *in);
/* With quotes, and the wildcard's star. */
void merlon_print_ifname(FILE *out, const struct merlon_ifname *name);
/* In quotes; what the language cannot hold is replaced. At most `max` bytes of text. */
void merlon_print_string(FILE *out, const char *text, size_t max);

/* "timeout 1h" as " timeout 3600s": whole seconds where they are. */
void merlon_print_time(FILE *out, const char *word, uint64_t ms);

/* What is known about the packet at a place in a rule. */
struct merlon_printing {
	FILE *out;
	const struct merlon_ruleset *ruleset;
	const struct merlon_chain *chain;
	const struct merlon_rule *rule;
	int family;		/* enum merlon_family, -1: either */
	int proto;		/* -1: any */
	const char *space;	/* before the next statement */
};

void merlon_print_match(struct merlon_printing *p, const struct merlon_statement *statement);
void merlon_print_lookup(const struct merlon_printing *p, const struct merlon_lookup *lookup);
void merlon_print_addrtype(const struct merlon_printing *p, const struct merlon_statement *statement);
/* ACCEPT, DROP, CONTINUE, RETURN, JUMP and GOTO; `target`: index of the chain. */
void merlon_print_verdict(const struct merlon_printing *p, enum merlon_rule_verdict verdict, uint32_t target);
/* "tcp", NULL: it has no name. */
const char *merlon_print_protocol_name(merlon_value protocol);
bool merlon_print_has_ports(int proto);
/*
 * Whether the statements from `i` on, up to a lookup, are no more than what nft itself asks for when it is given the
 * lookup, in the same order.
 */
bool merlon_print_lookup_implies(const struct merlon_printing *p, size_t i);
/* Whether this match, printed, makes nft itself ask for the family (protocol) that a statement before it asks for. */
bool merlon_print_implies_family(const struct merlon_printing *p, const struct merlon_statement *match,
				 enum merlon_family family, int proto);
bool merlon_print_implies_proto(const struct merlon_printing *p, const struct merlon_statement *match, int proto);
/* Whether a named set will be declared, so that matches may name it. */
bool merlon_print_has_set(const struct merlon_printing *p, const char *name);

#endif
