/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs and filters of others at TC. Merlon puts itself in front of them and judges what they have not changed yet; who
 * comes later may have put himself in front of merlon.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

#define TCX_INGRESS 46	/* BPF_TCX_INGRESS, BPF_TCX_EGRESS of linux/bpf.h since 6.6 */
#define TCX_EGRESS 47
#define TCX_PROGS 64	/* on one side of an interface, at most: BPF_MPROG_MAX of linux/bpf_mprog.h */
#define OUR_HANDLE 0x6d6c	/* of merlon's own clsact filters (src/kernel/attach.c) */

#define MARKING "skbedit"

struct filters {
	struct merlon_host_view *view;
	const struct merlon_links *links;
	const struct merlon_link *link;	/* that is looked at */
	bool *has;			/* by position in links: clsact or ingress is there */
	char first[24];			/* the first filter that is not merlon's */
	bool in_front;			/* it comes before merlon's */
	char rewrites[24];		/* an action that changes what the rules ask for; skbedit if there is no worse one */
};

static int on_kind(const struct nlattr *attribute, void *data)
{
	if (mnl_attr_get_type(attribute) == TCA_KIND && mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0)
		*(const char **)data = mnl_attr_get_str(attribute);
	return MNL_CB_OK;
}

static int on_qdisc(const struct nlmsghdr *message, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct filters *f = data;
	const char *kind = "";
	size_t i;

	mnl_attr_parse(message, sizeof(*tc), on_kind, &kind);
	if (strcmp(kind, "clsact") && strcmp(kind, "ingress"))
		return MNL_CB_OK;
	for (i = 0; i < f->links->n; i++)
		if (f->links->link[i].index == (unsigned)tc->tcm_ifindex)
			f->has[i] = true;
	return MNL_CB_OK;
}

/* Where a classifier keeps its actions (linux/pkt_cls.h). */
static int actions_of(const char *kind)
{
	static const struct {
		const char *kind;
		int attribute;
	} place[] = {
		{ "u32", TCA_U32_ACT }, { "flower", TCA_FLOWER_ACT }, { "matchall", TCA_MATCHALL_ACT }, { "basic", TCA_BASIC_ACT },
		{ "fw", TCA_FW_ACT }, { "bpf", TCA_BPF_ACT }, { "cgroup", TCA_CGROUP_ACT }, { "route", TCA_ROUTE4_ACT },
		{ "flow", TCA_FLOW_ACT },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(place); i++)
		if (!strcmp(place[i].kind, kind))
			return place[i].attribute;
	return -1;
}

static void note_action(struct merlon_tc_filter *filter, const struct nlattr *action)
{
	static const char *const rewriting[] = { "nat", "pedit", "ct", MARKING };
	const struct nlattr *a;
	size_t i;

	mnl_attr_for_each_nested(a, action) {
		if (mnl_attr_get_type(a) != TCA_ACT_KIND || mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0)
			continue;
		for (i = 0; i < ARRAY_SIZE(rewriting); i++)
			if (!strcmp(mnl_attr_get_str(a), rewriting[i]) &&
			    (!filter->rewrites[0] || !strcmp(filter->rewrites, MARKING)))
				snprintf(filter->rewrites, sizeof(filter->rewrites), "%s", rewriting[i]);
	}
}

static void note_options(struct merlon_tc_filter *filter, const struct nlattr *options)
{
	const struct nlattr *a, *action;
	int place = actions_of(filter->kind);

	mnl_attr_for_each_nested(a, options)
		if (mnl_attr_get_type(a) == place)
			mnl_attr_for_each_nested(action, a)
				note_action(filter, action);
}

int merlon_tc_filter_read(const struct nlmsghdr *message, struct merlon_tc_filter *ret)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct merlon_tc_filter filter = { 0 };
	const struct nlattr *a;
	const char *kind = "";

	/* A chain's or table's head has no handle. */
	if (message->nlmsg_type != RTM_NEWTFILTER || mnl_nlmsg_get_payload_len(message) < sizeof(*tc) || !tc->tcm_handle)
		return -EPROTO;
	mnl_attr_parse(message, sizeof(*tc), on_kind, &kind);
	snprintf(filter.kind, sizeof(filter.kind), "%s", kind);
	filter.ours = !strcmp(kind, "bpf") && tc->tcm_handle == OUR_HANDLE;
	mnl_attr_for_each(a, message, sizeof(*tc))
		if (mnl_attr_get_type(a) == TCA_OPTIONS)
			note_options(&filter, a);
	*ret = filter;
	return 0;
}

