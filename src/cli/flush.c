/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/cli.h"

static int run(const struct merlon_options *options)
{
	return merlon_change(options, "Flush", "the policy is dropped: everything passes", NULL);
}

const struct merlon_command merlon_flush = {
	.name = "flush",
	.usage = "",
	.does = "drops the policy: everything passes until another one is applied",
	.takes = MERLON_TAKES_SOCKET,
	.run = run,
};
