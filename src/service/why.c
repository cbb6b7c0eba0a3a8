/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `merlon why` says of the policy in force: where a packet would be judged on this host, and how. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "src/compile/explain.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/route.h"

#define LOOPBACK 1	/* LOOPBACK_IFINDEX of the kernel's net/flow.h */
#define MOST_WORDS 64

/* A question on its way. */
struct asking {
	struct merlon_daemon *d;
	struct merlon_question q;
	struct merlon_diag *diag;
	enum merlon_hook hook;
	unsigned iif, oif;		/* 0: none */
	const char *iif_by, *oif_by;	/* how that was found out; NULL: there is none */
	bool looped;			/* OUTPUT on lo, then INPUT */
	json_t *notes;
};

__attribute__((format(printf, 2, 3)))
static void note(struct asking *a, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(a->notes, json_string(text));
}

static const char *name_of(const struct asking *a, unsigned index)
{
	const char *name = index ? merlon_links_name(a->d, index) : NULL;

	return name ? name : "";
}

static const char *address_text(const struct asking *a, const uint8_t *address, char ret[INET6_ADDRSTRLEN])
{
	return inet_ntop(a->q.family == MERLON_IPV4 ? AF_INET : AF_INET6, address, ret, INET6_ADDRSTRLEN);
}

static int find_interface(struct asking *a, const char *name, unsigned *ret)
{
	for (size_t i = 0; *name && i < a->d->n_interfaces; i++)
		if (!strcmp(a->d->interface[i].name, name)) {
			*ret = a->d->interface[i].index;
			return 0;
		}
	if (!*name)
		return 0;
	merlon_diag_add(a->diag, MERLON_ERROR, (struct merlon_place){ 0 }, "there is no interface %s here", name);
	merlon_diag_cure(a->diag, "with --file a ruleset is asked as it is, without this host's interfaces");
	return -ENODEV;
}

/* The kernel's word for where the packet goes: from `iif`, or (0) from this host by `oif`. */
static int route(const struct asking *a, unsigned iif, unsigned oif, struct merlon_route *ret)
{
	const struct merlon_question *q = &a->q;
	struct merlon_route_query query = {
		.family = q->family == MERLON_IPV4 ? AF_INET : AF_INET6, .saddr = q->saddr, .daddr = q->daddr, .iif = iif,
		.oif = oif, .mark = q->mark, .tos = q->family == MERLON_IPV4 ? q->tos & 0x1c : q->tos, .proto = q->proto,
		.sport = q->sport, .dport = q->dport,
	};

	return merlon_route_get(&query, ret);
}

/* The way back to the packet's sender. */
static int route_back(const struct asking *a, struct merlon_route *ret)
{
	struct merlon_route_query query = { .family = a->q.family == MERLON_IPV4 ? AF_INET : AF_INET6,
					    .daddr = a->q.saddr };

	return merlon_route_get(&query, ret);
}

static bool is_for_all(const struct merlon_question *q)
{
	return q->pkttype != PACKET_HOST;
}

/* Where the packet comes in, if that was not said: where the way back to its sender leads. */
static int choose_iif(struct asking *a)
{
	char text[INET6_ADDRSTRLEN];
	struct merlon_route back;
	int r;

	if (a->iif)
		return 0;
	r = route_back(a, &back);
	if (!r && back.type == RTN_LOCAL) {
		a->iif = LOOPBACK;
		a->iif_by = "the source is this host";
	} else if (!r && back.oif) {
		a->iif = back.oif;
		a->iif_by = "the way back to the source";
	}
	if (a->iif)
		return 0;
	merlon_diag_add(a->diag, MERLON_ERROR, (struct merlon_place){ 0 },
			"there is no way back to %s that would tell by which interface it comes in",
			address_text(a, a->q.saddr, text));
	merlon_diag_cure(a->diag, "say it: iif X");
	return -EHOSTUNREACH;
}

