/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_rpfilter.h>
#include <linux/netfilter/xt_state.h>
#include <stddef.h>
#include <string.h>

#include "compat/does.h"
#include "src/util/cleanup.h"

static const struct {
	const char *name;
	enum merlon_does does;
} known[] = {
	{ "DNAT", MERLON_DOES_NAT },
	{ "SNAT", MERLON_DOES_NAT },
	{ "MASQUERADE", MERLON_DOES_NAT },
	{ "REDIRECT", MERLON_DOES_NAT },
	{ "NETMAP", MERLON_DOES_NAT },
	{ "DNPT", MERLON_DOES_REWRITE },
	{ "SNPT", MERLON_DOES_REWRITE },
	{ "RAWDNAT", MERLON_DOES_REWRITE },	/* of xtables-addons */
	{ "RAWSNAT", MERLON_DOES_REWRITE },
	{ "TPROXY", MERLON_DOES_TPROXY },
	{ "MARK", MERLON_DOES_MARK },
	{ "HMARK", MERLON_DOES_MARK },
	{ "SET", MERLON_DOES_MARK },	/* --map-mark */
	{ "NOTRACK", MERLON_DOES_UNTRACK },
	{ "TTL", MERLON_DOES_ALTER },
	{ "HL", MERLON_DOES_ALTER },
	{ "TOS", MERLON_DOES_ALTER },
	{ "DSCP", MERLON_DOES_ALTER },
	{ "ECN", MERLON_DOES_ALTER },
	{ "NFQUEUE", MERLON_DOES_QUEUE },
	{ "TEE", MERLON_DOES_COPY },
	{ "REJECT", MERLON_DOES_STOP },
	{ "DROP", MERLON_DOES_STOP },
	{ "SYNPROXY", MERLON_DOES_STOP },	/* takes the SYN and answers it itself */
};

/* These change nothing that a rule of merlon asks for; the first is a verdict or a jump, "ERROR" the head of a chain. */
static const char *const harmless[] = {
	"", "ERROR", "ACCEPT", "RETURN", "LOG", "NFLOG", "ULOG", "TCPMSS", "TCPOPTSTRIP", "CHECKSUM", "CLASSIFY",
	"CONNSECMARK", "SECMARK", "IDLETIMER", "LED", "RATEEST", "AUDIT", "TRACE", "CLUSTERIP",
	/* of ebtables: Ethernet addresses, frames */
	"arpreply", "dnat", "snat", "redirect", "mark", "standard", "log", "nflog",
};

/* The longer struct of revision 1 begins like the shorter one; what is not there is 0. */
static enum merlon_does ct_does(const void *info, size_t bytes)
{
	struct xt_ct_target_info_v1 ct = { 0 };
	bool has_timeout = bytes >= offsetof(struct xt_ct_target_info_v1, ct);

	if (bytes < offsetof(struct xt_ct_target_info, ct))
		return MERLON_DOES_UNKNOWN;
	memcpy(&ct, info, has_timeout ? offsetof(struct xt_ct_target_info_v1, ct) : offsetof(struct xt_ct_target_info, ct));
	if (ct.flags & XT_CT_NOTRACK)
		return MERLON_DOES_UNTRACK;
	if (ct.zone || ct.flags & XT_CT_ZONE_MARK)
		return MERLON_DOES_ZONE;
	if (ct.timeout[0])
		return MERLON_DOES_TIMEOUT;
	return ct.helper[0] ? MERLON_DOES_HELPER : MERLON_DOES_NOTHING;
}

static enum merlon_does connmark_does(unsigned revision, const void *info, size_t bytes)
{
	const struct xt_connmark_tginfo1 *one = info;
	const struct xt_connmark_tginfo2 *two = info;
	unsigned mode;

	if (bytes < (revision == 1 ? sizeof(*one) : sizeof(*two)) || revision < 1 || revision > 2)
		return MERLON_DOES_UNKNOWN;
	mode = revision == 1 ? one->mode : two->mode;
	return mode == XT_CONNMARK_RESTORE ? MERLON_DOES_MARK : MERLON_DOES_NOTHING;
}

enum merlon_does merlon_target_does(const char *name, unsigned revision, const void *info, size_t bytes)
{
	size_t i;

	if (!strcmp(name, "CT"))
		return ct_does(info, bytes);
	if (!strcmp(name, "CONNMARK"))
		return connmark_does(revision, info, bytes);
	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(name, known[i].name))
			return known[i].does;
	for (i = 0; i < ARRAY_SIZE(harmless); i++)
		if (!strcmp(name, harmless[i]))
			return MERLON_DOES_NOTHING;
	return MERLON_DOES_UNKNOWN;
}

bool merlon_match_is_stray(const char *name, const void *info, size_t bytes)
{
	struct xt_conntrack_mtinfo3 conntrack;
	struct xt_rpfilter_info rpfilter;
	struct xt_state_info state;

	if (!strcmp(name, "rpfilter") && bytes >= sizeof(rpfilter)) {
		memcpy(&rpfilter, info, sizeof(rpfilter));
		return rpfilter.flags & XT_RPFILTER_INVERT;
	}
	if (!strcmp(name, "state") && bytes >= sizeof(state)) {
		memcpy(&state, info, sizeof(state));
		return state.statemask == XT_STATE_INVALID;
	}
	/* revisions before 3 are shorter, and no iptables of today makes them */
	if (strcmp(name, "conntrack") != 0 || bytes < sizeof(conntrack))
		return false;
	memcpy(&conntrack, info, sizeof(conntrack));
	return conntrack.match_flags & XT_CONNTRACK_STATE && !(conntrack.invert_flags & XT_CONNTRACK_STATE) &&
	       conntrack.state_mask == XT_CONNTRACK_STATE_INVALID;
}

/* Options of the target may stand anywhere in the line. */
static bool has(const struct merlon_ipt_words *words, const char *option)
{
	size_t i;

	for (i = 0; i < words->n; i++)
		if (!strcmp(words->word[i], option))
			return true;
	return false;
}

static enum merlon_does ct_words_do(const struct merlon_ipt_words *words)
{
	if (has(words, "--notrack"))
		return MERLON_DOES_UNTRACK;
	if (has(words, "--zone") || has(words, "--zone-orig") || has(words, "--zone-reply"))
		return MERLON_DOES_ZONE;
	if (has(words, "--timeout"))
		return MERLON_DOES_TIMEOUT;
	return has(words, "--helper") ? MERLON_DOES_HELPER : MERLON_DOES_NOTHING;
}

static bool is_stray(const struct merlon_ipt_words *words)
{
	const char *state = merlon_ipt_option(words, "--ctstate", "--state");

	/* "!" may stand before the option */
	return (has(words, "rpfilter") && has(words, "--invert")) || (state && !strcmp(state, "INVALID") && !has(words, "!"));
}

enum merlon_does merlon_words_do(const struct merlon_ipt_words *words)
{
	const char *name = merlon_ipt_option(words, "-j", "--jump");
	size_t i;

	for (i = 0; i < words->n && !name; i++)
		if (!strncmp(words->word[i], "-j", 2))
			name = words->word[i] + 2;
	if (!name)
		return MERLON_DOES_NOTHING;
	if (!strcmp(name, "CT"))
		return ct_words_do(words);
	if (!strcmp(name, "CONNMARK"))
		return has(words, "--restore-mark") ? MERLON_DOES_MARK : MERLON_DOES_NOTHING;
	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(name, known[i].name))
			return known[i].does == MERLON_DOES_STOP && is_stray(words) ? MERLON_DOES_STOP_STRAY : known[i].does;
	return MERLON_DOES_NOTHING;
}
