/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Classes of interfaces: those that no rule of the policy tells apart. A name falls under the rules' exact name if
 * there is one, else under the longest of their prefixes that fits, else under none; an index that rules name is told
 * apart from all others. Every pair of the two is a class, so that an interface that appears later has one.
 */
#ifndef MERLON_COMPILE_IFCLASS_H
#define MERLON_COMPILE_IFCLASS_H

#include "src/compile/compile.h"

#define MERLON_MAX_IFCLASSES 4096

struct merlon_ifclass {
	unsigned index;		/* 0: any that no rule names by index */
	char name[IFNAMSIZ];	/* "" with prefix: names that no rule fits */
	bool prefix;
};

/* Fills policy->ifclass from all rules of enforced chains. 0, -ENOMEM, or -EINVAL with a diagnostic. */
int merlon_ifclass_build(struct merlon_policy *policy, struct merlon_diag *diag);
/* Whether interfaces of this class fit what the rule asks for. */
bool merlon_ifclass_fits(const struct merlon_policy *policy, uint32_t class, const struct merlon_ifname *wanted);

#endif
