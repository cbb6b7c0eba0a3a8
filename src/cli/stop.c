/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/cli.h"
#include "src/model/report.h"

static int run(const struct merlon_options *options)
{
	struct merlon_diag diag = { 0 };
	struct merlon_call call;
	int r = merlon_call(options, "Stop", NULL, &call);

	if (r)
		return r;
	merlon_report_read_messages(json_object_get(call.answer, "messages"), &diag);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	if (options->json)
		merlon_print_json(call.answer);
	else if (call.status == MERLON_EXIT_DONE)
		puts("merlon is detached; nothing is filtered any more");
	json_decref(call.answer);
	return call.status;
}

const struct merlon_command merlon_stop = {
	.name = "stop",
	.usage = "",
	.does = "detaches from all interfaces, and ends merlond",
	.takes = MERLON_TAKES_SOCKET,
	.run = run,
};
