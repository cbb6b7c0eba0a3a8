/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What user space tells the programs of a takeover (bpf/takeover.h). */
#ifndef MERLON_TAKEOVER_STAGE_H
#define MERLON_TAKEOVER_STAGE_H

/* Whose a flow is that has no session here. */
enum merlon_takeover_stage {
	MERLON_TAKEOVER_MOVING,		/* the one before's, and it is noted */
	MERLON_TAKEOVER_SETTLING,	/* this one's, unless it was noted */
};

/* Slots of the map `takers`: one of these + enum merlon_side. */
#define MERLON_TAKER_BEFORE 0
#define MERLON_TAKER_NEXT 2
#define MERLON_TAKERS 4

#endif
