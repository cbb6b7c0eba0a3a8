/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The classifier alone, loaded into the kernel with one policy. */
#ifndef MERLON_TESTS_CLASSIFIER_H
#define MERLON_TESTS_CLASSIFIER_H

#include "bpf/classify.h"
#include "src/compile/compile.h"

struct classify_bpf;

struct classifier {
	struct classify_bpf *skeleton;
	uint64_t *image;		/* mapped, writable */
	size_t image_bytes;
	struct merlon_walk *walk;	/* the walk of classify_one, mapped */
	struct merlon_packet *packet;	/* [n_packets], mapped, for classify_many */
	uint64_t *ns;			/* [n_packets], mapped: of classifier_timed() */
	uint32_t n_packets;
	uint32_t verified;		/* instructions that the verifier went through for classify_one */
};

/* 0 or a negative errno; -EPERM and the like where BPF is not allowed. */
int classifier_open(struct classifier *c, const struct merlon_policy *policy, uint32_t n_packets);
void classifier_close(struct classifier *c);
/* Judges c->walk->packet at c->walk->now_ns. */
int classifier_one(struct classifier *c);
/* Judges `count` packets in one run, all of them the first one if `warm`; nanoseconds for all, or an error. */
int64_t classifier_many(struct classifier *c, uint32_t count, bool warm);
/* What the same takes without judging. */
int64_t classifier_empty(struct classifier *c, uint32_t count, bool warm);
/* Judges the first `count` packets as classifier_many() does, or none of them, and what each took with two looks at the clock is in c->ns. */
int classifier_timed(struct classifier *c, uint32_t count, bool judge);

#endif
