/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/there.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat/load.h"

/* What cannot be read is explained by whoever reads it; what can be read but once is for them. */
static int file_needs(const char *file, const json_t *dirs)
{
	struct merlon_text text = { .name = file };
	struct merlon_diag unread = { 0 };
	struct stat st;
	int r = 0;

	if (stat(file, &st) == 0 && S_ISREG(st.st_mode) && merlon_text_read(file, &text, &unread) == 0)
		r = merlon_nft_includes_here(&text, dirs);
	merlon_diag_clear(&unread);
	free(text.text);
	return r;
}

/* 1: one of them may include a file of that directory, *ret_which: which one; 0; or -ENOMEM. */
static int need(const struct merlon_texts *texts, const char **ret_which)
{
	const struct merlon_text words = {
		.name = "<cmdline>", .text = (char *)texts->words, .size = texts->words ? strlen(texts->words) : 0,
	};
	int r = texts->words ? merlon_nft_includes_here(&words, texts->dirs) : 0;
	size_t i;

	*ret_which = words.name;
	for (i = 0; i < texts->n && !r; i++) {
		*ret_which = texts->file[i];
		r = file_needs(texts->file[i], texts->dirs);
	}
	return r;
}

int merlon_there(const char *dir, const struct merlon_texts *texts, struct merlon_diag *diag)
{
	int r = chdir(dir) < 0 ? -errno : 0, needed;
	const char *which;

	if (!r)
		return 0;
	needed = need(texts, &which);
	if (!needed)
		return chdir("/") < 0 ? -errno : 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = which },
			"what it includes by a name like \"./x\" is looked for in %s, which merlond cannot change to: %s", dir, strerror(-r));
	merlon_diag_cure(diag, "include it by an absolute path, or run merlon in a directory that root may enter without privileges");
	return needed < 0 ? needed : r;
}
