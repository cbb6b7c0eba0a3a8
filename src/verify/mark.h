/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What mark.bpf.c tells. */
#ifndef MERLON_VERIFY_MARK_H
#define MERLON_VERIFY_MARK_H

#include <linux/types.h>

/* The mark, which is not 0, of what left by a device. */
struct merlon_marked {
	__u32 ifindex, bytes, mark;
};

#endif
