/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bpf/plane.h"

#include <bpf/bpf.h>
#include <asm/socket.h>
#include <bpf/btf.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/image.h"
#include "src/kernel/table.h"
#include "src/util/kernel.h"

#define WORDS (1U << 10)

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static bool kernel_has(const char *function)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool found = btf && btf__find_by_name_kind(btf, function, BTF_KIND_FUNC) > 0;

	btf__free(btf);
	return found;
}

static void set_up_links(struct plane *plane)
{
	static const char *const commands[] = {
		"ip link set lo up",
		"ip link add m0 address 02:00:00:00:00:01 type veth peer name m0p",
		"ip link add m1 address 02:00:00:00:00:02 type veth peer name m1p",
		"ip link set m0 up", "ip link set m0p up", "ip link set m1 up", "ip link set m1p up",
		"ip addr add 192.0.2.1/24 dev m0", "ip addr add 198.51.100.1/24 dev m1",
		/* the far ends of the tests' flows are local, too: packets of both directions are INPUT */
		"ip addr add 192.0.2.9/24 dev m0", "ip addr add 192.0.2.77/24 dev m0",
		"ip addr add 2001:db8::9/64 dev m0 nodad", "ip addr add 2001:db8::77/64 dev m0 nodad",
		"ip addr add 2001:db8::1/64 dev m0 nodad", "ip addr add 2001:db8:1::1/64 dev m1 nodad",
		"echo 1 >/proc/sys/net/ipv4/ip_forward", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		CHECK(!system(commands[i]));
	plane->veth = if_nametoindex("m0");
	plane->far = if_nametoindex("m1");
}

static void read_cookie(struct plane *plane)
{
	socklen_t bytes = sizeof(plane->netns_cookie);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK(fd >= 0 && !getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &plane->netns_cookie, &bytes));
	close(fd);
}

static void set_sizes(struct merlon_bpf *skel, bool kern_ctx, unsigned sessions)
{
	bpf_map__set_value_size(bpf_map__inner_map(skel->maps.image), WORDS * sizeof(uint64_t));
	bpf_map__set_max_entries(skel->maps.counters, PLANE_COUNTERS);
	bpf_map__set_max_entries(skel->maps.limits, 16);
	bpf_map__set_max_entries(skel->maps.paths, PLANE_COUNTERS);
	bpf_map__set_max_entries(skel->maps.sessions, sessions / MERLON_WAYS);
	bpf_map__set_max_entries(skel->maps.sets, sessions / MERLON_WAYS);
	skel->rodata->merlon_image_mask = WORDS - 1;
	skel->rodata->merlon_sets_mask = sessions / MERLON_WAYS - 1;
	skel->rodata->merlon_have_kern_ctx = kern_ctx && kernel_has("bpf_rdonly_cast");
	skel->rodata->merlon_have_mrdisc = merlon_kernel_is(6, 10);
	skel->rodata->merlon_reject_sums_dccp = merlon_kernel_is(6, 17);
}

static void set_slots(struct plane *plane)
{
	/* most tests care for flags alone */
	struct merlon_trackers trackers = { .tcp_loose = 1, .tcp_liberal = 1, .tcp_believe_resets = 1, .tcp_max_retrans = 3 };
	uint32_t slot, value[] = { PLANE_COUNTERS / 2, PLANE_COUNTERS };
	int prog[] = { bpf_program__fd(plane->skel->progs.ingress), bpf_program__fd(plane->skel->progs.egress) };

	for (slot = 0; slot < 2; slot++) {
		CHECK(!bpf_map_update_elem(bpf_map__fd(plane->skel->maps.path_next), &slot, &value[slot], 0));
		CHECK(!bpf_map_update_elem(bpf_map__fd(plane->skel->maps.entry), &slot, &prog[slot], 0));
	}
	plane_long_way(plane, true);
	for (slot = 0; slot < MERLON_TIMEOUTS; slot++)
		trackers.ns[slot] = 60000000000ULL;
	plane_trackers(plane, &trackers);
}

