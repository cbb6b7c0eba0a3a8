/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/model/report.h"

int merlon_fail(const struct merlon_options *options, struct merlon_diag *diag)
{
	json_t *report;

	if (!diag->n)
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "out of memory");
	merlon_diag_print(diag, stderr);
	if (options->json) {
		report = json_pack("{s:o}", "messages", merlon_report_messages(diag));
		merlon_print_json(report);
		json_decref(report);
	}
	merlon_diag_clear(diag);
	return MERLON_EXIT_FAILED;
}

void merlon_print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
}

char *merlon_bytes(double bytes, char ret[32])
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	while (bytes >= 1024 && i < sizeof(unit) / sizeof(unit[0]) - 1) {
		bytes /= 1024;
		i++;
	}
	snprintf(ret, 32, i && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, unit[i]);
	return ret;
}

char *merlon_seconds(long long seconds, char ret[32])
{
	if (seconds < 120)
		snprintf(ret, 32, "%lld s", seconds);
	else if (seconds < 7200)
		snprintf(ret, 32, "%lld min %lld s", seconds / 60, seconds % 60);
	else if (seconds < 172800)
		snprintf(ret, 32, "%lld h %lld min", seconds / 3600, seconds / 60 % 60);
	else
		snprintf(ret, 32, "%lld d %lld h", seconds / 86400, seconds / 3600 % 24);
	return ret;
}

char *merlon_thousands(long long number, char ret[32])
{
	char plain[24];
	int n = snprintf(plain, sizeof(plain), "%lld", number), i, at = 0;

	for (i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0 && plain[i - 1] != '-')
			ret[at++] = ',';
		ret[at++] = plain[i];
	}
	ret[at] = 0;
	return ret;
}
