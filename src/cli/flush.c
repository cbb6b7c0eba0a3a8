/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/cli.h"

static int run(const struct merlon_options *options)
{
	struct merlon_call call;
	int r = merlon_call(options, "Flush", NULL, &call);

	if (r)
		return r;
	merlon_print_messages(call.answer, stderr);
	if (options->json)
		merlon_print_json(call.answer);
	else if (call.status == MERLON_EXIT_DONE)
		puts("the policy is dropped: everything passes");
	json_decref(call.answer);
	return call.status;
}

const struct merlon_command merlon_flush = {
	.name = "flush",
	.usage = "",
	.does = "drops the policy: everything passes until another one is applied",
	.takes = MERLON_TAKES_SOCKET,
	.run = run,
};
