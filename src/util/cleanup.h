/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scope-bound ownership: a variable so marked is freed or closed when it goes out of scope. */
#ifndef MERLON_UTIL_CLEANUP_H
#define MERLON_UTIL_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void merlon_freep(void *p)
{
	free(*(void **)p);
}

static inline void merlon_closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void merlon_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(merlon_freep)
#define _cleanup_close_ _cleanup_(merlon_closep)
#define _cleanup_fclose_ _cleanup_(merlon_fclosep)

/* Hand a pointer or descriptor on: the variable no longer owns it. */
#define TAKE_PTR(p) ({ __typeof__(p) taken_ = (p); (p) = NULL; taken_; })
#define TAKE_FD(fd) ({ int taken_ = (fd); (fd) = -1; taken_; })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
