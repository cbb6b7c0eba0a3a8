/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the loader share. */
#ifndef MERLON_LOAD_H
#define MERLON_LOAD_H

#include <jansson.h>

#include "compat/compat.h"
#include "compat/origins.h"

struct merlon_meanwhile;	/* src/util/netns.h */

/* A source's text, with a NUL behind it that `size` does not count. */
struct merlon_text {
	const char *name;	/* for messages */
	char *text;
	size_t size;
};

/*
 * Says why merlon_child() (src/util/netns.h) has no answer from a tool that was to read `file`, NULL: no file. `error`: what it
 * returned, or -EIO if the tool could not be run. Returns it.
 */
int merlon_tool_failed(const char *file, const char *tool, int error, struct merlon_diag *diag);

/* Whether a tool failed because its transaction is too large for an unprivileged socket: adds the cure. */
bool merlon_is_too_long(const char *message, struct merlon_diag *diag);

/* Whether it is iptables-save output rather than nft's language. */
bool merlon_is_iptables(const struct merlon_text *text);
/* AF_INET, AF_INET6 by the rules, else by the first lines, else by the name; or -EINVAL and a diagnostic that asks for --family. */
int merlon_iptables_family(const struct merlon_text *text, struct merlon_diag *diag);
/* Loads the filter section into the namespace. `meanwhile`: what is done while a child does it, or NULL. 0 or a negative errno and a diagnostic. */
int merlon_iptables_load(int netns, const struct merlon_text *text, int family, const struct merlon_meanwhile *meanwhile,
			 struct merlon_diag *diag);
/*
 * Gives the rules of the family's filter table that came with this source their places and the refused ones their text,
 * and adds the rules of the other sections as kept chains. 0 or -ENOMEM.
 */
int merlon_iptables_places(struct merlon_ruleset *ruleset, const struct merlon_text *text, int family,
			   const struct merlon_share *share);

/* Reads nf_tables of a namespace; `ret_snapshot` NULL: it is not asked for. */
struct merlon_snapshot;
int merlon_read_namespace(int policyns, struct merlon_ruleset **ret, struct merlon_snapshot *ret_snapshot,
			  struct merlon_diag *diag);

/*
 * Loads a source in nft's language with libnftables. The file itself is read (by its name: includes and messages are
 * as with nft -f) unless `from_text`. `meanwhile`: what is done while a child does it, or NULL. 0 or a negative errno and nft's own
 * messages.
 */
int merlon_nft_load(int netns, const struct merlon_text *text, bool from_text, const struct merlon_meanwhile *meanwhile,
		    struct merlon_diag *diag);
/*
 * Gives the rules that came with an nft source its lines, where it is certain which they are, and adds those that it has as
 * comments of `merlon import`. 0, -ENOMEM, or -EINVAL with a diagnostic: one of these is of no chain.
 */
int merlon_nft_places(struct merlon_ruleset *ruleset, const struct merlon_text *text, const struct merlon_share *share,
		      struct merlon_diag *diag);
/*
 * An error for each rule that an nft file, or one that it may include, has as a comment of `merlon import`. `dirs`: an array of
 * directories to look for includes in, besides nft's own, or NULL. Their number, 0 also of what is no regular file; or -ENOMEM.
 */
int merlon_nft_refusals(const char *file, const json_t *dirs, struct merlon_diag *diag);
/* The same of a command, which may include files, too. */
int merlon_nft_text_refusals(const char *words, const json_t *dirs, struct merlon_diag *diag);
/* Where a message says that permission is denied: what root without privileges can do about it, as the last message's cure. */
void merlon_cure_denied(const char *message, struct merlon_diag *diag);
/* Whether nft text may include a file by a name like "./x", in the directory that it is run in: 0, 1 or -ENOMEM. `dirs`: as above. */
int merlon_nft_includes_here(const struct merlon_text *text, const json_t *dirs);
/* Reads all of a file into `text`, whose name is set. 0 or a negative errno and a diagnostic. */
int merlon_text_read(const char *file, struct merlon_text *text, struct merlon_diag *diag);
/* A statement that takes something away: "flush ruleset", "delete table ip filter". */
struct merlon_removal {
	struct merlon_place place;	/* file: a string of the ruleset */
	char text[256];
	bool all;
};
/* Which statement of an nft source took away what was there before; false: it is not certain. */
bool merlon_nft_removal(struct merlon_ruleset *ruleset, const struct merlon_text *text, struct merlon_removal *ret);
/*
 * Gives rules that have no text what `nft list ruleset` says about them. `netns` negative: the caller's namespace.
 * Best effort: a rule may stay without.
 */
void merlon_nft_texts(int netns, struct merlon_ruleset *ruleset);
/* nft_sets.c: the same of named sets that have no declaration; where it cannot be, they get the reason. merlon_nft_texts() does it. */
void merlon_nft_sets(int netns, struct merlon_ruleset *ruleset);

/* nft.c: a context of libnftables that works on another namespace, -1: on the caller's; NULL: it can't. For children only. */
struct nft_ctx;
struct nft_ctx *merlon_nft_context(int netns);

#endif
