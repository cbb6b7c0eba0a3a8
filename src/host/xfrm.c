/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Policy-based IPsec: a packet passes TC encrypted, or without its route, while nf_tables sees what is inside. Tunnels over
 * interfaces of their own (XFRMA_IF_ID) show their packets there, as any tunnel does.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <string.h>

#include "src/host/internal.h"

struct found {
	bool policy, state;
	unsigned direction;
};

struct attributes {
	bool template, interface, algorithm;
};

static int on_attribute(const struct nlattr *attribute, void *data)
{
	struct attributes *a = data;

	switch (mnl_attr_get_type(attribute)) {
	case XFRMA_TMPL:
		a->template = mnl_attr_get_payload_len(attribute) > 0;
		break;
	case XFRMA_ALG_AUTH:
	case XFRMA_ALG_AUTH_TRUNC:
	case XFRMA_ALG_CRYPT:
	case XFRMA_ALG_AEAD:
	case XFRMA_ALG_COMP:
		a->algorithm = true;
		break;
	case XFRMA_IF_ID:
		a->interface = mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0 && mnl_attr_get_u32(attribute);
		break;
	}
	return MNL_CB_OK;
}

int merlon_xfrm_policy_direction(const struct nlmsghdr *message)
{
	struct xfrm_userpolicy_info info;
	struct attributes a = { 0 };

	if (mnl_nlmsg_get_payload_len(message) < sizeof(info))
		return -1;
	/* Netlink aligns to 4 bytes only. */
	memcpy(&info, mnl_nlmsg_get_payload(message), sizeof(info));
	mnl_attr_parse(message, sizeof(info), on_attribute, &a);
	return a.template && !a.interface && info.action == XFRM_POLICY_ALLOW ? info.dir : -1;
}

bool merlon_xfrm_state_transforms(const struct nlmsghdr *message)
{
	struct attributes a = { 0 };

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct xfrm_usersa_info))
		return false;
	mnl_attr_parse(message, sizeof(struct xfrm_usersa_info), on_attribute, &a);
	/* Without an algorithm it is still being negotiated. */
	return a.algorithm && !a.interface;
}

static int on_policy(const struct nlmsghdr *message, void *data)
{
	int direction = merlon_xfrm_policy_direction(message);
	struct found *found = data;

	if (direction < 0)
		return MNL_CB_OK;
	found->policy = true;
	found->direction = direction;
	return MNL_CB_STOP;
}

static int on_state(const struct nlmsghdr *message, void *data)
{
	((struct found *)data)->state = merlon_xfrm_state_transforms(message);
	return ((struct found *)data)->state ? MNL_CB_STOP : MNL_CB_OK;
}

static int dump(uint16_t type, mnl_cb_t on_message, struct found *found)
{
	char buffer[256] __attribute__((aligned(MNL_ALIGNTO)));
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	/* The kernel asks for no header in a dump (net/xfrm/xfrm_user.c). */
	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_DUMP;
	return merlon_netlink_exchange(NETLINK_XFRM, request, false, on_message, found);
}

int merlon_host_xfrm(struct merlon_host_view *view)
{
	static const struct merlon_finding ipsec = {
		.what = "ipsec",
		.rule = "ipsec and vrf",
		.why = "policy-based IPsec: TC sees encrypted packets where nf_tables sees what is inside, which would pass unjudged",
		.cure = "use route-based IPsec (xfrm interfaces, if_id), or keep this host on nf_tables; --audit judges without dropping",
		.severity = MERLON_HOST_REFUSE,
	};
	static const char *const name[] = { "in", "out", "fwd" };
	struct found found = { 0 };
	int r = dump(XFRM_MSG_GETPOLICY, on_policy, &found);

	if (r == 0 && !found.policy)
		r = dump(XFRM_MSG_GETSA, on_state, &found);
	if (r < 0 && !merlon_netlink_is_absent(r))
		return merlon_finding_unseen(view, "IPsec policies (xfrm)", r);
	if (found.policy)
		return merlon_finding_add(view, &ipsec, "xfrm policy, dir %s", found.direction < 3 ? name[found.direction] : "socket");
	return found.state ? merlon_finding_add(view, &ipsec, "xfrm state without an interface") : 0;
}
