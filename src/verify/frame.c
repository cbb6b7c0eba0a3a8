/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/verify/frame.h"

#include <stdlib.h>
#include <string.h>

void merlon_segment_clear(struct merlon_segment *segment)
{
	for (size_t i = 0; i < segment->n; i++)
		free(segment->frame[i].data);
	free(segment->frame);
	free(segment->ground.address);
	memset(segment, 0, sizeof(*segment));
}
