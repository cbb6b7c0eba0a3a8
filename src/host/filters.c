/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programs and filters of others at TC: merlon stands in front of them, and judges what they have not changed yet. */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

#define TCX_INGRESS 46	/* BPF_TCX_INGRESS of linux/bpf.h since 6.6 */
#define TCX_PROGS 64	/* on one side of an interface, at most: BPF_MPROG_MAX of linux/bpf_mprog.h */
#define OUR_HANDLE 0x6d6c	/* of merlon's own clsact filters (src/kernel/attach.c) */

struct filters {
	struct merlon_host_view *view;
	const struct merlon_links *links;
	const struct merlon_link *link;	/* that is looked at */
	bool *has;			/* by position in links: clsact or ingress is there */
	char first[24];			/* kind of the first filter that is not merlon's */
	char rewrites[24];		/* the first action that changes what the rules ask for */
	bool marks;			/* that action is skbedit */
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

static void note_action(struct filters *f, const struct nlattr *action)
{
	static const char *const rewriting[] = { "nat", "pedit", "ct", "skbedit" };
	const struct nlattr *a;
	size_t i;

	mnl_attr_for_each_nested(a, action) {
		if (mnl_attr_get_type(a) != TCA_ACT_KIND || mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0)
			continue;
		for (i = 0; i < ARRAY_SIZE(rewriting); i++) {
			if (strcmp(mnl_attr_get_str(a), rewriting[i]) || (f->rewrites[0] && !f->marks))
				continue;
			snprintf(f->rewrites, sizeof(f->rewrites), "%s", rewriting[i]);
			f->marks = !strcmp(rewriting[i], "skbedit");
		}
	}
}

static void note_options(struct filters *f, const char *kind, const struct nlattr *options)
{
	const struct nlattr *a, *action;
	int place = actions_of(kind);

	mnl_attr_for_each_nested(a, options)
		if (mnl_attr_get_type(a) == place)
			mnl_attr_for_each_nested(action, a)
				note_action(f, action);
}

static int on_filter(const struct nlmsghdr *message, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct filters *f = data;
	const struct nlattr *a;
	const char *kind = "";

	/* A chain's or table's head has no handle. */
	if (message->nlmsg_type != RTM_NEWTFILTER || !tc->tcm_handle)
		return MNL_CB_OK;
	mnl_attr_parse(message, sizeof(*tc), on_kind, &kind);
	if (!strcmp(kind, "bpf") && tc->tcm_handle == OUR_HANDLE)
		return MNL_CB_OK;
	if (!f->first[0])
		snprintf(f->first, sizeof(f->first), "%s", kind);
	mnl_attr_for_each(a, message, sizeof(*tc))
		if (mnl_attr_get_type(a) == TCA_OPTIONS)
			note_options(f, kind, a);
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
	return merlon_host_dump(NETLINK_ROUTE, request, false, on_message, f);
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

static void look_at_tcx(struct filters *f)
{
	uint32_t id[TCX_PROGS], n = TCX_PROGS, i;

	if (bpf_prog_query(f->link->index, TCX_INGRESS, 0, NULL, id, &n) < 0)
		return;
	for (i = 0; i < n && !f->first[0]; i++)
		if (!is_merlons(id[i]))
			snprintf(f->first, sizeof(f->first), "TCX program %u", id[i]);
}

static int report(struct filters *f)
{
	static const char rewriting[] = "a filter at ingress changes packets after merlon judged them, and before nf_tables would";
	struct merlon_finding finding = {
		.what = "tc-filter",
		.rule = "return codes",
		.why = "merlon is in front of this filter at ingress: what it changes or redirects, merlon judges as it came in",
		.cure = "remove it, or leave the interface out: merlond --interfaces '*,!NAME'",
		.severity = MERLON_HOST_WARN,
	};

	if (!f->first[0])
		return 0;
	if (f->rewrites[0]) {
		finding.why = rewriting;
		finding.severity = f->marks ? merlon_host_concern(f->view, MERLON_ASKS_MARK) : MERLON_HOST_REFUSE;
	}
	return merlon_finding_add(f->view, &finding, "%s: %s%s%s", f->link->name, f->first, f->rewrites[0] ? ", action " : "",
				  f->rewrites);
}

static int look_at_link(struct filters *f, const struct merlon_link *link, bool has_qdisc)
{
	int r = 0;

	if (!merlon_host_filters(f->view, link->name))
		return 0;
	f->link = link;
	f->first[0] = f->rewrites[0] = '\0';
	f->marks = false;
	if (has_qdisc)
		r = dump_tc(RTM_GETTFILTER, link->index, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), on_filter, f);
	look_at_tcx(f);
	/* An interface that has just gone. */
	if (r == -ENODEV || (r < 0 && merlon_host_is_absent(r)))
		return 0;
	return r < 0 ? merlon_finding_unseen(f->view, link->name, r) : report(f);
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
	if (r < 0 && !merlon_host_is_absent(r))
		return merlon_finding_unseen(view, "TC filters", r);
	for (i = 0, r = 0; i < links->n && r == 0; i++)
		r = look_at_link(&f, &links->link[i], has[i]);
	return r;
}