void plane_long_way(struct plane *plane, bool leads)
{
	uint32_t zero = 0, prog = bpf_program__fd(plane->skel->progs.cold);
	int map = bpf_map__fd(plane->skel->maps.long_way);

	CHECK(!(leads ? bpf_map_update_elem(map, &zero, &prog, 0) : bpf_map_delete_elem(map, &zero)));
}

int plane_open(struct plane *plane, bool kern_ctx)
{
	return plane_open_for(plane, kern_ctx, 16384);
}

struct merlon_table_maps plane_table(const struct plane *plane)
{
	return (struct merlon_table_maps){ bpf_map__fd(plane->skel->maps.sessions), bpf_map__fd(plane->skel->maps.sets) };
}

int plane_open_for(struct plane *plane, bool kern_ctx, unsigned sessions)
{
	memset(plane, 0, sizeof(*plane));
	libbpf_set_print(quiet);
	if (geteuid() || unshare(CLONE_NEWNET) < 0)
		return 77;
	set_up_links(plane);
	read_cookie(plane);
	plane->skel = merlon_bpf__open();
	CHECK(plane->skel);
	set_sizes(plane->skel, kern_ctx, sessions);
	CHECK(!merlon_bpf__load(plane->skel));
	CHECK(!merlon_table_map(plane_table(plane), &plane->table));
	set_slots(plane);
	return 0;
}

void plane_close(struct plane *plane)
{
	merlon_table_unmap(&plane->table);
	merlon_bpf__destroy(plane->skel);
}

/* A writer of images: words are taken from the end of what is used. */
struct image {
	uint64_t *word;
	uint32_t used;
	uint32_t limit;		/* the word of the limit that all rules with one share */
};

static uint32_t take(struct image *image, uint32_t words)
{
	uint32_t at = (image->used + 7) / 8 * 8;

	image->used = at + words;
	CHECK(image->used < WORDS);
	return at;
}

static bool in_dim(const struct plane_rule *rule, enum merlon_field dim, uint32_t value)
{
	switch (dim) {
	case MERLON_F_L4PROTO:
		return rule->l4proto < 0 || (uint32_t)rule->l4proto == value;
	case MERLON_F_TH2:
		return rule->dport < 0 || (uint32_t)rule->dport == value;
	default:
		return !rule->states || rule->states >> value & 1;
	}
}

static uint64_t row_of(const struct plane_rule *rule, size_t n, enum merlon_field dim, int64_t value)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < n; i++)
		if (value >= 0 ? in_dim(&rule[i], dim, value) : in_dim(&rule[i], dim, 0) && in_dim(&rule[i], dim, 1))
			bits |= 1ULL << i;
	return bits;
}

static int by_value(const void *a, const void *b)
{
	return (*(const uint32_t *)a > *(const uint32_t *)b) - (*(const uint32_t *)a < *(const uint32_t *)b);
}

/* Boundaries of all rules in one dimension, at most 16. */
static uint32_t boundaries(const struct plane_rule *rule, size_t n, enum merlon_field dim, uint32_t *bound)
{
	uint32_t all[64] = { 0 }, n_all = 1, n_bounds = 0;

	for (size_t i = 0; i < n && dim != MERLON_F_CT_STATE; i++) {
		int value = dim == MERLON_F_L4PROTO ? rule[i].l4proto : rule[i].dport;

		if (value >= 0) {
			all[n_all++] = value;
			all[n_all++] = value + 1;
		}
	}
	for (uint32_t v = 1; dim == MERLON_F_CT_STATE && v < MERLON_CT_STATES; v++)
		all[n_all++] = v;
	qsort(all, n_all, sizeof(*all), by_value);
	for (uint32_t i = 0; i < n_all; i++)
		if (!n_bounds || bound[n_bounds - 1] != all[i]) {
			CHECK(n_bounds < MERLON_TREE_FANOUT);
			bound[n_bounds++] = all[i];
		}
	return n_bounds;
}

