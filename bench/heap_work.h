/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between the benchmark of the heap and the processes that it has measure, one for each allocator. */
#ifndef BENCH_HEAP_WORK_H
#define BENCH_HEAP_WORK_H

#include <stddef.h>

enum work_kind { WORK_PAIRS, WORK_PUBLISH };

/* One run, asked for through a pipe; the answer is a double: ns for each pair. */
struct work {
	enum work_kind kind;
	unsigned int threads;
	size_t size; /* 0: mixed, 16 to 256 */
};

#define WORK_THREADS 2

/**
 * heap_worker() - answer requests of stdin on stdout until there are no more
 * @subject: "libkho", "glibc", "mimalloc", "jemalloc" (both preloaded), "libpmemobj"
 *
 * Return: the exit status; 3: that allocator is not there.
 */
int heap_worker(const char *subject);

#endif
