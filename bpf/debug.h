/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tracing of the data path into the kernel's trace pipe; compiled in only with MERLON_DEBUG=1 (--enable-bpf-debug). */
#ifndef MERLON_DEBUG_H
#define MERLON_DEBUG_H

#include <bpf/bpf_helpers.h>

#if defined(MERLON_DEBUG) && MERLON_DEBUG
#define merlon_debug(format, ...) bpf_printk("merlon: " format, ##__VA_ARGS__)
#else
#define merlon_debug(format, ...) ((void)0)
#endif

#endif
