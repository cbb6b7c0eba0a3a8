/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An event of the data plane in words. */
#ifndef MERLON_SERVICE_EVENT_H
#define MERLON_SERVICE_EVENT_H

#include "src/service/daemon.h"

/* Where it came from; NULLs for events of a policy that is gone by now, and for what has no such part. */
struct merlon_event_origin {
	const struct merlon_rule *rule;
	const struct merlon_chain *chain;
	const struct merlon_log *log;
};
struct merlon_event_origin merlon_event_origin(const struct merlon_daemon *d, const struct merlon_event *e);

/* `from`: e->saddr or e->daddr; ret[INET6_ADDRSTRLEN], ret[16] and ret[8] hold texts that are not constant. */
const char *merlon_event_address(const struct merlon_event *e, const __be32 *from, char *ret);
const char *merlon_event_interface(const struct merlon_daemon *d, uint32_t index, char *ret);
const char *merlon_event_verdict(const struct merlon_event *e);
const char *merlon_event_hook(const struct merlon_event *e);
const char *merlon_event_state(const struct merlon_event *e);
const char *merlon_protocol_name(uint8_t number, char ret[8]);

#endif
