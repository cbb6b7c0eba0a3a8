/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One owner of a directory at a time. */
#ifndef MERLON_UTIL_LOCK_H
#define MERLON_UTIL_LOCK_H

#include <stdbool.h>

/*
 * Locks a directory against everybody else who does; closing the descriptor, also by a kill, unlocks it. Waits half a
 * second for one that is going, -EBUSY if it stays; -ESTALE if the directory was removed meanwhile.
 */
int merlon_lock_dir(const char *path);
/* Whether the directory that was locked is still the one of this name. */
bool merlon_lock_is_of(int fd, const char *path);

#endif
