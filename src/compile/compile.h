/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The compiler: ruleset -> policy (the image for the data plane, and the tables that lead back from its indexes to
 * the rules). Ruleset and options are only read; the policy refers to the ruleset, which must outlive it.
 */
#ifndef MERLON_COMPILE_H
#define MERLON_COMPILE_H

#include "bpf/image.h"
#include "src/model/ruleset.h"
#include "src/util/addresses.h"
#include "src/util/interfaces.h"

struct merlon_compile_options {
	uint32_t generation;
	const struct merlon_interface *interface;	/* of the namespace, as they are now */
	size_t n_interfaces;
	uint32_t first_counter;		/* counters of this policy start here (at least 1: 0 counts nothing) */
	uint32_t max_counters;
	uint32_t first_limit;		/* slots of the limits map likewise */
	uint32_t max_limits;
	uint32_t max_flat_rules;	/* per list; 0: 1 << 22 */
	uint32_t max_words;		/* of the image; 0: MERLON_IMAGE_MAX_WORDS */
	const struct merlon_address *address;	/* of the namespace, as they are now: what address types are told by; NULL: not known */
	size_t n_addresses;
	uint64_t loaded_ns;		/* CLOCK_MONOTONIC: from when on the elements' times to live count */
};

/* What stands at one index of a list: a rule, or a chain's policy (rule NULL). */
struct merlon_flat_origin {
	uint32_t chain;				/* index in the ruleset */
	const struct merlon_rule *rule;
};

struct merlon_policy {
	const struct merlon_ruleset *ruleset;
	uint64_t *image;		/* struct merlon_image and all it leads to; a power of two words allocated */
	uint32_t words, room;		/* used, allocated */
	uint32_t generation;
	struct {
		struct merlon_flat_origin *origin;	/* [n] */
		uint32_t n;
	} list[MERLON_HOOKS][MERLON_FAMILIES];
	/* counter i of this policy is first_counter + i: statement `statement` of `rule` */
	struct merlon_counter_origin {
		const struct merlon_rule *rule;
		size_t statement;
	} *counter;
	uint32_t n_counters, first_counter;
	struct merlon_counter_origin *limit;	/* of limit i likewise, whose slot is first_limit + i */
	uint32_t n_limits, first_limit;
	const struct merlon_log **log;	/* by the index in MERLON_OP_LOG and merlon_event.log */
	uint32_t n_logs;
	uint32_t n_flat;		/* flattened rules in all */
	uint32_t n_planes, n_subtables;	/* the most in a list */
	uint32_t ns_estimate;		/* rough cost of a lookup */
	bool uses_addresses;		/* some rule asks for a type of address: compile anew when they change */
	/* classes of interfaces: private to the compiler */
	struct merlon_ifclass *ifclass;
	uint32_t n_ifclasses;
};

/*
 * 0 and *ret_policy; -EINVAL with a diagnostic if a reached chain has refused rules or a limit of the data plane is
 * exceeded (which, by how much); -ENOMEM.
 */
int merlon_compile(const struct merlon_ruleset *ruleset, const struct merlon_compile_options *options,
		   struct merlon_policy **ret_policy, struct merlon_diag *diag);
void merlon_policy_free(struct merlon_policy *policy);
static inline void merlon_policy_freep(struct merlon_policy **policy)
{
	merlon_policy_free(*policy);
}

/* What stands at an index of a list; NULL: of another generation than this policy's (which may be NULL), or nothing. */
static inline const struct merlon_flat_origin *merlon_policy_origin(const struct merlon_policy *policy, uint32_t generation,
								    unsigned hook, unsigned family, uint32_t index)
{
	if (!policy || generation != policy->generation || hook >= MERLON_HOOKS || family >= MERLON_FAMILIES ||
	    index >= policy->list[hook][family].n)
		return NULL;
	return &policy->list[hook][family].origin[index];
}

/* The class by which rules of this policy know an interface; 0 for index 0 (none). */
uint32_t merlon_policy_iface_class(const struct merlon_policy *policy, unsigned index, const char *name);
/*
 * Enters an interface that appeared, was renamed or vanished (name NULL) into an image of this policy, which may be in
 * force (one aligned store). 0, or -ENOSPC: compile anew.
 */
int merlon_policy_bind(const struct merlon_policy *policy, uint64_t *image, unsigned index, const char *name);

/* The native classifier, with buckets of its own per policy: what `why` and the tests use. */
struct merlon_walk;
struct merlon_native;
int merlon_native_new(const struct merlon_policy *policy, struct merlon_native **ret);
void merlon_native_free(struct merlon_native *native);
/* walk->packet (with interface classes in IIF and OIF) and walk->now_ns are read, the rest is filled. */
void merlon_native_classify(struct merlon_native *native, struct merlon_walk *walk);
/* What was counted at once because a walk touched more counters than it can list, by counter of the policy. */
const struct merlon_counter *merlon_native_counters(const struct merlon_native *native);

#endif