static int choose_oif(struct asking *a)
{
	char text[INET6_ADDRSTRLEN];
	struct merlon_route way;
	int r;

	if (a->oif)
		return 0;
	r = route(a, a->hook == MERLON_FORWARD ? a->iif : 0, 0, &way);
	if (!r && way.oif) {
		a->oif = way.oif;
		a->oif_by = "the route to the destination";
		a->looped = a->hook == MERLON_OUTPUT && way.type == RTN_LOCAL;
		return 0;
	}
	merlon_diag_add(a->diag, MERLON_ERROR, (struct merlon_place){ 0 }, "this host does not route it to %s: %s",
			address_text(a, a->q.daddr, text), r < 0 ? strerror(-r) : "no interface");
	merlon_diag_cure(a->diag, "say where it leaves: oif X");
	return -ENETUNREACH;
}

/* IPv4 routes name an error where forwarding is off; IPv6 ones do not. */
static bool forwards(const struct asking *a)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[128];

	if (a->q.family == MERLON_IPV4)
		return true;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/forwarding", name_of(a, a->iif));
	f = fopen(path, "re");
	return !f || fgetc(f) != '0';
}

/* A packet that comes in: the route says whether it is for this host. All that is not forwarded for certain is INPUT. */
static void choose_by_route(struct asking *a)
{
	struct merlon_route way = { .type = RTN_LOCAL };
	int r = a->iif == LOOPBACK || is_for_all(&a->q) ? 0 : route(a, a->iif, 0, &way);

	a->hook = MERLON_INPUT;
	if (r < 0)
		note(a, "the kernel does not route it (%s) and will discard it, whatever the rules say", strerror(-r));
	else if (way.type == RTN_BROADCAST)
		a->q.pkttype = PACKET_BROADCAST;
	else if (way.type == RTN_UNICAST && !forwards(a))
		note(a, "it is not for this host, which does not forward: the kernel will discard it, whatever the rules say");
	else if (way.type == RTN_UNICAST && way.oif) {
		a->hook = MERLON_FORWARD;
		a->oif = way.oif;
		a->oif_by = "the route to the destination";
	}
}

static bool is_own_source(const struct asking *a)
{
	struct merlon_route back;

	return !route_back(a, &back) && back.type == RTN_LOCAL;
}

/* Hook and interfaces. 0, or an error with a diagnostic. */
static int choose_place(struct asking *a)
{
	int r;

	if (a->q.hook != MERLON_QUESTION_ANY) {
		a->hook = a->q.hook;
	} else if (a->iif && a->oif) {
		a->hook = MERLON_FORWARD;
	} else if (!a->iif && is_own_source(a)) {
		a->hook = MERLON_OUTPUT;
	} else if (a->oif) {
		a->hook = MERLON_FORWARD;
	} else {
		r = choose_iif(a);
		if (!r)
			choose_by_route(a);
		return r;
	}
	r = a->hook == MERLON_OUTPUT ? 0 : choose_iif(a);
	if (!r && a->hook != MERLON_INPUT)
		r = choose_oif(a);
	return r;
}

static bool is_filtered(const struct asking *a, unsigned index)
{
	unsigned attached[4096];
	size_t n = merlon_dataplane_attached(a->d->dp, attached, ARRAY_SIZE(attached));

	for (size_t i = 0; i < n; i++)
		if (attached[i] == index)
			return true;
	return false;
}

/* Where the packet is judged; -1: nowhere. What leaves by an unfiltered interface is judged where it comes in. */
static int side_of(const struct asking *a, enum merlon_hook hook)
{
	if (hook != MERLON_INPUT && is_filtered(a, a->oif))
		return MERLON_EGRESS;
	return hook != MERLON_OUTPUT && is_filtered(a, a->iif) ? MERLON_INGRESS : -1;
}

