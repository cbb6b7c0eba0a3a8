/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a rule that netfilter runs beside merlon does to packets. */
#ifndef MERLON_MODEL_DOES_H
#define MERLON_MODEL_DOES_H

enum merlon_does {
	MERLON_DOES_NAT,
	MERLON_DOES_TPROXY,
	MERLON_DOES_REWRITE,	/* addresses or ports, without the bookkeeping of NAT */
	MERLON_DOES_FLOWTABLE,
	MERLON_DOES_RECEIVE,	/* takes in what was addressed to another host or to a bridge's port */
	MERLON_DOES_MARK,
	MERLON_DOES_UNTRACK,
	MERLON_DOES_ZONE,
	MERLON_DOES_TIMEOUT,	/* of its own for some connections */
	MERLON_DOES_HELPER,	/* or expectation */
	MERLON_DOES_ALTER,	/* other headers */
	MERLON_DOES_QUEUE,
	MERLON_DOES_COPY,
	MERLON_DOES_UNKNOWN,	/* a target of x_tables by a name that is not known here */
	MERLON_DOES_STOP,	/* drops or rejects, perhaps; rule 0: the chain's policy does */
	MERLON_DOES_STOP_STRAY,	/* the same, where it begins no connection: what is invalid, or has no route back, as rp_filter does */
	MERLON_DOES,
	MERLON_DOES_NOTHING = MERLON_DOES,
};

/* Either way. */
#define MERLON_STOPS (1U << MERLON_DOES_STOP | 1U << MERLON_DOES_STOP_STRAY)

#endif