static void write_dim(struct image *image, struct merlon_image_dim *dim, const struct plane_rule *rule, size_t n,
		      enum merlon_field field)
{
	uint32_t bound[MERLON_TREE_FANOUT], node = take(image, 8), rows = take(image, 8), *key, *row;

	memset(bound, 0xff, sizeof(bound));
	dim->tree.n = boundaries(rule, n, field, bound);
	dim->tree.levels = 1;
	dim->tree.level[0] = node;
	dim->rows = rows;
	dim->which = UINT32_MAX;
	key = (uint32_t *)&image->word[node];
	row = (uint32_t *)&image->word[rows];
	for (uint32_t i = 0; i < MERLON_TREE_FANOUT; i++) {
		key[i] = i < dim->tree.n ? bound[i] : UINT32_MAX;
		if (i >= dim->tree.n)
			continue;
		row[i] = take(image, 1);
		image->word[row[i]] = row_of(rule, n, field, bound[i]);
	}
	dim->absent = take(image, 1);
	image->word[dim->absent] = row_of(rule, n, field, -1);
}

static void add_op(struct image *image, uint32_t *n_ops, struct merlon_image_op op)
{
	uint32_t at = image->used;

	image->used += sizeof(op) / 8;
	CHECK(image->used < WORDS);
	memcpy(&image->word[at], &op, sizeof(op));
	++*n_ops;
}

uint64_t plane_until;

static struct merlon_image_op equals(enum merlon_field field, uint32_t value)
{
	return (struct merlon_image_op){ MERLON_OP(MERLON_OP_RANGE, field, 0), ~0U, value, value };
}

/* The op of a rule's `direction`. */
static struct merlon_image_op special(const struct image *image, unsigned which)
{
	switch (which) {
	case PLANE_ETHER:
		return equals(MERLON_F_ETHER_SADDR_HIGH, PLANE_ETHER_HIGH);
	case PLANE_ROUTING:
		return equals(MERLON_F_RT_TYPE, PLANE_ROUTING_TYPE);
	case PLANE_TTL:
		return equals(MERLON_F_TTL, PLANE_TTL_VALUE);
	case PLANE_MARK:
		return equals(MERLON_F_MARK, PLANE_MARK_VALUE);
	case PLANE_SET_MARK:
		return (struct merlon_image_op){ MERLON_OP(MERLON_OP_MARK, 0, 0), 0, PLANE_MARK_VALUE, 0 };
	case PLANE_LIMIT:
		return (struct merlon_image_op){ MERLON_OP(MERLON_OP_LIMIT, 0, 0), 0, image->limit, 0 };
	case PLANE_UNTIL:
		return (struct merlon_image_op){ MERLON_OP(MERLON_OP_UNTIL, 0, 0), 0, (uint32_t)plane_until, plane_until >> 32 };
	default:
		return equals(MERLON_F_CT_DIRECTION, which - 1);
	}
}

static void write_rule(struct image *image, struct merlon_image_rule *to, const struct plane_rule *rule, uint32_t index)
{
	uint32_t n_ops = 0;

	to->ops = take(image, 0);
	if (rule->tcp_mask)
		add_op(image, &n_ops, (struct merlon_image_op){ MERLON_OP(MERLON_OP_RANGE, MERLON_F_TCP_FLAGS, 0),
								rule->tcp_mask, rule->tcp_value, rule->tcp_value });
	if (rule->direction)
		add_op(image, &n_ops, special(image, rule->direction));
	for (size_t i = 0; i < 3 && rule->counter[i]; i++)
		add_op(image, &n_ops, (struct merlon_image_op){ MERLON_OP(MERLON_OP_COUNT, 0, 0), 0, rule->counter[i], 0 });
	if (rule->log)
		add_op(image, &n_ops, (struct merlon_image_op){ MERLON_OP(MERLON_OP_LOG, 0, 0), 0, rule->log - 1, 0 });
	to->what = MERLON_RULE(n_ops, rule->verdict, rule->reject, rule->code);
	to->next = to->fail = index + 1;
}

