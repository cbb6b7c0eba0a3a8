/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/btf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "src/util/cleanup.h"

unsigned merlon_kernel_version(void)
{
	struct utsname name;
	unsigned major, minor;

	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2 || minor > 255)
		return 0;
	return major << 8 | minor;
}

bool merlon_kernel_is(unsigned major, unsigned minor)
{
	unsigned version = merlon_kernel_version();

	return !version || version >= (major << 8 | minor);
}

static int read_btf(char **ret, size_t *ret_size)
{
	_cleanup_close_ int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *data = NULL;
	size_t done = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	data = malloc(st.st_size + 1);
	if (!data)
		return -ENOMEM;
	/* it comes by the page */
	while (done < (size_t)st.st_size) {
		ssize_t n = read(fd, data + done, st.st_size - done);

		if (n <= 0)
			return n ? -errno : -EIO;
		done += n;
	}
	*ret = TAKE_PTR(data);
	*ret_size = done;
	return 0;
}

int merlon_kernel_names(const char *const *name, size_t n, bool *ret)
{
	_cleanup_free_ char *data = NULL;
	struct btf_header header;
	size_t size = 0, i;
	int r = read_btf(&data, &size);

	if (r < 0)
		return r;
	if (size < sizeof(header))
		return -EINVAL;
	memcpy(&header, data, sizeof(header));
	if (header.magic != BTF_MAGIC || (uint64_t)header.hdr_len + header.str_off + header.str_len > size)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		char whole[64] = "";

		/* between the ends of the one before and of its own; the first string is empty */
		snprintf(whole + 1, sizeof(whole) - 2, "%s", name[i]);
		ret[i] = memmem(data + header.hdr_len + header.str_off, header.str_len, whole, strlen(name[i]) + 2);
	}
	return 0;
}

bool merlon_kernel_tracks(const char *sysctl)
{
	char path[128];

	/* a tracker that the kernel was built without has no sysctls; while nf_conntrack is not loaded none has */
	snprintf(path, sizeof(path), "/proc/sys/net/netfilter/nf_conntrack_%s", sysctl);
	return access(path, F_OK) == 0 || access("/proc/sys/net/netfilter/nf_conntrack_generic_timeout", F_OK) < 0;
}

/* 0 also where there is no such thing; -1: it cannot be read. */
static int read_setting(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	int value;

	if (!f && errno == ENOENT)
		return 0;
	return f && fscanf(f, "%d", &value) == 1 ? value : -1;
}

bool merlon_kernel_filters_sources(void)
{
	glob_t found = { 0 };
	bool on = glob("/proc/sys/net/ipv4/conf/*/rp_filter", 0, NULL, &found) != 0;

	for (size_t i = 0; i < found.gl_pathc && !on; i++)
		on = read_setting(found.gl_pathv[i]);
	globfree(&found);
	return on;
}

bool merlon_kernel_accepts_own(const char *interface)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/accept_local", interface);
	return read_setting("/proc/sys/net/ipv4/conf/all/accept_local") > 0 || read_setting(path) > 0;
}
