/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of src/kernel/ share. Two directories of pins:
 *
 *   PIN_DIR/maps/     what outlives policies: control, sessions, statistics, ring buffers, the entry slots
 *   PIN_DIR/policy/   what belongs to the loaded programs' size: image, counters, limits, paths, decisions, the way to
 *                     the program of the long way, and those programs; not there before the first policy
 *
 * A larger policy gets a directory `policy-next`, which is exchanged with `policy` in one step.
 *
 * What takes the place of a data plane of another layout (takeover.c) is made in PIN_DIR/next/, where all but the links
 * is as above. When it is in force, that becomes PIN_DIR/after/ in one step, and is moved up from there.
 */
#ifndef MERLON_KERNEL_INTERNAL_H
#define MERLON_KERNEL_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bpf/why.h"
#include "src/kernel/dataplane.h"
#include "src/kernel/table.h"

/* Variables of bpf/maps.h that are maps of their own, which have pins: `control` is the map ".data.control". */
#define MERLON_VARIABLE ".data."

/* In the order of names in pins.c. */
enum merlon_map {
	MERLON_MAP_CONTROL,
	MERLON_MAP_ENTRY,
	MERLON_MAP_TRACKERS,
	MERLON_MAP_STATS,
	MERLON_MAP_SESSIONS,
	MERLON_MAP_SETS,
	MERLON_MAP_EVENTS,
	MERLON_MAP_REJECTS,
	MERLON_MAP_FILTERED,
	MERLON_MAP_MARTIAN,
	MERLON_MAP_LAYOUT,	/* the BTF of them all, for other versions: layout.h */
	MERLON_STATE_MAPS,
};
enum merlon_policy_map {
	MERLON_MAP_IMAGE,
	MERLON_MAP_COUNTERS,
	MERLON_MAP_LIMITS,
	MERLON_MAP_PATHS,
	MERLON_MAP_PATH_NEXT,
	MERLON_MAP_DECISIONS,
	MERLON_MAP_LONG_WAY,
	MERLON_MAP_LEDGER,
	MERLON_POLICY_MAPS,
};
enum { MERLON_PROG_INGRESS, MERLON_PROG_EGRESS, MERLON_PROGS };

/* The sizes that programs are loaded for. Counters [1, counters) are the policies', the 2 * paths above are the paths'. */
struct merlon_class {
	uint32_t words;
	uint32_t counters;
	uint32_t limits;
	uint32_t paths;
};

/* What a generation occupies. */
struct merlon_ranges {
	uint32_t generation;
	uint32_t first_counter, n_counters;
	uint32_t first_limit, n_limits;
	uint32_t first_path, end_path;
};

/* User space's own notes, kept in a pinned map of one entry: they must survive with the maps they speak of. */
struct merlon_ledger {
	struct merlon_class class;
	struct merlon_ranges ranges[2];		/* by generation & 1: the one in force and the one before or after it */
};

struct merlon_policy_maps {
	int fd[MERLON_POLICY_MAPS];
	int prog[MERLON_PROGS];
	struct merlon_ledger ledger;	/* as in its map */
};

/* The program that is asked, with its private maps; skel NULL: not loaded. */
struct merlon_bpf;
struct merlon_asking {
	struct merlon_bpf *skel;	/* owned; the rest is its */
	int prog;
	int limits;
	struct merlon_why *why;		/* where the program reads the question and writes the answer */
	uint32_t image_id;		/* of the map that it reads images from */
};

/* The data plane of another layout that is in force until this one is, see takeover.c. */
struct merlon_before {
	char *pin_dir;
	struct merlon_layout *layout;
	struct merlon_control control;	/* as far as it has that */
	uint32_t version;
	struct merlon_table_maps table;	/* its maps, of `sets` sets */
	uint32_t sets;
	int entry;			/* likewise; this data plane uses it, too */
	int filtered;			/* likewise; -1: it has none of that kind */
	int prog[MERLON_PROGS];		/* in force */
	int entry_prog[MERLON_PROGS];
	bool begun;			/* a takeover that was cut off goes on */
	bool settled;			/* all packets are the new one's: only the pins are not */
};

