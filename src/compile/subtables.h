/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which rules go into subtables (bpf/image.h), and these in the image. */
#ifndef MERLON_COMPILE_SUBTABLES_H
#define MERLON_COMPILE_SUBTABLES_H

#include "src/compile/flat.h"

/*
 * Lays out the subtables of a list and says so in `list`. `rule`: what each rule of `flat` is in the image. placed[i]: rule i has
 * its place elsewhere, or has it here when this returns. 0 or -ENOMEM (errors of the builder stay there).
 */
int merlon_subtables_emit(struct merlon_compiler *compiler, const struct merlon_flat *flat, const struct merlon_image_rule *rule,
			  struct merlon_image_list *list, bool *placed);

#endif
