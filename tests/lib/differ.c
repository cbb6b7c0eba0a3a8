/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * usage: differ NF_TABLES MERLON [PACKETS]: what merlon verify does, but with one ruleset for nf_tables and another one
 * for merlon: to see that it sees. Of two files with the same chains. Prints the first difference; exit status 0, 4, or 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/verify/verify.h"

static int prove(struct merlon_verify *verify, const struct merlon_verify_request *request, struct merlon_diag *diag)
{
	struct merlon_verify_result result;
	int status;

	if (merlon_verify_run(verify, request, &result, diag) < 0)
		return 1;
	if (result.first)
		json_dumpf(result.first, stdout, JSON_INDENT(1));
	printf("\n%lu packets, %lu differences, %lu unrepeatable\n", result.packets, result.differences, result.unrepeatable);
	status = result.differences ? 4 : 0;
	json_decref(result.first);
	return status;
}

int main(int argc, char **argv)
{
	struct merlon_source kernel = { .file = argv[1] }, merlon = { .file = argc > 2 ? argv[2] : NULL };
	struct merlon_verify_request request = { .source = &kernel, .n_sources = 1, .seed = 1,
						 .packets = argc > 3 ? strtoul(argv[3], NULL, 10) : 20000 };
	struct merlon_ruleset *ruleset = NULL;
	struct merlon_verify *verify = NULL;
	struct merlon_diag diag = { 0 };
	int status = 1;

	if (argc < 3)
		return 2;
	if (merlon_read_files(&merlon, 1, &ruleset, &diag) >= 0 && merlon_verify_open(&verify, &diag) >= 0) {
		request.ruleset = ruleset;
		status = prove(verify, &request, &diag);
	}
	merlon_verify_close(verify);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	merlon_ruleset_free(ruleset);
	return status;
}
