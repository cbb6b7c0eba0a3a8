/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multicast routing. What comes in for a group is forwarded by ip_mr_input() and ip6_mr_input(), and passes the forward chains,
 * whether or not this host listens to the group, too. bpf_fib_lookup() knows nothing of it.
 */
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/mroute.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

bool merlon_multicast_interface(FILE *file, char ret[IFNAMSIZ])
{
	_Static_assert(IFNAMSIZ == 16, "%15s");
	char line[256];

	/* "Interface      BytesIn ...", then " 0 eth0 ..." for each (ipmr_vif_seq_show, ip6mr_vif_seq_show) */
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " %*u %15s", ret) == 1)
			return true;
	}
	return false;
}

uint32_t merlon_multicast_table(const struct nlmsghdr *message)
{
	const struct fib_rule_hdr *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attribute;
	uint32_t table;

	/* A kernel without multicast routing answers with what it has of other families. */
	if (message->nlmsg_type != RTM_NEWRULE || mnl_nlmsg_get_payload_len(message) < sizeof(*header) ||
	    (header->family != RTNL_FAMILY_IPMR && header->family != RTNL_FAMILY_IP6MR) || header->action != FR_ACT_TO_TBL)
		return 0;
	table = header->table;
	mnl_attr_for_each(attribute, message, sizeof(*header))
		if (mnl_attr_get_type(attribute) == FRA_TABLE && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
			table = mnl_attr_get_u32(attribute);
	/* What is there from the start: RT_TABLE_DEFAULT, RT6_TABLE_DFLT of net/ip6_fib.h. */
	return table == (header->family == RTNL_FAMILY_IPMR ? RT_TABLE_DEFAULT : RT_TABLE_MAIN) ? 0 : table;
}

static int on_message(const struct nlmsghdr *message, void *data)
{
	uint32_t table = merlon_multicast_table(message);

	if (!table)
		return MNL_CB_OK;
	*(uint32_t *)data = table;
	return MNL_CB_STOP;
}

/* The first other table that rules lead to. Its interfaces are in no file, and without a rule nothing goes by it. */
static int dump_rules(uint8_t family, uint32_t *ret)
{
	return merlon_host_dump_route(RTM_GETRULE, family, sizeof(struct fib_rule_hdr), false, NULL, on_message, ret);
}

static int look(const char *path, uint8_t family, char ret[IFNAMSIZ], uint32_t *ret_table)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");

	if (!file && errno != ENOENT)
		return -errno;
	return file && merlon_multicast_interface(file, ret) ? 0 : dump_rules(family, ret_table);
}

int merlon_host_multicast(struct merlon_host_view *view)
{
	static const struct merlon_finding finding = {
		.what = "multicast",
		.rule = "input by exclusion",
		.why = "packets to groups are forwarded (multicast routing): merlon would judge them by the rules for input alone",
		.cure = "stop the multicast routing daemon, or keep this host on nf_tables; --audit judges without dropping",
		.severity = MERLON_HOST_REFUSE,
	};
	static const struct {
		const char *name, *path;
		uint8_t family;
	} where[] = {
		{ "ip mroute", "/proc/self/net/ip_mr_vif", RTNL_FAMILY_IPMR },
		{ "ip -6 mroute", "/proc/self/net/ip6_mr_vif", RTNL_FAMILY_IP6MR },
	};
	size_t i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(where) && r == 0; i++) {
		char name[IFNAMSIZ] = "";
		uint32_t table = 0;

		r = look(where[i].path, where[i].family, name, &table);
		if (r < 0)
			r = merlon_finding_unseen(view, "multicast routing", r);
		else if (name[0])
			r = merlon_finding_add(view, &finding, "%s: interface %s", where[i].name, name);
		else if (table)
			r = merlon_finding_add(view, &finding, "%s: rule for table %u", where[i].name, table);
	}
	return r;
}
