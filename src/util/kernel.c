/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/kernel.h"

#include <stdio.h>
#include <sys/utsname.h>

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