static void write_list(struct image *image, uint32_t at, const struct plane_rule *rule, size_t n, uint8_t policy)
{
	static const enum merlon_field dims[] = { MERLON_F_L4PROTO, MERLON_F_TH2, MERLON_F_CT_STATE };
	struct merlon_image_list *list = (void *)&image->word[at];
	struct merlon_image_rule *to;

	list->n_rules = n + 1;
	list->all = (1ULL << n) - 1;
	list->rest = n;
	list->rest_is.what = MERLON_RULE(0, policy, 0, 0);
	list->rules = take(image, n * 2);
	to = (void *)&image->word[list->rules];
	for (size_t i = 0; i < n; i++)
		write_rule(image, &to[i], &rule[i], i);
	for (size_t i = 0; i < 3; i++) {
		write_dim(image, &list->dim[dims[i]], rule, n, dims[i]);
		list->dims |= MERLON_BIT(dims[i]);
	}
}

static void write_limit(struct image *image, struct merlon_image *head)
{
	const uint64_t hour = 3600000000000ULL;
	struct merlon_image_limit limit = { .ns = hour, .rate = 1, .max_ns = PLANE_LIMIT_PACKETS * hour };

	head->limits = image->limit = take(image, sizeof(limit) / 8);
	head->n_limits = 1;
	memcpy(&image->word[image->limit], &limit, sizeof(limit));
}

static void write_image(uint64_t *word, unsigned generation, const struct plane_rule *rule, size_t n, uint8_t policy)
{
	struct image image = { word, sizeof(struct merlon_image) / 8, 0 };
	struct merlon_image *head = (void *)word;
	struct plane_rule chosen[16];

	head->magic = MERLON_IMAGE_MAGIC;
	head->generation = generation;
	head->uses_ct = (1U << MERLON_FAMILIES) - 1;
	for (size_t i = 0; i < n && !head->n_limits; i++)
		if (rule[i].direction == PLANE_LIMIT)
			write_limit(&image, head);
	for (unsigned hook = 0; hook < MERLON_HOOKS; hook++) {
		size_t m = 0;
		uint32_t list = take(&image, sizeof(struct merlon_image_list) / 8);

		for (size_t i = 0; i < n; i++)
			if (!rule[i].hooks || rule[i].hooks >> hook & 1)
				chosen[m++] = rule[i];
		write_list(&image, list, chosen, m, policy);
		head->list[hook][MERLON_IPV4] = head->list[hook][MERLON_IPV6] = list;
	}
	head->words = image.used;
}

void plane_rules(struct plane *plane, const struct plane_rule *rule, size_t n, uint8_t policy)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	size_t bytes = WORDS * sizeof(uint64_t);
	uint32_t zero = 0;
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "image", sizeof(zero), bytes, 1, &opts);
	void *at;

	CHECK(fd >= 0 && n < 16);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	write_image(at, ++plane->generation, rule, n, policy);
	CHECK(!munmap(at, bytes));
	CHECK(!bpf_map_update_elem(bpf_map__fd(plane->skel->maps.image), &zero, &fd, 0));
	close(fd);
	plane_control(plane, 0);
}

static void update_control(struct plane *plane, unsigned flags, unsigned routes)
{
	struct merlon_control control = { .version = MERLON_ABI_VERSION, .generation = plane->generation,
					  .routes = routes, .flags = flags, .netns_cookie = plane->netns_cookie };
	uint32_t zero = 0;

	CHECK(!bpf_map_update_elem(bpf_map__fd(plane->skel->maps.data_control), &zero, &control, 0));
}

void plane_control(struct plane *plane, unsigned flags)
{
	update_control(plane, flags, 1);
}

void plane_routes_changed(struct plane *plane)
{
	update_control(plane, 0, 2);
}

