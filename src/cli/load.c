/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What check and import do with their files, without a daemon. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "compat/compat.h"
#include "src/cli/cli.h"
#include "src/compile/compile.h"
#include "src/host/host.h"
#include "src/model/report.h"
#include "src/util/addresses.h"
#include "src/util/cleanup.h"

static int read_sources(const struct merlon_options *options, struct merlon_ruleset **ret, struct merlon_diag *diag)
{
	_cleanup_free_ struct merlon_source *source = NULL;
	int i;

	if (options->live)
		return merlon_read_live(ret, diag);
	source = calloc(options->n_files, sizeof(*source));
	if (!source)
		return -ENOMEM;
	for (i = 0; i < options->n_files; i++)
		source[i] = (struct merlon_source){ .file = options->file[i], .family = options->family };
	return merlon_read_files(source, options->n_files, ret, diag);
}

static int compile(struct merlon_loaded *loaded, struct merlon_diag *diag)
{
	_cleanup_free_ struct merlon_interface *interface = NULL;
	struct merlon_compile_options options = {
		.generation = 1, .first_counter = 1, .max_counters = 1U << 24, .max_limits = 1U << 20,
	};
	struct merlon_policy *policy = NULL;
	json_t *report = loaded->report;
	int r;

	r = merlon_interfaces(&interface, &options.n_interfaces);
	if (r < 0)
		return r;
	options.interface = interface;
	r = merlon_addresses(&loaded->address, &loaded->n_addresses);
	if (r < 0)
		return r;
	options.address = loaded->address;
	options.n_addresses = loaded->n_addresses;
	r = merlon_compile(loaded->ruleset, &options, &policy, diag);
	if (r < 0)
		return r;
	json_object_set_new(report, "ns_estimate", json_integer(policy->ns_estimate));
	json_object_set_new(report, "memory_bytes", json_integer(policy->words * 8LL));
	json_object_set_new(report, "flat_rules", json_integer(policy->n_flat));
	loaded->policy = policy;
	return 0;
}

/* Refusals settled by --allow-partial, or exit 3. */
static int settle(const struct merlon_options *options, struct merlon_loaded *loaded)
{
	json_t *left_out;
	int remain;

	if (!json_array_size(json_object_get(loaded->report, "refused")))
		return MERLON_EXIT_DONE;
	if (!options->allow_partial)
		return MERLON_EXIT_REFUSED;
	left_out = json_array();
	remain = merlon_ruleset_leave_out(loaded->ruleset, json_object_get(loaded->report, "refused"), left_out);
	if (remain) {
		json_decref(left_out);
		return MERLON_EXIT_REFUSED;
	}
	json_object_set_new(loaded->report, "left_out", left_out);
	json_object_set_new(loaded->report, "refused", json_array());
	return MERLON_EXIT_DONE;
}

/* What the ruleset is called in messages; NULL: it is of several files, or of none. */
static const char *only_file(const struct merlon_options *options)
{
	if (options->live || options->n_files != 1)
		return NULL;
	return strcmp(options->file[0], "-") ? options->file[0] : "<stdin>";
}

/* What the ruleset leaves to netfilter, where its filter rules ask for what that sets: apply would refuse it. */
static int judge_kept(const struct merlon_options *options, struct merlon_loaded *loaded, struct merlon_diag *diag)
{
	static const char why[] = "rules that it leaves to netfilter change what its filter rules ask for";
	struct merlon_host host;

	if (merlon_host_check_policy(loaded->ruleset, options->live, &host) < 0)
		return -ENOMEM;
	if (merlon_host_refuses(&host))
		json_object_set_new(loaded->report, "apply_refuses", json_string(why));
	/* with --host it is in the list */
	if (!options->host)
		merlon_host_explain(&host, true, diag);
	if (!options->host && merlon_host_refuses(&host))
		merlon_diag_add(diag, MERLON_WARNING, (struct merlon_place){ .file = only_file(options) }, "apply refuses this ruleset: %s", why);
	merlon_host_clear(&host);
	return 0;
}

int merlon_load_local(const struct merlon_options *options, bool with_compile, struct merlon_loaded *ret)
{
	struct merlon_diag diag = { 0 };
	struct merlon_loaded loaded = { 0 };
	int status = MERLON_EXIT_FAILED;

	if (read_sources(options, &loaded.ruleset, &diag) >= 0) {
		loaded.report = merlon_report(loaded.ruleset);
		merlon_report_name_file(loaded.report, only_file(options));
		json_object_set_new(loaded.report, "generation", json_integer(0));
		status = settle(options, &loaded);
		if (judge_kept(options, &loaded, &diag) < 0)
			status = MERLON_EXIT_FAILED;
		if (status == MERLON_EXIT_DONE && with_compile && compile(&loaded, &diag) < 0)
			status = MERLON_EXIT_FAILED;
	} else {
		loaded.report = json_pack("{s:i, s:i, s:i, s:[]}", "rules", 0, "exact", 0, "kept", 0, "refused");
	}
	json_object_set_new(loaded.report, "messages", merlon_report_messages(&diag));
	merlon_diag_print(&diag, stderr);
	if (status == MERLON_EXIT_FAILED && !diag.n)
		fputs("error: out of memory\n", stderr);
	merlon_diag_clear(&diag);
	*ret = loaded;
	return status;
}

void merlon_loaded_clear(struct merlon_loaded *loaded)
{
	merlon_policy_free(loaded->policy);
	free(loaded->address);
	merlon_ruleset_free(loaded->ruleset);
	json_decref(loaded->report);
}
