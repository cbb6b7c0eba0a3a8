/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What rules do to packets, told by their expressions and targets without understanding the rest of them. */
#ifndef MERLON_DOES_H
#define MERLON_DOES_H

#include <libmnl/libmnl.h>

#include "compat/iptables.h"
#include "src/model/does.h"

/* What an expression of nf_tables does: NFTA_EXPR_NAME and NFTA_EXPR_DATA, in a table of `family`. */
enum merlon_does merlon_expression_does(uint8_t family, const char *name, const struct nlattr *data);
/* All that a rule of nf_tables does, from its message: 1 << enum merlon_does. */
uint32_t merlon_message_does(const struct nlmsghdr *message);
/* What a target of x_tables does; `info` is aligned to 4 bytes at least. */
enum merlon_does merlon_target_does(const char *name, unsigned revision, const void *info, size_t bytes);
/* What the target in a line of iptables-save does; one that is not known is taken for a chain. */
enum merlon_does merlon_words_do(const struct merlon_ipt_words *words);
/* Whether a match of x_tables is one for packets without a route back (rpfilter --invert), or for invalid ones alone. */
bool merlon_match_is_stray(const char *name, const void *info, size_t bytes);
/* What a rule does that only concerns such packets. */
uint32_t merlon_does_to_stray(uint32_t does);

#endif