/* Destination, source and type; a device takes the packet for its own (eth_type_trans()). */
static void put_ethernet(const struct asking *a, const struct merlon_why *why, unsigned ifindex, uint8_t *frame)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint16_t type = htons(a->q.family == MERLON_IPV4 ? ETH_P_IP : ETH_P_IPV6);
	struct ifreq request = { 0 };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name_of(a, ifindex));
	memset(frame, 0, ETH_HLEN);
	if (fd >= 0 && !ioctl(fd, SIOCGIFHWADDR, &request))
		memcpy(frame, request.ifr_hwaddr.sa_data, ETH_ALEN);
	if (why->hook == MERLON_INPUT && a->q.pkttype == PACKET_BROADCAST)
		memset(frame, 0xff, ETH_ALEN);
	else if (why->hook == MERLON_INPUT && a->q.pkttype == PACKET_MULTICAST)
		memcpy(frame, a->q.family == MERLON_IPV4 ? "\x01\x00\x5e\x00\x00\x01" : "\x33\x33\x00\x00\x00\x01", ETH_ALEN);
	memcpy(frame + ETH_ALEN, a->q.mac, ETH_ALEN);
	memcpy(frame + 2 * ETH_ALEN, &type, sizeof(type));
}

/* Asks the data plane; the answer is explained by the rules. */
static int judge(struct asking *a, struct merlon_why *why, json_t **ret)
{
	uint8_t frame[ETH_HLEN + MERLON_QUESTION_BYTES];
	unsigned ifindex = why->side == MERLON_INGRESS ? why->iif : why->oif;
	struct merlon_why_frame f = { frame, ETH_HLEN + merlon_question_packet(&a->q, frame + ETH_HLEN), a->q.mark, ifindex };
	struct merlon_explain explain = { .policy = a->d->enforced.policy, .iif = name_of(a, why->iif),
					  .oif = name_of(a, why->oif), .address = a->d->address,
					  .n_addresses = a->d->n_addresses, .loaded_ns = a->d->enforced.loaded_ns };
	_cleanup_free_ uint64_t *limits = NULL;
	int r;

	put_ethernet(a, why, ifindex, frame);
	r = merlon_dataplane_why(a->d->dp, &f, why, &limits, a->diag);
	if (r < 0)
		return r;
	explain.limits = limits;
	*ret = merlon_explain(&explain, why);
	return *ret ? 0 : -ENOMEM;
}

/* Everything passes here. */
static json_t *unjudged(struct asking *a, enum merlon_hook hook, const char *why_not)
{
	static const char *const name[MERLON_HOOKS] = { "input", "forward", "output" };

	note(a, "%s", why_not);
	return json_pack("{s:s, s:s, s:n, s:n, s:n, s:n, s:i, s:n, s:b, s:b, s:[], s:s, s:s}", "verdict", "accept", "hook",
			 name[hook], "table", "chain", "rule", "file", "line", 0, "state", "cached", 0, "judged", 0, "trace",
			 "iif", hook == MERLON_OUTPUT ? "" : name_of(a, a->iif),
			 "oif", hook == MERLON_INPUT ? "" : name_of(a, a->oif));
}

static int judge_at(struct asking *a, enum merlon_hook hook, struct merlon_why *why, json_t **ret)
{
	int side = side_of(a, hook);

	why->hook = hook;
	why->iif = hook == MERLON_OUTPUT ? 0 : a->iif;
	why->oif = hook == MERLON_INPUT ? 0 : a->oif;
	if (!merlon_dataplane_generation(a->d->dp))
		*ret = unjudged(a, hook, "no policy is in force: everything passes");
	else if (side < 0)
		*ret = unjudged(a, hook, "the interface is not filtered (`merlon status` lists those that are)");
	if (*ret)
		return 0;
	why->side = side;
	return judge(a, why, ret);
}

