/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever speaks nftables or iptables: rulesets come in here, as text or live, are loaded into nf_tables in a namespace
 * where no packet passes, and are read back over netlink as a merlon_ruleset.
 */
#ifndef MERLON_COMPAT_H
#define MERLON_COMPAT_H

#include "src/model/ruleset.h"

enum merlon_format {
	MERLON_FORMAT_AUTO,	/* told by the text: iptables-save has lines "*table" and "COMMIT" */
	MERLON_FORMAT_NFT,
	MERLON_FORMAT_IPTABLES,
};

struct merlon_source {
	const char *file;		/* read from here, and named in messages; "-": standard input. What is no regular file is read once and kept */
	enum merlon_format format;
	int family;			/* AF_INET, AF_INET6 for iptables-save; AF_UNSPEC: told by the text, else an error that asks */
};

#define MERLON_TEXT_LARGEST (128U << 20)	/* bytes of a source: what has more is refused */

/* The end of an iptables-save file's name that says its family, where nothing else does: ".v4", ".v6", or "". */
const char *merlon_iptables_suffix(const char *file);

/*
 * The policy namespace: a network namespace that holds nf_tables rulesets and no interfaces. Root makes it with
 * unshare(CLONE_NEWNET); others get a user namespace around it where the kernel lets them. `ret_fd` is the
 * namespace's descriptor, owned by the caller. 0, or -EPERM and a diagnostic that says the cure.
 */
int merlon_policyns_new(int *ret_fd, struct merlon_diag *diag);

/*
 * Loads sources, in order, into nf_tables of the namespace and reads the result back. All or nothing: on an error the
 * namespace may hold anything and should be closed. A syntax error gives -EINVAL and nft's or iptables-restore's own
 * message with file and line; -EMSGSIZE if there are more rules than a user without privileges may load at once. Rules
 * that merlon refuses are no error here: they are in the ruleset as MERLON_REFUSED.
 * Names in `iif` and `oif` are looked up in the namespace of the caller.
 */
int merlon_load(int policyns, const struct merlon_source *sources, size_t n_sources,
		struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag);

/* Adds "cannot read" and, where there is one, the cure. `error`: a negative errno, -EMEDIUMTYPE: it is no regular file. Returns it. */
int merlon_cannot_read(const char *file, int error, struct merlon_diag *diag);

/* The text of a source as merlon_load() reads it, with a NUL behind it; the caller frees it. 0 or a negative errno and a diagnostic. */
int merlon_input_read(const char *file, char **ret_text, size_t *ret_size, struct merlon_diag *diag);

/* Makes a namespace, loads, reads, and closes it: what check, import and apply use. */
int merlon_read_files(const struct merlon_source *sources, size_t n_sources, struct merlon_ruleset **ret_ruleset,
		      struct merlon_diag *diag);

/* The same; `ret_snapshot`, where it is not NULL, is what the namespace held (compat/snapshot.h), untouched on an error. */
struct merlon_snapshot;
int merlon_read_files_and(const struct merlon_source *sources, size_t n_sources, struct merlon_ruleset **ret_ruleset,
			  struct merlon_snapshot *ret_snapshot, struct merlon_diag *diag);

/* The ruleset that the caller's own namespace runs now: nf_tables (with iptables-nft) and iptables-legacy. */
int merlon_read_live(struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag);

/* Reads nf_tables of the namespace that `netlink` (an mnl_socket of NETLINK_NETFILTER) was opened in. */
struct mnl_socket;
int merlon_read_netlink(struct mnl_socket *netlink, struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag);

/*
 * What of these nft files, or with n_sources 0 of the caller's own nf_tables, merlon leaves to netfilter: nft text of the
 * kept chains with their tables and sets. *ret_text is NULL if there is nothing of that kind, else the caller's to free.
 * Tables that iptables-nft manages are not among them: their rules need not have an nft form.
 */
int merlon_remainder(const struct merlon_source *sources, size_t n_sources, char **ret_text, struct merlon_diag *diag);

#endif
