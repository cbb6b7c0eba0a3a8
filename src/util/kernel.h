/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The version of the kernel that runs. What it can do is better looked up (BTF): distributions backport. */
#ifndef MERLON_UTIL_KERNEL_H
#define MERLON_UTIL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

/* major << 8 | minor; 0: it cannot be told. */
unsigned merlon_kernel_version(void);
/* Whether it is this one or newer; true where that cannot be told. */
bool merlon_kernel_is(unsigned major, unsigned minor);

/*
 * Which of `n` names, of less than 62 bytes, the kernel's BTF has: functions, if nothing else is called so. 0 or a negative
 * errno: it has none, or it cannot be read. libbpf takes five times as long to tell.
 */
int merlon_kernel_names(const char *const *name, size_t n, bool *ret);

/*
 * Whether nf_conntrack has the tracker that sysctl nf_conntrack_`sysctl` belongs to; true where that cannot be told, as while
 * nf_conntrack is not loaded.
 */
bool merlon_kernel_tracks(const char *sysctl);
/* Whether rp_filter is on for any interface of this namespace, or for those to come; true where that cannot be told. */
bool merlon_kernel_filters_sources(void);
/* Whether an interface takes in IPv4 that comes from an address of this host: accept_local. */
bool merlon_kernel_accepts_own(const char *interface);

#endif
