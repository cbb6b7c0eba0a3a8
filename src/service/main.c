/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <malloc.h>

#include "src/service/bus.h"
#include "src/service/daemon.h"

int main(int argc, char **argv)
{
	struct merlon_settings settings = { 0 };
	struct merlon_diag diag = { 0 };
	int r;

	/*
	 * The main arena, for all threads: each keeps a megabyte or more of what it once had, and the others grow page by page
	 * (glibc's grow_heap()), in the children of a thread, too, which read rulesets.
	 */
	mallopt(M_ARENA_MAX, 1);
	r = merlon_settings_read(&settings, argc, argv, &diag);
	merlon_diag_print(&diag, stderr);
	merlon_diag_clear(&diag);
	if (r > 0)
		return MERLON_EXIT_DONE;
	if (r < 0)
		return r == -EINVAL ? MERLON_EXIT_USAGE : MERLON_EXIT_FAILED;
	r = merlon_daemon_run(&settings, argc, argv);
	return r < 0 ? MERLON_EXIT_FAILED : MERLON_EXIT_DONE;
}
