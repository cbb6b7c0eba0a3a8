/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programs that load rules of their own into netfilter: how their chains and units are called. */
#include <stddef.h>
#include <string.h>

#include "src/host/chains.h"
#include "src/util/cleanup.h"

#define PATTERNS 4

static const struct {
	struct merlon_manager manager;
	const char *chain[PATTERNS];	/* beginnings of chains' names */
	const char *table[PATTERNS];	/* names of tables */
} managers[] = {
	{ { .name = "ufw", .unit = { "ufw.service" }, .firewall = true }, { "ufw-", "ufw6-" }, { NULL } },
	{ { .name = "firewalld", .unit = { "firewalld.service" }, "firewall-cmd --remove-masquerade, and remove its forward ports",
	    .firewall = true },
	  { "IN_public", "INPUT_ZONES", "FWDI_" }, { "firewalld" } },
	{ { .name = "nftables", .unit = { "nftables.service" }, .firewall = true }, { NULL }, { NULL } },
	{ { .name = "netfilter-persistent", .unit = { "netfilter-persistent.service" }, .firewall = true }, { NULL }, { NULL } },
	{ { .name = "iptables", .unit = { "iptables.service", "ip6tables.service" }, .firewall = true }, { NULL }, { NULL } },
	{ { .name = "shorewall", .unit = { "shorewall.service", "shorewall6.service" }, .firewall = true }, { "shorewall" }, { NULL } },
	{ { .name = "fail2ban", .unit = { "fail2ban.service" }, NULL, "have its action change a set of merlon's policy (merlon nft add element ..., delete element ...), "
	    "and leave its own tables out of that" }, { "f2b-" }, { "f2b-table" } },
	{ { .name = "docker", .unit = { "docker.service" }, "give Docker \"iptables\": false and \"ip6tables\": false in /etc/docker/daemon.json and "
	    "route the containers' network, or keep this host on nf_tables" }, { "DOCKER" }, { "docker-bridges" } },
	{ { .name = "podman", .unit = { NULL }, "run the containers with --network host, or keep this host on nf_tables" },
	  { "NETAVARK", "CNI-" }, { "netavark" } },
	{ { .name = "libvirt", .unit = { "libvirtd.service", "virtnetworkd.service" }, "give libvirt's network <forward mode='route'/> or mode='open' "
	    "(virsh net-edit default) and route it, or keep this host on nf_tables" }, { "LIBVIRT_" }, { "libvirt_network" } },
	{ { .name = "lxd", .unit = { "lxd.service", "snap.lxd.daemon.service", "incus.service" }, "lxc network set NAME ipv4.nat=false ipv6.nat=false, "
	    "and route the network" }, { NULL }, { "lxd", "incus" } },
	{ { .name = "kubernetes", .unit = { "kubelet.service", "k3s.service" }, "keep nodes of Kubernetes on nf_tables" },
	  { "KUBE-", "cali-", "CILIUM_" }, { "kube-proxy" } },
	{ { .name = "tailscale", .unit = { "tailscaled.service" }, "tailscale up --netfilter-mode=off --snat-subnet-routes=false" }, { "ts-" }, { NULL } },
};

static bool is_of(size_t index, const char *table, const char *chain)
{
	size_t i;

	for (i = 0; i < PATTERNS && managers[index].chain[i]; i++)
		if (!strncmp(chain, managers[index].chain[i], strlen(managers[index].chain[i])))
			return true;
	for (i = 0; i < PATTERNS && managers[index].table[i]; i++)
		if (!strcmp(table, managers[index].table[i]))
			return true;
	return false;
}

const struct merlon_manager *merlon_manager_by_chain(const char *table, const char *chain)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(managers); i++)
		if (is_of(i, table, chain))
			return &managers[i].manager;
	return NULL;
}

const struct merlon_manager *merlon_manager(size_t index)
{
	return index < ARRAY_SIZE(managers) ? &managers[index].manager : NULL;
}
