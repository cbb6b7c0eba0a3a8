/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/command.h"

#include <ctype.h>
#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "compat/load.h"
#include "compat/there.h"
#include "src/util/netns.h"

#define FAILED 125	/* the child could not even start */

int merlon_nft_command_read(const json_t *request, struct merlon_nft_command *ret)
{
	struct merlon_nft_command c = {
		.text = json_string_value(json_object_get(request, "text")),
		.file = json_string_value(json_object_get(request, "file")),
		.cwd = json_string_value(json_object_get(request, "cwd")),
		.output = json_integer_value(json_object_get(request, "output")),
		.debug = json_integer_value(json_object_get(request, "debug")),
		.check = json_is_true(json_object_get(request, "check")),
		.optimize = json_is_true(json_object_get(request, "optimize")),
		.include = json_object_get(request, "include"),
		.define = json_object_get(request, "define"),
	};

	*ret = (struct merlon_nft_command){ 0 };
	if (!c.text == !c.file || (c.file && c.file[0] != '/'))
		return -EINVAL;
	c.owner = json_incref((json_t *)request);
	*ret = c;
	return 0;
}

void merlon_nft_command_clear(struct merlon_nft_command *command)
{
	json_decref(command->owner);
	*command = (struct merlon_nft_command){ 0 };
}

/* One command, of plain words: nothing that could be the end of it, a file to include or another command. */
bool merlon_nft_only_lists(const struct merlon_nft_command *command)
{
	const char *p = command->text;

	/* names are looked up in the network by whoever may do anything */
	if (!p || command->output & NFT_CTX_OUTPUT_REVERSEDNS || json_array_size(command->include) || json_array_size(command->define) || command->debug)
		return false;
	p += strspn(p, " ");
	if (strncmp(p, "list", 4) || (p[4] && p[4] != ' '))
		return false;
	for (; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr(" _-./", *p))
			return false;
	return true;
}

struct running {
	int netns;
	const struct merlon_nft_command *command;
};

static void set_up(struct nft_ctx *ctx, const struct merlon_nft_command *command)
{
	const json_t *item;
	size_t i;

	nft_ctx_output_set_flags(ctx, command->output);
	nft_ctx_output_set_debug(ctx, command->debug);
	nft_ctx_set_dry_run(ctx, command->check || merlon_nft_only_lists(command));
	if (command->optimize)
		nft_ctx_set_optimize(ctx, NFT_OPTIMIZE_ENABLED);
	json_array_foreach(command->include, i, item)
		nft_ctx_add_include_path(ctx, json_string_value(item));
	json_array_foreach(command->define, i, item)
		nft_ctx_add_var(ctx, json_string_value(item));
}

static int run(void *context)
{
	const struct running *running = context;
	const struct merlon_nft_command *command = running->command;
	const struct merlon_texts texts = { command->text, &command->file, command->file != NULL, command->include };
	struct merlon_diag diag = { 0 };
	struct nft_ctx *ctx;
	int r;

	if (command->cwd && merlon_there(command->cwd, &texts, &diag) < 0) {
		merlon_diag_print(&diag, stderr);
		return 1;
	}
	r = command->file ? merlon_nft_refusals(command->file, command->include, &diag) :
		merlon_nft_text_refusals(command->text, command->include, &diag);
	if (r) {
		merlon_diag_print(&diag, stderr);
		return r < 0 ? FAILED : MERLON_NFT_REFUSED;
	}
	ctx = merlon_nft_context(running->netns);
	if (!ctx)
		return FAILED;
	set_up(ctx, command);
	r = command->file ? nft_run_cmd_from_filename(ctx, command->file) : nft_run_cmd_from_buffer(ctx, command->text);
	return r ? 1 : 0;
}

int merlon_nft_run(int netns, const struct merlon_nft_command *command, char **ret_output, struct merlon_diag *diag)
{
	struct running running = { netns, command };
	size_t size;
	int r = merlon_child(run, &running, ret_output, &size);

	r = r == FAILED ? -EIO : r;
	if (r == 1 && strstr(*ret_output, "Could not open") && strstr(*ret_output, strerror(EACCES))) {
		merlon_diag_add(diag, MERLON_NOTE, (struct merlon_place){ 0 }, "merlond may not read what is included");
		merlon_cure_denied(*ret_output, diag);
	}
	return r < 0 ? merlon_tool_failed(command->file, "nft", r, diag) : r;
}
