/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a rule's statements to sets, and to the numbers of what they keep between packets. */
#include <errno.h>

#include "src/compile/flat.h"
#include "src/compile/ifclass.h"
#include "src/model/addrtype.h"

int merlon_condition_name(struct merlon_compiler *compiler, const struct merlon_ifname *name, uint32_t *ret_set)
{
	struct merlon_intervals classes = { 0 };
	int r = 0;

	for (uint32_t c = 0; c < compiler->policy->n_ifclasses && !r; c++)
		if (merlon_ifclass_fits(compiler->policy, c, name))
			r = merlon_intervals_add(&classes, c, c);
	if (r < 0) {
		merlon_intervals_clear(&classes);
		return r;
	}
	merlon_intervals_normalise(&classes);
	return merlon_sets_enter(&compiler->sets, &classes, ret_set);
}

static int enter_interfaces(struct merlon_compiler *compiler, const struct merlon_statement *s, uint32_t *ret)
{
	const struct merlon_policy *policy = compiler->policy;
	struct merlon_intervals classes = { 0 };
	int r = 0;

	for (uint32_t c = 0; c < policy->n_ifclasses && !r; c++) {
		bool fits = false;

		for (size_t i = 0; i < s->interface.n && !fits; i++)
			fits = merlon_ifclass_fits(policy, c, &s->interface.name[i]);
		if (fits != s->interface.negated)
			r = merlon_intervals_add(&classes, c, c);
	}
	if (r < 0) {
		merlon_intervals_clear(&classes);
		return r;
	}
	merlon_intervals_normalise(&classes);
	return merlon_sets_enter(&compiler->sets, &classes, ret);
}

static int addrtype_condition(struct merlon_compiler *compiler, const struct merlon_statement *s,
			      enum merlon_family family, struct merlon_condition *ret)
{
	const struct merlon_compile_options *o = compiler->options;
	struct merlon_intervals in;
	int r;

	ret->field = s->addrtype.field;
	ret->mask = ~0U;
	compiler->policy->uses_addresses = true;
	if (!o->address)
		return -ENODATA;
	if (merlon_hash_get(&compiler->seen, (uintptr_t)s, family, &ret->set))
		return 0;
	r = merlon_addrtype(o->address, o->n_addresses, family, s->addrtype.types, &in);
	if (!r)
		r = merlon_sets_enter(&compiler->sets, &in, &ret->set);
	return r < 0 ? r : merlon_hash_put(&compiler->seen, (uintptr_t)s, family, ret->set);
}

int merlon_condition(struct merlon_compiler *compiler, const struct merlon_statement *s, enum merlon_family family,
		     struct merlon_condition *ret)
{
	bool match = s->kind == MERLON_S_MATCH;
	int r;

	if (s->kind == MERLON_S_FAMILY)
		return s->family == family ? 0 : MERLON_NEVER;
	if (s->kind == MERLON_S_ADDRTYPE)
		return addrtype_condition(compiler, s, family, ret);
	ret->field = match ? s->match.field : s->interface.field;
	ret->mask = match ? s->match.mask : ~0U;
	if (match && ret->field <= MERLON_F_DADDR && s->match.family != family)
		return MERLON_NEVER;
	if (ret->field == MERLON_F_RT_TYPE && family == MERLON_IPV4)
		return MERLON_NEVER;
	if (merlon_hash_get(&compiler->seen, (uintptr_t)s, 0, &ret->set))
		return 0;
	r = match ? merlon_sets_lend(&compiler->sets, &s->match.in, &ret->set) : enter_interfaces(compiler, s, &ret->set);
	return r < 0 ? r : merlon_hash_put(&compiler->seen, (uintptr_t)s, 0, ret->set);
}

int merlon_condition_not(struct merlon_compiler *compiler, const struct merlon_statement *s,
			 struct merlon_condition *ret)
{
	struct merlon_intervals copy;
	int r = merlon_intervals_copy(&s->match.in, &copy);

	ret->field = s->match.field;
	ret->mask = s->match.mask;
	if (r < 0)
		return r;
	r = merlon_intervals_complement(&copy, merlon_value_max(merlon_field_bits(s->match.field, s->match.family)));
	if (r < 0) {
		merlon_intervals_clear(&copy);
		return r;
	}
	return merlon_sets_enter(&compiler->sets, &copy, &ret->set);
}