struct merlon_dataplane {
	char *pin_dir;			/* where its maps and programs are; links are in links_dir */
	char *links_dir;
	char *pin_name;			/* what messages call the directory of all */
	struct merlon_before *before;	/* NULL: none */
	int lock;			/* on the directory of all pins */
	struct merlon_dataplane_options options;
	int fd[MERLON_STATE_MAPS];
	int entry_prog[MERLON_PROGS];
	struct merlon_policy_maps policy;	/* none yet before the first policy */
	struct merlon_control control;	/* as in the map; only this process writes it */
	uint64_t *image;		/* mapped; NULL: none in force */
	size_t image_bytes;
	struct merlon_storing *storing;	/* NULL: no thread waits, see store.c */
	struct merlon_links_ahead *links_ahead;		/* NULL: no thread attaches, see ahead.c */
	struct merlon_programs_ahead *programs_ahead;	/* likewise, loads */
	bool tcx;
	void (*relax)(void *context, bool away);	/* NULL: nobody waits */
	void *relaxed;
	int (*last)(void *context, struct merlon_diag *diag);	/* NULL: nothing */
	void *lasts;
	bool has_sessions;		/* there may be some of another time than the policy's */
	pthread_t probe;		/* valid if `probes` */
	bool probes;
	struct ring_buffer *ring;
	int budget;
	struct merlon_dataplane_events handler;
	struct merlon_asking asking;
};

/* pins.c */
int merlon_pin_path(const struct merlon_dataplane *dp, char *ret, const char *format, ...)
	__attribute__((format(printf, 3, 4)));	/* ret[PATH_MAX] */
int merlon_pins_prepare(const char *pin_dir, struct merlon_diag *diag);
/* 1: there are some, or the directory for them; 0: there are none; an error if it is not for pins. */
int merlon_pins_are_there(const char *pin_dir, struct merlon_diag *diag);
/* Before a data plane is made: what is there may be the rest of one, and is removed then; or an error with a diagnostic. */
int merlon_pins_remove_rest(struct merlon_dataplane *dp, struct merlon_diag *diag);
/* -EPROTO without a diagnostic: it has another layout, dp->control.version; nothing is open then. */
int merlon_pins_open(struct merlon_dataplane *dp, struct merlon_diag *diag);
void merlon_pins_close(struct merlon_dataplane *dp);
/* What is pinned below a directory: PIN_DIR/DIR/NAME. A descriptor or a negative errno. */
int merlon_pin_get(const char *pin_dir, const char *dir, const char *name);
/* The data plane in PIN_DIR/next/ is in force: takes the place of the other one, also after it was cut off doing so. */
int merlon_pins_commit(const char *pin_dir);
/* Ends what was cut off behind its first step. */
int merlon_pins_tidy(const char *pin_dir);
/* Everything below, and the directory. Not there: 0. */
int merlon_pins_remove_below(const char *pin_dir, const char *dir);
int merlon_pins_open_policy(const struct merlon_dataplane *dp, const char *dir, struct merlon_policy_maps *ret);
int merlon_pins_remove_dir(const struct merlon_dataplane *dp, const char *dir);
void merlon_policy_maps_close(struct merlon_policy_maps *maps);
extern const char *const merlon_policy_map_name[MERLON_POLICY_MAPS];
extern const char *const merlon_prog_name[MERLON_PROGS];
/* Whether no slot of a map `entry` leads to a program: packets pass. False where that cannot be said. */
bool merlon_entry_is_empty(int entry);

/* load.c: whether this process has the capabilities that the programs take, which those of the entry would do without. */
bool merlon_may_load(void);
/* Loads what there is before any policy, and pins it in maps/ and progs/. */
int merlon_load_state(struct merlon_dataplane *dp, struct merlon_diag *diag);
/* Loads the programs for a class, pins its maps and programs in `dir`, and what is missing in maps/ and progs/. */
int merlon_load_programs(struct merlon_dataplane *dp, const struct merlon_class *class, const char *dir,
			 struct merlon_diag *diag);
/* Programs that judge packets by two data planes (bpf/takeover.h). */
struct merlon_taking {
	struct merlon_bpf *skel;	/* owned; the rest is its */
	int prog[MERLON_PROGS];
	int takers;
	volatile uint32_t *stage;
};
int merlon_taking_open(const struct merlon_dataplane *dp, struct merlon_taking *ret, struct merlon_diag *diag);
void merlon_taking_close(struct merlon_taking *taking);
/* The BTF of this version's programs and maps; the data is the caller's. */
struct merlon_blob;
int merlon_load_layout(struct merlon_blob *ret);
/* Loads the program that is asked, for the policy maps in force. */
int merlon_asking_open(const struct merlon_dataplane *dp, struct merlon_asking *ret, struct merlon_diag *diag);
void merlon_asking_close(struct merlon_asking *asking);
void merlon_diag_errno(struct merlon_diag *diag, int error, const char *what);

/*
 * takeover.c: finds a data plane of another layout, and makes one to take its place, dp->before. Nothing changes for packets
 * until merlon_takeover(), which is called when the new one has a policy in force. If only its pins cannot be moved, that is a
 * warning, and dp->before stays.
 */