static int on_filter(const struct nlmsghdr *message, void *data)
{
	struct filters *f = data;
	struct merlon_tc_filter filter;

	if (merlon_tc_filter_read(message, &filter) < 0)
		return MNL_CB_OK;
	if (filter.ours) {
		f->in_front |= f->first[0];
		return MNL_CB_OK;
	}
	if (!f->first[0])
		memcpy(f->first, filter.kind, sizeof(f->first));
	if (filter.rewrites[0] && (!f->rewrites[0] || !strcmp(f->rewrites, MARKING)))
		memcpy(f->rewrites, filter.rewrites, sizeof(f->rewrites));
	return MNL_CB_OK;
}

static int dump_tc(uint16_t type, int ifindex, uint32_t parent, mnl_cb_t on_message, struct filters *f)
{
	char buffer[256] __attribute__((aligned(MNL_ALIGNTO)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc;

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_DUMP;
	tc = mnl_nlmsg_put_extra_header(request, sizeof(*tc));
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = ifindex;
	tc->tcm_parent = parent;
	return merlon_netlink_exchange(NETLINK_ROUTE, request, false, on_message, f);
}

static bool is_merlons(uint32_t prog)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(prog);
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	/* Whose it is cannot be told without CAP_SYS_ADMIN: then it is not held against the host. */
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return true;
	return !strcmp(info.name, "ingress_entry") || !strcmp(info.name, "egress_entry");
}

static void look_at_tcx(struct filters *f, int side)
{
	uint32_t id[TCX_PROGS], n = TCX_PROGS, i;

	if (bpf_prog_query(f->link->index, side, 0, NULL, id, &n) < 0)
		return;
	for (i = 0; i < n; i++) {
		if (is_merlons(id[i]))
			f->in_front |= f->first[0];
		else if (!f->first[0])
			snprintf(f->first, sizeof(f->first), "TCX program %u", id[i]);
	}
}

static int report_front(struct filters *f, const char *side)
{
	static const struct merlon_finding front = {
		.what = "tc-in-front",
		.rule = "return codes",
		.why = "another program stands in front of merlon: what it accepts or redirects, merlon does not see",
		.cure = "detach it (bpftool net, tc filter), and attach it again behind merlon",
		.severity = MERLON_HOST_REFUSE,
	};

	return merlon_finding_add(f->view, &front, "%s, %s: %s", f->link->name, side, f->first);
}

static int report_behind(struct filters *f)
{
	static const char rewriting[] = "a filter at ingress changes packets after merlon judged them, and before nf_tables would";
	struct merlon_finding finding = {
		.what = "tc-filter",
		.rule = "return codes",
		.why = "merlon is in front of this filter at ingress: what it changes or redirects, merlon judges as it came in",
		.cure = "remove it, or leave the interface out: merlond --interfaces '*,!NAME'",
		.severity = MERLON_HOST_WARN,
	};

	if (f->rewrites[0]) {
		finding.why = rewriting;
		finding.severity = !strcmp(f->rewrites, MARKING) ? merlon_host_concern(f->view, MERLON_ASKS_MARK) : MERLON_HOST_REFUSE;
	}
	return merlon_finding_add(f->view, &finding, "%s: %s%s%s", f->link->name, f->first, f->rewrites[0] ? ", action " : "",
				  f->rewrites);
}

static int look_at_side(struct filters *f, bool has_qdisc, bool egress)
{
	int r = 0;

	f->first[0] = f->rewrites[0] = '\0';
	f->in_front = false;
	look_at_tcx(f, egress ? TCX_EGRESS : TCX_INGRESS);
	if (has_qdisc)
		r = dump_tc(RTM_GETTFILTER, f->link->index, TC_H_MAKE(TC_H_CLSACT, egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS),
			    on_filter, f);
	/* An interface that has just gone, or a qdisc without that side. */
	if (r < 0 && r != -ENODEV && !merlon_netlink_is_absent(r))
		return merlon_finding_unseen(f->view, f->link->name, r);
	if (f->in_front)
		return report_front(f, egress ? "egress" : "ingress");
	/* At egress both merlon and nf_tables have judged before. */
	return f->first[0] && !egress ? report_behind(f) : 0;
}

int merlon_host_filters_of_tc(struct merlon_host_view *view, const struct merlon_links *links)
{
	_cleanup_free_ bool *has = calloc(links->n + 1, sizeof(*has));
	struct filters f = { .view = view, .links = links, .has = has };
	size_t i;
	int r;

	if (!has)
		return -ENOMEM;
	r = dump_tc(RTM_GETQDISC, 0, 0, on_qdisc, &f);
	if (r < 0 && !merlon_netlink_is_absent(r))
		return merlon_finding_unseen(view, "TC filters", r);
	for (i = 0, r = 0; i < links->n && r == 0; i++) {
		if (!merlon_host_filters(view, links->link[i].name))
			continue;
		f.link = &links->link[i];
		r = look_at_side(&f, has[i], false);
		if (r == 0)
			r = look_at_side(&f, has[i], true);
	}
	return r;
}
