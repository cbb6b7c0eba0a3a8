/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ends the test VM with a status: QEMU's isa-debug-exit device leaves with (value << 1) | 1. One is added, since a
 * value of 0 could not be told from QEMU's own failure. Cloud kernels have no /dev/port.
 */
#include <stdlib.h>
#include <sys/io.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int status = argc > 1 ? atoi(argv[1]) : 1;

	if (status < 0 || status > 125)
		status = 125;
	sync();
	if (iopl(3))
		return 1;
	outb((unsigned char)(status + 1), 0xf4);
	return 1;
}
