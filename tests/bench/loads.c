/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD for tests/bench/service.py: writes how many microseconds each BPF_PROG_LOAD takes, and how many of them on a
 * processor, a line each, to the file that MERLON_BENCH_LOADS names. It is built there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

static double now_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

long syscall(long number, ...)
{
	long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
	const char *path = getenv("MERLON_BENCH_LOADS");
	long a[6], r;
	double begin, began;
	va_list args;
	FILE *out;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	begin = now_us(CLOCK_MONOTONIC);
	began = now_us(CLOCK_THREAD_CPUTIME_ID);
	r = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && path && (out = fopen(path, "a"))) {
		fprintf(out, "%.0f %.0f\n", now_us(CLOCK_MONOTONIC) - begin, now_us(CLOCK_THREAD_CPUTIME_ID) - began);
		fclose(out);
	}
	return r;
}
