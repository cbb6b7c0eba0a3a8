/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A snapshot in a file, and back: what is read is not trusted to be one. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "compat/snapshot.h"
#include "src/util/cleanup.h"

int merlon_snapshot_write(const struct merlon_snapshot *snapshot, const char *path)
{
	_cleanup_fclose_ FILE *out = fopen(path, "we");

	if (!out)
		return -errno;
	if ((snapshot->bytes && fwrite(snapshot->messages, snapshot->bytes, 1, out) != 1) || fflush(out))
		return -errno;
	return 0;
}

/* Nothing but whole requests that make something. */
static bool is_sound(const struct merlon_snapshot *snapshot)
{
	size_t at = 0;

	while (at < snapshot->bytes) {
		const struct nlmsghdr *message = (void *)((char *)snapshot->messages + at);

		if (snapshot->bytes - at < sizeof(*message) || message->nlmsg_len < sizeof(*message) ||
		    MNL_ALIGN(message->nlmsg_len) > snapshot->bytes - at || message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
			return false;
		at += MNL_ALIGN(message->nlmsg_len);
	}
	return true;
}

int merlon_snapshot_read(const char *path, struct merlon_snapshot *ret)
{
	_cleanup_fclose_ FILE *in = fopen(path, "re");
	struct merlon_snapshot snapshot = { 0 };
	struct stat st;

	if (!in || fstat(fileno(in), &st) < 0)
		return -errno;
	if (st.st_size > MERLON_SNAPSHOT_LARGEST)
		return -EFBIG;
	snapshot.bytes = st.st_size;
	snapshot.messages = malloc(snapshot.bytes + 1);
	if (!snapshot.messages)
		return -ENOMEM;
	if (fread(snapshot.messages, 1, snapshot.bytes, in) != snapshot.bytes || !is_sound(&snapshot)) {
		merlon_snapshot_clear(&snapshot);
		return -EBADMSG;
	}
	*ret = snapshot;
	return 0;
}