void plane_timeout(struct plane *plane, unsigned which, uint64_t ns)
{
	struct merlon_trackers trackers = plane_trackers_now(plane);

	trackers.ns[which] = ns;
	plane_trackers(plane, &trackers);
}

struct merlon_trackers plane_trackers_now(const struct plane *plane)
{
	struct merlon_trackers trackers;
	uint32_t zero = 0;

	CHECK(!bpf_map_lookup_elem(bpf_map__fd(plane->skel->maps.data_trackers), &zero, &trackers));
	return trackers;
}

void plane_trackers(struct plane *plane, const struct merlon_trackers *trackers)
{
	uint32_t zero = 0;

	CHECK(!bpf_map_update_elem(bpf_map__fd(plane->skel->maps.data_trackers), &zero, trackers, 0));
}

void plane_forget(struct plane *plane)
{
	const struct bpf_map *table[] = { plane->skel->maps.fragments, plane->skel->maps.rejected };
	char key[64];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		while (!bpf_map_get_next_key(bpf_map__fd(table[i]), NULL, key))
			CHECK(!bpf_map_delete_elem(bpf_map__fd(table[i]), key));
	CHECK(!merlon_table_flush(plane_table(plane)));
}

static int run(struct plane *plane, int prog, int iif, int ifindex, const void *frame, size_t bytes)
{
	struct __sk_buff context = { .ifindex = ifindex, .ingress_ifindex = iif, .mark = plane->mark }, after = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = bytes, .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .ctx_out = &after, .ctx_size_out = sizeof(after), .repeat = 1);

	CHECK(!bpf_prog_test_run_opts(prog, &opts));
	plane->ret_mark = after.mark;
	return (int)opts.retval;
}

int plane_ingress(struct plane *plane, int ifindex, const void *frame, size_t bytes)
{
	return run(plane, bpf_program__fd(plane->skel->progs.ingress), ifindex, ifindex, frame, bytes);
}

int plane_egress(struct plane *plane, int iif, int oif, const void *frame, size_t bytes)
{
	return run(plane, bpf_program__fd(plane->skel->progs.egress), iif, oif, frame, bytes);
}

static uint64_t sum_counter(const struct plane *plane, uint32_t index)
{
	int cpus = libbpf_num_possible_cpus();
	struct merlon_counter *each = calloc(cpus, sizeof(*each));
	uint64_t sum = 0;

	CHECK(each && !bpf_map_lookup_elem(bpf_map__fd(plane->skel->maps.counters), &index, each));
	for (int i = 0; i < cpus; i++)
		sum += each[i].packets;
	free(each);
	return sum;
}

uint64_t plane_counter(const struct plane *plane, unsigned index)
{
	int fd = bpf_map__fd(plane->skel->maps.paths);
	uint64_t sum = sum_counter(plane, index);
	struct merlon_path path, *previous = NULL;

	while (!bpf_map_get_next_key(fd, previous, &path)) {
		uint32_t id;

		CHECK(!bpf_map_lookup_elem(fd, &path, &id));
		for (size_t i = 0; i < MERLON_PATH_COUNTERS; i++)
			if (path.counter[i] == index)
				sum += sum_counter(plane, id);
		previous = &path;
	}
	return sum;
}

