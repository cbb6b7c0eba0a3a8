/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What on this host the data plane at TC would judge otherwise than nf_tables: NAT, marks that netfilter sets, policy routing
 * by mark, VRF, IPsec, bridge netfilter, forwarding that TC is not told of (also of multicast), multipath routes, and who else filters here. It looks at the caller's network namespace, changes
 * nothing and remembers nothing.
 */
#ifndef MERLON_HOST_HOST_H
#define MERLON_HOST_HOST_H

#include <jansson.h>
#include <stdio.h>

#include "src/model/ruleset.h"
#include "src/util/ifpattern.h"

enum merlon_host_severity {
	MERLON_HOST_REFUSE,	/* traffic could pass that nf_tables would stop */
	MERLON_HOST_WARN,	/* merlon would stop or report something else than nf_tables, or another one interferes */
	MERLON_HOST_NOTE,	/* to be known */
};

struct merlon_finding {
	const char *what;	/* its name, for programs: "nat", "vrf", ... */
	const char *rule;	/* the property of the data path that it collides with, in words; NULL: none */
	const char *why, *cure;	/* whole sentences without a full stop */
	char *where;		/* table, chain and handle, interface, unit ..., owned */
	struct merlon_place place;	/* a rule of the policy itself: its file's name is the policy's */
	enum merlon_host_severity severity;
};

struct merlon_host {
	struct merlon_finding *finding;	/* the worst first */
	size_t n;
};

struct merlon_host_options {
	const struct merlon_ruleset *policy;	/* NULL: any may come; what only some policies mind is a warning then */
	const struct merlon_ifpattern *interfaces;	/* that will be filtered; NULL: all */
	bool any_interfaces;	/* ... but which ones is not known */
	bool unseen_refuses;	/* what could not be looked at, for want of privileges, counts as the worst */
};

/* 0 or -ENOMEM; *ret is the caller's to clear, also when empty. What could not be looked at is a finding, too. */
int merlon_host_check(const struct merlon_host_options *options, struct merlon_host *ret);
/* The same of what the policy itself leaves to netfilter, without a look at the host. It is part of merlon_host_check(). `live`: it is what netfilter has. */
int merlon_host_check_policy(const struct merlon_ruleset *policy, bool live, struct merlon_host *ret);
void merlon_host_clear(struct merlon_host *host);

/* Whether rules of netfilter drop or reject packets in the caller's network namespace. 1, 0 or a negative errno. */
int merlon_host_is_filtered(void);
/* Units of systemd that are firewalls, installed, and do not run: "nftables.service, ufw.service"; NULL: none, or not known. The caller's. */
char *merlon_host_idle_firewalls(void);

bool merlon_host_refuses(const struct merlon_host *host);
/* [{"what","severity":"refuse"|"warn"|"note","where","why","cure","rule","file","line"}]; file, line: of a rule of the policy. A new reference, NULL: no memory. */
json_t *merlon_host_json(const struct merlon_host *host);
/* Prints what merlon_host_json() made. */
void merlon_host_print(const json_t *list, FILE *out);
/* Refusals become errors, or warnings where they are `forgiven`; warnings stay such, notes are left out. */
void merlon_host_explain(const struct merlon_host *host, bool forgiven, struct merlon_diag *diag);

#endif