/* The session as the packet would find it. */
static void find_session(struct asking *a, struct merlon_why *why)
{
	union merlon_tuple tuple;

	why->has_session = !merlon_why_tuple(&a->q, &tuple) &&
			   !merlon_dataplane_session(a->d->dp, a->q.family, &tuple, &why->session);
	for (int i = 0; why->has_session && i < MERLON_DIRECTIONS * MERLON_SIDES; i++)
		merlon_dataplane_remembered(a->d->dp, &why->session, i / MERLON_SIDES, i % MERLON_SIDES,
					    &why->remembered[i / MERLON_SIDES][i % MERLON_SIDES]);
}

/* What loopback brings back keeps its state and its mark; the session has been brought up to date. */
static int judge_again(struct asking *a, const struct merlon_why *first, json_t **ret)
{
	struct merlon_why again;

	a->iif = LOOPBACK;
	a->iif_by = "loopback";
	merlon_why_ask(&a->q, MERLON_INPUT, &again);
	if (first->judged) {
		again.given_state = first->packet.ct_state;
		again.given_direction = first->packet.ct_direction;
		a->q.mark = first->mark;
	}
	again.session = first->session;
	memcpy(again.remembered, first->remembered, sizeof(again.remembered));
	again.has_session = first->has_session;
	return judge_at(a, MERLON_INPUT, &again, ret);
}

/* One after the other, as far as the packet gets. */
static int judge_all(struct asking *a, json_t *judged)
{
	struct merlon_why why;
	json_t *answer = NULL;
	int r;

	merlon_why_ask(&a->q, a->hook, &why);
	find_session(a, &why);
	merlon_question_assume(&a->q, why.has_session);
	r = judge_at(a, a->hook, &why, &answer);
	if (r < 0)
		return r;
	json_array_append_new(judged, answer);
	if (!a->looped || strcmp(json_string_value(json_object_get(answer, "verdict")), "accept") != 0)
		return 0;
	answer = NULL;
	r = judge_again(a, &why, &answer);
	if (!r)
		json_array_append_new(judged, answer);
	return r;
}

static json_t *compose(struct asking *a, json_t *judged)
{
	json_t *answer = json_copy(json_array_get(judged, json_array_size(judged) - 1));

	json_object_set_new(answer, "route", json_pack("{s:s, s:s?, s:s, s:s?}", "iif", name_of(a, a->iif), "iif_by",
						       a->iif_by, "oif", name_of(a, a->oif), "oif_by", a->oif_by));
	json_object_set_new(answer, "audit", json_boolean(merlon_dataplane_audits(a->d->dp)));
	json_object_set(answer, "notes", a->notes);
	json_object_set(answer, "judged_at", judged);
	return answer;
}

static int read_words(struct asking *a, const json_t *words)
{
	const char *word[MOST_WORDS];
	size_t i, n = json_array_size(words);
	const json_t *one;
	int r;

	if (!json_is_array(words) || n > MOST_WORDS) {
		merlon_diag_add(a->diag, MERLON_ERROR, (struct merlon_place){ 0 }, "the question is no list of words");
		return -EINVAL;
	}
	json_array_foreach(words, i, one) {
		word[i] = json_string_value(one);
		if (!word[i])
			word[i] = "";
	}
	r = merlon_question_read(word, n, &a->q, a->diag);
	if (r < 0 || (r = find_interface(a, a->q.iif, &a->iif)) < 0 || (r = find_interface(a, a->q.oif, &a->oif)) < 0)
		return r;
	if (merlon_question_doubt(&a->q))
		note(a, "%s", merlon_question_doubt(&a->q));
	a->iif_by = a->iif ? "as given" : NULL;
	a->oif_by = a->oif ? "as given" : NULL;
	return 0;
}

json_t *merlon_why(struct merlon_daemon *d, const json_t *words, struct merlon_diag *diag)
{
	struct asking a = { .d = d, .diag = diag, .notes = json_array() };
	json_t *judged = json_array(), *answer = NULL;

	if (read_words(&a, words) >= 0 && choose_place(&a) >= 0 && judge_all(&a, judged) >= 0)
		answer = compose(&a, judged);
	json_decref(judged);
	json_decref(a.notes);
	return answer;
}
