/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that no rule asks for. */
#include "src/verify/packets.h"

void merlon_odd(struct merlon_packets *p)
{
	(void)p;
}
