/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD for tests/bench/service.py: writes how many microseconds each BPF_PROG_LOAD takes, a line each, to the file that
 * MERLON_BENCH_LOADS names. It is built there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

long syscall(long number, ...)
{
	long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
	const char *path = getenv("MERLON_BENCH_LOADS");
	long a[6], r;
	double begin;
	va_list args;
	FILE *out;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	begin = now_us();
	r = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && path && (out = fopen(path, "a"))) {
		fprintf(out, "%.0f\n", now_us() - begin);
		fclose(out);
	}
	return r;
}