int merlon_condition_th0(struct merlon_compiler *compiler, const struct merlon_condition *icmp, uint32_t *ret_set)
{
	const struct merlon_intervals *in = &compiler->sets.set[icmp->set];
	struct merlon_intervals th0 = { 0 };
	int r = 0;

	if (merlon_hash_get(&compiler->seen, icmp->set, 1 + icmp->field, ret_set))
		return 0;
	for (size_t i = 0; i < in->n && !r; i++) {
		merlon_value lo = in->v[i].lo, hi = in->v[i].hi > 255 ? 255 : in->v[i].hi;

		if (lo > 255)
			break;
		if (icmp->field == MERLON_F_ICMP_TYPE)
			r = merlon_intervals_add(&th0, lo << 8, hi << 8 | 255);
		else
			for (unsigned type = 0; type < 256 && !r; type++)
				r = merlon_intervals_add(&th0, type << 8 | lo, type << 8 | hi);
	}
	if (r < 0) {
		merlon_intervals_clear(&th0);
		return r;
	}
	merlon_intervals_normalise(&th0);
	r = merlon_sets_enter(&compiler->sets, &th0, ret_set);
	return r < 0 ? r : merlon_hash_put(&compiler->seen, icmp->set, 1 + icmp->field, *ret_set);
}

static int too_many(struct merlon_compiler *compiler, const struct merlon_rule *rule, const char *what, uint32_t max)
{
	merlon_diag_add(compiler->diag, MERLON_ERROR, rule->place,
			"this is %s number %u, the data plane has room for %u", what, max + 1, max);
	return -EINVAL;
}

int merlon_state_counter(struct merlon_compiler *compiler, const struct merlon_rule *rule, size_t statement,
			 uint32_t *ret)
{
	struct merlon_policy *policy = compiler->policy;
	uintptr_t key = (uintptr_t)&rule->statement[statement];

	if (merlon_hash_get(&compiler->seen, key, 0, ret))
		return 0;
	if (policy->n_counters >= compiler->options->max_counters)
		return too_many(compiler, rule, "counter", compiler->options->max_counters);
	if (merlon_grow(&policy->counter, policy->n_counters, &compiler->counters_room, sizeof(*policy->counter)) < 0)
		return -ENOMEM;
	policy->counter[policy->n_counters] = (struct merlon_counter_origin){ rule, statement };
	*ret = policy->first_counter + policy->n_counters++;
	return merlon_hash_put(&compiler->seen, key, 0, *ret);
}

int merlon_state_limit(struct merlon_compiler *compiler, const struct merlon_rule *rule, size_t statement,
		       uint32_t *ret)
{
	struct merlon_policy *policy = compiler->policy;
	const struct merlon_statement *s = &rule->statement[statement];

	if (merlon_hash_get(&compiler->seen, (uintptr_t)s, 0, ret))
		return 0;
	if (policy->n_limits >= compiler->options->max_limits)
		return too_many(compiler, rule, "limit", compiler->options->max_limits);
	if (merlon_grow(&policy->limit, policy->n_limits, &compiler->limits_room, sizeof(*policy->limit)) < 0)
		return -ENOMEM;
	policy->limit[policy->n_limits] = (struct merlon_counter_origin){ rule, statement };
	*ret = policy->n_limits++;
	return merlon_hash_put(&compiler->seen, (uintptr_t)s, 0, *ret);
}

int merlon_state_log(struct merlon_compiler *compiler, const struct merlon_rule *rule, size_t statement, uint32_t *ret)
{
	struct merlon_policy *policy = compiler->policy;
	const struct merlon_statement *s = &rule->statement[statement];

	if (merlon_hash_get(&compiler->seen, (uintptr_t)s, 0, ret))
		return 0;
	if (merlon_grow(&policy->log, policy->n_logs, &compiler->logs_room, sizeof(*policy->log)) < 0)
		return -ENOMEM;
	policy->log[policy->n_logs] = s->log;
	*ret = policy->n_logs++;
	return merlon_hash_put(&compiler->seen, (uintptr_t)s, 0, *ret);
}
