/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat/build.h"
#include "compat/load.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

#define NOT_FOUND 126

struct legacy {
	int family;
	const char *tables;	/* names of the tables that are there, one a line */
	const char *save;	/* prints them */
	const char *name;	/* in messages and places */
};

static const struct legacy legacy[] = {
	{ AF_INET, "/proc/self/net/ip_tables_names", "iptables-legacy-save", "<iptables-legacy-save>" },
	{ AF_INET6, "/proc/self/net/ip6_tables_names", "ip6tables-legacy-save", "<ip6tables-legacy-save>" },
};

/* The file says what is there without making it: the tools themselves would create the tables. */
static bool is_there(const struct legacy *kind)
{
	_cleanup_fclose_ FILE *f = fopen(kind->tables, "re");

	return f && fgetc(f) != EOF;
}

static int run_save(void *context)
{
	const struct legacy *kind = context;
	const char *path = getenv("PATH");
	char *with_sbin;

	if (asprintf(&with_sbin, "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin") > 0)
		setenv("PATH", with_sbin, 1);
	setenv("LC_ALL", "C", 1);
	execlp(kind->save, kind->save, "--counters", (char *)NULL);
	return NOT_FOUND;
}

/* Whether a save has anything to say: rules, or a policy that drops. */
static bool is_empty(const char *text)
{
	return !strstr(text, "\n-A ") && !strstr(text, "\n[") && !strstr(text, " DROP ");
}

static bool has_table(const struct merlon_ruleset *ruleset, const struct merlon_table *like)
{
	size_t i;

	for (i = 0; i < ruleset->n_tables; i++)
		if (ruleset->table[i].family == like->family && !strcmp(ruleset->table[i].name, like->name))
			return true;
	return false;
}

/* Two tables of one name would be one when printed. */
static int rename_tables(struct merlon_ruleset *ruleset, const struct merlon_ruleset *beside)
{
	size_t i;

	for (i = 0; i < ruleset->n_tables; i++) {
		char *name;

		if (!has_table(beside, &ruleset->table[i]))
			continue;
		if (asprintf(&name, "%s_legacy", ruleset->table[i].name) < 0)
			return -ENOMEM;
		free(ruleset->table[i].name);
		ruleset->table[i].name = name;
	}
	return 0;
}

static int load_legacy(const struct legacy *kind, const struct merlon_text *text, struct merlon_ruleset **ret,
		       struct merlon_diag *diag)
{
	const struct merlon_share all = { NULL, 0 };
	_cleanup_close_ int policyns = -1;
	int r = merlon_policyns_new(&policyns, diag);

	if (r == 0)
		r = merlon_iptables_load(policyns, text, kind->family, NULL, diag);
	if (r == 0)
		r = merlon_read_namespace(policyns, ret, NULL, diag);
	if (r == 0)
		r = merlon_iptables_places(*ret, text, kind->family, &all);
	return r;
}

static int add_legacy(const struct legacy *kind, struct merlon_ruleset *ruleset, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *more = NULL;
	_cleanup_free_ char *output = NULL;
	struct merlon_text text = { .name = kind->name };
	int r;

	if (!is_there(kind))
		return 0;
	r = merlon_child(run_save, (void *)kind, &output, &text.size);
	if (r < 0)
		return merlon_tool_failed(NULL, kind->save, r, diag);
	if (r != 0) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"rules of iptables-legacy are in force, and %s %s", kind->save,
				r == NOT_FOUND ? "is not installed" : "failed");
		merlon_diag_cure(diag, "install the package iptables (Debian) or iptables-legacy (Fedora)");
		return -ENOENT;
	}
	if (is_empty(output))
		return 0;
	text.text = output;
	r = load_legacy(kind, &text, &more, diag);
	if (r == 0)
		r = rename_tables(more, ruleset);
	return r == 0 ? merlon_build_join(ruleset, more) : r;
}

int merlon_read_live(struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = NULL;
	struct mnl_socket *netlink = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	size_t i;
	int r;

	if (!netlink) {
		r = -errno;
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot open a netlink socket: %s",
				strerror(-r));
		return r;
	}
	r = merlon_read_netlink(netlink, &ruleset, diag);
	mnl_socket_close(netlink);
	if (r == 0)
		merlon_nft_texts(-1, ruleset);
	for (i = 0; i < ARRAY_SIZE(legacy) && r == 0; i++)
		r = add_legacy(&legacy[i], ruleset, diag);
	if (r == 0)
		*ret_ruleset = TAKE_PTR(ruleset);
	return r;
}