void plane_counters(const struct plane *plane, uint64_t *ret, unsigned n)
{
	static struct merlon_counter *each;	/* per counter and CPU */
	static uint32_t key[PLANE_COUNTERS];
	int fd = bpf_map__fd(plane->skel->maps.counters), cpus = libbpf_num_possible_cpus();
	uint32_t next;

	if (!each)
		each = calloc((size_t)cpus * PLANE_COUNTERS, sizeof(*each));
	CHECK(each && n <= PLANE_COUNTERS && !bpf_map_lookup_batch(fd, NULL, &next, key, each, &n, NULL));
	for (unsigned i = 0; i < n; i++) {
		ret[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret[i] += each[i * cpus + cpu].packets;
	}
}

uint64_t plane_stat(const struct plane *plane, enum merlon_stat which)
{
	int cpus = libbpf_num_possible_cpus();
	struct merlon_stats *each = calloc(cpus, sizeof(*each));
	uint32_t zero = 0;
	uint64_t sum = 0;

	CHECK(each && !bpf_map_lookup_elem(bpf_map__fd(plane->skel->maps.stats), &zero, each));
	for (int i = 0; i < cpus; i++)
		sum += each[i].count[which];
	free(each);
	return sum;
}

struct wanted {
	enum merlon_family family;
	bool established;
	struct merlon_session *last;
	unsigned n;
};

static int keep(void *context, enum merlon_family family, const struct merlon_flow *flow)
{
	struct wanted *w = context;

	if (family != w->family || !!(flow->session.flags & MERLON_S_ESTABLISHED) != w->established)
		return 0;
	w->n++;
	if (w->last)
		*w->last = flow->session;
	return 0;
}

static unsigned count(const struct plane *plane, enum merlon_family family, bool established, struct merlon_session *ret_last)
{
	struct wanted w = { family, established, ret_last, 0 };

	CHECK(!merlon_table_each(plane_table(plane), keep, &w));
	return w.n;
}

unsigned plane_established(const struct plane *plane, enum merlon_family family)
{
	return count(plane, family, true, NULL);
}

unsigned plane_embryonic(const struct plane *plane, enum merlon_family family)
{
	return count(plane, family, false, NULL);
}

struct merlon_session *plane_the_session(const struct plane *plane)
{
	struct merlon_session *found = NULL;

	for (uint32_t i = 0; i < plane->table.n; i++)
		for (unsigned way = 0; way < MERLON_WAYS; way++)
			if (plane->table.sets[i].tag[way]) {
				CHECK(!found);
				found = &plane->table.flows[i].way[way].session;
			}
	return found;
}

bool plane_session(const struct plane *plane, enum merlon_family family, struct merlon_session *ret)
{
	return count(plane, family, true, ret) + count(plane, family, false, ret) == 1;
}

void plane_remembered(const struct plane *plane, const struct merlon_session *session,
		      struct merlon_decision ret[MERLON_DIRECTIONS][MERLON_SIDES])
{
	struct merlon_control control;
	uint32_t zero = 0;

	memset(ret, 0, MERLON_DIRECTIONS * sizeof(ret[0]));
	CHECK(!bpf_map_lookup_elem(bpf_map__fd(plane->skel->maps.data_control), &zero, &control));
	if (session->generation != control.generation || session->routes != control.routes)
		return;
	for (unsigned i = 0; i < MERLON_DIRECTIONS * MERLON_SIDES; i++) {
		uint32_t id = session->decision[i / MERLON_SIDES][i % MERLON_SIDES];

		if (id)
			CHECK(!bpf_map_lookup_elem(bpf_map__fd(plane->skel->maps.decisions), &id,
						   &ret[i / MERLON_SIDES][i % MERLON_SIDES]));
	}
}

struct last {
	void *to;
	size_t bytes;
	unsigned n;
};

static int keep_last(void *context, void *data, size_t bytes)
{
	struct last *last = context;

	CHECK(bytes >= last->bytes);
	memcpy(last->to, data, last->bytes);
	last->n++;
	return 0;
}

static unsigned drain(const struct bpf_map *map, void *to, size_t bytes)
{
	struct last last = { to, bytes, 0 };
	struct ring_buffer *ring = ring_buffer__new(bpf_map__fd(map), keep_last, &last, NULL);

	CHECK(ring && ring_buffer__consume(ring) >= 0);
	ring_buffer__free(ring);
	return last.n;
}

unsigned plane_events(struct plane *plane, struct merlon_event *ret_last)
{
	return drain(plane->skel->maps.events, ret_last, sizeof(*ret_last));
}

unsigned plane_rejects(struct plane *plane, struct merlon_reject_event *ret_last)
{
	return drain(plane->skel->maps.rejects, ret_last, sizeof(*ret_last));
}
