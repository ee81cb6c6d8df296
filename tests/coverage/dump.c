/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * For `make coverage` alone: a program that ends by _exit() or becomes another one by execveat()
 * writes its counters first, as it would at exit(). One that is killed does not.
 */
#define _GNU_SOURCE
#include <gcov.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Weak: a program that has its own of these at the same place keeps them. */
#define WEAK __attribute__((weak))

void __real__exit(int status) __attribute__((noreturn));
WEAK void __wrap__exit(int status) __attribute__((noreturn));
long __real_syscall(long nr, long a, long b, long c, long d, long e, long f);
WEAK long __wrap_syscall(long nr, long a, long b, long c, long d, long e, long f);

static void dump(void)
{
	__gcov_dump();
	__gcov_reset();
}

void __wrap__exit(int status)
{
	dump();
	__real__exit(status);
}

long __wrap_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_execveat)
		dump();
	return __real_syscall(nr, a, b, c, d, e, f);
}
