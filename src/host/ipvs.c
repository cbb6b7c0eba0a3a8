/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's load balancer translates addresses by itself, without a rule of netfilter. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

bool merlon_ipvs_service(FILE *file, char *ret, size_t room)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	/* "TCP  0A000001:0050 rr", below them a line "  -> ..." for each server (ip_vs_info_seq_show) */
	while (getline(&line, &size, file) >= 0) {
		if (strncmp(line, "TCP ", 4) && strncmp(line, "UDP ", 4) && strncmp(line, "SCTP ", 5) && strncmp(line, "FWM ", 4))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(ret, room, "%s", line);
		return true;
	}
	return false;
}

int merlon_host_ipvs(struct merlon_host_view *view)
{
	static const struct merlon_finding ipvs = {
		.what = "ipvs",
		.rule = "kept chains",
		.why = "virtual services of IPVS are translated and forwarded from local input: merlon would judge their packets "
		       "by other addresses than nf_tables",
		.cure = "remove the virtual services (ipvsadm), or keep this host on nf_tables; --audit judges without dropping",
		.severity = MERLON_HOST_REFUSE,
	};
	_cleanup_fclose_ FILE *file = fopen("/proc/self/net/ip_vs", "re");
	char service[64];

	if (!file)
		return errno == ENOENT ? 0 : merlon_finding_unseen(view, "IPVS", -errno);
	return merlon_ipvs_service(file, service, sizeof(service)) ? merlon_finding_add(view, &ipvs, "%s", service) : 0;
}
