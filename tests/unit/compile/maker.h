/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rulesets by hand, for tests: an inet table, chains, and statements that are appended to a chain's last rule. */
#ifndef MERLON_TESTS_MAKER_H
#define MERLON_TESTS_MAKER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bpf/classify.h"
#include "src/compile/compile.h"

struct merlon_ruleset *make_ruleset(void);
uint32_t make_base(struct merlon_ruleset *ruleset, enum merlon_hook hook, int priority, bool drop);
uint32_t make_chain(struct merlon_ruleset *ruleset, const char *name);
/* Starts a rule; what follows is appended to it. */
struct merlon_rule *make_rule(struct merlon_ruleset *ruleset, uint32_t chain);
void make_match(struct merlon_rule *rule, enum merlon_field field, merlon_value lo, merlon_value hi);
void make_masked(struct merlon_rule *rule, enum merlon_field field, uint32_t mask, uint32_t value);
void make_address6(struct merlon_rule *rule, enum merlon_field field, merlon_value lo, merlon_value hi);
void make_interface(struct merlon_rule *rule, enum merlon_field field, const char *name, bool prefix);
void make_iif(struct merlon_rule *rule, unsigned index);
void make_statement(struct merlon_rule *rule, enum merlon_statement_kind kind);
void make_limit(struct merlon_rule *rule, uint64_t rate, uint32_t burst, bool over);
void make_verdict(struct merlon_rule *rule, enum merlon_rule_verdict verdict);
void make_call(struct merlon_rule *rule, enum merlon_rule_verdict verdict, uint32_t chain);

/* A lookup in so many parts (addresses: IPv4) and no elements yet. */
struct merlon_lookup *make_lookup(struct merlon_rule *rule, const enum merlon_field *field, size_t n_parts);
/* An element from lo, hi of each part; the next one may move it. Interfaces: lo is the index of a name. */
struct merlon_lookup_element *make_element(struct merlon_lookup *lookup, const merlon_value *range);
/* A name for elements; returns its index. */
size_t make_name(struct merlon_lookup *lookup, const char *name, bool prefix);
#define MAKE_AGE_MS 5000	/* of the ruleset, when packets are judged */

/* Compiles for interfaces eth0 (2), eth1 (3), wlan0 (7); fails the test on an error. */
struct merlon_policy *compile(const struct merlon_ruleset *ruleset);
/* The same where an error is expected: returns its text, which is kept until the next call. */
const char *compile_error(const struct merlon_ruleset *ruleset, const struct merlon_compile_options *changed);
extern const struct merlon_compile_options make_options;

/* A TCP packet from 10.0.0.1:1024 to 10.0.0.2:80 at hook input, new, from no interface to none. */
struct merlon_packet make_packet(void);
/* Judges one packet with buckets and counters of its own. */
struct merlon_walk judge(const struct merlon_policy *policy, const struct merlon_packet *packet);
/* The same with the reference; they are compared. */
struct merlon_walk judge_both(const struct merlon_policy *policy, const struct merlon_packet *packet);
const struct merlon_image_rule *image_rule(const struct merlon_policy *policy, enum merlon_hook hook,
					   enum merlon_family family, uint32_t index);

#endif