int merlon_takeover_prepare(struct merlon_dataplane *dp, struct merlon_diag *diag);
/* Whether that one has never had a policy: packets pass it, and it knows nothing. */
bool merlon_takeover_is_needless(const struct merlon_dataplane *dp);
int merlon_takeover(struct merlon_dataplane *dp, struct merlon_diag *diag);
/* Before another policy: the pins are moved if they could not be when this one came into force, or an error. */
int merlon_takeover_end(struct merlon_dataplane *dp, struct merlon_diag *diag);
/* Whether it is still the one before that judges. */
static inline bool merlon_before_judges(const struct merlon_dataplane *dp)
{
	return dp->before && !dp->before->settled;
}
void merlon_before_free(struct merlon_before *before);

/* For the test that ends a takeover at this step, as MERLON_TEST_CUT says. */
#ifdef MERLON_TEST_LAYOUT
void merlon_cut_here(int step);
#else
#define merlon_cut_here(step) ((void)(step))
#endif

/* dataplane.c: -EBUSY and a diagnostic: what it controls filters another network namespace. */
int merlon_check_netns(const char *pin_name, const struct merlon_control *control, struct merlon_diag *diag);

/* ahead.c: waits for programs for the smallest class, in policy-next, and how that went; -ENOENT: nobody loads any. */
int merlon_load_ahead_end(struct merlon_dataplane *dp);

/* store.c */
/*
 * `inner` is the image in force in the map `map`. Programs that began before may still be looking at the one before, and at that only,
 * until merlon_image_store_end(). 0 or a negative errno.
 */
int merlon_image_store(struct merlon_dataplane *dp, int map, int inner);
void merlon_image_store_end(struct merlon_dataplane *dp);

/* apply.c */
/* What the first policy's programs are loaded for, at least. */
extern const struct merlon_class merlon_smallest_class;
static inline bool merlon_has_programs(const struct merlon_dataplane *dp)
{
	return dp->policy.prog[MERLON_PROG_INGRESS] >= 0;
}
void merlon_relax(const struct merlon_dataplane *dp, bool away);
int merlon_control_write(struct merlon_dataplane *dp);
int merlon_image_adopt(struct merlon_dataplane *dp);

/* counters.c: of a generation whose counters are in these maps. */
int merlon_counters_sum(const struct merlon_policy_maps *maps, uint32_t generation, uint32_t first, uint32_t n,
			struct merlon_counter *ret);

/* maps.c: batches where the kernel has them for this type of map. */
int merlon_map_each(int fd, size_t key_size, size_t value_size,
		    int (*each)(void *context, const void *key, const void *value), void *context);
unsigned merlon_possible_cpus(void);
/*
 * Returns when no program runs any more that ran before. 0 or a negative errno. The kernel empties a map of programs when no
 * process and no pin has it any more (map_release_uref()): packets have to be through by then.
 */
int merlon_wait_for_programs(void);

static inline struct merlon_table_maps merlon_table_of(const struct merlon_dataplane *dp)
{
	return (struct merlon_table_maps){ dp->fd[MERLON_MAP_SESSIONS], dp->fd[MERLON_MAP_SETS] };
}

/*
 * probe.c: whether a TCP reset that does not end its connection leaves it its time (in 6.12.117, not in 6.1.192 or
 * 6.18.44); false where it cannot be found out. Asks nf_conntrack once, in a child; another thread waits for the answer.
 */
bool merlon_probe_reset_lasts(void);

/* attach.c */
/* At the head of one side of an interface, and its pin; one that is there is fine. 0 or a negative errno. */
int merlon_link_attach(const struct merlon_dataplane *dp, unsigned ifindex, int side);
int merlon_link_path(const struct merlon_dataplane *dp, char *ret, unsigned ifindex, int side);	/* ret[PATH_MAX] */
/* Settles dp->tcx. 0, or -EOPNOTSUPP and a diagnostic: this kernel does not have what was asked for. */
int merlon_attach_choose(struct merlon_dataplane *dp, struct merlon_diag *diag);
/* Interfaces that are not filtered any more, whatever was noted of them, are judged where packets come in. */
void merlon_filtered_settle(struct merlon_dataplane *dp);
uint32_t merlon_prog_id(int fd);	/* 0: it cannot be said */
/* The TCX link that is pinned there, if there is one; the pin stays. */
void merlon_detach_link(const char *path);
/* The clsact filter of ours that runs this program, and the qdisc unless others use it. */
int merlon_detach_filter(unsigned ifindex, int side, uint32_t prog);

/* sessions.c: of the map `filtered`, MERLON_IS_FILTERED and what the interface accepts now. */
uint8_t merlon_filtered_value(unsigned ifindex);

#endif
